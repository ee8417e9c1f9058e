"""A picture of nothing, in place of an image that is not there: its labels can still be seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet_core.stack import Source, Stack


class EmptyPicture(Stack):
    """Told from an image by its class: there is nothing on it to learn from."""


def empty_picture(path: Path, shape: Sequence[int]) -> EmptyPicture:
    """A black stack, uint8, of `shape` (T, Z, C, Y, X) that goes by the name of the missing image.

    Takes no memory for its pixels, however many a damaged file may claim there are.
    """
    times, depths, channels, height, width = shape
    page = np.broadcast_to(np.zeros((), np.uint8), (channels, height, width))
    source = Source(
        outer_axes="TZ",
        outer_shape=(times, depths),
        inner_axes="CYX",
        inner_shape=(channels, height, width),
        dtype=np.dtype(np.uint8),
        read_page=lambda _number: page,
    )
    return EmptyPicture(path, source)
