"""Opening a project file as a database, safely whoever made it.

`project.py` says what is promised and why the modes below were chosen.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from unet_core.project_errors import ProjectError, code_of, foreign
from unet_core.project_formats import has_schema, migrate
from unet_core.project_rows import get_value
from unet_core.project_schema import APPLICATION_ID, MAX_BLOB, VERSION

# SQLite's own check of a file's structure reads all of it: about 1 s for so many bytes. In a larger
# file damage is found when the damaged part is read.
_CHECKED_WHOLE = 256 * 2**20
_JOURNAL_KEPT = 2**20
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


def journal_of(path: Path) -> Path:
    """What belongs to a project file while a transaction is unfinished."""
    return path.with_name(path.name + "-journal")


def connect_raw(path: Path, about: Path | None = None) -> sqlite3.Connection:
    """A connection with every convenience switched off that a foreign file could abuse.

    about: the file that sentences are about, if not `path`. Raises ProjectError where the journal
    beside it names another file.
    """
    _refuse_foreign_journal(path, about or path)
    # As a URI: mode=rw opens, but never makes a file.
    name = path.as_posix()
    name = quote(name if name.startswith("/") else f"/{name}")
    connection = sqlite3.connect(
        f"file://{name}?mode=rw", uri=True, timeout=0.0, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BLOB + 1024)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    connection.execute("PRAGMA mmap_size=0")
    return connection


def _refuse_foreign_journal(path: Path, about: Path) -> None:
    """A journal may name the journal of a transaction over several files, which SQLite deletes.

    We never make such a transaction: a stranger's would have a file of the user's deleted.
    """
    try:
        with journal_of(path).open("rb") as journal:
            size = journal.seek(0, os.SEEK_END)
            journal.seek(max(0, size - len(_JOURNAL_MAGIC)))
            names_another = size >= 16 and journal.read() == _JOURNAL_MAGIC
    except OSError:  # there is none, or SQLite can not read it either
        return
    if names_another:
        raise ProjectError(
            f"{about} comes with a journal that Limn has not written ({about.name}-journal); "
            "remove that journal, then open it again."
        )


def connect_unsafe(path: Path) -> sqlite3.Connection:
    """For a .part file, which is thrown away unless it is finished: no journal, no waiting."""
    connection = connect_raw(path)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def connect(path: Path, about: Path | None = None) -> sqlite3.Connection:
    """Open, lock and check a project file; one of an older format is brought up to date.

    about: the file that sentences are about, where `path` is only a copy of it.
    """
    about = about or path
    connection = connect_raw(path, about)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        # With the lock that is kept, the journal is kept, too: but not at its greatest size.
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_KEPT}")
        connection.execute("PRAGMA synchronous=EXTRA")
        # The first access rolls back what a crash left half done.
        connection.execute("BEGIN EXCLUSIVE")
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise foreign(about)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise ProjectError(
                f"{about} was made by a newer Limn (format {version}, this one knows {VERSION}); "
                "update Limn to open it."
            )
        if not has_schema(connection, version):
            raise ValueError("another schema")
        if path.stat().st_size <= _CHECKED_WHOLE:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise ValueError(verdict)
        for value in ("classes",) if version >= 4 else ("shape", "position", "classes"):
            if get_value(connection, value) is None:
                raise ValueError(f"{value} is missing")
        numbers = ("position", "history", "writes", "last removed")  # no format has all of them
        for number in numbers:
            if not isinstance(get_value(connection, number, 0), int):
                raise ValueError(f"{number} is no number")
        # Also where there is nothing to change, as a write: finds out now whether the file and its
        # folder can be written to, not at the first stroke.
        connection.execute(f"PRAGMA user_version={VERSION}")
        if version < VERSION:
            migrate(connection, version)
            connection.execute("COMMIT")
        else:
            connection.execute("ROLLBACK")
        if not connection.execute("SELECT 1 FROM images").fetchone():
            raise ValueError("there is no image")
        connection.execute("PRAGMA journal_mode=DELETE")
        return connection
    except BaseException:
        connection.close()
        raise


def settle(path: Path) -> None:
    """Prepare for `path` to be replaced: raises ProjectError unless it is a free project, or none.

    What a crash left half done on it is rolled back: otherwise its journal would be played into
    the new file of the same name.
    """
    if not path.exists():
        journal_of(path).unlink(missing_ok=True)
        return
    other = ProjectError(f"{path} exists and is not a Limn project; choose another name.")
    if not path.is_file():
        raise other
    if not os.access(path, os.W_OK):
        raise ProjectError(f"{path} is write-protected; choose another name.")
    try:
        with closing(connect_raw(path)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise other
    except sqlite3.DatabaseError as error:
        if code_of(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise other from error
        raise
