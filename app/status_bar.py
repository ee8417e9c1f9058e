"""The bottom line: what is under the cursor, what runs, the zoom, and whether all is saved."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PySide6.QtWidgets import QLabel, QSizePolicy, QStatusBar, QWidget


class StatusBar(QStatusBar):
    """Left: position, intensities, class; `strip`, which shows what runs. Right: zoom, and what is
    saved."""

    def __init__(self, strip: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeGripEnabled(False)
        self.setContentsMargins(6, 0, 6, 0)
        self.problem = ""
        """Why something could not be saved; empty where all is well."""
        self.position = _label("statusPosition", "Position of the cursor")
        self.intensities = _label("statusIntensity", "Intensity under the cursor")
        self.class_name = _label("statusClass", "Class under the cursor")
        self.zoom = _label("statusZoom", "Zoom")
        self.saved = _label("savedLabel", "What is saved")
        # Long texts are cut off rather than make the window wider than the screen.
        for label in (self.position, self.intensities, self.class_name):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.addWidget(self.position, 4)
        self.addWidget(self.intensities, 4)
        self.addWidget(self.class_name, 2)
        self.addWidget(strip, 10)
        # The line is as high without the strip: its coming must not move the image.
        self.setMinimumHeight(strip.sizeHint().height() + 4)
        self.addPermanentWidget(self.zoom)
        self.addPermanentWidget(self.saved)

    def show_pixel(
        self,
        pixel: tuple[int, int] | None,
        pixel_size: tuple[float, float, float] | None = None,
        values: NDArray[np.generic] | None = None,
        class_name: str = "",
    ) -> None:
        """Show pixel (y, x), its place in µm where the size (z, y, x) is known, its intensities
        (C,) and its class. None: the cursor is elsewhere."""
        if pixel is None:
            for label in (self.position, self.intensities, self.class_name):
                label.clear()
            return
        y, x = pixel
        place = f"x {x}, y {y} px"
        if pixel_size is not None:
            across, down = (x + 0.5) * pixel_size[2], (y + 0.5) * pixel_size[1]
            place += f" · {_short(across)}, {_short(down)} µm"
        self.position.setText(place)
        self.intensities.setText("" if values is None else intensity_text(values.tolist()))
        self.class_name.setText(class_name)

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


def intensity_text(values: Sequence[float]) -> str:
    """Return "Intensity 123" or "Intensities 12, 240, 7"; many channels are cut short."""
    shown = [f"{value:.4g}" if isinstance(value, float) else str(int(value)) for value in values]
    if len(shown) > 8:
        shown = [*shown[:8], "…"]
    return f"Intensit{'y' if len(values) == 1 else 'ies'} {', '.join(shown)}"


def _short(micrometres: float) -> str:
    return f"{micrometres:.2f}" if micrometres < 100 else f"{micrometres:.1f}"


def _label(name: str, accessible: str) -> QLabel:
    label = QLabel()
    label.setObjectName(name)
    label.setAccessibleName(accessible)
    return label
