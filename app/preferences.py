"""The dialog for keys, mouse and strokes. Every choice holds at once."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from app.habits import Habits
from app.panels.base import keep_navigation
from app.panels.brush import Switch
from app.presets import PRESETS
from app.settings import PICTURE_MEMORY

_RIGHT_DRAG = (("Erases", "erase"), ("Encircles and fills", "encircle"), ("Paints", "paint"))
_WHEEL = (
    ("Zooms; with Ctrl goes through slices", "zoom"),
    ("Goes through slices; with Ctrl zooms", "slice"),
)
_SHIFT = (("Draws a straight stroke", False), ("Erases", True))
_SHIFT_WHEEL = (("Changes the brush's size", "brush"), ("Goes through time", "time"))
_CTRL = (
    ("Paints as without Ctrl", "paint"),
    ("Deletes the cell that is clicked", "delete"),
    ("Moves the image", "pan"),
)

_MEMORY = tuple((f"{m // 1024} GiB" if m >= 1024 else f"{m} MiB", m) for m in PICTURE_MEMORY)


def _combo(name: str, label: str, choices: tuple[tuple[str, object], ...]) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setAccessibleName(label)
    keep_navigation(combo)
    for text, value in choices:
        combo.addItem(text, value)
    return combo


class PreferencesDialog(QDialog):
    """Shows the habits in force, also when they change elsewhere, and changes them."""

    def __init__(self, habits: Habits, actions: Mapping[str, QAction], parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("preferencesDialog")
        self.setWindowTitle("Preferences")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._habits = habits
        names = tuple((name, name) for name in PRESETS)
        self.preset = _combo("presetChoice", "Keys and mouse as in", names)
        self.about = QLabel()
        self.about.setObjectName("presetAbout")
        self.about.setProperty("faint", True)
        self.about.setWordWrap(True)
        self.about.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.about.setMinimumWidth(420)
        # Room for the longest text, so that nothing moves while one looks through the presets.
        self.about.setMinimumHeight(2 * self.about.fontMetrics().lineSpacing())
        self.right_drag = _combo("rightDragChoice", "Right-drag", _RIGHT_DRAG)
        self.wheel = _combo("wheelChoice", "Wheel", _WHEEL)
        self.shift_wheel = _combo("shiftWheelChoice", "Shift with the wheel", _SHIFT_WHEEL)
        self.shift = _combo("shiftChoice", "Shift while painting", _SHIFT)
        self.ctrl = _combo("ctrlChoice", "Ctrl with the left button", _CTRL)
        self.memory = _combo("memoryChoice", "Memory for pictures", _MEMORY)
        self.memory.setToolTip("What has been read of large images is kept in so much memory")
        strokes = [actions[name] for name in ("smooth", "pressure")]
        self.boxes = [Switch(action, action.text()) for action in strokes]
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("&Keys and mouse as in", self.preset)
        form.addRow("", self.about)
        form.addRow("&Right-drag", self.right_drag)
        form.addRow("&Wheel", self.wheel)
        form.addRow("Shift with the w&heel", self.shift_wheel)
        form.addRow("&Shift while painting", self.shift)
        form.addRow("&Ctrl with the left button", self.ctrl)
        for label, box in zip(("Strokes", ""), self.boxes, strict=True):
            form.addRow(label, box)
        form.addRow("&Memory for pictures", self.memory)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        keys = buttons.addButton("Show all keys", QDialogButtonBox.ButtonRole.ActionRole)
        keys.setObjectName("showKeysButton")
        keys.setAutoDefault(False)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addStretch(1)
        column.addWidget(buttons)
        self._show()
        self.preset.activated.connect(self._choose_preset)
        self.right_drag.activated.connect(self._choose_right_drag)
        self.wheel.activated.connect(self._choose_wheel)
        self.shift_wheel.activated.connect(self._choose_shift_wheel)
        self.shift.activated.connect(self._choose_shift)
        self.ctrl.activated.connect(self._choose_ctrl)
        self.memory.activated.connect(self._choose_memory)
        habits.changed.connect(self._show)
        keys.clicked.connect(actions["shortcuts"].trigger)
        buttons.rejected.connect(self.reject)

    @Slot()
    def _show(self) -> None:
        """Show what is in force. `activated`, which users send, is not emitted by this."""
        self.preset.setCurrentText(self._habits.preset.name)
        self.about.setText(self._habits.preset.about)
        for combo, value in (
            (self.right_drag, self._habits.right_drag),
            (self.wheel, self._habits.wheel),
            (self.shift_wheel, self._habits.shift_wheel),
            (self.shift, self._habits.shift_erases),
            (self.ctrl, self._habits.ctrl_press),
            (self.memory, self._habits.memory),
        ):
            combo.setCurrentIndex(combo.findData(value))

    @Slot()
    def _choose_preset(self) -> None:
        self._habits.choose_preset(self.preset.currentData())

    @Slot()
    def _choose_right_drag(self) -> None:
        self._habits.choose_right_drag(self.right_drag.currentData())

    @Slot()
    def _choose_wheel(self) -> None:
        self._habits.choose_wheel(self.wheel.currentData())

    @Slot()
    def _choose_shift(self) -> None:
        self._habits.choose_shift(self.shift.currentData())

    @Slot()
    def _choose_shift_wheel(self) -> None:
        self._habits.choose_shift_wheel(self.shift_wheel.currentData())

    @Slot()
    def _choose_ctrl(self) -> None:
        self._habits.choose_ctrl(self.ctrl.currentData())

    @Slot()
    def _choose_memory(self) -> None:
        self._habits.choose_memory(self.memory.currentData())
