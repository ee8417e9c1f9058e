"""What changes whole regions at once: fill, polygon, accept, merge, split, interpolate.

Where that may take longer than a frame it is worked out in a thread, on a snapshot of the labels,
and carried out when it is ready. Every change is one step of undo.
"""

from __future__ import annotations

import math
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot

from app.document import DELETE_CLASS, FIRST_CELL_CLASS, Document
from app.jobs import Job, JobError
from app.layers import PredictionLayer
from unet_core.annotation import BACKGROUND, Annotation, AnnotationError, Edit
from unet_core.brush import Point, pixel_path
from unet_core.labels import (
    MAX_OBJECT,
    Labels,
    class_of,
    classes_of,
    label,
    object_of,
    objects_of,
)
from unet_core.polygon import polygon_box, polygon_mask
from unet_core.stack import PlaneIndex
from unet_core.tiles import TILE, bounding_box
from unet_core.tiling import Rect

if TYPE_CHECKING:
    from unet_core.flood import Region

FILL_LIMIT = 2**24
"""A fill is given up when it has reached so many pixels."""

TOO_LARGE = f"This region has more than {FILL_LIMIT:,} pixels"

ANOTHER_PLANE = "You went to another slice before it could be done; please try again there."

CHANGED_MEANWHILE = "The labels have changed meanwhile; please try again."

AT_ONCE = 2**18
"""So many pixels are changed within a frame; more of them are worked out in a thread."""

PLACES = 50
"""So many uncertain places of a plane are gone through at most."""

Part = tuple[PlaneIndex, Rect, Labels]
"""The new labels of a rectangle: what `Annotation.change` takes."""


class Regions(QObject):
    """The tools that change more than a stroke."""

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
        self._job: Job | None = None
        self._places: Sequence[tuple[int, int]] = ()
        self._places_of: object = None
        self._place = 0
        self._waiting: list[Callable[[], None]] = []
        # Counts everything that changes labels: what was found before is of yesterday.
        self._revision = 0
        self._closing = False
        self._done: Callable[[object], None] = lambda result: None
        document.stack_changed.connect(self.cancel)
        document.history_changed.connect(self._count_revision)

    @property
    def busy(self) -> bool:
        """Whether a change is being worked out."""
        return self._job is not None

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
            region = yield from _flooded(snapshot, plane, seed)
            return region, _beginning(snapshot, plane, region, (y, x))

        def fill(found: tuple[Region, Point]) -> None:
            region, beginning = found
            if not region.complete:
                self.told.emit(f"{TOO_LARGE}; draw a border around what you mean, then fill it.")
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
        box, plane = polygon_box(points, document.plane_rect), document.plane
        if box.empty:
            return
        value = document.active_class
        one = label(value, document.object_for(value, *points[0]))
        labels, kept = document.annotation.snapshot(), document.kept_from(value)

        def plan() -> Edit | None:
            masks = (polygon_mask(points, band) for band in _bands(box))
            return labels.planned("polygon", _painted(labels, plane, masks, one, kept))

        self._change(plan, box.height * box.width)

    def complete(self, rect: Rect) -> None:
        """Make what is not labelled in `rect` background: all cells in there are painted."""
        if self._later(partial(self.complete, rect)):
            return
        document = self._document
        rect, plane = rect.intersect(document.plane_rect), document.plane
        if rect.empty or BACKGROUND in document.locked:
            return
        labels = document.annotation.snapshot()

        def plan() -> Edit | None:
            masks = ((band, labels.read(plane, band) == 0) for band in _bands(rect))
            return labels.planned(
                "complete", _painted(labels, plane, masks, label(BACKGROUND), frozenset())
            )

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
            self.told.emit(f"The class {document.classes[value - 1].name} is locked.")
        elif number:
            self._relabel("delete", {label(value, number): 0})
        elif value:
            self._clear_region(pixel)
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
        places = _places_of(labels, plane, found)

        def plan() -> Edit | None:
            from unet_core.cut import cut_by_line

            rect = _extent(labels, plane, places, found)
            cut = labels.read_labels(plane, rect)
            line, number = np.asarray(points, float) - (rect.y, rect.x), first
            for one in found:
                pieces, count = cut_by_line(cut == one, line, min_size=4)
                for piece in range(2, count + 1):
                    cut[pieces == piece] = label(class_of(one), number)
                    number += 1
            return labels.planned("split", [(plane, rect, cut)])

        def carry_out(edit: Edit | None) -> None:
            self._carry_out(edit)
            if edit is None:
                self.told.emit("Draw a line right across a cell to split it.")

        self._change(plan, len(places) * TILE**2, carry_out)

    def _objects_under(self, points: Sequence[Point]) -> list[int]:
        """Labels of the objects that a line passes, in its order, locked classes left out."""
        document = self._document
        found: dict[int, None] = {}
        for start, end in zip(points, points[1:] or points, strict=False):
            rows, columns = pixel_path(start, end, document.plane_rect)
            for one in document.annotation.labels_at(document.plane, rows, columns).tolist():
                found[one] = None
        return [one for one in found if object_of(one) and class_of(one) not in document.locked]

    def _relabel(self, kind: str, becomes: dict[int, int]) -> None:
        """Give objects of the plane other labels, in one edit."""
        labels, plane = self._document.annotation.snapshot(), self._document.plane
        places = _places_of(labels, plane, becomes)
        plan = partial(_relabelling, labels, plane, kind, becomes)
        self._change(plan, len(places) * TILE**2)

    def _clear_region(self, seed: tuple[int, int]) -> None:
        """Unlabel the connected region of labels that belong to no object."""
        plane, locked = self._document.plane, self._document.locked
        labels = self._document.annotation.snapshot()

        def find() -> Generator[None, None, Edit | None]:
            region = yield from _flooded(labels, plane, seed)
            if not region.complete:
                raise AnnotationError(f"{TOO_LARGE}; erase a line through it, then delete it.")
            edit = labels.filling(plane, region.rect, region.mask, 0, kind="delete", keep=locked)
            return _ready(edit)

        self._work(find, self._carry_out)

    # --- the prediction ----------------------------------------------------------------------

    def _take_predicted(self, pixel: tuple[int, int] | None, reject: bool) -> None:
        """Label what is predicted at `pixel`, or everywhere, where nothing is labelled yet."""
        document, layer = self._document, self._prediction
        plane, area = document.plane, document.plane_rect
        if layer.empty or layer.plane != plane:
            self.told.emit("There is no prediction here to accept or reject.")
            return
        # Of classes that the network knows and the list does not any more, nothing is taken.
        seen, known = layer.snapshot(), len(document.classes) - 1
        painted = document.annotation.snapshot()
        apart = document.apart and not reject
        number = document.annotation.next_object() if apart else 0
        kind = "reject" if reject else "accept"

        def find() -> Generator[None, None, Edit | None]:
            yield
            from unet_core.objects import split_objects

            part = area if pixel is None else _part_around(seen, known, area, pixel)
            if part.empty:
                return None
            classes = _predicted(seen, known, part)
            objects = split_objects(classes, seen.read_interior(part), 0)
            wanted = objects > 0
            if pixel is not None:
                wanted = objects == objects[pixel[0] - part.y, pixel[1] - part.x]
            box = bounding_box(wanted)
            if box.empty:
                return None
            rect = Rect(part.y + box.y, part.x + box.x, box.height, box.width)
            labels = painted.read_labels(plane, rect)
            free = wanted[box.slices] & (labels == 0)
            if reject:
                labels[free] = label(BACKGROUND)
                return _ready(painted.planned(kind, [(plane, rect, labels)]))
            new = classes[box.slices].astype(np.uint32) << np.uint32(24)
            if apart:
                here = objects[box.slices]
                numbers = np.unique(here[free])
                if number + len(numbers) > MAX_OBJECT:
                    raise AnnotationError("There are no more numbers to tell cells apart with.")
                new |= (np.searchsorted(numbers, here) + number).astype(np.uint32)
            labels[free] = new[free]
            return _ready(painted.planned(kind, [(plane, rect, labels)]))

        def carry_out(edit: Edit | None) -> None:
            if edit is None:
                self.told.emit("No cell is predicted there that is not painted yet.")
            self._carry_out(edit)

        self._work(find, carry_out)

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
        area, seen = document.plane_rect, layer.snapshot()
        labels = document.annotation.snapshot()

        def find() -> Generator[None, None, Sequence[tuple[int, int]]]:
            yield
            from unet_core.where_next import uncertain_places

            return uncertain_places(seen.read(area), labels.read(state[0]) > 0, PLACES)

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
        t, z = document.plane
        labelled = [p.z for p in document.annotation.labelled_planes() if p.t == t]
        below = [p for p in labelled if p <= z]
        # Standing on a labelled plane means the gap above it.
        above = [p for p in labelled if p > max(below, default=-1)]
        if not below or not above or min(above) - max(below) < 2:
            self.told.emit(
                "Go to a slice between two labelled ones: the slices in between are filled in."
            )
            return
        first, last, locked = max(below), min(above), document.locked
        snapshot = document.annotation.snapshot()

        def find() -> Generator[None, None, Edit | None]:
            from unet_core.between import between

            ends = [PlaneIndex(t, depth) for depth in (first, last)]
            box = _labelled_box(snapshot, ends[0]).union(_labelled_box(snapshot, ends[1]))
            rim = Rect(box.y - 1, box.x - 1, box.height + 2, box.width + 2)
            rim = rim.intersect(snapshot.plane_rect)
            one, other = (snapshot.read_labels(plane, rim) for plane in ends)
            becomes = _numbered_alike(one, other, locked)
            # The cell goes on beyond the second slice: there too it gets the number of the first.
            parts = [
                part
                for plane in snapshot.labelled_planes()
                if plane.t == t and plane.z >= last
                for part in _relabelled(snapshot, plane, becomes)
            ]
            yield
            for old, new in becomes.items():
                other[other == np.uint32(old)] = new
            for depth, labels in enumerate(between(one, other, last - first - 1), start=first + 1):
                parts.append((PlaneIndex(t, depth), rim, labels))
                yield
            return _ready(snapshot.planned("interpolate", parts))

        def carry_out(edit: Edit | None) -> None:
            self._carry_out(edit)
            if edit is None or len(edit.planes) < 2:
                self.told.emit(
                    "Nothing on the two labelled slices overlaps; nothing was filled in."
                )

        self._work(find, carry_out)

    # --- the thread --------------------------------------------------------------------------

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

        self._next(work)

    def _carry_out(self, edit: Edit | None) -> None:
        """Carry out what was planned on a snapshot of the labels as they are."""
        if edit is not None:
            self._document.annotation.apply(edit)
            self._document.apply_edit(edit)

    @Slot()
    def _count_revision(self) -> None:
        self._revision += 1

    def _later(self, do: Callable[[], None], *, anywhere: bool = False) -> bool:
        """Whether something is being worked out; `do` is then done after it.

        Unless `anywhere`, only if the user is still on the same plane: it was meant for that one.
        """
        if self._job is None:
            return False
        plane = self._document.plane

        def then() -> None:
            if anywhere or self._document.plane == plane:
                do()
            else:
                self.told.emit(ANOTHER_PLANE)

        self._waiting.append(then)
        return True

    def _next(self, do: Callable[[], None]) -> None:
        """Do it now, or as soon as what is being worked out has ended, before all that waits."""
        if self._job is None:
            do()
        else:
            self._waiting.insert(0, do)

    def _work(
        self, steps: Callable[[], Generator[None, None, Any]], done: Callable[[Any], None]
    ) -> None:
        """Run `steps` in a thread, then `done` with the result here; one at a time."""
        revision = self._revision

        def finish(result: object) -> None:
            if self._revision != revision or self._document.stroking:
                self.told.emit(CHANGED_MEANWHILE)
            else:
                done(result)

        self._done = finish
        self._job = Job(steps, self)
        self._job.succeeded.connect(self._succeeded)
        self._job.failed.connect(self._failed)
        self._job.finished.connect(self._finished)
        self._job.start()

    @Slot(object)
    def _succeeded(self, result: object) -> None:
        self._done(result)

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        self.told.emit(error.sentence)

    @Slot()
    def _finished(self) -> None:
        if self._job is not None:
            self._job.deleteLater()
        self._job = None
        if self._closing:
            self.finished.emit()
        # Not all of them start a job, after which the next would come.
        while self._waiting and self._job is None:
            self._waiting.pop(0)()

    @Slot()
    def cancel(self) -> None:
        """Give up what is being worked out and what waits: another image comes."""
        self._waiting.clear()
        self._places, self._places_of = (), None
        # Its result may be on its way already.
        self._done = lambda result: None
        if self._job is not None:
            self._job.stop()

    def shutdown(self) -> bool:
        """Change nothing any more. True while a thread still runs; then `finished` will come."""
        self._closing = True
        self.cancel()
        return self._job is not None


def _flooded(
    labels: Annotation, plane: PlaneIndex, seed: tuple[int, int]
) -> Generator[None, None, Region]:
    """Steps that find the connected region of one label around a pixel."""
    yield
    from unet_core.flood import flood

    return flood(partial(labels.read_labels, plane), labels.plane_rect, seed, FILL_LIMIT)


def _beginning(labels: Annotation, plane: PlaneIndex, region: Region, clicked: Point) -> Point:
    """Where the paint of a fill begins: in the one cell all around, which it makes whole; where
    there is none, at the click."""
    if not region.closed:
        return clicked
    y, x, height, width = region.rect
    inside = np.pad(region.mask, 1)
    rim = np.zeros_like(inside)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        rim[here] |= inside[there]
        rim[there] |= inside[here]
    rim &= ~inside
    around = labels.read_labels(plane, region.rect.expand(1))
    first = np.unravel_index(int(rim.argmax()), rim.shape)
    if (around[rim] != around[first]).any():
        return clicked
    return y - 0.5 + int(first[0]), x - 0.5 + int(first[1])


def _predicted(seen: PredictionLayer, known: int, rect: Rect) -> NDArray[np.uint8]:
    """Which of the first `known` classes of cells is predicted: `(height, width)`, 0 for none."""
    classes = np.zeros((rect.height, rect.width), np.uint8)
    for index, values in enumerate(seen.read(rect)[:known]):
        classes[values >= seen.threshold] = index + FIRST_CELL_CLASS
    return classes


def _part_around(seen: PredictionLayer, known: int, plane: Rect, pixel: tuple[int, int]) -> Rect:
    """What must be looked at to tell the predicted cell at `pixel`; empty where there is none.

    Cells are parted within connected pixels of one class, by an interior that is smoothed over two
    pixels to each side. So the box around the connected pixels, with that rim and one more, gives
    the same cell as the whole plane.
    """
    from unet_core.flood import flood

    if not _predicted(seen, known, Rect(*pixel, 1, 1)).any():
        return Rect(0, 0, 0, 0)
    read = partial(_predicted, seen, known)
    region = flood(read, plane, pixel, plane.height * plane.width)
    return region.rect.expand(3).intersect(plane)


def _in_thread(plan: Callable[[], Edit | None]) -> Generator[None, None, Edit | None]:
    """Steps that work out an edit."""
    yield
    return _ready(plan())


def _ready(edit: Edit | None) -> Edit | None:
    """The edit with everything worked out that would take the window long."""
    return None if edit is None else edit.ready()


def _bands(rect: Rect) -> Iterator[Rect]:
    """A rectangle in strips, so that a large one takes no more memory than one of them."""
    for top in range(rect.y - rect.y % TILE, rect.bottom, TILE):
        yield Rect(top, rect.x, TILE, rect.width).intersect(rect)


def _painted(
    labels: Annotation,
    plane: PlaneIndex,
    masks: Iterable[tuple[Rect, NDArray[np.bool_]]],
    one: int,
    kept: frozenset[int],
) -> Iterator[Part]:
    """The labels of rectangles whose masked pixels have become `one`, but for the kept classes."""
    for rect, mask in masks:
        new = labels.read_labels(plane, rect)
        if kept:
            mask = mask & ~np.isin(classes_of(new), list(kept))
        new[mask] = one
        yield plane, rect, new


def _places_of(
    annotation: Annotation, plane: PlaneIndex, found: Collection[int]
) -> list[tuple[int, int]]:
    """The tiles of a plane in which one of the labels occurs."""
    return [
        place
        for place in annotation.labelled_tiles(plane)
        if not annotation.contents(plane, place).counts.keys().isdisjoint(found)
    ]


def _extent(
    annotation: Annotation,
    plane: PlaneIndex,
    places: Sequence[tuple[int, int]],
    found: Sequence[int],
) -> Rect:
    """A box around the pixels with one of the labels, which occur in the tiles at `places`."""
    box, tiles = Rect(0, 0, 0, 0), annotation.tiles(plane)
    for place in places:
        here = bounding_box(np.isin(tiles[place], np.array(found, np.uint32)))
        box = box.union(_in_plane(place, here))
    return box


def _labelled_box(annotation: Annotation, plane: PlaneIndex) -> Rect:
    """A box around the labelled pixels of a plane."""
    box = Rect(0, 0, 0, 0)
    for place in annotation.labelled_tiles(plane):
        box = box.union(_in_plane(place, annotation.contents(plane, place).box))
    return box


def _in_plane(place: tuple[int, int], box: Rect) -> Rect:
    """A box within a tile as one of the plane."""
    return Rect(place[0] * TILE + box.y, place[1] * TILE + box.x, box.height, box.width)


def _relabelling(
    annotation: Annotation, plane: PlaneIndex, kind: str, becomes: Mapping[int, int]
) -> Edit | None:
    """The edit that gives objects of a plane other labels."""
    return annotation.planned(kind, _relabelled(annotation, plane, becomes))


def _relabelled(
    annotation: Annotation, plane: PlaneIndex, becomes: Mapping[int, int]
) -> Iterator[Part]:
    """The tiles of a plane in which labels have become others."""
    tiles = annotation.tiles(plane)
    for row, column in _places_of(annotation, plane, becomes):
        tile = tiles[row, column]
        new = tile.copy()
        for old, one in becomes.items():
            new[tile == np.uint32(old)] = one
        rect = Rect(row * TILE, column * TILE, TILE, TILE).intersect(annotation.plane_rect)
        yield plane, rect, new[: rect.height, : rect.width]


def _numbered_alike(one: Labels, other: Labels, locked: frozenset[int]) -> dict[int, int]:
    """Which labels of `other` must become which of `one` for a cell to have one number.

    Painted on two slices, a cell has two numbers. Those that share most pixels are matched first.
    """
    both = (objects_of(one) > 0) & (objects_of(other) > 0) & (classes_of(one) == classes_of(other))
    pairs, shared = np.unique(np.stack((one[both], other[both])), axis=1, return_counts=True)
    taken = set(np.unique(one).tolist()) & set(np.unique(other).tolist())
    becomes: dict[int, int] = {}
    for index in np.argsort(-shared, kind="stable").tolist():
        mine, theirs = (int(number) for number in pairs[:, index])
        if mine in taken or theirs in taken or class_of(theirs) in locked:
            continue
        taken |= {mine, theirs}
        becomes[theirs] = mine
    return becomes
