"""What is said about saving, and that nobody closes the window over unsaved strokes unasked."""

from types import SimpleNamespace

import pytest
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QAbstractButton, QWidget

from app.messages import MessageBar, ProgressStrip
from app.saving_desk import SavingDesk
from app.status_bar import StatusBar


@pytest.fixture
def desk(qtbot):
    ground, strip = QWidget(), ProgressStrip()
    status = StatusBar(strip)
    qtbot.addWidget(ground)
    qtbot.addWidget(status)
    ground.show()
    owner = QObject()
    asked = []
    files = SimpleNamespace(
        project="work.limn", read_only=False, ask_save_as=lambda: asked.append("save as")
    )
    saver = SimpleNamespace(try_again=lambda: asked.append("again"), hangs=False)
    desk = SavingDesk(files, saver, status, MessageBar(ground), owner)
    desk.asked = asked
    desk.status, desk.messages, desk.owner = status, desk._messages, owner
    return desk


def test_what_is_saved_may_be_closed(desk):
    assert desk.may_close(pytest.fail)
    desk.pending(2)
    assert desk.status.saved.text() == "Saving…" and desk.may_close(pytest.fail)
    desk.pending(0)
    assert desk.status.saved.text().startswith("Saved ")


def test_unsaved_strokes_are_not_closed_over_unasked(desk):
    desk.pending(1)
    desk.stuck("The disk is full; make room.")
    assert desk.status.saved.text() == "Not saved"
    closed = []
    assert not desk.may_close(lambda: closed.append(desk.may_close(pytest.fail)))
    assert "The disk is full" in desk.messages.text
    desk.messages.findChild(QAbstractButton, "messageAction2").click()
    assert closed == [True]


def test_what_can_be_done_is_offered_with_the_trouble(desk):
    desk.pending(1)
    desk.stuck("The disk is full; make room.")
    assert desk.messages.text.startswith("The disk is full; make room. You can go on painting")
    desk.messages.findChild(QAbstractButton, "messageAction2").click()
    desk.stuck("The disk is full; make room.")
    desk.messages.findChild(QAbstractButton, "messageAction1").click()
    assert desk.asked == ["again", "save as"]


def test_trouble_that_is_over_is_not_on_show(desk):
    desk.pending(1)
    desk.stuck("The disk is full; make room.")
    desk.stuck("The drive is gone.")
    desk.pending(0)
    assert desk.messages.text == "" and desk.status.saved.text().startswith("Saved ")


def test_a_project_that_is_only_looked_at_is_not_called_saved(desk):
    desk._files.read_only = True
    desk.pending(0)
    assert desk.status.saved.text() == "Read-only"


def test_nobody_is_asked_when_the_computer_goes_down(desk):
    desk.pending(1)
    desk.stuck("The disk is full; make room.")
    desk.close_unasked()
    assert desk.may_close(pytest.fail)


def test_the_question_goes_when_all_is_saved_after_all(desk):
    desk.pending(1)
    desk.stuck("The disk is full; make room.")
    assert not desk.may_close(pytest.fail)
    desk.pending(0)
    assert "not saved yet" not in desk.messages.text and desk.may_close(pytest.fail)


def test_a_failed_copy_does_not_make_saved_strokes_unsaved(desk):
    """Save As failed, but every stroke is in the former file."""
    desk.pending(1)
    desk.failed("copy.limn can not be saved.")
    desk.pending(0)
    assert desk.status.saved.text().startswith("Saved ") and desk.may_close(pytest.fail)
    assert desk.messages.text == "copy.limn can not be saved."
