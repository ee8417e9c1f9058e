"""What is exported where there is an annotation, a prediction, or both."""

import csv

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.synthetic import write_imagej
from unet_core.annotation import DEFAULT_CLASSES, Annotation, ClassInfo
from unet_core.export_presets import ExportError, methods_sentence, preset, write_presets
from unet_core.inference import Prediction, Predictor
from unet_core.labels import label
from unet_core.masks import compact, on_top, under_paint
from unet_core.model import Model
from unet_core.stack import PlaneIndex, open_stack
from unet_core.steps import result_of
from unet_core.tiling import Rect

CPU = torch.device("cpu")
P = PlaneIndex(0, 0)


@pytest.fixture
def stack(tmp_path):
    with open_stack(write_imagej(tmp_path / "c.tif", np.zeros((40, 60), np.uint8), "YX")) as opened:
        yield opened


def predict(monkeypatch, cells):
    """Let the network see these cells (Y, X), and no interior that would cut them."""

    def each(predictor, work, ranges):
        for _, tile in work:
            yield Prediction(cells[None].astype(np.float32)[:, *tile.core.slices], None)

    monkeypatch.setattr(Predictor, "each", each)


def export(stack, folder, annotation=None, model=None, names=("objects", "classes"), **options):
    """The objects and the classes, as they are in the files."""
    targets = {name: preset(name).path_for(stack.path, folder / "out") for name in names}
    if model is not None:
        options |= {"model": model, "ranges": np.array([[0, 1]], np.float32), "device": CPU}
    snapshot = None if annotation is None else annotation.snapshot()
    steps = write_presets(
        targets, stack, annotation=snapshot, classes=DEFAULT_CLASSES, overwrite=True, **options
    )
    written = result_of(steps)
    return (*(tifffile.imread(path) for path in targets.values()), written)


def rectangle(value, number, y, x, height, width):
    return P, Rect(y, x, height, width), np.full((height, width), label(value, number), np.uint32)


def test_the_annotation_alone_keeps_its_numbers(stack, tmp_path):
    annotation = Annotation((1, 1, 40, 60))
    cells = [rectangle(2, 5, 2, 2, 6, 6), rectangle(2, 9, 2, 8, 6, 6)]
    areas = [rectangle(2, 0, 20, 20, 3, 3), rectangle(1, 0, 30, 0, 4, 60)]
    annotation.change("test", [*cells, *areas])
    objects, classes, written = export(stack, tmp_path, annotation)
    np.testing.assert_array_equal(classes, annotation.read(P))
    assert (objects[2:8, 2:8] == 5).all() and (objects[2:8, 8:14] == 9).all()
    assert (objects[20:23, 20:23] == 10).all(), "a painted cell without a number gets the next one"
    assert set(np.unique(objects)) == {0, 5, 9, 10} and written.objects == 3


def test_painted_background_takes_predicted_cells_away(stack, tmp_path, monkeypatch):
    cells = np.zeros((40, 60))
    cells[5:15, 5:15] = cells[20:30, 20:30] = 1
    predict(monkeypatch, cells)
    annotation = Annotation((1, 1, 40, 60))
    annotation.change("test", [rectangle(1, 0, 0, 0, 18, 18)])
    objects, classes, written = export(stack, tmp_path, annotation, Model.bundled())
    assert written.objects == 1
    np.testing.assert_array_equal(objects > 0, (cells > 0) & (classes == 2))
    assert not objects[:18, :18].any() and (objects[20:30, 20:30] == 1).all()


def test_a_painted_object_replaces_the_predicted_one_that_it_covers(stack, tmp_path, monkeypatch):
    cells = np.zeros((40, 60))
    cells[5:17, 5:17] = 1
    cells[5:17, 30:50] = 1
    predict(monkeypatch, cells)
    annotation = Annotation((1, 1, 40, 60))
    # Most of the first cell, which leaves a rim; and the corner of the second.
    annotation.change("test", [rectangle(2, 7, 6, 6, 10, 10), rectangle(2, 3, 3, 46, 6, 10)])
    objects, classes, written = export(stack, tmp_path, annotation, Model.bundled())
    assert written.objects == 3
    assert (objects[6:16, 6:16] == 7).all() and (objects[5:17, 5:17] == 7).sum() == 100
    assert (objects[3:9, 46:56] == 3).all()
    assert set(np.unique(objects)) == {0, 3, 7, 8}, "predicted ones come after the painted"
    np.testing.assert_array_equal(objects == 8, (cells > 0) & (objects != 3) & (np.arange(60) > 20))
    np.testing.assert_array_equal(classes == 2, objects > 0)


def test_painted_cells_without_a_number_join_the_predicted_one(stack, tmp_path, monkeypatch):
    cells = np.zeros((40, 60))
    cells[5:15, 5:15] = 1
    predict(monkeypatch, cells)
    annotation = Annotation((1, 1, 40, 60))
    annotation.change("test", [rectangle(2, 0, 8, 13, 4, 10)])
    objects, _, written = export(stack, tmp_path, annotation, Model.bundled())
    assert written.objects == 1 and (objects[8:12, 5:23] == 1).all()


def test_cells_painted_without_a_number_count_as_painted(stack, tmp_path, monkeypatch):
    """Where at least half of an object was painted, it is no prediction any more."""
    cells = np.zeros((40, 60))
    cells[5:15, 5:15] = cells[30:38, 30:38] = 1
    predict(monkeypatch, cells)
    annotation = Annotation((1, 1, 40, 60))
    strokes = [rectangle(2, 0, 5, 40, 4, 10), rectangle(2, 0, 8, 5, 3, 10)]
    annotation.change("test", [*strokes, rectangle(2, 9, 20, 50, 4, 4)])
    names = ("objects", "spreadsheet")
    targets = {name: preset(name).path_for(stack.path, tmp_path / "out") for name in names}
    options = {"model": Model.bundled(), "ranges": np.array([[0, 1]], np.float32), "device": CPU}
    result_of(write_presets(targets, stack, annotation=annotation.snapshot(), **options))
    with targets["spreadsheet"].open(encoding="utf-8-sig", newline="") as file:
        rows = {int(row["label"]): row for row in csv.DictReader(file)}
    objects = tifffile.imread(targets["objects"])
    source = {place: rows[int(objects[place])]["source"] for place in [(6, 45), (6, 6), (34, 34)]}
    assert source == {(6, 45): "painted", (6, 6): "predicted", (34, 34): "predicted"}
    assert rows[9]["source"] == "painted" and rows[9]["model"] == ""
    assert len(rows) == 4


def test_without_an_annotation_the_merged_export_is_the_prediction(stack, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    predict(monkeypatch, random.random((40, 60)))
    alone = export(stack, tmp_path, None, Model.bundled(), min_size=3)
    merged = export(stack, tmp_path, Annotation((1, 1, 40, 60)), Model.bundled(), min_size=3)
    np.testing.assert_array_equal(alone[0], merged[0])
    np.testing.assert_array_equal(alone[1], merged[1])


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_was_painted_is_always_in_the_result(seed, with_prediction):
    random = np.random.default_rng(seed)
    classes = random.integers(0, 4, (12, 14)).astype(np.uint32)
    numbers = np.where(classes > 1, random.integers(0, 3, (12, 14)), 0).astype(np.uint32)
    painted = classes << np.uint32(24) | numbers
    predicted = random.integers(1, 4, (12, 14)).astype(np.uint8) if with_prediction else None
    under = under_paint(painted, predicted, None, 0)
    finished = on_top(painted, under)
    np.testing.assert_array_equal(finished[classes > 0], classes[classes > 0])
    assert not (under[numbers > 0] > 1).any(), "no second object where a painted one is"
    if predicted is None:
        np.testing.assert_array_equal(finished, classes)
    else:
        assert set(np.unique(finished[classes == 0])) <= {1, 2, 3}
        changed = (classes == 0) & (finished != predicted)
        assert (finished[changed] == 1).all(), "only taken away, never made up"


@given(st.lists(st.sampled_from([0, 1, 5, 900, 2**24 - 1, 2**32 - 1]), min_size=1, max_size=40))
def test_compact_numbers(values):
    labels = np.array(values, np.uint32).reshape(1, -1)
    known, own = compact(labels)
    np.testing.assert_array_equal(np.append(0, known)[own], labels)
    assert known.tolist() == sorted(set(values) - {0})


def test_notes_and_the_sentence_for_a_paper(stack, tmp_path, monkeypatch):
    predict(monkeypatch, np.ones((40, 60)))
    model = Model.bundled()
    written = export(stack, tmp_path, Annotation((1, 1, 40, 60)), model, threshold=0.25)[-1]
    assert written.notes["threshold"] == "0.25" and written.notes["image"] == "c.tif"
    sentence = methods_sentence(written.notes)
    for words in ("Limn ", written.notes["model"], "U-Net", "0.25", "10 pixels", "by hand"):
        assert words in sentence
    assert sentence.endswith(".") and sentence.count(". ") == 0
    assert "by hand" not in methods_sentence(export(stack, tmp_path, None, model)[-1].notes)


def test_what_does_not_go_together_is_refused_before_any_work(stack, tmp_path):
    with pytest.raises(ExportError, match="neither"):
        export(stack, tmp_path)
    with pytest.raises(ExportError, match="predicted"):
        export(stack, tmp_path, Annotation((1, 1, 40, 60)), names=("objects", "probability"))
    with pytest.raises(ExportError, match="channels"):
        export(stack, tmp_path, model=Model.bundled().adapted(3))
    assert list((tmp_path / "out").iterdir()) == []


def test_painted_classes_that_the_model_has_not_are_exported(stack, tmp_path, monkeypatch):
    predict(monkeypatch, np.zeros((40, 60)))
    annotation = Annotation((1, 1, 40, 60))
    annotation.change("test", [rectangle(3, 4, 2, 2, 6, 6)])
    targets = {"qupath": tmp_path / "a.geojson", "probability": tmp_path / "p.tif"}
    steps = write_presets(
        targets,
        stack,
        annotation=annotation.snapshot(),
        classes=(*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")),
        model=Model.bundled(),
        ranges=np.array([[0, 1]], np.float32),
        device=CPU,
    )
    assert result_of(steps).objects == 1
    assert '"name": "debris"' in targets["qupath"].read_text()
    assert tifffile.imread(targets["probability"]).shape == (40, 60)
