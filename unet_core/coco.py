"""COCO's JSON for instance segmentation, with run-length masks: holes and parts survive.

Every plane is an image, every object in it an annotation; category ids are the label values, so
they are the same in every export. Masks are runs of pixels down the columns, outside first, in the
compact text that COCO's own tools write. One annotation to a line, see `json_lines`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_core.export import Progress
from unet_core.json_lines import write_entries
from unet_core.masks import Masks, PlaneObject


def write_coco(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write all objects as COCO's JSON; read back and compared pixel by pixel."""
    extent = masks.extent
    height, width = extent.shape[3:]
    many = masks.stack.shape[0] * masks.stack.shape[1] > 1
    images = []
    for i, plane in enumerate(masks.planes):
        image = {"id": i + 1, "file_name": extent.name, "width": width, "height": height}
        if many:
            place = extent.in_image(plane)
            image |= {"frame": place.t, "slice": place.z}
        images.append(image)
    head = {
        "info": {"description": "Limn", "limn": dict(masks.notes)},
        "licenses": [],
        "categories": [
            {"id": value, "name": info.name, "supercategory": ""}
            for value, info in enumerate(masks.classes[1:], 2)
        ],
        "images": images,
    }
    ids = itertools.count(1)

    def annotations(i: int) -> Iterator[dict[str, Any]]:
        for found in masks.objects_in(i):
            y, x, tall, wide = found.box
            counts = packed_runs(runs_of(found, height, width))
            yield {
                "id": next(ids),
                "image_id": i + 1,
                "category_id": found.value,
                "segmentation": {"size": [height, width], "counts": counts},
                "area": int(found.mask.sum()),
                "bbox": [x, y, wide, tall],
                "iscrowd": 0,
                "object": found.number,
            }

    def labels(i: int, annotations: Iterator[Any]) -> NDArray[np.uint32]:
        flat = np.zeros(width * height, np.uint32)  # columns first
        for annotation in annotations:
            runs = unpacked_runs(annotation["segmentation"]["counts"])
            ends = np.cumsum(runs)
            if runs.min() < 0 or ends[-1] != flat.size:
                raise ValueError("runs that do not cover the plane")
            for start, end in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=False):
                flat[start:end] = annotation["object"]
        return flat.reshape(width, height).T

    return write_entries(path, masks, head, "annotations", annotations, labels, overwrite)


def runs_of(found: PlaneObject, height: int, width: int) -> list[int]:
    """Lengths of the runs outside, inside, outside… of an object, down the plane's columns."""
    columns, rows = np.nonzero(found.mask.T)
    places = (columns + found.box.x) * height + rows + found.box.y
    breaks = np.flatnonzero(np.diff(places) > 1)
    first = places[np.append(0, breaks + 1)]
    after = places[np.append(breaks, len(places) - 1)] + 1
    edges = np.stack((first, after), axis=1).ravel()
    rest = height * width - int(after[-1])
    return [*np.diff(edges, prepend=0).tolist(), *([rest] if rest else [])]


def packed_runs(runs: Sequence[int]) -> str:
    """Run lengths as COCO's text.

    From the fourth on a length is given as the difference to the last but one. A number is cut
    into groups of five bits, lowest first; a sixth bit says that more follow, and 48 is added to
    make it a character. The highest bit of the last group is the sign.
    """
    text = bytearray()
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        while True:
            group = value & 31
            value >>= 5
            last = value == (-1 if group & 16 else 0)
            text.append(48 + group + (0 if last else 32))
            if last:
                break
    return text.decode("ascii")


def unpacked_runs(text: str) -> NDArray[np.int64]:
    """The run lengths in COCO's text. ValueError or IndexError where it is none."""
    runs: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        group = byte - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return np.array(runs, np.int64)
