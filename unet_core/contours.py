"""Objects as polygons that run along the edges of their pixels.

Corners are lattice points (y, x): pixel (r, c) covers [r, r + 1) x [c, c + 1), so a polygon's area
is the number of its pixels, and whoever asks which pixel centres lie inside gets them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

_BAND = 512
"""So many rows are looked at at a time."""

Ring = NDArray[np.int64]
"""Corners (n, 2) of (y, x), the last joined to the first; no corner occurs twice."""


class Contour(NamedTuple):
    """A part of an object whose pixels hang together by their edges, and the holes in it."""

    exterior: Ring
    """Clockwise as seen on a screen, where y points down."""
    holes: tuple[Ring, ...]
    """Counter-clockwise."""


def contours(labels: NDArray[np.integer[Any]]) -> dict[int, list[Contour]]:
    """The outlines of all objects of a plane (Y, X), by number; 0 is no object.

    All rings are simple: where pixels of an object, or two of its holes, touch only by their
    corners, each has a ring of its own (as the OGC's simple features ask for, and QuPath).
    """
    rings: dict[int, list[Ring]] = {}
    for number, ring in _rings(labels):
        rings.setdefault(number, []).append(ring)
    return {number: _assembled(labels, number, found) for number, found in rings.items()}


def ring_area(ring: NDArray[Any]) -> float:
    """The area inside a ring of (y, x), positive where it runs clockwise on a screen."""
    y, x = np.asarray(ring, np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _rings(labels: NDArray[np.integer[Any]]) -> Iterable[tuple[int, Ring]]:
    """All simple rings of all objects.

    The border of an object consists of straight runs, walked with the object on the right: along
    x on the top edge of its pixels, along y on the right edge, and so on. Runs along x and along y
    alternate, so a run is followed by the one that starts where it ends. Where four runs of one
    object meet, the walk turns right and stays on its pixel.
    """
    height, width = labels.shape
    level = _runs(labels)
    upright = _runs(labels.T)
    # (owner, start y, start x, end y, end x, turns): the order of `turns` pairs the runs at a
    # corner that two of them enter. Level runs: +x is 0, -x is 1; upright ones: +y is 0, -y is 1.
    rows, first, last, owner, far = level
    # `far`: the owner lies on the far side of the line (below), its top edge, walked along +x.
    h_start_x, h_end_x = np.where(far, first, last), np.where(far, last, first)
    h = owner, rows, h_start_x, rows, h_end_x, (~far).astype(np.int64)
    columns, first, last, owner, far = upright
    # The owner on the far side (to the right): its left edge, walked along -y.
    v_start_y, v_end_y = np.where(far, last, first), np.where(far, first, last)
    v = owner, v_start_y, columns, v_end_y, columns, far.astype(np.int64)

    def key(run: tuple[NDArray[np.int64], ...], at: int, turn: NDArray[np.int64]) -> Any:
        place = (run[0] * (height + 1) + run[at]) * (width + 1) + run[at + 1]
        return np.argsort(place * 2 + turn, kind="stable")

    after_h = np.empty(len(h[0]), np.int64)
    after_v = np.empty(len(v[0]), np.int64)
    after_h[key(h, 3, h[5])] = key(v, 1, v[5])  # +x, then +y; -x, then -y
    after_v[key(v, 3, v[5])] = key(h, 1, 1 - h[5])  # +y, then -x; -y, then +x
    stride = width + 1
    h_corner = (h[1] * stride + h[2]).tolist()
    v_corner = (v[1] * stride + v[2]).tolist()
    to_v, to_h, owners = after_h.tolist(), after_v.tolist(), h[0].tolist()
    done = bytearray(len(owners))
    for beginning, number in enumerate(owners):
        if done[beginning]:
            continue
        path: list[int] = []
        place: dict[int, int] = {}
        run = beginning
        while not done[run]:
            done[run] = 1
            upright_run = to_v[run]
            for corner in (h_corner[run], v_corner[upright_run]):
                if corner in place:  # a corner once more: what lies between is a ring of its own
                    at = place[corner]
                    yield number, _points(path[at:], stride)
                    for passed in path[at:]:
                        del place[passed]
                    del path[at:]
                place[corner] = len(path)
                path.append(corner)
            run = to_h[upright_run]
        yield number, _points(path, stride)


def _runs(labels: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], ...]:
    """Straight border runs along the lines between the rows of `labels` (rows, columns).

    Gives for each run its line, its first and its last lattice position, the object that it bounds
    and whether that lies on the far side (below). Some rows at a time, as planes can be large.
    """
    height, width = labels.shape
    found: dict[bool, list[tuple[NDArray[Any], ...]]] = {True: [], False: []}
    for start in range(0, height + 1, _BAND):
        stop = min(start + _BAND, height + 1)
        rows = np.zeros((stop - start + 1, width), labels.dtype)  # from the one before `start`
        inner = labels[max(0, start - 1) : min(stop, height)]
        rows[int(start == 0) :][: len(inner)] = inner
        for is_far, own, other in ((True, rows[1:], rows[:-1]), (False, rows[:-1], rows[1:])):
            own = np.where(own != other, own, 0)
            edge = np.zeros((len(own), width + 1), bool)  # between a pixel and the one before
            edge[:, 1:-1] = own[:, 1:] != own[:, :-1]
            edge[:, 0] = edge[:, -1] = True
            line, first = np.nonzero((own != 0) & edge[:, :-1])
            _, last = np.nonzero((own != 0) & edge[:, 1:])
            owner = own[line, first].astype(np.int64)
            found[is_far].append((line + start, first, last + 1, owner, np.full(len(line), is_far)))
    # First those on the far side: a walk begins at an object's upper left corner.
    return tuple(np.concatenate(parts) for parts in zip(*found[True], *found[False], strict=True))


def _points(corners: Sequence[int], stride: int) -> Ring:
    flat = np.array(corners, np.int64)
    return np.stack((flat // stride, flat % stride), axis=1)


def _assembled(
    labels: NDArray[np.integer[Any]], number: int, rings: Sequence[Ring]
) -> list[Contour]:
    """Each outer ring with the holes that lie in it."""
    outer = [ring for ring in rings if ring_area(ring) > 0]
    holes = [ring for ring in rings if ring_area(ring) < 0]
    if len(outer) == 1 or not holes:
        return [Contour(ring, tuple(holes)) for ring in outer]
    y, x = np.concatenate(outer).min(axis=0)
    bottom, right = np.concatenate(outer).max(axis=0)
    pieces, _ = label(labels[y:bottom, x:right] == number)

    def piece(ring: Ring, up: int) -> int:
        """The piece whose pixel lies below (or, for `up` = 1, above) the ring's topmost edge."""
        row, column = ring[np.lexsort((ring[:, 1], ring[:, 0]))[0]]
        return int(pieces[row - y - up, column - x])

    inside: dict[int, list[Ring]] = {}
    for ring in holes:
        inside.setdefault(piece(ring, 1), []).append(ring)
    return [Contour(ring, tuple(inside.get(piece(ring, 0), ()))) for ring in outer]
