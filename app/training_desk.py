"""Training as the window does it: when it is possible, its start, and newer labels on the way."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from app.document import Document
from app.engine import Engine, TrainingProgress
from app.panels.training import TrainingPanel
from unet_core.annotation import missing_labels

LABELS_DELAY_MS = 400
NEXT_STEP = "Paint where it is wrong and train again, or export."


class TrainingDesk(QObject):
    """Between the document's strokes, the engine and the training panel."""

    reason_changed = Signal()
    """`reason` may be another one now."""

    def __init__(
        self, document: Document, engine: Engine, panel: TrainingPanel, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document = document
        self._engine = engine
        self._panel = panel
        self._missing: str | None = None
        # A running training gets newer labels in small doses.
        self._timer = QTimer(self, singleShot=True, interval=LABELS_DELAY_MS)
        self._timer.timeout.connect(self._send_labels)

    @property
    def reason(self) -> str | None:
        """Why training can not be started now; None: it can."""
        doing = {"training": "Training…", "exporting": "Exporting…"}
        return doing.get(self._engine.busy, self._missing)

    @Slot()
    def labels_changed(self) -> None:
        """Other labels, classes or another image."""
        self._missing = self._what_is_missing(self._document.annotation.counts())
        self._timer.start()
        self.reason_changed.emit()

    def _what_is_missing(self, counts: Mapping[int, int]) -> str | None:
        if self._document.stack is None:
            return "Open an image first."
        return missing_labels(counts, self._document.classes)

    @Slot()
    def train(self) -> None:
        """Train on what is painted, if that is possible."""
        self._document.end_stroke()
        if self.reason is None:
            self._engine.train(self._document.annotation.snapshot())

    @Slot()
    def _send_labels(self) -> None:
        if self._engine.busy == "training":
            self._engine.update_labels(self._document.annotation.snapshot())

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

    @Slot(str)
    def finished(self, sentence: str) -> None:
        """The training has ended: say how, and what comes next."""
        if self._engine.model is not None:
            sentence = f"{sentence.rstrip('.')}. {NEXT_STEP}"
        self._panel.set_status(sentence)

    @Slot(object)
    def progressed(self, progress: TrainingProgress) -> None:
        """One step is done."""
        self._panel.set_progress(progress.step, progress.loss, progress.fraction, progress.eta)
