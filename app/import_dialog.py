"""What “Import masks…” shows before anything changes: a picture, numbers, and what to choose."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.document import FIRST_CELL_CLASS
from app.thumbnails import to_image
from unet_core.annotation import ClassInfo
from unet_core.stack import PlaneIndex, Stack

if TYPE_CHECKING:
    from unet_core.import_masks import Imported, Sample

Meaning = Literal["objects", "classes"]

_PICTURE = QSize(420, 360)
_MEANINGS: dict[Meaning, str] = {
    "objects": "Objects: a number for each",
    "classes": "Classes: 1 background, 2, 3…",
}
_STRENGTH = 0.5
"""How much the masks cover of the image below, 0…1."""


@dataclass(frozen=True)
class ImportOptions:
    """How masks are to be taken in."""

    labels_are: Meaning | None = None
    """What the values of a label image stand for; None: what its name suggests."""
    value: int = FIRST_CELL_CLASS
    """The class of objects whose class the file does not name."""
    keep: bool = True
    """What is painted already stays; otherwise the masks replace it."""
    background: bool = False
    """All the rest of planes with masks becomes background."""


@dataclass(frozen=True)
class Look:
    """What a file would bring with some options."""

    options: ImportOptions
    made_by: str
    """What the file seems to be, in words."""
    meaning: Meaning | None
    """What the values of a label image were taken for; None for shapes."""
    found: Imported
    picture: NDArray[np.uint8] | None
    """(Y, X, 3); None where nothing comes in."""


class ImportDialog(QDialog):
    """Shows a Look, and asks for another one when other options are chosen."""

    options_changed = Signal()
    chosen = Signal(object)
    """The Look on show, which is what the user wants."""

    def __init__(
        self, path: Path, classes: Sequence[ClassInfo], value: int, stack: Stack, parent: QWidget
    ) -> None:
        """`value`: the class that is proposed."""
        super().__init__(parent)
        self.setObjectName("importDialog")
        self.setWindowTitle("Import masks")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._path = path
        self._shape = stack.shape
        self._look: Look | None = None
        self._build(classes, value)
        self._lay_out()
        self.reading()
        for box in (self.meaning, self.value, self.keep):
            box.activated.connect(self._changed)
        self.background.toggled.connect(self._changed)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def _build(self, classes: Sequence[ClassInfo], value: int) -> None:
        self.picture = QLabel()
        self.picture.setObjectName("importPicture")
        self.picture.setFixedSize(_PICTURE)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom)
        self.caption = _words("importCaption")
        self.caption.setProperty("faint", True)
        self.summary = _words("importSummary")
        self.summary.setMinimumWidth(300)
        self.meaning = QComboBox()
        self.meaning.setObjectName("importMeaning")
        self.meaning.setAccessibleName("What the values stand for")
        for meaning, text in _MEANINGS.items():
            self.meaning.addItem(text, meaning)
        self.meaning.setEnabled(False)
        self._meaning_chosen = False
        self.value = QComboBox()
        self.value.setObjectName("importClass")
        self.value.setAccessibleName("Class of the objects")
        for number, info in enumerate(classes, 1):
            if number >= FIRST_CELL_CLASS:
                self.value.addItem(info.name, number)
        self.value.setCurrentIndex(max(0, self.value.findData(value)))
        self.keep = QComboBox()
        self.keep.setObjectName("importKeep")
        self.keep.setAccessibleName("Where something is painted already")
        self.keep.addItem("Keep what I painted", True)
        self.keep.addItem("Replace it by the masks", False)
        self.background = QCheckBox("All the rest of these planes is background")
        self.background.setObjectName("importBackground")
        self.note = _words("importNote")
        self.note.setProperty("faint", True)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("&Values are", self.meaning)
        form.addRow("&Objects become", self.value)
        form.addRow("Where &painted", self.keep)
        form.addRow("", self.background)
        right = QVBoxLayout()
        right.addWidget(self.summary)
        right.addSpacing(8)
        right.addLayout(form)
        right.addWidget(self.note)
        right.addStretch(1)
        left = QVBoxLayout()
        left.addWidget(self.picture)
        left.addWidget(self.caption)
        left.addStretch(1)
        sides = QHBoxLayout()
        sides.addLayout(left)
        sides.addSpacing(8)
        sides.addLayout(right, 1)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.import_button = QPushButton("Import")
        self.import_button.setObjectName("importButton")
        self.import_button.setDefault(True)
        self.buttons.addButton(self.import_button, QDialogButtonBox.ButtonRole.AcceptRole)
        column = QVBoxLayout(self)
        column.addLayout(sides)
        column.addWidget(self.buttons)

    def options(self) -> ImportOptions:
        """What is chosen now."""
        return ImportOptions(
            self.meaning.currentData() if self._meaning_chosen else None,
            self.value.currentData(),
            self.keep.currentData(),
            self.background.isChecked(),
        )

    @Slot()
    def _changed(self) -> None:
        self._meaning_chosen |= self.sender() is self.meaning
        self.reading()
        self.options_changed.emit()

    # --- what is found ---------------------------------------------------------------------------

    def reading(self, text: str = "") -> None:
        """The file is being read."""
        self._look = None
        self.import_button.setEnabled(False)
        self.note.setText(text or f"Reading {self._path.name}…")

    def show_error(self, sentence: str) -> None:
        """The file can not be taken in."""
        self.reading()
        self.picture.clear()
        self.caption.clear()
        self.summary.setText(sentence)
        self.note.clear()

    def show_look(self, look: Look) -> None:
        """Show what the file brings."""
        self._look = look
        found, sample = look.found, look.found.sample
        if look.meaning is not None:
            self.meaning.setCurrentIndex(self.meaning.findData(look.meaning))
        self.meaning.setEnabled(look.meaning is not None)
        self.value.setEnabled(look.meaning != "classes")
        self.keep.setEnabled(found.covered > 0)
        self.import_button.setEnabled(found.edit is not None)
        self.summary.setText(f"{self._path.name}: {look.made_by}.\n{_contents(look, self._shape)}")
        self.note.setText(_note(found))
        self.picture.clear()
        self.caption.clear()
        if look.picture is not None and sample is not None:
            image = to_image(look.picture)
            ratio = self.devicePixelRatioF()
            pixmap = QPixmap.fromImage(
                image.scaled(
                    _PICTURE * ratio,
                    Qt.AspectRatioMode.KeepAspectRatio,
                    Qt.TransformationMode.SmoothTransformation,
                )
            )
            pixmap.setDevicePixelRatio(ratio)
            self.picture.setPixmap(pixmap)
            self.caption.setText(_place(sample.plane, self._shape, look))

    def accept(self) -> None:
        look = self._look
        if look is None or look.found.edit is None:
            return
        super().accept()
        self.chosen.emit(look)


def picture_of(
    stack: Stack, sample: Sample, meaning: Meaning | None, classes: Sequence[ClassInfo]
) -> NDArray[np.uint8]:
    """The masks over the image, (Y, X, 3): objects in colours of their own, classes in theirs."""
    from unet_core.choices import thumbnail
    from unet_core.import_masks import SAMPLE
    from unet_core.labels import classes_of, objects_of

    labels = sample.labels
    height, width = labels.shape
    below = np.zeros((height, width, 3), np.float32)
    if min(h * w for h, w in stack.levels) <= 4096 * 4096:  # else only a patch would be read
        plane = sample.plane.t * stack.shape[1] + sample.plane.z
        image = thumbnail(stack, SAMPLE, plane)
        rows = np.arange(height) * image.shape[0] // height
        columns = np.arange(width) * image.shape[1] // width
        image = image[rows][:, columns]
        below[:] = image if image.ndim == 3 else image[..., None]
    numbers, values = objects_of(labels).astype(np.int64), classes_of(labels).astype(np.int64)
    own = (numbers > 0) & (meaning != "classes")
    table = np.array([_rgb("#999999"), *(_rgb(info.color) for info in classes)], np.float32)
    colors = table[np.where(values < len(table), values, 0)]
    colors[own] = _hues()[numbers[own] % 251]
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    strength = np.where(edge, np.float32(1), np.float32(_STRENGTH))
    strength = np.where(labels > 0, strength, 0)[..., None]
    mixed: NDArray[np.uint8] = (below * (1 - strength) + colors * strength).astype(np.uint8)
    return mixed


def _hues() -> NDArray[np.float32]:
    """251 colours that tell neighbouring numbers apart: steps of the golden section."""
    hues = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.7, 1.0) for i in range(251)]
    return np.array(hues, np.float32) * 255


def _rgb(color: str) -> list[int]:
    return list(bytes.fromhex(color[1:]))


def _contents(look: Look, shape: tuple[int, ...]) -> str:
    found = look.found
    if found.edit is None:
        return "Nothing in it changes anything here."
    many = "1 object" if found.objects == 1 else f"{found.objects:,} objects"
    what = many if found.objects else "Classes"
    planes = shape[0] * shape[1]
    where = "" if planes == 1 else f" on {found.planes:,} of {planes:,} planes"
    return f"{what}{where}."


def _note(found: Imported) -> str:
    """What else there is to know, in sentences."""
    said = []
    if found.covered:
        said.append(f"{found.covered:,} of their pixels are painted already.")
    if found.skipped:
        many = "1 shape has" if found.skipped == 1 else f"{found.skipped:,} shapes have"
        said.append(f"{many} no area, or none in this image, and will be left out.")
    if found.edit is not None:
        said.append("One undo takes all of it back.")
    return " ".join(said)


def _place(plane: PlaneIndex, shape: tuple[int, ...], look: Look) -> str:
    """Which plane the picture shows: slice 2 of 30, 12 objects."""
    sample = look.found.sample
    assert sample is not None
    words = [
        f"{word} {index + 1} of {size}"
        for word, index, size in (("time point", plane.t, shape[0]), ("slice", plane.z, shape[1]))
        if size > 1
    ]
    kind = "object" if look.found.objects else "class"
    plural = "objects" if look.found.objects else "classes"
    words.append(f"1 {kind}" if sample.objects == 1 else f"{sample.objects:,} {plural}")
    text = ", ".join(words)
    return text[0].upper() + text[1:]


def _words(name: str) -> QLabel:
    label = QLabel()
    label.setObjectName(name)
    # Names of files are shown as they are.
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label
