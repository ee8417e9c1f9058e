"""Find the files in resources/, and draw its icons in the colour of the theme."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer

import resources

ROOT = Path(resources.__file__).parent
ICON_SIDE = 20
_SCALES = (1, 2, 3)


def path(name: str) -> Path:
    """Return the path of `name` inside resources/. The file need not exist."""
    return ROOT / name


def text(name: str) -> str:
    """Return the content of a UTF-8 text file in resources/."""
    return path(name).read_text(encoding="utf-8")


def pixmap(name: str, color: QColor, side: int = ICON_SIDE, scale: int = 1) -> QPixmap:
    """Draw resources/icons/NAME.svg, whose strokes are `currentColor`, in `color`.

    side: width and height in logical pixels. scale: physical pixels per logical pixel.
    """
    drawing = text(f"icons/{name}.svg").replace("currentColor", color.name())
    image = QPixmap(side * scale, side * scale)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(QByteArray(drawing.encode())).render(
        painter, QRectF(0, 0, side * scale, side * scale)
    )
    painter.end()
    image.setDevicePixelRatio(scale)
    return image


def icon(name: str, palette: QPalette, side: int = ICON_SIDE) -> QIcon:
    """Return an icon in the palette's text colour, greyed where its action is disabled, and in the
    colour of selected text where its row is selected."""
    result = QIcon()
    normal = palette.color(QPalette.ColorGroup.Active, QPalette.ColorRole.WindowText)
    faint = QColor(normal)
    # Rendered opaque: a mix of text and window colour looks the same on every background.
    window = palette.color(QPalette.ColorGroup.Active, QPalette.ColorRole.Window)
    faint.setRedF(0.35 * normal.redF() + 0.65 * window.redF())
    faint.setGreenF(0.35 * normal.greenF() + 0.65 * window.greenF())
    faint.setBlueF(0.35 * normal.blueF() + 0.65 * window.blueF())
    selected = palette.color(QPalette.ColorGroup.Active, QPalette.ColorRole.HighlightedText)
    for scale in _SCALES:
        result.addPixmap(pixmap(name, normal, side, scale), QIcon.Mode.Normal)
        result.addPixmap(pixmap(name, selected, side, scale), QIcon.Mode.Selected)
        result.addPixmap(pixmap(name, faint, side, scale), QIcon.Mode.Disabled)
    return result


def swatch(color: str, side: int = 16) -> QIcon:
    """Return a filled square of a class colour "#rrggbb" with a thin dark rim."""
    image = QPixmap(side, side)
    image.fill(QColor(color))
    painter = QPainter(image)
    painter.setPen(QColor(0, 0, 0, 120))
    painter.drawRect(0, 0, side - 1, side - 1)
    painter.end()
    icon = QIcon(image)
    # Else a selected row would show a tinted, wrong colour.
    icon.addPixmap(image, QIcon.Mode.Selected)
    return icon
