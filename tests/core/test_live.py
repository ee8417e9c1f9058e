"""Live prediction: the newest view and the newest weights win; nothing is predicted twice."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.synthetic import make_stack, write_imagej
from unet_core import live
from unet_core import stack as stack_module
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.inference import Predictor, display_maps, predict_plane
from unet_core.intensity import intensity_range
from unet_core.live import LivePrediction, PredictedTile
from unet_core.model import Model
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect

CPU = torch.device("cpu")
MODEL = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1)
FIRST, SECOND = PlaneIndex(0, 0), PlaneIndex(0, 1)
ALL = Rect(0, 0, 200, 200)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A stack, the tiles delivered, and a live prediction with tiles of 64 pixels."""
    monkeypatch.setattr(live, "LIVE_CORE", 64)
    image, _ = make_stack(slices=2, shape=(200, 200), count=3)
    with open_stack(write_imagej(tmp_path / "s.tif", image[0], "ZYX")) as stack:
        tiles: list[PredictedTile] = []
        yield stack, tiles, LivePrediction(stack, intensity_range(stack), CPU, tiles.append)


def drain(prediction: LivePrediction) -> int:
    steps = 0
    while prediction.step():
        steps += 1
    return steps


def test_the_view_is_covered_and_shows_the_prediction(scene):
    stack, tiles, prediction = scene
    assert not prediction.step(), "without a model and a view there is nothing to do"
    prediction.show(MODEL)
    prediction.look_at(SECOND, ALL)
    drain(prediction)
    assert prediction.idle
    whole = predict_plane(MODEL, stack.plane(0, 1), intensity_range(stack), CPU)
    expected = display_maps(whole.probabilities)
    shown = np.zeros_like(expected)
    inside = np.zeros((200, 200))
    for tile in tiles:
        assert tile.plane == SECOND
        shown[:, *tile.rect.slices] = tile.maps
        inside[tile.rect.slices] = tile.interior
    # Tiles of other sizes add up in another order, in bfloat16 where that is fast.
    assert np.abs(shown.astype(int) - expected).max() <= 4
    assert np.abs(inside - 255 * whole.interior).max() <= 4


def test_a_new_view_replaces_the_old_one(scene):
    _, tiles, prediction = scene
    prediction.show(MODEL)
    prediction.look_at(FIRST, ALL)
    prediction.step()
    prediction.look_at(SECOND, Rect(150, 150, 10, 10))
    assert drain(prediction) == 1
    assert [t.plane for t in tiles] == [FIRST, SECOND]


def test_going_back_costs_no_network(scene, monkeypatch):
    _, tiles, prediction = scene
    prediction.show(MODEL)
    prediction.look_at(FIRST, ALL)
    drain(prediction)
    monkeypatch.setattr(Predictor, "tile", None)  # would fail if it were called
    count = len(tiles)
    prediction.look_at(FIRST, ALL)
    drain(prediction)
    assert len(tiles) == 2 * count


def test_new_weights_predict_anew_and_count_up(scene):
    _, tiles, prediction = scene
    prediction.look_at(FIRST, Rect(0, 0, 20, 20))
    prediction.show(MODEL)
    drain(prediction)
    prediction.show(Model.fresh("compact", 1, DEFAULT_CLASSES, seed=0))
    drain(prediction)
    old, new = tiles
    assert new.generation > old.generation
    assert not np.array_equal(old.maps, new.maps)


def test_memory_is_bounded(scene, monkeypatch):
    _, _, prediction = scene
    monkeypatch.setattr(live, "CACHE_BYTES", 3 * 64 * 64)
    prediction.show(MODEL)
    for plane in (FIRST, SECOND):
        prediction.look_at(plane, ALL)
        drain(prediction)
    assert sum(t.maps.nbytes for t in prediction._cache.values()) <= 3 * 64 * 64


def test_of_a_giant_view_the_middle_is_predicted_and_that_is_said(scene, monkeypatch):
    stack, tiles, _ = scene
    said = []
    prediction = LivePrediction(stack, intensity_range(stack), CPU, tiles.append, said.append)
    monkeypatch.setattr(live, "LIVE_PIXELS", 64 * 64)
    prediction.show(MODEL)
    prediction.look_at(FIRST, Rect(-50, -50, 300, 300))
    drain(prediction)
    middle = Rect(68, 68, 64, 64)
    assert {t.rect for t in tiles} == {
        Rect(y, x, 64, 64) for y in (64, 128) for x in (64, 128)
    } and all(not t.rect.intersect(middle).empty for t in tiles)
    prediction.look_at(FIRST, Rect(0, 0, 200, 150))
    prediction.show(MODEL)
    assert said == [live.TOO_FAR], "once for a plane, not at every move"
    tiles.clear()
    prediction.look_at(FIRST, Rect(0, 0, 60, 60))
    drain(prediction)
    assert [t.rect for t in tiles] == [Rect(0, 0, 64, 64)] and len(said) == 1


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 10_000))
def test_the_middle_of_a_view_is_as_large_as_may_be(height, width, most):
    rect = Rect(7, -3, height, width)
    part = live._middle(rect, most)
    assert part.intersect(rect) == part and 0 < part.height * part.width <= max(most, 1)
    if height * width <= most:
        assert part == rect
    else:
        assert (part.height + 1) * (part.width + 1) > most
    for start, size, own, whole in (
        (part.y, part.height, 7, height),
        (part.x, part.width, -3, width),
    ):
        assert abs((start - own) - (own + whole - start - size)) <= 1


def test_of_a_large_plane_only_the_windows_are_read(scene, monkeypatch):
    stack, tiles, prediction = scene
    prediction.show(MODEL)
    prediction.look_at(SECOND, ALL)
    drain(prediction)
    expected = {tile.rect: tile.maps for tile in tiles}
    tiles.clear()
    monkeypatch.setattr(stack_module, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(stack, "plane", None)
    again = LivePrediction(stack, prediction._ranges, CPU, tiles.append)
    again.show(MODEL)
    again.look_at(SECOND, ALL)
    drain(again)
    assert {tile.rect for tile in tiles} == set(expected)
    assert all(np.array_equal(tile.maps, expected[tile.rect]) for tile in tiles)
