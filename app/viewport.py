"""The viewport: the canvas that turns mouse, wheel and keys into strokes, pan and zoom."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QCoreApplication, QEvent, QPointF, QRect, Qt, QTimer, Signal, Slot
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
    QTabletEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QWidget

from app import overlays
from app.canvas import Canvas
from app.document import Document
from app.hold_keys import REPEAT_MS
from app.sketch import Sketch
from unet_core.freehand import FreehandPath
from unet_core.tiling import Rect

WHEEL_STEP = 120
"""Qt's angle delta of one notch of a mouse wheel."""

ZOOM_PER_STEP = 1.25

HOVER_INTERVAL_MS = 100
"""While painting, `hover` comes at most this often, and always once more at the end."""

CLOSE_REACH = 10
"""A click this near to a polygon's first corner, in logical pixels, closes it."""

SKETCHING = ("polygon", "merge", "split", "complete")
"""Tools that draw something first, which is carried out when it is finished."""
KEYBOARD_REASONS = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)
COMPRESSING = (
    Qt.ApplicationAttribute.AA_CompressHighFrequencyEvents,
    Qt.ApplicationAttribute.AA_CompressTabletEvents,
)
"""With these Qt gives, of the moves that come while the window is busy, only the last: as it does
by itself on X11."""
SKETCH_KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Backspace)

RightDrag = Literal["erase", "encircle", "paint"]
Wheel = Literal["zoom", "slice"]
ShiftWheel = Literal["brush", "time"]
CtrlPress = Literal["paint", "delete", "pan"]


class _Drag(Enum):
    """What the pressed mouse button does."""

    NOTHING = auto()
    STROKE = auto()
    PAN = auto()
    ALT = auto()  # a click picks the class, a drag sizes the brush
    SKETCH = auto()  # a line, polygon or box that is carried out when it is finished


class Viewport(Canvas):
    """The document's picture, to be painted on."""

    hover = Signal(object)
    """`(y, x)`, the image pixel under the cursor as integers, or None outside the image; while
    painting the newest one, about ten times a second: nobody reads faster."""
    files_dropped = Signal(object)
    """A list of Path."""
    stroke_begun = Signal()
    """Painting begins, or erasing."""
    fill_asked = Signal(float, float)
    """Fill at the image point `(y, x)`."""
    delete_asked = Signal(float, float)
    """Delete the cell at the image point `(y, x)`."""
    sketched = Signal(str, object)
    """A tool ("polygon", "merge", "split", "complete") and the `(y, x)` points drawn with it."""

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
        self._compressed: list[Qt.ApplicationAttribute] = []
        self._space_held = False
        self._space_up = QTimer(self, singleShot=True, interval=REPEAT_MS)
        self._space_up.timeout.connect(lambda: self._hold_space(False))
        self._cursor: QPointF | None = None
        self._brush_centre = QPointF()
        self._brush_boxes: list[QRect] = []
        self._hover_timer = QTimer(self, singleShot=True, interval=HOVER_INTERVAL_MS)
        self._hover_timer.timeout.connect(self._announce_hover)
        self._wheel_rest = 0.0
        self._pen: FreehandPath | None = None
        self._pressure = 1.0
        self._sketch = Sketch()
        self.pressure_sizes = False
        """Whether the pressure of a pen makes the brush smaller."""
        self.right_drag: RightDrag = "erase"
        self.wheel: Wheel = "zoom"
        self.shift_erases = False
        """Whether Shift makes the brush an eraser; else Shift+click draws a straight stroke."""
        self.shift_wheel: ShiftWheel = "brush"
        """What Shift+wheel changes: the brush's size, or the time point."""
        self.ctrl_press: CtrlPress = "paint"
        """What the left button does with Ctrl: the same as without, or delete a cell, or pan."""
        self._framed = False

        document.stack_changed.connect(self._end_drag)
        document.stack_changed.connect(self.discard_sketch)
        document.plane_changed.connect(self.discard_sketch)
        document.tool_changed.connect(self._on_another_tool)
        self._on_tool_changed()

    # --- cursor ------------------------------------------------------------------------------

    @Slot()
    def _on_tool_changed(self) -> None:
        self._update_cursor_shape()
        self._update_brush_preview()

    @Slot()
    def _on_another_tool(self) -> None:
        # The brush's size may have changed in the middle of an encircling with the right button.
        if self._drag is _Drag.NOTHING and self._sketch.tool not in ("", self.document.tool):
            self.discard_sketch()
        self._on_tool_changed()

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

    def _update_brush_preview(self) -> None:
        """Repaint where the circle was and where it is now."""
        before = self._brush_boxes
        if self._cursor is not None and self._brush_shown():
            # Where the cursor's image point is shown: the circle is where the paint goes.
            point = self.camera.to_widget(*self.widget_to_image(self._cursor))
            self._brush_centre = QPointF(point.x, point.y)
            self._brush_boxes = overlays.brush_boxes(self._brush_centre, self._brush_radius())
        else:
            self._brush_boxes = []
        if self._brush_boxes == before:
            return
        boxes = before + self._brush_boxes
        if len(boxes) == 2 and boxes[0].intersects(boxes[1]):
            self.update(boxes[0].united(boxes[1]))  # one box is painted faster than two
            return
        region = QRegion()
        for box in boxes:
            region += box
        self.update(region)

    def _paint_cursor(self, painter: QPainter) -> None:
        if self._framed:
            overlays.paint_focus_frame(painter, self.rect(), self.palette().highlight().color())
        if self._sketch.tool:
            points = [self.camera.to_widget(*point) for point in self._sketch.points]
            overlays.paint_sketch(
                painter,
                [QPointF(x, y) for y, x in points],
                self._cursor,
                self._sketch.tool,
                self.document.classes[self.document.active_class - 1].color,
            )
        if self._brush_boxes:
            ratio = self.devicePixelRatioF()
            overlays.paint_brush(painter, self._brush_centre, self._brush_radius(), ratio)

    def _update_cursor_shape(self) -> None:
        if self._drag is _Drag.PAN:
            shape = Qt.CursorShape.ClosedHandCursor
        elif self.document.stack is None:
            shape = Qt.CursorShape.ArrowCursor
        elif self._panning_tool():
            shape = Qt.CursorShape.OpenHandCursor
        elif self.document.tool in ("pick", "fill", *SKETCHING):
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
        if self._drag is _Drag.STROKE:
            self._announce_hover_soon()  # the paint comes first
        else:
            self._announce_hover()

    @property
    def hovered(self) -> tuple[int, int] | None:
        """`(y, x)`, the image pixel under the cursor; None outside the image."""
        if self._cursor is None:
            return None
        y, x = map(math.floor, self.widget_to_image(self._cursor))
        outside = Rect(y, x, 1, 1).intersect(self.document.plane_rect).empty
        return None if outside else (y, x)

    @Slot()
    def _announce_hover(self) -> None:
        self._hover_timer.stop()
        self.hover.emit(self.hovered)

    def _announce_hover_soon(self) -> None:
        if not self._hover_timer.isActive():
            self._hover_timer.start()

    # --- mouse -------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._move_cursor(event.position())
        if self._drag is not _Drag.NOTHING or self.document.stack is None:
            return
        button, modifiers = event.button(), event.modifiers()
        left = button == Qt.MouseButton.LeftButton
        drag = _Drag.NOTHING
        ctrl = self.ctrl_press if left and modifiers & Qt.KeyboardModifier.ControlModifier else ""
        pans = left and (self._panning_tool() or ctrl == "pan")
        if button == Qt.MouseButton.MiddleButton or pans:
            drag = _Drag.PAN
        elif left and modifiers & Qt.KeyboardModifier.AltModifier:
            drag = _Drag.ALT
            self._drag_brush = self.document.brush_diameter
        elif left and self.document.tool == "pick":
            self.document.pick_class(*self.widget_to_image(event.position()))
        elif not self.paintable:
            return
        elif ctrl == "delete":
            # The second press of a double click would reject what is predicted below the cell.
            if event.type() == QEvent.Type.MouseButtonPress:
                self.delete_asked.emit(*self.widget_to_image(event.position()))
        elif left and self.document.tool == "fill":
            self.fill_asked.emit(*self.widget_to_image(event.position()))
        elif left and self.document.tool in SKETCHING:
            drag = _Drag.SKETCH
        elif button == Qt.MouseButton.RightButton and self._sketch.tool:
            self._change_sketch(self._sketch.drop_last)
        elif button == Qt.MouseButton.RightButton and self.right_drag == "encircle":
            drag = _Drag.SKETCH
        elif left or button == Qt.MouseButton.RightButton:
            drag = _Drag.STROKE
        if drag is _Drag.NOTHING:
            return
        self._drag, self._drag_button, self._drag_from = drag, button, event.position()
        if drag in (_Drag.STROKE, _Drag.SKETCH):
            self._take_every_move()
        if drag is _Drag.STROKE:
            self._begin_stroke(event)
        elif drag is _Drag.SKETCH:
            self._press_sketch(event.position(), self.document.tool if left else "polygon")
        self._on_tool_changed()

    def _take_every_move(self) -> None:
        """Until the drag ends: a curve drawn quickly would have corners."""
        self._compressed = [one for one in COMPRESSING if QCoreApplication.testAttribute(one)]
        for attribute in self._compressed:
            QCoreApplication.setAttribute(attribute, False)

    def _begin_stroke(self, event: QMouseEvent) -> None:
        left = event.button() == Qt.MouseButton.LeftButton
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        erase = shift and self.shift_erases if left else self.right_drag == "erase"
        point = self.widget_to_image(event.position())
        self._pen = None
        if self.document.smoothing:
            # From one screen pixel to the next, however many of the image lie between.
            spacing = max(1.0, 1 / self.camera.zoom)
            self._pen = FreehandPath(self.document.smoothing / self.camera.zoom, spacing)
            self._pen.to(*point)
        self.document.begin_stroke(
            *point,
            erase=erase,
            straight=left and shift and not self.shift_erases,
            diameter=self._pressed_diameter(),
        )
        self.stroke_begun.emit()

    def _pressed_diameter(self) -> int | None:
        """The brush's diameter under a pen's pressure, None where that does not matter."""
        if not self.pressure_sizes or self._pressure >= 1:
            return None
        return max(1, round(self.document.brush_diameter * self._pressure))

    def _extend_stroke(self, position: QPointF) -> None:
        point = self.widget_to_image(position)
        diameter = self._pressed_diameter()
        if self._pen is None:
            self.document.extend_stroke(*point, diameter=diameter)
            return
        for y, x in self._pen.to(*point).tolist():
            self.document.extend_stroke(y, x, diameter=diameter)

    def tabletEvent(self, event: QTabletEvent) -> None:
        """Remember the pressure; the mouse event that follows does the rest."""
        released = event.type() == QEvent.Type.TabletRelease
        self._pressure = 1.0 if released else max(event.pressure(), 0.02)
        event.ignore()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        position = event.position()
        if self._drag is not _Drag.NOTHING and self._drag_button not in event.buttons():
            self._end_drag()  # the release went elsewhere, say to a dialog that opened meanwhile
        if self._drag is _Drag.STROKE:
            self._extend_stroke(position)
        elif self._drag is _Drag.PAN:
            moved = position - self._drag_from
            self._drag_from = position
            self.camera.pan(moved.y(), moved.x())
            self._on_view_moved()
        elif self._drag is _Drag.ALT and self._has_moved(position):
            change = (position.x() - self._drag_from.x()) / self.camera.zoom
            self.document.set_brush_diameter(round(self._drag_brush + change))
        elif self._drag is _Drag.SKETCH and self._has_moved(position):
            self._change_sketch(lambda: self._sketch.drag_to(self.widget_to_image(position)))
        elif self._sketch.tool:
            self.update()  # the line to the cursor
        self._move_cursor(position)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._drag is _Drag.NOTHING or event.button() != self._drag_button:
            return
        if self._drag is _Drag.STROKE:
            self._extend_stroke(event.position())
        elif self._drag is _Drag.SKETCH:
            self._release_sketch()
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
            if self._pen is not None and self.document.stroking:
                for y, x in self._pen.finish().tolist():
                    self.document.extend_stroke(y, x)
            self.document.end_stroke()
        self._drag = _Drag.NOTHING
        for attribute in self._compressed:
            QCoreApplication.setAttribute(attribute)
        self._compressed = []
        self._on_tool_changed()

    # --- polygons, lines, boxes --------------------------------------------------------------

    def _press_sketch(self, position: QPointF, tool: str) -> None:
        point = self.widget_to_image(position)
        if self._sketch.tool != "polygon":
            self._change_sketch(lambda: self._sketch.begin(tool, point))
        elif self._closes(position):
            self.finish_sketch()
        else:
            self._change_sketch(lambda: self._sketch.add(point))

    def _closes(self, position: QPointF) -> bool:
        """Whether a click at `position` is back where the polygon began."""
        if len(self._sketch.points) < 3:
            return False
        y, x = self.camera.to_widget(*self._sketch.points[0])
        return (position - QPointF(x, y)).manhattanLength() <= CLOSE_REACH

    def _release_sketch(self) -> None:
        if self._sketch.tool != "polygon" or self._sketch.drawn_at_once:
            self.finish_sketch()
        elif self.document.tool != "polygon":
            self.discard_sketch()  # a mere click with the button that encircles
        # Else corner by corner: the next click goes on.

    def _change_sketch(self, change: Callable[[], None]) -> None:
        change()
        self.update()

    @Slot()
    def finish_sketch(self) -> None:
        """Carry out what has been drawn."""
        tool, points = self._sketch.tool, self._sketch.points
        self.discard_sketch()
        if tool:
            self.sketched.emit(tool, points)

    @Slot()
    def discard_sketch(self) -> None:
        """Forget what has been drawn and not carried out."""
        if self._sketch.tool:
            self._sketch = Sketch()
            self.update()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """In a polygon the last corner; else a click like any other."""
        if self._sketch.tool == "polygon" and event.button() == Qt.MouseButton.LeftButton:
            self.finish_sketch()
        else:
            self.mousePressEvent(event)

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
        control = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
        if modifiers & Qt.KeyboardModifier.ShiftModifier:
            if steps := self._whole_steps(delta):
                sizes = self.shift_wheel == "brush"
                (self.document.step_brush if sizes else self.document.step_t)(steps)
        elif control == (self.wheel == "zoom"):
            if steps := self._whole_steps(delta):
                tenfold = bool(modifiers & Qt.KeyboardModifier.AltModifier)
                self._step_plane(10 * steps if tenfold else steps)
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
            pending = self.document.stroking or bool(self._sketch.tool)
            own = event.key() in SKETCH_KEYS if self._sketch.tool else False
            cancels = event.key() == Qt.Key.Key_Escape and pending
            if own or cancels or event.key() == Qt.Key.Key_Space:
                event.accept()
                return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space:
            self._space_up.stop()
            if not self._space_held:
                self._hold_space(True)
        elif event.key() == Qt.Key.Key_Escape and self.document.stroking:
            self.document.cancel_stroke()
        elif self._sketch.tool and event.key() == Qt.Key.Key_Escape:
            self.discard_sketch()
        elif self._sketch.tool and event.key() == Qt.Key.Key_Backspace:
            self._change_sketch(self._sketch.drop_last)
        elif self._sketch.tool and event.key() in SKETCH_KEYS:
            self.finish_sketch()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space:
            if not event.isAutoRepeat():
                self._space_up.start()
        else:
            super().keyReleaseEvent(event)

    def _hold_space(self, held: bool) -> None:
        self._space_up.stop()
        self._space_held = held
        self._on_tool_changed()

    def focusInEvent(self, event: QFocusEvent) -> None:
        # Like buttons: who came here by the keyboard sees where the keyboard is.
        self._frame(event.reason() in KEYBOARD_REASONS)
        super().focusInEvent(event)

    def _frame(self, framed: bool) -> None:
        if framed != self._framed:
            self._framed = framed
            self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._hold_space(False)
        self._frame(False)
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
