"""Light or dark as the system says: Qt's palette does the work, one small style sheet the rest."""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QWidget

from app import assets


def colors(*, dark: bool) -> dict[str, str]:
    """Return the colours of the style sheet, by the names that stand for them in it."""
    return {
        # Text on its own ground reaches a contrast of at least 4.5 in both themes.
        "@error_ground": "#5c1f1f" if dark else "#fbe3e1",
        "@error_text": "#ffe3e0" if dark else "#6b1410",
        "@offer_ground": "#1d3a57" if dark else "#e1eefb",
        "@offer_text": "#dcecff" if dark else "#12375c",
        "@primary": "#2f6fb5" if dark else "#1f5fa8",
        "@primary_hover": "#3474bd" if dark else "#17508f",
        "@line": "#5a5a5a" if dark else "#c4c4c4",
        "@faint": "#b4b4b4" if dark else "#5c5c5c",
        "@problem": "#ff9a90" if dark else "#a3180f",
    }


def apply(window: QWidget) -> None:
    """Put the style sheet on `window`, with the colours that fit its palette now."""
    named = colors(dark=is_dark(window.palette()))
    sheet = assets.text("style.qss")
    # The longest name first: "@primary" is the beginning of "@primary_hover".
    for name in sorted(named, key=len, reverse=True):
        sheet = sheet.replace(name, named[name])
    if window.styleSheet() != sheet:
        window.setStyleSheet(sheet)


def is_dark(palette: QPalette) -> bool:
    """Return whether text is lighter than the window."""
    text: QColor = palette.color(QPalette.ColorRole.WindowText)
    return text.lightness() > palette.color(QPalette.ColorRole.Window).lightness()
