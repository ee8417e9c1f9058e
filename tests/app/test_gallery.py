"""Several images in one project: adding, going from one to another, one model for all."""

import numpy as np
import pytest
import tifffile
import torch
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtTest import QTest

from app.apply_dialog import ApplyDialog
from app.engine import FolderRequest
from tests.app.conftest import close_and_wait, open_and_wait
from tests.synthetic import make_cells
from unet_core.device import prepare_thread
from unet_core.intensity import intensity_range
from unet_core.model import Model
from unet_core.patches import TrainingSet
from unet_core.project import Project
from unet_core.segment import fingerprint
from unet_core.stack import PlaneIndex, open_stack
from unet_core.training import fit

PLANE = PlaneIndex(0, 0)


@pytest.fixture
def folder(tmp_path):
    """Five images of cells; the tenth comes after the ninth."""
    place = tmp_path / "pictures"
    place.mkdir()
    for n in (1, 2, 3, 9, 10):
        tifffile.imwrite(place / f"cell {n}.tif", make_cells(n, (96, 96), 3).image)
    return place


@pytest.fixture
def gallery(make_window, folder, qtbot):
    """A window with the images of the folder."""
    window = make_window()
    window.gallery.open_all([folder])
    qtbot.waitUntil(lambda: len(window.gallery.entries) == 5)
    qtbot.waitUntil(lambda: not window.saver.unsaved)
    return window


def stroke(window, y, x, value=2):
    document = window.document
    document.set_active_class(value)
    document.begin_stroke(y, x)
    document.extend_stroke(y, x + 15)
    document.end_stroke()


def go_to(window, number, qtbot):
    """Show the image in row `number` of the list."""
    image = window.gallery.entries[number].id
    window.gallery.show(image)
    qtbot.waitUntil(lambda: window.document.image == image)


def names(window):
    return [entry.path.name for entry in window.gallery.entries]


def labels(window):
    return window.document.annotation.read(PLANE)


def test_a_folder_opens_as_a_list_in_natural_order(gallery):
    assert names(gallery) == [f"cell {n}.tif" for n in (1, 2, 3, 9, 10)]
    assert gallery.document.stack.path.name == "cell 1.tif"
    assert gallery.images.isVisible() and gallery.images.model.rowCount() == 5


def test_dropped_files_become_a_list(make_window, folder, qtbot):
    window = make_window()
    data = QMimeData()
    paths = sorted(folder.iterdir())[:3]
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDropEvent(
        QPointF(50, 50), Qt.DropAction.CopyAction, data,
        Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    window.viewport.dropEvent(event)
    qtbot.waitUntil(lambda: len(window.gallery.entries) == 3)
    assert names(window) == [path.name for path in paths]


def test_each_image_keeps_its_labels_and_its_undo(gallery, qtbot):
    stroke(gallery, 20, 20)
    first = labels(gallery)
    go_to(gallery, 1, qtbot)
    assert not labels(gallery).any() and not gallery.document.history.can_undo
    stroke(gallery, 60, 30)
    stroke(gallery, 80, 30, value=1)
    go_to(gallery, 0, qtbot)
    assert np.array_equal(labels(gallery), first)
    assert gallery.document.label_counts().keys() == {1, 2}
    gallery.document.undo()
    assert not labels(gallery).any()
    go_to(gallery, 1, qtbot)
    assert gallery.document.history.position == 2 and labels(gallery).any()


def test_all_of_it_survives_a_restart(gallery, tmp_path, make_window, qtbot):
    for number in (0, 2):
        go_to(gallery, number, qtbot)
        stroke(gallery, 20 + 10 * number, 20)
    gallery.actions_by_id["review"].trigger()
    painted = labels(gallery)
    gallery.files.save_as(tmp_path / "five.limn")
    qtbot.waitUntil(lambda: gallery.files.has_name and not gallery.saver.unsaved)
    close_and_wait(gallery, qtbot)
    window = make_window()
    open_and_wait(window, tmp_path / "five.limn", qtbot)
    qtbot.waitUntil(lambda: len(window.gallery.entries) == 5)
    assert window.document.stack.path.name == "cell 3.tif"  # that on show last
    assert np.array_equal(labels(window), painted)
    marks = [(e.labelled, e.reviewed) for e in window.gallery.entries]
    assert marks == [(True, False), (False, False), (True, True), (False, False), (False, False)]
    assert window.actions_by_id["review"].isChecked()
    go_to(window, 0, qtbot)
    assert labels(window).any() and window.document.history.position == 1
    window.document.undo()
    qtbot.waitUntil(lambda: not window.saver.unsaved)
    assert not window.gallery.entry.labelled
    close_and_wait(window, qtbot)
    with Project.open(tmp_path / "five.limn", read_only=True) as project:
        assert [one.labelled for one in project.images()] == [False, False, True, False, False]


def test_keys_and_list_go_from_image_to_image(gallery, qtbot):
    gallery.viewport.setFocus()
    qtbot.keyClick(gallery.viewport, Qt.Key.Key_PageDown)
    qtbot.waitUntil(lambda: gallery.document.stack.path.name == "cell 2.tif")
    for _ in range(5):  # faster than images open: the last wish wins, and the end is the end
        qtbot.keyClick(gallery.viewport, Qt.Key.Key_PageDown)
    qtbot.waitUntil(lambda: gallery.document.stack.path.name == "cell 10.tif")
    qtbot.keyClick(gallery.viewport, Qt.Key.Key_PageUp)
    qtbot.waitUntil(lambda: gallery.document.stack.path.name == "cell 9.tif")
    listed = gallery.images.list
    row = listed.visualRect(gallery.images.model.index(2)).center()
    QTest.mouseClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(row))
    qtbot.waitUntil(lambda: gallery.document.stack.path.name == "cell 3.tif")
    assert listed.currentIndex().row() == 2


def test_training_learns_from_all_labelled_images(gallery, qtbot):
    stroke(gallery, 20, 20, value=1)
    assert gallery.desk.reason == "Paint some cell."
    go_to(gallery, 1, qtbot)
    stroke(gallery, 40, 20, value=2)
    assert gallery.desk.reason is None
    gallery.engine.training_steps = 2
    gallery.desk.train()
    qtbot.waitUntil(lambda: gallery.engine.model is not None)
    qtbot.waitUntil(lambda: gallery.engine.busy != "training")
    model = gallery.engine.model
    assert model.provenance["labelled_pixels"].keys() == {"1", "2"}
    go_to(gallery, 3, qtbot)
    assert gallery.engine.model is model


def test_the_instant_answer_knows_strokes_on_other_images(gallery, qtbot):
    gallery.actions_by_id["live"].setChecked(True)
    stroke(gallery, 20, 20, value=1)
    go_to(gallery, 1, qtbot)
    assert gallery.engine.shown_model is None
    stroke(gallery, 40, 20, value=2)
    qtbot.waitUntil(lambda: gallery.engine.shown_model is not None)


def test_other_channels_and_ruins_are_not_added_and_said(gallery, tmp_path, qtbot):
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((96, 96, 3), np.uint8), photometric="rgb")
    (tmp_path / "ruin.tif").write_bytes(b"II*\0")
    gallery.gallery.add([tmp_path / "rgb.tif", tmp_path / "ruin.tif"])
    qtbot.waitUntil(lambda: "rgb.tif has 3 channels" in gallery.messages.text)
    assert "ruin.tif" in gallery.messages.text and len(gallery.gallery.entries) == 5
    gallery.gallery.add([gallery.gallery.entries[0].path])
    qtbot.waitUntil(lambda: "already" in gallery.messages.text)


def test_an_image_is_removed_with_its_labels_after_a_question(gallery, qtbot):
    go_to(gallery, 1, qtbot)
    stroke(gallery, 40, 20)
    gallery.gallery.remove(gallery.gallery.entries[3].id)  # nothing is lost: no question
    qtbot.waitUntil(lambda: len(gallery.gallery.entries) == 4)
    gallery.gallery.remove(gallery.document.image)
    assert "can not be undone" in gallery.messages.text and len(gallery.gallery.entries) == 4
    message = gallery.messages._messages[-1]
    dict(message.actions)["Remove"]()
    qtbot.waitUntil(lambda: len(gallery.gallery.entries) == 3)
    assert names(gallery) == ["cell 1.tif", "cell 3.tif", "cell 10.tif"]
    assert gallery.document.stack.path.name == "cell 1.tif"
    assert not gallery.document.label_counts()


def test_an_image_that_is_gone_shows_its_labels_and_is_found_again(gallery, folder, qtbot):
    go_to(gallery, 1, qtbot)
    stroke(gallery, 40, 20)
    painted = labels(gallery)
    go_to(gallery, 0, qtbot)
    moved = folder / "moved"
    moved.mkdir()
    (folder / "cell 2.tif").rename(folder.parent.parent / "cell 2.tif")
    go_to(gallery, 1, qtbot)
    assert np.array_equal(labels(gallery), painted)
    assert gallery.messages.text.startswith("cell 2.tif") or "not found" in gallery.messages.text
    gallery.files.locate(folder.parent.parent / "cell 2.tif")
    qtbot.waitUntil(lambda: gallery.document.stack.path.parent == folder.parent.parent)
    assert np.array_equal(labels(gallery), painted) and len(gallery.gallery.entries) == 5
    assert gallery.gallery.entries[1].path == folder.parent.parent / "cell 2.tif"
    go_to(gallery, 0, qtbot)
    assert gallery.document.others[2].reference.path == folder.parent.parent / "cell 2.tif"
    go_to(gallery, 1, qtbot)
    assert gallery.document.stack.path.parent == folder.parent.parent


def test_strokes_that_can_not_be_saved_stay_with_their_image(gallery, tmp_path, qtbot, monkeypatch):
    """Going to images that were on show before needs no disk, to others it waits."""
    go_to(gallery, 1, qtbot)
    failing = [True]
    record = Project.record

    def fail(project, *arguments):
        if failing:
            raise OSError("no")
        record(project, *arguments)

    monkeypatch.setattr(Project, "record", fail)
    stroke(gallery, 40, 20)
    painted = labels(gallery)
    qtbot.waitUntil(lambda: bool(gallery.saver.problem))
    go_to(gallery, 0, qtbot)
    stroke(gallery, 10, 10)
    go_to(gallery, 1, qtbot)
    assert np.array_equal(labels(gallery), painted)
    failing.clear()
    gallery.saver.try_again()
    qtbot.waitUntil(lambda: not gallery.saver.unsaved)
    path = gallery.files.project
    close_and_wait(gallery, qtbot)
    with Project.open(path, read_only=True) as project:
        assert [one.labelled for one in project.images()][:3] == [True, True, False]
        assert np.array_equal(project.load_labels(2).read(PLANE), painted)


def test_training_on_several_images_is_what_the_command_line_does(gallery, folder, qtbot):
    """The same regions in the same order, the same seed: the same weights, to the last bit."""
    for number, value, y in ((2, 1, 20), (0, 2, 60), (2, 2, 70), (1, 1, 30)):
        go_to(gallery, number, qtbot)
        stroke(gallery, y, 20, value)
    document, regions = gallery.document, []
    painted = {n: one.annotation for n, one in document.others.items()}
    painted[document.image] = document.annotation.snapshot()
    for entry in gallery.gallery.entries[:3]:
        with open_stack(entry.path) as stack:
            ranges = intensity_range(stack)
            regions += TrainingSet.of(stack, painted[entry.id], ranges).regions
            pixel_size = stack.pixel_size
    start = Model.bundled().adapted(1, tuple(document.classes))
    start.pixel_size = pixel_size
    prepare_thread()
    fitting = fit(start, TrainingSet(regions), device=torch.device("cpu"), seed=0, steps=3)
    try:
        while True:
            next(fitting)
    except StopIteration as end:
        expected = end.value
    gallery.engine.training_steps = 3
    gallery.desk.train()
    qtbot.waitUntil(lambda: gallery.engine.model is not None)
    assert fingerprint(gallery.engine.model) == fingerprint(expected)


@pytest.mark.parametrize("source", ["annotation", "both"])
def test_the_masks_of_all_images_hold_what_was_painted(gallery, tmp_path, qtbot, source):
    painted = {}
    for number, y in ((0, 20), (2, 60)):
        go_to(gallery, number, qtbot)
        stroke(gallery, y, 20, value=2)
        painted[gallery.document.stack.path.stem] = labels(gallery) == 2
    out = tmp_path / "masks"
    images = tuple(entry.path for entry in gallery.gallery.entries)
    request = FolderRequest(images, out, ("classes",), keep_model=False, source=source)
    with qtbot.waitSignal(gallery.engine.apply_finished):
        gallery.applying.apply(request)
    written = {path.name.removesuffix("_classes.tif"): path for path in out.iterdir()}
    everyone = {entry.path.stem for entry in gallery.gallery.entries}
    assert written.keys() == (everyone if source == "both" else painted.keys())
    for stem, where in painted.items():
        assert (tifffile.imread(written[stem])[where] == 2).all()
    marked = {entry.path.stem for entry in gallery.gallery.entries if entry.predicted}
    assert marked == (everyone if source == "both" else set())


def test_the_dialog_offers_the_images_of_the_project(gallery, qtbot):
    go_to(gallery, 1, qtbot)
    stroke(gallery, 20, 20)
    gallery.applying.ask()
    dialog = gallery.findChild(ApplyDialog)
    qtbot.waitUntil(lambda: dialog.counted.text().startswith("5 images"))
    assert dialog.images.text() == "The 5 images of this project"
    assert dialog.request().images == tuple(e.path for e in gallery.gallery.entries)
    assert dialog.request().source == "both"
    dialog.set_images([gallery.gallery.entries[0].path.parent])
    assert dialog.request().source == "prediction" and not dialog.source.isEnabled()
    dialog.reject()
