"""Which image of a file, and what its axes mean: asked with pictures, before it is opened."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QPoint, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.document import Document
from app.jobs import OneJob
from app.messages import Message, MessageBar
from app.settings import Settings
from app.thumbnails import to_image
from unet_core.choices import Choice, Choices, choices, thumbnail
from unet_core.reading import Reading
from unet_core.stack import StackError, open_stack

if TYPE_CHECKING:
    from app.files import Files

_SIDE = 96
"""Of a picture in the list of images, in pixels."""
_MEANING = QSize(216, 112)
"""Of a picture of what the axes may mean."""
_SHEET = 80
_IN_A_ROW = 3
_MOST_PICTURES = 200
_NOTHING = Reading()
_WORDS = {"T": ("time point", "time points"), "Z": ("slice", "slices"),
          "C": ("channel", "channels")}  # fmt: skip


@dataclass(frozen=True)
class Choose:
    """The answer of `opening` where the user is to say first what is meant."""

    choices: Choices


@dataclass(frozen=True)
class Preview:
    """Pictures of image number `image` as it looks with these axes. arrangement: "T" for side by
    side, "Z" for one behind the other, "" for a single one."""

    image: int
    axes: str
    pictures: tuple[NDArray[np.uint8], ...]
    arrangement: str


def kind_of(path: Path, choice: Choice) -> str:
    """What the choice of axes is remembered for: files of the same name's ending and dimensions."""
    return f"{path.suffix.lower() or 'folder'} {choice.unnamed}"


def to_choose(path: Path, remembered: Mapping[str, str]) -> Choose | Reading:
    """What is to be asked about the file at `path`; how to open it, if nothing. Raises StackError.

    remembered: the axes that were chosen last for each kind of file, see `kind_of`.
    """
    found = choices(path)
    first = found.images[0]
    axes = remembered.get(kind_of(found.path, first))
    if not found.several and axes in first.alternatives:
        return Reading(axes=axes)
    return Choose(found) if found.worth_asking else Reading()


def _looking(path: Path) -> Generator[None, None, Choices]:
    yield
    return choices(path)


def previews(found: Choices) -> Generator[Preview | None, None, None]:
    """Read the pictures: first what the axes of the first image may mean, then of each image."""
    yield None
    for number, choice in enumerate(found.images[:_MOST_PICTURES]):
        for axes in choice.alternatives:
            try:
                preview = _preview(found.path, number, choice, axes)
            except StackError:
                continue
            yield preview


def _preview(path: Path, number: int, choice: Choice, axes: str) -> Preview:
    with open_stack(path, choice.reading(axes)) as stack:
        times, depths = stack.shape[:2]
        arrangement = "T" if times > 1 else "Z" if depths > 1 else ""
        if not arrangement or len(choice.alternatives) == 1:
            return Preview(number, axes, (thumbnail(stack, _SIDE),), "")
        count = times if times > 1 else depths
        step = depths if times > 1 else 1
        some = [round(share * (count - 1)) * step for share in (0, 0.5, 1)]
        pictures = tuple(thumbnail(stack, _SHEET, at) for at in dict.fromkeys(some))
        return Preview(number, axes, pictures, arrangement)


class ChoosingDialog(QDialog):
    """A list of the images in a file, and of what the axes of the chosen one may mean.

    `set_preview` shows the pictures as they come; nothing waits for them.
    """

    chosen = Signal(object, object)
    """The Choice, and its Reading."""

    def __init__(self, found: Choices, present: Reading, parent: QWidget) -> None:
        """`present`: what is chosen at first."""
        super().__init__(parent)
        self.setObjectName("choosingDialog")
        self.setWindowTitle(f"Open {found.path.name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._found = found
        self._pictures: dict[tuple[int, str], QPixmap] = {}
        self._axes = {number: one.axes for number, one in enumerate(found.images)}
        self._build()
        self._fill(present)
        self.images.currentRowChanged.connect(self._image_chosen)
        self.meanings.currentRowChanged.connect(self._meaning_chosen)
        for view in (self.images, self.meanings):
            view.itemDoubleClicked.connect(self.accept)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self._image_chosen(self.images.currentRow())
        (self.images if len(found.images) > 1 else self.meanings).setFocus()

    def _build(self) -> None:
        self.images = QListWidget()
        self.images.setObjectName("choosingImages")
        self.images.setAccessibleName("Images in the file")
        self.images.setIconSize(QSize(_SIDE, _SIDE))
        self.images.setUniformItemSizes(True)
        self.images.setMinimumWidth(520)
        self._several = QLabel()
        self._several.setTextFormat(Qt.TextFormat.PlainText)
        self._several.setWordWrap(True)
        self.question = QLabel()
        self.question.setTextFormat(Qt.TextFormat.PlainText)
        self.question.setWordWrap(True)
        self.meanings = QListWidget()
        self.meanings.setObjectName("choosingAxes")
        self.meanings.setAccessibleName("What the axes mean")
        self.meanings.setViewMode(QListView.ViewMode.IconMode)
        self.meanings.setMovement(QListView.Movement.Static)
        self.meanings.setResizeMode(QListView.ResizeMode.Adjust)
        self.meanings.setWordWrap(True)
        self.meanings.setIconSize(_MEANING)
        line = self.meanings.fontMetrics().lineSpacing()
        cell = QSize(_MEANING.width() + 20, _MEANING.height() + 2 * line + 4)
        self.meanings.setGridSize(cell)
        self.meanings.setMinimumWidth(_IN_A_ROW * cell.width() + 30)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.open_button = QPushButton("Open")
        self.open_button.setObjectName("choosingOpen")
        self.open_button.setDefault(True)
        self.buttons.addButton(self.open_button, QDialogButtonBox.ButtonRole.AcceptRole)
        column = QVBoxLayout(self)
        for part in (self._several, self.images, self.question, self.meanings, self.buttons):
            column.addWidget(part)

    def _fill(self, present: Reading) -> None:
        images = self._found.images
        self._several.setText(f"{self._found.path.name} holds {len(images)} images. Open which?")
        at = 0
        for number, one in enumerate(images):
            item = QListWidgetItem(f"{one.name}\n{_size_words(one)}")
            item.setIcon(_icon(_blank(QSize(_SIDE, _SIDE))))
            self.images.addItem(item)
            if one.name == present.series:
                at = number
        if present.axes in images[at].alternatives:
            self._axes[at] = str(present.axes)
        self.images.setCurrentRow(at)
        room = self.screen().availableSize().height()
        needed = 550 if any(len(one.alternatives) > 3 for one in images) else 380
        rows = min(len(images), max(2, (room - needed) // (_SIDE + 8)))
        self.images.setFixedHeight(rows * (_SIDE + 8) + 8)
        for part in (self._several, self.images):
            part.setVisible(len(images) > 1)

    # --- what is chosen --------------------------------------------------------------------------

    @property
    def _choice(self) -> Choice:
        return self._found.images[max(0, self.images.currentRow())]

    @Slot(int)
    def _image_chosen(self, row: int) -> None:
        row = max(0, row)
        choice = self._choice
        doubtful = len(choice.alternatives) > 1
        self.question.setVisible(doubtful)
        self.meanings.setVisible(doubtful)
        sizes = " × ".join(map(str, choice.shape))
        name = choice.name if len(self._found.images) > 1 else self._found.path.name
        self.question.setText(f"{name} ({sizes}) does not say what its axes are. Open it as")
        self.meanings.blockSignals(True)
        self.meanings.clear()
        for axes in choice.alternatives:
            item = QListWidgetItem(_axes_words(axes, choice.shape))
            item.setData(Qt.ItemDataRole.UserRole, axes)
            item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter)
            item.setIcon(_icon(self._pictures.get((row, axes)) or _blank(_MEANING)))
            self.meanings.addItem(item)
        rows = 2 if len(choice.alternatives) > _IN_A_ROW else 1
        self.meanings.setFixedHeight(rows * self.meanings.gridSize().height() + 12)
        self.meanings.setCurrentRow(choice.alternatives.index(self._axes[row]))
        self.meanings.blockSignals(False)
        self.adjustSize()

    @Slot(int)
    def _meaning_chosen(self, row: int) -> None:
        if row >= 0:
            self._axes[max(0, self.images.currentRow())] = self._choice.alternatives[row]

    @Slot(object)
    def set_preview(self, preview: Preview) -> None:
        """Show the pictures that have been read."""
        choice = self._found.images[preview.image]
        if preview.axes == choice.axes:
            item = self.images.item(preview.image)
            item.setIcon(_icon(_alone(preview.pictures[len(preview.pictures) // 2])))
        if len(choice.alternatives) > 1:
            picture = _arranged(preview)
            self._pictures[preview.image, preview.axes] = picture
            if preview.image == max(0, self.images.currentRow()):
                row = choice.alternatives.index(preview.axes)
                self.meanings.item(row).setIcon(_icon(picture))

    def accept(self) -> None:
        row, choice = max(0, self.images.currentRow()), self._choice
        axes = self._axes[row] if len(choice.alternatives) > 1 else None
        series = choice.name if len(self._found.images) > 1 else None
        super().accept()
        self.chosen.emit(choice, Reading(series, axes))


class Choosing(QObject):
    """Asks which image of a file is meant, and remembers what was answered."""

    finished = Signal()
    """After `shutdown`: nothing is read any more."""

    def __init__(
        self,
        window: QWidget,
        document: Document,
        files: Files,
        settings: Settings,
        messages: MessageBar,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._document = document
        self._files = files
        self._settings = settings
        self._messages = messages
        self._answered: Reading | None = None  # what the user has just said
        self._told: Message | None = None  # of the image on show
        self._job = OneJob(self)
        self._job.failed.connect(lambda error: messages.show_error(error.sentence, error.details))
        self._job.finished.connect(self.finished)

    @Slot(object)
    def ask(self, found: Choices, present: Reading = _NOTHING) -> None:
        """Ask, and open what is answered."""
        dialog = ChoosingDialog(found, present, self._window)
        dialog.chosen.connect(lambda choice, reading: self._chosen(found, choice, reading))
        dialog.finished.connect(self._job.cancel)
        self._job.progressed.connect(dialog.set_preview)
        dialog.open()
        self._job.run(lambda: previews(found))

    def _chosen(self, found: Choices, choice: Choice, reading: Reading) -> None:
        if reading.axes is not None:
            self._settings.remember_axes(kind_of(found.path, choice), reading.axes)
        self._answered = reading
        self._files.open(found.path, reading=reading)

    @Slot()
    def ask_folder(self) -> None:
        """Ask for a folder that is one image, and open it."""
        start = self._settings.open_folder or Path.home()
        name = QFileDialog.getExistingDirectory(
            self._window, "Open a folder as one image", str(start)
        )
        if name:
            self.open_folder(Path(name))

    def open_folder(self, folder: Path) -> None:
        """Open a folder as one image; ask what it is where that is not clear."""
        self._job.run(partial(_looking, folder), self._ask_or_open)

    def _ask_or_open(self, found: Choices) -> None:
        if found.worth_asking:
            self.ask(found)
        else:
            self._files.open(found.path, reading=Reading())

    @Slot()
    def choose_again(self) -> None:
        """Ask about the image that is open."""
        stack = self._document.stack
        if stack is not None:
            present = stack.reading
            self._job.run(
                partial(_looking, stack.path), lambda found: self._ask_again(found, present)
            )

    def _ask_again(self, found: Choices, present: Reading) -> None:
        if found.worth_asking or len(found.images) > 1:
            self.ask(found, present)
        else:
            self._messages.show_message(
                Message(f"{found.path.name} holds one image, and says what its axes are.", "offer")
            )

    @Slot()
    def image_opened(self) -> None:
        """Say what else the image may be, where nobody has been asked."""
        stack, answered = self._document.stack, self._answered
        self._answered = None
        if self._told is not None:
            self._messages.retract(self._told)  # it was of another image
        if stack is None or stack.reading in (Reading(), answered) or self._files.project:
            return
        reading = stack.reading
        words = _axes_words("TZCYX", stack.shape)
        if reading.series is not None:
            sentence = f"{stack.path.name} holds several images; this one is {reading.series}."
        else:
            sentence = f"{stack.path.name} does not say what its axes are; it is shown as {words}."
        self._told = Message(sentence, "offer", actions=(("Choose…", self.choose_again),))
        self._messages.show_message(self._told)

    def shutdown(self) -> bool:
        """Ask nothing any more. True while something is read; then `finished` will come."""
        return self._job.shutdown()


# --- words and pictures --------------------------------------------------------------------------


def _axes_words(axes: str, shape: Sequence[int]) -> str:
    """12 time points, or 5 slices, 3 channels."""
    sizes: dict[str, int] = dict(zip(axes, shape, strict=True))
    found = [f"{sizes[a]} {_WORDS[a][sizes[a] != 1]}" for a in "TZC" if sizes.get(a, 1) > 1]
    if sizes.get("S", 1) > 1:
        found.append("colour" if sizes["S"] in (3, 4) else f"{sizes['S']} samples")
    return ", ".join(found) or "one plane"


def _size_words(choice: Choice) -> str:
    sizes: dict[str, Any] = dict(zip(choice.axes, choice.shape, strict=True))
    kind = np.dtype(choice.dtype)
    depth = "1 bit" if kind.kind == "b" else f"{8 * kind.itemsize} bit"
    fractions = " with fractions" if kind.kind == "f" else ""
    plane = f"{sizes['X']} × {sizes['Y']} pixels, {depth}{fractions}"
    return f"{_axes_words(choice.axes, choice.shape)}\n{plane}"


def _icon(pixmap: QPixmap) -> QIcon:
    """The picture as it is, also where it is chosen: no colour laid over it."""
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon


def _blank(size: QSize) -> QPixmap:
    pixmap = QPixmap(size)
    pixmap.fill(QColor(128, 128, 128, 40))
    return pixmap


def _alone(picture: NDArray[np.uint8]) -> QPixmap:
    size = QSize(_SIDE, _SIDE)
    pixmap = QPixmap(size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    _draw(painter, picture, QRect(QPoint(0, 0), size))
    painter.end()
    return pixmap


def _arranged(preview: Preview) -> QPixmap:
    """Time points side by side, slices one behind the other."""
    pixmap = QPixmap(_MEANING)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    count = len(preview.pictures)
    width, height = _MEANING.width(), _MEANING.height()
    if preview.arrangement == "T":
        side = min(height, (width - 4 * (count - 1)) // count)
        left = (width - count * (side + 4) + 4) // 2
        for number, picture in enumerate(preview.pictures):
            place = QRect(left + number * (side + 4), (height - side) // 2, side, side)
            _draw(painter, picture, place)
    else:
        step = 16 if count > 1 else 0
        side = height - step * (count - 1)
        left = (width - side - 2 * step * (count - 1)) // 2
        for number, picture in list(enumerate(preview.pictures))[::-1]:
            place = QRect(left + 2 * step * number, step * (count - 1 - number), side, side)
            _draw(painter, picture, place, framed=True)
    painter.end()
    return pixmap


def _draw(
    painter: QPainter, picture: NDArray[np.uint8], place: QRect, *, framed: bool = False
) -> None:
    """Fit the picture into a place."""
    image = to_image(picture)
    size = image.size().scaled(place.size(), Qt.AspectRatioMode.KeepAspectRatio)
    target = QRect(QPoint(0, 0), size)
    target.moveCenter(place.center())
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawImage(target, image)
    if framed:
        painter.setPen(QColor(150, 150, 150))
        painter.drawRect(target.adjusted(0, 0, -1, -1))
