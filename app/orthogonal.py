"""The views from the side: which point they pass through, and when they are read anew."""

from __future__ import annotations

from collections.abc import Callable, Generator

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from app.document import Document
from app.jobs import Job, JobError, Latest
from app.panels.orthogonal import OrthogonalPanel
from app.slices import CutReader, CutRequest, Cuts
from app.viewport import Viewport
from unet_core.stack import Stack

DELAY_MS = 20

ONE_SLICE = "This image has one slice: there is nothing to see from the side."


class OrthogonalDesk(QObject):
    """Between panel, document and viewport. Reads only while the panel is seen.

    One job at a time: a newer wish stops it after the plane that it is reading.
    """

    finished = Signal()
    """After `shutdown` said that something still runs: no more."""

    def __init__(
        self, document: Document, viewport: Viewport, panel: OrthogonalPanel, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document = document
        self._viewport = viewport
        self._panel = panel
        self.point = 0, 0
        """`(y, x)`, the pixel through which the cuts pass."""
        self._seen = False
        self._closing = False
        self._time = 0
        self._reader = CutReader()
        self._answer: Latest[Cuts] = Latest()
        self._job: Job | None = None
        self._request: CutRequest | None = None
        self._timer = QTimer(self, singleShot=True, interval=DELAY_MS)
        self._timer.timeout.connect(self._start)

    def shutdown(self) -> bool:
        """Read nothing any more. True if a plane is being read still: `finished` will come."""
        self._closing = True
        self._timer.stop()
        if self._job is not None:
            self._job.stop()
        return self._job is not None

    # --- what happens elsewhere --------------------------------------------------------------

    @Slot(bool)
    def set_seen(self, seen: bool) -> None:
        """The panel has come into view, or is not seen any more."""
        self._seen = seen
        self._mark()
        if seen:
            self.refresh()
            return
        self._timer.stop()
        self._forget()
        self._panel.clear()

    @Slot()
    def another_image(self) -> None:
        stack = self._document.stack
        self._forget()
        self._time = self._document.plane.t
        _, depth, _, height, width = stack.shape if stack is not None else (1, 1, 1, 1, 1)
        self._panel.set_stack(depth, height, width, stack.pixel_size if stack is not None else None)
        self._go_to(height // 2, width // 2)

    @Slot()
    def plane_changed(self) -> None:
        t, z = self._document.plane
        self._panel.set_point(z, *self.point)
        if t != self._time:
            self._time = t
            self.refresh()

    @Slot()
    def show_labels(self) -> None:
        """The colours of the labels have changed, or whether they show."""
        layer = self._viewport.label_layer
        self._panel.set_labels(layer.table if layer.visible else ())

    @Slot()
    def refresh(self) -> None:
        """Something that the cuts show has changed: show it soon."""
        if self._seen and not self._closing and not self._timer.isActive():
            self._timer.start()

    # --- what the user wants -----------------------------------------------------------------

    def cut_at(self, y: float, x: float) -> None:
        """Show the cuts through the image point `(y, x)`."""
        self._panel.show()
        self._panel.raise_()
        self._go_to(int(y), int(x))

    @Slot(int, int)
    def choose_xz(self, x: int, z: int) -> None:
        self._go_to(self.point[0], x)
        self._document.set_plane(self._document.plane.t, z)

    @Slot(int, int)
    def choose_yz(self, z: int, y: int) -> None:
        self._go_to(y, self.point[1])
        self._document.set_plane(self._document.plane.t, z)

    def _go_to(self, y: int, x: int) -> None:
        self.point = y, x
        self._panel.set_point(self._document.plane.z, y, x)
        self._mark()
        self.refresh()

    def _mark(self) -> None:
        """Show in the image where the cuts are."""
        self._viewport.set_cut(self.point if self._seen and self._sliced() is not None else None)

    def _sliced(self) -> Stack | None:
        """The stack if it has several slices."""
        stack = self._document.stack
        return stack if stack is not None and stack.shape[1] > 1 else None

    # --- reading -----------------------------------------------------------------------------

    def _forget(self) -> None:
        """Let go of all that was read: the job that still runs keeps its own."""
        self._reader = CutReader()
        self._answer = Latest()
        self._request = None
        if self._job is not None:
            self._job.stop()

    @Slot()
    def _start(self) -> None:
        stack = self._sliced()
        if stack is None:
            self._panel.set_state(ONE_SLICE if self._document.stack is not None else "")
            return
        if self._job is not None:
            self._job.stop()
            self._timer.start()  # as soon as it has stopped
            return
        document = self._document
        self._request = CutRequest(
            stack,
            document.plane,
            *self.point,
            displays=tuple(document.displays),
            annotation=document.annotation.snapshot(),
        )
        self._job = Job(_reading(self._reader, self._request, self._answer), self)
        self._job.progressed.connect(self._show)
        self._job.failed.connect(self._failed)
        self._job.finished.connect(self._job_finished)
        self._job.start()

    @Slot()
    def _show(self) -> None:
        cuts = self._answer.take()
        if cuts is not None:
            self._panel.show_cuts(cuts)

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        # A former image may have been closed while it was being read.
        if self._request is not None and self._request.stack is self._document.stack:
            self._panel.set_state(error.sentence)

    @Slot()
    def _job_finished(self) -> None:
        if self._job is not None:
            self._job.deleteLater()
        self._job = None
        if self._closing:
            self.finished.emit()


def _reading(
    reader: CutReader, request: CutRequest, answer: Latest[Cuts]
) -> Callable[[], Generator[bool | None, None, None]]:
    """The steps of a job that leaves what there is to show in `answer`, and says so."""

    def steps() -> Generator[bool | None, None, None]:
        for cuts in reader.steps(request):
            if cuts is not None:
                answer.put(cuts)
            yield True if cuts is not None else None

    return steps
