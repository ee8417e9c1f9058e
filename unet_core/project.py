"""The project file: one SQLite database with images' labels, their history, classes and models.

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
from typing import Any, Literal, TypeVar

from unet_core.annotation import DEFAULT_CLASSES, MAX_CLASSES, Annotation, ClassInfo
from unet_core.atomic import os_reason, replacing
from unet_core.edits import (
    MAX_PACKED_TILE,
    AnnotationError,
    Edit,
    History,
    TileKey,
    is_sealed,
)
from unet_core.image_reference import ImageReference, check_image, find_image
from unet_core.limits import ADVICE, LimitError, lifted
from unet_core.places import is_recovery
from unet_core.project_copy import is_same, steady_copy, written_here
from unet_core.project_file import (
    APPLICATION_ID,
    FIRST_IMAGE,
    MAX_BLOB,
    MAX_RECORD,
    MAX_TEXT,
    SCHEMA,
    SUFFIX,
    VERSION,
    ProjectDamagedError,
    ProjectDriveError,
    ProjectError,
    ProjectGoneError,
    ProjectLockedError,
    ProjectReadOnlyError,
    checked_record,
    checksum,
    connect,
    connect_unsafe,
    encoded,
    get_image_record,
    get_value,
    identity,
    is_dead,
    sealed_for,
    sentences,
    set_image_record,
    set_value,
    settle,
)

__all__ = [
    "FIRST_IMAGE",
    "HISTORY_BUDGET",
    "MAX_TILES",
    "MODELS_BUDGET",
    "MODELS_KEPT",
    "SUFFIX",
    "ImageReference",
    "ModelRecord",
    "Project",
    "ProjectDamagedError",
    "ProjectDriveError",
    "ProjectError",
    "ProjectGoneError",
    "ProjectImage",
    "ProjectLockedError",
    "ProjectReadOnlyError",
    "Shape",
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

MAX_TILES = 2**20
"""So many label tiles of an image, and of a step of undo, are read into memory at most; packed they
are, and `Annotation.from_packed` bounds their bytes."""

# Steps of undo, and of redo, that `load` brings back, and their bytes; more stay in the file.
_STEPS_LOADED = 5_000
_BYTES_LOADED = 256 * 2**20
# What a tile of an edit takes beside its bytes, about.
_CHANGE = 200

# So many of the oldest edits are forgotten when an edit is recorded: a stroke costs the same
# however much there is to forget.
_PRUNED_AT_ONCE = 8

_RUNS_KEPT = 1_000
_MAX_RUN = 2**20
# A file from a stranger may hold any number of models, and of images.
_MODELS_LISTED = 1_000
MAX_IMAGES = 10_000

Shape = tuple[int, int, int, int]
"""(T, Z, Y, X) of labels."""


@dataclass(frozen=True)
class ProjectImage:
    """An image of the project; the labels, and the steps of undo, belong to one each."""

    id: int
    shape: Shape
    """(T, Z, Y, X)"""
    reference: ImageReference | None
    """Its path as seen from where the project lies now."""
    reviewed: bool = False
    """Whether the user has said that it is done."""
    predicted: bool = False
    """Whether its prediction has been written."""
    labelled: bool = False
    """Whether anything is labelled."""


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
        self._file = None if private is not None else _identity(path)
        # The latest moment is when the project is dropped without having been closed.
        self._tidy = weakref.finalize(self, _remove, private)
        self._doubt: _Doubt | None = None
        self._writes = int(self._get("writes", 0))
        # Of each image the oldest edit that somebody may want to undo: what is before it may be
        # forgotten.
        self._oldest_needed: dict[int, int] = {}
        if private is None:
            with sentences(path):
                for image, record in self._records():
                    self._oldest_needed[image] = record["position"] + 1
            written_here[id(self)] = self

    @classmethod
    def create(
        cls,
        path: Path,
        shape: Shape,
        *,
        image: ImageReference | None = None,
        classes: Sequence[ClassInfo] = DEFAULT_CLASSES,
        number: int = FIRST_IMAGE,
        draft: bool = False,
    ) -> Project:
        """Make a new project file for labels of shape (T, Z, Y, X), and open it.

        The folder must exist, the file must not. number: that of the image. draft: a power cut may
        spoil it, so that nothing waits for the disk, until `save_as` makes a lasting one of it.
        """
        path = Path(path).absolute()
        if path.exists():
            raise ProjectError(f"{path} exists already; choose another name.")
        Annotation(shape)  # refuses an impossible shape
        values = {"history": 0, "writes": 0, "classes": [asdict(c) for c in classes]}
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
                set_image_record(connection, number, _new_image(shape, image, path.parent))
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

    # ---- images

    def images(self) -> list[ProjectImage]:
        """All images, in the order in which they were added."""
        with sentences(self.path):
            return [
                ProjectImage(
                    image,
                    _shape(record["shape"]),
                    _reference(record.get("image"), self.path.parent),
                    record.get("reviewed") is True,
                    record.get("predicted") is True,
                    self._is_labelled(image),
                )
                for image, record in self._records()
            ]

    def add_images(
        self,
        images: Sequence[tuple[Shape, ImageReference | None]],
        numbers: Sequence[int] = (),
    ) -> list[int]:
        """Add images, with the (T, Z, Y, X) of their labels; answers their numbers.

        These are the next ones that no image has had, unless `numbers` gives other free ones. All
        or none. Durable on return.
        """
        for shape, _ in images:
            Annotation(shape)  # refuses an impossible one
        records = [_new_image(shape, image, self.path.parent) for shape, image in images]

        def add(connection: sqlite3.Connection) -> list[int]:
            last, count = connection.execute("SELECT max(id), count(*) FROM images").fetchone()
            last = max(last, get_value(connection, "last removed", 0))
            if count + len(records) > MAX_IMAGES:
                raise ProjectError(
                    f"{self.path} would hold more than {MAX_IMAGES:,} images; begin another one."
                )
            added = list(numbers or range(last + 1, last + 1 + len(records)))
            for number, record in zip(added, records, strict=True):
                set_image_record(connection, number, record)
            return added

        digest = hashlib.sha256(json.dumps(records).encode()).hexdigest()
        added = self._write(("images", digest), add)
        self._oldest_needed.update(dict.fromkeys(added, 1))
        return added

    def remove_image(self, image: int) -> None:
        """Forget an image, its labels and their history. Durable on return.

        Not the last one: a project has an image. The image's own file is never touched.
        """

        def remove(connection: sqlite3.Connection) -> None:
            cursor = connection.execute(
                "DELETE FROM images WHERE id = ? AND (SELECT count(*) FROM images) > 1", (image,)
            )
            if not cursor.rowcount:
                raise ProjectError(f"{self.path} holds no other image than this one.")
            size = _sum_of_sizes(connection, image, 0)
            for table in ("tiles", "edits", "changes"):
                connection.execute(f"DELETE FROM {table} WHERE image = ?", (image,))
            set_value(connection, "history", str(get_value(connection, "history", 0) - size))
            # Its number is not given to another one: who still means this one must not find that.
            last = max(image, get_value(connection, "last removed", 0))
            set_value(connection, "last removed", str(last))

        self._write(("remove", image), remove)
        self._oldest_needed.pop(image, None)

    def mark_image(self, image: int, mark: Literal["reviewed", "predicted"], on: bool) -> None:
        """Remember of an image that it is reviewed or predicted, or is not. Durable on return."""

        def change(connection: sqlite3.Connection) -> None:
            record = get_image_record(connection, image)
            set_image_record(connection, image, {**record, mark: on})

        self._write(("mark", image, mark, on), change)

    # ---- edits

    def record(self, edit: Edit, image: int = FIRST_IMAGE) -> None:
        """Add a new edit of an image; those that were undone are forgotten. Durable on return.

        Edits of one image must come in the order in which they were applied.
        """
        packed = [
            (change.key, sealed_for(image, None if change.after is None else change.after.packed()))
            for change in edit.changes
        ]

        def add(connection: sqlite3.Connection) -> None:
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
                (image, number, edit.kind, time.time(), len(packed), size),
            )
            _put_tiles(connection, image, number, "after")
            history = self._forget_oldest(connection, image, history + size)
            set_image_record(connection, image, {**record, "position": number})
            set_value(connection, "history", str(history))

        self._write(edit, add)

    def record_undo(self, image: int = FIRST_IMAGE) -> None:
        """Take back the newest applied edit of an image. Durable on return."""

        def undo(connection: sqlite3.Connection) -> None:
            record = get_image_record(connection, image)
            position = record["position"]
            if not _exists(connection, image, position):
                raise ProjectError(f"{self.path} holds nothing to undo.")
            _put_tiles(connection, image, position, "before")
            set_image_record(connection, image, {**record, "position": position - 1})

        self._write(("undo", image), undo)

    def record_redo(self, image: int = FIRST_IMAGE) -> None:
        """Apply the edit of an image again that was undone last. Durable on return."""

        def redo(connection: sqlite3.Connection) -> None:
            record = get_image_record(connection, image)
            number = record["position"] + 1
            if not _exists(connection, image, number):
                raise ProjectError(f"{self.path} holds nothing to redo.")
            _put_tiles(connection, image, number, "after")
            set_image_record(connection, image, {**record, "position": number})

        self._write(("redo", image), redo)

    def edit_count(self) -> int:
        """How many edits the history holds, undone ones included."""
        with sentences(self.path):
            rows = self._connection.execute("SELECT id FROM images").fetchall()
            spans = (
                self._connection.execute(
                    "SELECT (SELECT max(id) FROM edits WHERE image = ?1)"
                    " - (SELECT min(id) FROM edits WHERE image = ?1) + 1",
                    row,
                ).fetchone()[0]
                for row in rows
            )
            return sum(int(span or 0) for span in spans)

    def load(self, image: int = FIRST_IMAGE) -> tuple[Annotation, History]:
        """The labels of an image and their history as they were last recorded.

        Of a very long history the steps nearest to the present are loaded. Should a part of the
        history be damaged, the sound steps next to the present are what is left of it.
        """
        with sentences(self.path):
            record = get_image_record(self._connection, image)
            annotation = self.load_labels(image)
            position = record["position"]
            undo = self._steps(image, annotation.shape, position, -1)
            redo = self._steps(image, annotation.shape, position, +1)
            self._oldest_needed[image] = position - len(undo) + 1
            return annotation, History(undo[::-1] + redo, len(undo))

    def load_labels(self, image: int = FIRST_IMAGE) -> Annotation:
        """The labels of an image as they were last recorded."""
        with sentences(self.path):
            record = get_image_record(self._connection, image)
            return Annotation.from_packed(_shape(record["shape"]), self._tiles(image))

    # ---- what else the file knows

    @property
    def shape(self) -> Shape:
        """(T, Z, Y, X) of the labels of the first image."""
        with sentences(self.path):
            return _shape(self._records(1)[0][1]["shape"])

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
        """Where the first image is, its path as seen from where the project lies now."""
        with sentences(self.path):
            return _reference(self._records(1)[0][1].get("image"), self.path.parent)

    def set_image(self, reference: ImageReference | None, image: int = FIRST_IMAGE) -> None:
        """Say where an image is, by its path relative to the project. Durable on return."""
        stored = reference and reference.stored(self.path.parent)

        def change(connection: sqlite3.Connection) -> None:
            record = get_image_record(connection, image)
            set_image_record(connection, image, {**record, "image": stored})

        self._write(("image", image, encoded("image", stored)), change)

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
            if self._in_place():
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
        self.path, self._connection, self._file = path, moved, _identity(path)
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
        images = self.images()
        with sentences(path):
            settle(path)
            with replacing(path) as part:
                copy = connect_unsafe(part)
                try:
                    self._connection.backup(copy)
                    # The images lie elsewhere as seen from the new folder.
                    for one in images:
                        record = get_image_record(copy, one.id)
                        stored = one.reference and one.reference.stored(path.parent)
                        set_image_record(copy, one.id, {**record, "image": stored})
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
            self._check_place()
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
            if not self._in_place():  # perhaps away: what SQLite remembers of the file is no sign
                self._connection.execute("PRAGMA shrink_memory")
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
        self._connection, self._file = anew, _identity(self.path)
        return writes

    def _in_place(self) -> bool:
        """Whether the file that is open is the one that has its name."""
        try:
            return self._file is None or identity(self.path) in (self._file, None)
        except OSError:
            return False

    def _check_place(self) -> None:
        """Nobody would find what is written to a file that has lost its name. ProjectGoneError.

        A program that keeps folders in step with another computer puts a new file in the place of
        the old one, which goes on existing as long as it is open.
        """
        if self._in_place():
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

    def _check_writable(self) -> None:
        if self.read_only:
            raise ProjectError(
                f"{self.path} is open for reading only; save it under another name to change it."
            )

    def _forget_oldest(self, connection: sqlite3.Connection, image: int, history: int) -> int:
        """Forget a few edits, the oldest first, while there are more bytes than the budget.

        Those of `image` first, then those of the others. Answers the bytes that are left.
        """
        if history <= self.history_budget:
            return history
        others = (other for other in self._oldest_needed if other != image)
        left = _PRUNED_AT_ONCE
        for one in (image, *others):
            rows = connection.execute(
                "SELECT id, size FROM edits WHERE image = ? AND id < ? ORDER BY id LIMIT ?",
                (one, self._oldest_needed[one], left),
            ).fetchall()
            for number, size in rows:
                if history <= self.history_budget:
                    return history
                connection.execute(
                    "DELETE FROM changes WHERE image = ? AND edit = ?", (one, number)
                )
                connection.execute("DELETE FROM edits WHERE image = ? AND id = ?", (one, number))
                history -= size
                left -= 1
            if not left:
                break
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

    def _records(self, most: int = MAX_IMAGES) -> list[tuple[int, dict[str, Any]]]:
        """The numbers of the first images and what is known of them."""
        rows = self._connection.execute(
            "SELECT id, substr(record, 1, ?), checksum FROM images ORDER BY id LIMIT ?",
            (MAX_RECORD, most),
        )
        return [(image, checked_record(image, text, check)) for image, text, check in rows]

    def _is_labelled(self, image: int) -> bool:
        row = self._connection.execute("SELECT 1 FROM tiles WHERE image = ? LIMIT 1", (image,))
        return row.fetchone() is not None

    def _tiles(self, image: int) -> Iterator[tuple[TileKey, bytes | None]]:
        rows = self._connection.execute(
            "SELECT t, z, row, col, substr(data, 1, ?) FROM tiles WHERE image = ? LIMIT ?",
            (MAX_PACKED_TILE, image, -1 if lifted() else MAX_TILES + 1),
        )
        for number, (*numbers, data) in enumerate(rows):
            if number == MAX_TILES and not lifted():
                raise LimitError(f"There are more than {MAX_TILES:,} label tiles; {ADVICE}.")
            yield _key(numbers), sealed_for(image, data)

    def _steps(self, image: int, shape: Shape, position: int, direction: int) -> list[Edit]:
        """Edits from the present into the past (-1) or the future (+1), nearest first.

        Stops before the first edit that is damaged or does not follow on its neighbour: compared
        are the packed tiles, whose bytes are copied and never packed anew.
        """
        first = position if direction < 0 else position + 1
        last = first + direction * (_STEPS_LOADED - 1)
        order, between = ("DESC", (last, first)) if direction < 0 else ("ASC", (first, last))
        steps: list[Edit] = []
        present: dict[TileKey, bytes | None] = {}
        loaded = 0
        rows = self._connection.execute(
            "SELECT id, substr(kind, 1, 100), parts FROM edits"
            f" WHERE image = ? AND id BETWEEN ? AND ? ORDER BY id {order}",
            (image, *between),
        )
        for number, kind, parts in rows:
            changes, size = self._changes(image, number, _BYTES_LOADED - loaded)
            loaded += size
            if number != first + direction * len(steps) or not changes or len(changes) != parts:
                break
            for key, before, after in changes:
                # Seen from the present: how the step finds the tile, how it leaves it.
                here, there = (after, before) if direction < 0 else (before, after)
                known = present[key] if key in present else self._packed(image, key)
                if known != here or not is_sealed(key, there):
                    return steps
                present[key] = there
            try:
                steps.append(Edit.from_packed(str(kind), changes, shape))
            except AnnotationError:
                return steps
        return steps

    def _changes(
        self, image: int, edit: int, most: int
    ) -> tuple[list[tuple[TileKey, bytes | None, bytes | None]], int]:
        """What an edit changes and how many bytes of memory that takes; nothing if above `most`."""
        changes: list[tuple[TileKey, bytes | None, bytes | None]] = []
        size = 0
        rows = self._connection.execute(
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

    def _packed(self, image: int, key: TileKey) -> bytes | None:
        row = self._connection.execute(
            "SELECT substr(data, 1, ?) FROM tiles"
            " WHERE image = ? AND t = ? AND z = ? AND row = ? AND col = ?",
            (MAX_PACKED_TILE, image, *key),
        ).fetchone()
        return None if row is None else sealed_for(image, row[0])


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


def _key(numbers: list[int]) -> TileKey:
    if not all(isinstance(n, int) for n in numbers):
        raise ValueError("a tile key holds something else than numbers")
    return TileKey(*numbers)


def _shape(numbers: Sequence[Any]) -> Shape:
    t, z, y, x = numbers
    return int(t), int(z), int(y), int(x)


def _reference(stored: dict[str, Any] | None, folder: Path) -> ImageReference | None:
    return None if stored is None else ImageReference.restored(stored, folder)


def _new_image(shape: Shape, image: ImageReference | None, folder: Path) -> dict[str, Any]:
    """The record of an image on which nothing is labelled."""
    return {"shape": list(shape), "image": image and image.stored(folder), "position": 0}


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


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a project has open; None where that can not be told."""
    try:
        return identity(path)
    except OSError:
        return None


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
