"""Predicted cells taken over as labels, or rejected: edits worked out on snapshots of both."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from unet_core.annotation import BACKGROUND, Annotation, AnnotationError, Edit
from unet_core.flood import flood
from unet_core.labels import MAX_OBJECT, label
from unet_core.objects import split_objects
from unet_core.stack import PlaneIndex
from unet_core.tiles import bounding_box
from unet_core.tiling import Rect


class Seen(Protocol):
    """The prediction of a plane, as it is shown."""

    threshold: int
    """A class is there where its map is at least that, 1 to 255."""

    def read(self, rect: Rect) -> NDArray[np.uint8]:
        """The maps `(K, height, width)` of the classes of cells inside `rect`."""
        ...

    def read_interior(self, rect: Rect) -> NDArray[np.uint8] | None:
        """The interior `(height, width)` inside `rect`, 0…255; None where there is none."""
        ...


def accept(
    labels: Annotation,
    plane: PlaneIndex,
    seen: Seen,
    known: int,
    pixel: tuple[int, int] | None,
    number: int,
) -> Edit | None:
    """Label the cell predicted at `pixel`, or all of the plane, where nothing is labelled yet.

    Of the first `known` classes of cells. Each cell gets a number of its own, beginning with
    `number`; 0: none does. None where nothing is to be labelled; AnnotationError where there are
    no more numbers.
    """
    cells = _cells(seen, known, labels.plane_rect, pixel)
    if cells is None:
        return None
    painted = labels.read_labels(plane, cells.rect)
    free = cells.wanted & (painted == 0)
    new = cells.classes.astype(np.uint32) << np.uint32(24)
    if number:
        numbers = np.unique(cells.objects[free])
        if number + len(numbers) > MAX_OBJECT:
            raise AnnotationError("There are no more numbers to tell cells apart with.")
        new |= (np.searchsorted(numbers, cells.objects) + number).astype(np.uint32)
    painted[free] = new[free]
    return labels.planned("accept", [(plane, cells.rect, painted)])


def reject(
    labels: Annotation, plane: PlaneIndex, seen: Seen, known: int, pixel: tuple[int, int]
) -> Edit | None:
    """Make the cell predicted at `pixel` background, where nothing is labelled yet."""
    cells = _cells(seen, known, labels.plane_rect, pixel)
    if cells is None:
        return None
    painted = labels.read_labels(plane, cells.rect)
    painted[cells.wanted & (painted == 0)] = label(BACKGROUND)
    return labels.planned("reject", [(plane, cells.rect, painted)])


class _Cells(NamedTuple):
    rect: Rect
    wanted: NDArray[np.bool_]
    """Which pixels of `rect` belong to the cells that are meant."""
    classes: NDArray[np.uint8]
    objects: NDArray[np.int32]
    """A number for each predicted cell, 0 for none."""


def _cells(seen: Seen, known: int, plane: Rect, pixel: tuple[int, int] | None) -> _Cells | None:
    """The predicted cell at `pixel`, or all of the plane; None where there is none."""
    part = plane if pixel is None else part_around(seen, known, plane, pixel)
    if part.empty:
        return None
    classes = predicted_classes(seen, known, part)
    objects = split_objects(classes, seen.read_interior(part), 0)
    wanted = objects > 0
    if pixel is not None:
        wanted = objects == objects[pixel[0] - part.y, pixel[1] - part.x]
    box = bounding_box(wanted)
    if box.empty:
        return None
    rect = Rect(part.y + box.y, part.x + box.x, box.height, box.width)
    return _Cells(rect, wanted[box.slices], classes[box.slices], objects[box.slices])


def predicted_classes(seen: Seen, known: int, rect: Rect) -> NDArray[np.uint8]:
    """Which of the first `known` classes of cells is predicted: `(height, width)`, 0 for none."""
    classes = np.zeros((rect.height, rect.width), np.uint8)
    for value, levels in enumerate(seen.read(rect)[:known], BACKGROUND + 1):
        classes[levels >= seen.threshold] = value
    return classes


def part_around(seen: Seen, known: int, plane: Rect, pixel: tuple[int, int]) -> Rect:
    """What must be looked at to tell the predicted cell at `pixel`; empty where there is none.

    Cells are parted within connected pixels of one class, by an interior that is smoothed over two
    pixels to each side. So the box around the connected pixels, with that rim and one more, gives
    the same cell as the whole plane.
    """
    if not predicted_classes(seen, known, Rect(*pixel, 1, 1)).any():
        return Rect(0, 0, 0, 0)
    read = partial(predicted_classes, seen, known)
    region = flood(read, plane, pixel, plane.height * plane.width)
    return region.rect.expand(3).intersect(plane)
