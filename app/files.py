"""Opening, naming and recovering work: from what the user asks to engine, saver and document."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.choosing import Choose
from app.document import Document, OtherImage
from app.engine import Engine
from app.jobs import Job, JobError, Steps
from app.messages import Message, MessageBar, ProgressStrip
from app.opening import (
    IMAGE_FILTER,
    IMAGE_PATTERNS,
    ImageList,
    Opened,
    Refused,
    is_project,
    locating,
    opening,
)
from app.saver import LoadedProject, Saver
from app.settings import Settings
from app.ways_round import WaysRound, free_name
from app.work import Work, write_work
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.places import is_recovery
from unet_core.project import SUFFIX, ImageReference
from unet_core.reading import Reading
from unet_core.stack import Stack


@dataclass(frozen=True)
class _Request:
    """What is to be opened; `image` is where the project's image is now, if it has moved."""

    path: Path
    image: Path | None = None
    read_only: bool = False
    reading: Reading | None = None
    ask: bool = False
    """Whether the user may be asked which image of the file is meant, and what its axes are."""


class Files(QObject):
    """Opens one thing at a time. Until all of it is there, the former image stays as it is."""

    title_changed = Signal(str)
    listed = Signal(object)
    """The `ProjectImage`s of what has been opened, none for an image without a project."""
    several = Signal(object)
    """What was to be opened is a folder of images: their paths."""
    which = Signal(object)
    """The `Choices` of a file of which the user has to say what is meant."""
    opened = Signal(object)
    """What the project remembers of the window, a dict; empty for a new image."""
    located = Signal()
    """The image of the open project has been found, and takes the place of an empty picture."""
    leaving = Signal()
    """The present image is about to make way for another."""
    finished = Signal()
    """No job of this object runs any more."""

    def __init__(
        self,
        window: QWidget,
        document: Document,
        engine: Engine,
        saver: Saver,
        settings: Settings,
        messages: MessageBar,
        strip: ProgressStrip,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._document = document
        self._engine = engine
        self._saver = saver
        self._settings = settings
        self._messages = messages
        self._strip = strip
        self._job: Job | None = None
        self._take: Callable[[Any], None] = self._read  # what to do with the job's result
        self._waiting: _Request | None = None  # what to open when the job has ended
        self._later: _Request | None = None  # what to open when the saver has done its work
        self._ready: Opened | None = None  # read, and waiting for training to end or the saver
        self._switching = False  # the saver has been asked
        self._losing = False  # what can not be saved may be lost for the sake of `_ready`
        self._formers: list[Stack] = []
        self._restored = False
        self._closing = False
        self._missing: Message | None = None  # that the image is not there
        self._ways_round = WaysRound(self, messages)
        self._image: ImageReference | None = None  # as the project knows it
        self.project: Path | None = None
        """The project file that is written to now; None before the first stroke."""
        self.has_name = False
        """Whether the user has given the project a name."""
        self.read_only = False
        """Whether `project` is only looked at: what is changed goes to a copy without a name."""

    # --- opening -----------------------------------------------------------------------------

    @property
    def image(self) -> ImageReference | None:
        """Which image is on show, as far as that is known."""
        return self._image

    @property
    def switching(self) -> bool:
        """Whether the saver is about to go on with another project."""
        return self._switching

    @Slot()
    def ask_open(self) -> None:
        """Ask for an image or project, and open it."""
        folder = self._settings.open_folder or Path.home()
        name, _ = QFileDialog.getOpenFileName(
            self._window,
            "Open",
            str(folder),
            f"Images and projects ({IMAGE_PATTERNS} *{SUFFIX});;Images ({IMAGE_PATTERNS});;"
            f"Limn projects (*{SUFFIX});;All files (*)",
        )
        if name:
            self.open(Path(name), ask=True)

    def open(
        self,
        path: Path,
        image: Path | None = None,
        *,
        read_only: bool = False,
        reading: Reading | None = None,
        ask: bool = False,
    ) -> None:
        """Open an image or a project; image: where the project's image is, if it has moved.

        reading, ask: see `_Request`.
        """
        request = _Request(tidy(path), image, read_only, reading, ask)
        if self._closing:
            return
        if self._engine.busy == "exporting":
            self._messages.show_error("An export is under way; wait or cancel it, then open.")
            return
        if request.path == self.project and not self.read_only:
            self._messages.show_error(f"{request.path.name} is open already.")
            return
        if self._ready is not None:  # the former one is just being put in place
            self._waiting = request
            return
        self._ways_round.take_back()
        self._later, self._losing = None, False
        if self._job is not None:
            self._waiting = request
            self._job.stop()
            return
        if is_project(request.path) and self._saver.unsaved and not self._saver.problem:
            self._later = request  # it may be the very one that the saver is about to close
            return
        self._begin(
            f"Opening {request.path.name}…",
            partial(
                opening,
                request.path,
                request.image,
                request.read_only,
                request.reading,
                self._settings.axes if request.ask else None,
            ),
            self._read,
        )

    def run(self, text: str, steps: Callable[[], Steps], take: Callable[[Any], None]) -> None:
        """Run a job and hand what it answers to `take`; there is one job at a time."""
        if self._job is not None or self._ready is not None:
            self._messages.show_error("Something else is being opened; wait or cancel it first.")
        else:
            self._begin(text, steps, take)

    def open_next(self, path: Path) -> None:
        """Open `path` as soon as the job that is under way has ended."""
        self._waiting = _Request(path)

    def _begin(self, text: str, steps: Callable[[], Steps], take: Callable[[Any], None]) -> None:
        """Run the one job, and hand what it answers to `take`."""
        self._take = take
        self._strip.begin(text)
        self._job = Job(steps, self)
        self._job.succeeded.connect(self._succeeded)
        self._job.failed.connect(self._failed)
        self._job.finished.connect(self._job_finished)
        self._job.start()

    @Slot()
    def cancel(self) -> None:
        """Do not open after all."""
        self._waiting = self._later = None
        if self._job is not None:
            self._job.stop()

    @Slot(object)
    def _succeeded(self, result: object) -> None:
        if not (self._closing or self._waiting is not None):
            self._take(result)
        elif isinstance(result, Opened):
            result.stack.close()

    def _read(self, result: Opened | Refused | ImageList | Choose) -> None:
        if isinstance(result, Choose):
            self.which.emit(result.choices)
            return
        if isinstance(result, Refused):
            self._ways_round.offer(result)
            return
        if isinstance(result, ImageList):
            self.several.emit(result.paths)
            return
        self._ready = result
        if self._engine.busy == "training":
            # What it has learnt so far belongs to the former project: let it be kept there.
            self._engine.stop()
        else:
            self._switch()

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        self._messages.show_error(error.sentence, error.details)

    @Slot()
    def _job_finished(self) -> None:
        if self._job is not None:
            self._job.deleteLater()
        self._job = None
        if self._ready is None:
            self._strip.end()
        if self._closing:
            self._waiting = None
            self.finished.emit()
        else:
            self._open_waiting()

    def _open_waiting(self) -> None:
        """Open what was asked for while something else was read or put in place."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._open(waiting)

    def _open(self, request: _Request) -> None:
        self.open(
            request.path,
            request.image,
            read_only=request.read_only,
            reading=request.reading,
            ask=request.ask,
        )

    @Slot(str)
    def engine_busy(self, busy: str) -> None:
        """The engine has begun or ended something."""
        if busy != "idle":
            return
        self._close_formers()
        if self._ready is not None and not self._switching:
            self._switch()

    def _switch(self) -> None:
        """Everything has been read: leave the former image for the new one."""
        assert self._ready is not None
        self._document.end_stroke()
        self.leaving.emit()
        if self._saver.problem and not self._losing:
            self._stay()
            return
        if self._saver.problem:
            self._losing = False
            self._saver.forget()  # `written` comes
            return
        if self._saver.unsaved:
            return  # the last strokes belong to the former project; `written` comes
        self._switching = True
        if self._ready.project is not None:
            # Strokes made before the answer would go to the wrong project.
            self._window.setEnabled(False)
            self._saver.open_project(self._ready.project, read_only=self._ready.read_only)
            return
        self._saver.start_recovery(self._ready.stack, DEFAULT_CLASSES)
        self._restored = self.read_only = False
        self._set_project(None)  # the saver will say so too
        self._show(None)

    @Slot(int)
    def written(self, left: int) -> None:
        """So many pieces of work are not on the disk yet."""
        if self._later is not None and not left:
            later, self._later = self._later, None
            self._open(later)
        waits = self._ready is not None and not self._switching
        if waits and not left and self._engine.busy != "training":
            self._switch()

    @Slot(str)
    def not_written(self, _sentence: str) -> None:
        """The last strokes can not be written now."""
        self.written(0)  # what only waits for the saver goes on, and will be told
        if self._ready is not None and not self._switching:
            self._stay()

    def _stay(self) -> None:
        """Do not leave strokes behind that are not saved, unless the user says so."""
        ready, self._ready = self._ready, None
        assert ready is not None
        ready.stack.close()
        if self._job is None:
            self._strip.end()
        request = _Request(
            ready.project or ready.stack.path, None, ready.read_only, ready.stack.reading
        )
        if ready.project is not None and not ready.missing:
            request = _Request(ready.project, ready.stack.path, ready.read_only)
        self._messages.show_message(
            Message(
                f"{request.path.name} is not opened, because your last strokes are not saved yet: "
                f"{self._saver.problem}",
                actions=(
                    ("Save as…", self.ask_save_as),
                    ("Open and lose them", partial(self._open_anyway, request)),
                ),
            )
        )
        self._open_waiting()

    def _open_anyway(self, request: _Request) -> None:
        self._open(request)
        self._losing = True  # but only once it can be shown

    @Slot(object)
    def project_opened(self, loaded: LoadedProject) -> None:
        """The saver has opened the project and goes on there."""
        self._set_project(loaded.path)
        self._restored, self.read_only = not self.has_name, loaded.read_only
        self._image = loaded.image
        try:
            self._show(loaded)
        finally:
            self._unfreeze()

    @Slot(str, object)
    def project_failed(self, sentence: str, refused: Refused | None) -> None:
        """The saver could not open the project and has kept the former one."""
        ready, self._ready, self._switching = self._ready, None, False
        if ready is not None:
            ready.stack.close()
        self._strip.end()
        if refused is None:
            self._messages.show_error(sentence)
        else:
            self._ways_round.offer(refused)
        self._unfreeze()
        self._open_waiting()

    def _unfreeze(self) -> None:
        self._window.setEnabled(True)
        self._window.setFocus()

    def _show(self, loaded: LoadedProject | None) -> None:
        ready, self._ready, self._switching = self._ready, None, False
        assert ready is not None
        if self._document.stack is not None:
            self._formers.append(self._document.stack)
        # The engine first: what the document says next is about the new image.
        self._engine.set_stack(ready.stack, ready.ranges)
        if ready.model is not None:
            self._engine.set_model(ready.model)
        if loaded is None:
            self._document.set_stack(ready.stack, ready.ranges)
        else:
            self._document.set_stack(
                ready.stack,
                ready.ranges,
                loaded.annotation,
                loaded.history,
                list(loaded.classes),
                loaded.shown,
                {
                    one.id: OtherImage(one.reference, loaded.labels[one.id].snapshot())
                    for one in loaded.images
                    if one.id != loaded.shown
                },
            )
            moved = loaded.image is None or loaded.image.path != ready.stack.path.absolute()
            if moved and not ready.missing:
                self._saver.put_image(ready.stack, loaded.shown)
        self._engine.set_classes(self._document.classes)
        if self._engine.busy == "idle":
            self._close_formers()
        self._strip.end()
        self._messages.clear_past()
        if ready.missing:
            self._offer_to_locate(ready)
        elif ready.warning:
            self._messages.show_error(ready.warning)
        if not self._restored:
            self._settings.open_folder = (ready.project or ready.stack.path).absolute().parent
        self._announce_title()
        self._image = ready.reference or self._image
        self.listed.emit(loaded.images if loaded is not None else ())
        self.opened.emit(loaded.settings if loaded is not None else {})
        self._open_waiting()

    def leave_stack(self) -> None:
        """The image on show makes way for another one of the project."""
        if self._document.stack is not None:
            self._formers.append(self._document.stack)

    def image_shown(self, opened: Opened, reference: ImageReference | None) -> None:
        """Another image of the project is on show, known to the project by `reference`."""
        self._image = opened.reference or reference
        if self._engine.busy == "idle":
            self._close_formers()
        self._messages.clear_past()
        if opened.missing:
            self._offer_to_locate(opened)
        elif opened.warning:
            self._messages.show_error(opened.warning)
        self._announce_title()

    def _close_formers(self) -> None:
        # Only once no job reads them any more.
        while self._formers:
            self._formers.pop().close()

    # --- images that are not where they were --------------------------------------------------

    def _offer_to_locate(self, opened: Opened) -> None:
        self._missing = Message(
            opened.warning,
            actions=(
                ("Look in a folder…", self._ask_image_folder),
                ("Show the file…", self._ask_image),
            ),
        )
        self._messages.show_message(self._missing)

    def _ask_image_folder(self) -> None:
        assert self._document.stack is not None
        name = QFileDialog.getExistingDirectory(
            self._window,
            f"In which folder is {self._document.stack.path.name}?",
            str(self._settings.open_folder or Path.home()),
        )
        self._locate_or_ask_again(name)

    def _ask_image(self) -> None:
        assert self._document.stack is not None
        name, _ = QFileDialog.getOpenFileName(
            self._window,
            f"Where is {self._document.stack.path.name}?",
            str(self._settings.open_folder or Path.home()),
            IMAGE_FILTER,
        )
        self._locate_or_ask_again(name)

    def _locate_or_ask_again(self, name: str) -> None:
        if name:
            self.locate(Path(name))
        elif self._missing is not None:
            self._messages.show_message(self._missing)

    def locate(self, place: Path) -> None:
        """Show the image of the open project, which is `place` or somewhere in that folder."""
        stack = self._document.stack
        if stack is None or self.project is None:
            return
        shape = self._document.annotation.shape
        steps = partial(locating, place, self._image, shape, self.project)
        take = partial(self._located, self._document.image)
        self.run(f"Looking for {stack.path.name}…", steps, take)

    def _located(self, image: int, found: Opened) -> None:
        """Put the image below its labels, in place of the empty picture."""
        document, former = self._document, self._document.stack
        if document.image != image:  # another one has come: its labels are not for this picture
            found.stack.close()
            return
        document.end_stroke()
        if former is not None:
            self._formers.append(former)
        model = self._engine.model  # what was answered to strokes on nothing is no model to keep
        self._engine.set_stack(found.stack, found.ranges)
        if model is not None:
            self._engine.set_model(model)
        document.put_picture(found.stack, found.ranges)
        self._engine.set_classes(document.classes)
        self._image = found.reference
        self._saver.put_image(found.stack, document.image)
        if self._missing is not None:
            self._messages.retract(self._missing)
        if found.warning:
            self._messages.show_error(found.warning)
        if self._engine.busy == "idle":
            self._close_formers()
        self._announce_title()
        self.located.emit()

    # --- naming ------------------------------------------------------------------------------

    @Slot(object)
    def project_named(self, path: Path | None) -> None:
        """The saver writes to another file now."""
        looked_at = self.project if self.read_only and path != self.project else None
        self._set_project(path)
        if self.has_name:
            self._restored = False
        if looked_at is not None:
            self.read_only = False
        if looked_at is not None and path is not None and not self.has_name:
            self._messages.show_message(
                Message(
                    f"{looked_at.name} is open read-only: what you change is kept in a copy that "
                    "has no name yet.",
                    "offer",
                    actions=(("Save as…", self.ask_save_as),),
                )
            )
        self._announce_title()

    def _set_project(self, path: Path | None) -> None:
        # The disk is asked now, when it has just been written to: later it may not answer.
        self.project, self.has_name = path, path is not None and not is_recovery(path)

    @Slot()
    def save(self) -> None:
        """Give the work a name, if it has none; else all is on the disk already."""
        if self._saver.problem:
            self._saver.try_again()
        elif not self.has_name or self.read_only:
            self.ask_save_as()

    @Slot()
    def ask_save_as(self) -> None:
        """Ask for a name, and go on under it."""
        if self._document.stack is None:
            return
        start = self._start()
        if self.has_name and self.read_only:
            start = free_name(start, "copy")
        path = self.ask_project("Save the project as", start)
        if path is not None:
            self.save_as(path)

    @Slot()
    def ask_save_copy(self) -> None:
        """Ask for a name, write a copy there, and go on here."""
        if self._document.stack is None:
            return
        path = self.ask_project("Save a copy as", free_name(self._start(), "copy"))
        if path is not None:
            self.save_copy(path)

    def _start(self) -> Path:
        """What a dialog suggests to write to; not on a disk that lets everyone wait."""
        assert self._document.stack is not None
        named = self.project if self.has_name else None
        start = named or self._document.stack.path.with_suffix(SUFFIX)
        return Path.home() / start.name if self._saver.hangs else start

    def ask_project(self, title: str, start: Path) -> Path | None:
        """Ask for the name of a project to write; None where that is cancelled."""
        name, _ = QFileDialog.getSaveFileName(
            self._window, title, str(start), f"Limn project (*{SUFFIX})"
        )
        return project_path(Path(name)) if name else None

    def save_as(self, path: Path) -> None:
        """Save under the name `path`; ".limn" is added where it is missing."""
        self._document.end_stroke()
        if self._saver.hangs:
            self._copy_from_memory(project_path(path))
        else:
            self._saver.save_as(project_path(path), Work.of(self._document, self._image))

    def save_copy(self, path: Path) -> None:
        """Write a copy to `path`; ".limn" is added where it is missing."""
        self._document.end_stroke()
        if self._saver.hangs:
            self._copy_from_memory(project_path(path))
        else:
            self._saver.save_copy(project_path(path), Work.of(self._document, self._image))

    def _copy_from_memory(self, path: Path) -> None:
        """The disk of the project does not answer: whoever asks it for anything waits for it."""
        work = Work.of(self._document, self._image)

        def steps() -> Steps:
            yield
            write_work(work, path).close()
            return path

        self.run(f"Writing {path.name}…", steps, self._copied)

    def _copied(self, path: Path) -> None:
        self._messages.show_message(
            Message(
                f"{path.name} holds all labels of now. Limn itself still waits for the disk of the "
                "project; to go on safely, open the copy in a new window.",
                "offer",
            )
        )

    @Slot()
    def compact(self) -> None:
        """Give the disk back what the project file does not need."""
        self._document.end_stroke()
        self._saver.compact()

    def _announce_title(self) -> None:
        stack = self._document.stack
        if stack is None:
            title = "Limn"
        elif self.has_name:
            assert self.project is not None
            title = f"{self.project.name}{' [read-only]' if self.read_only else ''} — Limn"
            if self._document.others:
                title = f"{stack.path.name} — {title}"
        elif self._restored:
            title = f"{stack.path.name} [recovered] — Limn"
        elif self.project is not None:
            title = f"{stack.path.name} [autosaved, no name yet] — Limn"
        else:
            title = f"{stack.path.name} — Limn"
        self.title_changed.emit(title)

    # --- the end -----------------------------------------------------------------------------

    def shutdown(self) -> bool:
        """Open nothing any more. True while a job still runs; then `finished` will come."""
        self._closing = True
        self._waiting = self._later = None
        if self._job is None:
            return False
        self._job.stop()
        return True

    def close_stack(self) -> None:
        """Close the files of the image: nothing reads them any more."""
        self._close_formers()
        if self._document.stack is not None:
            self._document.stack.close()


def tidy(path: Path) -> Path:
    """Return `path` absolute and, where that is the same file, without "..": it will be shown."""
    short = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links too
    try:
        return short if short.samefile(path) else path.absolute()
    except OSError:  # it is not there, as the one who opens it will say
        return path.absolute()


def project_path(path: Path) -> Path:
    """Return `path` absolute, with ".limn" at its end."""
    return (path if is_project(path) else path.with_name(path.name + SUFFIX)).absolute()
