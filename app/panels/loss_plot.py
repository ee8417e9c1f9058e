"""The loss over training steps, as a small curve."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

MAX_POINTS = 1000


class LossPlot(QWidget):
    """Draws (step, loss) points. Painted here: a plotting library would cost the start a second."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []
        self.setMinimumHeight(52)

    def sizeHint(self) -> QSize:
        return QSize(200, 76)

    def clear(self) -> None:
        """Begin a new curve."""
        self.points = []
        self.update()

    def add(self, step: int, loss: float) -> None:
        """Append one point; a loss that is not a number is left out."""
        if not math.isfinite(loss):
            return
        self.points.append((step, loss))
        if len(self.points) > MAX_POINTS:
            # Every second point of a long training shows the same curve.
            del self.points[1:-1:2]
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        text = palette.color(QPalette.ColorRole.WindowText)
        painter.fillRect(self.rect(), palette.color(QPalette.ColorRole.Base))
        font = self.font()
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.8))
        painter.setFont(font)
        painter.setPen(text)
        if len(self.points) < 2:
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "Loss while training")
            return
        top = nice_above(max(loss for _, loss in self.points))
        metrics = painter.fontMetrics()
        left = metrics.horizontalAdvance(f"{top:g}") + 10
        area = QRectF(self.rect()).adjusted(left, 6, -8, -metrics.height() - 2)
        first, last = self.points[0][0], self.points[-1][0]

        def place(step: float, loss: float) -> QPointF:
            across = (step - first) / max(1, last - first)
            up = loss / top
            return QPointF(area.left() + across * area.width(), area.bottom() - up * area.height())

        faint = text
        faint.setAlphaF(0.25)
        painter.setPen(QPen(faint, 1))
        for level in (0.0, top / 2, top):
            painter.drawLine(place(first, level), place(last, level))
        painter.setPen(palette.color(QPalette.ColorRole.WindowText))
        for level in (0.0, top):
            y = place(first, level).y()
            box = QRectF(0, y - metrics.height() / 2, left - 5, metrics.height())
            painter.drawText(box, _RIGHT, f"{level:g}")
        below = QRectF(area.left(), area.bottom() + 1, area.width(), metrics.height())
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, f"step {first}")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{last}")
        painter.setPen(QPen(palette.color(QPalette.ColorRole.Link), 1.75))
        painter.drawPolyline(QPolygonF([place(step, loss) for step, loss in self.points]))


_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


def nice_above(value: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `value` > 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for factor in (1, 2, 5):
        if value <= factor * power:
            return factor * power
    return 10 * power
