"""From class maps to numbered objects: apart in the plane where they touch, joined through z."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from unet_core.export import DEFAULT_MIN_SIZE
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect, bands_of
from unet_core.watershed import Hills, Parts, watershed

Look = Callable[[Rect], tuple[NDArray[np.uint8], NDArray[Any] | None]]
"""Gives the classes of a rectangle and the network's interior, if any: both `(height, width)`."""

PROMINENCE = 0.3
"""How far a cell's interior, 0…1, rises above the pass to its neighbour, at least."""
_PROMINENCE = PROMINENCE * 255 * 256
"""As far as that in the heights of `_relief`."""
_SMOOTHED = 2
"""The relief of a pixel depends on the interior of those that are so many pixels away."""
LEAST_OVERLAP, CLEAR_OVERLAP = 0.1, 0.3
"""Intersection over union of two objects in neighbouring z planes, from where on they are one: if
neither has a better partner, and in any case."""


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


def interior_target(objects: NDArray[np.integer]) -> NDArray[np.float32]:
    """How far inside its own object each pixel lies: `(Y, X)` float32, 0…1, 0 outside all objects.

    `objects` is `(Y, X)`: 0 nothing, any larger number an object. The distance of a pixel to the
    nearest pixel at its object's border (one with another number beside it, diagonally too), plus
    half a pixel, is divided by the largest such distance in the object: 1 on the innermost pixels
    and close to 0 at the border, alike for small and large cells; 1 throughout an object that is
    one or two pixels wide. The edge of the image is no border: a cell that it cuts goes on.
    """
    borders = maximum_filter(objects, 3) != minimum_filter(objects, 3)
    if not borders.any():
        return (objects > 0).astype(np.float32)
    depth = distance_transform_edt(~borders).astype(np.float32) + np.float32(0.5)
    inside = np.flatnonzero(objects)
    own, depth = objects.ravel()[inside], depth.ravel()[inside]
    if objects.max() > objects.size:  # room for each object, not for each number
        own = np.unique(own, return_inverse=True)[1]
    largest = np.zeros(int(own.max(initial=0)) + 1, np.float32)
    np.maximum.at(largest, own, depth)
    result = np.zeros(objects.shape, np.float32)
    result.ravel()[inside] = depth / largest[own]
    return result


def known_interior(objects: NDArray[np.integer]) -> NDArray[np.float32]:
    """What object labels tell of the interior: `(Y, X)` float32, 1 + `interior_target`, else 0.

    `objects` is `(Y, X)`: 0 unlabelled, 1 background, 2… one number a cell. A cell with an
    unlabelled pixel beside it may go on there: nothing is known of its interior.
    """
    cells = np.where(objects > 1, objects, 0)
    cut = np.unique(cells[maximum_filter(objects == 0, 3)])
    known = (objects > 0) & ((cells == 0) | ~np.isin(cells, cut))
    return np.where(known, 1 + interior_target(cells), np.float32(0))


def label_plane(classes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Connected objects of a plane: `(Y, X)` int32, 0 background, 1… objects.

    Pixels belong together where they share an edge and the class; classes 0 (unlabelled) and
    1 (background) hold no objects.
    """
    result: NDArray[np.int32] = label(
        np.where(classes > 1, classes, np.uint8(0)), background=0, connectivity=1
    ).astype(np.int32, copy=False)
    return result


def count_objects(
    look: Look, area: Rect, min_size: int = DEFAULT_MIN_SIZE
) -> Generator[None, None, int]:
    """How many objects of at least `min_size` pixels `split_objects` finds in `area`.

    The area is looked at band by band, one at a step: memory does not grow with it.
    """
    parts = yield from split_area(look, area, min_size)
    return int((parts.sizes >= min_size).sum())


def split_area(look: Look, area: Rect, min_size: int) -> Generator[None, None, Parts]:
    """The objects of `area` as `split_objects` finds them, an object over several bands as one.

    The area is looked at band by band, one at a step, and once more when the parts are asked for.
    """

    def relief(rect: Rect) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        around = rect.expand(_SMOOTHED).intersect(area)
        inside = Rect(rect.y - around.y, rect.x - around.x, *rect[2:]).slices
        classes, interior = look(around)
        if interior is None:  # flat, so that nothing is cut
            return classes[inside], (classes[inside] > 1).astype(np.uint16)
        return classes[inside], _relief(classes, interior)[inside]

    hills = Hills(relief, bands_of(area))
    yield from hills.explore()
    return hills.parts(_PROMINENCE, min_size)


def split_objects(
    classes: NDArray[np.uint8], interior: NDArray[Any] | None, min_size: int
) -> NDArray[np.int32]:
    """Objects of a plane, touching ones apart: `(Y, X)` int32, 0 background, 1… objects.

    Like `label_plane`, but where the network's `interior` (`(Y, X)`, float 0…1 or uint8 0…255, see
    `interior_target`) falls and rises again inside a connected part, it is cut along the valley. A
    map that says little cuts little. Pieces of fewer than `min_size` pixels that a cut leaves go
    back to a neighbour. With an interior of None: connected parts, as they are.
    """
    if interior is None:
        return label_plane(classes)
    return watershed(classes, _relief(classes, interior), _PROMINENCE, min_size)


def interior_levels(interior: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The interior, 0…1, as it is kept: uint8 0…255."""
    levels: NDArray[np.uint8] = np.round(interior * 255).astype(np.uint8)
    return levels


def _relief(classes: NDArray[np.uint8], interior: NDArray[Any]) -> NDArray[np.uint16]:
    """The interior as heights 1…65280 inside objects, 0 outside, smoothed with a sigma of 1 pixel.

    Whole numbers, so that the window, which keeps the interior as uint8, and an export agree. The
    weights 1, 4, 6, 4, 1 along each axis have a variance of one pixel².
    """
    if interior.dtype != np.uint8:
        interior = interior_levels(interior)
    inside = classes > 1
    rough = np.pad(np.where(inside, interior, 0).astype(np.uint16), 2, mode="edge")
    for along in (rough, rough.T):
        total = along[2:-2] * np.uint16(6)
        total += (along[1:-3] + along[3:-1]) * np.uint16(4)
        total += along[:-4] + along[4:]
        along[2:-2] = total
    return np.where(inside, np.maximum(rough[2:-2, 2:-2], 1), np.uint16(0))


class ObjectNumbers:
    """Joins the objects of one plane after another into numbered objects of the stack.

    `add()` takes the planes in order (t outer, z inner); time points are never joined. Objects of
    one class that lie on each other in neighbouring z planes are one object. But where touching
    cells were kept apart (`cut`), a cell also lies a little on its neighbours, which would chain
    them all: there two objects are one only if each covers most of the other, see `_same_cell`.
    Only one number and one size for each object are kept, never a plane but the last one.
    `number_of()` then turns each plane's own labels, given in the same order, into final numbers.
    """

    def __init__(self, cut: bool) -> None:
        """`cut`: whether the planes' labels come from an interior, see `split_objects`."""
        self._cut = cut
        self._offsets = [0]
        self._sizes: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]  # of no object
        self._pairs: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
        self._last: tuple[PlaneIndex, NDArray[np.int32], NDArray[np.uint8]] | None = None
        self._final = np.zeros(1, np.int64)

    def add(self, plane: PlaneIndex, labels: NDArray[np.int32], classes: NDArray[np.uint8]) -> None:
        """Take in a plane: its own labels from `split_objects` and its classes, both `(Y, X)`."""
        offset = self._offsets[-1]
        sizes = np.bincount(labels.ravel(), minlength=1)[1:].astype(np.int64)
        self._sizes.append(sizes)
        if self._last is not None and self._last[0] == (plane.t, plane.z - 1):
            _, below, below_classes = self._last
            lying = (labels > 0) & (below > 0) & (classes == below_classes)
            both = np.stack((below[lying], labels[lying]), axis=1)
            pairs, shared = np.unique(both, axis=0, return_counts=True)
            if self._cut:
                areas = self._sizes[-2][pairs[:, 0] - 1], sizes[pairs[:, 1] - 1]
                pairs = pairs[_same_cell(pairs, shared, *areas)]
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


def _same_cell(
    pairs: NDArray[np.integer],
    shared: NDArray[np.integer],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
) -> NDArray[np.bool_]:
    """Which pairs of objects `(n, 2)` in two planes are one, by shared pixels and their areas."""
    overlap = shared / (first + second - shared)
    best = np.ones(len(pairs), bool)
    for side in pairs.T:
        most = np.zeros(int(side.max(initial=0)) + 1, shared.dtype)
        np.maximum.at(most, side, shared)
        best &= shared == most[side]
    same: NDArray[np.bool_] = (overlap > CLEAR_OVERLAP) | (best & (overlap > LEAST_OVERLAP))
    return same
