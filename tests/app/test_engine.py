"""Engine: one job at a time, the newest view first, nothing lost when things overlap."""

import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine import Engine
from app.requests import BUNDLED, MODEL_FILE, ExportRequest
from tests.annotator import annotate
from tests.patience import PATIENCE
from tests.synthetic import dice, make_cells, write_imagej
from unet_core import device, head
from unet_core.annotation import DEFAULT_CLASSES, Annotation, ClassInfo
from unet_core.intensity import intensity_range
from unet_core.model import Model
from unet_core.networks import REGISTRY, UNet
from unet_core.patches import TrainingSet
from unet_core.segment import fingerprint
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect
from unet_core.training import fit
from unet_core.unet2015 import UNet2015

PLANE = PlaneIndex(0, 0)
ALL = Rect(0, 0, 200, 240)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Here it matters what happens between the steps."""
    monkeypatch.setattr(UNet, "recipe", replace(UNet.recipe, patch=64, batch=2))


@pytest.fixture
def cells():
    return make_cells(seed=0, shape=(200, 240), count=6, kind="mixed")


@pytest.fixture
def stack(tmp_path, cells):
    image = np.stack((cells.image, cells.image[::-1]))
    with open_stack(write_imagej(tmp_path / "cells.tif", image, "ZYX")) as opened:
        yield opened


@pytest.fixture
def engine(qtbot, stack):
    made = Engine()
    made.device_name = "cpu"
    made.training_seconds, made.training_steps = None, 3
    made.set_classes(DEFAULT_CLASSES)
    made.set_stack(stack, intensity_range(stack))
    yield made
    if made.shutdown():
        with qtbot.waitSignal(made.finished):
            pass


@pytest.fixture
def patient_stack(stack, monkeypatch):
    """The second plane of the stack is not read before `set()`: what reads it can not end."""
    go_on = threading.Event()
    read = stack.plane

    def plane(t, z):
        if z == 1:
            assert go_on.wait(PATIENCE)
        return read(t, z)

    monkeypatch.setattr(stack, "plane", plane)
    yield go_on
    go_on.set()


def labels_for(cells) -> Annotation:
    annotation = Annotation((1, 2, *cells.mask.shape))
    annotate(annotation, PLANE, cells.mask, ~cells.mask)
    return annotation


def learns_from(qtbot, engine, counts):
    """Until a training step has been made with so many labelled pixels of each class; then stop.

    A few steps might all be over before newer labels are handed in.
    """
    expected = {str(value): n for value, n in counts.items()}

    def learned() -> bool:
        model = engine._own.trained
        return model is not None and model.provenance["labelled_pixels"] == expected

    qtbot.waitUntil(learned)
    with qtbot.waitSignal(engine.training_finished):
        engine.stop()
    assert engine.model.provenance["labelled_pixels"] == expected


def idle(qtbot, engine):
    qtbot.waitUntil(lambda: engine.busy == "idle")


def shown(engine, plane=PLANE):
    """The overlay made of all tiles of a plane delivered since the last look."""
    image = np.zeros((200, 240), np.uint8)
    tiles = [tile for tile in engine.take_tiles() if tile.plane == plane]
    for tile in tiles:
        image[tile.rect.slices] = tile.maps[0]
    return image if tiles else None


def test_what_is_in_view_is_predicted_and_the_device_named(qtbot, engine, cells):
    with qtbot.waitSignals([engine.tiles_ready, engine.device_found]):
        engine.set_view(PLANE, ALL)
    idle(qtbot, engine)
    overlay = shown(engine)
    assert overlay is not None
    assert dice(overlay >= 128, cells.mask) > 0.3


def test_the_newest_of_many_views_wins(qtbot, engine):
    engine.set_view(PLANE, ALL)
    for _ in range(50):
        engine.set_view(PLANE, Rect(0, 0, 20, 20))
    engine.set_view(PlaneIndex(0, 1), ALL)
    idle(qtbot, engine)
    qtbot.waitUntil(lambda: not engine._exchange.view.waiting and engine.busy == "idle")
    tiles = engine.take_tiles()
    assert any(tile.plane == PlaneIndex(0, 1) for tile in tiles)
    assert len(tiles) <= 2


def test_live_off_predicts_nothing_until_it_is_on_again(qtbot, engine):
    engine.set_live(False)
    engine.set_view(PLANE, ALL)
    assert engine.busy == "idle"
    with qtbot.waitSignal(engine.tiles_ready):
        engine.set_live(True)
    idle(qtbot, engine)


def test_training_reports_predicts_in_between_and_ends_with_a_model(qtbot, engine, cells):
    engine.training_steps = 8
    engine.set_view(PLANE, ALL)
    qtbot.waitUntil(lambda: engine.busy == "predicting")
    reports, busy, models = [], [], []
    engine.training_progress.connect(reports.append)
    engine.busy_changed.connect(busy.append)
    engine.model_trained.connect(models.append)
    with qtbot.waitSignals([engine.training_started, engine.training_finished], order="strict"):
        engine.train(labels_for(cells))
    (model,) = models
    assert [r.step for r in reports] == list(range(9))
    assert all(r.verdict.endswith(".") for r in reports)
    assert engine.model is model
    assert model.provenance["steps"] == 8
    idle(qtbot, engine)
    generations = {tile.generation for tile in engine.take_tiles()}
    assert max(generations) >= 2, "the view was predicted with trained weights"
    assert "training" in busy


def test_stop_keeps_what_was_learned(qtbot, engine, cells):
    engine.training_steps = 10_000
    steps = []
    engine.training_progress.connect(lambda progress: steps.append(progress.step))
    engine.train(labels_for(cells))
    qtbot.waitUntil(lambda: bool(steps) and steps[-1] > 0)
    with qtbot.waitSignal(engine.training_finished) as finished:
        engine.stop()
    assert finished.args[0].startswith("Stopped")
    assert not finished.args[1]
    assert engine.model is not None
    idle(qtbot, engine)
    # and again: the path after the path
    engine.training_steps = 2
    before = engine.model.provenance["steps"]
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))
    assert engine.model.provenance["steps"] == before + 2, "training goes on from what was learned"


def test_strokes_painted_while_it_trains_are_learned_from(qtbot, engine, cells):
    engine.training_steps = 10_000
    labels = labels_for(cells)
    with qtbot.waitSignal(engine.training_progress):
        engine.train(labels.snapshot())
    stroke = labels.stroke(PlaneIndex(0, 1), 2, 30)
    stroke.to(100, 100)
    stroke.finish()
    engine.update_labels(labels.snapshot())
    learns_from(qtbot, engine, labels.counts())


def test_strokes_painted_in_the_last_moment_are_learned_from(qtbot, engine, cells, monkeypatch):
    """They come when the last step has been made."""
    labels = labels_for(cells)
    before = labels.snapshot()
    stroke = labels.stroke(PlaneIndex(0, 1), 2, 30)
    stroke.to(100, 100)
    stroke.finish()

    def fit_and_paint(start, data, **options):
        fitting, newer, late = fit(start, data, **options), None, labels.snapshot()
        while True:
            try:
                report = fitting.send(newer)
            except StopIteration as end:
                return end.value
            if report.step == options["steps"]:
                engine._exchange.labels.put(late)
            newer = yield report

    monkeypatch.setattr("unet_core.training.fit", fit_and_paint)
    engine.training_steps = 1
    with qtbot.waitSignal(engine.training_finished):
        engine.train(before)
    assert engine.model.provenance["labelled_pixels"] == {
        str(value): n for value, n in labels.counts().items()
    }


def test_too_few_labels_fail_with_a_sentence_and_all_goes_on(qtbot, engine, cells):
    with qtbot.waitSignal(engine.failed) as failed:
        engine.train(Annotation((1, 2, 200, 240)))
    assert failed.args[0] == "Paint some background."
    idle(qtbot, engine)
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))


def test_export_writes_what_the_overlay_shows(qtbot, engine, stack, cells, tmp_path):
    engine.set_view(PLANE, ALL)
    idle(qtbot, engine)
    overlay = shown(engine)
    target = tmp_path / "classes.tif"
    with qtbot.waitSignal(engine.export_finished) as done:
        engine.export(ExportRequest(target, "classes", threshold=96 / 256))
    assert done.args[1] == target
    with open_stack(target) as written:
        assert written.shape == stack.shape
        assert written.pixel_size == pytest.approx(stack.pixel_size)
        assert ((written.plane(0, 0)[0] == 2) == (overlay >= 96)).mean() > 0.9999


def test_the_annotation_itself_can_be_exported(qtbot, engine, cells, tmp_path):
    labels = labels_for(cells)
    target = tmp_path / "labels.tif"
    with qtbot.waitSignal(engine.export_finished):
        engine.export(ExportRequest(target, "annotation"), labels)
    with open_stack(target) as written:
        assert np.array_equal(written.plane(0, 0)[0], labels.read(PLANE))


def test_the_trained_network_can_be_exported(qtbot, engine, cells, stack, tmp_path):
    engine.training_steps = 2
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))
    idle(qtbot, engine)
    target = tmp_path / "cells_model.safetensors"
    with qtbot.waitSignal(engine.export_finished):
        engine.export(ExportRequest(target, "model"))
    idle(qtbot, engine)
    assert fingerprint(Model.load(target)) == fingerprint(engine.model)
    before = stack.path.read_bytes()
    with qtbot.waitSignal(engine.failed):
        engine.export(ExportRequest(stack.path, "model"))
    assert stack.path.read_bytes() == before


def test_a_cancelled_export_leaves_no_file(qtbot, engine, tmp_path, patient_stack):
    with qtbot.waitSignal(engine.export_progress):
        engine.export(ExportRequest(tmp_path / "o.tif", "objects"))
    with qtbot.waitSignal(engine.export_finished) as done:
        engine.stop()
        patient_stack.set()
    assert "cancelled" in done.args[0]
    assert not (tmp_path / "o.tif").exists()
    assert not list(tmp_path.glob("*.part"))


def test_exporting_while_training_is_refused_with_a_sentence(qtbot, engine, cells, tmp_path):
    engine.training_steps = 10_000
    with qtbot.waitSignal(engine.training_progress):
        engine.train(labels_for(cells))
    with qtbot.waitSignal(engine.failed) as failed:
        engine.export(ExportRequest(tmp_path / "o.tif", "objects"))
    assert "Training is under way" in failed.args[0]
    assert engine.busy == "training"


def test_another_stack_in_mid_training_is_taken_when_it_has_stopped(qtbot, engine, cells, tmp_path):
    engine.training_steps = 10_000
    with qtbot.waitSignal(engine.training_progress):
        engine.train(labels_for(cells))
    other = write_imagej(tmp_path / "other.tif", np.zeros((3, 60, 70), np.uint8), "CYX")
    with open_stack(other) as second:
        engine.set_stack(second, intensity_range(second))
        idle(qtbot, engine)
        qtbot.waitUntil(lambda: engine._stack is second)
        assert engine.model is None, "the other image starts from the bundled weights"
        with qtbot.waitSignal(engine.tiles_ready):
            engine.set_view(PLANE, Rect(0, 0, 60, 70))
        idle(qtbot, engine)


def test_a_view_of_the_new_image_is_not_lost_while_the_former_is_predicted(qtbot, engine, tmp_path):
    engine.set_view(PLANE, ALL)
    assert engine.busy == "predicting"
    image = np.zeros((4, 60, 70), np.uint8)
    with open_stack(write_imagej(tmp_path / "other.tif", image, "ZYX")) as second:
        engine.set_stack(second, intensity_range(second))
        # The former image has no such plane.
        engine.set_view(PlaneIndex(0, 3), Rect(0, 0, 60, 70))
        failures = []
        engine.failed.connect(lambda sentence, details: failures.append(sentence))
        qtbot.waitUntil(lambda: engine._stack is second)
        idle(qtbot, engine)
        assert not failures
        places = {(tile.plane, tile.rect) for tile in engine.take_tiles()}
        assert places == {(PlaneIndex(0, 3), Rect(0, 0, 60, 70))}


def test_train_pressed_twice_trains_once(qtbot, engine, cells, tmp_path):
    engine.set_view(PLANE, ALL)
    finished = []
    engine.training_finished.connect(lambda sentence, by_itself: finished.append(sentence))
    engine.train(labels_for(cells))
    engine.train(labels_for(cells))
    with qtbot.waitSignal(engine.failed):
        engine.export(ExportRequest(tmp_path / "never.tif", "objects"))
    qtbot.waitUntil(lambda: bool(finished))
    idle(qtbot, engine)
    assert len(finished) == 1
    assert finished[0].startswith("Trained: 3 steps")


def test_what_an_export_interrupts_is_predicted_afterwards(qtbot, engine, tmp_path, monkeypatch):
    monkeypatch.setattr("unet_core.live.LIVE_CORE", 64)
    with qtbot.waitSignal(engine.tiles_ready):
        engine.set_view(PLANE, ALL)
    with qtbot.waitSignal(engine.export_finished):
        engine.export(ExportRequest(tmp_path / "o.tif", "annotation"), Annotation((1, 2, 200, 240)))
    idle(qtbot, engine)
    assert len(engine.take_tiles()) == 16


def test_labels_taken_away_in_mid_training_do_not_end_it(qtbot, engine, cells):
    engine.training_steps = 10_000
    labels = labels_for(cells)
    reports = []
    engine.training_progress.connect(reports.append)
    with qtbot.waitSignal(engine.training_progress):
        engine.train(labels)
    engine.update_labels(Annotation((1, 2, 200, 240)))
    qtbot.waitUntil(lambda: not engine._exchange.labels.waiting)
    before = len(reports)
    qtbot.waitUntil(lambda: len(reports) > before + 2)
    learns_from(qtbot, engine, labels.counts())


def test_a_class_that_is_not_painted_changes_no_pixel(qtbot, engine, cells):
    """Else the command line, which sees only the labels, would give another result."""
    engine.training_steps = 2
    three = [*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")]
    engine.set_classes(three)
    labels = labels_for(cells)
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels.snapshot())
    assert [c.name for c in engine.model.classes] == ["background", "cell"]
    idle(qtbot, engine)
    stroke = labels.stroke(PLANE, 3, 9)
    stroke.to(30, 30)
    stroke.finish()
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels.snapshot())
    assert [c.name for c in engine.model.classes] == ["background", "cell", "debris"]
    idle(qtbot, engine)
    engine.take_tiles()
    engine.set_view(PLANE, ALL)
    idle(qtbot, engine)
    assert {tile.maps.shape[0] for tile in engine.take_tiles()} == {2}


def test_a_class_first_painted_while_it_trains_waits_for_the_next_training(qtbot, engine, cells):
    engine.training_steps = 10_000
    engine.set_classes([*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")])
    labels = labels_for(cells)
    with qtbot.waitSignal(engine.training_progress):
        engine.train(labels.snapshot())
    for value, y in ((3, 30), (2, 180)):
        stroke = labels.stroke(PLANE, value, 9)
        stroke.to(y, 30)
        stroke.finish()
    engine.update_labels(labels.snapshot())
    counts = labels.counts()
    learns_from(qtbot, engine, {1: counts[1], 2: counts[2]})


def painted(*strokes) -> Annotation:
    """Labels of one stroke for each class value and (y, x)."""
    labels = Annotation((1, 2, 200, 240))
    for value, place in strokes:
        stroke = labels.stroke(PLANE, value, 9)
        stroke.to(*place)
        stroke.to(place[0], place[1] + 20)
        stroke.finish()
    return labels


def test_strokes_of_two_classes_are_answered_at_once(qtbot, engine, cells):
    engine.set_view(PLANE, ALL)
    idle(qtbot, engine)
    bundled = shown(engine)
    engine.update_labels(labels_for(cells).snapshot())
    qtbot.waitUntil(lambda: engine.shown_model is not None)
    idle(qtbot, engine)
    answer = shown(engine)
    assert engine.model is None, "nothing was trained"
    assert engine.shown_model.provenance["steps"] == 0
    assert not np.array_equal(answer, bundled)
    assert dice(answer >= 128, cells.mask) > dice(bundled >= 128, cells.mask)
    # One class alone tells nothing: what the bundled network says comes back.
    engine.update_labels(painted((2, (50, 50))).snapshot())
    qtbot.waitUntil(lambda: engine.shown_model is None)
    idle(qtbot, engine)
    assert np.array_equal(shown(engine), bundled)


def test_labels_are_answered_in_the_job_that_predicts(qtbot, engine, cells, patient_stack):
    busy = []
    engine.busy_changed.connect(busy.append)
    engine.set_view(PlaneIndex(0, 1), ALL)
    for _ in range(3):
        engine.update_labels(labels_for(cells).snapshot())
    patient_stack.set()
    idle(qtbot, engine)
    assert busy == ["predicting", "idle"]
    assert engine.shown_model is not None
    assert not engine.labels_waiting


def test_while_live_is_off_strokes_are_not_answered(qtbot, engine, cells):
    engine.set_view(PLANE, ALL)
    idle(qtbot, engine)
    engine.set_live(False)
    engine.update_labels(labels_for(cells).snapshot())
    assert engine.busy == "idle"
    engine.set_live(True)
    qtbot.waitUntil(lambda: engine.shown_model is not None)
    idle(qtbot, engine)


def test_without_training_the_instant_answer_is_exported(qtbot, engine, cells, tmp_path):
    engine.set_view(PLANE, ALL)
    engine.update_labels(labels_for(cells).snapshot())
    qtbot.waitUntil(lambda: engine.shown_model is not None)
    idle(qtbot, engine)
    overlay = shown(engine)
    with qtbot.waitSignal(engine.export_finished):
        engine.export(ExportRequest(tmp_path / "classes.tif", "classes"))
    idle(qtbot, engine)
    with open_stack(tmp_path / "classes.tif") as written:
        assert ((written.plane(0, 0)[0] == 2) == (overlay >= 128)).mean() > 0.9999
    target = tmp_path / "instant.safetensors"
    with qtbot.waitSignal(engine.export_finished):
        engine.export(ExportRequest(target, "model"))
    model = Model.load(target)
    assert fingerprint(model) == fingerprint(engine.shown_model)
    assert model.provenance["steps"] == 0
    assert set(model.provenance["labelled_pixels"]) == {"1", "2"}


def test_training_does_not_depend_on_the_instant_answer(qtbot, engine, cells, stack):
    """Else the command line, which has none, would give another result."""
    labels = labels_for(cells)
    engine.set_view(PLANE, ALL)
    engine.update_labels(painted((1, (10, 10)), (2, (90, 90))).snapshot())
    qtbot.waitUntil(lambda: engine.shown_model is not None)
    engine.training_steps = 1
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels.snapshot())
    data = TrainingSet.of(stack, labels, intensity_range(stack))
    start = Model.bundled().adapted(1, DEFAULT_CLASSES)
    *_, report = fit(start, data, device=torch.device("cpu"), steps=1)
    assert fingerprint(engine.model) == fingerprint(report.model)
    assert engine.shown_model is engine.model


def test_training_looks_at_no_stroke_that_the_instant_answer_knows(
    qtbot, engine, cells, monkeypatch
):
    labels = labels_for(cells)
    engine.set_view(PLANE, ALL)
    engine.update_labels(labels.snapshot())
    qtbot.waitUntil(lambda: engine.shown_model is not None)
    idle(qtbot, engine)
    looked = []
    features_at = head._features_at
    monkeypatch.setattr(
        head, "_features_at", lambda *given: looked.append(given) or features_at(*given)
    )
    engine.training_steps = 1
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels.snapshot())
    assert not looked


def test_what_has_settled_says_so_and_ended_by_itself(qtbot, engine, cells, monkeypatch):
    monkeypatch.setattr(UNet, "recipe", replace(UNet.recipe, patience=8))
    monkeypatch.setattr("unet_core.training.WORTHWHILE", 1.0)  # nothing is
    engine.training_steps = None
    with qtbot.waitSignal(engine.training_finished) as finished:
        engine.train(labels_for(cells))
    assert finished.args == ["Settled after 8 steps", True]


def test_only_better_weights_are_predicted_with(qtbot, engine, cells, monkeypatch):
    """The prediction on show does not flicker with every step."""
    monkeypatch.setattr("unet_core.training.JUDGE_EVERY", 1000)
    engine.set_view(PLANE, ALL)
    idle(qtbot, engine)
    engine.take_tiles()
    generations = set()
    engine.tiles_ready.connect(
        lambda: generations.update(tile.generation for tile in engine.take_tiles())
    )
    engine.training_steps = 12
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))
    idle(qtbot, engine)
    assert generations <= {2, 3, 4}  # the first answer, better weights at the end, the last look


@pytest.fixture
def narrow_2015(monkeypatch):
    """The paper's network with fewer channels: its 31 million parameters take their time."""
    monkeypatch.setitem(REGISTRY, "unet2015", lambda c, k: UNet2015(c, k, width=2))


def test_training_can_begin_with_the_network_of_2015(qtbot, engine, cells, narrow_2015):
    starts = []
    engine.start_changed.connect(starts.append)
    engine.begin_with("unet2015")
    assert starts == ["unet2015"]
    engine.training_steps = 1
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))
    assert engine.model.network_name == "unet2015"
    idle(qtbot, engine)
    engine.set_view(PLANE, ALL)
    qtbot.waitUntil(lambda: shown(engine) is not None)
    # It is told from the model itself, as when a project is opened again.
    model = engine.model
    engine.begin_with(BUNDLED)
    qtbot.waitUntil(lambda: engine.model is None)
    engine.set_model(model)
    qtbot.waitUntil(lambda: engine.start == "unet2015")


def test_training_can_begin_with_a_model_file(qtbot, engine, cells, tmp_path):
    path = tmp_path / "other.safetensors"
    other = Model.fresh("compact", 1, DEFAULT_CLASSES, seed=3)
    other.provenance.update(steps=40, labelled_pixels={"1": 5, "2": 5})
    other.save(path)
    with qtbot.waitSignal(engine.model_trained):
        engine.begin_with(path)
    idle(qtbot, engine)
    assert engine.start == MODEL_FILE
    assert fingerprint(engine.model) == fingerprint(other)
    engine.training_steps = 1
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))
    assert engine.model.provenance["steps"] == 41
    # What is no model leaves all as it is.
    idle(qtbot, engine)
    before = engine.model
    path.write_text("no model")
    with qtbot.waitSignals([engine.failed, engine.start_changed]):
        engine.begin_with(path)
    idle(qtbot, engine)
    assert engine.model is before


def test_a_full_graphics_card_is_said_and_training_goes_on(qtbot, engine, cells, monkeypatch):
    """Where there is no card, "meta" stands for it: its tensors hold no data."""

    def fit_or_fail(start, data, *, device, **options):
        if device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return fit(start, data, device=device, **options)

    monkeypatch.setattr("unet_core.training.fit", fit_or_fail)
    monkeypatch.setattr("unet_core.live.LivePrediction.show", lambda prediction, model: None)
    engine._own.device = torch.device("meta")
    sentences = []
    engine.said.connect(sentences.append)
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))
    assert engine.model.provenance["steps"] == 3
    (sentence,) = sentences
    assert "out of memory" in sentence


def test_the_process_ends_cleanly_while_it_trains(tmp_path, stack):
    """Leaving in the middle of a step neither crashes nor hangs."""
    script = textwrap.dedent(
        """
        import sys
        import torch
        from PySide6.QtCore import QCoreApplication, QTimer
        from app.engine import Engine
        from unet_core.annotation import DEFAULT_CLASSES, Annotation
        from unet_core.intensity import intensity_range
        from unet_core.stack import PlaneIndex, open_stack

        app = QCoreApplication([])
        stack = open_stack(sys.argv[1])
        engine = Engine()
        engine.training_seconds = 100
        engine.set_classes(DEFAULT_CLASSES)
        engine.set_stack(stack, intensity_range(stack))
        labels = Annotation((1, 2, 200, 240))
        for value, y in ((1, 20), (2, 100)):
            stroke = labels.stroke(PlaneIndex(0, 0), value, 20)
            stroke.to(y, 100)
            stroke.finish()
        engine.finished.connect(app.quit)
        engine.training_progress.connect(lambda report: engine.shutdown())
        engine.train(labels)
        sys.exit(app.exec())
        """
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(stack.path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_memory_is_given_back_when_long_jobs_end_and_not_in_the_window(
    qtbot, engine, cells, tmp_path, monkeypatch
):
    given_back = []
    monkeypatch.setattr(
        device, "release", lambda which: given_back.append((which.type, threading.get_ident()))
    )
    with qtbot.waitSignal(engine.tiles_ready):
        engine.set_view(PLANE, ALL)
    idle(qtbot, engine)
    assert not given_back, "the next prediction will ask for the same again"
    with qtbot.waitSignal(engine.training_finished):
        engine.train(labels_for(cells))
    idle(qtbot, engine)
    assert len(given_back) == 1
    engine.training_steps = 10_000
    with qtbot.waitSignal(engine.training_progress):
        engine.train(labels_for(cells))
    with qtbot.waitSignal(engine.training_finished):
        engine.stop()
    idle(qtbot, engine)
    assert len(given_back) == 2
    with qtbot.waitSignal(engine.export_finished):
        engine.export(ExportRequest(tmp_path / "classes.tif", "classes"))
    assert len(given_back) == 3
    assert {which for which, _ in given_back} == {"cpu"}
    assert threading.get_ident() not in {thread for _, thread in given_back}


def test_going_past_images_begins_nothing_on_them(
    qtbot, engine, stack, tmp_path, cells, monkeypatch
):
    """A job on the second image would get what is seen of the third, and find its file closed."""
    names = [write_imagej(tmp_path / f"{n}.tif", cells.image, "YX") for n in range(2)]
    held, begun, started = threading.Event(), threading.Event(), []
    start = engine._start

    def watched(busy, steps):
        started.append(engine._stack)
        start(busy, steps)

    def predicting(own, given):
        given.exchange.view.take()
        begun.set()
        assert held.wait(PATIENCE)
        yield None

    engine._start = watched
    monkeypatch.setattr("app.engine.predicting", predicting)
    with open_stack(names[0]) as second, open_stack(names[1]) as third:
        engine.set_view(PLANE, ALL)
        assert begun.wait(PATIENCE)
        started.clear()
        engine.show_image(second, intensity_range(second))
        engine.set_view(PLANE, ALL)
        engine.train(labels_for(cells))
        for other in (third, stack):
            engine.show_image(other, intensity_range(other))
            engine.set_view(PLANE, ALL)
        held.set()
        qtbot.waitUntil(lambda: bool(started) and engine.busy == "idle")
        assert all(one is stack for one in started)
