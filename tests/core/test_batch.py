"""Many images: which are meant, what becomes of each, and how long it will take."""

import numpy as np
import pytest
import tifffile
import torch

from unet_core import batch
from unet_core.export import ExportError
from unet_core.model import Model
from unet_core.steps import result_of

CPU = torch.device("cpu")


def images(folder, *names):
    for name in names:
        tifffile.imwrite(folder / name, np.zeros((20, 24), np.uint8))


def test_the_time_left_is_told_from_the_time_so_far(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(batch.time, "monotonic", lambda: now[0])
    clock = batch._Clock([30, 0, 70])
    start = clock.report(1, "a", batch.Progress(0, 1, "Opening"))
    assert (start.share, start.seconds_left) == (0, None)
    now[0] = 15.0
    assert clock.report(1, "a", batch.Progress(1, 2, "Predicting")).seconds_left == pytest.approx(
        85
    )
    now[0] = 30.0
    later = clock.report(3, "c", batch.Progress(0, 9, "Predicting"))
    assert later.share == pytest.approx(0.3) and later.seconds_left == pytest.approx(70)
    assert clock.report(3, "c", batch.Progress(1, 9, "Finding objects")).share == 1
    words = [batch.duration_in_words(s) for s in (0.2, 40, 720, 9000)]
    assert words == ["1 s", "40 s", "12 min", "2.5 h"]


def test_masks_of_an_image_are_no_images(tmp_path):
    """Whatever kind was written before, beside the images or where it goes now."""
    for name in ("a.tif", "b.tif", "a_objects.tif", "b_cp_masks.tif", "a_annotation.tif",
                 "c_labels.tif"):  # fmt: skip
        tifffile.imwrite(tmp_path / name, np.zeros((4, 4), np.uint8))
    tasks = batch.plan([tmp_path], ("classes",), tmp_path / "out")
    assert [task.image.name for task in tasks] == ["a.tif", "b.tif", "c_labels.tif"]


def test_a_zarr_folder_is_one_image(tmp_path):
    images(tmp_path, "a.tif")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "more").mkdir()
    tasks = batch.plan([tmp_path], ("classes",), tmp_path / "out")
    assert [task.image.name for task in tasks] == ["a.tif", "b.zarr"]
    (task,) = batch.plan([tmp_path / "b.zarr"], ("classes",), tmp_path / "out")
    assert task.image == tmp_path / "b.zarr"


def test_what_cannot_be_meant_is_refused_before_any_work(tmp_path):
    (tmp_path / "x").mkdir()
    images(tmp_path, "a.tif", "b.tif")
    images(tmp_path / "x", "a.tif")
    for paths, out, words in (
        ([tmp_path / "a.tif", tmp_path / "x" / "a.tif"], tmp_path / "out", "Two images are called"),
        ([tmp_path / "none*.tif"], tmp_path / "out", "matches no file"),
        ([tmp_path / "a.tif", tmp_path / "a_classes.tif"], tmp_path, "is an image to predict"),
    ):
        with pytest.raises(ExportError, match=words):
            batch.plan(paths, ("classes",), out)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [MemoryError(), ExportError("no")])
def test_one_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, error):
    images(tmp_path, "a.tif", "b.tif", "c.tif")
    real = batch.write_presets

    def write(targets, stack, **options):
        if stack.path.name == "b.tif":
            raise error
        return (yield from real(targets, stack, **options))

    monkeypatch.setattr(batch, "write_presets", write)
    tasks = batch.plan([tmp_path], ("classes",), tmp_path / "out")
    steps = batch.predict_all(tasks, Model.bundled(), CPU, explain=lambda one: "why")
    outcomes = result_of(steps)
    assert [one.error for one in outcomes] == ["", "why", ""]
    assert [task.is_done for task in tasks] == [True, False, True]
    again = result_of(batch.predict_all(tasks[::2], Model.bundled(), CPU, resume=True))
    assert all(one.skipped for one in again)
    with pytest.raises(type(error)):  # a mistake of ours is not explained away
        result_of(batch.predict_all(tasks, Model.bundled(), CPU, explain=lambda one: None))


def test_the_share_grows_to_one(tmp_path):
    images(tmp_path, "a.tif", "b.tif")
    tasks = batch.plan([tmp_path], ("objects", "spreadsheet"), tmp_path / "out")
    reports = list(batch.predict_all(tasks, Model.bundled(), CPU))
    shares = [one.share for one in reports]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert [one.number for one in reports] == sorted(one.number for one in reports)
