"""Labels between two labelled planes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from unet_core.between import between, signed_distance

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def pairs(*values: int):
    """Two planes of the same size with these values."""
    return sizes.flatmap(
        lambda shape: st.tuples(
            *[arrays(np.uint8, shape, elements=st.sampled_from(values), fill=st.nothing())] * 2
        )
    )


def disc(y: float, x: float, radius: float, value: int = 2, shape=(60, 70)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = (rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= radius**2
    return (inside * value).astype(np.uint8)


@given(pairs(0, 1, 2, 3), st.integers(0, 4))
def test_each_pixel_has_the_value_of_one_of_the_ends_and_the_common_one_stays(ends, planes):
    first, last = ends
    middle = list(between(first, last, planes))
    assert len(middle) == planes
    for plane in middle:
        assert plane.dtype == np.uint8
        assert ((plane == first) | (plane == last) | (plane == 0)).all()
        both = np.isin(first, last) & (first == last)
        assert (plane[both] == first[both]).all()


@given(pairs(0, 1, 2, 3), st.integers(1, 3))
def test_where_shapes_overlap_the_deeper_one_wins(ends, planes):
    first, last = (np.pad(end, 1) for end in ends)
    common = [v for v in (1, 2, 3) if (first == v).any() and (last == v).any()]
    for index, plane in enumerate(between(first, last, planes), start=1):
        depths = np.full((4, *first.shape), -1.0)
        for value in common:
            one, other = signed_distance(first == value), signed_distance(last == value)
            depths[value] = one * (planes + 1 - index) + other * index
        depths[depths < 0] = -1
        expected = np.where(depths.max(axis=0) >= 0, depths.argmax(axis=0), 0)
        assert (plane == expected).all()


@given(pairs(0, 1, 2, 3), st.integers(1, 4))
def test_the_way_back_is_the_same(ends, planes):
    first, last = ends
    there, back = list(between(first, last, planes)), list(between(last, first, planes))
    for one, other in zip(there, back[::-1], strict=True):
        assert (one == other).all()


@given(pairs(0, 1, 2), st.integers(1, 3))
def test_equal_ends_give_equal_planes(ends, planes):
    for plane in between(ends[0], ends[0].copy(), planes):
        assert (plane == ends[0]).all()


@given(pairs(1, 2), st.integers(1, 4))
def test_where_every_pixel_has_one_of_two_values_none_is_left_out(ends, planes):
    shared = set(np.unique(ends[0])) & set(np.unique(ends[1]))
    for plane in between(*ends, planes):
        assert set(np.unique(plane)) <= shared | {0}
        assert (plane > 0).all() or len(shared) < 2


@given(pairs(0, 1, 2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_more_room_around_the_labels_changes_nothing(ends, planes, above, left):
    rim = [np.pad(end, 1) for end in ends]
    room = [np.pad(end, ((above, 2), (left, 3))) for end in ends]
    for small, large in zip(between(*rim, planes), between(*room, planes), strict=True):
        assert (large[above:-2, left:-3] == small[1:-1, 1:-1]).all()
        assert np.count_nonzero(large) == np.count_nonzero(small)


@given(pairs(0, 1, 2), st.integers(1, 3))
def test_object_numbers_of_any_size_behave_like_classes(ends, planes):
    far = np.array([0, 5, 4_000_000_000], np.uint32)
    for small, large in zip(
        between(*ends, planes), between(*(far[e] for e in ends), planes), strict=True
    ):
        assert large.dtype == np.uint32
        assert (large == far[small]).all()


def test_a_shrinking_disc_shrinks_evenly():
    planes = [disc(30, 35, 25), *between(disc(30, 35, 25), disc(30, 35, 5), 3), disc(30, 35, 5)]
    for outer, inner in zip(planes[:-1], planes[1:], strict=True):
        assert not (inner > outer).any()
    radii = [np.sqrt(np.count_nonzero(plane) / np.pi) for plane in planes]
    assert radii == pytest.approx([25, 20, 15, 10, 5], abs=0.5)


def test_a_moving_disc_moves_evenly():
    for index, plane in enumerate(between(disc(30, 25, 18), disc(30, 41, 18), 3), start=1):
        rows, columns = np.nonzero(plane)
        assert columns.mean() + 0.5 == pytest.approx(25 + 4 * index, abs=0.6)
        assert rows.mean() + 0.5 == pytest.approx(30, abs=0.1)


def test_a_hole_closes_and_the_background_takes_part():
    first, last = disc(30, 30, 25, 2), disc(30, 30, 25, 2)
    for end, radius in ((first, 20), (last, 10)):
        end[disc(30, 30, radius, 1) == 1] = 1
    (middle,) = between(first, last, 1)
    assert np.sqrt(np.count_nonzero(middle == 1) / np.pi) == pytest.approx(15, abs=0.5)
    assert ((middle > 0) == (first > 0)).all()


def test_a_value_of_one_end_only_is_not_in_between():
    first = disc(30, 20, 9) | disc(30, 50, 9, 3)
    (middle,) = between(first, disc(30, 20, 9), 1)
    assert (middle == disc(30, 20, 9)).all()


def test_a_shape_that_the_edge_of_the_plane_cuts_goes_on_there():
    first, last = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    first[:, :20], last[:, :10] = 2, 2
    (middle,) = between(first, last, 1)
    assert (middle == np.where(np.arange(30) < 15, 2, 0)).all()


@given(arrays(bool, sizes))
def test_distances_are_those_to_the_pixels_on_the_other_side(mask):
    distances = signed_distance(mask)
    assert ((distances > 0) == mask).all()
    assert (distances == -signed_distance(~mask)).all()
    if mask.any() and not mask.all():
        assert np.allclose(distances[mask], distance_transform_edt(mask)[mask] - 0.5)


@pytest.mark.parametrize(
    "last", [np.zeros((3, 5), np.uint8), np.zeros((3, 4), np.uint32), np.zeros((2, 3, 4), np.uint8)]
)
def test_planes_that_do_not_fit_are_refused_at_once(last):
    with pytest.raises(ValueError, match="between"):
        between(np.zeros((3, 4), np.uint8), last, 2)
