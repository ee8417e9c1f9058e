"""Classes in the panel and in the real window: shown, locked, counted, deleted."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QApplication, QCheckBox, QMainWindow

from app.document import DELETE_CLASS, Document
from app.panels.classes import (
    LOCKED,
    NAME,
    OBJECTS,
    PIXELS,
    SHOWN,
    STROKES,
    ClassesPanel,
    short_count,
)
from tests.app.conftest import close_and_wait
from tests.app.test_tools import drag, hover, press
from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.stack import PlaneIndex, open_stack
from unet_core.steps import result_of
from unet_core.tiling import Rect

LEFT = Qt.MouseButton.LeftButton
PLANES = [PlaneIndex(0, z) for z in range(5)]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(
        path,
        np.arange(5 * 240 * 320, dtype=np.uint16).reshape(5, 240, 320),
        imagej=True,
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
        resolution=(2, 2),
    )
    return path


@pytest.fixture
def window(make_window, image):
    window = make_window(image)
    window.viewport.zoom_actual()
    window.document.set_brush_diameter(9)
    return window


@pytest.fixture
def panel(qtbot):
    """The panel in a window of its own, with three classes of which the second is chosen."""
    window = QMainWindow()
    qtbot.addWidget(window)
    panel = ClassesPanel()
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, panel)
    panel.set_classes([*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")], 2)
    window.show()
    yield panel  # the window lives as long


def click_cell(panel, value, column, qtbot, double=False):
    tree = panel.tree
    place = tree.visualItemRect(tree.topLevelItem(value - 1)).center()
    place.setX(tree.columnViewportPosition(column) + tree.columnWidth(column) // 2)
    click = qtbot.mouseDClick if double else qtbot.mouseClick
    click(tree.viewport(), LEFT, pos=place)


def everything(document):
    return np.stack([document.annotation.read_labels(plane) for plane in PLANES])


def cell_text(window, value, column):
    return window.classes.tree.topLevelItem(value - 1).text(column)


# --- the panel -------------------------------------------------------------------------------


def test_an_eye_and_a_padlock_ask_and_leave_the_chosen_class_alone(panel, qtbot):
    with (
        qtbot.assertNotEmitted(panel.class_chosen),
        qtbot.assertNotEmitted(panel.recolor_requested),
    ):
        with qtbot.waitSignal(panel.hide_requested) as asked:
            click_cell(panel, 3, SHOWN, qtbot)
        assert asked.args == [3, True]
        with qtbot.waitSignal(panel.lock_requested) as asked:
            click_cell(panel, 1, LOCKED, qtbot)
        assert asked.args == [1, True]
        with qtbot.assertNotEmitted(panel.hide_requested):
            panel.set_switches({3}, {1})
        with qtbot.waitSignal(panel.hide_requested) as asked:
            click_cell(panel, 3, SHOWN, qtbot, double=True)
        assert asked.args == [3, False]
    assert panel.tree.currentIndex().row() == 1
    role = Qt.ItemDataRole.AccessibleTextRole
    assert [panel.tree.topLevelItem(2).data(c, role) for c in (SHOWN, LOCKED)] == [
        "Hidden",
        "Not locked",
    ]


def test_keys_and_the_context_menu_do_the_same(panel, qtbot):
    panel.set_switches(set(), {2})
    with qtbot.waitSignal(panel.hide_requested) as asked:
        qtbot.keyClick(panel.tree, Qt.Key.Key_Space)
    assert asked.args == [2, True]
    menu = panel.class_menu()
    actions = {action.text(): action for action in menu.actions() if action.text()}
    assert actions["Shown"].isChecked() and actions["Locked"].isChecked()
    with qtbot.waitSignal(panel.lock_requested) as asked:
        actions["Locked"].trigger()
    assert asked.args == [2, False]
    with qtbot.waitSignal(panel.delete_requested) as asked:
        actions["Delete class"].trigger()
    assert asked.args == [2]
    with qtbot.waitSignal(panel.delete_requested) as asked:
        panel.delete_button.setFocus()
        qtbot.keyClick(panel.delete_button, Qt.Key.Key_Space)
    assert asked.args == [2]


def test_a_long_name_is_cut_off_and_the_numbers_stay(panel, qtbot):
    width = panel.minimumSizeHint().width()
    long = ClassInfo("a class with a name that is longer than any panel is wide", "#009e73")
    panel.set_classes([*DEFAULT_CLASSES, long], 2)
    panel.set_counts({1: 3, 3: 1_234_567_890}, {3: 16_000_000}, {3: 99_999})
    assert panel.minimumSizeHint().width() == width
    tree = panel.tree
    assert tree.header().length() <= tree.viewport().width()
    for column in (STROKES, OBJECTS, PIXELS):
        text = tree.topLevelItem(2).text(column)
        assert tree.columnWidth(column) >= tree.fontMetrics().horizontalAdvance(text)
    assert long.name in tree.topLevelItem(2).toolTip(NAME)
    tip = tree.topLevelItem(2).toolTip(PIXELS).replace("\u202f", "")
    assert tip.startswith("1234567890 pixels\n")


@given(st.integers(0, 10**13))
def test_short_counts_are_short_and_never_too_large(count):
    text = short_count(count).replace("\u202f", " ")
    number, unit = text, ""
    if text[-1] in "kMG":
        number, unit = text[:-2], text[-1]
    shown = float(number.replace(" ", "")) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]
    assert 0.9 * count <= shown <= count
    assert len(text) <= (5 if count < 10**12 else 7)


def test_names_have_room_beside_a_long_days_counts(panel, qtbot):
    tree, wide = panel.tree, panel.tree.fontMetrics().horizontalAdvance
    name = DEFAULT_CLASSES[0].name
    panel.setFixedWidth(max(280, 4 * wide(name)))  # as beside the image on a small screen
    panel.set_counts({1: 1_234_567, 2: 98_765}, {2: 999}, {1: 999, 2: 999})
    qtbot.waitUntil(lambda: tree.columnWidth(STROKES) >= wide("999"))
    assert tree.columnWidth(NAME) >= wide(name)


def test_counts_are_read_out_with_their_unit(panel):
    panel.set_counts({2: 1}, {2: 2}, {1: 1, 2: 12_345})
    role, tree = Qt.ItemDataRole.AccessibleTextRole, panel.tree
    spoken = [tree.topLevelItem(1).data(column, role) for column in (STROKES, OBJECTS, PIXELS)]
    assert [words.replace("\u202f", "") for words in spoken] == [
        "12345 strokes",
        "2 cells",
        "1 pixel",
    ]
    tip = tree.topLevelItem(0).toolTip(STROKES)
    assert tip.startswith("1 stroke\n") and "history" in tip
    assert tree.headerItem().data(STROKES, role) == "Strokes"


# --- in the window ---------------------------------------------------------------------------


def test_pixels_and_cells_are_counted_live(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 80))
    drag(window, qtbot, (100, 50), (100, 80))
    labels = window.document.annotation.read(PlaneIndex(0, 0))
    assert cell_text(window, 2, OBJECTS) == "2"
    assert cell_text(window, 2, PIXELS) == str((labels == 2).sum())
    window.actions_by_id["undo"].trigger()
    labels = window.document.annotation.read(PlaneIndex(0, 0))
    assert cell_text(window, 2, OBJECTS) == "1"
    assert cell_text(window, 2, PIXELS) == str((labels == 2).sum())


def test_strokes_are_counted_live_and_when_the_project_comes_again(
    window, make_window, qtbot, tmp_path
):
    def shown(of):
        return [cell_text(of, value, STROKES) for value in (1, 2)]

    document = window.document
    for value, y in ((1, 20), (2, 50), (2, 90), (1, 130), (2, 170)):
        document.set_active_class(value)
        drag(window, qtbot, (y, 50), (y, 80))
    assert shown(window) == ["2", "3"]
    document.begin_stroke(200, 50, erase=True)
    document.end_stroke()
    window.regions.complete(Rect(100, 100, 50, 50))
    assert shown(window) == ["2", "3"], "neither is a stroke of a class"
    window.history.position_chosen.emit(3)
    qtbot.waitUntil(lambda: not window.history_desk.travelling)
    assert shown(window) == ["1", "2"]
    window.actions_by_id["redo"].trigger()
    assert shown(window) == ["2", "2"]
    window.files.save_as(tmp_path / "cells.limn")
    close_and_wait(window, qtbot)
    again = make_window(tmp_path / "cells.limn")
    assert shown(again) == ["2", "2"]
    again.actions_by_id["redo"].trigger()
    assert shown(again) == ["2", "3"]


def test_nothing_is_counted_while_the_brush_moves(window, qtbot, monkeypatch):
    told = []
    monkeypatch.setattr(window.classes, "set_counts", lambda *counts: told.append(counts))
    document = window.document
    document.begin_stroke(50, 50)
    for x in range(51, 90):
        document.extend_stroke(50, x)
    assert not told
    document.end_stroke()
    assert [strokes for *_, strokes in told] == [{2: 1}]


def test_a_hidden_class_is_not_painted_on_the_screen_and_a_locked_one_is_safe(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 80))
    view, panel = window.viewport, window.classes
    place = view.image_to_widget(50, 60)

    def color():
        return view.grab().toImage().pixelColor(place)

    view.zoom_actual()
    hover(window, (200, 300))
    labelled = color()
    click_cell(panel, 2, SHOWN, qtbot)
    qtbot.waitUntil(lambda: color() != labelled)
    assert not window.actions_by_id["show_class"].isChecked()
    press(window, qtbot, Qt.Key.Key_V)
    qtbot.waitUntil(lambda: color() == labelled)
    assert window.document.hidden == set()
    click_cell(panel, 2, LOCKED, qtbot)
    assert window.actions_by_id["lock_class"].isChecked()
    before = everything(window.document)
    press(window, qtbot, Qt.Key.Key_E)
    drag(window, qtbot, (50, 50), (50, 80))
    np.testing.assert_array_equal(everything(window.document), before)


def test_deleting_the_last_class_can_be_undone_and_redone(window, qtbot):
    document, undo = window.document, window.actions_by_id["undo"]
    drag(window, qtbot, (50, 50), (50, 80))
    document.add_class("debris", "#009e73")
    for z in (1, 3):
        document.set_plane(0, z)
        qtbot.waitUntil(lambda: window.viewport.paintable)
        drag(window, qtbot, (100, 50), (100, 80))
    before, edits = everything(document), len(document.history)
    qtbot.mouseClick(window.classes.delete_button, LEFT)
    qtbot.waitUntil(lambda: len(document.classes) == 2)
    assert len(document.history) == edits + 1 and undo.text() == "Undo delete class"
    assert document.annotation.labelled_planes() == [PlaneIndex(0, 0)]
    assert document.active_class == 2 and window.classes.tree.topLevelItemCount() == 2
    assert "debris" in window.messages.text
    undo.trigger()
    assert document.classes[2] == ClassInfo("debris", "#009e73")
    assert window.classes.tree.topLevelItemCount() == 3
    np.testing.assert_array_equal(everything(document), before)
    window.actions_by_id["redo"].trigger()
    assert len(document.classes) == 2 and 3 not in document.annotation.counts()


def test_another_class_is_emptied_and_keeps_its_place(window, qtbot):
    document = window.document
    drag(window, qtbot, (50, 50), (50, 80))
    document.add_class("debris", "#009e73")
    drag(window, qtbot, (100, 50), (100, 80))
    debris = document.annotation.read(PlaneIndex(0, 0)) == 3
    document.set_active_class(2)
    qtbot.mouseClick(window.classes.delete_button, LEFT)
    qtbot.waitUntil(lambda: 2 not in document.annotation.counts())
    assert len(document.classes) == 3 and "stays in the list" in window.messages.text
    np.testing.assert_array_equal(document.annotation.read(PlaneIndex(0, 0)) == 3, debris)
    # Repeating it takes no other class off the list, not even an empty one.
    document.add_class("another", "#cc79a7")
    window.actions_by_id["undo"].trigger()
    window.actions_by_id["redo"].trigger()
    assert len(document.classes) == 4


def test_a_locked_class_is_not_deleted(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 80))
    window.document.set_locked(2, True)
    qtbot.mouseClick(window.classes.delete_button, LEFT)
    assert "locked" in window.messages.text
    assert not window.regions.busy and len(window.document.history) == 1


def test_a_deleted_class_comes_back_even_after_a_restart(window, make_window, qtbot, tmp_path):
    document = window.document
    document.add_class("debris", "#009e73")
    drag(window, qtbot, (100, 50), (100, 80))
    before = everything(document)
    qtbot.mouseClick(window.classes.delete_button, LEFT)
    qtbot.waitUntil(lambda: len(document.classes) == 2)
    window.files.save_as(tmp_path / "cells.limn")
    close_and_wait(window, qtbot)
    again = make_window(tmp_path / "cells.limn")
    assert len(again.document.classes) == 2
    again.actions_by_id["undo"].trigger()
    np.testing.assert_array_equal(everything(again.document), before)
    assert [info.name for info in again.document.classes[2:]] == ["class 3"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("paint"), st.integers(1, 6), st.integers(0, 4)),
            st.tuples(st.sampled_from(["delete", "add", "undo", "redo"]), st.integers(1, 6)),
        ),
        max_size=25,
    )
)
def test_whatever_is_labelled_is_on_the_list(qapp, tmp_path_factory, steps):
    path = tmp_path_factory.getbasetemp() / "tiny.tif"
    if not path.exists():
        tifffile.imwrite(path, np.zeros((5, 20, 20), np.uint8), photometric="minisblack")
    document = Document()
    document.set_stack(open_stack(path))
    planes = [PlaneIndex(t, z) for t in range(document.stack.shape[0])
              for z in range(document.stack.shape[1])]  # fmt: skip

    def labels():
        return np.stack([document.annotation.read_labels(plane) for plane in planes])

    for step, *rest in steps:
        value = min(rest[0], len(document.classes))
        if step == "paint":
            document.set_plane(*planes[rest[1] % len(planes)])
            document.set_active_class(value)
            document.begin_stroke(rest[1] * 3, value * 3, diameter=4)
            document.end_stroke()
        elif step == "add":
            document.add_class("new", "#009e73")
        elif step == "delete":
            edit = result_of(document.annotation.clearing(value, DELETE_CLASS))
            if edit is not None:
                document.annotation.apply(edit)
                document.apply_edit(edit)
            document.drop_class(value)
        elif step == "undo":
            document.undo()
        else:
            document.redo()
        assert max(document.annotation.counts(), default=2) <= len(document.classes)
        assert 1 <= document.active_class <= len(document.classes) >= 2
    last, position = labels(), document.history.position
    while document.history.can_undo:
        document.undo()
    assert not labels().any()
    while document.history.position < position:
        document.redo()
    np.testing.assert_array_equal(labels(), last)
    document.stack.close()


# --- the brush's switches --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "key"), [("apart", None), ("keep_others", Qt.Key.Key_B),
                                           ("smooth", None)])  # fmt: skip
def test_switches_and_commands_are_one(window, qtbot, name, key):
    box = window.brush.findChild(QCheckBox, f"switch_{name}")
    action, document = window.actions_by_id[name], window.document

    def on():
        return document.smoothing > 0 if name == "smooth" else getattr(document, name)

    first = on()
    assert box.isChecked() == action.isChecked() == first
    qtbot.mouseClick(box, LEFT)
    assert box.isChecked() == action.isChecked() == on() == (not first)
    if key is None:
        action.trigger()
    else:
        press(window, qtbot, key, Qt.KeyboardModifier.ControlModifier)
    assert box.isChecked() == action.isChecked() == on() == first
    assert action.toolTip() == box.toolTip()


# --- the pixel under the cursor --------------------------------------------------------------


def test_the_status_line_says_all_about_the_pixel(window, qtbot):
    drag(window, qtbot, (50, 50), (50, 80))
    status, plane = window.status, PlaneIndex(0, 0)
    hover(window, (50, 60))
    assert status.position.text() == "x 60, y 50 px · 30.25, 25.25 µm"
    assert status.intensities.text() == f"Intensity {50 * 320 + 60}"
    number = window.document.annotation.label_at(plane, 50, 60)[1]
    assert status.class_name.text() == f"cell, no. {number}"
    assert status.probability.text() == ""
    maps = np.zeros((1, 240, 320), np.uint8)
    maps[0, 50, 60] = 222
    window.viewport.prediction_layer.put(plane, Rect(0, 0, 240, 320), maps)
    hover(window, (50, 60))
    assert status.probability.text() == "Predicted: cell 0.87"
    hover(window, (50, 61))
    assert status.probability.text() == ""
    # What changes under a resting cursor is said too.
    window.actions_by_id["undo"].trigger()
    assert status.class_name.text() == "unlabelled"
    QApplication.sendEvent(window.viewport, QEvent(QEvent.Type.Leave))
    assert status.position.text() == status.class_name.text() == ""
