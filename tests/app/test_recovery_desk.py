"""Unnamed work is offered with a picture, listed, opened and discarded."""

import os
import time

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel

from app.recovered import SIDE, offers, when
from app.recovery_desk import RecoveryDialog, image_of
from tests.app.conftest import close_and_wait
from tests.patience import PATIENCE
from unet_core.annotation import DEFAULT_CLASSES, Annotation
from unet_core.project import ImageReference, Project
from unet_core.recovery import new_recovery_path, unfinished
from unet_core.stack import PlaneIndex, open_stack


def leave_work(folder, name, values=(2,), z=1, strokes=1):
    """What a crash leaves: unnamed work on an image (T, Z, Y, X) = (1, 3, 400, 600)."""
    image = folder / name
    pixels = np.random.default_rng(3).integers(0, 999, (3, 400, 600), np.uint16)
    tifffile.imwrite(image, pixels, imagej=True, metadata={"axes": "ZYX"})
    with open_stack(image) as stack:
        reference = ImageReference.of(stack)
    path = new_recovery_path(image)
    annotation = Annotation((1, 3, 400, 600))
    with Project.create(
        path, annotation.shape, image=reference, classes=DEFAULT_CLASSES
    ) as project:
        for number in range(strokes):
            stroke = annotation.stroke(PlaneIndex(0, z), values[number % len(values)], 30)
            stroke.to(300, 100 + 40 * number)
            project.record(stroke.finish())
    return path


def found():
    steps = offers()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def button(parent, name):
    return parent.findChild(QAbstractButton, name)


def test_says_what_it_holds_and_shows_it(tmp_path):
    leave_work(tmp_path, "cells.tif", values=(2, 1), strokes=4)
    (offer,) = found()
    assert offer.sentence.startswith("Unsaved work on cells.tif from today ")
    background, cell = DEFAULT_CLASSES[0].name, DEFAULT_CLASSES[1].name
    assert offer.sentence.endswith(f" (4 strokes; {background}, {cell}).")
    assert max(offer.picture.shape[:2]) <= SIDE
    spread = np.ptp(offer.picture.astype(int), axis=2)
    assert (spread > 40).sum() > 100, "the labels are seen in their colours"
    assert (spread == 0).sum() > 100, "and the grey image around them"
    assert len(np.unique(offer.picture[spread == 0])) > 10
    image = image_of(offer)
    assert (image.height(), image.width()) == offer.picture.shape[:2]


def test_a_picture_needs_no_image(tmp_path):
    leave_work(tmp_path, "cells.tif")
    (tmp_path / "cells.tif").unlink()
    (offer,) = found()
    assert (np.ptp(offer.picture.astype(int), axis=2) > 40).any()


def test_what_can_not_be_read_hinders_nothing(tmp_path):
    leave_work(tmp_path, "cells.tif")
    new_recovery_path(None).write_bytes(b"no project" * 1000)
    (offer,) = found()
    assert offer.work.image_name == "cells.tif"


def test_one_piece_is_offered_with_its_picture_and_opened(make_window, tmp_path, qtbot):
    leave_work(tmp_path, "cells.tif")
    window = make_window()
    qtbot.waitUntil(lambda: "Unsaved work on cells.tif" in window.messages.text)
    message = window.messages
    assert message.message.picture is not None and message._icon.pixmap().height() > 40
    with qtbot.waitSignal(window.files.opened):
        button(message, "messageAction1").click()
    assert window.document.annotation.counts() and "[recovered]" in window.windowTitle()


def test_discarding_asks_once_more(make_window, tmp_path, qtbot):
    path = leave_work(tmp_path, "cells.tif")
    window = make_window()
    qtbot.waitUntil(lambda: "Unsaved work on cells.tif" in window.messages.text)
    button(window.messages, "messageAction2").click()
    assert "can not be brought back" in window.messages.text and path.exists()
    button(window.messages, "messageCloseButton").click()
    assert path.exists()
    window.recovery.offer()
    qtbot.waitUntil(lambda: window.messages.text != "")
    button(window.messages, "messageAction2").click()
    button(window.messages, "messageAction1").click()
    qtbot.waitUntil(lambda: not path.exists())


def test_several_are_a_list(make_window, tmp_path, qtbot):
    older = leave_work(tmp_path, "first.tif")
    os.utime(older, (time.time() - 7200,) * 2)
    newer = leave_work(tmp_path, "second.tif", strokes=3)
    window = make_window()
    qtbot.waitUntil(lambda: "Unsaved work on second.tif" in window.messages.text)
    button(window.messages, "messageAction2").click()
    dialog = window.findChild(RecoveryDialog)
    texts = [label.text() for label in dialog.findChildren(QLabel)]
    sentences = [text for text in texts if text.startswith("Unsaved work")]
    assert ["second" in text for text in sentences] == [True, False]
    # Discard the second row: asked once more, then gone, and the list is shorter.
    discard = button(dialog, "recoveryDiscard2")
    qtbot.mouseClick(discard, Qt.MouseButton.LeftButton)
    assert older.exists() and discard.text() == "Discard for good"
    qtbot.mouseClick(discard, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not older.exists())
    qtbot.waitUntil(lambda: button(dialog, "recoveryDiscard2") is None)
    with qtbot.waitSignal(window.files.opened):
        qtbot.mouseClick(button(dialog, "recoveryOpen1"), Qt.MouseButton.LeftButton)
    assert window.files.project == newer or newer.exists()
    qtbot.waitUntil(lambda: window.files.project == newer)


def test_what_is_left_is_offered_again(make_window, tmp_path, qtbot):
    leave_work(tmp_path, "cells.tif")
    window = make_window()
    qtbot.waitUntil(lambda: "Unsaved work" in window.messages.text)
    button(window.messages, "messageCloseButton").click()
    close_and_wait(window, qtbot)
    assert len(unfinished()) == 1
    again = make_window()
    qtbot.waitUntil(lambda: "Unsaved work" in again.messages.text)


def test_the_menu_lists_it_at_any_time(make_window, tmp_path, qtbot):
    window = make_window()
    window.actions_by_id["recover"].trigger()
    qtbot.waitUntil(lambda: window.findChild(RecoveryDialog) is not None)
    dialog = window.findChild(RecoveryDialog)
    assert "There is no unsaved work." in [w.text() for w in dialog.findChildren(QLabel)]


def test_times_in_words():
    now = time.time()
    assert when(now).startswith("today ")
    assert when(now - 86400).startswith("yesterday ")
    assert when(0).startswith(("1970-", "1969-"))


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    for work in unfinished():
        work.path.unlink()


def test_the_end_is_told_once(make_window, tmp_path, qtbot):
    """The window counts who has ended: twice would be one too many."""
    window = make_window()
    qtbot.waitUntil(lambda: not window.recovery._jobs)
    told = []
    window.recovery.finished.connect(lambda: told.append(True))
    for _ in range(3):
        window.recovery.show_all()
    jobs = list(window.recovery._jobs)
    window.recovery.finished.disconnect(window._part_finished)
    assert window.recovery.shutdown()
    for job in jobs:  # all of them before the window hears of any
        assert job.wait(PATIENCE * 1000)
    qtbot.waitUntil(lambda: not window.recovery._jobs)
    QApplication.processEvents()
    assert told == [True]
