"""When the window is to close and something does not end: most likely a disk that does not answer.

A thread that waits inside the system can not be ended, nor can a process that waits for it. So the
work is written elsewhere, from memory, and then the process ends without waiting for its threads.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QMessageBox, QPushButton, QWidget

from app.document import Document
from app.files import Files
from app.jobs import Job, JobError, Steps
from app.saver import Saver
from app.work import Work
from unet_core.project import SUFFIX

WATCH_MS = 500
PATIENCE_SECONDS = 15.0
"""So long things may take to end before anybody is asked."""


class Leaving(QObject):
    """Watches from the moment on when the window is to close; asks what is to be done."""

    given_up = Signal()
    """The window may go, although a thread still waits: `end_hard` must follow."""

    def __init__(
        self,
        window: QWidget,
        saver: Saver,
        document: Document,
        files: Files,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._saver = saver
        self._document = document
        self._files = files
        self._unasked = False
        self._at_once = False
        self._since = 0.0
        self._question: _Question | None = None
        self._job: Job | None = None
        self._watch = QTimer(self, interval=WATCH_MS)
        self._watch.timeout.connect(self._look)
        self.gave_up = False
        """Whether the process must be ended hard."""

    def begin(self) -> None:
        """The window is about to close."""
        self._since = time.monotonic()
        # That its disk hangs is known: whoever closes the window has been told.
        self._at_once = self._saver.hangs
        self._watch.start()

    def close_unasked(self) -> None:
        """Nobody is there to answer a question."""
        self._unasked = True

    def end(self) -> None:
        """All has ended as it should."""
        self._watch.stop()
        if self._question is not None:
            self._question.close()

    @Slot()
    def _look(self) -> None:
        if self._job is not None:
            return
        working = self._saver.leaving and not self._saver.stalls  # through what is left
        patient = working or time.monotonic() - self._since < PATIENCE_SECONDS
        if patient and not self._at_once:
            return
        if self._at_once or self._unasked or not self._saver.unsaved:
            self._at_once = False
            self._keep()
        elif self._question is None:
            self._question = _Question(self._window)
            self._question.close_button.clicked.connect(self._keep)
            self._question.copy_button.clicked.connect(self._save_copy)
            self._question.wait_button.clicked.connect(self._wait)
            self._question.open()

    @Slot()
    def _wait(self) -> None:
        self._question = None
        self._since = time.monotonic()

    @Slot()
    def _save_copy(self) -> None:
        name = self._files.project.name if self._files.project is not None else f"labels{SUFFIX}"
        path = self._files.ask_project("Save a copy as", Path.home() / name)
        if path is not None:
            self._write(lambda: path)
        else:
            self._wait()

    @Slot()
    def _keep(self) -> None:
        """Unsaved work goes where the next start will find it."""
        if self._saver.unsaved:
            self._write(self._saver.recovery_path)
        else:
            self._give_up()

    def _write(self, find_path: Callable[[], Path]) -> None:
        work, saver = Work.of(self._document, self._files.image), self._saver

        def steps() -> Steps:
            yield
            saver.write_from_memory(work, find_path())

        self._job = Job(steps, self)
        self._job.succeeded.connect(self._give_up)
        self._job.failed.connect(self._failed)
        self._job.start()

    @Slot()
    def _give_up(self) -> None:
        self.end()
        self.gave_up = True
        self.given_up.emit()

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        """Not there either: whoever is there may choose another place."""
        self._job = None
        if self._question is not None:
            self._question.close()
        self._question = None
        if not self._unasked:
            QMessageBox.warning(self._window, "Limn", error.sentence)
        self._wait()


class _Question(QMessageBox):
    """What is to become of work that can not be written."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("leavingQuestion")
        self.setIcon(QMessageBox.Icon.Warning)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText("The disk of the project does not answer, and your last changes wait for it.")
        self.setInformativeText(
            "If you close now, all labels are kept as unsaved work, which Limn offers at its next "
            "start. Or save a copy of them on another disk."
        )
        self.close_button = self._button("Close now", QMessageBox.ButtonRole.AcceptRole)
        self.copy_button = self._button("Save a copy…", QMessageBox.ButtonRole.ActionRole)
        self.wait_button = self._button("Wait", QMessageBox.ButtonRole.RejectRole)
        self.setDefaultButton(self.wait_button)
        self.setEscapeButton(self.wait_button)

    def _button(self, text: str, role: QMessageBox.ButtonRole) -> QPushButton:
        button = self.addButton(text, role)
        button.setObjectName("leaving" + role.name)
        return button


def end_hard(code: int) -> None:
    """End the process although a thread of it waits for the system: all is written that can be."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)
