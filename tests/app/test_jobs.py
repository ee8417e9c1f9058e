"""Jobs: exactly one outcome, cleaned up in their own thread; mailboxes that never fill up."""

import threading

import pytest
from PySide6.QtCore import QObject, Slot

from app.jobs import Job, Latest
from tests.patience import PATIENCE
from unet_core.stack import StackError


class Witness(QObject):
    """Notes what a job says, in the GUI thread."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.events: list[tuple[str, object]] = []
        self.threads: set[int] = set()
        job.progressed.connect(self.progressed)
        job.succeeded.connect(self.succeeded)
        job.stopped.connect(self.stopped)
        job.failed.connect(self.failed)

    def note(self, name: str, value: object = None) -> None:
        self.events.append((name, value))
        self.threads.add(threading.get_ident())

    @Slot(object)
    def progressed(self, value):
        self.note("progressed", value)

    @Slot(object)
    def succeeded(self, value):
        self.note("succeeded", value)

    @Slot()
    def stopped(self):
        self.note("stopped")

    @Slot(object)
    def failed(self, error):
        self.note("failed", error)


def run(qtbot, steps, before_end=lambda job: None):
    job = Job(steps)
    witness = Witness(job)
    with qtbot.waitSignal(job.finished):
        job.start()
        before_end(job)
    job.wait()
    assert witness.threads == {threading.get_ident()}, "answers come in the GUI thread"
    return witness.events


def test_reports_come_in_order_and_then_the_result(qtbot):
    def steps():
        yield from range(20)
        return "done"

    events = run(qtbot, steps)
    assert events == [*[("progressed", i) for i in range(20)], ("succeeded", "done")]


def test_stopping_runs_the_clean_up_in_the_worker(qtbot):
    cleaned = []
    running = threading.Event()

    def steps():
        try:
            running.set()
            while True:
                yield None
        finally:
            cleaned.append(threading.get_ident())

    def stop(job):
        assert running.wait(PATIENCE)
        job.stop()

    events = run(qtbot, steps, stop)
    assert events == [("stopped", None)]
    assert len(cleaned) == 1
    assert threading.get_ident() not in cleaned


@pytest.mark.parametrize("when", ["before the first step", "later"])
@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyError, StackError, MemoryError])
def test_every_error_reaches_the_user_once(qtbot, caplog, error, when):
    def steps():
        if when == "later":
            yield 1
        raise error("no luck")
        yield

    (*_, (name, report)) = run(qtbot, steps)
    assert name == "failed"
    assert report.sentence.count("\n") == 0
    if error is StackError:
        assert report.sentence == "no luck" and not report.details
        assert "Traceback" not in caplog.text and "no luck" in caplog.text
    else:
        assert "no luck" in report.details and "Traceback" in caplog.text


def test_the_newest_letter_replaces_an_unread_one():
    box: Latest[int] = Latest()
    assert box.take() is None
    for i in range(5):
        box.put(i)
    assert box.waiting
    assert box.take() == 4
    assert box.take() is None
    assert not box.waiting
