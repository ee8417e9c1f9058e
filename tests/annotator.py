"""A simulated careful annotator: paints a few short strokes and never over an edge.

`strokes_for` paints where the prediction is most wrong, `random_strokes` before there is any.
"""

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
    diameter: int = 7


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
        paths.append(Path(value, points, diameter))
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
        draw(annotation, plane, path)


def draw(annotation: Annotation, plane: PlaneIndex, path: Path) -> None:
    """Paint one stroke into a plane of `annotation`."""
    stroke = annotation.stroke(plane, path.value, path.diameter)
    for y, x in path.points:
        stroke.to(y + 0.5, x + 0.5)
    stroke.finish()


def painted(shape: tuple[int, int], paths: list[Path]) -> np.ndarray:
    """The class labels (Y, X) uint8 of a plane that holds nothing but these strokes."""
    annotation = Annotation((1, 1, *shape))
    for path in paths:
        draw(annotation, PlaneIndex(0, 0), path)
    return annotation.read(PlaneIndex(0, 0))


def random_strokes(
    truth_objects: np.ndarray,
    count: int,
    random: np.random.Generator,
    diameter: int = 6,
    length: int = 40,
) -> list[Path]:
    """`count` random walks of about `length` px, in turn on a cell and on background.

    `truth_objects` is (Y, X) integer, 0 background, 1… objects. A stroke stays inside one object,
    another one each time, or inside the background; a third of the background ones run along the
    edge of a cell. Where a region is too narrow for the brush, a thinner one is taken; objects of
    less than a fifth of the median size are passed over. The first strokes are the same for every
    `count`. A class that is not in the image gets no stroke.
    """
    areas = np.bincount(truth_objects.ravel())
    areas[0] = 0
    large = areas > 0.2 * np.median(areas[areas > 0]) if areas.any() else areas > 0
    ids = random.permutation(np.flatnonzero(large))
    around = ndimage.find_objects(truth_objects)
    outside = ndimage.distance_transform_edt(truth_objects == 0)
    hugging = int(random.integers(3))
    paths = []
    for i in range(count):
        if i % 2 == 0:
            if not len(ids):
                continue
            number = ids[i // 2 % len(ids)]
            box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in around[number - 1])
            depth = np.zeros(truth_objects.shape)
            depth[box] = ndimage.distance_transform_edt(truth_objects[box] == number)
            brush, free = _room(depth, diameter)
        else:
            if not outside.any() or not len(ids):
                continue
            brush, free = _room(outside, diameter)
            along = free & (outside <= brush / 2 + 3.5)
            if i // 2 % 3 == hugging and along.any():
                free = along
        start = np.argwhere(free)[random.integers(int(free.sum()))]
        points = _random_walk((int(start[0]), int(start[1])), free, length, random)
        paths.append(Path(CELL if i % 2 == 0 else BACKGROUND, points, brush))
    return paths


def _room(depth: np.ndarray, diameter: int) -> tuple[int, np.ndarray]:
    """The brush, at most `diameter` px wide, and where its centre (Y, X) may be.

    `depth` is the distance of each pixel to the edge of its region. The widest brush that reaches
    a third of the region: no one paints a membrane only where it is thickest.
    """
    region = depth > 0
    for brush in (diameter, diameter * 2 // 3, diameter // 2, diameter // 3):
        free = depth > brush / 2 + 0.5  # half a pixel more: between two points the brush is wider
        if brush > 1 and free.sum() >= region.sum() / 3:
            return brush, free
    return 1, region


def _random_walk(
    start: tuple[int, int], free: np.ndarray, length: int, random: np.random.Generator
) -> list[tuple[int, int]]:
    """From `start` in steps of a pixel, gently turning, never out of `free`."""
    at_y, at_x = float(start[0]), float(start[1])
    points = [start]
    heading = random.uniform(0, 2 * np.pi)
    for _ in range(length):
        turns = [random.normal(0, 0.3), *random.uniform(-np.pi, np.pi, 12)]
        for turn in turns:  # turn away only where the way ahead is barred
            next_y, next_x = at_y + np.sin(heading + turn), at_x + np.cos(heading + turn)
            y, x = round(next_y), round(next_x)
            last_y, last_x = points[-1]
            if not (0 <= y < free.shape[0] and 0 <= x < free.shape[1]):
                continue
            if free[y, x] and free[y, last_x] and free[last_y, x]:  # a line may graze a corner
                at_y, at_x, heading = next_y, next_x, heading + turn
                points.append((y, x))
                break
        else:
            break
    return points


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
