"""Model files: what is saved comes back, and nothing strange is swallowed."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.inference import predict_plane
from unet_core.model import BUNDLED_WEIGHTS, Model, ModelError

CPU = torch.device("cpu")
THREE = (*DEFAULT_CLASSES, ClassInfo("débris", "#009e73"))


def predict(model: Model, channels: int) -> np.ndarray:
    plane = np.random.default_rng(0).random((1, 40, 50)).astype(np.float32)
    ranges = np.array([[0, 1]] * channels, np.float32)
    image = np.repeat(plane, channels, axis=0)
    return predict_plane(model, image, ranges, CPU, dtype=torch.float32).probabilities


def test_saved_and_loaded_is_the_same_model(tmp_path):
    model = Model.fresh("compact", 2, THREE, seed=1)
    model.pixel_size = (1.0, 0.5, 0.25)
    model.provenance["steps"] = 7
    model.save(tmp_path / "möde l.safetensors")
    for again in (
        Model.load(tmp_path / "möde l.safetensors"),
        Model.from_bytes(model.to_bytes(), "project"),
    ):
        assert again.classes == THREE
        assert again.channels == 2
        assert again.pixel_size == (1.0, 0.5, 0.25)
        assert again.provenance == model.provenance
        assert np.array_equal(predict(again, 2), predict(model, 2))
    assert [p.name for p in tmp_path.iterdir()] == ["möde l.safetensors"]


def test_the_recipe_can_be_read_without_limn(tmp_path):
    path = tmp_path / "m.safetensors"
    Model.fresh("compact", 1, THREE, seed=1).save(path)
    with safetensors.safe_open(str(path), "pt") as file:
        recipe = json.loads(file.metadata()["limn"])
    assert recipe["network"] == {"name": "compact", "in_channels": 1, "out_channels": 3}
    assert [c["name"] for c in recipe["classes"]] == ["background", "cell", "débris"]
    assert recipe["normalisation"]["method"]


def test_a_repeated_grey_image_gives_the_grey_answer():
    grey = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1)
    assert np.allclose(predict(grey.adapted(3), 3), predict(grey, 1), atol=1e-5)


def test_more_classes_share_the_probability_of_the_first():
    model = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1)
    before = predict(model, 1)[0]
    more = predict(model.adapted(1, THREE), 1)
    assert np.allclose(more[0], more[1])
    assert np.allclose(more.sum(axis=0), before, atol=1e-5)


def test_looking_at_one_channel_is_like_having_only_that_one():
    grey = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1)
    both = np.random.default_rng(1).random((2, 40, 50)).astype(np.float32)
    ranges = np.array([[0, 1]] * 2, np.float32)
    second = grey.adapted(2).seeing([0.0, 1.0])
    found, alone = (
        predict_plane(model, image, ranges[: len(image)], CPU, dtype=torch.float32).probabilities
        for model, image in ((second, both), (grey, both[1:]))
    )
    assert np.allclose(found, alone, atol=1e-5)


def test_the_shares_of_classes_are_kept_and_follow_them(tmp_path):
    model = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1)
    model.share_shift = (0.25, -0.5)
    model.save(tmp_path / "m.safetensors")
    assert Model.load(tmp_path / "m.safetensors").share_shift == (0.25, -0.5)
    assert model.adapted(3, THREE).share_shift == (0.25, -0.5, -0.5)
    assert model.copy().share_shift == (0.25, -0.5)


def test_fewer_classes_keep_their_meaning():
    model = Model.fresh("compact", 1, THREE, seed=1)
    fewer = model.adapted(1, DEFAULT_CLASSES).network.state_dict()
    assert torch.equal(fewer["head.weight"], model.network.state_dict()["head.weight"][:2])


def test_a_copy_shares_nothing():
    model = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1)
    copy = model.copy()
    before = predict(model, 1)
    with torch.no_grad():
        for parameter in copy.network.parameters():
            parameter.zero_()
    copy.provenance["steps"] = 1
    assert np.array_equal(predict(model, 1), before)
    assert "steps" not in model.provenance


def test_the_bundled_model_is_small_and_says_where_it_comes_from():
    model = Model.bundled()
    assert BUNDLED_WEIGHTS.stat().st_size < 20e6
    assert model.channels == 1
    assert [c.name for c in model.classes] == ["background", "cell"]
    assert set(model.provenance["pretraining"]["datasets"]) <= {
        "dsb2018",
        "phc_t98g",
        "embl_small",
        "stardist_samples",
        "confocal3d_ovule_nuclei",
        "confocal3d_ovule_cells",
        "synthetic",
    }


def test_what_is_no_model_gives_a_sentence(tmp_path):
    good = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1).to_bytes()
    header_size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + header_size])

    def with_recipe(**changes: object) -> bytes:
        recipe = json.loads(header["__metadata__"]["limn"]) | changes
        weights = safetensors.torch.load(good)
        return safetensors.torch.save(weights, {"limn": json.dumps(recipe)})

    cases = {
        "text.safetensors": b"hello",
        "empty.safetensors": b"",
        "truncated.safetensors": good[: len(good) // 2],
        "huge header.safetensors": (2**62).to_bytes(8, "little") + good[8:],
        "no recipe.safetensors": safetensors.torch.save({"a": torch.zeros(1)}),
        "newer.safetensors": with_recipe(format_version=99),
        "unknown.safetensors": with_recipe(network={"name": "evil"}),
        "misfit.safetensors": with_recipe(channels=3),
        "absurd.safetensors": with_recipe(channels=10**9),
        "odd.safetensors": with_recipe(classes=3),
        "many.safetensors": with_recipe(provenance={"steps": "many"}),
    }
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelError) as error:
            Model.load(path)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
        if name != "empty.safetensors":
            with pytest.raises(ModelError, match=r"p\.limn"):
                Model.from_bytes(content, "p.limn")
    with pytest.raises(ModelError, match="missing"):
        Model.load(tmp_path / "missing.safetensors")
