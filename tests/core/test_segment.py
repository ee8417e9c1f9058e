"""Whole stacks: predicted once, written with the image's axes, cancelled without a trace."""

import tracemalloc
import weakref

import numpy as np
import pytest
import tifffile
import torch

from tests.synthetic import make_stack, write_imagej
from unet_core import masks
from unet_core import stack as stack_module
from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.export import ExportError
from unet_core.export_presets import PRESETS, preset, write_presets
from unet_core.inference import Prediction, Predictor, classes_at, predict_plane
from unet_core.intensity import intensity_range
from unet_core.model import Model
from unet_core.objects import interior_target, label_plane
from unet_core.segment import OUTPUTS, segment
from unet_core.stack import open_stack
from unet_core.tiling import Rect

CPU = torch.device("cpu")


@pytest.fixture
def stack(tmp_path):
    image, _ = make_stack(times=2, slices=2, shape=(90, 110), count=3, radius=12)
    with open_stack(write_imagej(tmp_path / "cells.tif", image, "TZYX")) as opened:
        yield opened


def run(model, stack, folder, outputs=OUTPUTS, **options):
    targets = {what: folder / f"{what}.tif" for what in outputs}
    options = {"threshold": 0.5, "min_size": 5, **options}
    steps = segment(model, stack, intensity_range(stack), CPU, targets, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return targets, end.value


def test_the_three_masks_agree_with_each_other_and_with_the_prediction(stack, tmp_path):
    model = Model.bundled()
    targets, count = run(model, stack, tmp_path / "new folder")
    with (
        open_stack(targets["probability"]) as probability,
        open_stack(targets["classes"]) as classes,
        open_stack(targets["objects"]) as objects,
    ):
        for written, dtype in ((probability, "float32"), (classes, "uint8"), (objects, "uint16")):
            assert written.dtype == dtype
            assert written.shape == stack.shape
            assert written.axes == stack.axes
            assert written.pixel_size == pytest.approx(stack.pixel_size)
        seen = set()
        for plane in stack.planes():
            pixels = stack.plane(*plane)
            expected = predict_plane(model, pixels, intensity_range(stack), CPU).probabilities
            assert np.array_equal(probability.plane(*plane), expected)
            values = classes.plane(*plane)[0]
            assert np.array_equal(values, classes_at(expected, 0.5))
            numbers = objects.plane(*plane)[0]
            assert not numbers[values == 1].any()
            seen |= set(np.unique(numbers)) - {0}
        assert seen == set(range(1, count + 1))
    assert sorted(p.name for p in (tmp_path / "new folder").iterdir()) == [
        "classes.tif",
        "objects.tif",
        "probability.tif",
    ]


def test_a_target_that_must_not_be_written_is_refused_before_any_work(stack, tmp_path):
    (tmp_path / "objects.tif").mkdir()
    for target in (stack.path, tmp_path / "objects.tif"):
        steps = segment(
            Model.bundled(),
            stack,
            intensity_range(stack),
            CPU,
            {"classes": tmp_path / "c.tif", "objects": target},
            threshold=0.5,
            min_size=5,
        )
        with pytest.raises(ExportError, match=target.name):
            next(steps)


def test_several_classes_give_a_channel_each(stack, tmp_path):
    classes = (*DEFAULT_CLASSES, ClassInfo("debris", "#009e73"))
    model = Model.fresh("compact", 1, classes, seed=0)
    targets, _ = run(model, stack, tmp_path, ("probability", "classes"), threshold=0.3)
    assert tifffile.imread(targets["probability"]).shape[0] == 2
    assert set(np.unique(tifffile.imread(targets["classes"]))) <= {1, 2, 3}


def test_cancelled_at_any_step_leaves_nothing_and_keeps_what_was_there(stack, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "objects.tif").write_bytes(b"old")
    step = 0
    while True:
        step += 1
        steps = segment(
            Model.bundled(),
            stack,
            intensity_range(stack),
            CPU,
            {"objects": folder / "objects.tif"},
            threshold=0.5,
            min_size=5,
        )
        try:
            for _ in range(step):
                next(steps)
        except StopIteration:
            break
        steps.close()
        assert [p.name for p in folder.iterdir()] == ["objects.tif"]
        assert (folder / "objects.tif").read_bytes() == b"old"
    assert step > 4
    assert (folder / "objects.tif").read_bytes() != b"old"


def test_many_objects_do_not_overflow(tmp_path, monkeypatch):
    """A checkerboard has more objects than 16 bits can number."""
    side = 400
    path = write_imagej(tmp_path / "c.tif", np.zeros((side, side), np.uint8), "YX")
    board = np.indices((side, side)).sum(axis=0) % 2

    def checkerboard(predictor, work, ranges):
        for _, tile in work:
            yield Prediction(board[None][:, *tile.core.slices].astype(np.float32), None)

    monkeypatch.setattr(Predictor, "each", checkerboard)
    with open_stack(path) as stack:
        targets, count = run(Model.bundled(), stack, tmp_path, ("objects",), min_size=0)
    written = tifffile.imread(targets["objects"])
    assert count == written.max() == side * side // 2
    assert written.dtype == np.uint32
    assert np.array_equal(written > 0, label_plane((board + 1).astype(np.uint8)) > 0)


def touching_cells(side=96):
    """Numbered 20 pixel squares, each touching the next ones, in an island."""
    rows, columns = np.indices((side, side))
    objects = 1 + rows // 20 * 5 + columns // 20
    return np.where((rows < 80) & (columns < 80), objects, 0)


def predict(monkeypatch, objects, with_interior=True):
    """Let every network see these objects `(Y, X)` in every plane."""
    probabilities = (objects > 0)[None].astype(np.float32)
    interior = interior_target(objects)

    def each(predictor, work, ranges):
        for _, tile in work:
            inside = interior[tile.core.slices] if with_interior else None
            yield Prediction(probabilities[:, *tile.core.slices], inside)

    monkeypatch.setattr(Predictor, "each", each)


@pytest.mark.parametrize("core", [16, 48, 1024])
def test_touching_cells_are_objects_of_their_own_whatever_the_tiles(tmp_path, monkeypatch, core):
    truth = touching_cells()
    predict(monkeypatch, truth)
    monkeypatch.setattr(Predictor, "core", core)
    path = write_imagej(tmp_path / "c.tif", np.zeros((2, 3, 96, 96), np.uint8), "TZYX")
    with open_stack(path) as stack:
        targets, count = run(Model.bundled(), stack, tmp_path / "out", ("objects",))
    written = tifffile.imread(targets["objects"])
    assert count == written.max() == 2 * 16, "through z, not over time, and neighbours apart"
    assert ((written > 0) == (truth > 0)).all()
    for t in range(2):
        for plane in written[t]:
            assert np.array_equal(plane, written[t, 0])
            pairs = np.unique(np.stack((plane.ravel(), truth.ravel())), axis=1, return_counts=True)
            most = np.sort(pairs[1])[-17:]
            assert most.min() > 350, "each of the 400 pixel squares is nearly one object"


def test_without_an_interior_objects_are_connected_parts(tmp_path, monkeypatch):
    predict(monkeypatch, touching_cells(), with_interior=False)
    path = write_imagej(tmp_path / "c.tif", np.zeros((96, 96), np.uint8), "YX")
    with open_stack(path) as stack:
        _, count = run(Model.bundled(), stack, tmp_path / "out", ("objects",))
    assert count == 1


def test_what_cannot_be_written_is_said_before_any_work(stack, tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ExportError) as error:
            run(Model.bundled(), stack, folder)
        assert str(folder) in str(error.value)
    with pytest.raises(ExportError, match="itself"):
        segment_targets = {"objects": stack.path}
        list(
            segment(
                Model.bundled(),
                stack,
                intensity_range(stack),
                CPU,
                segment_targets,
                threshold=0.5,
                min_size=0,
            )
        )
    with pytest.raises(ExportError, match="channels"):
        run(Model.bundled().adapted(3), stack, tmp_path)


def test_large_planes_are_never_read_whole_and_give_the_same(stack, tmp_path, monkeypatch):
    model, ranges = Model.bundled(), intensity_range(stack)
    whole, _ = run(model, stack, tmp_path / "whole", ("probability",))
    monkeypatch.setattr(stack_module, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(stack, "plane", None)
    targets = {"probability": tmp_path / "parts.tif"}
    for _ in segment(model, stack, ranges, CPU, targets, threshold=0.5, min_size=5):
        pass
    with open_stack(whole["probability"]) as one, open_stack(targets["probability"]) as other:
        for plane in one.planes():
            assert np.array_equal(one.plane(*plane), other.region(*plane, Rect(0, 0, 90, 110)))


def test_memory_does_not_grow_with_the_planes(tmp_path, monkeypatch):
    """Neither what is allocated, nor what is mapped of the files that planes wait in."""
    shape = (160, 200)
    maps = []

    class Noted(np.memmap):
        def __new__(cls, *given, **options):
            made = super().__new__(cls, *given, **options)
            if made.mode == "r+":  # not those of images that are read
                maps.append((weakref.ref(made._mmap), made.nbytes))
            return made

    def each(predictor, work, ranges):
        for plane, tile in work:
            seen = np.asarray(plane[(slice(None), *tile.core.slices)])[0] > 128
            yield Prediction(seen[None].astype(np.float32), None)

    monkeypatch.setattr(masks.np, "memmap", Noted)
    monkeypatch.setattr(Predictor, "each", each)
    names = [one.id for one in PRESETS if not one.is_folder]
    allocated, mapped = [], []
    for count in (3, 3, 12):  # the first time, modules are imported
        maps.clear()
        pixels = np.zeros((count, *shape), np.uint8)
        pixels[:, 20:60, 30:80] = 255
        path = tmp_path / f"{count}.tif"
        options = {"compression": "zlib", "metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
        tifffile.imwrite(path, pixels, **options)
        targets = {name: preset(name).path_for(path, tmp_path / "out") for name in names}
        most = 0
        with open_stack(path) as stack:
            stack.cache_bytes = 0
            ranges = intensity_range(stack)
            tracemalloc.start()
            for _ in write_presets(targets, stack, model=Model.bundled(), ranges=ranges,
                                   device=CPU, overwrite=True):  # fmt: skip
                most = max(most, sum(size for one, size in maps if one() is not None))
            allocated.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        mapped.append(most)
    plane = 4 * shape[0] * shape[1]
    assert allocated[2] < allocated[1] + 2 * plane, allocated
    assert mapped[2] <= mapped[1] <= 4 * plane, mapped
