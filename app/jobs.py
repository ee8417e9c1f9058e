"""Work off the GUI thread: a Job drives any generator; Latest hands over only what is newest."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QObject, QThread, Signal

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
