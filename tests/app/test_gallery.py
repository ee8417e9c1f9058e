"""Several images in one project: adding, going from one to another, one model for all."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtTest import QTest

import app.files
import app.gallery
import app.labelled_images
import app.thumbnails
import unet_core.image_reference
from app.apply_dialog import ApplyDialog
from app.empty_picture import EmptyPicture
from app.opening import adding, locating
from app.requests import FolderRequest
from app.work import Work
from tests.app.conftest import close_and_wait, open_and_wait
from tests.patience import PATIENCE
from tests.synthetic import make_cells
from unet_core.device import prepare_thread
from unet_core.intensity import intensity_range
from unet_core.model import Model
from unet_core.patches import TrainingSet
from unet_core.project import Project, ProjectError, ProjectImage
from unet_core.segment import fingerprint
from unet_core.stack import PlaneIndex, StackError, open_stack
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
    # Not the saver's own count: the window must have heard of it, or it asks before it closes.
    qtbot.waitUntil(lambda: not gallery.status.problem)
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


# --- what happens at the moment when another image comes -------------------------------------


@pytest.fixture
def hold(monkeypatch):
    """Have something of a module wait until the event that is returned is set."""
    held = []

    def hold_back(owner, name):
        go, former = threading.Event(), getattr(owner, name)
        held.append(go)

        def waiting(*arguments, **named):
            assert go.wait(PATIENCE)
            return former(*arguments, **named)

        monkeypatch.setattr(owner, name, waiting)
        return go

    yield hold_back
    for go in held:
        go.set()


def test_an_image_found_late_does_not_come_below_the_labels_of_another(gallery, folder, qtbot):
    go_to(gallery, 1, qtbot)
    go_to(gallery, 0, qtbot)
    away = folder.parent.parent / "cell 2.tif"
    (folder / "cell 2.tif").rename(away)
    go_to(gallery, 1, qtbot)
    found = threading.Event()

    def steps(*arguments):
        assert found.wait(PATIENCE)
        return (yield from locating(*arguments))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.files, "locating", steps)
        gallery.files.locate(away)
        go_to(gallery, 0, qtbot)
        found.set()
        qtbot.waitUntil(lambda: gallery.files._job is None)
    assert gallery.document.stack.path == folder / "cell 1.tif"
    qtbot.waitUntil(lambda: not gallery.saver.unsaved)
    path = gallery.files.project
    close_and_wait(gallery, qtbot)
    with Project.open(path, read_only=True) as project:
        assert project.images()[0].reference.path == folder / "cell 1.tif"


def test_an_image_that_is_being_removed_can_not_be_painted_on(gallery, hold, qtbot):
    go_to(gallery, 1, qtbot)
    go_to(gallery, 0, qtbot)
    go = hold(Project, "remove_image")
    gallery.gallery.remove(2)
    gallery.gallery.show(2)
    qtbot.waitUntil(lambda: not gallery.gallery._opening.busy)
    assert gallery.document.image == 1
    gallery.gallery.next()
    qtbot.waitUntil(lambda: gallery.document.image == 3)
    stroke(gallery, 20, 20)
    go.set()
    qtbot.waitUntil(lambda: not gallery.saver.unsaved)
    assert names(gallery)[:2] == ["cell 1.tif", "cell 3.tif"]
    path = gallery.files.project
    close_and_wait(gallery, qtbot)
    with Project.open(path, read_only=True) as project:
        assert [(one.id, one.labelled) for one in project.images()][:2] == [(1, False), (3, True)]


def test_a_question_about_an_image_does_not_outlive_its_project(gallery, tmp_path, folder, qtbot):
    go_to(gallery, 1, qtbot)
    stroke(gallery, 20, 20)
    gallery.gallery.remove(2)
    assert "can not be undone" in gallery.messages.text
    open_and_wait(gallery, folder / "cell 3.tif", qtbot)
    assert not any("can not be undone" in m.sentence for m in gallery.messages._messages)


def test_work_written_from_memory_knows_which_image_is_which(gallery, qtbot, monkeypatch):
    """The saver is stuck behind strokes on the former image when it is all written elsewhere."""
    go_to(gallery, 1, qtbot)
    go_to(gallery, 0, qtbot)
    qtbot.waitUntil(lambda: not gallery.saver.unsaved)

    def fail(project, *arguments):
        raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr(Project, "record", fail)
        stroke(gallery, 40, 20)
        qtbot.waitUntil(lambda: bool(gallery.saver.problem))
        go_to(gallery, 1, qtbot)
        work = Work.of(gallery.document, gallery.files.image)
        path = gallery.saver.recovery_path()
    gallery.saver.write_from_memory(work, path)
    with Project.open(path, read_only=True) as project:
        paths = {one.id: one.reference.path.name for one in project.images()}
        labelled = [one.id for one in project.images() if one.labelled]
    assert paths[1] == "cell 1.tif" and paths[2] == "cell 2.tif" and labelled == [1]
    gallery.saver.try_again()
    qtbot.waitUntil(lambda: not gallery.saver.unsaved)


def test_what_is_written_from_memory_does_not_change_with_the_work(gallery, qtbot):
    stroke(gallery, 20, 20)
    go_to(gallery, 1, qtbot)
    work = Work.of(gallery.document, gallery.files.image)
    go_to(gallery, 0, qtbot)
    stroke(gallery, 40, 20)
    assert len(work.others[1].history) == 1


def test_images_that_were_meant_for_other_work_are_not_added(gallery, hold, tmp_path, qtbot):
    """Neither those that are still looked at, nor those of a list that is not opened after all."""
    more = tmp_path / "more"
    more.mkdir()
    for n in range(2):
        tifffile.imwrite(more / f"{n}.tif", make_cells(n, (96, 96), 3).image)
    gallery.files.save_as(tmp_path / "one.limn")
    qtbot.waitUntil(lambda: gallery.files.has_name and not gallery.saver.unsaved)
    with qtbot.waitSignal(gallery.saver.said):
        gallery.files.save_copy(tmp_path / "two.limn")
    held = threading.Event()
    begun = threading.Event()

    def steps(*arguments):
        begun.set()
        assert held.wait(PATIENCE)
        return (yield from adding(*arguments))

    open_project = gallery.saver.open_project

    def opens_late(path, **named):
        held.set()
        qtbot.wait(300)  # the answer comes while the saver goes to the other project
        open_project(path, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.gallery, "adding", steps)
        patch.setattr(gallery.saver, "open_project", opens_late)
        gallery.gallery.add([more])
        assert begun.wait(PATIENCE)
        open_and_wait(gallery, tmp_path / "two.limn", qtbot)
    qtbot.waitUntil(lambda: not gallery.saver.unsaved)
    assert len(gallery.gallery.entries) == 5
    # A folder whose first image is not opened after all.
    gallery.gallery.begin_with([more / "0.tif", more / "1.tif"])
    gallery.files.cancel()
    open_and_wait(gallery, tmp_path / "one.limn", qtbot)
    qtbot.waitUntil(lambda: not gallery.saver.unsaved and not gallery.gallery._adding.busy)
    assert len(gallery.gallery.entries) == 5


def test_the_answer_of_a_saver_that_comes_after_other_work_is_of_no_interest(gallery, qtbot):
    images = [ProjectImage(7, (1, 1, 96, 96), None)]
    gallery.gallery.added(gallery.files.project.with_name("former.limn"), images)
    assert len(gallery.gallery.entries) == 5 and 7 not in gallery.document.others


def test_labels_that_can_not_be_read_leave_the_image_on_show(gallery, qtbot, monkeypatch):
    def fail(project, image=1):
        raise ProjectError("These labels are damaged.")

    with monkeypatch.context() as patch:
        patch.setattr(Project, "load", fail)
        other = gallery.document.others[2]
        gallery.document.set_others({**gallery.document.others, 2: replace(other, history=None)})
        gallery.gallery.show(2)
        qtbot.waitUntil(lambda: "damaged" in gallery.messages.text)
        qtbot.waitUntil(gallery.strip.isHidden)
    assert gallery.document.image == 1
    go_to(gallery, 1, qtbot)


def test_no_other_computer_is_asked_for_a_picture(
    gallery, tmp_path, make_window, qtbot, monkeypatch
):
    """A project from a stranger may name one: see `unet_core.image_reference`."""
    for number in (1, 0):
        go_to(gallery, number, qtbot)
        stroke(gallery, 20, 20, value=1 + number)
    gallery.files.save_as(tmp_path / "strange.limn")
    qtbot.waitUntil(lambda: gallery.files.has_name and not gallery.saver.unsaved)
    close_and_wait(gallery, qtbot)
    with Project.open(tmp_path / "strange.limn") as project:
        known = project.images()[1].reference
        project.set_image(replace(known, path=Path("/net/evil/cell 2.tif"), fingerprint="x"), 2)
    asked = []

    def opened(path, *arguments):
        asked.append(Path(path))
        raise StackError("no")

    monkeypatch.setattr(app.labelled_images, "open_stack", opened)
    monkeypatch.setattr(app.thumbnails, "thumbnails", opened)
    window = make_window(tmp_path / "strange.limn")
    qtbot.waitUntil(lambda: len(asked) == 4)  # a picture of each of the others
    window.engine.training_steps = 1
    with qtbot.waitSignal(window.engine.said):
        window.desk.train()
    qtbot.waitUntil(lambda: window.engine.busy != "training")
    assert not any("evil" in str(path) for path in asked)


def test_images_that_the_user_has_named_may_lie_on_another_computer(gallery, qtbot, monkeypatch):
    """The project lies here as long as it has no name."""
    monkeypatch.setattr(unet_core.image_reference, "may_be_touched", lambda *paths: False)
    go_to(gallery, 1, qtbot)
    assert not isinstance(gallery.document.stack, EmptyPicture)
    stroke(gallery, 20, 20)
    go_to(gallery, 0, qtbot)
    go_to(gallery, 1, qtbot)
    assert not isinstance(gallery.document.stack, EmptyPicture)


def test_brightness_and_colour_are_each_images_own(make_window, tmp_path, qtbot):
    cells = make_cells(1, (96, 96), 3).image
    eight = (cells.astype(float) / cells.max() * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", eight)
    tifffile.imwrite(tmp_path / "b.tif", eight.astype(np.uint16) * 200 + 1000)
    window = make_window()
    window.gallery.open_all([tmp_path / "a.tif", tmp_path / "b.tif"])
    qtbot.waitUntil(lambda: len(window.gallery.entries) == 2)
    window.document.set_display(0, replace(window.document.displays[0], lut="Fire"))
    go_to(window, 1, qtbot)
    shown = window.document.displays[0]
    assert shown.low >= 1000 and shown.lut == "Fire"
    window.memory.write_view()
    qtbot.waitUntil(lambda: not window.saver.unsaved)
    with qtbot.waitSignal(window.saver.said):
        window.files.save_copy(tmp_path / "copy.limn")
    with Project.open(tmp_path / "copy.limn", read_only=True) as project:
        state = project.setting("window")
    assert state["image"] == 2 and state["channels"][0]["low"] >= 1000


def test_the_classes_of_all_images_count(gallery, qtbot):
    for number in (0, 1, 3):
        go_to(gallery, number, qtbot)
        stroke(gallery, 20, 20)
    one = gallery.document.annotation.counts()[2]
    assert gallery.document.label_counts() == {2: 3 * one}
    gallery.document.undo()
    assert gallery.document.label_counts() == {2: 2 * one}
    go_to(gallery, 2, qtbot)
    gallery.gallery._remove(1)
    qtbot.waitUntil(lambda: gallery.document.label_counts() == {2: one})


def test_an_image_is_not_shown_in_the_middle_of_an_export(gallery, qtbot, monkeypatch):
    """What is exported would be marked on the other one."""
    with monkeypatch.context() as patch:
        gallery.gallery.show(2)
        patch.setattr(type(gallery.engine), "busy", property(lambda engine: "exporting"))
        qtbot.waitUntil(lambda: "export is under way" in gallery.messages.text)
        qtbot.waitUntil(lambda: not gallery.gallery._opening.busy)
        assert gallery.document.image == 1 and gallery.strip.isHidden()
    go_to(gallery, 1, qtbot)


def test_looking_at_other_images_is_no_reason_to_train_again(gallery, qtbot):
    stroke(gallery, 20, 20, value=1)
    stroke(gallery, 60, 20, value=2)
    gallery.engine.training_steps = 1
    gallery.desk.train()
    qtbot.waitUntil(lambda: gallery.engine.model is not None and gallery.engine.busy == "idle")
    assert gallery.desk.learning
    gallery.desk._going_on.stop()
    go_to(gallery, 1, qtbot)
    assert gallery.desk.learning and not gallery.desk._going_on.isActive()
    stroke(gallery, 60, 20, value=2)
    assert gallery.desk._going_on.isActive()
    gallery.desk.stop()


def test_the_list_is_there_only_where_there_is_more_than_one_image(gallery, folder, qtbot):
    assert gallery.images.isVisible()
    gallery.images.hide()
    go_to(gallery, 1, qtbot)
    assert not gallery.images.isVisible()  # as the user wanted it
    gallery.actions_by_id["images"].trigger()
    open_and_wait(gallery, folder / "cell 9.tif", qtbot)
    assert not gallery.images.isVisible()


def test_training_that_has_hardly_begun_goes_on_with_another_image(gallery, qtbot):
    stroke(gallery, 20, 20, value=1)
    stroke(gallery, 60, 20, value=2)
    gallery.engine.training_steps = 2
    gallery.desk.train()
    go_to(gallery, 1, qtbot)
    assert gallery.desk.learning
    qtbot.waitUntil(lambda: gallery.engine.model is not None)
    assert gallery.engine.model.provenance["steps"] == 2


def test_an_image_with_other_channels_in_its_place_is_refused(gallery, folder, qtbot):
    tifffile.imwrite(folder / "cell 2.tif", np.zeros((96, 96, 3), np.uint8), photometric="rgb")
    go_to(gallery, 1, qtbot)
    assert "channels" in gallery.messages.text
    assert gallery.document.stack.shape[2] == 1  # an empty picture
