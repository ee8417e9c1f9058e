"""The viewport: the canvas that turns mouse, wheel and keys into strokes, pan and zoom."""

from __future__ import annotations

import math
from enum import Enum, auto
from pathlib import Path

from PySide6.QtCore import QEvent, QPointF, Qt, Signal, Slot
from PySide6.QtGui import (
    QDragEnterEvent,
    QDropEvent,
    QEnterEvent,
    QFocusEvent,
    QHideEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QRegion,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QWidget

from app import overlays
from app.canvas import Canvas
from app.document import Document
from unet_core.tiling import Rect

WHEEL_STEP = 120
"""Qt's angle delta of one notch of a mouse wheel."""

ZOOM_PER_STEP = 1.25


class _Drag(Enum):
    """What the pressed mouse button does."""

    NOTHING = auto()
    STROKE = auto()
    PAN = auto()
    ALT = auto()  # a click picks the class, a drag sizes the brush


class Viewport(Canvas):
    """The document's picture, to be painted on."""

    hover = Signal(object)
    """`(y, x)`, the image pixel under the cursor as integers, or None outside the image."""
    files_dropped = Signal(object)
    """A list of Path."""

    def __init__(self, document: Document, parent: QWidget | None = None) -> None:
        super().__init__(document, parent)
        self.setObjectName("viewport")
        self.setAccessibleName("Image")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAcceptDrops(True)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)

        self._drag = _Drag.NOTHING
        self._drag_button = Qt.MouseButton.NoButton
        self._drag_from = QPointF()
        self._drag_brush = 0
        self._space_held = False
        self._cursor: QPointF | None = None
        self._brush_area = QRegion()
        self._wheel_rest = 0.0

        document.stack_changed.connect(self._end_drag)
        document.tool_changed.connect(self._on_tool_changed)
        self._on_tool_changed()

    # --- cursor ------------------------------------------------------------------------------

    @Slot()
    def _on_tool_changed(self) -> None:
        self._update_cursor_shape()
        self._update_brush_preview()

    def _on_picture_changed(self) -> None:
        self._on_tool_changed()
        self._announce_hover()

    def _on_view_moved(self) -> None:
        super()._on_view_moved()
        self._update_brush_preview()

    def _panning_tool(self) -> bool:
        return self._space_held or self.document.tool == "pan"

    def _brush_shown(self) -> bool:
        painting = self.document.tool in ("brush", "eraser") and not self._space_held
        return painting and self._drag is not _Drag.PAN and self.paintable

    def _brush_radius(self) -> float:
        return self.document.brush_diameter * self.camera.zoom / 2

    def _brush_centre(self) -> QPointF:
        """Where the cursor's image point is shown: the circle is where the paint goes."""
        assert self._cursor is not None
        point = self.camera.to_widget(*self.widget_to_image(self._cursor))
        return QPointF(point.x, point.y)

    def _update_brush_preview(self) -> None:
        """Repaint where the circle was and where it is now."""
        before = self._brush_area
        if self._cursor is not None and self._brush_shown():
            self._brush_area = overlays.brush_region(self._brush_centre(), self._brush_radius())
        else:
            self._brush_area = QRegion()
        if self._brush_area != before:
            self.update(before + self._brush_area)

    def _paint_cursor(self, painter: QPainter) -> None:
        if self._cursor is not None and not self._brush_area.isEmpty():
            overlays.paint_brush(painter, self._brush_centre(), self._brush_radius())

    def _update_cursor_shape(self) -> None:
        if self._drag is _Drag.PAN:
            shape = Qt.CursorShape.ClosedHandCursor
        elif self.document.stack is None:
            shape = Qt.CursorShape.ArrowCursor
        elif self._panning_tool():
            shape = Qt.CursorShape.OpenHandCursor
        elif self.document.tool == "pick":
            shape = Qt.CursorShape.CrossCursor
        elif self._brush_shown():
            shape = Qt.CursorShape.BlankCursor  # the circle is the cursor
        else:
            shape = Qt.CursorShape.ArrowCursor
        if self.cursor().shape() != shape:
            self.setCursor(shape)

    def _move_cursor(self, position: QPointF | None) -> None:
        self._cursor = position
        self._update_brush_preview()
        self._announce_hover()

    def _announce_hover(self) -> None:
        pixel = None
        if self._cursor is not None:
            y, x = map(math.floor, self.widget_to_image(self._cursor))
            if not Rect(y, x, 1, 1).intersect(self.document.plane_rect).empty:
                pixel = (y, x)
        self.hover.emit(pixel)

    # --- mouse -------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._move_cursor(event.position())
        if self._drag is not _Drag.NOTHING or self.document.stack is None:
            return
        button, modifiers = event.button(), event.modifiers()
        left = button == Qt.MouseButton.LeftButton
        drag = _Drag.NOTHING
        if button == Qt.MouseButton.MiddleButton or (left and self._panning_tool()):
            drag = _Drag.PAN
        elif left and modifiers & Qt.KeyboardModifier.AltModifier:
            drag = _Drag.ALT
            self._drag_brush = self.document.brush_diameter
        elif left and self.document.tool == "pick":
            self.document.pick_class(*self.widget_to_image(event.position()))
        elif (left or button == Qt.MouseButton.RightButton) and self.paintable:
            drag = _Drag.STROKE
        if drag is _Drag.NOTHING:
            return
        self._drag, self._drag_button, self._drag_from = drag, button, event.position()
        if drag is _Drag.STROKE:
            self.document.begin_stroke(
                *self.widget_to_image(event.position()),
                erase=not left,
                straight=left and bool(modifiers & Qt.KeyboardModifier.ShiftModifier),
            )
        self._on_tool_changed()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        position = event.position()
        if self._drag is not _Drag.NOTHING and not event.buttons() & self._drag_button:
            self._end_drag()  # the release went elsewhere, say to a dialog that opened meanwhile
        if self._drag is _Drag.STROKE:
            self.document.extend_stroke(*self.widget_to_image(position))
        elif self._drag is _Drag.PAN:
            moved = position - self._drag_from
            self._drag_from = position
            self.camera.pan(moved.y(), moved.x())
            self._on_view_moved()
        elif self._drag is _Drag.ALT and self._has_moved(position):
            change = (position.x() - self._drag_from.x()) / self.camera.zoom
            self.document.set_brush_diameter(round(self._drag_brush + change))
        self._move_cursor(position)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._drag is _Drag.NOTHING or event.button() != self._drag_button:
            return
        if self._drag is _Drag.STROKE:
            self.document.extend_stroke(*self.widget_to_image(event.position()))
        elif (
            self._drag is _Drag.ALT
            and self.document.brush_diameter == self._drag_brush
            and not self._has_moved(event.position())
        ):
            self.document.pick_class(*self.widget_to_image(event.position()))
        self._end_drag()
        self._move_cursor(event.position())

    def _has_moved(self, position: QPointF) -> bool:
        """Whether the mouse has left the place of the press: a drag and not a click."""
        distance = (position - self._drag_from).manhattanLength()
        return distance >= QApplication.startDragDistance()

    @Slot()
    def _end_drag(self) -> None:
        if self._drag is _Drag.STROKE:
            self.document.end_stroke()
        self._drag = _Drag.NOTHING
        self._on_tool_changed()

    def enterEvent(self, event: QEnterEvent) -> None:
        self._move_cursor(event.position())

    def leaveEvent(self, event: QEvent) -> None:
        self._move_cursor(None)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.document.stack is None:
            return
        # Alt and, on macOS, Shift turn the wheel's axis.
        delta = event.angleDelta().y() or event.angleDelta().x()
        modifiers = event.modifiers()
        if modifiers & Qt.KeyboardModifier.ControlModifier:
            if steps := self._whole_steps(delta):
                self._step_plane(steps)
        elif modifiers & Qt.KeyboardModifier.ShiftModifier:
            if steps := self._whole_steps(delta):
                self.document.step_brush(steps)
        elif delta:
            self.zoom_at(ZOOM_PER_STEP ** (delta / WHEEL_STEP), event.position())
        event.accept()

    def _step_plane(self, steps: int) -> None:
        """Through the slices, or through time where there is one slice only."""
        assert self.document.stack is not None
        if self.document.stack.shape[1] > 1:
            self.document.step_z(steps)
        else:
            self.document.step_t(steps)

    def _whole_steps(self, delta: int) -> int:
        """Notches of the wheel; touchpads send them in small parts, which are summed up."""
        if self._wheel_rest * delta < 0:
            self._wheel_rest = 0.0
        self._wheel_rest += delta
        steps = int(self._wheel_rest / WHEEL_STEP)
        self._wheel_rest -= steps * WHEEL_STEP
        return steps

    # --- keys, focus, drops ------------------------------------------------------------------

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            # These keys are the viewport's own while it has the focus, whatever they mean outside.
            cancels = event.key() == Qt.Key.Key_Escape and self.document.stroking
            if cancels or event.key() == Qt.Key.Key_Space:
                event.accept()
                return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space:
            if not event.isAutoRepeat():
                self._hold_space(True)
        elif event.key() == Qt.Key.Key_Escape and self.document.stroking:
            self.document.cancel_stroke()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space:
            if not event.isAutoRepeat():
                self._hold_space(False)
        else:
            super().keyReleaseEvent(event)

    def _hold_space(self, held: bool) -> None:
        self._space_held = held
        self._on_tool_changed()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._hold_space(False)
        super().focusOutEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:
        self._end_drag()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        urls = event.mimeData().urls()
        event.acceptProposedAction()
        self.files_dropped.emit([Path(url.toLocalFile()) for url in urls if url.isLocalFile()])
