"""What lies between the engine's two threads: the newest tiles, and what the user has set."""

from types import SimpleNamespace

import numpy as np
import pytest

from app.requests import BUNDLED
from app.workshop import Exchange, ModelFile, Workshop, file_of
from unet_core.annotation import DEFAULT_CLASSES, Annotation
from unet_core.live import PredictedTile
from unet_core.model import Model
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)


def tile(x, generation):
    return PredictedTile(PLANE, Rect(0, x, 8, 8), np.zeros((1, 8, 8), np.uint8), None, generation)


@pytest.fixture
def told():
    return []


@pytest.fixture
def exchange(told):
    return Exchange(None, lambda: told.append(True))


def test_the_reader_is_told_once_and_gets_the_newest_tile_of_each_place(exchange, told):
    for one in (tile(0, 1), tile(8, 1), tile(0, 2)):
        exchange.tiles.put(one)
    assert len(told) == 1
    assert [(t.rect.x, t.generation) for t in exchange.tiles.take()] == [(0, 2), (8, 1)]
    assert exchange.tiles.take() == []
    exchange.tiles.put(tile(0, 3))
    assert len(told) == 2


def test_another_image_gets_no_letter_of_the_former_but_what_the_user_has_set(exchange, told):
    exchange.classes, exchange.live = DEFAULT_CLASSES, False
    exchange.view.put((PLANE, Rect(0, 0, 8, 8)))
    exchange.labels.put(Annotation((1, 1, 8, 8)))
    exchange.tiles.put(tile(0, 1))
    stack = SimpleNamespace()
    other = exchange.of_image(stack)
    assert other.stack is stack
    assert (other.classes, other.live) == (DEFAULT_CLASSES, False)
    assert not other.view.waiting and not other.labels.waiting and not other.tiles.take()
    other.tiles.put(tile(0, 1))
    assert len(told) == 2, "who takes them is the same"


def test_only_the_file_of_this_very_model_is_named(tmp_path):
    path, stack = tmp_path / "a.safetensors", SimpleNamespace(shape=(1, 1, 2, 8, 8))
    model = Model.fresh("compact", 2, DEFAULT_CLASSES, seed=0)
    saved = ModelFile(model, path)
    assert file_of(None, stack, saved) == BUNDLED
    assert file_of(model, stack, saved) is None, "there is no such file"
    path.touch()
    assert file_of(model, stack, saved) == str(path)
    assert file_of(model.copy(), stack, saved) is None
    assert file_of(model, SimpleNamespace(shape=(1, 1, 3, 8, 8)), saved) is None
    assert file_of(model, None, saved) is file_of(model, stack, None) is None


def test_leaving_an_image_keeps_the_answer_and_leaving_the_model_does_not():
    shop = Workshop(prediction=object(), answering=object(), answered=object(), instant=object())
    shop.leave_image()
    assert shop.prediction is shop.answered is None
    assert shop.instant is not None and shop.answering is not None
    shop.leave_model()
    assert shop.instant is shop.answering is None
