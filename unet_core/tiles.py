"""Label tiles: as pixels, packed, and in memory as whichever of the two is wanted.

A tile that is finished never changes, so it can be unpacked when somebody looks at it and dropped
again afterwards: of all the labels of a project only the tiles that were looked at last are held as
pixels (256 KiB each), the others as they lie in the project file (about 1 KiB).
"""

from __future__ import annotations

import struct
import weakref
import zlib
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unet_core.labels import Labels, classes_of, objects_of, tally
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

TILE = 256
"""Side of a label tile in pixels."""

TileArray = Labels
"""`(TILE, TILE)` uint32 labels, see `labels`."""

MAX_LOOSE = 1024
"""So many finished tiles are held as pixels at most, about: 256 MiB."""

_PIXELS = TILE * TILE

_KEY = struct.Struct("<qqqq")
_CHECKSUM = struct.Struct("<I")

# What a packed tile tells of itself before its pixels: the mark, the box around its labels (top and
# left, and the last row and column), and how many labels there are; then each of those.
_HEAD = struct.Struct("<BBBBBI")
_COUNT = np.dtype([("label", "<u4"), ("more", "<u2")])
# Data of zlib, with which the tiles of old begin, never begin with this: its low four bits are 8.
_MARK = 2
_MARK_BYTE = bytes([_MARK])

MAX_PACKED_TILE = 4 + _HEAD.size + _COUNT.itemsize * _PIXELS + 4 * _PIXELS + 1024
"""No packed tile is larger: zlib adds a few bytes to what it can not compress."""


class AnnotationError(ValueError):
    """Labels or an edit that can not be right; the message is one sentence for the user."""


class TileKey(NamedTuple):
    """Where a tile lies: plane (t, z), then tile row and tile column within the plane."""

    t: int
    z: int
    row: int
    col: int

    @property
    def plane(self) -> PlaneIndex:
        return PlaneIndex(self.t, self.z)


class Contents(NamedTuple):
    """What is in a tile, in short."""

    box: Rect
    """Around the labelled pixels, within the tile; empty where there are none."""
    counts: dict[int, int]
    """The pixels of each label; those that are not labelled do not count."""


class Tile:
    """A label tile that never changes once it is finished, and may be used from any thread.

    Its pixels may still be painted as long as they are writeable (see `annotation`).
    """

    __slots__ = ("__weakref__", "_packed", "_pixels", "_touched", "key")

    def __init__(
        self, key: TileKey, pixels: TileArray | None = None, packed: bytes | None = None
    ) -> None:
        """Of pixels, or of what `pack_tile` made of them for the same key."""
        self.key = key
        self._pixels = pixels
        self._packed = packed
        self._touched = True
        if pixels is not None:
            _loose.add(self)

    @property
    def pixels(self) -> TileArray:
        """`(TILE, TILE)`, not to be written to. AnnotationError where the tile is damaged."""
        self._touched = True
        pixels = self._pixels
        if pixels is None:
            # Whoever drops the pixels has set `_packed` before.
            pixels = unpack_tile(self.key, self._packed)
            assert pixels is not None
            self._pixels = pixels
            _loose.add(self)
        return pixels

    @property
    def is_loose(self) -> bool:
        """Whether it is held as pixels now."""
        return self._pixels is not None

    @property
    def tells(self) -> bool:
        """Whether `contents` needs no look at the pixels."""
        return self._packed is not None and self._packed.startswith(_MARK_BYTE, _CHECKSUM.size)

    def packed(self) -> bytes:
        """As `pack_tile` makes it; worked out once."""
        packed, pixels = self._packed, self._pixels
        if packed is None:
            packed = pack_tile(self.key, pixels)
            assert packed is not None
            self._packed = packed
        return packed

    def put_away(self) -> None:
        """Hold it packed until the next look; not while it is being painted."""
        pixels = self._pixels
        if pixels is not None and not pixels.flags.writeable:
            self.packed()
            self._pixels = None

    def contents(self) -> Contents:
        """What is in it, mostly without unpacking. AnnotationError where it is damaged."""
        if self._packed is not None:
            contents = packed_contents(self.key, self._packed)
            if contents is not None:
                return contents
        pixels = self._pixels
        if pixels is None:
            # Nobody wants to see it: it does not stay unpacked.
            pixels = unpack_tile(self.key, self._packed)
            assert pixels is not None
        return _contents(pixels)

    def is_same(self, other: Tile) -> bool:
        """Whether the labels are the same; tiles with the same bytes are not unpacked for that."""
        if self is other or (self._packed is not None and self._packed == other._packed):
            return True
        return np.array_equal(self.pixels, other.pixels)


class _Loose:
    """The tiles that are held as pixels: when there are too many, the oldest are put away.

    Those that were looked at since their turn came last are spared once more. Called from any
    thread: taking from and adding to a deque is one step each.
    """

    def __init__(self) -> None:
        self._tiles: deque[weakref.ref[Tile]] = deque()

    def add(self, tile: Tile) -> None:
        self._tiles.append(weakref.ref(tile))
        spared = 0
        while len(self._tiles) > MAX_LOOSE:
            try:
                oldest = self._tiles.popleft()()
            except IndexError:  # another thread was faster
                return
            if oldest is None or not oldest.is_loose:
                continue
            if oldest._touched and spared < MAX_LOOSE:
                oldest._touched = False
                spared += 1
                self._tiles.append(weakref.ref(oldest))
            else:
                oldest.put_away()
                if oldest.is_loose:  # it is being painted
                    self._tiles.append(weakref.ref(oldest))
                    return


_loose = _Loose()


def pack_tile(key: TileKey, tile: TileArray | None) -> bytes | None:
    """Compress a tile and seal it with a checksum over its place and its pixels.

    First comes what `packed_contents` tells, then the classes, then, where there are any, the bytes
    of the object numbers, the lowest ones first. Level 1: label tiles are so simple that higher
    levels gain little.
    """
    if tile is None:
        return None
    box, counts = _contents(tile)
    table = np.empty(len(counts), _COUNT)
    table["label"] = list(counts)
    table["more"] = np.fromiter(counts.values(), np.int64, len(counts)) - 1
    last = (box.bottom - 1, box.right - 1) if counts else (0, 0)
    head = _HEAD.pack(_MARK, box.y, box.x, *last, len(counts)) + table.tobytes()
    planes = [classes_of(tile)]
    objects = objects_of(tile)
    if objects.any():
        planes += [(objects >> shift).astype(np.uint8) for shift in (0, 8, 16)]
    data = head + zlib.compress(b"".join(plane.tobytes() for plane in planes), 1)
    return _CHECKSUM.pack(_seal(key, data)) + data


def is_sealed(key: TileKey, packed: bytes | None) -> bool:
    """Whether a packed tile is what was packed for this key; says nothing about a forger's."""
    if packed is None:
        return True
    if not isinstance(packed, bytes) or len(packed) <= _CHECKSUM.size:
        return False
    return bool(_CHECKSUM.unpack_from(packed)[0] == _seal(key, packed[_CHECKSUM.size :]))


def packed_contents(key: TileKey, packed: bytes) -> Contents | None:
    """What a packed tile says of itself; None where it is of the old kind, which does not say.

    `unpack_tile` finds out whether it is true. Raises AnnotationError where it can not be.
    """
    head = _head(key, packed)
    return None if head is None else head.contents


def unpack_classes(key: TileKey, packed: bytes | None) -> npt.NDArray[np.uint8]:
    """The classes of a packed tile, `(TILE, TILE)` uint8, for a tenth of `unpack_tile`'s work.

    Raises AnnotationError where there are none; whether all else is sound it does not find out.
    """
    if packed is None:
        return np.zeros((TILE, TILE), np.uint8)
    head = _head(key, packed)
    start = _CHECKSUM.size if head is None else head.size
    try:
        classes = zlib.decompressobj().decompress(packed[start:], _PIXELS)
    except zlib.error as error:
        raise _damaged(key) from error
    if len(classes) != _PIXELS:
        raise _damaged(key)
    return np.frombuffer(classes, np.uint8).reshape(TILE, TILE)


def unpack_tile(key: TileKey, packed: bytes | None) -> TileArray | None:
    """Take a tile back out; never takes more memory than a tile, whatever the bytes say.

    Raises AnnotationError unless the bytes are exactly one tile that was packed for this key.
    """
    if packed is None:
        return None
    if not is_sealed(key, packed):
        raise _damaged(key)
    head = _head(key, packed)
    inflater = zlib.decompressobj()
    start = _CHECKSUM.size if head is None else head.size
    try:
        pixels = inflater.decompress(packed[start:], 4 * _PIXELS + 1)
    except zlib.error as error:
        raise _damaged(key) from error
    if len(pixels) not in (_PIXELS, 4 * _PIXELS) or not inflater.eof or inflater.unused_data:
        raise _damaged(key)
    tile = np.zeros((TILE, TILE), "<u4")
    planes = np.frombuffer(pixels, np.uint8).reshape(-1, TILE, TILE)
    for byte, plane in zip((3, 0, 1, 2), planes, strict=False):
        tile.view(np.uint8)[:, byte::4] = plane
    if head is None:
        sound = not ((tile > 0) & (tile < 1 << 24)).any()  # a number, but no class
    else:
        sound = head.contents == _contents(tile)
    if not sound:
        raise _damaged(key)
    tile = tile.astype(np.uint32, copy=False)
    tile.flags.writeable = False
    return tile


@dataclass(frozen=True)
class _Head:
    contents: Contents
    size: int
    """Bytes before the pixels, the checksum included."""


def _head(key: TileKey, packed: bytes) -> _Head | None:
    """What comes before the pixels; None for the old kind. AnnotationError where it is absurd."""
    if len(packed) <= _CHECKSUM.size or packed[_CHECKSUM.size] != _MARK:
        return None
    try:
        _, top, left, bottom, right, count = _HEAD.unpack_from(packed, _CHECKSUM.size)
        start = _CHECKSUM.size + _HEAD.size
        table = np.frombuffer(packed, _COUNT, count, start)
    except (struct.error, ValueError) as error:
        raise _damaged(key) from error
    if not count:
        return _Head(Contents(Rect(0, 0, 0, 0), {}), start)
    box = Rect(top, left, bottom + 1 - top, right + 1 - left)
    labels, pixels = table["label"].tolist(), (table["more"].astype(np.int64) + 1).tolist()
    sensible = (
        labels[0] >= 1 << 24  # of a class
        and all(one < other for one, other in zip(labels, labels[1:], strict=False))
        and min(box[2:]) > 0
        and sum(pixels) <= box.height * box.width
    )
    if not sensible:
        raise _damaged(key)
    counts = dict(zip(labels, pixels, strict=True))
    return _Head(Contents(box, counts), start + table.nbytes)


def _contents(tile: TileArray) -> Contents:
    counts = tally(tile)
    counts.pop(0, None)
    return Contents(bounding_box(tile > 0), dict(sorted(counts.items())))


def _damaged(key: TileKey) -> AnnotationError:
    return AnnotationError(
        f"The labels of t {key.t}, z {key.z}, tile {key.row}, {key.col} are damaged."
    )


def _seal(key: TileKey, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_KEY.pack(*key)))


def bounding_box(mask: npt.NDArray[np.bool_]) -> Rect:
    """The smallest rectangle around the marked pixels of a mask (Y, X); empty if there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return Rect(0, 0, 0, 0)
    cols = np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(cols[0])
    return Rect(top, left, int(rows[-1]) + 1 - top, int(cols[-1]) + 1 - left)
