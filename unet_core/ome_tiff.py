"""The masks as OME-TIFF, the format that says most and is read most; see `export.write_mask`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unet_core.export import ExportError, Progress, write_mask
from unet_core.masks import Masks


def write_objects(
    path: Path, masks: Masks, overwrite: bool = True, *, wide: bool = False
) -> Iterator[Progress]:
    """Write the object numbers, 0 background: uint16, uint32 above 65,535 or where `wide`."""
    dtype = np.dtype(np.uint32) if wide else masks.object_type
    planes = map(masks.object_map, range(len(masks.planes)))
    return write_mask(
        path,
        planes,
        like=masks.extent,
        dtype=dtype,
        overwrite=overwrite,
        description=masks.notes,
    )


def write_classes(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write the classes as label values (uint8): 0 unlabelled, 1 background, 2… the others."""
    return write_mask(
        path,
        map(masks.class_map, range(len(masks.planes))),
        like=masks.extent,
        dtype=np.uint8,
        overwrite=overwrite,
        description=masks.notes,
    )


def write_probability(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write the probability of the first class, or of all with a leading C axis (float32, 0…1)."""
    if masks.probabilities is None:
        raise ExportError(f"{path.name} was not written: nothing was predicted.")
    planes: Any = map(masks.probabilities, range(len(masks.planes)))
    names = [info.name for info in masks.predicted]
    if len(names) == 1:
        planes, names = (plane[0] for plane in planes), []
    return write_mask(
        path,
        planes,
        like=masks.extent,
        dtype=np.float32,
        channels=len(names),
        channel_names=names,
        overwrite=overwrite,
        description=masks.notes,
    )
