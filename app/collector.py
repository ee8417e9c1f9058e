"""Python's cyclic garbage collection, in the GUI thread only.

Python collects in whichever thread happens to allocate, and a worker that destroys GUI objects
found in cycles crashes Qt. So collection is switched off, and a timer of the GUI thread does it.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Slot

INTERVAL_MS = 1000
FULL_EVERY = 60


class Collector(QObject):
    """Collects young objects every second and old ones every minute."""

    @classmethod
    def watch(cls, app: QCoreApplication | None) -> None:
        """See to it that `app` has a collector; with the first window there must be one."""
        if app is not None and app.findChild(cls) is None:
            cls(app)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._ticks = 0
        # What exists now lives as long as the program: it need never be looked at again.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._timer = QTimer(self, interval=INTERVAL_MS)
        self._timer.timeout.connect(self._collect)
        self._timer.start()

    @Slot()
    def _collect(self) -> None:
        self._ticks += 1
        gc.collect(2 if self._ticks % FULL_EVERY == 0 else 1)
