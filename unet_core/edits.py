"""Edits of the label tiles, their inverses, and the history that undo and redo walk along.

An edit remembers whole tiles, before and after. They are shared with the annotation and with
neighbouring edits, so a fresh edit costs no copying, and what has become old is packed (see
`tiles`). Nothing is unpacked to undo it: the packed tiles themselves change places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from unet_core.labels import class_of, difference
from unet_core.stack import PlaneIndex
from unet_core.tiles import (
    MAX_PACKED_TILE,
    TILE,
    AnnotationError,
    Tile,
    TileArray,
    TileKey,
    bounding_box,
    is_sealed,
    pack_tile,
    unpack_classes,
    unpack_tile,
)
from unet_core.tiling import Rect

__all__ = [
    "MAX_PACKED_TILE",
    "TILE",
    "AnnotationError",
    "Edit",
    "History",
    "Step",
    "Tile",
    "TileArray",
    "TileChange",
    "TileKey",
    "bounding_box",
    "is_sealed",
    "pack_tile",
    "unpack_tile",
]

Shape = tuple[int, int, int, int]

HISTORY_IN_MEMORY = 100 * 2**20
"""Bytes of packed tiles, about, beyond which a history forgets its oldest steps. A stroke takes
some 20 KiB; the project file goes on knowing them (see `Project.history_budget`)."""
# What a change takes beside its tile's bytes, about.
_CHANGE = 300
# The kind of an edit that is one stroke of the brush.
_STROKE = "stroke"


class TileChange(NamedTuple):
    """One tile before and after; None stands for all unlabelled."""

    key: TileKey
    before: Tile | None
    after: Tile | None
    rect: Rect | None = None
    """Where in the plane something changed, at most; None where nobody has kept count."""

    @property
    def extent(self) -> Rect:
        """A box, in the plane, around what may have changed: perhaps the whole tile."""
        if self.rect is not None:
            return self.rect
        return Rect(self.key.row * TILE, self.key.col * TILE, TILE, TILE)

    def gained(self) -> dict[int, int]:
        """Pixels that each label gains by the change, or loses."""
        return difference(_counted(self.after), _counted(self.before))


@dataclass(frozen=True, eq=False)
class Edit:
    """One step of undo: at least one changed tile, each tile at most once."""

    kind: str
    changes: tuple[TileChange, ...]
    counted: Mapping[int, int] | None = field(default=None, repr=False)
    """What `gained` gives, from whoever has kept count while painting."""

    shape: Shape | None = None
    """The (T, Z, Y, X) of the annotation in which all of it is known to fit."""

    about: int | None = None
    """What `value` gives, of an edit that is not counted."""

    @classmethod
    def from_packed(
        cls, kind: str, changes: Iterable[tuple[TileKey, bytes | None, bytes | None]], shape: Shape
    ) -> Edit:
        """Of tiles before and after as they lie in the project file; they stay packed.

        Of tiles of the old kind the classes are looked at: that is work for a thread.
        AnnotationError where they do not fit into an annotation of this shape (T, Z, Y, X).
        """
        tiles = tuple(
            TileChange(
                key,
                None if before is None else Tile(key, packed=before),
                None if after is None else Tile(key, packed=after),
            )
            for key, before, after in changes
        )
        edit = cls(kind, tiles)
        if any(tile is not None and not tile.tells for _, *both, _ in tiles for tile in both):
            # Counted when it is undone: these must be unpacked for that.
            return replace(edit, about=_class_changed(tiles))
        for change in tiles:
            for tile in (change.before, change.after):
                check_place(shape, change.key, tile)
        return replace(edit, counted=edit.gained(), shape=shape)

    @property
    def plane(self) -> PlaneIndex:
        """The plane of the first change: where undo takes the user."""
        return self.changes[0].key.plane

    @cached_property
    def planes(self) -> tuple[PlaneIndex, ...]:
        """All planes that the edit touches, in the order of its changes."""
        every = dict.fromkeys(change.key[:2] for change in self.changes)
        return tuple(PlaneIndex(*plane) for plane in every)

    @property
    def rect(self) -> Rect:
        """A box around what may have changed in `plane`."""
        box, plane = Rect(0, 0, 0, 0), self.plane
        for change in self.changes:
            if change.key[:2] == plane:
                box = box.union(change.extent)
        return box

    def gained(self) -> Mapping[int, int]:
        """Pixels that each label gains by the edit, or loses. AnnotationError if it is damaged."""
        return self._gained

    @cached_property
    def _gained(self) -> Mapping[int, int]:
        if self.counted is not None:
            return self.counted
        total: dict[int, int] = {}
        for change in self.changes:
            for one, pixels in change.gained().items():
                total[one] = total.get(one, 0) + pixels
        return total

    @cached_property
    def value(self) -> int | None:
        """The class that it labels pixels with or, where it only unlabels, the one it takes away.

        None where there are several. Nothing is unpacked for that.
        """
        if self.counted is None:
            return self.about
        return _single(
            {class_of(one) for one, pixels in self.counted.items() if pixels > 0},
            {class_of(one) for one, pixels in self.counted.items() if pixels < 0},
        )

    def inverse(self) -> Edit:
        """The edit that takes this one back."""
        back = tuple(
            TileChange(key, after, before, rect)
            for key, before, after, rect in reversed(self.changes)
        )
        counted = {one: -pixels for one, pixels in self.gained().items()}
        return Edit(self.kind, back, counted, self.shape)

    def ready(self) -> Edit:
        """The same edit, counted and packed: of a large one that is work for a thread."""
        for change in self.changes:
            for tile in (change.before, change.after):
                if tile is not None:
                    tile.packed()
        return replace(self, counted=self.gained())


class Step(NamedTuple):
    """What a list of the history says of an edit."""

    kind: str
    planes: tuple[PlaneIndex, ...]
    """All that it touches, in the order of its changes."""
    value: int | None
    """The class that it is about, if it is one and known, see `Edit.value`."""


class History:
    """The edits made so far and how many of them are applied.

    `undo()` and `redo()` only move along the history and answer which edit to apply; whoever owns
    the annotation applies it.
    """

    # What so many of the newest edits have found stays unpacked: it is what undo shows next.
    _LOOSE = 16
    # So many edits are packed and weighed with one push at most: it costs the same each time.
    _AT_ONCE = 4

    def __init__(self, edits: Iterable[Edit] = (), position: int | None = None) -> None:
        """Edits oldest first; the first `position` of them are applied (all, if not given)."""
        self._edits = list(edits)
        self._position = len(self._edits) if position is None else position
        if not 0 <= self._position <= len(self._edits):
            raise ValueError(f"position {position} is outside a history of {len(self._edits)}")
        self._weighed = 0  # so many of the oldest edits are counted in `_bytes`
        self._bytes = 0
        self._strokes: dict[int, int] = {}
        for edit in self._edits[: self._position]:
            self._count(edit, 1)
        self.forgotten = 0
        """How many steps were too old to be kept: all others have moved up by so many places."""

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
        return Step(edit.kind, edit.planes, edit.value)

    @property
    def strokes(self) -> dict[int, int]:
        """How many applied edits are strokes of the brush, of each class that has any.

        Kept up to date with every step: costs nothing, whatever the length. Steps that are
        forgotten do not count.
        """
        return dict(self._strokes)

    def _count(self, edit: Edit, sign: int) -> None:
        """Take in a stroke that is applied from now on, or is no longer where `sign` is -1."""
        value = edit.value if edit.kind == _STROKE else None
        if value is None:
            return
        count = self._strokes.pop(value, 0) + sign
        if count:
            self._strokes[value] = count

    def copy(self) -> History:
        """The same history at the same place; the edits, which never change, are shared."""
        other = History()
        other._edits, other._position = list(self._edits), self._position
        other._strokes = self.strokes
        return other

    def push(self, edit: Edit) -> None:
        """Append an edit that has just been applied; what was undone before it is forgotten."""
        self._bytes -= sum(map(_weight, self._edits[self._position : self._weighed]))
        self._weighed = min(self._weighed, self._position)
        del self._edits[self._position :]
        if edit.counted is None:  # it is known since the edit was applied, if not said
            edit = replace(edit, counted=edit.gained())
        self._edits.append(edit)
        self._position += 1
        self._count(edit, 1)
        old = len(self._edits) - self._LOOSE
        for packed in self._edits[self._weighed : min(old, self._weighed + self._AT_ONCE)]:
            for change in packed.changes:
                if change.before is not None:
                    change.before.put_away()
            self._bytes += _weight(packed)
            self._weighed += 1
        if self._bytes > HISTORY_IN_MEMORY:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Some more than must be: so it is seldom to be done."""
        count = 0
        while count < self._weighed and self._bytes > 0.9 * HISTORY_IN_MEMORY:
            self._bytes -= _weight(self._edits[count])
            self._count(self._edits[count], -1)
            count += 1
        del self._edits[:count]
        self._weighed -= count
        self._position -= count
        self.forgotten += count

    def undo(self) -> Edit | None:
        """Step back: the edit to apply, None at the beginning. AnnotationError if it is damaged."""
        if not self.can_undo:
            return None
        edit = self._edits[self._position - 1]
        back = edit.inverse()
        self._position -= 1
        self._count(edit, -1)
        return back

    def redo(self) -> Edit | None:
        """Step forward: the edit to apply, None at the end. AnnotationError if it is damaged."""
        if not self.can_redo:
            return None
        edit = self._edits[self._position]
        edit.gained()
        self._position += 1
        self._count(edit, 1)
        return edit


def _single(gained: set[int], lost: set[int]) -> int | None:
    """The class that gains pixels, else the one that loses some; None where there are several."""
    values = gained - {0} or lost - {0}
    return next(iter(values)) if len(values) == 1 else None


def _class_changed(changes: Iterable[TileChange]) -> int | None:
    """What `Edit.value` gives, from the packed tiles' classes; None where they are damaged."""
    gained: set[int] = set()
    lost: set[int] = set()
    for key, *both, _ in changes:
        try:
            before, after = (
                unpack_classes(key, None if tile is None else tile.packed()) for tile in both
            )
        except AnnotationError:
            return None
        changed = before != after
        gained.update(after[changed].tolist())
        lost.update(before[changed].tolist())
    return _single(gained, lost)


def _weight(edit: Edit) -> int:
    """Bytes that an old edit takes, about: what it left behind is what the next one found."""
    return sum(
        _CHANGE + (0 if change.before is None else len(change.before.packed()))
        for change in edit.changes
    )


def check_place(shape: Shape, key: TileKey, tile: Tile | None) -> None:
    """AnnotationError where a tile, or what is labelled in it, lies outside of (T, Z, Y, X)."""
    if not (0 <= key.t < shape[0] and 0 <= key.z < shape[1]):
        raise AnnotationError(
            f"There is no plane t {key.t}, z {key.z} in an image of {shape[0]} x {shape[1]} planes."
        )
    height, width = shape[2] - key.row * TILE, shape[3] - key.col * TILE
    if key.row < 0 or key.col < 0 or height <= 0 or width <= 0:
        raise AnnotationError(f"Label tile {key.row}, {key.col} lies outside the image.")
    if tile is not None and min(height, width) < TILE:
        box = tile.contents().box
        if box.bottom > height or box.right > width:
            raise AnnotationError(f"Label tile {key.row}, {key.col} reaches outside the image.")


def _counted(tile: Tile | None) -> dict[int, int]:
    """The pixels of each label of a tile, those without one included."""
    counts = {} if tile is None else tile.contents().counts
    return {0: TILE * TILE - sum(counts.values()), **counts}
