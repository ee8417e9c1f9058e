"""Cut a plane along the valleys of a relief: a watershed that ignores what is hardly a valley.

Every pixel belongs to the summit that is reached going steepest uphill. Two summits stay apart if
the lower one stands high enough above the highest pass between them: its *prominence* (topological
persistence: Edelsbrunner, Letscher and Zomorodian 2002; the dynamics of a watershed's basin: Najman
and Schmitt 1996). All steps over pixels are whole-array ones: a plane of a million pixels takes
some 30 ms.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def watershed(
    classes: NDArray[np.uint8], level: NDArray[np.uint16], prominence: float, min_size: int
) -> NDArray[np.int32]:
    """Parts of the plane `(Y, X)` int32: 0 where `classes` is 0 or 1, elsewhere 1, 2, 3…

    Pixels belong together only where they share an edge and the class. `level` is the relief: at
    least 1 in what is cut, 0 elsewhere. Parts of fewer than `min_size` pixels that a cut leaves go
    back to the neighbour with which they share the longest border.
    """
    pixels = np.flatnonzero(classes > 1).astype(np.int32)
    result = np.zeros(classes.shape, np.int32)
    if not len(pixels):
        return result
    summits, hill = _hills(classes, level, pixels)
    own = np.full(classes.shape, -1, np.int32)
    own.ravel()[pixels] = hill
    borders = _borders(classes, own, level, len(summits))
    groups = _joined_over_passes(level.ravel()[summits], borders, prominence)
    sizes = np.bincount(groups[hill], minlength=len(summits))
    groups = _small_ones_joined(groups, sizes, borders, min_size)
    result.ravel()[pixels] = _by_appearance(groups)[hill]
    return result


def _hills(
    classes: NDArray[np.uint8], level: NDArray[np.uint16], pixels: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where going uphill ends: flat indices of the summits, and each pixel's summit among them."""
    best, way = level.copy(), np.zeros(level.shape, np.uint8)
    steps = np.array([0, 1, level.shape[1], -1, -level.shape[1]], np.int32)
    for number, here, there in _NEIGHBOURS:
        near = level[there] * (classes[here] == classes[there])
        # Between equals on to the later pixel, so that nobody goes round in circles.
        better = near >= best[here] if number < 3 else near > best[here]
        np.copyto(best[here], near, where=better)
        np.copyto(way[here], number, where=better, casting="unsafe")
    place = np.zeros(level.size, np.int32)
    place[pixels] = np.arange(len(pixels), dtype=np.int32)
    ahead = place[pixels + steps[way.ravel()[pixels]]]
    while True:  # each round doubles the way that is looked ahead
        further = ahead[ahead]
        if np.array_equal(further, ahead):
            break
        ahead = further
    is_summit = ahead == np.arange(len(pixels), dtype=np.int32)
    number_of = np.cumsum(is_summit, dtype=np.int32) - np.int32(1)
    return pixels[is_summit], number_of[ahead]


_NEIGHBOURS = (
    (1, np.s_[:, :-1], np.s_[:, 1:]),
    (2, np.s_[:-1], np.s_[1:]),
    (3, np.s_[:, 1:], np.s_[:, :-1]),
    (4, np.s_[1:], np.s_[:-1]),
)
"""Number of a direction (right, down, left, up), pixels that have such a neighbour, and these."""


class _Borders(NamedTuple):
    """Of every two neighbouring hills: their numbers, the highest pass, the border's length."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    passes: NDArray[np.uint16]
    lengths: NDArray[np.int64]


def _borders(
    classes: NDArray[np.uint8], own: NDArray[np.int32], level: NDArray[np.uint16], count: int
) -> _Borders:
    """Borders between hills numbered 0…`count` - 1 in `own` `(Y, X)`, -1 outside."""
    keys, heights = [], []
    for _, here, there in _NEIGHBOURS[:2]:
        across = (own[here] != own[there]) & (classes[here] == classes[there])
        a, b = own[here][across].astype(np.int64), own[there][across]
        keys.append(np.minimum(a, b) * count + np.maximum(a, b))
        heights.append(np.minimum(level[here][across], level[there][across]))
    key, height = np.concatenate(keys), np.concatenate(heights)
    order = np.argsort(key, kind="stable")
    known, starts, lengths = np.unique(key[order], return_index=True, return_counts=True)
    passes = np.maximum.reduceat(height[order], starts) if len(starts) else height
    return _Borders(known // count, known % count, passes, lengths)


def _joined_over_passes(
    summits: NDArray[np.uint16], borders: _Borders, prominence: float
) -> NDArray[np.int64]:
    """Group of each hill, the highest passes first: the number of the group's highest hill."""
    height = summits.tolist()
    leader = list(range(len(height)))

    def leader_of(hill: int) -> int:
        while leader[hill] != hill:
            leader[hill] = leader[leader[hill]]
            hill = leader[hill]
        return hill

    order = np.argsort(borders.passes, kind="stable")[::-1]
    ordered = (borders.one[order], borders.other[order], borders.passes[order])
    for a, b, over in zip(*(column.tolist() for column in ordered), strict=True):
        high, low = leader_of(a), leader_of(b)
        if height[high] < height[low]:
            high, low = low, high
        if height[low] - over < prominence:
            leader[low] = high
    return np.array([leader_of(hill) for hill in range(len(leader))], np.int64)


def _small_ones_joined(
    groups: NDArray[np.int64],
    sizes: NDArray[np.int64],
    borders: _Borders,
    min_size: int,
) -> NDArray[np.int64]:
    """Groups after each of less than `min_size` pixels, the smallest first, joined a neighbour."""
    shared: dict[int, dict[int, int]] = {}  # border lengths between groups
    ends = groups[borders.one].tolist(), groups[borders.other].tolist()
    for a, b, length in zip(*ends, borders.lengths.tolist(), strict=True):
        if a != b:
            for x, y in ((a, b), (b, a)):
                shared.setdefault(x, {})
                shared[x][y] = shared[x].get(y, 0) + length
    size = {group: int(sizes[group]) for group in shared}
    small = [(n, group) for group, n in size.items() if n < min_size]
    heapify(small)
    moved = np.arange(len(groups))
    while small:
        n, group = heappop(small)
        if size.get(group) != n or not shared[group]:
            continue  # it has gone or grown since, or is all there is
        near = shared.pop(group)
        target = max(near, key=lambda other: (near[other], -other))
        moved[group] = target
        size[target] += size.pop(group)
        for other, length in near.items():
            del shared[other][group]
            if other != target:
                shared[other][target] = shared[other].get(target, 0) + length
                shared[target][other] = shared[other][target]
        if size[target] < min_size:
            heappush(small, (size[target], target))
    while not np.array_equal(moved, moved[moved]):
        moved = moved[moved]
    return moved[groups]


def _by_appearance(groups: NDArray[np.int64]) -> NDArray[np.int32]:
    """1, 2, 3… for the groups of hills, in the order of their first hills."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[inverse]
