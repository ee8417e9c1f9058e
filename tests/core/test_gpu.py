"""On a CUDA card: the same answers as on the processor, and little memory is no failure.

`pytest -m gpu` runs these; without a card each is skipped by name.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from unet_core.annotation import DEFAULT_CLASSES
from unet_core.device import release
from unet_core.inference import Prediction, Predictor, predict_plane
from unet_core.model import Model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU; was not run"),
]

CPU, CARD = torch.device("cpu"), torch.device("cuda:0")
RANGES = np.array([[0, 255]], np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.fresh("compact", 1, DEFAULT_CLASSES, seed=3)


@pytest.fixture(scope="module")
def plane() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (1, 700, 900)).astype(np.uint8)


@pytest.fixture(scope="module")
def on_processor(model: Model, plane: np.ndarray) -> Prediction:
    return predict_plane(model, plane, RANGES, CPU, dtype=torch.float32)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A card on which only 1/200 of the memory may be used."""
    release(CARD)
    torch.cuda.set_per_process_memory_fraction(1 / 200, CARD)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, CARD)
    release(CARD)


def difference(one: Prediction, other: Prediction) -> float:
    assert one.interior is not None
    assert other.interior is not None
    return max(
        float(np.abs(one.probabilities - other.probabilities).max()),
        float(np.abs(one.interior - other.interior).max()),
    )


def test_in_float32_the_card_agrees_with_the_processor(model, plane, on_processor):
    predicted = predict_plane(model, plane, RANGES, CARD, dtype=torch.float32)
    assert difference(predicted, on_processor) < 1e-3


def test_in_its_fast_precision_the_card_still_agrees(model, plane, on_processor):
    assert difference(predict_plane(model, plane, RANGES, CARD), on_processor) < 0.03


def test_many_tiles_at_once_are_the_same_as_one_by_one(model, plane, on_processor):
    predictor = Predictor(model, CARD, dtype=torch.float32)
    tiles = predictor.tiles(*plane.shape[1:], core=128)
    parts = predictor.each(((plane, tile) for tile in tiles), RANGES)
    together = Prediction.assembled(
        *plane.shape[1:], zip((tile.core for tile in tiles), parts, strict=True)
    )
    assert difference(together, on_processor) < 1e-3


@pytest.mark.usefixtures("little_memory")
def test_with_little_memory_it_goes_on_and_says_so(model, on_processor, plane):
    # Far more than the allocator may have: 256 windows of a whole plane.
    said: list[str] = []
    predictor = Predictor(model, CARD, dtype=torch.float32, say=said.append)
    predictor._at_once = lambda window: 256  # type: ignore[method-assign]
    predictor._batch = 256
    tiles = predictor.tiles(*plane.shape[1:], core=1024) * 256
    first = None
    for part in predictor.each(((plane, tile) for tile in tiles), RANGES):
        first = first or part
    assert first is not None
    assert difference(first, on_processor) < 1e-3
    assert predictor._batch < 256


def test_memory_is_given_back(model, plane):
    predict_plane(model, plane, RANGES, CARD)
    held = torch.cuda.memory_reserved(CARD)
    release(CARD)
    assert torch.cuda.memory_reserved(CARD) < held
