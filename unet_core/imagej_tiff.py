"""ImageJ's own TIFF: opens in ImageJ and Fiji by drag and drop, with slices, frames and scale.

Uncompressed, as ImageJ documents it, and up to 4 GiB. There are no 32-bit whole numbers in this
format: object numbers above 65,535 are written as float32, which ImageJ shows the same way.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from unet_core.atomic import sync_file
from unet_core.export import (
    ExportError,
    Extent,
    Progress,
    checksum,
    differs,
    forget_cached,
    writing,
)
from unet_core.labels import MAX_OBJECT
from unet_core.masks import Masks
from unet_core.stack import StackError, open_stack

_MOST_BYTES = 2**32 - 2**20


def write_imagej_objects(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write the object numbers in colours that tell neighbours apart; 0 is black."""
    if masks.highest > MAX_OBJECT:
        raise ExportError(
            f"{path.name} was not written: ImageJ's format cannot number so many objects; "
            "choose OME-TIFF."
        )
    small = masks.object_type == np.uint16
    dtype = np.dtype(np.uint16 if small else np.float32)
    look = {"LUTs": [_colours()], "min": 0.0, "max": float(max(255, masks.highest))}
    return _write(path, masks.object_map, masks.extent, dtype, masks.notes, look, overwrite)


def write_imagej_mask(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write black and white: 255 where a pixel is of any class but background, else 0 (uint8)."""

    def white(i: int) -> NDArray[np.uint8]:
        return np.where(masks.class_map(i) > 1, np.uint8(255), np.uint8(0))

    look = {"min": 0.0, "max": 255.0}
    dtype = np.dtype(np.uint8)
    return _write(path, white, masks.extent, dtype, masks.notes, look, overwrite)


def _write(
    path: Path,
    plane_of: Callable[[int], NDArray[Any]],
    extent: Extent,
    dtype: np.dtype[Any],
    notes: Mapping[str, str],
    look: Mapping[str, Any],
    overwrite: bool,
) -> Iterator[Progress]:
    times, slices, _, height, width = extent.shape
    count = times * slices
    if count * height * width * dtype.itemsize > _MOST_BYTES:
        raise ExportError(
            f"{path.name} was not written: ImageJ's format ends at 4 GiB; choose OME-TIFF, which "
            "Fiji opens too."
        )
    stored = dtype.newbyteorder(">")
    metadata: dict[str, Any] = {"axes": "TZYX", "unit": "pixel", **look}
    metadata["Info"] = "".join(f"{key}: {value}\n" for key, value in notes.items())
    options: dict[str, Any] = {}
    if extent.pixel_size is not None:
        z, y, x = extent.pixel_size
        metadata |= {"unit": "um", "spacing": z} if extent.z_stated else {"unit": "um"}
        options["resolution"] = (1 / x, 1 / y)
    if extent.time_interval is not None:
        metadata["finterval"] = extent.time_interval
    checksums: list[bytes] = []
    with writing(path, extent, overwrite) as part:
        with tifffile.TiffWriter(part, imagej=True, byteorder=">") as writer:
            start, _ = writer.write(
                None,
                shape=(times, slices, height, width),
                dtype=stored,
                metadata=metadata,
                returnoffset=True,
                **options,
            )
        with part.open("r+b") as file:
            file.seek(start)
            for i in range(count):
                plane = plane_of(i).astype(dtype)
                checksums.append(checksum(plane))
                file.write(plane.astype(stored).tobytes())
                yield Progress(i + 1, 2 * count, f"Writing plane {i + 1} of {count}")
        sync_file(part)
        forget_cached(part)
        try:
            with open_stack(part) as written:
                found = written.shape, written.dtype, written.pixel_size is None
                if found != ((times, slices, 1, height, width), dtype, extent.pixel_size is None):
                    raise differs(path.name)
                if extent.pixel_size and not np.allclose(
                    written.pixel_size or 0, extent.pixel_size, rtol=1e-5
                ):
                    raise differs(path.name)
                for i, plane_index in enumerate(extent.planes()):
                    if checksum(written.plane(*plane_index)[0]) != checksums[i]:
                        raise differs(path.name)
                    yield Progress(count + i + 1, 2 * count, f"Checking plane {i + 1} of {count}")
        except StackError as error:
            raise differs(path.name) from error


def _colours() -> NDArray[np.uint8]:
    """A look-up table (3, 256): black, then hues in steps of the golden section."""
    colours = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.65 + i % 3 * 0.15, 1.0) for i in range(255)]
    table = np.zeros((3, 256), np.uint8)
    table[:, 1:] = np.round(np.array(colours).T * 255)
    return table
