"""Which pixels a round brush covers on its way: geometry in continuous coordinates, no labels.

Pixel (r, c) covers [r, r + 1) x [c, c + 1), its centre lies at (r + 0.5, c + 0.5). A point is
(y, x).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from unet_core.tiling import Rect

Point = tuple[float, float]
Pixels = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def around(start: Point, end: Point, radius: float) -> Rect:
    """The smallest rectangle of pixels around everything within `radius` of a segment."""
    top = math.floor(min(start[0], end[0]) - radius)
    left = math.floor(min(start[1], end[1]) - radius)
    bottom = math.floor(max(start[0], end[0]) + radius) + 1
    right = math.floor(max(start[1], end[1]) + radius) + 1
    return Rect(top, left, bottom - top, right - left)


def capsule(start: Point, end: Point, radius: float, rect: Rect) -> npt.NDArray[np.bool_]:
    """Which pixel centres of a rectangle lie within `radius` of a segment: bool (height, width).

    Not to be written to.
    """
    top, left, height, width = rect
    inside = _capsule if height * width > _SMALL else _kept_capsule
    return inside(
        start[0] - top, start[1] - left, end[0] - top, end[1] - left, radius, height, width
    )


def _capsule(
    top: float, left: float, bottom: float, right: float, radius: float, height: int, width: int
) -> npt.NDArray[np.bool_]:
    """A segment from (top, left) to (bottom, right) in a rectangle that begins at (0, 0)."""
    y = np.arange(height)[:, None] + (0.5 - top)
    x = np.arange(width)[None, :] + (0.5 - left)
    dy, dx = bottom - top, right - left
    length2 = dy * dy + dx * dx
    if length2 > 0:
        along = y * (dy / length2) + x * (dx / length2)
        np.maximum(along, 0.0, out=along)  # np.clip takes as long as all the rest, on so few pixels
        np.minimum(along, 1.0, out=along)
        y = y - along * dy
        x = x - along * dx
    inside: npt.NDArray[np.bool_] = y * y + x * x <= radius * radius
    inside.flags.writeable = False
    return inside


# At 1:1 a hand makes the same few moves again and again.
_kept_capsule = lru_cache(512)(_capsule)
_SMALL = 128 * 128


def is_far(start: Point, end: Point, radius: float, rect: Rect) -> bool:
    """Whether no pixel of a rectangle can lie within `radius` of a segment (quick, not sharp)."""
    y = rect.y + rect.height / 2 - start[0]
    x = rect.x + rect.width / 2 - start[1]
    dy, dx = end[0] - start[0], end[1] - start[1]
    length2 = dy * dy + dx * dx
    along = min(1.0, max(0.0, (y * dy + x * dx) / length2)) if length2 > 0 else 0.0
    reach = radius + math.hypot(rect.height, rect.width) / 2
    return math.hypot(y - along * dy, x - along * dx) > reach


def pixel_path(start: Point, end: Point, plane: Rect) -> Pixels:
    """Pixels under a segment, from start to end, as far as they lie in the plane: (rows, cols).

    Neighbours in the list touch, at least by a corner.
    """
    # One step more than the longer side: a step is then a little less than one pixel, and
    # rounding can not make it jump over one.
    steps = math.ceil(max(abs(end[0] - start[0]), abs(end[1] - start[1]))) + 1
    first, last = 0, steps
    # A path may reach far outside: look only at the steps that can lie within the plane.
    for a, b, low, high in ((start[0], end[0], plane.y, plane.bottom),
                            (start[1], end[1], plane.x, plane.right)):  # fmt: skip
        if a != b:
            ends = sorted(((low - a) / (b - a), (high - a) / (b - a)))
            first = max(first, math.floor(ends[0] * steps) - 1)
            last = min(last, math.ceil(ends[1] * steps) + 1)
    along = np.arange(first, last + 1) / steps
    rows = np.floor(start[0] * (1 - along) + end[0] * along).astype(np.int64)
    cols = np.floor(start[1] * (1 - along) + end[1] * along).astype(np.int64)
    inside = (rows >= plane.y) & (rows < plane.bottom) & (cols >= plane.x) & (cols < plane.right)
    return rows[inside], cols[inside]


def marked(pixels: Pixels, rect: Rect) -> npt.NDArray[np.bool_]:
    """The pixels of a list that lie in a rectangle: bool (height, width)."""
    rows, cols = pixels[0] - rect.y, pixels[1] - rect.x
    inside = (rows >= 0) & (rows < rect.height) & (cols >= 0) & (cols < rect.width)
    mask = np.zeros((rect.height, rect.width), bool)
    mask[rows[inside], cols[inside]] = True
    return mask
