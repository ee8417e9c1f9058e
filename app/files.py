"""Opening, naming and recovering work: from what the user asks to engine, saver and document."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.document import Document
from app.engine import Engine
from app.jobs import Job, JobError
from app.messages import Message, MessageBar, ProgressStrip
from app.opening import MissingImage, Opened, is_project, opening
from app.saver import LoadedProject, Saver
from app.settings import Settings
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.places import is_recovery
from unet_core.project import SUFFIX
from unet_core.recovery import RecoveredWork, unfinished
from unet_core.stack import IMAGE_SUFFIXES, Stack


class Files(QObject):
    """Opens one thing at a time. Until all of it is there, the former image stays as it is."""

    title_changed = Signal(str)
    opened = Signal(object)
    """What the project remembers of the window, a dict; empty for a new image."""
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
        self._path: Path | None = None  # what the job opens
        self._waiting: tuple[Path, Path | None] | None = None  # what to open when it has ended
        self._ready: Opened | None = None  # read, and waiting for training to end or the saver
        self._switching = False  # the saver has been asked
        self._formers: list[Stack] = []
        self._restored = False
        self._closing = False
        self.project: Path | None = None
        """The project file that is written to now; None before the first stroke."""

    # --- opening -----------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether something is being opened."""
        return self._job is not None or self._ready is not None

    @Slot()
    def ask_open(self) -> None:
        """Ask for an image or project, and open it."""
        folder = self._settings.open_folder or Path.home()
        images = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(
            self._window,
            "Open",
            str(folder),
            f"Images and projects ({images} *{SUFFIX});;Images ({images});;"
            f"Limn projects (*{SUFFIX});;All files (*)",
        )
        if name:
            self.open(Path(name))

    @Slot(object)
    def open_first(self, paths: Sequence[Path]) -> None:
        """Open the first of several paths, and say what happens to the others."""
        if not paths:
            return
        self.open(paths[0])
        if len(paths) > 1:
            others = "the other one was" if len(paths) == 2 else f"{len(paths) - 1} others were"
            self._messages.show_message(
                Message(
                    f"Limn shows one image at a time: {paths[0].name} is opened, {others} not.",
                    "offer",
                )
            )

    def open(self, path: Path, image: Path | None = None) -> None:
        """Open an image or a project; image: where the project's image is, if it has moved."""
        path = tidy(path)
        if self._closing:
            return
        if self._engine.busy == "exporting":
            self._messages.show_error("An export is under way; wait or cancel it, then open.")
            return
        if is_project(path) and path == self.project:
            self._messages.show_error(f"{path.name} is open already.")
            return
        if self._ready is not None:  # the former one is just being put in place
            return
        if self._job is not None:
            self._waiting = (path, image)
            self._job.stop()
            return
        self._path = path
        self._strip.begin(f"Opening {path.name}…")
        self._job = Job(partial(opening, path, image), self)
        self._job.succeeded.connect(self._read)
        self._job.failed.connect(self._failed)
        self._job.finished.connect(self._job_finished)
        self._job.start()

    @Slot()
    def cancel(self) -> None:
        """Do not open after all."""
        self._waiting = None
        if self._job is not None:
            self._job.stop()

    @Slot(object)
    def _read(self, result: object) -> None:
        if self._closing or self._waiting is not None:
            if isinstance(result, Opened):
                result.stack.close()
        elif isinstance(result, MissingImage):
            self._offer_to_locate(result)
        elif isinstance(result, Opened):
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
        waiting, self._waiting = self._waiting, None
        if self._closing:
            self.finished.emit()
        elif waiting is not None:
            self.open(*waiting)

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
        self._switching = True
        self._document.end_stroke()
        self.leaving.emit()
        if self._ready.project is not None:
            # Strokes made before the answer would go to the wrong project.
            self._window.setEnabled(False)
            self._saver.open_project(self._ready.project)
            return
        self._saver.start_recovery(self._ready.stack, DEFAULT_CLASSES)
        self._restored = False
        self.project = None  # the saver will say so too, as soon as it has written what is left
        self._show(None)

    @Slot(object)
    def project_opened(self, loaded: LoadedProject) -> None:
        """The saver has opened the project and goes on there."""
        self._restored = is_recovery(loaded.path)
        self._show(loaded)
        self._unfreeze()

    @Slot(str)
    def project_failed(self, sentence: str) -> None:
        """The saver could not open the project and has kept the former one."""
        ready, self._ready, self._switching = self._ready, None, False
        if ready is not None:
            ready.stack.close()
        self._strip.end()
        self._messages.show_error(sentence)
        self._unfreeze()

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
                ready.stack, ready.ranges, loaded.annotation, loaded.history, list(loaded.classes)
            )
            if loaded.image is None or loaded.image.path != ready.stack.path.absolute():
                self._saver.put_image(ready.stack)  # it was found in another place
        self._engine.set_classes(self._document.classes)
        if self._engine.busy == "idle":
            self._close_formers()
        self._strip.end()
        self._messages.clear_past()
        if ready.warning:
            self._messages.show_error(ready.warning)
        if not self._restored:
            self._settings.open_folder = (ready.project or ready.stack.path).absolute().parent
        self._announce_title()
        self.opened.emit(loaded.settings if loaded is not None else {})

    def _close_formers(self) -> None:
        # Only once no job reads them any more.
        while self._formers:
            self._formers.pop().close()

    def _offer_to_locate(self, missing: MissingImage) -> None:
        name = missing.image.name if missing.image is not None else "its image"
        place = f" in {missing.image.parent}" if missing.image is not None else ""
        self._messages.show_message(
            Message(
                f"{name} of {missing.project.name} is not{place} any more; show where it is now.",
                "error",
                actions=(("Locate…", partial(self._locate, missing)),),
            )
        )

    def _locate(self, missing: MissingImage) -> None:
        images = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(
            self._window,
            f"Where is the image of {missing.project.name}?",
            str(missing.project.parent),
            f"Images ({images});;All files (*)",
        )
        if name:
            self.open(missing.project, Path(name))

    # --- naming ------------------------------------------------------------------------------

    @Slot(object)
    def project_named(self, path: Path | None) -> None:
        """The saver writes to another file now."""
        if path is not None and not is_recovery(path):
            self._restored = False
        self.project = path
        self._announce_title()

    @property
    def has_name(self) -> bool:
        """Whether the user has given the project a name."""
        return self.project is not None and not is_recovery(self.project)

    @Slot()
    def save(self) -> None:
        """Give the work a name, if it has none; else all is on the disk already."""
        if not self.has_name:
            self.ask_save_as()

    @Slot()
    def ask_save_as(self) -> None:
        """Ask for a name, and go on under it."""
        if self._document.stack is None:
            return
        start = self.project if self.has_name else self._document.stack.path.with_suffix(SUFFIX)
        name, _ = QFileDialog.getSaveFileName(
            self._window, "Save the project as", str(start), f"Limn project (*{SUFFIX})"
        )
        if name:
            self.save_as(Path(name))

    def save_as(self, path: Path) -> None:
        """Save under the name `path`; ".limn" is added where it is missing."""
        if not is_project(path):
            path = path.with_name(path.name + SUFFIX)
        self._document.end_stroke()
        self._saver.save_as(path.absolute())

    def _announce_title(self) -> None:
        stack = self._document.stack
        if stack is None:
            title = "Limn"
        elif self.has_name:
            assert self.project is not None
            title = f"{self.project.name} — Limn"
        elif self._restored:
            title = f"{stack.path.name} [recovered] — Limn"
        elif self.project is not None:
            title = f"{stack.path.name} [autosaved, no name yet] — Limn"
        else:
            title = f"{stack.path.name} — Limn"
        self.title_changed.emit(title)

    # --- recovering --------------------------------------------------------------------------

    @Slot()
    def offer_recovered(self) -> None:
        """Say that unnamed work of an earlier session is there, the newest on top."""
        for work in reversed(unfinished()[:3]):
            if work.path == self.project:
                continue
            self._messages.show_message(
                Message(
                    f"Unsaved work on {work.image_name or 'an image'} from "
                    f"{when(work.modified)} ({strokes(work)}).",
                    "offer",
                    actions=(("Restore", partial(self.open, work.path)),),
                    close_text="Not now",
                )
            )

    # --- the end -----------------------------------------------------------------------------

    def shutdown(self) -> bool:
        """Open nothing any more. True while a job still runs; then `finished` will come."""
        self._closing = True
        self._waiting = None
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


def when(moment: float) -> str:
    """Return "today 17:30", "yesterday 09:05" or "2026-03-01 12:00" for a Unix time."""
    then, now = time.localtime(moment), time.localtime()
    clock = time.strftime("%H:%M", then)
    if then[:3] == now[:3]:
        return f"today {clock}"
    if then[:3] == time.localtime(time.time() - 86400)[:3]:
        return f"yesterday {clock}"
    return time.strftime("%Y-%m-%d %H:%M", then)


def strokes(work: RecoveredWork) -> str:
    """Return "1 stroke" or "8 strokes"."""
    return "1 stroke" if work.strokes == 1 else f"{work.strokes} strokes"
