"""Edits of whole regions, planned on a snapshot: what they change, and what they leave alone."""

import numpy as np
import pytest

from unet_core.annotation import TILE, Annotation, AnnotationError
from unet_core.labels import classes_of, label, objects_of
from unet_core.region_edits import (
    beginning,
    clear_region,
    complete,
    fill_polygon,
    flooded,
    gap_at,
    interpolating,
    objects_under,
    places_of,
    relabel,
    split,
)
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

SIDE = TILE + 60
HERE = PlaneIndex(0, 0)


def painted(*cells, planes=1):
    """Labels with rectangles of `(z, (y, x, height, width), class, object)`."""
    made = Annotation((1, planes, SIDE, SIDE))
    for z, rect, value, number in cells:
        mask = np.ones(rect[2:], bool)
        made.fill(PlaneIndex(0, z), Rect(*rect), mask, value, number)
    return made


@pytest.fixture
def cells():
    """Three cells in a row, the second over the border of two tiles, the third of another class."""
    return painted(
        (0, (20, 20, 30, 30), 2, 1),
        (0, (20, TILE - 20, 30, 40), 2, 2),
        (0, (20, TILE + 30, 30, 20), 3, 3),
    )


LINE = [(30.0, 30.0), (30.0, TILE + 40.0)]
ONE, TWO, THREE = label(2, 1), label(2, 2), label(3, 3)


def after(labels, edit, plane=HERE):
    """The labels of a plane once the edit is applied, which the snapshot knew nothing of."""
    before = labels.read_labels(plane)
    assert edit is not None and np.array_equal(labels.read_labels(plane), before)
    labels.apply(edit)
    return labels.read_labels(plane)


def result_of(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_a_line_finds_objects_in_its_order_and_they_become_others(cells):
    assert objects_under(cells, HERE, LINE, ()) == [ONE, TWO, THREE]
    assert objects_under(cells, HERE, LINE[::-1], {3}) == [TWO, ONE]
    assert objects_under(cells, HERE, [(0.0, 0.0)], ()) == []
    assert places_of(cells, HERE, [ONE]) == [(0, 0)]
    assert sorted(places_of(cells, HERE, [TWO])) == [(0, 0), (0, 1)]
    before = cells.read_labels(HERE)
    merged = after(cells, relabel(cells.snapshot(), HERE, "merge", {TWO: ONE, THREE: 0}))
    expected = np.where(before == TWO, ONE, np.where(before == THREE, 0, before))
    assert np.array_equal(merged, expected)
    assert relabel(cells.snapshot(), HERE, "merge", {TWO: ONE}) is None


def test_cells_are_cut_along_a_line_and_the_largest_part_keeps_its_number(cells):
    found, line = [ONE, TWO], [(30.0, 10.0), (30.0, TILE + 25.0)]
    snapshot, before = cells.snapshot(), cells.read_labels(HERE)
    places = places_of(snapshot, HERE, found)
    cut = after(cells, split(snapshot, HERE, line, found, places, 4))
    assert np.array_equal(classes_of(cut), classes_of(before))
    assert np.array_equal(np.unique(objects_of(cut)), [0, 1, 2, 3, 4, 5])
    assert (cut[45, 25], cut[45, TILE]) == (ONE, TWO)
    assert (cut[22, 25], cut[22, TILE]) == (label(2, 4), label(2, 5))
    beside = [(5.0, 0.0), (5.0, 300.0)]
    assert split(cells.snapshot(), HERE, beside, found, places, 6) is None


def test_shapes_leave_what_is_kept(cells):
    box = [(10.0, 10.0), (10.0, 300.0), (60.0, 300.0), (60.0, 10.0)]
    before = cells.read(HERE)
    filled = after(cells, fill_polygon(cells.snapshot(), HERE, box, label(4, 9), {2}))
    inside = np.zeros(before.shape, bool)
    inside[10:60, 10:300] = True
    assert np.array_equal(classes_of(filled) == 4, inside & (before != 2))
    done = after(cells, complete(cells.snapshot(), HERE, Rect(0, 0, 100, 100)))
    assert np.array_equal(done[filled > 0], filled[filled > 0])
    assert (classes_of(done)[:100, :100] > 0).all() and not done[100:].any()
    assert complete(cells.snapshot(), HERE, Rect(0, 0, 100, 100)) is None


def test_a_region_is_cleared_unless_it_is_kept_or_too_large(cells, monkeypatch):
    left = after(cells, clear_region(cells.snapshot(), HERE, (25, TILE), ()))
    assert np.array_equal(np.unique(left), [0, ONE, THREE])
    assert clear_region(cells.snapshot(), HERE, (25, 25), {2}) is None
    monkeypatch.setattr("unet_core.region_edits.FILL_LIMIT", 100)
    with pytest.raises(AnnotationError, match="more than"):
        clear_region(cells.snapshot(), HERE, (25, 25), ())


def test_paint_of_a_fill_begins_in_the_one_cell_all_around():
    labels = painted((0, (20, 20, 30, 30), 2, 1), (0, (30, 30, 10, 10), 0, 0))
    y, x = beginning(labels, HERE, flooded(labels, HERE, (35, 35)), (35.5, 35.5))
    assert labels.label_at(HERE, int(y), int(x)) == (2, 1)
    labels.fill(HERE, Rect(20, 20, 12, 30), np.ones((12, 30), bool), 3, 2)  # two around it now
    assert beginning(labels, HERE, flooded(labels, HERE, (35, 35)), (35.5, 35.5)) == (35.5, 35.5)
    open_one = flooded(labels, HERE, (0, 0))
    assert beginning(labels, HERE, open_one, (0.5, 0.5)) == (0.5, 0.5)


def test_the_gap_is_between_labelled_planes():
    labels = painted(*((z, (5, 5, 5, 5), 2, 1) for z in (1, 4, 5)), planes=8)
    one, four = PlaneIndex(0, 1), PlaneIndex(0, 4)
    gaps = [gap_at(labels, PlaneIndex(0, z)) for z in range(8)]
    assert gaps == [None, (one, four), (one, four), (one, four), None, None, None, None]


@pytest.mark.parametrize("locked", [frozenset(), frozenset({2})])
def test_planes_in_between_are_filled_in_and_the_cell_has_one_number(locked):
    square = (TILE - 20, 40, 40, 30)
    labels = painted(*((z, square, 2, 1 + z) for z in (0, 3, 4)), planes=5)
    first, last = PlaneIndex(0, 0), PlaneIndex(0, 3)
    edit = result_of(interpolating(labels.snapshot(), first, last, locked))
    if locked:  # what keeps its number is another cell
        assert edit is None
        return
    labels.apply(edit)
    for z in range(4):
        plane = labels.read_labels(PlaneIndex(0, z))
        assert np.array_equal(np.unique(plane), [0, ONE]), z
        assert (plane == ONE).sum() == 40 * 30
    assert (labels.read_labels(PlaneIndex(0, 4)) == label(2, 5)).sum() == 40 * 30
