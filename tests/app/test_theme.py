"""Words can be read in the light and in the dark theme, while it trains and where it does not."""

import pytest
from PySide6.QtGui import QColor, QPalette

from app import theme

READABLE = 4.5
"""Contrast of text on its ground, WCAG 2.2, success criterion 1.4.3."""

GROUNDS = {False: ("#efefef", "#ffffff"), True: ("#323232", "#303032", "#1e1e1e")}
"""Windows and their fields as Qt paints them on systems of each kind."""


def luminance(color):
    """Relative luminance, WCAG 2.2."""
    parts = []
    for part in QColor(color).getRgbF()[:3]:
        parts.append(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_stands_out(dark):
    colors = theme.colors(dark=dark)
    assert set(colors) == set(theme.colors(dark=not dark))
    pairs = [
        (colors["@error_text"], colors["@error_ground"]),
        (colors["@offer_text"], colors["@offer_ground"]),
        ("white", colors["@primary"]),
        ("white", colors["@primary_hover"]),
        *((colors[name], ground) for name in ("@faint", "@problem") for ground in GROUNDS[dark]),
    ]
    for text, ground in pairs:
        assert contrast(text, ground) >= READABLE, (text, ground)


def test_dark_is_where_text_is_lighter_than_its_ground():
    assert theme.is_dark(QPalette(QColor("#323232")))
    assert not theme.is_dark(QPalette(QColor("#efefef")))
