"""The connected region around a pixel, found window by window: what the bucket would fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from unet_core.edits import TILE, bounding_box
from unet_core.tiling import Rect

Labels = NDArray[np.integer[Any]]

# A window's neighbours: the step to each in rows and columns of windows, the pixels of the window
# that touch it, and the pixels of the neighbour that they touch, in the same order.
_TOP, _BOTTOM, _LEFT, _RIGHT = np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]
_SIDES = (
    (-1, 0, _TOP, _BOTTOM),
    (1, 0, _BOTTOM, _TOP),
    (0, -1, _LEFT, _RIGHT),
    (0, 1, _RIGHT, _LEFT),
)


@dataclass(frozen=True)
class Region:
    """Pixels of one value that hang together by their edges."""

    rect: Rect
    """The region's bounding box in the plane."""
    mask: NDArray[np.bool_]
    """Bool (height, width): the region within `rect`."""
    pixels: int
    """How many they are; more than the limit where the search was given up."""
    complete: bool
    """Whether this is the whole region: False where it has more pixels than the limit."""
    closed: bool
    """Whether it is complete and other values surround it: it nowhere meets the plane's edge."""


def flood(
    read: Callable[[Rect], Labels],
    plane: Rect,
    seed: tuple[int, int],
    limit: int,
    *,
    window: int = TILE,
) -> Region:
    """The 4-connected region of pixels that have the same value as the pixel `seed` (row, column).

    `read` gives the labels of a rectangle that lies within `plane`: integers (height, width). Only
    windows of `window` pixels a side that the region reaches, and their neighbours, are read, each
    once: the cost follows the region. The search is given up as soon as more than `limit` pixels
    are found; the answer then holds what was found so far, a connected part of the region.
    Raises ValueError for a seed outside the plane.
    """
    if Rect(*seed, 1, 1).intersect(plane).empty:
        raise ValueError(f"the pixel {seed} lies outside the plane")
    start = (seed[0] - plane.y) // window, (seed[1] - plane.x) // window
    value = read(Rect(*seed, 1, 1))[0, 0]
    windows: dict[tuple[int, int], _Window] = {}

    def at(row: int, column: int) -> _Window | None:
        """The window at a place of the grid, read when first needed; None outside the plane."""
        if (row, column) not in windows:
            place = Rect(plane.y + row * window, plane.x + column * window, window, window)
            rect = place.intersect(plane)
            if rect.empty:
                return None
            windows[row, column] = _Window(rect, read(rect) == value)
        return windows[row, column]

    first = at(*start)
    assert first is not None
    # Parts of windows that are known to belong to the region, while their windows wait for a look.
    pending = {start: {int(first.parts[seed[0] - first.rect.y, seed[1] - first.rect.x])}}
    pixels, at_edge = 0, False
    while pending and pixels <= limit:
        place = next(iter(pending))  # the one that has waited longest
        here = windows[place]
        new = here.take(pending.pop(place))
        pixels += int(here.sizes[new].sum())
        for down, right, own_side, other_side in _SIDES:
            touching = new[here.parts[own_side]]
            if not touching.any():
                continue
            beside = (place[0] + down, place[1] + right)
            neighbour = at(*beside)
            if neighbour is None:
                at_edge = True
                continue
            parts = set(neighbour.parts[other_side][touching].tolist()) - {0}
            parts -= set(np.flatnonzero(neighbour.taken).tolist())
            if parts:
                pending.setdefault(beside, set()).update(parts)
    complete = pixels <= limit
    rect, mask = _assemble(windows.values())
    return Region(rect, mask, pixels, complete, complete and not at_edge)


class _Window:
    """A window of the plane, its pixels of the wanted value numbered by connected part."""

    def __init__(self, rect: Rect, wanted: NDArray[np.bool_]) -> None:
        self.rect = rect
        if wanted.all():  # the inside of a large region costs neither time nor memory
            self.parts = np.broadcast_to(np.int32(1), wanted.shape)
            self.sizes = np.array([0, wanted.size])
        else:
            self.parts = label(wanted)[0]
            self.sizes = np.bincount(self.parts.ravel())
        self.taken = np.zeros(len(self.sizes), bool)
        """By number of part (0: other values): does it belong to the region?"""

    def take(self, parts: set[int]) -> NDArray[np.bool_]:
        """Add parts to the region: which ones are new, bool by number of part."""
        new = np.zeros_like(self.taken)
        new[list(parts)] = True
        new &= ~self.taken
        self.taken |= new
        return new


def _assemble(windows: Iterable[_Window]) -> tuple[Rect, NDArray[np.bool_]]:
    """The taken parts of all windows as one mask (height, width), cut to their bounding box."""
    reached = [w for w in windows if w.taken.any()]
    around = Rect(0, 0, 0, 0)
    for w in reached:
        around = around.union(w.rect)
    mask = np.zeros((around.height, around.width), bool)
    for w in reached:
        there = Rect(w.rect.y - around.y, w.rect.x - around.x, w.rect.height, w.rect.width)
        mask[there.slices] = w.taken[w.parts]
    cut = bounding_box(mask)
    return Rect(around.y + cut.y, around.x + cut.x, cut.height, cut.width), mask[cut.slices]
