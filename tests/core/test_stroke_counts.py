"""Strokes of each class in the history: counted as they come and go, and as a project tells."""

import random
import shutil
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.random_steps import SHAPE, random_step, record
from unet_core import edits, tiles
from unet_core.annotation import Annotation, History
from unet_core.edits import Edit
from unet_core.labels import class_of, label
from unet_core.project import Project
from unet_core.stack import PlaneIndex
from unet_core.tiles import TileKey
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)


def painted_classes(history):
    """The classes of the applied strokes, from their pixels alone."""
    found = []
    for edit in history._edits[: history.position]:
        values = {
            int(value)
            for _, before, after, _ in edit.changes
            if after is not None
            for value in np.unique(
                after.pixels[after.pixels != (0 if before is None else before.pixels)] >> 24
            )
        }
        if edit.kind == "stroke":
            found += values
    return Counter(found)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_the_counts_are_those_from_scratch_and_those_of_the_project(tmp_path, seed, steps):
    rng = random.Random(seed)
    path = tmp_path / "strokes.limn"
    path.unlink(missing_ok=True)
    with Project.create(path, SHAPE) as project:
        annotation, history = project.load()
        for _ in range(steps):
            record(project, *random_step(annotation, history, rng))
            assert history.strokes == painted_classes(history)
    copy, position = history.copy(), history.position
    while edit := copy.undo():
        annotation.apply(edit)
        assert copy.strokes == painted_classes(copy)
    assert copy.strokes == {}
    with Project.open(path) as project:
        again, loaded = project.load()
    assert loaded.strokes == history.strokes, "the copy went back on its own"
    for one in (copy, loaded):
        labels = annotation if one is copy else again
        while edit := one.redo():
            labels.apply(edit)
    assert len(copy) == len(loaded) >= position
    assert copy.strokes == loaded.strokes == painted_classes(copy)


def test_a_step_says_the_class_that_it_paints_or_takes_away():
    annotation = Annotation((1, 1, 300, 300))
    square = np.ones((20, 20), np.uint32)
    history = History()

    def change(kind, *parts):
        painted = [(PLANE, Rect(y, x, 20, 20), square * np.uint32(one)) for y, x, one in parts]
        history.push(annotation.change(kind, painted))
        return history.step(history.position - 1).value

    assert change("polygon", (0, 0, label(2, 1)), (0, 250, label(2, 2))) == 2
    assert change("stroke", (0, 0, label(3, 3))) == 3, "over another class"
    assert change("split", (0, 0, label(3, 4))) == 3, "only the object is another one"
    assert change("import", (100, 0, label(1)), (100, 100, label(2))) is None
    assert change("erase", (0, 0, 0)) == 3
    assert change("erase", (100, 0, 0), (100, 100, 0)) is None
    assert history.strokes == {3: 1}, "only strokes of the brush"


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_strokes_of_older_projects_are_counted_too(tmp_path, monkeypatch, number):
    path = tmp_path / "old.limn"
    shutil.copy(Path(__file__).parent / "data" / f"format{number}.limn", path)
    unpacked, unpack = [], tiles.unpack_tile
    monkeypatch.setattr(tiles, "unpack_tile", lambda *tile: unpacked.append(tile) or unpack(*tile))
    with Project.open(path) as project:
        project.load_labels()
        for_labels = len(unpacked)
        annotation, history = project.load()
    assert len(unpacked) == 2 * for_labels, "nothing of the history"
    assert history.strokes == painted_classes(history) != {}
    for step in (history.undo, history.redo):
        while edit := step():
            annotation.apply(edit)
            assert history.strokes == painted_classes(history)


def test_forgotten_steps_do_not_count(monkeypatch):
    monkeypatch.setattr(edits, "HISTORY_IN_MEMORY", 60_000)
    annotation, history = Annotation((1, 1, 200, 200)), History()
    for number in range(300):
        stroke = annotation.stroke(PLANE, 1 + number % 3, 9, number % 5)
        stroke.to(5 + number % 190, 5)
        stroke.to((7 * number) % 190, 150)
        edit = stroke.finish()
        if edit is not None:
            history.push(edit)
    assert history.forgotten > 100
    assert sum(history.strokes.values()) == len(history)
    assert history.strokes == painted_classes(history)


def test_nothing_is_unpacked_and_no_other_step_looked_at(tmp_path, monkeypatch):
    path = tmp_path / "long.limn"
    with Project.create(path, SHAPE) as project:
        annotation, history = project.load()
        for number in range(60):
            stroke = annotation.stroke(PLANE, 1 + number % 2, 5)
            stroke.to(3 * number, 40)
            edit = stroke.finish()
            assert edit is not None
            history.push(edit)
            project.record(edit)
    monkeypatch.setattr(tiles, "unpack_tile", None)
    with Project.open(path) as project:
        annotation, history = project.load()
    assert history.strokes == {1: 30, 2: 30}
    asked = []
    value = Edit.value.func
    monkeypatch.setattr(Edit, "value", property(lambda edit: asked.append(edit) or value(edit)))
    for number in range(10):
        annotation.apply(history.undo())
        assert len(asked) == number + 1
        assert sum(history.strokes.values()) == 59 - number
    annotation.apply(history.redo())
    assert history.strokes == {1: 26, 2: 25} and len(asked) == 11


def test_damaged_tiles_of_old_have_no_class():
    for junk in (b"x", zlib.compress(b"short")):
        change = TileKey(0, 0, 0, 0), None, b"seal" + junk
        edit = Edit.from_packed("stroke", [change], (1, 1, 300, 300))
        assert edit.value is None and History([edit]).strokes == {}


@pytest.mark.parametrize("kind", ["stroke", "erase"])
def test_a_strangers_steps_do_no_harm(kind):
    """A class as nobody paints it, and several of them in one stroke."""
    annotation = Annotation((1, 1, 300, 300))
    labels = np.array([[label(200, 7), label(1)]], np.uint32)
    edit = annotation.change(kind, [(PLANE, Rect(0, 0, 1, 2), labels)])
    history = History([edit])
    assert history.strokes == {} and history.step(0).value is None
    assert {class_of(one) for one in edit.gained() if one} == {200, 1}
