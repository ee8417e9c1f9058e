"""The layers over the image: labels and prediction; and how all are painted.

Each keeps its pixels as uint8 arrays, cut into blocks, and every block has a QImage made over the
array's own memory, with a colour table. So a stroke is a write into the array and a repaint of the
rectangle that it touched, and a threshold is a new table of 256 colours; nothing is converted.
(While a slider moves, `still.StillPicture` keeps even what was sampled for the screen.) Labels that
a large edit has changed are looked at when they are to be seen.

These are plain objects that a widget paints, not pyqtgraph items: the blocks need no scene, Qt's
raster engine only samples what the clip exposes, the mapping from mouse to pixel stays in one place
(`camera.Camera`), and the window does not wait 0.6 s for pyqtgraph to be imported. Blocks also keep
every coordinate far below the 32,767 pixels that Qt's sampling can address in one image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QColor, QPainter

from app.block import Block
from unet_core.annotation import BACKGROUND, Annotation, ClassInfo
from unet_core.edits import TILE, bounding_box
from unet_core.labels import Labels, class_of, classes_of
from unet_core.outline import borders, outline
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

SPARSE_BLOCK = 1024
"""Side of a label or prediction block; blocks in which there is nothing are never made."""

MOST_BLOCKS = 128
"""So many blocks of a prediction map are held at most, those nearest to where it was predicted
last: twice what is predicted of a view (`live.LIVE_PIXELS`)."""

FEW_TILES = 8
"""So many label tiles are looked at within a frame in any case."""

LABEL_OPACITY = 0.8
LABEL_WHITE = 0.3
PREDICTION_BLACK = 0.15
"""Labels and prediction of a class share its colour. Labels are mixed with so much white, the
prediction with so much black: what was painted stands out from what is predicted, on dark and on
bright images."""

OUTLINE_BLACK = 0.45
"""And the outline of what was painted with so much black."""

UNCERTAIN = "#ff2fd6"
"""Where the prediction could be either; no class has such a colour unless the user chose it."""


class _SparsePlane:
    """A `(Y, X)` uint8 plane, 0 wherever nothing was written, in blocks made on first write."""

    def __init__(self, height: int, width: int, table: Sequence[int]) -> None:
        self.rect = Rect(0, 0, height, width)
        self.blocks: dict[tuple[int, int], Block] = {}
        self._table = table
        # The blocks that have the table in force: a new one costs no more than what is seen.
        self._coloured: set[tuple[int, int]] = set()
        # The blocks that a snapshot shares: they are copied before they change.
        self._shared: set[tuple[int, int]] = set()

    def snapshot(self) -> _SparsePlane:
        """As it is now and will stay, to be read in another thread."""
        copy = _SparsePlane(*self.rect[2:], self._table)
        copy.blocks = dict(self.blocks)
        self._shared = set(self.blocks)
        return copy

    def set_table(self, table: Sequence[int]) -> None:
        self._table = table
        self._coloured.clear()

    def write(self, rect: Rect, values: NDArray[np.uint8]) -> Rect:
        """Set the pixels of `rect` to `values` `(height, width)`; outside the plane is ignored.

        Returns a box around those that were different before; of a small part it may be all of it.
        """
        changed = Rect(0, 0, 0, 0)
        inside = rect.intersect(self.rect)
        for row, column in _places(inside, SPARSE_BLOCK):
            side = SPARSE_BLOCK
            whole = Rect(row * side, column * side, side, side).intersect(self.rect)
            part = whole.intersect(inside)
            source = values[_within(part, rect)]
            block = self.blocks.get((row, column))
            if block is None and not source.any():
                continue
            if block is None or (row, column) in self._shared:
                empty = np.zeros((whole.height, whole.width), np.uint8)
                pixels = empty if block is None else block.pixels.copy()
                block = Block(whole.y, whole.x, pixels, self._table)
                self.blocks[row, column] = block
                self._shared.discard((row, column))
            target = block.pixels[_within(part, whole)]
            if part.height * part.width <= _SMALL:
                target[...] = source
                changed = changed.union(part)
                continue
            box = bounding_box(target != source)
            if not box.empty:
                target[...] = source
                changed = changed.union(Rect(part.y + box.y, part.x + box.x, *box[2:]))
        return changed

    def keep_near(self, rect: Rect, most: int) -> None:
        """Drop the blocks farthest from `rect` where there are more than `most`."""
        if len(self.blocks) <= most:
            return
        row, column = (rect.y + rect.bottom) / 2, (rect.x + rect.right) / 2

        def distance(place: tuple[int, int]) -> float:
            centre = ((n + 0.5) * SPARSE_BLOCK for n in place)
            return math.dist((row, column), tuple(centre))

        for place in sorted(self.blocks, key=distance)[most:]:
            del self.blocks[place]
            self._coloured.discard(place)
            self._shared.discard(place)

    def read(self, rect: Rect) -> NDArray[np.uint8]:
        """A copy of the pixels of `rect`; 0 where nothing was written, or outside the plane."""
        result = np.zeros((rect.height, rect.width), np.uint8)
        for _, block in self.touching(rect):
            part = block.rect.intersect(rect)
            result[_within(part, rect)] = block.pixels[_within(part, block.rect)]
        return result

    def touching(self, rect: Rect) -> Iterator[tuple[tuple[int, int], Block]]:
        """The blocks that share pixels with `rect`, and their places: however many others."""
        for place in _places(rect.intersect(self.rect), SPARSE_BLOCK):
            if (block := self.blocks.get(place)) is not None:
                yield place, block

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        for place, block in self.touching(exposed):
            if place not in self._coloured:
                block.image.setColorTable(self._table)
                self._coloured.add(place)
            block.paint(painter, exposed)


def _places(rect: Rect, side: int) -> Iterator[tuple[int, int]]:
    """Rows and columns of the squares of `side` pixels that `rect` touches."""
    if rect.empty:
        return
    for row in range(rect.y // side, (rect.bottom - 1) // side + 1):
        for column in range(rect.x // side, (rect.right - 1) // side + 1):
            yield row, column


def _within(part: Rect, whole: Rect) -> tuple[slice, slice]:
    """Index of `part` in an array that holds `whole`."""
    return Rect(part.y - whole.y, part.x - whole.x, part.height, part.width).slices


LabelStyle = Literal["both", "fill", "outline"]

_SMALL = 128 * 128
"""Of fewer pixels, what comes from a brush, it takes longer to ask than to do."""

_BORDER = 128
"""Added to a class's index where the pixel lies at the border of its object: the table decides how
that shows. So classes above 127 share the colour of class 127 on the screen."""


class LabelLayer:
    """What was painted, in the colours of the classes; objects are outlined."""

    def __init__(self) -> None:
        self.visible = True
        self._style: LabelStyle = "both"
        self._hidden: frozenset[int] = frozenset()
        self._classes: Sequence[ClassInfo] = ()
        self._table = label_table([])
        self._plane = _SparsePlane(0, 0, self._table)
        self._labels: tuple[Annotation, PlaneIndex] | None = None
        # By row and column of label tiles: what has not been taken over yet.
        self._behind: dict[tuple[int, int], Rect] = {}

    @property
    def blocks(self) -> list[Block]:
        return list(self._plane.blocks.values())

    @property
    def table(self) -> list[int]:
        """The colours in force, see `label_table`."""
        return self._table

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        self._classes = tuple(classes)
        self._rebuild_table()

    def set_style(self, style: LabelStyle, hidden: frozenset[int] = frozenset()) -> None:
        """Show areas, outlines or both, and the classes in `hidden` not at all."""
        self._style, self._hidden = style, hidden
        self._rebuild_table()

    def _rebuild_table(self) -> None:
        self._table = label_table(self._classes, self._style, self._hidden)
        self._plane.set_table(self._table)

    def set_plane(self, annotation: Annotation, plane: PlaneIndex) -> None:
        """Show `plane`: `catch_up` reads its labelled tiles."""
        self._labels = annotation, plane
        self._plane = _SparsePlane(*annotation.shape[2:], self._table)
        self._behind = {place: _tile(*place) for place in annotation.labelled_tiles(plane)}

    def clear(self) -> None:
        self._plane = _SparsePlane(0, 0, self._table)
        self._labels = None
        self._behind = {}

    @property
    def up_to_date(self) -> bool:
        """Whether all labels have been taken over."""
        return not self._behind

    def behind(self, view: Rect) -> Rect:
        """A part of `view` whose labels have not been taken over yet; empty where all have."""
        waiting = (rect.intersect(view) for rect in self._behind.values())
        return next((rect for rect in waiting if not rect.empty), Rect(0, 0, 0, 0))

    def put_off(self, rect: Rect) -> None:
        """The labels inside `rect` have changed: `catch_up` takes them over."""
        inside = rect.intersect(self._plane.rect)
        for place in _places(inside, TILE):
            known = self._behind.get(place, Rect(0, 0, 0, 0))
            self._behind[place] = known.union(inside.intersect(_tile(*place)))

    def catch_up(
        self, view: Rect | None = None, first: Rect | None = None, seconds: float = math.inf
    ) -> Rect:
        """Take over the labels in `view`, those in `first` before others, or everywhere.

        After so many `seconds`, and a few tiles at least, the rest is left for the next time.
        Returns the box around what looks different now.
        """
        until = time.perf_counter() + seconds
        box = Rect(0, 0, 0, 0)
        waiting = list(self._behind)
        if view is not None:
            waiting = [at for at in waiting if not self._behind[at].intersect(view).empty]
        if first is not None:
            waiting.sort(key=lambda at: self._behind[at].intersect(first).empty)
        for number, place in enumerate(waiting, 1):
            box = box.union(self.refresh(self._behind.pop(place)))
            if number >= FEW_TILES and time.perf_counter() > until:
                break
        return box

    def refresh(self, rect: Rect) -> Rect:
        """Take over the labels inside `rect` now; returns a box around what looks different.

        For a large brush looking is cheaper than repainting: a slow stroke changes a thin crescent.
        """
        if self._labels is None:
            return Rect(0, 0, 0, 0)
        # The pixels around it may have become, or may no longer be, the border of their object.
        around = rect.expand(1)
        return self._plane.write(around, _indices(*self._labels, around))

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        if self.visible:
            self._plane.paint(painter, exposed)


def _tile(row: int, column: int) -> Rect:
    """What a label tile covers, though it may reach beyond the plane."""
    return Rect(row * TILE, column * TILE, TILE, TILE)


def _indices(annotation: Annotation, plane: PlaneIndex, rect: Rect) -> NDArray[np.uint8]:
    """Where in a label table the pixels of `rect` find their colour: (height, width)."""
    return label_indices(annotation.read_labels(plane, rect.expand(1)))


def label_indices(labels: Labels) -> NDArray[np.uint8]:
    """Where in a label table labels find their colour: (height, width) of (height + 2, width + 2),
    whose rim of one pixel tells what lies around them."""
    if labels.size > _SMALL and (one := labels.min()) == labels.max():
        # What was filled is mostly of one kind; finding that out is far faster.
        shape = labels.shape[0] - 2, labels.shape[1] - 2
        return np.full(shape, min(class_of(int(one)), _BORDER - 1), np.uint8)
    indices = borders(labels).view(np.uint8)
    indices *= _BORDER
    classes = classes_of(labels)[1:-1, 1:-1]
    indices |= np.minimum(classes, _BORDER - 1)
    return indices


def label_table(
    classes: Sequence[ClassInfo],
    style: LabelStyle = "both",
    hidden: frozenset[int] = frozenset(),
) -> list[int]:
    """Colours (0xaarrggbb) of the indices: unlabelled is transparent, unknown classes are white.

    Of an index from 128 on the pixel lies at the border of its object.
    """
    alpha = round(LABEL_OPACITY * 255)
    table = [0] * 256
    for value in range(1, _BORDER):
        if value in hidden:
            continue
        color = classes[value - 1].color if value <= len(classes) else "#ffffff"
        area = _with_alpha(_mixed(color, "#ffffff", LABEL_WHITE), alpha)
        border = area  # as it stays for the background, which has no outline
        if value != BACKGROUND and style == "both":
            border = _with_alpha(_mixed(color, "#000000", OUTLINE_BLACK), 255)
        elif value != BACKGROUND and style == "outline":
            area, border = 0, _with_alpha(_mixed(color, "#ffffff", LABEL_WHITE), 255)
        table[value], table[value + _BORDER] = area, border
    return table


PredictionStyle = Literal["fill", "outline", "heat", "uncertainty"]


def prediction_table(
    color: str, threshold: int, opacity: float, style: PredictionStyle = "fill"
) -> list[int]:
    """Colours of the values of a prediction map, 0 to 255.

    "fill": transparent below `threshold` (1 to 255). "heat": the more probable, the more opaque.
    "uncertainty": the nearer to an even chance, the more opaque. "outline": nothing but value 1,
    which stands for a pixel of the outline.
    """
    most = round(opacity * 255)
    if style == "heat":
        clear = _with_alpha(color, 0)
        return [round(most * value / 255) << 24 | clear for value in range(256)]
    if style == "uncertainty":
        clear = _with_alpha(UNCERTAIN, 0)
        doubt = [1 - abs(2 * value / 255 - 1) for value in range(256)]
        return [round(most * share) << 24 | clear for share in doubt]
    if style == "outline":
        return [0, _with_alpha(color, 255)] + [0] * 254
    shown = _with_alpha(_mixed(color, "#000000", PREDICTION_BLACK), most)
    return [0] * threshold + [shown] * (256 - threshold)


def _mixed(color: str, other: str, part: float) -> str:
    """`color` with `part`, 0 to 1, of `other` in it."""
    one, two = QColor(color), QColor(other)
    pairs = ((one.red(), two.red()), (one.green(), two.green()), (one.blue(), two.blue()))
    return "#" + bytes(round(a * (1 - part) + b * part) for a, b in pairs).hex()


def _with_alpha(color: str, alpha: int) -> int:
    return alpha << 24 | QColor(color).rgb() & 0xFFFFFF


class PredictionLayer:
    """What the network sees, in the colours of the classes, where it has looked last.

    One map per foreground class, the first being class 2: uint8 probabilities of what is there.
    Beside them, never painted, the interior that tells touching cells apart.
    """

    def __init__(self) -> None:
        self.visible = True
        self.stale = False
        """Whether labels or weights have changed since these tiles were predicted."""
        self.threshold = 128
        self.opacity = 0.5
        self.style: PredictionStyle = "fill"
        self.plane = PlaneIndex(0, 0)
        self._size = (0, 0)
        self._colors: list[str] = []
        self._maps: list[_SparsePlane] = []
        self._interior: _SparsePlane | None = None
        # Outlines of the maps at the present threshold, block by block, as far as they were shown.
        self._outlines: dict[tuple[int, int, int], Block] = {}

    @property
    def empty(self) -> bool:
        """Whether no tile has come yet; one in which nothing was found counts too."""
        return not self._maps

    @property
    def blocks(self) -> list[Block]:
        return [block for plane in self._maps for block in plane.blocks.values()]

    def set_plane(self, plane: PlaneIndex, height: int, width: int) -> None:
        """Show `plane`; what was predicted for another one is dropped."""
        self.plane, self._size = plane, (height, width)
        self.clear()

    def clear(self) -> None:
        self._maps = []
        self._outlines.clear()
        self._interior = None
        self.stale = False

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        self._colors = [info.color for info in classes[1:]]
        self._rebuild_tables()

    def set_threshold(self, threshold: int) -> None:
        """Show a class where its map is at least `threshold`, 1 to 255."""
        self.threshold = min(max(threshold, 1), 255)
        self._rebuild_tables()

    def set_opacity(self, opacity: float) -> None:
        """How much the prediction covers the image, 0 to 1."""
        self.opacity = min(max(opacity, 0.0), 1.0)
        self._rebuild_tables()

    def set_style(self, style: PredictionStyle) -> None:
        """Show areas above the threshold, their outlines, probabilities or doubts."""
        self.style = style
        self._rebuild_tables()

    def put(
        self,
        plane: PlaneIndex,
        rect: Rect,
        maps: NDArray[np.uint8],
        interior: NDArray[np.uint8] | None = None,
    ) -> bool:
        """Take over a predicted tile: maps `(K, height, width)` and, if any, its interior
        `(height, width)`. False if of another plane.
        """
        if plane != self.plane or 0 in self._size:
            return False
        while len(self._maps) < len(maps):
            table = self._table(len(self._maps))
            self._maps.append(_SparsePlane(*self._size, table))
        for target, values in zip(self._maps, maps, strict=False):
            target.write(rect, values)
            target.keep_near(rect, MOST_BLOCKS)
        self._outlines.clear()
        if interior is None:
            self._interior = None  # of another network
        else:
            if self._interior is None:
                self._interior = _SparsePlane(*self._size, ())  # never painted
            self._interior.write(rect, interior)
            self._interior.keep_near(rect, MOST_BLOCKS)
        return True

    def snapshot(self) -> PredictionLayer:
        """The prediction as it is now and will stay, to be read in another thread."""
        copy = PredictionLayer()
        copy.plane, copy._size, copy.threshold = self.plane, self._size, self.threshold
        copy._maps = [plane.snapshot() for plane in self._maps]
        copy._interior = None if self._interior is None else self._interior.snapshot()
        return copy

    @property
    def predicted(self) -> Rect:
        """A box around what has been predicted, but for blocks in which there is nothing."""
        box = Rect(0, 0, 0, 0)
        for block in self.blocks:
            box = box.union(block.rect)
        return box

    def read(self, rect: Rect) -> NDArray[np.uint8]:
        """The maps `(K, height, width)` inside `rect`; 0 where nothing was predicted."""
        if not self._maps:
            return np.zeros((0, rect.height, rect.width), np.uint8)
        return np.stack([plane.read(rect) for plane in self._maps])

    def read_interior(self, rect: Rect) -> NDArray[np.uint8] | None:
        """The interior `(height, width)` inside `rect`, 0…255; None if the network gives none."""
        return None if self._interior is None else self._interior.read(rect)

    @property
    def tables(self) -> list[list[int]]:
        """The colours in force of each map's values, see `prediction_table`; none if hidden."""
        if not self.visible:
            return [[0] * 256] * len(self._maps)
        return [self._table(number) for number in range(len(self._maps))]

    def paint_values(self, painter: QPainter, exposed: Rect, number: int) -> None:
        """Paint map `number` as grey levels, whatever the colours."""
        for _, block in self._maps[number].touching(exposed):
            Block(block.y, block.x, block.pixels).paint(painter, exposed)

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        if not self.visible or self.opacity == 0:
            return
        for number, plane in enumerate(self._maps):
            if self.style == "outline":
                self._paint_outline(painter, exposed, number, plane)
            else:
                plane.paint(painter, exposed)

    def _paint_outline(
        self, painter: QPainter, exposed: Rect, number: int, plane: _SparsePlane
    ) -> None:
        for (row, column), block in plane.touching(exposed):
            key = (number, row, column)
            if key not in self._outlines:
                rect = block.rect
                inside = (plane.read(rect.expand(1)) >= self.threshold).view(np.uint8)
                line = outline(inside).view(np.uint8)
                self._outlines[key] = Block(rect.y, rect.x, line, self._table(number))
            self._outlines[key].paint(painter, exposed)

    def _table(self, number: int) -> list[int]:
        color = self._colors[number] if number < len(self._colors) else "#ffffff"
        return prediction_table(color, self.threshold, self.opacity, self.style)

    def _rebuild_tables(self) -> None:
        self._outlines.clear()
        for number, plane in enumerate(self._maps):
            plane.set_table(self._table(number))
