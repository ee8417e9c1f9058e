"""The bottom line: what is under the cursor, what runs, the zoom, and whether all is saved."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QStatusBar, QWidget

from app.overlays import is_square


class _Line(QLabel):
    """Text that is cut off with an ellipsis, rather than make the window wider than the screen."""

    def __init__(self, name: str, accessible: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def paintEvent(self, _event: QPaintEvent) -> None:
        end = Qt.TextElideMode.ElideRight
        text = self.fontMetrics().elidedText(self.text(), end, self.width() - 4)
        painter = QPainter(self)
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter, text)


class StatusBar(QStatusBar):
    """Left: position, intensities, label, prediction; `strip`, which shows what runs. Right: zoom,
    and what is saved."""

    def __init__(self, strip: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeGripEnabled(False)
        self.setContentsMargins(6, 0, 6, 0)
        self.problem = ""
        """Why something could not be saved; empty where all is well."""
        self.position = _Line("statusPosition", "Position of the cursor")
        self.intensities = _Line("statusIntensity", "Intensity under the cursor")
        self.class_name = _Line("statusClass", "Class and cell under the cursor")
        self.probability = _Line("statusProbability", "Prediction under the cursor")
        self._pixel = (self.position, self.intensities, self.class_name, self.probability)
        self.zoom = _label("statusZoom", "Zoom")
        self.saved = _label("savedLabel", "What is saved")
        self.addWidget(self.position, 4)
        self.addWidget(self.intensities, 4)
        self.addWidget(self.class_name, 3)
        self.addWidget(self.probability, 3)
        self.addWidget(strip, 8)
        # The line is as high without the strip: its coming must not move the image.
        self.setMinimumHeight(strip.sizeHint().height() + 4)
        self.addPermanentWidget(self.zoom)
        self.addPermanentWidget(self.saved)

    def show_pixel(
        self,
        pixel: tuple[int, int] | None,
        pixel_size: tuple[float, float, float] | None = None,
        values: NDArray[np.generic] | None = None,
        label: str = "",
        predicted: Mapping[str, float] | None = None,
    ) -> None:
        """Show pixel (y, x), its place in µm where the size (z, y, x) is known, its intensities
        (C,), its label and the predicted probability, 0 to 1, of each class. None: the cursor is
        elsewhere."""
        if pixel is None:
            for part in self._pixel:
                part.clear()
            return
        y, x = pixel
        place = f"x {x}, y {y} px"
        self.position.setToolTip(pixel_shape_text(pixel_size))
        if pixel_size is not None:
            across, down = (x + 0.5) * pixel_size[2], (y + 0.5) * pixel_size[1]
            place += f" · {_short(across)}, {_short(down)} µm"
        self.position.setText(place)
        self.intensities.setText("" if values is None else intensity_text(values.tolist()))
        self.class_name.setText(label)
        self.class_name.setToolTip(label)
        self.probability.setText(probability_text(predicted or {}))

    def show_zoom(self, zoom: float) -> None:
        """Show the zoom; 1.0 is one image pixel on one screen pixel."""
        percent = zoom * 100
        self.zoom.setText(f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %")

    def show_pending(self) -> None:
        """Something is on its way to the disk."""
        if not self.problem:
            self.saved.setText("Saving…")

    def show_saved(self) -> None:
        """Everything is on the disk."""
        self._set_problem("")
        self.saved.setText(f"Saved {time.strftime('%H:%M:%S')}")

    def show_problem(self, sentence: str) -> None:
        """Something could not be saved; stays until something could."""
        self._set_problem(sentence)
        self.saved.setText("Not saved")

    def show_read_only(self) -> None:
        """The project is only looked at."""
        self._set_problem("")
        self.saved.setText("Read-only")

    def show_nothing_to_save(self) -> None:
        """Nothing has been painted yet."""
        self._set_problem("")
        self.saved.setText("")

    def _set_problem(self, sentence: str) -> None:
        self.problem = sentence
        self.saved.setToolTip(sentence)
        self.saved.setProperty("problem", bool(sentence))
        self.saved.style().unpolish(self.saved)
        self.saved.style().polish(self.saved)


def pixel_shape_text(pixel_size: tuple[float, float, float] | None) -> str:
    """Return one sentence where pixels of this size (z, y, x), in µm, are not square; else ""."""
    if pixel_size is None or is_square(pixel_size):
        return ""
    _, high, wide = pixel_size
    return (
        f"The pixels of this image are {wide:.3g} µm wide and {high:.3g} µm high, but are shown "
        "square: the scale bar is true from left to right only. Positions and exports are right."
    )


def intensity_text(values: Sequence[float]) -> str:
    """Return "Intensity 123" or "Intensities 12, 240, 7"; many channels are cut short."""
    shown = [f"{value:.4g}" if isinstance(value, float) else str(int(value)) for value in values]
    if len(shown) > 8:
        shown = [*shown[:8], "…"]
    return f"Intensit{'y' if len(values) == 1 else 'ies'} {', '.join(shown)}"


def label_text(name: str, number: int) -> str:
    """Return "cell, no. 12" or "background": a class, and which cell of it if it has a number."""
    return f"{name}, no. {number}" if number else name


def probability_text(predicted: Mapping[str, float]) -> str:
    """Return "Predicted: cell 0.87, debris 0.10", the likeliest first.

    Empty where nothing reaches a hundredth: nothing was predicted there, or nothing was found.
    """
    found = sorted(predicted.items(), key=lambda item: -item[1])
    shown = [f"{name} {probability:.2f}" for name, probability in found if probability >= 0.01]
    return f"Predicted: {', '.join(shown)}" if shown else ""


def _short(micrometres: float) -> str:
    return f"{micrometres:.2f}" if micrometres < 100 else f"{micrometres:.1f}"


def _label(name: str, accessible: str) -> QLabel:
    label = QLabel()
    label.setObjectName(name)
    label.setAccessibleName(accessible)
    return label
