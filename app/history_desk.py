"""Goes back and forth in the history, as far as the history panel asks."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, QTimer, Slot

from app.document import Document
from app.panels.history import HistoryPanel
from unet_core.annotation import AnnotationError

_SLICE = 0.008
"""Seconds at a time: half a frame, so that the window goes on painting and listening."""


class HistoryDesk(QObject):
    """Between document and panel. A long way is gone step by step: all who listen to the document
    hear every undo and redo, as if they had been asked for one by one."""

    def __init__(self, document: Document, panel: HistoryPanel, parent: QObject) -> None:
        super().__init__(parent)
        self._document = document
        self._panel = panel
        self._target = 0
        self._reached = 0
        self._timer = QTimer(self, interval=0)
        self._timer.timeout.connect(self._go_on)
        document.stack_changed.connect(self.stop)
        document.edited.connect(self.stop)
        document.history_changed.connect(self.show_history)
        panel.position_chosen.connect(self.go_to)
        panel.stop_requested.connect(self.stop)

    @property
    def travelling(self) -> bool:
        """Whether the position that was asked for is not reached yet."""
        return self._timer.isActive()

    @Slot()
    def show_history(self) -> None:
        times, depths = self._document.annotation.shape[:2]
        self._panel.show_history(self._document.history, (times, depths))

    @Slot(int)
    def go_to(self, position: int) -> None:
        """Undo or redo until `position` edits are applied; a new wish replaces the former one."""
        self._document.end_stroke()
        history = self._document.history
        self._target = min(max(position, 0), len(history))
        self._reached = history.position
        self._timer.start()
        self._panel.set_travelling(True)

    @Slot()
    def stop(self) -> None:
        """Stay where the labels are now."""
        self._timer.stop()
        self._panel.set_travelling(False)

    @Slot()
    def _go_on(self) -> None:
        document, history = self._document, self._document.history
        until = time.perf_counter() + _SLICE
        while self.travelling and time.perf_counter() < until:
            # Who paints, undoes or redoes meanwhile wants to be here, not there.
            disturbed = document.stroking or history.position != self._reached
            if disturbed or self._reached == self._target:
                self.stop()
                return
            try:
                if self._reached > self._target:
                    document.undo()
                else:
                    document.redo()
            except AnnotationError:  # a damaged step: the window says so
                self.stop()
                raise
            self._reached = history.position
