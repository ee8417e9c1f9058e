"""How many objects the prediction shows: counted in a thread, the newest question wins."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

from PySide6.QtCore import QElapsedTimer, QObject, QTimer, Signal, Slot

from app.jobs import InTurn
from app.layers import PredictionLayer
from unet_core.annotation import MAX_CLASSES
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
        self._counts = InTurn(self)
        self._counts.finished.connect(self.finished)
        self._again = False
        """Whether another count follows the one that runs."""
        self._closing = False
        self._asked = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._start)

    @property
    def busy(self) -> bool:
        """Whether a count runs."""
        return self._counts.busy

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
        return self._counts.shutdown()

    @Slot()
    def _start(self) -> None:
        if self._counts.busy:
            if not self._again:
                self._again = True
                self._counts.later(self._start)
            return
        self._again = False
        if self._layer.empty or self._area.empty:
            self.counted.emit(None)
            return
        # A snapshot: the layer goes on changing in the GUI thread.
        steps = partial(_counting, self._layer.snapshot(), self._area)
        self._counts.run(steps, self.counted.emit)


def _counting(layer: PredictionLayer, area: Rect) -> Generator[None, None, int]:
    yield
    # Here, not above: scikit-image takes its time, and the window need not wait for it.
    from unet_core.objects import count_objects
    from unet_core.predicted_cells import classes_and_interior, part_to_split

    look = partial(classes_and_interior, layer, MAX_CLASSES)
    return (yield from count_objects(look, part_to_split(layer, area)))
