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

import torch
from torch import Tensor, nn
from torch.nn import functional

from unet_core.tiling import round_up


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
    """A padded U-Net with one width per level, the full resolution first."""

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
        self.head = nn.Conv2d(widths[0], out_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015, as in the U-Net paper, section 3
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Logits `(N, K, Y, X)` of `image` `(N, C, Y, X)`."""
        skips: list[Tensor] = []
        features = image
        for level, convolutions in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = convolutions(features)
            skips.append(features)
        for level in reversed(range(len(self.up))):
            deeper = functional.interpolate(
                self.reduce[level](features), scale_factor=2, mode="nearest"
            )
            features = self.up[level](torch.cat((skips[level], deeper), dim=1))
        logits: Tensor = self.head(features)
        return logits

    @property
    def stride(self) -> int:
        """Sides of inputs, and origins of tiles, must be multiples of this many pixels."""
        return 2 ** (len(self.widths) - 1)

    @property
    def receptive_field_radius(self) -> int:
        """How far, in pixels, the farthest input lies that can change an output pixel."""
        reach = 0
        for pixel in range(self.stride):  # the reach depends on where in the pooling grid it lies
            low, high = self._inputs_of_output(0, pixel, pixel)
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


def place(network: UNet, device: torch.device) -> UNet:
    """Move `network` to `device`, laid out as convolutions are fastest: channels last."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


Builder = Callable[[int, int], UNet]

REGISTRY: dict[str, Builder] = {
    "compact": lambda channels, classes: UNet(channels, classes, (16, 32, 64, 128, 128)),
    "wide": lambda channels, classes: UNet(channels, classes, (32, 64, 128, 256, 256)),
}
"""Every network by name. "compact" (1.0 M parameters) is the bundled one."""

BUNDLED = "compact"


def build(name: str, in_channels: int, out_channels: int) -> UNet:
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
