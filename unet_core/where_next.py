"""Where a few more strokes would teach most: where the network doubts and nobody has painted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

STEP = 8
"""Doubt is looked at in squares of so many pixels a side."""
SPREAD = 4.0
"""Standard deviation, in squares, over which doubt is summed: a place, not a single pixel."""
APART = 8
"""Two places are at least so many squares apart, in rows or in columns."""


def uncertain_places(
    maps: NDArray[np.uint8], labelled: NDArray[np.bool_], count: int
) -> Sequence[tuple[int, int]]:
    """At most `count` pixels `(y, x)`, the most uncertain place first.

    `maps` are the probabilities `(K, Y, X)` of the foreground classes, 0…255; `labelled` `(Y, X)`.
    The doubt of a pixel is 1 where a class is as likely as not, and 0 where all are sure. What is
    labelled counts as sure.
    """
    if not len(maps) or not maps.size:
        return []
    nearest = np.abs(maps.astype(np.int16) - 128).min(axis=0)
    doubt = np.where(labelled, 0, 128 - np.minimum(nearest, 128)).astype(np.float32)
    height, width = doubt.shape
    padded = np.pad(doubt, ((0, -height % STEP), (0, -width % STEP)))
    squares = padded.reshape(padded.shape[0] // STEP, STEP, -1, STEP).mean(axis=(1, 3))
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
    half = STEP // 2
    return [(min(y * STEP + half, height - 1), min(x * STEP + half, width - 1)) for y, x in places]
