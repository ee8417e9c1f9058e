"""Intensities on their way to the network: one scale for a whole stack, mirrored borders.

Normalised per stack and channel, never per tile: an empty tile must stay empty. Needs no torch, so
that the window can show a picture before torch is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unet_core.stack import LazyPlane, PlaneIndex, Stack
from unet_core.tiling import Rect

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.7
SAMPLED_PLANES = 12
SAMPLED_PIXELS = 1 << 18
"""At most this many pixels a plane and channel are looked at for the percentiles."""

PATCHES = 16
"""Of a large plane so many times so many patches are looked at instead of single pixels; of
several planes together about as many."""

CLIP = (-0.5, 2.5)
"""Normalised intensities are clipped to this range: a hot pixel is not a landscape."""


def intensity_range(stack: Stack) -> NDArray[np.float32]:
    """Low and high percentile of each channel, `(C, 2)` float32, in the stack's own units.

    Read from a fixed, evenly spaced sample of planes and pixels, so that the window and the
    command line get the same figures. Of large planes that are small patches, so that not all of
    a compressed file is decoded. A channel of one single value gives a range of width one.
    """
    planes = list(stack.planes())
    chosen = np.unique(np.linspace(0, len(planes) - 1, SAMPLED_PLANES).round().astype(int))
    patches = max(2, round(PATCHES / math.sqrt(len(chosen))))
    samples = [sample for i in chosen for sample in _samples(stack, planes[i], patches)]
    return percentile_range(np.concatenate([s.reshape(s.shape[0], -1) for s in samples], axis=1))


def _samples(stack: Stack, plane: PlaneIndex, patches: int) -> Iterator[NDArray[np.generic]]:
    """Evenly spaced pixels of a plane, `SAMPLED_PIXELS` of a channel at most: `(C, Y, X)` each.

    Of a large plane, `patches` × `patches` patches.
    """
    height, width = stack.shape[3:]
    if not stack.is_large:
        step = max(1, math.ceil(math.sqrt(height * width / SAMPLED_PIXELS)))
        # A copy: a view would keep all of the plane in memory while the others are sampled.
        yield stack.plane(*plane)[:, ::step, ::step].copy()
        return
    side = math.isqrt(SAMPLED_PIXELS) // PATCHES
    for y in np.linspace(0, max(0, height - side), patches).astype(int).tolist():
        for x in np.linspace(0, max(0, width - side), patches).astype(int).tolist():
            patch = Rect(y, x, side, side).intersect(Rect(0, 0, height, width))
            yield stack.region(*plane, patch)


def percentile_range(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Low and high percentile of each row of `values` `(C, n)`, as float32 `(C, 2)`."""
    ranges = np.zeros((values.shape[0], 2), np.float32)
    for channel, row in enumerate(values):
        if row.dtype == bool:
            row = row.view(np.uint8)
        finite = row[np.isfinite(row)] if row.dtype.kind == "f" else row
        if not finite.size:
            finite = np.zeros(1, np.float32)
        low, high = _as_float32(np.percentile(finite, (LOW_PERCENTILE, HIGH_PERCENTILE)))
        if high <= low:  # nearly everything has one value: use what little there is
            low, high = _as_float32((finite.min(), finite.max()))
        if high <= low:
            high = low + max(np.float32(1), np.spacing(abs(low)))
        ranges[channel] = low, high
    return ranges


def _as_float32(values: ArrayLike) -> NDArray[np.float32]:
    """`values` as float32, at most so large that their differences are finite too."""
    largest = np.finfo(np.float32).max / 4
    return np.clip(np.asarray(values, np.float64), -largest, largest).astype(np.float32)


def normalise(pixels: NDArray[np.generic], ranges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map `(C, Y, X)` intensities so that the low percentile is 0 and the high one is 1.

    Values that are not numbers count as the low percentile.
    """
    low = ranges[:, 0, None, None]
    scale = 1.0 / (ranges[:, 1, None, None] - low)
    with np.errstate(over="ignore", invalid="ignore"):  # of float64: what is too large is clipped
        result = (pixels.astype(np.float32) - low) * scale
    if pixels.dtype.kind == "f":
        result = np.nan_to_num(result, copy=False, nan=0.0, posinf=CLIP[1], neginf=CLIP[0])
    return np.clip(result, *CLIP, out=result)


def read_mirrored(plane: NDArray[np.generic] | LazyPlane, window: Rect) -> NDArray[np.generic]:
    """Cut `window` out of `plane` `(C, Y, X)`, mirroring the plane where the window leaves it."""
    rows = mirrored_indices(window.y, window.bottom, plane.shape[1])
    columns = mirrored_indices(window.x, window.right, plane.shape[2])
    # Slicing first keeps a memory-mapped or lazy plane from being read whole.
    top, bottom = rows.min(), rows.max() + 1
    left, right = columns.min(), columns.max() + 1
    part = plane[:, top:bottom, left:right]
    return part[:, (rows - top)[:, None], (columns - left)[None, :]]


def mirrored_indices(start: int, stop: int, size: int) -> NDArray[np.intp]:
    """Indices `start…stop` folded into `0…size-1` by reflection at the outermost pixels."""
    if size == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (size - 1)
    folded = np.arange(start, stop) % period
    return np.where(folded < size, folded, period - folded)
