"""Rescue: what can be read of a damaged project comes out, and the rest does no harm."""

import random
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from app.__main__ import main
from tests.core.random_steps import SHAPE
from tests.core.test_project import assert_same_work, labels, painted
from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.project import ImageReference, Project, ProjectError
from unet_core.rescue import rescue
from unet_core.sqlite_pages import Pages

CLASSES = (*DEFAULT_CLASSES, ClassInfo("núcleo", "#009e73"))
WEIGHTS = random.Random(0).randbytes(50_000)


@pytest.fixture
def whole(tmp_path):
    """A project with all that a project can hold, and the same work in memory."""
    path = tmp_path / "whole.limn"
    memory = painted(path, 40)
    with Project.open(path) as project:
        project.set_classes(CLASSES)
        image = ImageReference(tmp_path / "cells.tif", 7, "abc", (1, 3, 1, 300, 520))
        project.set_image(image)
        project.set_setting("view", [1, 2])
        project.add_model(WEIGHTS, {"steps": 3}, pinned=True)
        project.add_training_run({"steps": 3})
    return path, memory


def test_of_a_sound_project_everything_comes_out(whole, tmp_path):
    path, memory = whole
    before = path.read_bytes()
    new = tmp_path / "new.limn"
    report = rescue(path, new)
    assert (report.damaged, report.from_history, report.lost) == (0, 0, ())
    assert (report.models, report.runs, report.edits) == (1, 1, len(memory[1]))
    with Project.open(new) as project, Project.open(path) as old:
        assert project.classes == CLASSES and project.image == old.image
        assert project.setting("view") == [1, 2] and project.latest_model() == WEIGHTS
        assert [m.pinned for m in project.models()] == [True]
        assert project.training_runs() == old.training_runs()
        assert_same_work(project.load(), memory)
    assert path.read_bytes() == before
    with pytest.raises(ProjectError, match="exists already"):
        rescue(path, new)


def test_lost_tiles_come_out_of_the_history(whole, tmp_path):
    path, memory = whole
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute("UPDATE tiles SET data = x'00112233' WHERE z < 2")
        lost = damage.execute("SELECT count(*) FROM tiles WHERE z < 2").fetchone()[0]
    report = rescue(path, tmp_path / "new.limn")
    assert report.from_history == report.damaged == lost > 5
    with Project.open(tmp_path / "new.limn") as project:
        assert_same_work(project.load(), memory)


def test_half_an_edit_is_not_undone(whole, tmp_path):
    path, memory = whole
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute("PRAGMA foreign_keys=OFF")
        victim = damage.execute(
            "SELECT id FROM edits WHERE parts > 1 AND id < 20 ORDER BY id DESC"
        ).fetchone()[0]
        damage.execute(
            "DELETE FROM changes WHERE edit = ? AND col = (SELECT max(col) FROM changes"
            " WHERE edit = ?)", (victim, victim),
        )  # fmt: skip
    rescue(path, tmp_path / "new.limn")
    with Project.open(tmp_path / "new.limn") as project:
        annotation, history = project.load()
    assert history.position == memory[1].position - victim
    np.testing.assert_array_equal(labels(annotation), labels(memory[0]))
    while edit := history.undo():
        annotation.apply(edit)
        memory[0].apply(memory[1].undo())
    np.testing.assert_array_equal(labels(annotation), labels(memory[0]))


@pytest.mark.parametrize(
    "table", ["properties", "images", "edits", "changes", "models", "sqlite_schema"]
)
def test_the_labels_survive_the_loss_of_another_table(whole, tmp_path, table):
    """Its root page is overwritten."""
    path, memory = whole
    with closing(sqlite3.connect(path)) as reader:
        row = reader.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
        page = (row.fetchone() or (1,))[0] - 1
    data = bytearray(path.read_bytes())
    data[page * 4096 : (page + 1) * 4096] = random.Random(1).randbytes(4096)
    path.write_bytes(data)
    report = rescue(path, tmp_path / "new.limn")
    with Project.open(tmp_path / "new.limn") as project:
        annotation, _ = project.load()
        planes = [plane for plane in memory[0].labelled_planes() if plane.z < annotation.shape[1]]
        assert planes == memory[0].labelled_planes()
        for plane in planes:
            for place, tile in memory[0].tiles(plane).items():
                np.testing.assert_array_equal(annotation.tiles(plane)[place], tile)
        if table in ("properties", "images"):
            assert report.lost and "lost" in report.sentence()
        if table == "images":
            assert "size of the image" in report.sentence() and "guessed" in report.sentence()
        assert project.shape == ((1, 3, 512, 768) if table == "images" else SHAPE)
        if table == "properties":
            assert len(project.classes) >= 2
        else:
            assert project.classes == CLASSES


def test_what_was_deleted_does_not_come_back(whole, tmp_path):
    path, memory = whole
    with Project.open(path) as project:
        while memory[1].can_undo:
            memory[0].apply(memory[1].undo())
            project.record_undo()
        stroke = memory[0].stroke(memory[0].labelled_planes()[0] if labels(memory[0]).any()
                                  else (0, 0), 1, 5)  # fmt: skip
        stroke.to(10, 10)
        edit = stroke.finish()
        memory[1].push(edit)
        project.record(edit)
    rescue(path, tmp_path / "new.limn")
    with Project.open(tmp_path / "new.limn") as project:
        assert_same_work(project.load(), memory)


def test_every_kind_of_damage_gives_a_project_or_a_sentence(whole, tmp_path):
    path, memory = whole
    data = path.read_bytes()
    truth = labels(memory[0])
    rng = random.Random(3)
    damaged, new = tmp_path / "damaged.limn", tmp_path / "new.limn"
    kept = 0
    for n in range(40):
        mutant = bytearray(data)
        if n % 4 == 0:
            del mutant[rng.randrange(len(data)) :]
        elif n % 4 == 1:
            start = rng.randrange(len(data))
            mutant[start : start + 4096 * rng.randrange(1, 20)] = rng.randbytes(4096)
        else:
            for _ in range(rng.randrange(1, 60)):
                mutant[rng.randrange(rng.choice([4096, len(data)]))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(mutant)
        new.unlink(missing_ok=True)
        try:
            rescue(damaged, new)
        except ProjectError as error:
            assert "damaged.limn" in str(error) and str(error).endswith(".")
            assert not new.exists()
            continue
        with Project.open(new) as project:
            annotation, history = project.load()
            project.models()
            if annotation.shape == SHAPE:
                kept += float(np.mean(labels(annotation)[truth > 0] == truth[truth > 0]))
            while edit := history.undo():
                annotation.apply(edit)
    assert kept > 25  # of 40 projects, a quarter of which were cut anywhere
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*-journal"))


def test_nothing_comes_of_nothing(tmp_path):
    for content in (b"", b"x" * 10, bytes(10_000), b"SQLite format 3\0" + bytes(5000)):
        (tmp_path / "no.limn").write_bytes(content)
        with pytest.raises(ProjectError, match=r"no.limn holds nothing"):
            rescue(tmp_path / "no.limn", tmp_path / "new.limn")
    with pytest.raises(ProjectError, match="no file"):
        rescue(tmp_path, tmp_path / "new.limn")
    assert [p.name for p in tmp_path.iterdir()] == ["no.limn"]


def test_rows_that_all_lead_to_the_same_pages_cost_no_hours(tmp_path, monkeypatch):
    """A thousand rows a page, each as long as the file: all its pages again and again."""
    pages = 40
    head, loop = bytearray(4096), bytearray(4096)
    head[:18] = b"SQLite format 3\0" + (4096).to_bytes(2, "big")
    loop[:4] = (2).to_bytes(4, "big")  # the page after it is itself
    leaf = bytearray(4096)
    leaf[0], leaf[3:5] = 0x0D, (1000).to_bytes(2, "big")
    leaf[8:2008] = (2100).to_bytes(2, "big") * 1000
    length = pages * 4096 - 1
    leaf[2100:2104] = bytes([0x80 | length >> 14, 0x80 | length >> 7 & 0x7F, length & 0x7F, 1])
    leaf[2593:2597] = (2).to_bytes(4, "big")  # after the 489 bytes that stay on the page
    path = tmp_path / "no.limn"
    path.write_bytes(head + loop + leaf * (pages - 2))
    read = []
    page = Pages._page
    monkeypatch.setattr(Pages, "_page", lambda self, n: read.append(n) or page(self, n))
    with pytest.raises(ProjectError, match="holds nothing"):
        rescue(path, tmp_path / "new.limn")
    assert 8 * pages < len(read) < 20 * pages


def test_the_command(whole, tmp_path, capsys):
    path, memory = whole
    path.write_bytes(path.read_bytes()[:-3000])
    new = tmp_path / "new.limn"
    assert main(["rescue", str(path), "--out", str(new)]) == 0
    assert "Brought out" in capsys.readouterr().err
    with Project.open(new) as project:
        np.testing.assert_array_equal(labels(project.load()[0]), labels(memory[0]))
    assert main(["rescue", str(path), "--out", str(new)]) == 1
    assert str(new) in capsys.readouterr().err
    with pytest.raises(SystemExit) as usage:
        main(["rescue", str(path)])
    assert usage.value.code == 2
