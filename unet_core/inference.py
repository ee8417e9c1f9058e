"""Prediction, tile by tile: the same pixels however the plane is cut.

Probabilities are float32 `(K, Y, X)`, one map for each foreground class; together with background
they sum to one. A threshold T decides on the foreground as a whole: a pixel belongs to a cell where
1 - P(background) ≥ T, and then to the most probable foreground class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unet_core.device import is_out_of_memory, prediction_dtype, release, share_of_card
from unet_core.intensity import normalise, read_mirrored
from unet_core.lean import TileNetwork, lean
from unet_core.model import Model
from unet_core.stack import LazyPlane
from unet_core.tiling import Rect, Tile, cover, round_up

LIVE_CORE = 512
"""Side of a tile, in pixels, for what is in view: small enough that the first one comes soon."""
WHOLE_CORE = 1024
"""Side of a tile for whole stacks: larger, since less of it is halo. Beyond this size hardly
anything is gained, and a tile is a step: cancelling waits for it."""
SMALLEST_CORE = 128
"""Tiles are not made smaller than this, however little memory there is."""
LARGEST_BATCH = 16
"""Tiles at once on a graphics card: more than this fill no card any better."""
MEMORY = 2**30
"""Bytes that predicting may take on the processor, beside the image and the results."""
DEFAULT_THRESHOLD = 0.5

_PIXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Prediction:
    """What the network says about a plane, or a part of it."""

    probabilities: NDArray[np.float32]
    """`(K, height, width)`, 0…1: one map for each foreground class."""
    interior: NDArray[np.float32] | None
    """`(height, width)`, 0…1: a pixel's distance to the border of its own object, divided by the
    largest one in that object. None from networks without this output."""

    @classmethod
    def assembled(
        cls, height: int, width: int, parts: Iterable[tuple[Rect, Prediction]]
    ) -> Prediction:
        """One prediction of `height` × `width` from the parts at these places, at least one."""
        probabilities: NDArray[np.float32] | None = None
        interior: NDArray[np.float32] | None = None
        for rect, part in parts:
            if probabilities is None:
                probabilities = np.empty((len(part.probabilities), height, width), np.float32)
                interior = None if part.interior is None else np.empty((height, width), np.float32)
            probabilities[(slice(None), *rect.slices)] = part.probabilities
            if interior is not None and part.interior is not None:
                interior[rect.slices] = part.interior
        assert probabilities is not None
        return cls(probabilities, interior)


class Predictor:
    """A model made ready to predict on a device: made once, then asked tile by tile.

    It has its own copy of the weights, in the form and the precision that is fastest there, so the
    model may be trained on. Where memory runs out it goes on with fewer tiles at once, then with
    smaller ones, then on the processor, and says so.

    Parameters
    ----------
    dtype
        Precision of the weights and of what is computed; by default `device.prediction_dtype`.
    memory
        Bytes to be used at most, beside the image and the results. On a graphics card the limit is
        a share of its own memory instead.
    say
        Called with a sentence for the user when predicting has to make do with less.

    """

    def __init__(
        self,
        model: Model,
        device: torch.device,
        *,
        dtype: torch.dtype | None = None,
        memory: int = MEMORY,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.device = device
        self._dtype = dtype
        self._memory = memory if device.type == "cpu" else share_of_card(device) or memory
        self._say = say
        self._batch = LARGEST_BATCH
        self._largest: int | None = None
        self.use(model)

    def use(self, model: Model) -> None:
        """Predict with these weights from now on, within what memory has turned out to be there."""
        self.model = model
        self._prepare()

    @property
    def core(self) -> int:
        """Side of a tile, in pixels, for whole planes."""
        return core_for(self.model.network, self._precision, self._memory)

    def tiles(
        self, height: int, width: int, *, core: int | None = None, view: Rect | None = None
    ) -> list[Tile]:
        """The tiles in which a plane is predicted; with `view`, nearest to its centre first."""
        stride = self.model.network.stride
        return cover(
            height,
            width,
            core=round_up(core or self.core, stride),
            halo=self.model.network.halo,
            stride=stride,
            view=view,
        )

    def tile(
        self, plane: NDArray[np.generic] | LazyPlane, ranges: NDArray[np.float32], tile: Tile
    ) -> Prediction:
        """What the tile's core shows.

        `plane` is `(C, Y, X)` with raw intensities, `ranges` the stack's `(C, 2)` intensity range.
        """
        return next(self.each([(plane, tile)], ranges))

    def each(
        self,
        work: Iterable[tuple[NDArray[np.generic] | LazyPlane, Tile]],
        ranges: NDArray[np.float32],
    ) -> Iterator[Prediction]:
        """Predict tiles of planes `(C, Y, X)`, in this order.

        On a graphics card several tiles of one size are computed at once, be they of one plane or
        of several; `work` is asked for no more than these in advance.
        """
        windows: list[NDArray[np.float32]] = []
        core = Rect(0, 0, 0, 0)
        for plane, tile in work:
            if windows and tile.crop != core:
                yield from self._compute(windows, core)
                windows = []
            core = tile.crop
            windows.append(normalise(read_mirrored(plane, tile.window), ranges))
            if len(windows) >= self._at_once(tile.window):
                yield from self._compute(windows, core)
                windows = []
        if windows:
            yield from self._compute(windows, core)

    def _compute(self, windows: Sequence[NDArray[np.float32]], core: Rect) -> list[Prediction]:
        """Predict windows of one shape, each with its core at `core`, in the memory there is."""
        if len(windows) > (many := self._batch):
            return self._compute(windows[:many], core) + self._compute(windows[many:], core)
        if self._largest is not None and max(core.height, core.width) > self._largest:
            return [self._piece_by_piece(window, core, self._largest) for window in windows]
        try:
            return self._forward(windows, core)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not self._make_do(len(windows), core):
                raise
        # Only out here does the failed attempt let go of its memory.
        release(self.device)
        return self._compute(windows, core)

    def _piece_by_piece(self, window: NDArray[np.float32], core: Rect, size: int) -> Prediction:
        """Predict one window in tiles of at most `size` pixels a side."""
        network = self.model.network
        parts = []
        for tile in cover(
            core.height, core.width, core=size, halo=network.halo, stride=network.stride
        ):
            y, x = core.y + tile.window.y, core.x + tile.window.x
            inner = window[:, y : y + tile.window.height, x : x + tile.window.width]
            parts.append((tile.core, self._compute([inner], tile.crop)[0]))
        return Prediction.assembled(core.height, core.width, parts)

    def _forward(self, windows: Sequence[NDArray[np.float32]], core: Rect) -> list[Prediction]:
        batch = torch.from_numpy(np.stack(windows)).to(self.device)
        with torch.inference_mode():
            batch = batch.contiguous(memory_format=torch.channels_last)
            logits, interior = self._network(batch, core)
            probabilities = logits.softmax(dim=1)[:, 1:].contiguous().cpu().numpy()
            if interior is None:
                return [Prediction(maps, None) for maps in probabilities]
            inside = interior[:, 0].sigmoid().contiguous().cpu().numpy()
        return [Prediction(*both) for both in zip(probabilities, inside, strict=True)]

    def _make_do(self, tiles: int, core: Rect) -> bool:
        """After memory ran out with so many tiles of this core: use less. False if nothing is left.

        A half of the tiles, then tiles of half the side, then the processor instead of the card.
        """
        side = max(core.height, core.width)
        if tiles > 1:
            self._batch = tiles // 2
        elif side > SMALLEST_CORE:
            if self._largest is None:
                self._say("Memory is short: predicting in smaller pieces, which takes longer.")
            self._largest = round_up(math.ceil(side / 2), self.model.network.stride)
        elif self.device.type != "cpu":
            self._say(
                "The graphics card has too little free memory: predicting on the processor instead."
            )
            former, self.device = self.device, torch.device("cpu")
            self._largest = None
            self._prepare()
            release(former)
        else:
            return False
        return True

    def _prepare(self) -> None:
        self._precision = self._dtype or prediction_dtype(self.device)
        self._network: TileNetwork = lean(self.model.network, self.device, self._precision)

    def _at_once(self, window: Rect) -> int:
        """How many windows of this size to compute at once."""
        if self.device.type == "cpu":
            return 1
        each = window.height * window.width * bytes_per_pixel(self.model.network, self._precision)
        return max(1, min(self._batch, self._memory // each))


def bytes_per_pixel(network: nn.Module, dtype: torch.dtype) -> int:
    """Memory that predicting takes for a pixel of the window, at most, in bytes.

    The most is in use at the top of the expanding path: at full resolution the contracting path's
    features, both halves of what is joined, what is joined, and what is computed from it. That was
    seen to be up to five times the first convolution's channels, seven with the network of 2015;
    and of the outputs there are a few float32 maps. See `tests/benchmarks/prediction.py`.
    """
    widths = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    return 7 * widths[0] * dtype.itemsize + 32


def core_for(network: nn.Module, dtype: torch.dtype, memory: int) -> int:
    """Side of a tile's core, in pixels, that is predicted in `memory` bytes: at most WHOLE_CORE.

    Depends on nothing that changes from one minute to the next, such as free memory: the window
    and the command line cut a plane in the same way.
    """
    stride, halo = int(network.stride), int(network.halo)  # type: ignore[arg-type]
    side = math.isqrt(memory // bytes_per_pixel(network, dtype)) - 2 * halo
    return max(SMALLEST_CORE, min(WHOLE_CORE, side // stride * stride))


def predict_tiles(
    model: Model,
    plane: NDArray[np.generic],
    ranges: NDArray[np.float32],
    device: torch.device,
    *,
    core: int | None = None,
    view: Rect | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[tuple[Rect, Prediction]]:
    """Predict a plane `(C, Y, X)` tile by tile: `(rectangle, what it holds)`.

    With `view`, only tiles that meet it, the nearest to its centre first. `core` is a tile's side
    in pixels, `dtype` the precision, both chosen for the device unless given.
    """
    predictor = Predictor(model, device, dtype=dtype)
    tiles = predictor.tiles(*plane.shape[1:], core=core, view=view)
    parts = predictor.each(((plane, tile) for tile in tiles), ranges)
    yield from zip((tile.core for tile in tiles), parts, strict=True)


def predict_plane(
    model: Model,
    plane: NDArray[np.generic],
    ranges: NDArray[np.float32],
    device: torch.device,
    *,
    core: int | None = None,
    dtype: torch.dtype | None = None,
) -> Prediction:
    """Probabilities `(K, Y, X)` and interior `(Y, X)` of a whole plane `(C, Y, X)`.

    See `predict_tiles`; whoever predicts more than one plane makes a `Predictor` once.
    """
    height, width = plane.shape[1:]
    parts = predict_tiles(model, plane, ranges, device, core=core, dtype=dtype)
    return Prediction.assembled(height, width, parts)


def foreground(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - P(background), `(Y, X)`, of probabilities `(K, Y, X)`."""
    if probabilities.shape[0] == 1:
        return probabilities[0]
    return np.minimum(probabilities.sum(axis=0), np.float32(1))


def classes_at(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Class values `(Y, X)` uint8, 1 = background, of probabilities `(K, Y, X)`."""
    height, width = probabilities.shape[1:]
    classes = np.empty((height, width), np.uint8)
    # Some rows at a time: of a large plane, the numbers in between would take gigabytes.
    rows = max(1, _PIXELS_AT_ONCE // max(1, width))
    for y in range(0, height, rows):
        part = probabilities[:, y : y + rows]
        best = part.argmax(axis=0).astype(np.uint8) + np.uint8(2)
        clear = foreground(part) >= np.float32(threshold)
        classes[y : y + rows] = np.where(clear, best, np.uint8(1))
    return classes


def display_maps(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What the overlay shows, `(K, Y, X)` uint8, for thresholds in steps of 1/256.

    Map k holds floor(256 · P(foreground)), at most 255, where class k is the most probable one and
    0 elsewhere. So "map ≥ i" is exactly "class k at a threshold of i/256", as `classes_at` has it.
    """
    quantised = np.minimum(foreground(probabilities) * 256, 255).astype(np.uint8)
    if probabilities.shape[0] == 1:
        return quantised[None]
    best = probabilities.argmax(axis=0)
    return np.stack([np.where(best == k, quantised, 0) for k in range(len(probabilities))])
