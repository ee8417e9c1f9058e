"""Saver: in order, off the GUI thread, to the recovery folder until there is a name."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication

from app import saver as saver_module
from app.saver import Saver
from tests.patience import PATIENCE
from tests.synthetic import write_imagej
from unet_core.annotation import DEFAULT_CLASSES, Annotation, ClassInfo, Edit
from unet_core.model import Model
from unet_core.places import recovery_dir
from unet_core.project import Project, ProjectError
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
    qtbot.waitUntil(lambda: saver._count == 0)


def test_saved_is_not_said_of_a_stroke_made_in_the_meantime(qtbot, saver, stack):
    said, pending = [], []
    saver.saved.connect(lambda: said.append(True))
    saver.pending.connect(pending.append)
    saver.start_recovery(stack, DEFAULT_CLASSES)
    while saver._count:
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

    def watched(self, edit):
        threads.add(threading.get_ident())
        record(self, edit)

    monkeypatch.setattr(Project, "record", watched)
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
        saver.record(paint(Annotation((1, 1, 64, 80)), 10, 10))
    assert threads
    assert threading.get_ident() not in threads


def test_a_stroke_that_cannot_be_written_is_tried_again(qtbot, saver, stack, monkeypatch):
    """A full disk: one sentence, nothing is called saved, and all is there once there is room."""
    monkeypatch.setattr(saver_module, "RETRY_SECONDS", 0.05)
    annotation = Annotation((1, 1, 64, 80))
    record, full = Project.record, threading.Event()
    full.set()

    def refuse(self, edit):
        if full.is_set():
            raise ProjectError("the disk is full; make room.")
        record(self, edit)

    monkeypatch.setattr(Project, "record", refuse)
    with saved(qtbot, saver):
        saver.start_recovery(stack, DEFAULT_CLASSES)
    sentences = []
    saver.failed.connect(sentences.append)
    with qtbot.waitSignal(saver.failed), qtbot.waitSignal(saver.named):
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
