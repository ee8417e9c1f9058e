"""Predicted cells become labels: each one as the whole plane shows it, and nothing painted over."""

from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from unet_core import tiling
from unet_core.annotation import Annotation, AnnotationError
from unet_core.labels import MAX_OBJECT, classes_of, objects_of
from unet_core.objects import split_objects
from unet_core.predicted_cells import accept, part_around, predicted_classes, reject
from unet_core.stack import PlaneIndex
from unet_core.tiles import bounding_box
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)


@dataclass
class Shown:
    """A prediction that lies in arrays."""

    threshold: int
    maps: np.ndarray
    interior: np.ndarray | None = None
    largest: int = 0
    """The most pixels that were asked for at a time."""

    @property
    def predicted(self):
        return bounding_box(self.maps.any(axis=0))

    def read(self, rect):
        self.largest = max(self.largest, rect.height * rect.width)
        return self.maps[:, *rect.slices]

    def read_interior(self, rect):
        return None if self.interior is None else self.interior[rect.slices]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 3.0, 6.0]),
    st.booleans(),
    st.sampled_from([60, 128, 150]),
)
@settings(deadline=None, max_examples=60)
def test_a_cell_is_the_same_as_in_the_whole_plane(seed, size, with_interior, threshold):
    random = np.random.default_rng(seed)
    height, width = random.integers(20, 150, 2).tolist()
    rough = np.stack([gaussian_filter(random.normal(size=(height, width)), size) for _ in range(3)])
    maps = np.clip(128 + 60 * rough / rough.std(), 0, 255).astype(np.uint8)
    shown = Shown(threshold, maps[:2], maps[2] if with_interior else None)
    plane = Rect(0, 0, height, width)
    classes = predicted_classes(shown, 2, plane)
    objects = split_objects(classes, shown.read_interior(plane), 0)
    for _ in range(5):
        y, x = int(random.integers(height)), int(random.integers(width))
        part = part_around(shown, 2, plane, (y, x))
        if classes[y, x] == 0:
            assert part.empty
            continue
        seen = predicted_classes(shown, 2, part)
        assert np.array_equal(seen, classes[part.slices])
        alone = split_objects(seen, shown.read_interior(part), 0)
        mine = np.zeros(classes.shape, bool)
        mine[part.slices] = alone == alone[y - part.y, x - part.x]
        assert np.array_equal(mine, objects == objects[y, x])


@pytest.fixture
def shown():
    """Two cells of the first class and one of the second, which the list may not know."""
    maps = np.zeros((2, 60, 80), np.uint8)
    maps[0, 5:15, 5:25], maps[0, 30:50, 10:30], maps[1, 30:50, 50:70] = 200, 210, 220
    return Shown(128, maps)


@pytest.fixture
def labels():
    """Background is painted over the left of the first cell."""
    made = Annotation((1, 1, 60, 80))
    made.fill(PLANE, Rect(0, 0, 40, 10), np.ones((40, 10), bool), 1)
    return made


def applied(labels, edit):
    labels.apply(edit)
    return labels.read_labels(PLANE)


def tried(labels, edit):
    after = applied(labels, edit)
    labels.apply(edit.inverse())
    return after


def test_all_cells_of_known_classes_are_accepted_where_nothing_is_painted(shown, labels):
    before = labels.read(PLANE)
    after = applied(labels, accept(labels.snapshot(), PLANE, shown, 1, None, 7))
    cells = (shown.maps[0] > 0) & (before == 0)
    assert np.array_equal(classes_of(after), np.where(cells, 2, before))
    assert np.array_equal(np.unique(objects_of(after)), [0, 7, 8])
    assert accept(labels.snapshot(), PLANE, shown, 0, None, 7) is None


def test_one_cell_is_accepted_without_a_number_or_rejected(shown, labels):
    assert accept(labels.snapshot(), PLANE, shown, 2, (0, 40), 0) is None
    after = applied(labels, accept(labels.snapshot(), PLANE, shown, 2, (40, 60), 0))
    assert np.array_equal(classes_of(after) == 3, shown.maps[1] > 0)
    assert not objects_of(after).any()
    after = applied(labels, reject(labels.snapshot(), PLANE, shown, 2, (40, 20)))
    assert (classes_of(after)[30:50, 10:30] == 1).all() and not after[5:15, 10:25].any()
    assert reject(labels.snapshot(), PLANE, shown, 2, (40, 20)) is None, "it is painted now"


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=20)
def test_band_by_band_the_same_is_accepted(seed, with_interior):
    random = np.random.default_rng(seed)
    rough = np.stack([gaussian_filter(random.normal(size=(300, 200)), 5) for _ in range(3)])
    maps = np.clip(128 + 60 * rough / rough.std(), 0, 255).astype(np.uint8)
    shown = Shown(128, maps[:2], maps[2] if with_interior else None)
    painted = Annotation((1, 1, 300, 200))
    painted.fill(PLANE, Rect(40, 30, 200, 30), np.ones((200, 30), bool), 1)
    whole = tried(painted, accept(painted, PLANE, shown, 2, None, 5))
    middle = np.argwhere(classes_of(whole) > 1)[1000].tolist()
    pixel = tried(painted, accept(painted, PLANE, shown, 2, middle, 5))
    shown.largest = 0
    with mock.patch.object(tiling, "BAND", 200 * 32):
        banded = tried(painted, accept(painted, PLANE, shown, 2, None, 5))
        assert shown.largest <= 200 * (32 + 2 + 4), "memory is bounded"
        alone = tried(painted, accept(painted, PLANE, shown, 2, middle, 5))
    assert np.array_equal(pixel, alone)
    assert np.array_equal(classes_of(banded), classes_of(whole))
    numbers = np.stack((objects_of(banded).ravel(), objects_of(whole).ravel()))
    pairs = np.unique(numbers, axis=1)
    used = np.unique(objects_of(banded))
    assert all(np.array_equal(np.unique(side), used) for side in pairs)
    assert pairs.shape[1] == len(used), "one to one"
    assert np.array_equal(used, [0, *range(5, 4 + len(used))]), "no number is skipped"


def test_more_cells_than_there_are_numbers_are_refused(shown, labels):
    with pytest.raises(AnnotationError, match="no more numbers"):
        accept(labels, PLANE, shown, 2, None, MAX_OBJECT - 1)
