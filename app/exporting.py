"""Export as the window does it: the dialog, the strip with Cancel, and what it says at the end."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QWidget

from app.document import Document
from app.engine import Engine
from app.export_dialog import PLAIN, ExportDialog, sources_of
from app.messages import Message, MessageBar, ProgressStrip
from app.panels.prediction import LEVELS, PredictionPanel
from app.requests import Exported, ExportRequest, FolderRequest, Source
from app.settings import Settings
from unet_core.export import DEFAULT_MIN_SIZE, Progress
from unet_core.export_presets import PRESETS, preset


class Exporting(QObject):
    """Asks, hands over to the engine, and shows how far it is; the window stays usable."""

    def __init__(
        self,
        window: QWidget,
        document: Document,
        engine: Engine,
        settings: Settings,
        prediction: PredictionPanel,
        messages: MessageBar,
        strip: ProgressStrip,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._document = document
        self._engine = engine
        self._settings = settings
        self._prediction = prediction
        self._messages = messages
        self._strip = strip
        self._min_size = DEFAULT_MIN_SIZE
        self._source: Source = "prediction"
        self._name = ""

    @Slot()
    def ask(self) -> None:
        """Ask what to export, objects by default."""
        self._open_dialog("objects")

    @Slot()
    def ask_probability(self) -> None:
        """The same with the prediction itself by default."""
        self._open_dialog("probability")

    @property
    def _painted(self) -> bool:
        return bool(self._document.annotation.counts())

    @property
    def _threshold(self) -> float:
        return self._prediction.threshold.value() / LEVELS

    def _open_dialog(self, what: str) -> None:
        document = self._document
        if document.stack is None:
            return
        document.end_stroke()
        times, slices = document.stack.shape[:2]
        dialog = ExportDialog(
            document.stack.path,
            self._settings.export_folder,
            what,
            self._min_size,
            self._threshold,
            self._window,
            source=self._source,
            painted=self._painted,
            plane=document.plane if times * slices > 1 else None,
        )
        dialog.chosen.connect(self._chosen)
        dialog.open()

    @Slot(object)
    def _chosen(self, request: ExportRequest) -> None:
        stack = self._document.stack
        folder = folder_of(request)
        beside = stack is not None and folder == stack.path.absolute().parent
        self._settings.export_folder = None if beside else folder
        self._min_size = request.min_size
        if len(sources_of(request.what, painted=self._painted)) > 1:
            self._source = request.source
        self.export(request)

    def export_to(self, path: Path, what: str, min_size: int) -> None:
        """See `MainWindow.export_to`."""
        self.export(ExportRequest(path, what, self._threshold, min_size))

    def export(self, request: ExportRequest) -> None:
        """Write what is asked for; ends with `engine.export_finished` or `engine.failed`."""
        self._document.end_stroke()
        labels = self._document.annotation.snapshot() if request.painted else None
        self._name = request.path.name
        self._engine.export(request, labels)

    # --- what the engine says --------------------------------------------------------------------

    @Slot(str)
    def engine_busy(self, busy: str) -> None:
        """The engine has begun or ended something."""
        if busy == "exporting" and not self._engine.applies:
            self._strip.begin(f"Exporting {self._name}…")
        elif self._name and busy == "idle":
            self._strip.end()

    @Slot(object)
    def progressed(self, progress: Progress) -> None:
        """Show how far it is."""
        if self._strip.isHidden():  # something else has shown there what it did
            self._strip.begin("")
        self._strip.set_progress(
            progress.done, progress.total, f"Exporting {self._name}: {progress.text}"
        )

    @Slot(str, object, object)
    def finished(self, sentence: str, path: Path | None, done: Exported | None) -> None:
        """Say what was written, or that nothing was."""
        self._name = ""
        self._strip.end()
        if path is None or done is None:
            self._messages.show_message(Message(sentence, "done"))
            return
        copies = {"Copy the methods sentence": done.methods} if done.methods else {}
        stack, model = self._document.stack, self._engine.file_of(done.model)
        if stack is not None and model is not None:
            line = command_line(done.request, stack.path, model)
            copies |= {"Copy command": line} if line else {}
        tell_written(self._messages, Message(sentence, "done"), path.parent, copies)


def tell_written(
    messages: MessageBar, message: Message, folder: Path, copies: Mapping[str, str]
) -> None:
    """Say what was written; `copies` are buttons, and the text that each of them copies."""

    def copy(name: str) -> None:
        QGuiApplication.clipboard().setText(copies[name])
        # A button closes its message, but the others may be wanted, too.
        left = {other: text for other, text in copies.items() if other != name}
        tell_written(messages, message, folder, left)

    actions = [(name, partial(copy, name)) for name in copies]
    actions.append(("Open folder", partial(_open_folder, folder)))
    messages.show_message(replace(message, actions=tuple(actions)))


def folder_of(request: ExportRequest) -> Path:
    """The folder that was chosen; StarDist's files lie in one of their own inside it."""
    path = request.path.absolute()
    if request.what in [one.id for one in PRESETS]:
        inside = Path(preset(request.what).pattern).parent
        if inside.name and path.parent.name == inside.name:
            return path.parent.parent
    return path.parent


def command_line(request: ExportRequest, image: Path, model: str) -> str:
    """The command that writes the same file again; "" where there is none.

    The command line has no annotation, no single planes, and gives the files their names; a folder
    is many images to it.
    """
    if request.what == "model" or request.painted or request.plane is not None or image.is_dir():
        return ""
    folder = folder_of(request)
    if preset(request.what).path_for(image, folder).absolute() != request.path.absolute():
        return ""
    many = FolderRequest(
        (image,), folder, (request.what,), request.threshold, request.min_size, resume=False
    )
    return folder_command(many, model)


def folder_command(request: FolderRequest, model: str) -> str:
    """The command that does the same with many images."""
    words = ["limn", "predict", "--model", model, "--out", str(request.folder.absolute())]
    for option, names in (
        ("--write", [name for name in request.presets if name in PLAIN]),
        ("--preset", [name for name in request.presets if name not in PLAIN]),
    ):
        words += [option, ",".join(names)] if names else []
    words += ["--threshold", str(request.threshold), "--min-size", str(request.min_size)]
    words += ["--resume"] if request.resume else []
    words += [str(image.absolute()) for image in request.images]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _open_folder(folder: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
