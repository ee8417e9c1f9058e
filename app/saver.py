"""Saver: the thread that owns the project file. Everything is written here, in order.

Work is saved from the first stroke on: until it has a name, to the recovery folder. The window may
say "saved" only after `saved` has come: then all that was handed in is on the disk.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QThread, Signal, Slot

from app.sentences import sentence
from unet_core.annotation import Annotation, ClassInfo, Edit, History
from unet_core.project import ImageReference, Project, ProjectError
from unet_core.recovery import new_recovery_path
from unet_core.stack import Stack

if TYPE_CHECKING:
    from unet_core.model import Model

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class LoadedProject:
    """What a project file holds."""

    path: Path
    annotation: Annotation
    history: History
    classes: tuple[ClassInfo, ...]
    image: ImageReference | None
    settings: dict[str, Any]
    """What the window put there with `put_setting`, by name."""


class Saver(QObject):
    """Hands work to its thread; every method returns at once, answers come as signals."""

    saved = Signal()
    """All that was handed in so far is on the disk."""
    pending = Signal(int)
    """So many pieces of work are not on the disk yet."""
    failed = Signal(str)
    """One sentence. A stroke that could not be written is kept and tried again."""
    opened = Signal(object)
    """A LoadedProject, the answer to `open_project`."""
    open_failed = Signal(str)
    named = Signal(object)
    """The Path of the project file that is written to now; None when there is none."""
    finished = Signal()
    """After `shutdown()`: all is written, the file is closed."""
    _emptied = Signal()
    """From the thread: there was nothing left to write a moment ago."""
    _worked = Signal()
    """From the thread: a piece of work has been dealt with."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._work: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._count = 0
        self._count_lock = threading.Lock()
        self._leaving = threading.Event()
        # Used by the thread only:
        self._project: Project | None = None
        self._stack: Stack | None = None
        self._classes: tuple[ClassInfo, ...] = ()
        self._emptied.connect(self._announce_saved)
        self._worked.connect(self._announce_pending)
        self._thread = _Worker(self._run, self)
        self._thread.finished.connect(self.finished)
        self._thread.start()

    # --- what the window hands in ----------------------------------------------------------------

    def start_recovery(self, stack: Stack, classes: Sequence[ClassInfo]) -> None:
        """A new image without a project: its first stroke makes one in the recovery folder."""
        stack_, classes_ = stack, tuple(classes)

        def start() -> None:
            self._close_project()
            self._stack, self._classes = stack_, classes_

        self._submit(start)

    def open_project(self, path: Path) -> None:
        """Open a project file; `opened` or `open_failed` answers. The former one is closed."""
        self._submit(lambda: self._open(path))

    def save_as(self, path: Path) -> None:
        """Give the work a name: copy it to `path`, whole or not at all, and go on there."""
        self._submit(lambda: self._save_as(path))

    def record(self, edit: Edit) -> None:
        """A new stroke, already applied to the annotation."""
        self._submit(lambda: self._opened_project().record(edit), keep=True)

    def record_undo(self) -> None:
        """The newest stroke was undone."""
        self._submit(lambda: self._opened_project().record_undo(), keep=True)

    def record_redo(self) -> None:
        """The stroke undone last was done again."""
        self._submit(lambda: self._opened_project().record_redo(), keep=True)

    def put_image(self, stack: Stack) -> None:
        """The image was found in another place."""

        def put() -> None:
            if self._project is not None:
                self._project.set_image(ImageReference.of(stack))

        self._submit(put)

    def put_classes(self, classes: Sequence[ClassInfo]) -> None:
        """The classes have changed."""
        taken = tuple(classes)

        def put() -> None:
            self._classes = taken
            if self._project is not None:
                self._project.set_classes(taken)

        self._submit(put)

    def put_setting(self, name: str, value: Any) -> None:
        """Remember something about the view, if there is a project to remember it in."""

        def put() -> None:
            if self._project is not None:
                settings = dict(self._project.setting("window", {}))
                settings[name] = value
                self._project.set_setting("window", settings)

        self._submit(put)

    def put_model(self, model: Model) -> None:
        """Keep a trained model; it must not change any more."""

        def put() -> None:
            self._opened_project().add_model(model.to_bytes(), model.provenance)

        self._submit(put)

    def shutdown(self) -> None:
        """Write what is left, close the file, end the thread; then `finished` comes."""
        self._leaving.set()
        self._work.put(None)

    def wait(self, milliseconds: int) -> bool:
        """Block until the thread has ended; for tests and for a program that is going down."""
        return self._thread.wait(milliseconds)

    @Slot()
    def _announce_saved(self) -> None:
        # A stroke may have been made since the thread said so: then it is not the time yet.
        with self._count_lock:
            count = self._count
        if count == 0:
            self.saved.emit()

    @Slot()
    def _announce_pending(self) -> None:
        # The count of now, not of when the thread spoke: a zero of then may be wrong already.
        with self._count_lock:
            count = self._count
        self.pending.emit(count)

    # --- in the thread ---------------------------------------------------------------------------

    def _submit(self, do: Callable[[], None], *, keep: bool = False) -> None:
        with self._count_lock:
            self._count += 1
            count = self._count
        self.pending.emit(count)
        self._work.put(_Task(do, keep))

    def _run(self) -> None:
        while (task := self._work.get()) is not None:
            done = self._do(task)
            with self._count_lock:
                self._count -= 1
                count = self._count
            if count == 0 and done:
                self._emptied.emit()
            self._worked.emit()
        self._close_project()

    def _do(self, task: _Task) -> bool:
        """Do a piece of work; one that must not be lost is tried until it succeeds."""
        told = False
        while True:
            try:
                task.do()
            except Exception as error:
                if not isinstance(error, ProjectError):
                    logger.exception("saving failed")
                if not told:
                    self.failed.emit(sentence(error))
                    told = True
                if not task.keep or self._leaving.wait(RETRY_SECONDS):
                    return False
            else:
                return True

    def _opened_project(self) -> Project:
        """The project, made in the recovery folder when there is none yet."""
        if self._project is None:
            if self._stack is None:
                raise ProjectError("There is no image to save labels for.")
            t, z, _, y, x = self._stack.shape
            self._project = Project.create(
                new_recovery_path(self._stack.path),
                (t, z, y, x),
                image=ImageReference.of(self._stack),
                classes=self._classes,
            )
            self.named.emit(self._project.path)
        return self._project

    def _open(self, path: Path) -> None:
        try:
            if self._project is not None and self._project.path == path.absolute():
                self._close_project()
            project = Project.open(path)
            try:
                annotation, history = project.load()
                loaded = LoadedProject(
                    project.path,
                    annotation,
                    history,
                    project.classes,
                    project.image,
                    dict(project.setting("window", {})),
                )
            except BaseException:
                project.close()
                raise
        except ProjectError as error:
            self.open_failed.emit(str(error))
            return
        self._close_project()
        self._project = project
        self._classes = loaded.classes
        self.opened.emit(loaded)
        self.named.emit(project.path)

    def _save_as(self, path: Path) -> None:
        project = self._opened_project()
        project.save_as(path)
        self.named.emit(project.path)

    def _close_project(self) -> None:
        if self._project is not None:
            self._project.close()
            self._project = None
            self.named.emit(None)


@dataclass(frozen=True)
class _Task:
    do: Callable[[], None]
    keep: bool
    """Whether it must not be lost: then it is tried again until it succeeds."""


class _Worker(QThread):
    def __init__(self, work: Callable[[], None], parent: QObject) -> None:
        super().__init__(parent)
        self._work = work

    def run(self) -> None:
        self._work()
