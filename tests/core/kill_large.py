"""Kills in the middle of accepting, exporting, copying and migrating, at scale.

A worker does one thing to a large project and says when it begins and when it has been told that it
is done. It is killed at a random moment of that; what is left must be the state before or the state
after, and the state after where the worker had said "done".
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tifffile

from tests.core.random_steps import random_step, record
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.export_presets import write_presets
from unet_core.labels import label
from unet_core.project import Project
from unet_core.project_rows import get_value, set_value
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect

DATA = Path(__file__).parent / "data"
SHAPE = (1, 12, 1024, 1024)
WAYS = ("accepting", "exporting", "copying", "migrating")
_OLD_EDITS = 20_000
_REST = 0.05
"""So many seconds after a task has usually ended it may still be killed."""


def prepare(folder: Path) -> dict[str, float]:
    """Make what the workers work on; answers how long each task takes, in seconds."""
    rng = random.Random(0)
    with Project.create(folder / "base.limn", SHAPE) as project:
        annotation, history = project.load()
        for _ in range(100):
            record(project, *random_step(annotation, history, rng))
        project.add_model(rng.randbytes(20 * 2**20), {})
    image = np.random.default_rng(0).integers(0, 255, SHAPE[1:], np.uint8)
    tifffile.imwrite(folder / "image.tif", image, imagej=True, metadata={"axes": "ZYX"})
    _make_old(folder / "old.limn")
    lasts = {}
    for way in WAYS:
        path = begin(folder, way)
        said: list[float] = []
        _run(folder, way, partial(_note_time, said))
        lasts[way] = said[1] - said[0]
        shutil.copy(path, folder / f"{way}-after.limn")
    return lasts


def _note_time(said: list[float], _word: str) -> None:
    said.append(time.monotonic())


def _make_old(path: Path) -> None:
    """A project of format 2 with a long history, in which nothing changes any more."""
    shutil.copy(DATA / "format2.limn", path)
    with closing(sqlite3.connect(path)) as connection, connection:
        position = get_value(connection, "position")
        connection.execute("DELETE FROM changes WHERE edit > ?", (position,))
        connection.execute("DELETE FROM edits WHERE id > ?", (position,))
        *key, data = connection.execute("SELECT t, z, row, col, data FROM tiles").fetchone()
        numbers = range(position + 1, position + 1 + _OLD_EDITS)
        connection.executemany(
            "INSERT INTO edits VALUES (?, 'stroke', 0)", ((number,) for number in numbers)
        )
        connection.executemany(
            "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((number, *key, data, data) for number in numbers),
        )
        set_value(connection, "position", str(numbers[-1]))


def begin(folder: Path, way: str) -> Path:
    """Bring the project of a task, and what it writes, into the state before; answers its path."""
    path = folder / "work.limn"
    for name in ("work.limn", "copy.limn", "work.limn-journal", "copy.limn-journal", "objects.tif"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(folder / ("old.limn" if way == "migrating" else "base.limn"), path)
    return path


def _run(folder: Path, way: str, say: Callable[[str], None]) -> None:
    path = folder / "work.limn"
    if way == "migrating":
        say("begin")
        Project.open(path).close()
        say("done")
        return
    with Project.open(path) as project:
        annotation, _ = project.load()
        if way == "accepting":
            edit = annotation.planned("accept", _objects())
            say("begin")
            project.record(edit)
        elif way == "copying":
            say("begin")
            project.save_copy(folder / "copy.limn")
        else:
            annotation.apply(annotation.planned("accept", _objects()))
            say("begin")
            with open_stack(folder / "image.tif") as stack:
                for _ in write_presets(
                    {"objects": folder / "objects.tif"},
                    stack,
                    annotation=annotation,
                    classes=DEFAULT_CLASSES,
                    overwrite=True,
                ):
                    pass
        say("done")


def _objects() -> list[tuple[PlaneIndex, Rect, np.ndarray]]:
    """What accepting all objects of every plane puts there: rows of numbered squares."""
    _, depths, height, width = SHAPE
    y, x = np.mgrid[:height, :width]
    numbers = (y // 24) * 64 + x // 24 + 1
    inside = (y % 24 > 3) & (x % 24 > 3)
    whole = np.where(inside, label(2) + numbers, 0).astype(np.uint32)
    return [(PlaneIndex(0, z), Rect(0, 0, height, width), whole) for z in range(depths)]


def _work(folder: Path, way: str, acknowledge: Connection) -> None:
    _run(folder, way, lambda word: acknowledge.send_bytes(word.encode()))


def kill_and_judge(folder: Path, way: str, lasts: float, rng: random.Random) -> str:
    """Kill one worker; answers what is left: "before" or "after", and "told" where it had said so.

    lasts: see `prepare`. AssertionError where it is neither of the two.
    """
    path = begin(folder, way)
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.core.kill_large"])
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(folder, way, theirs), daemon=True)
    worker.start()
    theirs.close()
    assert ours.recv_bytes() == b"begin"
    worker.join(rng.uniform(0, lasts + _REST))
    worker.kill()
    worker.join()
    told = ours.poll() and _word(ours) == "done"
    assert told or worker.exitcode == -signal.SIGKILL, "the worker failed by itself"
    if way == "accepting":
        left = _which(path, folder / "base.limn", folder / "accepting-after.limn")
    elif way == "migrating":
        Project.open(path).close()  # goes on where it was killed, or begins anew
        left = _which(path, None, folder / "migrating-after.limn")
    elif way == "copying":
        assert _which(path, folder / "base.limn", None) == "before"
        copy = folder / "copy.limn"
        left = _which(copy, None, folder / "base.limn") if copy.exists() else "before"
    else:
        assert _which(path, folder / "base.limn", None) == "before"
        left = "after" if (folder / "objects.tif").exists() else "before"
        if left == "after":
            masks = tifffile.imread(folder / "objects.tif")
            assert all(np.array_equal(plane > 0, _objects()[0][2] > 0) for plane in masks)
    assert left == "after" or not told, "it was told that all is written"
    return f"{left}, told" if told else left


def _word(pipe: Connection) -> str:
    try:
        return pipe.recv_bytes().decode()
    except EOFError:
        return ""


def _which(path: Path, before: Path | None, after: Path | None) -> str:
    now = state(path)
    if before is not None and now == state(before):
        return "before"
    assert after is not None and now == state(after), f"{path} is neither as before nor as after"
    return "after"


def state(path: Path) -> str:
    """A digest of all that a project holds, but for times; the file is checked page by page."""
    digest = hashlib.blake2b()
    with Project.open(path) as project:
        project.load()
        connection = project._file.connection
        assert connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
        for question in (
            "SELECT * FROM tiles",
            "SELECT * FROM changes",
            "SELECT image, id, kind, parts, size FROM edits",
            "SELECT id, digest, pinned FROM models",
            "SELECT id, record FROM images",
            "SELECT name, value FROM properties WHERE name NOT IN ('writes', 'image')",
        ):
            for row in connection.execute(question):
                digest.update(repr(row).encode())
    return digest.hexdigest()
