"""A simulated careful annotator: paints a few short strokes where the prediction is most wrong."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from unet_core.annotation import Annotation
from unet_core.stack import PlaneIndex

BACKGROUND, CELL = 1, 2


@dataclass(frozen=True)
class Path:
    """A stroke to be drawn: class value and centres of the brush as (y, x) pixels."""

    value: int
    points: list[tuple[int, int]]


def strokes_for(
    truth: np.ndarray, predicted: np.ndarray, count: int, diameter: int = 7, length: int = 40
) -> list[Path]:
    """`count` strokes, in turn on cells and on background, each in the largest mistake left.

    `truth` and `predicted` are (Y, X) bool. Where there is no mistake of that kind any more, the
    stroke goes to the largest part of the class that is not painted yet.
    """
    paths = []
    free = np.ones(truth.shape, bool)
    for i in range(count):
        value = CELL if i % 2 == 0 else BACKGROUND
        region = truth == (value == CELL)
        inside = ndimage.binary_erosion(region, iterations=diameter // 2 + 1)
        wrong = inside & (predicted != truth) & free
        candidates = (wrong, inside & free, region & free, region)
        start = next(point for mask in candidates if (point := _deepest(mask)))
        points = _walk(start, inside, length)
        paths.append(Path(value, points))
        for y, x in points:  # the next stroke goes somewhere else
            free[max(0, y - 15) : y + 16, max(0, x - 15) : x + 16] = False
    return paths


def annotate(
    annotation: Annotation,
    plane: PlaneIndex,
    truth: np.ndarray,
    predicted: np.ndarray,
    count: int = 8,
    diameter: int = 7,
) -> None:
    """Paint `strokes_for` these into a plane of `annotation`."""
    for path in strokes_for(truth, predicted, count, diameter):
        stroke = annotation.stroke(plane, path.value, diameter)
        for y, x in path.points:
            stroke.to(y + 0.5, x + 0.5)
        stroke.finish()


def _deepest(mask: np.ndarray) -> tuple[int, int] | None:
    """The point farthest from the edge of the largest connected part."""
    parts, count = ndimage.label(mask)
    if not count:
        return None
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(y), int(x)


def _walk(start: tuple[int, int], inside: np.ndarray, length: int) -> list[tuple[int, int]]:
    """From `start` along the longest straight line that stays inside, at most `length` pixels."""
    best = [start]
    for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False):
        line = [start]
        for step in range(4, length + 1, 4):
            y = round(start[0] + step * np.sin(angle))
            x = round(start[1] + step * np.cos(angle))
            if not (0 <= y < inside.shape[0] and 0 <= x < inside.shape[1] and inside[y, x]):
                break
            line.append((y, x))
        best = max(best, line, key=len)
    return best
