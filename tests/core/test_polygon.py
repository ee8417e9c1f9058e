"""Polygons: centres of pixels inside a closed line, exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_core.polygon import polygon_mask
from unet_core.tiling import Rect

PLANE = Rect(0, 0, 20, 24)

# Quarters of a pixel, on and off the centres, inside the plane and beyond.
corners = st.lists(st.tuples(st.integers(-40, 120), st.integers(-40, 140)), min_size=1, max_size=9)
free = st.lists(
    st.tuples(st.floats(-30, 50, width=32), st.floats(-30, 50, width=32)), min_size=3, max_size=9
)


def paste(vertices, plane: Rect = PLANE) -> np.ndarray:
    """The polygon's mask as a whole plane."""
    rect, mask = polygon_mask(vertices, plane)
    assert mask.shape == (rect.height, rect.width)
    assert rect.empty or rect.intersect(plane) == rect
    result = np.zeros((plane.height, plane.width), bool)
    if not rect.empty:
        result[Rect(rect.y - plane.y, rect.x - plane.x, rect.height, rect.width).slices] = mask
    return result


def winding(vertices: list[tuple[int, int]], y: int, x: int) -> int | None:
    """How often a polygon goes round a point, in whole numbers; None on the line itself."""
    turns = 0
    for (ay, ax), (by, bx) in zip(vertices, vertices[1:] + vertices[:1], strict=True):
        side = (by - ay) * (x - ax) - (bx - ax) * (y - ay)
        if side == 0 and min(ay, by) <= y <= max(ay, by) and min(ax, bx) <= x <= max(ax, bx):
            return None
        if ay <= y < by and side > 0:
            turns += 1
        if by <= y < ay and side < 0:
            turns -= 1
    return turns


@given(corners)
def test_inside_are_the_centres_that_the_line_goes_round(quarters):
    mask = paste(np.array(quarters) / 4)
    for row, column in np.ndindex(mask.shape):
        turns = winding(quarters, 4 * row + 2, 4 * column + 2)
        if turns is not None:
            assert mask[row, column] == (turns != 0)


@given(free, st.integers(-30, 30), st.integers(-30, 30))
def test_the_plane_only_clips(vertices, y, x):
    whole = paste(vertices, Rect(-40, -40, 100, 100))
    part = paste(vertices, Rect(y, x, 13, 17))
    assert (part == whole[y + 40 : y + 53, x + 40 : x + 57]).all()


@given(corners)
def test_direction_and_beginning_of_the_line_do_not_matter(quarters):
    vertices = np.array(quarters) / 4
    expected = paste(vertices)
    assert (paste(vertices[::-1]) == expected).all()
    assert (paste(np.roll(vertices, 1, axis=0)) == expected).all()


@given(st.floats(0, 20), st.floats(0, 24), st.floats(0, 20), st.floats(0, 24))
def test_polygons_with_a_common_edge_share_no_pixel_and_leave_none_out(ay, ax, by, bx):
    """The plane cut from side to side by a line with a bend, wherever that lies."""
    cut = [(0.0, ax), (ay, bx), (20.0, ax)] if by > ay else [(0.0, bx), (by, ax), (20.0, bx)]
    left = paste([(0, 0), *cut, (20, 0)])
    right = paste([(0, 24), *cut, (20, 24)])
    assert (left ^ right).all()


def test_pixel_centres_decide():
    expected = np.zeros((PLANE.height, PLANE.width), bool)
    expected[2:5, 3:7] = True
    assert (paste([(2, 3), (2, 7), (5, 7), (5, 3)]) == expected).all()
    assert not paste([(2.6, 3.6), (2.6, 4.4), (3.4, 4.4), (3.4, 3.6)]).any()
    around_one = paste([(2.4, 3.4), (2.4, 3.6), (2.6, 3.6), (2.6, 3.4)])
    assert np.argwhere(around_one).tolist() == [[2, 3]]


def test_a_lasso_whose_end_crosses_its_beginning_has_no_hole():
    square = [(2, 2), (2, 15), (15, 15), (15, 2)]
    overlapping = [*square, (2, 2), (2, 8), (8, 8), (8, 2)]
    assert (paste(overlapping) == paste(square)).all()
    eight = paste([(2, 2), (12, 12), (2, 12), (12, 2)])
    assert eight[7, 3]
    assert eight[7, 11]
    assert not eight[4, 7]
    assert not eight[10, 7]


@pytest.mark.parametrize("vertices", [[], np.zeros((0, 2)), [(3, 3)], [(3.2, 3.2), (9.1, 9.4)]])
def test_nothing_lies_in_a_point_or_a_line(vertices):
    assert not paste(np.reshape(vertices, (-1, 2))).any()


def test_a_polygon_beside_the_plane_is_empty():
    rect, mask = polygon_mask([(-9, -9), (-9, -2), (-2, -2)], PLANE)
    assert rect.empty
    assert mask.size == 0


def test_cost_follows_the_polygon_and_not_the_plane():
    rect, mask = polygon_mask([(9000, 9000), (9000, 9004), (9004, 9002)], Rect(0, 0, 10**8, 10**8))
    assert rect == Rect(9000, 9000, 4, 4)
    assert mask.any()


@pytest.mark.parametrize("vertices", [[(1, np.nan)], [(1, 2, 3)], [1, 2], [(0, 1e300), (1, 1)]])
def test_what_is_no_polygon_is_refused(vertices):
    with pytest.raises(ValueError, match="vertices"):
        polygon_mask(vertices, PLANE)
