"""Smooth random deformations, as the U-Net paper draws them.

Ronneberger et al., MICCAI 2015, section 3.1: "We generate smooth deformations using random
displacement vectors on a coarse 3 by 3 grid. The displacements are sampled from a Gaussian
distribution with 10 pixels standard deviation. Per-pixel displacements are then computed using
bicubic interpolation."
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def displacements(
    batch: int, side: int, *, grid: int, sigma: float, random: np.random.Generator
) -> Tensor:
    """How far to look away for each pixel, `(N, 2, side, side)` float32, in pixels, x before y.

    `grid` vectors in either direction span the image from its first pixel to its last; both
    components of each are normally distributed with standard deviation `sigma` pixels.
    """
    coarse = random.normal(0, sigma, (batch, 2, grid, grid)).astype(np.float32)
    return functional.interpolate(
        torch.from_numpy(coarse), (side, side), mode="bicubic", align_corners=True
    )
