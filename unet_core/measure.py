"""From numbered objects to a table of measurements, in the right units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.measure import regionprops_table

from unet_core.masks import compact
from unet_core.stack import PlaneIndex, Stack

Cell = float | int | str
Columns = dict[str, list[Cell]]


@dataclass(frozen=True)
class Table:
    """Measurements: a header with units in the names, and one row for each object and frame."""

    header: list[str]
    rows: list[list[Cell]]


def measure(
    labels: Callable[[PlaneIndex], NDArray[np.integer]],
    stack: Stack,
    name: str,
    *,
    times: Sequence[int] | None = None,
    slices: Sequence[int] | None = None,
    more: Callable[[int, list[int]], Mapping[str, list[Cell]]] | None = None,
) -> Iterator[Table]:
    """Measure numbered objects on `stack`, one Table for each time point.

    `labels(plane)` gives `(Y, X)` object numbers, 0 background; `name` goes into the first column.
    Sizes are in pixels (voxels where there are several z planes) and, where the pixel size is
    known, in µm² (µm³); positions in pixels and in µm, the centre of the image's first pixel being
    0. Intensities are those of the file. Holds one plane in memory.

    times, slices   which planes to measure, all if not given
    more            gives further columns for a time point and the numbers of its objects
    """
    slices = range(stack.shape[1]) if slices is None else slices
    for t in range(stack.shape[0]) if times is None else times:
        planes = [PlaneIndex(t, z) for z in slices]
        if len(planes) == 1:
            numbers, columns = _measure_plane(labels(planes[0]), stack, planes[0])
        else:
            numbers, columns = _measure_volume(labels, stack, planes)
        table: Columns = {
            "image": [name] * len(numbers),
            "frame": [t] * len(numbers),
            "label": list(numbers),
            **(more(t, numbers) if more else {}),
            **columns,
        }
        rows = [list(row) for row in zip(*table.values(), strict=True)]
        yield Table(list(table), rows)


def _measure_plane(
    stored: NDArray[np.integer], stack: Stack, plane: PlaneIndex
) -> tuple[list[int], Columns]:
    """The numbers of a plane's objects, and their measurements."""
    # skimage sets aside room for every number up to the largest: count 0, 1, 2… meanwhile.
    known, numbers = compact(stored)
    shape = ["area", "centroid", "bbox", "perimeter", "eccentricity", "solidity"]
    found = regionprops_table(numbers, properties=["label", *shape])
    columns = _geometry(
        found["area"],
        np.stack((found["centroid-0"], found["centroid-1"])),
        np.stack([found[f"bbox-{i}"] for i in range(4)]),
        stack,
    )
    columns["perimeter_px"] = found["perimeter"].tolist()
    if stack.pixel_size and math.isclose(*stack.pixel_size[1:], rel_tol=1e-6):
        columns["perimeter_um"] = (found["perimeter"] * stack.pixel_size[2]).tolist()
    columns["eccentricity"] = found["eccentricity"].tolist()
    columns["solidity"] = found["solidity"].tolist()
    columns["touches_border"] = columns.pop("touches_border")
    statistics = _Statistics(len(known), stack.shape[2])
    statistics.add(numbers, np.arange(len(known)), stack.plane(*plane))
    return known.tolist(), {**columns, **statistics.columns()}


def _measure_volume(
    labels: Callable[[PlaneIndex], NDArray[np.integer]], stack: Stack, planes: list[PlaneIndex]
) -> tuple[list[int], Columns]:
    """As `_measure_plane`, of objects that lie in several planes; each plane is read twice."""
    everyone = compact(labels(planes[0]))[0]
    for plane in planes[1:]:
        everyone = np.union1d(everyone, compact(labels(plane))[0])
    count = len(everyone)
    statistics = _Statistics(count, stack.shape[2])
    sums = np.zeros((3, count))
    box = np.full((6, count), -1, np.int64)
    for plane in planes:
        z = plane.z
        known, numbers = compact(labels(plane))
        at = np.searchsorted(everyone, known)
        statistics.add(numbers, at, stack.plane(*plane))
        for number, (rows, columns) in enumerate(find_objects(numbers), 1):
            one = at[number - 1]
            y, x = np.nonzero(numbers[rows, columns] == number)
            sums[:, one] += (z * len(y), (y + rows.start).sum(), (x + columns.start).sum())
            start, end = (z, rows.start, columns.start), (z + 1, rows.stop, columns.stop)
            if box[0, one] < 0:
                box[:, one] = (*start, *end)
            else:
                box[:3, one] = np.minimum(box[:3, one], start)
                box[3:, one] = np.maximum(box[3:, one], end)
    volume = statistics.pixels
    columns = _geometry(volume, sums / np.maximum(volume, 1), box, stack)
    return everyone.tolist(), {**columns, **statistics.columns()}


def _geometry(
    size: NDArray[Any],
    centroid: NDArray[np.float64],
    box: NDArray[np.int64],
    stack: Stack,
) -> Columns:
    """Sizes and places: `centroid` (axes, n), `box` (2 axes, n), first corners, then ends."""
    volume = len(centroid) == 3
    axes = "zyx" if volume else "yx"
    sizes = dict(zip("zyx", stack.pixel_size, strict=True)) if stack.pixel_size else {}
    if not stack.z_stated:
        sizes.pop("z", None)
    known = [sizes[axis] for axis in axes if axis in sizes]
    columns: Columns = {
        "volume_px" if volume else "area_px": np.asarray(size).astype(np.int64).tolist()
    }
    if len(known) == len(axes):
        columns["volume_um3" if volume else "area_um2"] = (size * np.prod(known)).tolist()
    for i, axis in enumerate(axes):
        columns[f"centroid_{axis}_px"] = centroid[i].tolist()
        if axis in sizes:
            columns[f"centroid_{axis}_um"] = (centroid[i] * sizes[axis]).tolist()
    for i, edge in enumerate([f"{axis}_{end}_px" for end in ("min", "end") for axis in axes]):
        columns[f"bbox_{edge}"] = box[i].tolist()
    n = len(axes)
    rows, wide = n - 2, n - 1
    height, width = stack.shape[3:]
    touches = (box[rows] == 0) | (box[n + rows] == height)
    touches |= (box[wide] == 0) | (box[n + wide] == width)
    columns["touches_border"] = touches.astype(np.int64).tolist()
    return columns


class _Statistics:
    """Mean, minimum, maximum, standard deviation and sum of each channel in each object.

    Taken in plane after plane. Means and squared deviations of two parts are joined as Chan, Golub
    and LeVeque (1979) do: sums of squares would lose a small deviation beside a large mean.
    """

    def __init__(self, count: int, channels: int) -> None:
        self.pixels = np.zeros(count, np.int64)
        self._sum = np.zeros((channels, count))
        self._mean = np.zeros((channels, count))
        self._squares = np.zeros((channels, count))
        self._least = np.full((channels, count), np.inf)
        self._most = np.full((channels, count), -np.inf)

    def add(
        self, numbers: NDArray[np.integer], at: NDArray[np.integer], image: NDArray[np.generic]
    ) -> None:
        """Take in a plane: its objects as 1, 2, 3… `(Y, X)`, which one each is, `(C, Y, X)`."""
        if not len(at):
            return
        flat = numbers.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat, 0, side="right", sorter=order) :]
        sizes = np.bincount(flat, minlength=len(at) + 1)[1:]
        starts = np.cumsum(sizes) - sizes
        before = self.pixels[at]
        together = before + sizes
        for channel, plane in enumerate(image):
            values = plane.ravel()[order].astype(np.float64)
            total = np.add.reduceat(values, starts)
            self._sum[channel, at] += total
            mean = total / sizes
            squares = np.add.reduceat((values - np.repeat(mean, sizes)) ** 2, starts)
            apart = mean - self._mean[channel, at]
            self._squares[channel, at] += squares + apart**2 * before * sizes / together
            self._mean[channel, at] += apart * sizes / together
            least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
            self._least[channel, at] = np.minimum(self._least[channel, at], least)
            self._most[channel, at] = np.maximum(self._most[channel, at], most)
        self.pixels[at] = together

    def columns(self) -> Columns:
        """The finished columns."""
        pixels = np.maximum(self.pixels, 1)
        columns: Columns = {}
        for channel, mean in enumerate(self._mean):
            prefix = f"channel{channel + 1}"
            columns[f"{prefix}_mean"] = mean.tolist()
            columns[f"{prefix}_min"] = self._least[channel].tolist()
            columns[f"{prefix}_max"] = self._most[channel].tolist()
            columns[f"{prefix}_std"] = np.sqrt(self._squares[channel] / pixels).tolist()
            columns[f"{prefix}_integrated"] = self._sum[channel].tolist()
        return columns
