"""From numbered objects to a table of measurements, in the right units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from unet_core.stack import PlaneIndex, Stack


@dataclass(frozen=True)
class Table:
    """Measurements: a header with units in the names, and one row for each object and frame."""

    header: list[str]
    rows: list[list[float | int | str]]


def measure(
    labels: Callable[[PlaneIndex], NDArray[np.integer]], stack: Stack, name: str
) -> Iterator[Table]:
    """Measure numbered objects on `stack`, one Table for each time point.

    `labels(plane)` gives `(Y, X)` object numbers, 0 background; `name` goes into the first column.
    Sizes are in pixels (voxels where there are several z planes) and, where the pixel size is
    known, in µm² (µm³); positions in pixels, the centre of the first pixel being 0, and in µm.
    Intensities are those of the file. Holds one time point in memory.
    """
    for t in range(stack.shape[0]):
        yield _measure_frame(labels, stack, name, t)


def _measure_frame(
    labels: Callable[[PlaneIndex], NDArray[np.integer]], stack: Stack, name: str, t: int
) -> Table:
    depth, channels = stack.shape[1], stack.shape[2]
    volume = depth > 1
    # skimage sets aside room for every number up to the largest: count 0, 1, 2… meanwhile.
    stored = np.stack([labels(PlaneIndex(t, z)) for z in range(depth)])
    known, inverse = np.unique(np.append(stored, stored.dtype.type(0)), return_inverse=True)
    numbers = inverse[:-1].reshape(stored.shape)
    image = np.stack([np.moveaxis(stack.plane(t, z), 0, -1) for z in range(depth)])
    if not volume:
        numbers, image = numbers[0], image[0]
    wanted = ["label", "area", "centroid", "bbox"]
    if not volume:
        wanted += ["perimeter", "eccentricity", "solidity"]
    found = regionprops_table(numbers, properties=wanted)
    axes = "zyx" if volume else "yx"
    table: dict[str, NDArray[np.generic]] = {"label": known[found["label"]]}
    table["volume_px" if volume else "area_px"] = found["area"].astype(np.int64)
    sizes = stack.pixel_size[-len(axes) :] if stack.pixel_size else None
    if sizes:
        table["volume_um3" if volume else "area_um2"] = found["area"] * np.prod(sizes)
    for i, axis in enumerate(axes):
        table[f"centroid_{axis}_px"] = found[f"centroid-{i}"]
        if sizes:
            table[f"centroid_{axis}_um"] = found[f"centroid-{i}"] * sizes[i]
    for i, edge in enumerate([f"{axis}_{end}_px" for end in ("min", "end") for axis in axes]):
        table[f"bbox_{edge}"] = found[f"bbox-{i}"]
    if not volume:
        table["perimeter_px"] = found["perimeter"]
        table["eccentricity"] = found["eccentricity"]
        table["solidity"] = found["solidity"]
    table["touches_border"] = _touches_border(found, numbers.shape)
    for channel in range(channels):
        table.update(_intensities(numbers, image[..., channel], found["label"], channel))
    names = {"image": name, "frame": t}
    columns = [column.tolist() for column in table.values()]
    rows = [[*names.values(), *row] for row in zip(*columns, strict=True)]
    return Table([*names, *table], rows)


def _touches_border(
    found: dict[str, NDArray[np.generic]], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """1 where an object lies on the left, right, top or bottom edge of the image, else 0."""
    n = len(shape)
    rows, columns = n - 2, n - 1
    touches = (found[f"bbox-{rows}"] == 0) | (found[f"bbox-{n + rows}"] == shape[rows])
    touches |= (found[f"bbox-{columns}"] == 0) | (found[f"bbox-{n + columns}"] == shape[columns])
    return touches.astype(np.int64)


def _intensities(
    numbers: NDArray[np.int64], image: NDArray[np.generic], wanted: NDArray[np.generic], c: int
) -> dict[str, NDArray[np.generic]]:
    """Mean, minimum, maximum, standard deviation and sum of one channel in each object."""
    found = regionprops_table(
        numbers,
        image.astype(np.float64),
        properties=["intensity_mean", "intensity_min", "intensity_max", "intensity_std", "area"],
    )
    prefix = f"channel{c + 1}"
    return {
        f"{prefix}_mean": found["intensity_mean"],
        f"{prefix}_min": found["intensity_min"],
        f"{prefix}_max": found["intensity_max"],
        f"{prefix}_std": found["intensity_std"],
        f"{prefix}_integrated": found["intensity_mean"] * found["area"],
    }
