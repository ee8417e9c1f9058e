"""The formats of project files, the older ones too, and the way from each to the present one."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from unet_core.project_rows import encoded, get_value, set_image_record, set_value
from unet_core.project_schema import (
    CHANGES,
    EDITS,
    FIRST_IMAGE,
    IMAGES,
    MODELS,
    PROPERTIES,
    RUNS,
    SCHEMA,
    TILES,
)

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
    PROPERTIES,
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
_SCHEMA_3 = (PROPERTIES, _TILES_3, _EDITS_3, _CHANGES_3, MODELS, RUNS)
_SCHEMAS = {1: _SCHEMA_2, 2: _SCHEMA_2, 3: _SCHEMA_3, 4: SCHEMA}

# Tables are made anew, not altered: so the schema's text is always, to the letter, what we wrote.
_TO_3 = (
    "CREATE TEMP TABLE old_edits AS SELECT * FROM main.edits",
    "CREATE TEMP TABLE old_models AS SELECT * FROM main.models",
    "DROP TABLE main.edits",
    "DROP TABLE main.models",
    _EDITS_3,
    MODELS,
    RUNS,
    "INSERT INTO main.edits SELECT o.id, o.kind, o.made, count(c.edit),"
    " coalesce(sum(coalesce(length(c.before), 0) + coalesce(length(c.after), 0)), 0)"
    " FROM temp.old_edits AS o LEFT JOIN main.changes AS c ON c.edit = o.id GROUP BY o.id",
    "INSERT INTO main.models SELECT id, made, provenance, digest, 0, weights FROM temp.old_models",
    "DROP TABLE temp.old_edits",
    "DROP TABLE temp.old_models",
)
_TO_4 = (
    *(f"ALTER TABLE {name} RENAME TO old_{name}" for name in ("tiles", "edits", "changes")),
    IMAGES,
    TILES,
    EDITS,
    CHANGES,
    *(f"INSERT INTO {name} SELECT {FIRST_IMAGE}, * FROM old_{name}"
      for name in ("tiles", "edits", "changes")),
    *(f"DROP TABLE old_{name}" for name in ("tiles", "edits", "changes")),
)  # fmt: skip


def has_schema(connection: sqlite3.Connection, version: int) -> bool:
    """Whether the database is, to the letter, what we make of a file of that format."""
    return version in _SCHEMAS and _schema(connection) == _expected_schema(version)


def _expected_schema(version: int) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in _SCHEMAS[version]:
            connection.execute(statement)
        return _schema(connection)


def _schema(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT 100"))


def migrate(connection: sqlite3.Connection, version: int) -> None:
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
