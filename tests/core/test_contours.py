"""Outlines along pixel edges: simple rings that enclose exactly the pixels they come from."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from unet_core.contours import contours, ring_area
from unet_core.shapes import Shape
from unet_core.tiling import Rect

PLANES = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint32, shape, elements=st.sampled_from([0, 1, 2, 70_000]))
)


@given(PLANES)
@settings(max_examples=150, deadline=None)
def test_outlines_enclose_exactly_the_objects(labels):
    plane = Rect(0, 0, *labels.shape)
    found = contours(labels)
    assert set(found) == set(np.unique(labels)) - {0}
    for number, parts in found.items():
        pieces = label(labels == number)[0]
        assert len(parts) == pieces.max(), "one outline for each piece that edges hold together"
        seen = np.zeros(labels.shape, int)
        for part in parts:
            box, mask = Shape(((part.exterior, *part.holes),)).mask(plane)
            seen[box.slices] += mask
            assert len(np.unique(pieces[box.slices][mask])) == 1
            assert ring_area(part.exterior) + sum(map(ring_area, part.holes)) == mask.sum()
            assert ring_area(part.exterior) > 0 and all(ring_area(h) < 0 for h in part.holes)
        np.testing.assert_array_equal(seen, labels == number)
        for ring in (ring for part in parts for ring in (part.exterior, *part.holes)):
            assert len({tuple(corner) for corner in ring.tolist()}) == len(ring), "simple"
            steps = np.diff(ring, axis=0, append=ring[:1])
            assert ((steps == 0).sum(axis=1) == 1).all(), "each step along one axis"
            along = steps[:, 0] == 0
            assert (along != np.roll(along, 1)).all(), "no corner in the middle of an edge"


def test_holes_that_touch_by_a_corner_are_two():
    labels = np.full((5, 5), 4)
    labels[1, 1] = labels[2, 2] = 0
    (part,) = contours(labels)[4]
    assert part.exterior.tolist() == [[0, 0], [0, 5], [5, 5], [5, 0]]
    assert sorted(len(hole) for hole in part.holes) == [4, 4]


def test_an_island_in_a_lake_is_a_part_of_its_own():
    labels = np.zeros((7, 7), int)
    labels[:] = 1
    labels[1:6, 1:6] = 0
    labels[3, 3] = 1
    ring, island = sorted(contours(labels)[1], key=lambda part: -len(part.holes))
    assert (len(ring.holes), len(island.holes)) == (1, 0)
    assert island.exterior.tolist() == [[3, 3], [3, 4], [4, 4], [4, 3]]


def test_an_empty_plane_has_no_outlines():
    assert contours(np.zeros((3, 4), np.uint16)) == {}
