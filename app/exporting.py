"""Export as the window does it: the dialog, the strip with Cancel, and what it says at the end."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget

from app.dialogs import ExportDialog
from app.document import Document
from app.engine import Engine, ExportRequest
from app.messages import Message, MessageBar, ProgressStrip
from app.panels.prediction import LEVELS, PredictionPanel
from app.settings import Settings
from unet_core.export import DEFAULT_MIN_SIZE, Progress


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
        self._name = ""

    @Slot()
    def ask(self) -> None:
        """Ask what to export, objects by default."""
        self._open_dialog("objects")

    @Slot()
    def ask_probability(self) -> None:
        """The same with the prediction itself by default."""
        self._open_dialog("probability")

    def _open_dialog(self, what: str) -> None:
        stack = self._document.stack
        if stack is None:
            return
        dialog = ExportDialog(
            stack.path,
            self._settings.export_folder,
            what,
            self._min_size,
            self._prediction.threshold.value() / LEVELS,
            self._window,
        )
        dialog.chosen.connect(self._chosen)
        dialog.open()

    @Slot(object, str, int)
    def _chosen(self, path: Path, what: str, min_size: int) -> None:
        stack = self._document.stack
        beside = stack is not None and path.absolute().parent == stack.path.absolute().parent
        self._settings.export_folder = None if beside else path.absolute().parent
        self._min_size = min_size
        self.export_to(path, what, min_size)

    def export_to(self, path: Path, what: str, min_size: int) -> None:
        """See `MainWindow.export_to`."""
        self._document.end_stroke()
        request = ExportRequest(path, what, self._prediction.threshold.value() / LEVELS, min_size)
        labels = self._document.annotation.snapshot() if what == "annotation" else None
        self._name = path.name
        self._engine.export(request, labels)

    @Slot(str)
    def engine_busy(self, busy: str) -> None:
        """The engine has begun or ended something."""
        if busy == "exporting":
            self._strip.begin(f"Exporting {self._name}…")
        elif self._name and busy == "idle":
            self._strip.end()

    @Slot(object)
    def progressed(self, progress: Progress) -> None:
        """Show how far it is."""
        self._strip.set_progress(
            progress.done, progress.total, f"Exporting {self._name}: {progress.text}"
        )

    @Slot(str, object)
    def finished(self, sentence: str, path: Path | None) -> None:
        """Say what was written, or that nothing was."""
        self._name = ""
        self._strip.end()
        actions = () if path is None else (("Open folder", partial(_open_folder, path.parent)),)
        self._messages.show_message(Message(sentence, "done", actions=actions))


def _open_folder(folder: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
