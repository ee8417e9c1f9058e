"""Which image of a file, and what its axes are, on the command line."""

import numpy as np
import pytest
import tifffile

from tests.app.test_cli import run
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.model import Model


@pytest.fixture
def folder(tmp_path):
    """Images of different sizes in one file, three planes without names, and a model."""
    with tifffile.TiffWriter(tmp_path / "several.tif") as writer:
        for shape in ((40, 50), (32, 36)):
            writer.write(np.arange(shape[0] * shape[1]).reshape(shape).astype(np.uint16),
                         photometric="minisblack", metadata=None)  # fmt: skip
    planes = np.random.default_rng(0).integers(0, 255, (3, 32, 36), np.uint8)
    tifffile.imwrite(tmp_path / "plain.tif", planes, photometric="minisblack")
    Model.fresh("compact", 1, DEFAULT_CLASSES, 0).save(tmp_path / "model.safetensors")
    return tmp_path


def predict(folder, name, *words):
    model = ("--model", folder / "model.safetensors", "--device", "cpu", "--write", "classes")
    code = run("predict", *model, "--out", folder / "masks", *words, folder / name)
    masks = folder / "masks" / f"{name.partition('.')[0]}_classes.tif"
    return code, tifffile.imread(masks).shape if masks.exists() else None


def test_without_a_word_the_first_image_is_taken_and_said(folder, capsys):
    assert predict(folder, "several.tif") == (0, (40, 50))
    said = capsys.readouterr().err
    assert said.count("several.tif holds several images; Image 1 is taken") == 1


@pytest.mark.parametrize("name", ["2", "Image 2"])
def test_a_series_by_number_or_name(folder, capsys, name):
    assert predict(folder, "several.tif", "--series", name) == (0, (32, 36))
    assert "holds several" not in capsys.readouterr().err
    words = ("--objects", folder / "masks" / "several_classes.tif", "--image")
    table = folder / "t.csv"
    words = (*words, folder / "several.tif", "--out", table)
    assert run("measure", *words, "--series", name) == 0
    assert run("measure", *words) == 1


def test_axes_by_letters(folder, capsys):
    assert predict(folder, "plain.tif") == (0, (3, 32, 36))
    with tifffile.TiffFile(folder / "masks" / "plain_classes.tif") as file:
        assert file.series[0].axes[0] == "Z"
    assert predict(folder, "plain.tif", "--axes", "tyx") == (0, (3, 32, 36))
    with tifffile.TiffFile(folder / "masks" / "plain_classes.tif") as file:
        assert file.series[0].axes[0] == "T"
    capsys.readouterr()
    assert predict(folder, "plain.tif", "--axes", "CYX", "--json")[0] == 1
    assert "3 channels" in capsys.readouterr().err
    for words in (("--axes", "TZYX"), ("--series", "7")):
        assert predict(folder, "plain.tif", *words)[0] == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "plain.tif" in said and said.endswith(".")


def test_training_on_a_series(folder):
    labels = np.zeros((32, 36), np.uint8)
    labels[2:9, 2:9], labels[20:30, 20:30] = 1, 2
    tifffile.imwrite(folder / "labels.tif", labels)
    words = ("--pair", folder / "several.tif", folder / "labels.tif", "--steps", 2)
    words = (*words, "--out", folder / "new.safetensors", "--device", "cpu")
    assert run("train", *words) == 1  # the labels are those of the second image
    assert run("train", *words, "--series", "2") == 0
