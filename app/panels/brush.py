"""The brush: its size, and how its strokes are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSpinBox

from app.document import MAX_BRUSH
from app.panels.base import Panel, Slider

_STEPS = 200


class Switch(QCheckBox):
    """A checkable command as a check box, under a shorter name."""

    def __init__(self, action: QAction, text: str) -> None:
        super().__init__(text)
        self._action = action
        self.setObjectName(action.objectName().replace("action_", "switch_"))
        self.setAccessibleName(action.text())
        # A click leaves the keys to the window.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        action.changed.connect(self._show_action)
        self.clicked.connect(action.trigger)
        self._show_action()

    @Slot()
    def _show_action(self) -> None:
        self.setChecked(self._action.isChecked())
        self.setEnabled(self._action.isEnabled())
        self.setToolTip(self._action.toolTip())


class BrushPanel(Panel):
    """A number and a slider for the diameter in image pixels. The slider is logarithmic: from 3 to
    4 matters as much as from 300 to 400."""

    diameter_chosen = Signal(int)

    def __init__(self, switches: Sequence[tuple[QAction, str]] = ()) -> None:
        """`switches` are commands to show as check boxes, each with a short name."""
        super().__init__("Brush", "brushPanel")
        self.spin = QSpinBox()
        self.spin.setObjectName("brushSize")
        self.spin.setAccessibleName("Brush diameter in pixels")
        self.spin.setRange(1, MAX_BRUSH)
        self.spin.setSuffix(" px")
        self.spin.setToolTip("Diameter of brush and eraser ([ and ], or Shift+wheel)")
        self.slider = Slider("brushSlider", "Brush diameter")
        self.slider.setRange(0, _STEPS)
        self.slider.setToolTip(self.spin.toolTip())
        label = QLabel("Si&ze")
        label.setBuddy(self.spin)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.slider, 1)
        row.addWidget(self.spin)
        self.column.addLayout(row)
        if switches:
            boxes = QHBoxLayout()
            for action, text in switches:
                boxes.addWidget(Switch(action, text))
            boxes.addStretch()
            self.column.addLayout(boxes)
        self.finish()
        self.spin.valueChanged.connect(self.diameter_chosen)
        self.slider.valueChanged.connect(self._slid)

    def set_diameter(self, diameter: int) -> None:
        """Show the diameter in pixels, without asking for another."""
        self.spin.blockSignals(True)
        self.spin.setValue(diameter)
        self.spin.blockSignals(False)
        self.slider.show_value(round(_STEPS * math.log(diameter) / math.log(MAX_BRUSH)))

    @Slot(int)
    def _slid(self, step: int) -> None:
        self.diameter_chosen.emit(round(MAX_BRUSH ** (step / _STEPS)))
