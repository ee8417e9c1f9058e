"""Contiguous regions, found window by window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.segmentation import flood as flood_of_whole

from unet_core.edits import TILE
from unet_core.flood import flood
from unet_core.tiling import Rect

planes = arrays(
    np.uint8,
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    elements=st.sampled_from([0, 0, 0, 1, 2]),
    fill=st.nothing(),
)
BIG = Rect(0, 0, 16_384, 16_384)


class Reader:
    """Gives rectangles of a plane and remembers which."""

    def __init__(self, labels, origin=(0, 0)):
        self.labels, self.origin, self.read = labels, origin, []

    def __call__(self, rect: Rect):
        self.read.append(rect)
        rect = Rect(rect.y - self.origin[0], rect.x - self.origin[1], rect.height, rect.width)
        assert rect.intersect(Rect(0, 0, *self.labels.shape)) == rect
        return self.labels[rect.slices]


@given(planes, st.integers(1, 6), st.data())
def test_windows_find_what_a_flood_of_the_whole_plane_finds(labels, window, data):
    seed = tuple(data.draw(st.integers(0, side - 1)) for side in labels.shape)
    y, x = data.draw(st.sampled_from([(0, 0), (5, -3)]))
    reader = Reader(labels, (y, x))
    plane = Rect(y, x, *labels.shape)
    region = flood(reader, plane, (seed[0] + y, seed[1] + x), labels.size, window=window)

    expected = flood_of_whole(labels, seed, connectivity=1)
    found = np.zeros(labels.shape, bool)
    rect = Rect(region.rect.y - y, region.rect.x - x, region.rect.height, region.rect.width)
    found[rect.slices] = region.mask
    assert (found == expected).all()
    assert region.mask.any(axis=0)[[0, -1]].all()
    assert region.mask.any(axis=1)[[0, -1]].all()
    assert region.pixels == expected.sum()
    assert region.complete
    at_edge = expected[[0, -1]].any() or expected[:, [0, -1]].any()
    assert region.closed == (not at_edge)


@given(planes, st.integers(1, 6), st.integers(0, 60), st.data())
def test_the_limit_is_told_and_what_was_found_belongs_to_the_region(labels, window, limit, data):
    seed = tuple(data.draw(st.integers(0, side - 1)) for side in labels.shape)
    region = flood(Reader(labels), Rect(0, 0, *labels.shape), seed, limit, window=window)
    expected = flood_of_whole(labels, seed, connectivity=1)
    assert region.complete == (expected.sum() <= limit)
    assert region.closed <= region.complete
    assert region.mask.sum() == region.pixels
    assert (region.pixels > limit) == (not region.complete)
    assert not (region.mask & ~expected[region.rect.slices]).any()
    assert region.mask[seed[0] - region.rect.y, seed[1] - region.rect.x]


class Ring:
    """A plane of any size with a circle, and a record of what was read of it."""

    def __init__(self, y: float, x: float, radius: float):
        self.y, self.x, self.radius = y, x, radius
        self.read = []

    def __call__(self, rect: Rect):
        self.read.append(rect)
        rows, columns = np.ogrid[rect.y : rect.bottom, rect.x : rect.right]
        distance = np.hypot(rows + 0.5 - self.y, columns + 0.5 - self.x)
        return (np.abs(distance - self.radius) <= 1).astype(np.uint8)


def test_a_closed_region_of_a_large_plane_costs_its_own_windows():
    ring = Ring(8192, 8192, 300)  # where four windows meet
    inside = flood(ring, BIG, (8192, 8192), 10**6)
    assert inside.closed
    assert inside.pixels == pytest.approx(np.pi * 299**2, rel=0.01)
    assert len(ring.read) == len(set(ring.read))
    # Four windows to either side, and the one pixel of the seed.
    assert sum(rect.height * rect.width for rect in ring.read) <= (4 * TILE) ** 2 + 1
    line = flood(ring, BIG, (8192, 8492), 10**6)
    assert line.closed
    assert line.rect.height == inside.rect.height + 4


def test_an_open_region_stops_at_the_limit():
    ring = Ring(8192, 8192, 300)
    region = flood(ring, BIG, (7000, 8192), 20 * TILE**2)
    assert not region.complete
    assert not region.closed
    assert region.pixels <= 21 * TILE**2
    assert len(ring.read) < 80


def test_object_numbers_flood_like_classes():
    labels = np.zeros((40, 40), np.uint32)
    labels[5:20, 5:20] = 70_000
    labels[5:20, 20:30] = 70_000 + 256  # the same last byte
    region = flood(Reader(labels), Rect(0, 0, 40, 40), (6, 6), 1000, window=16)
    assert region.rect == Rect(5, 5, 15, 15)
    assert region.closed


@pytest.mark.parametrize("seed", [(-1, 0), (0, 40), (40, 0)])
def test_a_seed_outside_the_plane_is_refused(seed):
    with pytest.raises(ValueError, match="outside"):
        flood(Reader(np.zeros((40, 40), np.uint8)), Rect(0, 0, 40, 40), seed, 10)
