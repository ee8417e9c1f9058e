"""A plane too large to be read whole: its overview, and blocks of it as they come into view.

Level k shows the plane halved k times. The coarsest ones, the *overview*, are kept whole; of the
finer ones, blocks of `BLOCK` pixels a side are read when they are wanted: from the file's own
smaller copies where it has them, else from the full size. Knows nothing of Qt.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_core.stack import PlaneIndex, Stack, StackError
from unet_core.tiling import Rect

BLOCK = 512
"""Side of a block, in pixels of its level."""

OVERVIEW_SIDE = 1024
"""Planes are halved for zoomed-out views until the longer side is at most this many pixels."""

OVERVIEW_SHARE = 8
"""An overview made by reading the whole plane once may take this part of the memory: what it shows
need never be decoded again."""

BAND_BYTES = 16 * 2**20
"""While an overview is made, about so many bytes of the plane are read at a time."""

READ_BYTES = 32 * 2**20
"""Of larger parts of the plane the halves are read one after the other."""

MOST_MISSING = 256
"""So many parts of a plane, of up to `BLOCK` pixels a side, may be damaged; then it is given up."""

_CHUNK = 1 << 18
"""Pixels halved at a time."""

Raw = NDArray[Any]


class Where(NamedTuple):
    """A block's place: its level, and its row and column among the blocks of that level."""

    level: int
    row: int
    column: int

    @property
    def rect(self) -> Rect:
        """In pixels of its level, as if the plane had no end."""
        return Rect(self.row * BLOCK, self.column * BLOCK, BLOCK, BLOCK)

    @property
    def full_rect(self) -> Rect:
        """In pixels of the plane, as if the plane had no end."""
        return Rect(*(value << self.level for value in self.rect))


def block_side(level: int) -> int:
    """How many pixels of the plane a block of `level` shows along each side."""
    return BLOCK << level


def size_at(size: tuple[int, int], level: int) -> tuple[int, int]:
    """(height, width) of a plane of `size` halved `level` times; an odd rest counts as a pixel."""
    return -(-size[0] >> level), -(-size[1] >> level)


def levels_of(size: tuple[int, int]) -> int:
    """The level of the coarsest overview of a plane of `size`."""
    level = 0
    while max(size_at(size, level)) > OVERVIEW_SIDE:
        level += 1
    return level


def blocks_in(rect: Rect, level: int) -> list[Where]:
    """The blocks of `level` that show `rect` of the plane, the nearest to its centre first."""
    if rect.empty:
        return []
    side = block_side(level)
    found = [
        Where(level, row, column)
        for row in range(rect.y // side, (rect.bottom - 1) // side + 1)
        for column in range(rect.x // side, (rect.right - 1) // side + 1)
    ]
    middle_y, middle_x = rect.y + rect.height / 2, rect.x + rect.width / 2

    def distance(at: Where) -> float:
        y, x, height, width = at.full_rect
        return (y + height / 2 - middle_y) ** 2 + (x + width / 2 - middle_x) ** 2

    return sorted(found, key=distance)


class PixelCache:
    """Arrays by key, at most `limit` bytes: those used least recently go. For any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._arrays: OrderedDict[object, tuple[Raw, ...]] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        return self._bytes

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._shrink()

    def get(self, key: object) -> tuple[Raw, ...] | None:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def put(self, key: object, *arrays: Raw) -> None:
        with self._lock:
            former = self._arrays.pop(key, ())
            self._arrays[key] = arrays
            self._bytes += sum(a.nbytes for a in arrays) - sum(a.nbytes for a in former)
            self._shrink()

    def clear(self) -> None:
        with self._lock:
            self._arrays.clear()
            self._bytes = 0

    def _shrink(self) -> None:
        while self._bytes > self._limit and self._arrays:
            _, oldest = self._arrays.popitem(last=False)
            self._bytes -= sum(a.nbytes for a in oldest)


class LargePlane:
    """One plane, read piece by piece. Belongs to one thread, but for `values_at`.

    `cache` may hold pixels of other planes too, and of other stacks: the last block of a former
    image may come when the next one is open already. What is in it is not read again.

    Where the file is damaged there is nothing, 0, and the rest is as it is.
    """

    def __init__(self, stack: Stack, plane: PlaneIndex, cache: PixelCache) -> None:
        self.stack, self.plane = stack, plane
        self.size: tuple[int, int] = stack.shape[3], stack.shape[4]
        self.coarsest = levels_of(self.size)
        self._cache = cache
        self._sources = _levels_in_file(stack, self.size)
        channels, itemsize = stack.shape[2], stack.dtype.itemsize
        self._finest = self.coarsest
        """The finest level of the overview."""
        if max(self._sources) == 0:
            room = cache.limit // OVERVIEW_SHARE
            while self._finest > 1:
                height, width = size_at(self.size, self._finest - 1)
                if height * width * channels * itemsize > room:
                    break
                self._finest -= 1
        kept = cache.get((stack, plane))
        if kept is not None:
            self._finest = self.coarsest - len(kept) + 1
        self._levels: tuple[Raw, ...] = kept or tuple(
            np.zeros((channels, *size_at(self.size, level)), stack.dtype)
            for level in range(self._finest, self.coarsest + 1)
        )
        """Of the overview, the finest first: `(C, Y, X)` each."""
        self.rows_read = self.size[0] if kept is not None else 0
        """Rows of the plane, from the top, that the overview shows already."""
        self._bands = self._read_bands()
        self.missing: dict[Rect, str] = {}
        """Parts of the plane, in its pixels, that can not be read, and why."""

    @property
    def complete(self) -> bool:
        """Whether the overview shows the whole plane."""
        return self.rows_read == self.size[0]

    @property
    def overview(self) -> Raw:
        """The whole plane at level `coarsest`, `(C, Y, X)`; 0 where it has not been read yet."""
        return self._levels[-1]

    def read_on(self) -> None:
        """Read a little more of the overview, which is not complete yet. Raises StackError."""
        next(self._bands)
        if self.complete and not self.missing:
            self._cache.put((self.stack, self.plane), *self._levels)

    def ready(self, at: Where) -> bool:
        """Whether `block` can give this one now: it is not in a part of the overview to come."""
        return at.level < self._finest or at.full_rect.bottom <= self.rows_read or self.complete

    def kept(self, at: Where) -> bool:
        """Whether `block` would give this one without reading."""
        in_overview = at.level >= self._finest and self.ready(at)
        return in_overview or self._cache.get(self._key(at)) is not None

    def block(self, at: Where) -> Raw:
        """The raw intensities of a block, `(C, height, width)`. Raises StackError."""
        rect = at.rect.intersect(Rect(0, 0, *size_at(self.size, at.level)))
        if at.level >= self._finest:
            return self._levels[at.level - self._finest][(slice(None), *rect.slices)]
        known = self._cache.get(self._key(at))
        if known is None:
            known = (self._sound(rect, at.level),)
            if not any(self.missing_in(at.rect, at.level)):
                self._cache.put(self._key(at), *known)
        return known[0]

    def missing_in(self, rect: Rect, level: int) -> Iterator[Rect]:
        """What of `rect` of a level, in its pixels, can not be read, as far as that is known."""
        for part in self.missing:
            y, x = part.y >> level, part.x >> level
            bottom, right = -(-part.bottom >> level), -(-part.right >> level)
            inside = Rect(y, x, bottom - y, right - x).intersect(rect)
            if not inside.empty:
                yield inside

    def values_at(self, y: int, x: int) -> Raw | None:
        """The intensities `(C,)` of a pixel; None where they have not been read. For any thread."""
        known = self._cache.get(self._key(Where(0, y // BLOCK, x // BLOCK)))
        return None if known is None else known[0][:, y % BLOCK, x % BLOCK]

    def _key(self, at: Where) -> tuple[Stack, PlaneIndex, Where]:
        return self.stack, self.plane, at

    def _read_bands(self) -> Iterator[None]:
        """Fill the overview from the top; each band is a whole number of pixels at every level."""
        step = 1 << self.coarsest
        channels, itemsize = self.stack.shape[2], self.stack.dtype.itemsize
        source = max(level for level in self._sources if level <= self._finest)
        row_bytes = size_at(self.size, source)[1] * channels * itemsize
        rows = max(1, (BAND_BYTES // row_bytes << source) // step) * step
        for top in range(0, self.size[0], rows):
            bottom = min(top + rows, self.size[0])
            first, last = top >> self._finest, -(-bottom >> self._finest)
            band = Rect(first, 0, last - first, size_at(self.size, self._finest)[1])
            part = self._sound(band, self._finest)
            for number, level in enumerate(self._levels):
                if number:
                    part = halved(part)
                start = top >> (self._finest + number)
                level[:, start : start + part.shape[1]] = part
            self.rows_read = bottom
            yield

    def _sound(self, rect: Rect, level: int) -> Raw:
        """As `_read`, but with nothing where the file is damaged; StackError where it is gone."""
        full = Rect(*(value << level for value in rect))
        if full in self.missing:
            return np.zeros((self.stack.shape[2], *rect[2:]), self.stack.dtype)
        try:
            return self._read(rect, level)
        except StackError as error:
            # A disk or a share that does not answer would have to be asked for every part.
            if isinstance(error.__cause__, OSError) or len(self.missing) >= MOST_MISSING:
                raise
            y, x, height, width = rect
            if max(full[2:]) <= BLOCK or max(height, width) == 1:
                self.missing[full] = str(error)
                return self._sound(rect, level)
        if height >= width:
            halves = (
                Rect(y, x, height // 2, width),
                Rect(y + height // 2, x, -(-height // 2), width),
            )
        else:
            halves = Rect(y, x, height, width // 2), Rect(y, x + width // 2, height, -(-width // 2))
        axis = 1 if height >= width else 2
        return np.concatenate([self._sound(half, level) for half in halves], axis=axis)

    def _read(self, rect: Rect, level: int) -> Raw:
        """`rect` of a level, in its pixels, made from the next larger size that the file has."""
        source = max(found for found in self._sources if found <= level)
        number = self._sources[source]
        times = level - source
        wanted = Rect(*(value << times for value in rect))
        wanted = wanted.intersect(Rect(0, 0, *size_at(self.size, source)))
        pixel_bytes = self.stack.shape[2] * self.stack.dtype.itemsize
        if wanted.height * wanted.width * pixel_bytes > READ_BYTES and rect.height > 1:
            half = rect.height // 2
            upper = Rect(rect.y, rect.x, half, rect.width)
            lower = Rect(rect.y + half, rect.x, rect.height - half, rect.width)
            return np.concatenate([self._read(part, level) for part in (upper, lower)], axis=1)
        # Programs that round down leave out an odd last row or column: the one before stands in.
        height, width = self.stack.levels[number]
        y, x = min(wanted.y, height - 1), min(wanted.x, width - 1)
        there = Rect(y, x, min(wanted.bottom, height) - y, min(wanted.right, width) - x)
        part = self.stack.region(*self.plane, there, number)
        lacking = wanted.height - there.height, wanted.width - there.width
        if any(lacking):
            part = np.pad(part, ((0, 0), (0, lacking[0]), (0, lacking[1])), mode="edge")
        for _ in range(times):
            part = halved(part)
        return part


def _levels_in_file(stack: Stack, size: tuple[int, int]) -> dict[int, int]:
    """By level: which of `stack.levels` shows it. Level 0 always; copies that do not fit, never."""
    found = {0: 0}
    for number, (height, width) in enumerate(stack.levels[1:], 1):
        level = round(np.log2(size[0] / height))
        expected = size_at(size, level)
        if abs(expected[0] - height) <= 1 and abs(expected[1] - width) <= 1:
            found.setdefault(level, number)
    return found


def halved(raw: Raw) -> Raw:
    """As `halved_plane`, of each channel of `(C, Y, X)`."""
    return np.stack([halved_plane(channel) for channel in raw])


def halved_plane(image: Raw) -> Raw:
    """Means of 2 × 2 pixels of `(Y, X)` or `(Y, X, S)`, rounded; an odd last row or column stands
    for itself.

    Of 1-bit images: whether at least half of the four are set.
    """
    dtype, (height, width) = image.dtype, image.shape[:2]
    whole = dtype.kind in "iub"
    if whole:
        wide: Any = np.uint16 if dtype.itemsize == 1 and dtype.kind != "i" else np.int32
        wide = wide if dtype.itemsize <= 2 else np.int64
    else:
        wide = np.float64 if dtype.itemsize == 8 else np.float32
    result = np.empty(((height + 1) // 2, (width + 1) // 2, *image.shape[2:]), dtype)
    rows = max(1, _CHUNK // max(1, width)) // 2 + 1
    for y in range(0, len(result), rows):
        part = image[2 * y : 2 * (y + rows)]
        if len(part) % 2:
            part = np.concatenate((part, part[-1:]))
        both = np.add(part[0::2], part[1::2], dtype=wide)
        if width % 2:
            both = np.concatenate((both, both[:, -1:]), axis=1)
        four = both[:, 0::2] + both[:, 1::2]
        if whole:
            four += 2
            four >>= 2
        else:
            four /= 4
        result[y : y + rows] = four
    return result
