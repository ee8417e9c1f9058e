"""What a method of segmenting has to say after some time, in one form for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Predictor = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From an image `(C, Y, X)` float32, intensity range 0…1, to the probability of the foreground
`(Y, X)` float32 0…1 and the objects `(Y, X)` int32, 0 background."""

Clock = Callable[[], float]
"""Seconds since some moment: `time.monotonic`, or processor time where a machine is shared."""


@dataclass(frozen=True)
class Answer:
    """A predictor and what it has cost."""

    predict: Predictor
    seconds: float
    """From the strokes to the predictor, prediction excluded, by the clock of the run."""
    steps: int = 0
    """Training steps done by then."""
