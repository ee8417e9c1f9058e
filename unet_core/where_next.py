"""Where a few more strokes would teach most: where the network doubts and nobody has painted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from unet_core.tiling import Rect, bands_of

STEP = 8
"""Doubt is looked at in squares of so many pixels a side."""
SPREAD = 4.0
"""Standard deviation, in squares, over which doubt is summed: a place, not a single pixel."""
APART = 8
"""Two places are at least so many squares apart, in rows or in columns."""


Look = Callable[[Rect], tuple[NDArray[np.uint8], NDArray[np.bool_]]]
"""Gives the probabilities of the foreground classes in a rectangle, `(K, height, width)`, 0…255,
and which of its pixels are labelled, `(height, width)`."""


def uncertain_places(look: Look, area: Rect, count: int) -> Sequence[tuple[int, int]]:
    """At most `count` pixels `(y, x)` of `area`, the most uncertain place first.

    The doubt of a pixel is 1 where a class is as likely as not, and 0 where all are sure. What is
    labelled counts as sure. The area is looked at band by band: memory does not grow with it.
    """
    if area.empty:
        return []
    top, left = area.y - area.y % STEP, area.x - area.x % STEP
    area = Rect(top, left, area.bottom - top, area.right - left)
    squares = np.concatenate([_doubt(*look(band)) for band in bands_of(area)])
    around = gaussian_filter(squares, SPREAD, mode="constant")
    peaks = (around == maximum_filter(around, 2 * APART + 1, mode="constant")) & (around > 0.5)
    rows, columns = np.nonzero(peaks)
    places: list[tuple[int, int]] = []
    for i in np.argsort(-around[rows, columns], kind="stable"):
        y, x = int(rows[i]), int(columns[i])
        # Squares beside each other may share the peak.
        if all(max(abs(y - row), abs(x - column)) > APART for row, column in places):
            places.append((y, x))
        if len(places) == count:
            break
    half, bottom, right = STEP // 2, area.bottom - 1, area.right - 1
    middles = ((top + y * STEP + half, left + x * STEP + half) for y, x in places)
    return [(min(y, bottom), min(x, right)) for y, x in middles]


def _doubt(maps: NDArray[np.uint8], labelled: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The mean doubt, 0…128, in each square of a band that begins with whole squares."""
    nearest = np.abs(maps.astype(np.int16) - 128).min(axis=0, initial=128)
    doubt = np.where(labelled, 0, 128 - nearest).astype(np.float32)
    height, width = doubt.shape
    padded = np.pad(doubt, ((0, -height % STEP), (0, -width % STEP)))
    squares = padded.reshape(padded.shape[0] // STEP, STEP, -1, STEP)
    return squares.mean(axis=(1, 3), dtype=np.float32)
