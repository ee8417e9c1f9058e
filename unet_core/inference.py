"""Prediction, tile by tile: the same pixels however the plane is cut.

Probabilities are float32 `(K, Y, X)`, one map for each foreground class; together with background
they sum to one. A threshold T decides on the foreground as a whole: a pixel belongs to a cell where
1 - P(background) ≥ T, and then to the most probable foreground class.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from unet_core.intensity import normalise, read_mirrored
from unet_core.model import Model
from unet_core.networks import place
from unet_core.tiling import Rect, Tile, cover, round_up

LIVE_CORE = 512
"""Side of a tile, in pixels, for what is in view: small enough that the first one comes soon."""
WHOLE_CORE = 1024
"""Side of a tile for whole stacks: larger, since less of it is halo."""
DEFAULT_THRESHOLD = 0.5


def tiles_of(
    model: Model, height: int, width: int, *, core: int = WHOLE_CORE, view: Rect | None = None
) -> list[Tile]:
    """The tiles in which `model` predicts a plane; with `view`, nearest to its centre first."""
    stride = model.network.stride
    return cover(
        height,
        width,
        core=round_up(core, stride),
        halo=model.network.halo,
        stride=stride,
        view=view,
    )


def predict_tile(
    model: Model,
    plane: NDArray[np.generic],
    ranges: NDArray[np.float32],
    tile: Tile,
    device: torch.device,
) -> NDArray[np.float32]:
    """Foreground probabilities `(K, height, width)` of the tile's core.

    `plane` is `(C, Y, X)` with raw intensities, `ranges` the stack's `(C, 2)` intensity range.
    The network must be in evaluation mode and on `device`.
    """
    window = normalise(read_mirrored(plane, tile.window), ranges)
    batch = torch.from_numpy(window)[None].to(device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        probabilities = model.network(batch).softmax(dim=1)
    crop = (slice(1, None), *tile.crop.slices)
    result: NDArray[np.float32] = probabilities[0][crop].float().cpu().numpy()
    return np.ascontiguousarray(result)


def predict_tiles(
    model: Model,
    plane: NDArray[np.generic],
    ranges: NDArray[np.float32],
    device: torch.device,
    *,
    core: int = WHOLE_CORE,
    view: Rect | None = None,
) -> Iterator[tuple[Rect, NDArray[np.float32]]]:
    """Predict a plane tile by tile: `(rectangle, probabilities (K, height, width))`.

    With `view`, only tiles that meet it, the nearest to its centre first.
    """
    place(model.network, device).eval()
    for tile in tiles_of(model, *plane.shape[1:], core=core, view=view):
        yield tile.core, predict_tile(model, plane, ranges, tile, device)


def predict_plane(
    model: Model,
    plane: NDArray[np.generic],
    ranges: NDArray[np.float32],
    device: torch.device,
    *,
    core: int = WHOLE_CORE,
) -> NDArray[np.float32]:
    """Foreground probabilities `(K, Y, X)` of a whole plane `(C, Y, X)`."""
    result = np.empty((len(model.foreground), *plane.shape[1:]), np.float32)
    for rect, probabilities in predict_tiles(model, plane, ranges, device, core=core):
        result[(slice(None), *rect.slices)] = probabilities
    return result


def foreground(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - P(background), `(Y, X)`, of probabilities `(K, Y, X)`."""
    if probabilities.shape[0] == 1:
        return probabilities[0]
    return np.minimum(probabilities.sum(axis=0), np.float32(1))


def classes_at(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Class values `(Y, X)` uint8, 1 = background, of probabilities `(K, Y, X)`."""
    best = probabilities.argmax(axis=0).astype(np.uint8) + np.uint8(2)
    return np.where(foreground(probabilities) >= np.float32(threshold), best, np.uint8(1))


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
