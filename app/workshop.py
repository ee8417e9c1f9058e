"""What a job of the engine works with, and which thread may touch what.

Every generator that the engine runs in a job's thread takes two things. `Workshop` is that
thread's own: one job runs at a time, and while it runs nobody else changes anything there. `Given`
is how things stood in the window when the job began: it never changes. What passes between the
two threads meanwhile goes through `Exchange`, and through nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.jobs import Latest, Steps
from app.labelled_images import LabelledImages
from app.requests import BUNDLED
from unet_core.annotation import Annotation, ClassInfo
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

if TYPE_CHECKING:
    import torch

    from unet_core.instant import InstantAnswer
    from unet_core.live import LivePrediction, PredictedTile
    from unet_core.model import Model

View = tuple[PlaneIndex, Rect]


@dataclass
class Workshop:
    """What one job leaves to the next. The window's thread changes it only where no job runs."""

    device: torch.device | None = None
    prediction: LivePrediction | None = None
    """Of the image on show; None: made on first use."""
    answering: InstantAnswer | None = None
    answered: Annotation | None = None
    """The labels to which `instant` is the answer."""
    instant: Model | None = None
    """The instant answer; the window looks at it at any time, and it is replaced as a whole."""
    trained: Model | None = None
    """What the training that runs, or has just ended, has learned; None: nothing yet."""
    settled: bool = False
    """Whether that training has nothing more to learn."""

    def leave_image(self) -> None:
        """Another image of the same project comes."""
        self.prediction = self.answered = None

    def leave_model(self) -> None:
        """Another model comes: what was predicted and answered is of yesterday."""
        self.prediction = None
        self.forget_answer()

    def forget_answer(self) -> None:
        """A trained model takes the place of the instant answer."""
        self.answering = self.answered = self.instant = None

    def begin_training(self) -> None:
        """Nothing is learned yet."""
        self.trained, self.settled = None, False


@dataclass(frozen=True)
class ModelFile:
    """A model, and the file that holds it."""

    model: Model
    path: Path


@dataclass(frozen=True)
class Given:
    """How things stood in the window when the job began."""

    exchange: Exchange
    stack: Stack
    """The image on show."""
    ranges: NDArray[np.float32]
    """Its intensities, `(C, 2)`: see `intensity.intensity_range`."""
    labelled: LabelledImages
    """What the other images teach."""
    model: Model | None
    """The session's own; None: there is none yet."""
    start: str
    """What training begins with where there is no model, see `Engine.begin_with`."""
    saved: ModelFile | None
    device_name: str
    seed: int
    training_steps: int | None
    training_seconds: float | None
    say: Callable[[str], None]
    """Tells the user one sentence, from any thread."""


JobSteps = Callable[[Workshop, Given], Steps]
"""Begins what a job does, in its thread."""


class Exchange:
    """What passes between the window's thread and the job's about one image.

    The boxes have locks. `classes` and `live` are set by the window and looked at by the job
    between two steps: they are replaced, never changed in place.
    """

    def __init__(
        self,
        stack: Stack | None,
        tell: Callable[[], None],
        classes: tuple[ClassInfo, ...] = (),
        live: bool = True,
    ) -> None:
        """`tell` is called in the job's thread when there are tiles to be taken."""
        self.stack = stack
        self.view: Latest[View] = Latest()
        self.labels: Latest[Annotation] = Latest()
        self.tiles = TileBox(tell)
        self.classes = classes
        """Those of the document, background first."""
        self.live = live
        """Whether what is in view is predicted while training runs."""

    def of_image(self, stack: Stack | None) -> Exchange:
        """A new one about another image, with what the user has set."""
        return Exchange(stack, self.tiles.tell, self.classes, self.live)


class TileBox:
    """Tiles on their way to the window: at most one for each place, the newest."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self.tell = tell
        """Called when a tile has come into the empty box."""
        self._lock = threading.Lock()
        self._tiles: dict[tuple[PlaneIndex, Rect], PredictedTile] = {}

    def put(self, tile: PredictedTile) -> None:
        """Leave a tile."""
        with self._lock:
            was_empty = not self._tiles
            self._tiles[tile.plane, tile.rect] = tile
        if was_empty:
            self.tell()

    def take(self) -> list[PredictedTile]:
        """All tiles that have come since."""
        with self._lock:
            tiles, self._tiles = self._tiles, {}
            return list(tiles.values())


@dataclass(frozen=True)
class DeviceFound:
    """Reported once, by the first job that computes."""

    label: str


def prepared(
    own: Workshop, given: Given
) -> Generator[Any, None, tuple[torch.device, LivePrediction]]:
    """The device and the live prediction, made on first use."""
    from unet_core.device import choose_device, describe, prepare_thread
    from unet_core.live import LivePrediction

    prepare_thread()
    if own.device is None:
        own.device = choose_device(given.device_name)
        yield DeviceFound(describe(own.device))
    if own.prediction is None:
        own.prediction = LivePrediction(
            given.stack, given.ranges, own.device, given.exchange.tiles.put, given.say
        )
        own.prediction.show(to_show(own, given))
    return own.device, own.prediction


def giving_back(own: Workshop, steps: Callable[[], Steps]) -> Steps:
    """A job that takes much memory, which is given back when it ends, however it ends."""
    try:
        return (yield from steps())
    finally:
        if own.device is not None:
            from unet_core.device import release

            release(own.device)


def shown_model(own: Workshop, given: Given) -> Model | None:
    """The model whose prediction is on show; None: the bundled one."""
    return given.model or own.instant


def to_show(own: Workshop, given: Given) -> Model:
    """A copy of the model that is shown and exported, for the image's channels."""
    from unet_core.model import Model

    return (shown_model(own, given) or Model.bundled()).adapted(given.stack.shape[2])


def file_of(model: Model | None, stack: Stack | None, saved: ModelFile | None) -> str | None:
    """What `limn predict` calls this very model; None where `saved` is no file of it."""
    if model is None:
        return BUNDLED
    if saved is None or stack is None:
        return None
    fits = saved.model is model and model.channels == stack.shape[2]
    return str(saved.path) if fits and saved.path.is_file() else None
