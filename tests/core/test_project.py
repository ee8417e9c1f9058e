"""The project file: what was acknowledged is there again, and no file can do harm."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.random_steps import SHAPE, random_step, record
from unet_core import project_edits, project_models
from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.project import ImageReference, Project, ProjectError, ProjectLockedError
from unet_core.stack import PlaneIndex

ROOT = Path(__file__).resolve().parents[2]
PLANES = [PlaneIndex(0, z) for z in range(SHAPE[1])]


def labels(annotation):
    return np.stack([annotation.read_labels(plane) for plane in PLANES])


def assert_same_work(one, other):
    """The same labels now and at every step of undo and redo. Walks both through."""
    (annotation, history), (expected, expected_history) = one, other
    np.testing.assert_array_equal(labels(annotation), labels(expected))
    assert annotation.counts() == expected.counts()
    for step in ("undo", "redo"):
        while edit := getattr(expected_history, step)():
            expected.apply(edit)
            annotation.apply(getattr(history, step)())
            np.testing.assert_array_equal(labels(annotation), labels(expected))
        assert getattr(history, step)() is None


def painted(path, steps, seed=0):
    """A project with some history, closed; and the same work in memory."""
    rng = random.Random(seed)
    with Project.create(path, SHAPE) as project:
        annotation, history = project.load()
        for _ in range(steps):
            record(project, *random_step(annotation, history, rng))
    return annotation, history


def crashed(folder):
    """A project whose writer died in the middle of a transaction; and what it held before."""
    folder.mkdir()
    memory = painted(folder / "x.limn", 6, seed=8)
    with Project.open(folder / "x.limn") as project:
        # Its pages have spilled into the file already.
        connection = project._file.connection
        connection.execute("PRAGMA cache_size=1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO models VALUES (1, 0, '', '', 0, zeroblob(300000))")
        connection.execute("DELETE FROM tiles")
        for suffix in ("", "-journal"):
            shutil.copy(folder / f"x.limn{suffix}", folder / f"crashed.limn{suffix}")
        connection.execute("ROLLBACK")
    return folder / "crashed.limn", memory


@pytest.fixture
def path(tmp_path):
    # A name that a careless URI or SQL string would stumble over.
    return tmp_path / "my 'cells' 50%? #1.limn"


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), pauses=st.lists(st.integers(0, 8), max_size=4))
def test_a_reopened_project_equals_memory(tmp_path, seed, pauses):
    path = tmp_path / f"{time.monotonic_ns()}.limn"
    rng = random.Random(seed)
    with Project.create(path, SHAPE) as project:
        memory = project.load()
    for steps in pauses:
        with Project.open(path) as project:
            for _ in range(steps):
                record(project, *random_step(*memory, rng))
    with Project.open(path) as project:
        assert project.shape == SHAPE
        assert_same_work(project.load(), memory)


def test_only_steps_next_to_the_present_are_loaded_of_a_long_history(path, monkeypatch):
    memory = painted(path, 30)
    monkeypatch.setattr(project_edits, "_STEPS_LOADED", 4)
    with Project.open(path) as project:
        for _ in range(6):
            project.record_undo()
            memory[0].apply(memory[1].undo())
        annotation, history = project.load()
    assert (history.position, len(history)) == (4, 8)
    np.testing.assert_array_equal(labels(annotation), labels(memory[0]))
    while edit := history.redo():
        annotation.apply(edit)
        memory[0].apply(memory[1].redo())
        np.testing.assert_array_equal(labels(annotation), labels(memory[0]))


def test_the_second_opener_gets_a_sentence(path):
    painted(path, 3)
    with Project.open(path) as project:
        with pytest.raises(ProjectLockedError, match="open in another window"):
            Project.open(path)
        code = (
            "import sys, pathlib; from unet_core.project import Project;"
            "Project.open(pathlib.Path(sys.argv[1]))"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True
        )
        assert "ProjectLockedError" in other.stderr
        project.record_undo()
    Project.open(path).close()


def test_what_the_project_knows_is_there_again(path, tmp_path):
    image = ImageReference(tmp_path / "data" / "cells ü.tif", 1234, "abc", (1, 3, 2, 300, 520))
    classes = (*DEFAULT_CLASSES, ClassInfo("núcleo 🔬", "#009e73"))
    with Project.create(path, SHAPE, image=image) as project:
        assert project.classes == DEFAULT_CLASSES
        project.set_classes(classes)
        project.set_setting("view", {"t": 1, "rect": [0.5, 2, 3, 4]})
        assert project.latest_model() is None
    with Project.open(path) as project:
        assert project.image == image and project.classes == classes
        assert project.setting("view") == {"t": 1, "rect": [0.5, 2, 3, 4]}
        assert project.setting("threshold", 0.5) == 0.5
        project.set_image(None)
        assert project.image is None
        with pytest.raises(TypeError):
            project.set_setting("view", object())


def test_the_image_is_found_when_both_have_moved_together(tmp_path):
    for folder in ("here/data", "here/work"):
        (tmp_path / folder).mkdir(parents=True)
    image = ImageReference(tmp_path / "here/data/a.tif", 1, "x", (1, 3, 1, 300, 520))
    Project.create(tmp_path / "here/work/a.limn", SHAPE, image=image).close()
    (tmp_path / "here").rename(tmp_path / "there")
    with Project.open(tmp_path / "there/work/a.limn") as project:
        assert project.image.path == tmp_path / "there/data/a.tif"


def test_the_newest_models_are_kept(path):
    kept = project_models.MODELS_KEPT
    with Project.create(path, SHAPE) as project:
        for n in range(kept + 2):
            project.add_model(bytes([n]) * 1000, {"steps": n})
    with Project.open(path) as project:
        assert project.latest_model() == bytes([kept + 1]) * 1000
        assert [m.provenance["steps"] for m in project.models()] == [*range(kept + 1, 1, -1)]
        assert {model.size for model in project.models()} == {1000}
        newest = project.add_model(b"newest", {})
    damage = sqlite3.connect(path)
    with closing(damage), damage:
        damage.execute("UPDATE models SET weights = x'00' WHERE id = ?", (newest,))
    with Project.open(path) as project:
        assert project.latest_model() == bytes([kept + 1]) * 1000
        with pytest.raises(ProjectError, match="damaged"):
            project.model_weights(newest)
        with pytest.raises(ProjectError, match="no model 1"):
            project.model_weights(1)
        assert project.model_weights(newest - 1) == project.latest_model()


def test_pinned_and_shown_models_stay(path, monkeypatch):
    with Project.create(path, SHAPE) as project:
        pinned = project.add_model(b"pinned", {}, pinned=True)
        shown = project.add_model(b"shown", {})
        other = project.add_model(b"other", {})
        project.set_shown_model(shown)
        for n in range(20):
            project.add_model(bytes([n]), {})
        numbers = {model.id: model.pinned for model in project.models()}
        assert numbers[pinned] and not numbers[shown] and other not in numbers
        project.pin_model(pinned, False)
        project.set_shown_model(None)
        project.add_model(b"last", {})
        assert {pinned, shown}.isdisjoint(model.id for model in project.models())
        with pytest.raises(ProjectError, match="no model"):
            project.pin_model(other, True)
        monkeypatch.setattr(project_models, "MODELS_BUDGET", 250)
        for _ in range(4):
            newest = project.add_model(bytes(100), {})
        assert [model.id for model in project.models()] == [newest, newest - 1]
        project.add_model(bytes(1000), {})  # too large for the budget: the newest stays anyway
        assert [model.size for model in project.models()] == [1000]
    with Project.open(path) as project:
        assert project.shown_model() is None


def test_training_runs_are_kept(path, monkeypatch):
    monkeypatch.setattr(project_models, "RUNS_KEPT", 3)
    with Project.create(path, SHAPE) as project:
        for n in range(5):
            project.add_training_run({"steps": n, "scores": [0.5, n], "name": "Zellkörper"})
        with pytest.raises(ProjectError, match="too long"):
            project.add_training_run({"text": "x" * 2**21})
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute("UPDATE runs SET record = '{\"steps\": 7}' WHERE id = 4")
    with Project.open(path) as project:
        assert [run["steps"] for run in project.training_runs()] == [2, 4]
        assert abs(project.training_runs()[0]["made"] - time.time()) < 10**4


# ---- the history's budget


def test_a_read_only_project_saved_elsewhere_takes_strokes_beyond_its_budget(path, tmp_path):
    memory = painted(path, 10)
    with Project.open(path, read_only=True) as project:
        project.save_as(tmp_path / "other.limn")
        project.history_budget = 1
        record(project, *painting_step(memory, random.Random(2)))
        assert project.edit_count() < 11


def test_the_oldest_steps_are_forgotten_when_the_history_is_too_large(path):
    memory = painted(path, 40)
    edits = memory[1].position
    rng = random.Random(2)
    with Project.open(path) as project:
        whole = project._file.value("history")
        project.history_budget = whole // 3
        # None of what has been loaded, and may be undone in the window.
        project.load()
        for _ in range(5):
            record(project, *random_step(*memory, rng))
        while memory[1].can_undo:
            memory[0].apply(memory[1].undo())
            project.record_undo()
        with pytest.raises(ProjectError, match="nothing to undo"):
            project.record_undo()
        while memory[1].can_redo:
            memory[0].apply(memory[1].redo())
            project.record_redo()
    with Project.open(path) as project:  # nobody has loaded it: nobody can want to undo
        project.history_budget = whole // 3
        while project._file.value("history") > project.history_budget:
            before = project.edit_count()
            record(project, *painting_step(memory, rng))
            assert before - 8 < project.edit_count() <= before + 1
    with Project.open(path) as project:
        annotation, history = project.load()
        assert 0 < history.position < edits
        assert history.position == project.edit_count()
        while edit := history.undo():
            annotation.apply(edit)
            memory[0].apply(memory[1].undo())
            project.record_undo()
            np.testing.assert_array_equal(labels(annotation), labels(memory[0]))
        with pytest.raises(ProjectError, match="nothing to undo"):
            project.record_undo()
        record(project, *painting_step((annotation, history), rng))
    with Project.open(path) as project:
        assert project._file.value("history") == sum(
            project._file.connection.execute("SELECT size FROM edits").fetchone()
        )
        assert_same_work(project.load(), (annotation, history))


def painting_step(memory, rng):
    """A step that is no undo and no redo."""
    while True:
        what, edit = random_step(*memory, rng)
        if edit is not None:
            return what, edit
        memory[0].apply(memory[1].redo() if what == "undo" else memory[1].undo())


def test_a_long_history_is_loaded_as_far_as_memory_is_meant_for_it(path, monkeypatch):
    memory = painted(path, 30)
    monkeypatch.setattr(project_edits, "_BYTES_LOADED", 50_000)
    with Project.open(path) as project:
        annotation, history = project.load()
    assert 0 < history.position < memory[1].position
    while edit := history.undo():
        annotation.apply(edit)
        memory[0].apply(memory[1].undo())
    np.testing.assert_array_equal(labels(annotation), labels(memory[0]))


def test_compacting_gives_room_back_and_changes_nothing(path):
    memory = painted(path, 10)
    with Project.open(path) as project:
        for n in range(project_models.MODELS_KEPT):
            project.add_model(bytes([n]) * 100_000, {})
        project._file.connection.execute("DELETE FROM models")
        before = path.stat().st_size
        freed = project.compact()
        assert freed > 900_000 and path.stat().st_size == before - freed
        with pytest.raises(ProjectLockedError):
            Project.open(path)
        record(project, *random_step(*memory, random.Random(0)))
        pages = project._file.connection.execute("PRAGMA page_count").fetchone()[0]
        project._file.connection.execute(f"PRAGMA max_page_count={pages}")
    with Project.open(path) as project:
        assert_same_work(project.load(), memory)


def test_save_as_goes_on_in_the_new_file(path, tmp_path):
    image = ImageReference(tmp_path / "a.tif", 1, "x", (1, 3, 1, 300, 520))
    memory = painted(path, 8)
    (tmp_path / "sub").mkdir()
    new = tmp_path / "sub" / "named.limn"
    painted(new, 2, seed=5)  # replaced
    rng = random.Random(3)
    with Project.open(path) as project:
        project.set_image(image)
        project.save_as(new)
        assert project.path == new and project.image == image
        record(project, *random_step(*memory, rng))
        project.save_as(new)  # where it is already
        with Project.open(path) as old:
            assert old.edit_count() > 0
        with pytest.raises(ProjectLockedError):
            Project.open(new)
    assert sorted(p.name for p in new.parent.iterdir()) == ["named.limn"]
    with Project.open(new) as project:
        assert_same_work(project.load(), memory)


class CommitsAndFails:
    """A connection whose COMMIT reaches the disk, and then says that it has not."""

    def __init__(self, connection):
        self._inner = connection

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def execute(self, statement, *values):
        answer = self._inner.execute(statement, *values)
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return answer


@pytest.mark.parametrize("copy", [False, True])
def test_what_was_written_although_the_disk_said_no_is_not_done_twice_in_a_new_file(
    path, tmp_path, copy
):
    """A disk fails, so the work is saved in another place, and what failed is tried again there."""
    painted(path, 8)
    with Project.open(path) as project:
        memory = project.load()
        memory[0].apply(memory[1].undo())
        project._file.connection = CommitsAndFails(project._file.connection)
        with pytest.raises(ProjectError):
            project.record_undo()
        project._file.connection = project._file.connection._inner
        if copy:
            there = project.opened_copy(tmp_path / "new.limn")
        else:
            project.save_as(tmp_path / "new.limn")
            there = project
        with there:
            there.record_undo()
            record(there, *painting_step(memory, random.Random(1)))
    with Project.open(tmp_path / "new.limn") as project:
        assert_same_work(project.load(), memory)


def test_save_as_leaves_everything_as_it_is_when_it_can_not(path, tmp_path):
    memory = painted(path, 4)
    raw = tmp_path / "raw.limn"
    raw.write_bytes(b"II*\0 precious pixels")
    busy = tmp_path / "busy.limn"
    rng = random.Random(1)
    with Project.open(path) as project, Project.create(busy, SHAPE):
        for target in (raw, busy, tmp_path, tmp_path / "no such folder" / "x.limn"):
            with pytest.raises(ProjectError, match=r"\.$"):
                project.save_as(target)
        record(project, *random_step(*memory, rng))
    assert raw.read_bytes() == b"II*\0 precious pixels"
    assert not list(tmp_path.glob("*.part"))
    with Project.open(path) as project:
        assert_same_work(project.load(), memory)


def test_create_does_not_overwrite(path):
    memory = painted(path, 3)
    with pytest.raises(ProjectError, match="exists already"):
        Project.create(path, SHAPE)
    with Project.open(path) as project:
        assert_same_work(project.load(), memory)


# ---- files that are not what they seem


def refused(path):
    with pytest.raises(ProjectError) as caught:
        Project.open(path)
    sentence = str(caught.value)
    assert str(path) in sentence and sentence.endswith(".") and "\n" not in sentence
    return sentence


def test_files_that_are_no_projects(tmp_path):
    assert "does not exist" in refused(tmp_path / "missing.limn")
    assert "folder" in refused(tmp_path)
    for content in (b"", b"x", b"II*\0" * 1000, b"SQLite format 3\0" + b"\0" * 5000):
        (tmp_path / "other.limn").write_bytes(content)
        refused(tmp_path / "other.limn")
        assert (tmp_path / "other.limn").read_bytes() == content
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as foreign, foreign:
        foreign.execute("CREATE TABLE birds (name)")
    assert "not a Limn project" in refused(tmp_path / "foreign.db")


@pytest.mark.parametrize(
    "statement, sentence",
    [
        ("PRAGMA user_version=99", "newer Limn"),
        ("PRAGMA application_id=7", "not a Limn project"),
        ("CREATE TRIGGER boo AFTER INSERT ON edits BEGIN DELETE FROM tiles; END", "damaged"),
        ("CREATE VIEW boo AS SELECT 1", "damaged"),
        ("CREATE TABLE boo (x)", "damaged"),
        ("ALTER TABLE edits ADD COLUMN x", "damaged"),
        ("DROP TABLE models", "damaged"),
        ("UPDATE images SET record = '[[[['", "damaged"),
        ("DELETE FROM properties WHERE name = 'classes'", "damaged"),
        ("DELETE FROM images", "damaged"),
    ],
)
def test_foreign_schemas_are_refused(path, statement, sentence):
    painted(path, 2)
    with closing(sqlite3.connect(path)) as stranger, stranger:
        stranger.execute(statement)
    assert sentence in refused(path)


def test_a_bomb_in_a_tile_takes_no_memory(path):
    painted(path, 2)
    bomb = zlib.compress(bytes(64 * 2**20), 1)
    with closing(sqlite3.connect(path)) as stranger, stranger:
        stranger.execute("UPDATE tiles SET data = ?", (bomb,))
    del bomb
    with Project.open(path) as project:
        tracemalloc.start()
        with pytest.raises(ProjectError, match="damaged"):
            project.load()
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
        tracemalloc.stop()


def test_a_tile_outside_the_image_is_refused(path):
    painted(path, 2)
    with closing(sqlite3.connect(path)) as stranger, stranger:
        stranger.execute("UPDATE tiles SET z = z + 10000000")
    with Project.open(path) as project, pytest.raises(ProjectError):
        project.load()


def test_a_damaged_history_costs_old_steps_only(path):
    memory = painted(path, 12)
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute("UPDATE changes SET after = x'00' WHERE edit = 4")
    with Project.open(path) as project:
        annotation, history = project.load()
    np.testing.assert_array_equal(labels(annotation), labels(memory[0]))
    assert 0 < history.position < memory[1].position
    while edit := history.undo():
        annotation.apply(edit)
        memory[0].apply(memory[1].undo())
        np.testing.assert_array_equal(labels(annotation), labels(memory[0]))


def test_truncated_and_bit_flipped_files_lie_about_nothing(path, tmp_path):
    """Every mutation gives one sentence, or exactly what was saved; never another exception."""
    expected = labels(painted(path, 10)[0])
    whole = path.read_bytes()
    rng = random.Random(4)
    mutant = tmp_path / "mutant.limn"
    refusals = 0
    for n in range(200):
        data = bytearray(whole)
        if n % 5 == 0:
            del data[rng.randrange(len(data)) :]
        else:
            for _ in range(rng.choice([1, 1, 1, 20])):
                # Half of them in the first page: header and schema.
                data[rng.randrange(rng.choice([4096, len(data)]))] ^= 1 << rng.randrange(8)
        mutant.write_bytes(data)
        try:
            with Project.open(mutant) as project:
                assert project.shape == SHAPE and project.classes == DEFAULT_CLASSES
                annotation, history = project.load()
                assert project.image is None and project.models() == []
                np.testing.assert_array_equal(labels(annotation), expected)
                while edit := history.undo():
                    annotation.apply(edit)
        except ProjectError as error:
            assert str(error).count(str(mutant)) == 1
            refusals += 1
        mutant.with_name("mutant.limn-journal").unlink(missing_ok=True)
    assert refusals > 40


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_what_is_read_only_gives_a_sentence(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    painted(folder / "a.limn", 2)
    folder.chmod(0o555)
    try:
        assert "read-only" in refused(folder / "a.limn")
        with pytest.raises(ProjectError):
            Project.create(folder / "b.limn", SHAPE)
    finally:
        folder.chmod(0o755)
    (folder / "a.limn").chmod(0o444)
    project = Project.create(folder / "b.limn", SHAPE)
    with project, pytest.raises(ProjectError, match="write-protected"):
        project.save_as(folder / "a.limn")


def test_a_full_disk_loses_nothing(path):
    memory = painted(path, 5)
    with Project.open(path) as project:
        pages = project._file.connection.execute("PRAGMA page_count").fetchone()[0]
        project._file.connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(ProjectError, match="disk is full"):
            project.add_model(bytes(10**6), {})
        project._file.connection.execute("PRAGMA max_page_count=1000000")
        record(project, *random_step(*memory, random.Random(1)))
    with Project.open(path) as project:
        assert_same_work(project.load(), memory)


def test_a_crashed_file_that_is_replaced_does_not_haunt_the_new_one(path, tmp_path):
    """Its hot journal must not be played into the project that takes its name."""
    memory = painted(path, 6)
    replaced, _ = crashed(tmp_path / "x")
    with Project.open(path) as project:
        project.save_as(replaced)
    with Project.open(replaced) as project:
        assert_same_work(project.load(), memory)


def test_a_clock_that_jumps_changes_nothing(path, monkeypatch):
    """Order is kept by numbers; times are only shown."""
    rng = random.Random(3)
    clock = random.Random(4)
    monkeypatch.setattr(time, "time", lambda: clock.choice((0.0, 1e9, 4e9)))
    with Project.create(path, SHAPE) as project:
        annotation, history = project.load()
        for number in range(40):
            record(project, *random_step(annotation, history, rng))
            if number % 8 == 0:
                project.add_model(bytes([number]) * 50, {"n": number})
                project.add_training_run({"n": number})
    with Project.open(path) as project:
        loaded, steps = project.load()
        assert (steps.position, len(steps)) == (history.position, len(history))
        for plane in annotation.labelled_planes():
            np.testing.assert_array_equal(loaded.read_labels(plane), annotation.read_labels(plane))
        assert [model.provenance["n"] for model in project.models()] == [32, 24, 16, 8, 0]
        assert [run["n"] for run in project.training_runs()] == [0, 8, 16, 24, 32]
        assert project.latest_model() == bytes([32]) * 50
