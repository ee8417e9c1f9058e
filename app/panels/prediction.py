"""How the prediction shows: live or not, whose it is, threshold, opacity, count of objects."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel

from app.panels.base import Panel, Slider

LEVELS = 256
"""Probabilities are shown in steps of 1/256; a threshold k stands for k / 256."""


class PredictionPanel(Panel):
    """Threshold in steps of 1/256 (1…255), opacity in percent (0…100)."""

    live_toggled = Signal(bool)
    threshold_chosen = Signal(int)
    opacity_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__("Prediction", "predictionPanel")
        self.live = QCheckBox("Live")
        self.live.setObjectName("livePrediction")
        self.live.setAccessibleName("Live prediction")
        self.live.setToolTip("Predict what is in view, again and again (L)")
        self.live.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.count = QLabel()
        self.count.setObjectName("objectCount")
        self.count.setAccessibleName("Objects in this plane")
        self.count.setToolTip(
            "Predicted so far in this plane; of one of more than 8192 × 8192 pixels, in view"
        )
        self.network = QLabel()
        self.network.setObjectName("predictionNetwork")
        self.network.setAccessibleName("Network that predicts")
        self.network.setProperty("faint", True)
        self.threshold = Slider("thresholdSlider", "Threshold")
        self.threshold.setRange(1, LEVELS - 1)
        self.threshold.setPageStep(13)
        self.threshold.setToolTip("Pixels at least this probable count as cell (- and =)")
        self.opacity = Slider("opacitySlider", "Opacity of the prediction")
        self.opacity.setRange(0, 100)
        self.opacity.setToolTip("How strongly the prediction covers the image")
        self._threshold_number = QLabel()
        self._opacity_number = QLabel()
        top = QHBoxLayout()
        top.addWidget(self.live)
        top.addStretch()
        top.addWidget(self.count)
        grid = QGridLayout()
        grid.setVerticalSpacing(5)
        rows = (
            ("Thresh&old", self.threshold, self._threshold_number),
            ("O&pacity", self.opacity, self._opacity_number),
        )
        for row, (text, slider, number) in enumerate(rows):
            label = QLabel(text)
            label.setBuddy(slider)
            number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            # Wide enough for every value, so that the sliders do not move while they slide.
            number.setMinimumWidth(number.fontMetrics().horizontalAdvance("100 %"))
            grid.addWidget(label, row, 0)
            grid.addWidget(slider, row, 1)
            grid.addWidget(number, row, 2)
        self.column.addLayout(top)
        self.column.addWidget(self.network)
        self.column.addLayout(grid)
        self.set_objects(None)
        self.set_network(None)
        self.finish()
        self.live.toggled.connect(self.live_toggled)
        self.threshold.valueChanged.connect(self.threshold_chosen)
        self.threshold.valueChanged.connect(self._show_numbers)
        self.opacity.valueChanged.connect(self.opacity_chosen)
        self.opacity.valueChanged.connect(self._show_numbers)
        self.threshold.setValue(LEVELS // 2)
        self.opacity.setValue(50)
        self._show_numbers()

    def set_objects(self, count: int | None) -> None:
        """Show how many objects the plane has at this threshold; None where nothing is known."""
        if count is None:
            self.count.setText("No prediction yet")
        else:
            self.count.setText("1 object" if count == 1 else f"{count} objects")

    def set_network(self, steps: int | None) -> None:
        """Say which network predicts: trained on the user's strokes for so many steps, 0 where only
        its last layer was fitted to them; None: the bundled one, which has seen none of them."""
        if steps == 0:
            self.network.setText("Fitted to your strokes, not trained yet")
            self.network.setToolTip("Each stroke is answered at once; training makes it better")
        elif steps is None:
            self.network.setText("Bundled network, not trained yet")
            self.network.setToolTip("It knows cells in general, but none of your strokes")
        else:
            count = "1 step" if steps == 1 else f"{steps} steps"
            self.network.setText(f"Trained on your strokes, {count}")
            self.network.setToolTip("The network, taught with what you painted")

    def set_learning(self) -> None:
        """Say that the network changes while it predicts."""
        self.network.setText("Learning from your strokes…")
        self.network.setToolTip("What is in view is predicted anew as the network learns")

    def show_live(self, live: bool) -> None:
        """Tick or untick Live, without asking for anything."""
        self.live.blockSignals(True)
        self.live.setChecked(live)
        self.live.blockSignals(False)

    def step_threshold(self, steps: int) -> None:
        """Move the threshold by so many steps of 1/256."""
        self.threshold.setValue(self.threshold.value() + steps)

    @Slot()
    def _show_numbers(self) -> None:
        self._threshold_number.setText(f"{self.threshold.value() / LEVELS:.2f}")
        self._opacity_number.setText(f"{self.opacity.value()} %")
