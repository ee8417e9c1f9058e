"""The number of objects in the window: touching cells apart, the same number as in an export."""

import tracemalloc

import numpy as np
import pytest
import torch
from PySide6.QtCore import QObject

from app.jobs import Job
from app.layers import PredictionLayer
from app.object_count import ObjectCounter
from tests.synthetic import write_imagej
from unet_core.export import DEFAULT_MIN_SIZE
from unet_core.inference import Prediction, Predictor, display_maps
from unet_core.intensity import intensity_range
from unet_core.model import Model
from unet_core.objects import interior_levels, interior_target
from unet_core.segment import segment
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)
WHOLE, CORNER = Rect(0, 0, 120, 150), Rect(0, 0, 10, 10)


@pytest.fixture
def seen():
    """Touching discs of several sizes, some too small to count, and a little noise."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((120, 150))
    objects = np.zeros((120, 150), np.int32)
    for number in range(1, 30):
        y, x, radius = random.uniform((0, 0, 1), (120, 150, 16))
        objects[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    noise = random.normal(scale=0.1, size=(2, 120, 150))
    probabilities = np.clip(np.where(objects > 0, 0.8, 0.2) + noise[0], 0, 1)[None]
    interior = np.clip(interior_target(objects) + noise[1], 0, 1)
    return Prediction(probabilities.astype(np.float32), interior.astype(np.float32))


def counted(qtbot, layer, plane=WHOLE, view=CORNER):
    parent = QObject()
    counter = ObjectCounter(layer, parent)
    numbers = []
    counter.counted.connect(numbers.append)
    counter.request(plane, view)
    qtbot.waitUntil(lambda: bool(numbers) and not counter.busy)
    return numbers[-1]


def shown(seen, with_interior=True):
    """A layer that has got the prediction in four tiles."""
    layer = PredictionLayer()
    layer.set_plane(PLANE, 120, 150)
    maps = display_maps(seen.probabilities)
    for rect in (Rect(y, x, 60, 75) for y in (0, 60) for x in (0, 75)):
        interior = interior_levels(seen.interior[rect.slices]) if with_interior else None
        assert layer.put(PLANE, rect, maps[:, *rect.slices], interior)
    return layer


def test_the_window_counts_what_an_export_holds(qtbot, seen, tmp_path, monkeypatch):
    def each(predictor, work, ranges):
        for _, tile in work:
            inside = tile.core.slices
            yield Prediction(seen.probabilities[:, *inside], seen.interior[inside])

    monkeypatch.setattr(Predictor, "each", each)
    path = write_imagej(tmp_path / "c.tif", np.zeros((120, 150), np.uint8), "YX")
    with open_stack(path) as stack:
        steps = segment(
            Model.bundled(),
            stack,
            intensity_range(stack),
            torch.device("cpu"),
            {"objects": tmp_path / "objects.tif"},
            threshold=0.5,
            min_size=DEFAULT_MIN_SIZE,
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                exported = end.value
                break
    number = counted(qtbot, shown(seen))
    assert number == exported
    assert number > counted(qtbot, shown(seen, with_interior=False)), "touching cells came apart"


def test_a_giant_plane_in_view_takes_no_more_memory_than_what_is_predicted_of_it(qtbot, seen):
    plane = Rect(0, 0, 16384, 16384)
    maps, interior = display_maps(seen.probabilities), interior_levels(seen.interior)
    layer = PredictionLayer()
    layer.set_plane(PLANE, plane.height, plane.width)
    numbers = []
    for y, x in ((700, 3000), (1100, 10_000)):
        assert layer.put(PLANE, Rect(y, x, 120, 150), maps, interior)
        tracemalloc.start()
        try:
            numbers.append(counted(qtbot, layer, plane, plane))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < plane.height * plane.width / 2
    assert numbers == [numbers[0], 2 * numbers[0]] and numbers[0] > 0


def test_nothing_predicted_is_no_number(qtbot):
    assert counted(qtbot, PredictionLayer()) is None


def test_the_layer_gives_the_interior_back_and_forgets_it_with_the_network(seen):
    layer = shown(seen)
    inside = Rect(50, 60, 30, 40)
    assert np.array_equal(
        layer.read_interior(inside), interior_levels(seen.interior)[inside.slices]
    )
    layer.put(PLANE, inside, np.zeros((1, 30, 40), np.uint8))
    assert layer.read_interior(inside) is None


def test_the_end_is_told_even_if_the_count_has_just_ended(qtbot, seen):
    """The thread is through, and the window, which closes, has not heard of it yet."""
    parent = QObject()
    counter = ObjectCounter(shown(seen), parent)
    counter.request(WHOLE, CORNER)
    counter._start()
    assert counter.findChild(Job).wait()
    with qtbot.waitSignal(counter.finished):
        assert counter.shutdown()
    counter.request(WHOLE, CORNER)
    assert not counter._timer.isActive() and not counter.shutdown()
