"""The viewport, shown and driven by mouse, wheel and keys over a real stack."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QFocusEvent, QImage, QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.camera import Point
from app.document import Document
from app.layers import LABEL_OPACITY, PREDICTION_BLACK
from app.loader import LoadedPlane
from app.viewport import Viewport
from tests.patience import PATIENCE
from unet_core.annotation import ClassInfo
from unet_core.stack import PlaneIndex, Stack, open_stack
from unet_core.tiling import Rect

LEFT, RIGHT, MIDDLE = (
    Qt.MouseButton.LeftButton,
    Qt.MouseButton.RightButton,
    Qt.MouseButton.MiddleButton,
)
SHIFT, CTRL, ALT, NONE = (
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.AltModifier,
    Qt.KeyboardModifier.NoModifier,
)
HEIGHT, WIDTH = 1000, 1200
CELL_RED = round(LABEL_OPACITY * 255)
PREDICTED_RED = round((1 - PREDICTION_BLACK) * 255)

Opened = Callable[..., Stack]


@contextmanager
def settled(view: Viewport, qtbot: QtBot) -> Iterator[None]:
    """Waits until the plane that was asked for last is shown.

    A signal alone does not tell: a plane asked for before may still come first.
    """
    before = view.loader.newest
    yield
    assert view.loader.newest > before
    qtbot.waitUntil(lambda: view.shown is not None and view.shown.number == view.loader.newest)


@pytest.fixture
def view(qtbot: QtBot):
    document = Document()
    viewport = Viewport(document)
    viewport.resize(800, 600)
    viewport.set_label_style("fill")  # one colour for each class
    qtbot.addWidget(viewport)
    with qtbot.waitExposed(viewport):
        viewport.show()
    yield viewport
    viewport.shutdown()
    if document.stack is not None:
        document.stack.close()


@pytest.fixture
def opened(view: Viewport, tmp_path: Path, qtbot: QtBot) -> Opened:
    """Opens a stack `(Z, Y, X)` in the viewport and waits until its first plane is shown."""

    def open_it(pixels: np.ndarray | None = None, **options) -> Stack:
        if pixels is None:
            pixels = np.zeros((3, HEIGHT, WIDTH), np.uint8)
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX"}, **options)
        stack = open_stack(path)
        with settled(view, qtbot):
            view.document.set_stack(stack, np.array([[0, 255]], np.float32))
        # Labels of cells are red and everything else is black: easy to find on the screen.
        view.document.recolor_class(1, "#0000ff")
        view.document.recolor_class(2, "#ff0000")
        return stack

    return open_it


def at(view: Viewport, zoom: float, y: float, x: float) -> None:
    view.camera.look_at(Point(y, x), zoom)
    view._on_view_moved()


def screen(view: Viewport, *, cursor: bool = False) -> np.ndarray:
    """The viewport's pixels without the brush circle: (height, width, 3), red, green, blue."""
    if not cursor:
        view._move_cursor(None)
    view.label_layer.catch_up()
    image = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    pixels = np.frombuffer(image.constBits(), np.uint8)
    return pixels.reshape(image.height(), image.width(), 4)[..., 2::-1].copy()


def labels(view: Viewport) -> np.ndarray:
    return view.document.annotation.read(view.document.plane)


def drag(qtbot: QtBot, view: Viewport, points: list[QPoint], button=LEFT, modifier=NONE) -> None:
    qtbot.mousePress(view, button, modifier, points[0])
    for point in points[1:]:
        qtbot.mouseMove(view, point)
    qtbot.mouseRelease(view, button, modifier, points[-1])


def wheel(view: Viewport, delta: QPoint, position: QPoint, modifiers=NONE) -> None:
    where = QPointF(position)
    event = QWheelEvent(
        where,
        QPointF(view.mapToGlobal(position)),
        QPoint(),
        delta,
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view, event)


# --- what is seen is what is meant -----------------------------------------------------------


@pytest.mark.parametrize("zoom", [1.0, 1.7, 3.3, 8.0, 33.3, 63.0])
def test_every_screen_pixel_shows_the_image_pixel_of_the_mapping(
    view: Viewport, opened: Opened, zoom: float
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH), dtype=np.uint8)
    opened(pixels)
    at(view, zoom, 511.3, 640.8)
    shown = screen(view)[..., 0]
    rows = [int(view.widget_to_image(QPoint(0, y))[0] // 1) for y in range(600)]
    columns = [int(view.widget_to_image(QPoint(x, 0))[1] // 1) for x in range(800)]
    assert np.array_equal(shown, pixels[0][np.ix_(rows, columns)])


@pytest.mark.parametrize("ratio", ["1.25", "2"])
def test_mouse_and_picture_agree_on_screens_of_other_pixel_ratios(ratio: str) -> None:
    """A process of its own: Qt reads the scale factor once, at start."""
    environment = os.environ | {
        "QT_QPA_PLATFORM": "offscreen",
        "QT_SCALE_FACTOR": ratio,
        "QT_SCALE_FACTOR_ROUNDING_POLICY": "PassThrough",
    }
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PIXEL_RATIO_SCRIPT],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ratio", str(float(ratio)), "checked", "40"]
    assert done.stderr == ""


PIXEL_RATIO_SCRIPT = """
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from PySide6.QtCore import QEvent, QEventLoop, QPointF, Qt
from PySide6.QtGui import QImage, QMouseEvent
from PySide6.QtWidgets import QApplication

from app.camera import Point
from app.document import Document
from app.viewport import Viewport
from unet_core.stack import open_stack

application = QApplication([])
document = Document()
view = Viewport(document)
view.resize(500, 400)
view.show()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "image.tif"
    tifffile.imwrite(path, np.zeros((300, 400), np.uint8))
    stack = open_stack(path)
    document.set_stack(stack, np.array([[0, 255]], np.float32))
    while not view.paintable:
        application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    document.set_brush_diameter(1)
    ratio = view.devicePixelRatioF()
    random = np.random.default_rng(0)
    checked = 0
    for zoom in (1.0, 1.6, 3.7, 8.0):
        view.camera.look_at(Point(150.2, 200.4), zoom)
        view.update()
        for _ in range(10):
            position = QPointF(float(random.integers(100, 400)), float(random.integers(100, 300)))
            for kind, buttons in (
                (QEvent.Type.MouseButtonPress, Qt.MouseButton.LeftButton),
                (QEvent.Type.MouseButtonRelease, Qt.MouseButton.NoButton),
            ):
                event = QMouseEvent(kind, position, view.mapToGlobal(position),
                    Qt.MouseButton.LeftButton, buttons, Qt.KeyboardModifier.NoModifier)
                application.sendEvent(view, event)
            view._move_cursor(None)  # the brush circle must not cover what is looked at
            picture = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
            assert picture.devicePixelRatio() == ratio
            device_x, device_y = int(position.x() * ratio), int(position.y() * ratio)
            assert picture.pixelColor(device_x, device_y).red() > 60, (zoom, position)
            labelled = np.argwhere(document.annotation.read(document.plane))
            assert len(labelled) == 1
            y, x = view.widget_to_image(position)
            assert labelled[0].tolist() == [int(y), int(x)]
            document.undo()
            checked += 1
    view.shutdown()
    stack.close()
print("ratio", ratio, "checked", checked)
"""


@pytest.mark.parametrize("zoom", [1.0, 8.0, 1 / 8])
@pytest.mark.parametrize("panned", [False, True])
def test_paint_lands_exactly_under_the_cursor(
    view: Viewport, opened: Opened, qtbot: QtBot, zoom: float, panned: bool
) -> None:
    opened(np.zeros((1, HEIGHT * 4, WIDTH * 4), np.uint8) if zoom < 1 else None)
    at(view, zoom, 500, 600)
    assert view.camera.zoom == pytest.approx(zoom, rel=1e-5)
    if panned:
        drag(qtbot, view, [QPoint(400, 300), QPoint(391, 283), QPoint(383, 271)], MIDDLE)
    diameter = 1 if zoom >= 1 else 24
    view.document.set_brush_diameter(diameter)
    for position in (QPoint(400, 300), QPoint(371, 317), QPoint(433, 289)):
        y, x = view.widget_to_image(position)
        qtbot.mouseClick(view, LEFT, NONE, position)
        painted = np.argwhere(labels(view))
        if diameter == 1:
            assert painted.tolist() == [[int(y), int(x)]]
        else:
            assert painted.mean(axis=0) + 0.5 == pytest.approx((y, x), abs=0.6)
        shown = screen(view)[..., 0] == CELL_RED
        assert shown[position.y(), position.x()]
        assert shown.sum() == pytest.approx(len(painted) * zoom**2, rel=0.35)
        view.document.undo()
        assert not (screen(view)[..., 0] == CELL_RED).any()


def test_image_to_widget_is_where_a_click_hits_that_pixel(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    view.document.set_brush_diameter(1)
    for zoom in (1.0, 2.9, 8.0):
        at(view, zoom, 480, 600)
        qtbot.mouseClick(view, LEFT, NONE, view.image_to_widget(470, 610))
        assert np.argwhere(labels(view)).tolist() == [[470, 610]]
        view.document.undo()


def test_fast_moves_leave_no_gaps(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    at(view, 1, 500, 600)
    view.document.set_brush_diameter(3)
    corners = [(400, 400), (400, 800), (600, 420), (600, 800)]
    drag(qtbot, view, [view.image_to_widget(y, x) for y, x in corners])
    painted = labels(view)
    assert (painted[400, 400:801] == 2).all()
    assert (painted[600, 420:801] == 2).all()
    assert painted[500, 610] == 2  # the middle of the diagonal
    assert len(view.document.history) == 1


def test_only_the_touched_part_is_repainted_while_drawing(
    view: Viewport, opened: Opened, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened()
    at(view, 1, 500, 600)
    view.document.set_brush_diameter(40)
    qtbot.mousePress(view, LEFT, NONE, QPoint(300, 300))
    QApplication.processEvents()
    regions = []
    paint = view._paint_layers
    monkeypatch.setattr(
        view, "_paint_layers", lambda p, area: (regions.append(area), paint(p, area))
    )
    for step in range(1, 11):
        qtbot.mouseMove(view, QPoint(300 + 5 * step, 300))
        QApplication.processEvents()
    qtbot.mouseRelease(view, LEFT, NONE, QPoint(350, 300))
    assert regions
    assert all(area.width() < 80 and area.height() < 80 for area in regions)


# --- mouse and keys --------------------------------------------------------------------------


def test_right_drag_erases_whatever_the_tool(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    at(view, 1, 500, 600)
    drag(qtbot, view, [QPoint(300, 300), QPoint(500, 300)])
    drag(qtbot, view, [QPoint(300, 300), QPoint(400, 300)], RIGHT)
    y, x = map(int, view.widget_to_image(QPoint(400, 300)))
    assert labels(view)[y, x] == 0
    assert labels(view)[y, x + 80] == 2
    assert view.document.tool == "brush"
    view.document.set_tool("eraser")
    drag(qtbot, view, [QPoint(480, 300), QPoint(500, 300)])
    assert labels(view)[y, x + 80] == 0


def test_shift_click_draws_a_straight_stroke(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    at(view, 2, 500, 600)
    view.document.set_brush_diameter(4)
    qtbot.mouseClick(view, LEFT, NONE, view.image_to_widget(450, 550))
    qtbot.mouseClick(view, LEFT, SHIFT, view.image_to_widget(450, 650))
    assert (labels(view)[450, 550:651] == 2).all()
    assert len(view.document.history) == 2


def test_escape_cancels_only_the_pending_stroke(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    at(view, 1, 500, 600)
    qtbot.mouseClick(view, LEFT, NONE, QPoint(100, 100))
    before = labels(view)
    qtbot.mousePress(view, LEFT, NONE, QPoint(300, 300))
    qtbot.mouseMove(view, QPoint(400, 300))
    qtbot.keyClick(view, Qt.Key.Key_Escape)
    qtbot.mouseMove(view, QPoint(500, 300))
    qtbot.mouseRelease(view, LEFT, NONE, QPoint(500, 300))
    assert np.array_equal(labels(view), before)
    assert len(view.document.history) == 1
    assert (screen(view)[..., 0] == CELL_RED).sum() == (before == 2).sum()


def test_undo_and_redo_are_seen_and_keep_the_zoom(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    at(view, 4, 500, 600)
    drag(qtbot, view, [QPoint(300, 300), QPoint(500, 350)])
    painted = screen(view)
    state = view.view_state()
    view.document.set_plane(0, 2)
    qtbot.waitUntil(lambda: view.paintable)
    view.document.undo()
    qtbot.waitUntil(lambda: view.paintable)
    assert view.document.plane == PlaneIndex(0, 0)
    assert view.view_state() == state
    assert not (screen(view)[..., 0] == CELL_RED).any()
    view.document.redo()
    assert np.array_equal(screen(view), painted)


@pytest.mark.parametrize("way", ["middle", "space", "tool"])
def test_panning(view: Viewport, opened: Opened, qtbot: QtBot, way: str) -> None:
    opened()
    at(view, 2, 500, 600)
    before = view.widget_to_image(QPoint(300, 300))
    if way == "space":
        qtbot.keyPress(view, Qt.Key.Key_Space)
    if way == "tool":
        view.document.set_tool("pan")
    button = MIDDLE if way == "middle" else LEFT
    drag(qtbot, view, [QPoint(300, 300), QPoint(310, 310), QPoint(350, 280)], button)
    assert view.widget_to_image(QPoint(350, 280)) == pytest.approx(before)
    assert not labels(view).any()
    if way == "space":
        # X11 repeats a held key as releases and presses that may look like new ones.
        for _ in range(3):
            qtbot.keyRelease(view, Qt.Key.Key_Space)
            qtbot.keyPress(view, Qt.Key.Key_Space)
            qtbot.mouseClick(view, LEFT, NONE, QPoint(300, 300))
        assert not labels(view).any()
        qtbot.keyRelease(view, Qt.Key.Key_Space)
        qtbot.waitUntil(lambda: view.cursor().shape() == Qt.CursorShape.BlankCursor)
        qtbot.mouseClick(view, LEFT, NONE, QPoint(300, 300))
        assert labels(view).any()


@pytest.mark.parametrize("tool", ["brush", "polygon", "pan"])
def test_no_move_is_left_out_while_something_is_drawn(
    view: Viewport, opened: Opened, qtbot: QtBot, tool: str
) -> None:
    """As far as Qt leaves moves out at all: on X11."""
    opened()
    view.document.set_tool(tool)
    attribute = Qt.ApplicationAttribute.AA_CompressHighFrequencyEvents
    before = QApplication.testAttribute(attribute)
    try:
        QApplication.setAttribute(attribute)
        qtbot.mousePress(view, LEFT, NONE, QPoint(300, 300))
        assert QApplication.testAttribute(attribute) == (tool == "pan")
        qtbot.mouseRelease(view, LEFT, NONE, QPoint(300, 300))
        assert QApplication.testAttribute(attribute)
    finally:
        QApplication.setAttribute(attribute, before)


def test_space_is_let_go_when_the_focus_leaves(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    qtbot.keyPress(view, Qt.Key.Key_Space)
    QApplication.sendEvent(view, QFocusEvent(QEvent.Type.FocusOut))
    qtbot.mouseClick(view, LEFT, NONE, QPoint(400, 300))
    assert labels(view).any()


def test_the_wheel_zooms_at_the_cursor(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    at(view, 1, 500, 600)
    position = QPoint(333, 222)
    before = view.widget_to_image(position)
    for notch in (120, 120, 120, -120, 120):
        wheel(view, QPoint(0, notch), position)
        assert view.widget_to_image(position) == pytest.approx(before, abs=1 / view.camera.zoom)
    assert view.camera.zoom == pytest.approx(1.25**3, rel=0.01)
    wheel(view, QPoint(0, 120 * 200), position)
    assert view.camera.zoom == pytest.approx(64, rel=0.01)
    wheel(view, QPoint(0, -120 * 200), position)
    assert view.camera.zoom == pytest.approx(view.camera.fit_zoom / 2, rel=0.01)


def test_the_wheel_with_ctrl_slices_and_with_shift_sizes_the_brush(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened(np.arange(3, dtype=np.uint8)[:, None, None] * np.full((1, 80, 90), 100, np.uint8))
    zoom = view.camera.zoom
    middle = QPoint(400, 300)
    for expected in (1, 2):
        with settled(view, qtbot):
            wheel(view, QPoint(0, 120), middle, CTRL)
        assert view.document.plane.z == expected
        assert screen(view)[300, 400, 0] == 100 * expected
    with settled(view, qtbot):
        for _ in range(4):  # a touchpad sends parts of a notch
            wheel(view, QPoint(0, -30), middle, CTRL)
    assert view.document.plane.z == 1
    size = view.document.brush_diameter
    wheel(view, QPoint(0, 120), middle, SHIFT)
    assert view.document.brush_diameter > size
    wheel(view, QPoint(-120, 0), middle, SHIFT)  # macOS turns the axis
    assert view.document.brush_diameter == size
    assert view.camera.zoom == zoom


def test_alt_click_picks_and_alt_drag_sizes_the_brush(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    at(view, 1, 500, 600)
    document = view.document
    document.set_active_class(1)
    qtbot.mouseClick(view, LEFT, NONE, QPoint(300, 300))
    document.set_active_class(2)
    qtbot.mouseClick(view, LEFT, ALT, QPoint(300, 300))
    assert document.active_class == 1
    drag(qtbot, view, [QPoint(300, 300), QPoint(320, 300), QPoint(331, 300)], LEFT, ALT)
    assert document.brush_diameter == 20 + 31
    document.set_active_class(2)
    document.set_tool("pick")
    qtbot.mouseClick(view, LEFT, NONE, QPoint(300, 300))
    assert document.active_class == 1
    assert len(document.history) == 1


def test_hover_tells_the_pixel(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    at(view, 1, 500, 600)
    heard = []
    view.hover.connect(heard.append)
    qtbot.mouseMove(view, view.image_to_widget(444, 555))
    assert heard[-1] == (444, 555)
    qtbot.mouseMove(view, view.image_to_widget(-3, 555))
    at(view, 0.2, 500, 600)
    qtbot.mouseMove(view, QPoint(1, 1))
    assert heard[-1] is None


def test_hover_follows_a_stroke_a_moment_later(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    """What is shown beside the picture must not keep the paint waiting."""
    opened()
    at(view, 1, 500, 600)
    heard = []
    view.hover.connect(heard.append)
    qtbot.mousePress(view, LEFT, NONE, view.image_to_widget(440, 550))
    told = len(heard)
    for x in range(551, 561):
        qtbot.mouseMove(view, view.image_to_widget(440, x))
    qtbot.waitUntil(lambda: heard[-1] == (440, 560))
    assert len(heard) - told < 10
    qtbot.mouseMove(view, view.image_to_widget(470, 580))
    qtbot.mouseRelease(view, LEFT, NONE, view.image_to_widget(471, 581))
    assert heard[-1] == (471, 581)


def test_the_brush_circle_has_the_size_of_what_it_paints(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    at(view, 4, 500, 600)
    view.document.set_brush_diameter(30)
    qtbot.mouseMove(view, QPoint(400, 300))
    circle = np.argwhere(screen(view, cursor=True).min(axis=2) > 100)
    assert np.ptp(circle, axis=0) == pytest.approx((120, 120), abs=3)
    assert circle.mean(axis=0) == pytest.approx((300, 400), abs=1.5)
    assert view.cursor().shape() == Qt.CursorShape.BlankCursor
    QApplication.sendEvent(view, QEvent(QEvent.Type.Leave))
    assert not (screen(view, cursor=True).min(axis=2) > 100).any()


# --- planes ----------------------------------------------------------------------------------


def test_a_plane_that_is_still_being_read_cannot_be_painted(
    view: Viewport, opened: Opened, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = opened()
    monkeypatch.setattr(view.loader, "request", lambda *_: 0)
    view.document.set_plane(0, 1)
    assert not view.paintable
    qtbot.mouseClick(view, LEFT, NONE, QPoint(400, 300))
    assert view.document.annotation.labelled_planes() == []
    # It says so only when it takes long.
    qtbot.waitUntil(lambda: (screen(view).min(axis=2) > 200).any())
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    view._on_loaded(LoadedPlane(0, PlaneIndex(0, 1), image, (), stack.plane(0, 1)))
    qtbot.mouseClick(view, LEFT, NONE, QPoint(400, 300))
    assert view.document.annotation.labelled_planes() == [PlaneIndex(0, 1)]


def test_labels_follow_the_plane(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    qtbot.mouseClick(view, LEFT, NONE, QPoint(400, 300))
    assert (screen(view)[..., 0] == CELL_RED).any()
    with settled(view, qtbot):
        view.document.set_plane(0, 1)
    assert not (screen(view)[..., 0] == CELL_RED).any()
    with settled(view, qtbot):
        view.document.set_plane(0, 0)
    assert (screen(view)[..., 0] == CELL_RED).any()
    view.set_label_visible(False)
    assert not (screen(view)[..., 0] == CELL_RED).any()


def test_a_plane_that_cannot_be_read_says_so_in_its_place(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    stack = opened()
    stack.close()
    with qtbot.waitSignal(view.plane_failed) as failed:
        view.document.set_plane(0, 2)  # the next one may have been read ahead
    assert "stack.tif" in failed.args[0]
    assert (screen(view).min(axis=2) > 200).any()
    assert not view.paintable
    qtbot.mouseClick(view, LEFT, NONE, QPoint(400, 300))
    assert not labels(view).any()


def test_without_a_stack_there_is_a_hint_and_nothing_can_go_wrong(
    view: Viewport, qtbot: QtBot
) -> None:
    assert (screen(view).min(axis=2) > 200).any()
    drag(qtbot, view, [QPoint(300, 300), QPoint(500, 300)])
    drag(qtbot, view, [QPoint(300, 300), QPoint(500, 300)], RIGHT)
    wheel(view, QPoint(0, 120), QPoint(300, 300))
    qtbot.keyClick(view, Qt.Key.Key_Escape)
    view.fit()
    view.zoom_actual()
    view.restore_view_state(view.view_state())
    assert view.visible_rect().empty


def test_another_stack_is_fitted_and_closing_it_empties_the_view(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    at(view, 8, 100, 100)
    small = opened(np.full((1, 50, 60), 90, np.uint8))
    assert view.visible_rect() == Rect(0, 0, 50, 60)
    assert screen(view)[300, 400, 0] == 90
    view.document.set_stack(None)
    assert view.shown is None
    assert screen(view)[10, 10].tolist() == [32, 33, 36]
    small.close()


# --- prediction ------------------------------------------------------------------------------


def tile(plane: PlaneIndex, rect: Rect, values: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(plane=plane, rect=rect, maps=values, interior=None)


def test_prediction_tiles_appear_and_sliders_change_colours_only(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    at(view, 1, 500, 600)
    rect = Rect(400, 500, 128, 256)
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (1, 128, 256)).copy()
    view.put_tiles([tile(PlaneIndex(0, 0), rect, ramp)])
    view.set_opacity(1.0)
    before = [block.pixels.copy() for block in view.prediction_layer.blocks]
    for threshold in (1, 128, 200):
        view.set_threshold(threshold)
        assert (screen(view)[..., 0] == PREDICTED_RED).sum() == 128 * (256 - threshold)
    for block, pixels in zip(view.prediction_layer.blocks, before, strict=True):
        assert np.array_equal(block.pixels, pixels)
    view.set_opacity(0.5)
    half = screen(view)[..., 0].astype(float)
    assert (abs(half - PREDICTED_RED / 2) <= 1).sum() == 128 * 56
    view.set_prediction_visible(False)
    assert not screen(view)[..., 0].any()


def test_the_prediction_of_another_plane_is_not_shown(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    everything = np.full((1, 64, 64), 255, np.uint8)
    view.put_tiles([tile(PlaneIndex(0, 1), Rect(0, 0, 64, 64), everything)])
    assert view.prediction_layer.empty
    view.put_tiles([tile(PlaneIndex(0, 0), Rect(0, 0, 64, 64), everything)])
    assert not view.prediction_layer.empty
    view.mark_prediction_stale()
    assert view.prediction_layer.stale
    with settled(view, qtbot):
        view.document.set_plane(0, 1)
    assert view.prediction_layer.empty
    assert not view.prediction_layer.stale
    view.put_tiles([tile(PlaneIndex(0, 1), Rect(0, 0, 64, 64), everything)])
    view.clear_prediction()
    assert view.prediction_layer.empty


def test_tiles_that_come_before_their_plane_wait_for_it(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    everything = np.full((1, 64, 64), 255, np.uint8)
    with settled(view, qtbot):
        view.document.set_plane(0, 1)
        view.document.set_plane(0, 2)
        view.put_tiles([tile(PlaneIndex(0, 2), Rect(0, 0, 64, 64), everything)])
        assert view.prediction_layer.empty
    qtbot.waitUntil(lambda: view.paintable)
    assert view.prediction_layer.read(Rect(0, 0, 64, 64)).all()


def test_new_class_colours_reach_labels_and_prediction(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    at(view, 1, 500, 600)
    qtbot.mouseClick(view, LEFT, NONE, QPoint(400, 300))
    view.document.recolor_class(2, "#00ff00")
    shown = screen(view)
    assert (shown[..., 1] == CELL_RED).any()
    assert not (shown[..., 0] == CELL_RED).any()
    assert view.document.classes[1] == ClassInfo("cell", "#00ff00")


# --- view ------------------------------------------------------------------------------------


def test_view_changes_are_throttled_and_the_last_one_arrives(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    qtbot.waitUntil(lambda: not view._view_timer.isActive())
    heard: list[Rect] = []
    view.view_changed.connect(heard.append)
    at(view, 4, 500, 600)
    for _ in range(200):
        view.camera.pan(-1, -1)
        view._on_view_moved()
    assert len(heard) < 20
    qtbot.waitUntil(lambda: heard[-1] == view.visible_rect())
    count = len(heard)
    view.resize(640, 480)
    qtbot.waitUntil(lambda: len(heard) > count and heard[-1] == view.visible_rect())
    qtbot.waitUntil(lambda: not view._view_timer.isActive())
    count = len(heard)
    with settled(view, qtbot):
        view.document.set_plane(0, 1)
    assert heard[count:] == [view.visible_rect()]


def test_view_state_goes_there_and_back(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    at(view, 3, 321.5, 654.5)
    state = view.view_state()
    view.fit()
    assert view.view_state()["fit"]
    view.restore_view_state(state)
    assert view.view_state() == pytest.approx(state)
    for nonsense in ({}, {"zoom": "x", "y": 1, "x": 2}, {"zoom": float("nan"), "y": 1, "x": 2}):
        view.restore_view_state(nonsense)
        assert view.camera.fitted


def test_a_state_restored_before_the_first_plane_is_kept(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    stack = opened()
    with settled(view, qtbot):
        view.document.set_stack(stack)
        view.restore_view_state({"fit": False, "zoom": 5.0, "y": 300.0, "x": 400.0})
    assert view.camera.zoom == pytest.approx(5, rel=1e-3)
    assert view.camera.centre == pytest.approx((300, 400), abs=0.2)


def test_actual_size_is_one_to_one(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    opened()
    at(view, 7, 500, 600)
    view.zoom_actual()
    assert view.camera.zoom == pytest.approx(1, rel=1e-4)
    view.zoom_by(2)
    assert view.camera.centre == pytest.approx((500, 600), abs=0.5)


def test_the_scale_bar_has_a_true_length(view: Viewport, opened: Opened, qtbot: QtBot) -> None:
    from app.overlays import scale_bar

    for pixel_size in (0.001, 0.0645, 0.5, 1.0, 7.3, 5000.0):
        for zoom in (0.01, 0.3, 1, 17, 64):
            width, text = scale_bar(pixel_size, zoom)
            number, unit = text.split()
            length = float(number) * {"nm": 0.001, "µm": 1, "mm": 1000}[unit]
            assert width == pytest.approx(length / pixel_size * zoom)
            assert 60 <= width <= 160.01
    opened(resolution=(4.0, 4.0), photometric="minisblack")
    stack = view.document.stack
    assert stack is not None
    if stack.pixel_size is None:
        assert not (screen(view)[500:, :300].min(axis=2) > 200).any()


def test_dropped_files_are_told(view: Viewport, qtbot: QtBot, tmp_path: Path) -> None:
    data = QMimeData()
    path = tmp_path / "with space.tif"
    data.setUrls([QUrl.fromLocalFile(str(path)), QUrl("https://example.org/x.tif")])
    enter = QDragEnterEvent(QPoint(5, 5), Qt.DropAction.CopyAction, data, LEFT, NONE)
    QApplication.sendEvent(view, enter)
    assert enter.isAccepted()
    event = QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, LEFT, NONE)
    with qtbot.waitSignal(view.files_dropped) as dropped:
        view.dropEvent(event)
    assert dropped.args == [[path]]


def test_a_release_that_went_elsewhere_ends_the_stroke(
    view: Viewport, opened: Opened, qtbot: QtBot
) -> None:
    opened()
    qtbot.mousePress(view, LEFT, NONE, QPoint(300, 300))
    view.hide()
    assert not view.document.stroking
    assert len(view.document.history) == 1


def test_destroying_a_viewport_ends_its_thread() -> None:
    """In a process of its own, since Qt aborts the program when a running thread is destroyed."""
    script = """
import tempfile
from pathlib import Path
import numpy as np
import tifffile
from PySide6.QtWidgets import QApplication, QWidget
from app.document import Document
from app.viewport import Viewport
from unet_core.stack import open_stack
application = QApplication([])
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "image.tif"
    tifffile.imwrite(path, np.zeros((300, 400), np.uint8))
    for way in ("shutdown", "delete", "forget"):
        document = Document()
        window = QWidget()
        view = Viewport(document, window)
        window.show()
        stack = open_stack(path)
        document.set_stack(stack)
        application.processEvents()
        if way == "shutdown":
            view.shutdown()
        elif way == "delete":
            window.deleteLater()
            del window, view
            application.sendPostedEvents(None, 52)
            application.processEvents()
        stack.close()
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
