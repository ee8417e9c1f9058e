"""Reading planes away from the GUI thread, and turning them into what the screen shows.

There is room for one request and one answer. A new request replaces an unread one, so a slider
that moves faster than the disk skips planes and nothing queues up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QThread, Signal, Slot

from app.display import GREY, TABLES, ChannelDisplay, Histogram, histogram, shown_table
from unet_core.stack import PlaneIndex, Stack, StackError

logger = logging.getLogger(__name__)

OVERVIEW_SIDE = 1024
"""Planes are halved for zoomed-out views until the longer side is at most this many pixels."""

_CHUNK = 1 << 18
"""Pixels converted at a time."""


@dataclass(frozen=True)
class LoadedPlane:
    """One plane, ready for the screen."""

    number: int
    """The number that `PlaneLoader.request` gave."""
    plane: PlaneIndex
    image: NDArray[np.uint8]
    """`(Y, X)` grey or `(Y, X, 3)` red, green, blue; C-contiguous."""
    overviews: tuple[NDArray[np.uint8], ...]
    """`image` at 1/2, 1/4, … of the size, each pixel the mean of 2 × 2 of the one before."""
    raw: NDArray[Any]
    """`(C, Y, X)` as `Stack.plane` gave it: the intensities in the file's own units."""
    histograms: tuple[Histogram, ...] = ()
    """Of each channel; of an RGB image one for all three."""


@dataclass(frozen=True)
class _Request:
    number: int
    stack: Stack
    plane: PlaneIndex
    displays: tuple[ChannelDisplay, ...]


@dataclass(frozen=True)
class _ReadPlane:
    """What does not depend on how it is shown: kept while only that changes."""

    stack: Stack
    plane: PlaneIndex
    raw: NDArray[Any]
    histograms: tuple[Histogram, ...]


@dataclass(frozen=True)
class _Failure:
    number: int
    plane: PlaneIndex
    sentence: str


class PlaneLoader(QThread):
    """A thread that reads the plane asked for last, and shows it anew where only that is asked.

    While requests come faster than planes can be read, each plane that was read is still
    delivered, in order: a slider being dragged shows that it moves. Nothing from before the last
    `forget` is delivered.
    """

    loaded = Signal(object)
    """A `LoadedPlane`."""
    failed = Signal(object, str)
    """The PlaneIndex asked for last could not be read, and one sentence why."""

    _answered = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._condition = threading.Condition()
        self._request: _Request | None = None
        self._answer: LoadedPlane | _Failure | None = None
        self._kept: _ReadPlane | None = None
        self._stopping = False
        self._newest = 0
        self._forgotten = 0  # answers up to this number are of no interest any more
        self._answered.connect(self._deliver)

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

    def forget(self) -> None:
        """Drop what was asked for and not delivered yet: the stack is about to change."""
        with self._condition:
            self._forgotten = self._newest
            self._request = None
            self._answer = None
            self._kept = None

    def stop(self) -> None:
        """End the thread; waits for the plane that is being read. Nothing can be loaded after."""
        with self._condition:
            self._stopping = True
            self._request = None
            self._answer = None
            self._kept = None
            self._condition.notify()
        self.wait()

    def run(self) -> None:
        while (request := self._next_request()) is not None:
            answer = self._load(request)
            with self._condition:
                if self._stopping:
                    return
                # An undelivered plane gives way to a newer one, so at most one is in flight.
                must_tell = self._answer is None
                self._answer = answer
            if must_tell:
                self._answered.emit()

    def _next_request(self) -> _Request | None:
        with self._condition:
            while self._request is None and not self._stopping:
                self._condition.wait()
            request, self._request = self._request, None
            return None if self._stopping else request

    def _load(self, request: _Request) -> LoadedPlane | _Failure:
        stack, plane = request.stack, request.plane
        try:
            read = self._read(request)
            image = to_display(read.raw, request.displays, is_rgb=stack.is_rgb)
            return LoadedPlane(
                request.number, plane, image, overviews(image), read.raw, read.histograms
            )
        except StackError as error:
            return _Failure(request.number, plane, str(error))
        except Exception as error:  # the thread must live on, and the user must be told
            logger.exception("plane %s could not be read", plane)
            name = stack.path.name
            return _Failure(
                request.number,
                plane,
                f"Plane t {plane.t + 1}, z {plane.z + 1} of {name} could not be read ({error}); "
                "check that the file is still there and complete.",
            )

    def _read(self, request: _Request) -> _ReadPlane:
        stack, plane, kept = request.stack, request.plane, self._kept
        if kept is not None and kept.stack is stack and kept.plane == plane:
            return kept
        raw = stack.plane(plane.t, plane.z)
        parts = [raw.reshape(-1, raw.shape[2])] if stack.is_rgb else raw
        read = _ReadPlane(stack, plane, raw, tuple(histogram(part) for part in parts))
        with self._condition:
            if request.number > self._forgotten:
                self._kept = read
        return read

    @Slot()
    def _deliver(self) -> None:
        with self._condition:
            answer, self._answer = self._answer, None
        if answer is None or answer.number <= self._forgotten:
            return
        if isinstance(answer, LoadedPlane):
            self.loaded.emit(answer)
        elif answer.number == self._newest:
            self.failed.emit(answer.plane, answer.sentence)


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
        image = _halve(image)
        levels.append(image)
    return tuple(levels)


def _halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 × 2 pixels; an odd last row or column stands for itself."""
    height, width = image.shape[:2]
    result = np.empty(((height + 1) // 2, (width + 1) // 2, *image.shape[2:]), np.uint8)
    rows = max(1, _CHUNK // max(1, width)) // 2 + 1
    for y in range(0, len(result), rows):
        part = image[2 * y : 2 * (y + rows)].astype(np.uint16)
        if len(part) % 2:
            part = np.concatenate((part, part[-1:]))
        if width % 2:
            part = np.concatenate((part, part[:, -1:]), axis=1)
        both = part[0::2] + part[1::2]
        result[y : y + rows] = (both[:, 0::2] + both[:, 1::2] + 2) >> 2
    return result
