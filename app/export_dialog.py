"""The export dialog: what to write, from what you painted or what is predicted, and where."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QModelIndex, QSize, Qt, Signal, Slot
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from app.requests import ExportRequest, Source
from unet_core.atomic import os_reason
from unet_core.export import mask_path
from unet_core.export_presets import PRESETS, Preset
from unet_core.stack import PlaneIndex

PLAIN = ("objects", "classes", "probability")
"""The presets that are made for no program in particular."""
FOR_LIMN = (
    ("annotation", "My annotation", "What I painted, to train with: 1 background, 2, 3… classes."),
    ("model", "Trained network", "The model file, for limn predict on other images."),
)
SOURCES: dict[Source, str] = {
    "annotation": "My annotation",
    "prediction": "Prediction",
    "both": "Both, my annotation on top",
}
_ALSO = {".tif": (".tif", ".tiff"), ".geojson": (".geojson", ".json")}
"""File names may also end like this."""

_BY_ID = {one.id: one for one in PRESETS}


def sources_of(what: str, *, painted: bool) -> tuple[Source, ...]:
    """What `what` can be made from, where something or nothing is `painted`."""
    if what == "model":
        return ()
    if what == "annotation":
        return ("annotation",)
    if not painted or _BY_ID[what].needs == "probability":
        return ("prediction",)
    return tuple(SOURCES)


class ExportDialog(QDialog):
    """Asks what to write where. Pressing the button over an existing file asks once more."""

    chosen = Signal(object)
    """The ExportRequest."""

    def __init__(
        self,
        image: Path,
        folder: Path | None,
        what: str,
        min_size: int,
        threshold: float,
        parent: QWidget,
        *,
        source: Source = "prediction",
        painted: bool = False,
        plane: PlaneIndex | None = None,
    ) -> None:
        """`what`, `min_size` and `source` come first; `plane` is None where there is but one."""
        super().__init__(parent)
        self.setObjectName("exportDialog")
        self.setWindowTitle("Export")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._image, self._folder = image, folder
        self._threshold, self._painted, self._plane = threshold, painted, plane
        self._wanted: Source = source
        self._confirmed: Path | None = None
        self._build(min_size)
        self._lay_out()
        self.what.setCurrentIndex(self.what.findData(what))
        self._show_what()
        self.what.currentIndexChanged.connect(self._show_what)
        self.source.activated.connect(self._source_chosen)
        self.only_plane.toggled.connect(self._explain)
        self.target.textChanged.connect(self._target_changed)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def _build(self, min_size: int) -> None:
        self.what = _what_box()
        self.line = QLabel()
        self.line.setProperty("faint", True)
        self.source = QComboBox()
        self.source.setObjectName("exportSource")
        self.source.setAccessibleName("What the masks are made from")
        self.only_plane = QCheckBox("Only this plane")
        self.only_plane.setObjectName("exportPlane")
        self.min_size = QSpinBox()
        self.min_size.setObjectName("exportMinSize")
        self.min_size.setAccessibleName("Smallest object in pixels")
        self.min_size.setRange(0, 1_000_000)
        self.min_size.setSuffix(" px")
        self.min_size.setValue(min_size)
        self.target = QLineEdit()
        self.target.setObjectName("exportTarget")
        self.target.setAccessibleName("File to write")
        self.target.setMinimumWidth(460)
        self.hint = QLabel()
        self.hint.setProperty("faint", True)
        self.hint.setWordWrap(True)
        # Two lines, whatever it says: nothing below it may move when it says something else.
        self.hint.setMinimumHeight(2 * self.hint.fontMetrics().lineSpacing())
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.problem = QLabel()
        self.problem.setObjectName("exportProblem")
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        self.problem.setWordWrap(True)

    def _lay_out(self) -> None:
        browse = QPushButton("Browse…")
        browse.setAutoDefault(False)
        browse.clicked.connect(self._browse)
        file_line = QHBoxLayout()
        file_line.addWidget(self.target, 1)
        file_line.addWidget(browse)
        form = QFormLayout()
        form.addRow("&What", self.what)
        form.addRow("", self.line)
        form.addRow("F&rom", self.source)
        form.addRow("", self.only_plane)
        form.addRow("&Smallest object", self.min_size)
        file_label = QLabel("&File")
        file_label.setBuddy(self.target)
        form.addRow(file_label, file_line)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.export_button = QPushButton("Export")
        self.export_button.setObjectName("exportButton")
        self.export_button.setDefault(True)
        self.buttons.addButton(self.export_button, QDialogButtonBox.ButtonRole.AcceptRole)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(self.hint)
        column.addWidget(self.problem)
        column.addWidget(self.buttons)

    # --- what is chosen --------------------------------------------------------------------------

    @property
    def _word(self) -> str:
        return str(self.what.currentData())

    @property
    def _preset(self) -> Preset | None:
        """The chosen one; None for Limn's own files."""
        return _BY_ID.get(self._word)

    def request(self) -> ExportRequest:
        """What is chosen now."""
        plane = self._plane if self.only_plane.isChecked() and self._word != "model" else None
        return ExportRequest(
            self.path(),
            self._word,
            self._threshold,
            self.min_size.value(),
            self.source.currentData() or "prediction",
            plane,
        )

    def path(self) -> Path:
        """Return the file or folder to write; a missing suffix is added."""
        path = Path(self.target.text().strip()).expanduser()
        suffix = self._suggested().suffix
        return (
            path if path.suffix.lower() in _ALSO.get(suffix, (suffix,)) else Path(f"{path}{suffix}")
        )

    def _suggested(self) -> Path:
        if self._preset is not None:
            return self._preset.path_for(self._image, self._folder)
        path = mask_path(self._image, self._word, self._folder)
        return path.with_suffix(".safetensors") if self._word == "model" else path

    @Slot()
    def _show_what(self) -> None:
        self.line.setText(str(self.what.model().index(self.what.currentIndex(), 1).data()))
        self.source.clear()
        for source in sources_of(self._word, painted=self._painted):
            self.source.addItem(SOURCES[source], source)
        self.source.setCurrentIndex(max(0, self.source.findData(self._wanted)))
        self.source.setEnabled(self.source.count() > 1)
        self.only_plane.setEnabled(self._plane is not None and self._word != "model")
        self.target.setText(str(self._suggested()))
        self._target_changed()
        self._explain()

    @Slot()
    def _source_chosen(self) -> None:
        self._wanted = self.source.currentData()
        self._explain()

    @Slot()
    def _explain(self) -> None:
        """Say what will be done, and let be chosen only what makes a difference."""
        source = self.source.currentData()
        finds = self._preset is not None and self._preset.needs == "objects"
        # Under paint, cells are told apart even where only classes are written.
        self.min_size.setEnabled(source == "both" or (source == "prediction" and finds))
        part = "This plane" if self.only_plane.isChecked() else "The whole stack"
        if self._word == "model":
            self.hint.setText("What Limn has learned up to now. You can go on working meanwhile.")
        elif source == "annotation":
            self.hint.setText(
                f"{part} is written as you painted it, with the axes and pixel size of the image."
            )
        else:
            paint = ", with what you painted on top" if source == "both" else ""
            self.hint.setText(
                f"{part} is predicted at the threshold {self._threshold:.2f}{paint}, and written "
                "with the axes and pixel size of the image. You can go on working meanwhile."
            )

    # --- where -----------------------------------------------------------------------------------

    @Slot()
    def _target_changed(self) -> None:
        self._confirmed = None
        self.problem.clear()
        self.export_button.setText("Export")

    @Slot()
    def _browse(self) -> None:
        suffix = self._suggested().suffix
        kinds = " ".join(f"*{ending}" for ending in _ALSO.get(suffix, (suffix,)))
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Write to",
            self.target.text(),
            f"{self.what.currentText()} ({kinds})",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            self.target.setText(name)

    def _objection(self, path: Path) -> str:
        """Why nothing can be written there; "" where it can."""
        is_folder = self._preset is not None and self._preset.is_folder
        if not path.parent.is_dir() and path.parent != self._suggested().parent:
            return f"There is no folder {path.parent}; choose another one."
        if path.exists() and self._image.exists() and path.samefile(self._image):
            return "That is the image itself; choose another name."
        if path.is_dir() and not is_folder:
            return f"{path.name} is a folder; choose a file name inside it."
        if path.exists() and is_folder and not path.is_dir():
            return f"{path.name} is a file, and this is a folder; choose another name."
        return ""

    def accept(self) -> None:
        if not self.target.text().strip():
            self.problem.setText("Name a file to write.")
            return
        path = self.path()
        try:
            objection, exists = self._objection(path), path.exists()
        except OSError as error:  # a name that is too long, a disk that is gone
            objection, exists = f"Nothing can be written there: {os_reason(error)}.", False
        if objection:
            self.problem.setText(objection)
            return
        if exists and self._confirmed != path:
            self._confirmed = path
            self.problem.setText(f"{path.name} exists already. Press Replace to write over it.")
            self.export_button.setText("Replace")
            return
        request = self.request()
        super().accept()
        self.chosen.emit(request)


def _what_box() -> QComboBox:
    """All that can be exported, in groups; the list shows beside each what it is good for."""
    masks = [(one.id, one.title, one.line) for one in PRESETS if one.id in PLAIN]
    others = [(one.id, one.title, one.line) for one in PRESETS if one.id not in PLAIN]
    box = QComboBox()
    box.setObjectName("exportWhat")
    box.setAccessibleName("What to export")
    letters = box.fontMetrics()
    height = round(1.5 * letters.height())
    model = QStandardItemModel(box)
    for heading, rows in (("", masks), ("For other programs", others), ("For Limn", FOR_LIMN)):
        if heading:
            model.appendRow(_heading(heading, height))
        for name, title, line in rows:
            first = QStandardItem(title)
            first.setData(name, Qt.ItemDataRole.UserRole)
            first.setSizeHint(QSize(letters.horizontalAdvance(title) + 20, height))
            model.appendRow([first, QStandardItem(line)])
    view = QTreeView()
    view.setHeaderHidden(True)
    view.setRootIsDecorated(False)
    view.setAllColumnsShowFocus(True)
    box.setModel(model)
    box.setView(view)
    for row in range(box.count()):
        view.setFirstColumnSpanned(row, QModelIndex(), box.itemData(row) is None)
    box.setMaxVisibleItems(box.count())
    for column in (0, 1):
        view.resizeColumnToContents(column)
    view.setMinimumWidth(view.columnWidth(0) + view.columnWidth(1) + 24)
    return box


def _heading(text: str, height: int) -> list[QStandardItem]:
    """A row that can not be chosen."""
    items = [QStandardItem(text), QStandardItem()]
    bold = items[0].font()
    bold.setBold(True)
    items[0].setFont(bold)
    items[0].setSizeHint(QSize(0, round(1.3 * height)))
    for item in items:
        item.setFlags(Qt.ItemFlag.NoItemFlags)
    return items
