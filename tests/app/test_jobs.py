"""Jobs: exactly one outcome, cleaned up in their own thread; mailboxes that never fill up."""

import threading

import pytest
from PySide6.QtCore import QObject, Slot

from app.jobs import InTurn, Job, Latest
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


@pytest.fixture
def turns():
    parent = QObject()
    made = InTurn(parent)
    yield made
    if made.shutdown():
        assert made.findChild(Job).wait()
    parent.deleteLater()


def held(gate, answer):
    """Steps that end when the gate is open."""

    def steps():
        yield
        assert gate.wait(PATIENCE)
        return answer

    return steps


def test_what_is_asked_for_meanwhile_is_done_in_turn(qtbot, turns):
    gate, done = threading.Event(), []
    turns.next(lambda: done.append("at once"))
    turns.run(held(gate, "first"), done.append)
    turns.later(lambda: done.append("needs no thread"))
    turns.later(lambda: turns.run(held(gate, "second"), done.append))
    turns.later(lambda: done.append("last"))
    turns.next(lambda: done.append("before all that waits"))
    assert turns.busy and done == ["at once"]
    gate.set()
    qtbot.waitUntil(lambda: not turns.busy)
    assert done[1:] == ["first", "before all that waits", "needs no thread", "second", "last"]


def test_a_job_that_fails_keeps_nothing_from_its_turn(qtbot, turns):
    def steps():
        yield
        raise StackError("no luck")

    sentences, done = [], []
    turns.failed.connect(lambda error: sentences.append(error.sentence))
    turns.run(steps, done.append)
    turns.later(lambda: done.append("next"))
    qtbot.waitUntil(lambda: not turns.busy)
    assert (sentences, done) == (["no luck"], ["next"])


def test_what_is_given_up_brings_no_answer_though_its_thread_has_ended(qtbot, turns):
    gate, done = threading.Event(), []
    turns.run(held(gate, "late"), done.append)
    turns.later(lambda: done.append("never"))
    gate.set()
    assert turns.findChild(Job).wait()
    turns.cancel()
    assert turns.busy, "nothing runs beside it"
    turns.later(lambda: done.append("newer"))
    qtbot.waitUntil(lambda: not turns.busy)
    assert done == ["newer"]


def test_the_end_is_told_once_nothing_runs(qtbot, turns):
    gate = threading.Event()
    turns.run(held(gate, None), print)
    with qtbot.waitSignal(turns.finished):
        assert turns.shutdown()
        gate.set()
    assert not turns.busy and not turns.shutdown()


def test_the_newest_letter_replaces_an_unread_one():
    box: Latest[int] = Latest()
    assert box.take() is None
    for i in range(5):
        box.put(i)
    assert box.waiting
    assert box.take() == 4
    assert box.take() is None
    assert not box.waiting
