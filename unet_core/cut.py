"""An object cut into parts by a line across it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import label
from skimage.segmentation import watershed

from unet_core.brush import Point, pixel_path
from unet_core.tiling import Rect


def cut_by_line(
    mask: NDArray[np.bool_], line: ArrayLike, min_size: int = 1
) -> tuple[NDArray[np.int32], int]:
    """Cut an object along a drawn line: the parts (Y, X), 0 outside the object, and their number.

    `mask` is the object, bool (Y, X); `line` are the points (n, 2) of (y, x), n >= 1, in continuous
    coordinates whose origin is the mask's corner. Every pixel of the object gets a part 1..n, those
    under the line the nearest one by way of the object. Part 1 is the largest, to keep the object's
    number. n is 1 where the line does not go all the way through. A crumb of fewer than `min_size`
    pixels beside the line is no part of its own, but stays with its neighbour.

    Pixels touch by their edges. Where the object lies in several pieces already, the line cuts each
    by itself, and the largest part of each piece stays with part 1.
    """
    points = np.asarray(line, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError("a line consists of points (y, x)")
    under = np.zeros(mask.shape, bool)
    whole = Rect(0, 0, *mask.shape)
    corners: list[Point] = [(y, x) for y, x in points.tolist()]
    for start, end in pairwise([corners[0], *corners]):  # so that one point is a line, too
        under[pixel_path(start, end, whole)] = True

    # The line's pixels touch at least by corners: what moves over edges can not slip through.
    parts, count = label(mask & ~under)
    pieces, _ = label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    piece_of = np.zeros(count + 1, np.int64)
    piece_of[parts] = np.where(parts > 0, pieces, 0)
    by_size = np.argsort(-sizes[1:], kind="stable") + 1
    largest = by_size[np.unique(piece_of[by_size], return_index=True)[1]]

    own = sizes >= min_size
    own[0] = False
    own[largest] = False
    numbers = np.where(own, 1 + np.cumsum(own), 0)
    numbers[largest] = 1
    # A flood over flat ground: from all parts at the same pace, and within the object.
    result = watershed(np.zeros(mask.shape, np.uint8), numbers[parts], connectivity=1, mask=mask)
    result = np.where(mask, np.maximum(result, 1), 0)  # a piece that the line covers altogether
    return result.astype(np.int32), 1 + int(own.sum())
