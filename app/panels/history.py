"""The history of all edits: a list to look at, and to go back and forth in."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QGuiApplication, QIcon, QKeyEvent, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableView,
)

from app import assets
from app.panels.base import Panel, keep_navigation
from unet_core.annotation import ClassInfo
from unet_core.edits import History
from unet_core.stack import PlaneIndex

_NAMES = {
    "stroke": "Stroke",
    "erase": "Erase",
    "fill": "Fill",
    "polygon": "Polygon",
    "complete": "Complete region",
    "merge": "Merge",
    "split": "Split",
    "delete": "Delete",
    "delete class": "Delete class",
    "accept": "Accept",
    "reject": "Reject",
    "interpolate": "Fill in between slices",
    "import": "Import",
}

_SWATCH = 10

_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


def edit_name(kind: str) -> str:
    """Return the user's word for a kind of edit; projects of later versions may hold others."""
    return _NAMES.get(kind, "Change")


def place_name(planes: Sequence[PlaneIndex], times: int, depths: int) -> str:
    """Return "z 3", "t 1, z 2–6" or "": where an edit is in a stack of so many planes, from 1."""
    parts = []
    for letter, count, found in (
        ("t", times, [plane.t for plane in planes]),
        ("z", depths, [plane.z for plane in planes]),
    ):
        if count > 1 and found:
            first, last = min(found) + 1, max(found) + 1
            parts.append(f"{letter} {first}" + (f"–{last}" if last > first else ""))
    return ", ".join(parts)


class HistoryModel(QAbstractListModel):
    """Row n: the labels after n edits. Row 0 is the beginning.

    Reads the document's history, and never writes to it. A new edit costs one row, whatever the
    length.
    """

    def __init__(self) -> None:
        super().__init__()
        self._history = History()
        self._planes = (1, 1)
        self._count = self._forgotten = 0
        self._classes: list[ClassInfo] = []
        blank = QPixmap(_SWATCH, _SWATCH)
        blank.fill(Qt.GlobalColor.transparent)
        # By class, None for none: so all words begin at the same place.
        self._swatches: dict[int | None, QIcon] = {None: QIcon(blank)}
        self.position = 0
        """How many edits are applied: the row of the present."""

    def show_history(self, history: History, planes: tuple[int, int]) -> None:
        """Show `history`, of an image of `planes` (T, Z), as it is now."""
        before, self.position = self.position, history.position
        count = len(history)
        other = history is not self._history or history.forgotten != self._forgotten
        if other or planes != self._planes:
            self.beginResetModel()
            self._forgotten = history.forgotten
            self._history, self._planes, self._count = history, planes, count
            self.endResetModel()
            return
        if count > self._count:
            self.beginInsertRows(_NOWHERE, self._count + 1, count)
            self._count = count
            self.endInsertRows()
        elif count < self._count:
            self.beginRemoveRows(_NOWHERE, count + 1, self._count)
            self._count = count
            self.endRemoveRows()
        first, last = sorted((before, self.position))
        self.dataChanged.emit(self.index(first), self.index(last))

    def show_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Name the classes, the background first."""
        if list(classes) == self._classes:
            return
        self._classes = list(classes)
        self._swatches = {None: self._swatches[None]}
        for value, one in enumerate(classes, start=1):
            self._swatches[value] = assets.swatch(one.color, _SWATCH)
        self.dataChanged.emit(self.index(0), self.index(self._count))

    def rowCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else self._count + 1

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        row = index.row()
        undone = row > self.position
        if role == Qt.ItemDataRole.DisplayRole:
            return self._words(row)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{self._words(row)}, undone" if undone else self._words(row)
        if role == Qt.ItemDataRole.ForegroundRole and undone:
            return QGuiApplication.palette().placeholderText()
        if role == Qt.ItemDataRole.DecorationRole:
            value = self._history.step(row - 1).value if row else None
            return self._swatches.get(value, self._swatches[None])
        if role == Qt.ItemDataRole.ToolTipRole:
            click = "Undone; click to do it again" if undone else "Click to go back to here"
            return f"{self._words(row)}\n{click}"
        return None

    def _words(self, row: int) -> str:
        if row == 0:
            return "Beginning"
        step = self._history.step(row - 1)
        name, place = edit_name(step.kind), place_name(step.planes, *self._planes)
        if step.value is not None and step.value <= len(self._classes):  # it may be deleted
            name = f"{name}, {self._classes[step.value - 1].name}"
        return f"{name} · {place}" if place else name


class _List(QTableView):
    """One column of rows of one height. A QListView would lay out all rows again at every change,
    which takes 8 ms with 5,000 of them."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.horizontalHeader().hide()
        self.horizontalHeader().setStretchLastSection(True)
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setMinimumSectionSize(1)
        rows.setDefaultSectionSize(self.fontMetrics().height() + 4)
        self.setShowGrid(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def sizeHint(self) -> QSize:
        return QSize(210, 300)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.cancelled.emit()
        elif event.key() in (Qt.Key.Key_Home, Qt.Key.Key_End):
            last = self.model().rowCount() - 1
            self.setCurrentIndex(
                self.model().index(0 if event.key() == Qt.Key.Key_Home else last, 0)
            )
        else:
            super().keyPressEvent(event)


class HistoryPanel(Panel):
    """The row of the present is the chosen one; choosing another asks to go there."""

    position_chosen = Signal(int)
    """How many edits shall be applied."""
    stop_requested = Signal()

    def __init__(self) -> None:
        super().__init__("History", "historyPanel", growing=True, closable=True)
        self.model = HistoryModel()
        self.list = _List()
        self.list.setObjectName("historyList")
        self.list.setAccessibleName("History: what was done, the newest last")
        self.list.setModel(self.model)
        keep_navigation(self.list)
        self.stop = QPushButton("Stop")
        self.stop.setObjectName("historyStop")
        self.stop.setAccessibleName("Stop going through the history")
        self.stop.setToolTip("Stay at the step that is reached now (Esc in the list)")
        self.stop.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self.stop)
        self.column.addWidget(self.list, 1)
        self.column.addLayout(row)
        self.finish()
        self.set_travelling(False)
        self.list.selectionModel().currentChanged.connect(self._current_changed)
        self.list.cancelled.connect(self.stop_requested)
        self.stop.clicked.connect(self.stop_requested)

    def show_history(self, history: History, planes: tuple[int, int]) -> None:
        """Show `history`, of an image of `planes` (T, Z), and choose the row of the present."""
        self.model.show_history(history, planes)
        self.list.setCurrentIndex(self.model.index(self.model.position))

    def show_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Name the classes that changes are of, the background first."""
        self.model.show_classes(classes)

    def set_travelling(self, travelling: bool) -> None:
        """Whether steps are being undone or done again, one after the other."""
        self.stop.setEnabled(travelling)

    @Slot(QModelIndex)
    def _current_changed(self, index: QModelIndex) -> None:
        # The present is chosen by `show_history`; every other row by the user.
        if index.isValid() and index.row() != self.model.position:
            self.position_chosen.emit(index.row())
