"""The U-Net of 2015 as its authors describe it, and how they trained it.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015. Where the paper leaves something open, the authors' published network definition
decides, and the comment there says so.

Its convolutions are unpadded, so that it answers only for pixels whose whole context it has seen:
a 572² image gives a 388² answer. The rest of the program wants answers of the input's size. They
come from the same pixels of the same network, framed with zeros as wide as what is not known; the
tiler's halo, mirrored beyond the borders of the image, is wider than the frame (the paper's
overlap-tile strategy, figure 2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unet_core.recipe import Recipe

LEVELS = 5
DROPOUT = 0.5
"""Share of features that is dropped; the paper does not say, its authors' definition does."""
SHRINKS = 184
"""The valid answer's sides are this many pixels shorter than the image's: 572 - 388."""
SMALLEST = 188
"""The shortest side that leaves any answer, 4 pixels."""


RECIPE = Recipe(
    # "We favor large input tiles over a large batch size": the figure's 572² and the 2 pixels on
    # either side that whole strides need.
    patch=576,
    batch=1,
    momentum=0.99,
    # Not in the paper; found by trying, with gradients clipped to a norm of one. With this momentum
    # a step reaches 100 times as far as its learning rate says: at 1e-2 the loss swings widely,
    # at 1e-4 it has hardly fallen after two hundred steps.
    learning_rate=1e-3,
    anchor=0.0,
    elastic=10.0,
    elastic_grid=3,
    border_weight=10.0,
    border_sigma=5.0,
    patience=256,
)
"""The paper's section 3: "stochastic gradient descent", "a high momentum (0.99)", "a coarse 3 by 3
grid", "10 pixels standard deviation", "w0 = 10 and sigma ≈ 5 pixels"."""


def _two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """3 × 3 convolution without padding, ReLU; twice. Either side loses 4 pixels."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3),
        nn.ReLU(inplace=True),
    )


class UNet2015(nn.Module):
    """Figure 1 of the paper; `width` is the number of channels at full resolution."""

    stride = 2 ** (LEVELS - 1)
    """Sides of inputs, and origins of tiles, must be multiples of this many pixels."""
    margin = SHRINKS // 2 + 2
    """So many pixels along the edges of an input get no answer: they must not be learned from."""
    halo = 96
    """Context for a tile: the margin in whole strides."""
    receptive_field_radius = 107
    """How far, in pixels, the farthest input lies that can change an output pixel. More than the
    halo: answers next to the margin see less far outwards than others, by the pooling grid."""
    has_interior = False
    recipe = RECIPE

    def __init__(self, in_channels: int, out_channels: int, width: int = 64) -> None:
        super().__init__()
        self.feature_count = width
        widths = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            _two_convolutions(before, after)
            for before, after in zip((in_channels, *widths), widths, strict=False)
        )
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1]
        )
        self.up = nn.ModuleList(_two_convolutions(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(width, out_channels, 1)
        self.dropout = nn.Dropout(DROPOUT)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / _incoming_nodes(module)))
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    # --- the paper's network ---------------------------------------------------------------------

    def valid_features(self, image: Tensor) -> Tensor:
        """What the last 1 × 1 convolution sees, `(N, width, Y - 184, X - 184)`.

        Raises ValueError for an image `(N, C, Y, X)` whose sides are not 188, 204, 220, …: only
        then all maps that are pooled have even sides (the paper, section 2).
        """
        for side in image.shape[-2:]:
            if side < SMALLEST or (side - SMALLEST) % self.stride:
                raise ValueError(
                    f"The U-Net of 2015 wants sides of 188, 204, 220, … pixels, not {side}."
                )
        skips: list[Tensor] = []
        features = image
        for level, convolutions in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = convolutions(features)
            # "Drop-out layers at the end of the contracting path": in the authors' definition
            # after its last two levels, before the fourth is pooled and copied.
            if level >= LEVELS - 2:
                features = self.dropout(features)
            skips.append(features)
        for level in reversed(range(len(self.up))):
            enlarged = self.enlarge[level](features)
            lost = (skips[level].shape[-1] - enlarged.shape[-1]) // 2
            features = self.up[level](torch.cat((_crop(skips[level], lost), enlarged), dim=1))
        return features

    def valid(self, image: Tensor) -> Tensor:
        """Logits `(N, K, Y - 184, X - 184)` of an image `(N, C, Y, X)`: 388² of 572²."""
        logits: Tensor = self.head(self.valid_features(image))
        return logits

    # --- what every network of this program can do ---------------------------------------------

    def features(self, image: Tensor) -> Tensor:
        """Features `(N, width, Y, X)` for the head; sides, and zeros, as with `forward`."""
        if not _large_enough(image):
            return image.new_zeros((image.shape[0], self.feature_count, *image.shape[-2:]))
        return _frame(self.valid_features(_crop(image, 2)), self.margin)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of `image` `(N, C, Y, X)`.

        Sides that are multiples of `stride` are kept, `(N, K, Y, X)`, and the outer `margin`
        pixels, of which nothing is known, are zero: of an image of less than 192 pixels, all.
        The paper's own sides, 188, 204, … 572, …, give the paper's own answer, see `valid`.
        """
        if image.shape[-1] % self.stride:
            return self.valid(image)
        if not _large_enough(image):
            return image.new_zeros((image.shape[0], self.head.out_channels, *image.shape[-2:]))
        return _frame(self.valid(_crop(image, 2)), self.margin)

    def forward_all(self, image: Tensor) -> tuple[Tensor, None]:
        """Class logits, and no interior: the paper parts touching cells by its border weights."""
        return self(image), None


def _incoming_nodes(layer: nn.Conv2d | nn.ConvTranspose2d) -> int:
    """N of the paper's sqrt(2 / N): how many numbers one neuron of `layer` sums up.

    "For a 3x3 convolution and 64 feature channels in the previous layer N = 9 · 64 = 576." Of the
    2 × 2 kernel of an up-convolution with stride 2 only one element reaches each output pixel.
    """
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels
    return layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]


def _large_enough(image: Tensor) -> bool:
    return min(image.shape[-2:]) - 4 >= SMALLEST


def _crop(image: Tensor, by: int) -> Tensor:
    """`image` without `by` pixels on every side."""
    return image[..., by : image.shape[-2] - by, by : image.shape[-1] - by]


def _frame(image: Tensor, by: int) -> Tensor:
    """`image` with `by` zeros on every side."""
    return functional.pad(image, (by, by, by, by))
