"""Did it learn? Judged on strokes that were kept aside, with an interval and in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unet_core.networks import Network
from unet_core.patches import Stroke, TrainingSet, window_of

ENOUGH = 6
"""Fewer strokes than these kept aside say nothing."""
WIDEST = 0.4
"""An interval wider than this says nothing either."""
MOST_STROKES = 8
"""Strokes of a class that are looked at, at most: judging must not take longer than learning."""


@dataclass(frozen=True)
class Score:
    """How a network does on some strokes; every class weighs the same."""

    loss: float
    """Mean cross-entropy."""
    right: float
    """Share of the pixels that get their class, 0…1."""
    strokes: int


@dataclass(frozen=True)
class Verdict:
    """What a score means for the user."""

    score: Score | None
    """None where no stroke could be kept aside."""
    low: float = 0.0
    high: float = 1.0
    """The 95 % interval of `score.right`."""

    @property
    def known(self) -> bool:
        """Whether there were enough strokes to say anything."""
        enough = self.score is not None and self.score.strokes >= ENOUGH
        return enough and self.high - self.low <= WIDEST

    @property
    def facts(self) -> dict[str, float] | None:
        """The figures, for a model's provenance; None where nothing could be judged."""
        if self.score is None or not self.known:
            return None
        return {
            "right": round(self.score.right, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "strokes": self.score.strokes,
        }

    def __str__(self) -> str:
        if self.score is None or not self.known:
            return "Too few labels to judge how well it learned."
        return (
            f"Right on {100 * self.score.right:.0f} % of the strokes kept aside to judge by "
            f"({100 * self.low:.0f} to {100 * self.high:.0f} %)."
        )


def verdict_of(score: Score | None) -> Verdict:
    """`score` with its interval (Wilson, JASA 1927), each stroke counting as one observation.

    The pixels of a stroke are no independent witnesses: they are right or wrong together.
    """
    if score is None:
        return Verdict(None)
    z, n, p = 1.96, score.strokes, score.right
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Verdict(score, max(0.0, middle - half), min(1.0, middle + half))


class Judge:
    """Scores networks on the same strokes."""

    def __init__(self, data: TrainingSet, network: Network, device: torch.device) -> None:
        self._windows: list[tuple[Tensor, Tensor, Tensor, int]] = []
        for stroke in chosen_strokes(data, MOST_STROKES):
            window = window_of(data, stroke, network)
            rows, columns = (torch.from_numpy(axis).to(device) for axis in window.pixels.T)
            self._windows.append((window.image.to(device), rows, columns, stroke.value - 1))

    @torch.no_grad()
    def score(self, network: Network, shift: Tensor, dtype: torch.dtype | None) -> Score:
        """The score of a network in evaluation mode; `shift` `(K,)` as in `Model.share_shift`."""
        losses: dict[int, list[float]] = {}
        rights: dict[int, list[float]] = {}
        for image, rows, columns, value in self._windows:
            with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
                logits = network(image)
            found = logits[0, :, rows, columns].T.float() - shift
            wanted = torch.full((len(found),), value, device=found.device)
            losses.setdefault(value, []).append(functional.cross_entropy(found, wanted).item())
            right = (found.argmax(dim=1) == value).float().mean().item()
            rights.setdefault(value, []).append(right)
        return Score(
            float(np.mean([np.mean(of_class) for of_class in losses.values()])),
            float(np.mean([np.mean(of_class) for of_class in rights.values()])),
            len(self._windows),
        )


def chosen_strokes(data: TrainingSet, most: int) -> list[Stroke]:
    """At most `most` strokes of each class, the same ones as long as they are there."""
    ordered = sorted(data.strokes, key=lambda stroke: stroke.place)
    return [s for value in data.values for s in [s for s in ordered if s.value == value][:most]]
