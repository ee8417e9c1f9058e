"""Prediction: tiled equals whole, thresholds mean the same everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.inference import classes_at, display_maps, predict_plane, predict_tiles
from unet_core.model import Model
from unet_core.tiling import Rect

CPU = torch.device("cpu")
RANGES = np.array([[0, 200]], np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.fresh("compact", 1, DEFAULT_CLASSES, seed=3)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (17, 1031), (33, 15), (250, 331), (128, 128)], ids=str
)
@pytest.mark.parametrize("core", [32, 112, 512])
def test_tiled_equals_whole(model, shape, core):
    plane = np.random.default_rng(0).integers(0, 255, (1, *shape)).astype(np.uint8)
    whole = predict_plane(model, plane, RANGES, CPU, core=2048)
    tiled = predict_plane(model, plane, RANGES, CPU, core=core)
    assert whole.shape == (1, *shape)
    assert np.abs(whole - tiled).max() < 1e-4


def test_a_view_is_predicted_as_in_the_whole(model):
    plane = np.random.default_rng(1).integers(0, 255, (1, 200, 300)).astype(np.uint8)
    whole = predict_plane(model, plane, RANGES, CPU)
    view = Rect(70, 90, 50, 60)
    seen = np.zeros((200, 300), bool)
    for rect, probabilities in predict_tiles(model, plane, RANGES, CPU, core=64, view=view):
        assert np.abs(whole[:, *rect.slices] - probabilities).max() < 1e-4
        seen[rect.slices] = True
    assert seen[view.slices].all()
    assert not seen.all()


def test_one_tile_does_not_read_the_whole_plane(model):
    """Memory follows the tile: of a plane that lies on disk only the window is touched."""

    class Watched(np.ndarray):
        asked: list = []

        def __getitem__(self, index):
            if isinstance(index, tuple) and isinstance(index[1], slice):
                self.asked.append((index[1].stop - index[1].start, index[2].stop - index[2].start))
            return np.asarray(self)[index]

    plane = np.zeros((1, 3000, 3000), np.uint8).view(Watched)
    view = Rect(1500, 1500, 10, 10)
    next(iter(predict_tiles(model, plane, RANGES, CPU, core=64, view=view)))
    assert Watched.asked
    assert max(max(sides) for sides in Watched.asked) <= 64 + 2 * model.network.halo


@settings(max_examples=30)
@given(seed=st.integers(0, 999), classes=st.integers(1, 4), level=st.integers(1, 255))
def test_the_overlay_shows_exactly_what_is_exported(seed, classes, level):
    random = np.random.default_rng(seed)
    raw = random.random((classes + 1, 9, 11)).astype(np.float32)
    raw[:, 0, :5] = 0
    raw[0, 0, :5] = level / 256  # exactly on the threshold, and exactly 0 and 1
    raw[-1, 0, :5] = 1 - level / 256
    probabilities = (raw / raw.sum(axis=0))[1:]
    shown = display_maps(probabilities) >= level
    exported = classes_at(probabilities, level / 256)
    for k in range(classes):
        assert np.array_equal(shown[k], exported == k + 2)


def test_several_classes_sum_with_background_to_one():
    model = Model.fresh("compact", 2, (*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")), seed=0)
    plane = np.random.default_rng(2).normal(size=(2, 50, 60)).astype(np.float32)
    ranges = np.array([[-1, 1], [-1, 1]], np.float32)
    probabilities = predict_plane(model, plane, ranges, CPU)
    assert probabilities.shape == (2, 50, 60)
    assert (probabilities >= 0).all()
    assert (probabilities.sum(axis=0) <= 1 + 1e-6).all()
