"""Rescue: bring out of a damaged project whatever can still be read, into a new project.

SQLite refuses a damaged database, or stops at the first damaged page. So the pages are read one by
one (see `sqlite_pages`): a row is taken where its page can be parsed, its columns look like a row
of ours, and its checksum fits. What the tables lead to counts more than what lies on pages that
nothing leads to any more. A label tile that is lost is taken from the undo history, where the
newest step that changed it can be read.

The damaged file is only ever read.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import sqlite3
import tempfile
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unet_core.annotation import DEFAULT_CLASSES, Annotation, AnnotationError, ClassInfo
from unet_core.atomic import replacing
from unet_core.edits import MAX_PACKED_TILE, TILE, TileKey, is_sealed, unpack_tile
from unet_core.labels import classes_of
from unet_core.project_copy import steady_copy
from unet_core.project_errors import ProjectError, sentences
from unet_core.project_file import connect, connect_raw, connect_unsafe
from unet_core.project_rows import (
    checked_record,
    checksum,
    encoded,
    get_image_record,
    get_value,
    sealed_for,
    set_image_record,
    set_value,
)
from unet_core.project_schema import FIRST_IMAGE, lay_out
from unet_core.sqlite_pages import Pages, Value, kinds_of

_LOST_CLASS = "#009e73"


@dataclass
class Report:
    """What `rescue` has brought out, and what not."""

    images: int = 0
    tiles: int = 0
    """Label tiles of 256 x 256 pixels."""
    from_history: int = 0
    """So many of the tiles are as the undo history knows them: the tile itself was damaged."""
    edits: int = 0
    """Steps of undo and redo."""
    models: int = 0
    runs: int = 0
    damaged: int = 0
    """Rows that were there, but did not fit their checksums."""
    lost: tuple[str, ...] = ()
    """What had to be guessed, in words: "classes", "image"."""

    def sentence(self) -> str:
        """All of it for the user."""
        text = (
            f"Brought out {self.tiles} label tiles ({self.from_history} of them from the undo "
            f"history) of {self.images} images, {self.edits} steps of undo, {self.models} models "
            f"and {self.runs} records of training; {self.damaged} damaged pieces were left behind"
        )
        if self.lost:
            text += f", and these were lost: {', '.join(self.lost)}"
        return f"{text}."


def rescue(path: Path, target: Path) -> Report:
    """Bring what can be read in the damaged project `path` into a new project `target`.

    `target` must not exist. Raises ProjectError where nothing at all can be brought out, or the
    files can not be read or written; then there is no target.
    """
    path, target = Path(path).absolute(), Path(target).absolute()
    if not path.is_file():
        raise ProjectError(f"{path} is no file; choose the damaged project.")
    if target.exists():
        raise ProjectError(f"{target} exists already; choose another name.")
    report = Report()
    with sentences(target), tempfile.TemporaryDirectory(prefix="limn-") as folder:
        copy = Path(folder) / "damaged.limn"
        steady_copy(path, copy)
        _roll_back(copy)
        with replacing(target) as part:
            with closing(connect_unsafe(part)) as connection:
                connection.execute("BEGIN")
                lay_out(connection)
                _take_rows(copy, connection, report)
                found = sum(
                    connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                    for table in ("properties", "images", "tiles", "changes", "models")
                )
                if not found:
                    raise ProjectError(f"{path} holds nothing that a Limn project would hold.")
                _mend(connection, report)
                connection.execute("COMMIT")
            connect(part, target).close()  # it opens, or it does not get the name
    return report


def _roll_back(copy: Path) -> None:
    """Let SQLite take back what a crash left half done, where it is able to."""
    with suppress(sqlite3.Error, ProjectError), closing(connect_raw(copy)) as connection:
        connection.execute("BEGIN EXCLUSIVE")


def _take_rows(copy: Path, connection: sqlite3.Connection, report: Report) -> None:
    """Put every sound row of the copy into the new project; of two for one place the first."""
    if not copy.stat().st_size:
        return
    with (
        copy.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        pages = Pages(data)
        for number in pages.in_order():
            for rowid, row in pages.rows(number):
                if (sound := _sound(rowid, row)) is not None:
                    table, values = sound
                    places = ", ".join("?" * len(values))
                    connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", values)
                elif _looks_like_ours(row):
                    report.damaged += 1
        report.damaged += pages.unreadable


# ---- rows


def _looks_like_ours(row: tuple[Value, ...]) -> bool:
    kinds = kinds_of(row)
    changes = len(kinds) in (7, 8) and kinds.startswith("iiiii")
    return changes or kinds in ("tti", "nti", "iiiib", "iiiiib")


def _sound(rowid: int | None, row: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]] | None:
    """The table that a row belongs to and its values there; None unless all its checks fit.

    Rows of older formats are brought up to date; what those did not count is None for `_mend`.
    """
    # A time without fraction is stored as an integer.
    kinds = kinds_of(row)
    if rowid is None:
        return _sound_by_key(kinds, row)
    if not 0 < rowid < 2**62:
        return None
    made = kinds[1:2] in ("i", "r")
    if kinds == "nti" and _is_image(rowid, row[1:]):
        return "images", (rowid, *row[1:])
    if kinds[:2] == "nt" and kinds[2:3] in ("i", "r") and kinds[3:] in ("", "ii"):
        # Without a count, -1: as many as are found.
        parts, size = row[3:] if len(row) == 5 else (-1, 0)
        return "edits", (FIRST_IMAGE, rowid, str(row[1])[:100], row[2], parts, size)
    if made and kinds[2:] in ("ttb", "ttib"):
        *_, provenance, digest = row[:4]
        weights, pinned = row[-1], row[4] if len(row) == 6 else 0
        if hashlib.sha256(weights).hexdigest() == digest:  # type: ignore[arg-type]
            return "models", (rowid, row[1], provenance, digest, pinned, weights)
    if made and kinds[2:] == "ti" and checksum("run", str(row[2])) == row[3]:
        return "runs", (rowid, *row[1:])
    return None


def _sound_by_key(kinds: str, row: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]] | None:
    if kinds == "tti" and checksum(str(row[0]), str(row[1])) == row[2]:
        return "properties", row
    is_edit = kinds in ("iitiii", "iitrii")
    if is_edit and 0 < row[0] < 2**62 and 0 < row[1] < 2**62:  # type: ignore[operator]
        return "edits", (*row[:2], str(row[2])[:100], *row[3:])
    # Rows of formats without a number of the image belong to the first one.
    if kinds in ("iiiib", "iiiiib"):
        tile = row if len(row) == 6 else (FIRST_IMAGE, *row)
        return ("tiles", tile) if _is_tile(tile[0], tile[1:5], tile[5]) else None
    is_change = len(row) in (7, 8) and set(kinds[:-2]) == {"i"} and set(kinds[-2:]) <= set("nb")
    if is_change:
        change = row if len(row) == 8 else (FIRST_IMAGE, *row)
        # Both sides: an edit can not be undone with half of a change.
        if all(_is_tile(change[0], change[2:6], side) for side in change[6:]):
            return "changes", change
    return None


def _is_image(number: int, row: tuple[Value, ...]) -> bool:
    text, check = row
    try:
        checked_record(number, text, check)  # type: ignore[arg-type]
    except ValueError:
        return False
    return True


def _is_tile(image: Value, key: tuple[Value, ...], packed: Value) -> bool:
    numbers = [n for n in (image, *key) if isinstance(n, int)]
    return (
        (packed is None or (isinstance(packed, bytes) and len(packed) <= MAX_PACKED_TILE))
        and min(numbers) >= 0
        and is_sealed(TileKey(*numbers[1:]), sealed_for(numbers[0], packed))
    )


# ---- what was lost


def _mend(connection: sqlite3.Connection, report: Report) -> None:
    """Make a project of the rows: whatever it needs is there, and fits."""
    lost = _mend_images(connection, report)
    highest = 0
    for (image,) in connection.execute("SELECT id FROM images").fetchall():
        record = get_image_record(connection, image)
        _mend_history(connection, image, record["position"])
        shape = record["shape"]
        highest = max(highest, _drop_unfitting_tiles(connection, image, shape, report))
    try:
        classes = [ClassInfo(str(c["name"]), str(c["color"]))
                   for c in _known(connection, "classes")]  # fmt: skip
    except (TypeError, ValueError, KeyError):
        lost.append("classes")
        classes = list(DEFAULT_CLASSES)
    for value in range(len(classes) + 1, highest + 1):
        classes.append(ClassInfo(f"class {value}", _LOST_CLASS))
    history = connection.execute("SELECT coalesce(sum(size), 0) FROM edits").fetchone()[0]
    listed = [asdict(one) for one in classes]
    for name, known in (("classes", listed), ("history", history)):
        set_value(connection, name, encoded(name, known))
    report.lost = tuple(lost)
    for table in ("images", "tiles", "edits", "models", "runs"):
        count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        setattr(report, table, count)


def _mend_images(connection: sqlite3.Connection, report: Report) -> list[str]:
    """Let every row belong to an image, and have all tiles that the history knows.

    Answers what had to be guessed, in words.
    """
    lost: list[str] = []
    # Formats 1 to 3 had one image, and kept what is known of it among the properties.
    names = ("shape", "position", "image")
    old = {name: _known(connection, name) for name in names}
    kept = [row[0] for row in connection.execute("SELECT name FROM properties")]
    known = {image for (image,) in connection.execute("SELECT id FROM images")}
    labelled = connection.execute("SELECT image FROM tiles UNION SELECT image FROM edits")
    unknown = {image for (image,) in labelled} - known
    for image in sorted(unknown) if unknown or known else [FIRST_IMAGE]:
        record = old if image == FIRST_IMAGE else dict.fromkeys(names)
        if not isinstance(record["position"], int) or record["position"] < 0:
            newest = "SELECT coalesce(max(id), 0) FROM edits WHERE image = ?"
            record["position"] = connection.execute(newest, (image,)).fetchone()[0]
            lost.append("position in the history")
        if image != FIRST_IMAGE or "image" not in kept:
            lost.append("image")
        set_image_record(connection, image, record)
    connection.execute("DELETE FROM properties WHERE name IN (?, ?, ?)", names)
    for (image,) in connection.execute("SELECT id FROM images").fetchall():
        record = get_image_record(connection, image)
        report.from_history += connection.execute(
            "INSERT OR IGNORE INTO tiles SELECT ?1, t, z, row, col, after FROM"
            " (SELECT t, z, row, col, after, max(edit) FROM changes WHERE image = ?1 AND edit <= ?2"
            " GROUP BY t, z, row, col) WHERE after IS NOT NULL",
            (image, record["position"]),
        ).rowcount
        if not _is_shape(record["shape"]):
            lost.append("size of the image (guessed from where its labels are)")
            set_image_record(connection, image, {**record, "shape": _least(connection, image)})
    return list(dict.fromkeys(lost))


def _is_shape(shape: Any) -> bool:
    try:
        Annotation(tuple(int(n) for n in shape))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _least(connection: sqlite3.Connection, image: int) -> list[int]:
    """The smallest (T, Z, Y, X) that holds all tiles of an image."""
    t, z, row, col = connection.execute(
        "SELECT max(t), max(z), max(row), max(col) FROM tiles WHERE image = ?", (image,)
    ).fetchone()
    return [1, 1, TILE, TILE] if t is None else [t + 1, z + 1, (row + 1) * TILE, (col + 1) * TILE]


def _mend_history(connection: sqlite3.Connection, image: int, position: int) -> None:
    """Keep the unbroken run of whole edits around the present."""
    parts = "(SELECT count(*) FROM changes AS c WHERE c.image = edits.image AND c.edit = edits.id)"
    connection.execute(f"UPDATE edits SET parts = {parts} WHERE parts < 0 AND image = ?", (image,))
    whole = f"SELECT id FROM edits WHERE image = ? AND parts > 0 AND parts = {parts}"
    first, last = position + 1, position
    for (number,) in connection.execute(f"{whole} AND id <= ? ORDER BY id DESC", (image, position)):
        if number != first - 1:
            break
        first = number
    for (number,) in connection.execute(f"{whole} AND id > ? ORDER BY id", (image, position)):
        if number != last + 1:
            break
        last = number
    for table, column in (("edits", "id"), ("changes", "edit")):
        connection.execute(
            f"DELETE FROM {table} WHERE image = ? AND {column} NOT BETWEEN ? AND ?",
            (image, first, last),
        )
    connection.execute(
        "UPDATE edits SET size = (SELECT coalesce(sum(coalesce(length(before), 0) +"
        " coalesce(length(after), 0)), 0) FROM changes AS c"
        " WHERE c.image = edits.image AND c.edit = edits.id) WHERE image = ?",
        (image,),
    )


def _drop_unfitting_tiles(
    connection: sqlite3.Connection, image: int, shape: Any, report: Report
) -> int:
    """Remove tiles that are none or lie outside the image; answers the highest class of all."""
    highest = 0
    unfit = []
    rows = "SELECT t, z, row, col, data FROM tiles WHERE image = ?"
    for *numbers, packed in connection.execute(rows, (image,)):
        key = TileKey(*numbers)
        try:
            data = sealed_for(image, packed)
            tile = unpack_tile(key, data)
            if data is None or tile is None:
                raise AnnotationError("no tile")
            Annotation.from_packed(tuple(shape), [(key, data)])
        except AnnotationError:
            unfit.append((image, *numbers))
        else:
            highest = max(highest, int(classes_of(tile).max()))
    report.damaged += len(unfit)
    connection.executemany(
        "DELETE FROM tiles WHERE image = ? AND t = ? AND z = ? AND row = ? AND col = ?", unfit
    )
    return highest


def _known(connection: sqlite3.Connection, name: str) -> Any:
    try:
        return get_value(connection, name)
    except (ValueError, json.JSONDecodeError):
        return None
