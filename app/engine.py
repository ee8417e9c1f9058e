"""Engine: owns the network and the one running job.

Training, live prediction and export take turns; none runs beside another, so nobody ever sees
half-changed weights. While training runs, the same job predicts what is in view between two steps.
Before any training, each stroke is answered at once by a head fitted to all of them (see
`unet_core.head`). torch is imported only inside jobs: the window is there before it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot

from app.document import OtherImage
from app.jobs import Job, JobError, Latest, Steps
from app.labelled_images import LabelledImages
from app.sentences import known_sentence
from unet_core.annotation import Annotation, ClassInfo
from unet_core.export import DEFAULT_MIN_SIZE, check_target
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

if TYPE_CHECKING:
    import torch

    from unet_core.batch import Outcome, Task
    from unet_core.head import InstantHead
    from unet_core.instant import InstantAnswer
    from unet_core.live import LivePrediction, PredictedTile
    from unet_core.model import Model
    from unet_core.patches import TrainingSet

logger = logging.getLogger(__name__)

View = tuple[PlaneIndex, Rect]

FIRST_ANSWER_SECONDS = 1.0
"""So long what is in view may be predicted before the first training step."""

Source = Literal["annotation", "prediction", "both"]

BUNDLED = "bundled"
MODEL_FILE = "file"


@dataclass(frozen=True)
class TrainingProgress:
    """What the training panel shows after a step."""

    step: int
    loss: float | None
    """None before the first step."""
    fraction: float
    eta: float | None
    elapsed: float
    verdict: str
    """How well it does on strokes kept aside, in one sentence."""


@dataclass(frozen=True)
class ExportRequest:
    """A file to be written."""

    path: Path
    what: str
    """The id of one of `export_presets.PRESETS`, "annotation" for the classes as they were painted,
    or "model"."""
    threshold: float = 0.5
    min_size: int = DEFAULT_MIN_SIZE
    source: Source = "prediction"
    """What the masks are made from; "both": with the annotation on top."""
    plane: PlaneIndex | None = None
    """Only this one."""

    @property
    def preset(self) -> str:
        """The id of the preset that writes it."""
        return "classes" if self.what == "annotation" else self.what

    @property
    def painted(self) -> bool:
        """Whether the annotation goes into it."""
        return self.what == "annotation" or self.source != "prediction"

    @property
    def predicted(self) -> bool:
        """Whether the prediction goes into it."""
        return self.what != "annotation" and self.source != "annotation"


@dataclass(frozen=True)
class Exported:
    """What an export has written."""

    request: ExportRequest
    model: Model | None
    """The model that was shown then; None: the bundled one."""
    objects: int | None = None
    methods: str = ""
    """How the masks were made, to paste into a paper."""


@dataclass(frozen=True)
class FolderRequest:
    """Many images to be predicted with the model that is shown."""

    images: tuple[Path, ...]
    """Images, and folders of images; of the project, all that it holds."""
    folder: Path
    """Where the files go."""
    presets: tuple[str, ...]
    threshold: float = 0.5
    min_size: int = DEFAULT_MIN_SIZE
    resume: bool = True
    """Skip images whose files are all there."""
    keep_model: bool = True
    """Also write the model there, unless a file holds it already."""
    source: Source = "prediction"
    """What the masks are made from; what was painted is known of the project's images only."""

    @property
    def painted(self) -> bool:
        """Whether annotations go into the masks."""
        return self.source != "prediction"


@dataclass(frozen=True)
class Applied:
    """What has become of many images."""

    request: FolderRequest
    model: Model | None
    """The model that was shown then; None: the bundled one."""
    outcomes: tuple[Outcome, ...]
    kept: Path | None = None
    """Where the model was written."""


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
        self._classes: tuple[ClassInfo, ...] = ()
        self._live = True
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
        self._exchange = _Exchange(None)
        self._labelled = LabelledImages(self.said.emit)
        # Touched by the running job only, and there is but one:
        self._device: torch.device | None = None
        self._prediction: LivePrediction | None = None
        self._answering: InstantAnswer | None = None
        self._answered: Annotation | None = None
        """The labels to which `_instant` is the answer."""
        self._instant: Model | None = None
        self._trained: Model | None = None
        self._settled = False
        self._saved: tuple[Model, Path] | None = None
        """A model, and the file that holds it."""

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
        return self.model or self._instant

    def file_of(self, model: Model | None) -> str | None:
        """What `limn predict` calls this very model; None where no file is known to hold it."""
        if model is None:
            return BUNDLED
        if self._saved is None or self._stack is None:
            return None
        saved, path = self._saved
        fits = saved is model and model.channels == self._stack.shape[2]
        return str(path) if fits and path.is_file() else None

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
        self._exchange = _Exchange(stack)
        self._last_view = self._last_labels = None

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """The classes of the document, background first.

        The next training takes them up, as far as they are painted. A class that nobody has
        painted changes no pixel of what is predicted.
        """
        self._classes = tuple(classes)
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
            self._after_job(lambda: self._start("loading", partial(self._loading, start)))
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
        self._live = live
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
        self._start("training", partial(self._training, self._last_labels or labels))

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
        self._export(partial(self._exporting, request, labels), applies=False)

    def apply(
        self, request: FolderRequest, labelled: Mapping[Path, OtherImage] | None = None
    ) -> None:
        """Predict many images and write their files, as `limn predict` does.

        `labelled`: the images of the project, by their paths, where the request asks for those.
        """
        self._export(partial(self._applying, request, labelled or {}), applies=True)

    def _export(self, steps: Callable[[_Exchange], Steps], *, applies: bool) -> None:
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

    def _start(self, busy: str, steps: Callable[[_Exchange], Steps]) -> None:
        if busy != "predicting":
            self._asked = ""
        if busy == "training":
            self._exchange.labels.take()  # it starts with the newest
            self._trained, self._settled = None, False
        job = Job(partial(self._giving_back, busy, steps, self._exchange), self)
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

    def _set_busy(self, busy: str) -> None:
        if busy != self._busy:
            self._busy = busy
            self.busy_changed.emit(busy)

    @Slot(object)
    def _on_progress(self, report: object) -> None:
        if isinstance(report, TrainingProgress):
            self.training_progress.emit(report)
        elif isinstance(report, _DeviceFound):
            self.device_found.emit(report.label)
        elif self.applies:
            self.apply_progress.emit(report)
        else:
            self.export_progress.emit(report)

    @Slot(object)
    def _on_success(self, result: object) -> None:
        if self._busy == "training":
            self._accept_model("Settled" if self._settled else "Trained", by_itself=True)
        elif isinstance(result, _Loaded):
            if result.exchange is self._exchange:  # else it was meant for another image
                self._saved = (result.model, result.path)
                self._take_model(result.model, MODEL_FILE)
                self.model_trained.emit(result.model)
        elif isinstance(result, Exported):
            self._tell_exported(result)
        elif isinstance(result, Applied):
            if result.kept is not None and result.model is not None:
                self._saved = (result.model, result.kept)
            self.apply_finished.emit(result)

    def _tell_exported(self, done: Exported) -> None:
        path = done.request.path
        if done.request.what == "model" and done.model is not None:
            self._saved = (done.model, path.absolute())
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
        trained, self._trained = self._trained, None
        steps = 0 if trained is None else int(trained.provenance["steps"])
        if trained is None or not steps:
            self._answered = None  # back to the instant answer
            self.training_finished.emit(f"{verb} before the first step.", False)
            self._look_again()
            return
        self.model = trained
        self._forget_instant()
        self.model_trained.emit(trained)
        many = "1 step" if steps == 1 else f"{steps} steps"
        if verb == "Settled":
            sentence = f"Settled after {many}"
        else:
            sentence = f"{verb}: {many} in {trained.provenance['seconds']:.0f} s"
        self.training_finished.emit(sentence, by_itself)
        self._look_again()

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
            and self._live
            and self._stack is not None
            and not self._passed
            and self._classes
            and (self._exchange.view.waiting or (self.model is None and self.labels_waiting))
        ):
            self._start("predicting", self._predicting)

    def _take_stack(self, stack: Stack | None, ranges: NDArray[np.float32] | None) -> None:
        self._stack = stack
        if ranges is not None:
            self._ranges = ranges
        self._take_model(None, BUNDLED)

    def _take_image(self, stack: Stack, ranges: NDArray[np.float32]) -> None:
        self._stack, self._ranges = stack, ranges
        self._prediction = self._answered = None
        self._exchange.tiles.take()
        self.predictions_stale.emit()
        self._look_again()

    def _take_model(self, model: Model | None, start: str) -> None:
        """Another session: all that was predicted is of yesterday."""
        self.model, self.start = model, start
        self._prediction = None
        self._forget_instant()
        self._exchange.tiles.take()
        self.start_changed.emit(start)
        self.predictions_stale.emit()
        self._look_again()

    def _forget_instant(self) -> None:
        self._answering = self._answered = self._instant = None

    # --- generators: they run in the job's thread ----------------------------------------------

    def _prepared(
        self, exchange: _Exchange
    ) -> Generator[Any, None, tuple[torch.device, LivePrediction]]:
        """The device and the live prediction, made on first use."""
        from unet_core.device import choose_device, describe, prepare_thread
        from unet_core.live import LivePrediction

        prepare_thread()
        if self._device is None:
            self._device = choose_device(self.device_name)
            yield _DeviceFound(describe(self._device))
        if self._prediction is None:
            assert self._stack is not None
            self._prediction = LivePrediction(
                self._stack,
                self._ranges,
                self._device,
                partial(self._deliver, exchange.tiles),
                self.said.emit,
            )
            self._prediction.show(self._to_show())
        return self._device, self._prediction

    def _giving_back(
        self, busy: str, steps: Callable[[_Exchange], Steps], exchange: _Exchange
    ) -> Steps:
        """A job whose memory, where it takes much, is given back when it ends, however it ends.

        Not after each prediction: the next one comes soon, and would ask for the same again.
        """
        try:
            return (yield from steps(exchange))
        finally:
            if busy in ("training", "exporting") and self._device is not None:
                from unet_core.device import release

                release(self._device)

    def _to_show(self) -> Model:
        """A copy of the model that is shown and exported, for the image's channels."""
        from unet_core.model import Model

        assert self._stack is not None
        return (self.shown_model or Model.bundled()).adapted(self._stack.shape[2])

    def _to_train(self, values: Sequence[int]) -> Model:
        """A copy of the model that training on labels of these values starts from.

        It has as many classes as are painted, so that `limn train` on the same labels has as many;
        and it never is the instant answer: training begins with one of its own, for the same
        reason.
        """
        from unet_core.model import Model

        assert self._stack is not None
        channels = self._stack.shape[2]
        if self.model is None and self.start != BUNDLED:
            classes = self._classes[: max(2, *values, 0)]
            start = Model.fresh(self.start, channels, classes, self.seed)
        else:
            start = self.model or Model.bundled()
            start = start.adapted(channels, self._classes[: max(len(start.classes), *values, 0)])
        start.pixel_size = self._stack.pixel_size
        return start

    def _deliver(self, box: _TileBox, tile: PredictedTile) -> None:
        if box.put(tile):
            self.tiles_ready.emit()

    def _predicting(self, exchange: _Exchange) -> Steps:
        _, prediction = yield from self._prepared(exchange)
        while True:
            if view := exchange.view.take():
                prediction.look_at(*view)
            if self.model is None and (labels := exchange.labels.take()):
                yield from self._answer(labels, prediction)
            if not prediction.step():
                return None
            yield None

    def _answer(self, labels: Annotation, prediction: LivePrediction) -> Steps:
        """Show what the strokes alone tell; the bundled network where they are too few."""
        from unet_core.instant import InstantAnswer
        from unet_core.model import Model
        from unet_core.patches import TrainingSet

        assert self._stack is not None and self._device is not None
        if labels is self._answered:
            return
        if self._answering is None:
            start = Model.bundled().adapted(self._stack.shape[2])
            self._answering = InstantAnswer(start, self._device)
        data = yield from self._labelled.joined(TrainingSet.of(self._stack, labels, self._ranges))
        yield None
        former = self._instant
        self._instant = yield from self._answering.fit(data, self._classes)
        self._answered = labels
        if self._instant is not None:
            self._instant.pixel_size = self._stack.pixel_size
        if self._instant is not None or former is not None:
            prediction.show(self._to_show())

    def _training(self, labels: Annotation, exchange: _Exchange) -> Steps:
        from unet_core.device import choose_device, is_out_of_memory, release
        from unet_core.patches import TrainingSet

        assert self._stack is not None
        device, prediction = yield from self._prepared(exchange)
        data = yield from self._labelled.joined(TrainingSet.of(self._stack, labels, self._ranges))
        yield None
        start = self._to_train(data.values)
        bundled = self.model is None and self.start == BUNDLED
        head = self._answering.head if bundled and self._answering is not None else None
        try:
            yield from self._fitting(start, data, device, prediction, exchange, head)
            return None
        except (RuntimeError, MemoryError) as error:
            if device.type == "cpu" or not is_out_of_memory(error):
                raise
        # Only out here does the failed step let go of its memory.
        release(device)
        self.said.emit("The graphics card has run out of memory; training goes on on the CPU.")
        if self._trained is not None and self._trained.provenance["steps"]:
            start = self._trained.copy()
        yield from self._fitting(start, data, choose_device("cpu"), prediction, exchange)
        return None

    def _fitting(
        self,
        start: Model,
        data: TrainingSet,
        device: torch.device,
        prediction: LivePrediction,
        exchange: _Exchange,
        head: InstantHead | None = None,
    ) -> Steps:
        """Train and, between two steps, predict.

        `head` is the instant answer's, where that is to the same start: it need not look at the
        strokes again.
        """
        from unet_core.patches import TrainingSet
        from unet_core.training import fit

        assert self._stack is not None
        fitting = fit(
            start,
            data,
            device=device,
            seed=self.seed,
            steps=self.training_steps,
            seconds=self.training_seconds,
            head=head,
        )
        newer: TrainingSet | None = None
        shown = -1
        try:
            while True:
                report = fitting.send(newer)
                # From here on what was learned is kept, should the user stop.
                self._trained, self._settled = report.model, report.settled
                yield TrainingProgress(
                    report.step,
                    report.loss,
                    report.fraction,
                    report.eta if np.isfinite(report.eta) else None,
                    report.elapsed,
                    str(report.verdict),
                )
                if view := exchange.view.take():
                    prediction.look_at(*view)
                if self._live:
                    first = shown < 0
                    # Better weights wait until the whole view has been predicted with the former
                    # ones, but for the first: they may hold an answer where there was none.
                    if report.generation != shown and (prediction.idle or first):
                        prediction.show(report.model)
                        shown = report.generation
                    until = time.monotonic() + (FIRST_ANSWER_SECONDS if first else 0)
                    while prediction.step():
                        yield None
                        if time.monotonic() >= until:
                            break
                # As late as can be: what is painted up to here is learned, even after the last
                # step. A class that is painted for the first time waits for the next training.
                newer = None
                if painted := exchange.labels.take():
                    highest = len(start.classes)
                    own = TrainingSet.of(self._stack, painted, self._ranges, highest)
                    newer = yield from self._labelled.joined(own, highest)
        except StopIteration:
            pass
        finally:
            fitting.close()  # it may still take over better weights
            if self._trained is not None:
                self._trained = self._trained.copy()
                prediction.show(self._trained)
        return None

    def _loading(self, path: Path, exchange: _Exchange) -> Steps:
        from unet_core.model import Model, ModelError

        model = Model.load(path)
        yield None
        if len(model.classes) > len(self._classes):
            raise ModelError(
                f"{path.name} knows {len(model.classes)} classes, but there are only "
                f"{len(self._classes)} here: add the others first."
            )
        return _Loaded(model, path.absolute(), exchange)

    def _exporting(
        self, request: ExportRequest, labels: Annotation | None, exchange: _Exchange
    ) -> Steps:
        assert self._stack is not None
        stack, shown = self._stack, self.shown_model
        if request.what == "model":
            check_target(request.path, stack, overwrite=True)
            self._to_show().save(request.path)
            yield None
            return Exported(request, shown)
        from unet_core.export_presets import methods_sentence, write_presets

        device = None
        if request.predicted:
            device, _ = yield from self._prepared(exchange)
        written = yield from write_presets(
            {request.preset: request.path},
            stack,
            annotation=labels if request.painted else None,
            classes=self._classes,
            model=self._to_show() if request.predicted else None,
            ranges=self._ranges,
            device=device,
            plane=request.plane,
            threshold=request.threshold,
            min_size=request.min_size,
            overwrite=True,
            say=self.said.emit,
        )
        return Exported(request, shown, written.objects, methods_sentence(written.notes))

    def _applying(
        self,
        request: FolderRequest,
        labelled: Mapping[Path, OtherImage],
        exchange: _Exchange,
    ) -> Steps:
        from unet_core.batch import plan, predict_all
        from unet_core.export import make_folder
        from unet_core.model import Model
        from unet_core.segment import fingerprint

        shown = self.shown_model
        tasks = [
            _with_labels(task, labelled, request)
            for task in plan(request.images, request.presets, request.folder)
        ]
        if request.source == "annotation":
            tasks = [task for task in tasks if task.annotation is not None]
        make_folder(request.folder)
        model = device = kept = None
        if request.source != "annotation":
            device, _ = yield from self._prepared(exchange)
            model = Model.bundled() if shown is None else shown.copy()
        if model is not None and request.keep_model and self.file_of(shown) is None:
            kept = request.folder.absolute() / f"limn_model_{fingerprint(model)[:8]}.safetensors"
            model.save(kept)
            yield None
        outcomes = yield from predict_all(
            tasks,
            model,
            device,
            classes=self._classes if request.painted else (),
            adapt=shown is None,
            threshold=request.threshold,
            min_size=request.min_size,
            resume=request.resume,
            explain=known_sentence,
            say=self.said.emit,
        )
        return Applied(request, shown, tuple(outcomes), kept)


def _with_labels(task: Task, labelled: Mapping[Path, OtherImage], request: FolderRequest) -> Task:
    """The same task with what is known of an image of the project."""
    known = labelled.get(task.image)
    if known is None or known.reference is None:
        return task
    painted = known.annotation if request.painted and known.annotation.counts() else None
    return replace(task, annotation=painted, reading=known.reference.reading)


@dataclass(frozen=True)
class _Loaded:
    model: Model
    path: Path
    exchange: _Exchange


@dataclass(frozen=True)
class _DeviceFound:
    label: str


class _TileBox:
    """Tiles on their way to the GUI: at most one for each place, the newest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tiles: dict[tuple[PlaneIndex, Rect], PredictedTile] = {}

    def put(self, tile: PredictedTile) -> bool:
        """Leave a tile; True when the box was empty, so that the reader must be told."""
        with self._lock:
            was_empty = not self._tiles
            self._tiles[tile.plane, tile.rect] = tile
            return was_empty

    def take(self) -> list[PredictedTile]:
        with self._lock:
            tiles, self._tiles = self._tiles, {}
            return list(tiles.values())


class _Exchange:
    """What passes between the GUI thread and the job's about one image."""

    def __init__(self, stack: Stack | None) -> None:
        self.stack = stack
        self.view: Latest[View] = Latest()
        self.labels: Latest[Annotation] = Latest()
        self.tiles = _TileBox()
