"""A key that is held, as X11 tells of it: released and pressed again thirty times a second."""

import time

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import Qt

A, E, G = Qt.Key.Key_A, Qt.Key.Key_E, Qt.Key.Key_G


@pytest.fixture
def window(make_window, tmp_path):
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((60, 80), np.uint8))
    window = make_window(tmp_path / "cells.tif")
    window.viewport.setFocus()
    return window


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def repeat(window, qtbot, key, times):
    """What a busy window gets from X11: nothing says that the key has not come up.

    The time in which the next press must follow is made long: this machine may be slow, too.
    """
    up = window.tools.hold._up
    interval = up.interval()
    up.setInterval(10**6)
    for _ in range(times):
        qtbot.keyRelease(window.viewport, key)
        qtbot.keyPress(window.viewport, key)
    up.setInterval(interval)


def test_a_peek_lasts_as_long_as_the_key_is_held(window, qtbot, clock):
    shown = []
    window.actions_by_id["show_annotation"].toggled.connect(shown.append)
    qtbot.keyPress(window.viewport, A)
    repeat(window, qtbot, A, 5)
    clock[0] += 1
    repeat(window, qtbot, A, 5)
    assert shown == [False], "it must not flicker"
    qtbot.keyRelease(window.viewport, A)
    qtbot.waitUntil(lambda: shown == [False, True])


def test_a_tool_lasts_as_long_as_its_key_is_held(window, qtbot, clock):
    qtbot.keyPress(window.viewport, E)
    repeat(window, qtbot, E, 5)
    clock[0] += 1
    repeat(window, qtbot, E, 5)
    assert window.document.tool == "eraser"
    qtbot.keyRelease(window.viewport, E)
    qtbot.waitUntil(lambda: window.document.tool == "brush")


def test_one_key_after_the_other_leaves_the_tool_of_the_second(window, qtbot, clock):
    qtbot.keyPress(window.viewport, E)
    clock[0] += 1
    window.tools.hold._up.setInterval(10**6)
    qtbot.keyRelease(window.viewport, E)
    qtbot.keyPress(window.viewport, G)
    assert window.document.tool == "polygon"
    window.tools.hold._up.setInterval(0)
    clock[0] += 1
    qtbot.keyRelease(window.viewport, G)
    qtbot.waitUntil(lambda: window.document.tool == "brush")
