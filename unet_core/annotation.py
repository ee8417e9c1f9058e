"""The labels: sparse tiles that strokes paint into.

Coordinates are continuous: pixel (r, c) covers [r, r + 1) x [c, c + 1), its centre lies at
(r + 0.5, c + 0.5). Classes: 0 unlabelled, 1 background, 2.. the user's. Beside its class a pixel
may belong to a numbered object (see `labels`).

Who may write to a tile: only the stroke that is being painted, and only to its own copy. Such a
copy is the one kind of tile whose `writeable` flag is set; finishing the stroke or taking a
snapshot clears it, and the next pixel is painted into a fresh copy. Hence every tile that an edit,
a snapshot or another thread holds stays as it is for ever, and nobody needs a lock. What nobody
looks at is held packed (see `tiles`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unet_core.brush import Point, around, capsule, is_far, marked, pixel_path
from unet_core.edits import Edit, History, TileChange, check_place
from unet_core.labels import (
    MAX_OBJECT,
    LabelCounts,
    Labels,
    class_of,
    classes_of,
    label,
    object_of,
    tally,
)
from unet_core.limits import ADVICE, LimitError, lifted
from unet_core.stack import PlaneIndex
from unet_core.tiles import (
    TILE,
    AnnotationError,
    Contents,
    Tile,
    TileArray,
    TileKey,
    bounding_box,
    is_sealed,
)
from unet_core.tiling import Rect

__all__ = [
    "BACKGROUND",
    "DEFAULT_CLASSES",
    "MAX_CLASSES",
    "TILE",
    "Annotation",
    "AnnotationError",
    "ClassInfo",
    "Edit",
    "History",
    "Stroke",
    "Tile",
    "TileArray",
    "TileChange",
    "TileKey",
]

BACKGROUND = 1
MAX_CLASSES = 255
"""Label values are one byte, and 0 stands for unlabelled."""

MAX_MEMORY = 2**30
"""So many bytes the packed tiles of an annotation that is loaded may take, about."""

# What a tile, and a label in it, take beside the packed bytes.
_TILE_COST, _LABEL_COST = 500, 100

# Far beyond any plane, and near enough for integers and floats to stay exact.
_FARTHEST = 1e9

_NOWHERE = Rect(0, 0, 0, 0)

_PIXELS_AT_ONCE = TILE * TILE


class AnnotationLimitError(AnnotationError, LimitError):
    """There are more labels than may be loaded."""


@dataclass(frozen=True)
class ClassInfo:
    """A class of the user's: its name and its colour, "#rrggbb".

    The first of a list of classes is the background and has the value 1, the next 2, and so on.
    """

    name: str
    color: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise ValueError(f"{self.color!r} is not a colour such as #e69f00")


# Two colours of Okabe and Ito's set, which people of all colour visions can tell apart.
DEFAULT_CLASSES = (ClassInfo("background", "#0072b2"), ClassInfo("cell", "#e69f00"))


MIN_LABELLED_PIXELS = 20
"""A class needs at least this many: less is a slip of the pen."""


def missing_labels(counts: Mapping[int, int], classes: Sequence[ClassInfo]) -> str | None:
    """Why training cannot start yet, in one sentence; None when it can.

    `counts` gives the labelled pixels per class value. Background and one other class must be
    labelled; further classes that have no label yet do not hinder.
    """
    if counts.get(1, 0) < MIN_LABELLED_PIXELS:
        return f"Paint some {classes[0].name.lower()}."
    if all(counts.get(value, 0) < MIN_LABELLED_PIXELS for value in range(2, len(classes) + 1)):
        names = [c.name.lower() for c in classes[1:]]
        return f"Paint some {' or '.join(names)}."
    return None


class Annotation:
    """The labels of all planes of an image. Used from one thread; snapshots from any."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        """Nothing labelled yet in an image of `shape` (T, Z, Y, X), each at least 1."""
        if len(shape) != 4 or min(shape) < 1:
            raise ValueError(f"an annotation needs four positive sizes (T, Z, Y, X), not {shape}")
        self.shape = shape
        self._planes: dict[PlaneIndex, dict[tuple[int, int], Tile]] = {}
        # Planes whose dictionary no snapshot shares; the others are copied before a change.
        self._own: set[PlaneIndex] = set()
        self._counts = LabelCounts()
        self._stroke: Stroke | None = None
        self._frozen = False

    @classmethod
    def from_packed(
        cls, shape: tuple[int, int, int, int], tiles: Iterable[tuple[TileKey, bytes | None]]
    ) -> Annotation:
        """Build from tiles as `pack_tile` made them; those that say what is in them stay packed.

        AnnotationError if one is damaged, lies outside the image or comes twice, or where all of
        them are more than `MAX_MEMORY`. What a tile says of itself is checked when it is unpacked.
        """
        annotation = cls(shape)
        taken = 0
        for key, packed in tiles:
            if packed is None or not is_sealed(key, packed):
                raise AnnotationError(
                    f"The labels of t {key.t}, z {key.z}, tile {key.row}, {key.col} are damaged."
                )
            tile = Tile(key, packed=packed)
            check_place(shape, key, tile)
            counts = tile.contents().counts
            taken += len(packed) + _TILE_COST + _LABEL_COST * len(counts)
            if taken > MAX_MEMORY and not lifted():
                raise AnnotationLimitError(
                    f"The labels take more than {MAX_MEMORY / 2**30:.0f} GiB of memory; {ADVICE}."
                )
            if annotation._tile(key) is not None:
                raise AnnotationError(f"Label tile {key.row}, {key.col} of a plane comes twice.")
            if counts:
                annotation._put(key, tile)
                annotation._counts.change(counts)
        return annotation

    @classmethod
    def from_planes(
        cls, shape: tuple[int, int, int, int], planes: Mapping[PlaneIndex, npt.ArrayLike]
    ) -> Annotation:
        """Build from whole label planes (Y, X) of integers 0..255. AnnotationError if invalid."""
        annotation = cls(shape)
        for plane, labels in planes.items():
            annotation.write(plane, labels)
        return annotation

    @property
    def plane_rect(self) -> Rect:
        """The whole of a plane."""
        return Rect(0, 0, self.shape[2], self.shape[3])

    def read(self, plane: PlaneIndex, rect: Rect | None = None) -> npt.NDArray[np.uint8]:
        """Copy the classes of a rectangle (default: the plane): uint8 (height, width).

        The rectangle may leave the plane: nothing is labelled out there.
        """
        rect = self.plane_rect if rect is None else rect
        classes = np.zeros((rect.height, rect.width), np.uint8)
        for target, part in self._parts(plane, rect):
            classes[target] = classes_of(part)
        return classes

    def read_labels(self, plane: PlaneIndex, rect: Rect | None = None) -> Labels:
        """As `read`, but classes and objects: uint32 (height, width), see `labels`."""
        rect = self.plane_rect if rect is None else rect
        labels = np.zeros((rect.height, rect.width), np.uint32)
        for target, part in self._parts(plane, rect):
            labels[target] = part
        return labels

    def label_at(self, plane: PlaneIndex, y: int, x: int) -> tuple[int, int]:
        """Class and object number of pixel (y, x); zeros outside the plane."""
        one = int(self.read_labels(plane, Rect(y, x, 1, 1))[0, 0])
        return class_of(one), object_of(one)

    def labels_at(
        self, plane: PlaneIndex, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer]
    ) -> Labels:
        """The labels of pixels of the plane, given by rows (n) and columns (n): uint32 (n)."""
        labels = np.zeros(len(rows), np.uint32)
        places = np.stack((rows // TILE, columns // TILE))
        for row, column in np.unique(places, axis=1).T.tolist():
            tile = self._tile(TileKey(*plane, row, column))
            if tile is not None:
                here = (places[0] == row) & (places[1] == column)
                labels[here] = tile.pixels[rows[here] % TILE, columns[here] % TILE]
        return labels

    def _parts(self, plane: PlaneIndex, rect: Rect) -> Iterator[tuple[tuple[slice, slice], Labels]]:
        """What is labelled in a rectangle, tile by tile: where in the rectangle, and the labels."""
        tiles = self._planes.get(plane)
        if not tiles:
            return
        for row, col, part in _split(rect.intersect(self.plane_rect)):
            tile = tiles.get((row, col))
            if tile is not None:
                yield _relative(part, rect), tile.pixels[_within(row, col, part)]

    def write(
        self,
        plane: PlaneIndex,
        classes: npt.ArrayLike,
        y: int = 0,
        x: int = 0,
        kind: str = "import",
        objects: npt.ArrayLike = 0,
    ) -> Edit | None:
        """Replace the labels of a rectangle whose corner is (y, x); the edit is already applied.

        `classes` is an array (height, width) of integers 0..255 that fits into the plane, `objects`
        one of object numbers, which count where there is a class. Answers None where nothing
        changed, raises AnnotationError where the labels are no labels.
        """
        values = np.asarray(classes)
        if values.ndim != 2:
            raise AnnotationError(f"Labels of shape {values.shape} are no plane.")
        labels = _checked(values, 255).astype(np.uint32) << np.uint32(24)
        numbers = _checked(np.asarray(objects), MAX_OBJECT).astype(np.uint32)
        labels |= np.where(values == 0, np.uint32(0), numbers)
        return self.change(kind, [(plane, Rect(y, x, *values.shape), labels)])

    def change(self, kind: str, parts: Iterable[tuple[PlaneIndex, Rect, Labels]]) -> Edit | None:
        """Replace the labels of rectangles, on one plane or on many, in one edit.

        Each part is a rectangle within its plane and its new labels, uint32 (height, width). The
        edit is already applied; None where nothing changed.
        """
        self._check_idle()
        edit = self.planned(kind, parts)
        if edit is not None:
            self.apply(edit)
        return edit

    def planned(self, kind: str, parts: Iterable[tuple[PlaneIndex, Rect, Labels]]) -> Edit | None:
        """The edit that `change` would make, not applied yet: a snapshot can plan, too."""
        changed: dict[TileKey, TileChange] = {}
        for plane, rect, labels in parts:
            self._check_plane(plane)
            if labels.shape != rect[2:] or rect.intersect(self.plane_rect) != rect:
                raise AnnotationError(
                    f"Labels of shape {labels.shape} do not fit a plane of {self.shape[2:]} pixels."
                )
            for row, col, part in _split(rect):
                key = TileKey(*plane, row, col)
                known = changed.get(key)
                before = self._tile(key) if known is None else known.after
                new = labels[_relative(part, rect)]
                where = _within(row, col, part)
                if not new.any() if before is None else np.array_equal(before.pixels[where], new):
                    continue
                pixels = _copy(before)
                pixels[where] = new
                if known is not None:
                    before, part = known.before, part.union(known.extent)
                changed[key] = TileChange(key, before, _finished(key, pixels), part)
        return Edit(kind, tuple(changed.values()), shape=self.shape) if changed else None

    def fill(
        self,
        plane: PlaneIndex,
        rect: Rect,
        mask: npt.NDArray[np.bool_],
        value: int,
        number: int = 0,
        *,
        kind: str = "fill",
        keep: Collection[int] = (),
    ) -> Edit | None:
        """Give the masked pixels of a rectangle a class and an object, 0 and 0 to unlabel them.

        `mask` is bool (height, width). Pixels of the classes in `keep` stay as they are. The edit
        is already applied; None where nothing changed.
        """
        self._check_idle()
        edit = self.filling(plane, rect, mask, value, number, kind=kind, keep=keep)
        if edit is not None:
            self.apply(edit)
        return edit

    def filling(
        self,
        plane: PlaneIndex,
        rect: Rect,
        mask: npt.NDArray[np.bool_],
        value: int,
        number: int = 0,
        *,
        kind: str = "fill",
        keep: Collection[int] = (),
    ) -> Edit | None:
        """The edit that `fill` would make, not applied yet: a snapshot can work it out, too."""
        labels = self.read_labels(plane, rect)
        if keep:
            mask = mask & ~np.isin(classes_of(labels), list(keep))
        labels[mask] = label(value, number)
        return self.planned(kind, [(plane, rect, labels)])

    def clearing(self, value: int, kind: str) -> Generator[None, None, Edit | None]:
        """Work out, plane by plane, the edit that unlabels class `value` on all planes.

        It is not applied; None where nothing is of that class. May run on a snapshot in a thread.
        """
        changes: list[TileChange] = []
        for plane in self.labelled_planes():
            for (row, col), tile in self._planes[plane].items():
                if all(class_of(one) != value for one in tile.contents().counts):
                    continue
                key, here = TileKey(*plane, row, col), classes_of(tile.pixels) == value
                box = bounding_box(here)
                rect = Rect(row * TILE + box.y, col * TILE + box.x, *box[2:])
                left = _finished(key, np.where(here, np.uint32(0), tile.pixels))
                changes.append(TileChange(key, tile, left, rect))
            yield
        return Edit(kind, tuple(changes), shape=self.shape).ready() if changes else None

    def stroke(
        self,
        plane: PlaneIndex,
        value: int,
        diameter: int,
        number: int = 0,
        *,
        keep: Collection[int] = (),
    ) -> Stroke:
        """Begin to paint class `value` (0 erases) with a round brush of `diameter` >= 1 pixels.

        What is painted belongs to the object `number`, 0 for none. Pixels of the classes in `keep`
        stay as they are. One stroke at a time: RuntimeError while another one is neither finished
        nor cancelled.
        """
        self._check_idle()
        self._check_plane(plane)
        if not 1 <= diameter < math.inf:
            raise ValueError(f"a brush is at least 1 pixel wide, {diameter} is not")
        self._stroke = Stroke(self, plane, label(value, number), diameter, keep)
        return self._stroke

    def next_object(self) -> int:
        """A number that no object has had. AnnotationError when there are no more."""
        number = self._counts.highest_object + 1
        if number > MAX_OBJECT:
            raise AnnotationError(
                f"There are {MAX_OBJECT} objects already; no more can be told apart."
            )
        return number

    def apply(self, edit: Edit) -> None:
        """Carry out an edit; nothing is unpacked for that.

        All or nothing: raises AnnotationError, and changes nothing, unless every tile is as the
        edit found it.
        """
        self._check_idle()
        foreign = edit.shape != self.shape
        for key, before, after, _ in edit.changes:
            if foreign:
                check_place(self.shape, key, after)
            there = self._tile(key)
            if there is before:
                continue
            if there is None or before is None or not there.is_same(before):
                raise AnnotationError("An edit does not follow on the labels as they are now.")
        self._counts.change(edit.gained())
        for change in edit.changes:
            self._put(change.key, change.after)

    def labelled_planes(self) -> list[PlaneIndex]:
        """Planes with at least one labelled pixel, sorted by t, then z."""
        return sorted(self._planes)

    def labelled_tiles(self, plane: PlaneIndex) -> list[tuple[int, int]]:
        """Row and column of the tiles of a plane that hold labels."""
        return list(self._planes.get(plane, ()))

    def tiles(self, plane: PlaneIndex) -> Mapping[tuple[int, int], TileArray]:
        """The tiles of a plane that hold labels, by (row, col): uint32 (TILE, TILE).

        Pixels of a tile that lie outside the plane are 0. Do not write to the arrays. A tile is
        unpacked when it is asked for: so many planes need no more memory than one.
        """
        return _Pixels(dict(self._planes.get(plane, {})))

    def contents(self, plane: PlaneIndex, place: tuple[int, int]) -> Contents:
        """What is in the labelled tile (row, col) of a plane, mostly without unpacking it."""
        return self._planes[plane][place].contents()

    def tile(self, key: TileKey) -> Tile | None:
        """A tile of labels; None where nothing is labelled, and outside the image."""
        return self._tile(key)

    def counts(self) -> dict[int, int]:
        """Labelled pixels of each class that occurs; costs nothing, whatever the size."""
        return self._counts.pixels

    def object_counts(self) -> dict[int, int]:
        """Numbered objects of each class that has any; costs nothing."""
        return self._counts.objects

    def snapshot(self) -> Annotation:
        """A consistent copy as of now that never changes and may go to another thread.

        Shares all tiles, so it costs one dictionary of the labelled planes. It can not be painted.
        """
        copy = Annotation(self.shape)
        copy._planes = dict(self._planes)
        copy._counts = self._counts.copy()
        self._own.clear()
        if self._stroke is not None:
            self._stroke._release_tiles()
            for key in self._stroke._before:
                # An eraser drops the tiles that it emptied only when it is lifted.
                tile = copy._tile(key)
                if tile is not None and not tile.pixels.any():
                    copy._put(key, None)
        copy._frozen = True
        return copy

    def thawed(self) -> Annotation:
        """A copy that can be painted, of a snapshot too; it shares all tiles."""
        copy = self.snapshot()
        copy._frozen = False
        return copy

    def _tile(self, key: TileKey) -> Tile | None:
        # A key's parts make the same keys as PlaneIndex and (row, col); edits have many of them.
        tiles = self._planes.get(key[:2])  # type: ignore[call-overload]
        return None if tiles is None else tiles.get(key[2:])

    def _put(self, key: TileKey, tile: Tile | None) -> None:
        """Set a finished tile, or remove it; the counts are the caller's."""
        plane = key.plane
        tiles = self._own_tiles(plane)
        if tile is not None:
            tiles[key[2:]] = tile
            return
        tiles.pop(key[2:], None)
        if not tiles:
            del self._planes[plane]

    def _own_tiles(self, plane: PlaneIndex) -> dict[tuple[int, int], Tile]:
        """The dictionary of a plane, for writing: not shared with any snapshot."""
        if plane not in self._own or plane not in self._planes:
            self._planes[plane] = dict(self._planes.get(plane, {}))
            self._own.add(plane)
        return self._planes[plane]

    def _check_idle(self) -> None:
        if self._frozen:
            raise RuntimeError("a snapshot can not be changed")
        if self._stroke is not None:
            raise RuntimeError("finish or cancel the stroke first")

    def _check_plane(self, plane: PlaneIndex) -> None:
        if not (0 <= plane[0] < self.shape[0] and 0 <= plane[1] < self.shape[1]):
            raise AnnotationError(
                f"There is no plane t {plane[0]}, z {plane[1]} in an image of "
                f"{self.shape[0]} x {self.shape[1]} planes."
            )


class _Pixels(Mapping[tuple[int, int], TileArray]):
    """The pixels of tiles, each unpacked when it is asked for."""

    def __init__(self, tiles: dict[tuple[int, int], Tile]) -> None:
        self._tiles = tiles

    def __getitem__(self, place: tuple[int, int]) -> TileArray:
        return self._tiles[place].pixels

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._tiles)

    def __len__(self) -> int:
        return len(self._tiles)


class Stroke:
    """A stroke while it is painted; made by `Annotation.stroke`.

    Its cost follows the length of the mouse's path, not the size of the image: only the bounding
    box of the newest segment is looked at, and a tile is copied when its first pixel changes.
    """

    def __init__(
        self,
        annotation: Annotation,
        plane: PlaneIndex,
        one: int,
        diameter: float,
        keep: Collection[int],
    ) -> None:
        self._annotation = annotation
        self._plane = plane
        self._label = np.uint32(one)
        self.diameter = diameter
        """In pixels, at least 1; may change along the way, as the pressure of a pen does."""
        # By class: whether a pixel of it stays as it is.
        self._kept = np.isin(np.arange(256), list(keep)) if keep else None
        self._last: Point | None = None
        self._before: dict[TileKey, Tile | None] = {}
        self._rects: dict[TileKey, Rect] = {}
        self._gained: dict[int, int] = {}
        # Copies of this stroke's own that are not shared yet.
        self._writeable: list[TileArray] = []

    def to(self, y: float, x: float) -> Rect | None:
        """Paint from the last point to (y, x), the first time the point alone.

        Painted are all pixels whose centre lies within half a diameter of the segment, and the
        pixels under the path itself; a brush of 1 pixel paints exactly those. What lies outside
        the plane is clipped: a path may leave and come back. Answers a rectangle around the
        pixels that changed, None if none did. Raises ValueError for NaN and absurd distances.
        """
        if self._annotation._stroke is not self:
            raise RuntimeError("the stroke has ended")
        if not (abs(y) <= _FARTHEST and abs(x) <= _FARTHEST):
            raise ValueError(f"({y}, {x}) is no point")
        end = (y, x)
        start = end if self._last is None else self._last
        self._last = end
        plane = self._annotation.plane_rect
        # Below two pixels a disc may slip between the centres: follow the path itself.
        thin = self.diameter < 2
        radius = 0.0 if thin else self.diameter / 2
        box = around(start, end, radius).intersect(plane)
        if box.empty:
            return None
        path = pixel_path(start, end, plane) if thin else None
        # A short segment: its pixels all at once. The box around a long one may be the whole plane.
        short = path is None and box.height * box.width <= _PIXELS_AT_ONCE
        inside = capsule(start, end, radius, box) if short else None
        dirty = _NOWHERE
        for row, col, part in _split(box):
            if inside is not None:
                mask = inside if part is box else inside[_relative(part, box)]
            elif path is not None:
                mask = marked(path, part)
            elif is_far(start, end, radius, part):
                continue
            else:
                mask = capsule(start, end, radius, part)
            if self._paint(row, col, part, mask):
                dirty = dirty.union(part)
        return None if dirty.empty else dirty

    def finish(self) -> Edit | None:
        """End the stroke: the edit that it was, None if it changed nothing."""
        annotation = self._annotation
        if annotation._stroke is not self:
            raise RuntimeError("the stroke has ended")
        self._release_tiles()
        annotation._stroke = None
        changes = []
        for key, before in self._before.items():
            after = annotation._tile(key)
            if after is not None and self._label == 0 and not after.pixels.any():
                annotation._put(key, None)
                after = None
            changes.append(TileChange(key, before, after, self._rects[key]))
        if not changes:
            return None
        kind = "stroke" if self._label else "erase"
        gained = {one: pixels for one, pixels in self._gained.items() if pixels}
        return Edit(kind, tuple(changes), gained, annotation.shape)

    def cancel(self) -> Rect:
        """End the stroke as if it had never begun: a rectangle around the restored pixels."""
        edit = self.finish()
        if edit is None:
            return _NOWHERE
        self._annotation.apply(edit.inverse())
        return edit.rect

    def _paint(self, row: int, col: int, part: Rect, mask: npt.NDArray[np.bool_]) -> bool:
        """Paint the masked pixels of `part`, which lies within one tile: did any change?"""
        annotation = self._annotation
        key = TileKey(*self._plane, row, col)
        tile = annotation._tile(key)
        where = _within(row, col, part)
        if tile is not None:
            region = tile.pixels[where]
            mask = mask & (region != self._label)
            if self._kept is not None:
                mask &= ~self._kept[classes_of(region)]
        painted = int(np.count_nonzero(mask))
        if not painted or (tile is None and self._label == 0):
            return False
        lost = {0: painted} if tile is None else tally(region[mask])
        self._count(painted, lost)
        self._own_tile(key, tile)[where][mask] = self._label
        self._rects[key] = self._rects.get(key, _NOWHERE).union(part)
        return True

    def _count(self, painted: int, lost: Mapping[int, int]) -> None:
        gained = {one: -pixels for one, pixels in lost.items()}
        gained[int(self._label)] = painted
        self._annotation._counts.change(gained)
        for one, pixels in gained.items():
            self._gained[one] = self._gained.get(one, 0) + pixels

    def _own_tile(self, key: TileKey, tile: Tile | None) -> TileArray:
        """The pixels of a tile for writing: a copy, unless this stroke already made one."""
        if tile is not None and tile.pixels.flags.writeable:
            return tile.pixels
        self._before.setdefault(key, tile)
        own = _copy(tile)
        self._annotation._own_tiles(self._plane)[key.row, key.col] = Tile(key, own)
        self._writeable.append(own)
        return own

    def _release_tiles(self) -> None:
        """Make the stroke's tiles read-only: from here on they may be shared."""
        for tile in self._writeable:
            tile.flags.writeable = False
        self._writeable.clear()


def _checked(values: npt.NDArray[np.generic], highest: int) -> npt.NDArray[np.generic]:
    """The same values. AnnotationError unless they are integers from 0 to `highest`."""
    if values.dtype.kind not in "uib":
        raise AnnotationError(f"Labels must be whole numbers, not {values.dtype}.")
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= highest:
        raise AnnotationError(f"Labels must lie between 0 and {highest}.")
    return values


def _copy(tile: Tile | None) -> TileArray:
    """The pixels of a tile, to be painted."""
    return np.zeros((TILE, TILE), np.uint32) if tile is None else tile.pixels.copy()


def _finished(key: TileKey, pixels: TileArray) -> Tile | None:
    """A tile of pixels that nobody paints any more; None where nothing is labelled."""
    if not pixels.any():
        return None
    pixels.flags.writeable = False
    return Tile(key, pixels)


def _split(rect: Rect) -> Iterator[tuple[int, int, Rect]]:
    """Cut a rectangle at the tile borders: (tile row, tile column, part of the rectangle)."""
    if rect.empty:
        return
    rows = range(rect.y // TILE, (rect.bottom - 1) // TILE + 1)
    cols = range(rect.x // TILE, (rect.right - 1) // TILE + 1)
    if len(rows) == len(cols) == 1:  # as for most moves of a brush
        yield rows[0], cols[0], rect
        return
    for row in rows:
        for col in cols:
            yield row, col, rect.intersect(Rect(row * TILE, col * TILE, TILE, TILE))


def _within(row: int, col: int, part: Rect) -> tuple[slice, slice]:
    """Index of a part of the plane within its tile."""
    return _relative(part, Rect(row * TILE, col * TILE, TILE, TILE))


def _relative(part: Rect, whole: Rect) -> tuple[slice, slice]:
    """Index of a part of a rectangle in an array that holds the rectangle."""
    y, x = part.y - whole.y, part.x - whole.x
    return slice(y, y + part.height), slice(x, x + part.width)
