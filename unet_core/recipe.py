"""How a network is trained: what its maker recommends, and `training.fit` follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """The defaults are for a pretrained network that has seconds to learn from a few strokes."""

    patch: int = 256
    """Side of a training patch in pixels."""
    batch: int = 4
    """Patches in a step."""
    learning_rate: float = 5e-4
    warm_up: int = 5
    """Steps over which the learning rate rises; then it stays, and the average of the weights
    settles. A schedule that ends would have to know when the user stops."""
    momentum: float | None = None
    """That of plain stochastic gradient descent; None for AdamW."""
    anchor: float = 2.0
    """Weight of staying with what the starting weights believe where nothing is labelled. Strokes
    are painted where the prediction is wrong, so they say little about where it is right."""
    elastic: float = 4.0
    """Standard deviation, in pixels, of the displacements on…"""
    elastic_grid: int = 5
    """…a coarse grid of this many vectors in either direction."""
    border_weight: float = 10.0
    """w0 of the U-Net paper's equation 2, where cells are labelled one by one."""
    border_sigma: float = 5.0
    """sigma of equation 2, in pixels."""

    patience: int = 64
    """Training has settled when so many steps have brought nothing better."""

    def optimiser(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A new optimiser at the full learning rate."""
        if self.momentum is not None:
            return torch.optim.SGD(parameters, lr=self.learning_rate, momentum=self.momentum)
        return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=1e-4)
