"""Masks of other programs through the window: what comes in, and that undo takes it back."""

import threading

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog

from app.import_dialog import ImportDialog
from app.requests import ExportRequest
from tests.app.conftest import open_and_wait
from tests.patience import PATIENCE
from unet_core import import_masks
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)
SHAPE = (2, 60, 80)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cells.tif"
    pixels = np.random.default_rng(2).integers(0, 255, SHAPE, np.uint8)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX"})
    return path


@pytest.fixture
def masks(tmp_path):
    """Two cells on the first slice, one of them also on the second."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[0, 5:15, 5:15] = 1
    labels[:, 30:40, 50:70] = 2
    path = tmp_path / "cells_cp_masks.tif"
    tifffile.imwrite(path, labels, imagej=True, metadata={"axes": "ZYX"})
    return path


def paint(window, rect, value=2):
    document = window.document
    number = document.annotation.next_object() if value > 1 else 0
    inside = np.ones(rect[2:], bool)
    document.apply_edit(document.annotation.fill(document.plane, rect, inside, value, number))


def bring(window, path, qtbot):
    window.importing.import_from(path)
    qtbot.waitUntil(lambda: not window.importing.busy)


def ask(window, path, qtbot, monkeypatch):
    """The dialog when it has looked at the file."""
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *asked: (str(path), ""))
    # A former one goes only when Qt comes to it.
    qtbot.waitUntil(lambda: window.findChild(ImportDialog) is None)
    window.actions_by_id["import_masks"].trigger()
    dialog = window.findChild(ImportDialog)
    qtbot.waitUntil(lambda: not window.importing.busy)
    return dialog


def choose(window, box, data, qtbot):
    """As a user chooses; waits for the look that follows."""
    box.setCurrentIndex(box.findData(data))
    box.activated.emit(box.currentIndex())
    qtbot.waitUntil(lambda: not window.importing.busy)


def press(window, dialog, qtbot):
    qtbot.mouseClick(dialog.import_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.findChild(ImportDialog) is None)
    qtbot.waitUntil(lambda: not window.importing.busy)


def labels(window):
    annotation = window.document.annotation
    return np.stack([annotation.read_labels(PlaneIndex(0, z)) for z in range(SHAPE[0])])


def test_cells_come_in_and_one_undo_takes_them_back(make_window, image, masks, qtbot, monkeypatch):
    window = make_window(image)
    paint(window, Rect(0, 0, 10, 10), 1)
    before = labels(window)
    dialog = ask(window, masks, qtbot, monkeypatch)
    assert np.array_equal(labels(window), before), "nothing is changed by looking"
    press(window, dialog, qtbot)
    after = labels(window)
    wanted = tifffile.imread(masks)
    free = before == 0
    assert np.array_equal(after[free] > 0, wanted[free] > 0)
    assert np.array_equal(after[~free], before[~free]), "what was painted stays"
    numbers = [np.unique(after[free & (wanted == cell)]) for cell in (1, 2)]
    assert [len(own) for own in numbers] == [1, 1] and numbers[0] != numbers[1]
    assert window.document.annotation.object_counts() == {2: 2}
    assert window.messages.text.startswith("Imported 2 objects from cells_cp_masks.tif as “cell”.")
    assert window.strip.isHidden()
    window.actions_by_id["undo"].trigger()
    assert np.array_equal(labels(window), before)
    window.actions_by_id["redo"].trigger()
    assert np.array_equal(labels(window), after)


def test_the_chosen_class_is_taken_unless_the_file_names_one(
    make_window, image, masks, tmp_path, qtbot
):
    window = make_window(image)
    window.document.add_class("nucleus", "#123456")
    bring(window, masks, qtbot)
    assert window.document.annotation.object_counts() == {3: 2}
    assert "“nucleus”, the class that is chosen now" in window.messages.text
    # Its own export names the class; with another one chosen, it comes back as it was.
    exported = labels(window)
    with qtbot.waitSignal(window.engine.export_finished):
        window.exporting.export(
            ExportRequest(tmp_path / "cells.geojson", "qupath", source="annotation")
        )
    qtbot.waitUntil(lambda: window.engine.busy == "idle")
    window.actions_by_id["undo"].trigger()
    window.document.set_active_class(2)
    bring(window, tmp_path / "cells.geojson", qtbot)
    assert np.array_equal(labels(window) >> 24, exported >> 24)


def test_an_image_of_classes_comes_in_as_such(make_window, image, tmp_path, qtbot, monkeypatch):
    """As Limn exports the annotation; a class that is not known yet gets into the list."""
    window = make_window(image)
    classes = np.zeros(SHAPE, np.uint8)
    classes[0, :10], classes[0, 20:30], classes[1, 40:] = 1, 2, 4
    path = tmp_path / "annotation.tif"
    tifffile.imwrite(path, classes, imagej=True, metadata={"axes": "ZYX"})
    press(window, ask(window, path, qtbot, monkeypatch), qtbot)
    assert np.array_equal(labels(window), classes.astype(np.uint32) << 24)
    assert [info.name for info in window.document.classes[2:]] == ["class 3", "class 4"]
    assert window.document.active_class == 2
    assert window.messages.text.startswith("Imported classes from annotation.tif. ")
    window.actions_by_id["undo"].trigger()
    assert not labels(window).any()


def test_what_is_no_mask_is_one_sentence_and_changes_nothing(make_window, image, tmp_path, qtbot):
    window = make_window(image)
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, np.ones((7, 9), np.uint16))
    broken = tmp_path / "RoiSet.zip"
    broken.write_bytes(b"PK\x03\x04 and no more")
    empty = tmp_path / "empty.tif"
    tifffile.imwrite(empty, np.zeros(SHAPE, np.uint16))
    for path in (small, broken, empty, tmp_path / "gone.tif"):
        bring(window, path, qtbot)
        assert path.name in window.messages.text, window.messages.text
        assert window.messages.message.details == ""
        assert not window.document.history.can_undo and window.strip.isHidden()


@pytest.fixture
def patient_reading(monkeypatch):
    """Reading masks waits, until the event is set."""
    go_on, real = threading.Event(), import_masks.importing

    def importing(*given, **options):
        assert go_on.wait(PATIENCE)
        return (yield from real(*given, **options))

    monkeypatch.setattr(import_masks, "importing", importing)
    return go_on


def test_what_is_painted_meanwhile_stays(make_window, image, masks, qtbot, patient_reading):
    window = make_window(image)
    window.importing.import_from(masks)
    paint(window, Rect(32, 52, 4, 4), 1)
    painted = labels(window)
    patient_reading.set()
    qtbot.waitUntil(lambda: not window.importing.busy)
    now = labels(window)
    assert np.array_equal(now[painted > 0], painted[painted > 0])
    assert window.document.annotation.object_counts() == {2: 2}


def test_it_can_be_cancelled_and_waits_for_nobody(
    make_window, image, masks, tmp_path, qtbot, patient_reading
):
    window = make_window(image)
    window.importing.import_from(masks)
    assert not window.strip.isHidden()
    window.importing.import_from(masks)
    assert "under way" in window.messages.text, "one at a time"
    window.strip.cancel.click()
    assert window.strip.isHidden()
    patient_reading.set()
    qtbot.waitUntil(lambda: not window.importing.busy)
    assert not window.document.history.can_undo
    # Another image comes while masks of this one are read.
    patient_reading.clear()
    window.importing.import_from(masks)
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((30, 40), np.uint8))
    open_and_wait(window, other, qtbot)
    patient_reading.set()
    qtbot.waitUntil(lambda: not window.importing.busy)
    assert not window.document.history.can_undo


def test_the_dialog_shows_what_comes_in_and_where(make_window, image, masks, qtbot, monkeypatch):
    window = make_window(image)
    paint(window, Rect(32, 50, 4, 10), 1)
    dialog = ask(window, masks, qtbot, monkeypatch)
    assert "masks of Cellpose" in dialog.summary.text()
    assert "2 objects on 2 of 2 planes" in dialog.summary.text()
    assert dialog.caption.text() == "Slice 1 of 2, 2 objects"
    assert "40 of their pixels are painted already" in dialog.note.text()
    picture = dialog.picture.pixmap().toImage()
    scale = picture.width() / SHAPE[2]

    def color(y, x):
        at = picture.pixelColor(round((x + 0.5) * scale), round((y + 0.5) * scale))
        return max(at.red(), at.green(), at.blue()) - min(at.red(), at.green(), at.blue())

    assert color(10, 10) > 40 and color(38, 60) > 40, "in colours on the grey image"
    assert color(50, 10) < 10 and color(34, 55) < 10, "not where nothing changes"
    # What comes in on the plane on show, if anything does.
    dialog.reject()
    window.document.set_plane(0, 1)
    dialog = ask(window, masks, qtbot, monkeypatch)
    assert dialog.caption.text() == "Slice 2 of 2, 1 object"
    dialog.reject()
    assert window.document.annotation.counts() == {1: 40}


def test_replacing_and_the_rest_as_background(make_window, image, masks, qtbot, monkeypatch):
    window = make_window(image)
    paint(window, Rect(0, 0, 10, 10), 1)
    before = labels(window)
    dialog = ask(window, masks, qtbot, monkeypatch)
    choose(window, dialog.keep, False, qtbot)
    dialog.background.click()
    qtbot.waitUntil(lambda: not window.importing.busy)
    press(window, dialog, qtbot)
    wanted = tifffile.imread(masks)
    assert np.array_equal(labels(window) >> 24, np.where(wanted > 0, 2, 1))
    assert "has stayed" not in window.messages.text
    window.actions_by_id["undo"].trigger()
    assert np.array_equal(labels(window), before)


def test_another_class_and_another_meaning(make_window, image, tmp_path, qtbot, monkeypatch):
    window = make_window(image)
    window.document.add_class("nucleus", "#123456")
    window.document.set_active_class(2)
    values = np.zeros(SHAPE, np.uint8)
    values[0, :10], values[0, 20:30] = 1, 3
    path = tmp_path / "cells_Simple Segmentation.tif"
    tifffile.imwrite(path, values, imagej=True, metadata={"axes": "ZYX"})
    dialog = ask(window, path, qtbot, monkeypatch)
    assert dialog.meaning.currentData() == "classes" and "ilastik" in dialog.summary.text()
    assert not dialog.value.isEnabled()
    choose(window, dialog.meaning, "objects", qtbot)
    assert "2 objects on 1 of 2 planes" in dialog.summary.text()
    choose(window, dialog.value, 3, qtbot)
    press(window, dialog, qtbot)
    assert window.document.annotation.object_counts() == {3: 2}
    assert "as “nucleus”" in window.messages.text


def test_what_does_not_fit_is_said_in_the_dialog(make_window, image, tmp_path, qtbot, monkeypatch):
    window = make_window(image)
    path = tmp_path / "small.tif"
    tifffile.imwrite(path, np.ones((7, 9), np.uint16))
    dialog = ask(window, path, qtbot, monkeypatch)
    assert "does not fit" in dialog.summary.text() and not dialog.import_button.isEnabled()
    dialog.reject()
    assert not window.document.history.can_undo and window.strip.isHidden()


def test_what_is_painted_while_the_dialog_is_open_stays(
    make_window, image, masks, qtbot, monkeypatch
):
    """The labels that were looked at are no longer those: it is read once more."""
    window = make_window(image)
    dialog = ask(window, masks, qtbot, monkeypatch)
    paint(window, Rect(32, 52, 4, 4), 1)
    painted = labels(window)
    press(window, dialog, qtbot)
    now = labels(window)
    assert np.array_equal(now[painted > 0], painted[painted > 0])
    assert window.document.annotation.object_counts() == {2: 2}


def test_another_image_closes_the_dialog(make_window, image, masks, tmp_path, qtbot, monkeypatch):
    window = make_window(image)
    ask(window, masks, qtbot, monkeypatch)
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((30, 40), np.uint8))
    open_and_wait(window, other, qtbot)
    qtbot.waitUntil(lambda: window.findChild(ImportDialog) is None)
    assert not window.document.history.can_undo
