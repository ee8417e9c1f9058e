"""The image layer: the microscope's picture, at full size and halved again and again.

Of a plane that is too large to be read whole: its overview, and the blocks that are in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QPainter

from app.block import Block
from app.large_plane import Where, block_side, blocks_in
from app.loader import LoadedPlane, Piece, View
from unet_core.tiling import Rect

IMAGE_BLOCK = 4096
"""Side of an image block in pixels."""


class ImageLayer:
    """The microscope's picture."""

    def __init__(self) -> None:
        self.visible = True
        # By level, how many times it was halved: blocks in their own pixels.
        self._levels: dict[int, list[Block]] = {}
        self._loaded: LoadedPlane | None = None
        self._pieces: dict[Where, tuple[Piece, Block]] = {}
        # What is looked at: the level, the surroundings of the view, and the blocks.
        self._near = 0, Rect(0, 0, 0, 0)
        self._wanted = View((), ())

    def clear(self) -> None:
        self._levels = {}
        self._loaded = None
        self._pieces = {}

    def set_plane(self, loaded: LoadedPlane) -> None:
        before, self._loaded = self._loaded, loaded
        if before is None or loaded.large is None or before.large is not loaded.large:
            self._pieces = {}
        pictures = enumerate((loaded.image, *loaded.overviews), loaded.level)
        self._levels = {level: list(_cut(picture)) for level, picture in pictures}
        self.put(loaded.pieces)

    @property
    def blocks(self) -> list[Block]:
        """The blocks at full size; of a large plane those of its overview."""
        return self._levels[min(self._levels)] if self._levels else []

    def level_for(self, device_zoom: float) -> int:
        """Which of the halved copies to show, at `device_zoom` device pixels per image pixel, so
        that no screen pixel skips over more than one pixel of the copy."""
        level, last = 0, max(self._levels, default=0)
        while level < last and device_zoom * 2**level <= 0.5:
            level += 1
        return level

    # --- large planes ------------------------------------------------------------------------

    def look_at(self, view: Rect, device_zoom: float) -> View | None:
        """What is wanted to show `view`; blocks far from it are dropped. None where all is there
        anyway."""
        if self._loaded is None or self._loaded.large is None:
            return None
        level = self.level_for(device_zoom)
        self._near = level, view.expand(block_side(level))
        wanted = blocks_in(view, level) if level < self._loaded.level else []
        missing = [at for at in wanted if not self._current(at)]
        self._wanted = View(tuple(wanted), tuple(missing))
        self._drop()
        return self._wanted

    def _drop(self) -> None:
        """Let go of blocks that are far from the view, and of too fine ones once they are not
        needed to stand in for others."""
        level, near = self._near
        missing = not all(at in self._pieces for at in self._wanted.wanted)
        self._pieces = {
            at: known
            for at, known in self._pieces.items()
            if (at.level >= level or missing) and not at.full_rect.intersect(near).empty
        }

    def _current(self, at: Where) -> bool:
        """Whether a block is there, in the colours in force."""
        known = self._pieces.get(at)
        return (
            known is not None
            and self._loaded is not None
            and (known[0].number >= self._loaded.number)
        )

    def put(self, pieces: Iterable[Piece]) -> Rect:
        """Take over blocks of the plane shown; returns the box around what looks different now."""
        box = Rect(0, 0, 0, 0)
        for piece in pieces:
            if self._loaded is None or piece.plane != self._loaded.plane:
                continue
            known = self._pieces.get(piece.at)
            if known is not None and known[0].number > piece.number:
                continue
            y, x = piece.at.rect[:2]
            self._pieces[piece.at] = piece, Block(y, x, piece.image)
            box = box.union(piece.at.full_rect)
        self._drop()
        return box

    # --- painting ----------------------------------------------------------------------------

    def paint(self, painter: QPainter, exposed: Rect, device_zoom: float) -> None:
        """Paint with a painter whose unit is the image pixel; `exposed` is what needs painting."""
        if not self.visible or not self._levels:
            return
        level = self.level_for(device_zoom)
        coarsest = min(self._levels)
        if level >= coarsest:
            _paint(painter, exposed, level, self._levels[level])
            return
        # For what is not there yet, coarser and finer blocks stand in.
        if not all(at in self._pieces for at in blocks_in(self._inside(exposed), level)):
            _paint(painter, exposed, coarsest, self._levels[coarsest])
            for other in [*range(coarsest - 1, level, -1), *range(level)]:
                _paint(painter, exposed, other, self._pieces_of(other))
        _paint(painter, exposed, level, self._pieces_of(level))

    def _inside(self, rect: Rect) -> Rect:
        assert self._loaded is not None
        return rect.intersect(Rect(0, 0, *self._loaded.size))

    def _pieces_of(self, level: int) -> list[Block]:
        return [block for at, (_, block) in self._pieces.items() if at.level == level]


def _paint(painter: QPainter, exposed: Rect, level: int, blocks: Iterable[Block]) -> None:
    """Paint blocks of the plane halved `level` times."""
    if level == 0:
        for block in blocks:
            block.paint(painter, exposed)
        return
    size = 2**level
    painter.save()
    painter.scale(size, size)
    top, left = exposed.y // size, exposed.x // size
    reduced = Rect(top, left, exposed.bottom // size + 1 - top, exposed.right // size + 1 - left)
    for block in blocks:
        block.paint(painter, reduced)
    painter.restore()


def _cut(image: NDArray[np.uint8]) -> Iterator[Block]:
    for y in range(0, image.shape[0], IMAGE_BLOCK):
        for x in range(0, image.shape[1], IMAGE_BLOCK):
            yield Block(y, x, image[y : y + IMAGE_BLOCK, x : x + IMAGE_BLOCK])
