"""The document: the only mutable truth of the window.

Panels, viewport, engine and saver listen to its signals and call its methods; none of them keeps
a second copy of what is here. It lives in the GUI thread and reads no image pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal

from unet_core.annotation import (
    DEFAULT_CLASSES,
    MAX_CLASSES,
    TILE,
    Annotation,
    AnnotationError,
    ClassInfo,
    Edit,
    History,
    Stroke,
)
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

Tool = Literal["brush", "eraser", "pan", "pick"]

MAX_BRUSH = 999
"""Largest brush diameter in pixels."""

UNLABELLED = 0
FIRST_CELL_CLASS = 2


class Document(QObject):
    """The open stack, its annotation and undo history, and what the user has chosen."""

    stack_changed = Signal()
    plane_changed = Signal()
    labels_changed = Signal(object, object)
    """PlaneIndex and Rect: these labels may differ from before."""
    edited = Signal(object)
    """A new Edit, just finished and already in `history`: to be saved."""
    undone = Signal()
    redone = Signal()
    history_changed = Signal()
    counts_changed = Signal()
    classes_changed = Signal()
    """Names, colours, number of classes, or which one is active."""
    tool_changed = Signal()
    """The tool or the brush's size."""
    channels_changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stack: Stack | None = None
        self.ranges: NDArray[np.float32] = np.zeros((0, 2), np.float32)
        """`(C, 2)`: the intensities shown as black and as full brightness, per channel."""
        self.annotation = Annotation((1, 1, 1, 1))
        self.history = History()
        self.classes: list[ClassInfo] = list(DEFAULT_CLASSES)
        """Class of value v is `classes[v - 1]`; the first is the background."""
        self.plane = PlaneIndex(0, 0)
        self.active_class = FIRST_CELL_CLASS
        """Value that the brush paints, 1 up to the number of classes."""
        self.brush_diameter = 20
        self.tool: Tool = "brush"
        self.visible_channels: list[bool] = []
        self._stroke: Stroke | None = None
        self._stroke_end: tuple[PlaneIndex, float, float] | None = None

    # --- stack and plane ---------------------------------------------------------------------

    def set_stack(
        self,
        stack: Stack | None,
        ranges: NDArray[np.float32] | None = None,
        annotation: Annotation | None = None,
        history: History | None = None,
        classes: list[ClassInfo] | None = None,
    ) -> None:
        """Show `stack` from its first plane on, with nothing labelled unless `annotation` is given.

        `ranges` is `(C, 2)` in the stack's units. A stroke in progress is finished on the old
        stack. The old stack is not closed: others may still be reading it.
        """
        self.end_stroke()
        shape = stack.shape if stack is not None else (1, 1, 0, 1, 1)
        if ranges is None:
            ranges = np.tile(np.array([0, 1], np.float32), (shape[2], 1))
        if ranges.shape != (shape[2], 2):
            raise ValueError(f"{shape[2]} channels need ranges ({shape[2]}, 2), not {ranges.shape}")
        labelled_shape = (shape[0], shape[1], shape[3], shape[4])
        if annotation is not None and tuple(annotation.shape) != labelled_shape:
            raise ValueError(f"labels of {annotation.shape} do not fit a stack of {shape}")
        self.stack = stack
        self.ranges = ranges
        self.annotation = annotation or Annotation(labelled_shape)
        self.history = history or History()
        self.classes = list(classes or DEFAULT_CLASSES)
        self.active_class = min(FIRST_CELL_CLASS, len(self.classes))
        self.visible_channels = [True] * shape[2]
        self.plane = PlaneIndex(0, 0)
        self._stroke_end = None
        self.stack_changed.emit()
        self.channels_changed.emit()
        self.classes_changed.emit()
        self.plane_changed.emit()
        self.history_changed.emit()
        self.counts_changed.emit()

    @property
    def plane_rect(self) -> Rect:
        """The whole plane; empty without a stack."""
        if self.stack is None:
            return Rect(0, 0, 0, 0)
        return Rect(0, 0, self.stack.shape[3], self.stack.shape[4])

    def set_plane(self, t: int, z: int) -> None:
        """Go to the plane nearest to `t`, `z` that exists. A stroke in progress is finished."""
        if self.stack is None:
            return
        times, depths = self.stack.shape[:2]
        plane = PlaneIndex(min(max(t, 0), times - 1), min(max(z, 0), depths - 1))
        if plane == self.plane:
            return
        self.end_stroke()
        self.plane = plane
        self._stroke_end = None
        self.plane_changed.emit()

    def step_z(self, steps: int) -> None:
        self.set_plane(self.plane.t, self.plane.z + steps)

    def step_t(self, steps: int) -> None:
        self.set_plane(self.plane.t + steps, self.plane.z)

    def set_channel_visible(self, channel: int, visible: bool) -> None:
        if self.visible_channels[channel] != visible:
            self.visible_channels[channel] = visible
            self.channels_changed.emit()

    # --- strokes -----------------------------------------------------------------------------

    @property
    def stroking(self) -> bool:
        """Whether a stroke has begun and has neither been finished nor cancelled."""
        return self._stroke is not None

    def begin_stroke(
        self, y: float, x: float, erase: bool = False, *, straight: bool = False
    ) -> None:
        """Start painting at `(y, x)`; pixel centres lie at +0.5.

        `erase` (and the eraser tool) takes labels away. `straight` draws a line from where the
        last stroke on this plane ended, if there is one.
        """
        if self.stack is None:
            return
        self.end_stroke()
        value = UNLABELLED if erase or self.tool == "eraser" else self.active_class
        self._stroke = self.annotation.stroke(self.plane, value, self.brush_diameter)
        if straight and self._stroke_end is not None and self._stroke_end[0] == self.plane:
            self.extend_stroke(*self._stroke_end[1:])
        self.extend_stroke(y, x)

    def extend_stroke(self, y: float, x: float) -> None:
        """Paint on to `(y, x)`; does nothing when no stroke is in progress."""
        if self._stroke is None:
            return
        dirty = self._stroke.to(y, x)
        self._stroke_end = (self.plane, y, x)
        if dirty is not None:
            self.labels_changed.emit(self.plane, dirty)

    def end_stroke(self) -> None:
        """Finish the stroke in progress, if any, as one undoable edit."""
        if self._stroke is None:
            return
        edit = self._stroke.finish()
        self._stroke = None
        if edit is None:
            return
        self.history.push(edit)
        self.edited.emit(edit)
        self.history_changed.emit()
        self.counts_changed.emit()

    def cancel_stroke(self) -> None:
        """Take back the stroke in progress, if any; the history stays as it was."""
        if self._stroke is None:
            return
        dirty = self._stroke.cancel()
        self._stroke = None
        self._stroke_end = None
        self.labels_changed.emit(self.plane, dirty)

    def apply_edit(self, edit: Edit) -> None:
        """Take over a new edit that `annotation.write` or the like has already carried out."""
        self.end_stroke()
        self._announce_labels(edit)
        self.history.push(edit)
        self.edited.emit(edit)
        self.history_changed.emit()
        self.counts_changed.emit()

    def undo(self) -> None:
        """Take back the newest edit and go to its plane; AnnotationError if it is damaged."""
        self.end_stroke()
        edit = self.history.undo()
        if edit is not None:
            self._travel(edit, step_back=self.history.redo)
            self.undone.emit()

    def redo(self) -> None:
        """Repeat the edit undone last and go to its plane; AnnotationError if it is damaged."""
        self.end_stroke()
        edit = self.history.redo()
        if edit is not None:
            self._travel(edit, step_back=self.history.undo)
            self.redone.emit()

    def _travel(self, edit: Edit, step_back: Callable[[], object]) -> None:
        try:
            self.annotation.apply(edit)
        except AnnotationError:
            step_back()  # the history must not claim what did not happen
            raise
        self._stroke_end = None
        self.set_plane(*edit.plane)
        self._announce_labels(edit)
        self.history_changed.emit()
        self.counts_changed.emit()

    def _announce_labels(self, edit: Edit) -> None:
        """Emit `labels_changed` for a row of tiles at a time.

        The box around a long diagonal stroke is the whole plane; its tiles are a small part of it.
        """
        rows: dict[tuple[PlaneIndex, int], Rect] = {}
        for change in edit.changes:
            key = (PlaneIndex(change.key.t, change.key.z), change.key.row)
            corner = change.key.row * TILE, change.key.col * TILE
            tile = Rect(*corner, TILE, TILE).intersect(self.plane_rect)
            rows[key] = rows[key].union(tile) if key in rows else tile
        for (plane, _), rect in rows.items():
            self.labels_changed.emit(plane, rect)

    # --- tools -------------------------------------------------------------------------------

    def set_tool(self, tool: Tool) -> None:
        if tool not in get_args(Tool):
            raise ValueError(f"There is no tool “{tool}”.")
        if tool != self.tool:
            self.end_stroke()
            self.tool = tool
            self.tool_changed.emit()

    def set_brush_diameter(self, diameter: int) -> None:
        """Set the brush's diameter in pixels, kept within 1 and `MAX_BRUSH`."""
        diameter = min(max(int(diameter), 1), MAX_BRUSH)
        if diameter != self.brush_diameter:
            self.brush_diameter = diameter
            self.tool_changed.emit()

    def step_brush(self, steps: int) -> None:
        """Make the brush larger or smaller by about a tenth a step, at least a pixel."""
        diameter = self.brush_diameter
        for _ in range(abs(steps)):
            change = max(1, round(diameter * 0.1))
            diameter += change if steps > 0 else -change
        self.set_brush_diameter(diameter)

    def pick_class(self, y: float, x: float) -> None:
        """Make the class labelled at `(y, x)` the active one; nothing where it is unlabelled."""
        pixel = Rect(int(y // 1), int(x // 1), 1, 1)
        if pixel.intersect(self.plane_rect).empty:
            return
        value = int(self.annotation.read(self.plane, pixel)[0, 0])
        if value != UNLABELLED:
            self.set_active_class(value)

    # --- classes -----------------------------------------------------------------------------

    def set_active_class(self, value: int) -> None:
        """Paint class `value` from the next stroke on; ignored where there is no such class."""
        if 1 <= value <= len(self.classes) and value != self.active_class:
            self.active_class = value
            self.classes_changed.emit()

    def add_class(self, name: str, color: str) -> int | None:
        """Add a class, make it the active one and return its value; None when all are taken."""
        if len(self.classes) >= MAX_CLASSES:
            return None
        self.classes.append(ClassInfo(name, color))
        self.active_class = len(self.classes)
        self.classes_changed.emit()
        return self.active_class

    def rename_class(self, value: int, name: str) -> None:
        self._replace_class(value, ClassInfo(name, self.classes[value - 1].color))

    def recolor_class(self, value: int, color: str) -> None:
        """Give class `value` the colour `color`, "#rrggbb"."""
        self._replace_class(value, ClassInfo(self.classes[value - 1].name, color))

    def _replace_class(self, value: int, info: ClassInfo) -> None:
        if self.classes[value - 1] != info:
            self.classes[value - 1] = info
            self.classes_changed.emit()
