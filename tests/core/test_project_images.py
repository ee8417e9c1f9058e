"""Several images in one project: each has labels and a history of its own."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from unet_core.annotation import Annotation, History
from unet_core.image_reference import ImageReference
from unet_core.project import Project, ProjectError
from unet_core.rescue import rescue
from unet_core.stack import PlaneIndex

SHAPES = [(1, 1, 300, 280), (1, 3, 64, 80), (4, 1, 500, 300)]


def reference(folder, number):
    t, z, y, x = SHAPES[number]
    path = folder / f"images/{number}.tif"
    return ImageReference(path, 10 + number, f"f{number}", (t, z, 2, y, x))


def stroke(annotation, history, random):
    t, z, y, x = annotation.shape
    plane = PlaneIndex(int(random.integers(t)), int(random.integers(z)))
    drawn = annotation.stroke(plane, int(random.integers(1, 4)), int(random.integers(3, 30)))
    for _ in range(3):
        drawn.to(float(random.uniform(0, y)), float(random.uniform(0, x)))
    edit = drawn.finish()
    if edit is not None:
        history.push(edit)
    return edit


def planes(annotation):
    return {plane: annotation.read_labels(plane) for plane in annotation.labelled_planes()}


def assert_same(one, other):
    assert planes(one).keys() == planes(other).keys()
    for plane, labels in planes(one).items():
        np.testing.assert_array_equal(labels, other.read_labels(plane))


@pytest.fixture
def painted(tmp_path):
    """A project of three images with interleaved edits, and what they should hold."""
    path = tmp_path / "three.limn"
    random = np.random.default_rng(3)
    with Project.create(path, SHAPES[0], image=reference(tmp_path, 0)) as project:
        more = project.add_images([(SHAPES[n], reference(tmp_path, n)) for n in (1, 2)])
        memory = {
            number: (Annotation(shape), History())
            for number, shape in zip([1, *more], SHAPES, strict=True)
        }
        for _ in range(60):
            number = int(random.choice(list(memory)))
            annotation, history = memory[number]
            way = random.uniform()
            if way < 0.2 and (edit := history.undo()):
                annotation.apply(edit)
                project.record_undo(number)
            elif way < 0.3 and (edit := history.redo()):
                annotation.apply(edit)
                project.record_redo(number)
            elif edit := stroke(annotation, history, random):
                project.record(edit, number)
    return path, memory


def assert_project(project, memory):
    assert [one.id for one in project.images()] == list(memory)
    for one in project.images():
        annotation, history = project.load(one.id)
        known, steps = memory[one.id]
        assert_same(annotation, known)
        assert (history.position, len(history)) == (steps.position, len(steps))
        assert_same(project.load_labels(one.id), known)
        assert one.labelled == bool(known.labelled_planes())


def test_each_image_has_its_own_labels_and_history(painted, tmp_path):
    path, memory = painted
    with Project.open(path) as project:
        assert_project(project, memory)
        for n, one in enumerate(project.images()):
            assert one.shape == SHAPES[n] and one.reference == reference(tmp_path, n)
        for number, (annotation, history) in memory.items():
            while edit := history.undo():
                annotation.apply(edit)
                project.record_undo(number)
        assert_project(project, memory)
        assert not any(one.labelled for one in project.images())


def test_undoing_one_image_leaves_the_others_alone(painted):
    path, memory = painted
    with Project.open(path) as project:
        annotation, history = memory[2]
        while edit := history.undo():
            annotation.apply(edit)
            project.record_undo(2)
        with pytest.raises(ProjectError, match="nothing to undo"):
            project.record_undo(2)
        assert_project(project, memory)


def test_marks_and_places_are_kept(painted, tmp_path):
    path, memory = painted
    with Project.open(path) as project:
        project.mark_image(2, "reviewed", True)
        project.mark_image(3, "predicted", True)
        project.mark_image(3, "reviewed", True)
        project.mark_image(3, "reviewed", False)
        project.set_image(reference(tmp_path / "moved", 1), 2)
    with Project.open(path) as project:
        one, two, three = project.images()
        assert (one.reviewed, two.reviewed, three.reviewed) == (False, True, False)
        assert (one.predicted, two.predicted, three.predicted) == (False, False, True)
        assert two.reference == reference(tmp_path / "moved", 1)
        assert_project(project, memory)


def test_a_removed_image_takes_its_labels_along_and_no_others(painted):
    path, memory = painted
    with Project.open(path) as project:
        project.remove_image(1)
        del memory[1]
        assert_project(project, memory)
        assert project.shape == SHAPES[1]
        project.remove_image(3)
        with pytest.raises(ProjectError, match="no other image"):
            project.remove_image(2)
        del memory[3]
        assert_project(project, memory)
    with closing(sqlite3.connect(path)) as reader:
        kept = reader.execute("SELECT value FROM properties WHERE name = 'history'").fetchone()[0]
        assert int(kept) == reader.execute("SELECT sum(size) FROM edits").fetchone()[0]


def test_the_number_of_a_removed_image_is_not_given_to_another(painted, tmp_path):
    path, _ = painted
    with Project.open(path) as project:
        project.remove_image(3)
    with Project.open(path) as project:
        assert project.add_images([(SHAPES[0], reference(tmp_path, 0))]) == [4]
        project.remove_image(4)
        project.remove_image(2)
        assert project.add_images([(SHAPES[0], None)] * 2) == [5, 6]


def test_many_images_with_long_names_are_added_at_once(painted, tmp_path):
    path, _ = painted
    names = [tmp_path / ("é" * 200) / ("ö" * 200) / f"{n}.tif" for n in range(2_000)]
    images = [(SHAPES[0], ImageReference(name, 1, "f", (1, 1, 1, 300, 280))) for name in names]
    with Project.open(path) as project:
        added = project.add_images(images)
        known = {one.id: one.reference for one in project.images()}
        assert [known[n].path for n in added] == names


def test_a_copy_finds_all_its_images(painted, tmp_path):
    path, memory = painted
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    copy = tmp_path / "elsewhere/deep/copy.limn"
    with Project.open(path) as project:
        project.save_copy(copy)
    with Project.open(copy) as project:
        assert_project(project, memory)
        for n, one in enumerate(project.images()):
            assert one.reference == reference(tmp_path, n)


def test_the_budget_of_the_history_counts_all_images(painted):
    path, memory = painted
    random = np.random.default_rng(5)
    with Project.open(path) as project:
        project.history_budget = 1
        before = project.edit_count()
        annotation, history = memory[3]
        while (edit := stroke(annotation, history, random)) is None:
            pass
        project.record(edit, 3)
        # What nobody has loaded since it was opened may go, eight steps at a time, of any image.
        assert before - 8 < project.edit_count() <= before + 1 - 7
    with Project.open(path) as project:
        for number, (known, _) in memory.items():
            assert_same(project.load_labels(number), known)


@pytest.mark.parametrize("table", ["tiles", "changes"])
def test_a_flipped_bit_in_the_number_of_the_image_is_noticed(painted, table):
    path, memory = painted
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute(f"UPDATE OR IGNORE {table} SET image = 3 WHERE image = 2")
    with Project.open(path) as project:
        if table == "tiles":
            with pytest.raises(ProjectError, match="damaged"):
                project.load(3)
        else:  # the labels are sound, and the steps of undo that are not are left out
            annotation, _ = project.load(3)
            assert_same(annotation, memory[3][0])


def test_all_images_are_rescued(painted, tmp_path):
    path, memory = painted
    with closing(sqlite3.connect(path)) as damage, damage:
        damage.execute("UPDATE tiles SET data = x'0011' WHERE image = 3")
        damage.execute("DELETE FROM images WHERE id = 2")
    report = rescue(path, tmp_path / "new.limn")
    assert report.images == 3 and report.from_history > 0
    with Project.open(tmp_path / "new.limn") as project:
        for number, (known, _) in memory.items():
            found = project.load_labels(number)
            for plane in known.labelled_planes():
                there = found.read_labels(plane)
                expected = known.read_labels(plane)
                least = tuple(slice(0, n) for n in expected.shape)
                np.testing.assert_array_equal(there[least], expected)
        one, two, three = project.images()
        assert one.reference == reference(tmp_path, 0) and three.shape == SHAPES[2]
        assert two.reference is None


def test_more_images_than_a_project_takes_are_refused(painted, tmp_path, monkeypatch):
    path, memory = painted
    monkeypatch.setattr("unet_core.project.MAX_IMAGES", 4)
    with Project.open(path) as project:
        with pytest.raises(ProjectError, match="more than 4 images"):
            project.add_images([(SHAPES[0], reference(tmp_path, 0))] * 2)
        assert_project(project, memory)
