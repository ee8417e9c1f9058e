"""Export through the window: every preset, from what is painted and what is predicted."""

import shlex

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QPushButton

from app.__main__ import main
from app.export_dialog import ExportDialog, sources_of
from app.exporting import command_line, folder_of
from app.requests import ExportRequest
from tests.synthetic import make_stack, write_imagej
from unet_core.export_presets import PRESETS, preset
from unet_core.model import Model
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect

SQUARE = Rect(4, 100, 12, 16)


@pytest.fixture
def image(tmp_path):
    folder = tmp_path / "day 1"
    folder.mkdir()
    pixels, _ = make_stack(times=2, shape=(96, 128), count=4, kind="mixed", seed=4)
    return write_imagej(folder / "cells.tif", pixels[:, 0], "TYX", pixel_size=(1, 0.5, 0.5))


@pytest.fixture
def window(make_window, image):
    """With one cell painted on the first plane, where the network need not see any."""
    window = make_window(image)
    window.engine.device_name = "cpu"
    document = window.document
    number = document.annotation.next_object()
    inside = np.ones(SQUARE[2:], bool)
    document.apply_edit(document.annotation.fill(document.plane, SQUARE, inside, 2, number))
    return window


def ask(window, what, source=None):
    """The dialog with this chosen, as a user chooses."""
    window.actions_by_id["export"].trigger()
    dialog = window.findChild(ExportDialog)
    dialog.what.setCurrentIndex(dialog.what.findData(what))
    if source is not None:
        dialog.source.setCurrentIndex(dialog.source.findData(source))
        dialog.source.activated.emit(dialog.source.currentIndex())
    return dialog


def export(window, qtbot, dialog):
    """Press the button and wait for the file; answers where it is."""
    path = dialog.path()
    with qtbot.waitSignal(window.engine.export_finished) as done:
        qtbot.mouseClick(dialog.export_button, Qt.MouseButton.LeftButton)
    assert done.args[1] == path, done.args
    qtbot.waitUntil(lambda: window.engine.busy == "idle")
    # The next one must not be taken for this one, which goes only when Qt comes to it.
    qtbot.waitUntil(lambda: window.findChild(ExportDialog) is None)
    return path


def button(window, text):
    """The message's button of this text, None where it has none; what goes is only hidden yet."""
    shown = [b for b in window.messages.findChildren(QPushButton) if b.isVisible()]
    return next((b for b in shown if b.text() == text), None)


def test_every_preset_is_written_from_both(window, image, qtbot):
    with open_stack(image) as stack:
        shape = stack.shape
    for one in PRESETS:
        source = None if one.needs == "probability" else "both"
        path = export(window, qtbot, ask(window, one.id, source))
        assert path == one.path_for(image)
        assert path.is_dir() if one.is_folder else path.stat().st_size > 0
        assert str(path) in window.messages.text
    with open_stack(preset("objects").path_for(image)) as written:
        assert written.shape == shape and written.pixel_size == pytest.approx((1, 0.5, 0.5))
        numbers = [written.plane(t, 0)[0] for t in range(2)]
    painted = np.unique(numbers[0][SQUARE.slices])
    assert painted.size == 1 and painted[0] > 0
    assert (numbers[0] == painted[0]).sum() == SQUARE.height * SQUARE.width
    assert len(np.unique(np.concatenate(numbers))) > 2, "predicted cells are there, too"


def test_only_what_is_there_can_be_chosen(window, qtbot):
    assert sources_of("objects", painted=True) == ("annotation", "prediction", "both")
    assert sources_of("objects", painted=False) == ("prediction",)
    assert sources_of("probability", painted=True) == ("prediction",)
    assert sources_of("model", painted=True) == ()
    dialog = ask(window, "objects")
    assert dialog.source.isEnabled() and dialog.min_size.isEnabled()
    assert dialog.source.currentData() == "prediction", "as limn predict does"
    dialog.what.setCurrentIndex(dialog.what.findData("annotation"))
    assert not dialog.source.isEnabled() and not dialog.min_size.isEnabled()
    dialog.reject()
    window.actions_by_id["undo"].trigger()
    qtbot.waitUntil(lambda: window.findChild(ExportDialog) is None)
    dialog = ask(window, "objects")
    assert dialog.source.count() == 1
    dialog.reject()


@pytest.mark.qt_log_ignore("This plugin does not support")  # what a list over the dialog wants
def test_the_list_is_chosen_from_by_mouse_and_headings_are_not(window, qtbot):
    dialog = ask(window, "objects")
    box, view = dialog.what, dialog.what.view()

    def click(row, column):
        box.showPopup()
        qtbot.waitUntil(view.isVisible)
        place = view.visualRect(box.model().index(row, column)).center()
        qtbot.mouseMove(view.viewport(), place)
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
        box.hidePopup()
        qtbot.waitUntil(lambda: not view.isVisible())

    heading = next(row for row in range(box.count()) if box.itemData(row) is None)
    click(heading, 0)
    assert box.currentData() == "objects"
    for column in (0, 1):
        click(box.findData("qupath"), column)
        assert box.currentData() == "qupath" and box.currentText() == "QuPath"
        assert dialog.line.text() == preset("qupath").line
        assert dialog.path().name == "cells.geojson"
        box.setCurrentIndex(box.findData("objects"))
    dialog.reject()


def test_the_source_is_remembered_where_there_was_a_choice(window, image, qtbot):
    export(window, qtbot, ask(window, "classes", "annotation"))
    export(window, qtbot, ask(window, "probability"))
    dialog = ask(window, "objects")
    assert dialog.source.currentData() == "annotation"
    dialog.reject()


def test_one_plane_is_an_image_of_its_own(window, image, qtbot):
    window.document.set_plane(1, 0)
    whole = tifffile.imread(export(window, qtbot, ask(window, "classes")))
    dialog = ask(window, "classes")
    dialog.only_plane.setChecked(True)
    dialog.target.setText(str(image.with_name("plane.tif")))
    with open_stack(export(window, qtbot, dialog)) as written:
        assert written.shape[:2] == (1, 1)
        assert np.array_equal(written.plane(0, 0)[0], whole[1])


def test_a_folder_is_replaced_only_if_limn_wrote_it(window, image, qtbot):
    path = export(window, qtbot, ask(window, "ome-zarr", "annotation"))
    dialog = ask(window, "ome-zarr")
    with qtbot.assertNotEmitted(dialog.chosen):
        dialog.accept()
    assert dialog.export_button.text() == "Replace"
    export(window, qtbot, dialog)
    other = image.with_name("mine.zarr")
    other.mkdir()
    (other / "precious").write_text("all of it")
    dialog = ask(window, "ome-zarr")
    dialog.target.setText(str(other))
    dialog.accept()
    with qtbot.waitSignal(window.engine.failed) as failed:
        dialog.accept()
    assert "mine.zarr" in failed.args[0]
    assert (other / "precious").read_text() == "all of it" and path.is_dir()
    qtbot.waitUntil(lambda: window.engine.busy == "idle")


def test_a_name_that_cannot_be_is_one_sentence(window, image, qtbot):
    dialog = ask(window, "classes")
    folder = image.with_name("folder.tif")
    folder.mkdir()
    for name in ("x" * 300, "", str(folder)):
        dialog.target.setText(name)
        with qtbot.assertNotEmitted(dialog.chosen):
            dialog.accept()
            dialog.accept()
        assert dialog.problem.text() and dialog.export_button.text() == "Export", name
    dialog.reject()


def test_the_command_that_is_copied_writes_the_same_pixels(window, image, qtbot):
    """With the bundled network, and with one of which an export has made a file."""
    window.prediction.threshold.setValue(99)
    copied = []
    for model in (None, Model.bundled().adapted(1)):
        window.engine.set_model(model)
        qtbot.waitUntil(lambda: window.engine.busy == "idle")
        path = image.with_name("cells_objects.tif")
        path.unlink(missing_ok=True)
        export(window, qtbot, ask(window, "objects"))
        if model is not None:
            assert button(window, "Copy command") is None, "no file holds this network"
            export(window, qtbot, ask(window, "model"))
            path.unlink()
            export(window, qtbot, ask(window, "objects"))
        from_window = tifffile.imread(path)
        path.unlink()
        qtbot.mouseClick(button(window, "Copy command"), Qt.MouseButton.LeftButton)
        words = shlex.split(QApplication.clipboard().text())
        assert words[:2] == ["limn", "predict"]
        assert button(window, "Open folder") is not None
        assert button(window, "Copy command") is None, "done; the others are still there"
        assert main([*words[1:], "--device", "cpu"]) == 0
        assert np.array_equal(tifffile.imread(path), from_window)
        copied.append(words)
    assert copied[0] != copied[1]


def test_there_is_no_command_for_what_only_the_window_can(image, tmp_path):
    plain = ExportRequest(image.with_name("cells_objects.tif"), "objects", 0.25, 7)
    line = command_line(plain, image, "bundled")
    assert shlex.split(line)[-1] == str(image) and "--threshold 0.25" in line
    rois = ExportRequest(preset("imagej-rois").path_for(image), "imagej-rois")
    assert "--preset imagej-rois" in command_line(rois, image, "bundled")
    both = ExportRequest(plain.path, "objects", source="both")
    plane = ExportRequest(plain.path, "objects", plane=PlaneIndex(0, 0))
    named = ExportRequest(image.with_name("other.tif"), "objects")
    for request in (both, plane, named, ExportRequest(plain.path, "annotation")):
        assert command_line(request, image, "bundled") == ""


def test_the_folder_within_a_folder_is_not_the_one_that_was_chosen(image, tmp_path):
    request = ExportRequest(preset("stardist").path_for(image, tmp_path), "stardist")
    assert request.path.parent == tmp_path / "masks"
    assert folder_of(request) == tmp_path
    assert f"--out {tmp_path}" in command_line(request, image, "bundled")


def test_the_methods_sentence_is_copied_and_the_rest_stays(window, qtbot):
    export(window, qtbot, ask(window, "classes", "annotation"))
    qtbot.mouseClick(button(window, "Copy the methods sentence"), Qt.MouseButton.LeftButton)
    assert "annotated by hand in Limn" in QApplication.clipboard().text()
    assert "Written to" in window.messages.text and button(window, "Open folder") is not None
