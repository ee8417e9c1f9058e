"""What a project file consists of: its tables, and how long a value in them may be."""

from __future__ import annotations

import sqlite3

SUFFIX = ".limn"
VERSION = 4
"""Version 1 knew no objects; what it wrote reads the same in version 2. Version 3 knows how large
each edit is and of how many tiles it consists, pinned models, and the runs of training. Version 4
holds several images."""
FIRST_IMAGE = 1
"""The number of the image that a project is made for."""
APPLICATION_ID = 0x4C696D6E  # "Limn"

PROPERTIES = """CREATE TABLE properties (
    name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID"""
IMAGES = """CREATE TABLE images (
    id INTEGER PRIMARY KEY, record TEXT NOT NULL, checksum INTEGER NOT NULL
)"""
TILES = """CREATE TABLE tiles (
    image INTEGER, t INTEGER, z INTEGER, row INTEGER, col INTEGER, data BLOB NOT NULL,
    PRIMARY KEY (image, t, z, row, col)
) WITHOUT ROWID"""
CHANGES = """CREATE TABLE changes (
    image INTEGER, edit INTEGER, t INTEGER, z INTEGER, row INTEGER, col INTEGER,
    before BLOB, after BLOB,
    PRIMARY KEY (image, edit, t, z, row, col)
) WITHOUT ROWID"""
EDITS = """CREATE TABLE edits (
    image INTEGER, id INTEGER, kind TEXT NOT NULL, made REAL NOT NULL, parts INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (image, id)
) WITHOUT ROWID"""
MODELS = """CREATE TABLE models (
    id INTEGER PRIMARY KEY, made REAL NOT NULL, provenance TEXT NOT NULL, digest TEXT NOT NULL,
    pinned INTEGER NOT NULL, weights BLOB NOT NULL
)"""
RUNS = """CREATE TABLE runs (
    id INTEGER PRIMARY KEY, made REAL NOT NULL, record TEXT NOT NULL, checksum INTEGER NOT NULL
)"""

SCHEMA = (PROPERTIES, IMAGES, TILES, EDITS, CHANGES, MODELS, RUNS)
"""What makes an empty database a project, in order.

An image's record is JSON: its `shape` (T, Z, Y, X), where the `image` itself is, its marks, and its
`position`: how many of its edits are applied; edits with a larger id are what redo brings back. The
ids of an image's edits follow on each other without gaps; the oldest may be gone (see
`Project.history_budget`). `parts` counts the changes of an edit, `size` their bytes; the property
`history` is the sum of all sizes, `writes` counts the transactions.
`tiles` is the state after `position` edits. A packed tile carries its own checksum (see
`edits.pack_tile`), which here also tells the image: see `sealed_for`.
"""

MAX_TEXT = 4 * 2**20
MAX_RECORD = 2**15
MAX_BLOB = 2**30 - 1024


def lay_out(connection: sqlite3.Connection) -> None:
    """Make an empty database a project file that holds nothing yet, within a transaction."""
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
