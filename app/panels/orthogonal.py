"""A stack seen from the side: an XZ and a YZ cut through one point."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget

from app import overlays
from app.block import Block
from app.panels.base import Panel
from app.slices import Cut, Cuts

FLATTEST = 5.0
"""The stack is shown so many times as wide as deep at most, or as deep as wide: of a flat one there
would be nothing to see or to click on. Then z is out of scale, and the panel says so."""


COARSE = 6.0
"""Where a slice or pixel is so many logical pixels thick, borders of cells are left out: they would
be as thick, and of a cell in few slices there would be nothing else to see."""


class CutView(QWidget):
    """One cut, as large as there is room, with lines through the point; clicks move the point.

    Positions are voxels of the stack, across and down.
    """

    chosen = Signal(int, int)
    """The voxel, across and down, that was clicked or dragged to."""

    def __init__(self, name: str, label: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setAccessibleName(label)
        self.setToolTip("Click or drag to go there")
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setMinimumHeight(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._cut: Cut | None = None
        self._voxels = QSize(1, 1)
        self._step = 1, 1
        self._aspect = 1.0
        self._point: tuple[int, int] | None = None
        self._table: Sequence[int] = ()

    def sizeHint(self) -> QSize:
        return QSize(260, 170)

    def show_cut(self, cut: Cut | None, step: tuple[int, int] = (1, 1)) -> None:
        """Show `cut`, each of whose pixels stands for `step` voxels, across and down."""
        self._cut, self._step = cut, step
        self.update()

    def set_size(self, across: int, down: int, aspect: float) -> None:
        """How many voxels there are, and how many times as high as wide each is."""
        self._voxels = QSize(across, down)
        self._aspect = aspect
        self.update()

    def set_point(self, across: int, down: int) -> None:
        """Draw the lines through this voxel."""
        if self._point != (across, down):
            self._point = across, down
            self.update()

    def set_labels(self, table: Sequence[int]) -> None:
        """Show labels in these colours, see `layers.label_table`; not at all if it is empty."""
        self._table = table
        self.update()

    # --- where things are --------------------------------------------------------------------

    @property
    def area(self) -> QRectF:
        """Where in the widget all the voxels are shown."""
        width, height = self._voxels.width(), self._voxels.height() * self._aspect
        scale = min(self.width() / width, self.height() / height)
        return QRectF(0, 0, width * scale, height * scale)

    def place_of(self, across: int, down: int) -> QPointF:
        """Where the middle of a voxel is shown."""
        area = self.area
        return QPointF(
            area.x() + (across + 0.5) * area.width() / self._voxels.width(),
            area.y() + (down + 0.5) * area.height() / self._voxels.height(),
        )

    def voxel_at(self, position: QPointF) -> tuple[int, int]:
        """The voxel, across and down, that is nearest to a point of the widget."""
        area = self.area
        across = math.floor((position.x() - area.x()) * self._voxels.width() / area.width())
        down = math.floor((position.y() - area.y()) * self._voxels.height() / area.height())
        return (
            min(max(across, 0), self._voxels.width() - 1),
            min(max(down, 0), self._voxels.height() - 1),
        )

    # --- mouse and painting ------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton and self._point is not None:
            self.chosen.emit(*self.voxel_at(event.position()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self.mousePressEvent(event)

    def paintEvent(self, _event: QPaintEvent) -> None:
        if self._cut is None:
            return
        painter = QPainter(self)
        area, cut = self.area, self._cut
        # The last row or column of a coarse cut may stand for more voxels than there are.
        part = QRectF(
            0, 0, self._voxels.width() / self._step[0], self._voxels.height() / self._step[1]
        )
        image = Block(0, 0, cut.image).image
        painter.setRenderHint(
            QPainter.RenderHint.SmoothPixmapTransform,
            image.width() > area.width() or image.height() > area.height(),
        )
        painter.drawImage(area, image, part)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
        if self._table and cut.labels.any():
            coarse = max(area.width() / part.width(), area.height() / part.height()) > COARSE
            table = borderless(self._table) if coarse else self._table
            painter.drawImage(area, Block(0, 0, cut.labels, table).image, part)
        if self._point is not None:
            overlays.paint_cross_lines(painter, area, self.place_of(*self._point))


def borderless(table: Sequence[int]) -> list[int]:
    """A `layers.label_table` in which borders look like what they enclose, if that shows."""
    half = len(table) // 2
    areas, borders = table[:half], table[half:]
    return [*areas, *(area or border for area, border in zip(areas, borders, strict=True))]


class OrthogonalPanel(Panel):
    """XZ with z downwards, as below the image; YZ with z to the right, as beside it."""

    xz_chosen = Signal(int, int)
    """The x and z that was clicked."""
    yz_chosen = Signal(int, int)
    """The z and y that was clicked."""

    def __init__(self) -> None:
        super().__init__("Orthogonal views", "orthogonalPanel", growing=True, closable=True)
        self.xz = CutView("xzView", "Cut along x and z")
        self.yz = CutView("yzView", "Cut along y and z")
        self.xz_title, self.yz_title = QLabel(), QLabel()
        self._stretch = 1.0
        """How many times too long z is drawn."""
        self.state = QLabel()
        self.state.setObjectName("orthogonalState")
        self.state.setWordWrap(True)
        self.state.setProperty("faint", True)
        policy = self.state.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # the views keep their size while this comes and goes
        self.state.setSizePolicy(policy)
        for title, view in ((self.xz_title, self.xz), (self.yz_title, self.yz)):
            self.column.addWidget(title)
            self.column.addWidget(view, 1)
        self.column.addWidget(self.state)
        self.finish()
        self.xz.chosen.connect(self.xz_chosen)
        self.yz.chosen.connect(self.yz_chosen)

    def set_stack(
        self, depth: int, height: int, width: int, pixel_size: tuple[float, float, float] | None
    ) -> None:
        """Another image, in voxels; `pixel_size` (z, y, x) in any unit, None if not known."""
        z, y, x = pixel_size or (1.0, 1.0, 1.0)
        flatness = max(width * x, height * y) / (depth * z)
        self._stretch = flatness / min(max(flatness, 1 / FLATTEST), FLATTEST)
        z *= self._stretch
        self.xz.set_size(width, depth, z / x)
        self.yz.set_size(depth, height, y / z)
        # Each gets a height that fits its shape.
        for view, ratio in (
            (self.xz, depth * z / (width * x)),
            (self.yz, height * y / (depth * z)),
        ):
            self.column.setStretchFactor(view, round(100 * min(max(ratio, 1 / 3), 3)))
        self.clear()

    def clear(self) -> None:
        """Show no cut, until the next one comes."""
        for view in (self.xz, self.yz):
            view.show_cut(None)
        self.set_state("")

    def set_point(self, z: int, y: int, x: int) -> None:
        """Where the two cuts and the shown plane meet."""
        self.xz.set_point(x, z)
        self.yz.set_point(z, y)
        self.xz_title.setText(f"XZ at y {y}")
        self.yz_title.setText(f"YZ at x {x}")

    def show_cuts(self, cuts: Cuts) -> None:
        grid = cuts.grid
        self.xz.show_cut(cuts.xz, (grid.x, grid.z))
        self.yz.show_cut(cuts.yz, (grid.z, grid.y))
        said = []
        if cuts.share < 1:
            said.append(f"Reading… {math.floor(100 * cuts.share)} %")
        if grid.z > 1:
            said.append(f"Every {_ordinal(grid.z)} slice is shown.")
        if max(grid.y, grid.x) > 1:
            said.append(f"Every {_ordinal(max(grid.y, grid.x))} pixel is shown.")
        if self._stretch > 1:
            said.append(f"Z is drawn {_times(self._stretch)} times too long.")
        elif self._stretch < 1:
            said.append(f"Z is drawn {_times(1 / self._stretch)} times too short.")
        self.set_state(" ".join(said))

    def set_state(self, text: str) -> None:
        """What there is to say, or nothing."""
        self.state.setText(text)
        self.state.setVisible(bool(text))

    def set_labels(self, table: Sequence[int]) -> None:
        """See `CutView.set_labels`."""
        self.xz.set_labels(table)
        self.yz.set_labels(table)


def _times(factor: float) -> str:
    """1.5 -> "1.5", 136.53 -> "137": two digits or more, never as a power of ten."""
    return f"{factor:.2g}" if factor < 99.5 else f"{factor:,.0f}"


def _ordinal(number: int) -> str:
    """2 -> "2nd"."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    teens = 10 <= number % 100 < 20
    return f"{number}{'th' if teens else endings.get(number % 10, 'th')}"
