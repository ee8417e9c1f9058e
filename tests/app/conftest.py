"""What the tests of the window share."""

import gc
from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot

from app.main_window import build
from tests.patience import PATIENCE


class PatientBot(QtBot):
    """Waits as long as a loaded machine may need; pytest-qt gives up after five seconds.

    A signal that an earlier action may also send is no sign of the later one: wait for the state
    that the test needs.
    """

    def waitSignal(self, signal, *, timeout=PATIENCE * 1000, **options):
        return super().waitSignal(signal, timeout=timeout, **options)

    def waitSignals(self, signals, *, timeout=PATIENCE * 1000, **options):
        return super().waitSignals(signals, timeout=timeout, **options)

    def waitUntil(self, callback, *, timeout=PATIENCE * 1000):
        return super().waitUntil(callback, timeout=timeout)

    def waitExposed(self, widget, *, timeout=PATIENCE * 1000):
        return super().waitExposed(widget, timeout=timeout)


@pytest.fixture
def qtbot(qapp, request) -> QtBot:
    """As pytest-qt's own, with patience."""
    return PatientBot(request)


@pytest.fixture(autouse=True)
def collect_in_the_gui_thread() -> Iterator[None]:
    """As `app.collector` does it in the program: no worker may destroy GUI objects of old tests.

    Python collects cycles in whichever thread happens to allocate, and Qt objects that are
    destroyed in another thread than theirs bring the interpreter down now and then.
    """
    gc.disable()
    yield
    gc.collect()
    gc.enable()


@pytest.fixture
def make_window(qtbot):
    """Maker of windows with live prediction off; closes them as a user would.

    Training has no time limit: it lasts until it is stopped, or for the steps that a test asks for.
    """
    made = []

    def make(*paths):
        window = build()
        window.actions_by_id["live"].setChecked(False)
        window.engine.training_seconds = None
        made.append(window)
        if paths:
            open_and_wait(window, paths[0], qtbot)
        return window

    yield make
    for window in made:
        close_and_wait(window, qtbot)
        window.deleteLater()


def open_and_wait(window, path, qtbot):
    with qtbot.waitSignal(window.files.opened):
        window.files.open(path)
    qtbot.waitUntil(lambda: window.viewport.paintable)


def close_and_wait(window, qtbot):
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible())
