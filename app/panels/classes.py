"""The classes to paint with: colour, key, name, and how much of each is painted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QModelIndex, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
)

from app import assets
from app.panels.base import Panel
from unet_core.annotation import ClassInfo

KEY, NAME, COUNT = range(3)


class _ClassTree(QTreeWidget):
    """The list; F2 and a double click edit a name in place."""

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), 4 * (self.fontMetrics().height() + 6))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        item = self.currentItem()
        if event.key() == Qt.Key.Key_F2 and item is not None:
            self.editItem(item, NAME)
        else:
            super().keyPressEvent(event)


class ClassesPanel(Panel):
    """Lists the classes; class values count from 1, the background."""

    class_chosen = Signal(int)
    rename_requested = Signal(int, str)
    recolor_requested = Signal(int, str)
    add_requested = Signal()

    def __init__(self) -> None:
        super().__init__("Classes", "classesPanel", growing=True)
        self._classes: list[ClassInfo] = []
        self.tree = _ClassTree()
        self.tree.setObjectName("classList")
        self.tree.setAccessibleName("Classes: key, name, painted pixels")
        self.tree.setColumnCount(3)
        self.tree.setHeaderHidden(True)
        self.tree.setRootIsDecorated(False)
        self.tree.setUniformRowHeights(True)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(10)
        header.setSectionResizeMode(KEY, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(COUNT, QHeaderView.ResizeMode.ResizeToContents)
        row = self.fontMetrics().height() + 8
        self.tree.setMinimumHeight(2 * row + 8)
        buttons = QHBoxLayout()
        self.add_button = QPushButton("Add class")
        self.add_button.setObjectName("addClassButton")
        self.add_button.setToolTip("Add another class to paint")
        self.color_button = QPushButton("Colour…")
        self.color_button.setObjectName("classColorButton")
        self.color_button.setToolTip("Choose another colour for the chosen class")
        for button in (self.add_button, self.color_button):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            buttons.addWidget(button)
        buttons.addStretch()
        self.column.addWidget(self.tree, 1)
        self.column.addLayout(buttons)
        self.finish()
        self.tree.currentItemChanged.connect(self._current_changed)
        self.tree.itemChanged.connect(self._item_changed)
        self.tree.doubleClicked.connect(self._double_clicked)
        self.add_button.clicked.connect(self.add_requested)
        self.color_button.clicked.connect(self._ask_color)

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
        self.tree.blockSignals(False)
        # Blocked signals also kept the view from repainting what changed.
        self.tree.viewport().update()

    def _show_class(self, value: int, info: ClassInfo) -> None:
        item = self.tree.topLevelItem(value - 1)
        if item is None:
            item = QTreeWidgetItem(["", "", "0"])
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            item.setTextAlignment(
                COUNT, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            )
            item.setToolTip(COUNT, "Painted pixels")
            self.tree.addTopLevelItem(item)
        item.setText(KEY, str(value) if value < 10 else "")
        item.setIcon(KEY, assets.swatch(info.color))
        item.setText(NAME, info.name)
        item.setToolTip(KEY, f"Key {value}; double-click for another colour")
        item.setToolTip(NAME, f"{info.name}: double-click or F2 to rename")

    def set_counts(self, counts: Mapping[int, int]) -> None:
        """Show how many pixels of each class value are painted."""
        self.tree.blockSignals(True)
        for row in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(row)
            if item is not None:
                item.setText(COUNT, f"{counts.get(row + 1, 0):,}".replace(",", "\u202f"))
        self.tree.blockSignals(False)
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

    @Slot(QModelIndex)
    def _double_clicked(self, index: QModelIndex) -> None:
        if index.column() == KEY:
            self._ask_color()
        elif index.column() == NAME:
            self.tree.editItem(self.tree.itemFromIndex(index), NAME)

    @Slot()
    def _ask_color(self) -> None:
        value = self.tree.currentIndex().row() + 1
        if value < 1:
            return
        info = self._classes[value - 1]
        color = QColorDialog.getColor(QColor(info.color), self, f"Colour of {info.name}")
        if color.isValid():
            self.recolor_requested.emit(value, color.name())
