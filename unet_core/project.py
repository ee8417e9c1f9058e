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
- **Reading without a lock.** A project that is opened read-only is a private copy of that moment:
  it hinders no writer and no writer hinders it, a crashed writer's journal is rolled back in the
  copy, and it does not matter where the file lies.
- **Nothing in a file is code.** The schema must be, to the letter, the one below (a foreign
  database could hold triggers and views), sizes are bounded before anything is unpacked, and values
  are JSON. Tiles and values carry checksums: a flipped bit is noticed, not painted.

The lock belongs to the process, and POSIX drops it when *any* handle of the process to the same
file is closed: never open a project file other than through this module.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from unet_core.annotation import DEFAULT_CLASSES, MAX_CLASSES, Annotation, ClassInfo
from unet_core.atomic import os_reason, replacing
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
from unet_core.image_reference import ImageReference, check_image, find_image
from unet_core.places import is_recovery
from unet_core.project_copy import is_same, steady_copy, written_here
from unet_core.project_file import (
    APPLICATION_ID,
    MAX_BLOB,
    MAX_TEXT,
    SCHEMA,
    SUFFIX,
    VERSION,
    ProjectError,
    ProjectLockedError,
    checksum,
    connect,
    connect_unsafe,
    encoded,
    get_value,
    is_dead,
    sentences,
    set_value,
    settle,
)

__all__ = [
    "HISTORY_BUDGET",
    "MAX_TILES",
    "MODELS_BUDGET",
    "MODELS_KEPT",
    "SUFFIX",
    "ImageReference",
    "ModelRecord",
    "Project",
    "ProjectError",
    "ProjectLockedError",
    "check_image",
    "copy_project",
    "find_image",
]

R = TypeVar("R")

MODELS_KEPT = 10
MODELS_BUDGET = 200 * 2**20
"""So many models, and so many bytes of them, are kept beside those that are pinned or shown.

They are kept as they are: of trained weights, zlib saves 7 %, with the bytes sorted by significance
15 %, and with the difference to the bundled ones 30 %. That would tie a project to one release of
those for the sake of 1.5 MB a model.
"""

HISTORY_BUDGET = 2 * 2**30
"""Bytes of undo history that a project keeps, unless `Project.history_budget` says otherwise."""

MAX_TILES = 32_768
"""So many label tiles are read into memory at most: 8 GiB."""

# Steps of undo, and of redo, that `load` brings back, and their bytes; more stay in the file.
_STEPS_LOADED = 5_000
_BYTES_LOADED = 256 * 2**20
# What a tile of an edit takes beside its bytes, about.
_CHANGE = 100

# So many of the oldest edits are forgotten when an edit is recorded: a stroke costs the same
# however much there is to forget.
_PRUNED_AT_ONCE = 8

_RUNS_KEPT = 1_000
_MAX_RUN = 2**20
# A file from a stranger may hold any number of models.
_MODELS_LISTED = 1_000


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


@dataclass(frozen=True)
class _Doubt:
    """A change of which nobody knows whether it is in the file, see `Project._write`."""

    what: object
    writes: int
    """It is there if the file has counted so many writes."""
    result: Any


class Project:
    """An open project file. Call it from one thread at a time.

    Every method raises ProjectError where the file or the disk fails; what was recorded before
    stays recorded.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, private: Path | None = None
    ) -> None:
        """Use `Project.create` or `Project.open`. private: the folder of a read-only copy."""
        self.path = path
        self.history_budget = HISTORY_BUDGET
        """Bytes of undo history beyond which the oldest edits are forgotten, a few with each new
        one; but none that has been loaded or recorded since the project was opened."""
        self._connection = connection
        self._private = private
        # The latest moment is when the project is dropped without having been closed.
        self._tidy = weakref.finalize(self, _remove, private)
        self._doubt: _Doubt | None = None
        self._writes = int(self._get("writes", 0))
        # The oldest edit that somebody may want to undo: what is before it may be forgotten.
        self._oldest_needed = 0
        if private is None:
            self._oldest_needed = self._get("position") + 1
            written_here[id(self)] = self

    @classmethod
    def create(
        cls,
        path: Path,
        shape: tuple[int, int, int, int],
        *,
        image: ImageReference | None = None,
        classes: Sequence[ClassInfo] = DEFAULT_CLASSES,
        draft: bool = False,
    ) -> Project:
        """Make a new project file for labels of shape (T, Z, Y, X), and open it.

        The folder must exist, the file must not. draft: a power cut may spoil it, so that nothing
        waits for the disk, until `save_as` makes a lasting one of it.
        """
        path = Path(path).absolute()
        if path.exists():
            raise ProjectError(f"{path} exists already; choose another name.")
        Annotation(shape)  # refuses an impossible shape
        values = {
            "shape": list(shape),
            "position": 0,
            "history": 0,
            "writes": 0,
            "classes": [asdict(c) for c in classes],
            "image": image and image.stored(path.parent),
        }
        with sentences(path), replacing(path) as part:
            connection = connect_unsafe(part)
            try:
                connection.execute("BEGIN")
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={VERSION}")
                for name, value in values.items():
                    set_value(connection, name, encoded(name, value))
                connection.execute("COMMIT")
            finally:
                connection.close()
        project = cls.open(path)
        if draft:
            project._connection.execute("PRAGMA synchronous=OFF")
        return project

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Project:
        """Open a project file and keep everybody else from writing to it until `close`.

        With `read_only` it is a copy of how the file is now, on the disk of temporary files: that
        works wherever the file lies and whoever has it open, and hinders nobody.

        Raises ProjectError (one sentence) where the file is missing, no project, damaged, from a
        newer Limn, or may not be written, and ProjectLockedError where it is open elsewhere.
        """
        path = Path(path).absolute()
        if not path.is_file():
            what = "is a folder, not a project" if path.is_dir() else "does not exist (any more)"
            raise ProjectError(f"{path} {what}; choose another file.")
        if not read_only:
            with sentences(path):
                return cls(path, connect(path))
        private = _private_folder()
        try:
            copy = private / "copy.limn"
            with _temporary_space(path):
                steady_copy(path, copy)
            with sentences(path):
                return cls(path, connect(copy, path), private)
        except BaseException:
            shutil.rmtree(private, ignore_errors=True)
            raise

    @property
    def read_only(self) -> bool:
        """Whether nothing can be recorded; `save_as` makes it a project that can be written."""
        return self._private is not None

    def close(self) -> None:
        """Let go of the file. Everything recorded is on the disk already."""
        self._connection.close()
        written_here.pop(id(self), None)
        self._tidy()

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

        def add(connection: sqlite3.Connection) -> None:
            position = get_value(connection, "position")
            number = position + 1
            history = get_value(connection, "history", 0) - _sum_of_sizes(connection, number)
            connection.execute("DELETE FROM changes WHERE edit > ?", (position,))
            connection.execute("DELETE FROM edits WHERE id > ?", (position,))
            # What was before is what the file holds: so its own history is always consistent.
            connection.executemany(
                "INSERT INTO changes VALUES (?1, ?2, ?3, ?4, ?5, (SELECT data FROM tiles"
                " WHERE t = ?2 AND z = ?3 AND row = ?4 AND col = ?5), ?6)",
                [(number, *key, data) for key, data in packed],
            )
            (size,) = connection.execute(
                "SELECT coalesce(sum(coalesce(length(before), 0) + coalesce(length(after), 0)), 0)"
                " FROM changes WHERE edit = ?",
                (number,),
            ).fetchone()
            connection.execute(
                "INSERT INTO edits VALUES (?, ?, ?, ?, ?)",
                (number, edit.kind, time.time(), len(packed), size),
            )
            _put_tiles(connection, number, "after")
            history = self._forget_oldest(connection, history + size)
            set_value(connection, "position", str(number))
            set_value(connection, "history", str(history))

        self._write(edit, add)

    def record_undo(self) -> None:
        """Take back the newest applied edit. Durable on return."""

        def undo(connection: sqlite3.Connection) -> None:
            position = get_value(connection, "position")
            if not _exists(connection, position):
                raise ProjectError(f"{self.path} holds nothing to undo.")
            _put_tiles(connection, position, "before")
            set_value(connection, "position", str(position - 1))

        self._write("undo", undo)

    def record_redo(self) -> None:
        """Apply the edit again that was undone last. Durable on return."""

        def redo(connection: sqlite3.Connection) -> None:
            number = get_value(connection, "position") + 1
            if not _exists(connection, number):
                raise ProjectError(f"{self.path} holds nothing to redo.")
            _put_tiles(connection, number, "after")
            set_value(connection, "position", str(number))

        self._write("redo", redo)

    def edit_count(self) -> int:
        """How many edits the history holds, undone ones included."""
        with sentences(self.path):
            row = self._connection.execute(
                "SELECT (SELECT max(id) FROM edits) - (SELECT min(id) FROM edits) + 1"
            ).fetchone()
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
            self._oldest_needed = position - len(undo) + 1
            return annotation, History(undo[::-1] + redo, len(undo))

    # ---- what else the file knows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, Z, Y, X) of the labels."""
        with sentences(self.path):
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
            return ImageReference.restored(stored, self.path.parent)

    def set_image(self, image: ImageReference | None) -> None:
        """Refer to an image, by its path relative to the project. Durable on return."""
        self._set("image", image and image.stored(self.path.parent))

    def setting(self, name: str, default: Any = None) -> Any:
        """A value that was kept with `set_setting`, or the default."""
        return self._get(f"setting {name}", default)

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value (view, threshold, ...) under a name. Durable on return."""
        self._set(f"setting {name}", value)

    # ---- models and trainings

    def add_model(
        self, weights: bytes, provenance: Mapping[str, Any], *, pinned: bool = False
    ) -> int:
        """Keep a model (the bytes of a .safetensors file) and whence it came; answers its number.

        Of the models that are neither pinned nor shown, the newest `MODELS_KEPT` stay, and of
        those as many as fit into `MODELS_BUDGET`; the newest one stays in any case.
        """
        if len(weights) > MAX_BLOB:
            raise ProjectError(f"A model of {len(weights) >> 20} MiB is too large for a project.")
        text = encoded("provenance", dict(provenance))
        digest = hashlib.sha256(weights).hexdigest()

        def add(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO models (made, provenance, digest, pinned, weights)"
                " VALUES (?, ?, ?, ?, ?)",
                (time.time(), text, digest, int(pinned), weights),
            )
            number = int(cursor.lastrowid or 0)
            self._forget_models(connection, number)
            return number

        return self._write(("model", digest), add)

    def pin_model(self, number: int, pinned: bool) -> None:
        """Keep a model whatever comes after it, or no longer. Durable on return."""

        def pin(connection: sqlite3.Connection) -> None:
            cursor = connection.execute(
                "UPDATE models SET pinned = ? WHERE id = ?", (int(pinned), number)
            )
            if not cursor.rowcount:
                raise ProjectError(f"{self.path} holds no model {number} (any more).")

        self._write(("pin", number, pinned), pin)

    def set_shown_model(self, number: int | None) -> None:
        """Say which model the window shows: that one is never forgotten. Durable on return."""
        self._set("shown model", number)

    def shown_model(self) -> int | None:
        """The number given with `set_shown_model`; None if there is none."""
        with sentences(self.path):
            number = self._get("shown model")
            return None if number is None else int(number)

    def models(self) -> list[ModelRecord]:
        """The models that are kept, newest first."""
        with sentences(self.path):
            rows = self._connection.execute(
                "SELECT id, made, substr(provenance, 1, ?), pinned, length(weights) FROM models"
                " ORDER BY id DESC LIMIT ?",
                (MAX_TEXT, _MODELS_LISTED),
            )
            return [
                ModelRecord(number, float(made), dict(json.loads(text)), bool(pinned), int(size))
                for number, made, text, pinned, size in rows
            ]

    def model_weights(self, number: int) -> bytes:
        """The bytes of a model. ProjectError where it is gone or damaged."""
        with sentences(self.path):
            row = self._connection.execute(
                "SELECT weights, digest FROM models WHERE id = ?", (number,)
            ).fetchone()
            if row is None:
                raise ProjectError(f"{self.path} holds no model {number} (any more).")
            if not _is_sound(*row):
                raise ProjectError(f"Model {number} in {self.path} is damaged; choose another.")
            return bytes(row[0])

    def latest_model(self) -> bytes | None:
        """The newest model whose bytes are sound, None if there is none."""
        with sentences(self.path):
            rows = self._connection.execute(
                "SELECT weights, digest FROM models ORDER BY id DESC LIMIT ?", (_MODELS_LISTED,)
            )
            for weights, digest in rows:
                if _is_sound(weights, digest):
                    return bytes(weights)
            return None

    def add_training_run(self, record: Mapping[str, Any]) -> int:
        """Keep what is to be known of a training (JSON: steps, scores, ...); answers its number.

        The newest 1,000 stay. Durable on return.
        """
        text = json.dumps(dict(record))
        if len(text) > _MAX_RUN:
            raise ProjectError(f"A training's record of {len(text) >> 10} KiB is too long to keep.")

        def add(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO runs (made, record, checksum) VALUES (?, ?, ?)",
                (time.time(), text, checksum("run", text)),
            )
            number = int(cursor.lastrowid or 0)
            connection.execute("DELETE FROM runs WHERE id <= ?", (number - _RUNS_KEPT,))
            return number

        return self._write(("run", text), add)

    def training_runs(self) -> list[dict[str, Any]]:
        """The trainings that are kept, oldest first, each with its time `made` (Unix time).

        One whose checksum does not fit is left out.
        """
        with sentences(self.path):
            rows = self._connection.execute(
                "SELECT made, substr(record, 1, ?), checksum FROM runs ORDER BY id LIMIT ?",
                (_MAX_RUN, _RUNS_KEPT),
            )
            return [
                {"made": float(made), **json.loads(text)}
                for made, text, check in rows
                if checksum("run", text) == check
            ]

    # ---- elsewhere

    def save_copy(self, path: Path) -> None:
        """Copy the project, as it is now, to another file, replacing that project; go on here.

        On ProjectError the other file is as it was.
        """
        path = Path(path).absolute()
        if is_same(path, self.path):
            raise ProjectError(f"{path} is this very project; choose another name for the copy.")
        self._write_copy(path)

    def opened_copy(self, path: Path) -> Project:
        """As `save_copy`; answers the copy, opened.

        A change that failed here, though perhaps it is in the file, may be tried again there.
        """
        self.save_copy(path)
        copy = Project.open(path)
        copy._doubt = self._doubt
        return copy

    def save_as(self, path: Path) -> None:
        """Copy the project to another file, replacing that project, and continue there.

        The old file stays as it is, unless it was in the recovery folder: there it is removed, for
        the work has a name now. On ProjectError nothing has changed.
        """
        path = Path(path).absolute()
        if is_same(path, self.path):
            if self.read_only:
                raise ProjectError(f"{path} is open for reading only; choose another name.")
            return
        self._write_copy(path)
        with sentences(path):
            moved = connect(path)
        self._connection.close()
        if not self.read_only and is_recovery(self.path):
            with suppress(OSError):
                self.path.unlink()
        self._tidy()
        self._private = None
        # A change in doubt stays in doubt: the copy has it, or has it not, as the old file.
        self.path, self._connection = path, moved
        self._writes = int(self._get("writes", 0))
        written_here[id(self)] = self

    def compact(self) -> int:
        """Give the room of what was forgotten back to the disk; answers how many bytes.

        In place, by SQLite's own VACUUM: the project is packed into a temporary file and then
        copied back in one transaction, so a crash or a full disk leaves it as it was, and the lock
        is never let go. (A new file that replaces the old one would need a moment without lock, in
        which another window could open the old one.) It takes room for a second copy beside the
        file, and for one among the temporary files, while it runs.
        """
        self._check_writable()
        with sentences(self.path):
            before = self.path.stat().st_size
            # SQLite attaches the temporary file.
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
            try:
                self._connection.execute("VACUUM")
            finally:
                self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            return before - self.path.stat().st_size

    def _write_copy(self, path: Path) -> None:
        image = self.image
        with sentences(path):
            settle(path)
            with replacing(path) as part:
                copy = connect_unsafe(part)
                try:
                    self._connection.backup(copy)
                    # The image lies elsewhere as seen from the new folder.
                    stored = image and image.stored(path.parent)
                    set_value(copy, "image", encoded("image", stored))
                finally:
                    copy.close()

    # ---- rows

    def _write(self, what: object, change: Callable[[sqlite3.Connection], R]) -> R:
        """Make a change: all or nothing, and on the disk on return. Answers what `change` answers.

        When a disk fails at the very end of a transaction, nobody can tell whether the change is in
        the file. The caller is told that it is not, and will try again with the same `what`: then
        a change that has been made is not made twice, but written down for certain.
        """
        self._check_writable()
        with sentences(self.path):
            writes = self._count_of_writes()
            doubt = self._doubt
            if doubt is not None and doubt.what == what and writes >= doubt.writes:
                made: R = doubt.result
                change = lambda connection: made  # noqa: E731
            else:
                self._doubt = None
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = change(self._connection)
                set_value(self._connection, "writes", str(writes + 1))
                self._doubt = self._doubt or _Doubt(what, writes + 1, result)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                raise
            self._doubt = None
            self._writes = writes + 1
            return result

    def _count_of_writes(self) -> int:
        """How many the file has counted; the file is opened anew where it can not be read.

        For a drive or share that was away and is back: what was open on it stays dead.
        """
        try:
            return int(get_value(self._connection, "writes", 0))
        except sqlite3.Error as error:
            if not is_dead(error):
                raise
        self._connection.close()
        anew = connect(self.path)
        writes = int(get_value(anew, "writes", 0))
        if writes not in (self._writes, self._writes + (self._doubt is not None)):
            anew.close()
            raise ProjectError(
                f"{self.path} has been changed by somebody else while its drive was away; save "
                "the work under another name."
            )
        self._connection = anew
        return writes

    def _check_writable(self) -> None:
        if self.read_only:
            raise ProjectError(
                f"{self.path} is open for reading only; save it under another name to change it."
            )

    def _forget_oldest(self, connection: sqlite3.Connection, history: int) -> int:
        """Forget a few edits, the oldest first, while there are more bytes than the budget.

        Answers the bytes that are left.
        """
        if history <= self.history_budget:
            return history
        rows = connection.execute(
            "SELECT id, size FROM edits WHERE id < ? ORDER BY id LIMIT ?",
            (self._oldest_needed, _PRUNED_AT_ONCE),
        ).fetchall()
        for number, size in rows:
            if history <= self.history_budget:
                break
            connection.execute("DELETE FROM changes WHERE edit = ?", (number,))
            connection.execute("DELETE FROM edits WHERE id = ?", (number,))
            history -= size
        return history

    def _forget_models(self, connection: sqlite3.Connection, newest: int) -> None:
        """Remove the oldest models that are too many, or too much, see `add_model`."""
        kept = get_value(connection, "shown model"), newest
        rows = connection.execute(
            "SELECT id, length(weights) FROM models WHERE NOT pinned ORDER BY id DESC"
        ).fetchall()
        total = 0
        for rank, (number, size) in enumerate(rows):
            total += size
            if number not in kept and (rank >= MODELS_KEPT or total > MODELS_BUDGET):
                connection.execute("DELETE FROM models WHERE id = ?", (number,))

    def _get(self, name: str, default: Any = None) -> Any:
        with sentences(self.path):
            return get_value(self._connection, name, default)

    def _set(self, name: str, value: Any) -> None:
        text = encoded(name, value)
        self._write((name, text), lambda connection: set_value(connection, name, text))

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
        loaded = 0
        rows = self._connection.execute(
            "SELECT id, substr(kind, 1, 100), parts FROM edits WHERE id BETWEEN ? AND ?"
            f" ORDER BY id {order}",
            between,
        )
        for number, kind, parts in rows:
            changes = self._changes(number)
            if number != first + direction * len(steps) or not changes or len(changes) != parts:
                break
            loaded += sum(_CHANGE + len(data or b"") for _, *both in changes for data in both)
            if loaded > _BYTES_LOADED:
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
            " FROM changes WHERE edit = ?2 LIMIT ?3",
            (MAX_PACKED_TILE, edit, MAX_TILES),
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


def _exists(connection: sqlite3.Connection, edit: int) -> bool:
    return bool(connection.execute("SELECT 1 FROM edits WHERE id = ?", (edit,)).fetchone())


def _sum_of_sizes(connection: sqlite3.Connection, first: int) -> int:
    """Bytes of the edits from `first` on."""
    row = connection.execute("SELECT coalesce(sum(size), 0) FROM edits WHERE id >= ?", (first,))
    return int(row.fetchone()[0])


def _is_sound(weights: object, digest: object) -> bool:
    return isinstance(weights, bytes) and hashlib.sha256(weights).hexdigest() == digest


def copy_project(source: Path, target: Path) -> None:
    """Copy a project file that somebody else may have open, as of now; the source is only read.

    `target` must not exist. Raises ProjectError; then there is no target.
    """
    source, target = Path(source).absolute(), Path(target).absolute()
    if target.exists():
        raise ProjectError(f"{target} exists already; choose another name.")
    with Project.open(source, read_only=True) as project:
        project.save_copy(target)


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


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
