"""Every file-system call of every way to write a project, failing one by one, and what is left."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.core.faulty_disk import SHORT, FaultyDisk
from tests.core.random_steps import random_step, record
from tests.core.work_forever import labels
from unet_core.annotation import Annotation, Edit, History
from unet_core.project import Project, ProjectError

SHAPE = (1, 1, 260, 270)
DATA = Path(__file__).parent / "data"
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES, "short": SHORT}

State = tuple[int, tuple[bytes, ...], object, int]
"""Applied edits, the labels at every step of undo and redo, a setting, the number of models."""


def state(path: Path) -> State:
    """What a project holds."""
    with Project.open(path) as project:
        annotation, history = project.load()
        position = history.position
        setting, models = project.setting("n"), len(project.models())
    while (edit := history.redo()) is not None:
        annotation.apply(edit)
    steps = [_digest(annotation)]
    while (edit := history.undo()) is not None:
        annotation.apply(edit)
        steps.append(_digest(annotation))
    return position, tuple(steps), setting, models


def _digest(annotation: Annotation) -> bytes:
    return hashlib.blake2b(labels(annotation)).digest()


def make_project(path: Path) -> tuple[Annotation, History]:
    """A project with some history, of which two steps are undone; and the same in memory."""
    rng = random.Random(3)
    with Project.create(path, SHAPE) as project:
        annotation, history = project.load()
        for _ in range(6):
            record(project, *random_step(annotation, history, rng))
        while history.can_redo:
            annotation.apply(_some(history.redo()))
            project.record_redo()
        for _ in range(2):
            annotation.apply(_some(history.undo()))
            project.record_undo()
        project.set_setting("n", 0)
    return annotation, history


def _some(edit: Edit | None) -> Edit:
    assert edit is not None
    return edit


def ways_to_write(edit: Edit, elsewhere: Path) -> dict[str, Callable[[Project], object]]:
    """By name, what can be done to an open project."""
    return {
        "record": lambda project: project.record(edit),
        "undo": lambda project: project.record_undo(),
        "redo": lambda project: project.record_redo(),
        "setting": lambda project: project.set_setting("n", 1),
        "model": lambda project: project.add_model(bytes(30_000), {}),
        "save a copy": lambda project: project.save_copy(elsewhere),
        "save as": lambda project: project.save_as(elsewhere),
        "compact": lambda project: project.compact(),
    }


def inject(
    folder: Path,
    disk: FaultyDisk,
    names: Sequence[str],
    errors: Sequence[str],
    lasting: Sequence[bool] = (False,),
    every: int = 1,
) -> Iterator[tuple[str, str]]:
    """Yields the operation and what came of it ("harmless" or "sentence") for every fault.

    every: of so many system calls one. AssertionError where something that was acknowledged is
    gone, or a file does not open, or trying again does not help.
    """
    base, path, elsewhere = (folder / f"{name}.limn" for name in ("base", "work", "elsewhere"))
    annotation, history = make_project(base)
    stroke = annotation.stroke(annotation.labelled_planes()[0], 1, 9)
    stroke.to(30, 30)
    stroke.to(200, 240)
    edit = _some(stroke.finish())
    do = ways_to_write(edit, elsewhere)
    before = state(base)
    for name in names:
        _fresh(base, path, elsewhere)
        with disk.watching(), Project.open(path) as project:
            disk.arm(0, 0)
            do[name](project)
            calls = len(disk.names)
            result = project.path
        after = state(result)
        for error in errors:
            for number in range(1, calls + 1, every):
                for to_the_end in lasting:
                    _fresh(base, path, elsewhere)
                    what = (name, number, error, to_the_end)
                    came = _one(path, elsewhere, do[name], disk, number, ERRORS[error], to_the_end,
                                before, after, what)  # fmt: skip
                    yield name, came


def _one(
    path: Path,
    elsewhere: Path,
    do: Callable[[Project], object],
    disk: FaultyDisk,
    number: int,
    error: int,
    lasting: bool,
    before: State,
    after: State,
    what: object,
) -> str:
    with disk.watching(), Project.open(path) as project:
        disk.arm(number, error, lasting)
        came = "harmless"
        try:
            do(project)
        except ProjectError as refusal:
            came = "sentence"
            assert str(refusal).endswith(".") and ".limn" in str(refusal), (what, refusal)
        disk.disarm()
        # As if the power had failed now.
        crashed = path.with_name("crashed.limn")
        for suffix in ("", "-journal"):
            there, copy = (p.with_name(p.name + suffix) for p in (project.path, crashed))
            copy.unlink(missing_ok=True)
            if there.exists():
                _copy_keeping_locks(there, copy)
        if came == "sentence":
            try:
                do(project)  # the disk works again, and so must we
            except ProjectError as refusal:
                raise AssertionError(f"{what}: trying again gave: {refusal}") from refusal
        result = project.path
    left = state(crashed)
    assert left == after if came == "harmless" else left in (before, after), (what, came)
    assert state(result) == after, (what, came, "after trying again")
    if elsewhere.exists() and result != elsewhere:
        assert state(elsewhere) == before, (what, "the copy")
    assert not list(path.parent.glob("*.part")), what
    return came


def _copy_keeping_locks(source: Path, target: Path) -> None:
    """Copy a file that this process has locked: in a child, for closing it here ends the lock."""
    if (child := os.fork()) == 0:
        with suppress(BaseException):
            shutil.copyfile(source, target)
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def _fresh(base: Path, path: Path, elsewhere: Path) -> None:
    for old in (path, elsewhere):
        for suffix in ("", "-journal"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(base, path)


def inject_while_opening(
    folder: Path, disk: FaultyDisk, source: Path, errors: Sequence[str], every: int = 1
) -> Counter[str]:
    """The same for opening a project, which brings one of an older format up to date."""
    path, untouched = folder / "open.limn", folder / "untouched.limn"
    shutil.copyfile(source, untouched)
    expected = state(untouched)
    shutil.copyfile(source, path)
    with disk.watching():
        disk.arm(0, 0)
        Project.open(path).close()
    calls = len(disk.names)
    came: Counter[str] = Counter()
    for error in errors:
        for number in range(1, calls + 1, every):
            path.with_name("open.limn-journal").unlink(missing_ok=True)
            shutil.copyfile(source, path)
            with disk.watching():
                disk.arm(number, ERRORS[error])
                try:
                    Project.open(path).close()
                    came["harmless"] += 1
                except ProjectError as refusal:
                    assert str(refusal).endswith(".") and str(path) in str(refusal)
                    came["sentence"] += 1
                disk.disarm()
            assert state(path) == expected, (number, error)
    return came
