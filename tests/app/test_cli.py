"""The command line: what the contract says, on files, with exit codes and one sentence."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from app.__main__ import main
from tests.annotator import annotate
from tests.patience import PATIENCE
from tests.synthetic import dice, make_cells, write_imagej
from unet_core.annotation import Annotation, ClassInfo
from unet_core.border_weights import border_term
from unet_core.model import Model
from unet_core.networks import REGISTRY, UNet
from unet_core.stack import PlaneIndex, open_stack
from unet_core.training import fit
from unet_core.unet2015 import UNet2015

ROOT = Path(__file__).resolve().parents[2]
NAMED = tuple(
    ClassInfo(name, colour)
    for name, colour in (("ground", "#0000ff"), ("body", "#ff0000"), ("debris", "#00ff00"))
)


@pytest.fixture(scope="module")
def cells():
    return make_cells(seed=1, shape=(256, 320), count=8, kind="mixed")


@pytest.fixture
def folder(tmp_path, cells):
    """An image, and labels of eight strokes beside it."""
    write_imagej(tmp_path / "cells.tif", cells.image, "YX")
    tifffile.imwrite(tmp_path / "labels.tif", painted(cells.mask))
    return tmp_path


def painted(mask: np.ndarray) -> np.ndarray:
    annotation = Annotation((1, 1, *mask.shape))
    annotate(annotation, PlaneIndex(0, 0), mask, ~mask)
    return annotation.read(PlaneIndex(0, 0))


def run(*words) -> int:
    """The exit code of `limn WORDS`."""
    try:
        return main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)


def train(folder, *words, steps=6):
    pair = ("--pair", folder / "cells.tif", folder / "labels.tif")
    out = folder / "model.safetensors"
    return run("train", *pair, "--out", out, "--steps", steps, "--device", "cpu", *words)


def test_train_predict_measure(folder, cells, capsys):
    assert train(folder, "--json", steps=12) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["steps"] == 12
    assert summary["verdict"] is None
    assert captured.err.splitlines()[-1] == "Too few labels to judge how well it learned."
    model = folder / "model.safetensors"
    masks = folder / "masks"
    assert run("predict", "--model", model, "--out", masks, "--json", folder / "cells.tif") == 0
    summary = json.loads(capsys.readouterr().out)
    probability = tifffile.imread(masks / "cells_probability.tif")
    classes = tifffile.imread(masks / "cells_classes.tif")
    objects = tifffile.imread(masks / "cells_objects.tif")
    assert (probability.dtype, classes.dtype, objects.dtype) == (
        np.float32,
        np.uint8,
        np.uint16,
    )
    assert np.array_equal(classes, np.where(probability >= 0.5, 2, 1))
    assert dice(classes == 2, cells.mask) > 0.7
    assert objects.max() == summary["images"][0]["objects"] > 0
    with open_stack(masks / "cells_objects.tif") as written:
        assert written.pixel_size[1:] == pytest.approx((0.5, 0.5))

    table = folder / "cells.csv"
    words = ("--objects", masks / "cells_objects.tif", "--image", folder / "cells.tif")
    assert run("measure", *words, "--out", table) == 0
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == objects.max()
    assert int(rows[0]["area_px"]) == np.count_nonzero(objects == int(rows[0]["label"]))


def test_the_same_words_give_the_same_pixels(folder, capsys):
    for name in ("one", "two"):
        assert train(folder, "--seed", 5, steps=3) == 0
        model = folder / "model.safetensors"
        assert run("predict", "--model", model, "--out", folder / name, folder / "cells.tif") == 0
    one = tifffile.imread(folder / "one" / "cells_probability.tif")
    assert np.array_equal(one, tifffile.imread(folder / "two" / "cells_probability.tif"))
    assert train(folder, "--seed", 6, steps=3) == 0
    model = folder / "model.safetensors"
    assert run("predict", "--model", model, "--out", folder / "six", folder / "cells.tif") == 0
    assert not np.array_equal(one, tifffile.imread(folder / "six" / "cells_probability.tif"))


def test_objects_as_labels_and_from_scratch(folder, cells):
    labels = cells.objects + 1
    tifffile.imwrite(folder / "labels.tif", labels.astype(np.uint16))
    words = ("--labels-are", "objects", "--from", "scratch", "--network", "compact")
    assert train(folder, *words, steps=2) == 0
    model = Model.load(folder / "model.safetensors")
    assert len(model.classes) == 2
    assert model.provenance["steps"] == 2


def test_gaps_between_numbered_cells_count_more(folder, cells, monkeypatch):
    trained_on = []

    def spy(start, data, **options):
        trained_on.append(data)
        return fit(start, data, **options)

    monkeypatch.setattr("unet_core.training.fit", spy)
    numbers = np.zeros(cells.mask.shape, np.uint16)
    numbers[20:120, 20:200] = 1
    numbers[40:80, 40:80], numbers[40:80, 83:120] = 2, 3
    tifffile.imwrite(folder / "labels.tif", numbers)
    assert train(folder, "--labels-are", "objects", steps=1) == 0
    tifffile.imwrite(folder / "labels.tif", np.minimum(numbers, 2).astype(np.uint8))
    assert train(folder, steps=1) == 0
    (numbered,), (painted_only,) = (data.regions for data in trained_on)
    y, x = numbered.origin[2:]
    window = slice(y, y + numbered.labels.shape[0]), slice(x, x + numbered.labels.shape[1])
    assert np.array_equal(numbered.emphasis, border_term(numbers)[window])
    assert numbered.emphasis[60 - y, 81 - x] > 1
    assert painted_only.emphasis is None


def test_the_network_of_2015_trains_and_predicts(folder, monkeypatch):
    """With fewer channels: its 31 million parameters take their time."""
    monkeypatch.setitem(REGISTRY, "unet2015", lambda c, k: UNet2015(c, k, width=2))
    assert train(folder, "--from", "scratch", "--network", "unet2015", steps=2) == 0
    model = folder / "model.safetensors"
    assert Model.load(model).network_name == "unet2015"
    assert run("predict", "--model", model, "--out", folder / "m", folder / "cells.tif") == 0
    assert tifffile.imread(folder / "m" / "cells_objects.tif").shape == (256, 320)


def test_training_ends_early_when_it_has_settled(folder, capsys, monkeypatch):
    monkeypatch.setattr(UNet, "recipe", replace(UNet.recipe, patch=64, batch=2, patience=8))
    monkeypatch.setattr("unet_core.training.WORTHWHILE", 1.0)  # nothing is
    pair = ("--pair", folder / "cells.tif", folder / "labels.tif")
    out = ("--out", folder / "model.safetensors")
    assert run("train", *pair, *out, "--seconds", 100_000, "--device", "cpu", "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 8


def test_a_model_keeps_the_names_of_its_classes(folder):
    """Also those that are not in the labels this time."""
    start = Model.bundled().adapted(1, NAMED)
    start.save(folder / "named.safetensors")
    labels = tifffile.imread(folder / "labels.tif")
    for highest in (2, 4):
        labels[0, 0] = highest
        tifffile.imwrite(folder / "labels.tif", labels)
        assert train(folder, "--from", folder / "named.safetensors", steps=1) == 0
        trained = Model.load(folder / "model.safetensors")
        assert trained.classes[:3] == NAMED
        assert len(trained.classes) == max(3, highest)


def test_training_goes_on_from_a_model(folder):
    assert train(folder, steps=2) == 0
    (folder / "model.safetensors").rename(folder / "first.safetensors")
    assert train(folder, "--from", folder / "first.safetensors", steps=3) == 0
    assert Model.load(folder / "model.safetensors").provenance["steps"] == 5


def test_only_what_is_asked_for_is_written_with_the_asked_threshold(folder, capsys):
    words = ("--write", "classes", "--threshold", 0.9, "--out", folder / "m")
    assert run("predict", "--model", "bundled", *words, folder / "cells.tif") == 0
    assert [p.name for p in (folder / "m").iterdir()] == ["cells_classes.tif"]
    strict = tifffile.imread(folder / "m" / "cells_classes.tif")
    words = ("--write", "classes", "--threshold", 0.1, "--out", folder / "m")
    assert run("predict", "--model", "bundled", *words, folder / "cells.tif") == 0
    loose = tifffile.imread(folder / "m" / "cells_classes.tif")
    assert (strict == 2).sum() < (loose == 2).sum()
    assert not ((strict == 2) & (loose != 2)).any()


def test_presets_are_written_and_nothing_else(folder, capsys):
    words = ("--preset", "imagej-rois,cellpose", "--out", folder / "m", "--json")
    assert run("predict", "--model", "bundled", *words, folder / "cells.tif") == 0
    summary = json.loads(capsys.readouterr().out)
    names = {"imagej-rois": "cells_RoiSet.zip", "cellpose": "cells_cp_masks.tif"}
    assert summary["images"][0]["written"] == {
        what: str(folder / "m" / name) for what, name in names.items()
    }
    assert {p.name for p in (folder / "m").iterdir()} == set(names.values())
    words = ("--preset", "spreadsheet", "--write", "objects", "--out", folder / "n")
    assert run("predict", "--model", "bundled", *words, folder / "cells.tif") == 0
    assert {p.name for p in (folder / "n").iterdir()} == {"cells_objects.csv", "cells_objects.tif"}
    both = [folder / "m" / "cells_cp_masks.tif", folder / "n" / "cells_objects.tif"]
    assert np.array_equal(*map(tifffile.imread, both))


def many(folder, count=3):
    """A folder of small images whose numbers sort as numbers."""
    images = folder / "many"
    images.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 50)).astype(np.uint8)
        tifffile.imwrite(images / f"cell {7 + number} [x].tif", pixels)
    (images / "notes.txt").write_text("no image")
    (images / ".hidden.tif").write_text("no image")
    return images


@pytest.mark.parametrize("as_pattern", [False, True])
def test_folders_and_patterns(folder, capsys, as_pattern):
    images = many(folder, 4)
    words = ("--write", "classes", "--json", "--out", images)
    meant = f"{images}/*.tif" if as_pattern else images
    for _ in range(2):  # the second time, the masks of the first lie among the images
        assert run("predict", "--model", "bundled", *words, meant) == 0
        summary = json.loads(capsys.readouterr().out)
        assert [Path(one["image"]).name for one in summary["images"]] == [
            f"cell {n} [x].tif" for n in (7, 8, 9, 10)
        ]
    assert len(list(images.glob("*_classes.tif"))) == 4


def test_a_bad_image_does_not_stop_the_others_and_resuming_skips_what_is_done(folder, capsys):
    images = many(folder)
    bad = images / "cell 8 [x].tif"
    good = bad.read_bytes()
    bad.write_bytes(good[:300])
    words = ("predict", "--model", "bundled", "--write", "classes", "--json", "--out", folder / "m")
    assert run(*words, images) == 1
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert len(summary["images"]) == 2
    assert [one["image"] for one in summary["failed"]] == [str(bad)]
    complaints = [line for line in captured.err.splitlines() if line.startswith("limn: ")]
    assert len(complaints) == 2 and bad.name in complaints[0]
    assert complaints[1] == "limn: 1 of 3 images failed."
    assert len(list((folder / "m").iterdir())) == 2

    bad.write_bytes(good)
    kept = {p: p.stat().st_mtime_ns for p in (folder / "m").iterdir()}
    assert run(*words, "--resume", images) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [one.get("skipped", False) for one in summary["images"]] == [True, False, True]
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert len(list((folder / "m").iterdir())) == 3


def test_the_bundled_model_takes_colour(folder):
    rgb = np.random.default_rng(0).integers(0, 255, (60, 70, 3)).astype(np.uint8)
    tifffile.imwrite(folder / "rgb.tif", rgb, photometric="rgb")
    assert run("predict", "--model", "bundled", "--out", folder / "m", folder / "rgb.tif") == 0
    assert tifffile.imread(folder / "m" / "rgb_classes.tif").shape == (60, 70)


def test_info_says_where_things_are(capsys):
    assert run("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["torch"]
    assert facts["devices"]["cpu"]
    assert {"settings", "log", "recovery", "memory", "qt", "limn"} <= set(facts)
    assert run("info") == 0
    assert facts["log"] in capsys.readouterr().out


@pytest.mark.parametrize("command", ["", "train", "predict", "measure", "info"])
def test_help_shows_an_example(capsys, command):
    assert run(*command.split(), "--help") == 0
    out = capsys.readouterr().out
    assert "Example: limn" in out


@pytest.mark.parametrize(
    "words",
    [
        ("train",),
        ("predict", "--model", "bundled", "x.tif"),
        ("predict", "--model", "bundled", "--out", "m", "--threshold", "2", "x.tif"),
        ("predict", "--model", "bundled", "--out", "m", "--write", "outlines", "x.tif"),
        ("predict", "--model", "bundled", "--out", "m", "--preset", "photoshop", "x.tif"),
        ("train", "--pair", "a", "b", "--out", "m", "--steps", "0"),
        ("train", "--pair", "a", "b", "--out", "m", "--steps", "3", "--seconds", "3"),
        ("measure", "--objects", "x"),
        ("--bogus",),
        ("train", "--pair", "a", "b", "--out", "m", "--seed", "-1"),
        ("train", "--pair", "a", "b", "--out", "m", "--seed", str(2**63)),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_two(words, capsys):
    assert run(*words) == 2
    assert capsys.readouterr().err


def test_what_is_no_number_is_said_in_words(capsys):
    for option, word in (("--steps", "1.5"), ("--seconds", "soon"), ("--seed", "x")):
        assert run("train", "--pair", "a", "b", "--out", "m", option, word) == 2
        assert f"argument {option}: “{word}” is no" in capsys.readouterr().err


def failing_cases(folder: Path, mask: np.ndarray):
    """Name, words, and what the one sentence must hold."""
    image, labels, out = folder / "cells.tif", folder / "labels.tif", folder / "out.safetensors"
    (folder / "text.tif").write_text("hello")
    (folder / "short.tif").write_bytes(image.read_bytes()[:-5000])
    tifffile.imwrite(folder / "small.tif", np.ones((5, 5), np.uint8))
    tifffile.imwrite(folder / "one.tif", np.where(mask, 2, 0).astype(np.uint8))
    tifffile.imwrite(folder / "none.tif", np.zeros(mask.shape, np.uint8))
    tifffile.imwrite(folder / "float.tif", mask.astype(np.float32))
    (folder / "cells_classes.tif").write_bytes(image.read_bytes())
    (folder / "bad.safetensors").write_text("no model")
    (folder / "file").write_text("")
    (folder / "empty").mkdir()

    def fit_on(image, labels, out=out, *more):
        return ("train", "--pair", image, labels, "--out", out, "--steps", 1, *more)

    def predict(*more, model="bundled"):
        return ("predict", "--model", model, *more)

    masks = ("--out", folder / "masks")
    return {
        "no such image": (fit_on(folder / "nope.tif", labels), "nope.tif"),
        "no image": (fit_on(folder / "text.tif", labels), "text.tif"),
        "truncated": (predict(*masks, folder / "short.tif"), "short.tif"),
        "folder without images": (predict(*masks, folder / "empty"), "empty"),
        "no match": (predict(*masks, folder / "*.nothing"), "*.nothing"),
        "other shape": (fit_on(image, folder / "small.tif"), "small.tif"),
        "one class": (fit_on(image, folder / "one.tif"), "one.tif"),
        "no labels": (fit_on(image, folder / "none.tif"), "none.tif"),
        "not integers": (fit_on(image, folder / "float.tif"), "float.tif"),
        "missing labels": (fit_on(image, folder / "nope.tif"), "nope.tif"),
        "out in no folder": (fit_on(image, labels, folder / "no" / "m.safetensors"), "no"),
        "missing model": (predict(*masks, image, model=folder / "m.safetensors"), "m.safetensors"),
        "bad model": (predict(*masks, image, model=folder / "bad.safetensors"), "bad.safetensors"),
        "start is bad": (
            fit_on(image, labels, out, "--from", folder / "bad.safetensors"),
            "bad.safetensors",
        ),
        "out is a file": (predict("--out", folder / "file", image), "file"),
        "no such device": (predict(*masks, "--device", "cuda:77", image), "cuda:77"),
        "same name twice": (predict(*masks, image, folder / "masks" / "cells.tif"), "cells"),
        "unknown network": (
            fit_on(image, labels, out, "--from", "scratch", "--network", "resnet"),
            "resnet",
        ),
        "network of a model": (fit_on(image, labels, out, "--network", "wide"), "--network"),
        "objects of another shape": (
            ("measure", "--objects", folder / "small.tif", "--image", image, "--out", "t.csv"),
            "small.tif",
        ),
        "model over an image": (fit_on(image, labels, image), "cells.tif"),
        "model over labels": (fit_on(image, labels, labels), "labels.tif"),
        "model over a folder": (fit_on(image, labels, folder), str(folder)),
        "table over an image": (
            ("measure", "--objects", labels, "--image", image, "--out", image),
            "cells.tif",
        ),
        "table over labels": (
            ("measure", "--objects", labels, "--image", image, "--out", labels),
            "labels.tif",
        ),
        "mask over another image": (
            predict("--out", folder, image, folder / "cells_classes.tif"),
            "cells_classes.tif",
        ),
        "table in no folder": (
            ("measure", "--objects", labels, "--image", image, "--out", folder / "no" / "t.csv"),
            "t.csv",
        ),
    }


def test_every_bad_input_is_one_sentence_and_exit_code_one(folder, cells, capsys):
    for name, (words, expected) in failing_cases(folder, cells.mask).items():
        before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        code = run(*words)
        captured = capsys.readouterr()
        complaints = [line for line in captured.err.splitlines() if line.startswith("limn: ")]
        assert code == 1, name
        assert len(complaints) == 1, (name, captured.err)
        assert expected in complaints[0], (name, complaints)
        assert "Traceback" not in captured.err, name
        assert captured.out == "", name
        after = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        assert after == before, name


def test_too_little_memory_is_one_sentence(folder, capsys, monkeypatch):
    def allocate(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("unet_core.inference.Predictor._forward", allocate)
    assert run("predict", "--model", "bundled", "--out", folder / "m", folder / "cells.tif") == 1
    assert "too little memory" in capsys.readouterr().err.splitlines()[-1]
    assert not list((folder / "m").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
def test_a_reader_that_leaves_early_is_no_error():
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "app", "info", "--json"]
    done = subprocess.run(
        words, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
@pytest.mark.parametrize("command", ["train", "predict"])
def test_interrupted_it_leaves_nothing_but_a_sentence(folder, command):
    words = {
        "train": (
            *("train", "--pair", folder / "cells.tif", folder / "labels.tif", "--steps", "9999"),
            *("--out", folder / "m.safetensors"),
        ),
        "predict": (
            *("predict", "--model", "bundled", "--out", folder / "m", folder / "cells.tif"),
        ),
    }
    if command == "predict":  # long enough to be interrupted
        stack = np.zeros((200, 256, 320), np.uint8)
        write_imagej(folder / "cells.tif", stack, "ZYX")
    before = {path for path in folder.rglob("*") if path.is_file()}
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *map(str, words[command])],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A shell's background job is told to ignore Ctrl+C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stderr is not None
        seen = b""
        while b"step" not in seen:  # it is at work
            more = process.stderr.read1(100)
            assert more, seen
            seen += more
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 1
    assert out == b""
    assert err.decode().splitlines()[-1].startswith("limn: Cancelled")
    assert b"Traceback" not in err
    assert {path for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_an_interrupt_that_falls_into_the_making_of_a_dataclass_is_like_any_other(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from app import cli\n"
        "cli._info = lambda options: exec('raise KeyboardInterrupt')\n"
        "sys.exit(cli.main(['info']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("limn: Cancelled")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_falls_into_a_destructor_still_counts(folder, capsys, monkeypatch):
    class PressesCtrlC:
        def __del__(self):  # Python prints what is raised here, and goes on
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("app.cli.tqdm.update", lambda bar, more: bool(PressesCtrlC()))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert train(folder, "--out", folder / "m.safetensors", steps=9999) == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.splitlines()[-1].startswith("limn: Cancelled")
    assert not (folder / "m.safetensors").exists()


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_said(folder, capsys):
    locked = folder / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    assert run("predict", "--model", "bundled", "--out", locked, folder / "cells.tif") == 1
    assert "locked" in capsys.readouterr().err
    assert train(folder, "--out", locked / "m.safetensors", steps=1) == 1
    assert "locked" in capsys.readouterr().err


def test_python_dash_m_app_runs_it_without_qt(folder):
    """As users start it: in a process of its own, where no window is needed."""
    script = (
        "import sys; sys.modules['PySide6'] = None\n"
        "from app.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["predict", "--model", "bundled", "--write", "classes", "--out", str(folder / "m")]
    done = subprocess.run(
        [sys.executable, "-c", script, *words, str(folder / "cells.tif")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert "Predicting" in done.stderr
    assert done.stdout == ""
