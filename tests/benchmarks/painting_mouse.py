"""What both drivers of the painting benchmark share: the mouse, and when something is on screen.

Runs in Limn's environment and in napari's, with whichever binding of Qt is there. `painting.py`
says what is measured.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINDING = "PySide6" if find_spec("PySide6") else "PyQt6"
QtCore: Any = import_module(f"{BINDING}.QtCore")
QtGui: Any = import_module(f"{BINDING}.QtGui")

CANVAS = (1024, 768)
"""Width and height of both programs' canvases in pixels."""

PACE = 0.016
"""Seconds from one event to the next, of a mouse that reports 60 times a second. vispy drops
moves that come within 10 ms of the one before, so a faster one would be kinder to nobody."""

WARM_UP = 20
"""Events of the stroke before the measured one, which pays for whatever is done but once."""

PATIENCE = 300.0

THRESHOLDS = range(98, 158)
"""Steps of the threshold, in 1/256."""

Act = Callable[[], object]


class Eyes(QtCore.QObject):  # type: ignore[misc, unused-ignore]
    """Sees when a widget is painted."""

    def __init__(self, widget: Any) -> None:
        super().__init__()
        self._widget = widget
        self._awaited: Callable[[], bool] = lambda: True
        self._painted = False
        self._changed = self._delivered = False
        self._last = time.perf_counter()
        self.until_changed = 0.0
        """Milliseconds from the last act until the first time that labels had changed."""
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """Qt's: called before the widget gets `event`."""
        kind = event.type()
        if kind == QtCore.QEvent.Type.Paint and not self._painted:
            self._painted = self._awaited()
        elif kind in (QtCore.QEvent.Type.MouseMove, QtCore.QEvent.Type.MouseButtonPress):
            self._delivered = True
        return False

    def note_change(self, *_: object) -> None:
        """To be connected to what the program says when labels have changed."""
        if not self._changed:
            self._changed = True
            self.until_changed = (time.perf_counter() - self._last) * 1000

    def delivered(self) -> bool:
        """Whether the widget has got the mouse event that was posted last."""
        return self._delivered

    def until_painted(self, act: Act, awaited: Callable[[], bool] = lambda: True) -> float:
        """Milliseconds from `act` until the first paint after `awaited` holds has been handled.

        Before, `PACE` seconds after the last act at the earliest, all that is still waiting is
        done, outside the timing.
        """
        while True:
            QtCore.QCoreApplication.processEvents()
            if time.perf_counter() >= self._last + PACE:
                break
            time.sleep(0.001)
        self._awaited = awaited
        self._painted = self._changed = self._delivered = False
        began = self._last = time.perf_counter()
        act()
        self.wait_for_paint()
        return (time.perf_counter() - began) * 1000

    def wait_for_paint(self) -> None:
        """Return when the paint that is waited for has been handled: at first, any at all."""
        while not self._painted:
            QtCore.QCoreApplication.processEvents(
                QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents
            )

    def move_mouse(self, kind: str, position: tuple[float, float]) -> None:
        """Post a QMouseEvent: `kind` is "Press", "Move" or "Release", `position` x, y."""
        left, none = QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.MouseButton.NoButton
        at = QtCore.QPointF(*position)
        event = QtGui.QMouseEvent(
            getattr(QtCore.QEvent.Type, f"MouseButton{kind}" if kind != "Move" else "MouseMove"),
            at,
            QtCore.QPointF(self._widget.mapToGlobal(at)),
            none if kind == "Move" else left,
            none if kind == "Release" else left,
            QtCore.Qt.KeyboardModifier.NoModifier,
        )
        QtCore.QCoreApplication.postEvent(self._widget, event)

    def stroke(self, events: int, count: Callable[[], int], undo: Act) -> dict[str, Any]:
        """A warm-up that is undone again, then a stroke of so many moves, and its undo.

        `count` gives the number of pixels painted, which tells whether both programs did the same.
        """
        before = count()
        self._paint(path(events)[:WARM_UP])
        self.until_painted(undo)
        assert count() == before, "one stroke is one step back"
        times, handled = self._paint(path(events))
        pixels = count() - before
        return {
            "event": times,
            "handled": handled,
            "undo": [self.until_painted(undo)],
            "pixels": pixels,
        }

    def _paint(self, points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
        """Milliseconds until each move is painted, and until those that do so change labels."""
        self.until_painted(partial(self.move_mouse, "Press", points[0]), self.delivered)
        painted, handled = [], []
        for point in points[1:]:
            act = partial(self.move_mouse, "Move", point)
            painted.append(self.until_painted(act, self.delivered))
            if self._changed:
                handled.append(self.until_changed)
        self.move_mouse("Release", points[-1])
        wait(0.1)
        return painted, handled


def path(events: int) -> list[tuple[float, float]]:
    """From the press over `events` moves to the release, x and y: three waves over the canvas."""
    width, height = CANVAS
    return [
        (
            round(width * (0.1 + 0.8 * i / events)) + 0.5,
            round(height * (0.5 + 0.35 * math.sin(6 * math.pi * i / events))) + 0.5,
        )
        for i in range(events + 1)
    ]


def wait(seconds: float) -> None:
    """Let the program work for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QtCore.QCoreApplication.processEvents()
        time.sleep(0.002)


def wait_until(holds: Callable[[], bool]) -> None:
    """Let the program work until something holds; TimeoutError after `PATIENCE` seconds."""
    end = time.perf_counter() + PATIENCE
    while not holds():
        if time.perf_counter() > end:
            raise TimeoutError(f"nothing came of it in {PATIENCE} s")
        wait(0.002)


def fit_canvas(window: Any, canvas: Any) -> None:
    """Resize `window` so that `canvas` has its size."""
    for _ in range(5):
        missing = CANVAS[0] - canvas.width(), CANVAS[1] - canvas.height()
        window.resize(window.width() + missing[0], window.height() + missing[1])
        wait(0.2)
        if (canvas.width(), canvas.height()) == CANVAS:
            return
    raise RuntimeError(f"the canvas is {canvas.width()} × {canvas.height()}, not {CANVAS}")


def probability(side: int) -> NDArray[np.uint8]:
    """A map `(side, side)` as a network may give: blobs with soft edges, 0…255."""
    wave = np.sin(np.arange(side) / 40)
    return np.rint(127.5 * (1 + wave[:, None] * wave)).astype(np.uint8)


def private_memory() -> int:
    """Bytes of this process's memory that belong to it alone; 0 where that is not known."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def answer(result: dict[str, Any]) -> None:
    """Hand `result` to the command and end the process, whatever still runs in it."""
    print("RESULT " + json.dumps(result), flush=True)
    sys.stderr.flush()
    os._exit(0)
