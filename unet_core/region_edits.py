"""Edits that change whole regions of a plane: worked out on a snapshot, to be applied later.

All of them return the edit, not applied yet, and None where nothing would change; they may run in
any thread. What some of them compute with takes its time to be imported: these import it when they
are called, so that a window can know the others from the start.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unet_core.annotation import BACKGROUND, Annotation, AnnotationError, Edit
from unet_core.brush import Point, pixel_path
from unet_core.labels import Labels, class_of, classes_of, label, object_of, objects_of
from unet_core.polygon import polygon_box, polygon_mask
from unet_core.stack import PlaneIndex
from unet_core.tiles import TILE, bounding_box
from unet_core.tiling import Rect

if TYPE_CHECKING:
    from unet_core.flood import Region

FILL_LIMIT = 2**24
"""A region is given up when it has so many pixels."""

TOO_LARGE = f"This region has more than {FILL_LIMIT:,} pixels"

Part = tuple[PlaneIndex, Rect, Labels]
"""The new labels of a rectangle: what `Annotation.planned` takes."""


# --- connected regions ---------------------------------------------------------------------------


def flooded(labels: Annotation, plane: PlaneIndex, seed: tuple[int, int]) -> Region:
    """The connected region of one label around a pixel (row, column)."""
    from unet_core.flood import flood

    return flood(partial(labels.read_labels, plane), labels.plane_rect, seed, FILL_LIMIT)


def beginning(labels: Annotation, plane: PlaneIndex, region: Region, clicked: Point) -> Point:
    """Where the paint of a fill begins: in the one cell all around, which it makes whole; where
    there is none, at the click."""
    if not region.closed:
        return clicked
    y, x, height, width = region.rect
    inside = np.pad(region.mask, 1)
    rim = np.zeros_like(inside)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        rim[here] |= inside[there]
        rim[there] |= inside[here]
    rim &= ~inside
    around = labels.read_labels(plane, region.rect.expand(1))
    first = np.unravel_index(int(rim.argmax()), rim.shape)
    if (around[rim] != around[first]).any():
        return clicked
    return y - 0.5 + int(first[0]), x - 0.5 + int(first[1])


def clear_region(
    labels: Annotation, plane: PlaneIndex, seed: tuple[int, int], keep: Collection[int]
) -> Edit | None:
    """Unlabel the connected region of one label around a pixel, but for the classes in `keep`.

    AnnotationError where it is too large.
    """
    region = flooded(labels, plane, seed)
    if not region.complete:
        raise AnnotationError(f"{TOO_LARGE}; erase a line through it, then delete it.")
    return labels.filling(plane, region.rect, region.mask, 0, kind="delete", keep=keep)


# --- shapes --------------------------------------------------------------------------------------


def fill_polygon(
    labels: Annotation, plane: PlaneIndex, points: Sequence[Point], one: int, keep: Collection[int]
) -> Edit | None:
    """Give what lies inside a polygon of `(y, x)` points a label, but for the classes in `keep`."""
    bands = _bands(polygon_box(points, labels.plane_rect))
    masks = (polygon_mask(points, band) for band in bands)
    return labels.planned("polygon", _painted(labels, plane, masks, one, keep))


def complete(labels: Annotation, plane: PlaneIndex, rect: Rect) -> Edit | None:
    """Make what is not labelled in a rectangle of the plane background."""
    masks = ((band, labels.read(plane, band) == 0) for band in _bands(rect))
    parts = _painted(labels, plane, masks, label(BACKGROUND), ())
    return labels.planned("complete", parts)


def _bands(rect: Rect) -> Iterator[Rect]:
    """A rectangle in strips, so that a large one takes no more memory than one of them."""
    for top in range(rect.y - rect.y % TILE, rect.bottom, TILE):
        yield Rect(top, rect.x, TILE, rect.width).intersect(rect)


def _painted(
    labels: Annotation,
    plane: PlaneIndex,
    masks: Iterable[tuple[Rect, NDArray[np.bool_]]],
    one: int,
    keep: Collection[int],
) -> Iterator[Part]:
    """The labels of rectangles whose masked pixels have become `one`, but for the kept classes."""
    for rect, mask in masks:
        new = labels.read_labels(plane, rect)
        if keep:
            mask = mask & ~np.isin(classes_of(new), list(keep))
        new[mask] = one
        yield plane, rect, new


# --- objects -------------------------------------------------------------------------------------


def objects_under(
    labels: Annotation, plane: PlaneIndex, line: Sequence[Point], keep: Collection[int]
) -> list[int]:
    """Labels of the objects that a line passes, in its order, without the classes in `keep`."""
    found: dict[int, None] = {}
    for start, end in zip(line, line[1:] or line, strict=False):
        rows, columns = pixel_path(start, end, labels.plane_rect)
        for one in labels.labels_at(plane, rows, columns).tolist():
            found[one] = None
    return [one for one in found if object_of(one) and class_of(one) not in keep]


def places_of(
    labels: Annotation, plane: PlaneIndex, found: Collection[int]
) -> list[tuple[int, int]]:
    """The tiles of a plane, by row and column, in which one of the labels occurs."""
    return [
        place
        for place in labels.labelled_tiles(plane)
        if not labels.contents(plane, place).counts.keys().isdisjoint(found)
    ]


def relabel(
    labels: Annotation, plane: PlaneIndex, kind: str, becomes: Mapping[int, int]
) -> Edit | None:
    """Give objects of a plane other labels."""
    return labels.planned(kind, _relabelled(labels, plane, becomes))


def _relabelled(
    labels: Annotation, plane: PlaneIndex, becomes: Mapping[int, int]
) -> Iterator[Part]:
    """The tiles of a plane in which labels have become others."""
    tiles = labels.tiles(plane)
    for row, column in places_of(labels, plane, becomes):
        tile = tiles[row, column]
        new = tile.copy()
        for old, one in becomes.items():
            new[tile == np.uint32(old)] = one
        rect = Rect(row * TILE, column * TILE, TILE, TILE).intersect(labels.plane_rect)
        yield plane, rect, new[: rect.height, : rect.width]


def split(
    labels: Annotation,
    plane: PlaneIndex,
    line: Sequence[Point],
    found: Sequence[int],
    places: Sequence[tuple[int, int]],
    number: int,
) -> Edit | None:
    """Cut the objects with the labels `found`, which occur in the tiles at `places`, along a line.

    The largest part keeps the object's number; the others get `number` and those that follow.
    """
    from unet_core.cut import cut_by_line

    rect = _extent(labels, plane, places, found)
    cut, here = labels.read_labels(plane, rect), np.asarray(line, float) - (rect.y, rect.x)
    for one in found:
        pieces, count = cut_by_line(cut == one, here, min_size=4)
        for piece in range(2, count + 1):
            cut[pieces == piece] = label(class_of(one), number)
            number += 1
    return labels.planned("split", [(plane, rect, cut)])


def _extent(
    labels: Annotation,
    plane: PlaneIndex,
    places: Sequence[tuple[int, int]],
    found: Sequence[int],
) -> Rect:
    """A box around the pixels with one of the labels, which occur in the tiles at `places`."""
    box, tiles = Rect(0, 0, 0, 0), labels.tiles(plane)
    for place in places:
        here = bounding_box(np.isin(tiles[place], np.array(found, np.uint32)))
        box = box.union(_in_plane(place, here))
    return box


# --- through z -----------------------------------------------------------------------------------


def gap_at(labels: Annotation, plane: PlaneIndex) -> tuple[PlaneIndex, PlaneIndex] | None:
    """The labelled planes below and above this one; None unless there is one to fill in between.

    On a labelled plane the gap above it is meant.
    """
    labelled = [p for p in labels.labelled_planes() if p.t == plane.t]
    below = [p for p in labelled if p.z <= plane.z]
    above = [p for p in labelled if p.z > max((p.z for p in below), default=-1)]
    if not below or not above or min(above).z - max(below).z < 2:
        return None
    return max(below), min(above)


def interpolating(
    labels: Annotation, first: PlaneIndex, last: PlaneIndex, locked: frozenset[int]
) -> Generator[None, None, Edit | None]:
    """Work out, plane by plane, the edit that fills in what is not labelled between two planes.

    Objects are followed by their number, classes without objects as a whole. Where a cell has
    another number on `last` and beyond, it gets that of `first`, unless its class is `locked`.
    """
    from unet_core.between import between

    box = _labelled_box(labels, first).union(_labelled_box(labels, last))
    rim = Rect(box.y - 1, box.x - 1, box.height + 2, box.width + 2)
    rim = rim.intersect(labels.plane_rect)
    one, other = (labels.read_labels(plane, rim) for plane in (first, last))
    becomes = _numbered_alike(one, other, locked)
    # The cell goes on beyond the second slice: there too it gets the number of the first.
    parts = [
        part
        for plane in labels.labelled_planes()
        if plane.t == last.t and plane.z >= last.z
        for part in _relabelled(labels, plane, becomes)
    ]
    yield
    for old, new in becomes.items():
        other[other == np.uint32(old)] = new
    planes = between(one, other, last.z - first.z - 1)
    for depth, new_labels in enumerate(planes, start=first.z + 1):
        parts.append((PlaneIndex(first.t, depth), rim, new_labels))
        yield
    edit = labels.planned("interpolate", parts)
    return None if edit is None else edit.ready()


def _labelled_box(labels: Annotation, plane: PlaneIndex) -> Rect:
    """A box around the labelled pixels of a plane."""
    box = Rect(0, 0, 0, 0)
    for place in labels.labelled_tiles(plane):
        box = box.union(_in_plane(place, labels.contents(plane, place).box))
    return box


def _in_plane(place: tuple[int, int], box: Rect) -> Rect:
    """A box within a tile as one of the plane."""
    return Rect(place[0] * TILE + box.y, place[1] * TILE + box.x, box.height, box.width)


def _numbered_alike(one: Labels, other: Labels, locked: frozenset[int]) -> dict[int, int]:
    """Which labels of `other` must become which of `one` for a cell to have one number.

    Painted on two slices, a cell has two numbers. Those that share most pixels are matched first.
    """
    both = (objects_of(one) > 0) & (objects_of(other) > 0) & (classes_of(one) == classes_of(other))
    pairs, shared = np.unique(np.stack((one[both], other[both])), axis=1, return_counts=True)
    taken = set(np.unique(one).tolist()) & set(np.unique(other).tolist())
    becomes: dict[int, int] = {}
    for index in np.argsort(-shared, kind="stable").tolist():
        mine, theirs = (int(number) for number in pairs[:, index])
        if mine in taken or theirs in taken or class_of(theirs) in locked:
            continue
        taken |= {mine, theirs}
        becomes[theirs] = mine
    return becomes
