"""Training as the window does it: when it is possible, when it starts, and when it goes on.

Between Train and Stop Limn is *learning*: it trains until nothing gets better, waits, and goes on
by itself when more has been painted. Whatever else ends a training ends the learning with it: Stop,
an error, another image.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtWidgets import QFileDialog

from app.document import Document
from app.empty_picture import EmptyPicture
from app.engine import Engine
from app.panels.training import TrainingPanel
from app.requests import MODEL_FILE, TrainingProgress
from unet_core.annotation import missing_labels

LABELS_DELAY_MS = 100
"""After a stroke, so that several in a row are handed over as one."""
GO_ON_DELAY_MS = 1000
"""After the last stroke, before training goes on by itself."""
NEXT_STEP = "Paint where it is wrong and train again, or export."
GOES_ON = "It goes on when you paint more."


class TrainingDesk(QObject):
    """Between the document's strokes, the engine and the training panel."""

    reason_changed = Signal()
    """`reason` or `learning` may be another one now."""

    def __init__(
        self, document: Document, engine: Engine, panel: TrainingPanel, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document = document
        self._engine = engine
        self._panel = panel
        self._learning = False
        self._goes_on = False  # although it is being stopped
        self._counts: dict[int, int] = {}  # labelled pixels of each class
        self._hand_over = QTimer(self, singleShot=True, interval=LABELS_DELAY_MS)
        self._hand_over.timeout.connect(self._send_labels)
        self._going_on = QTimer(self, singleShot=True, interval=GO_ON_DELAY_MS)
        self._going_on.timeout.connect(self._go_on)

    @property
    def reason(self) -> str | None:
        """Why training can not be started now; None: it can."""
        doing = {"training": "Training…", "exporting": "Exporting…", "loading": "Reading a model…"}
        return doing.get(self._engine.busy, self._what_is_missing())

    @property
    def learning(self) -> bool:
        """Whether it trains, or would go on by itself."""
        return self._learning

    def _set_learning(self, learning: bool) -> None:
        self._learning = learning
        if not learning:
            self._going_on.stop()
        self._panel.set_stoppable(learning)
        self.reason_changed.emit()

    def _what_is_missing(self) -> str | None:
        if self._document.stack is None:
            return "Open an image first."
        if isinstance(self._document.stack, EmptyPicture):
            return "The image was not found: there is nothing to learn from an empty picture."
        return missing_labels(self._document.label_counts(), self._document.classes)

    # --- what the user does ----------------------------------------------------------------------

    @Slot()
    def train(self) -> None:
        """Train on what is painted, if that is possible."""
        self._document.end_stroke()
        if self.reason is None:
            self._hand_over.stop()  # these are the newest
            self._engine.train(self._document.annotation.snapshot())

    @Slot()
    def stop(self) -> None:
        """Stop what runs; what trains does not go on by itself either."""
        if self._engine.busy != "exporting" and self._learning:
            self._set_learning(False)
            if self._engine.busy != "training":
                self._panel.set_status(f"Stopped. {NEXT_STEP}")
        self._engine.stop()

    @Slot()
    def labels_changed(self) -> None:
        """Something was painted, erased or undone."""
        self._hand_over.start()
        # Of all images: going from one to another teaches nothing new.
        former, self._counts = self._counts, self._document.label_counts()
        if self._learning and self._counts != former:
            self._going_on.start()
        self.reason_changed.emit()

    @Slot()
    def another_project(self) -> None:
        """Other work altogether: nothing is learned of it yet."""
        self._goes_on = False
        self._set_learning(False)

    @Slot()
    def image_leaving(self) -> None:
        """Another image of the same project comes: a training that runs goes on there."""
        self._goes_on = self._engine.busy == "training" and self._learning

    @Slot()
    def update_reason(self) -> None:
        """Other classes, or another image."""
        self.reason_changed.emit()

    @Slot(str)
    def choose_start(self, start: str) -> None:
        """Begin anew with another network."""
        if self._engine.busy in ("training", "exporting"):
            return
        self._set_learning(False)
        if start != MODEL_FILE:
            self._engine.begin_with(start)
            return
        path, _ = QFileDialog.getOpenFileName(
            self._panel.window(), "Start from a model", "", "Models (*.safetensors)"
        )
        if path:
            self._engine.begin_with(Path(path))

    # --- what follows ----------------------------------------------------------------------------

    @Slot()
    def _send_labels(self) -> None:
        self._engine.update_labels(self._document.annotation.snapshot())

    @Slot()
    def _go_on(self) -> None:
        """Train again, now that more has been painted; a training that runs has been told."""
        if not self._learning or self._engine.busy == "training":
            return
        if self._document.stroking or self._engine.busy in ("exporting", "loading"):
            self._going_on.start()
        else:
            self.train()

    # --- what the engine says --------------------------------------------------------------------

    @Slot(str)
    def engine_busy(self, busy: str) -> None:
        """The engine has begun or ended something."""
        if busy != "training":
            self._panel.set_training(False)
        self.reason_changed.emit()

    @Slot()
    def started(self) -> None:
        """The training runs."""
        self._panel.set_training(True)
        self._panel.set_status("Training starts…")
        self._set_learning(True)

    @Slot(str, bool)
    def finished(self, sentence: str, by_itself: bool) -> None:
        """The training has ended: say how, and what comes next."""
        goes_on, self._goes_on = self._goes_on, False
        if goes_on and not by_itself and self._learning:
            self._panel.set_status("Training goes on with this image on show…")
            self._going_on.start()
            return
        if not by_itself or not self._learning:
            self._set_learning(False)
            more = f". {NEXT_STEP}" if self._engine.model is not None else "."
            self._panel.set_status(f"{sentence.rstrip('.')}{more}")
            return
        self._panel.set_status(f"{sentence}. {GOES_ON}")
        if self._engine.labels_waiting:  # the last strokes came too late for it
            self._going_on.start()

    @Slot(object)
    def progressed(self, progress: TrainingProgress) -> None:
        """One step is done."""
        self._panel.set_progress(progress.step, progress.loss, progress.fraction, progress.eta)
        self._panel.set_verdict(progress.verdict)
