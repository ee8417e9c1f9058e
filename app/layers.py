"""The layers of the picture: image, labels and prediction.

Each keeps its pixels as uint8 arrays, cut into blocks, and every block has a QImage made over the
array's own memory, with a colour table. So a stroke is a write into the array and a repaint of the
rectangle that it touched, and a threshold is a new table of 256 colours; nothing is converted.

These are plain objects that a widget paints, not pyqtgraph items: the blocks need no scene, Qt's
raster engine only samples what the clip exposes, the mapping from mouse to pixel stays in one place
(`camera.Camera`), and the window does not wait 0.6 s for pyqtgraph to be imported. Blocks also keep
every coordinate far below the 32,767 pixels that Qt's sampling can address in one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPoint
from PySide6.QtGui import QColor, QImage, QPainter

from app.loader import LoadedPlane
from unet_core.annotation import Annotation, ClassInfo
from unet_core.labels import classes_of
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

IMAGE_BLOCK = 4096
"""Side of an image block in pixels."""

SPARSE_BLOCK = 1024
"""Side of a label or prediction block; blocks in which there is nothing are never made."""

LABEL_OPACITY = 0.8
LABEL_WHITE = 0.3
PREDICTION_BLACK = 0.15
"""Labels and prediction of a class share its colour. Labels are mixed with so much white, the
prediction with so much black: what was painted stands out from what is predicted, on dark and on
bright images."""

GREY_TABLE = [QColor(level, level, level).rgba() for level in range(256)]


class Block:
    """A piece of a plane: its pixels, and a QImage that shows the same memory."""

    def __init__(self, y: int, x: int, pixels: NDArray[np.uint8], table: Sequence[int]) -> None:
        """`pixels` is `(Y, X)` for indices into `table`, or `(Y, X, 3)` red, green, blue."""
        self.y, self.x = y, x
        self.pixels = pixels
        height, width = pixels.shape[:2]
        row_bytes = pixels.strides[0]
        depth = 1 if pixels.ndim == 2 else 3
        # QImage wants one flat buffer; a block of a larger array is one with a longer row.
        flat = np.lib.stride_tricks.as_strided(
            pixels, shape=(row_bytes * (height - 1) + width * depth,), strides=(1,)
        )
        kind = QImage.Format.Format_Indexed8 if depth == 1 else QImage.Format.Format_RGB888
        self.image = QImage(flat.data, width, height, row_bytes, kind)
        if depth == 1:
            self.image.setColorTable(table)

    @property
    def rect(self) -> Rect:
        return Rect(self.y, self.x, *self.pixels.shape[:2])

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        if not self.rect.intersect(exposed).empty:
            painter.drawImage(QPoint(self.x, self.y), self.image)


class ImageLayer:
    """The microscope's picture."""

    def __init__(self) -> None:
        self.visible = True
        # Full size first, then the halved ones: lists of blocks in their own pixels.
        self._levels: list[list[Block]] = []

    def clear(self) -> None:
        self._levels = []

    def set_plane(self, loaded: LoadedPlane) -> None:
        self._levels = [list(_cut(level)) for level in (loaded.image, *loaded.overviews)]

    @property
    def blocks(self) -> list[Block]:
        """The blocks at full size."""
        return self._levels[0] if self._levels else []

    def paint(self, painter: QPainter, exposed: Rect, device_zoom: float) -> None:
        """Paint with a painter whose unit is the image pixel; `exposed` is what needs painting.

        `device_zoom`, in device pixels per image pixel, chooses among the halved copies, so that
        no screen pixel skips over more than one pixel of the copy.
        """
        if not self.visible or not self._levels:
            return
        level = 0
        while level + 1 < len(self._levels) and device_zoom * 2**level <= 0.5:
            level += 1
        size = 2**level
        painter.save()
        painter.scale(size, size)
        top, left = exposed.y // size, exposed.x // size
        reduced = Rect(
            top, left, exposed.bottom // size + 1 - top, exposed.right // size + 1 - left
        )
        for block in self._levels[level]:
            block.paint(painter, reduced)
        painter.restore()


def _cut(image: NDArray[np.uint8]) -> Iterator[Block]:
    for y in range(0, image.shape[0], IMAGE_BLOCK):
        for x in range(0, image.shape[1], IMAGE_BLOCK):
            yield Block(y, x, image[y : y + IMAGE_BLOCK, x : x + IMAGE_BLOCK], GREY_TABLE)


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
        """A copy of the pixels of `rect`, which lies inside the plane."""
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


class LabelLayer:
    """What was painted, in the colours of the classes."""

    def __init__(self) -> None:
        self.visible = True
        self._table = label_table([])
        self._plane = _SparsePlane(0, 0, self._table)

    @property
    def blocks(self) -> list[Block]:
        return list(self._plane.blocks.values())

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        self._table = label_table(classes)
        self._plane.set_table(self._table)

    def set_plane(self, annotation: Annotation, plane: PlaneIndex) -> None:
        """Show `plane`; reads its labelled tiles only."""
        self._plane = _SparsePlane(*annotation.shape[2:], self._table)
        for (row, column), tile in annotation.tiles(plane).items():
            height, width = tile.shape
            where = Rect(row * height, column * width, height, width)
            self._plane.write(where, classes_of(tile))

    def clear(self) -> None:
        self._plane = _SparsePlane(0, 0, self._table)

    def refresh(self, annotation: Annotation, plane: PlaneIndex, rect: Rect) -> Rect:
        """Take over the labels inside `rect`; returns the box around those that have changed.

        Looking is cheaper than repainting: a slow stroke changes a thin crescent of its brush.
        """
        rect = rect.intersect(self._plane.rect)
        labels = annotation.read(plane, rect)
        different = labels != self._plane.read(rect)
        rows = np.flatnonzero(different.any(axis=1))
        if not rows.size:
            return Rect(rect.y, rect.x, 0, 0)
        columns = np.flatnonzero(different.any(axis=0))
        self._plane.write(rect, labels)
        top, left = int(rows[0]), int(columns[0])
        return Rect(
            rect.y + top, rect.x + left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
        )

    def paint(self, painter: QPainter, exposed: Rect) -> None:
        if self.visible:
            self._plane.paint(painter, exposed)


def label_table(classes: Sequence[ClassInfo]) -> list[int]:
    """Colours (0xaarrggbb) of the label values: 0 is transparent, unknown classes are white."""
    alpha = round(LABEL_OPACITY * 255)
    table = [_with_alpha("#ffffff", alpha)] * 256
    table[0] = 0
    for value, info in enumerate(classes[:255], start=1):
        table[value] = _with_alpha(_mixed(info.color, "#ffffff", LABEL_WHITE), alpha)
    return table


def prediction_table(color: str, threshold: int, opacity: float) -> list[int]:
    """Colours of the values of a prediction map: transparent below `threshold` (1 to 255)."""
    shown = _with_alpha(_mixed(color, "#000000", PREDICTION_BLACK), round(opacity * 255))
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
        self.plane = PlaneIndex(0, 0)
        self._size = (0, 0)
        self._colors: list[str] = []
        self._maps: list[_SparsePlane] = []
        self._interior: _SparsePlane | None = None

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
        if self.visible and self.opacity > 0:
            for plane in self._maps:
                plane.paint(painter, exposed)

    def _table(self, number: int) -> list[int]:
        color = self._colors[number] if number < len(self._colors) else "#ffffff"
        return prediction_table(color, self.threshold, self.opacity)

    def _rebuild_tables(self) -> None:
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
