"""The export dialog, the sheet of keys, and the command palette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app import commands
from unet_core.export import mask_path

# What can be exported: the word in file names and in the command line, and what it is.
OUTPUTS: tuple[tuple[str, str], ...] = (
    ("objects", "Objects: every cell has its own number"),
    ("classes", "Classes: 1 background, 2… your classes"),
    ("probability", "Probability: 0 to 1, as decimal numbers"),
    ("annotation", "My annotation: what I painted, 0 where nothing"),
    ("model", "Trained network: for limn predict on other images"),
)


class ExportDialog(QDialog):
    """Asks what to write where. Pressing the button over an existing file asks once more."""

    chosen = Signal(object, str, int)
    """Path, one of the words of OUTPUTS, least object size in pixels."""

    def __init__(
        self,
        image: Path,
        folder: Path | None,
        what: str,
        min_size: int,
        threshold: float,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("exportDialog")
        self.setWindowTitle("Export")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._image, self._folder = image, folder
        self._confirmed: Path | None = None
        self.what = QComboBox()
        self.what.setObjectName("exportWhat")
        self.what.setAccessibleName("What to export")
        for word, text in OUTPUTS:
            self.what.addItem(text, word)
        self.what.setCurrentIndex([word for word, _ in OUTPUTS].index(what))
        self.min_size = QSpinBox()
        self.min_size.setObjectName("exportMinSize")
        self.min_size.setAccessibleName("Smallest object in pixels")
        self.min_size.setRange(0, 1_000_000)
        self.min_size.setSuffix(" px")
        self.min_size.setValue(min_size)
        self.target = QLineEdit()
        self.target.setObjectName("exportTarget")
        self.target.setAccessibleName("File to write")
        self.target.setMinimumWidth(420)
        browse = QPushButton("Browse…")
        browse.setAutoDefault(False)
        line = QHBoxLayout()
        line.addWidget(self.target, 1)
        line.addWidget(browse)
        self.hint = QLabel()
        self.hint.setProperty("faint", True)
        self.hint.setWordWrap(True)
        self.hint.setText(
            f"The whole stack is predicted at the threshold {threshold:.2f} and written with the "
            "axes and pixel size of the image. You can go on working meanwhile."
        )
        self.problem = QLabel()
        self.problem.setObjectName("exportProblem")
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        self.problem.setWordWrap(True)
        form = QFormLayout()
        form.addRow("&What", self.what)
        form.addRow("&Smallest object", self.min_size)
        file_label = QLabel("&File")
        file_label.setBuddy(self.target)
        form.addRow(file_label, line)
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
        self._show_what()
        self.what.currentIndexChanged.connect(self._show_what)
        self.target.textChanged.connect(self._target_changed)
        browse.clicked.connect(self._browse)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    @Slot()
    def _show_what(self) -> None:
        word = self.what.currentData()
        self.min_size.setEnabled(word == "objects")
        target = mask_path(self._image, word, self._folder)
        self.target.setText(str(target.with_suffix(".safetensors") if self._is_model else target))
        self.hint.setVisible(word not in ("annotation", "model"))
        self._target_changed()

    @Slot()
    def _target_changed(self) -> None:
        self._confirmed = None
        self.problem.clear()
        self.export_button.setText("Export")

    @Slot()
    def _browse(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Write to",
            self.target.text(),
            "TIFF (*.tif *.tiff)"
            if self.what.currentData() != "model"
            else "Model (*.safetensors)",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            self.target.setText(name)

    def path(self) -> Path:
        """Return the file to write; a missing suffix is added."""
        path = Path(self.target.text().strip()).expanduser()
        suffixes = (".safetensors",) if self._is_model else (".tif", ".tiff")
        return path if path.suffix.lower() in suffixes else Path(f"{path}{suffixes[0]}")

    @property
    def _is_model(self) -> bool:
        return bool(self.what.currentData() == "model")

    def accept(self) -> None:
        if not self.target.text().strip():
            self.problem.setText("Name a file to write.")
            return
        path = self.path()
        if not path.parent.is_dir():
            self.problem.setText(f"There is no folder {path.parent}; choose another one.")
            return
        if path.exists() and path.samefile(self._image):
            self.problem.setText("That is the image itself; choose another name.")
            return
        if path.exists() and self._confirmed != path:
            self._confirmed = path
            self.problem.setText(f"{path.name} exists already. Press Replace to write over it.")
            self.export_button.setText("Replace")
            return
        super().accept()
        self.chosen.emit(path, self.what.currentData(), self.min_size.value())


class ShortcutSheet(QDialog):
    """All keys and mouse gestures on one sheet, as `commands.sheet` gives them."""

    def __init__(self, sheet: Mapping[str, Sequence[tuple[str, str]]], parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("shortcutSheet")
        self.setWindowTitle("Keys and mouse")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._area = QScrollArea()
        self._area.setAccessibleName("List of keys")
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QScrollArea.Shape.NoFrame)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self._area)
        column.addWidget(buttons)
        content = self.set_sheet(sheet)
        room = parent.screen().availableSize()
        wanted = content.sizeHint()
        self.resize(
            min(wanted.width() + 60, room.width() - 40),
            min(wanted.height() + 80, room.height() - 40),
        )

    def set_sheet(self, sheet: Mapping[str, Sequence[tuple[str, str]]]) -> QWidget:
        """Show this sheet, heading -> rows of (text, keys), and return what it is shown in."""
        content = QWidget()
        columns = QHBoxLayout(content)
        columns.setSpacing(28)
        sides = (QVBoxLayout(), QVBoxLayout(), QVBoxLayout())
        for side in sides:
            side.setSpacing(3)
        filled = [0 for _ in sides]
        for menu, rows in sheet.items():
            # Into the shortest column, so that a small screen shows all without scrolling.
            shortest = filled.index(min(filled))
            side = sides[shortest]
            filled[shortest] += len(rows) + 2
            heading = QLabel(menu)
            font = heading.font()
            font.setBold(True)
            heading.setFont(font)
            side.addWidget(heading)
            grid = QGridLayout()
            grid.setHorizontalSpacing(18)
            grid.setVerticalSpacing(2)
            grid.setColumnStretch(0, 1)
            for number, (text, keys) in enumerate(rows):
                key = QLabel(keys)
                key.setAlignment(Qt.AlignmentFlag.AlignRight)
                grid.addWidget(QLabel(text), number, 0)
                grid.addWidget(key, number, 1)
            side.addLayout(grid)
            side.addSpacing(6)
        for side in sides:
            side.addStretch(1)
            columns.addLayout(side, 1)
        self._area.setWidget(content)
        return content


class CommandPalette(QDialog):
    """Type a part of a name, press Return: the command runs."""

    def __init__(self, actions: Mapping[str, QAction], parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Dialog | Qt.WindowType.FramelessWindowHint)
        self.setObjectName("commandPalette")
        self.setWindowTitle("Commands")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._actions = actions
        frame = QFrame()
        frame.setFrameShape(QFrame.Shape.StyledPanel)
        self.search = QLineEdit()
        self.search.setObjectName("paletteSearch")
        self.search.setAccessibleName("Search commands")
        self.search.setPlaceholderText("Search commands")
        self.list = QTreeWidget()
        self.list.setObjectName("paletteList")
        self.list.setAccessibleName("Commands found: name and key")
        self.list.setColumnCount(2)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.header().setStretchLastSection(False)
        self.list.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.list.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        inside = QVBoxLayout(frame)
        inside.addWidget(self.search)
        inside.addWidget(self.list)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(frame)
        self.resize(460, 340)
        corner = parent.mapToGlobal(parent.rect().center())
        self.move(corner.x() - self.width() // 2, corner.y() - self.height() // 2 - 40)
        self._fill("")
        self.search.textChanged.connect(self._fill)
        self.search.returnPressed.connect(self._run)
        self.list.itemClicked.connect(self._run)
        self.search.installEventFilter(self)
        self.search.setFocus()

    def found(self) -> list[str]:
        """Return the ids of the commands that match now, the best first."""
        items = [self.list.topLevelItem(row) for row in range(self.list.topLevelItemCount())]
        return [item.data(0, Qt.ItemDataRole.UserRole) for item in items if item is not None]

    @Slot(str)
    def _fill(self, words: str) -> None:
        wanted = words.lower().split()
        named: list[QTreeWidgetItem] = []
        explained: list[QTreeWidgetItem] = []
        for command in commands.COMMANDS:
            action = self._actions[command.id]
            name = action.text().rstrip("…")
            about = f"{command.menu} {name} {command.text} {command.tip}".lower()
            if command.id == "palette" or not action.isEnabled():
                continue
            if not all(word in about for word in wanted):
                continue
            item = QTreeWidgetItem([name, commands.shown_keys(action)])
            item.setData(0, Qt.ItemDataRole.UserRole, command.id)
            item.setToolTip(0, command.tip)
            # What is found in the name itself comes before what is only in its explanation.
            in_name = all(word in name.lower() for word in wanted)
            (named if in_name else explained).append(item)
        self.list.clear()
        self.list.addTopLevelItems(named + explained)
        self._choose(0)

    def _choose(self, row: int) -> None:
        item = self.list.topLevelItem(min(max(row, 0), self.list.topLevelItemCount() - 1))
        if item is not None:
            self.list.setCurrentItem(item)

    @Slot()
    def _run(self) -> None:
        item = self.list.currentItem()
        self.close()
        if item is not None:
            self._actions[item.data(0, Qt.ItemDataRole.UserRole)].trigger()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow():
            self.close()  # a click elsewhere

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Up and Down in the search line move in the list."""
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()), 0)
            if step:
                self._choose(self.list.currentIndex().row() + step)
                return True
        return super().eventFilter(watched, event)
