"""What changes whole regions at once: fill, polygon, accept, merge, split, interpolate.

Where that may take longer than a frame it is worked out in a thread, on a snapshot of the labels,
and carried out when it is ready. Every change is one step of undo. How a change is worked out is
in `unet_core.region_edits` and `unet_core.predicted_cells`; here is what the user wants, what
stands against it, and when it happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot

from app.document import DELETE_CLASS, FIRST_CELL_CLASS, Document
from app.jobs import InTurn, JobError
from app.layers import PredictionLayer
from unet_core import region_edits
from unet_core.annotation import BACKGROUND, Edit
from unet_core.brush import Point
from unet_core.labels import label
from unet_core.polygon import polygon_box
from unet_core.tiles import TILE
from unet_core.tiling import Rect

if TYPE_CHECKING:
    from unet_core.flood import Region

ANOTHER_PLANE = "You went to another slice before it could be done; please try again there."

CHANGED_MEANWHILE = "The labels have changed meanwhile; please try again."

AT_ONCE = 2**18
"""So many pixels are changed within a frame; more of them are worked out in a thread."""

PLACES = 50
"""So many uncertain places of a plane are gone through at most."""


class Regions(QObject):
    """The tools that change more than a stroke."""

    failed = Signal(str, str)
    """Why a wish came to nothing, in one sentence, and the details for a report."""
    told = Signal(str)
    """One sentence: why nothing was done."""
    asked = Signal(str, str, object)
    """A question, the text of its button, and what to call when it is pressed."""
    place_found = Signal(int, int)
    """The pixel `(y, x)` around which to paint next."""
    finished = Signal()
    """What was being worked out when `shutdown` was called has ended."""

    def __init__(self, document: Document, prediction: PredictionLayer, parent: QObject) -> None:
        super().__init__(parent)
        self._document = document
        self._prediction = prediction
        self._places: Sequence[tuple[int, int]] = ()
        self._places_of: object = None
        self._place = 0
        # Counts everything that changes labels: what was found before is of yesterday.
        self._revision = 0
        self._changes = InTurn(self)
        self._changes.failed.connect(self._failed)
        self._changes.finished.connect(self.finished)
        document.stack_changed.connect(self.cancel)
        document.history_changed.connect(self._count_revision)

    @property
    def busy(self) -> bool:
        """Whether a change is being worked out."""
        return self._changes.busy

    # --- fill --------------------------------------------------------------------------------

    @Slot(float, float)
    def fill(self, y: float, x: float) -> None:
        """Fill the connected region of one label at `(y, x)` with the active class.

        A region that meets the edge of the plane is not closed: the user is asked first.
        """
        self._fill(y, x, self._document.active_class)

    def _fill(self, y: float, x: float, value: int) -> None:
        if self._later(partial(self._fill, y, x, value)):
            return
        self._document.end_stroke()
        document = self._document
        seed = int(y // 1), int(x // 1)
        if Rect(*seed, 1, 1).intersect(document.plane_rect).empty:
            return
        there, number = document.annotation.label_at(document.plane, *seed)
        if there in document.kept_from(value):
            self.told.emit("This label is locked or kept; nothing was filled.")
            return
        plane, annotation = document.plane, document.annotation

        snapshot = annotation.snapshot()

        def find() -> Generator[None, None, tuple[Region, Point]]:
            yield
            region = region_edits.flooded(snapshot, plane, seed)
            return region, region_edits.beginning(snapshot, plane, region, (y, x))

        def fill(found: tuple[Region, Point]) -> None:
            region, beginning = found
            if not region.complete:
                self.told.emit(
                    f"{region_edits.TOO_LARGE}; draw a border around what you mean, then fill it."
                )
                return

            found_at = self._revision

            def still_so() -> bool:
                same = document.annotation is annotation and self._revision == found_at
                if not same:
                    self.told.emit(CHANGED_MEANWHILE)
                return same

            def carry_out() -> None:
                document.end_stroke()
                if not still_so():
                    return
                own = number if value >= FIRST_CELL_CLASS else 0
                own = own or document.object_for(value, *beginning, plane)
                filling = partial(
                    snapshot.filling, plane, region.rect, region.mask, value, own,
                    keep=document.kept_from(value),
                )  # fmt: skip

                self._change(filling, region.rect.height * region.rect.width)

            if region.closed or there:
                carry_out()
            else:
                name = document.classes[value - 1].name
                self.asked.emit(
                    f"Nothing encloses this region: it reaches the edge of the image and has "
                    f"{region.pixels:,} pixels. Fill it with {name}?",
                    "Fill",
                    carry_out,
                )

        self._work(find, fill)

    # --- what was drawn ----------------------------------------------------------------------

    @Slot(str, object)
    def carry_out(self, tool: str, points: list[Point]) -> None:
        """Do with a drawn line, polygon or box what its tool is for."""
        self._document.end_stroke()
        if tool == "polygon":
            self.polygon(points)
        elif tool == "merge":
            self.merge(points)
        elif tool == "split":
            self.split(points)
        elif tool == "complete":
            (y0, x0), (y1, x1) = points[0], points[-1]
            top, left = math.floor(min(y0, y1)), math.floor(min(x0, x1))
            bottom, right = math.ceil(max(y0, y1)), math.ceil(max(x0, x1))
            self.complete(Rect(top, left, bottom - top, right - left))

    # --- polygon, lasso, rectangle -----------------------------------------------------------

    def polygon(self, points: Sequence[Point]) -> None:
        """Fill a polygon of `(y, x)` points with the active class, as one object."""
        if self._later(partial(self.polygon, points)):
            return
        document = self._document
        if len(points) < 3:
            return
        box = polygon_box(points, document.plane_rect)
        if box.empty:
            return
        value, plane = document.active_class, document.plane
        one = label(value, document.object_for(value, *points[0]))
        labels, kept = document.annotation.snapshot(), document.kept_from(value)
        plan = partial(region_edits.fill_polygon, labels, plane, points, one, kept)
        self._change(plan, box.height * box.width)

    def complete(self, rect: Rect) -> None:
        """Make what is not labelled in `rect` background: all cells in there are painted."""
        if self._later(partial(self.complete, rect)):
            return
        document = self._document
        rect = rect.intersect(document.plane_rect)
        if rect.empty or BACKGROUND in document.locked:
            return
        labels = document.annotation.snapshot()
        plan = partial(region_edits.complete, labels, document.plane, rect)
        self._change(plan, rect.height * rect.width)

    # --- objects -----------------------------------------------------------------------------

    def delete(self, y: float, x: float) -> None:
        """Delete the painted object at `(y, x)`; where none is, reject the predicted one.

        What is rejected becomes background, so that the network learns that it was wrong.
        """
        if self._later(partial(self.delete, y, x)):
            return
        self._document.end_stroke()
        document = self._document
        pixel = int(y // 1), int(x // 1)
        value, number = document.annotation.label_at(document.plane, *pixel)
        if value in document.locked:
            self.told.emit(f"The class “{document.classes[value - 1].name}” is locked.")
        elif number:
            self._relabel("delete", {label(value, number): 0})
        elif value:
            labels, locked = document.annotation.snapshot(), document.locked
            plan = partial(region_edits.clear_region, labels, document.plane, pixel, locked)
            self._work(lambda: _in_thread(plan), self._carry_out)
        else:
            self._take_predicted(pixel, reject=True)

    @Slot(int)
    def delete_class(self, value: int) -> None:
        """Unlabel class `value` on all planes; the last class of the list also leaves it."""
        if self._later(partial(self.delete_class, value), anywhere=True):
            return
        document = self._document
        name = document.classes[value - 1].name
        if value in document.locked:
            self.told.emit(f"The class “{name}” is locked.")
            return
        document.end_stroke()
        labels = document.annotation.snapshot()

        def carry_out(edit: Edit | None) -> None:
            self._carry_out(edit)
            if document.drop_class(value):
                self.told.emit(f"The class “{name}” is deleted.")
            elif document.label_counts().get(value):
                self.told.emit(
                    f"“{name}” is empty on this image. It stays in the list: other images of the "
                    "project have labels of it."
                )
            else:
                self.told.emit(
                    f"“{name}” is empty now. It stays in the list: only the last class can leave "
                    "it, and the first two never do."
                )

        self._work(lambda: labels.clearing(value, DELETE_CLASS), carry_out)

    def merge(self, points: Sequence[Point]) -> None:
        """Make all objects under a drawn line one: the class and number of the first."""
        if self._later(partial(self.merge, points)):
            return
        found = self._objects_under(points)
        if len(found) < 2:
            self.told.emit("Draw from one cell into another to merge them.")
            return
        first, *others = found
        self._relabel("merge", dict.fromkeys(others, first))

    def split(self, points: Sequence[Point]) -> None:
        """Cut the objects under a drawn line in two along it."""
        if self._later(partial(self.split, points)):
            return
        document = self._document
        plane, found = document.plane, self._objects_under(points)
        labels, first = document.annotation.snapshot(), document.annotation.next_object()
        places = region_edits.places_of(labels, plane, found)

        def carry_out(edit: Edit | None) -> None:
            self._carry_out(edit)
            if edit is None:
                self.told.emit("Draw a line right across a cell to split it.")

        plan = partial(region_edits.split, labels, plane, points, found, places, first)
        self._change(plan, len(places) * TILE**2, carry_out)

    def _objects_under(self, points: Sequence[Point]) -> list[int]:
        document = self._document
        return region_edits.objects_under(
            document.annotation, document.plane, points, document.locked
        )

    def _relabel(self, kind: str, becomes: dict[int, int]) -> None:
        """Give objects of the plane other labels, in one edit."""
        labels, plane = self._document.annotation.snapshot(), self._document.plane
        places = region_edits.places_of(labels, plane, becomes)
        plan = partial(region_edits.relabel, labels, plane, kind, becomes)
        self._change(plan, len(places) * TILE**2)

    # --- the prediction ----------------------------------------------------------------------

    def accept(self, y: float, x: float) -> None:
        """Take the predicted object at `(y, x)` over as if it had been painted."""
        if self._later(partial(self.accept, y, x)):
            return
        self._document.end_stroke()
        self._take_predicted((int(y // 1), int(x // 1)), reject=False)

    def accept_all(self) -> None:
        """Take over every predicted object of the plane where nothing is painted yet."""
        if self._later(self.accept_all):
            return
        self._document.end_stroke()
        self._take_predicted(None, reject=False)

    def _take_predicted(self, pixel: tuple[int, int] | None, reject: bool) -> None:
        """Label what is predicted at `pixel`, or everywhere, where nothing is labelled yet."""
        document, layer = self._document, self._prediction
        plane = document.plane
        if layer.empty or layer.plane != plane:
            self.told.emit("There is no prediction here to accept or reject.")
            return
        # Of classes that the network knows and the list does not any more, nothing is taken.
        seen, known = layer.snapshot(), len(document.classes) - 1
        labels = document.annotation.snapshot()
        apart = document.apart and not reject
        number = document.annotation.next_object() if apart else 0

        def plan() -> Edit | None:
            from unet_core import predicted_cells

            if reject and pixel is not None:
                return predicted_cells.reject(labels, plane, seen, known, pixel)
            return predicted_cells.accept(labels, plane, seen, known, pixel, number)

        def carry_out(edit: Edit | None) -> None:
            if edit is None:
                self.told.emit("No cell is predicted there that is not painted yet.")
            self._carry_out(edit)

        self._work(lambda: _in_thread(plan), carry_out)

    # --- where to go next --------------------------------------------------------------------

    @Slot()
    def next_place(self) -> None:
        """Show the next place where a few strokes would teach the network most."""
        if self._later(self.next_place, anywhere=True):
            return
        self._go_to_place(+1)

    @Slot()
    def previous_place(self) -> None:
        """Show the place before again."""
        if self._later(self.previous_place, anywhere=True):
            return
        self._go_to_place(-1)

    def _go_to_place(self, step: int) -> None:
        """Through the doubtful places of the plane; they are looked for anew after every edit."""
        document, layer = self._document, self._prediction
        if layer.empty or layer.plane != document.plane:
            self.told.emit("There is no prediction here yet that could be uncertain.")
            return
        state = document.plane, self._revision
        if self._places and state == self._places_of:
            self._place = (self._place + step) % len(self._places)
            self.place_found.emit(*self._places[self._place])
            return
        seen, labels = layer.snapshot(), document.annotation.snapshot()

        def look(rect: Rect) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
            return seen.read(rect), labels.read(state[0], rect) > 0

        def find() -> Generator[None, None, Sequence[tuple[int, int]]]:
            yield
            from unet_core.where_next import uncertain_places

            return uncertain_places(look, seen.predicted, PLACES)

        def go(places: Sequence[tuple[int, int]]) -> None:
            if document.plane != state[0]:
                return  # the user has gone elsewhere
            self._places, self._places_of = places, state
            self._place = 0 if step > 0 else len(places) - 1
            if places:
                self.place_found.emit(*places[self._place])
            else:
                self.told.emit("The prediction is certain everywhere on this plane.")

        self._work(find, go)

    # --- through z ---------------------------------------------------------------------------

    def interpolate(self) -> None:
        """Fill in the planes between the labelled ones below and above this one.

        Only what is not labelled there. Objects are followed by their number, classes without
        objects as a whole.
        """
        if self._later(self.interpolate):
            return
        self._document.end_stroke()
        document = self._document
        gap = region_edits.gap_at(document.annotation, document.plane)
        if gap is None:
            self.told.emit(
                "Go to a slice between two labelled ones: the slices in between are filled in."
            )
            return
        labels = document.annotation.snapshot()
        steps = partial(region_edits.interpolating, labels, *gap, document.locked)

        def carry_out(edit: Edit | None) -> None:
            self._carry_out(edit)
            if edit is None or len(edit.planes) < 2:
                self.told.emit(
                    "Nothing on the two labelled slices overlaps; nothing was filled in."
                )

        self._work(steps, carry_out)

    # --- when it happens ---------------------------------------------------------------------

    def _later(self, do: Callable[[], None], *, anywhere: bool = False) -> bool:
        """Whether something is being worked out; `do` is then done after it.

        Unless `anywhere`, only if the user is still on the same plane: it was meant for that one.
        """
        if not self._changes.busy:
            return False
        plane = self._document.plane

        def then() -> None:
            if anywhere or self._document.plane == plane:
                do()
            else:
                self.told.emit(ANOTHER_PLANE)

        self._changes.later(then)
        return True

    def _change(
        self,
        plan: Callable[[], Edit | None],
        pixels: int,
        done: Callable[[Edit | None], None] | None = None,
    ) -> None:
        """Work out a change of so many pixels on a snapshot and carry it out, or call `done` with
        it: at once, or in a thread where that would take longer than a frame."""
        done = self._carry_out if done is None else done
        if pixels <= AT_ONCE:
            done(plan())
            return
        revision = self._revision

        def work() -> None:
            if self._revision == revision:
                self._work(lambda: _in_thread(plan), done)
            else:
                self.told.emit(CHANGED_MEANWHILE)

        self._changes.next(work)

    def _work(
        self, steps: Callable[[], Generator[None, None, Any]], done: Callable[[Any], None]
    ) -> None:
        """Run `steps` in a thread, then `done` with the result here, if the labels are the same."""
        revision = self._revision

        def finish(result: object) -> None:
            if self._revision != revision or self._document.stroking:
                self.told.emit(CHANGED_MEANWHILE)
            else:
                done(result)

        self._changes.run(steps, finish)

    def _carry_out(self, edit: Edit | None) -> None:
        """Carry out what was planned on a snapshot of the labels as they are."""
        if edit is not None:
            self._document.annotation.apply(edit)
            self._document.apply_edit(edit)

    @Slot()
    def _count_revision(self) -> None:
        self._revision += 1

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        self.failed.emit(error.sentence, error.details)

    @Slot()
    def cancel(self) -> None:
        """Give up what is being worked out and what waits: another image comes."""
        self._places, self._places_of = (), None
        self._changes.cancel()

    def shutdown(self) -> bool:
        """Change nothing any more. True while a thread still runs; then `finished` will come."""
        self.cancel()
        return self._changes.shutdown()


def _in_thread(plan: Callable[[], Edit | None]) -> Generator[None, None, Edit | None]:
    """Steps that work out an edit with all that would take the window long to carry it out."""
    yield
    edit = plan()
    return None if edit is None else edit.ready()
