"""How channels are shown, in numbers: tables, histograms, automatic contrast, what is kept."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.display import (
    AUTO_PERCENTILES,
    AUTOMATIC,
    CHANNEL_COLORS,
    TABLES,
    ChannelDisplay,
    auto_contrast,
    first_displays,
    histogram,
    remembered,
    restored,
    shown_table,
    swatches,
)

DISPLAYS = st.builds(
    lambda ends, gamma, lut, visible: ChannelDisplay(*sorted(ends), gamma, lut, visible),
    st.tuples(*[st.floats(-1e30, 1e30)] * 2),
    st.floats(0.2, 5),
    st.sampled_from([AUTOMATIC, *TABLES]),
    st.booleans(),
)


class FakeStack:
    def __init__(self, dtype: str, is_rgb: bool, colors: tuple[str, ...] = ()) -> None:
        self.dtype, self.is_rgb, self.channel_colors = np.dtype(dtype), is_rgb, colors


# --- tables ----------------------------------------------------------------------------------


def test_tables_are_256_colours_from_dark_to_bright() -> None:
    luminance = np.array([0.2126, 0.7152, 0.0722])
    for name, table in TABLES.items():
        assert table.shape == (256, 3) and table.dtype == np.uint8
        levels = table @ luminance
        if name == "Inverted grey":
            levels = levels[::-1]
        assert levels[0] < 25 and levels[-1] > 60
        if name != "Fire":  # whose blue fades out before its red comes
            assert np.diff(levels).min() > -1.5, name
    assert np.array_equal(TABLES["Grey"][:, 1], np.arange(256))
    assert np.array_equal(TABLES["Inverted grey"], TABLES["Grey"][::-1])
    assert TABLES["Viridis"][[0, 255]].tolist() == [[0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]]


def test_automatic_is_grey_alone_and_the_channels_colour_in_company() -> None:
    display = ChannelDisplay(0, 1)
    for channel in range(8):
        assert shown_table(display, channel, alone=True) is TABLES["Grey"]
        color = bytes(shown_table(display, channel, alone=False)[-1]).hex()
        assert f"#{color}" == CHANNEL_COLORS[channel % len(CHANNEL_COLORS)]
    fire = ChannelDisplay(0, 1, lut="Fire")
    for alone in (True, False):
        assert shown_table(fire, 1, alone=alone) is TABLES["Fire"]
    assert swatches([display, fire], is_rgb=False) == [CHANNEL_COLORS[0], "#ffffff"]
    assert len(swatches([display] * 3, is_rgb=True)) == 3


def test_the_colours_that_an_image_states_are_its_own() -> None:
    ranges = np.array([[0, 9], [0, 9]], np.float32)
    for colors, own in (
        (("#00ffff", "#102030"), ["#00ffff", "#102030"]),
        (("#ffffff", "#ffffff"), list(CHANNEL_COLORS[:2])),  # nobody has chosen that
        (("#00ffff", ""), list(CHANNEL_COLORS[:2])),
    ):
        stack = FakeStack("uint16", False, colors)
        shown = first_displays(stack, ranges)  # type: ignore[arg-type]
        assert swatches(shown, is_rgb=False) == own
        assert swatches(restored(remembered(shown), shown), is_rgb=False) == own
        assert "color" not in str(remembered(shown)).replace("'color': ''", "")
        alone = shown_table(shown[0], 0, alone=True)
        assert (alone == TABLES["Grey"]).all()


def test_a_display_that_makes_no_sense_cannot_be_made() -> None:
    for values, word in (
        ({"low": 2}, "range"),
        ({"low": float("nan")}, "range"),
        ({"high": float("inf")}, "range"),
        ({"high": 1e300}, "range"),
        ({"gamma": 0.0}, "Gamma"),
        ({"gamma": float("nan")}, "Gamma"),
        ({"lut": "Rainbow"}, "Rainbow"),
    ):
        with pytest.raises(ValueError, match=word):
            ChannelDisplay(**{"low": 0.0, "high": 1.0, **values})


def test_an_image_is_first_shown_by_its_ranges() -> None:
    ranges = np.array([[1, 9], [2, 7], [0, 8]], np.float32)

    def ends(dtype: str, is_rgb: bool) -> list[tuple[float, float]]:
        shown = first_displays(FakeStack(dtype, is_rgb), ranges)  # type: ignore[arg-type]
        assert all(display.visible and display.gamma == 1 for display in shown)
        return [(display.low, display.high) for display in shown]

    assert ends("uint16", False) == [(1, 9), (2, 7), (0, 8)]
    assert ends("uint8", True) == [(0, 255)] * 3
    assert ends("uint16", True) == [(0, 9)] * 3


# --- remembered ------------------------------------------------------------------------------


@given(st.lists(DISPLAYS, max_size=4))
def test_what_is_remembered_comes_back(displays) -> None:
    state = json.loads(json.dumps(remembered(displays)))
    assert restored(state, [ChannelDisplay(0, 1)] * len(displays)) == displays


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["low", "high", "gamma", "lut", "visible"]), inner, max_size=5
        )
    ),
    max_leaves=8,
)


@given(JSON | st.lists(JSON, max_size=3))
@settings(deadline=None)
def test_nonsense_leaves_everything_as_it_is_or_makes_sense(state) -> None:
    now = [ChannelDisplay(3, 4), ChannelDisplay(5, 6, lut="Fire", visible=False)]
    for display in restored(state, now):
        assert isinstance(display, ChannelDisplay)


def test_one_odd_channel_does_not_spoil_the_others() -> None:
    now = [ChannelDisplay(0, 1)] * 3
    good = {"low": 5, "high": 6, "gamma": 2.0, "lut": "Fire", "visible": False}
    wanted = ChannelDisplay(5, 6, 2.0, "Fire", False)
    for odd in (
        {**good, "lut": "Rainbow"},
        {**good, "lut": ["Fire"]},
        {**good, "gamma": 99},
        {**good, "low": 7},
        {**good, "low": None},
        {**good, "high": 10**400},
        {**good, "visible": "yes"},
        {"low": 5},
        [1, 2],
        "Fire",
        7,
    ):
        assert restored([odd, good], now) == [now[0], wanted, now[2]]
    for odd in (None, 5, "x", {"low": 1}, []):
        assert restored(odd, now) == now


# --- histograms ------------------------------------------------------------------------------


def test_the_histogram_of_a_known_plane_is_right() -> None:
    plane = np.array([[0, 0, 0, 7], [7, 255, 200, 200]], np.uint8)
    found = histogram(plane)
    assert (found.start, found.width, found.stop) == (0, 1, 256)
    assert {v: n for v, n in enumerate(found.counts) if n} == {0: 3, 7: 2, 200: 2, 255: 1}
    assert (found.lowest, found.highest) == (0, 255)
    # Few different values are not smeared over many bins.
    found = histogram(np.array([[1000, 1000, 1003, 1005]], np.uint16))
    assert (found.start, found.width, found.counts.tolist()) == (1000, 1, [2, 0, 0, 1, 0, 1])


@given(
    hnp.arrays(
        st.sampled_from(["bool", "int8", "uint8", "int16", "uint16", "int64", "f4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    )
)
@settings(deadline=None)
def test_every_pixel_worth_a_look_is_counted_in_its_bin(plane: np.ndarray) -> None:
    found = histogram(plane)
    assert 1 <= len(found.counts) <= 256 and found.width > 0 and found.counts.min() >= 0
    assert found.lowest <= found.low <= found.high <= found.highest
    finite = plane[np.isfinite(plane)].astype(np.float64)
    assert found.counts.sum() <= max(1, len(finite))
    if finite.size and np.abs(finite).max() < 1e30:
        assert (found.lowest, found.highest) == (finite.min(), finite.max())
        spread = found.high - found.low
        if found.high + spread >= found.highest and found.low - spread <= found.lowest:
            assert found.counts.sum() == len(finite)


def test_a_hot_pixel_does_not_hide_the_cells() -> None:
    plane = np.random.default_rng(0).integers(100, 600, (300, 300), dtype=np.uint16)
    plane[3, 4] = 65535
    found = histogram(plane)
    assert found.highest == 65535
    assert found.stop < 1300 and np.count_nonzero(found.counts) > 100
    assert found.counts.sum() == plane.size - 1


def test_of_a_large_plane_a_sample_is_looked_at() -> None:
    plane = np.random.default_rng(0).integers(0, 1000, (2000, 1500), dtype=np.uint16)
    found = histogram(plane)
    assert 100_000 < found.counts.sum() <= 1 << 18
    low, high = np.percentile(plane, AUTO_PERCENTILES)
    assert abs(found.low - low) < 3 and abs(found.high - high) < 3


def test_values_that_are_no_numbers_are_left_out() -> None:
    plane = np.array([[np.nan, np.inf, -np.inf, 2.0, 4.0]], np.float32)
    found = histogram(plane)
    assert (found.lowest, found.highest, found.counts.sum()) == (2, 4, 2)
    assert histogram(np.full((2, 2), np.nan)).counts.sum() == 1
    huge = histogram(np.array([[-1e308, 1e308]]))
    assert np.isfinite([huge.start, huge.stop, huge.low, huge.high]).all()


# --- automatic contrast ----------------------------------------------------------------------


def test_auto_goes_by_percentiles_and_the_second_time_by_everything() -> None:
    plane = np.random.default_rng(0).normal(300, 20, (200, 200)).astype(np.float32)
    found = histogram(plane)
    before = [ChannelDisplay(0, 60000, 0.7, "Fire")]
    once = auto_contrast(before, [found])
    low, high = np.percentile(plane, AUTO_PERCENTILES)
    assert (once[0].low, once[0].high) == pytest.approx((low, high))
    assert (once[0].gamma, once[0].lut) == (0.7, "Fire")
    twice = auto_contrast(once, [found])
    assert (twice[0].low, twice[0].high) == (plane.min(), plane.max())
    assert auto_contrast(twice, [found]) == once


def test_a_nearly_empty_plane_shows_what_little_there_is() -> None:
    plane = np.zeros((300, 300), np.uint16)
    plane[7, 7] = 40
    [display] = auto_contrast([ChannelDisplay(0, 60000)], [histogram(plane)])
    assert (display.low, display.high) == (0, 40)
    [flat] = auto_contrast([ChannelDisplay(0, 1)], [histogram(np.full((5, 5), 9, np.uint8))])
    assert (flat.low, flat.high) == (9, 9)
