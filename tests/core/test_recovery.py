"""Work without a name: kept, found again, tidied up."""

import os
import time
from pathlib import Path

import pytest

from unet_core.annotation import DEFAULT_CLASSES
from unet_core.places import data_dir, is_recovery
from unet_core.project import ImageReference, Project, ProjectError, ProjectLockedError
from unet_core.recovery import discard, new_recovery_path, recovery_dir, unfinished
from unet_core.stack import PlaneIndex

SHAPE = (1, 1, 64, 64)


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMN_DATA_DIR", str(tmp_path / "data"))


def unnamed(strokes, image="cells.tif", age=0.0):
    """A closed project in the recovery folder."""
    path = new_recovery_path(Path(image))
    reference = ImageReference(Path(image).absolute(), 1, "x", (1, 1, 1, 64, 64))
    with Project.create(path, SHAPE, image=reference, classes=DEFAULT_CLASSES) as project:
        annotation, _ = project.load()
        for n in range(strokes):
            stroke = annotation.stroke(PlaneIndex(0, 0), 1, 5)
            stroke.to(5, 5 + 8 * n)
            project.record(stroke.finish())
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_there_is_nothing_at_first():
    assert unfinished() == []
    assert not recovery_dir().exists()


def test_the_folder_is_where_it_belongs(tmp_path, monkeypatch):
    assert recovery_dir() == tmp_path / "data" / "recovery"
    monkeypatch.delenv("LIMN_DATA_DIR")
    assert data_dir().is_absolute() and data_dir().name.lower() == "limn"


@pytest.mark.parametrize("image", [None, Path("x/../a b ü*?.ome.tif"), Path("." * 300), Path("/")])
def test_names_are_plain_and_never_taken_twice(image):
    names = {new_recovery_path(image) for _ in range(20)}
    assert len(names) == 20
    for name in names:
        assert name.parent == recovery_dir() and name.suffix == ".limn" and len(name.name) < 90


def test_unfinished_work_is_found_newest_first():
    old, new = unnamed(2, age=500), unnamed(3, "other ü.tif", age=10)
    found = unfinished()
    assert [work.path for work in found] == [new, old]
    assert [work.strokes for work in found] == [3, 2]
    assert [work.image_name for work in found] == ["other ü.tif", "cells.tif"]
    assert found[0].modified > found[1].modified


def test_what_somebody_has_open_is_left_alone():
    path = unnamed(1, age=10**6)
    with Project.open(path):
        assert unfinished() == []
        with pytest.raises(ProjectLockedError):
            discard(path)
    assert [work.path for work in unfinished()] == [path]


def test_empty_work_is_removed_after_a_day():
    fresh, stale, kept = unnamed(0), unnamed(0, age=10**5), unnamed(1, age=10**7)
    part = recovery_dir() / "a.limn.part"
    part.touch()
    os.utime(part, (0, 0))
    assert [work.path for work in unfinished()] == [kept]
    assert fresh.exists() and not stale.exists() and not part.exists()


def test_one_bad_file_spoils_nothing():
    good = unnamed(1)
    bad = recovery_dir() / "bad.limn"
    bad.write_bytes(b"SQLite format 3\0 or so")
    (recovery_dir() / "folder.limn").mkdir()
    (recovery_dir() / "note.txt").write_text("hello")
    (recovery_dir() / "dangling.limn").symlink_to("nowhere")
    assert [work.path for work in unfinished()] == [good]
    assert bad.exists()
    discard(bad)
    discard(good)
    assert unfinished() == [] and not bad.exists() and not good.exists()


def test_only_unnamed_work_can_be_discarded(tmp_path):
    path = tmp_path / "mine.limn"
    Project.create(path, SHAPE).close()
    with pytest.raises(ProjectError):
        discard(path)
    assert path.exists() and not is_recovery(path)


def test_work_that_gets_a_name_leaves_the_recovery_folder(tmp_path):
    path = unnamed(2)
    with Project.open(path) as project:
        project.save_as(tmp_path / "named.limn")
        assert project.edit_count() == 2
    assert not path.exists() and unfinished() == []
    assert [p.name for p in recovery_dir().iterdir()] == []


def test_a_folder_that_can_not_be_made_gives_a_sentence(tmp_path):
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(ProjectError, match="LIMN_DATA_DIR"):
        new_recovery_path(None)
    assert unfinished() == []


@pytest.mark.parametrize("age", [-(10**9), 10**9])
def test_work_of_a_clock_that_was_wrong_is_offered_all_the_same(age):
    path = unnamed(2, age=age)
    assert [work.path for work in unfinished()] == [path] and path.exists()
