"""The instant answer as a model: fitted to the first strokes, and again with every further one."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch

from unet_core.annotation import ClassInfo
from unet_core.head import MEAN, InstantHead, looking_at
from unet_core.model import Model
from unet_core.patches import Stroke, TrainingSet
from unet_core.version import app_version

MOST_NEWEST = 16
"""The newest strokes of a class that an answer takes in whatever others there are, at most."""


class InstantAnswer:
    """Answers to the strokes on one image; each new stroke costs its own surroundings only.

    `start` is a pretrained model with as many channels as the image; it is not to be changed.

    A stroke shows at once, however many there are: the newest ones always count. So answers depend
    on the order in which they were asked for. Training does not, as a label file, which is all that
    the command line has, knows of no order; it learns from all strokes anyway.
    """

    def __init__(self, start: Model, device: torch.device) -> None:
        self.head = InstantHead(start, device)
        """Knows of what was computed; training from the same start goes on from there."""
        self._start, self._device = start, device
        self._seen: Model | None = None
        """What the strokes are seen with: the start, with their classes, looking at…"""
        self._channel = MEAN
        self._strokes = 0
        self._answers = 0
        self._came: dict[tuple[int, int], int] = {}
        """For each stroke, by place and size, the number of the answer that first took it in."""

    def fit(
        self, data: TrainingSet, classes: Sequence[ClassInfo]
    ) -> Generator[None, None, Model | None]:
        """Step by step, a model of its own; None where fewer than two classes are labelled.

        `classes` are those of the labels, background first; those after the last one painted are
        left out. What has been computed is kept when the generator is closed early.
        """
        if 1 not in data.values or len(data.values) < 2:
            return None
        newest = self._newest(data)
        wanted = tuple(classes[: max(len(self._start.classes), *data.values)])
        # Which channel to look at is asked again when there is twice as much to tell it from.
        if self._start.channels > 1 and len(data.strokes) >= 2 * self._strokes:
            self._channel = yield from self.head.best_channel(data)
            self._strokes = len(data.strokes)
            self._seen = None
        if self._seen is None or wanted != self._seen.classes:
            adapted = self._start.adapted(self._start.channels, wanted)
            self._seen = looking_at(adapted, self._channel)
        yield from self.head.prepare(data, self._channel, newest)
        model = self._seen.copy()
        self.head.fit(data, into=model, channel=self._channel, newest=newest)
        model.provenance.update(
            app_version=app_version(),
            network=model.network_name,
            steps=0,
            labelled_pixels={str(v): n for v, n in data.pixel_counts().items()},
            device=self._device.type,
        )
        return model

    def _newest(self, data: TrainingSet) -> list[Stroke]:
        """The strokes of each class that came last; those of the first answer are all as old."""
        keys = {id(stroke): (stroke.place, len(stroke.pixels)) for stroke in data.strokes}
        self._came = {key: self._came.get(key, self._answers) for key in keys.values()}
        self._answers += 1
        newest = []
        for value in data.values:
            own = [s for s in data.strokes if s.value == value and self._came[keys[id(s)]]]
            own.sort(key=lambda stroke: self._came[keys[id(stroke)]], reverse=True)
            newest += own[:MOST_NEWEST]
        return newest
