"""The real window with the real parts, driven by keys and mouse."""

import gc
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QApplication,
    QComboBox,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from app import errors
from app.export_dialog import ExportDialog
from tests.app.conftest import close_and_wait, open_and_wait
from tests.patience import PATIENCE
from unet_core.project import Project, ProjectError
from unet_core.recovery import unfinished
from unet_core.stack import open_stack

NAMES = [  # fmt: skip
    "viewport",
    "zSlider",
    "tSlider",
    "channelList",
    "classList",
    "brushSize",
    "thresholdSlider",
    "opacitySlider",
    "livePrediction",
    "trainButton",
    "stopButton",
    "trainingPlot",
    "trainingStatus",
    "progressBar",
    "deviceLabel",
    "savedLabel",
    "objectCount",
]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cells.tif"
    planes = np.random.default_rng(1).integers(0, 60000, (3, 80, 120), np.uint16)
    tifffile.imwrite(
        path,
        planes,
        imagej=True,
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
        resolution=(2, 2),
    )
    return path


def paint(window, qtbot, start=(20, 20), end=(20, 60)):
    """One stroke by mouse, in image pixels (y, x)."""
    view = window.viewport
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=view.image_to_widget(*start))
    qtbot.mouseMove(view, view.image_to_widget(*end))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=view.image_to_widget(*end))


def save_as(window, path, qtbot):
    """And wait: the saver may just be naming the recovery file, so any name is not enough."""
    named = {"check_params_cb": lambda now: now is not None and now.stem == path.stem}
    with qtbot.waitSignal(window.saver.named, **named):
        window.files.save_as(path)
    wait_written(window, qtbot)


def wait_written(window, qtbot):
    qtbot.waitUntil(lambda: window.saver.unsaved == 0)


def wait_saved(window, qtbot):
    qtbot.waitUntil(lambda: window.status.saved.text().startswith("Saved"))


def test_all_names_of_the_contract_exist(make_window):
    window = make_window()
    assert window.objectName() == "mainWindow"
    for name in NAMES:
        assert window.findChild(QWidget, name) is not None, name


def test_every_control_has_a_name_for_screen_readers(make_window):
    window = make_window()
    kinds = (QAbstractButton, QAbstractSlider, QSpinBox, QComboBox)
    for kind in kinds:
        for widget in window.findChildren(kind):
            inside = widget.objectName().startswith("qt_") or not widget.objectName()
            if not inside and widget.focusPolicy() != Qt.FocusPolicy.NoFocus:
                named = widget.accessibleName() or getattr(widget, "text", str)()
                assert named, widget.objectName()


def test_fits_a_small_laptop(make_window, image):
    window = make_window(image)
    window.resize(1366, 720)
    assert window.minimumSizeHint().height() <= 700
    for name in NAMES:
        widget = window.findChild(QWidget, name)
        if widget.isVisible():
            corner = widget.mapTo(window, QPoint(0, widget.height()))
            assert corner.y() <= window.height(), name


def test_opening_shows_the_image(make_window, image):
    window = make_window(image)
    assert window.windowTitle() == "cells.tif — Limn"
    assert window.document.stack.shape == (1, 3, 1, 80, 120)
    assert window.navigator.z_slider.maximum() == 2
    assert window.training.train.text() == "Paint some background."
    assert window.actions_by_id["z_next"].isEnabled()
    assert not window.actions_by_id["t_next"].isEnabled()
    assert window.actions_by_id["channel_1"].isEnabled()
    assert not window.actions_by_id["channel_2"].isEnabled()


def test_a_bad_file_keeps_the_former_image(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    former = window.document.stack
    bad = tmp_path / "notes.tif"
    bad.write_text("this is no image")
    window.files.open(bad)
    qtbot.waitUntil(lambda: "notes.tif" in window.messages.text)
    assert window.document.stack is former and window.messages.isVisible()
    assert "\n" not in window.messages.text
    window.files.open(tmp_path / "nothing.tif")
    qtbot.waitUntil(lambda: "nothing.tif" in window.messages.text)
    broken = tmp_path / "broken.limn"
    broken.write_bytes(b"SQLite format 3\x00" + bytes(50))
    window.files.open(broken)
    qtbot.waitUntil(lambda: "broken.limn" in window.messages.text)
    assert window.document.stack is former


def test_keys_reach_the_document(make_window, image, qtbot, monkeypatch):
    window = make_window(image)
    document, view = window.document, window.viewport
    # On a slow machine too, these keys are tapped and not held.
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_E)
    assert document.tool == "eraser" and window.actions_by_id["eraser"].isChecked()
    qtbot.keyClick(view, Qt.Key.Key_P)
    assert document.tool == "brush"
    size = document.brush_diameter
    qtbot.keyClick(view, Qt.Key.Key_BracketRight)
    assert document.brush_diameter > size and window.brush.spin.value() == document.brush_diameter
    qtbot.keyClick(view, Qt.Key.Key_W)
    assert document.active_class == 1
    qtbot.keyClick(view, Qt.Key.Key_X)
    assert document.active_class == 2
    qtbot.keyClick(view, Qt.Key.Key_1)
    assert document.active_class == 1
    qtbot.keyClick(view, Qt.Key.Key_N)
    assert document.active_class == 2
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert document.plane == (0, 1) and window.navigator.z_slider.value() == 1
    qtbot.keyClick(view, Qt.Key.Key_Right, Qt.KeyboardModifier.AltModifier)
    assert document.plane == (0, 2)
    threshold = window.prediction.threshold.value()
    qtbot.keyClick(view, Qt.Key.Key_Minus)
    assert window.prediction.threshold.value() == threshold - 8
    assert window.viewport.prediction_layer.threshold == threshold - 8
    qtbot.keyClick(view, Qt.Key.Key_S)
    assert not window.viewport.prediction_layer.visible


def test_bare_letters_are_text_in_text_fields(make_window, image, qtbot):
    window = make_window(image)
    document = window.document
    window.classes.tree.setFocus()
    qtbot.keyClick(window.classes.tree, Qt.Key.Key_F2)
    editor = window.classes.tree.findChild(QLineEdit)
    editor.clear()
    qtbot.keyClicks(editor, "beak1x")
    assert editor.text() == "beak1x"
    assert document.tool == "brush" and document.active_class == 2
    assert window.actions_by_id["show_annotation"].isChecked()
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: document.classes[1].name == "beak1x")
    window.brush.spin.setFocus()
    window.brush.spin.selectAll()
    qtbot.keyClicks(window.brush.spin, "2e9")
    assert window.brush.spin.value() in (2, 29) and document.tool == "brush"
    assert document.active_class == 2
    qtbot.keyClick(window.brush.spin, Qt.Key.Key_Return)
    assert window.viewport.hasFocus()


def test_a_focused_slider_takes_the_arrows(make_window, image, qtbot):
    window = make_window(image)
    slider = window.prediction.opacity
    slider.setFocus(Qt.FocusReason.TabFocusReason)
    before = slider.value()
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert slider.value() == before + 1 and window.document.plane == (0, 0)


def test_holding_a_key_is_for_a_moment(make_window, image, qtbot, monkeypatch):
    window = make_window(image)
    view, now = window.viewport, [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    view.setFocus()
    for held, tool in ((1.0, "brush"), (0.05, "eraser")):
        qtbot.keyPress(view, Qt.Key.Key_E)
        assert window.document.tool == "eraser"
        now[0] += held
        qtbot.keyRelease(view, Qt.Key.Key_E)
        qtbot.waitUntil(lambda: not window.tools.hold.holds(window.actions_by_id["eraser"]))
        assert window.document.tool == tool
    for held, visible in ((1.0, True), (0.05, False)):
        qtbot.keyPress(view, Qt.Key.Key_A)
        assert not view.label_layer.visible
        now[0] += held
        qtbot.keyRelease(view, Qt.Key.Key_A)
        qtbot.waitUntil(
            lambda: not window.tools.hold.holds(window.actions_by_id["show_annotation"])
        )
        assert view.label_layer.visible is visible
    # Chosen by mouse, a tool stays, however late a key is released.
    window.actions_by_id["pan"].trigger()
    now[0] += 5
    qtbot.keyRelease(view, Qt.Key.Key_E)
    assert window.document.tool == "pan"


def test_strokes_are_saved_undone_and_come_back(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    wait_saved(window, qtbot)
    assert "autosaved" in window.windowTitle()
    painted = window.document.annotation.read(window.document.plane)
    assert (painted == 2).sum() > 100
    assert window.classes.tree.topLevelItem(1).text(2) != "0"
    window.viewport.setFocus()
    qtbot.keyClick(window.viewport, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.document.annotation.read(window.document.plane).any()
    qtbot.keyClick(window.viewport, Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    assert (window.document.annotation.read(window.document.plane) == painted).all()
    window.document.set_plane(0, 1)
    window.prediction.threshold.setValue(77)
    named = tmp_path / "work"
    save_as(window, named, qtbot)
    assert window.windowTitle() == "work.limn — Limn"
    close_and_wait(window, qtbot)
    assert unfinished() == []
    again = make_window(tmp_path / "work.limn")
    assert again.document.plane == (0, 1) and again.prediction.threshold.value() == 77
    assert (again.document.annotation.read((0, 0)) == painted).all()
    assert again.actions_by_id["undo"].isEnabled()


def test_unnamed_work_is_offered_and_restored(make_window, image, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    wait_saved(window, qtbot)
    close_and_wait(window, qtbot)
    again = make_window()
    qtbot.waitUntil(lambda: "1 stroke" in again.messages.text)
    assert "cells.tif" in again.messages.text
    button = again.messages.findChild(QAbstractButton, "messageAction1")
    with qtbot.waitSignal(again.files.opened):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert "[recovered]" in again.windowTitle()
    assert again.document.annotation.counts()


def test_another_image_leaves_the_strokes_of_the_first_saved(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((20, 20), np.uint8))
    other = tmp_path / "other.tif"
    open_and_wait(window, other, qtbot)
    assert not window.document.annotation.counts()
    qtbot.waitUntil(lambda: window.files.project is None)
    qtbot.waitUntil(lambda: len(unfinished()) == 1)
    assert unfinished()[0].image_name == "cells.tif"


def test_a_project_whose_image_has_moved_asks_for_it(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    project = tmp_path / "own" / "folder" / "p.limn"  # Limn looks into the two above the file
    project.parent.mkdir(parents=True)
    save_as(window, project, qtbot)
    close_and_wait(window, qtbot)
    moved = tmp_path / "far" / "from" / "here" / "cells.tif"
    moved.parent.mkdir(parents=True)
    image.rename(moved)
    again = make_window(project)
    assert "cells.tif of p.limn was not found" in again.messages.text
    assert again.document.annotation.counts()
    assert again.document.stack.plane(0, 0).max() == 0
    with qtbot.waitSignal(again.files.located):
        again.files.locate(tmp_path / "far")
    assert again.document.stack.path == moved and again.document.annotation.counts()


def test_the_annotation_exports_as_painted(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    target = tmp_path / "cells_annotation.tif"
    with qtbot.waitSignal(window.engine.export_finished):
        window.export_to(target, "annotation")
    with open_stack(target) as written:
        assert written.shape == window.document.stack.shape
        assert written.pixel_size == pytest.approx((2.0, 0.5, 0.5))
        labels = window.document.annotation.read(window.document.plane)
        assert (written.plane(0, 0)[0] == labels).all()
    assert str(target) in window.messages.text
    qtbot.waitUntil(window.strip.isHidden)


def test_export_into_nowhere_is_one_sentence(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    window.export_to(image, "annotation")
    qtbot.waitUntil(lambda: window.messages.text != "")
    assert "cells.tif" in window.messages.text
    qtbot.waitUntil(window.strip.isHidden)


def test_export_dialog_asks_before_it_replaces(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    window.exporting.ask()
    dialog = window.findChild(ExportDialog)
    assert dialog.path() == image.with_name("cells_objects.tif")
    dialog.what.setCurrentIndex(1)
    assert dialog.path() == image.with_name("cells_classes.tif")
    assert not dialog.min_size.isEnabled()
    dialog.path().write_text("precious")
    with qtbot.assertNotEmitted(dialog.chosen):
        qtbot.mouseClick(dialog.export_button, Qt.MouseButton.LeftButton)
    assert dialog.export_button.text() == "Replace"
    dialog.target.setText(str(image))
    with qtbot.assertNotEmitted(dialog.chosen):
        dialog.accept()
    assert "image itself" in dialog.problem.text()
    dialog.target.setText(str(tmp_path / "no folder" / "x.tif"))
    with qtbot.assertNotEmitted(dialog.chosen):
        dialog.accept()
    assert "no folder" in dialog.problem.text()
    dialog.what.setCurrentIndex(dialog.what.findData("model"))
    assert dialog.path() == image.with_name("cells_model.safetensors")
    dialog.target.setText(str(tmp_path / "mine"))
    assert dialog.path() == tmp_path / "mine.safetensors"
    dialog.reject()


def test_two_classes_make_training_possible(make_window, image, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    assert window.training.train.text() == "Paint some background."
    qtbot.keyClick(window.viewport, Qt.Key.Key_W)
    paint(window, qtbot, (60, 20), (60, 100))
    assert window.training.train.isEnabled() and window.actions_by_id["train"].isEnabled()


def test_closing_while_it_trains_is_clean(make_window, image, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    qtbot.keyClick(window.viewport, Qt.Key.Key_W)
    paint(window, qtbot, (60, 20), (60, 100))
    with qtbot.waitSignal(window.engine.training_progress):
        qtbot.mouseClick(window.training.train, Qt.MouseButton.LeftButton)
    assert window.training.train.text() == "Training…" and window.training.stop.isEnabled()
    close_and_wait(window, qtbot)
    assert window.engine.busy == "idle"
    assert unfinished()[0].strokes == 2


def test_opening_while_it_trains_keeps_what_was_learnt(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    paint(window, qtbot)
    qtbot.keyClick(window.viewport, Qt.Key.Key_W)
    paint(window, qtbot, (60, 20), (60, 100))
    with qtbot.waitSignal(window.engine.training_progress):
        window.actions_by_id["train"].trigger()
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((40, 40), np.uint8))
    open_and_wait(window, other, qtbot)
    assert window.windowTitle() == "other.tif — Limn"
    # The model went to the project that it was trained for, and none was made for the new image.
    qtbot.waitUntil(lambda: len(unfinished()) == 1)
    with Project.open(unfinished()[0].path) as project:
        assert project.latest_model() is not None
        assert project.image.path.name == "cells.tif"


def test_an_export_can_be_cancelled_and_leaves_nothing(
    make_window, image, tmp_path, qtbot, monkeypatch
):
    window = make_window(image)
    stack = window.document.stack
    read, go_on = stack.plane, threading.Event()

    def last_plane_later(t, z):
        assert z < 2 or go_on.wait(PATIENCE)
        return read(t, z)

    monkeypatch.setattr(stack, "plane", last_plane_later)
    target = tmp_path / "cells_objects.tif"
    with qtbot.waitSignal(window.engine.export_progress):
        window.export_to(target, "objects")
    assert window.strip.isVisible() and window.viewport.isEnabled()
    with qtbot.waitSignal(window.engine.export_finished):
        qtbot.mouseClick(window.strip.cancel, Qt.MouseButton.LeftButton)
        go_on.set()
    assert window.strip.isHidden() and not target.exists()
    assert not list(tmp_path.glob("*.part"))
    qtbot.waitUntil(lambda: window.engine.busy == "idle")
    with qtbot.waitSignal(window.engine.export_finished):
        window.export_to(target, "objects")
    with open_stack(target) as written:
        assert written.shape == stack.shape


def test_a_disk_that_fails_is_told_and_nothing_is_called_saved(
    make_window, image, monkeypatch, qtbot
):
    window = make_window(image)
    failing = [True]
    record = Project.record

    def fail(project, *arguments):
        if failing[0]:
            raise ProjectError("The disk is full; make room.")
        record(project, *arguments)

    monkeypatch.setattr(Project, "record", fail)
    paint(window, qtbot)
    qtbot.waitUntil(lambda: window.status.saved.text() == "Not saved")
    assert window.messages.text.startswith("The disk is full; make room. You can go on")
    failing[0] = False
    wait_saved(window, qtbot)


def test_live_prediction_arrives_and_is_counted(make_window, image, qtbot):
    window = make_window(image)
    qtbot.keyClick(window.viewport, Qt.Key.Key_L)
    assert window.prediction.live.isChecked()
    qtbot.waitUntil(lambda: "object" in window.prediction.count.text())
    assert window.training.device.text() != ""


def test_dark_and_light_follow_the_palette(make_window, qtbot):
    window = make_window()
    light = window.styleSheet()
    palette = QPalette(Qt.GlobalColor.darkGray)
    palette.setColor(QPalette.ColorRole.Window, Qt.GlobalColor.black)
    palette.setColor(QPalette.ColorRole.WindowText, Qt.GlobalColor.white)
    former = QApplication.palette()
    QApplication.setPalette(palette)
    try:
        qtbot.waitUntil(lambda: window.styleSheet() != light)
        assert "@" not in window.styleSheet()
    finally:
        QApplication.setPalette(former)
    qtbot.waitUntil(lambda: window.styleSheet() == light)


def test_an_unexpected_error_is_shown_and_work_goes_on(make_window, qtbot, monkeypatch, caplog):
    window = make_window()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    errors.install_hook(window.messages)

    def fail():
        raise RuntimeError("boom")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: "RuntimeError" in window.messages.text)
    assert "boom" in window.messages.message.details
    assert "boom" in caplog.text


def test_a_message_does_not_move_the_image_under_the_brush(make_window, image, qtbot):
    window = make_window(image)
    before = window.viewport.image_to_widget(40, 40), window.viewport.geometry()
    window.messages.show_error("notes.tif is no image. " * 20)
    window.strip.begin("Exporting cells_objects.tif…")
    qtbot.waitUntil(window.strip.isVisible)
    assert window.messages.isVisible() and window.messages.width() == window.centre.width()
    assert (window.viewport.image_to_widget(40, 40), window.viewport.geometry()) == before
    window.resize(window.width() - 200, window.height())
    qtbot.waitUntil(lambda: window.messages.width() == window.centre.width())
    window.strip.end()


def test_says_whose_prediction_is_on_show(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    network = window.prediction.network
    assert "Bundled" in network.text()
    paint(window, qtbot)
    qtbot.keyClick(window.viewport, Qt.Key.Key_W)
    paint(window, qtbot, (60, 20), (60, 100))
    window.engine.training_steps = 2
    window.actions_by_id["train"].trigger()
    assert "Learning" in network.text()
    qtbot.waitUntil(lambda: window.engine.busy == "idle")
    assert network.text() == "Trained on your strokes, 2 steps"
    assert "goes on when you paint more" in window.training.status.text()
    save_as(window, tmp_path / "work.limn", qtbot)
    # Another image has another network, curve and threshold; the project brings all back.
    window.prediction.threshold.setValue(77)
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((40, 40), np.uint8))
    open_and_wait(window, other, qtbot)
    qtbot.waitUntil(lambda: "Bundled" in network.text())
    wait_written(window, qtbot)  # only now the former project is closed
    assert window.training.plot.points == [] and "Paint" in window.training.status.text()
    assert window.prediction.threshold.value() == 128
    open_and_wait(window, tmp_path / "work.limn", qtbot)
    qtbot.waitUntil(lambda: network.text() == "Trained on your strokes, 2 steps")


def test_the_view_is_remembered_from_the_first_stroke_on(make_window, image, qtbot):
    """Whoever zooms in, paints and loses power comes back to the same place."""
    window = make_window(image)
    window.document.set_plane(0, 2)
    qtbot.waitUntil(lambda: window.viewport.paintable)
    # What there was to remember before the stroke is over.
    qtbot.waitUntil(lambda: not window.memory._timer.isActive())
    paint(window, qtbot)
    wait_saved(window, qtbot)
    remembered = window.memory._known
    qtbot.waitUntil(lambda: remembered.get("plane") == [0, 2])


def test_the_zoom_follows_the_window(make_window, image, qtbot):
    window = make_window(image)
    for size in ((900, 700), (1300, 900)):
        before = window.status.zoom.text()
        window.resize(*size)
        qtbot.waitUntil(lambda before=before: window.status.zoom.text() != before)


def test_paths_are_shown_without_detours(make_window, image, qtbot):
    window = make_window(image.parent / ".." / image.parent.name / image.name)
    assert window.document.stack.path == image


def test_garbage_is_collected_in_the_gui_thread(make_window, qtbot):
    """A worker that destroyed a GUI object found in a cycle would bring the program down."""
    make_window()

    class Knot:
        pass

    threads = []
    knot = Knot()
    knot.itself = knot
    weakref.finalize(knot, lambda: threads.append(threading.get_ident()))
    del knot
    assert not gc.isenabled()
    qtbot.waitUntil(lambda: bool(threads))
    assert threads == [threading.get_ident()]
