"""The mapping between image and widget: pure numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.camera import MAX_ZOOM, VISIBLE_MARGIN, Camera, Point
from unet_core.tiling import Rect

sizes = st.integers(1, 40_000)
widgets = st.integers(100, 4000)
ratios = st.sampled_from([1.0, 1.25, 1.5, 2.0])


def camera(height: int, width: int, widget: tuple[int, int] = (600, 800), ratio: float = 1.0):
    made = Camera()
    made.set_widget(*widget, ratio)
    made.set_image(height, width)
    return made


@given(sizes, sizes, widgets, widgets, ratios)
def test_a_new_image_is_seen_whole_and_in_the_middle(height, width, rows, columns, ratio) -> None:
    made = camera(height, width, (rows, columns), ratio)
    assert made.visible() == Rect(0, 0, height, width)
    middle = made.to_widget(height / 2, width / 2)
    assert middle == pytest.approx((rows / 2, columns / 2), abs=1)


@given(
    sizes, sizes, ratios, st.lists(st.tuples(st.floats(0.2, 5), st.floats(0, 1), st.floats(0, 1)))
)
def test_zooming_keeps_the_point_under_the_cursor(height, width, ratio, steps) -> None:
    made = camera(height, width, ratio=ratio)
    for factor, y, x in steps:
        # Away from the border, where keeping the image in sight comes first.
        cursor = Point(150 + 300 * y, 200 + 400 * x)
        before = made.to_image(*cursor)
        inside = 0 <= before.y <= height and 0 <= before.x <= width
        made.zoom_at(factor, *cursor)
        after = made.to_widget(*before)
        if inside:
            # Two roundings to whole device pixels, the first one magnified.
            allowed = (0.5 / ratio) * (1 + factor) + 0.6
            assert after == pytest.approx(cursor, abs=allowed)


def test_zooming_out_and_in_again_does_not_drift() -> None:
    made = camera(4096, 4096)
    made.look_at(Point(1234.5, 987.5), 8)
    cursor = Point(123, 456)
    before = made.to_image(*cursor)
    for _ in range(10):
        for factor in (1 / 64, 64):
            made.zoom_at(factor, *cursor)
    assert made.to_image(*cursor) == pytest.approx(before, abs=0.3)


@given(sizes, sizes, ratios, st.floats(1e-6, 1e6))
def test_zoom_has_limits_and_steps_that_qt_can_sample(height, width, ratio, factor) -> None:
    made = camera(height, width, ratio=ratio)
    made.zoom_at(factor, 300, 400)
    smallest = min(made.fit_zoom / 2, 1.0)
    assert min(smallest, MAX_ZOOM) * 0.998 <= made.zoom <= max(smallest, MAX_ZOOM) * 1.002
    steps = 65536 / (made.zoom * ratio)
    one_to_one = made.zoom * ratio == pytest.approx(1, abs=1e-12)  # then Qt copies
    assert one_to_one or 0 < steps - math.floor(steps) < 0.01


@given(ratios)
def test_one_to_one_is_exactly_so(ratio) -> None:
    """So that Qt copies the image's pixels and resamples nothing."""
    made = camera(4096, 4096, ratio=ratio)
    made.look_at(Point(2000, 2000), 1.000003 / ratio)
    assert made.zoom * ratio == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("zoom", "ratio"), [(1, 1.0), (8, 1.0), (0.125, 1.0), (2, 2.0)])
def test_whole_zooms_are_kept(zoom: float, ratio: float) -> None:
    made = camera(4096, 4096, ratio=ratio)
    made.look_at(Point(2000, 2000), zoom)
    assert made.zoom == pytest.approx(zoom, rel=1e-5)


@given(sizes, sizes, st.floats(0.1, 100), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_image_cannot_be_lost_by_panning(height, width, factor, dy, dx) -> None:
    made = camera(height, width)
    made.zoom_at(factor, 300, 400)
    made.pan(dy, dx)
    top, left = made.to_widget(0, 0)
    bottom, right = made.to_widget(height, width)
    for low, high, extent, widget in (
        (top, bottom, height * made.zoom, 600),
        (left, right, width * made.zoom, 800),
    ):
        margin = min(VISIBLE_MARGIN, extent)
        assert low <= widget - margin + 1
        assert high >= margin - 1


@given(st.integers(0, 4095), st.integers(0, 4095), st.floats(1, 64), ratios)
def test_a_cursor_on_a_pixel_centre_hits_that_pixel(y, x, zoom, ratio) -> None:
    made = camera(4096, 4096, ratio=ratio)
    made.look_at(Point(y + 0.3, x - 0.2), zoom)
    # Whole logical positions do not reach every device pixel where the ratio is a fraction.
    if zoom >= (1.0 if ratio.is_integer() else 1.6):
        hit = made.under_cursor(*made.cursor_for(y, x))
        assert (math.floor(hit.y), math.floor(hit.x)) == (y, x)


def test_a_fitted_image_stays_fitted_and_another_keeps_its_middle() -> None:
    made = camera(1000, 1000)
    made.set_widget(300, 300, 1.0)
    assert made.fitted
    assert made.zoom == pytest.approx(made.fit_zoom, rel=1e-3)
    made.look_at(Point(250, 700), 4)
    made.set_widget(500, 900, 2.0)
    assert made.centre == pytest.approx((250, 700), abs=0.5)
    assert made.zoom == pytest.approx(4, rel=1e-3)
