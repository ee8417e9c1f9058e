"""The brush's size."""

from __future__ import annotations

import math

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSpinBox

from app.document import MAX_BRUSH
from app.panels.base import Panel, Slider

_STEPS = 200


class BrushPanel(Panel):
    """A number and a slider for the diameter in image pixels. The slider is logarithmic: from 3 to
    4 matters as much as from 300 to 400."""

    diameter_chosen = Signal(int)

    def __init__(self) -> None:
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
