"""The dialog of “Apply to folder”: which images, what to write, and where."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
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
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.export_dialog import SOURCES
from app.jobs import Job, JobError, Steps
from app.opening import IMAGE_FILTER
from app.requests import FolderRequest, Source
from unet_core.export import ExportError
from unet_core.export_presets import PRESETS

OWN_FOLDER = "limn"
"""The folder beside the images that is proposed."""

_left: list[Job] = []
"""What was still counting, in a folder far away, when its dialog was closed."""


class ApplyDialog(QDialog):
    """Asks; says meanwhile how many images these are, and how many are done already."""

    chosen = Signal(object)
    """The FolderRequest."""

    def __init__(
        self,
        folder: Path,
        presets: Sequence[str],
        threshold: float,
        min_size: int,
        parent: QWidget,
        *,
        network: str,
        has_file: bool,
        project: Sequence[Path] = (),
        source: Source = "prediction",
    ) -> None:
        """`network`: whose prediction it is, in words; `has_file`: it need not be written.

        `project`: the images of the project, of which it is known what was painted.
        """
        super().__init__(parent)
        self.setObjectName("applyDialog")
        self.setWindowTitle("Apply to folder")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._threshold = threshold
        self._project = tuple(project)
        self._wanted: Source = source
        self._paths: tuple[Path, ...] = (folder,)
        self._target_is_ours = True
        self._job: Job | None = None
        self._again = False
        self._build(presets, min_size)
        self._lay_out()
        self.keep_model.setEnabled(not has_file)
        self.keep_model.setChecked(not has_file)
        self.hint.setText(f"{network}, at the threshold {threshold:.2f}, as on show now.")
        if len(self._project) > 1:
            self._take_project()
        else:
            self._show_paths(str(folder))
        self.images.textEdited.connect(self._images_edited)
        self.target.textEdited.connect(self._target_edited)
        self.what.itemChanged.connect(self._count)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def _build(self, presets: Sequence[str], min_size: int) -> None:
        self.images = QLineEdit()
        self.images.setObjectName("applyImages")
        self.images.setAccessibleName("Folder of images, or a pattern")
        self.images.setMinimumWidth(500)
        self.counted = QLabel()
        self.counted.setObjectName("applyCount")
        self.counted.setProperty("faint", True)
        self.counted.setTextFormat(Qt.TextFormat.PlainText)
        self.counted.setWordWrap(True)
        self.counted.setMinimumHeight(2 * self.counted.fontMetrics().lineSpacing())
        self.counted.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.source = QComboBox()
        self.source.setObjectName("applySource")
        self.source.setAccessibleName("What the masks are made from")
        self.source.activated.connect(self._source_chosen)
        self.what = _what_list(presets)
        self.min_size = QSpinBox()
        self.min_size.setObjectName("applyMinSize")
        self.min_size.setAccessibleName("Smallest object in pixels")
        self.min_size.setRange(0, 1_000_000)
        self.min_size.setSuffix(" px")
        self.min_size.setValue(min_size)
        self.target = QLineEdit()
        self.target.setObjectName("applyTarget")
        self.target.setAccessibleName("Folder to write to")
        self.resume = QCheckBox("Skip images whose files are all there already")
        self.resume.setObjectName("applyResume")
        self.resume.setChecked(True)
        self.keep_model = QCheckBox("Write the network there, too: to do the same again")
        self.keep_model.setObjectName("applyKeepModel")
        self.hint = QLabel()
        self.hint.setProperty("faint", True)
        self.hint.setTextFormat(Qt.TextFormat.PlainText)
        self.hint.setWordWrap(True)

    def _lay_out(self) -> None:
        form = QFormLayout()
        ways = [("Folder…", self._browse), ("Files…", self._browse_files)]
        if len(self._project) > 1:
            ways.insert(0, ("This project", self._take_project))
        for name, edit, buttons in (
            ("&Images", self.images, ways),
            ("To &folder", self.target, [("Browse…", self._browse_target)]),
        ):
            line = QHBoxLayout()
            line.addWidget(edit, 1)
            for text, do in buttons:
                button = QPushButton(text)
                button.setAutoDefault(False)
                button.clicked.connect(do)
                line.addWidget(button)
            label = QLabel(name)
            label.setBuddy(edit)
            form.addRow(label, line)
            if edit is self.images:
                form.addRow("", self.counted)
                form.addRow("F&rom", self.source)
                form.addRow("&Write", self.what)
                form.addRow("&Smallest object", self.min_size)
        form.addRow("", self.resume)
        form.addRow("", self.keep_model)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.apply_button = QPushButton("Apply")
        self.apply_button.setObjectName("applyButton")
        self.apply_button.setDefault(True)
        self.buttons.addButton(self.apply_button, QDialogButtonBox.ButtonRole.AcceptRole)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(self.hint)
        column.addWidget(self.buttons)

    # --- what is chosen --------------------------------------------------------------------------

    def request(self) -> FolderRequest:
        """What is chosen now."""
        return FolderRequest(
            self._paths,
            Path(self.target.text().strip()).expanduser(),
            self._presets(),
            self._threshold,
            self.min_size.value(),
            self.resume.isChecked(),
            self.keep_model.isChecked() and self.keep_model.isEnabled(),
            self.source.currentData() or "prediction",
        )

    def _presets(self) -> tuple[str, ...]:
        items = [self.what.topLevelItem(row) for row in range(self.what.topLevelItemCount())]
        ticked = Qt.CheckState.Checked
        return tuple(
            item.data(0, Qt.ItemDataRole.UserRole)
            for item in items
            if item is not None and item.checkState(0) == ticked
        )

    def set_images(self, paths: Sequence[Path]) -> None:
        """These images, or this folder."""
        self._paths = tuple(paths)
        first = self._paths[0]
        one = len(self._paths) == 1
        self._show_paths(str(first) if one else f"{len(paths)} files in {first.parent}")

    @Slot()
    def _take_project(self) -> None:
        """All images of the project."""
        self._paths = self._project
        self._show_paths(f"The {len(self._project)} images of this project")

    def _offer_sources(self) -> None:
        """What was painted is known of the project's images only."""
        ours = bool(self._project) and self._paths == self._project
        self.source.clear()
        for source, text in SOURCES.items():
            if ours or source == "prediction":
                self.source.addItem(text, source)
        self.source.setCurrentIndex(max(0, self.source.findData(self._wanted)))
        self.source.setEnabled(ours)

    @Slot()
    def _source_chosen(self) -> None:
        self._wanted = self.source.currentData()

    def _show_paths(self, text: str) -> None:
        self._offer_sources()
        self.images.setText(text)
        self._propose()
        self._count()

    def _propose(self) -> None:
        if self._target_is_ours:
            first = self._paths[0]
            beside = first if first.is_dir() else first.parent
            self.target.setText(str(beside / OWN_FOLDER))

    @Slot(str)
    def _images_edited(self, text: str) -> None:
        self._paths = (Path(text.strip()).expanduser(),)
        self._offer_sources()
        self._propose()
        self._count()

    @Slot(str)
    def _target_edited(self) -> None:
        self._target_is_ours = False
        self._count()

    @Slot()
    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Images", str(self._paths[0]))
        if name:
            self.set_images([Path(name)])

    @Slot()
    def _browse_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Images", str(self._paths[0]), IMAGE_FILTER)
        if names:
            self.set_images([Path(name) for name in names])

    @Slot()
    def _browse_target(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Write to", self.target.text())
        if name:
            self.target.setText(name)
            self._target_edited()

    # --- how many these are: counted in a thread, the folder may be large or far away ------------

    @Slot()
    def _count(self) -> None:
        request = self.request()
        self.apply_button.setEnabled(False)
        if self._job is not None:
            self._again = True
            return
        if not request.presets or not self.target.text().strip():
            self.counted.setText("Choose what to write." if not request.presets else "")
            return
        self._job = Job(partial(_counting, request), self)
        self._job.succeeded.connect(self._counted)
        self._job.failed.connect(self._not_counted)
        self._job.finished.connect(self._count_ended)
        self._job.start()

    @Slot(object)
    def _counted(self, found: tuple[int, int]) -> None:
        count, done = found
        many = "1 image" if count == 1 else f"{count:,} images"
        self.counted.setText(f"{many}, {done:,} of them done already." if done else f"{many}.")
        self.apply_button.setEnabled(True)

    @Slot(object)
    def _not_counted(self, error: JobError) -> None:
        self.counted.setText(error.sentence)

    @Slot()
    def _count_ended(self) -> None:
        if self._job is not None:
            self._job.deleteLater()
        self._job = None
        if self._again:
            self._again = False
            self._count()

    def done(self, result: int) -> None:
        """Close at once; what is being counted ends by itself."""
        self._again = False
        if self._job is not None:
            self._job.setParent(None)
            self._job.finished.connect(self._job.deleteLater)
            _left.append(self._job)
        super().done(result)

    def accept(self) -> None:
        if not self.apply_button.isEnabled():
            return
        request = self.request()
        super().accept()
        self.chosen.emit(request)


def _counting(request: FolderRequest) -> Steps:
    from unet_core.batch import plan

    yield None
    tasks = plan(request.images, request.presets, request.folder)
    for task in tasks:
        if not task.image.exists():
            raise ExportError(f"{task.image} does not exist: choose a folder of images.")
    return len(tasks), sum(task.is_done for task in tasks)


def _what_list(ticked: Sequence[str]) -> QTreeWidget:
    """All kinds of files, each with a box to tick and what it is good for."""
    box = QTreeWidget()
    box.setObjectName("applyWhat")
    box.setAccessibleName("What to write")
    box.setHeaderHidden(True)
    box.setRootIsDecorated(False)
    box.setColumnCount(2)
    for one in PRESETS:
        item = QTreeWidgetItem([one.title, one.line])
        item.setData(0, Qt.ItemDataRole.UserRole, one.id)
        state = Qt.CheckState.Checked if one.id in ticked else Qt.CheckState.Unchecked
        item.setCheckState(0, state)
        item.setToolTip(1, one.line)
        box.addTopLevelItem(item)
    box.resizeColumnToContents(0)
    box.setMinimumSize(720, 12 * round(1.4 * box.fontMetrics().height()))
    return box
