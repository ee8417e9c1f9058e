"""The project file as a database: its schema, its safe opening, and its errors as sentences.

`project.py` says what is promised and why the modes below were chosen.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unet_core.atomic import os_reason
from unet_core.limits import LimitError

SUFFIX = ".limn"
VERSION = 4
"""Version 1 knew no objects; what it wrote reads the same in version 2. Version 3 knows how large
each edit is and of how many tiles it consists, pinned models, and the runs of training. Version 4
holds several images."""
FIRST_IMAGE = 1
"""The number of the image that a project is made for."""
APPLICATION_ID = 0x4C696D6E  # "Limn"

_PROPERTIES = """CREATE TABLE properties (
    name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID"""
_IMAGES = """CREATE TABLE images (
    id INTEGER PRIMARY KEY, record TEXT NOT NULL, checksum INTEGER NOT NULL
)"""
_TILES = """CREATE TABLE tiles (
    image INTEGER, t INTEGER, z INTEGER, row INTEGER, col INTEGER, data BLOB NOT NULL,
    PRIMARY KEY (image, t, z, row, col)
) WITHOUT ROWID"""
_CHANGES = """CREATE TABLE changes (
    image INTEGER, edit INTEGER, t INTEGER, z INTEGER, row INTEGER, col INTEGER,
    before BLOB, after BLOB,
    PRIMARY KEY (image, edit, t, z, row, col)
) WITHOUT ROWID"""
_EDITS = """CREATE TABLE edits (
    image INTEGER, id INTEGER, kind TEXT NOT NULL, made REAL NOT NULL, parts INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (image, id)
) WITHOUT ROWID"""
_MODELS = """CREATE TABLE models (
    id INTEGER PRIMARY KEY, made REAL NOT NULL, provenance TEXT NOT NULL, digest TEXT NOT NULL,
    pinned INTEGER NOT NULL, weights BLOB NOT NULL
)"""
_RUNS = """CREATE TABLE runs (
    id INTEGER PRIMARY KEY, made REAL NOT NULL, record TEXT NOT NULL, checksum INTEGER NOT NULL
)"""

SCHEMA = (_PROPERTIES, _IMAGES, _TILES, _EDITS, _CHANGES, _MODELS, _RUNS)
"""What makes an empty database a project, in order.

An image's record is JSON: its `shape` (T, Z, Y, X), where the `image` itself is, its marks, and its
`position`: how many of its edits are applied; edits with a larger id are what redo brings back. The
ids of an image's edits follow on each other without gaps; the oldest may be gone (see
`Project.history_budget`). `parts` counts the changes of an edit, `size` their bytes; the property
`history` is the sum of all sizes, `writes` counts the transactions.
`tiles` is the state after `position` edits. A packed tile carries its own checksum (see
`edits.pack_tile`), which here also tells the image: see `sealed_for`.
"""

_TILES_3 = """CREATE TABLE tiles (
    t INTEGER, z INTEGER, row INTEGER, col INTEGER, data BLOB NOT NULL,
    PRIMARY KEY (t, z, row, col)
) WITHOUT ROWID"""
_CHANGES_3 = """CREATE TABLE changes (
    edit INTEGER, t INTEGER, z INTEGER, row INTEGER, col INTEGER, before BLOB, after BLOB,
    PRIMARY KEY (edit, t, z, row, col)
) WITHOUT ROWID"""
_EDITS_3 = """CREATE TABLE edits (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, made REAL NOT NULL, parts INTEGER NOT NULL,
    size INTEGER NOT NULL
)"""
_SCHEMA_2 = (
    _PROPERTIES,
    _TILES_3,
    """CREATE TABLE edits (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, made REAL NOT NULL
)""",
    _CHANGES_3,
    """CREATE TABLE models (
    id INTEGER PRIMARY KEY, made REAL NOT NULL, provenance TEXT NOT NULL, digest TEXT NOT NULL,
    weights BLOB NOT NULL
)""",
)
_SCHEMA_3 = (_PROPERTIES, _TILES_3, _EDITS_3, _CHANGES_3, _MODELS, _RUNS)
_SCHEMAS = {1: _SCHEMA_2, 2: _SCHEMA_2, 3: _SCHEMA_3, 4: SCHEMA}

# Tables are made anew, not altered: so the schema's text is always, to the letter, what we wrote.
_TO_3 = (
    "CREATE TEMP TABLE old_edits AS SELECT * FROM main.edits",
    "CREATE TEMP TABLE old_models AS SELECT * FROM main.models",
    "DROP TABLE main.edits",
    "DROP TABLE main.models",
    _EDITS_3,
    _MODELS,
    _RUNS,
    "INSERT INTO main.edits SELECT o.id, o.kind, o.made, count(c.edit),"
    " coalesce(sum(coalesce(length(c.before), 0) + coalesce(length(c.after), 0)), 0)"
    " FROM temp.old_edits AS o LEFT JOIN main.changes AS c ON c.edit = o.id GROUP BY o.id",
    "INSERT INTO main.models SELECT id, made, provenance, digest, 0, weights FROM temp.old_models",
    "DROP TABLE temp.old_edits",
    "DROP TABLE temp.old_models",
)
_TO_4 = (
    *(f"ALTER TABLE {name} RENAME TO old_{name}" for name in ("tiles", "edits", "changes")),
    _IMAGES,
    _TILES,
    _EDITS,
    _CHANGES,
    *(f"INSERT INTO {name} SELECT {FIRST_IMAGE}, * FROM old_{name}"
      for name in ("tiles", "edits", "changes")),
    *(f"DROP TABLE old_{name}" for name in ("tiles", "edits", "changes")),
)  # fmt: skip

MAX_TEXT = 4 * 2**20
MAX_RECORD = 2**15
MAX_BLOB = 2**30 - 1024
# SQLite's own check of a file's structure reads all of it: about 1 s for so many bytes. In a larger
# file damage is found when the damaged part is read.
_CHECKED_WHOLE = 256 * 2**20
_JOURNAL_KEPT = 2**20
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


class ProjectError(ValueError):
    """A project file can not be used or written; the message is one sentence for the user."""


class ProjectLockedError(ProjectError):
    """The project is open elsewhere: in another window, by another person."""


class ProjectReadOnlyError(ProjectError):
    """The file, or its folder, may be read but not written to."""


class ProjectDamagedError(ProjectError):
    """The file can not be read; parts of it perhaps can, see `rescue`."""


class ProjectDriveError(ProjectError):
    """The disk or the network drive fails, or is away."""


class ProjectLimitError(ProjectError, LimitError):
    """The file asks for more than it may."""


class ProjectGoneError(ProjectError):
    """The file that is open has no name any more, or another one has taken it."""


def _expected_schema(version: int) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in _SCHEMAS[version]:
            connection.execute(statement)
        return _schema(connection)


def _schema(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT 100"))


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
        with path.with_name(path.name + "-journal").open("rb") as journal:
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
            raise _foreign(about)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise ProjectError(
                f"{about} was made by a newer Limn (format {version}, this one knows {VERSION}); "
                "update Limn to open it."
            )
        if version not in _SCHEMAS or _schema(connection) != _expected_schema(version):
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
            _migrate(connection, version)
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


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Make a file of an older format one of this format, within the transaction that is open.

    One transaction: after a crash the file is the old one, or the new one.
    """
    if version < 3:
        for statement in _TO_3:
            connection.execute(statement)
        size = connection.execute("SELECT coalesce(sum(size), 0) FROM edits").fetchone()[0]
        set_value(connection, "history", encoded("history", size))
    if version < 4:
        names = ("shape", "image", "position")
        record = {name: get_value(connection, name) for name in names}
        for statement in _TO_4:
            connection.execute(statement)
        set_image_record(connection, FIRST_IMAGE, record)
        connection.execute("DELETE FROM properties WHERE name IN (?, ?, ?)", names)


def settle(path: Path) -> None:
    """Prepare for `path` to be replaced: raises ProjectError unless it is a free project, or none.

    What a crash left half done on it is rolled back: otherwise its journal would be played into
    the new file of the same name.
    """
    if not path.exists():
        path.with_name(path.name + "-journal").unlink(missing_ok=True)
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
        if _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise other from error
        raise


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error came from Python."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_dead(error: sqlite3.Error) -> bool:
    """Whether an open file can no longer be reached: its drive is away, or was."""
    # Python's own error, without a code: the connection was closed when opening anew failed.
    return _code(error) == sqlite3.SQLITE_IOERR or isinstance(error, sqlite3.ProgrammingError)


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turn whatever a file or a disk can do to us into one sentence about it."""
    try:
        yield
    except ProjectError:
        raise
    except LimitError as error:
        raise ProjectLimitError(f"{path}: {error}") from error
    except sqlite3.Error as error:
        code = _code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ProjectLockedError(
                f"{path} is open in another window or by another person; close it there first."
            ) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise _foreign(path) from error
        if code == sqlite3.SQLITE_CANTOPEN and not path.exists():
            raise ProjectGoneError(
                f"{path} is not there any more (moved, deleted, or its drive is away); put it "
                "back, then try again."
            ) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
            raise ProjectReadOnlyError(
                f"{path} can not be written (the file or its folder is read-only); "
                "copy it to a folder of yours and open the copy."
            ) from error
        if code == sqlite3.SQLITE_FULL:
            raise ProjectError(
                f"{path} can not be saved because the disk is full; make room, then save again."
            ) from error
        if is_dead(error):
            raise ProjectDriveError(
                f"{path} can not be read or written because its disk or network drive fails; "
                "check the connection, then try again."
            ) from error
        raise _damaged(path) from error
    except OSError as error:
        raise ProjectError(
            f"{path} can not be saved because {os_reason(error)}; choose another place."
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError,
            RecursionError, MemoryError) as error:  # fmt: skip
        raise _damaged(path) from error


def _foreign(path: Path) -> ProjectDamagedError:
    return ProjectDamagedError(
        f"{path} is not a Limn project, or its beginning is damaged; open a backup copy of it, if "
        "you have one."
    )


def _damaged(path: Path) -> ProjectDamagedError:
    return ProjectDamagedError(
        f"{path} is damaged and can not be read; open a backup copy of it, if you have one."
    )


def identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever its name; None where the system does not tell.

    OSError where there is none.
    """
    found = os.stat(path)  # noqa: PTH116  # one call for every stroke
    return (found.st_dev, found.st_ino) if found.st_ino else None


def get_value(connection: sqlite3.Connection, name: str, default: Any = None) -> Any:
    """A named value. ValueError where it is damaged."""
    row = connection.execute(
        "SELECT substr(value, 1, ?), checksum FROM properties WHERE name = ?", (MAX_TEXT, name)
    ).fetchone()
    if row is None:
        return default
    if checksum(name, row[0]) != row[1]:
        raise ValueError(f"the checksum of {name} does not fit")
    return json.loads(row[0])


def encoded(name: str, value: Any) -> str:
    """A value as JSON text. ValueError or TypeError where it can not be kept."""
    text = json.dumps(value)
    if len(text) >= MAX_TEXT:
        raise ValueError(f"{name} is too long to keep")
    return text


def set_value(connection: sqlite3.Connection, name: str, text: str) -> None:
    """Keep a named value, which is `encoded` already."""
    connection.execute(
        "INSERT OR REPLACE INTO properties VALUES (?, ?, ?)", (name, text, checksum(name, text))
    )


def checksum(name: str, text: str) -> int:
    """What is kept beside a named text, to notice damage."""
    return zlib.crc32(f"{name}\n{text}".encode())


def get_image_record(connection: sqlite3.Connection, image: int) -> dict[str, Any]:
    """What is known of an image. KeyError where there is no such one, ValueError if damaged."""
    row = connection.execute(
        "SELECT substr(record, 1, ?), checksum FROM images WHERE id = ?", (MAX_RECORD, image)
    ).fetchone()
    if row is None:
        raise KeyError(f"there is no image {image}")
    return checked_record(image, *row)


def checked_record(image: int, text: str, check: int) -> dict[str, Any]:
    """The record of an image from its row. ValueError where it is damaged."""
    if checksum(f"image {image}", text) != check:
        raise ValueError(f"the checksum of image {image} does not fit")
    record = json.loads(text)
    position = record.get("position") if isinstance(record, dict) else None
    if not isinstance(position, int) or position < 0 or "shape" not in record:
        raise ValueError(f"the record of image {image} makes no sense")
    return dict(record)


def set_image_record(connection: sqlite3.Connection, image: int, record: Mapping[str, Any]) -> None:
    """Keep what is known of an image."""
    text = json.dumps(dict(record))
    if len(text) >= MAX_RECORD:
        raise ValueError(f"what is known of image {image} is too long to keep")
    connection.execute(
        "INSERT OR REPLACE INTO images VALUES (?, ?, ?)",
        (image, text, checksum(f"image {image}", text)),
    )


def sealed_for(image: int, packed: bytes | None) -> bytes | None:
    """A packed tile as it lies in the file among those of `image`; the other way round, too.

    A flipped bit in the number of the image is noticed: the tile's checksum, its first four bytes,
    fits in one image only. Those of the first image are as `edits.pack_tile` made them.
    """
    if not isinstance(packed, bytes) or image == FIRST_IMAGE:
        return packed
    mark = zlib.crc32(b"image %d" % image)
    head = int.from_bytes(packed[:4], "little") ^ mark
    return head.to_bytes(4, "little") + packed[4:]
