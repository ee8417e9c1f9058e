"""Playing through time and slices in the real window."""

import threading

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication

from app.playing import FASTEST
from tests.app.conftest import open_and_wait
from tests.patience import PATIENCE

LEFT = Qt.MouseButton.LeftButton


def make_image(folder, axes, shape):
    path = folder / f"{axes}.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), imagej=True, metadata={"axes": axes})
    return path


@pytest.fixture
def movie(make_window, tmp_path, qtbot):
    """A window on four time points of three slices, as fast as it gets."""
    window = make_window(make_image(tmp_path, "TZYX", (4, 3, 60, 80)))
    view = window.viewport
    # Opening may ask for the plane more than once; it must not come again later.
    qtbot.waitUntil(lambda: view.shown.number == view.loader.newest)
    window.navigator.rate.setValue(FASTEST)
    return window


@pytest.fixture
def shown(movie):
    """The planes as they are shown, one after the other, from now on."""
    planes = []
    movie.viewport.plane_shown.connect(lambda loaded: planes.append(tuple(loaded.plane)))
    return planes


def play(window, qtbot):
    qtbot.mouseClick(window.navigator.play, LEFT)
    assert window.player.playing and window.actions_by_id["play"].isChecked()


def stopped(window):
    """Not playing, and the button says so."""
    return not window.player.playing and not window.actions_by_id["play"].isChecked()


def test_it_shows_every_time_point_in_order_and_begins_again(movie, shown, qtbot):
    movie.document.set_plane(1, 2)
    qtbot.waitUntil(lambda: shown == [(1, 2)])
    play(movie, qtbot)
    qtbot.waitUntil(lambda: len(shown) >= 7)
    assert shown[:7] == [(1, 2), (2, 2), (3, 2), (0, 2), (1, 2), (2, 2), (3, 2)]
    qtbot.mouseClick(movie.navigator.play, LEFT)
    assert stopped(movie)
    qtbot.waitUntil(lambda: movie.viewport.paintable)
    there = movie.document.plane
    qtbot.keyClick(movie.viewport, Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier)
    assert movie.player.playing
    qtbot.waitUntil(lambda: movie.document.plane != there)


def test_without_time_it_goes_through_the_slices(make_window, tmp_path, qtbot):
    window = make_window(make_image(tmp_path, "ZYX", (3, 40, 50)))
    assert window.navigator.play.isVisible() and window.navigator.rate.isVisible()
    seen = []
    window.document.plane_changed.connect(lambda: seen.append(tuple(window.document.plane)))
    play(window, qtbot)
    qtbot.waitUntil(lambda: len(seen) >= 4)
    assert seen[:4] == [(0, 1), (0, 2), (0, 0), (0, 1)]


def test_a_single_plane_does_not_play(make_window, tmp_path, qtbot):
    window = make_window()
    assert not window.actions_by_id["play"].isEnabled()
    window.player.set_playing(True)
    assert stopped(window)
    open_and_wait(window, make_image(tmp_path, "YX", (40, 50)), qtbot)
    assert not window.actions_by_id["play"].isEnabled()
    assert not window.navigator.play.isVisible() and not window.navigator.rate.isVisible()


def test_a_slow_disk_is_waited_for(movie, shown, monkeypatch, qtbot):
    stack = movie.document.stack
    read, go_on = stack.plane, threading.Event()

    def slow(t, z):
        assert t != 2 or go_on.wait(PATIENCE)
        return read(t, z)

    monkeypatch.setattr(stack, "plane", slow)
    play(movie, qtbot)
    qtbot.waitUntil(lambda: movie.document.plane.t == 2)
    for _ in range(100):  # whatever is waiting to happen
        QApplication.processEvents()
    assert movie.document.plane.t == 2 and not movie.player._timer.isActive()
    go_on.set()
    qtbot.waitUntil(lambda: len(shown) >= 5)
    assert [t for t, _ in shown[:5]] == [1, 2, 3, 0, 1]


def test_a_press_to_paint_stops_it_and_paints_where_it_stopped(movie, qtbot):
    play(movie, qtbot)
    qtbot.waitUntil(lambda: movie.document.plane.t > 0 and movie.viewport.paintable)
    there, view = movie.document.plane, movie.viewport
    qtbot.mousePress(view, LEFT, pos=view.image_to_widget(30, 40))
    assert stopped(movie) and movie.document.stroking
    qtbot.mouseRelease(view, LEFT, pos=view.image_to_widget(30, 40))
    assert movie.document.plane == there
    assert movie.document.annotation.label_at(there, 30, 40)[0] == 2


def test_strokes_of_a_script_stop_it_too(movie, qtbot):
    play(movie, qtbot)
    movie.document.begin_stroke(30, 40)
    there = movie.document.plane
    qtbot.waitUntil(lambda: stopped(movie))
    assert movie.document.stroking and movie.document.plane == there
    movie.document.end_stroke()
    play(movie, qtbot)
    movie.actions_by_id["undo"].trigger()
    assert stopped(movie) and movie.document.plane == there


def test_panning_and_zooming_do_not_stop_it(movie, qtbot):
    play(movie, qtbot)
    movie.viewport.zoom_by(3)
    middle = QPoint(movie.viewport.width() // 2, movie.viewport.height() // 2)
    qtbot.mouseClick(movie.viewport, Qt.MouseButton.MiddleButton, pos=middle)
    movie.document.set_tool("pan")
    qtbot.mouseClick(movie.viewport, LEFT, pos=middle)
    assert movie.player.playing


def test_it_goes_on_from_where_the_slider_is_put(movie, shown, qtbot):
    play(movie, qtbot)
    qtbot.waitUntil(lambda: len(shown) >= 1)
    movie.navigator.z_slider.setValue(2)
    qtbot.waitUntil(lambda: (0, 2) in shown)
    assert movie.player.playing


def test_another_image_and_the_end_of_the_window_stop_it(movie, tmp_path, qtbot):
    play(movie, qtbot)
    open_and_wait(movie, make_image(tmp_path, "ZYX", (3, 40, 50)), qtbot)
    assert stopped(movie) and movie.document.plane == (0, 0)
    play(movie, qtbot)
    movie.close()
    assert stopped(movie)
    qtbot.waitUntil(lambda: not movie.isVisible())


def test_a_plane_that_can_not_be_read_stops_it(movie, monkeypatch, qtbot):
    stack = movie.document.stack
    read = stack.plane

    def damaged(t, z):
        if t == 2:
            raise OSError("the disk is gone")
        return read(t, z)

    monkeypatch.setattr(stack, "plane", damaged)
    play(movie, qtbot)
    qtbot.waitUntil(lambda: stopped(movie))
    assert movie.document.plane.t == 2 and "could not be read" in movie.messages.text


def test_the_box_says_how_fast(movie, qtbot):
    movie.navigator.rate.setValue(3)
    assert movie.player.rate == 3
    movie.navigator.rate.setValue(99)
    assert movie.player.rate == FASTEST
    qtbot.keyClick(movie.navigator.rate, Qt.Key.Key_Return)
    qtbot.waitUntil(movie.viewport.hasFocus)
