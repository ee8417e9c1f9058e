"""Cut a plane along the valleys of a relief: a watershed that ignores what is hardly a valley.

Every pixel belongs to the summit that is reached going steepest uphill. Two summits stay apart if
the lower one stands high enough above the highest pass between them: its *prominence* (topological
persistence: Edelsbrunner, Letscher and Zomorodian 2002; the dynamics of a watershed's basin: Najman
and Schmitt 1996). All steps over pixels are whole-array ones: a plane of a million pixels takes
some 30 ms.

A plane too large for that is looked at band by band, and gives the same parts: where a way uphill
leaves its band it goes on in the next, and only the hills, of which there are few, are kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_core.steps import result_of
from unet_core.tiling import Rect

Look = Callable[[Rect], tuple[NDArray[np.uint8], NDArray[np.uint16]]]
"""Gives the classes and the relief of a rectangle, both `(height, width)`, see `watershed`."""

_AT_ONCE = 2**16
"""So many borders are turned into Python's numbers at a time, each of which takes 32 bytes."""


def watershed(
    classes: NDArray[np.uint8], level: NDArray[np.uint16], prominence: float, min_size: int
) -> NDArray[np.int32]:
    """Parts of the plane `(Y, X)` int32: 0 where `classes` is 0 or 1, elsewhere 1, 2, 3…

    Pixels belong together only where they share an edge and the class. `level` is the relief: at
    least 1 in what is cut, 0 elsewhere. Parts of fewer than `min_size` pixels that a cut leaves go
    back to the neighbour with which they share the longest border.
    """
    hills = Hills(
        lambda rect: (classes[rect.slices], level[rect.slices]), [Rect(0, 0, *classes.shape)]
    )
    result_of(hills.explore())
    return hills.parts(prominence, min_size).labels(0)


class Parts:
    """What a watershed has found, given band by band, each computed anew from its hills."""

    def __init__(self, hills: Hills, part_of: NDArray[np.int32], sizes: NDArray[np.int64]) -> None:
        self._hills, self._part_of = hills, part_of
        self.sizes = sizes
        """The pixels of part 1, 2, 3…"""

    def labels(self, band: int) -> NDArray[np.int32]:
        """The parts in a band `(height, width)`: 0 outside all, elsewhere 1, 2, 3…"""
        first, ends = self._hills.ends(band)
        labels, inside = np.zeros(ends.shape, np.int32), ends >= 0
        labels[inside] = self._part_of[first + ends[inside]]
        return labels

    def __iter__(self) -> Iterator[tuple[Rect, NDArray[np.int32]]]:
        """Each band and the parts in it."""
        for number, rect in enumerate(self._hills.bands):
            yield rect, self.labels(number)

    def at(self, y: int, x: int) -> int:
        """The part at a pixel, 0 where there is none; IndexError outside all bands."""
        for number, rect in enumerate(self._hills.bands):
            if not rect.intersect(Rect(y, x, 1, 1)).empty:
                return int(self.labels(number)[y - rect.y, x - rect.x])
        raise IndexError(f"the pixel {(y, x)} lies outside what was cut")


class Hills:
    """The hills of a relief, found band by band.

    A way uphill ends on a summit or where it leaves its band, on the first pixel of a neighbour
    band: from there the neighbour knows how it goes on.
    """

    def __init__(self, look: Look, bands: Sequence[Rect]) -> None:
        """`bands` lie below each other without gaps; `look` must always give the same."""
        self.bands = bands
        self._look = look
        self._area = Rect(0, 0, 0, 0)
        for rect in bands:
            self._area = self._area.union(rect)
        # Of all ends of ways, in the order of bands and then of pixels:
        self._firsts: list[int] = []  # where each band's begin
        self._heights: list[NDArray[np.uint16]] = []
        self._sizes: list[NDArray[np.int32]] = []  # how many pixels' ways end there
        self._links: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []  # where it goes on
        self._borders: list[_Borders] = []
        self._last: tuple[int, _Band] | None = None

    def explore(self) -> Generator[None, None, None]:
        """Look at all bands, one at a step."""
        count = 0
        before: NDArray[np.int32] | None = None  # the last row of the band above, the row below it
        for number in range(len(self.bands)):
            band = self._band(number)
            self._firsts.append(count)
            self._heights.append(band.level.ravel()[band.ends])
            inside = band.own[band.rows]
            sizes = np.bincount(inside[inside >= 0], minlength=len(band.ends))
            self._sizes.append(sizes.astype(np.int32))
            self._borders.append(band.borders(count))
            if before is not None:
                last_row, row_below = before
                self._link(_numbered(band.own[0], count), last_row)
                self._link(row_below, _numbered(band.own[1], count))
            before = _numbered(band.own[-2:], count)
            count += len(band.ends)
            del band, inside  # there need not be room for two
            yield

    def _link(self, ends: NDArray[np.int32], onward: NDArray[np.int32]) -> None:
        """The ways that end on a row of pixels go on to what their own band says of these."""
        there = ends >= 0
        self._links.append((ends[there], onward[there]))

    def ends(self, number: int) -> tuple[int, NDArray[np.int32]]:
        """The first end of a band, and which of those from there on each of its pixels has: -1
        outside what is cut."""
        band = self._band(number)
        return self._firsts[number], band.own[band.rows]

    def _band(self, number: int) -> _Band:
        if self._last is None or self._last[0] != number:
            self._last = None  # there need not be room for two
            self._last = number, _seen(self._look, self._area, self.bands[number])
        return self._last[1]

    def parts(self, prominence: float, min_size: int) -> Parts:
        """The hills joined over all passes that are too high; see `watershed`."""
        every = [np.zeros(0, np.int32), *self._sizes]
        goes_on = np.arange(sum(map(len, every)), dtype=np.int32)
        for ends, onward in self._links:
            goes_on[ends] = onward
        is_summit = goes_on == np.arange(len(goes_on), dtype=np.int32)
        goes_on = _followed(goes_on)
        hill = (np.cumsum(is_summit, dtype=np.int32) - np.int32(1))[goes_on]
        summits = np.concatenate([np.zeros(0, np.uint16), *self._heights])[is_summit]
        count = len(summits)
        sizes = np.bincount(hill, np.concatenate(every), count).astype(np.int64)
        borders = _of_hills(self._borders, hill, count)
        groups = _joined_over_passes(summits, borders, prominence)
        together = np.bincount(groups, sizes, count).astype(np.int64)
        groups = _small_ones_joined(groups, together, borders, min_size)
        part = _by_appearance(groups)
        return Parts(self, part[hill], np.bincount(part, sizes)[1:].astype(np.int64))


def _numbered(own: NDArray[np.int32], first: int) -> NDArray[np.int32]:
    """The ends of rows of a band as they are numbered throughout."""
    return np.where(own < 0, np.int32(-1), own + np.int32(first))


class _Band(NamedTuple):
    """A band of the relief with one row more above and below it, where the area goes on."""

    rows: slice
    """Which rows are the band's own."""
    classes: NDArray[np.uint8]
    level: NDArray[np.uint16]
    own: NDArray[np.int32]
    """Which of `ends` each pixel's way uphill has, -1 outside what is cut."""
    ends: NDArray[np.int32]
    """Flat indices of the summits, and of all pixels outside the band's own rows."""

    def borders(self, first: int) -> _Borders:
        """The borders in the band and between it and the next, its ends numbered from `first`."""
        below = slice(self.rows.start, None)
        classes, own, level = self.classes[below], self.own[below], self.level[below]
        own_rows = self.rows.stop - self.rows.start
        return _borders(classes, own, level, own_rows, len(self.ends), first)


def _seen(look: Look, area: Rect, rect: Rect) -> _Band:
    around = Rect(rect.y - 1, rect.x, rect.height + 2, rect.width).intersect(area)
    rows = slice(rect.y - around.y, rect.bottom - around.y)
    classes, level = look(around)
    pixels = np.flatnonzero(classes > 1).astype(np.int32)
    ends, hill = _hills(classes, level, pixels, rows)
    own = np.full(classes.shape, -1, np.int32)
    own.ravel()[pixels] = hill
    return _Band(rows, classes, level, own, ends)


def _hills(
    classes: NDArray[np.uint8], level: NDArray[np.uint16], pixels: NDArray[np.int32], rows: slice
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where going uphill ends: flat indices of these pixels, and each pixel's end among them.

    Outside `rows` every pixel is an end.
    """
    best, way = level.copy(), np.zeros(level.shape, np.uint8)
    steps = np.array([0, 1, level.shape[1], -1, -level.shape[1]], np.int32)
    for number, here, there in _NEIGHBOURS:
        near = level[there] * (classes[here] == classes[there])
        # Between equals on to the later pixel, so that nobody goes round in circles.
        better = near >= best[here] if number < 3 else near > best[here]
        np.copyto(best[here], near, where=better)
        np.copyto(way[here], number, where=better, casting="unsafe")
    way[: rows.start] = way[rows.stop :] = 0
    place = np.zeros(level.size, np.int32)
    place[pixels] = np.arange(len(pixels), dtype=np.int32)
    ahead = _followed(place[pixels + steps[way.ravel()[pixels]]])
    is_end = ahead == np.arange(len(pixels), dtype=np.int32)
    number_of = np.cumsum(is_end, dtype=np.int32) - np.int32(1)
    return pixels[is_end], number_of[ahead]


def _followed(ahead: NDArray[np.signedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
    """Where one arrives who goes on and on from each place to the one ahead of it."""
    while True:  # each round doubles the way that is looked ahead
        further = ahead[ahead]
        if np.array_equal(further, ahead):
            return ahead
        ahead = further


_NEIGHBOURS = (
    (1, np.s_[:, :-1], np.s_[:, 1:]),
    (2, np.s_[:-1], np.s_[1:]),
    (3, np.s_[:, 1:], np.s_[:, :-1]),
    (4, np.s_[1:], np.s_[:-1]),
)
"""Number of a direction (right, down, left, up), pixels that have such a neighbour, and these."""


class _Borders(NamedTuple):
    """Of every two neighbouring hills: their numbers, the highest pass, the border's length."""

    one: NDArray[np.int32]
    other: NDArray[np.int32]
    passes: NDArray[np.uint16]
    lengths: NDArray[np.int32]


def _borders(
    classes: NDArray[np.uint8],
    own: NDArray[np.int32],
    level: NDArray[np.uint16],
    rows: int,
    count: int,
    first: int,
) -> _Borders:
    """Borders between hills numbered 0…`count` - 1 in `own` `(Y, X)`, -1 outside.

    Those to the right of and below each pixel of the first `rows` rows; the hills are numbered
    from `first` on in the result.
    """
    ends, heights = [], []
    for number, here, there in _NEIGHBOURS[:2]:
        upper = slice(rows if number == 1 else None)
        mine, near = own[upper][here], own[upper][there]
        across = (mine != near) & (classes[upper][here] == classes[upper][there])
        ends.append((mine[across], near[across]))
        heights.append(np.minimum(level[upper][here][across], level[upper][there][across]))
    one, other = map(np.concatenate, zip(*ends, strict=True))
    height = np.concatenate(heights)
    found = _gathered(one, other, height, np.ones(len(height), np.int32), count)
    shift = np.int32(first)
    return found._replace(one=found.one + shift, other=found.other + shift)


def _of_hills(borders: Sequence[_Borders], hill: NDArray[np.int32], count: int) -> _Borders:
    """The borders of all bands, between the hills to which their ends belong."""
    empty = np.zeros(0, np.int32)
    nothing = _Borders(empty, empty, empty.astype(np.uint16), empty)
    columns = zip(nothing, *borders, strict=True)
    one, other, passes, lengths = (np.concatenate(column) for column in columns)
    one, other = hill[one], hill[other]
    apart = one != other
    return _gathered(one[apart], other[apart], passes[apart], lengths[apart], count)


def _gathered(
    one: NDArray[np.int32],
    other: NDArray[np.int32],
    passes: NDArray[np.uint16],
    lengths: NDArray[np.int32],
    count: int,
) -> _Borders:
    """Pieces of borders as whole borders, in the order of the `count` hills."""
    key = np.minimum(one, other) * np.int64(count) + np.maximum(one, other)
    order = np.argsort(key, kind="stable")
    key, passes, lengths = key[order], passes[order], lengths[order]
    del order  # of a large plane it is a lot
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    if len(starts):
        passes, lengths = np.maximum.reduceat(passes, starts), np.add.reduceat(lengths, starts)
    whole = key[starts]
    one, other = (whole // max(1, count)).astype(np.int32), (whole % max(1, count)).astype(np.int32)
    return _Borders(one, other, passes, lengths)


def _joined_over_passes(
    summits: NDArray[np.uint16], borders: _Borders, prominence: float
) -> NDArray[np.int64]:
    """Group of each hill, the highest passes first: the number of the group's highest hill."""
    # Two arrays, as Python's own lists would take forty bytes a hill.
    height = array("H", summits.tobytes())
    leader = array("i", range(len(height)))

    def leader_of(hill: int) -> int:
        while leader[hill] != hill:
            leader[hill] = leader[leader[hill]]
            hill = leader[hill]
        return hill

    order = np.argsort(borders.passes, kind="stable")[::-1]
    for a, b, over in _rows(borders.one[order], borders.other[order], borders.passes[order]):
        high, low = leader_of(a), leader_of(b)
        if height[high] < height[low]:
            high, low = low, high
        if height[low] - over < prominence:
            leader[low] = high
    return _followed(np.array(leader, np.int64))


def _rows(*columns: NDArray[np.integer[Any]]) -> Iterator[tuple[int, ...]]:
    """The rows of a table, given by columns, as Python's numbers."""
    for start in range(0, len(columns[0]), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        yield from zip(*(column[part].tolist() for column in columns), strict=True)


def _small_ones_joined(
    groups: NDArray[np.int64],
    sizes: NDArray[np.int64],
    borders: _Borders,
    min_size: int,
) -> NDArray[np.int64]:
    """Groups after each of less than `min_size` pixels, the smallest first, joined a neighbour."""
    shared: dict[int, dict[int, int]] = {}  # border lengths between groups
    ends = groups[borders.one], groups[borders.other]
    apart = ends[0] != ends[1]
    for a, b, length in _rows(ends[0][apart], ends[1][apart], borders.lengths[apart]):
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
