"""OME-Zarr: the image and its masks in one folder, in chunks and at several sizes.

NGFF 0.4 (Zarr 2, what most programs read today) and 0.5 (Zarr 3). Labels belong to an image there,
so the image is written too, and the masks lie in `labels/objects` and `labels/classes`. Smaller
sizes hold every second pixel, not an average: a label that is none of two neighbours' would be
wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_core.atomic import replacing_folder
from unet_core.export import (
    ExportError,
    Extent,
    Progress,
    cannot_write,
    checksum,
    differs,
)
from unet_core.masks import Masks

_CHUNK = 512
_SMALLEST = 256
"""No smaller sizes are made of planes that fit into this many pixels."""
_MOST_DESCRIBED = 50_000
"""Beyond so many objects their classes and sources are left out: it is one JSON text."""


def write_ome_zarr(
    path: Path, masks: Masks, overwrite: bool = True, *, version: str = "0.4"
) -> Iterator[Progress]:
    """Write image, objects and classes as OME-Zarr; read back and compared plane by plane.

    An existing folder is only replaced where Limn has written it. `version` is "0.4" or "0.5".
    """
    import zarr

    extent, count = masks.extent, len(masks.planes)
    axes = "".join(axis for axis in "TCZYX" if axis in extent.axes)  # the order that NGFF wants
    plain = axes.replace("C", "")
    images = {
        "": (axes, np.dtype(np.uint8) if masks.stack.dtype == bool else masks.stack.dtype),
        "labels/objects": (plain, masks.object_type),
        "labels/classes": (plain, np.dtype(np.uint8)),
    }
    sizes = _sizes(*extent.shape[3:])
    facts: dict[int, dict[str, Any]] = {}
    checksums: list[dict[str, bytes]] = []

    def pixels(i: int) -> dict[str, NDArray[Any]]:
        image = masks.stack.plane(*extent.in_image(masks.planes[i]))
        return {
            "": image if "C" in axes else image[0],
            "labels/objects": masks.object_map(i),
            "labels/classes": masks.class_map(i),
        }

    with _writing(path, overwrite) as part:
        root = zarr.open_group(part, mode="w", zarr_format=2 if version == "0.4" else 3)
        labels = root.create_group("labels")
        arrays = {}
        for place, (own_axes, dtype) in images.items():
            group = root if not place else root.create_group(place)
            for level, size in enumerate(sizes):
                arrays[place, level] = _array(group, level, own_axes, extent, size, dtype, version)
        for i, plane in enumerate(masks.planes):
            checksums.append({})
            for place, values in pixels(i).items():
                own_axes, dtype = images[place]
                values = np.ascontiguousarray(values, dtype)
                checksums[i][place] = checksum(values)
                at = _index(own_axes, plane)
                for level in range(len(sizes)):
                    arrays[place, level][at] = values[..., :: 2**level, :: 2**level]
            if masks.objects <= _MOST_DESCRIBED:
                for found in masks.objects_in(i):
                    facts[found.number] = {
                        "label-value": found.number,
                        "class": masks.class_info(found.value).name,
                        "source": "painted" if found.painted else "predicted",
                    }
            yield Progress(i + 1, 2 * count, f"Writing plane {i + 1} of {count}")
        names = [place.partition("/")[2] for place in images if place]
        _describe(labels, {"labels": names}, version)
        for place, (own_axes, _) in images.items():
            name = place.partition("/")[2] or Path(extent.name).stem
            said = _multiscales(name, own_axes, extent, len(sizes), version)
            if place == "labels/objects":
                said |= _image_label(sorted(facts.values(), key=_number), None, version)
            elif place:
                said |= _image_label([], masks, version)
            _describe(root if not place else root[place], said, version)
        root.attrs["limn"] = dict(masks.notes)
        written: Any = zarr.open_group(part, mode="r")
        for i, plane in enumerate(masks.planes):
            for place, (own_axes, dtype) in images.items():
                array = written[f"{place}/0" if place else "0"]
                shape = _shape(own_axes, extent, sizes[0])
                if array.shape != shape or array.dtype != dtype:
                    raise differs(path.name)
                values = np.ascontiguousarray(array[_index(own_axes, plane)])
                if checksum(values) != checksums[i][place]:
                    raise differs(path.name)
            yield Progress(count + i + 1, 2 * count, f"Checking plane {i + 1} of {count}")
        for place, (own_axes, _) in images.items():
            found_scale = _scale_of(written[place] if place else written, version)
            if found_scale != _scale(own_axes, extent, 0):
                raise differs(path.name)


def check_folder(path: Path, overwrite: bool) -> None:
    """Raise ExportError where an OME-Zarr must not be written to `path`."""
    if path.exists() or path.is_symlink():
        if not overwrite:
            raise ExportError(
                f"{path.name} exists already: choose another name, or allow replacing."
            )
        if not _is_ours(path):
            raise ExportError(
                f"{path.name} was not written by Limn, so it is not replaced: choose another name."
            )


@contextmanager
def _writing(path: Path, overwrite: bool) -> Iterator[Path]:
    check_folder(path, overwrite)
    try:
        with replacing_folder(path) as part:
            yield part
    except OSError as error:
        raise cannot_write(path, error) from error


def _is_ours(folder: Path) -> bool:
    """Whether Limn has written this OME-Zarr, which then may be replaced."""
    for name in (".zattrs", "zarr.json"):
        file = folder / name
        try:
            if not folder.is_symlink() and file.stat().st_size < 2**20:
                said = json.loads(file.read_bytes())
                return "limn" in said or "limn" in said.get("attributes", {})
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
    return False


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of all levels: full size, then halves."""
    sizes = [(height, width)]
    while max(sizes[-1]) > _SMALLEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def _shape(axes: str, extent: Extent, size: tuple[int, int]) -> tuple[int, ...]:
    of = dict(zip("TZCYX", (*extent.shape[:3], *size), strict=True))
    return tuple(of[axis] for axis in axes)


def _array(
    group: Any,
    level: int,
    axes: str,
    extent: Extent,
    size: tuple[int, int],
    dtype: np.dtype[Any],
    version: str,
) -> Any:
    shape = _shape(axes, extent, size)
    options: dict[str, Any] = {"dimension_names": [axis.lower() for axis in axes]}
    if version == "0.4":
        options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    chunks = tuple(
        min(n, _CHUNK) if axis in "YX" else 1 for axis, n in zip(axes, shape, strict=True)
    )
    return group.create_array(
        str(level), shape=shape, chunks=chunks, dtype=dtype, fill_value=0, **options
    )


def _index(axes: str, plane: tuple[int, int]) -> tuple[Any, ...]:
    at: Mapping[str, Any] = {"T": plane[0], "Z": plane[1]}
    return tuple(at.get(axis, slice(None)) for axis in axes)


def _scale(axes: str, extent: Extent, level: int) -> list[float]:
    z, y, x = extent.pixel_size or (1.0, 1.0, 1.0)
    interval = extent.time_interval or 1.0
    steps = {"T": interval, "Z": z, "C": 1.0, "Y": y * 2**level, "X": x * 2**level}
    return [float(steps[axis]) for axis in axes]


def _multiscales(name: str, axes: str, extent: Extent, levels: int, version: str) -> dict[str, Any]:
    kinds = {"T": "time", "C": "channel"}
    length = "micrometer" if extent.pixel_size else None
    units = {
        "T": "second" if extent.time_interval else None,
        "C": None,
        "Z": length if extent.z_stated else None,
    }
    described = []
    for axis in axes:
        entry = {"name": axis.lower(), "type": kinds.get(axis, "space")}
        unit = units.get(axis, length)
        described.append({**entry, "unit": unit} if unit else entry)
    scales = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": _scale(axes, extent, level)}],
        }
        for level in range(levels)
    ]
    own = {"version": version} if version == "0.4" else {}
    return {
        "multiscales": [
            {**own, "name": name, "axes": described, "datasets": scales, "type": "nearest"}
        ]
    }


def _image_label(
    properties: list[dict[str, Any]], masks: Masks | None, version: str
) -> dict[str, Any]:
    """What says that an image is labels; with `masks`, those are classes in their colours."""
    said: dict[str, Any] = {"version": version} if version == "0.4" else {}
    if masks is not None:
        said["colors"] = [
            {"label-value": value, "rgba": [*bytes.fromhex(info.color[1:]), 255]}
            for value, info in enumerate(masks.classes, 1)
        ]
        properties = [
            {"label-value": value, "class": info.name}
            for value, info in enumerate(masks.classes, 1)
        ]
    if properties:
        said["properties"] = properties
    said["source"] = {"image": "../../"}
    return {"image-label": said}


def _number(fact: Mapping[str, Any]) -> int:
    return int(fact["label-value"])


def _describe(group: Any, said: Mapping[str, Any], version: str) -> None:
    group.attrs.update(said if version == "0.4" else {"ome": {"version": version, **said}})


def _scale_of(group: Any, version: str) -> list[float]:
    said = group.attrs if version == "0.4" else group.attrs["ome"]
    scale: list[float] = said["multiscales"][0]["datasets"][0]["coordinateTransformations"][0][
        "scale"
    ]
    return scale
