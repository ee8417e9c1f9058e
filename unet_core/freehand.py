"""A line drawn by hand, made smooth while it is drawn.

Each point of the raw path is replaced by the mean of the path around it, `reach` of its length to
either side (less near the ends, where the shorter side decides):

    smooth(s) = 1 / 2w · ∫ raw(u) du  from s - w to s + w,    w = min(reach, s, length - s)

with s the length along the raw path. Because it counts length and not mouse events, the same
movement gives the same line at any speed. Three things follow from the formula. Both ends stay
where they are. No point moves farther than the mean of |u - s| over the window, which is
`reach` / 2; a straight line does not move at all. And the result is no longer than the raw path
between any two points, hence without gaps; where it bends, it bends without corners.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class FreehandPath:
    """The smooth path of a pen, point by point.

    A smooth point is final when the pen is `reach` beyond it, so the smooth path lags behind by so
    much, and what was handed out never changes. Cost and memory of a movement follow `reach` and
    its own length, not the length of the path so far.
    """

    def __init__(self, reach: float, spacing: float = 1.0) -> None:
        """`reach` >= 0 and the `spacing` > 0 of the smooth points in the bends, both in pixels."""
        if not (0 <= reach < math.inf and 0 < spacing < math.inf):
            raise ValueError(
                f"a path can not be smoothed over {reach} pixels in steps of {spacing}"
            )
        self._reach = reach
        self._spacing = spacing
        # The end of the raw path that is still needed, and where along the path its points lie.
        self._raw = np.zeros((0, 2))
        self._along = np.zeros(0)
        self._given = 0

    def to(self, y: float, x: float) -> NDArray[np.float64]:
        """Move the pen to (y, x): the smooth points that have become final, (n, 2), n may be 0.

        The first call gives the very point. ValueError for what is no point, such as NaN.
        """
        if not (math.isfinite(y) and math.isfinite(x)):
            raise ValueError(f"({y}, {x}) is no point")
        point = np.array([[y, x]])
        if len(self._raw) == 0:
            self._raw, self._along, self._given = point, np.zeros(1), 1
            return point
        step = math.hypot(*(point[0] - self._raw[-1]))
        if step == 0:
            return np.zeros((0, 2))
        self._raw = np.concatenate((self._raw, point))
        self._along = np.append(self._along, self._along[-1] + step)
        length = self._along[-1]
        # Final is s with s + min(reach, s) <= length.
        return self._smooth(max(length - self._reach, length / 2))

    def finish(self) -> NDArray[np.float64]:
        """Lift the pen: the rest of the path up to its very end, (n, 2); none if all were given.

        The path is then empty, for a new one.
        """
        if len(self._raw) == 0:
            return np.zeros((0, 2))
        length, end = self._along[-1], self._raw[-1:]
        rest = np.zeros((0, 2))
        if length > 0:
            # No sample close to the end: the end follows anyhow.
            rest = np.concatenate((self._smooth(length - self._spacing / 2), end))
        self._raw, self._along, self._given = np.zeros((0, 2)), np.zeros(0), 0
        return rest

    def _smooth(self, until: float) -> NDArray[np.float64]:
        """The samples not yet given at lengths <= `until`: (n, 2)."""
        s = self._spacing * self._wanted(until)
        w = np.minimum(self._reach, np.minimum(s, self._along[-1] - s))
        # What each window, a row, holds of each segment, a column. The mean of a straight piece is
        # its middle, the mean of an empty window the point itself.
        begin = np.maximum(self._along[:-1], (s - w)[:, None])
        end = np.minimum(self._along[1:], (s + w)[:, None])
        held = np.maximum(0, end - begin)
        total = held.sum(axis=1, keepdims=True)
        smooth = (held[..., None] * self._at((begin + end) / 2)).sum(axis=1)
        smooth = np.where(total > 0, smooth / np.where(total > 0, total, 1), self._at(s))
        # The next samples look back so far.
        needed = (self._given - 1) * self._spacing - self._reach
        drop = max(0, int(np.searchsorted(self._along, needed, side="right")) - 1)
        self._raw, self._along = self._raw[drop:], self._along[drop:]
        return smooth

    def _wanted(self, until: float) -> NDArray[np.int64]:
        """Numbers of the samples not yet given at lengths <= `until`, at multiples of the spacing.

        Only those that a raw point can move, and one more on either side: the rest is straight.
        """
        begin, self._given = self._given, max(self._given, math.floor(until / self._spacing) + 1)
        side = math.ceil(self._reach / self._spacing) + 1
        nearest = np.rint(self._along / self._spacing).astype(np.int64)
        near = np.unique(nearest[:, None] + np.arange(-side, side + 1))
        return near[(near >= begin) & (near < self._given)]

    def _at(self, s: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The raw path's points (..., 2) at lengths `s`."""
        return np.stack([np.interp(s, self._along, axis) for axis in self._raw.T], axis=-1)


def smooth_path(points: ArrayLike, reach: float, spacing: float = 1.0) -> NDArray[np.float64]:
    """The smooth path through raw points (n, 2) of (y, x), n >= 1: (m, 2), both ends kept.

    Joined by straight lines they are the smooth path, see the head of this file: where it bends,
    they are `spacing` apart, in pixels like `reach`.
    """
    path = FreehandPath(reach, spacing)
    parts = [path.to(y, x) for y, x in np.asarray(points, np.float64)]
    return np.concatenate([*parts, path.finish()])
