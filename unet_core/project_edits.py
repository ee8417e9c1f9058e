"""Rows of a project's labels: the tiles as they are now, and the edits of undo and redo.

Functions over a connection; those that change something are called within a transaction. Tiles are
packed in the file and stay packed here, see `project_schema.SCHEMA`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unet_core.edits import MAX_PACKED_TILE, AnnotationError, Edit, Shape, TileKey, is_sealed
from unet_core.limits import ADVICE, LimitError, lifted
from unet_core.project_rows import (
    get_image_record,
    get_value,
    sealed_for,
    set_image_record,
    set_value,
)

MAX_TILES = 2**20
"""So many label tiles of an image, and of a step of undo, are read into memory at most; packed they
are, and `Annotation.from_packed` bounds their bytes."""

# Steps of undo, and of redo, that `Project.load` brings back, and their bytes; more stay in the
# file.
_STEPS_LOADED = 5_000
_BYTES_LOADED = 256 * 2**20
# What a tile of an edit takes beside its bytes, about.
_CHANGE = 200

# So many of the oldest edits are forgotten when an edit is recorded: a stroke costs the same
# however much there is to forget.
_PRUNED_AT_ONCE = 8

PackedChange = tuple[TileKey, bytes | None, bytes | None]
"""A tile before and after."""


# ---- writing


def packed_tiles(edit: Edit, image: int) -> list[tuple[TileKey, bytes | None]]:
    """The tiles as an edit of `image` leaves them, as they lie in the file."""
    return [
        (change.key, sealed_for(image, None if change.after is None else change.after.packed()))
        for change in edit.changes
    ]


def insert_edit(
    connection: sqlite3.Connection,
    image: int,
    kind: str,
    packed: Sequence[tuple[TileKey, bytes | None]],
    budget: int,
    needed: Mapping[int, int],
) -> None:
    """Apply a new edit of an image to the tiles; the edits that were undone are forgotten.

    budget, needed: see `_forget_oldest`.
    """
    record = get_image_record(connection, image)
    position = record["position"]
    number = position + 1
    history = get_value(connection, "history", 0)
    history -= _sum_of_sizes(connection, image, number)
    undone = image, position
    connection.execute("DELETE FROM changes WHERE image = ? AND edit > ?", undone)
    connection.execute("DELETE FROM edits WHERE image = ? AND id > ?", undone)
    # What was before is what the file holds: so its own history is always consistent.
    connection.executemany(
        "INSERT INTO changes VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT data FROM tiles WHERE"
        " image = ?1 AND t = ?3 AND z = ?4 AND row = ?5 AND col = ?6), ?7)",
        [(image, number, *key, data) for key, data in packed],
    )
    (size,) = connection.execute(
        "SELECT coalesce(sum(coalesce(length(before), 0) + coalesce(length(after), 0)), 0)"
        " FROM changes WHERE image = ? AND edit = ?",
        (image, number),
    ).fetchone()
    connection.execute(
        "INSERT INTO edits VALUES (?, ?, ?, ?, ?, ?)",
        (image, number, kind, time.time(), len(packed), size),
    )
    _put_tiles(connection, image, number, "after")
    history = _forget_oldest(connection, image, history + size, budget, needed)
    set_image_record(connection, image, {**record, "position": number})
    set_value(connection, "history", str(history))


def undo_edit(connection: sqlite3.Connection, image: int) -> bool:
    """Take back the newest applied edit of an image; False where there is none."""
    record = get_image_record(connection, image)
    position = record["position"]
    if not _exists(connection, image, position):
        return False
    _put_tiles(connection, image, position, "before")
    set_image_record(connection, image, {**record, "position": position - 1})
    return True


def redo_edit(connection: sqlite3.Connection, image: int) -> bool:
    """Apply the edit of an image again that was undone last; False where there is none."""
    record = get_image_record(connection, image)
    number = record["position"] + 1
    if not _exists(connection, image, number):
        return False
    _put_tiles(connection, image, number, "after")
    set_image_record(connection, image, {**record, "position": number})
    return True


def forget_edits(connection: sqlite3.Connection, image: int) -> None:
    """Forget the labels of an image and their history."""
    size = _sum_of_sizes(connection, image, 0)
    for table in ("tiles", "edits", "changes"):
        connection.execute(f"DELETE FROM {table} WHERE image = ?", (image,))
    set_value(connection, "history", str(get_value(connection, "history", 0) - size))


def _put_tiles(connection: sqlite3.Connection, image: int, edit: int, side: str) -> None:
    """Make the tiles of an edit what they are `before` or `after` it."""
    connection.execute(
        "DELETE FROM tiles WHERE (image, t, z, row, col) IN (SELECT image, t, z, row, col"
        f" FROM changes WHERE image = ? AND edit = ? AND {side} IS NULL)",
        (image, edit),
    )
    connection.execute(
        f"INSERT OR REPLACE INTO tiles SELECT image, t, z, row, col, {side}"
        f" FROM changes WHERE image = ? AND edit = ? AND {side} IS NOT NULL",
        (image, edit),
    )


def _forget_oldest(
    connection: sqlite3.Connection, image: int, history: int, budget: int, needed: Mapping[int, int]
) -> int:
    """Forget a few edits, the oldest first, while there are more bytes than the budget.

    Those of `image` first, then those of the others. history: the bytes that there are; needed: of
    each image the oldest edit that must stay. Answers the bytes that are left.
    """
    if history <= budget:
        return history
    others = (other for other in needed if other != image)
    left = _PRUNED_AT_ONCE
    for one in (image, *others):
        rows = connection.execute(
            "SELECT id, size FROM edits WHERE image = ? AND id < ? ORDER BY id LIMIT ?",
            (one, needed[one], left),
        ).fetchall()
        for number, size in rows:
            if history <= budget:
                return history
            connection.execute("DELETE FROM changes WHERE image = ? AND edit = ?", (one, number))
            connection.execute("DELETE FROM edits WHERE image = ? AND id = ?", (one, number))
            history -= size
            left -= 1
        if not left:
            break
    return history


# ---- reading


def is_labelled(connection: sqlite3.Connection, image: int) -> bool:
    """Whether anything is labelled in an image."""
    row = connection.execute("SELECT 1 FROM tiles WHERE image = ? LIMIT 1", (image,))
    return row.fetchone() is not None


def count_edits(connection: sqlite3.Connection) -> int:
    """How many edits the history of all images holds, undone ones included."""
    rows = connection.execute("SELECT id FROM images").fetchall()
    spans = (
        connection.execute(
            "SELECT (SELECT max(id) FROM edits WHERE image = ?1)"
            " - (SELECT min(id) FROM edits WHERE image = ?1) + 1",
            row,
        ).fetchone()[0]
        for row in rows
    )
    return sum(int(span or 0) for span in spans)


def read_tiles(
    connection: sqlite3.Connection, image: int
) -> Iterator[tuple[TileKey, bytes | None]]:
    """The label tiles of an image, packed. LimitError where they are too many."""
    rows = connection.execute(
        "SELECT t, z, row, col, substr(data, 1, ?) FROM tiles WHERE image = ? LIMIT ?",
        (MAX_PACKED_TILE, image, -1 if lifted() else MAX_TILES + 1),
    )
    for number, (*numbers, data) in enumerate(rows):
        if number == MAX_TILES and not lifted():
            raise LimitError(f"There are more than {MAX_TILES:,} label tiles; {ADVICE}.")
        yield _key(numbers), sealed_for(image, data)


def read_steps(
    connection: sqlite3.Connection,
    image: int,
    shape: Shape,
    position: int,
    direction: int,
) -> list[Edit]:
    """Edits from the present into the past (-1) or the future (+1), nearest first.

    Stops before the first edit that is damaged or does not follow on its neighbour: compared
    are the packed tiles, whose bytes are copied and never packed anew. shape: (T, Z, Y, X) of the
    labels; position: how many edits are applied at present.
    """
    first = position if direction < 0 else position + 1
    last = first + direction * (_STEPS_LOADED - 1)
    order, between = ("DESC", (last, first)) if direction < 0 else ("ASC", (first, last))
    steps: list[Edit] = []
    present: dict[TileKey, bytes | None] = {}
    loaded = 0
    rows = connection.execute(
        "SELECT id, substr(kind, 1, 100), parts FROM edits"
        f" WHERE image = ? AND id BETWEEN ? AND ? ORDER BY id {order}",
        (image, *between),
    )
    for number, kind, parts in rows:
        changes, size = _read_changes(connection, image, number, _BYTES_LOADED - loaded)
        loaded += size
        if number != first + direction * len(steps) or not changes or len(changes) != parts:
            break
        for key, before, after in changes:
            # Seen from the present: how the step finds the tile, how it leaves it.
            here, there = (after, before) if direction < 0 else (before, after)
            known = present[key] if key in present else _read_tile(connection, image, key)
            if known != here or not is_sealed(key, there):
                return steps
            present[key] = there
        try:
            steps.append(Edit.from_packed(str(kind), changes, shape))
        except AnnotationError:
            return steps
    return steps


def _read_changes(
    connection: sqlite3.Connection, image: int, edit: int, most: int
) -> tuple[list[PackedChange], int]:
    """What an edit changes and how many bytes of memory that takes; nothing if above `most`."""
    changes: list[PackedChange] = []
    size = 0
    rows = connection.execute(
        "SELECT t, z, row, col, substr(before, 1, ?1), substr(after, 1, ?1)"
        " FROM changes WHERE image = ?2 AND edit = ?3 LIMIT ?4",
        (MAX_PACKED_TILE, image, edit, MAX_TILES),
    )
    for *numbers, before, after in rows:
        size += sum(_CHANGE + len(data or b"") for data in (before, after))
        if size > most:
            return [], size
        changes.append((_key(numbers), sealed_for(image, before), sealed_for(image, after)))
    return changes, size


def _read_tile(connection: sqlite3.Connection, image: int, key: TileKey) -> bytes | None:
    row = connection.execute(
        "SELECT substr(data, 1, ?) FROM tiles"
        " WHERE image = ? AND t = ? AND z = ? AND row = ? AND col = ?",
        (MAX_PACKED_TILE, image, *key),
    ).fetchone()
    return None if row is None else sealed_for(image, row[0])


def _key(numbers: list[Any]) -> TileKey:
    if not all(isinstance(n, int) for n in numbers):
        raise ValueError("a tile key holds something else than numbers")
    return TileKey(*numbers)


def _exists(connection: sqlite3.Connection, image: int, edit: int) -> bool:
    return bool(
        connection.execute(
            "SELECT 1 FROM edits WHERE image = ? AND id = ?", (image, edit)
        ).fetchone()
    )


def _sum_of_sizes(connection: sqlite3.Connection, image: int, first: int) -> int:
    """Bytes of the edits of an image from `first` on."""
    row = connection.execute(
        "SELECT coalesce(sum(size), 0) FROM edits WHERE image = ? AND id >= ?", (image, first)
    )
    return int(row.fetchone()[0])
