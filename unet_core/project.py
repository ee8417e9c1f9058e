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
- **Nothing in a file is code.** The schema must be, to the letter, the one that we write (a foreign
  database could hold triggers and views), sizes are bounded before anything is unpacked, and values
  are JSON. Tiles and values carry checksums: a flipped bit is noticed, not painted.

The lock belongs to the process, and POSIX drops it when *any* handle of the process to the same
file is closed: never open a project file other than through this module.

What is where, each file importing only from those below it:

- `project_guard`: the open file, and the one way to write to it; makes every transaction.
- `project_copy`: copies, of a file that somebody writes to and of one that is open here.
- `project_images`, `project_edits`, `project_models`: their rows, as functions over a connection.
- `project_file`: opening a file safely, whoever made it.
- `project_formats`: the older formats, and the way to the present one.
- `project_rows`: named values, records of images and tiles, with their checksums.
- `project_schema`: the tables. `project_errors`: the sentences.

`rescue` brings out of a damaged file what can be read.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from unet_core.annotation import DEFAULT_CLASSES, MAX_CLASSES, Annotation, ClassInfo
from unet_core.atomic import replacing
from unet_core.edits import Edit, History, Shape
from unet_core.image_reference import ImageReference
from unet_core.project_copy import is_same, write_copy
from unet_core.project_edits import (
    count_edits,
    insert_edit,
    packed_tiles,
    read_steps,
    read_tiles,
    redo_edit,
    undo_edit,
)
from unet_core.project_errors import (
    ProjectDamagedError,
    ProjectDriveError,
    ProjectError,
    ProjectGoneError,
    ProjectLockedError,
    ProjectReadOnlyError,
    sentences,
)
from unet_core.project_file import connect_unsafe
from unet_core.project_guard import GuardedFile
from unet_core.project_images import (
    MAX_IMAGES,
    ProjectImage,
    count_images,
    delete_image,
    first_record,
    insert_images,
    new_record,
    read_images,
    read_records,
    reference_in,
    shape_in,
)
from unet_core.project_models import (
    MAX_RUN,
    SHOWN,
    ModelRecord,
    digest_of,
    insert_model,
    insert_run,
    is_sound,
    newest_sound_weights,
    pin_model,
    read_models,
    read_runs,
    read_weights,
)
from unet_core.project_rows import (
    encoded,
    get_image_record,
    set_image_record,
    set_value,
    update_image_record,
)
from unet_core.project_schema import FIRST_IMAGE, MAX_BLOB, SUFFIX, lay_out

__all__ = [
    "FIRST_IMAGE",
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
    "copy_project",
]

HISTORY_BUDGET = 2 * 2**30
"""Bytes of undo history that a project keeps, unless `Project.history_budget` says otherwise."""


class Project:
    """An open project file. Call it from one thread at a time.

    Every method raises ProjectError where the file or the disk fails; what was recorded before
    stays recorded.
    """

    def __init__(self, file: GuardedFile) -> None:
        """Use `Project.create` or `Project.open`."""
        self.history_budget = HISTORY_BUDGET
        """Bytes of undo history beyond which the oldest edits are forgotten, a few with each new
        one; but none that has been loaded or recorded since the project was opened."""
        self._file = file
        # Of each image the oldest edit that somebody may want to undo: what is before it may be
        # forgotten.
        self._oldest_needed: dict[int, int] = {}
        with file.reading() as connection:
            for image, record in read_records(connection):
                self._oldest_needed[image] = record["position"] + 1

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
        with (
            sentences(path),
            replacing(path) as part,
            closing(connect_unsafe(part)) as connection,
        ):
            connection.execute("BEGIN")
            lay_out(connection)
            for name, value in values.items():
                set_value(connection, name, encoded(name, value))
            set_image_record(connection, number, new_record(shape, image, path.parent))
            connection.execute("COMMIT")
        project = cls.open(path)
        if draft:
            project._file.connection.execute("PRAGMA synchronous=OFF")
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
        file = GuardedFile.open_copy(path) if read_only else GuardedFile.open(path)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    @property
    def path(self) -> Path:
        """Where the project lies; of one that is only read, where it was when it was opened."""
        return self._file.path

    @property
    def read_only(self) -> bool:
        """Whether nothing can be recorded; `save_as` makes it a project that can be written."""
        return self._file.read_only

    def close(self) -> None:
        """Let go of the file. Everything recorded is on the disk already."""
        self._file.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- images

    def images(self) -> list[ProjectImage]:
        """All images, in the order in which they were added."""
        with self._file.reading() as connection:
            return read_images(connection, self.path.parent)

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
        records = [new_record(shape, image, self.path.parent) for shape, image in images]

        def add(connection: sqlite3.Connection) -> list[int]:
            if count_images(connection) + len(records) > MAX_IMAGES:
                raise ProjectError(
                    f"{self.path} would hold more than {MAX_IMAGES:,} images; begin another one."
                )
            return insert_images(connection, records, numbers)

        digest = hashlib.sha256(json.dumps(records).encode()).hexdigest()
        added = self._file.write(("images", digest), add)
        self._oldest_needed.update(dict.fromkeys(added, 1))
        return added

    def remove_image(self, image: int) -> None:
        """Forget an image, its labels and their history. Durable on return.

        Not the last one: a project has an image. The image's own file is never touched.
        """

        def remove(connection: sqlite3.Connection) -> None:
            if not delete_image(connection, image):
                raise ProjectError(f"{self.path} holds no other image than this one.")

        self._file.write(("remove", image), remove)
        self._oldest_needed.pop(image, None)

    def mark_image(self, image: int, mark: Literal["reviewed", "predicted"], on: bool) -> None:
        """Remember of an image that it is reviewed or predicted, or is not. Durable on return."""
        self._file.write(
            ("mark", image, mark, on),
            lambda connection: update_image_record(connection, image, mark, on),
        )

    def set_image(self, reference: ImageReference | None, image: int = FIRST_IMAGE) -> None:
        """Say where an image is, by its path relative to the project. Durable on return."""
        stored = reference and reference.stored(self.path.parent)
        self._file.write(
            ("image", image, encoded("image", stored)),
            lambda connection: update_image_record(connection, image, "image", stored),
        )

    @property
    def image(self) -> ImageReference | None:
        """Where the first image is, its path as seen from where the project lies now."""
        with self._file.reading() as connection:
            return reference_in(first_record(connection), self.path.parent)

    @property
    def shape(self) -> Shape:
        """(T, Z, Y, X) of the labels of the first image."""
        with self._file.reading() as connection:
            return shape_in(first_record(connection))

    # ---- labels and edits

    def record(self, edit: Edit, image: int = FIRST_IMAGE) -> None:
        """Add a new edit of an image; those that were undone are forgotten. Durable on return.

        Edits of one image must come in the order in which they were applied.
        """
        packed = packed_tiles(edit, image)
        self._file.write(
            edit,
            lambda connection: insert_edit(
                connection, image, edit.kind, packed, self.history_budget, self._oldest_needed
            ),
        )

    def record_undo(self, image: int = FIRST_IMAGE) -> None:
        """Take back the newest applied edit of an image. Durable on return."""

        def undo(connection: sqlite3.Connection) -> None:
            if not undo_edit(connection, image):
                raise ProjectError(f"{self.path} holds nothing to undo.")

        self._file.write(("undo", image), undo)

    def record_redo(self, image: int = FIRST_IMAGE) -> None:
        """Apply the edit of an image again that was undone last. Durable on return."""

        def redo(connection: sqlite3.Connection) -> None:
            if not redo_edit(connection, image):
                raise ProjectError(f"{self.path} holds nothing to redo.")

        self._file.write(("redo", image), redo)

    def edit_count(self) -> int:
        """How many edits the history holds, undone ones included."""
        with self._file.reading() as connection:
            return count_edits(connection)

    def load(self, image: int = FIRST_IMAGE) -> tuple[Annotation, History]:
        """The labels of an image and their history as they were last recorded.

        Of a very long history the steps nearest to the present are loaded. Should a part of the
        history be damaged, the sound steps next to the present are what is left of it.
        """
        with self._file.reading() as connection:
            record = get_image_record(connection, image)
            annotation = self.load_labels(image)
            position = record["position"]
            undo = read_steps(connection, image, annotation.shape, position, -1)
            redo = read_steps(connection, image, annotation.shape, position, +1)
            self._oldest_needed[image] = position - len(undo) + 1
            return annotation, History(undo[::-1] + redo, len(undo))

    def load_labels(self, image: int = FIRST_IMAGE) -> Annotation:
        """The labels of an image as they were last recorded."""
        with self._file.reading() as connection:
            record = get_image_record(connection, image)
            return Annotation.from_packed(shape_in(record), read_tiles(connection, image))

    # ---- what else the file knows

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes, the background first."""
        with sentences(self.path):
            stored = self._file.value("classes")
            classes = tuple(ClassInfo(str(c["name"]), str(c["color"])) for c in stored)
            if not 1 <= len(classes) <= MAX_CLASSES:
                raise ValueError("no sensible number of classes")
            return classes

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Keep other classes. Durable on return."""
        self._file.keep("classes", [asdict(c) for c in classes])

    def setting(self, name: str, default: Any = None) -> Any:
        """A value that was kept with `set_setting`, or the default."""
        return self._file.value(f"setting {name}", default)

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value (view, threshold, ...) under a name. Durable on return."""
        self._file.keep(f"setting {name}", value)

    # ---- models and trainings

    def add_model(
        self, weights: bytes, provenance: Mapping[str, Any], *, pinned: bool = False
    ) -> int:
        """Keep a model (the bytes of a .safetensors file) and whence it came; answers its number.

        Of the models that are neither pinned nor shown, the newest `MODELS_KEPT` stay, and of
        those as many as fit into `MODELS_BUDGET` (see `project_models`); the newest one stays in
        any case.
        """
        if len(weights) > MAX_BLOB:
            raise ProjectError(f"A model of {len(weights) >> 20} MiB is too large for a project.")
        text = encoded("provenance", dict(provenance))
        digest = digest_of(weights)
        return self._file.write(
            ("model", digest),
            lambda connection: insert_model(connection, weights, digest, text, pinned),
        )

    def pin_model(self, number: int, pinned: bool) -> None:
        """Keep a model whatever comes after it, or no longer. Durable on return."""

        def pin(connection: sqlite3.Connection) -> None:
            if not pin_model(connection, number, pinned):
                raise ProjectError(f"{self.path} holds no model {number} (any more).")

        self._file.write(("pin", number, pinned), pin)

    def set_shown_model(self, number: int | None) -> None:
        """Say which model the window shows: that one is never forgotten. Durable on return."""
        self._file.keep(SHOWN, number)

    def shown_model(self) -> int | None:
        """The number given with `set_shown_model`; None if there is none."""
        with sentences(self.path):
            number = self._file.value(SHOWN)
            return None if number is None else int(number)

    def models(self) -> list[ModelRecord]:
        """The models that are kept, newest first."""
        with self._file.reading() as connection:
            return read_models(connection)

    def model_weights(self, number: int) -> bytes:
        """The bytes of a model. ProjectError where it is gone or damaged."""
        with self._file.reading() as connection:
            found = read_weights(connection, number)
            if found is None:
                raise ProjectError(f"{self.path} holds no model {number} (any more).")
            if not is_sound(*found):
                raise ProjectError(f"Model {number} in {self.path} is damaged; choose another.")
            return found[0]

    def latest_model(self) -> bytes | None:
        """The newest model whose bytes are sound, None if there is none."""
        with self._file.reading() as connection:
            return newest_sound_weights(connection)

    def add_training_run(self, record: Mapping[str, Any]) -> int:
        """Keep what is to be known of a training (JSON: steps, scores, ...); answers its number.

        The newest 1,000 stay. Durable on return.
        """
        text = json.dumps(dict(record))
        if len(text) > MAX_RUN:
            raise ProjectError(f"A training's record of {len(text) >> 10} KiB is too long to keep.")
        return self._file.write(("run", text), lambda connection: insert_run(connection, text))

    def training_runs(self) -> list[dict[str, Any]]:
        """The trainings that are kept, oldest first, each with its time `made` (Unix time).

        One whose checksum does not fit is left out.
        """
        with self._file.reading() as connection:
            return read_runs(connection)

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
        copy._file.doubt = self._file.doubt
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
            if self._file.in_place():
                return
        self._write_copy(path)
        self._file.move(path)

    def _write_copy(self, path: Path) -> None:
        write_copy(self._file.connection, self.images(), path)

    def compact(self) -> int:
        """Give the room of what was forgotten back to the disk; answers how many bytes.

        In place, by SQLite's own VACUUM: the project is packed into a temporary file and then
        copied back in one transaction, so a crash or a full disk leaves it as it was, and the lock
        is never let go. (A new file that replaces the old one would need a moment without lock, in
        which another window could open the old one.) It takes room for a second copy beside the
        file, and for one among the temporary files, while it runs.
        """
        self._file.check_writable()
        with self._file.reading() as connection:
            before = self.path.stat().st_size
            # SQLite attaches the temporary file.
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
            try:
                connection.execute("VACUUM")
            finally:
                connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            return before - self.path.stat().st_size


def copy_project(source: Path, target: Path) -> None:
    """Copy a project file that somebody else may have open, as of now; the source is only read.

    `target` must not exist. Raises ProjectError; then there is no target.
    """
    source, target = Path(source).absolute(), Path(target).absolute()
    if target.exists():
        raise ProjectError(f"{target} exists already; choose another name.")
    with Project.open(source, read_only=True) as project:
        project.save_copy(target)
