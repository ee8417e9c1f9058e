"""The one place where the benchmark calls Limn's engine; what it measures is decided elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from tests.benchmarks.answer import Answer, Clock, Predictor
from unet_core.export import DEFAULT_MIN_SIZE
from unet_core.inference import DEFAULT_THRESHOLD, classes_at, foreground, predict_plane
from unet_core.instant import InstantAnswer
from unet_core.model import DEFAULT_CLASSES, Model
from unet_core.networks import BUNDLED
from unet_core.objects import split_objects
from unet_core.patches import Region, TrainingSet
from unet_core.steps import result_of
from unet_core.training import TrainingReport, fit

CPU = torch.device("cpu")


def instant(
    images: list[np.ndarray], labels: list[np.ndarray], clock: Clock = time.monotonic
) -> Answer:
    """What Limn shows at once: a head fitted to the strokes, on the bundled network's features."""
    start = Model.bundled().adapted(images[0].shape[0])
    began = clock()
    fitting = InstantAnswer(start, CPU).fit(_training_set(images, labels), DEFAULT_CLASSES)
    model = result_of(fitting)
    assert model is not None
    return Answer(predictor(model), clock() - began)


def bundled(
    images: list[np.ndarray], labels: list[np.ndarray], clock: Clock = time.monotonic
) -> Answer:
    """The bundled weights; the labels are not looked at."""
    began = clock()
    predict = predictor(Model.bundled().adapted(images[0].shape[0]))
    return Answer(predict, clock() - began)


def finetune(
    images: list[np.ndarray],
    labels: list[np.ndarray],
    seconds: Sequence[float] = (2, 5, 15, 30, 60),
    seed: int = 0,
    scratch: bool = False,
    clock: Clock = time.monotonic,
) -> dict[float, Answer]:
    """One training run, looked at when each of `seconds` has passed by `clock`.

    `images` are `(C, Y, X)` float32 with intensity range 0…1, `labels` `(Y, X)` uint8:
    0 unlabelled, 1 background, 2 cell. From the bundled weights, or from random ones.
    """
    channels = images[0].shape[0]
    if scratch:
        start = Model.fresh(BUNDLED, channels, DEFAULT_CLASSES, seed)
    else:
        start = Model.bundled().adapted(channels)
    data = _training_set(images, labels)
    threads = torch.get_num_threads()
    waiting = sorted(seconds)
    answers: dict[float, Answer] = {}
    began = clock()
    for report in fit(start, data, device=CPU, seed=seed):
        torch.set_num_threads(threads)  # training sets out with as many as the window leaves it
        elapsed = clock() - began
        while waiting and elapsed >= waiting[0]:
            answers[waiting.pop(0)] = _answer(report, elapsed)
        if not waiting:
            break
    for mark in waiting:  # training has ended by itself
        answers[mark] = _answer(report, elapsed)
    return answers


def _answer(report: TrainingReport, elapsed: float) -> Answer:
    """What the averaged weights say after this step."""
    return Answer(predictor(report.model.copy()), elapsed, report.step)


def predictor(model: Model) -> Predictor:
    """Probability of the foreground, and objects as Limn counts and exports them."""

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = predict_plane(model, image, _ranges(model.channels), CPU)
        classes = classes_at(found.probabilities, DEFAULT_THRESHOLD)
        objects = split_objects(classes, found.interior, DEFAULT_MIN_SIZE)
        sizes = np.bincount(objects.ravel())
        objects[sizes[objects] < DEFAULT_MIN_SIZE] = 0
        return foreground(found.probabilities), objects

    return predict


def _training_set(images: list[np.ndarray], labels: list[np.ndarray]) -> TrainingSet:
    return TrainingSet(
        [
            Region(image, marked, _ranges(len(image)), (number, 0, 0, 0))
            for number, (image, marked) in enumerate(zip(images, labels, strict=True))
        ]
    )


def _ranges(channels: int) -> np.ndarray:
    """The cases are normalised already."""
    return np.tile(np.array([0, 1], np.float32), (channels, 1))
