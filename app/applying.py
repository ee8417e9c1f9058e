"""“Apply to folder” as the window does it: the dialog, the strip, and what it says at the end."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QWidget

from app.apply_dialog import ApplyDialog
from app.document import Document, OtherImage
from app.engine import Engine
from app.exporting import folder_command, tell_written
from app.files import Files
from app.messages import Message, MessageBar, ProgressStrip
from app.panels.prediction import LEVELS, PredictionPanel
from app.requests import Applied, FolderRequest
from unet_core.batch import BatchProgress, duration_in_words
from unet_core.export import DEFAULT_MIN_SIZE
from unet_core.export_presets import methods_sentence


class Applying(QObject):
    """Asks, hands over to the engine, and shows how far it is; the window stays usable."""

    def __init__(
        self,
        window: QWidget,
        document: Document,
        engine: Engine,
        files: Files,
        prediction: PredictionPanel,
        messages: MessageBar,
        strip: ProgressStrip,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._document = document
        self._engine = engine
        self._files = files
        self._prediction = prediction
        self._messages = messages
        self._strip = strip
        self._presets: tuple[str, ...] = ("objects",)
        self._min_size = DEFAULT_MIN_SIZE
        self._reached = ""
        """Which image of how many."""
        self._running = False

    @Slot()
    def ask(self) -> None:
        """Ask for images, beginning with the folder of the present one."""
        stack = self._document.stack
        if stack is None:
            return
        model = self._engine.shown_model
        dialog = ApplyDialog(
            stack.path.absolute().parent,
            self._presets,
            self._prediction.threshold.value() / LEVELS,
            self._min_size,
            self._window,
            network="The bundled network" if model is None else "What Limn has learned here",
            has_file=self._engine.file_of(model) is not None,
            project=list(self._labelled()),
            source="both",
        )
        dialog.chosen.connect(self.apply)
        dialog.open()

    @Slot(object)
    def apply(self, request: FolderRequest) -> None:
        """Do it; ends with `engine.apply_finished` or `engine.failed`."""
        self._presets, self._min_size = request.presets, request.min_size
        self._document.end_stroke()
        self._reached = ""
        self._engine.apply(request, self._labelled())

    def _labelled(self) -> dict[Path, OtherImage]:
        """The images of the project, by their paths."""
        document = self._document
        own = OtherImage(self._files.image, document.annotation.snapshot())
        images = dict(sorted({**document.others, document.image: own}.items()))
        return {one.reference.path: one for one in images.values() if one.reference is not None}

    # --- what the engine says --------------------------------------------------------------------

    @Slot(str)
    def engine_busy(self, busy: str) -> None:
        """The engine has begun or ended something."""
        if busy == "exporting" and self._engine.applies:
            self._running = True
            self._strip.begin("Looking at the images…")
        elif self._running:
            self._running = False
            self._strip.end()

    @Slot(object)
    def progressed(self, report: BatchProgress) -> None:
        """Show how far it is."""
        if self._strip.isHidden():  # something else has shown there what it did
            self._strip.begin("")
        left = report.seconds_left
        when = f", {duration_in_words(left)} left" if left is not None else ""
        self._reached = f"{report.number} of {report.count}"
        self._strip.set_progress(
            round(1000 * report.share),
            1000,
            f"{self._reached}{when}: {report.image.name}: {report.progress.text}",
        )

    @Slot(object)
    def finished(self, done: Applied | None) -> None:
        """Say what was written, and what was not."""
        self._strip.end()
        reached, self._reached = self._reached, ""
        if done is None:
            self._messages.show_message(
                Message(f"Cancelled at image {reached}; what was written before stays.", "done")
                if reached
                else Message("Cancelled; no file was written.", "done")
            )
            return
        failed = [one for one in done.outcomes if one.error]
        skipped = sum(one.skipped for one in done.outcomes)
        written = [one for one in done.outcomes if not one.error and not one.skipped]
        sentence = f"{_images(len(written))} written to {done.request.folder}"
        if skipped:
            sentence += f"; {_images(skipped)} done already"
        sentence += f"; {len(failed)} of {_images(len(done.outcomes))} failed." if failed else "."
        copies = (
            {"Copy the methods sentence": methods_sentence(written[0].notes)} if written else {}
        )
        model = self._engine.file_of(done.model)
        if model is not None and not done.request.painted:
            copies["Copy command"] = folder_command(done.request, model)
        details = "\n".join(f"{one.task.image.name}: {one.error}" for one in failed)
        message = Message(sentence, "error" if failed else "done", details)
        tell_written(self._messages, message, Path(done.request.folder), copies)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
