"""The project file: one SQLite database with the labels, their history, classes and models.

How it keeps its promises:

- **One transaction per edit, durable when `record` returns.** A rollback journal with
  `synchronous=EXTRA`: the journal reaches the disk before the database does, and the journal's end
  too before the commit returns.
- **No write-ahead log.** With a WAL, committed strokes lie in a second file until a checkpoint: who
  copies NAME.limn from a crashed session, or from a share, gets a file without them. WAL's shared
  memory does not work between computers either. A rollback journal has neither trouble.
- **One writer.** `locking_mode=EXCLUSIVE` keeps the operating system's lock while the project is
  open; it ends with the process, however that ends, so there are no stale locks.
- **Nothing in a file is code.** The schema must be, to the letter, the one below (a foreign
  database could hold triggers and views), sizes are bounded before anything is unpacked, and values
  are JSON. Tiles and values carry checksums: a flipped bit is noticed, not painted.

The lock belongs to the process, and POSIX drops it when *any* handle of the process to the same
file is closed: never open a project file other than through this module.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unet_core.annotation import DEFAULT_CLASSES, MAX_CLASSES, Annotation, ClassInfo
from unet_core.atomic import replacing
from unet_core.edits import (
    MAX_PACKED_TILE,
    Edit,
    History,
    PackedEdit,
    TileArray,
    TileKey,
    is_sealed,
    pack_tile,
    unpack_tile,
)
from unet_core.places import is_recovery
from unet_core.project_file import (
    APPLICATION_ID,
    MAX_BLOB,
    MAX_TEXT,
    SUFFIX,
    VERSION,
    ProjectError,
    ProjectLockedError,
    connect,
    connect_unsafe,
    encoded,
    get_value,
    sentences,
    set_value,
    settle,
    statements,
)
from unet_core.stack import Stack

__all__ = [
    "MAX_TILES",
    "MODELS_KEPT",
    "SUFFIX",
    "ImageReference",
    "ModelRecord",
    "Project",
    "ProjectError",
    "ProjectLockedError",
]

MODELS_KEPT = 3

MAX_TILES = 32_768
"""So many label tiles are read into memory at most: 8 GiB."""

# Steps of undo, and of redo, that `load` brings back; more of them stay in the file.
_STEPS_LOADED = 5_000


@dataclass(frozen=True)
class ImageReference:
    """Which image the labels belong to."""

    path: Path
    size: int
    """Bytes of the file."""
    fingerprint: str
    shape: tuple[int, int, int, int, int]
    """(T, Z, C, Y, X)"""

    @classmethod
    def of(cls, stack: Stack) -> ImageReference:
        """Describe an open stack."""
        t, z, c, y, x = stack.shape
        path = Path(stack.path).absolute()
        return cls(path, path.stat().st_size, stack.fingerprint(), (t, z, c, y, x))


@dataclass(frozen=True)
class ModelRecord:
    """A model that the project keeps: its number, when it was made (Unix time), whence, how big."""

    id: int
    made: float
    provenance: dict[str, Any]
    size: int


class Project:
    """An open project file. Call it from one thread at a time.

    Every method raises ProjectError where the file or the disk fails; what was recorded before
    stays recorded.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use `Project.create` or `Project.open`."""
        self.path = path
        self._connection = connection

    @classmethod
    def create(
        cls,
        path: Path,
        shape: tuple[int, int, int, int],
        *,
        image: ImageReference | None = None,
        classes: Sequence[ClassInfo] = DEFAULT_CLASSES,
    ) -> Project:
        """Make a new project file for labels of shape (T, Z, Y, X), and open it.

        The folder must exist, the file must not.
        """
        path = Path(path).absolute()
        if path.exists():
            raise ProjectError(f"{path} exists already; choose another name.")
        Annotation(shape)  # refuses an impossible shape
        values = {
            "shape": list(shape),
            "position": 0,
            "classes": [asdict(c) for c in classes],
            "image": _stored(image, path.parent),
        }
        with sentences(path), replacing(path) as part:
            connection = connect_unsafe(part)
            try:
                connection.execute("BEGIN")
                for statement in statements():
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={VERSION}")
                for name, value in values.items():
                    set_value(connection, name, encoded(name, value))
                connection.execute("COMMIT")
            finally:
                connection.close()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Project:
        """Open a project file and keep everybody else from it until `close`.

        Raises ProjectError (one sentence) where the file is missing, no project, damaged, from a
        newer Limn, or may not be written, and ProjectLockedError where it is open elsewhere.
        """
        path = Path(path).absolute()
        if not path.is_file():
            what = "is a folder, not a project" if path.is_dir() else "does not exist (any more)"
            raise ProjectError(f"{path} {what}; choose another file.")
        with sentences(path):
            return cls(path, connect(path))

    def close(self) -> None:
        """Let go of the file. Everything recorded is on the disk already."""
        self._connection.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- edits

    def record(self, edit: Edit) -> None:
        """Add a new edit; edits that were undone are forgotten. Durable on return.

        Edits must come in the order in which they were applied.
        """
        packed = [(change.key, pack_tile(change.key, change.after)) for change in edit.changes]
        with self._transaction() as connection:
            position = get_value(connection, "position")
            number = position + 1
            connection.execute("DELETE FROM changes WHERE edit > ?", (position,))
            connection.execute("DELETE FROM edits WHERE id > ?", (position,))
            connection.execute(
                "INSERT INTO edits VALUES (?, ?, ?)", (number, edit.kind, time.time())
            )
            # What was before is what the file holds: so its own history is always consistent.
            connection.executemany(
                "INSERT INTO changes VALUES (?1, ?2, ?3, ?4, ?5, (SELECT data FROM tiles"
                " WHERE t = ?2 AND z = ?3 AND row = ?4 AND col = ?5), ?6)",
                [(number, *key, data) for key, data in packed],
            )
            _put_tiles(connection, number, "after")
            set_value(connection, "position", str(number))

    def record_undo(self) -> None:
        """Take back the newest applied edit. Durable on return."""
        with self._transaction() as connection:
            position = get_value(connection, "position")
            if not position:
                raise ProjectError(f"{self.path} holds nothing to undo.")
            _put_tiles(connection, position, "before")
            set_value(connection, "position", str(position - 1))

    def record_redo(self) -> None:
        """Apply the edit again that was undone last. Durable on return."""
        with self._transaction() as connection:
            number = get_value(connection, "position") + 1
            if not connection.execute("SELECT 1 FROM edits WHERE id = ?", (number,)).fetchone():
                raise ProjectError(f"{self.path} holds nothing to redo.")
            _put_tiles(connection, number, "after")
            set_value(connection, "position", str(number))

    def edit_count(self) -> int:
        """How many edits the history holds, undone ones included."""
        with sentences(self.path):
            row = self._connection.execute("SELECT max(id) FROM edits").fetchone()
            return int(row[0] or 0)

    def load(self) -> tuple[Annotation, History]:
        """The labels and the history as they were last recorded.

        Of a very long history the steps nearest to the present are loaded. Should a part of the
        history be damaged, the sound steps next to the present are what is left of it.
        """
        with sentences(self.path):
            annotation = Annotation.from_tiles(self.shape, self._tiles())
            position = self._get("position")
            undo = self._steps(position, -1)
            redo = self._steps(position, +1)
            return annotation, History(undo[::-1] + redo, len(undo))

    # ---- what else the file knows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, Z, Y, X) of the labels."""
        t, z, y, x = self._get("shape")
        return int(t), int(z), int(y), int(x)

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes, the background first."""
        with sentences(self.path):
            stored = self._get("classes")
            classes = tuple(ClassInfo(str(c["name"]), str(c["color"])) for c in stored)
            if not 1 <= len(classes) <= MAX_CLASSES:
                raise ValueError("no sensible number of classes")
            return classes

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Keep other classes. Durable on return."""
        self._set("classes", [asdict(c) for c in classes])

    @property
    def image(self) -> ImageReference | None:
        """The image that the labels belong to, its path as seen from where the project lies now."""
        stored = self._get("image")
        if stored is None:
            return None
        with sentences(self.path):
            t, z, c, y, x = (int(n) for n in stored["shape"])
            path = Path(os.path.normpath(self.path.parent / PurePosixPath(stored["path"])))
            return ImageReference(
                path, int(stored["size"]), str(stored["fingerprint"]), (t, z, c, y, x)
            )

    def set_image(self, image: ImageReference | None) -> None:
        """Refer to an image, by its path relative to the project. Durable on return."""
        self._set("image", _stored(image, self.path.parent))

    def setting(self, name: str, default: Any = None) -> Any:
        """A value that was kept with `set_setting`, or the default."""
        return self._get(f"setting {name}", default)

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value (view, threshold, ...) under a name. Durable on return."""
        self._set(f"setting {name}", value)

    # ---- models

    def add_model(self, weights: bytes, provenance: Mapping[str, Any]) -> int:
        """Keep a model (the bytes of a .safetensors file) and whence it came; answers its number.

        Only the newest `MODELS_KEPT` models stay.
        """
        if len(weights) > MAX_BLOB:
            raise ProjectError(f"A model of {len(weights) >> 20} MiB is too large for a project.")
        text = json.dumps(dict(provenance))
        digest = hashlib.sha256(weights).hexdigest()
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO models (made, provenance, digest, weights) VALUES (?, ?, ?, ?)",
                (time.time(), text, digest, weights),
            )
            number = int(cursor.lastrowid or 0)
            connection.execute("DELETE FROM models WHERE id <= ?", (number - MODELS_KEPT,))
            return number

    def models(self) -> list[ModelRecord]:
        """The models that are kept, newest first."""
        with sentences(self.path):
            rows = self._connection.execute(
                "SELECT id, made, substr(provenance, 1, ?), length(weights) FROM models"
                " ORDER BY id DESC LIMIT ?",
                (MAX_TEXT, MODELS_KEPT),
            )
            return [ModelRecord(n, made, json.loads(text), size) for n, made, text, size in rows]

    def latest_model(self) -> bytes | None:
        """The newest model whose bytes are sound, None if there is none."""
        with sentences(self.path):
            rows = self._connection.execute(
                "SELECT weights, digest FROM models ORDER BY id DESC LIMIT ?", (MODELS_KEPT,)
            )
            for weights, digest in rows:
                if isinstance(weights, bytes) and hashlib.sha256(weights).hexdigest() == digest:
                    return weights
            return None

    # ---- elsewhere

    def save_as(self, path: Path) -> None:
        """Copy the project to another file, replacing that project, and continue there.

        The old file stays as it is, unless it was in the recovery folder: there it is removed, for
        the work has a name now. On ProjectError nothing has changed.
        """
        path = Path(path).absolute()
        if path.exists() and path.samefile(self.path):
            return
        image = self.image
        with sentences(path):
            settle(path)
            with replacing(path) as part:
                copy = connect_unsafe(part)
                try:
                    self._connection.backup(copy)
                    # The image lies elsewhere as seen from the new folder.
                    set_value(copy, "image", encoded("image", _stored(image, path.parent)))
                finally:
                    copy.close()
            moved = connect(path)
        self._connection.close()
        if is_recovery(self.path):
            with suppress(OSError):
                self.path.unlink()
        self.path, self._connection = path, moved

    # ---- rows

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk before the block is left."""
        with sentences(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _get(self, name: str, default: Any = None) -> Any:
        with sentences(self.path):
            return get_value(self._connection, name, default)

    def _set(self, name: str, value: Any) -> None:
        text = encoded(name, value)
        with self._transaction() as connection:
            set_value(connection, name, text)

    def _tiles(self) -> Iterator[tuple[TileKey, TileArray]]:
        rows = self._connection.execute(
            "SELECT t, z, row, col, substr(data, 1, ?) FROM tiles LIMIT ?",
            (MAX_PACKED_TILE, MAX_TILES + 1),
        )
        for number, (*numbers, data) in enumerate(rows):
            if number == MAX_TILES:
                raise ProjectError(f"{self.path} holds more labels than fit into memory.")
            key = _key(numbers)
            tile = unpack_tile(key, data)
            if tile is not None:
                yield key, tile

    def _steps(self, position: int, direction: int) -> list[PackedEdit]:
        """Edits from the present into the past (-1) or the future (+1), nearest first.

        Stops before the first edit that is damaged or does not follow on its neighbour: compared
        are the packed tiles, whose bytes are copied and never packed anew.
        """
        first = position if direction < 0 else position + 1
        last = first + direction * (_STEPS_LOADED - 1)
        order, between = ("DESC", (last, first)) if direction < 0 else ("ASC", (first, last))
        steps: list[PackedEdit] = []
        present: dict[TileKey, bytes | None] = {}
        rows = self._connection.execute(
            "SELECT id, substr(kind, 1, 100) FROM edits WHERE id BETWEEN ? AND ?"
            f" ORDER BY id {order}",
            between,
        )
        for number, kind in rows:
            changes = self._changes(number)
            if number != first + direction * len(steps) or not changes:
                break
            for key, before, after in changes:
                # Seen from the present: how the step finds the tile, how it leaves it.
                here, there = (after, before) if direction < 0 else (before, after)
                known = present[key] if key in present else self._packed(key)
                if known != here or not is_sealed(key, there):
                    return steps
                present[key] = there
            steps.append(PackedEdit(str(kind), tuple(changes)))
        return steps

    def _changes(self, edit: int) -> list[tuple[TileKey, bytes | None, bytes | None]]:
        rows = self._connection.execute(
            "SELECT t, z, row, col, substr(before, 1, ?1), substr(after, 1, ?1)"
            " FROM changes WHERE edit = ?2",
            (MAX_PACKED_TILE, edit),
        )
        return [(_key(numbers), before, after) for *numbers, before, after in rows]

    def _packed(self, key: TileKey) -> bytes | None:
        row = self._connection.execute(
            "SELECT substr(data, 1, ?) FROM tiles WHERE t = ? AND z = ? AND row = ? AND col = ?",
            (MAX_PACKED_TILE, *key),
        ).fetchone()
        return None if row is None else row[0]


def _put_tiles(connection: sqlite3.Connection, edit: int, side: str) -> None:
    """Make the tiles of an edit what they are `before` or `after` it."""
    connection.execute(
        "DELETE FROM tiles WHERE (t, z, row, col) IN"
        f" (SELECT t, z, row, col FROM changes WHERE edit = ? AND {side} IS NULL)",
        (edit,),
    )
    connection.execute(
        "INSERT OR REPLACE INTO tiles"
        f" SELECT t, z, row, col, {side} FROM changes WHERE edit = ? AND {side} IS NOT NULL",
        (edit,),
    )


def _key(numbers: list[int]) -> TileKey:
    if not all(isinstance(n, int) for n in numbers):
        raise ValueError("a tile key holds something else than numbers")
    return TileKey(*numbers)


def _stored(image: ImageReference | None, folder: Path) -> dict[str, Any] | None:
    """An image reference as JSON, its path relative to the project's folder."""
    if image is None:
        return None
    path = Path(image.path).absolute()
    try:
        relative = Path(os.path.relpath(path, folder))
    except ValueError:  # Windows: on another drive there is no relative path
        relative = path
    return {
        "path": relative.as_posix(),
        "size": image.size,
        "fingerprint": image.fingerprint,
        "shape": list(image.shape),
    }
