"""Painting, counting, undoing: properties over made-up mouse paths."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from unet_core.annotation import (
    DEFAULT_CLASSES,
    TILE,
    Annotation,
    AnnotationError,
    ClassInfo,
    History,
    TileKey,
    missing_labels,
)
from unet_core.edits import Edit, Tile, TileChange, pack_tile, unpack_tile
from unet_core.labels import MAX_OBJECT, classes_of, label, objects_of
from unet_core.stack import PlaneIndex
from unet_core.steps import result_of
from unet_core.tiling import Rect

# Larger than a tile, and no multiple of one.
SHAPE = (2, 2, 300, 530)
PLANES = [PlaneIndex(t, z) for t in range(2) for z in range(2)]
HOME = PlaneIndex(0, 0)

coordinates = st.tuples(
    st.floats(-60, SHAPE[2] + 60, width=32), st.floats(-60, SHAPE[3] + 60, width=32)
)
paths = st.lists(coordinates, min_size=1, max_size=5)
numbers = st.sampled_from([0, 1, 2, 70_000, MAX_OBJECT])
strokes = st.tuples(
    st.sampled_from(PLANES), st.integers(0, 3), st.sampled_from([1, 2, 3, 7, 40]), paths, numbers
)


def paint(annotation, plane, value, diameter, path, number=0, keep=()):
    stroke = annotation.stroke(plane, value, diameter, number if value else 0, keep=keep)
    for y, x in path:
        stroke.to(y, x)
    return stroke.finish()


def everything(annotation):
    return {plane: annotation.read_labels(plane) for plane in PLANES}


def assert_same(one, other):
    for plane in PLANES:
        np.testing.assert_array_equal(one[plane], other[plane])


def assert_counts_right(annotation):
    labels = np.concatenate([annotation.read(plane).ravel() for plane in PLANES])
    values, numbers = np.unique(labels[labels > 0], return_counts=True)
    assert annotation.counts() == dict(zip(values.tolist(), numbers.tolist(), strict=True))
    every = np.unique(np.concatenate([annotation.read_labels(p).ravel() for p in PLANES]))
    numbered = classes_of(every[objects_of(every) > 0])
    values, numbers = np.unique(numbered, return_counts=True)
    assert annotation.object_counts() == dict(zip(values.tolist(), numbers.tolist(), strict=True))
    labelled = [plane for plane in PLANES if annotation.read(plane).any()]
    assert annotation.labelled_planes() == labelled


def distance_raster(path, diameter):
    """Slow and plain: every pixel centre against every segment."""
    y, x = np.mgrid[: SHAPE[2], : SHAPE[3]] + 0.5
    nearest = np.full(SHAPE[2:], np.inf)
    for (y0, x0), (y1, x1) in zip(path, path[1:] or path, strict=False):
        length2 = (y1 - y0) ** 2 + (x1 - x0) ** 2
        along = 0.0
        if length2:
            along = np.clip(((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / length2, 0, 1)
        distance = np.hypot(y - y0 - along * (y1 - y0), x - x0 - along * (x1 - x0))
        nearest = np.minimum(nearest, distance)
    return nearest - diameter / 2


@settings(max_examples=60, deadline=None)
@given(st.lists(strokes, max_size=7))
def test_undo_all_is_the_start_and_redo_all_the_end(made):
    annotation, history = Annotation(SHAPE), History()
    start = everything(annotation)
    for stroke in made:
        if edit := paint(annotation, *stroke):
            history.push(edit)
        assert_counts_right(annotation)
    end = everything(annotation)
    while edit := history.undo():
        annotation.apply(edit)
    assert_same(everything(annotation), start)
    assert annotation.counts() == {} and annotation.labelled_planes() == []
    while edit := history.redo():
        annotation.apply(edit)
    assert_same(everything(annotation), end)
    assert_counts_right(annotation)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([2, 3, 8, 40, 150]), paths)
def test_a_stroke_is_all_that_is_near_its_path(diameter, path):
    annotation = Annotation(SHAPE)
    paint(annotation, HOME, 2, diameter, path)
    painted = annotation.read(HOME) == 2
    beyond = distance_raster(path, diameter)
    # Rounding decides about pixels that lie exactly on the rim.
    assert painted[beyond < -1e-6].all() and not painted[beyond > 1e-6].any()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 40]),
    st.lists(st.tuples(st.floats(0, 299.9), st.floats(0, 529.9)), min_size=1, max_size=5),
)
def test_any_path_at_any_speed_is_painted_without_gaps(diameter, path):
    annotation = Annotation(SHAPE)
    paint(annotation, HOME, 1, diameter, path)
    painted = annotation.read(HOME)
    assert ndimage.label(painted, np.ones((3, 3)))[1] == 1
    for y, x in path:
        assert painted[int(y), int(x)] == 1


@given(st.floats(0, 299.9), st.floats(0, 529.9))
def test_the_smallest_brush_paints_the_pixel_under_the_cursor(y, x):
    annotation = Annotation(SHAPE)
    assert annotation.stroke(HOME, 1, 1).to(y, x) == Rect(int(y), int(x), 1, 1)
    assert annotation.counts() == {1: 1}
    assert annotation.read(HOME)[int(y), int(x)] == 1


def test_a_thin_line_is_thin_however_far_the_mouse_jumped():
    annotation = Annotation((1, 1, 1000, 1000))
    paint(annotation, HOME, 1, 1, [(-5e8, -5e8), (5e8, 5e8)])
    labels = annotation.read(HOME)
    assert labels.trace() >= 998 and annotation.counts()[1] <= 2000
    paint(annotation, HOME, 2, 1, [(3, 500), (3, 600)])  # along a pixel border
    assert annotation.counts()[2] == 101


@settings(max_examples=40, deadline=None)
@given(strokes, strokes)
def test_a_cancelled_stroke_leaves_no_trace(first, second):
    annotation = Annotation(SHAPE)
    paint(annotation, *first)
    before, counts = everything(annotation), annotation.counts()
    plane, value, diameter, path, number = second
    stroke = annotation.stroke(plane, value, diameter, number if value else 0)
    dirty = Rect(0, 0, 0, 0)
    for y, x in path:
        dirty = dirty.union(stroke.to(y, x) or Rect(0, 0, 0, 0))
    restored = stroke.cancel()
    assert dirty.union(restored) == dirty
    assert_same(everything(annotation), before)
    assert annotation.counts() == counts


@settings(max_examples=40, deadline=None)
@given(st.lists(strokes, min_size=1, max_size=4), st.data())
def test_a_snapshot_never_changes(made, data):
    """Neither in the middle of a stroke nor afterwards."""
    annotation = Annotation(SHAPE)
    taken = []
    for plane, value, diameter, path, number in made:
        stroke = annotation.stroke(plane, value, diameter, number if value else 0)
        for y, x in path:
            stroke.to(y, x)
            if data.draw(st.booleans()):
                taken.append((annotation.snapshot(), everything(annotation)))
        stroke.finish()
    for snapshot, labels in taken:
        assert_same(everything(snapshot), labels)
        assert_counts_right(snapshot)
        for plane in snapshot.labelled_planes():
            assert not any(tile.flags.writeable for tile in snapshot.tiles(plane).values())
            assert all(tile.any() for tile in snapshot.tiles(plane).values())
        with pytest.raises(RuntimeError):
            snapshot.stroke(HOME, 1, 3)


def test_a_snapshot_is_read_by_another_thread_while_painting_goes_on():
    annotation = Annotation((1, 1, 512, 512))
    stroke = annotation.stroke(HOME, 1, 21)
    failures = []

    def check(snapshot):
        for _ in range(20):
            if np.count_nonzero(snapshot.read(HOME)) != snapshot.counts()[1]:
                failures.append(snapshot)

    threads = []
    for step in range(60):
        stroke.to(20 + 8 * step, 256 + 200 * np.sin(step))
        if step % 6 == 0:
            threads.append(threading.Thread(target=check, args=(annotation.snapshot(),)))
            threads[-1].start()
    for thread in threads:
        thread.join()
    assert not failures


def test_painting_reports_what_changed():
    annotation = Annotation(SHAPE)
    stroke = annotation.stroke(HOME, 1, 9)
    assert stroke.to(-50, -50) is None
    assert stroke.to(100, 100) is not None
    assert stroke.to(100, 100) is None  # painted already
    edit = stroke.finish()
    assert edit.kind == "stroke" and edit.plane == HOME
    rows, cols = np.nonzero(annotation.read(HOME))
    assert edit.rect == edit.rect.union(Rect(0, 0, int(rows.max()) + 1, int(cols.max()) + 1))
    assert paint(annotation, HOME, 1, 9, [(100, 100)]) is None
    assert paint(annotation, PLANES[1], 0, 9, [(100, 100)]) is None  # nothing there to erase
    assert paint(annotation, HOME, 0, 9, [(100, 100)]).kind == "erase"


def test_a_click_in_a_corner_paints_there():
    annotation = Annotation((1, 1, 1, 1))
    paint(annotation, HOME, 255, 40, [(0.5, 0.5)])
    assert annotation.counts() == {255: 1}


@pytest.mark.parametrize("value, diameter", [(-1, 3), (256, 3), (1, 0), (1, float("nan"))])
def test_impossible_brushes_are_refused(value, diameter):
    with pytest.raises(ValueError):
        Annotation(SHAPE).stroke(HOME, value, diameter)


def test_impossible_places_are_refused():
    annotation = Annotation(SHAPE)
    with pytest.raises(AnnotationError):
        annotation.stroke(PlaneIndex(2, 0), 1, 3)
    with pytest.raises(ValueError):
        annotation.stroke(HOME, 1, 3).to(float("nan"), 0)


def test_one_stroke_at_a_time():
    annotation = Annotation(SHAPE)
    edit = paint(annotation, HOME, 1, 3, [(5, 5)])
    stroke = annotation.stroke(HOME, 1, 3)
    with pytest.raises(RuntimeError):
        annotation.stroke(HOME, 1, 3)
    with pytest.raises(RuntimeError):
        annotation.apply(edit.inverse())
    stroke.finish()
    with pytest.raises(RuntimeError):
        stroke.to(1, 1)


def test_reading_outside_the_plane_finds_nothing():
    annotation = Annotation(SHAPE)
    paint(annotation, HOME, 3, 5, [(0, 0)])
    around = annotation.read(HOME, Rect(-4, -4, 8, 8))
    assert around.shape == (8, 8) and not around[:4].any() and around[4, 4] == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_whole_planes_come_in_and_go_out(dtype):
    rng = np.random.default_rng(3)
    planes = {plane: rng.integers(0, 4, SHAPE[2:]).astype(dtype) for plane in PLANES}
    annotation = Annotation.from_planes(SHAPE, planes)
    assert_same({plane: annotation.read(plane) for plane in PLANES}, planes)
    assert_counts_right(annotation)
    edit = annotation.write(HOME, np.zeros((20, 30), dtype), y=250, x=500)
    assert edit.plane == HOME and edit.rect.intersect(Rect(250, 500, 20, 30)) == edit.rect
    assert not annotation.read(HOME, Rect(250, 500, 20, 30)).any()
    assert annotation.write(HOME, np.zeros((20, 30), dtype), y=250, x=500) is None
    annotation.apply(edit.inverse())
    assert_same({plane: annotation.read(plane) for plane in PLANES}, planes)
    assert_counts_right(annotation)


@pytest.mark.parametrize(
    "labels",
    [np.zeros((301, 530), int), np.zeros((3, 3)), np.full((3, 3), 256), np.full((3, 3), -1),
     np.zeros((1, 3, 3), int)],
)  # fmt: skip
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(AnnotationError):
        Annotation(SHAPE).write(HOME, labels)


def test_an_edit_that_does_not_follow_changes_nothing():
    annotation = Annotation(SHAPE)
    edit = paint(annotation, HOME, 1, 5, [(10, 10), (10, 500)])
    before = everything(annotation)
    with pytest.raises(AnnotationError):
        annotation.apply(edit)
    outside = Tile(TileKey(0, 0, 1, 0), np.full((TILE, TILE), label(1), np.uint32))
    with pytest.raises(AnnotationError):
        annotation.apply(Edit("stroke", (TileChange(TileKey(0, 0, 1, 0), None, outside),)))
    assert_same(everything(annotation), before)


def test_a_new_edit_forgets_what_was_undone():
    annotation, history = Annotation(SHAPE), History()
    for x in (10, 50, 90):
        history.push(paint(annotation, HOME, 1, 5, [(10, x)]))
    for _ in range(2):
        annotation.apply(history.undo())
    history.push(paint(annotation, HOME, 2, 5, [(10, 200)]))
    assert len(history) == 2 and not history.can_redo and history.redo() is None


def test_old_edits_are_packed_and_still_undo_exactly():
    annotation, history = Annotation(SHAPE), History()
    states = [annotation.read(HOME)]
    for n in range(40):
        history.push(paint(annotation, HOME, 1 + n % 3, 9, [(n * 7, n * 13), (150, 260)]))
        states.append(annotation.read(HOME))
    for labels in states[-2::-1]:
        annotation.apply(history.undo())
        np.testing.assert_array_equal(annotation.read(HOME), labels)


@given(st.binary(max_size=300))
def test_a_packed_tile_is_exact_and_junk_is_refused(junk):
    key = TileKey(1, 2, 3, 4)
    rng = np.random.default_rng(len(junk))
    tile = rng.integers(0, 2**32, (TILE, TILE), np.uint32)
    tile[classes_of(tile) == 0] = 0
    packed = pack_tile(key, tile)
    np.testing.assert_array_equal(unpack_tile(key, packed), tile)
    classes = tile & ~np.uint32(MAX_OBJECT)
    without = pack_tile(key, classes)
    assert len(without) < len(packed)  # objects that nobody numbered take no room
    np.testing.assert_array_equal(unpack_tile(key, without), classes)
    for damaged in (junk, packed[:-1], packed + b"x", packed[:-1] + bytes([packed[-1] ^ 1])):
        with pytest.raises(AnnotationError):
            unpack_tile(key, damaged)
    with pytest.raises(AnnotationError):
        unpack_tile(TileKey(1, 2, 3, 5), packed)


def test_objects_are_told_apart_and_counted():
    annotation = Annotation(SHAPE)
    assert annotation.next_object() == 1
    paint(annotation, HOME, 2, 9, [(50, 50)], 1)
    paint(annotation, HOME, 2, 9, [(50, 58)], 2)
    paint(annotation, HOME, 2, 9, [(90, 50)])  # of no object
    assert annotation.object_counts() == {2: 2} and annotation.next_object() == 3
    assert annotation.label_at(HOME, 50, 50) == (2, 1)
    assert annotation.label_at(HOME, 50, 56) == (2, 2)  # the later one lies on top
    assert annotation.label_at(HOME, 90, 50) == (2, 0)
    assert annotation.label_at(HOME, -1, 50) == (0, 0)
    edit = paint(annotation, HOME, 0, 40, [(50, 60)])
    assert annotation.object_counts() == {}
    annotation.apply(edit.inverse())
    assert annotation.object_counts() == {2: 2}


@settings(max_examples=40, deadline=None)
@given(st.lists(strokes, min_size=1, max_size=4), strokes)
def test_classes_that_are_kept_stay_as_they_are(made, last):
    annotation = Annotation(SHAPE)
    for stroke in made:
        paint(annotation, *stroke)
    before = everything(annotation)
    paint(annotation, *last, keep=(1, 3))
    assert_counts_right(annotation)
    for plane, labels in everything(annotation).items():
        kept = np.isin(classes_of(before[plane]), (1, 3))
        np.testing.assert_array_equal(labels[kept], before[plane][kept])
    free = Annotation(SHAPE)
    for stroke in made:
        paint(free, *stroke)
    paint(free, *last)
    for plane, labels in everything(annotation).items():
        others = ~np.isin(classes_of(before[plane]), (1, 3))
        np.testing.assert_array_equal(labels[others], free.read_labels(plane)[others])


def test_a_change_of_many_planes_is_one_edit():
    annotation = Annotation(SHAPE)
    paint(annotation, HOME, 1, 30, [(20, 20)])
    start = everything(annotation)
    part = np.full((40, 300), label(2, 5))
    places = [(HOME, Rect(0, 0, 40, 300)), (PLANES[3], Rect(250, 100, 40, 300))]
    overlapping = (HOME, Rect(10, 10, 5, 5), np.zeros((5, 5), np.uint32))
    edit = annotation.change("merge", [*((p, r, part) for p, r in places), overlapping])
    assert set(edit.planes) == {HOME, PLANES[3]} and edit.kind == "merge"
    assert_counts_right(annotation)
    assert annotation.counts() == {2: 2 * 40 * 300 - 25} and annotation.object_counts() == {2: 1}
    assert annotation.label_at(HOME, 12, 12) == (0, 0)
    annotation.apply(edit.inverse())
    assert_same(everything(annotation), start)
    with pytest.raises(AnnotationError):
        annotation.change("merge", [(HOME, Rect(290, 0, 40, 300), part)])


def test_an_edit_is_planned_on_a_snapshot_and_carried_out_later():
    annotation, other = Annotation(SHAPE), Annotation(SHAPE)
    for one in (annotation, other):
        paint(one, HOME, 1, 30, [(20, 20)])
    part = [(HOME, Rect(0, 0, 40, 300), np.full((40, 300), label(2, 5)))]
    before = everything(annotation)
    edit = annotation.snapshot().planned("accept", part).ready()
    assert_same(everything(annotation), before)
    gained = dict(edit.gained())
    assert gained[label(2, 5)] == 12000 and sum(gained.values()) == 0
    annotation.apply(edit)
    other.change("accept", part)
    assert_same(everything(annotation), everything(other))
    assert_counts_right(annotation)
    annotation.apply(edit.inverse())
    assert_same(everything(annotation), before)


def test_a_region_is_filled_but_for_what_is_kept():
    annotation = Annotation(SHAPE)
    paint(annotation, HOME, 1, 1, [(10, 0), (10, 40)])
    mask = np.ones((30, 30), bool)
    mask[0] = False
    edit = annotation.fill(HOME, Rect(0, 0, 30, 30), mask, 3, 7, keep=(1,))
    assert edit.kind == "fill"
    labels = annotation.read(HOME)
    assert (labels[10, :40] == 1).all() and not labels[0].any() and (labels[1:10, :30] == 3).all()
    assert annotation.fill(HOME, Rect(0, 0, 30, 30), mask, 3, 7, keep=(1,)) is None
    assert_counts_right(annotation)


@pytest.mark.parametrize("color", ["red", "#12345", "#12345g", "#1234567", ""])
def test_a_class_needs_a_colour(color):
    with pytest.raises(ValueError):
        ClassInfo("cell", color)


def test_the_button_says_what_is_missing():
    classes = (*DEFAULT_CLASSES, ClassInfo("Debris", "#009e73"))
    assert missing_labels({}, classes) == "Paint some background."
    assert missing_labels({2: 500}, classes) == "Paint some background."
    assert missing_labels({1: 500}, classes) == "Paint some cell or debris."
    assert missing_labels({1: 500, 3: 3}, classes) == "Paint some cell or debris."
    assert missing_labels({1: 500, 3: 300}, classes) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(strokes, min_size=1, max_size=5), st.integers(1, 3))
def test_clearing_a_class_unlabels_it_everywhere_and_can_be_undone(made, value):
    annotation = Annotation(SHAPE)
    for stroke in made:
        paint(annotation, *stroke)
    before = everything(annotation)
    edit = result_of(annotation.snapshot().clearing(value, "delete class"))
    assert_same(everything(annotation), before)
    if edit is None:
        assert value not in annotation.counts()
        return
    annotation.apply(edit)
    assert_counts_right(annotation)
    for plane, labels in before.items():
        left = np.where(classes_of(labels) == value, 0, labels)
        np.testing.assert_array_equal(annotation.read_labels(plane), left)
    annotation.apply(edit.inverse())
    assert_counts_right(annotation)
    assert_same(everything(annotation), before)


def test_the_history_says_what_was_done_and_where_loose_or_packed():
    annotation, history = Annotation(SHAPE), History()
    for n in range(40):
        history.push(paint(annotation, PLANES[n % 4], 1 + n % 2, 9, [(n * 7, n * 13)]))
    history.push(result_of(annotation.clearing(2, "delete class")))
    for n in range(40):
        assert history.step(n) == ("stroke", (PLANES[n % 4],), 1 + n % 2)
    assert history.step(40) == ("delete class", (PLANES[1], PLANES[3]), 2)
