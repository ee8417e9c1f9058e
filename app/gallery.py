"""The images of a project: which there are, which one is on show, and what is marked of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.document import Document, OtherImage
from app.engine import Engine
from app.files import Files, tidy
from app.jobs import JobError, OneJob
from app.messages import Message, MessageBar, ProgressStrip
from app.opening import IMAGE_FILTER, Found, ImageList, Opened, adding, listing, showing
from app.saver import LoadedImage, Saver
from app.settings import Settings
from unet_core.annotation import Annotation, History
from unet_core.image_reference import ImageReference
from unet_core.project import FIRST_IMAGE, ProjectImage

Mark = Literal["reviewed", "predicted"]

NAMED = 3
"""So many files that were not added are named in a message; the others are counted."""


@dataclass(frozen=True)
class Entry:
    """An image of the project, as a list shows it."""

    id: int
    path: Path
    reference: ImageReference | None
    """None while it is not known what the file looks like: an image without a project."""
    labelled: bool = False
    reviewed: bool = False
    predicted: bool = False


class Gallery(QObject):
    """Adds images to the project, goes from one to another, and knows their marks.

    The labels themselves are the document's.
    """

    changed = Signal()
    """There are other entries, or other marks."""
    shown = Signal()
    """Another image of the project is on show."""
    leaving = Signal()
    """The present image is about to make way for another one."""
    finished = Signal()
    """After `shutdown`: nothing runs any more."""

    def __init__(
        self,
        window: QWidget,
        document: Document,
        engine: Engine,
        saver: Saver,
        files: Files,
        settings: Settings,
        messages: MessageBar,
        strip: ProgressStrip,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._document = document
        self._engine = engine
        self._saver = saver
        self._files = files
        self._settings = settings
        self._messages = messages
        self._strip = strip
        self._opening = OneJob(self)
        self._opening.failed.connect(self._failed)
        self._opening.finished.connect(self.finished)
        self._adding = OneJob(self)
        self._adding.failed.connect(self._not_added)
        self._adding.finished.connect(self.finished)
        self._wanted: int | None = None  # the image that is being opened
        self._ready: Opened | None = None  # read, and waiting for its history
        self._then: Callable[[], None] = _nothing  # once it is shown
        self._first = Path()  # of the images to begin new work with…
        self._to_add: list[Path] = []  # …the others, once that one is there
        self._question: Message | None = None  # whether to remove an image
        self.entries: list[Entry] = []
        """In the order in which they were added."""

    # --- what is in the project --------------------------------------------------------------

    @Slot()
    def project_changed(self) -> None:
        """Other work altogether: what was being opened belongs to the former one."""
        self.cancel()
        self._take_back_question()
        self.entries = []

    @Slot(object)
    def opened(self, images: Sequence[ProjectImage]) -> None:
        """An image or a project has been opened; these are the project's images, if it has any."""
        document = self._document
        assert document.stack is not None
        self.entries = [_entry(one) for one in images] or [
            Entry(FIRST_IMAGE, document.stack.path, self._files.image)
        ]
        self._update_place()
        self._tell_engine()
        self._update_labelled()
        self.changed.emit()
        paths, self._to_add = self._to_add, []
        if paths and not images and tidy(document.stack.path) == tidy(self._first):
            self.add(paths)

    @property
    def entry(self) -> Entry | None:
        """That of the image on show."""
        return self._of(self._document.image)

    def _of(self, image: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.id == image), None)

    def _replace(self, image: int, change: Callable[[Entry], Entry]) -> None:
        self.entries = [change(e) if e.id == image else e for e in self.entries]
        self.changed.emit()

    @Slot()
    def labels_changed(self) -> None:
        """Something was painted, erased or undone on the image on show."""
        entry = self.entry
        if entry is not None and entry.labelled != bool(self._document.annotation.counts()):
            self._update_labelled()
            self.changed.emit()

    def _update_labelled(self) -> None:
        image, labelled = self._document.image, bool(self._document.annotation.counts())
        self.entries = [replace(e, labelled=labelled) if e.id == image else e for e in self.entries]

    @Slot()
    def located(self) -> None:
        """The image on show has been found in another place than the project knew."""
        self._update_place()
        self.changed.emit()

    def _update_place(self) -> None:
        now, image = self._files.image, self._document.image
        if now is not None:
            self.entries = [
                replace(e, path=now.path, reference=now) if e.id == image else e
                for e in self.entries
            ]

    def _tell_engine(self) -> None:
        self._engine.set_others(self._document.image, self._document.others, self.folder)

    @property
    def folder(self) -> Path:
        """That of the project."""
        project = self._files.project
        return project.parent if project is not None else Path()

    # --- adding and removing -----------------------------------------------------------------

    @Slot()
    def ask_files(self) -> None:
        """Ask for images, and add them."""
        names, _ = QFileDialog.getOpenFileNames(
            self._window, "Add images", str(self._folder()), IMAGE_FILTER
        )
        self.add([Path(name) for name in names])

    @Slot()
    def ask_folder(self) -> None:
        """Ask for a folder, and add all images in it."""
        name = QFileDialog.getExistingDirectory(
            self._window, "Add all images of a folder", str(self._folder())
        )
        if name:
            self.add([Path(name)])

    def _folder(self) -> Path:
        return self._settings.open_folder or Path.home()

    def add(self, paths: Sequence[Path]) -> None:
        """Add images, and all those in folders, to the project; the first one opens it if need be.

        Ends with a message where something was not added.
        """
        if not paths:
            return
        if self._document.stack is None:
            self.open_all(paths)
            return
        channels = self._document.stack.shape[2]
        many = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
        self._strip.begin(f"Looking at {many}…")
        self._adding.run(partial(adding, paths, channels), self._found)

    @Slot(object)
    def open_all(self, paths: Sequence[Path], ask: bool = False) -> None:
        """Begin new work with these images, or all those in folders: the first one is shown.

        ask: whether the user may be asked which image of a single file is meant.
        """
        if len(paths) == 1:
            self._files.open(paths[0], ask=ask)
        elif paths:
            self._files.run("Looking for images…", partial(listing, paths), self._begin_with)

    def _begin_with(self, images: ImageList) -> None:
        self.begin_with(images.paths)

    @Slot(object)
    def begin_with(self, paths: Sequence[Path]) -> None:
        """Open the first of these images as soon as can be, and add the others to it."""
        self._first, *self._to_add = paths
        self._files.open_next(self._first)

    def _found(self, found: Found) -> None:
        self._strip.end()
        known = {entry.path.absolute() for entry in self.entries}
        new = [(shape, one) for shape, one in found.images if one.path.absolute() not in known]
        if new:
            self._saver.add_images(new)
        twice = len(found.images) - len(new)
        refused = list(found.refused)
        if not new and twice and not refused:
            refused = ["All of these images are in the project already."]
        if refused:
            self._messages.show_error(_sentence_of(refused), "\n".join(refused[NAMED:]))

    @Slot(object, object)
    def added(self, project: Path, images: Sequence[ProjectImage]) -> None:
        """The saver has put them into the project."""
        document = self._document
        if project != self._files.project:  # other work has come meanwhile
            return
        new = {
            one.id: OtherImage(one.reference, Annotation(one.shape), History(), chosen=True)
            for one in images
        }
        self.entries += [_entry(one) for one in images]
        document.set_others({**document.others, **new})
        self._tell_engine()
        self.changed.emit()

    def remove(self, image: int) -> None:
        """Take an image out of the project; one with labels only after a question."""
        entry = self._of(image)
        if entry is None or len(self.entries) < 2:
            return
        self._take_back_question()
        if not entry.labelled:
            self._remove(image)
            return
        self._question = Message(
            f"Remove {entry.path.name} and its labels from the project? This can not be "
            "undone; the image file itself stays where it is.",
            "offer",
            actions=(("Remove", partial(self._remove, image)),),
        )
        self._messages.show_message(self._question)

    def _take_back_question(self) -> None:
        question, self._question = self._question, None
        if question is not None:
            self._messages.retract(question)

    def _remove(self, image: int) -> None:
        places, document = [entry.id for entry in self.entries], self._document
        if image not in places or len(places) < 2:
            return
        if image == document.image:
            at = places.index(image)
            self.show(places[at - 1 if at else 1], then=partial(self._remove, image))
            return
        if image == self._wanted:
            self._let_go()
            self._opening.cancel()
        # At once: nobody must paint on it while the saver is still about to remove it.
        self.entries = [entry for entry in self.entries if entry.id != image]
        document.set_others({n: one for n, one in document.others.items() if n != image})
        self._saver.remove_image(image)
        self._tell_engine()
        self.changed.emit()

    # --- marks -------------------------------------------------------------------------------

    def mark(self, image: int, mark: Mark, on: bool) -> None:
        """Mark an image as reviewed or predicted, or take the mark away."""
        entry = self._of(image)
        if entry is None or getattr(entry, mark) == on:
            return
        self._saver.mark_image(image, mark, on)
        self._replace(image, lambda e: replace(e, **{mark: on}))  # type: ignore[arg-type]

    @Slot()
    def toggle_reviewed(self) -> None:
        """Say that the image on show is done, or is not."""
        entry = self.entry
        if entry is not None:
            self.mark(entry.id, "reviewed", not entry.reviewed)

    # --- going from one to another -----------------------------------------------------------

    @Slot()
    def next(self) -> None:
        self._step(1)

    @Slot()
    def previous(self) -> None:
        self._step(-1)

    def _step(self, steps: int) -> None:
        """Go on in the list from what is on show, or is about to be."""
        places = [entry.id for entry in self.entries]
        now = self._document.image if self._wanted is None else self._wanted
        if now in places:
            at = places.index(now) + steps
            if 0 <= at < len(places):
                self.show(places[at])

    def show(self, image: int, then: Callable[[], None] | None = None) -> None:
        """Show another image of the project, then do `then`. The newest wish wins."""
        document, entry = self._document, self._of(image)
        if self._is_exporting():
            return
        if self._files.switching or document.stack is None or entry is None:
            return
        self._let_go()
        if image == document.image:
            self._opening.cancel()
            return
        other = document.others[image]
        if other.history is None and self._saver.problem:
            self._messages.show_error(
                f"{entry.path.name} can be shown once your last strokes are saved: "
                f"{self._saver.problem}"
            )
            return
        self._wanted = image
        self._strip.begin(f"Opening {entry.path.name}…")
        steps = partial(showing, other, self._files.project)
        self._then = then or _nothing
        self._opening.run(steps, partial(self._read, image), _close)

    def _is_exporting(self) -> bool:
        """Whether the image on show has to stay; then the user is told."""
        exporting = self._engine.busy == "exporting"
        if exporting:
            self._messages.show_error("An export is under way; wait or cancel it first.")
        return exporting

    def _read(self, image: int, opened: Opened) -> None:
        self._ready = opened
        history = self._document.others[image].history
        if history is None:
            self._saver.load_image(image)  # `loaded` comes
        else:
            self._show(image, self._document.others[image].annotation, history)

    @Slot(object)
    def loaded(self, loaded: LoadedImage) -> None:
        """The saver has read what the project file holds of an image."""
        if loaded.image == self._wanted and self._ready is not None:
            self._show(loaded.image, loaded.annotation, loaded.history)

    @Slot(int)
    def not_loaded(self, image: int) -> None:
        """The saver could not read it, and has said why."""
        if image == self._wanted:
            self._let_go()

    def _show(self, image: int, labels: Annotation, history: History) -> None:
        if self._is_exporting():  # begun after this image was asked for
            self._let_go()
            return
        opened, self._ready, self._wanted = self._ready, None, None
        assert opened is not None
        document, then = self._document, self._then
        document.end_stroke()
        self.leaving.emit()
        left = self.entry
        reference = document.others[image].reference
        # The engine first: what the document says next is about the new image.
        self._engine.show_image(opened.stack, opened.ranges)
        self._files.leave_stack()
        document.show_image(
            image,
            opened.stack,
            opened.ranges,
            labels.thawed(),
            history.copy(),  # the other one may be on its way to a file
            None if left is None else left.reference,
        )
        self._tell_engine()
        self._saver.show_image(opened.stack)
        found = opened.reference
        moved = found is not None and (reference is None or found.path != reference.path)
        if moved:
            self._saver.put_image(opened.stack, image)
        self._strip.end()
        self._files.image_shown(opened, reference)
        if moved:
            self._update_place()
        self.shown.emit()
        self.changed.emit()
        then()

    def _let_go(self) -> None:
        """Drop what has been read and not shown."""
        ready, self._ready, self._wanted = self._ready, None, None
        if ready is not None:
            ready.stack.close()
        if self._opening.busy or ready is not None:
            self._strip.end()

    @Slot(object)
    def _failed(self, error: JobError) -> None:
        self._let_go()
        self._strip.end()
        self._messages.show_error(error.sentence, error.details)

    @Slot(object)
    def _not_added(self, error: JobError) -> None:
        self._strip.end()
        self._messages.show_error(error.sentence, error.details)

    @Slot()
    def cancel(self) -> None:
        """Do not add or show other images after all."""
        if self._adding.busy:
            self._adding.cancel()
            self._strip.end()
        if self._wanted is not None:
            self._let_go()
            self._opening.cancel()

    def shutdown(self) -> int:
        """Open nothing any more. How many jobs still run: so often will `finished` come."""
        self._let_go()
        return self._opening.shutdown() + self._adding.shutdown()


def _nothing() -> None:
    """What there is to do after most images have been shown."""


def _entry(image: ProjectImage) -> Entry:
    path = Path("image") if image.reference is None else image.reference.path
    return Entry(image.id, path, image.reference, image.labelled, image.reviewed, image.predicted)


def _close(opened: Opened) -> None:
    opened.stack.close()


def _sentence_of(refused: Sequence[str]) -> str:
    """One message about files that were not added."""
    text = " ".join(refused[:NAMED])
    more = len(refused) - NAMED
    return f"{text} {more} more were not added." if more > 0 else text
