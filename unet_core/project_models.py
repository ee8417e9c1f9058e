"""Rows of a project's models and of its runs of training.

Functions over a connection; those that change something are called within a transaction.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from unet_core.project_rows import checksum, get_value
from unet_core.project_schema import MAX_TEXT

MODELS_KEPT = 10
MODELS_BUDGET = 200 * 2**20
"""So many models, and so many bytes of them, are kept beside those that are pinned or shown.

They are kept as they are: of trained weights, zlib saves 7 %, with the bytes sorted by significance
15 %, and with the difference to the bundled ones 30 %. That would tie a project to one release of
those for the sake of 1.5 MB a model.
"""

MAX_RUN = 2**20
"""Characters of the record of a training."""
RUNS_KEPT = 1_000

# A file from a stranger may hold any number of models.
_MODELS_LISTED = 1_000

SHOWN = "shown model"
"""The named value that says which model the window shows."""


@dataclass(frozen=True)
class ModelRecord:
    """A model that the project keeps."""

    id: int
    made: float
    """Unix time."""
    provenance: dict[str, Any]
    pinned: bool
    size: int
    """Bytes of its weights."""


def insert_model(
    connection: sqlite3.Connection, weights: bytes, digest: str, provenance: str, pinned: bool
) -> int:
    """Keep a model, and forget some others; answers its number.

    digest: of the weights, see `digest_of`; provenance: JSON text.
    """
    cursor = connection.execute(
        "INSERT INTO models (made, provenance, digest, pinned, weights) VALUES (?, ?, ?, ?, ?)",
        (time.time(), provenance, digest, int(pinned), weights),
    )
    number = int(cursor.lastrowid or 0)
    _forget_models(connection, number)
    return number


def _forget_models(connection: sqlite3.Connection, newest: int) -> None:
    """Remove the oldest models that are too many, or too much, see `Project.add_model`."""
    kept = get_value(connection, SHOWN), newest
    rows = connection.execute(
        "SELECT id, length(weights) FROM models WHERE NOT pinned ORDER BY id DESC"
    ).fetchall()
    total = 0
    for rank, (number, size) in enumerate(rows):
        total += size
        if number not in kept and (rank >= MODELS_KEPT or total > MODELS_BUDGET):
            connection.execute("DELETE FROM models WHERE id = ?", (number,))


def pin_model(connection: sqlite3.Connection, number: int, pinned: bool) -> bool:
    """Keep a model whatever comes after it, or no longer; False where there is none."""
    cursor = connection.execute("UPDATE models SET pinned = ? WHERE id = ?", (int(pinned), number))
    return cursor.rowcount > 0


def read_models(connection: sqlite3.Connection) -> list[ModelRecord]:
    """The models that are kept, newest first."""
    rows = connection.execute(
        "SELECT id, made, substr(provenance, 1, ?), pinned, length(weights) FROM models"
        " ORDER BY id DESC LIMIT ?",
        (MAX_TEXT, _MODELS_LISTED),
    )
    return [
        ModelRecord(number, float(made), dict(json.loads(text)), bool(pinned), int(size))
        for number, made, text, pinned, size in rows
    ]


def read_weights(connection: sqlite3.Connection, number: int) -> tuple[bytes, str] | None:
    """The bytes of a model and the digest that they should have; None where there is none."""
    row: tuple[bytes, str] | None = connection.execute(
        "SELECT weights, digest FROM models WHERE id = ?", (number,)
    ).fetchone()
    return row


def newest_sound_weights(connection: sqlite3.Connection) -> bytes | None:
    """The bytes of the newest model that is not damaged, None if there is none."""
    rows = connection.execute(
        "SELECT weights, digest FROM models ORDER BY id DESC LIMIT ?", (_MODELS_LISTED,)
    )
    for weights, digest in rows:
        if is_sound(weights, digest):
            return bytes(weights)
    return None


def digest_of(weights: bytes) -> str:
    """What is kept beside a model, to notice damage."""
    return hashlib.sha256(weights).hexdigest()


def is_sound(weights: object, digest: object) -> bool:
    """Whether a model, as found in a file, is as it was written."""
    return isinstance(weights, bytes) and digest_of(weights) == digest


def insert_run(connection: sqlite3.Connection, record: str) -> int:
    """Keep the record of a training, which is JSON text; answers its number."""
    cursor = connection.execute(
        "INSERT INTO runs (made, record, checksum) VALUES (?, ?, ?)",
        (time.time(), record, checksum("run", record)),
    )
    number = int(cursor.lastrowid or 0)
    connection.execute("DELETE FROM runs WHERE id <= ?", (number - RUNS_KEPT,))
    return number


def read_runs(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """The records of trainings, oldest first; those whose checksum does not fit are left out."""
    rows = connection.execute(
        "SELECT made, substr(record, 1, ?), checksum FROM runs ORDER BY id LIMIT ?",
        (MAX_RUN, RUNS_KEPT),
    )
    return [
        {"made": float(made), **json.loads(text)}
        for made, text, check in rows
        if checksum("run", text) == check
    ]
