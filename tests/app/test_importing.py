"""Masks of other programs through the window: what comes in, and that undo takes it back."""

import threading

import numpy as np
import pytest
import tifffile
from PySide6.QtWidgets import QFileDialog

from app.engine import ExportRequest
from app.importing import CLASSES, OBJECTS
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


def labels(window):
    annotation = window.document.annotation
    return np.stack([annotation.read_labels(PlaneIndex(0, z)) for z in range(SHAPE[0])])


def test_cells_come_in_and_one_undo_takes_them_back(make_window, image, masks, qtbot, monkeypatch):
    window = make_window(image)
    paint(window, Rect(0, 0, 10, 10), 1)
    before = labels(window)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *asked: (str(masks), OBJECTS))
    window.actions_by_id["import_masks"].trigger()
    qtbot.waitUntil(lambda: not window.importing.busy)
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
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *asked: (str(path), CLASSES))
    window.actions_by_id["import_masks"].trigger()
    qtbot.waitUntil(lambda: not window.importing.busy)
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
