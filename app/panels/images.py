"""The list of the project's images: a picture, a name and marks of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QAction, QColor, QIcon, QImage, QKeyEvent, QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QListView,
    QMenu,
    QToolButton,
)

from app.panels.base import Panel, keep_navigation

_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_LONG = 9
"""Characters that names may have in common at the beginning before these are left out."""
PICTURE = 48
"""Side of a picture in the list, in points."""


@dataclass(frozen=True)
class ImageRow:
    """What the list says of an image."""

    id: int
    name: str
    place: str
    """All of its path, for the tooltip."""
    marks: tuple[str, ...]
    """Words such as "labelled"."""
    reviewed: bool = False


class ImagesModel(QAbstractListModel):
    """A row for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[ImageRow] = []
        self._alike = 0  # so many characters are the same at the beginning of all names
        self._icons: dict[int, QIcon] = {}
        blank = QPixmap(PICTURE, PICTURE)
        blank.fill(QColor(128, 128, 128, 60))
        self._blank = QIcon(blank)

    def show_rows(self, rows: Sequence[ImageRow]) -> None:
        """Show these rows; the pictures that are known stay."""
        names = [row.name for row in rows]
        if names != [row.name for row in self.rows]:  # not at every mark: there may be thousands
            self._alike = _alike(names)
        if [row.id for row in rows] == [row.id for row in self.rows]:
            self.rows = list(rows)
            self.dataChanged.emit(self.index(0), self.index(max(0, len(rows) - 1)))
            return
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def set_picture(self, image: int, picture: QImage) -> None:
        """Show this picture beside an image's name."""
        self._icons[image] = QIcon(QPixmap.fromImage(_squared(picture)))
        row = self.row_of(image)
        if row >= 0:
            self.dataChanged.emit(self.index(row), self.index(row))

    def forget_pictures(self) -> None:
        """The images of another project come."""
        self._icons.clear()

    def row_of(self, image: int) -> int:
        """The row of an image, -1 where there is none."""
        return next((n for n, row in enumerate(self.rows) if row.id == image), -1)

    def rowCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        row = self.rows[index.row()]
        marks = " · ".join(row.marks) or "–"
        if role == Qt.ItemDataRole.DisplayRole:
            name = f"…{row.name[self._alike :]}" if self._alike else row.name
            return f"{name}\n{marks}"
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join((row.name, *row.marks))
        if role == Qt.ItemDataRole.DecorationRole:
            return self._icons.get(row.id, self._blank)
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.place
        return None


def _alike(names: Sequence[str]) -> int:
    """How much of the names to leave out, as all of them begin with it and a list is narrow.

    Whole words only, so that "well_A01" and "well_A02" keep their A0; and never a little.
    """
    if len(names) < 2:
        return 0
    same = commonprefix([Path(name).stem for name in names])
    while same and same[-1].isalnum():
        same = same[:-1]
    return len(same) if len(same) >= _LONG else 0


def _squared(picture: QImage) -> QImage:
    """The middle of a picture, so that all of them stand in one column."""
    side = min(picture.width(), picture.height())
    left, top = (picture.width() - side) // 2, (picture.height() - side) // 2
    return picture.copy(left, top, side, side)


class _List(QListView):
    def __init__(self) -> None:
        super().__init__()
        self.setIconSize(QSize(PICTURE, PICTURE))
        self.setUniformItemSizes(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)

    def sizeHint(self) -> QSize:
        return QSize(200, 300)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        # Letters are keys of the window; the list would jump to names that begin with them.
        if event.text().isprintable() and event.text():
            event.ignore()
        else:
            super().keyPressEvent(event)


class ImagesPanel(Panel):
    """The row of the image on show is the chosen one; choosing another asks to go there."""

    image_chosen = Signal(int)
    reviewed_chosen = Signal(bool)
    remove_requested = Signal()

    def __init__(self, adding: Sequence[QAction]) -> None:
        """adding: the commands behind the Add button."""
        super().__init__("Images", "imagesPanel", growing=True, closable=True)
        self.model = ImagesModel()
        self._shown = -1
        self.summary = QLabel()
        self.summary.setObjectName("imagesSummary")
        self.summary.setWordWrap(True)
        self.list = _List()
        self.list.setObjectName("imageList")
        self.list.setAccessibleName("Images of the project")
        self.list.setModel(self.model)
        keep_navigation(self.list)
        self.reviewed = QCheckBox("Reviewed")
        self.reviewed.setObjectName("imageReviewed")
        self.reviewed.setToolTip("Mark the image on show as done (R)")
        menu = QMenu(self)
        menu.addActions(list(adding))
        self.add = QToolButton()
        self.add.setObjectName("imagesAdd")
        self.add.setText("Add")
        self.add.setToolTip("Add images to the project")
        self.add.setMenu(menu)
        self.add.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.remove = QToolButton()
        self.remove.setObjectName("imagesRemove")
        self.remove.setText("Remove")
        self.remove.setToolTip("Take the image on show out of the project; its file stays")
        row = QHBoxLayout()
        row.addWidget(self.add)
        row.addWidget(self.remove)
        row.addStretch()
        row.addWidget(self.reviewed)
        self.column.addWidget(self.summary)
        self.column.addWidget(self.list, 1)
        self.column.addLayout(row)
        self.finish()
        self.show_images([], -1)
        self.list.selectionModel().currentChanged.connect(self._current_changed)
        self.reviewed.clicked.connect(self.reviewed_chosen)
        self.remove.clicked.connect(self.remove_requested)

    def show_images(self, rows: Sequence[ImageRow], shown: int) -> None:
        """Show the list, and choose the image on show."""
        self._shown = shown
        self.model.show_rows(rows)
        self.list.setCurrentIndex(self.model.index(self.model.row_of(shown)))
        on_show = next((row for row in rows if row.id == shown), None)
        self.reviewed.setEnabled(on_show is not None)
        self.reviewed.setChecked(on_show is not None and on_show.reviewed)
        self.remove.setEnabled(len(rows) > 1)
        self.add.setEnabled(bool(rows))
        self.summary.setText(_summary(rows))

    @Slot(QModelIndex)
    def _current_changed(self, index: QModelIndex) -> None:
        # The image on show is chosen by `show_images`; every other row by the user.
        if index.isValid() and self.model.rows[index.row()].id != self._shown:
            self.image_chosen.emit(self.model.rows[index.row()].id)


def _summary(rows: Sequence[ImageRow]) -> str:
    if not rows:
        return "No image is open."
    many = "1 image" if len(rows) == 1 else f"{len(rows)} images"
    counts = {mark: sum(mark in row.marks for row in rows) for mark in ("labelled", "reviewed")}
    # A number and its word stay on one line.
    return ", ".join([many, *(f"{count}\u00a0{mark}" for mark, count in counts.items())])
