"""The prediction form of a network: the same numbers on a tile's core, for less work.

What training needs and prediction does not is gone: batch normalisation is folded into the
convolutions before it, each level's lift into the outputs that are linear in it (exact but for
rounding). And nothing is computed that the core does not need: convolutions are unpadded, and every
level keeps only the rows and columns that a later one will look at. A tile needs its full halo at
the input alone; on the expanding path, where most of the work is, a few pixels are left of it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from unet_core.networks import UNet
from unet_core.tiling import Rect


class TileNetwork(Protocol):
    """Predicts the core of a window."""

    def __call__(self, window: Tensor, core: Rect) -> tuple[Tensor, Tensor | None]:
        """Float32 class logits `(N, K, height, width)` and interior logit `(N, 1, …)` or None.

        `window` is `(N, C, Y, X)` float32: the core, which lies at `core` inside it, with the halo
        around. Its origin is a multiple of the network's stride.
        """


def lean(network: nn.Module, device: torch.device, dtype: torch.dtype) -> TileNetwork:
    """A copy of `network` that only predicts, on `device`, in the precision `dtype`.

    Later changes of the network's weights do not reach it.
    """
    made = LeanUNet(network, dtype) if isinstance(network, UNet) else Cropped(network, dtype)
    made.requires_grad_(False)
    made.to(device)
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return made.eval()


class Cropped(nn.Module):
    """Any network as it is, with the core cut out of what it gives."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = folded(network).to(dtype)
        self.dtype = dtype

    def forward(self, window: Tensor, core: Rect) -> tuple[Tensor, Tensor | None]:
        """See `TileNetwork`."""
        logits, interior = self.network.forward_all(window.to(self.dtype))  # type: ignore[operator]
        cut = (slice(None), slice(None), *core.slices)
        return logits[cut].float(), None if interior is None else interior[cut].float()


class LeanUNet(nn.Module):
    """A `UNet` for prediction; equals its `forward_all` on the core up to rounding.

    The first convolution is always computed in float32: it costs next to nothing and is where
    rounding does the most harm, to small differences between large intensities.
    """

    def __init__(self, network: UNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.down = nn.ModuleList(_unpadded(folded(level)) for level in network.down)
        self.reduce = deepcopy(network.reduce)
        self.up = nn.ModuleList(_unpadded(folded(level)) for level in network.up)
        self.outputs = _outputs(network)
        first_level = self.down[0]
        assert isinstance(first_level, nn.Sequential)
        self.down[0] = first_level[1:]
        self.to(dtype)
        self.first = first_level[0]

    def forward(self, window: Tensor, core: Rect) -> tuple[Tensor, Tensor | None]:
        """See `TileNetwork`."""
        rows = _Needed.of(len(self.down), core.y, core.bottom)
        columns = _Needed.of(len(self.down), core.x, core.right)

        def cut(maps: Tensor, y: int, x: int, to: tuple[_Span, _Span]) -> Tensor:
            """Of `maps`, whose first row and column are `y` and `x`, what `to` covers."""
            (top, bottom), (left, right) = to
            assert y <= top and x <= left, "the window has too small a halo"
            return maps[:, :, top - y : bottom - y, left - x : right - x]

        skips: list[Tensor] = []
        features = cut(window, 0, 0, (rows.encoded[0].grown(2), columns.encoded[0].grown(2)))
        features = self.first(features).to(self.dtype)
        for level, convolutions in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = convolutions(features)
            skips.append(features)
        del features
        deeper = skips.pop()
        y, x = rows.encoded[-1].low, columns.encoded[-1].low
        parts: list[Tensor] = []
        for level in reversed(range(len(self.up))):
            context = rows.decoded[level].grown(2), columns.decoded[level].grown(2)
            above = functional.interpolate(
                self.reduce[level](deeper), scale_factor=2, mode="nearest"
            )
            beside = cut(skips.pop(), rows.encoded[level].low, columns.encoded[level].low, context)
            joined = torch.cat((beside, cut(above, 2 * y, 2 * x, context)), dim=1)
            del above, beside
            deeper = self.up[level](joined)
            del joined
            y, x = rows.decoded[level].low, columns.decoded[level].low
            here = rows.around(level), columns.around(level)
            # Few channels, and bilinear enlarging is slow in half precision: float32 from here.
            part = self.outputs[level](cut(deeper, y, x, here)).float()
            if level:
                scale = 2**level
                part = functional.interpolate(
                    part, scale_factor=scale, mode="bilinear", align_corners=False
                )
                part = part[
                    :,
                    :,
                    core.y - here[0].low * scale : core.bottom - here[0].low * scale,
                    core.x - here[1].low * scale : core.right - here[1].low * scale,
                ]
            parts.append(part)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total[:, :-1], total[:, -1:]


class _Span(NamedTuple):
    """Rows, or columns, from `low` up to but without `high`."""

    low: int
    high: int

    def grown(self, by: int) -> _Span:
        return _Span(self.low - by, self.high + by)

    def halved(self) -> _Span:
        """What half the resolution must hold to cover this."""
        return _Span(self.low >> 1, ((self.high - 1) >> 1) + 1)

    def doubled(self) -> _Span:
        return _Span(2 * self.low, 2 * self.high)

    def union(self, other: _Span) -> _Span:
        return _Span(min(self.low, other.low), max(self.high, other.high))


class _Needed(NamedTuple):
    """Rows, or columns, that each level has to compute, in the level's own pixels."""

    core: _Span
    encoded: list[_Span]
    """Of the contracting path's output at each level."""
    decoded: list[_Span]
    """Of the expanding path's output at each level."""

    def around(self, level: int) -> _Span:
        """What enlarging to full resolution looks at: bilinear, so a pixel to either side."""
        low, high = self.core
        here = _Span(low >> level, ((high - 1) >> level) + 1)
        return here.grown(1) if level else here

    @classmethod
    def of(cls, levels: int, low: int, high: int) -> _Needed:
        """For a core from `low` to `high`; two 3 × 3 convolutions reach two pixels further."""
        needed = cls(_Span(low, high), [], [])
        for level in range(levels - 1):
            here = needed.around(level)
            if level:
                here = here.union(needed.decoded[-1].grown(2).halved())
            needed.decoded.append(here)
        encoded = [needed.decoded[-1].grown(2).halved()]
        for _ in range(levels - 1):  # a level covers all that pooling turns into the next one
            encoded.append(encoded[-1].grown(2).doubled())
        needed.encoded.extend(reversed(encoded))
        return needed


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode, each batch normalisation folded into the convolution before it."""
    network = deepcopy(network).eval()
    for block in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        for i in range(len(block) - 1):
            convolution, norm = block[i], block[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[i] = fuse_conv_bn_eval(convolution, norm)
                block[i + 1] = nn.Identity()
    return network


def _unpadded(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
    return network


@torch.no_grad()
def _outputs(network: UNet) -> nn.ModuleList:
    """For each level one 1 × 1 convolution: the lift, and after it its part of both heads."""
    weight = torch.cat((network.head.weight, network.interior_head.weight)).flatten(1).double()
    bias = torch.cat([h.bias for h in (network.head, network.interior_head)])  # type: ignore[misc]
    total = bias.double()
    result = nn.ModuleList()
    for lift, part in zip(network.lift, weight.split(network.LIFTED, dim=1), strict=True):
        first = folded(lift)[0]  # type: ignore[index]
        made = nn.Conv2d(first.in_channels, len(weight), 1, bias=False)
        made.weight.copy_((part @ first.weight.flatten(1).double())[:, :, None, None])
        total = total + part @ first.bias.double()
        result.append(made)
    # Enlarging keeps a constant as it is: the full resolution adds all constants.
    result[0].bias = nn.Parameter(total.to(bias.dtype))
    return result
