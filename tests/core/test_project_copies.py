"""Read-only projects and copies: they see one moment, and nobody is hindered."""

import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.core.random_steps import random_step, record
from tests.core.test_project import assert_same_work, crashed, labels, painted, painting_step
from unet_core import project_copy
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.project import (
    ImageReference,
    Project,
    ProjectError,
    ProjectLockedError,
    copy_project,
)

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys
from pathlib import Path
from unet_core.project import Project
with Project.open(Path(sys.argv[1])) as project:
    print("open", flush=True)
    for line in sys.stdin:
        project.set_setting("n", int(line))
        print("set", flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "my 'cells' 50%? #1.limn"


@pytest.fixture
def holder(path):
    """Another process that has the project open; calling it makes that write a number there."""
    painted(path, 6)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def write(number):
        child.stdin.write(f"{number}\n")
        child.stdin.flush()
        assert child.stdout.readline() == "set\n"

    with child:
        assert child.stdout.readline() == "open\n"
        yield write
        child.stdin.close()
    assert child.returncode == 0


def test_a_read_only_project_shows_all_and_changes_nothing(path):
    memory = painted(path, 12)
    with Project.open(path) as project:
        number = project.add_model(b"weights", {"steps": 1})
    before = path.read_bytes()
    _, edit = painting_step(memory, random.Random(1))
    with Project.open(path, read_only=True) as project:
        assert project.read_only and project.path == path
        memory_there = project.load()
        for forbidden in (
            lambda: project.record(edit),
            project.record_undo,
            project.record_redo,
            lambda: project.set_classes(DEFAULT_CLASSES),
            lambda: project.set_image(None),
            lambda: project.set_setting("a", 1),
            lambda: project.add_model(b"", {}),
            lambda: project.pin_model(number, True),
            lambda: project.set_shown_model(number),
            lambda: project.add_training_run({}),
            project.compact,
            lambda: project.save_as(path),
        ):
            with pytest.raises(ProjectError, match=r"open for reading only.*\.$"):
                forbidden()
        with pytest.raises(ProjectError, match="very project"):
            project.save_copy(path)
        assert project.latest_model() == b"weights"
        with Project.open(path) as writer:  # nobody is kept from writing
            assert not writer.read_only
            writer.set_setting("later", 1)
        assert project.setting("later") is None
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with Project.open(path) as project:
        project.set_setting("later", None)
        assert_same_work(memory_there, project.load())
    assert len(before) == path.stat().st_size


def test_what_another_process_has_open_can_be_read_and_copied(path, tmp_path, holder):
    for number in range(5):
        holder(number)
        with pytest.raises(ProjectLockedError, match="open in another window"):
            Project.open(path)
        with Project.open(path, read_only=True) as project:
            assert project.setting("n") == number
        target = tmp_path / f"copy{number}.limn"
        copy_project(path, target)
        with Project.open(target) as copy:
            assert copy.setting("n") == number
    with pytest.raises(ProjectError, match="exists already"):
        copy_project(path, target)
    with pytest.raises(ProjectError, match="does not exist"):
        copy_project(tmp_path / "missing.limn", tmp_path / "other.limn")
    assert not (tmp_path / "other.limn").exists()
    with pytest.raises(ProjectLockedError):  # the holder's lock is still what it was
        Project.open(path)


def test_a_reader_sees_one_moment_while_another_process_writes(path, holder, monkeypatch):
    """What is torn would not open, or lack a setting that was there before."""
    monkeypatch.setattr(project_copy, "_PATIENCE", 120.0)
    stop = threading.Event()
    written = [0]

    def write():
        while not stop.is_set():
            written[0] += 1
            holder(written[0])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = []
        for _ in range(5):
            with Project.open(path, read_only=True) as project:
                seen.append(project.setting("n", 0))
                project.load()
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(seen) and seen[-1] <= written[0]


def test_a_file_that_never_rests_gives_a_sentence(path, monkeypatch):
    painted(path, 2)
    follow = project_copy._follow
    monkeypatch.setattr(project_copy, "_follow", lambda *pair: follow(*pair) or True)
    monkeypatch.setattr(project_copy, "_PATIENCE", 0)
    with pytest.raises(ProjectError, match="written to all the time"):
        Project.open(path, read_only=True)


def test_copying_what_this_process_writes_to_keeps_the_lock(path, tmp_path):
    painted(path, 2)
    with Project.open(path) as project:
        for open_again in (
            lambda: Project.open(path, read_only=True),
            lambda: copy_project(path, tmp_path / "other.limn"),
        ):
            with pytest.raises(ProjectLockedError, match="save a copy there"):
                open_again()
        other = subprocess.run(
            [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, capture_output=True, text=True
        )
        assert "ProjectLockedError" in other.stderr
        project.record_undo()
    Project.open(path, read_only=True).close()


def test_the_large_part_that_holds_locks_is_left_out(path, tmp_path, monkeypatch):
    content = bytes(range(256)) * 8192
    path.write_bytes(content)
    monkeypatch.setattr(project_copy, "_LOCKS", range(2**20, 2**20 + 4096))
    project_copy.steady_copy(path, tmp_path / "copy")
    copied = (tmp_path / "copy").read_bytes()
    assert copied == content[: 2**20] + bytes(4096) + content[2**20 + 4096 :]


def test_what_a_crash_left_half_done_is_taken_back_in_the_copy_only(tmp_path):
    path, memory = crashed(tmp_path / "work")
    before = path.read_bytes()
    with Project.open(path, read_only=True) as project:
        assert_same_work(project.load(), memory)
    assert path.read_bytes() == before
    assert path.with_name("crashed.limn-journal").exists()


def test_a_strangers_journal_deletes_nothing(tmp_path):
    """SQLite deletes the file that a journal of a transaction over several files names."""
    path, _ = crashed(tmp_path / "work")
    victim = tmp_path / "thesis.txt"
    victim.write_text("ten years of work")
    journal = path.with_name("crashed.limn-journal")
    name = str(victim).encode()
    lock_page = 2**30 // 4096 + 1
    journal.write_bytes(
        journal.read_bytes()
        + struct.pack(">I", lock_page) + name
        + struct.pack(">II", len(name), sum(name) & 0xFFFFFFFF)
        + bytes.fromhex("d9d505f920a163d7")
    )  # fmt: skip
    for read_only in (False, True):
        with pytest.raises(ProjectError, match=r"crashed.limn-journal.*\.$"):
            Project.open(path, read_only=read_only)
    assert victim.exists()
    shutil.copy(path, tmp_path / "bait.limn")
    shutil.copy(journal, tmp_path / "bait.limn-journal")
    with closing(sqlite3.connect(tmp_path / "bait.limn")) as careless:
        careless.execute("SELECT * FROM sqlite_schema")
    assert not victim.exists()  # so this was a real danger


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_read_only_folder_is_no_obstacle(tmp_path):
    path, memory = crashed(tmp_path / "work")
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with Project.open(path, read_only=True) as project:
            assert_same_work(project.load(), memory)
    finally:
        path.parent.chmod(0o755)


def test_read_only_work_can_go_on_under_another_name(path, tmp_path):
    memory = painted(path, 8)
    new = tmp_path / "mine.limn"
    with Project.open(path, read_only=True) as project:
        project.save_as(new)
        assert not project.read_only and project.path == new
        annotation, history = project.load()
        record(project, *random_step(annotation, history, random.Random(3)))
        with pytest.raises(ProjectLockedError):
            Project.open(new)
    with Project.open(path) as project:
        assert_same_work(project.load(), memory)


def test_a_copy_is_of_this_moment_and_painting_goes_on(path, tmp_path):
    image = ImageReference(tmp_path / "a.tif", 1, "x", (1, 3, 1, 300, 520))
    (tmp_path / "sub").mkdir()
    copy = tmp_path / "sub" / "copy.limn"
    rng = random.Random(5)
    memory = painted(path, 5)
    with Project.open(path) as project:
        project.set_image(image)
        for _ in range(3):
            record(project, *random_step(*memory, rng))
            project.save_copy(copy)  # the former copy is replaced
            now = labels(memory[0]).copy()
            record(project, *random_step(*memory, rng))
            with Project.open(copy) as other:
                np.testing.assert_array_equal(labels(other.load()[0]), now)
                assert other.image.path == image.path
        assert project.path == path
        with Project.open(copy), pytest.raises(ProjectLockedError):
            project.save_copy(copy)
        with pytest.raises(ProjectError, match="very project"):
            project.save_copy(path)
        (tmp_path / "raw.tif").write_bytes(b"II*\0")
        with pytest.raises(ProjectError, match="not a Limn project"):
            project.save_copy(tmp_path / "raw.tif")
        record(project, *random_step(*memory, rng))
    assert sorted(p.name for p in copy.parent.iterdir()) == ["copy.limn"]
    with Project.open(path) as project:
        assert_same_work(project.load(), memory)


def dead(project):
    """What was open is dead, as after a network drive has been away."""
    project._file.connection.close()


def test_writing_goes_on_when_a_drive_is_back(path):
    memory = painted(path, 5)
    rng = random.Random(4)
    with Project.open(path) as project:
        dead(project)
        away = path.rename(path.with_name("away"))
        what, edit = painting_step(memory, rng)
        for _ in range(3):
            with pytest.raises(ProjectError, match="not there any more"):
                record(project, what, edit)
            with pytest.raises(ProjectError, match="disk or network drive"):
                project.models()
        away.rename(path)
        record(project, what, edit)
        record(project, *random_step(*memory, rng))
        with pytest.raises(ProjectLockedError):
            Project.open(path)
    with Project.open(path) as project:
        assert_same_work(project.load(), memory)


def test_what_somebody_else_did_while_a_drive_was_away_is_not_overwritten(path):
    painted(path, 5)
    with Project.open(path) as project:
        dead(project)
        with Project.open(path) as other:
            with pytest.raises(ProjectLockedError):
                project.set_setting("n", 1)
            other.set_setting("n", 2)
        for _ in range(2):
            with pytest.raises(ProjectError, match="changed by somebody else"):
                project.set_setting("n", 1)
    with Project.open(path) as project:
        assert project.setting("n") == 2


def test_no_private_copies_are_left(path, tmp_path, monkeypatch):
    painted(path, 2)
    private = tmp_path / "temporary"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    Project.open(path, read_only=True).close()
    path.write_bytes(zlib.compress(b"no project"))
    with pytest.raises(ProjectError, match="not a Limn project"):
        Project.open(path, read_only=True)
    assert list(private.iterdir()) == []
    private.rmdir()
    with pytest.raises(ProjectError, match=r"temporary.*make room there\.$"):
        Project.open(path, read_only=True)
