"""The open file of a project: everything is read and written through its guarded connection.

A change is one transaction, and is made once however often it is tried; nothing is written to a
file that has lost its name; a drive that was away and is back is opened anew.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unet_core.places import is_recovery
from unet_core.project_copy import private_copy, written_here
from unet_core.project_errors import ProjectError, ProjectGoneError, is_dead, sentences
from unet_core.project_file import connect
from unet_core.project_rows import encoded, get_value, set_value

R = TypeVar("R")


@dataclass(frozen=True)
class Doubt:
    """A change of which nobody knows whether it is in the file, see `GuardedFile.write`."""

    what: object
    writes: int
    """It is there if the file has counted so many writes."""
    result: Any


class GuardedFile:
    """A project file that is open.

    Who reads or changes rows is given its `connection`, and does not keep it: there is another one
    after the drive was away, and in a new place.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, private: Path | None = None
    ) -> None:
        """Use `open` or `open_copy`. private: the folder of a read-only copy."""
        self.path = path
        self.connection = connection
        self.doubt: Doubt | None = None
        self._private = private
        self._identity = None if private is not None else _known_identity(path)
        # The latest moment is when the file is dropped without having been closed.
        self._tidy = weakref.finalize(self, _remove, private)
        self._writes = int(self.value("writes", 0))
        if private is None:
            written_here[id(self)] = self

    @classmethod
    def open(cls, path: Path) -> GuardedFile:
        """To write to it, which nobody else can until `close`."""
        with sentences(path):
            return cls(path, connect(path))

    @classmethod
    def open_copy(cls, path: Path) -> GuardedFile:
        """To read a copy of how it is now, on the disk of temporary files."""
        copy = private_copy(path)
        try:
            with sentences(path):
                return cls(path, connect(copy, path), copy.parent)
        except BaseException:
            shutil.rmtree(copy.parent, ignore_errors=True)
            raise

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written."""
        return self._private is not None

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()
        written_here.pop(id(self), None)
        self._tidy()

    def move(self, path: Path) -> None:
        """Go on in the copy of this file that has been made at `path`.

        The old file stays as it is, unless it was in the recovery folder: there it is removed, for
        the work has a name now.
        """
        with sentences(path):
            moved = connect(path)
        self.connection.close()
        if not self.read_only and is_recovery(self.path):
            with suppress(OSError):
                self.path.unlink()
        self._tidy()
        self._private = None
        # A change in doubt stays in doubt: the copy has it, or has it not, as the old file.
        self.path, self.connection, self._identity = path, moved, _known_identity(path)
        self._writes = int(self.value("writes", 0))
        written_here[id(self)] = self

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection to read from; what goes wrong is told in one sentence about the file."""
        with sentences(self.path):
            yield self.connection

    def value(self, name: str, default: Any = None) -> Any:
        """A named value."""
        with self.reading() as connection:
            return get_value(connection, name, default)

    def keep(self, name: str, value: Any) -> None:
        """Write a named value, which must be JSON."""
        text = encoded(name, value)
        self.write((name, text), lambda connection: set_value(connection, name, text))

    def write(self, what: object, change: Callable[[sqlite3.Connection], R]) -> R:
        """Make a change: all or nothing, and on the disk on return. Answers what `change` answers.

        When a disk fails at the very end of a transaction, nobody can tell whether the change is in
        the file. The caller is told that it is not, and will try again with the same `what`: then
        a change that has been made is not made twice, but written down for certain.
        """
        self.check_writable()
        with sentences(self.path):
            writes = self._count_of_writes()
            self._check_place()
            doubt = self.doubt
            if doubt is not None and doubt.what == what and writes >= doubt.writes:
                made: R = doubt.result
                change = lambda connection: made  # noqa: E731
            else:
                self.doubt = None
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                result = change(self.connection)
                set_value(self.connection, "writes", str(writes + 1))
                self.doubt = self.doubt or Doubt(what, writes + 1, result)
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if self.connection.in_transaction:
                        self.connection.execute("ROLLBACK")
                raise
            self.doubt = None
            self._writes = writes + 1
            return result

    def check_writable(self) -> None:
        """ProjectError where the file is open for reading only."""
        if self.read_only:
            raise ProjectError(
                f"{self.path} is open for reading only; save it under another name to change it."
            )

    def in_place(self) -> bool:
        """Whether the file that is open is the one that has its name."""
        try:
            return self._identity is None or identity(self.path) in (self._identity, None)
        except OSError:
            return False

    def _check_place(self) -> None:
        """Nobody would find what is written to a file that has lost its name. ProjectGoneError.

        A program that keeps folders in step with another computer puts a new file in the place of
        the old one, which goes on existing as long as it is open.
        """
        if self.in_place():
            return
        if self.path.exists():
            raise ProjectGoneError(
                f"{self.path} has been replaced by another program (one that syncs folders?); save "
                "the work under another name, then compare the two."
            )
        raise ProjectGoneError(
            f"{self.path} is not there any more (moved, deleted, or its drive is gone); put it "
            "back, or save the work in another place."
        )

    def _count_of_writes(self) -> int:
        """How many the file has counted; the file is opened anew where it can not be read.

        For a drive or share that was away and is back: what was open on it stays dead.
        """
        try:
            if not self.in_place():  # perhaps away: what SQLite remembers of the file is no sign
                self.connection.execute("PRAGMA shrink_memory")
            return int(get_value(self.connection, "writes", 0))
        except sqlite3.Error as error:
            if not is_dead(error):
                raise
        self.connection.close()
        anew = connect(self.path)
        writes = int(get_value(anew, "writes", 0))
        if writes not in (self._writes, self._writes + (self.doubt is not None)):
            anew.close()
            raise ProjectError(
                f"{self.path} has been changed by somebody else while its drive was away; save "
                "the work under another name."
            )
        self.connection, self._identity = anew, _known_identity(self.path)
        return writes


def identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever its name; None where the system does not tell.

    OSError where there is none.
    """
    found = os.stat(path)  # noqa: PTH116  # one call for every stroke
    return (found.st_dev, found.st_ino) if found.st_ino else None


def _known_identity(path: Path) -> tuple[int, int] | None:
    """Which file a project has open; None where that can not be told."""
    try:
        return identity(path)
    except OSError:
        return None


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
