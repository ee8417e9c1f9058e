"""Copies of a project: of a file that somebody else may be writing to, without asking for a lock
or taking one; and of one that is open here."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from unet_core.atomic import os_reason, replacing
from unet_core.project_errors import ProjectError, ProjectLockedError, sentences
from unet_core.project_file import connect_unsafe, journal_of, settle
from unet_core.project_images import ProjectImage
from unet_core.project_rows import update_image_record

_BLOCK = 2**20
# SQLite keeps its locks on this part of a file, which never holds anything. Windows would refuse
# to read it.
_LOCKS = range(2**30, 2**30 + 4096)

_PATIENCE = 10.0
_PAUSE = 0.02
_AT_ONCE = 4
"""So many readings without a pause."""


class _Written(Protocol):
    path: Path


written_here: weakref.WeakValueDictionary[int, _Written] = weakref.WeakValueDictionary()
"""The projects that this process writes to, by `id`. On POSIX, closing a plain reader of their
files would drop their locks."""


def is_same(one: Path, other: Path) -> bool:
    """Whether both are one file; False where one of them is not there."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def steady_copy(source: Path, target: Path) -> None:
    """Copy a project file, and the journal of an unfinished transaction, as of one moment.

    Both are read until two readings in a row are equal: then that is what they were at the moment
    between. Such a pair is what a crash at that moment would have left, and SQLite makes a sound
    project of it. Raises ProjectError, or OSError where `target` can not be written.
    """
    for reference in written_here.valuerefs():
        project = reference()
        if project is not None and is_same(project.path, source):
            raise ProjectLockedError(f"{source} is open in this window already; save a copy there.")
    until = None
    readings = 0
    while _follow(source, target) | _follow(journal_of(source), journal_of(target)):
        readings += 1
        if until is None:  # the first reading may take as long as it takes
            until = time.monotonic() + _PATIENCE
        elif time.monotonic() > until:
            raise ProjectError(f"{source} is being written to all the time; try again in a moment.")
        elif readings % _AT_ONCE == 0:
            # Else at once: between two strokes there is time, within one only while the disk works.
            time.sleep(_PAUSE)


def _follow(source: Path, target: Path) -> bool:
    """Make `target` what `source` is: did that change anything?"""
    try:
        original = source.open("rb")
    except FileNotFoundError:
        had = target.exists()
        target.unlink(missing_ok=True)
        return had
    except OSError as error:
        raise _unreadable(source, error) from error
    changed = not target.exists()
    target.touch()
    with original, target.open("r+b") as copy:
        place = 0
        while True:
            if place == _LOCKS.start:
                place = _LOCKS.stop
            original.seek(place)
            copy.seek(place)
            size = _BLOCK - place % _BLOCK
            try:
                block = original.read(size)
            except OSError as error:
                raise _unreadable(source, error) from error
            if copy.read(len(block)) != block:
                copy.seek(place)
                copy.write(block)
                changed = True
            place += len(block)
            if len(block) < size:
                break
        if copy.seek(0, 2) > place:
            copy.truncate(place)
            changed = True
    return changed


def _unreadable(path: Path, error: OSError) -> ProjectError:
    return ProjectError(f"{path} can not be read because {os_reason(error)}; try a copy of it.")


def private_copy(path: Path) -> Path:
    """A copy of a project file, as of now, alone in a new folder among the temporary files.

    Raises ProjectError; then there is no such folder.
    """
    folder = _private_folder()
    try:
        copy = folder / "copy.limn"
        with _temporary_space(path):
            steady_copy(path, copy)
        return copy
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _private_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="limn-"))
    except OSError as error:
        raise ProjectError(
            f"A project can not be opened for reading because {os_reason(error)} "
            f"({tempfile.gettempdir()}); make room there."
        ) from error


@contextmanager
def _temporary_space(path: Path) -> Iterator[None]:
    """What goes wrong with the copy that a read-only project is."""
    try:
        yield
    except OSError as error:
        raise ProjectError(
            f"{path} can not be copied for reading because {os_reason(error)} "
            f"({tempfile.gettempdir()}); make room there."
        ) from error


def write_copy(connection: sqlite3.Connection, images: Sequence[ProjectImage], path: Path) -> None:
    """Copy an open project, with its `images`, to `path`, replacing the project there.

    Whole or not at all. Raises ProjectError.
    """
    with sentences(path):
        settle(path)
        with replacing(path) as part, closing(connect_unsafe(part)) as copy:
            connection.backup(copy)
            # The images lie elsewhere as seen from the new folder.
            for one in images:
                stored = one.reference and one.reference.stored(path.parent)
                update_image_record(copy, one.id, "image", stored)
