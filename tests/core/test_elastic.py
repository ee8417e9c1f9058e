"""Elastic deformation: the U-Net paper's, a coarse grid of vectors and bicubic between them."""

import numpy as np
import torch

from unet_core.elastic import displacements


def test_the_vectors_on_the_coarse_grid_have_the_given_standard_deviation():
    """Of the 3 × 3 grid's vectors, ten pixels in either direction, independent of each other."""
    field = displacements(4000, 5, grid=3, sigma=10, random=np.random.default_rng(0))
    vectors = field[:, :, ::2, ::2].flatten(1)  # the grid's own points: corners, edges, middle
    assert vectors.shape == (4000, 18)
    assert (vectors.std(dim=0) - 10).abs().max() < 0.5
    assert vectors.mean(dim=0).abs().max() < 0.6
    correlations = torch.corrcoef(vectors.T) - torch.eye(18)
    assert correlations.abs().max() < 0.08


def test_nine_vectors_decide_about_every_pixel_and_smoothly():
    field = displacements(40, 101, grid=3, sigma=10, random=np.random.default_rng(1))
    assert torch.linalg.matrix_rank(field.flatten(1), atol=1e-2, rtol=0) <= 18
    steps = field.diff(dim=-1)
    assert steps.abs().max() < 3  # ten pixels over fifty, and never a jump
    # Bicubic: the slope turns everywhere a little, where bilinear interpolation would turn it by
    # about 0.4 in the middle, at the grid's own points, and nowhere else.
    turns = steps.diff(dim=-1).abs().mean(dim=(0, 1, 2))
    assert turns.max() < 0.05
    assert turns.median() > 0.003


def test_the_same_seed_gives_the_same_field():
    one, other = (
        displacements(2, 33, grid=3, sigma=4, random=np.random.default_rng(7)) for _ in range(2)
    )
    assert one.dtype == torch.float32
    assert one.shape == (2, 2, 33, 33)
    assert torch.equal(one, other)
