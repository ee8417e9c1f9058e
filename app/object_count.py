"""How many objects the prediction shows: counted in a thread, the newest question wins."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from PySide6.QtCore import QElapsedTimer, QObject, QTimer, Signal, Slot

from app.jobs import Job
from app.layers import PredictionLayer
from unet_core.tiling import Rect

DELAY_MS = 120
LARGE = 2**21
"""More pixels than these take longer to count than a slider's next step: the count waits until it
rests, but not longer than `LONGEST_MS`."""
LONGEST_MS = 1000
WHOLE_PLANE = 2**26
"""Up to so many pixels the whole plane is counted, beyond that only what is in view."""


class ObjectCounter(QObject):
    """Counts `DELAY_MS` after a request, one count at a time."""

    counted = Signal(object)
    """The number of objects, an int; None where nothing has been predicted."""
    finished = Signal()
    """After `shutdown`: the last count has ended."""

    def __init__(self, layer: PredictionLayer, parent: QObject) -> None:
        super().__init__(parent)
        self._layer = layer
        self._area = Rect(0, 0, 0, 0)
        self._job: Job | None = None
        self._again = False
        self._closing = False
        self._asked = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._start)

    @property
    def job(self) -> Job | None:
        """The count that runs now."""
        return self._job

    def request(self, plane: Rect, view: Rect) -> None:
        """Count soon: the prediction, the threshold or the plane has changed."""
        whole = plane.height * plane.width <= WHOLE_PLANE
        self._area = plane if whole else view
        if self._closing:
            return
        if not self._timer.isActive():
            self._asked.start()
            self._timer.start()
        elif self._area.height * self._area.width > LARGE and self._asked.elapsed() < LONGEST_MS:
            self._timer.start()

    def shutdown(self) -> bool:
        """Count nothing any more. True while a count still runs; then `finished` will come."""
        self._closing = True
        self._timer.stop()
        self._again = False
        return self._job is not None

    @Slot()
    def _start(self) -> None:
        if self._job is not None:
            self._again = True
            return
        if self._layer.empty or self._area.empty:
            self.counted.emit(None)
            return
        # A snapshot: the layer goes on changing in the GUI thread.
        self._job = Job(_Count(self._layer.snapshot(), self._area), self)
        self._job.succeeded.connect(self.counted)
        self._job.finished.connect(self._finished)
        self._job.start()

    @Slot()
    def _finished(self) -> None:
        if self._job is not None:
            self._job.deleteLater()
        self._job = None
        if self._closing:
            # Not the job's own signal: that may be on its way before anyone listens to it.
            self.finished.emit()
        elif self._again:
            self._again = False
            self._start()


class _Count:
    def __init__(self, layer: PredictionLayer, area: Rect) -> None:
        self._layer, self._area = layer, area

    def __call__(self) -> Generator[None, None, int]:
        yield
        # Here, not above: scikit-image takes its time, and the window need not wait for it.
        from unet_core.objects import count_objects

        maps, interior = self._layer.read(self._area), self._layer.read_interior(self._area)
        classes = np.ones(maps.shape[1:], np.uint8)
        for number, plane in enumerate(maps):
            classes[plane >= self._layer.threshold] = number + 2
        return count_objects(classes, interior)
