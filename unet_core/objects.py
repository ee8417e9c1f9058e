"""From class maps to numbered objects, and from objects to a table of measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label, regionprops_table

from unet_core.export import DEFAULT_MIN_SIZE
from unet_core.stack import PlaneIndex, Stack


def classes_of_objects(objects: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Class values of object labels, both `(Y, X)`: 0 unlabelled, 1 background, 2… one a cell.

    All cells become class 2. Where two cells touch, the pixels on either side of the line between
    them become background, so that a network learns to keep them apart (Ronneberger et al. 2015,
    section 3, inserts such a background line too).
    """
    cells = objects.astype(np.int64)
    nobody = cells.max(initial=0) + 1  # not the largest integer: the filters count in doubles
    largest = maximum_filter(np.where(cells > 1, cells, 0), 3)
    smallest = minimum_filter(np.where(cells > 1, cells, nobody), 3)
    touching = (cells > 1) & (largest != smallest)
    return np.where(touching, 1, np.minimum(cells, 2)).astype(np.uint8)


def label_plane(classes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Connected objects of a plane: `(Y, X)` int32, 0 background, 1… objects.

    Pixels belong together where they share an edge and the class; classes 0 (unlabelled) and
    1 (background) hold no objects.
    """
    result: NDArray[np.int32] = label(
        np.where(classes > 1, classes, np.uint8(0)), background=0, connectivity=1
    ).astype(np.int32, copy=False)
    return result


def count_objects(classes: NDArray[np.uint8], min_size: int = DEFAULT_MIN_SIZE) -> int:
    """Objects of at least `min_size` pixels in a plane of class values `(Y, X)`."""
    sizes = np.bincount(label_plane(classes).ravel())[1:]
    return int((sizes >= min_size).sum())


class ObjectNumbers:
    """Joins the objects of one plane after another into numbered objects of the stack.

    `add()` takes the planes in order (t outer, z inner). Objects that lie on each other in
    neighbouring z planes and are of one class are one object; time points are never joined.
    Only one number and one size for each object are kept, never a plane but the last one.
    `number_of()` then turns each plane's own labels, given in the same order, into final numbers.
    """

    def __init__(self) -> None:
        self._offsets = [0]
        self._sizes: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]  # of no object
        self._pairs: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
        self._last: tuple[PlaneIndex, NDArray[np.int32], NDArray[np.uint8]] | None = None
        self._final = np.zeros(1, np.int64)

    def add(self, plane: PlaneIndex, labels: NDArray[np.int32], classes: NDArray[np.uint8]) -> None:
        """Take in a plane: its own labels from `label_plane` and its classes, both `(Y, X)`."""
        offset = self._offsets[-1]
        sizes = np.bincount(labels.ravel(), minlength=1)[1:].astype(np.int64)
        self._sizes.append(sizes)
        if self._last is not None and self._last[0] == (plane.t, plane.z - 1):
            _, below, below_classes = self._last
            touching = (labels > 0) & (below > 0) & (classes == below_classes)
            pairs = np.unique(np.stack((below[touching], labels[touching]), axis=1), axis=0)
            self._pairs.append(pairs + np.array([self._offsets[-2], offset]))
        self._offsets.append(offset + len(sizes))
        self._last = plane, labels, classes

    def finish(self, min_size: int) -> int:
        """Number what is at least `min_size` pixels large, in order of appearance; how many."""
        sizes = np.concatenate(self._sizes)
        one, other = np.concatenate(self._pairs).T
        links = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(sizes),) * 2)
        _, groups = connected_components(links, directed=False)
        total = np.bincount(groups, weights=sizes)
        large = total >= max(1, min_size)
        _, first = np.unique(groups, return_index=True)  # where each group appears first
        appears = np.zeros(len(sizes), bool)
        appears[first[large]] = True
        numbers = np.cumsum(appears)
        self._final = np.where(large[groups], numbers[first[groups]], 0)
        self._last = None
        return int(appears.sum())

    def number_of(self, index: int, labels: NDArray[np.int32]) -> NDArray[np.int64]:
        """Final numbers `(Y, X)` of the plane that was added as number `index` (from 0)."""
        offset = self._offsets[index]
        own = self._final[offset : self._offsets[index + 1] + 1].copy()
        own[0] = 0  # the last number of the plane before, or no object
        numbered: NDArray[np.int64] = own[labels]
        return numbered


# --- measurement -----------------------------------------------------------------------------


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
