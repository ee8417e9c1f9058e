"""Edits of the label tiles, their inverses, and the history that undo and redo walk along.

An edit remembers whole tiles, before and after. The arrays are shared with the annotation and with
neighbouring edits and are never written to again, so a fresh edit costs no copying; edits that are
no longer recent are packed (a tile of 256 KiB becomes about 1 KiB).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unet_core.labels import Labels, classes_of, difference, objects_of, tally
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

TILE = 256
"""Side of a label tile in pixels."""

TileArray = Labels
"""`(TILE, TILE)` uint32 labels, see `labels`."""

_EMPTY: TileArray = np.zeros((TILE, TILE), np.uint32)
_EMPTY.flags.writeable = False

_KEY = struct.Struct("<qqqq")
_CHECKSUM = struct.Struct("<I")

_PIXELS = TILE * TILE

MAX_PACKED_TILE = 4 + 4 * _PIXELS + 1024
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


@dataclass(frozen=True, eq=False)
class TileChange:
    """One tile before and after: read-only; None stands for all unlabelled."""

    key: TileKey
    before: TileArray | None
    after: TileArray | None
    rect: Rect | None = None
    """Where in the plane something changed, at most; None where nobody has kept count."""

    def changed(self) -> Rect:
        """Bounding box, in the plane, of what may have changed."""
        if self.rect is not None:
            return self.rect
        box = bounding_box(_filled(self.before) != _filled(self.after))
        return Rect(self.key.row * TILE + box.y, self.key.col * TILE + box.x, *box[2:])

    @property
    def extent(self) -> Rect:
        """As `changed`, but without a look at the pixels: perhaps the whole tile."""
        if self.rect is not None:
            return self.rect
        return Rect(self.key.row * TILE, self.key.col * TILE, TILE, TILE)

    def gained(self) -> dict[int, int]:
        """Pixels that each label gains by the change, or loses."""
        old, new = _filled(self.before), _filled(self.after)
        different = old != new
        return difference(tally(new[different]), tally(old[different]))


@dataclass(frozen=True, eq=False)
class Edit:
    """One step of undo: at least one changed tile, each tile at most once."""

    kind: str
    changes: tuple[TileChange, ...]
    counted: Mapping[int, int] | None = field(default=None, repr=False)
    """What `gained` gives, from whoever has kept count while painting."""

    @property
    def plane(self) -> PlaneIndex:
        """The plane of the first change: where undo takes the user."""
        return self.changes[0].key.plane

    @cached_property
    def planes(self) -> tuple[PlaneIndex, ...]:
        """All planes that the edit touches, in the order of its changes."""
        return _planes_of(change.key for change in self.changes)

    @property
    def rect(self) -> Rect:
        """Bounding box of what may have changed in `plane`."""
        box, plane = Rect(0, 0, 0, 0), self.plane
        for change in self.changes:
            if change.key[:2] == plane:
                box = box.union(change.changed())
        return box

    def gained(self) -> Mapping[int, int]:
        """Pixels that each label gains by the edit, or loses."""
        if self.counted is not None:
            return self.counted
        total: dict[int, int] = {}
        for change in self.changes:
            for one, pixels in change.gained().items():
                total[one] = total.get(one, 0) + pixels
        return total

    def inverse(self) -> Edit:
        """The edit that takes this one back."""
        back = tuple(TileChange(c.key, c.after, c.before, c.rect) for c in reversed(self.changes))
        counted = self.counted
        if counted is not None:
            counted = {one: -pixels for one, pixels in counted.items()}
        return Edit(self.kind, back, counted)

    def packed(self) -> PackedEdit:
        """The same edit in little memory; worked out once."""
        return self._packed

    @cached_property
    def _packed(self) -> PackedEdit:
        return PackedEdit(
            self.kind,
            tuple((c.key, pack_tile(c.key, c.before), pack_tile(c.key, c.after))
                  for c in self.changes),
            self.gained(),
        )  # fmt: skip

    def ready(self) -> Edit:
        """The same edit, counted and packed: of a large one that is work for a thread."""
        edit = replace(self, counted=self.gained())
        edit.packed()
        return edit


@dataclass(frozen=True)
class PackedEdit:
    """An edit whose tiles are compressed, as they lie in the project file."""

    kind: str
    changes: tuple[tuple[TileKey, bytes | None, bytes | None], ...]
    counted: Mapping[int, int] | None = field(default=None, repr=False, compare=False)
    """As in `Edit`; None where it comes from a project file."""

    @cached_property
    def planes(self) -> tuple[PlaneIndex, ...]:
        """As those of the edit itself."""
        return _planes_of(key for key, _, _ in self.changes)

    def unpacked(self) -> Edit:
        """The edit itself. Raises AnnotationError where a tile is damaged."""
        return Edit(
            self.kind,
            tuple(TileChange(key, unpack_tile(key, before), unpack_tile(key, after))
                  for key, before, after in self.changes),
            self.counted,
        )  # fmt: skip


class Step(NamedTuple):
    """What a list of the history says of an edit."""

    kind: str
    planes: tuple[PlaneIndex, ...]
    """All that it touches, in the order of its changes."""


class History:
    """The edits made so far and how many of them are applied.

    `undo()` and `redo()` only move along the history and answer which edit to apply; whoever owns
    the annotation applies it.
    """

    # So many of the newest edits stay unpacked: undoing them costs no decompression, and packing
    # one edit per push keeps the cost of a push even.
    _LOOSE = 16

    def __init__(
        self, edits: Iterable[Edit | PackedEdit] = (), position: int | None = None
    ) -> None:
        """Edits oldest first; the first `position` of them are applied (all, if not given)."""
        self._edits = list(edits)
        self._position = len(self._edits) if position is None else position
        if not 0 <= self._position <= len(self._edits):
            raise ValueError(f"position {position} is outside a history of {len(self._edits)}")

    def __len__(self) -> int:
        return len(self._edits)

    @property
    def position(self) -> int:
        """How many edits are applied."""
        return self._position

    @property
    def can_undo(self) -> bool:
        return self._position > 0

    @property
    def can_redo(self) -> bool:
        return self._position < len(self._edits)

    def step(self, index: int) -> Step:
        """Edit number `index`, 0 the oldest; costs no decompression."""
        edit = self._edits[index]
        return Step(edit.kind, edit.planes)

    def copy(self) -> History:
        """The same history at the same place; the edits, which never change, are shared."""
        return History(self._edits, self._position)

    def push(self, edit: Edit) -> None:
        """Append an edit that has just been applied; what was undone before it is forgotten."""
        del self._edits[self._position :]
        self._edits.append(edit)
        self._position += 1
        old = len(self._edits) - 1 - self._LOOSE
        if old >= 0 and isinstance(stale := self._edits[old], Edit):
            self._edits[old] = stale.packed()

    def undo(self) -> Edit | None:
        """Step back: the edit to apply, None at the beginning. AnnotationError if it is damaged."""
        if not self.can_undo:
            return None
        edit = _loose(self._edits[self._position - 1])
        self._position -= 1
        return edit.inverse()

    def redo(self) -> Edit | None:
        """Step forward: the edit to apply, None at the end. AnnotationError if it is damaged."""
        if not self.can_redo:
            return None
        edit = _loose(self._edits[self._position])
        self._position += 1
        return edit


def pack_tile(key: TileKey, tile: TileArray | None) -> bytes | None:
    """Compress a tile and seal it with a checksum over its place and its pixels.

    The classes come first, then, where there are any, the bytes of the object numbers, the lowest
    ones first. Level 1: label tiles are so simple that higher levels gain little.
    """
    if tile is None:
        return None
    planes = [classes_of(tile)]
    objects = objects_of(tile)
    if objects.any():
        planes += [(objects >> shift).astype(np.uint8) for shift in (0, 8, 16)]
    data = zlib.compress(b"".join(plane.tobytes() for plane in planes), 1)
    return _CHECKSUM.pack(_seal(key, data)) + data


def is_sealed(key: TileKey, packed: bytes | None) -> bool:
    """Whether a packed tile is what was packed for this key; says nothing about a forger's."""
    if packed is None:
        return True
    if not isinstance(packed, bytes) or len(packed) < _CHECKSUM.size:
        return False
    return bool(_CHECKSUM.unpack_from(packed)[0] == _seal(key, packed[_CHECKSUM.size :]))


def unpack_tile(key: TileKey, packed: bytes | None) -> TileArray | None:
    """Take a tile back out; never takes more memory than a tile, whatever the bytes say.

    Raises AnnotationError unless the bytes are exactly one tile that was packed for this key.
    """
    if packed is None:
        return None
    damaged = f"The labels of t {key.t}, z {key.z}, tile {key.row}, {key.col} are damaged."
    if not is_sealed(key, packed):
        raise AnnotationError(damaged)
    inflater = zlib.decompressobj()
    try:
        pixels = inflater.decompress(packed[_CHECKSUM.size :], 4 * _PIXELS + 1)
    except zlib.error as error:
        raise AnnotationError(damaged) from error
    if len(pixels) not in (_PIXELS, 4 * _PIXELS) or not inflater.eof or inflater.unused_data:
        raise AnnotationError(damaged)
    planes = np.frombuffer(pixels, np.uint8).reshape(-1, TILE, TILE)
    tile = planes[0].astype(np.uint32) << np.uint32(24)
    for plane, shift in zip(planes[1:], (0, 8, 16), strict=False):
        tile |= plane.astype(np.uint32) << shift
    if len(planes) > 1 and tile[planes[0] == 0].any():  # a number, but no class
        raise AnnotationError(damaged)
    tile.flags.writeable = False
    return tile


def _seal(key: TileKey, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_KEY.pack(*key)))


def _planes_of(keys: Iterable[TileKey]) -> tuple[PlaneIndex, ...]:
    return tuple(PlaneIndex(*plane) for plane in dict.fromkeys(key[:2] for key in keys))


def _loose(edit: Edit | PackedEdit) -> Edit:
    return edit.unpacked() if isinstance(edit, PackedEdit) else edit


def _filled(tile: TileArray | None) -> TileArray:
    return _EMPTY if tile is None else tile


def bounding_box(mask: npt.NDArray[np.bool_]) -> Rect:
    """The smallest rectangle around the marked pixels of a mask (Y, X); empty if there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return Rect(0, 0, 0, 0)
    cols = np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(cols[0])
    return Rect(top, left, int(rows[-1]) + 1 - top, int(cols[-1]) + 1 - left)
