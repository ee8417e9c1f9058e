"""Prediction: tiled equals whole, thresholds mean the same everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.synthetic import make_stack
from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.inference import (
    SMALLEST_CORE,
    WHOLE_CORE,
    Prediction,
    Predictor,
    bytes_per_pixel,
    classes_at,
    core_for,
    display_maps,
    predict_plane,
    predict_tiles,
)
from unet_core.intensity import percentile_range
from unet_core.lean import TileNetwork
from unet_core.model import Model
from unet_core.tiling import Rect

CPU = torch.device("cpu")
RANGES = np.array([[0, 200]], np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.fresh("compact", 1, DEFAULT_CLASSES, seed=3)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (17, 1031), (33, 15), (130, 211), (128, 128)], ids=str
)
@pytest.mark.parametrize("core", [32, 112, 512])
def test_tiled_equals_whole(model, shape, core):
    plane = np.random.default_rng(0).integers(0, 255, (1, *shape)).astype(np.uint8)
    whole = predict_plane(model, plane, RANGES, CPU, core=2048, dtype=torch.float32)
    tiled = predict_plane(model, plane, RANGES, CPU, core=core, dtype=torch.float32)
    assert whole.probabilities.shape == (1, *shape)
    assert whole.interior.shape == shape
    assert np.abs(whole.probabilities - tiled.probabilities).max() < 1e-4
    assert np.abs(whole.interior - tiled.interior).max() < 1e-4


def test_a_view_is_predicted_as_in_the_whole(model):
    plane = np.random.default_rng(1).integers(0, 255, (1, 200, 300)).astype(np.uint8)
    whole = predict_plane(model, plane, RANGES, CPU, dtype=torch.float32).probabilities
    view = Rect(70, 90, 50, 60)
    seen = np.zeros((200, 300), bool)
    for rect, part in predict_tiles(
        model, plane, RANGES, CPU, core=64, view=view, dtype=torch.float32
    ):
        assert np.abs(whole[:, *rect.slices] - part.probabilities).max() < 1e-4
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


def test_bfloat16_gives_the_same_masks_but_for_single_pixels():
    image, _ = make_stack(slices=1, shape=(300, 300), count=12)
    plane, model = image[0], Model.bundled()
    ranges = percentile_range(plane.reshape(1, -1))
    exact = predict_plane(model, plane, ranges, CPU, dtype=torch.float32)
    quick = predict_plane(model, plane, ranges, CPU, dtype=torch.bfloat16)
    assert np.abs(exact.probabilities - quick.probabilities).max() < 0.02
    assert np.abs(exact.interior - quick.interior).max() < 0.02
    differs = classes_at(exact.probabilities, 0.5) != classes_at(quick.probabilities, 0.5)
    assert differs.mean() < 1e-3


def test_what_is_trained_later_does_not_reach_a_predictor():
    model = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=0)
    plane = np.random.default_rng(0).integers(0, 255, (1, 30, 30)).astype(np.uint8)
    predictor = Predictor(model, CPU)
    (tile,) = predictor.tiles(30, 30)
    before = predictor.tile(plane, RANGES, tile)
    with torch.no_grad():
        model.network.head.bias.add_(torch.tensor([3.0, 0.0]))
    same = predictor.tile(plane, RANGES, tile)
    assert np.array_equal(before.probabilities, same.probabilities)
    predictor.use(model)
    assert (predictor.tile(plane, RANGES, tile).probabilities < before.probabilities).all()


def test_tiles_of_all_sizes_computed_together_come_in_the_order_asked_for(model, monkeypatch):
    """As on a graphics card, where several tiles are computed at once."""
    random = np.random.default_rng(4)
    planes = random.integers(0, 255, (2, 1, 70, 100)).astype(np.uint8)
    predictor = Predictor(model, CPU, dtype=torch.float32)
    work = [(p, tile) for p in planes for tile in predictor.tiles(70, 100, core=64)]
    alone = [predictor.tile(p, RANGES, tile) for p, tile in work]
    monkeypatch.setattr(Predictor, "_at_once", lambda self, window: 3)
    for (_, tile), one, other in zip(work, alone, predictor.each(work, RANGES), strict=True):
        assert one.probabilities.shape[1:] == (tile.core.height, tile.core.width)
        assert np.abs(one.probabilities - other.probabilities).max() < 1e-5


# --- memory ------------------------------------------------------------------------------------


class Narrow:
    """A prepared network on a device that has memory for so many pixels at once."""

    def __init__(self, network: TileNetwork, pixels: int) -> None:
        self.network, self.pixels = network, pixels
        self.taken: list[tuple[int, ...]] = []

    def __call__(self, window: torch.Tensor, core: Rect):
        if window.shape[0] * window.shape[2] * window.shape[3] > self.pixels:
            raise torch.OutOfMemoryError("out of memory")
        self.taken.append(tuple(window.shape))
        return self.network(window, core)


@pytest.fixture
def scarce(model):
    """A predictor, what it said, one tile of a plane and what there is to be seen in it."""
    said: list[str] = []
    predictor = Predictor(model, CPU, dtype=torch.float32, say=said.append)
    plane = np.random.default_rng(5).integers(0, 255, (1, 200, 180)).astype(np.uint8)
    (tile,) = predictor.tiles(200, 180)
    return predictor, said, (plane, tile), predictor.tile(plane, RANGES, tile)


def same(one: Prediction, other: Prediction) -> bool:
    return (
        np.abs(one.probabilities - other.probabilities).max() < 1e-4
        and np.abs(one.interior - other.interior).max() < 1e-4
    )


def test_where_memory_runs_out_fewer_tiles_are_computed_at_once(scarce, monkeypatch):
    predictor, said, work, expected = scarce
    monkeypatch.setattr(Predictor, "_at_once", lambda self, window: min(8, self._batch))
    window = work[1].window
    narrow = Narrow(predictor._network, 2 * window.height * window.width)
    predictor._network = narrow
    parts = list(predictor.each([work] * 5, RANGES))
    assert len(parts) == 5
    assert all(same(part, expected) for part in parts)
    assert max(shape[0] for shape in narrow.taken) == 2
    assert said == [], "the user need not know"


def test_then_the_tiles_are_made_smaller_and_it_is_said_once(scarce):
    predictor, said, work, expected = scarce
    narrow = Narrow(predictor._network, 350 * 350)
    predictor._network = narrow
    for _ in range(2):
        assert same(predictor.tile(work[0], RANGES, work[1]), expected)
    assert narrow.taken
    assert len(said) == 1
    assert "smaller pieces" in said[0]


def test_then_the_processor_takes_over(scarce, model):
    _, _, work, expected = scarce
    said: list[str] = []
    # A device that computes nothing stands for a card that is full.
    predictor = Predictor(model, torch.device("meta"), dtype=torch.float32, say=said.append)
    predictor._network = Narrow(predictor._network, 0)
    assert same(predictor.tile(work[0], RANGES, work[1]), expected)
    assert predictor.device == CPU
    assert "processor" in said[-1]
    assert same(predictor.tile(work[0], RANGES, work[1]), expected)
    assert len(said) == 2


def test_where_nothing_helps_the_error_comes_out(scarce):
    predictor, _, work, _ = scarce
    predictor._network = Narrow(predictor._network, 0)
    with pytest.raises(torch.OutOfMemoryError):
        predictor.tile(work[0], RANGES, work[1])


def test_other_errors_are_not_taken_for_too_little_memory(scarce, monkeypatch):
    predictor, said, work, _ = scarce

    def broken(window, core):
        raise RuntimeError("a mistake of ours")

    predictor._network = broken
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        predictor.tile(work[0], RANGES, work[1])
    assert said == []


@given(megabytes=st.integers(1, 4096), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_tiles_follow_the_memory_allowed(model, megabytes, dtype):
    network, memory = model.network, megabytes * 2**20
    core = core_for(network, dtype, memory)
    assert core % network.stride == 0
    assert SMALLEST_CORE <= core <= WHOLE_CORE
    window = core + 2 * network.halo
    assert core == SMALLEST_CORE or window**2 * bytes_per_pixel(network, dtype) <= memory
    assert core_for(network, dtype, 2 * memory) >= core


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
    probabilities = predict_plane(model, plane, ranges, CPU).probabilities
    assert probabilities.shape == (2, 50, 60)
    assert (probabilities >= 0).all()
    assert (probabilities.sum(axis=0) <= 1 + 1e-6).all()
