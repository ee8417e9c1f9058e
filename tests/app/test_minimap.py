"""The minimap: when it shows, what it shows, and that the brush has nothing to do with it."""

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication

from app.minimap import LONGEST, MARGIN
from tests.app.conftest import open_and_wait

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NO_BUTTON, NO_KEY = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier


class Paints(QObject):
    """Counts how often a widget is painted."""

    def __init__(self, widget):
        super().__init__(widget)
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, _widget, event):
        self.count += event.type() == QEvent.Type.Paint
        return False


@pytest.fixture
def window(make_window, tmp_path):
    """Two planes of 1500 × 3000: black with a white left half, and the other way round."""
    planes = np.zeros((2, 1500, 3000), np.uint8)
    planes[0, :, :1500] = 255
    planes[1, :, 1500:] = 255
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZYX"})
    return make_window(path)


def zoom_in(window, qtbot):
    window.viewport.zoom_actual()
    qtbot.waitUntil(window.minimap.isVisible)
    painted(window, qtbot)


def painted(window, qtbot):
    """Wait until the view has been announced for the last time, and everything is painted."""
    qtbot.waitUntil(lambda: not window.viewport._view_timer.isActive())
    QApplication.sendPostedEvents()
    QApplication.processEvents()


def move(widget, position, button=LEFT):
    at = QPointF(position)
    event = QMouseEvent(
        QEvent.Type.MouseMove, at, widget.mapToGlobal(at), NO_BUTTON, button, NO_KEY
    )
    QApplication.sendEvent(widget, event)


def at(window, y, x):
    """Where in the minimap an image point lies."""
    whole, small = window.document.plane_rect, window.minimap.size()
    return QPoint(int(x * small.width() / whole.width), int(y * small.height() / whole.height))


def near(window, centre, y, x):
    """A pixel of the minimap is many of the image."""
    pixel = window.document.plane_rect.width / window.minimap.width()
    return abs(centre.y - y) <= pixel + 1 and abs(centre.x - x) <= pixel + 1


def test_it_shows_only_while_there_is_more_than_the_view(window, qtbot):
    assert window.minimap.isHidden()
    zoom_in(window, qtbot)
    window.viewport.fit()
    qtbot.waitUntil(window.minimap.isHidden)
    window.viewport.zoom_by(0.7)  # all of it, smaller
    assert window.minimap.isHidden()


@pytest.mark.parametrize("size", [(1300, 900), (900, 650)])
def test_it_lies_in_the_corner_of_every_window(window, size, qtbot):
    zoom_in(window, qtbot)
    view, small = window.viewport, window.minimap

    def in_the_corner():
        corner = QPoint(view.width() - MARGIN, view.height() - MARGIN)
        return small.geometry().bottomRight() + QPoint(1, 1) == corner

    window.resize(*size)
    qtbot.waitUntil(lambda: window.size().toTuple() == size and in_the_corner())
    assert max(small.width(), small.height()) <= LONGEST
    assert abs(small.width() / small.height() - 2) < 0.05


def test_the_frame_is_what_is_in_view(window, qtbot):
    zoom_in(window, qtbot)
    window.viewport.look_at(400, 1900)
    painted(window, qtbot)
    seen, small = window.viewport.visible_rect(), window.minimap
    scale = small.width() / 3000
    assert small.frame.x() == pytest.approx(seen.x * scale)
    assert small.frame.width() == pytest.approx(seen.width * scale)
    assert small.frame.y() == pytest.approx(seen.y * small.height() / 1500)
    picture = small.grab().toImage()
    # The frame itself, and black beside it: here the image is black.
    middle = round(small.frame.center().y())
    assert picture.pixelColor(round(small.frame.left()), middle).lightness() > 200
    assert picture.pixelColor(round(small.frame.right()) + 4, middle).lightness() < 30


def test_it_shows_the_plane_that_is_shown(window, qtbot):
    zoom_in(window, qtbot)
    for z in (0, 1):
        window.document.set_plane(0, z)
        qtbot.waitUntil(lambda z=z: window.viewport.shown.plane.z == z)
        picture = window.minimap.grab().toImage()
        left, right = (picture.pixelColor(x, 5).lightness() for x in (10, picture.width() - 10))
        assert (left > right + 80) == (z == 0) and (right > left + 80) == (z == 1)


def test_a_click_moves_the_view_there_and_paints_nothing(window, qtbot):
    zoom_in(window, qtbot)
    zoom = window.viewport.camera.zoom
    for button in (LEFT, RIGHT):
        qtbot.mouseClick(window.minimap, button, NO_KEY, at(window, 1000, 2000))
        assert near(window, window.viewport.camera.centre, 1000, 2000)
    qtbot.mouseDClick(window.minimap, LEFT, NO_KEY, at(window, 700, 1000))
    assert near(window, window.viewport.camera.centre, 700, 1000)
    assert window.viewport.camera.zoom == zoom
    assert window.document.annotation.counts() == {} and not window.document.stroking


def test_a_drag_of_the_frame_moves_the_view_without_a_jump(window, qtbot):
    zoom_in(window, qtbot)
    window.viewport.look_at(750, 1500)
    begin, small = window.viewport.camera.centre, window.minimap
    grip = small.frame.center().toPoint() + QPoint(8, 3)
    qtbot.mousePress(small, LEFT, NO_KEY, grip)
    assert near(window, window.viewport.camera.centre, begin.y, begin.x)
    move(small, grip + QPoint(20, -10))
    scale = 3000 / small.width()
    assert near(window, window.viewport.camera.centre, begin.y - 10 * scale, begin.x + 20 * scale)
    move(small, grip + QPoint(2000, 2000))  # far outside: to the corner, not beyond
    assert near(window, window.viewport.camera.centre, 1500, 3000)
    qtbot.mouseRelease(small, LEFT, NO_KEY, grip)
    after = window.viewport.camera.centre
    move(small, grip, NO_BUTTON)
    assert window.viewport.camera.centre == after
    assert window.document.annotation.counts() == {}


def test_strokes_do_not_repaint_it_and_go_on_under_it(window, qtbot):
    zoom_in(window, qtbot)
    view, paints = window.viewport, Paints(window.minimap)
    over = QPoint(view.width() - MARGIN - 20, view.height() - MARGIN - 20)
    start = QPoint(view.width() // 3, view.height() // 2)
    qtbot.mousePress(view, LEFT, NO_KEY, start)
    assert window.document.stroking
    for step in range(1, 21):
        move(view, start + (over - start) * step / 20)
        QApplication.processEvents()
    qtbot.mouseRelease(view, LEFT, NO_KEY, over)
    painted(window, qtbot)
    y, x = map(int, view.widget_to_image(over))
    assert window.document.annotation.label_at(window.document.plane, y, x)[0] == 2
    assert paints.count == 0
    view.look_at(700, 1400)
    qtbot.waitUntil(lambda: paints.count > 0)


def test_it_can_be_hidden_for_good(window, make_window, qtbot):
    action = window.actions_by_id["minimap"]
    assert action.isChecked()
    zoom_in(window, qtbot)
    action.trigger()
    assert window.minimap.isHidden()
    window.viewport.look_at(300, 300)
    painted(window, qtbot)
    assert window.minimap.isHidden()
    other = make_window()
    assert not other.actions_by_id["minimap"].isChecked()
    action.trigger()
    assert window.minimap.isVisible()


def test_another_image_begins_without_it(window, tmp_path, qtbot):
    zoom_in(window, qtbot)
    path = tmp_path / "thin.tif"
    tifffile.imwrite(path, np.zeros((2, 4000), np.uint8))
    open_and_wait(window, path, qtbot)
    assert window.minimap.isHidden()
    window.viewport.zoom_actual()
    qtbot.waitUntil(window.minimap.isVisible)
    qtbot.mouseClick(window.minimap, LEFT, NO_KEY, at(window, 1, 3000))
    assert near(window, window.viewport.camera.centre, 1, 3000)
