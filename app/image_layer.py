"""The image layer: the microscope's picture, at full size and halved again and again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QPainter

from app.block import GREY_TABLE, Block
from app.loader import LoadedPlane
from unet_core.tiling import Rect

IMAGE_BLOCK = 4096
"""Side of an image block in pixels."""


class ImageLayer:
    """The microscope's picture."""

    def __init__(self) -> None:
        self.visible = True
        # Full size first, then the halved ones: lists of blocks in their own pixels.
        self._levels: list[list[Block]] = []

    def clear(self) -> None:
        self._levels = []

    def set_plane(self, loaded: LoadedPlane) -> None:
        self._levels = [list(_cut(level)) for level in (loaded.image, *loaded.overviews)]

    @property
    def blocks(self) -> list[Block]:
        """The blocks at full size."""
        return self._levels[0] if self._levels else []

    def paint(self, painter: QPainter, exposed: Rect, device_zoom: float) -> None:
        """Paint with a painter whose unit is the image pixel; `exposed` is what needs painting.

        `device_zoom`, in device pixels per image pixel, chooses among the halved copies, so that
        no screen pixel skips over more than one pixel of the copy.
        """
        if not self.visible or not self._levels:
            return
        level = 0
        while level + 1 < len(self._levels) and device_zoom * 2**level <= 0.5:
            level += 1
        size = 2**level
        painter.save()
        painter.scale(size, size)
        top, left = exposed.y // size, exposed.x // size
        reduced = Rect(
            top, left, exposed.bottom // size + 1 - top, exposed.right // size + 1 - left
        )
        for block in self._levels[level]:
            block.paint(painter, reduced)
        painter.restore()


def _cut(image: NDArray[np.uint8]) -> Iterator[Block]:
    for y in range(0, image.shape[0], IMAGE_BLOCK):
        for x in range(0, image.shape[1], IMAGE_BLOCK):
            yield Block(y, x, image[y : y + IMAGE_BLOCK, x : x + IMAGE_BLOCK], GREY_TABLE)
