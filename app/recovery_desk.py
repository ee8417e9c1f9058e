"""Unnamed work of earlier sessions: offered at the start, listed on request, opened, discarded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QImage
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.files import Files
from app.jobs import Job, JobError, Steps
from app.messages import Message, MessageBar, fitted
from app.recovered import SIDE, Offer, offers
from unet_core.recovery import discard


class RecoveryDesk(QObject):
    """Looks into the recovery folder in a job, and says what is there."""

    finished = Signal()
    """No job of this object runs any more."""

    def __init__(self, window: QWidget, files: Files, messages: MessageBar) -> None:
        super().__init__(window)
        self._window = window
        self._files = files
        self._messages = messages
        self._jobs: list[Job] = []
        self._message: Message | None = None
        self._closing = False

    @Slot()
    def offer(self) -> None:
        """At the start: say what an earlier session left, if it left anything."""
        self._run(offers, self._offer)

    @Slot()
    def show_all(self) -> None:
        """List all of it, at any time."""
        self._run(offers, self._list)

    def shutdown(self) -> bool:
        """Begin nothing any more. True while a job still runs; then `finished` will come."""
        self._closing = True
        for job in self._jobs:
            job.stop()
        return bool(self._jobs)

    def _run(self, steps: Callable[[], Steps], then: Callable[[Any], None]) -> None:
        if self._closing:
            return
        job = _Job(steps, then, self)
        self._jobs.append(job)
        job.done.connect(self._done)
        job.failed.connect(self._failed)
        job.finished.connect(self._job_finished)
        job.start()

    @Slot(object, object)
    def _done(self, then: Callable[[Any], None], result: object) -> None:
        if not self._closing:
            then(result)

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        self._messages.show_error(error.sentence, error.details)

    @Slot()
    def _job_finished(self) -> None:
        ended = [job for job in self._jobs if job.isFinished()]
        for job in ended:
            self._jobs.remove(job)
            job.deleteLater()
        # Once: of two that end together the first call has seen both.
        if ended and self._closing and not self._jobs:
            self.finished.emit()

    def _others(self, found: Sequence[Offer]) -> list[Offer]:
        """Not what is open here: it may have been made after the folder was looked through."""
        return [offer for offer in found if offer.work.path != self._files.project]

    def _offer(self, found: Sequence[Offer]) -> None:
        found = self._others(found)
        if not found:
            return
        first = found[0]
        actions: tuple[tuple[str, Callable[[], object]], ...] = (
            ("Restore", partial(self._files.open, first.work.path)),
        )
        if len(found) == 1:
            actions += (("Discard…", partial(self._ask_discard, first)),)
            sentence = first.sentence
        else:
            actions += ((f"Show all {len(found)}…", partial(self._list, found)),)
            sentence = f"{first.sentence} There is more from earlier."
        self._message = Message(
            sentence,
            "offer",
            actions=actions,
            close_text="Not now",
            picture=image_of(first),
        )
        self._messages.show_message(self._message, behind_errors=True)

    def _ask_discard(self, offer: Offer) -> None:
        self._messages.show_message(
            Message(
                f"{offer.sentence} Once it is discarded it can not be brought back.",
                "offer",
                actions=(("Discard for good", partial(self.discard, offer.work.path)),),
                close_text="Keep it",
                picture=image_of(offer),
            )
        )

    def discard(self, path: Path) -> None:
        """Remove unnamed work for good; the user has been asked."""

        def steps() -> Steps:
            yield
            discard(path)

        self._run(steps, self._discarded)

    def _discarded(self, _nothing: object) -> None:
        dialog = self._window.findChild(RecoveryDialog)
        if dialog is not None:
            self.show_all()

    def _list(self, found: Sequence[Offer]) -> None:
        dialog = self._window.findChild(RecoveryDialog)
        if dialog is None:
            dialog = RecoveryDialog(self._window)
            dialog.open_chosen.connect(self._files.open)
            dialog.discard_chosen.connect(self.discard)
        dialog.set_offers(self._others(found))
        dialog.show()
        dialog.activateWindow()


class RecoveryDialog(QDialog):
    """A list of unnamed work, each with a picture; Discard asks once more."""

    open_chosen = Signal(object)
    discard_chosen = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("recoveryDialog")
        self.setWindowTitle("Unsaved work")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._hint = QLabel("It stays where it is until you give it a name or discard it.")
        self._hint.setProperty("faint", True)
        self._hint.setWordWrap(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self._hint)
        column.addWidget(self._area)
        column.addWidget(buttons)
        self.resize(640, 480)

    def set_offers(self, found: Sequence[Offer]) -> None:
        """Show these, the newest on top."""
        content = QWidget()
        column = QVBoxLayout(content)
        for number, offer in enumerate(found, start=1):
            row = _Row(offer, number)
            row.opened.connect(self._open)
            row.discarded.connect(self.discard_chosen)
            column.addWidget(row)
        if not found:
            column.addWidget(QLabel("There is no unsaved work."))
        column.addStretch(1)
        self._area.setWidget(content)

    @Slot(object)
    def _open(self, path: Path) -> None:
        self.close()
        self.open_chosen.emit(path)


class _Row(QFrame):
    opened = Signal(object)
    discarded = Signal(object)

    def __init__(self, offer: Offer, number: int) -> None:
        super().__init__()
        self._path = offer.work.path
        self._asked = False
        picture = QLabel()
        picture.setFixedSize(SIDE // 2 + 16, SIDE // 2 + 16)
        picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        image = image_of(offer)
        if image is not None:
            picture.setPixmap(fitted(image, SIDE // 2 + 16, self.devicePixelRatioF()))
        picture.setAccessibleName(f"Picture of {offer.work.image_name}")
        text = QLabel(offer.sentence)
        text.setTextFormat(Qt.TextFormat.PlainText)
        text.setWordWrap(True)
        restore = QPushButton("Open")
        restore.setObjectName(f"recoveryOpen{number}")
        self._discard = QPushButton("Discard…")
        self._discard.setObjectName(f"recoveryDiscard{number}")
        for button in (restore, self._discard):
            button.setAutoDefault(False)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 4, 0, 4)
        line.addWidget(picture)
        line.addWidget(text, 1)
        line.addWidget(restore)
        line.addWidget(self._discard)
        restore.clicked.connect(self._open)
        self._discard.clicked.connect(self._ask)

    @Slot()
    def _open(self) -> None:
        self.opened.emit(self._path)

    @Slot()
    def _ask(self) -> None:
        if self._asked:
            self._discard.setEnabled(False)
            self.discarded.emit(self._path)
            return
        self._asked = True
        self._discard.setText("Discard for good")
        self._discard.setToolTip("It can not be brought back")


class _Job(Job):
    """Carries what is to be done with its result, so that no closure is connected to a signal."""

    done = Signal(object, object)

    def __init__(
        self, steps: Callable[[], Steps], then: Callable[[Any], None], parent: QObject
    ) -> None:
        super().__init__(steps, parent)
        self._then = then
        self.succeeded.connect(self._succeeded)

    @Slot(object)
    def _succeeded(self, result: object) -> None:
        self.done.emit(self._then, result)


def image_of(offer: Offer) -> QImage | None:
    """The picture of an offer for Qt; None where it has none."""
    if offer.picture is None:
        return None
    pixels = np.ascontiguousarray(offer.picture)
    height, width, _ = pixels.shape
    return QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
