"""Projects of every format that Limn has written, as files of that time: `data/formatN.limn`.

Beside each lie the labels after every edit, as that Limn knew them: `data/formatN.npz`.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from unet_core.annotation import ClassInfo
from unet_core.project import Project, ProjectError
from unet_core.project_schema import VERSION
from unet_core.rescue import rescue
from unet_core.stack import PlaneIndex

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).resolve().parents[2]
FORMATS = [1, 2, 3, 4]


def labels(annotation, number):
    """What that Limn called labels: the first one knew classes only."""
    read = annotation.read if number == 1 else annotation.read_labels
    return np.stack([read(PlaneIndex(t, 0)) for t in range(2)])


@pytest.fixture(params=FORMATS)
def old(request, tmp_path):
    """A copy of a real file, its format, the labels after every edit, how many are applied."""
    path = tmp_path / "old.limn"
    shutil.copy(DATA / f"format{request.param}.limn", path)
    with np.load(DATA / f"format{request.param}.npz") as truth:
        return path, request.param, truth["states"], int(truth["position"])


def check(project, number, states, position):
    annotation, history = project.load()
    assert (history.position, len(history)) == (position, len(states) - 1)
    np.testing.assert_array_equal(labels(annotation, number), states[position])
    assert project.classes[2] == ClassInfo("núcleo", "#009e73")
    assert project.image.fingerprint == "0123abc" and project.image.path.name == "cells.tif"
    assert project.setting("view") == {"t": 1}
    assert [m.provenance["steps"] for m in project.models()] == [1, 0]
    assert project.latest_model() == bytes([1]) * 500
    return annotation, history


def test_there_is_a_file_of_every_format():
    assert list(range(1, VERSION + 1)) == FORMATS


def test_a_file_of_every_format_opens_with_all_that_it_held(old):
    path, number, states, position = old
    with Project.open(path) as project:
        annotation, history = check(project, number, states, position)
        while edit := history.redo():
            annotation.apply(edit)
            project.record_redo()
            np.testing.assert_array_equal(labels(annotation, number), states[history.position])
        while edit := history.undo():
            annotation.apply(edit)
            project.record_undo()
            np.testing.assert_array_equal(labels(annotation, number), states[history.position])
        stroke = annotation.stroke(PlaneIndex(0, 0), 1, 9)
        stroke.to(20, 20)
        edit = stroke.finish()
        history.push(edit)
        project.record(edit)
        project.pin_model(1, True)
    with closing(sqlite3.connect(path)) as now:
        assert now.execute("PRAGMA user_version").fetchone()[0] == VERSION
        kept = now.execute("SELECT value FROM properties WHERE name = 'history'").fetchone()[0]
        assert int(kept) == now.execute("SELECT sum(size) FROM edits").fetchone()[0]
    with Project.open(path) as project:
        loaded, history = project.load()
        np.testing.assert_array_equal(labels(loaded, 2), labels(annotation, 2))
        assert (history.position, len(history)) == (1, 1)


def test_reading_an_old_file_leaves_it_old(old):
    path, number, states, position = old
    before = path.read_bytes()
    with Project.open(path, read_only=True) as project:
        check(project, number, states, position)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["old.limn"]


def test_an_old_file_can_be_rescued(old, tmp_path):
    path, number, states, position = old
    before = path.read_bytes()
    report = rescue(path, tmp_path / "new.limn")
    assert (report.damaged, report.lost, report.models) == (0, (), 2)
    assert path.read_bytes() == before
    with Project.open(tmp_path / "new.limn") as project:
        check(project, number, states, position)


def test_a_migration_that_fails_leaves_the_old_file(old, monkeypatch):
    path, number, states, position = old
    if number == VERSION:
        pytest.skip("there is nothing to bring up to date")
    before = path.read_bytes()
    monkeypatch.setattr("unet_core.project_formats.set_image_record", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Project.open(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    with Project.open(path) as project:
        check(project, number, states, position)


KILLED = """
import os, sqlite3, sys
from pathlib import Path
from unet_core import project_file
from unet_core.project import Project
left = int(sys.argv[2])
def count():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    return 0
raw = project_file.connect_raw
def counted(*paths):
    connection = raw(*paths)
    connection.execute("PRAGMA cache_size=2")  # so that pages reach the file before the commit
    connection.set_progress_handler(count, 20)
    return connection
project_file.connect_raw = counted
Project.open(Path(sys.argv[1])).close()
print("whole")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills the way POSIX does")
def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_file_or_the_new(tmp_path):
    with np.load(DATA / "format2.npz") as truth:
        states, position = truth["states"], int(truth["position"])
    path = tmp_path / "old.limn"
    killed = 0
    for moment in (3, 40, 70, 90, 110, 130, 150, 10**9):
        shutil.copy(DATA / "format2.limn", path)
        child = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), str(moment)], cwd=ROOT, capture_output=True
        )
        killed += child.stdout != b"whole\n"
        assert child.returncode in (0, -9), child.stderr.decode()
        with Project.open(path) as project:
            check(project, 2, states, position)
    assert 3 <= killed < 8


def test_a_newer_format_is_refused_by_name(old):
    path, *_ = old
    with closing(sqlite3.connect(path)) as future, future:
        future.execute(f"PRAGMA user_version={VERSION + 1}")
    for read_only in (False, True):
        with pytest.raises(ProjectError, match="old.limn was made by a newer Limn"):
            Project.open(path, read_only=read_only)
