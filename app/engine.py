"""Engine: owns the network and the one running job.

Training, live prediction and export take turns; none runs beside another, so nobody ever sees
half-changed weights. While training runs, the same job predicts what is in view between two steps.
Before any training, each stroke is answered at once by a head fitted to all of them (see
`unet_core.head`). torch is imported only inside jobs: the window is there before it.

All of this module runs in the GUI thread. What runs in the job's is in `learning` and `writing`,
and what lies between the two in `workshop`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot

from app.document import OtherImage
from app.jobs import Job, JobError
from app.labelled_images import LabelledImages
from app.learning import Loaded, loading, predicting, training
from app.requests import (
    BUNDLED,
    MODEL_FILE,
    Applied,
    Exported,
    ExportRequest,
    FolderRequest,
    TrainingProgress,
)
from app.workshop import (
    DeviceFound,
    Exchange,
    Given,
    JobSteps,
    ModelFile,
    View,
    Workshop,
    file_of,
    giving_back,
)
from app.writing import applying, exporting
from unet_core.annotation import Annotation, ClassInfo
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

if TYPE_CHECKING:
    from unet_core.live import PredictedTile
    from unet_core.model import Model


class Engine(QObject):
    """Starts work, one job at a time, and says what comes of it. Lives in the GUI thread."""

    tiles_ready = Signal()
    """There is something to take with `take_tiles()`."""
    predictions_stale = Signal()
    """The weights or the classes have changed: what the overlay shows is of yesterday."""
    training_started = Signal()
    training_progress = Signal(object)
    training_finished = Signal(str, bool)
    """What has become of it, and whether it ended by itself: neither stopped nor failed."""
    model_trained = Signal(object)
    """The new Model, to be saved; never changed afterwards."""
    export_progress = Signal(object)
    export_finished = Signal(str, object, object)
    """What has become of it, the path and the `Exported`; both None where nothing was written."""
    apply_progress = Signal(object)
    apply_finished = Signal(object)
    """The `Applied`; None where it was cancelled."""
    failed = Signal(str, str)
    said = Signal(str)
    """A sentence for the user while all goes on: memory is short, say."""
    busy_changed = Signal(str)
    """"idle", "predicting", "training", "loading" or "exporting"."""
    start_changed = Signal(str)
    """What training begins with: `BUNDLED`, the name of a network, or `MODEL_FILE`."""
    device_found = Signal(str)
    finished = Signal()
    """After `shutdown()`: nothing runs any more."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.training_seconds: float | None = 60.0
        self.training_steps: int | None = None
        self.seed = 0
        self.device_name = "auto"
        self.model: Model | None = None
        """The session's model: trained here, or read from a file. None: there is none yet."""
        self.start = BUNDLED
        self._stack: Stack | None = None
        self._ranges: NDArray[np.float32] = np.zeros((1, 2), np.float32)
        self._job: Job | None = None
        self._busy = "idle"
        self._next: Callable[[], None] | None = None
        self._asked = ""
        """Training or exporting that waits for the present job to end."""
        self.applies = False
        """Whether the export, the present or the last one, is one of many images."""
        self._closing = False
        self._last_view: View | None = None
        self._last_labels: Annotation | None = None
        self._exchange = Exchange(None, self.tiles_ready.emit)
        self._labelled = LabelledImages(self.said.emit)
        self._saved: ModelFile | None = None
        # The running job's own, changed here only where none runs:
        self._own = Workshop()

    # --- what the window asks for --------------------------------------------------------------

    @property
    def busy(self) -> str:
        """What runs now: "idle", "predicting", "training", "loading" or "exporting"."""
        return self._busy

    @property
    def shown_model(self) -> Model | None:
        """The model whose prediction is on show: the session's own, or the instant answer.

        None: the bundled one, which knows nothing of the strokes.
        """
        return self.model or self._own.instant

    def file_of(self, model: Model | None) -> str | None:
        """What `limn predict` calls this very model; None where no file is known to hold it."""
        return file_of(model, self._stack, self._saved)

    @property
    def labels_waiting(self) -> bool:
        """Whether there are labels that no job has taken up."""
        return self._exchange.labels.waiting

    def set_stack(self, stack: Stack | None, ranges: NDArray[np.float32] | None = None) -> None:
        """An image of another project: what was known of the former one is forgotten."""
        self._leave_image(stack)
        self._after_job(lambda: self._take_stack(stack, ranges))

    def show_image(self, stack: Stack, ranges: NDArray[np.float32]) -> None:
        """Another image of the same project: what was learned holds for it, too."""
        self._leave_image(stack)
        self._after_job(lambda: self._take_image(stack, ranges))

    def set_others(self, image: int, others: Mapping[int, OtherImage], folder: Path) -> None:
        """The other images of the project, whose labels count in training; `image` is on show.

        folder: the project's.
        """
        self._labelled.set_others(image, others, folder)

    def _leave_image(self, stack: Stack | None) -> None:
        # At once: a job that still reads the former image must not get views of the new one.
        self._exchange = self._exchange.of_image(stack)
        self._last_view = self._last_labels = None

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """The classes of the document, background first.

        The next training takes them up, as far as they are painted. A class that nobody has
        painted changes no pixel of what is predicted.
        """
        self._exchange.classes = tuple(classes)
        self._predict_if_idle()

    def set_model(self, model: Model | None) -> None:
        """Go on with this model, None for the bundled one."""
        scratch = model is not None and model.provenance.get("start") == "scratch"
        start = model.network_name if model is not None and scratch else BUNDLED
        self._after_job(lambda: self._take_model(model, start))

    def begin_with(self, start: str | Path) -> None:
        """Leave the session's model and begin anew.

        With `BUNDLED`; with the network of this name and random weights, which shows nothing until
        it is trained; or with the model in a file, which is shown as it is.
        """
        if self._stack is None or self._occupied:
            self.start_changed.emit(self.start)
        elif isinstance(start, Path):
            self._after_job(lambda: self._start("loading", partial(loading, start)))
        else:
            self._after_job(lambda: self._take_model(None, start))

    def set_view(self, plane: PlaneIndex, rect: Rect) -> None:
        """What the user looks at; predicted as soon as possible when live prediction is on."""
        if self._stack is None or rect.empty:
            return
        self._last_view = plane, rect
        self._exchange.view.put(self._last_view)
        self._predict_if_idle()

    def set_live(self, live: bool) -> None:
        """Switch live prediction on or off."""
        self._exchange.live = live
        if live:
            self._look_again()
            self._predict_if_idle()
        elif self._busy == "predicting" and self._job is not None:
            self._job.stop()

    def train(self, labels: Annotation) -> None:
        """Fine-tune on these labels; `labels` is a snapshot that is not painted on any more."""
        if self._stack is None or self._occupied:
            return
        self._asked = "training"
        self._last_labels = labels
        self._after_job(lambda: self._start_training(labels))

    def _start_training(self, labels: Annotation) -> None:
        if self._passed:  # the user has gone to another image meanwhile
            self._asked = ""
            self.training_finished.emit("Stopped before the first step.", False)
            return
        # What is painted until the present job has ended counts, too.
        self._start("training", partial(training, self._last_labels or labels))

    def update_labels(self, labels: Annotation) -> None:
        """Newer labels (a snapshot): training under way goes on with them.

        Where nothing has been trained yet, they get an instant answer. Only the newest count.
        """
        if self._stack is None:
            return
        self._last_labels = labels
        self._exchange.labels.put(labels)
        self._predict_if_idle()

    def export(self, request: ExportRequest, labels: Annotation | None = None) -> None:
        """Write a file; `labels` is a snapshot, where the request asks for what was painted."""
        self._export(partial(exporting, request, labels), applies=False)

    def apply(
        self, request: FolderRequest, labelled: Mapping[Path, OtherImage] | None = None
    ) -> None:
        """Predict many images and write their files, as `limn predict` does.

        `labelled`: the images of the project, by their paths, where the request asks for those.
        """
        self._export(partial(applying, request, labelled or {}), applies=True)

    def _export(self, steps: JobSteps, *, applies: bool) -> None:
        if self._stack is None:
            return
        if occupied := self._occupied:
            what = "Training" if occupied == "training" else "Another export"
            self.failed.emit(f"{what} is under way: stop it or wait, then export.", "")
            return
        self._asked, self.applies = "exporting", applies
        self._after_job(lambda: self._start("exporting", steps))

    def stop(self) -> None:
        """Stop training (what was learned is kept) or exporting (no file is left behind)."""
        if self._job is not None and self._busy in ("training", "exporting"):
            self._job.stop()

    def shutdown(self) -> bool:
        """Stop everything for good. True while a job still runs; then `finished` will come."""
        self._closing = True
        self._next = None
        if self._job is None:
            return False
        self._job.stop()
        return True

    def take_tiles(self) -> list[PredictedTile]:
        """Tiles predicted since the last call, the newest of each place."""
        return self._exchange.tiles.take()

    # --- the one job ---------------------------------------------------------------------------

    @property
    def _occupied(self) -> str:
        """ "training" or "exporting" where that runs or is about to, else an empty text."""
        return self._busy if self._busy in ("training", "exporting") else self._asked

    @property
    def _passed(self) -> bool:
        """Whether the image is only passed by: another one follows, and its files may be closed."""
        return self._exchange.stack is not self._stack

    def _after_job(self, start: Callable[[], None]) -> None:
        """Do `start` when no job runs: at once, or when the present one has been stopped."""
        if self._closing:
            return
        if self._job is None:
            start()
            self._predict_if_idle()
            return
        former = self._next

        def both() -> None:
            if former is not None:
                former()
            # The former request may have started a job of its own; then it is that one's turn.
            self._after_job(start)

        self._next = both
        if self._busy not in ("exporting", "loading"):
            self._job.stop()

    def _start(self, busy: str, steps: JobSteps) -> None:
        if busy != "predicting":
            self._asked = ""
        if busy == "training":
            self._exchange.labels.take()  # it starts with the newest
            self._own.begin_training()
        run = partial(steps, self._own, self._given())
        if busy in ("training", "exporting"):
            # Not after each prediction: the next one comes soon, and would ask for the same again.
            run = partial(giving_back, self._own, run)
        job = Job(run, self)
        self._job = job
        self._set_busy(busy)
        job.progressed.connect(self._on_progress)
        job.succeeded.connect(self._on_success)
        job.stopped.connect(self._on_stop)
        job.failed.connect(self._on_failure)
        job.finished.connect(self._on_finished)
        if busy == "training":
            self.training_started.emit()
        job.start()

    def _given(self) -> Given:
        assert self._stack is not None
        return Given(
            exchange=self._exchange,
            stack=self._stack,
            ranges=self._ranges,
            labelled=self._labelled,
            model=self.model,
            start=self.start,
            saved=self._saved,
            device_name=self.device_name,
            seed=self.seed,
            training_steps=self.training_steps,
            training_seconds=self.training_seconds,
            say=self.said.emit,
        )

    def _set_busy(self, busy: str) -> None:
        if busy != self._busy:
            self._busy = busy
            self.busy_changed.emit(busy)

    # --- what comes of it ----------------------------------------------------------------------

    @Slot(object)
    def _on_progress(self, report: object) -> None:
        if isinstance(report, TrainingProgress):
            self.training_progress.emit(report)
        elif isinstance(report, DeviceFound):
            self.device_found.emit(report.label)
        elif self.applies:
            self.apply_progress.emit(report)
        else:
            self.export_progress.emit(report)

    @Slot(object)
    def _on_success(self, result: object) -> None:
        if self._busy == "training":
            self._accept_model("Settled" if self._own.settled else "Trained", by_itself=True)
        elif isinstance(result, Loaded):
            if result.exchange is self._exchange:  # else it was meant for another image
                self._saved = ModelFile(result.model, result.path)
                self._take_model(result.model, MODEL_FILE)
                self.model_trained.emit(result.model)
        elif isinstance(result, Exported):
            self._tell_exported(result)
        elif isinstance(result, Applied):
            if result.kept is not None and result.model is not None:
                self._saved = ModelFile(result.model, result.kept)
            self.apply_finished.emit(result)

    def _tell_exported(self, done: Exported) -> None:
        path = done.request.path
        if done.request.what == "model" and done.model is not None:
            self._saved = ModelFile(done.model, path.absolute())
        many = "1 object" if done.objects == 1 else f"{done.objects} objects"
        objects = "" if done.objects is None else f"{many}. "
        self.export_finished.emit(f"{objects}Written to {path}", path, done)

    @Slot()
    def _on_stop(self) -> None:
        if self._busy == "training":
            self._accept_model("Stopped")
        elif self._busy == "exporting" and self.applies and not self._closing:
            self.apply_finished.emit(None)
        elif self._busy == "exporting" and not self._closing:
            self.export_finished.emit("Export cancelled; no file was written.", None, None)
        elif self._busy == "predicting":
            self._look_again()  # some tiles are still to do

    @Slot(object)
    def _on_failure(self, error: JobError) -> None:
        if self._busy == "predicting":
            self._last_view = self._last_labels = None  # do not fail again and again
        elif self._busy == "loading":
            self.start_changed.emit(self.start)
        self.failed.emit(error.sentence, error.details)
        if self._busy == "training":
            self._accept_model("Interrupted")

    @Slot()
    def _on_finished(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.deleteLater()
        self._set_busy("idle")
        if self._closing:
            self.finished.emit()
            return
        following, self._next = self._next, None
        if following is not None:
            following()
        self._predict_if_idle()

    def _accept_model(self, verb: str, *, by_itself: bool = False) -> None:
        trained, self._own.trained = self._own.trained, None
        steps = 0 if trained is None else int(trained.provenance["steps"])
        if trained is None or not steps:
            self._own.answered = None  # back to the instant answer
            self.training_finished.emit(f"{verb} before the first step.", False)
            self._look_again()
            return
        self.model = trained
        self._own.forget_answer()
        self.model_trained.emit(trained)
        many = "1 step" if steps == 1 else f"{steps} steps"
        if verb == "Settled":
            sentence = f"Settled after {many}"
        else:
            sentence = f"{verb}: {many} in {trained.provenance['seconds']:.0f} s"
        self.training_finished.emit(sentence, by_itself)
        self._look_again()

    # --- between two jobs ----------------------------------------------------------------------

    def _look_again(self) -> None:
        """What the user looks at is to be predicted, be it for the second time."""
        if self._last_view is not None:
            self._exchange.view.put(self._last_view)
        if self.model is None and self._last_labels is not None and not self.labels_waiting:
            self._exchange.labels.put(self._last_labels)

    def _predict_if_idle(self) -> None:
        if (
            self._job is None
            and not self._closing
            and self._exchange.live
            and self._stack is not None
            and not self._passed
            and self._exchange.classes
            and (self._exchange.view.waiting or (self.model is None and self.labels_waiting))
        ):
            self._start("predicting", predicting)

    def _take_stack(self, stack: Stack | None, ranges: NDArray[np.float32] | None) -> None:
        self._stack = stack
        if ranges is not None:
            self._ranges = ranges
        self._take_model(None, BUNDLED)

    def _take_image(self, stack: Stack, ranges: NDArray[np.float32]) -> None:
        self._stack, self._ranges = stack, ranges
        self._own.leave_image()
        self._exchange.tiles.take()
        self.predictions_stale.emit()
        self._look_again()

    def _take_model(self, model: Model | None, start: str) -> None:
        """Another session: all that was predicted is of yesterday."""
        self.model, self.start = model, start
        self._own.leave_model()
        self._exchange.tiles.take()
        self.start_changed.emit(start)
        self.predictions_stale.emit()
        self._look_again()
