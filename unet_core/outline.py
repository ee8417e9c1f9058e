"""The outlines of labels, as they are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def outline(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which labelled pixels lie at the border of their own region: bool (height, width).

    `labels` is (height + 2, width + 2): classes, object numbers or both as in `labels`, 0
    unlabelled. It is the rectangle to draw with a rim of one pixel, so that tiles drawn one by one
    join without a seam. Beyond the plane the rim is 0, which closes the outlines there. A pixel is
    at the border when one of its four neighbours has another value: the line is one pixel thick and
    lies inside the region, and where two regions touch, each has its own.
    """
    border = borders(labels)
    border &= labels[1:-1, 1:-1] != 0
    return border


def borders(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """As `outline`, but with the border of what is not labelled, too."""
    below = labels[:-1, 1:-1] != labels[1:, 1:-1]
    beside = labels[1:-1, :-1] != labels[1:-1, 1:]
    border: NDArray[np.bool_] = below[:-1] | below[1:]
    border |= beside[:, :-1]
    border |= beside[:, 1:]
    return border
