"""What there is to choose when a file is opened: its images, and what their axes may mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_core.axes import alternative_axes
from unet_core.intensity import percentile_range
from unet_core.openers import contents_of, is_choice
from unet_core.reading import Reading, Series
from unet_core.stack import Array, Stack, open_stack
from unet_core.tiling import Rect

_GREEN_MAGENTA = ("#00ff00", "#ff00ff", "#0090ff", "#ffa000", "#ffffff", "#ff4040")
_MOST_CHANNELS = 6
_PATCH = 64


@dataclass(frozen=True)
class Choice:
    """One image of a file.

    axes         as it is opened when nothing else is said: a letter of TZCSYX for each of `shape`
    alternatives what the axes may mean, the default first; just that one where nothing is in doubt
    unnamed      the dimensions whose meaning the file does not say, for programs that remember
    """

    name: str
    shape: tuple[int, ...]
    axes: str
    dtype: str
    alternatives: tuple[str, ...]
    unnamed: str
    auxiliary: bool = False

    def reading(self, axes: str | None = None) -> Reading:
        """How to open it, with `axes` or the default ones."""
        return Reading(self.name, axes)


@dataclass(frozen=True)
class Choices:
    """All that a file holds; the first image is the default."""

    path: Path
    images: tuple[Choice, ...]
    several: bool

    @property
    def worth_asking(self) -> bool:
        """Whether the default may well not be what was meant."""
        return self.several or len(self.images[0].alternatives) > 1


def choices(path: Path) -> Choices:
    """List what is in a file or folder; no pixels are read. Raises StackError."""
    contents = contents_of(path)
    try:
        images = tuple(_choice(one) for one in contents.series)
        return Choices(contents.path, images, is_choice(contents))
    finally:
        contents.close()


def _choice(series: Series) -> Choice:
    alternatives = alternative_axes(series.axes, series.shape, series.usual)
    return Choice(
        series.name,
        series.shape,
        alternatives[0],
        str(series.dtype),
        alternatives,
        series.axes,
        series.auxiliary,
    )


def thumbnails(path: Path, wanted: Reading, side: int, planes: int = 1) -> list[NDArray[np.uint8]]:
    """Pictures of `planes` of its planes, or of one, of the image that `wanted` names.

    Raises StackError.
    """
    with open_stack(path, wanted) as stack:
        return [thumbnail(stack, side, number) for number in range(min(planes, _count(stack)))]


def thumbnail(stack: Stack, side: int, number: int | None = None) -> NDArray[np.uint8]:
    """A picture of at most `side` pixels a side: uint8, (Y, X), or (Y, X, 3) of several channels.

    Of the plane in the middle, or of plane `number`; from a smaller copy in the file where there
    is one, and of a large plane without one from little patches. Contrast by percentiles. Raises
    StackError.
    """
    times, depths = stack.shape[:2]
    at = _count(stack) // 2 if number is None else number
    t, z = divmod(min(at, times * depths - 1), depths)
    pixels = _small(stack, t, z, side)[:_MOST_CHANNELS]
    if pixels.dtype == bool:
        pixels = pixels.view(np.uint8) * np.uint8(255)
    elif not (stack.is_rgb and pixels.dtype == np.uint8):
        pixels = _stretched(pixels)
    if len(pixels) == 1:
        return np.ascontiguousarray(pixels[0])
    if stack.is_rgb:
        return np.ascontiguousarray(np.moveaxis(pixels[:3], 0, -1))
    picture = np.zeros((*pixels.shape[1:], 3), np.uint16)
    for channel, color in zip(pixels, _colors(stack), strict=False):
        picture += channel[..., None].astype(np.uint16) * color // np.uint16(255)
    return np.minimum(picture, 255).astype(np.uint8)


def _count(stack: Stack) -> int:
    return stack.shape[0] * stack.shape[1]


def _small(stack: Stack, t: int, z: int, side: int) -> Array:
    """A plane (C, Y, X) with few pixels."""
    level = max(i for i, size in enumerate(stack.levels) if max(size) >= side or i == 0)
    height, width = stack.levels[level]
    step = max(1, math.ceil(max(height, width) / side))
    if height * width <= 4096 * 4096:
        if level == 0:
            return stack.plane(t, z)[:, ::step, ::step]
        return stack.region(t, z, Rect(0, 0, height, width), level)[:, ::step, ::step]
    # One patch in the middle: all of it would be read for an even sample.
    edge = min(side * 4, height, width)
    patch = Rect((height - edge) // 2, (width - edge) // 2, edge, edge)
    step = max(1, edge // side)
    return stack.region(t, z, patch, level)[:, ::step, ::step]


def _stretched(pixels: Array) -> NDArray[np.uint8]:
    ranges = percentile_range(pixels.reshape(len(pixels), -1)).astype(np.float64)
    low, high = ranges[:, 0, None, None], ranges[:, 1, None, None]
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0)
    scaled = np.clip((values - low) / (high - low), 0, 1) * 255
    return scaled.astype(np.uint8)


def _colors(stack: Stack) -> list[NDArray[np.uint16]]:
    """(3,) for each channel: its own colours where the file names all of them."""
    own = stack.channel_colors
    names = own if own and all(own) and len(set(own)) == len(own) else _GREEN_MAGENTA
    return [np.array(list(bytes.fromhex(name[1:])), np.uint16) for name in names]
