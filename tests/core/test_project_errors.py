"""What is wrong with a project file is told by the kind of the error, not by its words."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from unet_core.annotation import Annotation, Edit
from unet_core.project import (
    Project,
    ProjectDamagedError,
    ProjectError,
    ProjectGoneError,
    ProjectLockedError,
    ProjectReadOnlyError,
)
from unet_core.stack import PlaneIndex

SHAPE = (1, 1, 60, 70)
PLANE = PlaneIndex(0, 0)
ROOT = Path(__file__).resolve().parents[2]

posix = pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files where they are")


def paint(annotation: Annotation, y: float, x: float) -> Edit:
    stroke = annotation.stroke(PLANE, 2, 5)
    stroke.to(y, x)
    edit = stroke.finish()
    assert edit is not None
    return edit


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "p.limn"
    with Project.create(path, SHAPE) as project:
        project.record(paint(Annotation(SHAPE), 10, 10))
    return path


def labels(path: Path) -> np.ndarray:
    with Project.open(path) as project:
        return project.load()[0].read(PLANE)


def test_a_project_that_is_open_elsewhere(path):
    with Project.open(path), pytest.raises(ProjectLockedError):
        Project.open(path)


@pytest.mark.parametrize("damage", ["shortened", "a page", "the beginning", "no database", "alien"])
def test_what_can_not_be_read_may_be_rescued(path, damage):
    data = bytearray(path.read_bytes())
    if damage == "shortened":
        del data[len(data) // 2 :]
    elif damage == "a page":
        data[8192 + 8 : 8192 + 40] = b"\xff" * 32
    elif damage == "the beginning":
        data[:16] = bytes(16)
    elif damage == "no database":
        data[:] = b"II*\0" * 1000
    path.write_bytes(data)
    if damage == "alien":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA application_id=7")
    with pytest.raises(ProjectDamagedError, match="damaged"), Project.open(path) as project:
        project.load()


@posix
def test_a_file_or_folder_that_may_not_be_written(path):
    """As somebody who is not root: in a process of its own."""
    code = """
        import os, sys
        from pathlib import Path
        from unet_core.project import Project, ProjectReadOnlyError
        if os.geteuid() == 0:
            os.seteuid(65534)
        for path in map(Path, sys.argv[1:]):
            try:
                Project.open(path)
            except ProjectReadOnlyError as error:
                assert "can not be written" in str(error)
            else:
                sys.exit(f"{path} was opened")
            Project.open(path, read_only=True).close()
    """
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        file, folder = Path(name) / "file.limn", Path(name) / "folder"
        folder.mkdir()
        for copy in (file, folder / "inside.limn"):
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o666)
        file.chmod(0o444)
        folder.chmod(0o555)
        Path(name).chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(file), str(folder / "inside.limn")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr


@posix
def test_a_file_that_another_program_replaces_is_noticed(path, tmp_path):
    """A program that syncs folders puts the other computer's file there; ours lives on nameless."""
    theirs = tmp_path / "theirs"
    annotation = Annotation(SHAPE)
    with Project.open(path) as project:
        ours, _ = project.load()
        project.save_copy(tmp_path / "copy.limn")
        with Project.open(tmp_path / "copy.limn") as copy:
            copy.record(paint(annotation, 50, 60))
        (tmp_path / "copy.limn").replace(path)
        theirs = path.read_bytes()
        edit = paint(ours, 30, 30)
        for _ in range(2):
            with pytest.raises(ProjectGoneError, match="replaced by another program.*another name"):
                project.record(edit)
        assert path.read_bytes() == theirs, "nothing is written to it"
        project.save_as(tmp_path / "mine.limn")
        project.record(edit)
    assert np.array_equal(labels(tmp_path / "mine.limn"), ours.read(PLANE))
    assert path.read_bytes() == theirs
    assert labels(path)[50, 60] == 2


@posix
def test_what_replaced_it_may_be_replaced_in_turn(path, tmp_path):
    other = tmp_path / "other.limn"
    Project.create(other, SHAPE).close()
    with Project.open(path) as project:
        ours, _ = project.load()
        other.replace(path)
        project.save_as(path)
        project.record(paint(ours, 30, 30))
        with pytest.raises(ProjectLockedError):  # and it is ours alone
            Project.open(path)
    assert np.array_equal(labels(path), ours.read(PLANE))


@posix
def test_a_file_that_comes_back_is_written_to_again(path, tmp_path):
    with Project.open(path) as project:
        ours, _ = project.load()
        edit = paint(ours, 30, 30)
        path.rename(tmp_path / "moved.limn")
        with pytest.raises(ProjectGoneError, match="not there any more"):
            project.record(edit)
        (tmp_path / "moved.limn").rename(path)
        project.record(edit)
    assert np.array_equal(labels(path), ours.read(PLANE))


def test_where_files_have_no_numbers_nothing_is_missed(path, monkeypatch):
    """Some network drives give none, or others each time."""
    monkeypatch.setattr("unet_core.project_guard.identity", lambda path: None)
    with Project.open(path) as project:
        ours, _ = project.load()
        project.record(paint(ours, 30, 30))
    assert np.array_equal(labels(path), ours.read(PLANE))


def test_all_of_them_are_project_errors():
    for kind in (ProjectLockedError, ProjectReadOnlyError, ProjectDamagedError, ProjectGoneError):
        assert issubclass(kind, ProjectError) and issubclass(kind, ValueError)
