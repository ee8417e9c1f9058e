"""What the viewport paints over the picture: brush circle, scale bar and messages.

All of it must be readable on any image, so everything is drawn light on dark.
"""

from __future__ import annotations

import math
from functools import lru_cache

from PySide6.QtCore import QLineF, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QImage,
    QPainter,
    QPainterPath,
    QPen,
    QPolygonF,
)

DARK = QColor(0, 0, 0, 150)
LIGHT = QColor(255, 255, 255)

BAR_WIDEST = 160
"""The scale bar is at most so many logical pixels wide."""

_MARGIN = 14
_PADDING = 8
_BAR_HEIGHT = 4

_CROSS = 9
"""Reach of the cross, in logical pixels, that marks the centre of circles of which too little is
seen to tell where the cursor is: smaller than the first or larger than the second radius."""
_SMALL_BRUSH, _LARGE_BRUSH = 4.0, 200.0

_RING_RADIUS, _RING_BANDS = 48.0, 24

_LARGEST_PICTURE = 512.0
"""A circle of at most this radius, in device pixels, is kept as a picture."""


def brush_boxes(centre: QPointF, radius: float) -> list[QRect]:
    """What must be repainted where a brush circle comes or goes: a box, or several along a ring.

    The ring of a large circle is made of two boxes for each of a few bands across it.
    """
    reach = radius + 3
    if radius < _RING_RADIUS:
        return [_square(centre, max(reach, _CROSS + 3))]
    boxes = [_square(centre, _CROSS + 3)]
    hole = radius - 3
    height = 2 * reach / _RING_BANDS
    for band in range(_RING_BANDS):
        top = -reach + band * height
        bottom = top + height
        nearest = 0.0 if top < 0 < bottom else min(abs(top), abs(bottom))
        farthest = max(abs(top), abs(bottom))
        outer = math.sqrt(max(reach**2 - nearest**2, 0.0))
        inner = math.sqrt(max(hole**2 - farthest**2, 0.0))
        for left, right in ((-outer, -inner), (inner, outer)):
            box = QRectF(centre.x() + left, centre.y() + top, right - left, height)
            boxes.append(box.toAlignedRect())
    return boxes


def _square(centre: QPointF, reach: float) -> QRect:
    left, top = math.floor(centre.x() - reach), math.floor(centre.y() - reach)
    side = math.ceil(2 * reach) + 1
    return QRect(left, top, side, side)


def paint_brush(painter: QPainter, centre: QPointF, radius: float, ratio: float) -> None:
    """A circle of `radius` logical pixels, dark outside and light inside.

    `centre` is that of a device pixel, `ratio` device pixels per logical one. Drawing a circle
    takes longer than all else that a stroke needs, so that a picture of it is kept.
    """
    if radius * ratio > _LARGEST_PICTURE:
        _draw_brush(painter, centre, radius)
        return
    picture = _brush_picture(radius, ratio)
    half = picture.width() / 2 / ratio
    painter.drawImage(centre - QPointF(half, half), picture)


@lru_cache(4)
def _brush_picture(radius: float, ratio: float) -> QImage:
    """The circle in device pixels, around the centre of the pixel in the middle."""
    side = 2 * math.ceil((max(radius, _CROSS) + 3) * ratio) + 1
    picture = QImage(side, side, QImage.Format.Format_ARGB32_Premultiplied)
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    _draw_brush(painter, QPointF(side / 2 / ratio, side / 2 / ratio), radius)
    painter.end()
    return picture


def _draw_brush(painter: QPainter, centre: QPointF, radius: float) -> None:
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for color, width in ((DARK, 3.0), (LIGHT, 1.0)):
        painter.setPen(QPen(color, width))
        painter.drawEllipse(centre, radius, radius)
        if not _SMALL_BRUSH <= radius <= _LARGE_BRUSH:
            inner = radius + 2 if radius < _SMALL_BRUSH else 2
            for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
                painter.drawLine(
                    centre + QPointF(dx * inner, dy * inner),
                    centre + QPointF(dx * _CROSS, dy * _CROSS),
                )
    painter.restore()


def paint_cross_lines(painter: QPainter, area: QRectF, point: QPointF) -> None:
    """Lines through `point` from edge to edge of `area`, which leave the point itself free."""
    x, y, free = point.x(), point.y(), _CROSS
    lines = [
        QLineF(area.left(), y, x - free, y),
        QLineF(x + free, y, area.right(), y),
        QLineF(x, area.top(), x, y - free),
        QLineF(x, y + free, x, area.bottom()),
    ]
    painter.save()
    painter.setClipRect(area, Qt.ClipOperation.IntersectClip)
    for color, width, opacity in ((DARK, 3.0, 0.5), (LIGHT, 1.0, 0.6)):
        painter.setOpacity(opacity)
        painter.setPen(QPen(color, width))
        # A line that begins beyond the point would be drawn backwards, over it.
        painter.drawLines([line for line in lines if line.dx() > 0 or line.dy() > 0])
    painter.restore()


def paint_sketch(
    painter: QPainter, points: list[QPointF], cursor: QPointF | None, tool: str, color: str
) -> None:
    """What is being drawn: a polygon of corners, a line, or a box between its first and last point.

    Points and cursor are in logical pixels of the widget.
    """
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    shape = QPainterPath()
    if tool == "complete":
        shape.addRect(QRectF(points[0], points[-1]).normalized())
    else:
        shape.addPolygon(QPolygonF(points))
        if tool == "polygon" and cursor is not None:
            shape.lineTo(cursor)
    if tool in ("polygon", "complete"):
        area = QColor(color)
        area.setAlpha(60)
        painter.fillPath(shape, area)
    for shade, width in ((DARK, 3.0), (LIGHT, 1.0)):
        pen = QPen(shade, width)
        if shade is LIGHT and tool == "complete":
            pen.setStyle(Qt.PenStyle.DashLine)
        painter.setPen(pen)
        painter.drawPath(shape)
    if tool == "polygon":
        painter.setBrush(LIGHT)
        painter.setPen(QPen(DARK, 1.0))
        painter.drawEllipse(points[0], 4, 4)
    painter.restore()


def scale_bar(pixel_size: float, zoom: float) -> tuple[float, str]:
    """Width in logical pixels and text of a bar of 1, 2 or 5 times a power of ten.

    `pixel_size` is in micrometres, `zoom` in logical pixels per image pixel.
    """
    widest = BAR_WIDEST * pixel_size / zoom  # in micrometres
    power = 10.0 ** math.floor(math.log10(widest))
    length = next(power * step for step in (5, 2, 1) if power * step <= widest * (1 + 1e-9))
    if length >= 1000:
        text = f"{length / 1000:g} mm"
    elif length >= 1:
        text = f"{length:g} µm"
    else:
        text = f"{length * 1000:g} nm"
    return length * zoom / pixel_size, text


def paint_focus_frame(painter: QPainter, area: QRect, color: QColor) -> None:
    """A frame inside the rim of `area`: the keyboard is here."""
    painter.save()
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(color, 2))
    painter.drawRect(area.adjusted(1, 1, -1, -1))
    painter.restore()


def is_square(pixel_size: tuple[float, float, float]) -> bool:
    """Whether pixels of this size (z, y, x) are as high as wide, to one part in a hundred."""
    return math.isclose(pixel_size[1], pixel_size[2], rel_tol=0.01)


def paint_scale_bar(
    painter: QPainter,
    height: int,
    pixel_size: tuple[float, float, float],
    zoom: float,
    exposed: QRect | None = None,
) -> None:
    """Paint the bar into the bottom left corner of a widget of this height, where any of it is
    `exposed`.

    `pixel_size` (z, y, x) is in micrometres. Where pixels are not square, the bar says that it is
    true across only: the picture shows them square.
    """
    width, text = scale_bar(pixel_size[2], zoom)
    text = text if is_square(pixel_size) else f"{text} across"
    metrics = QFontMetricsF(painter.font())
    text_height = metrics.height()
    box_width = max(width, metrics.horizontalAdvance(text)) + 2 * _PADDING
    box_height = text_height + _BAR_HEIGHT + 2 * _PADDING
    box = QRectF(_MARGIN, height - _MARGIN - box_height, box_width, box_height)
    if exposed is not None and not box.toAlignedRect().intersects(exposed):
        return
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(DARK)
    painter.drawRoundedRect(box, 5, 5)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    left = box.x() + (box_width - width) / 2
    painter.fillRect(QRectF(left, box.bottom() - _PADDING - _BAR_HEIGHT, width, _BAR_HEIGHT), LIGHT)
    painter.setPen(LIGHT)
    top = QRectF(box.x(), box.y() + _PADDING / 2, box_width, text_height)
    painter.drawText(top, Qt.AlignmentFlag.AlignCenter, text)
    painter.restore()


def paint_message(painter: QPainter, area: QRect, text: str) -> None:
    """A sentence in the middle of `area`, on a dark card."""
    room = area.adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
    flags = int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWordWrap)
    painter.save()
    font = painter.font()
    font.setPointSizeF(font.pointSizeF() * 1.25)
    painter.setFont(font)
    needed = painter.boundingRect(room, flags, text)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(DARK)
    card = needed.adjusted(-2 * _PADDING, -_PADDING, 2 * _PADDING, _PADDING)
    painter.drawRoundedRect(card, 6, 6)
    painter.setPen(LIGHT)
    painter.drawText(room, flags, text)
    painter.restore()
