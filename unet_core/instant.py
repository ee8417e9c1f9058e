"""The instant answer as a model: fitted to the first strokes, and again with every further one."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch

from unet_core.annotation import ClassInfo
from unet_core.head import InstantHead, see_best_channel
from unet_core.model import Model
from unet_core.patches import TrainingSet
from unet_core.training import app_version


class InstantAnswer:
    """Answers to the strokes on one image; each new stroke costs its own surroundings only.

    `start` is a pretrained model with as many channels as the image.
    """

    def __init__(self, start: Model, device: torch.device) -> None:
        self._start, self._device = start, device
        self._seen = start
        self._head: InstantHead | None = None
        self._strokes = 0

    def fit(
        self, data: TrainingSet, classes: Sequence[ClassInfo]
    ) -> Generator[None, None, Model | None]:
        """Step by step, a model of its own; None where fewer than two classes are labelled.

        `classes` are those of the labels, background first; those after the last one painted are
        left out. What has been computed is kept when the generator is closed early.
        """
        if 1 not in data.values or len(data.values) < 2:
            return None
        wanted = tuple(classes[: max(len(self._start.classes), *data.values)])
        # Which channel to look at is asked again when there is twice as much to tell it from.
        outgrown = self._start.channels > 1 and len(data.strokes) >= 2 * self._strokes
        if self._head is None or wanted != self._seen.classes or outgrown:
            adapted = self._start.adapted(self._start.channels, wanted)
            self._seen = yield from see_best_channel(adapted, data, self._device)
            self._head = InstantHead(self._seen, self._device)
            self._strokes = len(data.strokes)
        yield from self._head.prepare(data)
        model = self._seen.copy()
        self._head.fit(data, into=model)
        model.provenance.update(
            app_version=app_version(),
            network=model.network_name,
            steps=0,
            labelled_pixels={str(v): n for v, n in data.pixel_counts().items()},
            device=self._device.type,
        )
        return model
