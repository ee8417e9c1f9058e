"""Which pixels a closed line goes round: polygon, lasso, and encircle-and-fill."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unet_core.tiling import Rect

# Far beyond any plane, and near enough for integers and floats to stay exact.
_FARTHEST = 1e9


def polygon_box(vertices: ArrayLike, plane: Rect) -> Rect:
    """The bounding box of points (n, 2), n >= 1, of (y, x), as far as it lies in the plane."""
    points = np.asarray(vertices, np.float64)
    y, x = np.floor(points.min(axis=0)).astype(int).tolist()
    bottom, right = np.ceil(points.max(axis=0)).astype(int).tolist()
    return Rect(y, x, bottom - y, right - x).intersect(plane)


def polygon_mask(vertices: ArrayLike, plane: Rect) -> tuple[Rect, NDArray[np.bool_]]:
    """The pixels of `plane` whose centre lies inside a polygon: where, and bool (height, width).

    `vertices` are points (n, 2) of (y, x) in continuous coordinates, see `brush`; the last is
    joined to the first. Inside is what the line goes round at least once on balance (the non-zero
    winding rule): a lasso whose end crosses its beginning has no hole there, and both halves of an
    eight are full. A centre exactly on the line belongs to the polygon below it or to the right of
    it, so that polygons with a common edge neither overlap nor leave a gap.

    The rectangle is the polygon's bounding box as far as it lies in the plane: empty where they do
    not meet. Raises ValueError for what are no points, NaN and absurd distances included.
    """
    points = np.asarray(vertices, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) <= _FARTHEST).all():
        raise ValueError("the vertices of a polygon are points (y, x) within reach of the plane")
    if len(points) == 0:
        return Rect(0, 0, 0, 0), np.zeros((0, 0), bool)
    box = polygon_box(points, plane)
    if box.empty:
        return box, np.zeros((box.height, box.width), bool)

    # Each edge from its upper to its lower end, which makes a common edge of two polygons the same
    # numbers in both, and the rows whose centres it passes: the upper end's included, the lower's
    # not.
    ahead = np.roll(points, -1, axis=0)
    turn = np.where(ahead[:, 0] > points[:, 0], 1, -1)
    upper = np.where((turn > 0)[:, None], points, ahead)
    lower = np.where((turn > 0)[:, None], ahead, points)
    first = np.clip(np.ceil(upper[:, 0] - 0.5).astype(np.int64), box.y, box.bottom)
    count = np.clip(np.ceil(lower[:, 0] - 0.5).astype(np.int64), box.y, box.bottom) - first

    # A crossing for each edge and row, and the first column whose centre lies not left of it.
    edge = np.repeat(np.arange(len(points)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    run, rise = (lower - upper)[edge].T[::-1]
    across = upper[edge, 1] + (row + 0.5 - upper[edge, 0]) / rise * run
    column = np.clip(np.ceil(across - 0.5).astype(np.int64), box.x, box.right)

    # Read row after row the plane is runs of pixels between crossings, and each row ends outside.
    starts = (row - box.y) * box.width + (column - box.x)
    order = np.argsort(starts)
    winding = np.cumsum(np.concatenate(([0], turn[edge][order])))
    lengths = np.diff(starts[order], prepend=0, append=box.height * box.width)
    return box, np.repeat(winding != 0, lengths).reshape(box.height, box.width)
