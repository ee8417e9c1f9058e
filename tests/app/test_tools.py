"""Every tool by mouse and keys in the real window, and what it leaves in the labels."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent, QPointingDevice, QTabletEvent, QWheelEvent
from PySide6.QtWidgets import QAbstractButton, QApplication
from scipy import ndimage

from app import regions
from app.messages import Message
from tests.app.conftest import open_and_wait
from unet_core.annotation import Annotation
from unet_core.labels import classes_of, objects_of
from unet_core.polygon import polygon_mask
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NONE, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def window(make_window, tmp_path):
    """A window on five planes of 240 × 320 pixels, one screen pixel to each."""
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.zeros((5, 240, 320), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    window = make_window(path)
    window.viewport.zoom_actual()
    window.document.set_brush_diameter(9)
    return window


def labels(window):
    return window.document.annotation.read_labels(window.document.plane)


def classes(window):
    return classes_of(labels(window))


def objects(window):
    return objects_of(labels(window))


def place(window, point):
    return window.viewport.image_to_widget(*point)


def drag(window, qtbot, *points, button=LEFT, keys=NONE):
    """Press at the first point, move through the others and release at the last."""
    view = window.viewport
    qtbot.mousePress(view, button, keys, place(window, points[0]))
    for point in points[1:]:
        # As a real mouse does: qtbot's own move events carry no button on some platforms.
        at = QPointF(place(window, point))
        moved = QMouseEvent(
            QEvent.Type.MouseMove, at, view.mapToGlobal(at), Qt.MouseButton.NoButton, button, keys
        )
        QApplication.sendEvent(view, moved)
    qtbot.mouseRelease(view, button, keys, place(window, points[-1]))


def click(window, qtbot, point, button=LEFT, keys=NONE):
    qtbot.mouseClick(window.viewport, button, keys, place(window, point))


def hover(window, point):
    at = QPointF(place(window, point))
    moved = QMouseEvent(
        QEvent.Type.MouseMove,
        at,
        window.viewport.mapToGlobal(at),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton,
        NONE,
    )
    QApplication.sendEvent(window.viewport, moved)


def press(window, qtbot, key, keys=NONE):
    window.viewport.setFocus()
    qtbot.keyClick(window.viewport, key, keys)


def do(window, name):
    window.actions_by_id[name].trigger()


def go_to(window, qtbot, z):
    window.document.set_plane(0, z)
    qtbot.waitUntil(lambda: window.viewport.paintable)


def settled(window, qtbot):
    """Wait until nothing is being worked out."""
    qtbot.waitUntil(lambda: not window.regions.busy)


def ring(window, qtbot, centre, radius):
    """A closed outline painted with the brush."""
    angles = np.linspace(0, 2 * np.pi, 40)
    points = [(centre[0] + radius * np.sin(a), centre[1] + radius * np.cos(a)) for a in angles]
    drag(window, qtbot, *points)


# --- cells apart -----------------------------------------------------------------------------


def test_a_stroke_outside_a_cell_begins_a_new_one_and_inside_extends_it(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 80))
    drag(window, qtbot, (100, 50), (100, 80))
    assert len(np.unique(objects(window))) == 3
    first = objects(window)[50, 60]
    drag(window, qtbot, (50, 60), (70, 60))  # begins inside the first
    assert objects(window)[70, 60] == first != objects(window)[100, 60]
    assert window.document.annotation.object_counts() == {2: 2}
    do(window, "new_object")
    drag(window, qtbot, (50, 50), (40, 50))  # inside, but asked to be new
    assert objects(window)[40, 50] not in (0, first)
    do(window, "apart")
    drag(window, qtbot, (200, 50), (200, 80))
    assert classes(window)[200, 60] == 2 and objects(window)[200, 60] == 0


def test_the_background_has_no_objects(window, qtbot):
    press(window, qtbot, Qt.Key.Key_W)
    drag(window, qtbot, (50, 50), (50, 80))
    assert (classes(window)[50, 50:80] == 1).all() and not objects(window).any()


# --- fill ------------------------------------------------------------------------------------


def test_fill_stays_inside_a_closed_border(window, qtbot):
    ring(window, qtbot, (100, 100), 40)
    border = classes(window) == 2
    inside = ndimage.binary_fill_holes(border) & ~border
    press(window, qtbot, Qt.Key.Key_F)
    click(window, qtbot, (100, 100))
    settled(window, qtbot)
    assert np.array_equal(classes(window) == 2, border | inside)
    assert not window.messages.isVisible()
    do(window, "undo")
    assert np.array_equal(classes(window) == 2, border)


def test_a_filled_outline_is_one_cell(window, qtbot):
    ring(window, qtbot, (100, 100), 40)
    press(window, qtbot, Qt.Key.Key_F)
    click(window, qtbot, (100, 100))
    settled(window, qtbot)
    assert window.document.annotation.object_counts() == {2: 1}
    # Between two cells nobody can say which one is meant: it is a cell of its own.
    press(window, qtbot, Qt.Key.Key_B)
    drag(window, qtbot, (20, 200), (20, 260), (60, 260))
    drag(window, qtbot, (60, 230), (60, 198), (20, 198), (60, 198), (60, 230), (60, 262))
    press(window, qtbot, Qt.Key.Key_F)
    click(window, qtbot, (40, 230))
    settled(window, qtbot)
    assert window.document.annotation.object_counts() == {2: 4}
    # Asked for as a new cell it is one.
    for _ in range(4):
        do(window, "undo")
    do(window, "new_object")
    click(window, qtbot, (100, 100))
    settled(window, qtbot)
    assert window.document.annotation.object_counts() == {2: 2}


def test_a_large_fill_is_worked_out_in_a_thread(window, qtbot, monkeypatch):
    monkeypatch.setattr(regions, "AT_ONCE", 0)
    ring(window, qtbot, (100, 100), 40)
    border = classes(window) == 2
    inside = ndimage.binary_fill_holes(border) & ~border
    window.document.set_active_class(1)
    window.regions.fill(100, 100)
    window.regions.delete(100, 100)  # comes after it, though the fill takes two steps
    settled(window, qtbot)
    assert np.array_equal(classes(window) == 2, border) and not (labels(window)[inside]).any()
    do(window, "undo")
    assert np.array_equal(classes(window) == 1, inside)
    do(window, "undo")
    before = labels(window)
    # What is painted while it is being worked out is not painted over.
    window.regions.fill(100, 100)
    drag(window, qtbot, (100, 90), (100, 110))
    painted = labels(window)
    settled(window, qtbot)
    assert np.array_equal(labels(window), painted) and not np.array_equal(painted, before)


def test_fill_of_an_open_region_asks_first(window, qtbot):
    ring(window, qtbot, (100, 100), 40)
    before = labels(window)
    press(window, qtbot, Qt.Key.Key_F)
    click(window, qtbot, (10, 10))
    settled(window, qtbot)
    assert np.array_equal(labels(window), before)
    assert "reaches the edge" in window.messages.text
    button = next(b for b in window.messages.findChildren(QAbstractButton) if b.text() == "Fill")
    qtbot.mouseClick(button, LEFT)
    settled(window, qtbot)
    assert (classes(window)[before == 0][:100] == 2).all() and classes(window)[10, 10] == 2
    assert classes(window)[100, 100] == 0  # enclosed, so not meant


def test_fill_gives_a_cell_another_class_and_keeps_it_one_cell(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 80))
    cell = labels(window) > 0
    number = objects(window)[50, 60]
    window.document.add_class("debris", "#009e73")
    press(window, qtbot, Qt.Key.Key_F)
    click(window, qtbot, (50, 60))
    settled(window, qtbot)
    assert np.array_equal(classes(window) == 3, cell)
    assert (objects(window)[cell] == number).all()


# --- polygon and lasso -----------------------------------------------------------------------


def test_a_polygon_is_filled_corner_by_corner(window, qtbot):
    corners = [(40, 40), (40, 140), (120, 140), (120, 40)]
    press(window, qtbot, Qt.Key.Key_G)
    for corner in corners:
        click(window, qtbot, corner)
    assert not labels(window).any()
    click(window, qtbot, (200, 200))
    press(window, qtbot, Qt.Key.Key_Backspace)  # one too many
    press(window, qtbot, Qt.Key.Key_Return)
    exact = [window.viewport.widget_to_image(place(window, corner)) for corner in corners]
    rect, mask = polygon_mask(exact, window.document.plane_rect)
    expected = np.zeros((240, 320), bool)
    expected[rect.slices] = mask
    assert mask.sum() == 8000 and np.array_equal(classes(window) == 2, expected)
    assert len(window.document.history) == 1


@pytest.mark.parametrize("way", ["first corner", "double-click"])
def test_a_polygon_is_closed_by_the_mouse(window, qtbot, way):
    press(window, qtbot, Qt.Key.Key_G)
    for corner in [(40, 40), (40, 140), (120, 140)]:
        click(window, qtbot, corner)
    if way == "first corner":
        click(window, qtbot, (43, 42))
    else:
        qtbot.mouseDClick(window.viewport, LEFT, NONE, place(window, (120, 140)))
    assert classes(window)[60, 100] == 2 and len(window.document.history) == 1


def test_a_lasso_fills_what_it_goes_round_and_escape_discards_it(window, qtbot):
    press(window, qtbot, Qt.Key.Key_G)
    angles = np.linspace(0, 2 * np.pi, 30)[:-1]
    circle = [(120 + 50 * np.sin(a), 160 + 50 * np.cos(a)) for a in angles]
    drag(window, qtbot, *circle)
    y, x = np.mgrid[:240, :320] + 0.5
    away = np.hypot(y - 120.5, x - 160.5)
    painted = classes(window) == 2
    assert painted[away < 48].all() and not painted[away > 52].any()
    click(window, qtbot, (10, 10))
    click(window, qtbot, (10, 60))
    press(window, qtbot, Qt.Key.Key_Escape)
    press(window, qtbot, Qt.Key.Key_Return)
    assert len(window.document.history) == 1


def test_right_drag_encircles_where_that_is_chosen(window, qtbot):
    window.viewport.right_drag = "encircle"
    click(window, qtbot, (200, 200), button=RIGHT)  # a mere click leaves nothing behind
    drag(window, qtbot, (40, 40), (40, 140), (120, 140), (120, 40), button=RIGHT)
    assert classes(window)[80, 90] == 2


# --- cells: merge, split, delete -------------------------------------------------------------


def test_merge_makes_cells_one_and_split_cuts_them(window, qtbot):
    for row in (50, 70, 90):
        drag(window, qtbot, (row, 50), (row, 150))
    before = labels(window)
    do(window, "merge")
    drag(window, qtbot, (50, 100), (60, 100), (70, 100))
    assert objects(window)[50, 60] == objects(window)[70, 60] != objects(window)[90, 60]
    assert np.array_equal(classes(window), classes_of(before))
    do(window, "undo")
    assert np.array_equal(labels(window), before)
    do(window, "split")
    drag(window, qtbot, (40, 100), (75, 100))  # across two of them
    numbers = objects(window)
    assert numbers[50, 60] != numbers[50, 140] and numbers[70, 60] != numbers[70, 140]
    assert numbers[90, 60] == numbers[90, 140]
    assert np.array_equal(numbers > 0, objects_of(before) > 0)  # not a pixel is lost
    assert window.document.annotation.object_counts() == {2: 5}
    assert len(window.document.history) == 4
    drag(window, qtbot, (85, 100), (90, 100))  # not all the way through
    assert "right across" in window.messages.text and len(window.document.history) == 4


def test_delete_takes_the_cell_under_the_cursor_away_and_no_other(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 150))
    drag(window, qtbot, (58, 50), (58, 150))  # touches the first
    first = labels(window)[50, 60]
    hover(window, (58, 100))
    press(window, qtbot, Qt.Key.Key_Delete)
    assert set(np.unique(labels(window))) == {0, first}
    do(window, "undo")
    assert window.document.annotation.object_counts() == {2: 2}


def test_a_command_in_the_middle_of_a_stroke_ends_the_stroke_first(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 150))
    view = window.viewport
    qtbot.mousePress(view, LEFT, NONE, place(window, (100, 50)))
    hover(window, (50, 100))
    window.document.begin_stroke(100, 50)
    window.document.extend_stroke(100, 150)
    assert window.document.stroking
    do(window, "delete_object")
    assert not window.document.stroking
    assert not classes(window)[50].any() and classes(window)[100, 100] == 2
    qtbot.mouseRelease(view, LEFT, NONE, place(window, (100, 150)))


def test_delete_of_a_plain_label_takes_its_connected_region(window, qtbot):
    press(window, qtbot, Qt.Key.Key_W)
    drag(window, qtbot, (50, 50), (50, 150))
    drag(window, qtbot, (150, 50), (150, 150))
    hover(window, (50, 100))
    press(window, qtbot, Qt.Key.Key_Delete)
    settled(window, qtbot)
    assert not classes(window)[:100].any() and classes(window)[150, 100] == 1


# --- what strokes leave alone ----------------------------------------------------------------


def test_other_labels_are_left_alone_where_that_is_chosen(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 150))
    cell = labels(window) > 0
    press(window, qtbot, Qt.Key.Key_B, Qt.KeyboardModifier.ControlModifier)
    assert window.document.keep_others
    press(window, qtbot, Qt.Key.Key_W)
    drag(window, qtbot, (20, 100), (100, 100))
    assert (classes(window)[cell] == 2).all() and classes(window)[70, 100] == 1
    # The eraser takes away only the class that is being painted.
    drag(window, qtbot, (20, 100), (100, 100), button=RIGHT)
    assert np.array_equal(labels(window) > 0, cell)


def test_a_locked_class_stays_as_it_is(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 150))
    cell = labels(window) > 0
    press(window, qtbot, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    drag(window, qtbot, (40, 60), (60, 140), button=RIGHT)
    hover(window, (50, 100))
    press(window, qtbot, Qt.Key.Key_Delete)
    assert np.array_equal(labels(window) > 0, cell)
    assert window.messages.text == f"The class “{window.document.classes[1].name}” is locked."
    press(window, qtbot, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    press(window, qtbot, Qt.Key.Key_Delete)
    assert not labels(window).any()


def test_a_complete_region_is_background_where_nothing_is_painted(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 150))
    cell = labels(window) > 0
    do(window, "complete")
    drag(window, qtbot, (20, 20), (60, 60), (90, 200))
    expected = np.zeros((240, 320), np.uint8)
    expected[20:91, 20:201] = 1
    expected[cell] = 2
    assert np.array_equal(classes(window), expected)
    do(window, "undo")
    assert np.array_equal(labels(window) > 0, cell)


# --- the prediction --------------------------------------------------------------------------


def predict(window, maps):
    layer = window.viewport.prediction_layer
    layer.put(window.document.plane, window.document.plane_rect, maps[None])


def test_predicted_cells_are_accepted_and_rejected(window, qtbot):
    maps = np.zeros((240, 320), np.uint8)
    maps[20:60, 20:60], maps[20:60, 100:140], maps[150:200, 20:60] = 200, 250, 220
    predict(window, maps)
    hover(window, (40, 40))
    press(window, qtbot, Qt.Key.Key_Return)
    settled(window, qtbot)
    assert np.array_equal(classes(window) == 2, (maps == 200))
    hover(window, (40, 120))
    press(window, qtbot, Qt.Key.Key_Delete)
    settled(window, qtbot)
    assert np.array_equal(classes(window) == 1, (maps == 250))
    press(window, qtbot, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    settled(window, qtbot)
    # The third one too; what was rejected stays background.
    assert np.array_equal(classes(window) == 2, (maps == 200) | (maps == 220))
    assert window.document.annotation.object_counts() == {2: 2}
    for _ in range(3):
        do(window, "undo")
    assert not labels(window).any()


def test_what_is_asked_for_while_something_is_worked_out_comes_after_it(window, qtbot):
    maps = np.zeros((240, 320), np.uint8)
    maps[20:60, 20:60], maps[20:60, 100:140], maps[150:200, 20:60] = 200, 250, 220
    predict(window, maps)
    for y, x in ((40, 40), (40, 120), (170, 40)):
        window.regions.accept(y, x)  # at once, one after the other
    settled(window, qtbot)
    assert np.array_equal(classes(window) == 2, maps > 0)
    assert window.document.annotation.object_counts() == {2: 3}


def test_all_that_waits_is_done_though_it_needs_no_thread(window, qtbot):
    drag(window, qtbot, (40, 40), (40, 60))
    drag(window, qtbot, (140, 40), (140, 60))
    drag(window, qtbot, (200, 40), (200, 60))
    window.document.set_active_class(1)
    window.regions.fill(40, 50)  # is worked out in a thread
    assert window.regions.busy
    window.regions.delete(140, 50)
    window.regions.delete(200, 50)
    settled(window, qtbot)
    assert set(np.flatnonzero((labels(window) > 0).any(axis=1))) == set(range(36, 45))


def test_what_waits_is_done_on_its_own_plane_and_with_its_own_class_only(window, qtbot):
    """Meanwhile the user has gone on to another slice, or chosen another class."""
    document = window.document
    for z in (0, 1):
        go_to(window, qtbot, z)
        drag(window, qtbot, (40, 40), (40, 60))
        drag(window, qtbot, (140, 40), (140, 60))
    before = labels(window)
    assert (before[140] > 0).any()
    document.set_plane(0, 0)
    document.set_active_class(1)
    window.regions.fill(40, 50)
    window.regions.fill(140, 50)
    document.set_active_class(2)
    settled(window, qtbot)
    assert set(np.unique(classes(window))) == {0, 1}
    window.regions.fill(40, 50)
    window.regions.delete(140, 50)
    document.step_z(1)
    settled(window, qtbot)
    assert np.array_equal(labels(window), before)
    assert "another slice" in window.messages.text


def test_a_fill_takes_no_number_from_the_slice_that_the_user_has_gone_to(window, qtbot):
    document = window.document
    go_to(window, qtbot, 1)
    document.set_brush_diameter(31)
    drag(window, qtbot, (40, 40), (40, 60))
    go_to(window, qtbot, 0)
    document.set_brush_diameter(9)
    document.set_active_class(1)
    drag(window, qtbot, (40, 40), (40, 60))
    document.set_active_class(2)
    window.regions.fill(40, 50)
    document.set_plane(0, 1)
    settled(window, qtbot)
    (other,) = set(objects(window)[objects(window) > 0].tolist())
    document.set_plane(0, 0)
    (filled,) = set(objects(window)[classes(window) == 2].tolist())
    assert filled not in (0, other)


def test_deleting_a_region_is_worked_out_in_a_thread(window, qtbot, monkeypatch):
    threads = set()
    filling = Annotation.filling

    def watched(*arguments, **options):
        threads.add(threading.get_ident())
        return filling(*arguments, **options)

    window.document.set_active_class(1)
    drag(window, qtbot, (40, 40), (40, 60))
    monkeypatch.setattr(Annotation, "filling", watched)
    window.regions.delete(40, 50)
    settled(window, qtbot)
    assert not labels(window).any() and threading.get_ident() not in threads
    monkeypatch.setattr("unet_core.flood.flood", lambda *_: SimpleNamespace(complete=False))
    drag(window, qtbot, (40, 40), (40, 60))
    window.regions.delete(40, 50)
    settled(window, qtbot)
    assert labels(window).any() and "has more than" in window.messages.text
    assert window.messages.message is not None and window.messages.message.kind == "error"


DRAWN = {
    "polygon": [(30.0, 30.0), (30.0, 150.0), (110.0, 150.0), (110.0, 30.0)],
    "complete": [(30.0, 30.0), (110.0, 150.0)],
    "merge": [(50.0, 100.0), (70.0, 100.0)],
    "split": [(40.0, 100.0), (75.0, 100.0)],
}


@pytest.mark.parametrize("tool", [*DRAWN, "delete"])
def test_what_is_large_is_worked_out_in_a_thread_with_the_same_result(
    window, qtbot, monkeypatch, tool
):
    def act():
        if tool == "delete":
            window.regions.delete(50, 60)
        else:
            window.regions.carry_out(tool, DRAWN[tool])

    planned, threads = Annotation.planned, set()

    def watched(*arguments):
        threads.add(threading.get_ident())
        return planned(*arguments)

    for row in (50, 70, 90):
        drag(window, qtbot, (row, 50), (row, 150))
    before = labels(window)
    monkeypatch.setattr(Annotation, "planned", watched)
    act()
    at_once = labels(window)  # a frame is enough: nobody waits
    assert threads == {threading.get_ident()} and not window.regions.busy
    assert (at_once != before).any()
    do(window, "undo")
    threads.clear()
    monkeypatch.setattr(regions, "AT_ONCE", 0)
    act()
    assert window.regions.busy and np.array_equal(labels(window), before)
    settled(window, qtbot)
    assert threading.get_ident() not in threads and len(threads) == 1
    assert np.array_equal(classes(window), classes_of(at_once))
    # New cells have new numbers: the same pixels belong together.
    both = np.unique(np.stack((objects(window), objects_of(at_once))).reshape(2, -1), axis=1)
    assert len(both.T) == len(np.unique(both[0])) == len(np.unique(both[1]))
    assert len(window.document.history) == 4
    do(window, "undo")
    assert np.array_equal(labels(window), before)


def test_one_large_change_waits_for_the_other(window, qtbot, monkeypatch):
    monkeypatch.setattr(regions, "AT_ONCE", 0)
    window.regions.carry_out("polygon", DRAWN["polygon"])
    window.regions.carry_out("complete", [(20.0, 20.0), (60.0, 200.0)])
    settled(window, qtbot)
    assert classes(window)[40, 40] == 2 and classes(window)[40, 180] == 1
    assert len(window.document.history) == 2


def test_what_was_painted_meanwhile_is_never_overwritten(window, qtbot):
    drag(window, qtbot, (10, 10), (10, 50))
    maps = np.full((240, 320), 200, np.uint8)
    predict(window, maps)
    window.regions.accept_all()
    do(window, "undo")
    drag(window, qtbot, (100, 50), (100, 150))  # as many steps as before
    painted = labels(window)
    settled(window, qtbot)
    assert np.array_equal(labels(window), painted)
    assert "changed meanwhile" in window.messages.text


def test_a_class_that_is_not_in_the_list_any_more_is_not_accepted(window, qtbot):
    layer = window.viewport.prediction_layer
    maps = np.zeros((2, 240, 320), np.uint8)
    maps[1, 20:60, 20:60] = 255
    layer.put(window.document.plane, window.document.plane_rect, maps)
    hover(window, (40, 40))
    press(window, qtbot, Qt.Key.Key_Return)
    settled(window, qtbot)
    assert not labels(window).any()


def test_closing_while_something_is_worked_out(window, qtbot):
    predict(window, np.full((240, 320), 200, np.uint8))
    window.regions.accept_all()
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible())
    assert not window.regions.busy


def test_nothing_of_one_image_is_done_to_the_next(window, qtbot, tmp_path):
    predict(window, np.full((240, 320), 200, np.uint8))
    click_fill(window, qtbot, (10, 10))
    ((_, fill_anyway),) = window.messages.message.actions
    window.regions.next_place()
    settled(window, qtbot)
    window.regions.accept_all()
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((64, 64), np.uint8))
    open_and_wait(window, other, qtbot)
    settled(window, qtbot)
    fill_anyway()
    assert window.document.annotation.counts() == {} and not window.document.history.can_undo
    press(window, qtbot, Qt.Key.Key_Tab)
    settled(window, qtbot)
    assert "no prediction" in window.messages.text


def click_fill(window, qtbot, point):
    press(window, qtbot, Qt.Key.Key_F)
    click(window, qtbot, point)
    settled(window, qtbot)


def test_where_nothing_is_predicted_nothing_is_accepted(window, qtbot):
    hover(window, (40, 40))
    press(window, qtbot, Qt.Key.Key_Return)
    settled(window, qtbot)
    assert "no prediction" in window.messages.text and not labels(window).any()


def test_tab_goes_where_the_prediction_is_least_certain(window, qtbot):
    maps = np.zeros((240, 320), np.uint8)
    maps[20:60, 20:60], maps[150:190, 250:290] = 128, 90
    predict(window, maps)
    seen = []
    window.regions.place_found.connect(lambda y, x: seen.append((y, x)))
    for _ in range(3):
        press(window, qtbot, Qt.Key.Key_Tab)
        settled(window, qtbot)
    press(window, qtbot, Qt.Key.Key_Tab, SHIFT)
    assert [maps[place] for place in seen] == [128, 90, 128, 90]
    centre = window.viewport.camera.centre
    assert abs(centre.y - seen[-1][0]) <= 1 and abs(centre.x - seen[-1][1]) <= 1
    drag(window, qtbot, (170, 250), (170, 299))
    assert window.viewport.hasFocus()


# --- through the stack -----------------------------------------------------------------------


def test_slices_between_two_labelled_ones_are_filled_in(window, qtbot):
    def disc(z, radius, number):
        y, x = np.mgrid[:240, :320]
        mask = np.hypot(y - 100, x - 100) <= radius
        edit = window.document.annotation.fill(
            PlaneIndex(0, z), Rect(0, 0, 240, 320), mask, 2, number
        )
        window.document.apply_edit(edit)

    disc(0, 20, 1)
    disc(4, 40, 2)
    window.document.set_plane(0, 2)
    do(window, "interpolate")
    settled(window, qtbot)
    annotation = window.document.annotation
    areas = [(annotation.read(PlaneIndex(0, z)) == 2).sum() for z in range(5)]
    assert areas == sorted(areas) and len(set(areas)) == 5
    assert abs(np.sqrt(areas[2] / np.pi) - 30) < 1.5
    # One cell through all of it, though it was painted with two numbers.
    assert all(annotation.label_at(PlaneIndex(0, z), 100, 100) == (2, 1) for z in range(5))
    do(window, "undo")
    assert not annotation.read(PlaneIndex(0, 2)).any()
    assert annotation.label_at(PlaneIndex(0, 4), 100, 100) == (2, 2)


def test_a_cell_keeps_one_number_however_many_gaps_are_filled_in(window, qtbot):
    annotation = window.document.annotation
    square = np.ones((30, 30), bool)
    for z, number in ((0, 7), (2, 8), (4, 9)):
        edit = annotation.fill(PlaneIndex(0, z), Rect(50, 50, 30, 30), square, 2, number)
        window.document.apply_edit(edit)
    for z in (3, 1):
        window.document.set_plane(0, z)
        do(window, "interpolate")
        settled(window, qtbot)
    assert [annotation.label_at(PlaneIndex(0, z), 60, 60) for z in range(5)] == [(2, 7)] * 5
    assert len(window.document.history) == 5
    for _ in range(5):
        do(window, "undo")
    assert annotation.counts() == {}


def test_interpolation_does_not_touch_locked_cells(window, qtbot):
    annotation = window.document.annotation
    for z in (0, 4):
        edit = annotation.fill(
            PlaneIndex(0, z), Rect(50, 50, 30, 30), np.ones((30, 30), bool), 2, z + 1
        )
        window.document.apply_edit(edit)
    window.document.set_locked(2, True)
    window.document.set_plane(0, 2)
    do(window, "interpolate")
    settled(window, qtbot)
    assert annotation.label_at(PlaneIndex(0, 4), 60, 60) == (2, 5)


def test_without_two_labelled_slices_nothing_is_filled_in(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 80))
    do(window, "interpolate")
    settled(window, qtbot)
    assert "between two labelled" in window.messages.text
    assert len(window.document.history) == 1


# --- the pen ---------------------------------------------------------------------------------


def test_a_smooth_stroke_has_both_ends_and_no_tremor(window, qtbot):
    do(window, "smooth")
    window.document.set_brush_diameter(3)
    zigzag = [(100 + 4 * (i % 2), 20 + 4 * i) for i in range(60)]
    drag(window, qtbot, *zigzag)
    painted = classes(window) == 2
    assert ndimage.label(painted, np.ones((3, 3)))[1] == 1
    assert painted[zigzag[0]] and painted[zigzag[-1]]
    rows = np.nonzero(painted[:, 60:200])[0]
    do(window, "undo")
    do(window, "smooth")
    drag(window, qtbot, *zigzag)
    rough = np.nonzero((classes(window) == 2)[:, 60:200])[0]
    assert np.ptp(rows) < np.ptp(rough)


def test_a_pen_paints_as_wide_as_it_is_pressed(window, qtbot):
    do(window, "pressure")
    window.document.set_brush_diameter(21)
    for row, pressure in ((50, 1.0), (100, 0.3)):
        pen(window, pressure)
        drag(window, qtbot, (row, 50), (row, 150))
    widths = [(classes(window)[row - 20 : row + 20, 100] > 0).sum() for row in (50, 100)]
    assert widths[0] in (20, 21, 22) and widths[1] in (5, 6, 7)
    do(window, "pressure")
    pen(window, 0.3)
    drag(window, qtbot, (200, 50), (200, 150))
    assert (classes(window)[180:220, 100] > 0).sum() == widths[0]


def pen(window, pressure):
    """A pen touches the tablet; the mouse event that Qt makes of it is the test's own."""
    at = QPointF(place(window, (5, 5)))
    event = QTabletEvent(
        QEvent.Type.TabletPress,
        QPointingDevice.primaryPointingDevice(),
        at,
        window.viewport.mapToGlobal(at),
        pressure,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        NONE,
        LEFT,
        LEFT,
    )
    QApplication.sendEvent(window.viewport, event)


def test_shift_erases_where_that_is_chosen(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 150))
    window.viewport.shift_erases = True
    drag(window, qtbot, (50, 50), (50, 150), keys=SHIFT)
    assert not labels(window).any()


def test_wheel_goes_through_slices_where_that_is_chosen(window, qtbot):
    window.viewport.wheel = "slice"
    zoom = window.viewport.camera.zoom
    wheel(window, 1)
    assert window.document.plane.z == 1 and window.viewport.camera.zoom == zoom
    wheel(window, 1, Qt.KeyboardModifier.ControlModifier)
    assert window.document.plane.z == 1 and window.viewport.camera.zoom > zoom


def test_alt_takes_ten_slices_at_once(window):
    control, alt = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier
    wheel(window, 1, control | alt)
    assert window.document.plane.z == 4  # of five
    wheel(window, -1, control | alt)
    assert window.document.plane.z == 0
    window.viewport.wheel = "slice"
    wheel(window, 1, alt)
    assert window.document.plane.z == 4


def test_shift_and_wheel_go_through_time_where_that_is_chosen(make_window, tmp_path):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, np.zeros((3, 60, 80), np.uint8), imagej=True, metadata={"axes": "TYX"})
    window = make_window(path)
    window.viewport.shift_wheel = "time"
    diameter = window.document.brush_diameter
    wheel(window, 1, SHIFT)
    wheel(window, 1, SHIFT)
    wheel(window, -1, SHIFT)
    assert window.document.plane == (1, 0) and window.document.brush_diameter == diameter


def test_ctrl_and_click_delete_a_cell_where_that_is_chosen(window, qtbot):
    control = Qt.KeyboardModifier.ControlModifier
    drag(window, qtbot, (50, 50), (50, 80))
    drag(window, qtbot, (100, 50), (100, 80))
    before = labels(window)
    window.viewport.ctrl_press = "delete"
    click(window, qtbot, (50, 60), keys=control)
    settled(window, qtbot)
    assert not labels(window)[50].any() and np.array_equal(labels(window)[80:], before[80:])
    # What was a double click by mistake does nothing more.
    count = window.document.history.position
    at = place(window, (100, 60))
    qtbot.mouseDClick(window.viewport, LEFT, control, at)
    settled(window, qtbot)
    assert window.document.history.position == count
    do(window, "undo")
    assert np.array_equal(labels(window), before)
    window.viewport.ctrl_press = "paint"
    click(window, qtbot, (150, 60), keys=control)
    assert classes(window)[150, 60] == 2


def test_ctrl_and_drag_move_the_image_where_that_is_chosen(window, qtbot):
    control = Qt.KeyboardModifier.ControlModifier
    window.viewport.ctrl_press = "pan"
    before = window.viewport.camera.centre
    at = window.viewport.image_to_widget(100, 100)
    qtbot.mousePress(window.viewport, LEFT, control, at)
    to = QPointF(at + QPoint(30, 20))
    moved = QMouseEvent(
        QEvent.Type.MouseMove,
        to,
        window.viewport.mapToGlobal(to),
        Qt.MouseButton.NoButton,
        LEFT,
        control,
    )
    QApplication.sendEvent(window.viewport, moved)
    qtbot.mouseRelease(window.viewport, LEFT, control, to.toPoint())
    after = window.viewport.camera.centre
    assert (before.y - after.y, before.x - after.x) == pytest.approx((20, 30), abs=1)
    assert not labels(window).any()


def wheel(window, notches, keys=NONE):
    at = QPointF(place(window, (100, 100)))
    event = QWheelEvent(
        at,
        window.viewport.mapToGlobal(at),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        keys,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(window.viewport, event)


def test_everything_is_undone_and_redone_exactly(window, qtbot):
    """A sitting with every tool: undone it is empty, redone it is the same on every plane."""
    ring(window, qtbot, (100, 100), 40)
    do(window, "fill")
    click(window, qtbot, (100, 100))
    settled(window, qtbot)
    do(window, "complete")
    drag(window, qtbot, (20, 20), (180, 200))
    do(window, "polygon")
    drag(window, qtbot, (190, 20), (190, 100), (230, 60))
    do(window, "split")
    drag(window, qtbot, (40, 100), (170, 100))
    window.document.set_plane(0, 4)
    qtbot.waitUntil(lambda: window.viewport.paintable)
    do(window, "polygon")
    drag(window, qtbot, (60, 60), (60, 140), (140, 140), (140, 60))
    window.document.set_plane(0, 2)
    qtbot.waitUntil(lambda: window.viewport.paintable)
    do(window, "interpolate")
    settled(window, qtbot)
    annotation = window.document.annotation
    planes = [PlaneIndex(0, z) for z in range(5)]
    after = [annotation.read_labels(plane) for plane in planes]
    steps = len(window.document.history)
    assert steps == 7
    for _ in range(steps):
        do(window, "undo")
    assert annotation.labelled_planes() == [] and annotation.counts() == {}
    for _ in range(steps):
        do(window, "redo")
    for plane, expected in zip(planes, after, strict=True):
        assert np.array_equal(annotation.read_labels(plane), expected)
    assert isinstance(annotation, Annotation)


def test_what_is_painted_shows(window, qtbot):
    show, view = window.actions_by_id["show_annotation"], window.viewport
    show.trigger()
    drag(window, qtbot, (50, 50), (50, 90))
    assert show.isChecked() and view.label_layer.visible
    for step in ("undo", "redo"):
        show.trigger()
        do(window, step)
        assert view.label_layer.visible
    window.document.set_hidden(2, True)
    drag(window, qtbot, (80, 50), (80, 90))
    assert not window.document.hidden
    # A class that is hidden and not painted stays hidden.
    window.document.set_hidden(1, True)
    drag(window, qtbot, (110, 50), (110, 90))
    assert window.document.hidden == {1}
    # Who holds the key looks below the annotation, and may go on painting meanwhile.
    view.setFocus()
    qtbot.keyPress(view, Qt.Key.Key_A)
    drag(window, qtbot, (140, 50), (140, 90))
    assert not view.label_layer.visible


def test_a_hint_goes_with_the_next_change(window, qtbot):
    window.messages.show_message(Message("Restore your work?", "offer"))
    for change in (
        lambda: drag(window, qtbot, (50, 50), (50, 90)),
        window.actions_by_id["undo"].trigger,
        lambda: window.document.set_plane(0, 2),
        lambda: qtbot.keyClick(window.viewport, Qt.Key.Key_Escape),
    ):
        window.regions.merge([(200, 200), (201, 201)])
        assert "merge them" in window.messages.text
        change()
        assert window.messages.text == "Restore your work?"
    qtbot.keyClick(window.viewport, Qt.Key.Key_Escape)
    assert window.messages.text == "Restore your work?", "an answer is given by a button"


def test_a_place_gone_to_by_key_is_accepted_without_a_mouse(window, qtbot):
    press(window, qtbot, Qt.Key.Key_Return)
    assert "Point into the image" in window.messages.text
    maps = np.zeros((240, 320), np.uint8)
    maps[20:60, 20:60] = 140
    predict(window, maps)
    press(window, qtbot, Qt.Key.Key_Tab)
    settled(window, qtbot)
    press(window, qtbot, Qt.Key.Key_Return)
    settled(window, qtbot)
    assert (classes(window)[20:60, 20:60] == 2).all()
    # On another plane nobody has gone anywhere yet.
    go_to(window, qtbot, 2)
    predict(window, maps)
    press(window, qtbot, Qt.Key.Key_Return)
    settled(window, qtbot)
    assert "Point into the image" in window.messages.text and not labels(window).any()
