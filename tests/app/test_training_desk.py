"""When training starts, and when it goes on by itself: between Train and Stop, after strokes."""

import numpy as np
import pytest
from PySide6.QtWidgets import QFileDialog

from app.document import Document
from app.panels.training import TrainingPanel
from app.training_desk import TrainingDesk
from tests.synthetic import write_imagej
from unet_core.stack import open_stack


class StillEngine:
    """What the desk asks of the engine, and nothing happens: the test says what does."""

    def __init__(self) -> None:
        self.busy = "idle"
        self.model = None
        self.labels_waiting = False
        self.trained: list[dict[int, int]] = []
        self.told: list[dict[int, int]] = []
        self.stops = 0
        self.starts: list[object] = []

    def train(self, labels) -> None:
        self.trained.append(labels.counts())

    def update_labels(self, labels) -> None:
        self.told.append(labels.counts())

    def stop(self) -> None:
        self.stops += 1

    def begin_with(self, start) -> None:
        self.starts.append(start)


class Desk:
    """A desk with all that it works with, wired as in the window."""

    def __init__(self, stack) -> None:
        self.document = Document()
        self.engine = StillEngine()
        self.panel = TrainingPanel()
        self.desk = TrainingDesk(self.document, self.engine, self.panel, self.document)
        self.document.project_changed.connect(self.desk.another_project)
        self.document.counts_changed.connect(self.desk.labels_changed)
        self.document.classes_changed.connect(self.desk.update_reason)
        self.document.set_stack(stack, np.array([[0, 1]], np.float32))

    def paint(self, value: int, y: int) -> None:
        self.document.set_active_class(value)
        self.document.begin_stroke(y, 20)
        self.document.extend_stroke(y, 50)
        self.document.end_stroke()

    def begin(self) -> None:
        """Two strokes, Train, and it runs."""
        self.paint(1, 10)
        self.paint(2, 50)
        self.desk.train()
        self.engine.busy = "training"
        self.desk.started()
        self.desk.engine_busy("training")

    def end(self, sentence: str = "Settled after 9 steps", by_itself: bool = True) -> None:
        self.engine.model = object()
        self.desk.finished(sentence, by_itself)
        self.engine.busy = "idle"
        self.desk.engine_busy("idle")

    @property
    def quiet(self) -> bool:
        """Whether nothing more will happen by itself."""
        return not (self.desk._hand_over.isActive() or self.desk._going_on.isActive())


@pytest.fixture
def at(qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr("app.training_desk.LABELS_DELAY_MS", 0)
    monkeypatch.setattr("app.training_desk.GO_ON_DELAY_MS", 1)
    with open_stack(write_imagej(tmp_path / "a.tif", np.zeros((80, 80), np.uint8), "YX")) as stack:
        made = Desk(stack)
        qtbot.addWidget(made.panel)
        yield made


def test_every_stroke_and_every_undo_is_handed_over(at, qtbot):
    for change in (
        lambda: at.paint(1, 10),
        lambda: at.paint(2, 50),
        at.document.undo,
        at.document.redo,
    ):
        change()
        counts = at.document.annotation.counts()
        qtbot.waitUntil(lambda counts=counts: at.engine.told[-1:] == [counts])
    assert at.engine.trained == [], "nobody has asked for it"
    # Choosing a class is no change of the labels.
    qtbot.waitUntil(lambda: at.quiet)
    at.document.set_active_class(1)
    assert at.quiet


def test_several_strokes_in_a_row_are_handed_over_as_one(at, qtbot):
    qtbot.waitUntil(lambda: at.quiet)
    at.engine.told.clear()
    for y in range(10, 60, 10):
        at.paint(1, y)
    qtbot.waitUntil(lambda: at.quiet)
    assert at.engine.told == [at.document.annotation.counts()]


def test_it_goes_on_when_more_is_painted_until_it_is_stopped(at, qtbot):
    at.begin()
    assert at.desk.learning and at.panel.stop.isEnabled()
    at.end()
    assert at.panel.status.text() == "Settled after 9 steps. It goes on when you paint more."
    assert at.panel.stop.isEnabled(), "it would go on: that can be stopped"
    qtbot.waitUntil(lambda: at.quiet)
    assert len(at.engine.trained) == 1
    at.paint(2, 30)
    qtbot.waitUntil(lambda: len(at.engine.trained) == 2)
    assert at.engine.trained[-1] == at.document.annotation.counts()
    at.desk.stop()
    assert not at.desk.learning and not at.panel.stop.isEnabled()
    assert "train again" in at.panel.status.text()
    at.paint(2, 70)
    qtbot.waitUntil(lambda: at.quiet)
    assert len(at.engine.trained) == 2


@pytest.mark.parametrize("sentence", ["Stopped: 3 steps in 1 s", "Interrupted before the first"])
def test_after_a_stop_or_an_error_it_does_not_go_on(at, qtbot, sentence):
    at.begin()
    at.end(sentence, by_itself=False)
    assert not at.desk.learning
    assert at.panel.status.text().startswith(sentence)
    at.paint(2, 30)
    qtbot.waitUntil(lambda: at.quiet)
    assert len(at.engine.trained) == 1


def test_stopped_at_the_very_end_it_does_not_go_on(at, qtbot):
    """The training had ended by itself when Stop was pressed."""
    at.begin()
    at.desk.stop()
    assert at.engine.stops == 1
    at.end()
    assert not at.desk.learning
    assert "goes on" not in at.panel.status.text()


def test_after_another_image_it_does_not_go_on(at, qtbot):
    at.begin()
    at.end()
    at.document.set_stack(at.document.stack, np.array([[0, 1]], np.float32))
    assert not at.desk.learning
    at.paint(1, 10)
    at.paint(2, 50)
    qtbot.waitUntil(lambda: at.quiet)
    assert len(at.engine.trained) == 1


def test_a_running_training_is_told_and_not_started_again(at, qtbot):
    at.begin()
    at.paint(2, 30)
    qtbot.waitUntil(lambda: at.quiet)
    assert at.engine.told[-1] == at.document.annotation.counts()
    assert len(at.engine.trained) == 1
    # What came too late for it is learned in another one.
    at.engine.labels_waiting = True
    at.end("Trained: 9 steps in 60 s")
    qtbot.waitUntil(lambda: len(at.engine.trained) == 2)


def test_it_waits_for_the_stroke_to_end_and_for_an_export(at, qtbot):
    at.begin()
    at.end()
    at.paint(2, 30)
    at.document.begin_stroke(60, 20)
    at.engine.busy = "exporting"
    for _ in range(3):
        at.desk._go_on()
    at.engine.busy = "idle"
    at.desk._go_on()
    assert len(at.engine.trained) == 1
    at.engine.busy = "exporting"
    at.document.end_stroke()
    at.desk._go_on()
    assert len(at.engine.trained) == 1
    at.desk.stop()  # the export
    assert at.desk.learning
    at.engine.busy = "idle"
    qtbot.waitUntil(lambda: len(at.engine.trained) == 2)


def test_with_too_few_labels_it_waits(at, qtbot):
    at.begin()
    at.end()
    at.document.undo()
    qtbot.waitUntil(lambda: at.quiet)
    assert len(at.engine.trained) == 1 and at.desk.learning
    at.document.redo()
    qtbot.waitUntil(lambda: len(at.engine.trained) == 2)


def test_another_start_is_another_session(at, qtbot, monkeypatch, tmp_path):
    at.begin()
    at.desk.choose_start("unet2015")
    assert at.engine.starts == [], "not in the middle of a training"
    at.end()
    at.desk.choose_start("unet2015")
    assert at.engine.starts == ["unet2015"] and not at.desk.learning
    path = tmp_path / "m.safetensors"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    at.desk.choose_start("file")
    assert at.engine.starts == ["unet2015", path]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    at.desk.choose_start("file")
    assert len(at.engine.starts) == 2
