"""The classes to paint with: colour, key, name, shown, locked, and how much of each is painted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from PySide6.QtCore import QEvent, QModelIndex, QPoint, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QIcon, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QMenu,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
)

from app import assets
from app.panels.base import Panel, keep_navigation
from unet_core.annotation import ClassInfo

KEY, NAME, SHOWN, LOCKED, STROKES, OBJECTS, PIXELS = range(7)
_SWITCHES = (SHOWN, LOCKED)
_COUNTS = {STROKES: "stroke", OBJECTS: "cell", PIXELS: "pixel"}

_HEADER = {
    KEY: ("", "The key that chooses the class, and its colour"),
    NAME: ("Name", "Double-click or F2 to rename"),
    SHOWN: ("", "Click, or Space, to show or hide the labels of the class"),
    LOCKED: ("", "Click to let nothing, or anything again, change the labels of the class"),
    # A picture for a heading: the word would take from the names what they need.
    STROKES: ("", "Strokes of the brush in the history of this image, which can be undone"),
    OBJECTS: ("Cells", "Cells that are told apart, on all planes"),
    PIXELS: ("Pixels", "Painted pixels, on all planes"),
}
_WORDS = {(SHOWN, True): "Shown", (SHOWN, False): "Hidden", (LOCKED, True): "Locked",
          (LOCKED, False): "Not locked"}  # fmt: skip
_ICONS = {(SHOWN, True): "shown", (SHOWN, False): "hidden", (LOCKED, True): "locked",
          (LOCKED, False): "unlocked"}  # fmt: skip
_SWATCH = 10
# Columns with a picture for a heading, and what that is to those who hear the window.
_PICTURES = {SHOWN: ("shown", "Shown"), LOCKED: ("locked", "Locked"), STROKES: ("brush", "Strokes")}


class _ClassTree(QTreeWidget):
    """The list; F2 and a double click edit a name in place, a click on an eye or a padlock leaves
    the chosen class as it is."""

    switched = Signal(int, int)
    """A click on column SHOWN or LOCKED of a row."""

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), 5 * (self.fontMetrics().height() + 6))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        item = self.currentItem()
        if event.key() == Qt.Key.Key_F2 and item is not None:
            self.editItem(item, NAME)
        elif event.key() == Qt.Key.Key_Space and item is not None:
            self.switched.emit(self.indexOfTopLevelItem(item), SHOWN)
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if not self._switch(event):
            super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        # Two quick clicks on an eye are two clicks.
        if not self._switch(event):
            super().mouseDoubleClickEvent(event)

    def _switch(self, event: QMouseEvent) -> bool:
        index = self.indexAt(event.position().toPoint())
        if event.button() != Qt.MouseButton.LeftButton or index.column() not in _SWITCHES:
            return False
        self.switched.emit(index.row(), index.column())
        return True


class ClassesPanel(Panel):
    """Lists the classes; class values count from 1, the background."""

    class_chosen = Signal(int)
    rename_requested = Signal(int, str)
    recolor_requested = Signal(int, str)
    add_requested = Signal()
    delete_requested = Signal(int)
    hide_requested = Signal(int, bool)
    lock_requested = Signal(int, bool)

    def __init__(self) -> None:
        super().__init__("Classes", "classesPanel", growing=True)
        self._classes: list[ClassInfo] = []
        self._keys: Sequence[str] = ()
        self._off: dict[int, Collection[int]] = {SHOWN: (), LOCKED: ()}
        self._icons: dict[str, QIcon] = {}
        self.tree = _ClassTree()
        self.tree.setObjectName("classList")
        self.tree.setAccessibleName("Classes: key, name, shown, locked, strokes, cells, pixels")
        self.tree.setColumnCount(len(_HEADER))
        self.tree.setRootIsDecorated(False)
        self.tree.setUniformRowHeights(True)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        keep_navigation(self.tree)
        self._lay_out_header()
        row = self.fontMetrics().height() + 8
        self.tree.setMinimumHeight(3 * row + 8)
        buttons = QHBoxLayout()
        self.add_button = QPushButton("Add")
        self.add_button.setObjectName("addClassButton")
        self.add_button.setAccessibleName("Add class")
        self.add_button.setToolTip("Add another class to paint")
        self.color_button = QPushButton("Colour…")
        self.color_button.setObjectName("classColorButton")
        self.color_button.setToolTip("Choose another colour for the chosen class")
        self.delete_button = QPushButton("Delete")
        self.delete_button.setObjectName("deleteClassButton")
        self.delete_button.setAccessibleName("Delete class")
        self.delete_button.setToolTip(
            "Unlabel everything of the chosen class, on all planes.\n"
            "The last class also leaves the list; others keep their place in it."
        )
        for button in (self.add_button, self.color_button, self.delete_button):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            buttons.addWidget(button)
        self.column.addWidget(self.tree, 1)
        self.column.addLayout(buttons)
        self.finish()
        self.tree.currentItemChanged.connect(self._current_changed)
        self.tree.itemChanged.connect(self._item_changed)
        self.tree.doubleClicked.connect(self._double_clicked)
        self.tree.switched.connect(self._switch)
        self.tree.customContextMenuRequested.connect(self._show_menu)
        self.add_button.clicked.connect(self.add_requested)
        self.color_button.clicked.connect(self._ask_color)
        self.delete_button.clicked.connect(self._ask_delete)

    def _lay_out_header(self) -> None:
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(10)
        header.setSectionsMovable(False)
        head = self.tree.headerItem()
        for column, (text, tip) in _HEADER.items():
            mode = QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(
                column, QHeaderView.ResizeMode.Stretch if column == NAME else mode
            )
            head.setText(column, text)
            head.setToolTip(column, tip)
            if column in _COUNTS:
                head.setTextAlignment(column, Qt.AlignmentFlag.AlignRight)
            if column in _PICTURES:
                spoken = _PICTURES[column][1]
                head.setData(column, Qt.ItemDataRole.AccessibleTextRole, spoken)

    def set_classes(self, classes: Sequence[ClassInfo], active: int) -> None:
        """Show the classes, and mark class value `active`, without asking for anything."""
        self.tree.blockSignals(True)
        if list(classes) != self._classes:
            self._classes = list(classes)
            while self.tree.topLevelItemCount() > len(classes):
                self.tree.takeTopLevelItem(self.tree.topLevelItemCount() - 1)
            for value, info in enumerate(classes, start=1):
                self._show_class(value, info)
        item = self.tree.topLevelItem(active - 1)
        if item is not None:
            self.tree.setCurrentItem(item)
        self._unblock()

    def _show_class(self, value: int, info: ClassInfo) -> None:
        item = self.tree.topLevelItem(value - 1)
        if item is None:
            item = QTreeWidgetItem()
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            for column in _COUNTS:
                item.setTextAlignment(
                    column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                )
                item.setText(column, "0")
            self.tree.addTopLevelItem(item)
            for column in _SWITCHES:
                self._show_switch(value, column)
        item.setText(KEY, str(value) if value < 10 else "")
        item.setIcon(KEY, assets.swatch(info.color, _SWATCH))
        item.setText(NAME, info.name)
        item.setToolTip(NAME, f"{info.name}: double-click or F2 to rename")
        self._show_key(value, item)

    def _show_key(self, value: int, item: QTreeWidgetItem) -> None:
        key = f"Key {self._keys[value - 1]}; " if value <= len(self._keys) else ""
        item.setToolTip(KEY, f"{key}double-click for another colour")

    def show_keys(self, keys: Sequence[str]) -> None:
        """Name the keys of the first classes."""
        self._keys = keys
        for row in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(row)
            if item is not None:
                self._show_key(row + 1, item)

    def set_switches(self, hidden: Collection[int], locked: Collection[int]) -> None:
        """Show which class values are hidden, and which are locked."""
        self._off = {SHOWN: hidden, LOCKED: locked}
        self._show_switches()

    def _show_switches(self) -> None:
        self.tree.blockSignals(True)
        head = self.tree.headerItem()
        for column, (name, _) in _PICTURES.items():
            head.setIcon(column, self._icon(name))
        for value in range(1, self.tree.topLevelItemCount() + 1):
            for column in _SWITCHES:
                self._show_switch(value, column)
        self._unblock()

    def _show_switch(self, value: int, column: int) -> None:
        item = self.tree.topLevelItem(value - 1)
        if item is None:
            return
        on = self._is_on(value, column)
        item.setIcon(column, self._icon(_ICONS[column, on]))
        words = _WORDS[column, on]
        item.setData(column, Qt.ItemDataRole.AccessibleTextRole, words)
        item.setToolTip(column, f"{words}. {_HEADER[column][1]}")

    def _is_on(self, value: int, column: int) -> bool:
        """Whether the class is shown, or whether it is locked."""
        return (value in self._off[column]) == (column == LOCKED)

    def _icon(self, name: str) -> QIcon:
        if name not in self._icons:
            self._icons[name] = assets.icon(name, self.palette(), 16)
        return self._icons[name]

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "delete_button"):
            self._icons.clear()
            self._show_switches()

    def set_counts(
        self, pixels: Mapping[int, int], objects: Mapping[int, int], strokes: Mapping[int, int]
    ) -> None:
        """Show how many pixels of each class value are painted, and how many cells and strokes
        there are."""
        shown = {STROKES: strokes, OBJECTS: objects, PIXELS: pixels}
        self.tree.blockSignals(True)
        for row in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(row)
            if item is None:
                continue
            for column, unit in _COUNTS.items():
                count = shown[column].get(row + 1, 0)
                item.setText(column, short_count(count))
                words = f"{_grouped(count)} {unit}{'' if count == 1 else 's'}"
                item.setToolTip(column, f"{words}\n{_HEADER[column][1]}")
                item.setData(column, Qt.ItemDataRole.AccessibleTextRole, words)
        self._unblock()

    def _unblock(self) -> None:
        self.tree.blockSignals(False)
        # Blocked signals also kept the view from repainting what changed.
        self.tree.viewport().update()

    @Slot(QTreeWidgetItem, QTreeWidgetItem)
    def _current_changed(self, item: QTreeWidgetItem | None) -> None:
        if item is not None:
            self.class_chosen.emit(self.tree.indexOfTopLevelItem(item) + 1)

    @Slot(QTreeWidgetItem, int)
    def _item_changed(self, item: QTreeWidgetItem, column: int) -> None:
        value = self.tree.indexOfTopLevelItem(item) + 1
        if column != NAME or not 1 <= value <= len(self._classes):
            return
        name = " ".join(item.text(NAME).split())
        if name and name != self._classes[value - 1].name:
            self.rename_requested.emit(value, name)
        else:
            self.tree.blockSignals(True)
            item.setText(NAME, self._classes[value - 1].name)
            self.tree.blockSignals(False)

    @Slot(int, int)
    def _switch(self, row: int, column: int) -> None:
        """Ask for the other state of an eye or a padlock."""
        self._request(row + 1, column, not self._is_on(row + 1, column))

    def _request(self, value: int, column: int, on: bool) -> None:
        if column == SHOWN:
            self.hide_requested.emit(value, not on)
        else:
            self.lock_requested.emit(value, on)

    @Slot(QModelIndex)
    def _double_clicked(self, index: QModelIndex) -> None:
        if index.column() == KEY:
            self._ask_color()
        elif index.column() == NAME:
            self.tree.editItem(self.tree.itemFromIndex(index), NAME)

    @property
    def _chosen(self) -> int:
        """The value of the chosen class, 0 if there is none."""
        return self.tree.currentIndex().row() + 1

    @Slot()
    def _ask_color(self) -> None:
        value = self._chosen
        if value < 1:
            return
        info = self._classes[value - 1]
        color = QColorDialog.getColor(QColor(info.color), self, f"Colour of {info.name}")
        if color.isValid():
            self.recolor_requested.emit(value, color.name())

    @Slot()
    def _ask_delete(self) -> None:
        if self._chosen:
            self.delete_requested.emit(self._chosen)

    @Slot(QPoint)
    def _show_menu(self, place: QPoint) -> None:
        """What can be done with the chosen class; the right button has just chosen it."""
        if self._chosen:
            menu = self.class_menu()
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(self.tree.viewport().mapToGlobal(place))

    def class_menu(self) -> QMenu:
        """The context menu of the chosen class."""
        value = self._chosen
        menu = QMenu(self.tree)
        menu.addAction("Rename", self._rename)
        menu.addAction("Colour…", self._ask_color)
        menu.addSeparator()
        for column, words in ((SHOWN, "Shown"), (LOCKED, "Locked")):
            action = menu.addAction(words)
            action.setCheckable(True)
            action.setChecked(self._is_on(value, column))
            action.toggled.connect(partial(self._request, value, column))
        menu.addSeparator()
        menu.addAction("Delete class", self._ask_delete)
        return menu

    @Slot()
    def _rename(self) -> None:
        item = self.tree.currentItem()
        if item is not None:
            self.tree.editItem(item, NAME)


def short_count(count: int) -> str:
    """Return a count in at most five characters: "1 234", "12 k", "1.2 M", "3.4 G"."""
    if count < 10_000:
        return _grouped(count)
    for unit, size in (("k", 10**3), ("M", 10**6), ("G", 10**9)):
        if count < 1000 * size or unit == "G":
            scaled = count / size
            break
    # Not rounded up: "1 000 k" would be longer, and says more than there is.
    digits = f"{int(scaled * 10) / 10:.1f}" if scaled < 10 else str(int(scaled))
    return f"{digits}\u202f{unit}"


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")
