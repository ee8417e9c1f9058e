"""Layers share memory with their arrays and paint every pixel where it belongs."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PySide6.QtGui import QColor, QImage, QPainter
from pytestqt.qtbot import QtBot

from app import image_layer, layers
from app.image_layer import ImageLayer
from app.layers import LabelLayer, PredictionLayer
from app.loader import LoadedPlane, overviews
from unet_core.annotation import DEFAULT_CLASSES, Annotation, ClassInfo
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)
Paint = Callable[[QPainter, Rect], None]


def address(image: QImage) -> int:
    return int(np.frombuffer(image.constBits(), np.uint8).ctypes.data)


def painted(paint: Paint, height: int, width: int, scale: float = 1.0) -> np.ndarray:
    """What a painter paints on black: uint8 (height, width, 3), red, green, blue."""
    canvas = QImage(width, height, QImage.Format.Format_RGB32)
    canvas.fill(QColor("black"))
    painter = QPainter(canvas)
    painter.scale(scale, scale)
    paint(painter, Rect(0, 0, round(height / scale), round(width / scale)))
    painter.end()
    pixels = np.frombuffer(canvas.constBits(), np.uint8).reshape(height, width, 4)
    return pixels[..., 2::-1].copy()


def loaded(image: np.ndarray) -> LoadedPlane:
    return LoadedPlane(1, PLANE, image, overviews(image), image[None, ...])


def random_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(autouse=True)
def application(qapp: object) -> None:
    """Painting text and images needs the application object."""


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Borders between blocks, without images of thousands of pixels."""
    monkeypatch.setattr(image_layer, "IMAGE_BLOCK", 64)
    monkeypatch.setattr(layers, "SPARSE_BLOCK", 32)


@pytest.mark.parametrize("shape", [(130, 170), (130, 171, 3)])
def test_image_blocks_share_the_array_and_cover_it(small_blocks: None, shape) -> None:
    image = random_image(*shape)
    layer = ImageLayer()
    layer.set_plane(loaded(image))
    for block in layer.blocks:
        assert np.shares_memory(block.pixels, image)
        assert address(block.image) == block.pixels.ctypes.data
    shown = painted(lambda p, r: layer.paint(p, r, 1.0), *shape[:2])
    expected = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize("kind", ["labels", "prediction"])
def test_writing_and_a_new_table_keep_the_shared_memory(kind: str) -> None:
    annotation = Annotation((1, 1, 3000, 2500))
    annotation.write(PLANE, np.full((40, 40), 2), y=1000, x=1010)
    if kind == "labels":
        layer = LabelLayer()
        layer.set_plane(annotation, PLANE)
        layer.catch_up()
    else:
        layer = PredictionLayer()
        layer.set_plane(PLANE, 3000, 2500)
        layer.put(PLANE, Rect(1000, 1010, 40, 40), np.full((1, 40, 40), 200, np.uint8))
    before = [block.pixels for block in layer.blocks]
    assert len(before) == 4
    layer.set_classes(DEFAULT_CLASSES)
    if kind == "labels":
        annotation.write(PLANE, np.full((10, 10), 1), y=1020, x=1020)
        layer.refresh(Rect(1020, 1020, 10, 10))
    else:
        layer.set_threshold(77)
        layer.set_opacity(0.25)
        layer.put(PLANE, Rect(1020, 1020, 10, 10), np.full((1, 10, 10), 9, np.uint8))
    assert len(layer.blocks) == 4
    for block, pixels in zip(layer.blocks, before, strict=True):
        assert block.pixels is pixels
        assert address(block.image) == pixels.ctypes.data


def test_labels_are_where_they_were_painted_in_their_class_colours(small_blocks: None) -> None:
    annotation = Annotation((1, 1, 100, 90))
    labels = np.random.default_rng(1).integers(0, 3, (100, 90), dtype=np.uint8)
    annotation.write(PLANE, labels)
    layer = LabelLayer()
    layer.set_style("fill")
    layer.set_classes([ClassInfo("background", "#0000ff"), ClassInfo("cell", "#ff0000")])
    layer.set_plane(annotation, PLANE)
    layer.catch_up()
    shown = painted(layer.paint, 100, 90)
    full = round(layers.LABEL_OPACITY * 255)
    assert np.array_equal(shown[..., 2] == full, labels == 1)
    assert np.array_equal(shown[..., 0] == full, labels == 2)
    layer.visible = False
    assert not painted(layer.paint, 100, 90).any()


def test_touching_cells_are_outlined_apart_and_the_background_is_not() -> None:
    annotation = Annotation((1, 1, 40, 60))
    classes = np.full((40, 60), 1)
    classes[10:30, 10:50] = 2
    objects = np.zeros((40, 60), int)
    objects[10:30, 10:30], objects[10:30, 30:50] = 1, 2
    annotation.write(PLANE, classes, objects=objects)
    layer = LabelLayer()
    layer.set_classes([ClassInfo("background", "#0000ff"), ClassInfo("cell", "#ff0000")])
    layer.set_style("outline")
    layer.set_plane(annotation, PLANE)
    layer.catch_up()
    red = painted(layer.paint, 40, 60)[..., 0] == 255
    expected = np.zeros((40, 60), bool)
    expected[10:30, 10:50] = True
    expected[11:29, 11:29] = expected[11:29, 31:49] = False
    assert np.array_equal(red, expected)
    # Erased in the middle: the new border is outlined too, though nothing was painted there.
    annotation.write(PLANE, np.zeros((4, 4), int), y=18, x=18)
    dirty = layer.refresh(Rect(18, 18, 4, 4))
    assert dirty == Rect(17, 17, 6, 6)
    red = painted(layer.paint, 40, 60)[..., 0] == 255
    assert red[17, 18:22].all() and not red[17, 17] and not red[18:22, 18:22].any()
    layer.set_style("both")
    around = painted(layer.paint, 40, 60)
    assert (around[classes == 1] == around[0, 0]).all()
    assert (around[10, 10:50] != around[12, 12]).any(axis=1).all()
    layer.set_style("both", hidden=frozenset({2}))
    assert not painted(layer.paint, 40, 60)[10:30, 10:50].any()


def test_refreshing_what_changed_is_the_same_as_showing_all_anew(small_blocks: None) -> None:
    random = np.random.default_rng(5)
    annotation = Annotation((1, 1, 300, 300))
    layer, fresh = LabelLayer(), LabelLayer()
    layer.set_plane(annotation, PLANE)
    layer.catch_up()
    for number in range(12):
        stroke = annotation.stroke(PLANE, int(random.integers(0, 4)), 21, 0)
        for _ in range(3):
            dirty = stroke.to(*random.uniform(-20, 320, 2))
            if dirty is not None:
                layer.refresh(dirty)
        stroke.finish()
        edit = annotation.fill(
            PLANE, Rect(90, 90, 99, 99), random.random((99, 99)) < 0.2, 2, number
        )
        layer.refresh(edit.rect)
    fresh.set_plane(annotation, PLANE)
    fresh.catch_up()
    assert np.array_equal(painted(layer.paint, 300, 300), painted(fresh.paint, 300, 300))


def test_the_prediction_shows_as_heat_doubt_or_outline(small_blocks: None) -> None:
    layer = PredictionLayer()
    layer.set_plane(PLANE, 64, 64)
    layer.set_classes([ClassInfo("background", "#0000ff"), ClassInfo("cell", "#ff0000")])
    maps = np.zeros((1, 64, 64), np.uint8)
    maps[0, 10:50, 10:50] = 255
    maps[0, :, 60:] = 128
    layer.put(PLANE, Rect(0, 0, 64, 64), maps)
    layer.set_opacity(1.0)
    layer.set_style("heat")
    shown = painted(layer.paint, 64, 64)[..., 0]
    assert shown[20, 20] == 255 and shown[5, 5] == 0 and 120 < shown[5, 62] < 136
    layer.set_style("uncertainty")
    shown = painted(layer.paint, 64, 64)[..., 0]
    assert shown[20, 20] == 0 and shown[5, 5] == 0 and shown[5, 62] > 250
    layer.set_style("outline")
    layer.set_threshold(200)
    shown = painted(layer.paint, 64, 64)[..., 0] == 255
    expected = np.zeros((64, 64), bool)
    expected[10:50, 10:50] = True
    expected[11:49, 11:49] = False
    assert np.array_equal(shown, expected)
    layer.set_threshold(100)  # now the stripe too
    assert (painted(layer.paint, 64, 64)[..., 0] == 255)[30, 60]


def test_an_empty_plane_costs_no_pixels() -> None:
    layer = LabelLayer()
    layer.set_plane(Annotation((1, 1, 100_000, 100_000)), PLANE)
    assert layer.blocks == []
    prediction = PredictionLayer()
    prediction.set_plane(PLANE, 100_000, 100_000)
    prediction.put(PLANE, Rect(0, 0, 512, 512), np.zeros((1, 512, 512), np.uint8))
    assert prediction.blocks == []


def test_erased_labels_vanish() -> None:
    annotation = Annotation((1, 1, 50, 50))
    annotation.write(PLANE, np.full((50, 50), 2))
    layer = LabelLayer()
    layer.set_plane(annotation, PLANE)
    layer.catch_up()
    annotation.write(PLANE, np.zeros((20, 50), int))
    layer.refresh(Rect(0, 0, 20, 50))
    shown = painted(layer.paint, 50, 50).any(axis=2)
    assert not shown[:20].any()
    assert shown[20:].all()


def test_threshold_shows_exactly_what_reaches_it() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    layer = PredictionLayer()
    layer.set_classes([ClassInfo("background", "#000000"), ClassInfo("cell", "#ffffff")])
    layer.set_plane(PLANE, 16, 16)
    layer.put(PLANE, Rect(0, 0, 16, 16), values)
    for threshold in (1, 2, 100, 254, 255):
        layer.set_threshold(threshold)
        shown = painted(layer.paint, 16, 16).any(axis=2)
        assert np.array_equal(shown, values[0] >= threshold)


def test_opacity_and_colours_of_several_classes() -> None:
    layer = PredictionLayer()
    layer.set_plane(PLANE, 8, 8)
    maps = np.zeros((2, 8, 8), np.uint8)
    maps[0, :, :4], maps[1, :, 4:] = 255, 255
    layer.put(PLANE, Rect(0, 0, 8, 8), maps)
    # Classes may become known after the first tiles.
    layer.set_classes(
        [ClassInfo("background", "#000000"), ClassInfo("a", "#ff0000"), ClassInfo("b", "#00ff00")]
    )
    layer.set_opacity(1.0)
    shown = painted(layer.paint, 8, 8)
    full = round((1 - layers.PREDICTION_BLACK) * 255)
    assert (shown[:, :4] == (full, 0, 0)).all()
    assert (shown[:, 4:] == (0, full, 0)).all()
    layer.set_opacity(0.5)
    half = painted(layer.paint, 8, 8)[:, :4, 0].astype(int)
    assert (abs(half - full / 2) <= 1).all()
    layer.set_opacity(0.0)
    assert not painted(layer.paint, 8, 8).any()


def test_tiles_of_another_plane_are_refused_and_a_new_plane_starts_empty() -> None:
    layer = PredictionLayer()
    layer.set_plane(PlaneIndex(0, 3), 8, 8)
    tile = np.full((1, 8, 8), 255, np.uint8)
    assert not layer.put(PLANE, Rect(0, 0, 8, 8), tile)
    assert layer.empty
    assert layer.put(PlaneIndex(0, 3), Rect(0, 0, 8, 8), tile)
    assert not layer.empty
    layer.set_plane(PLANE, 8, 8)
    assert layer.empty
    assert layer.read(Rect(0, 0, 8, 8)).shape == (0, 8, 8)


def test_of_a_giant_plane_the_prediction_is_held_where_it_was_made_last(
    small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MOST_BLOCKS", 9)
    layer = PredictionLayer()
    layer.set_plane(PLANE, 3000, 3000)
    ones = np.ones((1, 32, 32), np.uint8)
    for x in range(0, 3000, 32):
        layer.put(PLANE, Rect(64, x, 32, 32), ones, ones[0])
        assert len(layer.blocks) <= 9
    assert (layer.read(Rect(64, 2976 - 8 * 32, 32, 9 * 32 - 8)) == 1).all()
    assert not layer.read(Rect(0, 0, 3000, 2976 - 8 * 32)).any()
    assert not layer.read_interior(Rect(0, 0, 3000, 2976 - 8 * 32)).any()
    painted(layer.paint, 100, 100)


def test_nothing_is_predicted_outside_the_box_around_what_is(small_blocks: None) -> None:
    layer = PredictionLayer()
    assert layer.predicted.empty
    layer.set_plane(PLANE, 900, 700)
    for rect in (Rect(70, 600, 20, 50), Rect(500, 130, 5, 5)):
        layer.put(PLANE, rect, np.ones((2, *rect[2:]), np.uint8))
    outside = layer.read(Rect(0, 0, 900, 700)).any(axis=0)
    outside[layer.predicted.slices] = False
    assert not outside.any()
    assert layer.predicted.height < 900 and layer.predicted.width < 700
    assert layer.snapshot().predicted == layer.predicted


def test_a_snapshot_of_the_prediction_stays_as_it_was(small_blocks: None) -> None:
    layer = PredictionLayer()
    layer.set_plane(PLANE, 90, 70)
    whole = Rect(0, 0, 90, 70)
    maps, interior = random_image(2, 90, 70), random_image(90, 70)
    layer.put(PLANE, whole, maps, interior)
    painted(layer.paint, 90, 70)
    snapshot = layer.snapshot()
    for rect in (Rect(10, 10, 50, 3), Rect(40, 20, 50, 50), Rect(10, 10, 50, 3)):
        values = 255 - layer.read(rect)
        layer.put(PLANE, rect, values, values[0])
        assert np.array_equal(layer.read(rect), values)
    assert np.array_equal(snapshot.read(whole), maps)
    assert np.array_equal(snapshot.read_interior(whole), interior)
    assert not np.array_equal(layer.read(whole), maps)
    fresh = PredictionLayer()
    fresh.set_plane(PLANE, 90, 70)
    fresh.put(PLANE, whole, layer.read(whole))
    assert np.array_equal(painted(layer.paint, 90, 70), painted(fresh.paint, 90, 70))
    layer.clear()
    assert np.array_equal(snapshot.read(whole), maps)


def test_tiles_larger_than_the_plane_are_clipped(small_blocks: None) -> None:
    layer = PredictionLayer()
    layer.set_plane(PLANE, 40, 50)
    values = random_image(1, 64, 64)
    layer.put(PLANE, Rect(-10, 20, 64, 64), values)
    assert np.array_equal(layer.read(Rect(0, 20, 40, 30)), values[:, 10:50, :30])
    assert not layer.read(Rect(0, 0, 40, 20)).any()


@pytest.mark.parametrize("scale", [0.5, 0.37, 1.9, 3.0])
def test_blocks_leave_no_seams_at_any_scale(small_blocks: None, scale: float) -> None:
    side = 200
    prediction = PredictionLayer()
    prediction.set_plane(PLANE, side, side)
    prediction.set_opacity(0.5)
    prediction.put(PLANE, Rect(0, 0, side, side), np.full((1, side, side), 255, np.uint8))
    size = int(side * scale)
    shown = painted(prediction.paint, size, size, scale)
    assert np.unique(shown).size == 1  # painted twice would be brighter, not at all black


def test_zoomed_out_images_are_averaged_and_keep_their_place(qtbot: QtBot) -> None:
    image = np.zeros((2048, 2048), np.uint8)
    image[:, 1::2] = 200  # a grating that skipping pixels would turn into plain 0 or 200
    image[1024:, :] = 50
    layer = ImageLayer()
    layer.set_plane(loaded(image))
    shown = painted(lambda p, r: layer.paint(p, r, 0.25), 512, 512, 0.25)
    assert (shown[:256] == 100).all()
    assert (shown[256:] == 50).all()


def test_labels_stand_out_from_the_prediction_of_their_class() -> None:
    """On dark, grey and white images, unless the prediction is made to hide the image."""
    info = ClassInfo("cell", "#e69f00")
    label = QColor.fromRgba(layers.label_table([info])[1])

    def over(shade: QColor, ground: NDArray[np.float64]) -> NDArray[np.float64]:
        color = np.array([shade.redF(), shade.greenF(), shade.blueF()])
        return color * shade.alphaF() + ground * (1 - shade.alphaF())

    for grey in (0.0, 0.3, 0.7, 1.0):
        for opacity in (0.0, 0.3, 0.5):
            shade = QColor.fromRgba(layers.prediction_table(info.color, 1, opacity)[255])
            predicted = over(shade, np.full(3, grey))
            assert np.abs(over(label, predicted) - predicted).max() > 0.14
