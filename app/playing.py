"""Playing through time, or through the slices of a stack without time."""

from __future__ import annotations

from PySide6.QtCore import QElapsedTimer, QEvent, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QMouseEvent

from app.document import Document
from app.viewport import Viewport

SLOWEST, FASTEST = 1, 30
"""Planes a second."""
USUAL = 10


class Player(QObject):
    """Goes to the next plane once the one before has been seen long enough, round and round.

    A plane counts as seen only when the viewport shows it: a slow disk makes it slower, and
    nothing is skipped. Whoever presses a button to paint, changes labels or opens another image
    stops it.
    """

    playing_changed = Signal(bool)

    def __init__(self, document: Document, viewport: Viewport, parent: QObject) -> None:
        super().__init__(parent)
        self._document = document
        self._viewport = viewport
        self.rate = USUAL
        """Planes a second, if they can be read so fast."""
        self._playing = False
        self._since = QElapsedTimer()
        self._timer = QTimer(self, singleShot=True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._step)
        document.stack_changed.connect(self.stop)
        document.history_changed.connect(self.stop)
        viewport.plane_shown.connect(self._wait)
        viewport.plane_failed.connect(self.stop)

    @property
    def playing(self) -> bool:
        return self._playing

    @Slot(int)
    def set_rate(self, rate: int) -> None:
        """Show `rate` planes a second, 1 to 30."""
        self.rate = min(max(rate, SLOWEST), FASTEST)

    @Slot(bool)
    def set_playing(self, playing: bool) -> None:
        """Begin where the document is, or stop there."""
        stack = self._document.stack
        playing = playing and stack is not None and stack.shape[0] * stack.shape[1] > 1
        if playing != self._playing:
            self._playing = playing
            if playing:
                self._viewport.installEventFilter(self)
                self._since.start()
                self._wait()
            else:
                self._viewport.removeEventFilter(self)
                self._timer.stop()
        # Also where nothing has changed: who asked may have to be told otherwise.
        self.playing_changed.emit(self._playing)

    @Slot()
    def stop(self) -> None:
        if self._playing:
            self.set_playing(False)

    @Slot()
    def _wait(self) -> None:
        """Let the plane be seen for as long as is left of its time."""
        shown = self._viewport.shown
        if self._playing and self._viewport.paintable and shown is not None and shown.complete:
            # At least through the event loop: the plane must be painted before the next comes.
            self._timer.start(max(0, 1000 // self.rate - self._since.elapsed()))

    @Slot()
    def _step(self) -> None:
        document = self._document
        if document.stack is None or document.stroking:
            self.stop()
            return
        if not self._viewport.paintable:
            return  # somebody has gone elsewhere: on from there, as soon as it is shown
        self._since.restart()
        (times, depths), (t, z) = document.stack.shape[:2], document.plane
        if times > 1:
            document.set_plane((t + 1) % times, z)
        else:
            document.set_plane(t, (z + 1) % depths)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Only while it plays: a press that paints, and is not there to pan, stops it."""
        if (
            event.type() == QEvent.Type.MouseButtonPress
            and isinstance(event, QMouseEvent)
            and event.button() != Qt.MouseButton.MiddleButton
            and self._document.tool != "pan"
        ):
            self.stop()
        return False
