"""Objects cut by a drawn line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from unet_core.brush import pixel_path
from unet_core.cut import cut_by_line
from unet_core.tiling import Rect

masks = arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))
lines = st.lists(
    st.tuples(st.floats(-4, 18, width=16), st.floats(-4, 18, width=16)), min_size=1, max_size=6
)


def pieces(mask: np.ndarray) -> int:
    return label(mask)[1]


@given(masks, lines, st.integers(1, 6))
def test_nothing_is_lost_and_parts_hang_together(mask, line, min_size):
    parts, count = cut_by_line(mask, line, min_size)
    assert ((parts > 0) == mask).all()
    if mask.any():
        assert set(np.unique(parts[mask])) == set(range(1, count + 1))
    else:
        assert count == 1
    for part in range(2, count + 1):
        assert pieces(parts == part) == 1
        assert np.count_nonzero(parts == part) >= min_size
    # Part 1 lies in every piece of the object, once.
    assert pieces(parts == 1) == pieces(mask)


@given(masks, lines)
def test_what_the_line_separates_are_the_parts(mask, line):
    under = np.zeros(mask.shape, bool)
    for start, end in zip([line[0], *line], line, strict=False):
        under[pixel_path(start, end, Rect(0, 0, *mask.shape))] = True
    parts, count = cut_by_line(mask, line)
    whole, (beside, regions) = label(mask)[0], label(mask & ~under)
    for region in range(1, regions + 1):
        assert len(np.unique(parts[beside == region])) == 1
    cut_pieces = len(np.unique(whole[beside > 0]))
    assert count == max(1, 1 + regions - cut_pieces)


def rectangle() -> np.ndarray:
    mask = np.zeros((30, 40), bool)
    mask[5:25, 5:35] = True
    return mask


@pytest.mark.parametrize(
    "line",
    [
        [(0, 15), (30, 15)],
        [(0, 3.3), (30, 24.9)],
        [(2, 10), (9, 13), (15, 12.5), (28, 20)],
        [(30, 15), (0, 15)],
    ],
)
def test_a_line_across_makes_two_and_the_larger_is_the_first(line):
    mask = rectangle()
    parts, count = cut_by_line(mask, line)
    assert count == 2
    assert np.count_nonzero(parts == 1) > np.count_nonzero(parts == 2)
    assert parts[24, 34] == 1
    assert parts[24, 5] == 2


def test_the_pixels_under_the_line_go_to_the_nearest_part():
    parts, _ = cut_by_line(rectangle(), [(0, 15.5), (30, 15.5)])
    assert (parts[5:25, 5:15] == 2).all()
    assert (parts[5:25, 16:35] == 1).all()


@pytest.mark.parametrize(
    "line", [[(0, 15), (20, 15)], [(10, 10), (20, 20)], [(1, 1), (1, 39)], [(15, 15)]]
)
def test_a_line_that_does_not_go_through_cuts_nothing(line):
    mask = rectangle()
    parts, count = cut_by_line(mask, line)
    assert count == 1
    assert (parts == mask).all()


def test_a_line_may_cut_twice_and_leave_in_between():
    mask = rectangle()
    mask[5:20, 15:25] = False  # a U
    parts, count = cut_by_line(mask, [(10, 0), (10, 40)])
    assert count == 3
    assert parts[22, 20] == 1
    assert {parts[6, 6], parts[6, 30]} == {2, 3}


def test_a_corner_is_no_way_to_the_nearest_part():
    mask = np.zeros((5, 14), bool)
    mask[0, :2] = mask[1, 2:] = True  # two pieces that only touch by a corner
    line = [(1.5, 2.5), (1.5, 3.5), (4.5, 3.5), (4.5, 6.5), (0.5, 6.5)]
    parts, count = cut_by_line(mask, line)
    assert count == 2
    assert parts[1, 2:6].tolist() == [2, 2, 2, 2]


def test_crumbs_stay_with_their_neighbour():
    mask = rectangle()
    line = [(0, 7), (6.5, 7.5), (7.5, 0)]  # cuts off a corner of a few pixels
    assert cut_by_line(mask, line)[1] == 2
    parts, count = cut_by_line(mask, line, min_size=10)
    assert count == 1
    assert (parts == mask).all()


def test_pieces_that_the_line_does_not_cut_stay_together():
    mask = rectangle()
    mask[:, 20] = False
    parts, count = cut_by_line(mask, [(0, 10), (30, 10)])
    assert count == 2
    assert (parts[5:25, 21:35] == 1).all()
    assert (parts[5:25, 11:20] == 1).all()


@pytest.mark.parametrize("line", [[], [(1, np.nan)], [1, 2], [(1, 2, 3)]])
def test_what_is_no_line_is_refused(line):
    with pytest.raises(ValueError, match="line"):
        cut_by_line(rectangle(), line)
