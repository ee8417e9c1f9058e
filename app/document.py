"""The document: the only mutable truth of the window.

Panels, viewport, engine and saver listen to its signals and call its methods; none of them keeps
a second copy of what is here. It lives in the GUI thread and reads no image pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal

from app.display import ChannelDisplay, first_displays
from app.empty_picture import EmptyPicture
from unet_core.annotation import (
    DEFAULT_CLASSES,
    MAX_CLASSES,
    Annotation,
    AnnotationError,
    ClassInfo,
    Edit,
    History,
    Stroke,
)
from unet_core.labels import class_of
from unet_core.project import FIRST_IMAGE, ImageReference
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

Tool = Literal["brush", "eraser", "fill", "polygon", "pick", "pan", "complete", "merge", "split"]

MAX_BRUSH = 999
"""Largest brush diameter in pixels."""

DELETE_CLASS = "delete class"
"""Kind of the edit that unlabels a class everywhere."""

UNLABELLED = 0
FIRST_CELL_CLASS = 2


@dataclass(frozen=True)
class OtherImage:
    """An image of the project that is not on show: what is known of it does not change."""

    reference: ImageReference | None
    annotation: Annotation
    history: History | None = None
    """None: it has not been looked at, and its history is in the project file only."""
    chosen: bool = False
    """Whether the user has said where it is: not only the project file, which may be a stranger's.
    """


class Document(QObject):
    """The open stack, its annotation and undo history, and what the user has chosen."""

    project_changed = Signal()
    """Other work altogether; `stack_changed` follows."""
    stack_changed = Signal()
    """Another image, of the same project or of another one."""
    plane_changed = Signal()
    labels_changed = Signal(object, object)
    """PlaneIndex and Rect: these labels may differ, by a stroke that is not finished."""
    labels_edited = Signal(object)
    """An Edit that has been carried out at once, on one plane or on many."""
    edited = Signal(object)
    """A new Edit of the image on show, just finished and already in `history`: to be saved."""
    undone = Signal()
    redone = Signal()
    history_changed = Signal()
    counts_changed = Signal()
    classes_changed = Signal()
    """Names, colours, number of classes, or which one is active."""
    tool_changed = Signal()
    """The tool or the brush's size."""
    channels_changed = Signal()
    """How channels are shown, or whether."""
    options_changed = Signal()
    """How strokes are taken, or which classes show or are locked."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stack: Stack | None = None
        self.ranges: NDArray[np.float32] = np.zeros((0, 2), np.float32)
        """`(C, 2)`: the intensities that are 0 and 1 to the network, per channel; the first that
        are shown as black and bright, but `displays` may change and these stay."""
        self.annotation = Annotation((1, 1, 1, 1))
        self.history = History()
        self.image = FIRST_IMAGE
        """The number of the image on show among those of the project."""
        self.others: dict[int, OtherImage] = {}
        """The other images of the project, by their numbers."""
        self._other_counts: dict[int, int] = {}  # labelled pixels of each class in all of those
        self.classes: list[ClassInfo] = list(DEFAULT_CLASSES)
        """Class of value v is `classes[v - 1]`; the first is the background."""
        self.plane = PlaneIndex(0, 0)
        self.active_class = FIRST_CELL_CLASS
        """Value that the brush paints, 1 up to the number of classes."""
        self.brush_diameter = 20
        self.tool: Tool = "brush"
        self.displays: list[ChannelDisplay] = []
        self.apart = True
        """Whether a stroke that begins outside all cells of its class begins a new one."""
        self.keep_others = False
        """Whether strokes leave alone what is labelled already."""
        self.smoothing = 0.0
        """How far the pen is smoothed, in screen pixels; 0 not at all."""
        self.locked: frozenset[int] = frozenset()
        """Classes that nothing painted or erased may change."""
        self.hidden: frozenset[int] = frozenset()
        """Classes whose labels are not shown."""
        self._new_object = False
        self._dropped: dict[int, ClassInfo] = {}  # what deleted classes were called
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
        image: int = FIRST_IMAGE,
        others: Mapping[int, OtherImage] | None = None,
    ) -> None:
        """Show `stack` from its first plane on, with nothing labelled unless `annotation` is given.

        `ranges` is `(C, 2)` in the stack's units; `image` is the stack's number in its project,
        `others` are the other images there. A stroke in progress is finished on the old stack. The
        old stack is not closed: others may still be reading it.
        """
        self.end_stroke()
        self._take_stack(stack, ranges, annotation, history)
        self.image = image
        self._take_others(others or {})
        self.classes = list(classes or DEFAULT_CLASSES)
        self._dropped = {}
        self._list_what_is_labelled()
        self.active_class = min(FIRST_CELL_CLASS, len(self.classes))
        self.locked = self.hidden = frozenset()
        self.project_changed.emit()
        self._announce_stack()

    def show_image(
        self,
        image: int,
        stack: Stack,
        ranges: NDArray[np.float32],
        annotation: Annotation,
        history: History,
        left: ImageReference | None,
    ) -> None:
        """Show another image of the same project; classes and tools stay as they are.

        `left` says where the image is that is on show until now, which becomes one of the others.
        """
        self.end_stroke()
        former = self.displays
        # Of what is on show the place is known, unless nothing was found there.
        chosen = self.stack is not None and not isinstance(self.stack, EmptyPicture)
        leaving = OtherImage(left, self.annotation.snapshot(), self.history, chosen)
        self._take_stack(stack, ranges, annotation, history)
        others = {**self.others, self.image: leaving}
        self._take_others({n: one for n, one in others.items() if n != image})
        self.image = image
        if len(former) == len(self.displays):
            # Brightness is each image's own; how and whether channels show is the user's choice.
            self.displays = [
                replace(old, low=new.low, high=new.high, color=new.color)
                for old, new in zip(former, self.displays, strict=True)
            ]
        self._list_what_is_labelled()
        self._announce_stack()

    def put_picture(self, stack: Stack, ranges: NDArray[np.float32]) -> None:
        """Put the image below its labels, in place of an empty picture of the same size."""
        self.end_stroke()
        plane = self.plane
        self._take_stack(stack, ranges, self.annotation, self.history)
        self._announce_stack()
        self.set_plane(*plane)

    def set_others(self, others: Mapping[int, OtherImage]) -> None:
        """Images have been added to the project, or taken from it."""
        self._take_others(others)
        self.counts_changed.emit()

    def _take_others(self, others: Mapping[int, OtherImage]) -> None:
        # Only what is another one: there may be thousands.
        for number, former in self.others.items():
            if others.get(number) is not former:
                _add(self._other_counts, former.annotation, -1)
        for number, other in others.items():
            if self.others.get(number) is not other:
                _add(self._other_counts, other.annotation)
        self.others = dict(sorted(others.items()))

    def label_counts(self) -> dict[int, int]:
        """Labelled pixels of each class that occurs, in all images of the project."""
        total = dict(self._other_counts)
        _add(total, self.annotation)
        return total

    def _take_stack(
        self,
        stack: Stack | None,
        ranges: NDArray[np.float32] | None,
        annotation: Annotation | None,
        history: History | None,
    ) -> None:
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
        self.displays = first_displays(stack, ranges) if stack is not None else []
        self.plane = PlaneIndex(0, 0)
        self._stroke_end = None

    def _announce_stack(self) -> None:
        self.stack_changed.emit()
        self.options_changed.emit()
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

    @property
    def visible_channels(self) -> list[bool]:
        return [display.visible for display in self.displays]

    def set_channel_visible(self, channel: int, visible: bool) -> None:
        self.set_display(channel, replace(self.displays[channel], visible=visible))

    def set_display(self, channel: int, display: ChannelDisplay) -> None:
        self.set_displays([*self.displays[:channel], display, *self.displays[channel + 1 :]])

    def set_displays(self, displays: Sequence[ChannelDisplay]) -> None:
        """Show the channels in this way; what the network sees stays as it is."""
        if len(displays) != len(self.displays):
            raise ValueError(f"{len(displays)} displays for {len(self.displays)} channels")
        if list(displays) != self.displays:
            self.displays = list(displays)
            self.channels_changed.emit()

    # --- strokes -----------------------------------------------------------------------------

    @property
    def stroking(self) -> bool:
        """Whether a stroke has begun and has neither been finished nor cancelled."""
        return self._stroke is not None

    def begin_stroke(
        self,
        y: float,
        x: float,
        erase: bool = False,
        *,
        straight: bool = False,
        diameter: int | None = None,
    ) -> None:
        """Start painting at `(y, x)`; pixel centres lie at +0.5.

        `erase` (and the eraser tool) takes labels away. `straight` draws a line from where the
        last stroke on this plane ended, if there is one. `diameter` takes the place of the brush's,
        as the pressure of a pen does.
        """
        if self.stack is None:
            return
        self.end_stroke()
        value = UNLABELLED if erase or self.tool == "eraser" else self.active_class
        start = y, x
        if straight and self._stroke_end is not None and self._stroke_end[0] == self.plane:
            start = self._stroke_end[1:]
        self._stroke = self.annotation.stroke(
            self.plane,
            value,
            diameter or self.brush_diameter,
            self.object_for(value, *start),
            keep=self.kept_from(value),
        )
        self.extend_stroke(*start)
        self.extend_stroke(y, x)

    def object_for(self, value: int, y: float, x: float, plane: PlaneIndex | None = None) -> int:
        """The object that paint of class `value` belongs to when it begins at `(y, x)` of `plane`,
        the present one if none is given.

        The one of that class that is there already, else a new one; none for the background.
        """
        if value < FIRST_CELL_CLASS:
            return 0
        plane = self.plane if plane is None else plane
        there, number = self.annotation.label_at(plane, math.floor(y), math.floor(x))
        if there == value and number and not self._new_object:
            return number
        return self.annotation.next_object() if self.apart or self._new_object else 0

    def begin_object(self) -> None:
        """Make the next stroke a new object, wherever it begins."""
        self._new_object = True

    def kept_from(self, value: int) -> frozenset[int]:
        """The classes that painting `value` must leave alone."""
        if not self.keep_others:
            return self.locked
        every = range(1, MAX_CLASSES + 1)
        return self.locked.union(v for v in every if value or v != self.active_class)

    def extend_stroke(self, y: float, x: float, *, diameter: int | None = None) -> None:
        """Paint on to `(y, x)`; does nothing when no stroke is in progress."""
        if self._stroke is None:
            return
        if diameter is not None:
            self._stroke.diameter = diameter
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
        self._new_object = False
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
        self._new_object = False
        self.labels_edited.emit(edit)
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
            if edit.kind == DELETE_CLASS:
                gained = edit.changes[0].gained()
                self.drop_class(next(class_of(one) for one in gained if gained[one] < 0))

    def _travel(self, edit: Edit, step_back: Callable[[], object]) -> None:
        try:
            self.annotation.apply(edit)
        except AnnotationError:
            step_back()  # the history must not claim what did not happen
            raise
        self._stroke_end = None
        if self._list_what_is_labelled():
            self.classes_changed.emit()
        if self.plane not in edit.planes:
            self.set_plane(*edit.plane)
        self.labels_edited.emit(edit)
        self.history_changed.emit()
        self.counts_changed.emit()

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

    # --- options -----------------------------------------------------------------------------

    def set_option(self, name: Literal["apart", "keep_others"], on: bool) -> None:
        """Switch `apart` or `keep_others`."""
        if getattr(self, name) != on:
            setattr(self, name, on)
            self.options_changed.emit()

    def set_smoothing(self, reach: float) -> None:
        """Smooth the pen over `reach` screen pixels to either side, 0 for not at all."""
        if self.smoothing != reach:
            self.smoothing = reach
            self.options_changed.emit()

    def set_locked(self, value: int, locked: bool) -> None:
        """Let nothing change the labels of class `value`, or let it again."""
        changed = self.locked | {value} if locked else self.locked - {value}
        if changed != self.locked:
            self.locked = changed
            self.options_changed.emit()

    def set_hidden(self, value: int, hidden: bool) -> None:
        """Show the labels of class `value`, or do not."""
        changed = self.hidden | {value} if hidden else self.hidden - {value}
        if changed != self.hidden:
            self.hidden = changed
            self.options_changed.emit()

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

    def drop_class(self, value: int) -> bool:
        """Take class `value` off the list, if that can be done: answers whether it was.

        Labels, undo steps and trained models know a class by its place in the list. So only the
        last one can go, when nothing is labelled with it, and background and one cell class stay.
        """
        last = value == len(self.classes) > FIRST_CELL_CLASS
        if not last or self.label_counts().get(value):
            return False
        self._dropped[value] = self.classes.pop()
        self.active_class = min(self.active_class, len(self.classes))
        self.set_hidden(value, False)
        self.set_locked(value, False)
        self.classes_changed.emit()
        return True

    def _list_what_is_labelled(self) -> bool:
        """Bring classes back whose labels undo has brought back: answers whether there were any."""
        known = len(self.classes)
        for value in range(known + 1, max(self.label_counts(), default=0) + 1):
            unknown = ClassInfo(f"class {value}", "#999999")
            self.classes.append(self._dropped.get(value, unknown))
        return len(self.classes) > known

    def rename_class(self, value: int, name: str) -> None:
        self._replace_class(value, ClassInfo(name, self.classes[value - 1].color))

    def recolor_class(self, value: int, color: str) -> None:
        """Give class `value` the colour `color`, "#rrggbb"."""
        self._replace_class(value, ClassInfo(self.classes[value - 1].name, color))

    def _replace_class(self, value: int, info: ClassInfo) -> None:
        if self.classes[value - 1] != info:
            self.classes[value - 1] = info
            self.classes_changed.emit()


def _add(total: dict[int, int], labels: Annotation, times: int = 1) -> None:
    """Add the labelled pixels of each class; classes that do not occur are not in `total`."""
    if not labels.labelled_planes():
        return
    for value, pixels in labels.counts().items():
        total[value] = total.get(value, 0) + times * pixels
        if not total[value]:
            del total[value]
