"""Predicted cells taken over as labels, or rejected: edits worked out on snapshots of both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from unet_core.annotation import BACKGROUND, Annotation, AnnotationError, Edit
from unet_core.flood import flood
from unet_core.labels import MAX_OBJECT, Labels, label
from unet_core.objects import split_area
from unet_core.stack import PlaneIndex
from unet_core.steps import result_of
from unet_core.tiles import bounding_box
from unet_core.tiling import Rect

_RIM = 3
"""Pixels around a cell that are looked at with it: the interior is smoothed over two."""


class Seen(Protocol):
    """The prediction of a plane, as it is shown."""

    threshold: int
    """A class is there where its map is at least that, 1 to 255."""

    @property
    def predicted(self) -> Rect:
        """A box outside which nothing is predicted: there all maps are 0."""
        ...

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
    no more numbers. Memory does not grow with the plane, but for the labels themselves.
    """

    def accepted() -> Iterator[tuple[PlaneIndex, Rect, Labels]]:
        given, numbers = 0, np.zeros(0, np.uint32)
        for cells in _cells(seen, known, labels.plane_rect, pixel):
            painted = labels.read_labels(plane, cells.rect)
            free = cells.wanted & (painted == 0)
            new = cells.classes[free].astype(np.uint32) << np.uint32(24)
            if number:
                objects = cells.objects[free]
                if not len(numbers):
                    numbers = np.zeros(cells.total + 1, np.uint32)
                unnamed = np.unique(objects)
                unnamed = unnamed[numbers[unnamed] == 0]
                numbers[unnamed] = np.arange(len(unnamed)) + (number + given)
                given += len(unnamed)
                if number + given > MAX_OBJECT:
                    raise AnnotationError("There are no more numbers to tell cells apart with.")
                new |= numbers[objects]
            painted[free] = new
            yield plane, cells.rect, painted

    return labels.planned("accept", accepted())


def reject(
    labels: Annotation, plane: PlaneIndex, seen: Seen, known: int, pixel: tuple[int, int]
) -> Edit | None:
    """Make the cell predicted at `pixel` background, where nothing is labelled yet."""

    def rejected() -> Iterator[tuple[PlaneIndex, Rect, Labels]]:
        for cells in _cells(seen, known, labels.plane_rect, pixel):
            painted = labels.read_labels(plane, cells.rect)
            painted[cells.wanted & (painted == 0)] = label(BACKGROUND)
            yield plane, cells.rect, painted

    return labels.planned("reject", rejected())


class _Cells(NamedTuple):
    """What is meant of a band of the plane."""

    rect: Rect
    wanted: NDArray[np.bool_]
    """Which pixels of `rect` belong to the cells that are meant."""
    classes: NDArray[np.uint8]
    objects: NDArray[np.int32]
    """A number for each predicted cell, 0 for none."""
    total: int
    """How many numbers there are in all bands."""


def _cells(seen: Seen, known: int, plane: Rect, pixel: tuple[int, int] | None) -> Iterator[_Cells]:
    """The predicted cell at `pixel`, or all of the plane, band by band."""
    part = part_to_split(seen, plane) if pixel is None else part_around(seen, known, plane, pixel)
    if part.empty:
        return
    parts = result_of(split_area(partial(classes_and_interior, seen, known), part, 0))
    one = None if pixel is None else parts.at(*pixel)
    for band, objects in parts:
        wanted = objects > 0 if one is None else objects == one
        box = bounding_box(wanted)
        if not box.empty:
            rect = Rect(band.y + box.y, band.x + box.x, box.height, box.width)
            classes = predicted_classes(seen, known, rect)
            own = objects[box.slices]
            yield _Cells(rect, wanted[box.slices], classes, own, len(parts.sizes))


def part_to_split(seen: Seen, plane: Rect) -> Rect:
    """What must be looked at to tell all predicted cells of `plane`, which may be a part of one."""
    return seen.predicted.expand(_RIM).intersect(plane)


def classes_and_interior(
    seen: Seen, known: int, rect: Rect
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """What `objects.split_area` wants to know of a rectangle."""
    return predicted_classes(seen, known, rect), seen.read_interior(rect)


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
    return region.rect.expand(_RIM).intersect(plane)
