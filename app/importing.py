"""Masks that other programs made, as the window takes them in: one edit, which undo takes back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.document import FIRST_CELL_CLASS, Document
from app.import_dialog import ImportDialog, ImportOptions, Look, Meaning, picture_of
from app.jobs import InTurn, JobError, OneJob, Steps
from app.messages import Message, MessageBar, ProgressStrip
from app.settings import Settings
from unet_core.annotation import BACKGROUND, Annotation, ClassInfo, Edit
from unet_core.export import Progress
from unet_core.labels import class_of
from unet_core.stack import PlaneIndex, Stack

if TYPE_CHECKING:
    from unet_core.import_masks import Imported

KINDS = (
    "Masks: label images, ImageJ ROIs, GeoJSON "
    "(*.tif *.tiff *.png *.npy *.h5 *.hdf5 *.zip *.roi *.geojson *.json)",
    "All files (*)",
)

UNKNOWN_COLOR = "#999999"
"""Of a class that a file brings."""


@dataclass(frozen=True)
class _Source:
    """What masks are read from, and what they are laid under."""

    path: Path
    stack: Stack
    labels: Annotation
    """A snapshot."""
    classes: tuple[ClassInfo, ...]
    plane: PlaneIndex
    """The one on show."""


class Importing(QObject):
    """Asks for a file, shows what it would bring, and lays it under what is painted, or over it.

    What is read is read in a thread, and the labels may change meanwhile: then it is read again.
    """

    finished = Signal()
    """What was being read when `shutdown` was called has ended."""

    def __init__(
        self,
        window: QWidget,
        document: Document,
        settings: Settings,
        messages: MessageBar,
        strip: ProgressStrip,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._document = document
        self._settings = settings
        self._messages = messages
        self._strip = strip
        self._path = Path()
        self._options = ImportOptions()
        self._wanted = False
        """Whether what is read is still to be taken in."""
        self._dialog: ImportDialog | None = None
        self._reading = InTurn(self)
        self._reading.progressed.connect(self._progressed)
        self._reading.failed.connect(self._failed)
        self._reading.finished.connect(self._part_finished)
        self._looking = OneJob(self)
        self._looking.progressed.connect(self._look_progressed)
        self._looking.failed.connect(self._look_failed)
        self._looking.finished.connect(self._part_finished)
        # Counts everything that changes labels: an edit planned on earlier ones does not fit.
        self._revision = 0
        self._read_at = 0
        self._closing = False
        self._running = 0
        """So many threads still run while the window closes."""
        document.stack_changed.connect(self.cancel)
        document.history_changed.connect(self._count_revision)

    @property
    def busy(self) -> bool:
        """Whether a file is being read, or looked at."""
        return self._reading.busy or self._looking.busy

    @Slot()
    def ask(self) -> None:
        """Ask for a file, and show what it brings."""
        if self._document.stack is None:
            return
        folder = self._settings.open_folder or Path.home()
        name, _ = QFileDialog.getOpenFileName(
            self._window, "Import masks", str(folder), ";;".join(KINDS)
        )
        if name:
            self.preview(Path(name))

    # --- what it would bring ---------------------------------------------------------------------

    def preview(self, path: Path) -> None:
        """Show what the masks in `path` would change, and take them in if the user says so."""
        stack = self._document.stack
        if stack is None or self._closing or self._is_occupied():
            return
        self._document.end_stroke()
        value = max(self._document.active_class, FIRST_CELL_CLASS)
        dialog = ImportDialog(path, self._document.classes, value, stack, self._window)
        dialog.options_changed.connect(self._look)
        dialog.chosen.connect(self._take_look)
        dialog.finished.connect(self._dialog_closed)
        self._dialog, self._path = dialog, path
        self._look()
        dialog.open()

    @Slot()
    def _look(self) -> None:
        if self._dialog is not None:
            steps = partial(_look_steps, self._source(), self._dialog.options())
            self._looking.run(steps, self._looked)

    def _looked(self, look: Look) -> None:
        if self._dialog is not None:
            self._dialog.show_look(look)

    @Slot(object)
    def _look_progressed(self, progress: Progress) -> None:
        if self._dialog is not None:
            share = f", {progress.done} of {progress.total}" if progress.total > 1 else ""
            self._dialog.reading(f"{progress.text}{share}…")

    @Slot(object)
    def _look_failed(self, error: JobError) -> None:
        if self._dialog is not None:
            self._dialog.show_error(error.sentence)

    @Slot()
    def _dialog_closed(self) -> None:
        self._dialog = None
        self._looking.cancel()

    @Slot(object)
    def _take_look(self, look: Look) -> None:
        self._options = look.options
        if self._revision == self._read_at and not self._document.stroking:
            self._take(look.found)
        else:
            self.import_from(self._path, look.options)

    # --- taking it in ----------------------------------------------------------------------------

    def import_from(self, path: Path, options: ImportOptions | None = None) -> None:
        """Take the masks in `path` in: as objects of the class chosen now, under what is painted.

        `options` says otherwise. Ends with a message: what came in, or why nothing did.
        """
        if self._document.stack is None or self._closing or self._is_occupied():
            return
        self._document.end_stroke()
        value = max(self._document.active_class, FIRST_CELL_CLASS)
        self._path, self._options = path, options or ImportOptions("objects", value)
        self._wanted = True
        self._strip.begin(f"Importing {path.name}…")
        self._read()

    def _is_occupied(self) -> bool:
        occupied = self._reading.busy or not self._strip.isHidden()
        if occupied:
            self._messages.show_error(
                "Something else is under way: wait or cancel it, then import."
            )
        return occupied

    def _source(self) -> _Source:
        document = self._document
        assert document.stack is not None
        self._read_at = self._revision
        return _Source(
            self._path,
            document.stack,
            document.annotation.snapshot(),
            tuple(document.classes),
            document.plane,
        )

    def _read(self) -> None:
        self._reading.run(partial(_read_steps, self._source(), self._options), self._succeeded)

    @Slot()
    def _count_revision(self) -> None:
        self._revision += 1

    @Slot(object)
    def _progressed(self, progress: Progress) -> None:
        if self._wanted:
            text = f"Importing {self._path.name}: {progress.text}"
            self._strip.set_progress(progress.done, progress.total, text)

    def _succeeded(self, found: Imported) -> None:
        if self._revision != self._read_at or self._document.stroking:
            self._reading.later(self._read)  # the labels have changed meanwhile
            return
        self._end()
        self._take(found)

    def _take(self, found: Imported) -> None:
        if found.edit is not None:
            self._list_classes(found.edit)
            self._document.annotation.apply(found.edit)
            self._document.apply_edit(found.edit)
        self._messages.show_message(Message(self._sentence(found), "done"))

    def _list_classes(self, edit: Edit) -> None:
        """Add the classes that come in and are not known yet; the chosen one stays chosen."""
        document = self._document
        chosen = document.active_class
        highest = max(class_of(one) for one in edit.gained())
        for value in range(len(document.classes) + 1, highest + 1):
            document.add_class(f"class {value}", UNKNOWN_COLOR)
        document.set_active_class(chosen)

    def _sentence(self, found: Imported) -> str:
        name = self._path.name
        left_out = ""
        if found.skipped:
            many = "1 shape" if found.skipped == 1 else f"{found.skipped} shapes"
            left_out = f" {many} without an area or outside of the image were left out."
        if found.edit is None:
            return (
                f"{name} holds no masks, or none where nothing is painted yet; nothing was "
                f"changed.{left_out}"
            )
        what = "1 object" if found.objects == 1 else f"{found.objects} objects"
        classes, value = self._document.classes, self._options.value
        said = f" as “{classes[value - 1].name}”"
        if len(classes) > FIRST_CELL_CLASS:
            if value == self._document.active_class:
                said += ", the class that is chosen now"
            said += ", where the file names none of yours"
        if not found.objects:
            what, said = "classes", ""
        stayed = "What was painted already has stayed; one" if self._options.keep else "One"
        return f"Imported {what} from {name}{said}. {stayed} undo takes all of it back.{left_out}"

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        if self._wanted:
            self._end()
            self._messages.show_error(error.sentence, error.details)

    @Slot()
    def cancel(self) -> None:
        """Take nothing in: the user says so, or another image comes."""
        if self._dialog is not None:
            self._dialog.reject()
        if self._wanted:
            self._end()
        self._reading.cancel()

    def _end(self) -> None:
        """The strip is free for others, whatever the thread still does."""
        self._wanted = False
        self._strip.end()

    def shutdown(self) -> bool:
        """Change nothing any more. True while a thread still runs; then `finished` will come."""
        self._closing = True
        self.cancel()
        self._running = self._reading.shutdown() + self._looking.shutdown()
        return self._running > 0

    @Slot()
    def _part_finished(self) -> None:
        self._running -= 1
        if self._running == 0:
            self.finished.emit()


def _read_steps(source: _Source, options: ImportOptions) -> Steps:
    from unet_core.import_masks import importing, made_by

    values = {info.name: value for value, info in enumerate(source.classes, BACKGROUND)}
    return (
        yield from importing(
            source.path,
            source.stack,
            source.labels,
            value=options.value,
            values=values,
            labels_are=options.labels_are or made_by(source.path)[1],
            plane=source.plane,
            keep=options.keep,
            background=options.background,
        )
    )


def _look_steps(source: _Source, options: ImportOptions) -> Steps:
    from unet_core.import_masks import kind_of, made_by

    words, guess = made_by(source.path)
    shapes = not source.path.is_dir() and kind_of(source.path) != "labels"
    meaning: Meaning | None = None if shapes else options.labels_are or guess
    found: Imported = yield from _read_steps(source, options)
    picture = None
    if found.sample is not None:
        picture = picture_of(source.stack, found.sample, meaning, source.classes)
    return Look(options, words, meaning, found, picture)
