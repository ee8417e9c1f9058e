"""The networks, from input to logits, and the one registry that names them.

Every network maps `(N, C, Y, X)` normalised intensities to `(N, K, Y, X)` logits of the same size,
for any `Y` and `X` that are multiples of its `stride`. The layout is that of Ronneberger et al.,
"U-Net" (MICCAI 2015): a contracting path of two 3 × 3 convolutions per level and 2 × 2 max pooling,
an expanding path that joins each level's features to the upsampled ones. What differs, and why:

- convolutions are padded, so that input and output have one size; the tiler crops what the padding
  reached (`halo`), which keeps the overlap-tile strategy exact;
- batch normalisation with stored statistics: nothing depends on what else is in the tile;
- upsampling is nearest-neighbour after a 1 × 1 convolution, cheaper than a transposed convolution
  and free of its checkerboard;
- far fewer channels: the answer has to come within seconds on a laptop's CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from unet_core.recipe import Recipe
from unet_core.tiling import round_up
from unet_core.unet2015 import UNet2015


class NetworkError(ValueError):
    """There is no such network; the message is one sentence for the user."""


def _two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """3 × 3 convolution, batch normalisation, ReLU; twice."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """A padded U-Net with one width per level, the full resolution first.

    Each level of the expanding path is lifted to `LIFTED` standardised channels; together, brought
    to full resolution, they are the *features* of a pixel. All outputs are linear in them, so that
    a new head can be fitted in closed form (see `head`): one logit a class, and the interior, which
    keeps touching cells apart (see `objects`).
    """

    LIFTED = 16
    has_interior = True
    margin = 0
    """So many pixels along the edges of an input get no answer: here all do."""
    recipe = Recipe()

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.down = nn.ModuleList(
            _two_convolutions(before, width)
            for before, width in zip((in_channels, *widths), widths, strict=False)
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(deeper, width, 1) for width, deeper in zip(widths, widths[1:], strict=False)
        )
        self.up = nn.ModuleList(_two_convolutions(2 * width, width) for width in widths[:-1])
        self.lift = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, self.LIFTED, 1, bias=False),
                nn.BatchNorm2d(self.LIFTED, affine=False),
            )
            for width in widths[:-1]
        )
        self.head = nn.Conv2d(self.feature_count, out_channels, 1)
        self.interior_head = nn.Conv2d(self.feature_count, 1, 1)
        # How `head.fit_head` weighs its penalty and scales its answer: learned in pretraining.
        self.ridge = nn.Parameter(torch.tensor(0.0))
        self.sharpness = nn.Parameter(torch.tensor(1.0))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015, as in the U-Net paper, section 3
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    @property
    def feature_count(self) -> int:
        """Features of a pixel."""
        return self.LIFTED * len(self.up)

    def forward(self, image: Tensor) -> Tensor:
        """Class logits `(N, K, Y, X)` of `image` `(N, C, Y, X)`."""
        return self.linear(self.levels(image), self.head.weight, self.head.bias)

    def forward_all(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Class logits `(N, K, Y, X)` and the logit of the interior `(N, 1, Y, X)`."""
        return self.outputs(self.levels(image))

    def outputs(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """As `forward_all`, of what `levels` has given."""
        weight = torch.cat((self.head.weight, self.interior_head.weight))
        bias = torch.cat((self.head.bias, self.interior_head.bias))  # type: ignore[arg-type]
        both = self.linear(levels, weight, bias)
        return both[:, :-1], both[:, -1:]

    def features_at(self, levels: list[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
        """Features `(n, F)` float32 of the pixels `(rows, columns)`, each `(n,)`, of one image.

        `levels` are those of the one image, `(1, …)` each. Costs as much as there are pixels.
        """
        height, width = levels[0].shape[-2:]
        grid = torch.stack((2 * (columns + 0.5) / width - 1, 2 * (rows + 0.5) / height - 1), dim=-1)
        return torch.cat(
            [
                functional.grid_sample(
                    maps.float(), grid[None, None], padding_mode="border", align_corners=False
                )[0, :, 0].T
                for maps in levels
            ],
            dim=1,
        )

    def levels(self, image: Tensor) -> list[Tensor]:
        """The features of each level, the full resolution first."""
        skips: list[Tensor] = []
        features = image
        for level, convolutions in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = convolutions(features)
            skips.append(features)
        lifted: list[Tensor] = []
        for level in reversed(range(len(self.up))):
            deeper = functional.interpolate(
                self.reduce[level](features), scale_factor=2, mode="nearest"
            )
            features = self.up[level](torch.cat((skips[level], deeper), dim=1))
            lifted.append(self.lift[level](features))
        return lifted[::-1]

    def linear(self, levels: list[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        """The linear outputs of the features: each level at its own resolution, then enlarged.

        The same as the layer applied to the features of every pixel, but only the few outputs are
        enlarged.
        """
        parts = weight.split(self.LIFTED, dim=1)
        total = functional.conv2d(levels[0], parts[0], bias)
        for level in range(1, len(levels)):
            total = total + _enlarged(functional.conv2d(levels[level], parts[level]), 2**level)
        return total

    @property
    def stride(self) -> int:
        """Sides of inputs, and origins of tiles, must be multiples of this many pixels."""
        return 2 ** (len(self.widths) - 1)

    @cached_property
    def receptive_field_radius(self) -> int:
        """How far, in pixels, the farthest input lies that can change an output pixel."""
        reach = 0
        for pixel in range(self.stride):  # the reach depends on where in the pooling grid it lies
            for level in range(len(self.up)):
                # Enlarging looks at the units on either side of the pixel's own.
                around = 1 if level else 0
                unit = pixel >> level
                low, high = self._inputs_of_output(level, unit - around, unit + around)
                reach = max(reach, pixel - low, high - pixel)
        return reach

    @property
    def halo(self) -> int:
        """Context for a tile: the receptive field's radius in whole strides."""
        return round_up(self.receptive_field_radius, self.stride)

    def _inputs_of_level(self, level: int, low: int, high: int) -> tuple[int, int]:
        """Input pixels behind columns `low…high` of the contracting path's output at `level`."""
        low, high = low - 2, high + 2  # two 3 × 3 convolutions
        if level == 0:
            return low, high
        return self._inputs_of_level(level - 1, 2 * low, 2 * high + 1)

    def _inputs_of_output(self, level: int, low: int, high: int) -> tuple[int, int]:
        """Input pixels behind columns `low…high` of the expanding path's output at `level`."""
        if level == len(self.widths) - 1:
            return self._inputs_of_level(level, low, high)
        low, high = low - 2, high + 2
        skip = self._inputs_of_level(level, low, high)
        deeper = self._inputs_of_output(level + 1, low // 2, high // 2)
        return min(skip[0], deeper[0]), max(skip[1], deeper[1])


def _enlarged(maps: Tensor, factor: int) -> Tensor:
    """`maps` `(N, C, Y, X)` at `factor` times the resolution, bilinear."""
    if factor == 1:
        return maps
    return functional.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


Network = UNet | UNet2015


def place(network: Network, device: torch.device) -> Network:
    """Move `network` to `device`, laid out as convolutions are fastest: channels last."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


Builder = Callable[[int, int], Network]

REGISTRY: dict[str, Builder] = {
    "compact": lambda channels, classes: UNet(channels, classes, (16, 32, 64, 128, 128)),
    "wide": lambda channels, classes: UNet(channels, classes, (32, 64, 128, 256, 256)),
    "unet2015": UNet2015,
}
"""Every network by name: "compact" (1.2 M parameters) is bundled, "unet2015" the paper's."""

BUNDLED = "compact"


def build(name: str, in_channels: int, out_channels: int) -> Network:
    """The network `name` with fresh weights, in evaluation mode.

    Raises
    ------
    NetworkError
        For a name that is not registered, or fewer than one channel.

    """
    if name not in REGISTRY:
        raise NetworkError(f"There is no network “{name}”; choose one of: {', '.join(REGISTRY)}.")
    if in_channels < 1 or out_channels < 1:
        raise NetworkError(
            f"A network needs channels, not {in_channels} in and {out_channels} out."
        )
    return REGISTRY[name](in_channels, out_channels).eval()
