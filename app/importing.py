"""Masks that other programs made, as the window takes them in: one edit, which undo takes back."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.document import FIRST_CELL_CLASS, Document
from app.jobs import Job, JobError, Steps
from app.messages import Message, MessageBar, ProgressStrip
from app.settings import Settings
from unet_core.annotation import Annotation, Edit
from unet_core.export import Progress
from unet_core.labels import class_of
from unet_core.stack import PlaneIndex, Stack

if TYPE_CHECKING:
    from unet_core.import_masks import Imported

OBJECTS = "Objects: label images, ImageJ ROIs, GeoJSON (*.tif *.tiff *.zip *.roi *.geojson *.json)"
CLASSES = "Classes: images of 1 background, 2, 3… (*.tif *.tiff)"
KINDS = (OBJECTS, CLASSES, "All files, as objects (*)")
"""A label image does not say which of both it is, so the choice of the kind of file does."""

UNKNOWN_COLOR = "#999999"
"""Of a class that a file brings."""

Meaning = Literal["objects", "classes"]


class Importing(QObject):
    """Asks for a file, reads it in a thread, and lays it under what is painted."""

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
        self._job: Job | None = None
        self._path = Path()
        self._labels_are: Meaning = "objects"
        self._class = FIRST_CELL_CLASS
        self._wanted = False
        """Whether what is read is still to be taken in."""
        # Counts everything that changes labels: an edit planned on earlier ones does not fit.
        self._revision = 0
        self._read_at = 0
        self._closing = False
        document.stack_changed.connect(self.cancel)
        document.history_changed.connect(self._count_revision)

    @property
    def busy(self) -> bool:
        """Whether a file is being read."""
        return self._job is not None

    @Slot()
    def ask(self) -> None:
        """Ask for a file, and take its masks in."""
        if self._document.stack is None:
            return
        folder = self._settings.open_folder or Path.home()
        name, kind = QFileDialog.getOpenFileName(
            self._window, "Import masks", str(folder), ";;".join(KINDS)
        )
        if name:
            self.import_from(Path(name), "classes" if kind == CLASSES else "objects")

    def import_from(self, path: Path, labels_are: Meaning = "objects") -> None:
        """Take the masks in `path` in, with the class chosen now where the file names none.

        `labels_are`: what the values of label images stand for.

        Ends with a message: what came in, or why nothing did.
        """
        if self._document.stack is None or self._closing:
            return
        if self._job is not None or not self._strip.isHidden():
            self._messages.show_error(
                "Something else is under way: wait or cancel it, then import."
            )
            return
        self._document.end_stroke()
        self._path, self._labels_are = path, labels_are
        self._class = max(self._document.active_class, FIRST_CELL_CLASS)
        self._wanted = True
        self._strip.begin(f"Importing {path.name}…")
        self._read()

    def _read(self) -> None:
        document = self._document
        assert document.stack is not None
        self._read_at = self._revision
        # Background is nothing that objects may be.
        known = enumerate(document.classes[FIRST_CELL_CLASS - 1 :], FIRST_CELL_CLASS)
        values = {info.name: value for value, info in known}
        steps = partial(
            _steps,
            self._path,
            document.stack,
            document.annotation.snapshot(),
            self._class,
            values,
            self._labels_are,
            document.plane,
        )
        self._job = Job(steps, self)
        self._job.progressed.connect(self._progressed)
        self._job.succeeded.connect(self._succeeded)
        self._job.failed.connect(self._failed)
        self._job.finished.connect(self._finished)
        self._job.start()

    @Slot()
    def _count_revision(self) -> None:
        self._revision += 1

    @Slot(object)
    def _progressed(self, progress: Progress) -> None:
        if self._wanted:
            text = f"Importing {self._path.name}: {progress.text}"
            self._strip.set_progress(progress.done, progress.total, text)

    @Slot(object)
    def _succeeded(self, found: Imported) -> None:
        if not self._wanted:
            return
        if self._revision != self._read_at or self._document.stroking:
            return  # it is read once more, see `_finished`
        self._end()
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
        classes = self._document.classes
        said = f" as “{classes[self._class - 1].name}”"
        if len(classes) > FIRST_CELL_CLASS:
            chosen = self._class == self._document.active_class  # else that is the background
            said += ", the class that is chosen now" if chosen else ", the first class"
            said += ", where the file names none of yours"
        if not found.objects:
            what, said = "classes", ""
        return (
            f"Imported {what} from {name}{said}. What was painted already has stayed; one undo "
            f"takes all of it back.{left_out}"
        )

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        if self._wanted:
            self._end()
            self._messages.show_error(error.sentence, error.details)

    @Slot()
    def _finished(self) -> None:
        if self._job is not None:
            self._job.deleteLater()
        self._job = None
        if self._closing:
            self.finished.emit()
        elif self._wanted:
            self._read()  # the labels have changed meanwhile

    @Slot()
    def cancel(self) -> None:
        """Take nothing in: the user says so, or another image comes."""
        if self._wanted:
            self._end()
        if self._job is not None:
            self._job.stop()

    def _end(self) -> None:
        """The strip is free for others, whatever the thread still does."""
        self._wanted = False
        self._strip.end()

    def shutdown(self) -> bool:
        """Change nothing any more. True while a thread still runs; then `finished` will come."""
        self._closing = True
        self.cancel()
        return self._job is not None


def _steps(
    path: Path,
    stack: Stack,
    labels: Annotation,
    value: int,
    values: dict[str, int],
    labels_are: Meaning,
    plane: PlaneIndex,
) -> Steps:
    from unet_core.import_masks import importing

    return (
        yield from importing(
            path, stack, labels, value=value, values=values, labels_are=labels_are, plane=plane
        )
    )
