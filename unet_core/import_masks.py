"""Masks that other programs made, as an annotation: label images, ImageJ's ROIs, GeoJSON.

Label images are those of Cellpose (`_cp_masks.tif`), StarDist, ilastik and Limn itself: 0 nothing,
1, 2, 3… the objects. All that a file brings becomes one edit, which one undo takes back.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_core.annotation import BACKGROUND, MAX_CLASSES, Annotation, AnnotationError
from unet_core.atomic import os_reason
from unet_core.edits import Edit, TileChange, bounding_box
from unet_core.export import ExportError, Progress, label_planes
from unet_core.geojson import read_geojson
from unet_core.labels import MAX_OBJECT, Labels, label
from unet_core.masks import compact
from unet_core.rois import read_rois
from unet_core.shapes import Shape, ShapeError
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

Part = tuple[PlaneIndex, Rect, Labels]

_STEP = 200
"""So many shapes are read between two looks at whether to go on."""


@dataclass(frozen=True)
class Imported:
    """What a file brings."""

    edit: Edit | None
    """Not applied yet; None where nothing changes."""
    objects: int
    skipped: int
    """Shapes without an area (points, lines), or on planes or places that the image has not."""


@dataclass
class _Numbers:
    """New numbers for the objects of a file: one that occurs twice stays one object."""

    following: int
    known: dict[str | int, int] = field(default_factory=dict)
    count: int = 0

    def of(self, key: str | int) -> int:
        """The number of the object that the file calls `key`; "" is a new one each time."""
        if key != "" and key in self.known:
            return self.known[key]
        number = self.following + self.count
        if number > MAX_OBJECT:
            raise AnnotationError(f"There is no room for more than {MAX_OBJECT} objects.")
        self.count += 1
        if key != "":
            self.known[key] = number
        return number


def importing(
    path: Path,
    like: Stack,
    annotation: Annotation,
    *,
    value: int = 2,
    values: Mapping[str, int] | None = None,
    labels_are: Literal["objects", "classes"] = "objects",
    plane: PlaneIndex = PlaneIndex(0, 0),  # noqa: B008  # a tuple, never changed
    background: bool = False,
    keep: bool = True,
) -> Generator[Progress, None, Imported]:
    """Read the masks in `path`, made for the image `like`, as one edit of `annotation`.

    Parameters
    ----------
    annotation
        The labels as they are, or a snapshot; it is not changed. Objects get numbers that none of
        its objects has had.
    value
        The class of all objects, 2 or more.
    values
        Class names and their values, for files that name classes; others get `value`.
    labels_are
        "classes" for label images whose values are classes: 0 unlabelled, 1 background, 2…, as
        Limn's own and what ilastik calls a simple segmentation.
    plane
        Where shapes go that say no plane, of which ImageJ shows the same on all.
    background
        Also label all that is nothing in the file as background, on the planes where it has
        objects.
    keep
        What is painted already stays as it is; otherwise the masks lie on top.

    A generator of Progress that may run on a snapshot in a thread; closing it cancels. Files of any
    kind and size may come: raises ShapeError, ExportError, StackError or AnnotationError, each with
    one sentence, where they are damaged, absurd or do not fit.

    """
    for one in (value, *(values or {}).values()):
        if not BACKGROUND < one <= MAX_CLASSES:
            raise ValueError(f"{one} is no class that objects may have")
    numbers = _Numbers(annotation.next_object())
    counts = {"skipped": 0}
    found: Iterator[Progress | tuple[PlaneIndex, Labels]]
    kind = _kind(path)
    if kind == "labels":
        found = _from_labels(path, like, numbers, value, labels_are)
    else:
        shapes = read_geojson(path) if kind == "geojson" else read_rois(path, like)
        found = _from_shapes(shapes, like, numbers, value, values or {}, plane, counts)
    changes: list[TileChange] = []
    try:
        for step in found:
            if isinstance(step, Progress):
                yield step
                continue
            part = _laid(*step, annotation, background, keep)
            if part is not None and (edit := annotation.planned("import", [part])):
                changes += edit.changes
    except OSError as error:
        raise ExportError(f"{path.name} cannot be read: {os_reason(error)}.") from error
    ready = Edit("import", tuple(changes)).ready() if changes else None
    return Imported(ready, numbers.count, counts["skipped"])


def _kind(path: Path) -> str:
    """What a file holds, by its first bytes: "rois", "geojson" or "labels"."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ExportError(f"{path.name} cannot be read: {os_reason(error)}.") from error
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"Iout")):
        return "rois"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "geojson" if text.startswith((b"{", b"[")) else "labels"


def _from_labels(
    path: Path, like: Stack, numbers: _Numbers, value: int, labels_are: str
) -> Iterator[Progress | tuple[PlaneIndex, Labels]]:
    total = like.shape[0] * like.shape[1]
    for i, (plane, stored) in enumerate(label_planes(path, like)):
        if labels_are == "classes":
            if stored.max(initial=0) > MAX_CLASSES:
                raise ExportError(
                    f"{path.name} has values above {MAX_CLASSES}: these are objects, not classes."
                )
            yield plane, stored.astype(np.uint32) << np.uint32(24)
        elif stored.any():
            known, own = compact(stored)
            table = [0, *(label(value, numbers.of(number)) for number in known.tolist())]
            yield plane, np.array(table, np.uint32)[own]
        yield Progress(i + 1, total, "Reading masks")


def _from_shapes(
    shapes: Iterator[Shape | None],
    like: Stack,
    numbers: _Numbers,
    value: int,
    values: Mapping[str, int],
    default: PlaneIndex,
    counts: dict[str, int],
) -> Iterator[Progress | tuple[PlaneIndex, Labels]]:
    """Later shapes lie on top of earlier ones."""
    times, slices, _, height, width = like.shape
    by_plane: dict[PlaneIndex, list[Shape]] = {}
    total = 0
    for shape in shapes:
        place = default if shape is None or shape.plane is None else shape.plane
        total += 1
        if shape is None or not (0 <= place.t < times and 0 <= place.z < slices):
            counts["skipped"] += 1
        else:
            by_plane.setdefault(place, []).append(shape)
        if total % _STEP == 0:
            yield Progress(0, 1, "Reading shapes")
    done = 0
    for place in sorted(by_plane):
        labels = np.zeros((height, width), np.uint32)
        for shape in by_plane.pop(place):
            box, mask = shape.mask(Rect(0, 0, height, width))
            if mask.any():
                own = values.get(shape.class_name, value)
                labels[box.slices][mask] = label(own, numbers.of(shape.key))
            else:
                counts["skipped"] += 1
            done += 1
            if done % _STEP == 0:
                yield Progress(done, total, "Reading shapes")
        yield place, labels
    yield Progress(total, total, "Reading shapes")


def _laid(
    plane: PlaneIndex, found: Labels, annotation: Annotation, background: bool, keep: bool
) -> Part | None:
    """The smallest rectangle of the plane that changes, and its new labels; None for nothing."""
    before = annotation.read_labels(plane)
    there: NDArray[np.bool_] = found > 0
    after = np.where(there & (before == 0) if keep else there, found, before)
    if background and there.any():
        after = np.where(after == 0, np.uint32(label(BACKGROUND)), after)
    box = bounding_box(after != before)
    return None if box.empty else (plane, box, after[box.slices])


__all__ = ["Imported", "ShapeError", "importing"]
