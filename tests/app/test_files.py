"""Opening what others have open, what is damaged, what has lost its image; and copies."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton

from app import opening, saver
from app.messages import Message
from app.ways_round import free_name
from tests.app.conftest import close_and_wait, open_and_wait
from tests.patience import PATIENCE
from unet_core import annotation, limits, stack
from unet_core.annotation import DEFAULT_CLASSES, Annotation
from unet_core.model import Model
from unet_core.places import is_recovery
from unet_core.project import ImageReference, Project, ProjectError, ProjectReadOnlyError
from unet_core.recovery import unfinished
from unet_core.stack import PlaneIndex, open_stack

ROOT = Path(__file__).resolve().parents[2]
PLANE = PlaneIndex(0, 0)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "own" / "cells.tif"
    path.parent.mkdir()
    pixels = np.random.default_rng(7).integers(0, 60000, (80, 120), np.uint16)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "YX"})
    return path


@pytest.fixture
def project(image):
    """A project of three strokes, the last one undone, in the image's folder."""
    path = image.parent / "p.limn"
    with (
        open_stack(image) as stack,
        Project.create(
            path, (1, 1, 80, 120), image=ImageReference.of(stack), classes=DEFAULT_CLASSES
        ) as made,
    ):
        annotation = Annotation((1, 1, 80, 120))
        for value, y in ((2, 20), (1, 40), (2, 60)):
            stroke = annotation.stroke(PLANE, value, 9)
            stroke.to(y, 20)
            stroke.to(y, 60)
            made.record(stroke.finish())
        made.record_undo()
    return path


@contextmanager
def open_elsewhere(path):
    """While another program has the project open."""
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("hold_project.py")), str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "open\n"
        yield
    finally:
        child.communicate()


def paint(window, qtbot, y=20):
    view = window.viewport
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=view.image_to_widget(y, 70))
    qtbot.mouseMove(view, view.image_to_widget(y, 100))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=view.image_to_widget(y, 100))


def press(window, text, qtbot):
    """Press the button of the message on show that says `text`."""
    buttons = window.messages.findChildren(QAbstractButton)
    (button,) = (b for b in buttons if b.text() == text and b.isVisible())
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def answer(monkeypatch, name, path):
    """The user chooses `path` in the file dialog."""
    answered = (str(path), "") if name != "getExistingDirectory" else str(path)
    monkeypatch.setattr(f"app.files.QFileDialog.{name}", lambda *_: answered)


def labels(path):
    with Project.open(path) as project:
        loaded, history = project.load()
    return loaded.read(PLANE), history


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_project_open_elsewhere_can_be_looked_at(make_window, project, qtbot):
    before = digest(project)
    window = make_window()
    with open_elsewhere(project):
        window.files.open(project)
        qtbot.waitUntil(lambda: "open in another window" in window.messages.text)
        assert window.document.stack is None
        with qtbot.waitSignal(window.files.opened):
            press(window, "Open read-only", qtbot)
        qtbot.waitUntil(lambda: window.viewport.paintable)
        assert window.windowTitle() == "p.limn [read-only] — Limn"
        qtbot.waitUntil(lambda: window.status.saved.text() == "Read-only")
        assert (window.document.annotation.read(PLANE) > 0).sum() > 400
        close_and_wait(window, qtbot)
    assert digest(project) == before and unfinished() == []


def test_what_is_painted_read_only_is_in_a_copy(make_window, project, tmp_path, qtbot):
    before = digest(project)
    window = make_window()
    with open_elsewhere(project):
        with qtbot.waitSignal(window.files.opened):
            window.files.open(project, read_only=True)
        qtbot.waitUntil(lambda: window.viewport.paintable)
        paint(window, qtbot)
        qtbot.waitUntil(lambda: "kept in a copy" in window.messages.text)
        qtbot.waitUntil(lambda: window.status.saved.text().startswith("Saved"))
        assert "no name yet" in window.windowTitle() and is_recovery(window.files.project)
        painted = window.document.annotation.read(PLANE)
        window.files.save_as(tmp_path / "mine")
        qtbot.waitUntil(lambda: window.windowTitle() == "mine.limn — Limn")
        close_and_wait(window, qtbot)
    assert digest(project) == before and unfinished() == []
    stored, history = labels(tmp_path / "mine.limn")
    assert np.array_equal(stored, painted) and len(history) == 3 and not history.can_redo


def test_a_copy_of_a_project_open_elsewhere(make_window, project, tmp_path, qtbot, monkeypatch):
    window = make_window()
    target = tmp_path / "copy.limn"
    answer(monkeypatch, "getSaveFileName", target)
    with open_elsewhere(project):
        window.files.open(project)
        qtbot.waitUntil(lambda: "open in another window" in window.messages.text)
        with qtbot.waitSignal(window.files.opened):
            press(window, "Open a copy…", qtbot)
        qtbot.waitUntil(lambda: window.files.project == target)
        assert window.windowTitle() == "copy.limn — Limn"
        assert window.document.stack.path.name == "cells.tif"
        assert window.document.history.can_redo


def test_a_choice_that_is_cancelled_changes_nothing(make_window, image, project, qtbot):
    window = make_window(image)
    with open_elsewhere(project):
        window.files.open(project)
        qtbot.waitUntil(lambda: "open in another window" in window.messages.text)
        press(window, "Cancel", qtbot)
        assert window.messages.text == "" and window.document.stack.path == image


def test_the_crash_of_another_window_locks_nothing(make_window, project, qtbot):
    with open_elsewhere(project):
        pass
    window = make_window(project)
    assert window.windowTitle() == "p.limn — Limn"


def test_a_project_that_may_not_be_written_can_be_looked_at(
    make_window, project, qtbot, monkeypatch
):
    opened = Project.open.__func__

    def refuse(cls, path, *, read_only=False):
        if not read_only:
            raise ProjectReadOnlyError(f"{path} can not be written (its folder is read-only).")
        return opened(cls, path, read_only=True)

    monkeypatch.setattr(Project, "open", classmethod(refuse))
    window = make_window()
    window.files.open(project)
    qtbot.waitUntil(lambda: "can not be written" in window.messages.text)
    with qtbot.waitSignal(window.files.opened):
        press(window, "Open read-only", qtbot)
    assert "[read-only]" in window.windowTitle()


def test_a_damaged_project_is_rescued_into_a_new_one(
    make_window, project, tmp_path, qtbot, monkeypatch
):
    expected, _ = labels(project)
    with closing(sqlite3.connect(project)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'tiles'"
        ).fetchone()
    data = bytearray(project.read_bytes())
    begin = 4096 * (page - 1)
    data[begin + 8 : begin + 40] = b"\xff" * 32
    project.write_bytes(data)
    before = digest(project)
    target = tmp_path / "rescued.limn"
    answer(monkeypatch, "getSaveFileName", target)
    window = make_window()
    window.files.open(project)
    qtbot.waitUntil(lambda: "is damaged" in window.messages.text)
    with qtbot.waitSignal(window.files.opened):
        press(window, "Rescue…", qtbot)
    qtbot.waitUntil(lambda: window.files.project == target)
    assert np.array_equal(window.document.annotation.read(PLANE), expected)
    texts = [message.sentence for message in window.messages._messages]
    assert any("Brought out" in text for text in texts)
    assert digest(project) == before


def test_a_project_of_too_many_labels_is_opened_when_the_user_trusts_it(
    make_window, project, qtbot, monkeypatch
):
    monkeypatch.setattr(limits, "_lifted", False)
    expected, _ = labels(project)
    monkeypatch.setattr(annotation, "MAX_MEMORY", 100)
    window = make_window()
    window.files.open(project)
    qtbot.waitUntil(lambda: "LIMN_LIMITS" in window.messages.text)
    assert "p.limn" in window.messages.text and window.isEnabled()
    with qtbot.waitSignal(window.files.opened):
        press(window, "Open it anyway", qtbot)
    assert np.array_equal(window.document.annotation.read(PLANE), expected)


def test_an_image_with_an_absurd_header_is_opened_when_the_user_trusts_it(
    make_window, image, qtbot, monkeypatch
):
    monkeypatch.setattr(limits, "_lifted", False)
    monkeypatch.setattr(stack, "_PLAUSIBLE_BYTES", 10)
    monkeypatch.setattr(stack, "_PLAUSIBLE_RATIO", 0.1)
    window = make_window()
    window.files.open(image)
    qtbot.waitUntil(lambda: "LIMN_LIMITS" in window.messages.text)
    with qtbot.waitSignal(window.files.opened):
        press(window, "Open it anyway", qtbot)
    assert window.document.stack.path == image


def test_labels_without_their_image_lie_on_an_empty_picture(
    make_window, project, image, tmp_path, qtbot, monkeypatch
):
    expected, _ = labels(project)
    away = tmp_path / "some" / "where" / "else" / "cells.tif"
    away.parent.mkdir(parents=True)
    image.rename(away)
    window = make_window(project)
    assert window.messages.text == (
        "cells.tif of p.limn was not found; the labels are shown on an empty picture."
    )
    assert np.array_equal(window.document.annotation.read(PLANE), expected)
    paint(window, qtbot, 70)
    painted = window.document.annotation.read(PLANE)
    assert not np.array_equal(painted, expected)
    assert "nothing to learn from an empty picture" in window.desk.reason
    assert not window.actions_by_id["train"].isEnabled()
    window.desk.train()
    assert window.engine.busy != "training"
    # In a folder where it is not:
    answer(monkeypatch, "getExistingDirectory", project.parent)
    press(window, "Look in a folder…", qtbot)
    qtbot.waitUntil(lambda: "was not found in" in window.messages.text)
    with qtbot.waitSignal(window.files.located):
        window.files.locate(tmp_path / "some")
    assert window.document.stack.path == away
    assert window.desk.reason is None
    qtbot.waitUntil(lambda: window.viewport.paintable)
    assert np.array_equal(window.document.annotation.read(PLANE), painted)
    assert window.document.history.can_undo
    qtbot.waitUntil(lambda: window.saver.unsaved == 0)
    close_and_wait(window, qtbot)
    again = make_window(project)  # it is known from now on
    assert again.document.stack.path == away and again.messages.text == ""


def test_an_image_nearby_is_found_by_its_content(make_window, project, image, qtbot):
    moved = image.parent / "raw" / "renamed.tif"
    moved.parent.mkdir()
    image.rename(moved)
    window = make_window(project)
    assert window.document.stack.path == moved and window.messages.text == ""


def test_an_image_that_has_changed_is_told(make_window, project, image):
    with tifffile.TiffFile(image) as file:
        pixels = file.asarray()
    tifffile.imwrite(image, pixels // 2, imagej=True, metadata={"axes": "YX"})
    window = make_window(project)
    assert "has changed" in window.messages.text
    assert window.document.stack.path == image


def test_another_image_in_its_place_does_not_keep_the_labels_closed(make_window, project, image):
    tifffile.imwrite(image, np.zeros((30, 40), np.uint8))
    window = make_window(project)
    assert "is not the image of this project" in window.messages.text
    assert "empty picture" in window.messages.text
    assert window.document.annotation.counts()


def test_save_a_copy_leaves_the_window_where_it_is(make_window, project, tmp_path, qtbot):
    window = make_window(project)
    paint(window, qtbot, 70)
    painted = window.document.annotation.read(PLANE)
    window.files.save_copy(tmp_path / "copy")
    paint(window, qtbot, 10)
    qtbot.waitUntil(lambda: "copy.limn is a copy" in window.messages.text)
    stored, history = labels(tmp_path / "copy.limn")
    assert np.array_equal(stored, painted) and history.can_undo
    assert window.files.project == project


def test_compacting_keeps_all_labels(make_window, project, qtbot):
    window = make_window(project)
    paint(window, qtbot, 70)
    window.actions_by_id["compact"].trigger()
    qtbot.waitUntil(lambda: "p.limn takes" in window.messages.text)
    painted = window.document.annotation.read(PLANE)
    close_and_wait(window, qtbot)
    stored, history = labels(project)
    assert np.array_equal(stored, painted) and len(history) == 3


def full_disk(monkeypatch, folder):
    """Let writing to projects in `folder` fail; answers what ends that."""
    failing = [True]
    record = Project.record

    def fail(project, *arguments):
        if failing and project.path.is_relative_to(folder):
            raise ProjectError(f"{project.path} can not be saved because the disk is full.")
        record(project, *arguments)

    monkeypatch.setattr(Project, "record", fail)
    return failing.clear


def test_a_full_disk_and_save_as_elsewhere(make_window, project, tmp_path, qtbot, monkeypatch):
    window = make_window(project)
    full_disk(monkeypatch, project.parent)
    paint(window, qtbot, 70)
    qtbot.waitUntil(lambda: "Limn keeps it in memory" in window.messages.text)
    assert window.status.saved.text() == "Not saved"
    paint(window, qtbot, 10)  # painting goes on
    painted = window.document.annotation.read(PLANE)
    window.close()
    assert "not saved yet" in window.messages.text and window.isVisible()
    answer(monkeypatch, "getSaveFileName", tmp_path / "else.limn")
    press(window, "Save as…", qtbot)
    qtbot.waitUntil(lambda: window.status.saved.text().startswith("Saved"))
    assert window.windowTitle() == "else.limn — Limn" and window.messages.text == ""
    close_and_wait(window, qtbot)
    stored, history = labels(tmp_path / "else.limn")
    assert np.array_equal(stored, painted) and len(history) == 4
    assert len(labels(project)[1]) == 3


def test_unsaved_strokes_are_not_left_for_another_image(
    make_window, project, tmp_path, qtbot, monkeypatch
):
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((60, 60), np.uint8))
    window = make_window(project)
    full_disk(monkeypatch, project.parent)
    paint(window, qtbot, 70)
    qtbot.waitUntil(lambda: window.status.saved.text() == "Not saved")
    window.files.open(other)
    qtbot.waitUntil(lambda: "other.tif is not opened" in window.messages.text)
    assert window.isEnabled() and window.document.stack.path.name == "cells.tif"
    with qtbot.waitSignal(window.files.opened):
        press(window, "Open and lose them", qtbot)
    assert window.document.stack.path == other
    open_and_wait(window, project, qtbot)
    assert len(window.document.history) == 3


def test_what_is_opened_while_something_else_is_put_in_place_comes_next(
    make_window, image, project, tmp_path, qtbot, monkeypatch
):
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((60, 60), np.uint8))
    window = make_window(image)
    goes_on, load = threading.Event(), Project.load

    def slow(loading, *arguments):
        assert goes_on.wait(PATIENCE)
        return load(loading, *arguments)

    monkeypatch.setattr(Project, "load", slow)
    window.files.open(project)
    qtbot.waitUntil(lambda: window.files.switching)
    window.files.open(other)
    goes_on.set()
    qtbot.waitUntil(lambda: window.document.stack.path == other)
    assert window.isEnabled() and window.files.project is None


def test_closing_all_the_same_still_keeps_the_strokes(make_window, project, qtbot, monkeypatch):
    window = make_window(project)
    full_disk(monkeypatch, project.parent)
    paint(window, qtbot, 70)
    painted = window.document.annotation.read(PLANE)
    qtbot.waitUntil(lambda: window.status.saved.text() == "Not saved")
    window.close()
    press(window, "Close all the same", qtbot)
    qtbot.waitUntil(lambda: not window.isVisible())
    (work,) = unfinished()
    assert np.array_equal(labels(work.path)[0], painted)


def test_free_names(tmp_path):
    path = tmp_path / "p.limn"
    assert free_name(path, "copy").name == "p copy.limn"
    free_name(path, "copy").touch()
    assert free_name(path, "copy").name == "p copy 2.limn"


def test_the_view_is_remembered_although_another_image_is_being_opened(
    make_window, project, tmp_path, qtbot, monkeypatch
):
    """What is changed while the other image is read belongs to the project that is still open."""
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((60, 60), np.uint8))
    window = make_window(project)
    held = threading.Event()
    real = opening.open_stack

    def slow(path, reading=None):
        assert held.wait(PATIENCE)
        return real(path, reading)

    monkeypatch.setattr(opening, "open_stack", slow)
    with qtbot.waitSignal(window.files.opened):
        window.files.open(other)
        window.prediction.threshold.setValue(41)
        held.set()
    qtbot.waitUntil(lambda: window.saver.unsaved == 0)
    with Project.open(project) as stored:
        assert stored.setting("window")["threshold"] == 41


def test_an_error_while_opening_leaves_the_window_usable(
    make_window, image, project, qtbot, monkeypatch
):
    window = make_window(image)
    set_stack, failing = window.document.set_stack, [True]

    def fail(*arguments):
        if failing:
            failing.clear()
            raise RuntimeError("a mistake")
        set_stack(*arguments)

    monkeypatch.setattr(window.document, "set_stack", fail)
    with qtbot.captureExceptions() as errors:
        window.files.open(project)
        qtbot.waitUntil(lambda: bool(errors))
    qtbot.waitUntil(window.isEnabled)
    window.files.open(image)
    qtbot.waitUntil(lambda: window.document.stack.path == image and window.files.project is None)


def test_an_offer_does_not_cover_an_error(make_window, project, tmp_path, qtbot):
    window = make_window()
    window.messages.show_error("Something is wrong.")
    window.messages.show_message(Message("There is more.", "offer"), behind_errors=True)
    assert window.messages.text == "Something is wrong."
    window.messages.dismiss()
    assert window.messages.text == "There is more."


def test_going_back_at_once_waits_until_the_project_has_been_closed(
    make_window, project, tmp_path, qtbot, monkeypatch
):
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((60, 60), np.uint8))
    window = make_window(project)
    may_close, close = threading.Event(), Project.close

    def slow(closing):
        if closing.path == project and not closing.read_only:
            assert may_close.wait(PATIENCE)
        close(closing)

    monkeypatch.setattr(Project, "close", slow)
    with qtbot.waitSignal(window.files.opened):
        window.files.open(other)
    with qtbot.waitSignal(window.files.opened):
        window.files.open(project)
        may_close.set()
    assert window.document.history.can_undo and window.messages.text == ""


def test_a_disk_that_does_not_answer(make_window, project, tmp_path, qtbot, monkeypatch):
    """No error comes from a drive that hangs; the labels can still be brought to another one."""
    window = make_window(project)
    answers, record = threading.Event(), Project.record

    def hang(writing, *arguments):
        if writing.path == project:
            assert answers.wait(PATIENCE)
        record(writing, *arguments)

    monkeypatch.setattr(Project, "record", hang)
    monkeypatch.setattr(saver, "HANG_SECONDS", 0.0)
    window.saving._watch.setInterval(20)
    paint(window, qtbot, 70)
    qtbot.waitUntil(lambda: "does not answer" in window.messages.text)
    assert window.status.saved.text() == "Not saved"
    paint(window, qtbot, 10)
    painted = window.document.annotation.read(PLANE)
    window.files.save_as(tmp_path / "copy")
    qtbot.waitUntil(lambda: "copy.limn holds all labels" in window.messages.text)
    stored, history = labels(tmp_path / "copy.limn")
    assert np.array_equal(stored, painted) and len(history) == 4
    answers.set()
    qtbot.waitUntil(lambda: window.status.saved.text().startswith("Saved"))
    assert "does not answer" not in window.messages.text


def test_what_can_not_be_opened_loses_nothing(make_window, project, tmp_path, qtbot, monkeypatch):
    """ "Open and lose them" was chosen, but there is nothing to be opened any more."""
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((60, 60), np.uint8))
    window = make_window(project)
    make_room = full_disk(monkeypatch, project.parent)
    paint(window, qtbot, 70)
    qtbot.waitUntil(lambda: window.status.saved.text() == "Not saved")
    window.files.open(other)
    qtbot.waitUntil(lambda: "other.tif is not opened" in window.messages.text)
    other.unlink()
    press(window, "Open and lose them", qtbot)
    qtbot.waitUntil(lambda: "other.tif is not opened" not in window.messages.text)
    qtbot.waitUntil(lambda: not window.strip.isVisible())
    assert window.saver.unsaved
    make_room()
    window.saver.try_again()
    qtbot.waitUntil(lambda: window.saver.unsaved == 0)
    painted = window.document.annotation.read(PLANE)
    close_and_wait(window, qtbot)
    assert np.array_equal(labels(project)[0], painted)


def test_nobody_looks_at_a_disk_that_does_not_answer(
    make_window, project, tmp_path, qtbot, monkeypatch
):
    """To save a copy elsewhere must not wait for it, either."""
    window = make_window(project)
    monkeypatch.setattr(type(window.saver), "hangs", True)
    starts, here = [], threading.get_ident()

    def watched(method):
        def called(path, *arguments, **options):
            looks = threading.get_ident() == here and path.is_relative_to(project.parent)
            assert not looks, path
            return method(path, *arguments, **options)

        return called

    for name in ("exists", "samefile", "stat"):
        monkeypatch.setattr(Path, name, watched(getattr(Path, name)))
    monkeypatch.setattr(
        "app.files.QFileDialog.getSaveFileName", lambda *words: (starts.append(words[2]), "")[::-1]
    )
    window.files.ask_save_copy()
    window.files.ask_save_as()
    assert len(starts) == 2
    assert all(Path(start).parent == Path.home() for start in starts)
    monkeypatch.undo()


def test_an_answer_to_strokes_on_nothing_is_not_kept(make_window, project, image, tmp_path, qtbot):
    away = tmp_path / "away" / "else" / "cells.tif"
    away.parent.mkdir(parents=True)
    image.rename(away)
    window = make_window(project)
    window.engine._own.instant = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=0)
    with qtbot.waitSignal(window.files.located):
        window.files.locate(away)
    qtbot.waitUntil(lambda: window.engine.busy == "idle")
    assert window.engine.model is None and window.engine.shown_model is None
