"""Tap a key to switch, hold it to switch only while it is down."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QTimer, Slot
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence

HOLD_SECONDS = 0.35

REPEAT_MS = 40
"""X11 repeats a held key as a release and a press at the same moment, which Qt marks as repeated
only where it finds both at once, and a busy window often does not. So a key is up when its release
is not followed by another press within this time; no finger is as fast."""


class HoldKeys(QObject):
    """Remembers which action's key went down, and takes the action back if it was held."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._action: QAction | None = None
        self._back: Callable[[], None] | None = None
        self._since = self._until = 0.0
        self._up = QTimer(self, singleShot=True, interval=REPEAT_MS)
        self._up.timeout.connect(self._take_back)

    def holds(self, action: QAction) -> bool:
        """Whether the key of `action` is down, as far as is known."""
        return self._action is action

    def pressed(self, action: QAction, back: Callable[[], None]) -> None:
        """`action` has just been carried out; `back` would take it back."""
        self._up.stop()
        if self._action is not None:
            self._action.removeEventFilter(self)
        self._action, self._back, self._since = action, back, time.monotonic()
        action.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The key's next press, right after its release: it has been down all the time."""
        if event.type() != QEvent.Type.Shortcut or not self._up.isActive():
            return False
        self._up.stop()
        return True

    def key_released(self, event: QKeyEvent) -> None:
        """Call with every key release of the window."""
        if event.isAutoRepeat() or self._action is None:
            return
        keys = [QKeySequence(event.key()), QKeySequence(event.keyCombination())]
        if any(key in self._action.shortcuts() for key in keys):
            self._until = time.monotonic()
            self._up.start()

    def settle(self) -> None:
        """Another key is at work: one that has come up just now is up."""
        if self._up.isActive():
            self._take_back()

    def release(self) -> None:
        """The window can not know any more whether the key is down: it has lost the keyboard."""
        if not self._up.isActive():
            self._until = time.monotonic()
        self._take_back()

    @Slot()
    def _take_back(self) -> None:
        self._up.stop()
        if self._action is not None:
            self._action.removeEventFilter(self)
        back, self._action, self._back = self._back, None, None
        if back is not None and self._until - self._since >= HOLD_SECONDS:
            back()
