"""Work off the GUI thread: a Job drives any generator; Latest hands over only what is newest.

Of what is asked for while a job runs, `OneJob` does the newest only, and `InTurn` all.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QObject, QThread, Signal, Slot

from app import reports
from app.sentences import known_sentence, sentence

logger = logging.getLogger(__name__)

T = TypeVar("T")
Steps = Generator[Any, None, Any]


@dataclass(frozen=True)
class JobError:
    """Why a job failed."""

    sentence: str
    """For the user: what is wrong and what to do."""
    details: str
    """A report for the developers; empty where the sentence says it all."""


class Job(QThread):
    """Drives the generator that `steps()` returns, in a thread of its own.

    Exactly one of `succeeded`, `stopped` and `failed` comes, then the inherited `finished`; forget
    the job only there. A step should take a fraction of a second: `stop()` acts between two.
    What is emitted is shared between threads, so it must not be changed any more.
    """

    progressed = Signal(object)
    succeeded = Signal(object)
    stopped = Signal()
    failed = Signal(object)

    def __init__(self, steps: Callable[[], Steps], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._steps = steps

    def run(self) -> None:
        """Runs in the new thread."""
        try:
            steps = self._steps()
            while not self.isInterruptionRequested():
                try:
                    report = next(steps)
                except StopIteration as end:
                    self.succeeded.emit(end.value)
                    return
                if report is not None:
                    self.progressed.emit(report)
            steps.close()  # the generator's cleaning up happens here
            self.stopped.emit()
        except Exception as error:
            if isinstance(error, ValueError) and (known := known_sentence(error)):
                # Our own, about a file or a disk: a traceback would only hide what it says.
                logger.error("%s", known)
                self.failed.emit(JobError(known, ""))
            else:
                logger.exception("a job failed")
                self.failed.emit(JobError(sentence(error), reports.report(traceback.format_exc())))

    def stop(self) -> None:
        """Ask the job to end after the present step; returns at once."""
        self.requestInterruption()


@dataclass(frozen=True)
class _Wish:
    steps: Callable[[], Steps]
    take: Callable[[Any], None]
    drop: Callable[[Any], None]


class _Owner(QObject):
    """Owns the one job that runs; what comes after it is for subclasses to say."""

    progressed = Signal(object)
    failed = Signal(object)
    """A JobError."""
    finished = Signal()
    """After `shutdown`: nothing runs any more."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._job: Job | None = None
        self._closing = False

    def _begin(self, steps: Callable[[], Steps], succeeded: Callable[[Any], None]) -> None:
        """Start a job, while none runs."""
        self._job = Job(steps, self)
        self._job.progressed.connect(self._on_progress)
        self._job.succeeded.connect(succeeded)
        self._job.failed.connect(self._on_failure)
        self._job.finished.connect(self._on_finished)
        self._job.start()

    @Slot()
    def cancel(self) -> None:
        """Nothing that runs or waits is wanted any more."""
        self._forget()
        if self._job is not None:
            self._job.stop()

    def shutdown(self) -> bool:
        """Run nothing any more. True while a job still runs; then `finished` will come."""
        self._closing = True
        self.cancel()
        return self._job is not None

    @Slot(object)
    def _on_progress(self, report: object) -> None:
        self.progressed.emit(report)

    @Slot(object)
    def _on_failure(self, error: JobError) -> None:
        self.failed.emit(error)

    @Slot()
    def _on_finished(self) -> None:
        if self._job is not None:
            self._job.deleteLater()
        self._job = None
        if self._closing:
            self.finished.emit()
        self._go_on()

    def _forget(self) -> None:
        """Drop what waits, and the answer of what runs."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Begin what waits: no job runs any more."""
        raise NotImplementedError


class OneJob(_Owner):
    """Runs one job at a time. The newest wish wins: what runs is stopped, its answer dropped."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._wish: _Wish | None = None  # what the present job is for; None where nobody cares
        self._next: _Wish | None = None

    @property
    def busy(self) -> bool:
        """Whether something runs whose answer is still wanted, or waits to run."""
        return self._wish is not None or self._next is not None

    def run(
        self,
        steps: Callable[[], Steps],
        take: Callable[[Any], None] = lambda answer: None,
        drop: Callable[[Any], None] = lambda answer: None,
    ) -> None:
        """Run a job and hand its answer to `take`; to `drop` where it comes too late."""
        if self._closing:
            return
        self._next = _Wish(steps, take, drop)
        if self._job is None:
            self._go_on()
        else:
            self._wish = None
            self._job.stop()

    def _forget(self) -> None:
        self._wish = self._next = None

    def _go_on(self) -> None:
        wish, self._wish, self._next = self._next, self._next, None
        if wish is not None:
            self._begin(wish.steps, lambda answer: self._on_success(wish, answer))

    @Slot(object)
    def _on_progress(self, report: object) -> None:
        if self._wish is not None:
            self.progressed.emit(report)

    def _on_success(self, wish: _Wish, answer: object) -> None:
        if self._wish is wish:
            self._wish = None
            wish.take(answer)
        else:
            wish.drop(answer)

    @Slot(object)
    def _on_failure(self, error: JobError) -> None:
        if self._wish is not None:
            self.failed.emit(error)


class InTurn(_Owner):
    """Runs one job at a time; what is asked for meanwhile is done afterwards, in turn."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._take: Callable[[Any], None] = _drop
        self._waiting: list[Callable[[], None]] = []

    @property
    def busy(self) -> bool:
        """Whether a job runs, or has not quite ended."""
        return self._job is not None

    def run(self, steps: Callable[[], Steps], take: Callable[[Any], None]) -> None:
        """Run a job, while none runs, and hand its answer to `take`."""
        self._take = take
        self._begin(steps, self._on_success)

    def later(self, do: Callable[[], None]) -> None:
        """Do it after the job that runs, and after all that waits."""
        self._waiting.append(do)

    def next(self, do: Callable[[], None]) -> None:
        """Do it now, or as soon as the job that runs has ended, before all that waits."""
        if self._job is None:
            do()
        else:
            self._waiting.insert(0, do)

    def _forget(self) -> None:
        self._waiting.clear()
        self._take = _drop  # the answer may be on its way already

    def _go_on(self) -> None:
        # Not all of them start a job, after which the next would come.
        while self._waiting and self._job is None:
            self._waiting.pop(0)()

    @Slot(object)
    def _on_success(self, answer: object) -> None:
        self._take(answer)


def _drop(_answer: object) -> None:
    pass


class Latest(Generic[T]):
    """A one-place mailbox between two threads: a newer value replaces an unread one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: T | None = None

    def put(self, value: T) -> None:
        """Leave `value`, in place of an unread one."""
        with self._lock:
            self._value = value

    def take(self) -> T | None:
        """The newest value, once; None when there is nothing new."""
        with self._lock:
            value, self._value = self._value, None
            return value

    @property
    def waiting(self) -> bool:
        """Whether there is an unread value."""
        return self._value is not None
