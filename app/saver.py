"""Saver: the thread that owns the project file. Everything is written here, in order.

Work is saved from the first stroke on: until it has a name, to the recovery folder. The window may
say "saved" only after `saved` has come: then all that was handed in is on the disk.

What can not be written (a full disk, a drive that is gone) is kept in memory in its order and tried
again, less and less often. Meanwhile a copy elsewhere overtakes it: the work moves to a disk that
takes it, and what was kept is written there. Should the old file not even be readable, the new one
is made of what the window holds in memory.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PySide6.QtCore import QObject, QThread, Signal, Slot

from app.opening import refusal, shown_image
from app.sentences import sentence
from app.work import Work, beside, rename, write_work
from unet_core.annotation import Annotation, ClassInfo, Edit, History
from unet_core.project import (
    FIRST_IMAGE,
    ImageReference,
    Project,
    ProjectDamagedError,
    ProjectDriveError,
    ProjectError,
    ProjectImage,
    Shape,
)
from unet_core.recovery import discard, new_recovery_path
from unet_core.stack import Stack

if TYPE_CHECKING:
    from unet_core.model import Model

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 30.0
HANG_SECONDS = 15.0


@dataclass(frozen=True)
class LoadedProject:
    """What a project file holds."""

    path: Path
    annotation: Annotation
    """The labels of the image that was on show last…"""
    history: History
    """…and their history."""
    classes: tuple[ClassInfo, ...]
    shown: int
    """The number of that image."""
    images: tuple[ProjectImage, ...]
    labels: dict[int, Annotation]
    """Those of the other images, by their numbers."""
    settings: dict[str, Any]
    """What the window put there with `put_setting`, by name."""
    read_only: bool = False
    """Opened only to look: the first change goes to a copy in the recovery folder."""

    @property
    def image(self) -> ImageReference | None:
        """Where the image is that was on show last."""
        return next(one.reference for one in self.images if one.id == self.shown)


@dataclass(frozen=True)
class LoadedImage:
    """What a project file holds of one of its images."""

    image: int
    annotation: Annotation
    history: History


class Saver(QObject):
    """Hands work to its thread; every method returns at once, answers come as signals."""

    saved = Signal()
    """All that was handed in so far is on the disk."""
    pending = Signal(int)
    """So many pieces of work are not on the disk yet."""
    stuck = Signal(str)
    """One sentence: work can not be written now; it is kept and tried again."""
    failed = Signal(str)
    """One sentence: something asked for was not done; no work is concerned."""
    opened = Signal(object)
    """A LoadedProject, the answer to `open_project`."""
    open_failed = Signal(str, object)
    """One sentence, and a `Refused` where the project can be opened in another way."""
    images_added = Signal(object, object)
    """The Path of the project, and the `ProjectImage`s that `add_images` has added to it."""
    image_loaded = Signal(object)
    """A LoadedImage, the answer to `load_image`."""
    image_not_loaded = Signal(int)
    """The other answer, after `failed`: the number of the image."""
    named = Signal(object)
    """The Path of the project file that is written to now; None when there is none."""
    said = Signal(str)
    """One sentence about what has been done: a copy, a compaction."""
    finished = Signal()
    """After `shutdown()`: all is written, the file is closed."""
    _emptied = Signal()
    """From the thread: there was nothing left to write a moment ago."""
    _worked = Signal()
    """From the thread: a piece of work has been dealt with."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        # Shared with the thread, under the condition:
        self._condition = threading.Condition()
        self._tasks: deque[_Task] = deque()  # the one that is being done stays until it is done
        self._leaving = False
        self._last_work: Work | None = None
        self._impatient = False
        self._stuck = ""
        # Written by the thread, read by all:
        self._since: float | None = None  # when what is done now was begun
        self._quick = False  # whether it should take a moment only
        # Used by the thread only:
        self._project: Project | None = None
        self._stack: Stack | None = None
        self._image: ImageReference | None = None  # that on show
        self._found: dict[int, ImageReference] = {}  # while a project is only looked at
        self._classes: tuple[ClassInfo, ...] = ()
        self._kept: Path | None = None  # all of the work, in the recovery folder, see `keep`
        self._delay = FIRST_RETRY_SECONDS
        self._emptied.connect(self._announce_saved)
        self._worked.connect(self._announce_pending)
        self._thread = _Worker(self._run, self)
        self._thread.finished.connect(self.finished)
        self._thread.start()

    @property
    def unsaved(self) -> int:
        """How many pieces of work are not on the disk yet."""
        with self._condition:
            return len(self._tasks)

    @property
    def problem(self) -> str:
        """Why work can not be written now; empty where it can."""
        with self._condition:
            return self._stuck

    @property
    def hangs(self) -> bool:
        """Whether the disk has not answered for long: a drive that is gone may block for ever."""
        return self._quick and self.stalls

    @property
    def stalls(self) -> bool:
        """Whether one piece of work takes long; a large copy may, and nothing be wrong."""
        since = self._since
        return since is not None and time.monotonic() - since > HANG_SECONDS

    @property
    def leaving(self) -> bool:
        """Whether `shutdown` has been called."""
        return self._leaving

    # --- what the window hands in ----------------------------------------------------------------

    def start_recovery(self, stack: Stack, classes: Sequence[ClassInfo]) -> None:
        """A new image without a project: its first stroke makes one in the recovery folder."""
        stack_, classes_ = stack, tuple(classes)

        def start() -> None:
            self._close_project()
            self._stack, self._classes, self._image = stack_, classes_, None
            self._look_at_the_image()  # its disk may be gone at the first stroke

        self._submit(start)

    def open_project(self, path: Path, *, read_only: bool = False) -> None:
        """Open a project file; `opened` or `open_failed` answers. The former one is closed."""
        self._submit(lambda: self._open(path, read_only))

    def save_as(self, path: Path, work: Work | None = None) -> None:
        """Give the work a name: copy it to `path`, whole or not at all, and go on there.

        `work` takes the place of a project file that can not be read any more. `named` answers, or
        `failed`.
        """
        self._submit(lambda: self._save_as(path, work), overtakes=True)

    def save_copy(self, path: Path, work: Work | None = None) -> None:
        """Copy all that was handed in so far to `path`, and go on where we are.

        `said` answers, or `failed`; what can not be written to the project is in the copy.
        """
        self._submit(lambda: self._save_copy(path, work), overtakes=True)

    def compact(self) -> None:
        """Give the disk the room back that the project file does not use; `said` answers."""
        self._submit(self._compact)

    def record(self, edit: Edit, image: int = FIRST_IMAGE) -> None:
        """A new stroke on an image, already applied to the annotation."""
        self._keep(lambda project: project.record(edit, image))

    def record_undo(self, image: int = FIRST_IMAGE) -> None:
        """The newest stroke on an image was undone."""
        self._keep(lambda project: project.record_undo(image))

    def record_redo(self, image: int = FIRST_IMAGE) -> None:
        """The stroke undone last was done again."""
        self._keep(lambda project: project.record_redo(image))

    def put_image(self, stack: Stack, image: int = FIRST_IMAGE) -> None:
        """An image was found in another place."""

        def put() -> None:
            self._stack, self._image = stack, ImageReference.of(stack)
            if self._project is not None and self._project.read_only:
                self._found[image] = self._image
            elif self._project is not None:
                self._project.set_image(self._image, image)

        self._submit(put)

    # --- several images

    def add_images(self, images: Sequence[tuple[Shape, ImageReference]]) -> None:
        """More images for the project; `images_added` answers, or `failed`."""
        taken = tuple(images)

        def add() -> None:
            project = self._writable_project()
            numbers = set(project.add_images(taken))
            added = [one for one in project.images() if one.id in numbers]
            self.images_added.emit(project.path, added)

        self._submit(add)

    def load_image(self, image: int) -> None:
        """The labels of another image and their history; `image_loaded` or `image_not_loaded`
        answers."""

        def load() -> None:
            try:
                if self._project is None:
                    raise ProjectError("There is no project file yet.")
                self.image_loaded.emit(LoadedImage(image, *self._project.load(image)))
            except Exception:
                self.image_not_loaded.emit(image)
                raise

        self._submit(load)

    def remove_image(self, image: int) -> None:
        """An image and its labels are no longer part of the work."""
        self._keep(lambda project: project.remove_image(image))

    def mark_image(self, image: int, mark: Literal["reviewed", "predicted"], on: bool) -> None:
        """An image is reviewed or predicted now, or is not any more."""
        self._keep(lambda project: project.mark_image(image, mark, on))

    def show_image(self, stack: Stack) -> None:
        """Another image of the project is on show."""
        stack_ = stack

        def show() -> None:
            self._stack, self._image = stack_, None
            self._look_at_the_image()

        self._submit(show, matters=False)

    def put_classes(self, classes: Sequence[ClassInfo]) -> None:
        """The classes have changed."""
        taken = tuple(classes)

        def wanted() -> bool:
            if self._project is None:  # they will be in the file from the beginning
                self._classes = taken
            return taken != self._classes

        def put(project: Project) -> None:
            project.set_classes(taken)
            if project is self._project:
                self._classes = taken

        self._keep(put, wanted=wanted)

    def put_setting(self, name: str, value: Any) -> None:
        """Remember something about the view, if there is a project to remember it in."""

        def put() -> None:
            if self._project is not None and not self._project.read_only:
                settings = dict(self._project.setting("window", {}))
                settings[name] = value
                self._project.set_setting("window", settings)

        self._submit(put, matters=False)

    def put_model(self, model: Model) -> None:
        """Keep a trained model; it must not change any more."""
        # Strokes need not wait for the room that a model takes.
        self._keep(
            lambda project: project.add_model(model.to_bytes(), model.provenance), in_order=False
        )
        # This record stays when the model has made way for newer ones.
        self._keep(lambda project: project.add_training_run(model.provenance), in_order=False)

    @Slot()
    def try_again(self) -> None:
        """Try now to write what could not be written."""
        with self._condition:
            self._impatient = True
            self._condition.notify()

    def forget(self) -> None:
        """Give up what can not be written: the user has said so."""
        with self._condition:
            if self._stuck:
                self._tasks = deque(task for task in self._tasks if task.change is None)
                self._stuck, self._kept = "", None
            self._condition.notify()
        self._announce_pending()

    def shutdown(self, work: Work | None = None) -> None:
        """Write what is left, close the file, end the thread; then `finished` comes.

        What can not be written where it belongs goes to the recovery folder, together with all
        else; `work` as in `save_as`.
        """
        with self._condition:
            self._leaving, self._last_work = True, work
            self._condition.notify()

    def keep(self, work: Work, seconds: float) -> bool:
        """Have all of `work` in the recovery folder, and block until then, at most for `seconds`.

        For the last moments of a session: what can not be written where it belongs is offered at
        the next start. It is removed again should all be saved after all.
        """
        written = threading.Event()

        def write() -> None:
            try:
                path = self.recovery_path()
                self.write_from_memory(work, path)
            except Exception:
                logger.exception("unsaved work could not be put into the recovery folder")
                return
            with self._condition:
                waits = bool(self._tasks)
                former, self._kept = self._kept, path if waits else None
            written.set()
            _discard(former)
            if not waits:
                _discard(path)

        # Not the thread of the project, which may wait for its disk for ever.
        threading.Thread(target=write, daemon=True, name="last words").start()
        return written.wait(seconds)

    def recovery_path(self) -> Path:
        """A new name in the recovery folder. Raises ProjectError."""
        return new_recovery_path(self._image_path())

    def write_from_memory(self, work: Work, path: Path) -> None:
        """Make a project of `work` at `path`, whatever the project's disk does; in any thread."""
        write_work(work, path).close()

    def wait(self, milliseconds: int) -> bool:
        """Block until the thread has ended; for tests and for a program that is going down."""
        return self._thread.wait(milliseconds)

    def wait_written(self, seconds: float) -> bool:
        """Block until all is on the disk, at most `seconds`: the computer is going down."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._tasks or self._thread.isFinished(), seconds
            )

    @Slot()
    def _announce_saved(self) -> None:
        # A stroke may have been made since the thread said so: then it is not the time yet.
        if not self.unsaved:
            self.saved.emit()

    @Slot()
    def _announce_pending(self) -> None:
        # The count of now, not of when the thread spoke: a zero of then may be wrong already.
        self.pending.emit(self.unsaved)

    def _submit(
        self, errand: Callable[[], None], *, overtakes: bool = False, matters: bool = True
    ) -> None:
        self._put(_Task(errand=errand, overtakes=overtakes, matters=matters))

    def _keep(
        self,
        change: Callable[[Project], object],
        *,
        in_order: bool = True,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._put(_Task(change=change, in_order=in_order, wanted=wanted))

    def _put(self, task: _Task) -> None:
        with self._condition:
            self._tasks.append(task)
            count = len(self._tasks)
            self._condition.notify()
        self.pending.emit(count)

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                self._do(task)
            except Exception as error:
                if not isinstance(error, ProjectError):
                    logger.exception("saving failed")
                if task.change is not None:
                    self._be_stuck(task, error)
                    continue
                if task.matters:
                    self.failed.emit(sentence(error))
                self._done(task, well=not task.matters)
            else:
                self._done(task, well=True)
        self._since = time.monotonic()
        self._close_project()
        self._since = None

    def _next(self) -> _Task | None:
        """What to do now; None at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._tasks or self._leaving)
            if self._stuck:
                overtaking = [task for task in self._tasks if task.overtakes]
                if overtaking:
                    return overtaking[0]
            return self._tasks[0] if self._tasks else None

    def _do(self, task: _Task) -> None:
        # To copy, open or compact a large project may take long, and nothing be wrong.
        self._quick = task.change is not None or not task.matters
        self._since = time.monotonic()
        try:
            if task.errand is not None:
                task.errand()
            if task.change is not None and task.wanted():
                task.change(self._writable_project())
        finally:
            self._since = None

    def _done(self, task: _Task, *, well: bool) -> None:
        with self._condition:
            # It may be gone already: given up, or part of a file made of the window's memory.
            with suppress(ValueError):
                self._tasks.remove(task)
            if task.change is not None:
                self._delay = FIRST_RETRY_SECONDS
            if not any(task.change for task in self._tasks):
                self._stuck = ""
            left = len(self._tasks)
            kept = None if left else self._kept
            if not left:
                self._kept = None
            self._condition.notify_all()
        if well and not left:
            self._emptied.emit()
        self._worked.emit()
        _discard(kept)

    def _be_stuck(self, task: _Task, error: Exception) -> None:
        """`task` could not be written: say so, and wait until it is worth another try."""
        reason = sentence(error)
        with self._condition:
            if task not in self._tasks:  # given up meanwhile
                return
            news = reason != self._stuck
            self._stuck = reason
            # A copy that was asked for just before the end comes first: it may be the way out.
            lost = self._leaving and not any(other.overtakes for other in self._tasks)
        if news:
            self.stuck.emit(reason)
        if lost:
            self._leave_elsewhere()
            return
        with self._condition:
            if not task.in_order:
                self._tasks.remove(task)
                self._tasks.append(task)

            def worth_it() -> bool:
                return (
                    self._leaving
                    or self._impatient
                    or not self._stuck
                    or any(other.overtakes for other in self._tasks)
                    or (not task.in_order and any(other.in_order for other in self._tasks))
                )

            # The clock of a condition is monotonic: setting the computer's does not matter.
            if not self._condition.wait_for(worth_it, self._delay):
                self._delay = min(2 * self._delay, LAST_RETRY_SECONDS)
            self._impatient = False

    def _leave_elsewhere(self) -> None:
        """The end has come and the project takes no more: all of it goes to the recovery folder.

        The project keeps what it has. Where that fails too, what is left is lost: going on behind
        a stroke that is not there would make a wrong file of an incomplete one.
        """
        self._since = time.monotonic()
        try:
            self._write_copy(self.recovery_path(), self._last_work)
            _discard(self._kept)
        except Exception:
            logger.exception("unsaved work could not be put into the recovery folder")
        finally:
            self._since = None
        with self._condition:
            self._tasks.clear()
            self._condition.notify_all()
        self._worked.emit()

    def _writable_project(self) -> Project:
        """The project, made in the recovery folder where there is none, or none to write to."""
        if self._project is None:
            self._go_on_in(self._new_project(new_recovery_path(self._image_path())))
        elif self._project.read_only:
            self._go_on_in(self._copied(new_recovery_path(self._image_path())))
        assert self._project is not None
        return self._project

    def _new_project(self, path: Path) -> Project:
        if self._stack is None:
            raise ProjectError("There is no image to save labels for.")
        t, z, _, y, x = self._stack.shape
        if self._image is None:
            self._look_at_the_image()
        return Project.create(path, (t, z, y, x), image=self._image, classes=self._classes)

    def _look_at_the_image(self) -> None:
        assert self._stack is not None
        with suppress(OSError, ValueError):  # labels without their image are better than none
            self._image = ImageReference.of(self._stack)

    def _image_path(self) -> Path | None:
        """Where the image is, for the name of a recovery file."""
        if self._stack is not None:
            return self._stack.path
        return None if self._image is None else self._image.path

    def _copied(self, path: Path) -> Project:
        """A copy of the project file at `path`, opened."""
        if self._project is None:
            raise ProjectError("There is no project file yet.")
        copy = self._project.opened_copy(path)
        for image, reference in self._found.items():
            copy.set_image(reference, image)
        return copy

    def _open(self, path: Path, read_only: bool) -> None:
        try:
            if self._project is not None and self._project.path == path.absolute():
                self._close_project()
            project = Project.open(path, read_only=True) if read_only else Project.open(path)
            try:
                images = tuple(project.images())
                settings = dict(project.setting("window", {}))
                shown = shown_image(images, settings)
                annotation, history = project.load(shown.id)
                others = (one for one in images if one.id != shown.id)
                loaded = LoadedProject(
                    project.path,
                    annotation,
                    history,
                    project.classes,
                    shown.id,
                    images,
                    {one.id: project.load_labels(one.id) for one in others},
                    settings,
                    read_only,
                )
            except BaseException:
                project.close()
                raise
        except Exception as error:
            if not isinstance(error, ProjectError):
                logger.exception("a project could not be opened")
            self.open_failed.emit(sentence(error), refusal(path, error, read_only))
            return
        self._close_project()
        self._project = project
        self._stack = None
        self._image, self._classes = loaded.image, loaded.classes
        self._found = {}
        self.opened.emit(loaded)
        self.named.emit(project.path)

    def _save_as(self, path: Path, work: Work | None) -> None:
        """Move to `path`; what waits is written there afterwards."""
        if self._project is None:
            self._writable_project_at(path)
            return
        if self._project.read_only:
            self._go_on_in(self._copied(path))
            return
        try:
            self._project.save_as(path)
        except ProjectError as error:
            if work is None or not self._can_not_be_read(error):
                raise
            self._start_anew(path, work)
        self.named.emit(self._project.path)

    def _writable_project_at(self, path: Path) -> None:
        """There is no file yet, or none could be made in the recovery folder: make it here."""
        project = self._new_project(beside(path))
        rename(project, path)
        self._go_on_in(project)

    def _start_anew(self, path: Path, work: Work) -> None:
        """Make the new file of what is in memory: the old one can not be read any more."""
        self._go_on_in(write_work(work, path))
        self._classes = work.classes
        self._drop_what_is_in_memory()
        self.said.emit(
            f"{path.name} holds all labels and steps of undo, but no trained network: the former "
            "file could not be read."
        )

    def _drop_what_is_in_memory(self) -> None:
        """Forget the changes that were handed in before the copy that is being made of memory."""
        with self._condition:
            tasks = list(self._tasks)
            place = next((n for n, task in enumerate(tasks) if task.overtakes), 0)
            kept = [t for t in tasks[:place] if t.change is None or not t.in_order]
            self._tasks = deque(kept + tasks[place:])

    def _save_copy(self, path: Path, work: Work | None) -> None:
        if self._project is None:
            raise ProjectError("There is nothing to copy yet; paint first.")
        # What is open read-only is a copy on this computer: if it can not be copied, that is not
        # because it can not be read.
        self._write_copy(path, None if self._project.read_only else work)
        self.said.emit(f"{path.name} is a copy of the work as it is now; you go on where you were.")

    def _write_copy(self, path: Path, work: Work | None) -> None:
        """All that is written, and what waits, to another file."""
        try:
            waiting = self._waiting_changes()
            if not waiting:
                self._copied(path).close()
                return
            # Not to `path` at once: only a copy that is whole may replace what is there.
            copy = self._copied(beside(path))
            try:
                for change in waiting:
                    change(copy)
            except BaseException:
                copy.close()
                copy.path.unlink(missing_ok=True)
                raise
            rename(copy, path)
            copy.close()
        except ProjectError as error:
            if work is None or not self._can_not_be_read(error):
                raise
            write_work(work, path).close()

    def _can_not_be_read(self, error: ProjectError) -> bool:
        """Whether a copy failed because of what was to be copied: else memory is no better."""
        return bool(self.problem) or isinstance(error, ProjectDamagedError | ProjectDriveError)

    def _waiting_changes(self) -> list[Callable[[Project], object]]:
        """What waits now, up to the first piece that overtakes."""
        with self._condition:
            before = itertools.takewhile(lambda task: not task.overtakes, self._tasks)
            return [task.change for task in before if task.change is not None]

    def _compact(self) -> None:
        project = self._project
        if project is None or project.read_only:
            raise ProjectError("There is no project file to compact yet.")
        before = project.path.stat().st_size
        project.compact()
        after = project.path.stat().st_size
        self.said.emit(f"{project.path.name} takes {_size(after)} now; it took {_size(before)}.")

    def _go_on_in(self, project: Project) -> None:
        self._close_project(quietly=True)
        self._project = project
        self._found = {}
        self.named.emit(project.path)

    def _close_project(self, *, quietly: bool = False) -> None:
        if self._project is not None:
            project, self._project = self._project, None
            try:
                project.close()
            except Exception:  # its disk has gone: all that could be written is written
                logger.exception("a project could not be closed")
            if not quietly:
                self.named.emit(None)


@dataclass(frozen=True, eq=False)
class _Task:
    """An errand is done once; a change of the project must not be lost."""

    errand: Callable[[], None] | None = None
    change: Callable[[Project], object] | None = None
    wanted: Callable[[], bool] = lambda: True
    """Whether there is anything to change; asked in the thread."""
    in_order: bool = True
    """Whether other changes must wait until this one is written."""
    overtakes: bool = False
    """Whether it may be the way out when changes can not be written."""
    matters: bool = True
    """Whether the user must hear that it failed."""


class _Worker(QThread):
    def __init__(self, work: Callable[[], None], parent: QObject) -> None:
        super().__init__(parent)
        self._work = work

    def run(self) -> None:
        self._work()


def _discard(path: Path | None) -> None:
    """Remove a copy of what is saved by now."""
    if path is not None:
        with suppress(ProjectError):
            discard(path)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
