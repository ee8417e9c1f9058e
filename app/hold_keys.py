"""Tap a key to switch, hold it to switch only while it is down."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence

HOLD_SECONDS = 0.35


class HoldKeys(QObject):
    """Remembers which action's key went down, and takes the action back if it was held."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._action: QAction | None = None
        self._back: Callable[[], None] | None = None
        self._since = 0.0

    def pressed(self, action: QAction, back: Callable[[], None]) -> None:
        """`action` has just been carried out; `back` would take it back."""
        self._action, self._back, self._since = action, back, time.monotonic()

    def key_released(self, event: QKeyEvent) -> None:
        """Call with every key release of the window."""
        if event.isAutoRepeat() or self._action is None:
            return
        keys = [QKeySequence(event.key()), QKeySequence(event.keyCombination())]
        if any(key in self._action.shortcuts() for key in keys):
            self.release()

    def release(self) -> None:
        """The key is up, or the window can not know any more: it has lost the keyboard."""
        back, self._action, self._back = self._back, None, None
        if back is not None and time.monotonic() - self._since >= HOLD_SECONDS:
            back()
