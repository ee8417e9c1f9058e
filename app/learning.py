"""What the engine's jobs do with the network: predict, answer to strokes, train, read a model.

Generators that run in the job's thread; see `workshop` for what they may touch there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.jobs import Steps
from app.requests import BUNDLED, TrainingProgress
from app.workshop import Exchange, Given, Workshop, prepared, to_show
from unet_core.annotation import Annotation

if TYPE_CHECKING:
    import torch

    from unet_core.head import InstantHead
    from unet_core.live import LivePrediction
    from unet_core.model import Model
    from unet_core.patches import TrainingSet

FIRST_ANSWER_SECONDS = 1.0
"""So long what is in view may be predicted before the first training step."""


def predicting(own: Workshop, given: Given) -> Steps:
    """Predict what is in view, and answer to strokes, until nothing is left to do."""
    exchange = given.exchange
    _, prediction = yield from prepared(own, given)
    while True:
        if view := exchange.view.take():
            prediction.look_at(*view)
        if given.model is None and (labels := exchange.labels.take()):
            yield from _answering(labels, own, given, prediction)
        if not prediction.step():
            return None
        yield None


def _answering(
    labels: Annotation, own: Workshop, given: Given, prediction: LivePrediction
) -> Steps:
    """Show what the strokes alone tell; the bundled network where they are too few."""
    from unet_core.instant import InstantAnswer
    from unet_core.model import Model
    from unet_core.patches import TrainingSet

    assert own.device is not None
    if labels is own.answered:
        return
    stack = given.stack
    if own.answering is None:
        start = Model.bundled().adapted(stack.shape[2])
        own.answering = InstantAnswer(start, own.device)
    data = yield from given.labelled.joined(TrainingSet.of(stack, labels, given.ranges))
    yield None
    former = own.instant
    own.instant = yield from own.answering.fit(data, given.exchange.classes)
    own.answered = labels
    if own.instant is not None:
        own.instant.pixel_size = stack.pixel_size
    if own.instant is not None or former is not None:
        prediction.show(to_show(own, given))


def training(labels: Annotation, own: Workshop, given: Given) -> Steps:
    """Fine-tune on these labels and on newer ones that come meanwhile; `own.trained` is kept."""
    from unet_core.device import choose_device, is_out_of_memory, release
    from unet_core.patches import TrainingSet

    device, prediction = yield from prepared(own, given)
    data = yield from given.labelled.joined(TrainingSet.of(given.stack, labels, given.ranges))
    yield None
    start = _to_train(data.values, given)
    bundled = given.model is None and given.start == BUNDLED
    head = own.answering.head if bundled and own.answering is not None else None
    try:
        yield from _fitting(start, data, device, prediction, own, given, head)
        return None
    except (RuntimeError, MemoryError) as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    # Only out here does the failed step let go of its memory.
    release(device)
    given.say("The graphics card has run out of memory; training goes on on the CPU.")
    if own.trained is not None and own.trained.provenance["steps"]:
        start = own.trained.copy()
    yield from _fitting(start, data, choose_device("cpu"), prediction, own, given)
    return None


def _to_train(values: Sequence[int], given: Given) -> Model:
    """A copy of the model that training on labels of these values starts from.

    It has as many classes as are painted, so that `limn train` on the same labels has as many;
    and it never is the instant answer: training begins with one of its own, for the same
    reason.
    """
    from unet_core.model import Model

    channels, classes = given.stack.shape[2], given.exchange.classes
    if given.model is None and given.start != BUNDLED:
        known = classes[: max(2, *values, 0)]
        start = Model.fresh(given.start, channels, known, given.seed)
    else:
        start = given.model or Model.bundled()
        start = start.adapted(channels, classes[: max(len(start.classes), *values, 0)])
    start.pixel_size = given.stack.pixel_size
    return start


def _fitting(
    start: Model,
    data: TrainingSet,
    device: torch.device,
    prediction: LivePrediction,
    own: Workshop,
    given: Given,
    head: InstantHead | None = None,
) -> Steps:
    """Train and, between two steps, predict.

    `head` is the instant answer's, where that is to the same start: it need not look at the
    strokes again.
    """
    from unet_core.patches import TrainingSet
    from unet_core.training import fit

    exchange = given.exchange
    fitting = fit(
        start,
        data,
        device=device,
        seed=given.seed,
        steps=given.training_steps,
        seconds=given.training_seconds,
        head=head,
    )
    newer: TrainingSet | None = None
    shown = -1
    try:
        while True:
            report = fitting.send(newer)
            # From here on what was learned is kept, should the user stop.
            own.trained, own.settled = report.model, report.settled
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
            if exchange.live:
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
                seen = TrainingSet.of(given.stack, painted, given.ranges, highest)
                newer = yield from given.labelled.joined(seen, highest)
    except StopIteration:
        pass
    finally:
        fitting.close()  # it may still take over better weights
        if own.trained is not None:
            own.trained = own.trained.copy()
            prediction.show(own.trained)
    return None


@dataclass(frozen=True)
class Loaded:
    """A model read from a file, to go on with."""

    model: Model
    path: Path
    exchange: Exchange
    """That of the image for which it was meant."""


def loading(path: Path, _own: Workshop, given: Given) -> Steps:
    """Read a model."""
    from unet_core.model import Model, ModelError

    model = Model.load(path)
    yield None
    known = len(given.exchange.classes)
    if len(model.classes) > known:
        raise ModelError(
            f"{path.name} knows {len(model.classes)} classes, but there are only "
            f"{known} here: add the others first."
        )
    return Loaded(model, path.absolute(), given.exchange)
