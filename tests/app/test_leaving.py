"""Closing, and being closed, while the disk of the project does not answer or takes nothing."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QAbstractButton, QMessageBox

from app import leaving as leaving_module
from app import saver as saver_module
from tests.patience import PATIENCE
from tests.synthetic import write_imagej
from unet_core.places import recovery_dir
from unet_core.project import Project, ProjectError
from unet_core.recovery import unfinished
from unet_core.stack import PlaneIndex

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("close_on_a_hanging_disk.py")
PLANE = PlaneIndex(0, 0)


@pytest.fixture
def image(tmp_path):
    return write_imagej(tmp_path / "cells.tif", np.zeros((80, 120), np.uint8), "YX")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(saver_module, "HANG_SECONDS", 0.2)
    monkeypatch.setattr(leaving_module, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(leaving_module, "WATCH_MS", 50)


class HangingDisk:
    """Once `hangs` is set, strokes for the projects in a folder wait until it is let go."""

    def __init__(self, monkeypatch, folder: Path) -> None:
        self.hangs, self._answers, record = False, threading.Event(), Project.record

        def wait(project, *arguments):
            if self.hangs and project.path.parent == folder:
                assert self._answers.wait(PATIENCE)
            record(project, *arguments)

        monkeypatch.setattr(Project, "record", wait)

    def answer(self) -> None:
        self._answers.set()


def paint(window, y: float) -> None:
    document = window.document
    document.set_active_class(2)
    document.begin_stroke(y, 20)
    document.extend_stroke(y, 60)
    document.end_stroke()


@pytest.fixture
def named(make_window, image, qtbot, tmp_path):
    """A window with a stroke in a project that has a name."""
    window = make_window(image)
    paint(window, 20)
    (tmp_path / "own").mkdir()
    window.files.save_as(tmp_path / "own" / "p.limn")
    qtbot.waitUntil(lambda: window.files.has_name and not window.saver.unsaved)
    return window


@pytest.fixture
def disk(named, monkeypatch):
    made = HangingDisk(monkeypatch, named.files.project.parent)
    yield made
    made.answer()
    if named.leaving.gave_up:  # here the process goes on, and so does the thread
        named.saver.shutdown()
        assert named.saver.wait(PATIENCE * 1000)


def labels(path: Path) -> tuple[np.ndarray, int]:
    with Project.open(path) as project:
        annotation, history = project.load()
    return annotation.read(PLANE), len(history)


def question(window) -> QMessageBox | None:
    return window.findChild(QMessageBox, "leavingQuestion")


def begin_to_close(named, disk, qtbot) -> np.ndarray:
    """A stroke hangs, the window is to close, and a question has come."""
    disk.hangs = True
    paint(named, 60)
    named.close()
    qtbot.waitUntil(lambda: question(named) is not None)
    assert named.isVisible()
    return named.document.annotation.read(PLANE)


def press(window, role: str) -> None:
    question(window).findChild(QAbstractButton, "leaving" + role).click()


def test_closing_over_a_hanging_disk_keeps_the_work(named, disk, qtbot):
    painted = begin_to_close(named, disk, qtbot)
    press(named, "AcceptRole")
    qtbot.waitUntil(lambda: not named.isVisible())
    assert named.leaving.gave_up and named.saver.unsaved
    (work,) = unfinished()
    kept, steps = labels(work.path)
    assert np.array_equal(kept, painted) and steps == 2
    assert work.image_name == "cells.tif"


def test_whoever_knows_that_the_disk_hangs_is_asked_once(named, disk, qtbot):
    disk.hangs = True
    paint(named, 60)
    qtbot.waitUntil(lambda: "does not answer" in named.messages.text)
    named.close()
    qtbot.waitUntil(lambda: "offers them at its next start" in named.messages.text)
    buttons = named.messages.findChildren(QAbstractButton)
    next(b for b in buttons if b.text() == "Close all the same").click()
    qtbot.waitUntil(lambda: not named.isVisible())
    assert question(named) is None and named.leaving.gave_up
    (work,) = unfinished()
    assert np.array_equal(labels(work.path)[0], named.document.annotation.read(PLANE))


def test_a_copy_on_another_disk_before_closing(named, disk, qtbot, tmp_path, monkeypatch):
    painted = begin_to_close(named, disk, qtbot)
    asked = []
    monkeypatch.setattr(
        named.files,
        "ask_project",
        lambda title, start: asked.append(start) or tmp_path / "copy.limn",
    )
    press(named, "ActionRole")
    qtbot.waitUntil(lambda: not named.isVisible())
    assert asked == [Path.home() / "p.limn"], "nothing is suggested on the disk that hangs"
    assert np.array_equal(labels(tmp_path / "copy.limn")[0], painted)
    assert unfinished() == []


def test_a_disk_that_answers_after_all(named, disk, qtbot):
    painted = begin_to_close(named, disk, qtbot)
    press(named, "RejectRole")
    disk.answer()
    qtbot.waitUntil(lambda: not named.isVisible())
    assert not named.leaving.gave_up
    saved, steps = labels(named.files.project or named.document.stack.path.parent / "own/p.limn")
    assert np.array_equal(saved, painted) and steps == 2
    assert unfinished() == []


def test_the_question_goes_when_the_disk_answers(named, disk, qtbot):
    begin_to_close(named, disk, qtbot)
    disk.answer()
    qtbot.waitUntil(lambda: not named.isVisible())
    assert not named.leaving.gave_up and unfinished() == []


def test_where_the_copy_fails_it_is_said_and_asked_again(named, disk, qtbot, monkeypatch):
    begin_to_close(named, disk, qtbot)
    said = []
    monkeypatch.setattr(QMessageBox, "warning", lambda *arguments: said.append(arguments[-1]))

    def refuse():
        raise ProjectError("The recovery folder can not be made.")

    monkeypatch.setattr(named.saver, "recovery_path", refuse)
    press(named, "AcceptRole")
    qtbot.waitUntil(lambda: bool(said))
    assert "recovery folder" in said[0] and named.isVisible()
    monkeypatch.undo()
    disk.answer()


def test_a_job_that_does_not_end_keeps_no_saved_work_open(named, qtbot, monkeypatch):
    """The image lies on a disk that hangs: all strokes are saved, there is nothing to ask."""
    answers, begun = threading.Event(), threading.Event()

    def steps():
        begun.set()
        assert answers.wait(PATIENCE)
        yield

    named.files.run("Reading…", steps, lambda _: None)
    assert begun.wait(PATIENCE)
    named.close()
    qtbot.waitUntil(lambda: not named.isVisible())
    assert named.leaving.gave_up and question(named) is None
    answers.set()
    qtbot.waitUntil(lambda: named.files._job is None)
    named.saver.shutdown()
    assert named.saver.wait(PATIENCE * 1000)


def test_what_a_full_disk_refuses_is_kept_when_the_session_ends(named, qtbot, monkeypatch):
    """Logging out waits a few seconds only."""
    full, record = threading.Event(), Project.record
    full.set()
    folder = named.files.project.parent

    def refuse(project, *arguments):
        if full.is_set() and project.path.parent == folder:
            raise ProjectError("The disk is full; make room.")
        record(project, *arguments)

    monkeypatch.setattr(Project, "record", refuse)
    paint(named, 60)
    qtbot.waitUntil(lambda: bool(named.saver.problem))
    named.flush()
    (work,) = unfinished()
    painted = named.document.annotation.read(PLANE)
    assert np.array_equal(labels(work.path)[0], painted)
    # The session goes on after all, and there is room again: it is not offered a second time.
    full.clear()
    named.saver.try_again()
    qtbot.waitUntil(lambda: not named.status.problem)
    qtbot.waitUntil(lambda: not list(recovery_dir().glob("*.limn")))
    assert named.isVisible() and not named.leaving.gave_up


def test_what_a_hanging_disk_holds_up_is_kept_when_the_session_ends(named, disk, qtbot):
    disk.hangs = True
    paint(named, 60)
    qtbot.waitUntil(lambda: named.saver.hangs)
    named.flush()
    (work,) = unfinished()
    assert np.array_equal(labels(work.path)[0], named.document.annotation.read(PLANE))


@pytest.mark.skipif(os.name == "nt", reason="ends by a signal of POSIX")
def test_the_process_ends_although_its_disk_hangs(tmp_path, image):
    path = tmp_path / "p.limn"
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(image), str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "waits\n"
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, errors
    assert labels(path)[1] == 1
    (work,) = unfinished()
    kept, steps = labels(work.path)
    assert steps == 3 and all(kept[y, 40] == 2 for y in (20, 40, 60))
