"""The layers over the image: labels and prediction; and how all are painted.

Each keeps its pixels as uint8 arrays, cut into blocks, and every block has a QImage made over the
array's own memory, with a colour table. So a stroke is a write into the array and a repaint of the
rectangle that it touched, and a threshold is a new table of 256 colours; nothing is converted.

These are plain objects that a widget paints, not pyqtgraph items: the blocks need no scene, Qt's
raster engine only samples what the clip exposes, the mapping from mouse to pixel stays in one place
(`camera.Camera`), and the window does not wait 0.6 s for pyqtgraph to be imported. Blocks also keep
every coordinate far below the 32,767 pixels that Qt's sampling can address in one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QColor, QPainter

from app.block import GREY_TABLE, Block
from app.image_layer import ImageLayer
from unet_core.annotation import BACKGROUND, Annotation, ClassInfo
from unet_core.edits import bounding_box
from unet_core.labels import Labels, classes_of
from unet_core.outline import outline
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

SPARSE_BLOCK = 1024
"""Side of a label or prediction block; blocks in which there is nothing are never made."""

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

    def set_table(self, table: Sequence[int]) -> None:
        self._table = table
        for block in self.blocks.values():
            block.image.setColorTable(table)

    def write(self, rect: Rect, values: NDArray[np.uint8]) -> None:
        """Set the pixels of `rect` to `values` `(height, width)`; outside the plane is ignored."""
        inside = rect.intersect(self.rect)
        if inside.empty:
            return
        side = SPARSE_BLOCK
        for row in range(inside.y // side, (inside.bottom - 1) // side + 1):
            for column in range(inside.x // side, (inside.right - 1) // side + 1):
                whole = Rect(row * side, column * side, side, side).intersect(self.rect)
                part = whole.intersect(inside)
                source = values[_within(part, rect)]
                block = self.blocks.get((row, column))
                if block is None:
                    if not source.any():
                        continue
                    pixels = np.zeros((whole.height, whole.width), np.uint8)
                    block = Block(whole.y, whole.x, pixels, self._table)
                    self.blocks[row, column] = block
                block.pixels[_within(part, whole)] = source

    def read(self, rect: Rect) -> NDArray[np.uint8]:
        """A copy of the pixels of `rect`; 0 where nothing was written, or outside the plane."""
        result = np.zeros((rect.height, rect.width), np.uint8)
        for block in self.blocks.values():
            part = block.rect.intersect(rect)
            if not part.empty:
                result[_within(part, rect)] = block.pixels[_within(part, block.rect)]
        return result

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        for block in self.blocks.values():
            block.paint(painter, exposed)


def _within(part: Rect, whole: Rect) -> tuple[slice, slice]:
    """Index of `part` in an array that holds `whole`."""
    return Rect(part.y - whole.y, part.x - whole.x, part.height, part.width).slices


LabelStyle = Literal["both", "fill", "outline"]

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
        """Show `plane`; reads its labelled tiles only."""
        self._plane = _SparsePlane(*annotation.shape[2:], self._table)
        for (row, column), tile in annotation.tiles(plane).items():
            height, width = tile.shape
            where = Rect(row * height, column * width, height, width)
            self._plane.write(where, _indices(annotation, plane, where))

    def clear(self) -> None:
        self._plane = _SparsePlane(0, 0, self._table)

    def refresh(self, annotation: Annotation, plane: PlaneIndex, rect: Rect) -> Rect:
        """Take over the labels inside `rect`; returns the box around what looks different now.

        Looking is cheaper than repainting: a slow stroke changes a thin crescent of its brush.
        """
        # The pixels around it may have become, or may no longer be, the border of their object.
        around = Rect(rect.y - 1, rect.x - 1, rect.height + 2, rect.width + 2)
        rect = around.intersect(self._plane.rect)
        indices = _indices(annotation, plane, rect)
        box = bounding_box(indices != self._plane.read(rect))
        if not box.empty:
            self._plane.write(rect, indices)
        return Rect(rect.y + box.y, rect.x + box.x, box.height, box.width)

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        if self.visible:
            self._plane.paint(painter, exposed)


def _indices(annotation: Annotation, plane: PlaneIndex, rect: Rect) -> NDArray[np.uint8]:
    """Where in a label table the pixels of `rect` find their colour: (height, width)."""
    rim = Rect(rect.y - 1, rect.x - 1, rect.height + 2, rect.width + 2)
    return label_indices(annotation.read_labels(plane, rim))


def label_indices(labels: Labels) -> NDArray[np.uint8]:
    """Where in a label table labels find their colour: (height, width) of (height + 2, width + 2),
    whose rim of one pixel tells what lies around them."""
    classes = classes_of(labels)[1:-1, 1:-1]
    indices: NDArray[np.uint8] = np.minimum(classes, _BORDER - 1)
    cells = classes > BACKGROUND
    if cells.any():
        indices[outline(labels) & cells] |= _BORDER
    return indices


def label_table(
    classes: Sequence[ClassInfo],
    style: LabelStyle = "both",
    hidden: frozenset[int] = frozenset(),
) -> list[int]:
    """Colours (0xaarrggbb) of the indices: 0 is transparent, unknown classes are white.

    Of an index from 128 on the pixel lies at the border of its object.
    """
    alpha = round(LABEL_OPACITY * 255)
    table = [0] * 256
    for value in range(1, _BORDER):
        if value in hidden:
            continue
        color = classes[value - 1].color if value <= len(classes) else "#ffffff"
        area = _with_alpha(_mixed(color, "#ffffff", LABEL_WHITE), alpha)
        border = area
        if style == "both":
            border = _with_alpha(_mixed(color, "#000000", OUTLINE_BLACK), 255)
        elif style == "outline":
            # The background has no outline; it keeps its areas.
            border = _with_alpha(_mixed(color, "#ffffff", LABEL_WHITE), 255)
            area = area if value == BACKGROUND else 0
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
        return [_with_alpha(color, round(most * value / 255)) for value in range(256)]
    if style == "uncertainty":
        doubt = [1 - abs(2 * value / 255 - 1) for value in range(256)]
        return [_with_alpha(UNCERTAIN, round(most * share)) for share in doubt]
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
    shade = QColor(color)
    shade.setAlpha(alpha)
    return shade.rgba()


class PredictionLayer:
    """What the network sees, in the colours of the classes, where it has looked so far.

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
        self._outlines.clear()
        if interior is None:
            self._interior = None  # of another network
        else:
            if self._interior is None:
                self._interior = _SparsePlane(*self._size, GREY_TABLE)
            self._interior.write(rect, interior)
        return True

    def read(self, rect: Rect) -> NDArray[np.uint8]:
        """The maps `(K, height, width)` inside `rect`; 0 where nothing was predicted."""
        if not self._maps:
            return np.zeros((0, rect.height, rect.width), np.uint8)
        return np.stack([plane.read(rect) for plane in self._maps])

    def read_interior(self, rect: Rect) -> NDArray[np.uint8] | None:
        """The interior `(height, width)` inside `rect`, 0…255; None if the network gives none."""
        return None if self._interior is None else self._interior.read(rect)

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
        for (row, column), block in plane.blocks.items():
            if block.rect.intersect(exposed).empty:
                continue
            key = (number, row, column)
            if key not in self._outlines:
                rect = block.rect
                rim = Rect(rect.y - 1, rect.x - 1, rect.height + 2, rect.width + 2)
                inside = (plane.read(rim) >= self.threshold).view(np.uint8)
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


def paint_layers(
    painter: QPainter,
    exposed: Rect,
    device_zoom: float,
    image: ImageLayer,
    over: Iterable[LabelLayer | PredictionLayer],
) -> None:
    """Paint all layers, bottom to top, with nearest-neighbour sampling."""
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
    image.paint(painter, exposed, device_zoom)
    for layer in over:
        layer.paint(painter, exposed)
