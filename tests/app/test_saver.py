"""Saver: in order, off the GUI thread, to the recovery folder until there is a name."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication

from app import saver as saver_module
from app.saver import Saver
from app.work import Work, write_work
from tests.patience import PATIENCE
from tests.synthetic import write_imagej
from unet_core.annotation import DEFAULT_CLASSES, Annotation, ClassInfo, Edit, History
from unet_core.model import Model
from unet_core.places import recovery_dir
from unet_core.project import ImageReference, Project, ProjectError
from unet_core.recovery import unfinished
from unet_core.stack import PlaneIndex, open_stack

PLANE = PlaneIndex(0, 0)


@pytest.fixture
def stack(tmp_path):
    path = write_imagej(tmp_path / "cells.tif", np.zeros((64, 80), np.uint8), "YX")
    with open_stack(path) as opened:
        yield opened


@pytest.fixture
def saver(qtbot):
    made = Saver()
    yield made
    made.shutdown()
    assert made.wait(PATIENCE * 1000)


def paint(annotation: Annotation, y: float, x: float, value: int = 2) -> Edit:
    stroke = annotation.stroke(PLANE, value, 5)
    stroke.to(y, x)
    edit = stroke.finish()
    assert edit is not None
    return edit


@contextmanager
def saved(qtbot, saver):
    """Until all that the block hands in has been written."""
    with qtbot.waitSignal(saver.saved):
        yield
    qtbot.waitUntil(lambda: saver.unsaved == 0)


def test_saved_is_not_said_of_a_stroke_made_in_the_meantime(qtbot, saver, stack):
    said, pending = [], []
    saver.saved.connect(lambda: said.append(True))
    saver.pending.connect(pending.append)
    saver.start_recovery(stack, DEFAULT_CLASSES)
    while saver.unsaved:
        time.sleep(0.01)
    # The thread is done, but the window has not heard of it yet.
    begun, goes_on = threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        assert goes_on.wait(PATIENCE)

    saver._submit(write)
    assert begun.wait(PATIENCE)
    QCoreApplication.processEvents()
    assert not said and pending[-1] == 1
    goes_on.set()
    qtbot.waitUntil(lambda: bool(said) and pending[-1] == 0)


def reopened(path):
    with Project.open(path) as project:
        return project.load()


def test_the_first_stroke_makes_a_recovery_file_and_save_as_names_it(qtbot, saver, stack, tmp_path):
    annotation = Annotation((1, 1, 64, 80))
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
    assert not recovery_dir().exists() or not list(recovery_dir().iterdir())
    with qtbot.waitSignal(saver.named) as named, saved(qtbot, saver):
        saver.record(paint(annotation, 10, 10))
    assert named.args[0].parent == recovery_dir()
    target = tmp_path / "mine.limn"
    with saved(qtbot, saver):
        saver.record(paint(annotation, 30, 30, 1))
        saver.save_as(target)
        saver.record(paint(annotation, 50, 50))
        saver.record_undo()
    assert not list(recovery_dir().glob("*.limn"))
    with qtbot.waitSignal(saver.finished):
        saver.shutdown()
    again, history = reopened(target)
    assert history.can_redo
    expected = Annotation((1, 1, 64, 80))
    paint(expected, 10, 10)
    paint(expected, 30, 30, 1)
    assert np.array_equal(again.read(PLANE), expected.read(PLANE))


def test_everything_comes_back(qtbot, saver, stack, tmp_path):
    annotation = Annotation((1, 1, 64, 80))
    classes = (*DEFAULT_CLASSES, ClassInfo("debris", "#009e73"))
    model = Model.fresh("compact", 1, classes, seed=0)
    path = tmp_path / "p.limn"
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
        saver.record(paint(annotation, 10, 10))
        saver.put_classes(classes)
        saver.put_setting("view", {"t": 0, "zoom": 2.5})
        saver.put_model(model)
        saver.save_as(path)
    with qtbot.waitSignal(saver.opened) as opened:
        saver.open_project(path)
    loaded = opened.args[0]
    assert np.array_equal(loaded.annotation.read(PLANE), annotation.read(PLANE))
    assert loaded.classes == classes
    assert loaded.settings["view"] == {"t": 0, "zoom": 2.5}
    assert loaded.image.path == stack.path.absolute()
    assert loaded.history.can_undo
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    with Project.open(path) as project:
        assert Model.from_bytes(project.latest_model(), "p").classes == classes


def test_nothing_is_written_in_the_gui_thread(qtbot, saver, stack, monkeypatch):
    threads = set()
    record = Project.record

    def watched(self, *arguments):
        threads.add(threading.get_ident())
        record(self, *arguments)

    monkeypatch.setattr(Project, "record", watched)
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
        saver.record(paint(Annotation((1, 1, 64, 80)), 10, 10))
    assert threads
    assert threading.get_ident() not in threads


def test_a_stroke_that_cannot_be_written_is_tried_again(qtbot, saver, stack, monkeypatch):
    """A full disk: one sentence, nothing is called saved, and all is there once there is room."""
    monkeypatch.setattr(saver_module, "FIRST_RETRY_SECONDS", 0.05)
    saver._delay = 0.05
    annotation = Annotation((1, 1, 64, 80))
    record, full = Project.record, threading.Event()
    full.set()

    def refuse(self, *arguments):
        if full.is_set():
            raise ProjectError("the disk is full; make room.")
        record(self, *arguments)

    monkeypatch.setattr(Project, "record", refuse)
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
    sentences = []
    saver.stuck.connect(sentences.append)
    with qtbot.waitSignal(saver.stuck), qtbot.waitSignal(saver.named):
        saver.record(paint(annotation, 10, 10))
        saver.record(paint(annotation, 30, 30))
    with qtbot.assertNotEmitted(saver.saved, wait=200):
        pass
    with saved(qtbot, saver):
        full.clear()
    assert sentences == ["the disk is full; make room."]
    with qtbot.waitSignal(saver.finished):
        saver.shutdown()
    (path,) = recovery_dir().glob("*.limn")
    again, _ = reopened(path)
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE))


def test_what_cannot_be_opened_leaves_the_former_project_open(qtbot, saver, stack, tmp_path):
    annotation = Annotation((1, 1, 64, 80))
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
        saver.record(paint(annotation, 10, 10))
    bad = tmp_path / "bad.limn"
    bad.write_text("no project")
    with qtbot.waitSignal(saver.open_failed) as failed:
        saver.open_project(bad)
    assert "bad.limn" in failed.args[0]
    with saved(qtbot, saver):
        saver.record(paint(annotation, 30, 30))
    with qtbot.waitSignal(saver.finished):
        saver.shutdown()
    (path,) = recovery_dir().glob("*.limn")
    again, _ = reopened(path)
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE))


class BadDisk:
    """Lets writing to projects in one folder fail, as long as it is `full`."""

    def __init__(self, monkeypatch, folder):
        self.full = False
        self.folder = folder
        self.tries = 0
        for name in ("record", "record_undo", "record_redo", "set_classes", "add_model"):
            monkeypatch.setattr(Project, name, self._failing(getattr(Project, name)))

    def _failing(self, method):
        def called(project, *arguments):
            if self.full and project.path.is_relative_to(self.folder):
                self.tries += 1
                raise ProjectError("The disk is full; make room.")
            return method(project, *arguments)

        return called


@pytest.fixture
def named(qtbot, saver, stack, tmp_path):
    """A project with one stroke, in a folder of its own."""
    path = tmp_path / "own" / "p.limn"
    path.parent.mkdir()
    annotation = Annotation((1, 1, 64, 80))
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
        saver.record(paint(annotation, 10, 10))
        saver.save_as(path)
    return path, annotation


def test_save_as_overtakes_what_can_not_be_written(qtbot, saver, named, tmp_path, monkeypatch):
    path, annotation = named
    before = path.read_bytes()
    disk = BadDisk(monkeypatch, path.parent)
    disk.full = True
    calls = []
    saver.saved.connect(lambda: calls.append("saved"))
    with qtbot.waitSignal(saver.stuck):
        saver.record(paint(annotation, 30, 30))
        saver.record(paint(annotation, 50, 50, 1))
        saver.record_undo()
    assert saver.problem and not calls
    elsewhere = tmp_path / "elsewhere.limn"
    with saved(qtbot, saver):
        saver.save_as(elsewhere)
    assert not saver.problem
    with saved(qtbot, saver):
        saver.record(paint(Annotation((1, 1, 64, 80)), 60, 60))
    assert path.read_bytes() == before, "the former file is as it was"
    again, history = reopened(path)  # and free for others
    assert len(history) == 1
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    again, history = reopened(elsewhere)
    assert len(history) == 3 and not history.can_redo
    assert again.read(PLANE)[60, 60] == 2


def test_a_copy_holds_what_the_project_can_not_take(qtbot, saver, named, tmp_path, monkeypatch):
    path, annotation = named
    disk = BadDisk(monkeypatch, path.parent)
    disk.full = True
    with qtbot.waitSignal(saver.stuck):
        saver.record(paint(annotation, 30, 30))
    with qtbot.waitSignal(saver.said):
        saver.save_copy(tmp_path / "copy.limn")
    again, history = reopened(tmp_path / "copy.limn")
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE)) and len(history) == 2
    assert saver.problem  # the project itself still waits
    with saved(qtbot, saver):
        disk.full = False
        saver.try_again()
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    again, _ = reopened(path)
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE))


def test_a_copy_that_can_not_hold_what_waits_replaces_nothing(
    qtbot, saver, named, tmp_path, monkeypatch
):
    """Its disk is full, too: what was there under that name stays whole."""
    path, annotation = named
    target = tmp_path / "copy.limn"
    with qtbot.waitSignal(saver.said):
        saver.save_copy(target)
    before = target.read_bytes()
    disk = BadDisk(monkeypatch, tmp_path)
    disk.full = True
    with qtbot.waitSignal(saver.stuck):
        saver.record(paint(annotation, 30, 30))
    with qtbot.waitSignal(saver.failed):
        saver.save_copy(target)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob("*.new*")) and not list(tmp_path.glob("*.part"))
    with saved(qtbot, saver):
        disk.full = False
        saver.try_again()


def test_a_target_without_room_is_no_reason_to_leave_the_models_behind(
    qtbot, saver, named, tmp_path, monkeypatch
):
    """Only where the old file can not be read is the new one made of what is in memory."""
    path, annotation = named
    work = Work(annotation.snapshot(), History(), DEFAULT_CLASSES)

    def full(project, target):
        raise ProjectError("The disk is full; make room.")

    monkeypatch.setattr(Project, "_write_copy", full)
    for write in (saver.save_as, saver.save_copy):
        with qtbot.waitSignal(saver.failed) as failed:
            write(tmp_path / "elsewhere.limn", work)
        assert "disk is full" in failed.args[0]
    assert not (tmp_path / "elsewhere.limn").exists()


def test_a_file_that_can_not_be_read_any_more_is_made_anew(
    qtbot, saver, named, tmp_path, monkeypatch
):
    """The drive is gone: what the window holds in memory becomes the new file."""
    path, annotation = named
    disk = BadDisk(monkeypatch, path.parent)
    copied, elsewhere = Project._write_copy, tmp_path / "elsewhere.limn"

    def gone(project, target):
        if project.path.is_relative_to(path.parent):
            raise ProjectError("The drive is gone.")
        copied(project, target)

    monkeypatch.setattr(Project, "_write_copy", gone)
    history = History([paint(Annotation((1, 1, 64, 80)), 10, 10)])
    disk.full = True
    with qtbot.waitSignal(saver.stuck):
        for place in (30, 50):
            edit = paint(annotation, place, place)
            history.push(edit)
            saver.record(edit)
        annotation.apply(history.undo())
        saver.record_undo()
    image = ImageReference(tmp_path / "cells.tif", 1, "f", (1, 1, 1, 64, 80))
    work = Work(annotation.snapshot(), history.copy(), DEFAULT_CLASSES, reference=image)
    with qtbot.waitSignal(saver.said) as said, saved(qtbot, saver):
        saver.save_as(elsewhere, work)
    assert "could not be read" in said.args[0]
    with saved(qtbot, saver):
        annotation.apply(history.redo())
        saver.record_redo()
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    again, stored = reopened(elsewhere)
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE))
    assert len(stored) == 3
    while stored.can_undo:
        again.apply(stored.undo())
    assert not again.read(PLANE).any()
    with Project.open(elsewhere) as project:
        assert project.image == image
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.tif", "elsewhere.limn", "own"]


def test_what_is_left_at_the_end_goes_to_the_recovery_folder(qtbot, saver, named, monkeypatch):
    path, annotation = named
    BadDisk(monkeypatch, path.parent).full = True
    with qtbot.waitSignal(saver.stuck):
        saver.record(paint(annotation, 30, 30))
        saver.record(paint(annotation, 50, 50, 1))
    with qtbot.waitSignal(saver.finished):
        saver.shutdown()
    (work,) = unfinished()
    assert work.image_name == "cells.tif" and work.strokes == 3
    again, _ = reopened(work.path)
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE))
    _, history = reopened(path)
    assert len(history) == 1


def test_strokes_do_not_wait_for_a_model_that_has_no_room(qtbot, saver, named, monkeypatch):
    path, annotation = named
    add_model = Project.add_model

    def refuse(project, weights, provenance):
        raise ProjectError("The disk is full; make room.")

    monkeypatch.setattr(Project, "add_model", refuse)
    with qtbot.waitSignal(saver.stuck):
        saver.put_model(Model.fresh("compact", 1, DEFAULT_CLASSES, seed=0))
    saver.record(paint(annotation, 30, 30))
    qtbot.waitUntil(lambda: saver.unsaved == 1)  # the model
    saver.record_undo()
    qtbot.waitUntil(lambda: saver.unsaved == 1)
    assert saver.problem
    monkeypatch.setattr(Project, "add_model", add_model)
    with saved(qtbot, saver):
        saver.try_again()
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    with Project.open(path) as project:
        assert len(project.models()) == len(project.training_runs()) == 1
        assert project.edit_count() == 2


def test_new_classes_are_not_lost_on_a_full_disk(qtbot, saver, named, monkeypatch):
    path, _ = named
    disk = BadDisk(monkeypatch, path.parent)
    disk.full = True
    classes = (*DEFAULT_CLASSES, ClassInfo("debris", "#009e73"))
    with qtbot.waitSignal(saver.stuck):
        saver.put_classes(classes)
    assert saver.unsaved
    with saved(qtbot, saver):
        disk.full = False
        saver.try_again()
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    with Project.open(path) as project:
        assert project.classes == classes


def test_tries_become_rarer(qtbot, saver, named, monkeypatch):
    path, annotation = named
    monkeypatch.setattr(saver_module, "LAST_RETRY_SECONDS", 0.4)
    saver._delay = 0.01
    disk = BadDisk(monkeypatch, path.parent)
    disk.full = True
    saver.record(paint(annotation, 30, 30))
    qtbot.waitUntil(lambda: disk.tries >= 7)
    assert saver._delay == 0.4
    with saved(qtbot, saver):
        disk.full = False


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files where they are")
def test_a_deleted_project_is_not_called_saved(qtbot, saver, named, tmp_path):
    """SQLite would go on writing to a file that nobody can find."""
    path, annotation = named
    path.unlink()
    with qtbot.waitSignal(saver.stuck) as stuck:
        saver.record(paint(annotation, 30, 30))
    assert "not there any more" in stuck.args[0]
    with saved(qtbot, saver):
        saver.save_as(tmp_path / "again.limn")
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    again, _ = reopened(tmp_path / "again.limn")
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE))


def test_the_recovery_folder_may_be_full_too(qtbot, saver, stack, tmp_path, monkeypatch):
    annotation = Annotation((1, 1, 64, 80))
    recovery_dir().parent.mkdir(parents=True, exist_ok=True)
    recovery_dir().write_text("a file in the folder's place")
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
    with qtbot.waitSignal(saver.stuck):
        saver.record(paint(annotation, 30, 30))
    with saved(qtbot, saver):
        saver.save_as(tmp_path / "named.limn")
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    again, _ = reopened(tmp_path / "named.limn")
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE))
    recovery_dir().unlink()


def test_a_real_full_disk(qtbot, saver, named, tmp_path):
    """The system itself refuses to let the file grow; Save As to a smaller need is not hindered."""
    resource = pytest.importorskip("resource")
    path, annotation = named
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = path.read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(0).integers(1, 3, (64, 80), np.uint8)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, former[1]))
        with qtbot.waitSignal(saver.stuck) as stuck:
            saver.record(annotation.write(PLANE, noise))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert "p.limn" in stuck.args[0]
    with saved(qtbot, saver):
        saver.try_again()
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    again, _ = reopened(path)
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE)) and before


def test_forgetting_lets_go_of_what_can_not_be_written(qtbot, saver, named, monkeypatch):
    path, annotation = named
    BadDisk(monkeypatch, path.parent).full = True
    with qtbot.waitSignal(saver.stuck):
        saver.record(paint(annotation, 30, 30))
    saver.forget()
    qtbot.waitUntil(lambda: saver.unsaved == 0)
    assert not saver.problem
    with qtbot.waitSignal(saver.opened) as opened:
        saver.open_project(path)
    assert len(opened.args[0].history) == 1


def test_read_only_goes_on_in_a_copy(qtbot, saver, named, stack, tmp_path):
    path, annotation = named
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
    before = path.read_bytes()
    with qtbot.waitSignal(saver.opened) as opened:
        saver.open_project(path, read_only=True)
    assert opened.args[0].read_only
    with saved(qtbot, saver):
        saver.put_classes(DEFAULT_CLASSES)  # as they are
        saver.put_setting("plane", [0, 0])
    assert unfinished() == []
    with qtbot.waitSignal(saver.named) as name, saved(qtbot, saver):
        saver.record(paint(annotation, 30, 30))
    assert name.args[0].parent == recovery_dir()
    assert path.read_bytes() == before


def hold(saver):
    """Keep the thread busy until the answer is called."""
    begun, goes_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert goes_on.wait(PATIENCE)

    saver._submit(wait)
    assert begun.wait(PATIENCE)
    return goes_on.set


def test_save_as_just_before_the_end_has_the_strokes_before_and_after(
    qtbot, saver, named, tmp_path, monkeypatch
):
    """The first try fails when all of it has been asked for already."""
    path, annotation = named
    BadDisk(monkeypatch, path.parent).full = True
    go_on = hold(saver)
    saver.record(paint(annotation, 30, 30))
    saver.save_as(tmp_path / "elsewhere.limn")
    saver.record(paint(annotation, 50, 50, 1))
    saver.shutdown()
    go_on()
    assert saver.wait(PATIENCE * 1000)
    again, history = reopened(tmp_path / "elsewhere.limn")
    assert np.array_equal(again.read(PLANE), annotation.read(PLANE)) and len(history) == 3
    assert unfinished() == []


def test_what_is_open_read_only_is_never_replaced(qtbot, saver, named, stack):
    path, annotation = named
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
    before = path.read_bytes()
    with qtbot.waitSignal(saver.opened):
        saver.open_project(path, read_only=True)
    work = Work(annotation.snapshot(), History(), DEFAULT_CLASSES)
    for write in (saver.save_as, saver.save_copy):
        with qtbot.waitSignal(saver.failed) as failed:
            write(path, work)
        assert "choose another name" in failed.args[0]
        assert path.read_bytes() == before


def test_an_image_that_was_found_read_only_is_known_to_the_copy(
    qtbot, saver, named, stack, tmp_path
):
    path, annotation = named
    moved = write_imagej(tmp_path / "moved.tif", np.zeros((64, 80), np.uint8), "YX")
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
    with qtbot.waitSignal(saver.opened):
        saver.open_project(path, read_only=True)
    with open_stack(moved) as found, saved(qtbot, saver):
        saver.put_image(found)
        saver.record(paint(annotation, 30, 30))
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    (work,) = unfinished()
    assert work.image_name == "moved.tif"


def test_classes_are_written_after_a_file_was_made_anew(qtbot, saver, named, tmp_path, monkeypatch):
    """The new file has those of memory: going back to the former ones is a change."""
    path, annotation = named
    BadDisk(monkeypatch, path.parent).full = True
    monkeypatch.setattr(
        Project, "_write_copy", refusing(Project._write_copy, lambda p: p.path == path)
    )
    more = (*DEFAULT_CLASSES, ClassInfo("debris", "#009e73"))
    with qtbot.waitSignal(saver.stuck):
        saver.put_classes(more)
    with qtbot.waitSignal(saver.said), saved(qtbot, saver):
        saver.save_as(tmp_path / "anew.limn", Work(annotation.snapshot(), History(), more))
    with saved(qtbot, saver):
        saver.put_classes(DEFAULT_CLASSES)
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    with Project.open(tmp_path / "anew.limn") as project:
        assert project.classes == DEFAULT_CLASSES


def refusing(method, refused):
    def called(project, *arguments):
        if refused(project):
            raise ProjectError("The drive is gone.")
        return method(project, *arguments)

    return called


def test_a_file_made_anew_takes_back_as_many_steps_as_the_window(tmp_path):
    """Else undo in the window would take back something else in the file."""
    annotation, history = Annotation((1, 1, 64, 80)), History()
    annotation.write(PLANE, np.full((3, 3), 1, np.uint8))  # from before what can be undone
    former = annotation.read(PLANE)
    for step in range(150):
        history.push(paint(annotation, 5 + step % 50, 5 + step // 3))
    for _ in range(3):
        annotation.apply(history.undo())
    present = annotation.read(PLANE)
    path = tmp_path / "anew.limn"
    work = Work(annotation.snapshot(), history.copy(), DEFAULT_CLASSES)
    with write_work(work, path) as project:
        for _ in range(history.position):
            project.record_undo()
    again, stored = reopened(path)
    assert np.array_equal(again.read(PLANE), former)
    for _ in range(history.position):
        again.apply(stored.redo())
    assert np.array_equal(again.read(PLANE), present)
    assert sum(1 for _ in iter(stored.redo, None)) == 3


def test_a_disk_that_hangs_while_the_view_is_written_is_noticed(qtbot, saver, named, monkeypatch):
    monkeypatch.setattr(saver_module, "HANG_SECONDS", 0.0)
    begun, answers = threading.Event(), threading.Event()

    def hang(project, name, default=None):
        begun.set()
        assert answers.wait(PATIENCE)
        return default

    monkeypatch.setattr(Project, "setting", hang)
    saver.put_setting("plane", [0, 0])
    assert begun.wait(PATIENCE)
    qtbot.waitUntil(lambda: saver.hangs)
    answers.set()
    qtbot.waitUntil(lambda: saver.unsaved == 0)
    assert not saver.hangs
    go_on = hold(saver)  # a long errand is no sign of a disk that hangs
    assert not saver.hangs
    go_on()


def test_a_training_that_can_not_be_noted_holds_no_stroke_up(qtbot, saver, named, monkeypatch):
    path, annotation = named
    monkeypatch.setattr(
        Project, "add_training_run", refusing(Project.add_training_run, lambda _: True)
    )
    with qtbot.waitSignal(saver.stuck):
        saver.put_model(Model.fresh("compact", 1, DEFAULT_CLASSES, seed=0))
    saver.record(paint(annotation, 30, 30))
    qtbot.waitUntil(lambda: saver.unsaved == 1)
    saver.forget()
    saver.shutdown()
    assert saver.wait(PATIENCE * 1000)
    assert len(reopened(path)[1]) == 2
