"""A picture that stands still while the colours of the prediction change.

To sample planes of 4096² for the screen takes ten times as long as to give colours to what has been
sampled. So while a slider moves, image and labels are kept as they look, and of the prediction its
values, one for each pixel of the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QImage, QPainter

Paint = Callable[[QPainter], None]
"""Paints something of a widget with a painter whose unit is the logical pixel of the widget."""


class StillPicture:
    """What a widget shows, at the screen's resolution. Pixel by pixel the same as painted anew."""

    def __init__(
        self, size: QSize, ratio: float, below: Paint, values: Sequence[Paint], above: Paint | None
    ) -> None:
        """A widget of `size` logical pixels, `ratio` device pixels to each.

        `below` and `above` paint what lies under and over the prediction, `values` each of its
        maps, as grey levels.
        """
        self._size, self._ratio = size, ratio
        self._below = self._painted(below, QImage.Format.Format_RGB32)
        self._values = [self._painted(one, QImage.Format.Format_Grayscale8) for one in values]
        transparent = QImage.Format.Format_ARGB32_Premultiplied
        self._above = self._painted(above, transparent) if above is not None else None
        self._colors = self._painted(lambda painter: None, transparent)

    def _painted(self, paint: Paint, kind: QImage.Format) -> QImage:
        width = round(self._size.width() * self._ratio)
        height = round(self._size.height() * self._ratio)
        image = QImage(width, height, kind)
        image.setDevicePixelRatio(self._ratio)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        paint(painter)
        painter.end()
        return image

    def paint(self, painter: QPainter, tables: Sequence[Sequence[int]]) -> None:
        """Paint it all, each map of the prediction in the colours of its table of 256."""
        corner = QPoint(0, 0)
        painter.drawImage(corner, self._below)
        for values, table in zip(self._values, tables, strict=True):
            # Much faster than an image with a table, which Qt would blend pixel by pixel.
            np.take(_premultiplied(table), _pixels(values), out=_pixels(self._colors), mode="clip")
            painter.drawImage(corner, self._colors)
        if self._above is not None:
            painter.drawImage(corner, self._above)


def _pixels(image: QImage) -> NDArray[np.unsignedinteger[Any]]:
    """The image's own memory: `(height, width)`, one number for each pixel."""
    kind: type[np.unsignedinteger[Any]] = np.uint8 if image.depth() == 8 else np.uint32
    rows = np.frombuffer(image.bits(), kind).reshape(image.height(), -1)
    return rows[:, : image.width()]


def _premultiplied(table: Sequence[int]) -> NDArray[np.uint32]:
    """Colours 0xaarrggbb as Qt blends them fastest, its own rounding included."""
    colors = QImage(len(table), 1, QImage.Format.Format_ARGB32)
    _pixels(colors)[0] = table
    colors.convertTo(QImage.Format.Format_ARGB32_Premultiplied)
    return _pixels(colors)[0].astype(np.uint32)
