"""The sheet of keys, and the command palette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QScrollArea,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app import commands

AROUND = 60
"""What the shortcut sheet is wider than its content, in logical pixels."""
SHRINKING = (0.95, 0.9, 0.85, 0.8)
"""What the letters of the shortcut sheet are multiplied with where it is wider than the screen."""


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
            min(wanted.width() + AROUND, room.width() - 40),
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
        self._shrink(content)
        self._area.setWidget(content)
        return content

    def _shrink(self, content: QWidget) -> None:
        """Smaller letters, down to a limit, rather than keys beyond the edge of the screen."""
        room = self.screen().availableSize().width() - 40 - AROUND
        font = content.font()
        size = font.pointSizeF()
        for scale in SHRINKING:
            if content.sizeHint().width() <= room:
                break
            font.setPointSizeF(scale * size)
            content.setFont(font)


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
        self.list.itemClicked.connect(self._clicked)
        self.search.installEventFilter(self)
        self.search.setFocus()

    def found(self) -> list[str]:
        """Return the ids of the commands that match and can run now, the best first."""
        items = [self.list.topLevelItem(row) for row in range(self.list.topLevelItemCount())]
        return [
            item.data(0, Qt.ItemDataRole.UserRole)
            for item in items
            if item is not None and not item.isDisabled()
        ]

    @Slot(str)
    def _fill(self, words: str) -> None:
        wanted = words.lower().split()
        named: list[QTreeWidgetItem] = []
        explained: list[QTreeWidgetItem] = []
        not_now: list[QTreeWidgetItem] = []
        for command in commands.COMMANDS:
            action = self._actions[command.id]
            name = action.text().rstrip("…")
            about = f"{command.menu} {name} {command.text} {command.tip}".lower()
            if command.id == "palette" or not all(word in about for word in wanted):
                continue
            item = QTreeWidgetItem([name, commands.shown_keys(action)])
            item.setData(0, Qt.ItemDataRole.UserRole, command.id)
            item.setToolTip(0, command.tip)
            if not action.isEnabled():
                # Who looks for it learns that it exists; of a series one has had enough.
                if wanted and not command.series:
                    item.setFlags(Qt.ItemFlag.NoItemFlags)
                    not_now.append(item)
                continue
            # What is found in the name itself comes before what is only in its explanation.
            in_name = all(word in name.lower() for word in wanted)
            (named if in_name else explained).append(item)
        self.list.clear()
        self.list.addTopLevelItems(named + explained + not_now)
        if not self.list.topLevelItemCount():
            nothing = QTreeWidgetItem(["No command has these words"])
            nothing.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addTopLevelItem(nothing)
        self._choose(0)

    def _choose(self, row: int) -> None:
        item = self.list.topLevelItem(min(max(row, 0), len(self.found()) - 1))
        if item is not None:
            self.list.setCurrentItem(item)

    def _clicked(self, item: QTreeWidgetItem) -> None:
        if not item.isDisabled():
            self._run()

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
