"""The one button that trains, how far it is, how the loss falls, and how well it has learned."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
)

from app.panels.base import Panel, keep_navigation
from app.panels.loss_plot import LossPlot

TRAIN = "Train on my annotations"
MODEL_FILE = "file"
STARTS = {
    "bundled": "Limn's own network",
    "unet2015": "The U-Net of 2015, untrained",
    MODEL_FILE: "A model file…",
}
"""What the engine can begin with, in words."""


class TrainingPanel(Panel):
    """Shows what it is told; asks by `train_requested` and `stop_requested`."""

    train_requested = Signal()
    stop_requested = Signal()
    start_chosen = Signal(str)
    """A key of STARTS: what training is to begin with."""

    def __init__(self) -> None:
        super().__init__("Training", "trainingPanel", growing=True)
        self.train = QPushButton(TRAIN)
        self.train.setObjectName("trainButton")
        self.train.setToolTip("Teach the network with what you painted (Ctrl+T)")
        # A reason longer than the panel is wide must not widen the window.
        self.train.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.stop = QPushButton("Stop")
        self.stop.setObjectName("stopButton")
        self.stop.setAccessibleName("Stop training")
        self.stop.setToolTip("Stop now; what was learnt so far is kept (Ctrl+.)")
        for button in (self.train, self.stop):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.start = QComboBox()
        self.start.setObjectName("startFrom")
        self.start.setAccessibleName("Start from")
        self.start.setToolTip("The network that training starts from; choosing one begins anew")
        self.start.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        keep_navigation(self.start)
        self.start.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for key, words in STARTS.items():
            self.start.addItem(words, key)
        label = QLabel("Start &from")
        label.setBuddy(self.start)
        self.progress = QProgressBar()
        self.progress.setObjectName("progressBar")
        self.progress.setAccessibleName("Progress of the training")
        self.progress.setRange(0, 1000)
        self.plot = LossPlot()
        self.plot.setObjectName("trainingPlot")
        self.plot.setAccessibleName("Loss over training steps")
        self.plot.setToolTip("Loss over training steps: it should fall, then flatten")
        self.verdict = QLabel()
        self.verdict.setObjectName("verdict")
        self.verdict.setAccessibleName("How well it has learned")
        self.verdict.setWordWrap(True)
        self.status = QLabel()
        self.status.setObjectName("trainingStatus")
        self.status.setAccessibleName("Training")
        self.status.setWordWrap(True)
        self.device = QLabel()
        self.device.setObjectName("deviceLabel")
        self.device.setAccessibleName("Device that computes")
        self.device.setProperty("faint", True)
        row = QHBoxLayout()
        row.addWidget(self.progress, 1)
        row.addWidget(self.stop)
        beginning = QHBoxLayout()
        beginning.addWidget(label)
        beginning.addWidget(self.start, 1)
        self.column.addLayout(beginning)
        self.column.addWidget(self.train)
        self.column.addLayout(row)
        self.column.addWidget(self.plot, 1)
        self.column.addWidget(self.verdict)
        self.column.addWidget(self.status)
        self.column.addWidget(self.device)
        self.finish()
        self.set_training(False)
        self.set_stoppable(False)
        self.set_reason("Open an image first.")
        self.reset()
        self.set_device("")
        self.train.clicked.connect(self.train_requested)
        self.stop.clicked.connect(self.stop_requested)
        self._shown_start = "bundled"
        self.start.activated.connect(self._choose_start)

    def set_reason(self, reason: str | None) -> None:
        """Say on the button why it can not be pressed; None: it can."""
        self.train.setEnabled(reason is None)
        self.train.setText(reason or TRAIN)
        self.train.setAccessibleName(TRAIN if reason is None else f"{TRAIN}: {reason}")

    def reset(self) -> None:
        """Another image, on which nothing has been trained yet."""
        self.plot.clear()
        self.set_verdict("")
        self.set_status("Paint a few strokes of each class, then train.")

    def set_start(self, start: str) -> None:
        """Show what training begins with: a key of STARTS; any other is that of a model file."""
        self._shown_start = start
        index = self.start.findData(start)
        self.start.setCurrentIndex(index if index >= 0 else self.start.findData(MODEL_FILE))

    @Slot(int)
    def _choose_start(self, index: int) -> None:
        chosen = self.start.itemData(index)
        # The list shows what is, not what is asked for.
        shown = self._shown_start
        self.set_start(shown)
        if chosen != shown or chosen == MODEL_FILE:  # there are other files
            self.start_chosen.emit(chosen)

    def set_stoppable(self, stoppable: bool) -> None:
        """Whether there is anything to stop: a training, or one that would go on by itself."""
        self.stop.setEnabled(stoppable)

    def set_training(self, training: bool) -> None:
        """Start or end the display of a running training; the curve stays until the next one."""
        self.start.setEnabled(not training)
        if training:
            self.plot.clear()
            self.progress.setRange(0, 0)
            self.progress.setFormat("Starting…")
        else:
            self.progress.setRange(0, 1000)
            self.progress.setValue(0)
            self.progress.setFormat("")

    def set_progress(
        self, step: int, loss: float | None, fraction: float, eta: float | None
    ) -> None:
        """Show one step. fraction: 0 to 1. eta: seconds left, None where unknown."""
        self.progress.setRange(0, 1000)
        self.progress.setValue(round(1000 * fraction))
        self.progress.setFormat("%p %" if eta is None else f"%p % · {time_left(eta)}")
        if loss is None:
            self.status.setText("Fitted to your strokes; training starts…")
        else:
            self.status.setText(f"Step {step}, loss {loss:.3f}")
            self.plot.add(step, loss)

    def set_verdict(self, sentence: str) -> None:
        """Say how well it has learned; an empty text where that is not known yet."""
        self.verdict.setText(sentence)

    def set_status(self, sentence: str) -> None:
        """Show one line about the training."""
        self.status.setText(sentence)

    def set_device(self, label: str) -> None:
        """Show the name of the device that computes."""
        self.device.setText(label)
        self.device.setToolTip(label)


def time_left(seconds: float) -> str:
    """Return "40 s left", "3 min left" or "2 h left"."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s left"
    if seconds < 5400:
        return f"{round(seconds / 60)} min left"
    return f"{round(seconds / 3600)} h left"
