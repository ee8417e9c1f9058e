"""The history list in the real window: what it shows, and going back and forth in it."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QAbstractItemModel, QModelIndex, Qt
from PySide6.QtTest import QAbstractItemModelTester

from app.panels.history import HistoryModel, edit_name, place_name
from tests.app.conftest import close_and_wait
from tests.app.test_tools import drag, press
from unet_core.annotation import Annotation, History
from unet_core.project import Project
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def window(make_window, tmp_path, qtbot):
    """A window on five planes of 240 × 320 pixels, with the history on show."""
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.zeros((5, 240, 320), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    window = make_window(path)
    window.viewport.zoom_actual()
    press(window, qtbot, Qt.Key.Key_H, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(window.history.isVisible)
    return window


def rows(window):
    model = window.history.model
    return [model.index(row).data() for row in range(model.rowCount())]


def go_to_plane(window, z, qtbot):
    window.document.set_plane(0, z)
    qtbot.waitUntil(lambda: window.viewport.paintable)


def everything(window):
    document = window.document
    return np.stack([document.annotation.read_labels(PlaneIndex(0, z)) for z in range(5)])


def paint_some(window, qtbot):
    """Five edits on three planes; returns the labels before them and after each."""
    states = [everything(window)]

    def note():
        states.append(everything(window))

    for z, y in ((0, 50), (2, 60), (4, 70)):
        go_to_plane(window, z, qtbot)
        drag(window, qtbot, (y, 50), (y, 120))
        note()
    press(window, qtbot, Qt.Key.Key_E)
    drag(window, qtbot, (70, 80), (70, 100))
    note()
    window.regions.complete(Rect(100, 100, 50, 50))
    note()
    return states


def click_row(window, row, qtbot):
    view = window.history.list
    index = window.history.model.index(row)
    view.scrollTo(index)
    qtbot.mouseClick(view.viewport(), LEFT, pos=view.visualRect(index).center())


def arrived(window, qtbot):
    qtbot.waitUntil(lambda: not window.history_desk.travelling)


def test_the_list_says_what_was_done_and_where(window, qtbot):
    paint_some(window, qtbot)
    assert rows(window) == [
        "Beginning",
        "Stroke, cell · z 1",
        "Stroke, cell · z 3",
        "Stroke, cell · z 5",
        "Erase, cell · z 5",
        "Complete region, background · z 5",
    ]
    assert window.history.list.currentIndex().row() == 5


def test_a_change_has_the_colour_and_the_name_of_its_class(window, qtbot):
    document, model = window.document, window.history.model

    def color(row):
        icon = model.index(row).data(Qt.ItemDataRole.DecorationRole)
        return icon.pixmap(10, 10).toImage().pixelColor(5, 5)

    drag(window, qtbot, (50, 50), (50, 120))
    debris = document.add_class("debris", "#009e73")
    drag(window, qtbot, (90, 50), (90, 120))
    assert rows(window)[1:] == ["Stroke, cell · z 1", "Stroke, debris · z 1"]
    assert color(0).alpha() == 0 and color(2).name() == "#009e73"
    document.rename_class(2, "nucleus")
    document.recolor_class(2, "#123456")
    assert rows(window)[1] == "Stroke, nucleus · z 1" and color(1).name() == "#123456"
    window.regions.delete_class(debris)
    qtbot.waitUntil(lambda: len(document.classes) == 2)
    assert rows(window)[2:] == ["Stroke · z 1", "Delete class · z 1"], "it has no name any more"
    assert color(2).alpha() == 0


def test_a_click_goes_there_step_by_step_and_all_of_it_is_saved(window, qtbot, tmp_path):
    states = paint_some(window, qtbot)
    heard = []
    window.document.undone.connect(lambda: heard.append(-1))
    window.document.redone.connect(lambda: heard.append(1))
    for row in (1, 4, 0, 5, 2):
        before = window.document.history.position
        heard.clear()
        click_row(window, row, qtbot)
        arrived(window, qtbot)
        np.testing.assert_array_equal(everything(window), states[row])
        assert window.document.history.position == window.history.list.currentIndex().row() == row
        assert heard == [1 if row > before else -1] * abs(row - before)
    assert window.document.plane.z == 4, "where the last step back was"
    window.files.save_as(tmp_path / "kept.limn")
    close_and_wait(window, qtbot)
    with Project.open(tmp_path / "kept.limn") as project:
        annotation, history = project.load()
    assert history.position == 2 and len(history) == 5
    for z in range(5):
        np.testing.assert_array_equal(annotation.read_labels(PlaneIndex(0, z)), states[2][z])


def test_the_arrow_keys_walk_along_the_list(window, qtbot):
    states = paint_some(window, qtbot)
    window.history.list.setFocus()
    for row in (4, 3):
        qtbot.keyClick(window.history.list, Qt.Key.Key_Up)
        arrived(window, qtbot)
        np.testing.assert_array_equal(everything(window), states[row])
    qtbot.keyClick(window.history.list, Qt.Key.Key_End)
    arrived(window, qtbot)
    np.testing.assert_array_equal(everything(window), states[5])


def paint_long(window, count):
    """So many edits, faster than with the mouse."""
    document = window.document
    for n in range(count):
        document.begin_stroke(5 + 3 * (n % 70), 5 + 3 * (n // 70))
        document.end_stroke()


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_a_long_way_is_gone_in_slices_and_can_be_stopped(window, qtbot, how):
    window.document.set_brush_diameter(1)
    paint_long(window, 60)
    panel, history = window.history, window.document.history
    seen = []

    def stop():
        seen.append(history.position)
        if len(seen) == 20:  # in the midst of it
            assert panel.stop.isEnabled()
            if how == "button":
                qtbot.mouseClick(panel.stop, LEFT)
            else:
                qtbot.keyClick(panel.list, Qt.Key.Key_Escape)

    window.document.undone.connect(stop)
    assert not panel.stop.isEnabled()
    panel.position_chosen.emit(0)
    assert history.position == 60, "nothing is done at once"
    arrived(window, qtbot)
    assert history.position == 40 and not panel.stop.isEnabled()
    assert len(window.document.annotation.read(PlaneIndex(0, 0)).nonzero()[0]) == history.position


def test_who_paints_on_the_way_stays_there(window, qtbot):
    window.document.set_brush_diameter(1)
    paint_long(window, 60)
    painted = []

    def paint():
        if window.document.history.position == 40:
            window.document.undone.disconnect(paint)
            window.document.begin_stroke(200, 300)
            painted.append(True)

    window.document.undone.connect(paint)
    window.history.position_chosen.emit(0)
    arrived(window, qtbot)
    assert painted and window.document.stroking and window.document.history.position == 40
    window.document.end_stroke()
    assert len(window.document.history) == 41
    assert window.document.annotation.label_at(PlaneIndex(0, 0), 200, 300)[0] == 2


def test_another_image_begins_another_list(window, qtbot, tmp_path):
    paint_some(window, qtbot)
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((64, 64), np.uint8))
    with qtbot.waitSignal(window.files.opened):
        window.files.open(tmp_path / "other.tif")
    assert rows(window) == ["Beginning"]
    press(window, qtbot, Qt.Key.Key_B)
    qtbot.waitUntil(lambda: window.viewport.paintable)
    drag(window, qtbot, (20, 20), (20, 40))
    assert rows(window) == ["Beginning", "Stroke, cell"], "a single plane needs no name"


def test_the_menu_says_what_is_undone(window, qtbot):
    paint_some(window, qtbot)
    undo, redo = window.actions_by_id["undo"], window.actions_by_id["redo"]
    assert (undo.text(), redo.text()) == ("Undo complete region", "Redo")
    undo.trigger()
    assert (undo.text(), redo.text()) == ("Undo erase", "Redo complete region")
    click_row(window, 0, qtbot)
    arrived(window, qtbot)
    assert (undo.text(), redo.text()) == ("Undo", "Redo stroke")


def test_undo_goes_to_the_plane_and_leaves_the_zoom_alone(window, qtbot):
    view = window.viewport
    go_to_plane(window, 1, qtbot)
    drag(window, qtbot, (50, 50), (50, 120))
    go_to_plane(window, 3, qtbot)
    for _ in range(6):
        view.camera.zoom_at(1.3, view.height() / 4, view.width() / 3)
    view.update()
    before = view.view_state()
    for key, there in ((Qt.Key.Key_Z, 0), (Qt.Key.Key_Y, 1)):
        press(window, qtbot, key, Qt.KeyboardModifier.ControlModifier)
        assert window.document.plane.z == 1
        assert bool(window.document.annotation.labelled_planes()) == there
        qtbot.waitUntil(lambda: view.paintable)
        assert view.view_state() == before
        go_to_plane(window, 3, qtbot)
        assert view.view_state() == before


def test_undo_stays_where_some_of_it_is_seen(window, qtbot):
    document = window.document
    for z in (1, 2, 4):
        go_to_plane(window, z, qtbot)
        drag(window, qtbot, (50, 50), (50, 120))
    window.regions.delete_class(2)
    qtbot.waitUntil(lambda: not document.annotation.counts())
    for here, there in ((2, 2), (1, 1), (4, 4)):
        go_to_plane(window, here, qtbot)
        document.undo()
        assert document.plane.z == there
        document.redo()
        assert document.plane.z == there
    go_to_plane(window, 0, qtbot)
    document.undo()
    assert document.plane.z in (1, 2, 4)


# --- the model -------------------------------------------------------------------------------


class Mirror:
    """What a view knows that only listens."""

    def __init__(self, model: QAbstractItemModel) -> None:
        self.model = model
        self.resets = 0
        self.rows = self.read(0, model.rowCount() - 1)
        model.rowsInserted.connect(self.insert)
        model.rowsRemoved.connect(self.remove)
        model.dataChanged.connect(self.change)
        model.modelReset.connect(self.reset)

    def read(self, first, last):
        role = Qt.ItemDataRole.AccessibleTextRole
        return [self.model.index(row).data(role) for row in range(first, last + 1)]

    def insert(self, _parent: QModelIndex, first, last):
        self.rows[first:first] = self.read(first, last)

    def remove(self, _parent: QModelIndex, first, last):
        del self.rows[first : last + 1]

    def change(self, first, last):
        self.rows[first.row() : last.row() + 1] = self.read(first.row(), last.row())

    def reset(self):
        self.resets += 1
        self.rows = self.read(0, self.model.rowCount() - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["stroke", "erase", "undo", "undo", "redo", "other"]), max_size=40))
def test_views_hear_of_every_change(qapp, steps):
    annotation, history, model = Annotation((1, 4, 50, 50)), History(), HistoryModel()
    tester = QAbstractItemModelTester(
        model, QAbstractItemModelTester.FailureReportingMode.Warning, None
    )
    mirror = Mirror(model)
    kinds = []
    for number, step in enumerate(steps):
        if step == "undo" and history.can_undo:
            annotation.apply(history.undo())
        elif step == "redo" and history.can_redo:
            annotation.apply(history.redo())
        elif step == "other":
            annotation, history, kinds = Annotation((1, 4, 50, 50)), History(), []
        elif step in ("stroke", "erase"):
            value = np.full((1, 1), 1 + number % 200, np.uint8)
            plane = PlaneIndex(0, number % 4)
            kinds = kinds[: history.position] + [(step, plane.z)]
            history.push(annotation.write(plane, value, kind=step))
        model.show_history(history, (1, 4))
        words = ["Beginning"] + [f"{edit_name(kind)} · z {z + 1}" for kind, z in kinds]
        position = history.position
        expected = [w + ", undone" * (row > position) for row, w in enumerate(words)]
        assert mirror.rows == mirror.read(0, model.rowCount() - 1) == expected
    assert tester is not None


def test_a_stroke_costs_a_row_however_long_the_list_is(qapp):
    annotation, model = Annotation((1, 1, 50, 50)), HistoryModel()
    edit = annotation.write(PlaneIndex(0, 0), np.ones((1, 1), np.uint8))
    history = History([edit] * 5000)
    model.show_history(history, (1, 1))
    mirror = Mirror(model)
    inserted, read = [], []
    model.rowsInserted.connect(lambda _parent, first, last: inserted.append((first, last)))
    model.dataChanged.connect(lambda first, last: read.append(last.row() - first.row()))
    history.push(annotation.write(PlaneIndex(0, 0), np.full((1, 1), 255, np.uint8)))
    model.show_history(history, (1, 1))
    assert model.rowCount() == 5002 and mirror.resets == 0
    assert inserted == [(5001, 5001)] and sum(read) <= 2


def test_the_names_of_places():
    planes = [PlaneIndex(0, 4), PlaneIndex(0, 2)]
    assert place_name(planes, 1, 9) == "z 3–5"
    assert place_name(planes, 3, 9) == "t 1, z 3–5"
    assert place_name(planes[:1], 1, 1) == ""
    assert edit_name("something new") == "Change"
