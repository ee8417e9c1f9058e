"""A block: the pixels of a piece of a plane, and a QImage that shows the same memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPoint
from PySide6.QtGui import QImage, QPainter

from unet_core.tiling import Rect


class Block:
    """A piece of a plane: its pixels, and a QImage that shows the same memory."""

    def __init__(
        self, y: int, x: int, pixels: NDArray[np.uint8], table: Sequence[int] | None = None
    ) -> None:
        """`pixels` is `(Y, X)`, indices into `table` or, without one, levels of grey; or it is
        `(Y, X, 3)` red, green, blue."""
        self.y, self.x = y, x
        self.pixels = pixels
        height, width = pixels.shape[:2]
        row_bytes = pixels.strides[0]
        depth = 1 if pixels.ndim == 2 else 3
        # QImage wants one flat buffer; a block of a larger array is one with a longer row.
        flat = np.lib.stride_tricks.as_strided(
            pixels, shape=(row_bytes * (height - 1) + width * depth,), strides=(1,)
        )
        if depth == 3:
            kind = QImage.Format.Format_RGB888
        elif table is None:
            kind = QImage.Format.Format_Grayscale8  # painted in half the time of a table of greys
        else:
            kind = QImage.Format.Format_Indexed8
        self.image = QImage(flat.data, width, height, row_bytes, kind)
        if table is not None:
            self.image.setColorTable(table)

    @property
    def rect(self) -> Rect:
        return Rect(self.y, self.x, *self.pixels.shape[:2])

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        if not self.rect.intersect(exposed).empty:
            painter.drawImage(QPoint(self.x, self.y), self.image)
