"""However the picture on the screen came about, it is the one that is painted anew."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QEventLoop, QPointF, Qt
from PySide6.QtGui import QImage, QMouseEvent
from PySide6.QtWidgets import QApplication

from app import canvas, layers
from app.camera import Point
from app.document import Document
from app.still import StillPicture
from app.viewport import Viewport
from tests.patience import PATIENCE
from unet_core.annotation import Annotation
from unet_core.labels import label
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiles import TILE, TileKey, _seal, pack_tile
from unet_core.tiling import Rect

SIDE = 700
WIDTH, HEIGHT = 320, 240
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton


@contextmanager
def viewport(folder: Path) -> Iterator[Viewport]:
    """A shown viewport with two classes of cells and a noisy image of `SIDE`² pixels."""
    path = folder / "image.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE), np.uint8)
    tifffile.imwrite(
        path, pixels, imagej=True, resolution=(4, 4), metadata={"axes": "ZYX", "unit": "um"}
    )
    document = Document()
    view = Viewport(document)
    view.resize(WIDTH, HEIGHT)
    view.show()
    stack = open_stack(path)
    document.set_stack(stack, np.array([[0, 255]], np.float32))
    assert stack.pixel_size is not None, "there is a scale bar, too"
    document.add_class("other", "#00c000")
    wait_until(lambda: view.paintable)
    yield view
    view.shutdown()
    stack.close()


@pytest.fixture(scope="module")
def view(qapp: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewport]:
    with viewport(tmp_path_factory.mktemp("canvas")) as made:
        yield made


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)


def on_screen(view: Viewport) -> QImage:
    """What has been painted, piece by piece."""
    QApplication.processEvents()
    wait_until(lambda: view.label_layer.behind(view.visible_rect()).empty)
    QApplication.processEvents()
    picture = view.screen().grabWindow(view.winId()).toImage()
    return picture.convertToFormat(QImage.Format.Format_RGB32)


def as_it_is(view: Viewport) -> QImage:
    """The picture painted at once, from what is kept if anything is."""
    QApplication.processEvents()
    return view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)


def anew(view: Viewport) -> QImage:
    """The same with nothing kept from before."""
    view.update()
    return view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)


def mouse(view: Viewport, kind: QEvent.Type, y: float, x: float, held: Qt.MouseButton) -> None:
    at = QPointF(round(x * WIDTH), round(y * HEIGHT))
    button = NONE if kind == QEvent.Type.MouseMove else LEFT
    event = QMouseEvent(
        kind, at, QPointF(view.mapToGlobal(at)), button, held, Qt.KeyboardModifier.NoModifier
    )
    QApplication.sendEvent(view, event)


def predict(view: Viewport, random: np.random.Generator) -> None:
    rect = Rect(0, 0, SIDE, SIDE)
    coarse = random.integers(0, 256, (2, SIDE // 20, SIDE // 20)).astype(np.uint8)
    maps = np.kron(coarse, np.ones((1, 20, 20), np.uint8))
    plane = PlaneIndex(0, 0)
    view.put_tiles([SimpleNamespace(plane=plane, rect=rect, maps=maps, interior=None)])


def look(view: Viewport, zoom: float) -> None:
    view.camera.look_at(Point(SIDE / 2 + 0.3, SIDE / 2 + 0.4), zoom)
    view._on_view_moved()


share = st.floats(0, 1)
zooms = st.sampled_from([0.3, 1.0, 2.7, 8.0])


@given(
    zooms,
    st.sampled_from([1, 7, 40, 130]),
    st.lists(
        st.tuples(
            st.sampled_from(["paint", "other", "erase", "undo", "redo", "cancel", "threshold"]),
            st.lists(st.tuples(share, share), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=5,
    ),
)
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_picture_after_any_strokes_is_the_one_painted_anew(view, zoom, diameter, deeds):
    document = view.document
    document.set_brush_diameter(diameter)
    look(view, zoom)
    if view.prediction_layer.empty:
        predict(view, np.random.default_rng(1))
    on_screen(view)
    for number, (what, path) in enumerate(deeds):
        if what in ("undo", "redo"):
            getattr(document, what)()
        elif what == "threshold":
            view.set_threshold(50 + 40 * number)
        else:
            document.set_tool("eraser" if what == "erase" else "brush")
            document.set_active_class(3 if what == "other" else 2)
            mouse(view, QEvent.Type.MouseButtonPress, *path[0], LEFT)
            for y, x in path[1:]:
                QApplication.processEvents()
                mouse(view, QEvent.Type.MouseMove, y, x, LEFT)
            if what == "cancel":
                document.cancel_stroke()
            mouse(view, QEvent.Type.MouseButtonRelease, *path[-1], NONE)
        shown = on_screen(view)
        assert shown == anew(view), (what, number)


@pytest.mark.parametrize("zoom", [0.3, 1.0, 2.7])
def test_new_colours_over_a_still_picture_are_those_painted_anew(view, zoom):
    check_still_pictures(view, zoom)


def check_still_pictures(view: Viewport, zoom: float) -> None:
    document = view.document
    predict(view, np.random.default_rng(2))
    document.begin_stroke(SIDE / 2, SIDE / 2 - 60, diameter=30)
    document.extend_stroke(SIDE / 2 + 20, SIDE / 2 + 60)
    document.end_stroke()
    look(view, zoom)
    view._move_cursor(None)
    pictures = []
    for style in ("fill", "heat", "uncertainty", "outline"):
        view.set_prediction_style(style)
        for change in (
            lambda: view.set_threshold(90),
            lambda: view.set_threshold(200),
            lambda: view.set_opacity(0.3),
            lambda: view.set_opacity(0.8),
        ):
            change()
            shown = as_it_is(view)
            assert shown == anew(view)
            pictures.append(shown)
    assert len({bytes(one.constBits()) for one in pictures}) > 8, "the colours did change"
    # What changes between two steps of the slider is seen at the next.
    view.set_prediction_style("fill")
    view.set_threshold(90)
    as_it_is(view)
    predict(view, np.random.default_rng(3))
    view.set_threshold(91)
    assert as_it_is(view) == anew(view)
    view.set_threshold(92)
    as_it_is(view)
    document.undo()
    view.set_threshold(93)
    assert as_it_is(view) == anew(view)
    view.set_prediction_visible(False)
    view.set_threshold(94)
    hidden = as_it_is(view)
    assert hidden == anew(view)
    view.set_prediction_visible(True)
    assert as_it_is(view) != hidden


def test_steps_of_the_threshold_sample_nothing_anew(view, monkeypatch):
    made = []

    def counted(*parts):
        made.append(StillPicture(*parts))
        return made[-1]

    monkeypatch.setattr(canvas, "StillPicture", counted)
    predict(view, np.random.default_rng(4))
    look(view, 0.3)
    for threshold in range(100, 110):
        view.set_threshold(threshold)
        QApplication.processEvents()
    assert len(made) == 1
    look(view, 1.0)
    view.set_threshold(100)
    QApplication.processEvents()
    assert len(made) == 2


@pytest.mark.parametrize("ratio", ["1.25", "2"])
def test_still_pictures_on_screens_of_other_pixel_ratios(ratio):
    """A process of its own: Qt reads the scale factor once, at start."""
    environment = os.environ | {
        "QT_QPA_PLATFORM": "offscreen",
        "QT_SCALE_FACTOR": ratio,
        "QT_SCALE_FACTOR_ROUNDING_POLICY": "PassThrough",
    }
    done = subprocess.run(
        [sys.executable, "-c", RATIO_SCRIPT],
        cwd=Path(__file__).resolve().parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ratio", str(float(ratio)), "checked"]


RATIO_SCRIPT = """
import tempfile
from pathlib import Path

from PySide6.QtWidgets import QApplication

from tests.app.test_canvas import check_still_pictures, viewport

application = QApplication([])
with tempfile.TemporaryDirectory() as folder, viewport(Path(folder)) as view:
    for zoom in (0.3, 1.0, 2.7):
        check_still_pictures(view, zoom)
    print("ratio", view.devicePixelRatioF(), "checked")
"""


def test_labels_of_a_large_edit_come_in_view_first_and_in_the_end_all(view, monkeypatch):
    """As if there were never time for more than one tile."""
    monkeypatch.setattr(canvas, "CATCH_UP_SECONDS", -1.0)
    document = view.document
    look(view, 0.3)
    labels = np.full((SIDE, SIDE), 2, np.uint8)
    edit = document.annotation.write(PlaneIndex(0, 0), labels)
    document.apply_edit(edit)
    assert not view.label_layer.up_to_date
    shown = on_screen(view)
    assert view.label_layer.up_to_date and shown == anew(view)
    look(view, 8.0)
    on_screen(view)
    document.undo()
    on_screen(view)
    assert not view.label_layer.up_to_date, "what is not in view waits until it is"
    # Painted on before it was taken over: the newest counts.
    document.begin_stroke(SIDE / 2, SIDE / 2)
    document.end_stroke()
    look(view, 0.3)
    shown = on_screen(view)
    assert view.label_layer.up_to_date and shown == anew(view)
    document.undo()


def test_labels_that_change_outside_the_view_hold_those_inside_up_no_longer(view, monkeypatch):
    """Of a tile that is seen in part, what has changed may lie out of sight."""
    monkeypatch.setattr(canvas, "CATCH_UP_SECONDS", -1.0)
    monkeypatch.setattr(layers, "FEW_TILES", 1)
    document = view.document
    look(view, 1.0)
    on_screen(view)
    seen = view.visible_rect()
    row, column = seen.y // TILE, seen.x // TILE
    assert (row * TILE, column * TILE) != (seen.y, seen.x) and seen.right // TILE > column
    mine = document.annotation.read(PlaneIndex(0, 0))
    mine[row * TILE, column * TILE] = 3 - mine[row * TILE, column * TILE] % 2
    mine[seen.y + 20, seen.right - 20] = 3 - mine[seen.y + 20, seen.right - 20] % 2
    document.apply_edit(document.annotation.write(PlaneIndex(0, 0), mine))
    view.label_layer.put_off(Rect(row * TILE, column * TILE, TILE, TILE))
    shown = on_screen(view)
    assert shown == anew(view)
    document.undo()


def test_a_forged_tile_is_told_and_painting_goes_on(qapp, tmp_path):
    """What a tile of a project file says of itself is only known as a lie when it is looked at."""
    key, honest = TileKey(0, 0, 0, 0), np.zeros((TILE, TILE), np.uint32)
    honest[:60, :60] = label(2)
    packed = bytearray(pack_tile(key, honest))
    other = pack_tile(key, np.where(honest > 0, np.uint32(label(3)), np.uint32(0)))
    packed[4:20] = other[4:20]  # where the counts lie
    packed[:4] = _seal(key, bytes(packed[4:])).to_bytes(4, "little")
    told: list[str] = []
    with viewport(tmp_path) as view:
        view.plane_incomplete.connect(told.append)
        stack = view.document.stack
        shape = (*stack.shape[:2], *stack.shape[3:])
        forged = Annotation.from_packed(shape, [(key, bytes(packed))])
        view.document.set_stack(stack, annotation=forged)
        wait_until(lambda: view.paintable)
        on_screen(view)
        wait_until(lambda: bool(told))
        on_screen(view)
        QApplication.processEvents()
        assert told == ["The labels of t 0, z 0, tile 0, 0 are damaged."]


def test_a_screen_of_another_ratio_is_noticed_when_it_is_painted(view):
    look(view, 1.0)
    ratio = view.devicePixelRatioF()
    view.camera.set_widget(view.height(), view.width(), 2 * ratio)
    view.update()
    on_screen(view)
    assert view.camera.ratio == ratio
