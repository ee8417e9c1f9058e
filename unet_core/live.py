"""Live prediction of what is in view, one tile at a time, for whoever shows it.

Belongs to one thread: the one that also trains. Between two training steps it predicts a tile;
what was predicted with the same weights is kept, so that going back to a plane costs nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unet_core.inference import LIVE_CORE, Predictor, display_maps
from unet_core.model import Model
from unet_core.objects import interior_levels
from unet_core.stack import LazyPlane, PlaneIndex, Stack
from unet_core.tiling import Rect, Tile

CACHE_BYTES = 256 * 2**20

LIVE_PIXELS = 2**26
"""So many pixels of a view are predicted at most, those around its centre: 8192 x 8192."""

TOO_FAR = "Only the middle of the view is predicted; zoom in to see the prediction everywhere."


@dataclass(frozen=True)
class PredictedTile:
    """A tile for the overlay."""

    plane: PlaneIndex
    rect: Rect
    maps: NDArray[np.uint8]
    """`(K, height, width)` as `inference.display_maps` makes them; not to be written to."""
    interior: NDArray[np.uint8] | None
    """`(height, width)`, 255 times the network's interior; None where it has no such output."""
    generation: int
    """Counts the weights shown: higher is newer."""

    @property
    def nbytes(self) -> int:
        return self.maps.nbytes + (0 if self.interior is None else self.interior.nbytes)


class LivePrediction:
    """Predicts the newest view with the newest weights, nearest tiles first."""

    def __init__(
        self,
        stack: Stack,
        ranges: NDArray[np.float32],
        device: torch.device,
        deliver: Callable[[PredictedTile], None],
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._stack, self._ranges, self._device = stack, ranges, device
        self._deliver, self._say = deliver, say
        self._predictor: Predictor | None = None
        self._view: PlaneIndex | None = None
        self._rect = Rect(0, 0, 0, 0)
        self._todo: list[Tile] = []
        self._plane: tuple[PlaneIndex, NDArray[np.generic] | LazyPlane] | None = None
        self._cache: OrderedDict[tuple[PlaneIndex, Rect], PredictedTile] = OrderedDict()
        self._cached_bytes = 0
        self._told: PlaneIndex | None = None  # the plane of which the user knows that it is large
        self.generation = 0

    @property
    def idle(self) -> bool:
        """Whether all that is in view has been predicted with the newest weights."""
        return not self._todo

    def show(self, model: Model) -> None:
        """Predict with these weights from now on: with a copy, so they may be trained further."""
        if self._predictor is None:
            self._predictor = Predictor(model, self._device, say=self._say)
        else:
            self._predictor.use(model)
        self.generation += 1
        self._plan()

    def look_at(self, plane: PlaneIndex, rect: Rect) -> None:
        """The user looks at something else; what is still to do for the former view is dropped."""
        self._view, self._rect = plane, rect
        self._plan()

    def step(self) -> bool:
        """Deliver the next tile of the view; False when there is none left."""
        if not self._todo or self._predictor is None or self._view is None:
            return False
        tile = self._todo.pop(0)
        plane = self._view
        done = self._cache.get((plane, tile.core))
        if done is None or done.generation != self.generation:
            part = self._predictor.tile(self._read(plane), self._ranges, tile)
            maps = display_maps(part.probabilities)
            interior = None
            if part.interior is not None:
                interior = interior_levels(part.interior)
            done = PredictedTile(plane, tile.core, maps, interior, self.generation)
            self._keep(done)
        self._deliver(done)
        return True

    def _plan(self) -> None:
        self._todo = []
        if self._predictor is not None and self._view is not None:
            height, width = self._stack.shape[3:]
            seen = self._rect.intersect(Rect(0, 0, height, width))
            part = _middle(seen, LIVE_PIXELS)
            self._todo = self._predictor.tiles(height, width, core=LIVE_CORE, view=part)
            if part != seen and self._told != self._view:
                self._told = self._view
                self._say(TOO_FAR)

    def _read(self, plane: PlaneIndex) -> NDArray[np.generic] | LazyPlane:
        if self._plane is None or self._plane[0] != plane:
            self._plane = plane, self._stack.lazy_plane(*plane)
        return self._plane[1]

    def _keep(self, tile: PredictedTile) -> None:
        key = tile.plane, tile.rect
        if former := self._cache.pop(key, None):
            self._cached_bytes -= former.nbytes
        self._cache[key] = tile
        self._cached_bytes += tile.nbytes
        while self._cached_bytes > CACHE_BYTES:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= oldest.nbytes


def _middle(rect: Rect, most: int) -> Rect:
    """The part around the centre of a rectangle that has no more than so many pixels."""
    if rect.height * rect.width <= most:
        return rect
    side = math.isqrt(most)
    height = min(rect.height, max(side, most // rect.width))
    width = min(rect.width, most // height)
    y, x = rect.y + (rect.height - height) // 2, rect.x + (rect.width - width) // 2
    return Rect(y, x, height, width)
