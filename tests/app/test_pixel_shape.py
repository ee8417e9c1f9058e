"""Pixels that are not square: shown square, and said so."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtGui import QImage, QPainter, qRgb

from app import overlays
from app.status_bar import pixel_shape_text

SIZES = st.floats(0.01, 100)


@settings(deadline=None, max_examples=50)
@given(SIZES, st.floats(0.2, 5), st.floats(0.05, 20))
def test_the_scale_bar_is_true_across(qapp, wide, ratio, zoom):
    """Its length is that of the width of pixels, whatever their height."""
    image = QImage(400, 80, QImage.Format.Format_RGB32)
    image.fill(0)
    painter = QPainter(image)
    overlays.paint_scale_bar(painter, 80, (1.0, wide * ratio, wide), zoom)
    painter.end()
    rows = [[image.pixel(x, y) == qRgb(255, 255, 255) for x in range(400)] for y in range(80)]
    expected, _ = overlays.scale_bar(wide, zoom)
    assert abs(max(map(sum, rows)) - expected) <= 1


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (None, False),
        ((5.0, 0.2, 0.2), False),
        ((5.0, 0.2, 0.201), False),  # a rounded fraction in the file
        ((0.2, 0.4, 0.2), True),
        ((0.2, 0.2, 0.25), True),
    ],
)
def test_only_uneven_pixels_are_worth_a_sentence(size, said):
    text = pixel_shape_text(size)
    assert bool(text) is said
    if size is not None:
        assert overlays.is_square(size) is not said
    if said:
        assert f"{size[2]:.3g} µm wide and {size[1]:.3g} µm high" in text


def test_the_window_says_so_when_such_an_image_opens(make_window, tmp_path, qtbot):
    uneven, even = tmp_path / "uneven.tif", tmp_path / "even.tif"
    plane = np.zeros((60, 80), np.uint8)
    for path, resolution in ((uneven, (2, 4)), (even, (2, 2))):
        tifffile.imwrite(
            path, plane, imagej=True, metadata={"axes": "YX", "unit": "um"}, resolution=resolution
        )
    window = make_window(uneven)
    assert "0.5 µm wide and 0.25 µm high" in window.messages.text
    window.status.show_pixel((3, 4), window.document.stack.pixel_size)
    assert "from left to right only" in window.status.position.toolTip()
    assert "2.25, 0.88 µm" in window.status.position.text()
    with qtbot.waitSignal(window.files.opened):
        window.files.open(even)
    assert window.messages.text == ""
    window.status.show_pixel((3, 4), window.document.stack.pixel_size)
    assert window.status.position.toolTip() == ""
