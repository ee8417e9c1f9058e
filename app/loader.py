"""Reading planes away from the GUI thread, and turning them into what the screen shows.

There is room for one request and one answer. A new request replaces an unread one, so a slider
that moves faster than the disk skips planes and nothing queues up.

Of a large plane first a small overview comes, then the blocks in view: see `large_plane`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QThread, Signal, Slot

from app.display import GREY, TABLES, ChannelDisplay, Histogram, histogram, shown_table
from app.large_plane import OVERVIEW_SIDE, LargePlane, PixelCache, Where, halved_plane
from unet_core.stack import PlaneIndex, Stack, StackError
from unet_core.tiling import Rect

logger = logging.getLogger(__name__)

MEMORY = 2**30
"""Bytes that what has been read may take, unless `PlaneLoader.set_memory` is told else."""

PAGES_SHARE = 8
"""This part of the memory is for whole pages that a stack keeps, the rest for large planes."""

SHOW_SECONDS = 0.1
"""While the overview of a large plane is made, what there is of it is given at most this often."""

PREPARED_SECONDS = 0.2
"""The next plane is prepared where the present one took no longer than this."""

MEASURED_AFTER = 0.1
"""Histograms of a plane are made when nothing else was wanted for so many seconds: who walks on
through a stack does not look at them, and they would keep the next plane waiting."""

HATCH = 6
HATCHED = 90, 30
"""What can not be read is shown as diagonal lines, so many pixels wide, of these two greys."""

LACKING = "What cannot be read of this plane is hatched; the rest can be used."

_CHUNK = 1 << 18
"""Pixels converted at a time."""


class Histograms:
    """Those of a plane, worked out once: the plane is on the screen before. For any thread."""

    def __init__(self, raw: NDArray[Any], *, is_rgb: bool) -> None:
        """Of each channel of `raw` `(C, Y, X)`; of an RGB image one for all three."""
        self._parts = [raw.reshape(-1, raw.shape[2])] if is_rgb else list(raw)
        self._found: tuple[Histogram, ...] | None = None

    def get(self) -> tuple[Histogram, ...]:
        if self._found is None:
            self._found = tuple(histogram(part) for part in self._parts)
        return self._found


@dataclass(frozen=True)
class LoadedPlane:
    """One plane, ready for the screen; of a large one its overview, as far as it has been read."""

    number: int
    """The number that `PlaneLoader.request` gave."""
    plane: PlaneIndex
    image: NDArray[np.uint8]
    """`(Y, X)` grey or `(Y, X, 3)` red, green, blue; C-contiguous."""
    overviews: tuple[NDArray[np.uint8], ...]
    """`image` at 1/2, 1/4, … of the size, each pixel the mean of 2 × 2 of the one before."""
    raw: NDArray[Any]
    """`(C, Y, X)` of the image's size: the intensities in the file's own units."""
    measured: Histograms | None = None
    """See `histograms`."""
    large: LargePlane | None = None
    """Where the rest of a large plane comes from; None where `image` is the plane at full size."""
    pieces: tuple[Piece, ...] = ()
    """Blocks of a large plane that are ready at once."""

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        """Of each channel; of an RGB image one for all three. Of a large plane's overview, where
        single bright pixels are lost in the mean. Worked out at the first look."""
        return () if self.measured is None else self.measured.get()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the plane at full size."""
        return (self.raw.shape[1], self.raw.shape[2]) if self.large is None else self.large.size

    @property
    def complete(self) -> bool:
        """Whether the whole plane is to be seen, be it in the overview."""
        return self.large is None or self.large.complete

    @property
    def level(self) -> int:
        """How many times the plane was halved to give `image`."""
        return 0 if self.large is None else self.large.coarsest

    def values_at(self, y: int, x: int) -> NDArray[Any] | None:
        """The intensities `(C,)` of a pixel; None where the plane has not been read so finely."""
        return self.raw[:, y, x] if self.large is None else self.large.values_at(y, x)


@dataclass(frozen=True)
class Piece:
    """A block of a large plane, ready for the screen."""

    number: int
    """That of the newest request when it was made: it tells in which colours it is."""
    plane: PlaneIndex
    at: Where
    image: NDArray[np.uint8]
    """As in LoadedPlane."""


@dataclass(frozen=True)
class View:
    """What is to be seen of a large plane."""

    wanted: tuple[Where, ...]
    """The blocks in view, those to be read first first."""
    missing: tuple[Where, ...]
    """Those among them that the screen does not show yet."""


@dataclass(frozen=True)
class _Request:
    number: int
    stack: Stack
    plane: PlaneIndex
    displays: tuple[ChannelDisplay, ...]


@dataclass(frozen=True)
class _Prepared:
    """A plane as it was asked for, or probably will be."""

    request: _Request
    loaded: LoadedPlane

    def is_of(self, request: _Request) -> bool:
        """Whether it is the same plane, however it is shown."""
        return self.request.stack is request.stack and self.request.plane == request.plane

    def answers(self, request: _Request) -> bool:
        return self.is_of(request) and self.request.displays == request.displays


@dataclass(frozen=True)
class _Failure:
    number: int
    plane: PlaneIndex
    sentence: str


@dataclass
class _LargeShown:
    """The large plane that is shown, and how."""

    request: _Request
    large: LargePlane
    given: float
    """When its overview was given last, by `time.monotonic`."""
    told: bool = False
    """Whether the user knows that a part can not be read."""


_Result = tuple["LoadedPlane | _Failure | None", list[Piece]]
_Work = Callable[[], _Result]


class PlaneLoader(QThread):
    """A thread that reads the plane asked for last, and shows it anew where only that is asked.

    While requests come faster than planes can be read, each plane that was read is still
    delivered, in order: a slider being dragged shows that it moves. Nothing from before the last
    `forget` is delivered. With nothing to do it prepares the next plane of a walk through a stack.
    """

    loaded = Signal(object)
    """A `LoadedPlane`."""
    pieces = Signal(object)
    """A list of `Piece`, of the plane loaded last."""
    measured = Signal(object)
    """The histograms of this `LoadedPlane` are ready: looking at them takes no time any more."""
    incomplete = Signal(str)
    """One sentence: a part of the large plane loaded last can not be read, and is hatched."""
    failed = Signal(object, str)
    """The PlaneIndex asked for last could not be read, and one sentence why."""

    _answered = Signal()
    _counted = Signal(object)
    _lacking = Signal(int, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._condition = threading.Condition()
        self._request: _Request | None = None
        self._answer: LoadedPlane | _Failure | None = None
        self._pieces: list[Piece] = []
        # Given last, given before that (people go to and fro to compare), and perhaps wanted next.
        self._last: _Prepared | None = None
        self._before: _Prepared | None = None
        self._ahead: _Prepared | None = None
        self._unmeasured: LoadedPlane | None = None
        self._walk = 0, 0
        self._expected: _Request | None = None
        self._shown: _LargeShown | None = None
        self._view = View((), ())
        self._todo: list[Where] = []  # blocks in view, to be given still
        self._cache = PixelCache(0)
        self._pages_bytes = 0
        self.set_memory(MEMORY)
        self._telling = False
        self._stopping = False
        self._newest = 0
        self._forgotten = 0  # answers up to this number are of no interest any more
        self._answered.connect(self._deliver)
        self._counted.connect(self._tell_measured)
        self._lacking.connect(self._tell_incomplete)

    @property
    def newest(self) -> int:
        """The number of the newest request."""
        return self._newest

    def request(self, stack: Stack, plane: PlaneIndex, displays: Sequence[ChannelDisplay]) -> int:
        """Ask for a plane in place of any that waits; returns the request's number.

        Starts the thread at the first call. `displays` has one entry a channel, see `to_display`.
        """
        self._newest += 1
        request = _Request(self._newest, stack, plane, tuple(displays))
        with self._condition:
            if self._stopping:
                return self._newest
            self._request = request
            self._condition.notify()
        if not self.isRunning():
            self.start()
        return self._newest

    def look_at(self, view: View) -> None:
        """Give the blocks that are missing in this view, and no longer those of the view before."""
        with self._condition:
            self._view, self._todo = view, list(view.missing)
            self._condition.notify()

    def set_memory(self, limit: int) -> None:
        """Keep at most `limit` bytes of what has been read, besides what is on the screen."""
        self._pages_bytes = limit // PAGES_SHARE
        self._cache.limit = limit - self._pages_bytes

    def forget(self) -> None:
        """Drop what was asked for and not delivered yet: the stack is about to change."""
        with self._condition:
            self._forgotten = self._newest
            self._drop()

    def stop(self) -> None:
        """End the thread; waits for what is being read. Nothing can be loaded after."""
        with self._condition:
            self._stopping = True
            self._drop()
            self._condition.notify()
        self.wait()

    def _drop(self) -> None:
        self._request = None
        self._answer = None
        self._last = self._before = self._ahead = None
        self._unmeasured = None
        self._expected = None
        self._shown = None
        self._view, self._todo = View((), ()), []
        self._pieces.clear()
        self._cache.clear()

    def run(self) -> None:
        while (work := self._next_work()) is not None:
            answer, pieces = work()
            with self._condition:
                if self._stopping:
                    return
                # An undelivered plane gives way to a newer one, so at most one is in flight.
                self._answer = answer or self._answer
                if isinstance(answer, LoadedPlane):
                    self._unmeasured = answer
                self._pieces += pieces
                must_tell = not self._telling and bool(answer or pieces)
                self._telling |= must_tell
            if must_tell:
                self._answered.emit()

    def _next_work(self) -> _Work | None:
        """What to do next: another plane or look before a block in view before the overview."""
        with self._condition:
            while not self._stopping:
                shown = self._shown
                if self._request is not None:
                    request, self._request = self._request, None
                    return partial(self._guarded, request, self._load)
                if shown is not None:
                    ready = next(filter(shown.large.ready, self._todo), None)
                    if ready is not None:
                        self._todo.remove(ready)
                        give = partial(self._give, shown, ready)
                        return partial(self._guarded, shown.request, give)
                    if not shown.large.complete:
                        read_on = partial(self._read_on, shown)
                        return partial(self._guarded, shown.request, read_on)
                # The window first takes what it asked for: two threads of Python hinder each other.
                if self._expected is not None and not self._telling:
                    expected, self._expected = self._expected, None
                    return partial(self._prepare, expected)
                if (plane := self._unmeasured) is not None:
                    if self._condition.wait(MEASURED_AFTER) or self._unmeasured is not plane:
                        continue  # something else is wanted first, or this no longer
                    self._unmeasured = None
                    return partial(self._measure, plane)
                self._condition.wait()
            return None

    def _guarded(self, request: _Request, work: Callable[[_Request], _Result]) -> _Result:
        """What `work` gives; where it fails, why."""
        stack, plane = request.stack, request.plane
        try:
            return work(request)
        except StackError as error:
            sentence = str(error)
        except Exception as error:  # the thread must live on, and the user must be told
            logger.exception("plane %s could not be read", plane)
            sentence = (
                f"Plane t {plane.t + 1}, z {plane.z + 1} of {stack.path.name} could not be read "
                f"({error}); check that the file is still there and complete."
            )
        with self._condition:
            self._shown = None
        return _Failure(request.number, plane, sentence), []

    def _load(self, request: _Request) -> _Result:
        request.stack.cache_bytes = self._pages_bytes
        if request.stack.is_large:
            return self._load_large(request)
        with self._condition:
            self._shown = None
        began, last = time.monotonic(), self._last
        known = (self._ahead, self._before, last)
        ready = next((one.loaded for one in known if one and one.answers(request)), None)
        if ready is not None:
            loaded = replace(ready, number=request.number)
        elif last is not None and last.is_of(request):
            loaded = _ready(request, last.loaded.raw, last.loaded.measured)
        else:
            loaded = _read(request)
        with self._condition:
            if request.number > self._forgotten:
                if last is not None and not last.is_of(request):
                    self._before = last
                self._last = _Prepared(request, loaded)
                self._walk = _step(request, None if last is None else last.request, self._walk)
                # Where reading is slow, a wrong guess would keep the right plane waiting.
                quick = time.monotonic() - began < PREPARED_SECONDS
                self._expected = _further(request, self._walk) if quick else None
                if self._ahead and self._expected and self._ahead.answers(self._expected):
                    self._expected = None
                else:
                    self._ahead = None
        return loaded, []

    def _measure(self, plane: LoadedPlane) -> _Result:
        """Work out the histograms of what has been given."""
        _ = plane.histograms
        self._counted.emit(plane)
        return None, []

    def _prepare(self, expected: _Request) -> _Result:
        """Get a plane ready that nobody has asked for; if it cannot be read, nobody is told."""
        try:
            ahead = _Prepared(expected, _read(expected))
        except Exception:
            logger.debug("plane %s could not be prepared", expected.plane, exc_info=True)
            return None, []
        with self._condition:
            if expected.number > self._forgotten:
                self._ahead = ahead
        return None, []

    # --- large planes ------------------------------------------------------------------------

    def _load_large(self, request: _Request) -> _Result:
        """Begin with another large plane, or show the same one in other colours."""
        former = self._shown
        large = former.large if former is not None else None
        if large is None or large.stack is not request.stack or large.plane != request.plane:
            large = LargePlane(request.stack, request.plane, self._cache)
            if not large.complete:
                large.read_on()  # so that there is something to be seen
        told = former is not None and former.large is large and former.told
        shown = _LargeShown(request, large, time.monotonic(), told)
        with self._condition:
            if request.number <= self._forgotten:
                return None, []
            self._shown = shown
            # Another plane is looked at through the same window: what is wanted stays the same.
            now = [at for at in self._view.wanted if large.kept(at)]
            self._todo = [at for at in self._view.wanted if at not in now]
        return self._overview(shown), [self._piece(shown, at) for at in now]

    def _give(self, shown: _LargeShown, at: Where, _request: _Request) -> _Result:
        return None, [self._piece(shown, at)]

    def _read_on(self, shown: _LargeShown, _request: _Request) -> _Result:
        shown.large.read_on()
        now = time.monotonic()
        if not shown.large.complete and now - shown.given < SHOW_SECONDS:
            return None, []
        shown.given = now
        return self._overview(shown), []

    def _overview(self, shown: _LargeShown) -> LoadedPlane:
        request, large = shown.request, shown.large
        raw, is_rgb = large.overview.copy(), request.stack.is_rgb  # more may be written into it
        image = to_display(raw, request.displays, is_rgb=is_rgb)
        rows = -(-large.rows_read >> large.coarsest)
        image[rows:] = 0
        self._hatch(shown, image, Rect(0, 0, *image.shape[:2]), large.coarsest)
        measured = Histograms(raw[:, :rows], is_rgb=is_rgb)
        return LoadedPlane(request.number, request.plane, image, (), raw, measured, large)

    def _piece(self, shown: _LargeShown, at: Where) -> Piece:
        request = shown.request
        raw = shown.large.block(at)
        image = to_display(raw, request.displays, is_rgb=request.stack.is_rgb)
        self._hatch(shown, image, at.rect, at.level)
        return Piece(request.number, request.plane, at, image)

    def _hatch(self, shown: _LargeShown, image: NDArray[np.uint8], rect: Rect, level: int) -> None:
        """Mark what can not be read in the picture of `rect`, in pixels of its level."""
        for part in shown.large.missing_in(rect, level):
            y, x = part.y - rect.y, part.x - rect.x
            rows, columns = np.ogrid[part.y : part.bottom, part.x : part.right]
            lines = np.where((rows + columns) // HATCH % 2, *HATCHED).astype(np.uint8)
            target = image[y : y + part.height, x : x + part.width]
            lines = lines[: target.shape[0], : target.shape[1]]
            target[...] = lines if image.ndim == 2 else lines[..., None]
        if shown.large.missing and not shown.told:
            shown.told = True
            reason = next(iter(shown.large.missing.values()))
            self._lacking.emit(shown.request.number, f"{reason} {LACKING}")

    @Slot()
    def _deliver(self) -> None:
        with self._condition:
            answer, self._answer = self._answer, None
            pieces, self._pieces = self._pieces, []
            self._telling = False
            self._condition.notify()
        if isinstance(answer, _Failure):
            if answer.number == self._newest > self._forgotten:
                self.failed.emit(answer.plane, answer.sentence)
        elif answer is not None and answer.number > self._forgotten:
            self.loaded.emit(replace(answer, pieces=tuple(pieces)))
        elif pieces := [piece for piece in pieces if piece.number > self._forgotten]:
            self.pieces.emit(pieces)

    @Slot(int, str)
    def _tell_incomplete(self, number: int, sentence: str) -> None:
        if number > self._forgotten:
            self.incomplete.emit(sentence)

    @Slot(object)
    def _tell_measured(self, plane: LoadedPlane) -> None:
        if plane.number > self._forgotten:
            self.measured.emit(plane)


def _read(request: _Request) -> LoadedPlane:
    raw = request.stack.plane(*request.plane)
    return _ready(request, raw, Histograms(raw, is_rgb=request.stack.is_rgb))


def _ready(request: _Request, raw: NDArray[Any], measured: Histograms | None) -> LoadedPlane:
    image = to_display(raw, request.displays, is_rgb=request.stack.is_rgb)
    return LoadedPlane(request.number, request.plane, image, overviews(image), raw, measured)


def _step(request: _Request, former: _Request | None, before: tuple[int, int]) -> tuple[int, int]:
    """How many planes the next request will probably go on, (t, z); `before` was thought so far.

    As now; forwards from the first plane; by nothing after a jump.
    """
    if former is None:
        return (0, 1) if request.stack.shape[1] > 1 else (1, 0)
    t, z = request.plane.t - former.plane.t, request.plane.z - former.plane.z
    if abs(t) + abs(z) == 0:  # it is only shown in another way
        return before
    return (t, z) if abs(t) + abs(z) == 1 else (0, 0)


def _further(request: _Request, step: tuple[int, int]) -> _Request | None:
    """The same request for the plane so many planes away; None where there is none."""
    times, slices = request.stack.shape[:2]
    t, z = request.plane.t + step[0], request.plane.z + step[1]
    if step == (0, 0) or not (0 <= t < times and 0 <= z < slices):
        return None
    return replace(request, plane=PlaneIndex(t, z))


def to_display(
    raw: NDArray[Any], displays: Sequence[ChannelDisplay], *, is_rgb: bool
) -> NDArray[np.uint8]:
    """8-bit picture of `raw` `(C, Y, X)`, whose channel c is shown as `displays[c]` says.

    Several visible channels are added up, saturating, `(Y, X, 3)`; a single one is grey `(Y, X)` if
    its look-up table is. RGB stacks keep their colours, all with the range and gamma of the first.
    Values that are not numbers are shown as the lowest level.
    """
    channels, height, width = raw.shape
    shown = [c for c in range(channels) if displays[c].visible]
    colored = len(shown) > 1 or is_rgb
    if not colored:
        if not shown:
            return np.zeros((height, width), np.uint8)
        display = displays[shown[0]]
        levels = _to_8_bit(raw[shown[0]], display)
        table = shown_table(display, shown[0], alone=True)
        if table is TABLES[GREY]:
            return levels
        if (table == table[:, :1]).all():
            return table[:, 0][levels]
        return np.take(table, levels, axis=0)
    result = np.zeros((height, width, 3), np.uint8)
    for channel in shown:
        if is_rgb:
            result[..., channel] = _to_8_bit(raw[channel], displays[0])
        else:
            levels = _to_8_bit(raw[channel], displays[channel])
            _add_colored(result, levels, shown_table(displays[channel], channel, alone=False))
    return result


def _to_8_bit(values: NDArray[Any], display: ChannelDisplay) -> NDArray[np.uint8]:
    """Levels 0…255 of `values` `(Y, X)`; what is outside the range is clipped, NaN is 0."""
    table = None
    if values.dtype.itemsize <= 2 and values.dtype.kind in "iub":
        # Few enough values for a table of all of them. Signed ones are indexed by their bits.
        every = np.arange(256**values.dtype.itemsize).astype(f"u{values.dtype.itemsize}")
        table = _scale(every.view(values.dtype), display)
        values = values.view(every.dtype)
    result = np.empty(values.shape, np.uint8)
    # A few rows at a time stay in the processor's cache, and need little memory besides.
    rows = max(1, _CHUNK // max(1, values.shape[1]))
    for y in range(0, len(values), rows):
        part, target = values[y : y + rows], result[y : y + rows]
        if table is None:
            target[:] = _scale(part, display)
        else:
            np.take(table, part, out=target, mode="clip")
    return result


def _scale(values: NDArray[Any], display: ChannelDisplay) -> NDArray[np.uint8]:
    low, high = display.low, display.high
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values.astype(np.float32)
        scaled -= np.float32(low)
        scaled *= np.float32(255 / (high - low) if high > low else 1.0)
    if display.gamma != 1:
        np.clip(scaled, 0, 255, out=scaled)  # NaN stays
        scaled /= 255
        scaled **= np.float32(display.gamma)
        scaled *= 255
    scaled += np.float32(0.5)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _add_colored(
    target: NDArray[np.uint8], levels: NDArray[np.uint8], table: NDArray[np.uint8]
) -> None:
    """Add the colours `table` `(256, 3)` of `levels` `(Y, X)` to `target` `(Y, X, 3)` in place,
    saturating at 255."""
    rows = max(1, _CHUNK // max(1, levels.shape[1]))
    for component in range(3):
        column = table[:, component].astype(np.uint16)
        if not column.any():
            continue
        for y in range(0, len(levels), rows):
            part = target[y : y + rows, :, component]
            total = np.take(column, levels[y : y + rows])
            total += part
            part[:] = np.minimum(total, 255, out=total)


def overviews(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """`image` halved again and again, until the longer side is at most `OVERVIEW_SIDE`."""
    levels: list[NDArray[np.uint8]] = []
    while max(image.shape[:2]) > OVERVIEW_SIDE:
        image = halved_plane(image)
        levels.append(image)
    return tuple(levels)
