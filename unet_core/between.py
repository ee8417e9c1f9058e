"""Labels for the planes between two labelled ones.

Shape-based interpolation: S. P. Raya, J. K. Udupa, "Shape-based interpolation of multidimensional
objects", IEEE Transactions on Medical Imaging 9(1), 32-42, 1990. Each shape is turned into a map of
the signed distances to its own border, positive inside. The maps, not the shapes, are interpolated
linearly from plane to plane; where the result is not negative lies the shape in between. Distances
are Euclidean here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects

Labels = NDArray[np.integer[Any]]
N = TypeVar("N", bound=np.integer[Any])


def between(first: NDArray[N], last: NDArray[N], planes: int) -> Iterator[NDArray[N]]:
    """The labels of `planes` equally spaced planes between two, one after another.

    `first` and `last` are integers (Y, X) of one shape and dtype, and so is each plane: classes,
    object numbers or both as in `labels`, 0 unlabelled. Every value but 0 is interpolated by
    itself, the background too. Where the shapes of two values overlap, the one in which the pixel
    lies deeper wins, the smaller number where both are equal. A pixel that both ends agree on keeps
    its value, and any other one gets the value that it has at one of the ends, or none.

    A value that only one end has is not in between, and shapes that do not overlap each other
    vanish on the way. Nothing lies where neither end has it: of a shape that moves far from end to
    end, what is in front and behind is cut off and corners are rounded (a disc that moves by half
    its diameter keeps 7 of 8 pixels half-way). A plane labelled half-way mends that. What lies
    beyond the array is unknown: a shape that touches the array's edge counts as going on there.
    Apart from one row and column around all labels the arrays need not be larger than these.
    ValueError where the two do not fit together.
    """
    if first.ndim != 2 or first.shape != last.shape or first.dtype != last.dtype:
        raise ValueError(
            f"labels {first.shape} of {first.dtype} and {last.shape} of {last.dtype} "
            "have no planes in between"
        )
    return _planes(np.stack((first, last)), planes)


def _planes(ends: NDArray[N], planes: int) -> Iterator[NDArray[N]]:
    """The planes between the `ends` (2, Y, X)."""
    shapes = _common_shapes(ends)
    for plane in range(1, planes + 1):
        labels = np.zeros_like(ends[0])
        depth = np.full(ends[0].shape, -1, np.float32)
        for shape in shapes:
            # Whole weights: from either end the same numbers. Their sum needs no division, for only
            # signs and order count.
            own = shape.first * (planes + 1 - plane) + shape.last * plane
            wins = (own >= 0) & (own > depth[shape.box])
            labels[shape.box][wins] = shape.value
            depth[shape.box][wins] = own[wins]
        yield labels


class _Shape(NamedTuple):
    """What has one value at both ends."""

    value: int
    box: tuple[slice, slice]
    """Around the pixels of both ends."""
    first: NDArray[np.float32]
    """Signed distances within the box, in pixels, at one end."""
    last: NDArray[np.float32]
    """And at the other."""


def _common_shapes(ends: Labels) -> list[_Shape]:
    """The shapes of the values that occur at both ends, by value; `ends` is (2, Y, X)."""
    values, numbers = np.arange(min(int(ends.max(initial=0)), ends.size) + 1), ends
    if ends.max(initial=0) > ends.size:  # room for each value, not for each number
        values, numbers = np.unique(np.append(ends, ends.dtype.type(0)), return_inverse=True)
        numbers = numbers[:-1].reshape(ends.shape)
    shapes = []
    for number, where in enumerate(find_objects(numbers), start=1):
        if where is None or where[0] != slice(0, 2):
            continue
        # One pixel more, if there is one: distances are taken to the pixels on the other side.
        rows, columns = (slice(max(0, side.start - 1), side.stop + 1) for side in where[1:])
        one, other = (signed_distance(end[rows, columns] == number) for end in numbers)
        shapes.append(_Shape(int(values[number]), (rows, columns), one, other))
    return shapes


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distances of pixel centres to the border of a mask, (Y, X) float32: positive inside, pixels.

    The border runs half-way between the pixels inside and outside, so that the mask and what is
    not in the mask have the same map but for the sign. Where there is no border, which is nowhere
    near, the distance is the array's diagonal.
    """
    if mask.all() or not mask.any():
        far = np.float32(math.hypot(*mask.shape))
        return np.where(mask, far, -far)
    inside = distance_transform_edt(mask).astype(np.float32)
    outside = distance_transform_edt(~mask).astype(np.float32)
    return np.where(mask, inside - np.float32(0.5), np.float32(0.5) - outside)
