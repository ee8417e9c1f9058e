"""Smooth strokes: near the hand's path, without gaps, and ends where they were."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unet_core.freehand import FreehandPath, smooth_path

paths = st.lists(
    st.tuples(st.floats(-60, 60, width=16), st.floats(-60, 60, width=16)), min_size=1, max_size=12
)
reaches = st.sampled_from([0.0, 0.5, 3.0, 8.5, 200.0])
spacings = st.sampled_from([0.5, 1.0, 2.5])


def lengths(points: np.ndarray) -> np.ndarray:
    """How far along the path each of its points lies."""
    return np.concatenate(([0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))


def at(points: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The points at given lengths."""
    return np.stack([np.interp(s, lengths(points), axis) for axis in points.T], axis=-1)


def distance(point: np.ndarray, path: np.ndarray) -> float:
    """From a point to the nearest point of a path of straight lines."""
    start, step = path[:-1], np.diff(path, axis=0)
    if not len(step):
        return float(np.hypot(*(path[0] - point)))
    along = ((point - start) * step).sum(1) / np.maximum((step**2).sum(1), 1e-300)
    return float(np.hypot(*(start + np.clip(along, 0, 1)[:, None] * step - point).T).min())


@given(paths, reaches, spacings)
def test_it_stays_within_half_the_reach_of_the_raw_path_and_of_its_points(raw, reach, spacing):
    points = np.array(raw)
    smooth = smooth_path(points, reach, spacing)
    for point in smooth:
        assert distance(point, points) <= reach / 2 + 1e-6
    for point in points:
        assert distance(point, smooth) <= reach / 2 + spacing + 1e-6


@given(paths, reaches, spacings)
def test_both_ends_stay(raw, reach, spacing):
    smooth = smooth_path(raw, reach, spacing)
    assert (smooth[0] == raw[0]).all()
    assert (smooth[-1] == raw[-1]).all()


@given(paths, reaches, spacings)
def test_it_has_no_gaps(raw, reach, spacing):
    """Nowhere longer than the raw path, and long lines only where that is straight as well."""
    points, smooth = np.array(raw), smooth_path(raw, reach, spacing)
    steps = np.hypot(*np.diff(smooth, axis=0).T)
    assert steps.sum() <= lengths(points)[-1] + 1e-6
    for a, b in zip(smooth[:-1], smooth[1:], strict=True):
        if np.hypot(*(b - a)) > 1.5 * spacing + 1e-6:
            for middle in (0.25 * a + 0.75 * b, (a + b) / 2):
                assert distance(middle, points) < 1e-6


@given(paths, st.sampled_from([0.5, 3.0, 8.5]), spacings)
def test_it_is_the_mean_of_the_raw_path_around(raw, reach, spacing):
    points = np.array(raw)
    total = lengths(points)[-1]
    assume(total > 0)
    smooth = smooth_path(points, reach, spacing)
    for s in np.arange(0, total, max(spacing, total / 40)):
        w = min(reach, s, total - s)
        mean = at(points, s + w * (np.arange(400) + 0.5 - 200) / 200).mean(axis=0)
        # Between samples a chord stands for the curve: by then it can not have bent much.
        assert distance(mean, smooth) <= spacing / 2 + 0.05


@given(paths, reaches, spacings)
def test_what_was_handed_out_is_final_and_the_pen_is_near(raw, reach, spacing):
    path = FreehandPath(reach, spacing)
    given_out = np.zeros((0, 2))
    for index, point in enumerate(raw):
        given_out = np.concatenate((given_out, path.to(*point)))
        # Were the pen lifted here, it would have been the same path up to here,
        shorter = smooth_path(raw[: index + 1], reach, spacing)
        assert np.allclose(shorter[: len(given_out)], given_out)
        # and what was still to come is short, but for a straight piece at the end.
        pen, last = np.array(point), given_out[-1]
        assert np.hypot(*(pen - last)) <= 1.5 * reach + 2 * spacing + 1e-6
    assert np.allclose(np.concatenate((given_out, path.finish())), smooth_path(raw, reach, spacing))


def test_a_finished_path_can_be_begun_again():
    path = FreehandPath(4)
    for _ in range(2):
        assert path.to(3, 5).tolist() == [[3, 5]]
        path.to(30, 9)
        assert path.finish()[-1].tolist() == [30, 9]
        assert len(path.finish()) == 0


def test_a_click_is_one_point_and_standing_still_adds_nothing():
    path = FreehandPath(4)
    assert len(path.to(3, 5)) == 1
    assert len(path.to(3, 5)) == 0
    assert len(path.finish()) == 0


def test_the_number_of_mouse_events_does_not_matter():
    corners = np.array([(0, 0), (0, 40), (30, 40), (5, 80)], float)
    often = at(
        corners, np.sort(np.append(np.linspace(0, lengths(corners)[-1], 777), lengths(corners)))
    )
    few, many = smooth_path(corners, 6), smooth_path(often, 6)
    assert max(distance(point, few) for point in many) < 0.05
    assert len(few) < 80  # only the bends
    assert len(many) < 150


def test_tremor_vanishes_and_corners_round_off():
    along = np.arange(0, 200, 0.5)
    shaking = np.stack((along, 1.5 * np.sin(along * 2)), axis=1)
    calm = smooth_path(shaking, 12)
    inner = calm[(calm[:, 0] > 15) & (calm[:, 0] < 185)]
    assert np.abs(inner[:, 1]).max() < 0.3

    bend = smooth_path([(0, 0), (0, 40), (40, 40)], 8, 0.5)
    steps = np.diff(bend[:-1], axis=0)
    turns = np.abs(np.diff(np.arctan2(*steps.T)))
    assert turns.max() < np.radians(12)


def test_a_far_jump_costs_no_more_than_a_short_one():
    assert len(smooth_path([(0, 0), (1e9, 1e9)], 8)) < 60


@pytest.mark.parametrize("reach, spacing", [(-1, 1), (np.nan, 1), (np.inf, 1), (4, 0), (4, np.nan)])
def test_impossible_settings_are_refused(reach, spacing):
    with pytest.raises(ValueError, match="smoothed"):
        FreehandPath(reach, spacing)


def test_no_point_is_refused_and_the_path_goes_on():
    path = FreehandPath(4)
    path.to(0, 0)
    with pytest.raises(ValueError, match="no point"):
        path.to(np.nan, 3)
    path.to(9, 9)
    assert path.finish()[-1].tolist() == [9, 9]
