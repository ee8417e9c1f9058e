"""The whole line, through the real window: open, paint, train, watch, threshold, export.

Driven by mouse and key events only, on an image that the test makes and on real ones; and the same
through the command line, pixel for pixel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QComboBox, QDialog, QLineEdit, QPushButton, QSlider

from app.__main__ import main
from app.main_window import MainWindow, build
from tests.annotator import CELL, strokes_for
from tests.synthetic import dice, make_stack, write_imagej
from unet_core.inference import predict_plane
from unet_core.intensity import intensity_range
from unet_core.model import Model
from unet_core.stack import PlaneIndex, open_stack

WAIT = 1_800_000
"""Whole stacks take their time, all the more on a loaded machine."""
pytestmark = pytest.mark.timeout(3600)
DIAMETER = 7


@dataclass(frozen=True)
class Scene:
    """A stack on disk, the truth (T, Z, Y, X) bool of it, and the plane to paint on."""

    path: Path
    truth: np.ndarray
    plane: PlaneIndex


@pytest.fixture
def made_scene(tmp_path) -> Scene:
    image, truth = make_stack(times=3, shape=(256, 320), count=8, kind="mixed", seed=4)
    path = write_imagej(tmp_path / "made.tif", image[:, 0], "TYX", pixel_size=(1, 0.65, 0.65))
    return Scene(path, truth, PlaneIndex(0, 0))


def real_scene(folder: Path, axes: str, plane: PlaneIndex) -> Scene:
    masks = tifffile.imread(folder / "masks.tif") > 0
    return Scene(folder / "stack.tif", masks[:, None] if axes == "T" else masks[None], plane)


class User:
    """Hands on mouse and keyboard in front of the window."""

    def __init__(self, window: MainWindow, qtbot) -> None:
        self.window, self.bot = window, qtbot

    def drop(self, path: Path) -> None:
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        what = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton)
        none = Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(self.window.viewport, QDragEnterEvent(QPoint(50, 50), *what, none))
        self.window.viewport.dropEvent(QDropEvent(QPointF(50, 50), *what, none))
        self.bot.waitUntil(lambda: self.window.viewport.paintable, timeout=WAIT)

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        self.bot.keyClick(self.window.viewport, key, modifier)

    def go_to(self, plane: PlaneIndex) -> None:
        for _ in range(plane.z):
            self.press(Qt.Key.Key_Right)
        for _ in range(plane.t):
            self.press(Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
        self.bot.waitUntil(lambda: self.window.viewport.paintable, timeout=WAIT)
        assert self.window.document.plane == plane

    def choose_brush(self, diameter: int) -> None:
        self.press(Qt.Key.Key_B)
        document = self.window.document
        while document.brush_diameter > diameter:
            self.press(Qt.Key.Key_BracketLeft)
        while document.brush_diameter < diameter:
            self.press(Qt.Key.Key_BracketRight)

    def paint(self, points: list[tuple[int, int]]) -> None:
        """Drag through image points with the left button."""
        viewport, bot = self.window.viewport, self.bot
        positions = [viewport.image_to_widget(y, x) for y, x in points]
        bot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=positions[0])
        for position in positions[1:]:
            bot.mouseMove(viewport, position)
        bot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=positions[-1])

    def annotate(self, scene: Scene, predicted: np.ndarray, count: int = 8) -> None:
        truth = scene.truth[scene.plane]
        for path in strokes_for(truth, predicted, count, DIAMETER):
            self.press(Qt.Key.Key_2 if path.value == CELL else Qt.Key.Key_1)
            self.paint(path.points)
        assert len(self.window.document.history) >= count

    def train(self) -> None:
        button = self.window.findChild(QPushButton, "trainButton")
        assert button.isEnabled(), button.text()
        with self.bot.waitSignal(self.window.engine.training_finished, timeout=WAIT):
            self.bot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.rest()

    def rest(self) -> None:
        """Until nothing runs and the view is predicted."""
        self.bot.waitUntil(lambda: self.window.engine.busy == "idle", timeout=WAIT)

    def export(self, what: str, path: Path) -> Path:
        """Ctrl+E, choose, name, Return."""
        self.press(Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
        dialog = self.window.findChild(QDialog, "exportDialog")
        dialog.activateWindow()  # a window manager would; the offscreen screen has none
        self.bot.waitUntil(dialog.isActiveWindow, timeout=WAIT)
        choice = dialog.findChild(QComboBox, "exportWhat")
        while choice.currentData() != what:
            row = choice.currentIndex()
            up = choice.findData(what) < row
            self.bot.keyClick(choice, Qt.Key.Key_Up if up else Qt.Key.Key_Down)
            assert choice.currentIndex() != row
        line = dialog.findChild(QLineEdit, "exportTarget")
        line.selectAll()
        self.bot.keyClicks(line, str(path))
        with self.bot.waitSignal(self.window.engine.export_finished, timeout=WAIT) as done:
            self.bot.keyClick(line, Qt.Key.Key_Return)
        assert done.args[1] == path, done.args
        self.rest()
        self.window.activateWindow()
        self.bot.waitUntil(self.window.isActiveWindow, timeout=WAIT)
        return path


@pytest.fixture
def user(qtbot):
    window = build()
    window.engine.device_name = "cpu"
    window.resize(1366, 768)
    yield User(window, qtbot)
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=WAIT)
    window.deleteLater()


def bundled_mask(scene: Scene) -> np.ndarray:
    """What the bundled weights show on the plane without any training."""
    with open_stack(scene.path) as stack:
        model = Model.bundled().adapted(stack.shape[2])
        pixels, ranges = stack.plane(*scene.plane), intensity_range(stack)
        import torch

        return predict_plane(model, pixels, ranges, torch.device("cpu")).probabilities[0] >= 0.5


def shown_mask(window: MainWindow) -> np.ndarray:
    """Cells as the overlay shows them on the present plane."""
    layer = window.viewport.prediction_layer
    level = window.findChild(QSlider, "thresholdSlider").value()
    return layer.read(window.document.plane_rect)[0] >= level


def compare_with_the_command_line(user: User, scene: Scene, folder: Path) -> None:
    """`limn train` and `limn predict` on the exported labels give the window's very pixels."""
    labels = user.export("annotation", folder / "labels.tif")
    window_files = {
        what: user.export(what, folder / f"window_{what}.tif")
        for what in ("probability", "classes", "objects")
    }
    provenance = user.window.engine.model.provenance
    model = folder / "model.safetensors"
    words = ["--steps", provenance["steps"], "--seed", provenance["seed"], "--device", "cpu"]
    assert main([*map(str, ["train", "--pair", scene.path, labels, "--out", model, *words])]) == 0
    words = ["--device", "cpu", "--out", folder / "line", scene.path]
    assert main([*map(str, ["predict", "--model", model, *words])]) == 0
    for what, path in window_files.items():
        line = tifffile.imread(folder / "line" / f"{scene.path.stem}_{what}.tif")
        assert np.array_equal(line, tifffile.imread(path)), what


def walk_the_line(user: User, scene: Scene, folder: Path, steps: int, *, small: bool) -> None:
    """`steps` and no seconds: a slow machine is to learn as much as a fast one."""
    window = user.window
    window.engine.training_seconds, window.engine.training_steps = None, steps
    user.drop(scene.path)
    user.go_to(scene.plane)
    before = bundled_mask(scene)
    truth = scene.truth[scene.plane]

    button = window.findChild(QPushButton, "trainButton")
    assert not button.isEnabled()
    user.choose_brush(DIAMETER)
    # The first few corrections of a real image may make it worse: see the benchmark's results.
    user.annotate(scene, before, 8 if small else 16)
    user.train()

    # The overlay has followed the training.
    overlay = shown_mask(window)
    assert dice(overlay, truth) > dice(before, truth)
    with open_stack(user.export("classes", folder / "classes.tif")) as written:
        with open_stack(scene.path) as image:
            assert written.shape[:2] + written.shape[3:] == image.shape[:2] + image.shape[3:]
            assert written.axes == image.axes.replace("C", "")
            assert written.pixel_size == pytest.approx(image.pixel_size)
        exported = written.plane(*scene.plane)[0] == 2
    score = dice(exported, truth)
    print(f"Dice {dice(before, truth):.3f} -> {score:.3f}")
    assert score >= 0.75
    assert score > dice(before, truth)
    assert (exported == overlay).mean() > 0.9999, "the export is what the overlay showed"

    # The threshold acts at once, and on the export.
    slider = window.findChild(QSlider, "thresholdSlider")
    for _ in range(5):
        user.press(Qt.Key.Key_Equal)
    assert slider.value() > 128
    assert shown_mask(window).sum() < overlay.sum()
    if small:  # once is enough: whole stacks take their time
        strict = tifffile.imread(user.export("classes", folder / "strict.tif"))
        assert (strict == 2).sum() < (tifffile.imread(folder / "classes.tif") == 2).sum()
    for _ in range(5):
        user.press(Qt.Key.Key_Minus)
    assert slider.value() == 128
    compare_with_the_command_line(user, scene, folder)


def test_on_an_image_that_the_test_makes(user, made_scene, tmp_path):
    walk_the_line(user, made_scene, tmp_path, 14, small=True)


@pytest.mark.slow
def test_on_a_real_time_lapse(user, shared_data, tmp_path):
    scene = real_scene(shared_data / "phc_u373" / "timelapse", "T", PlaneIndex(0, 0))
    walk_the_line(user, scene, tmp_path, 40, small=False)


@pytest.mark.slow
def test_on_a_real_stack_in_depth(user, shared_data, tmp_path):
    scene = real_scene(shared_data / "confocal3d_ovule_nuclei", "Z", PlaneIndex(0, 40))
    walk_the_line(user, scene, tmp_path, 40, small=False)
