"""Areas that other programs drew as lines: ImageJ's ROIs, GeoJSON's polygons, as pixels.

The files may be a stranger's: what a shape may cost is bounded before any work is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_core.polygon import polygon_mask
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

Ring = NDArray[np.float64]
"""Points (n, 2) of (y, x), the last joined to the first; pixel (0, 0) covers [0, 1) x [0, 1)."""

_FARTHEST = 1e9
_MOST_CROSSINGS = 2**24


class ShapeError(ValueError):
    """A shape, or a file of shapes, cannot be used; one sentence for the user."""


@dataclass(frozen=True)
class Shape:
    """An area in one plane, or in any."""

    parts: tuple[tuple[Ring, ...], ...]
    """Each part is what lies inside an odd number of its rings: an outline, then its holes."""
    plane: PlaneIndex | None = None
    """None where the file does not say."""
    key: str = ""
    """Shapes of one key are one object, "" for an object of its own."""
    class_name: str = ""

    def mask(self, plane: Rect) -> tuple[Rect, NDArray[np.bool_]]:
        """The pixels of `plane` whose centres it covers: where, and bool (height, width).

        The rectangle is empty where it covers none. Raises ShapeError where the points are no
        numbers, absurdly far away or so many that they would take minutes.
        """
        rings = [ring for part in self.parts for ring in part]
        for ring in rings:
            if ring.ndim != 2 or ring.shape[1] != 2 or not (np.abs(ring) <= _FARTHEST).all():
                raise ShapeError("A shape has corners that are no places in an image.")
        if sum(map(_crossings, rings, [plane] * len(rings))) > _MOST_CROSSINGS:
            raise ShapeError("A shape has far too many corners.")
        found = [[polygon_mask(ring, plane) for ring in part] for part in self.parts]
        box = Rect(0, 0, 0, 0)
        for rect, _ in (one for part in found for one in part):
            box = box.union(rect)
        mask = np.zeros((box.height, box.width), bool)
        for part in found:
            inside = np.zeros_like(mask)
            for rect, pixels in part:
                if not rect.empty:
                    there = Rect(rect.y - box.y, rect.x - box.x, rect.height, rect.width)
                    inside[there.slices] ^= pixels
            mask |= inside
        return box, mask


def painted(shapes: Iterable[Shape], height: int, width: int) -> NDArray[np.uint32]:
    """Shapes whose keys are numbers, painted into a plane (Y, X) one after the other."""
    labels = np.zeros((height, width), np.uint32)
    for shape in shapes:
        box, mask = shape.mask(Rect(0, 0, height, width))
        labels[box.slices][mask] = int(shape.key)
    return labels


def _crossings(ring: Ring, plane: Rect) -> int:
    """How many rows of the plane the ring's edges pass, each edge by itself."""
    y = np.clip(ring[:, 0], plane.y, plane.bottom)
    return int(np.abs(np.diff(y, append=y[:1])).sum()) + len(ring)


def ring_of(points: Any) -> Ring:
    """Points given as (x, y) as a ring. ShapeError where they are none."""
    try:
        ring: Ring = np.asarray(points, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ShapeError("A shape has corners that are no places in an image.") from error
    if ring.ndim != 2 or ring.shape[1] < 2:
        raise ShapeError("A shape has corners that are no places in an image.")
    return ring[:, 1::-1]
