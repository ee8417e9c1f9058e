"""A Source of anything that is indexed like an array and reads only what is indexed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unet_core.stack import Array, Source, StackError
from unet_core.tiling import Rect

Index = tuple[int | slice, ...]


def sliced_source(
    axes: str,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    read: Callable[[Index], Array],
    *,
    in_parts: bool = True,
) -> Source:
    """Pages are the planes with all their channels: whatever T and Z number, in any order of axes.

    `read` takes an index for each dimension and reads no more than that; with `in_parts`, also
    parts of planes for less than the whole.
    """
    outer = "".join(a for a in axes if a in "TZ")
    inner = "".join(a for a in axes if a not in "TZ_")
    sizes = dict(zip(axes, shape, strict=True))
    outer_shape = tuple(sizes[a] for a in outer)

    def index(number: int, rect: Rect | None) -> Index:
        at: dict[str, int | slice] = {"_": 0}
        for axis, size in zip(outer[::-1], outer_shape[::-1], strict=True):
            number, at[axis] = divmod(number, size)
        if rect is not None:
            at["Y"], at["X"] = rect.slices
        return tuple(at.get(a, slice(None)) for a in axes)

    def read_part(number: int, rect: Rect) -> Array:
        return read(index(number, rect))

    source = Source(
        outer_axes=outer,
        outer_shape=outer_shape,
        inner_axes=inner,
        inner_shape=tuple(sizes[a] for a in inner),
        dtype=dtype.newbyteorder("="),
        read_page=lambda number: read(index(number, None)),
        read_part=read_part if in_parts else None,
        stated_axes="".join(a for a in axes if a in "TZC"),
    )
    samples = source.size("S")
    source.is_rgb = samples in (3, 4) and source.size("C") == 1 and dtype.kind == "u"
    source.has_alpha = source.is_rgb and samples == 4
    return source


def check_values(name: str, dtype: np.dtype[Any]) -> None:
    """Raise StackError where the values are no intensities."""
    if not is_numeric(dtype):
        raise StackError(
            f"{name} holds {dtype} values, which Limn cannot show: convert them to 8 or 16 bit or "
            "to 32-bit float."
        )


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether the values can be intensities."""
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def may_be_image(shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Whether an array may be meant as an image: numbers, and two to six dimensions, not lines."""
    large = sorted(shape)[-2:]
    return is_numeric(dtype) and 2 <= len(shape) <= 7 and math.prod(shape) > 0 and large[0] > 1
