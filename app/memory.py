"""What is remembered: the view in the project file, sizes and places in the settings."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtWidgets import QMainWindow

from app.display import remembered, restored
from app.document import Document
from app.files import Files
from app.panels.prediction import LEVELS, PredictionPanel
from app.saver import Saver
from app.settings import Settings
from app.viewport import Viewport

LAYOUT_VERSION = 1
DELAY_MS = 1000


class Memory(QObject):
    """Writes what has changed a moment after the last change, and brings it back."""

    def __init__(
        self,
        window: QMainWindow,
        document: Document,
        viewport: Viewport,
        prediction: PredictionPanel,
        saver: Saver,
        files: Files,
        settings: Settings,
    ) -> None:
        super().__init__(window)
        self._window = window
        self._document = document
        self._viewport = viewport
        self._prediction = prediction
        self._saver = saver
        self._files = files
        self._settings = settings
        self._known: dict[str, object] = {}
        self._timer = QTimer(self, singleShot=True, interval=DELAY_MS)
        self._timer.timeout.connect(self.write_view)

    @Slot()
    def view_changed(self) -> None:
        """Something that the project remembers has changed."""
        # Not started anew: who never rests for a second wants the view remembered too.
        if not self._timer.isActive():
            self._timer.start()

    @Slot()
    def write_view(self) -> None:
        """Keep in the project file where the user is, if there is a file."""
        self._timer.stop()
        if self._files.switching or self._saver.problem:
            self._timer.start()  # it would go to another project, or wait behind unsaved strokes
            return
        if self._files.project is None:
            return
        now = {
            "image": self._document.image,
            "plane": list(self._document.plane),
            "view": self._viewport.view_state(),
            "threshold": self._prediction.threshold.value(),
            "opacity": self._prediction.opacity.value(),
            "class": self._document.active_class,
            "channels": remembered(self._document.displays),
        }
        for name, value in now.items():
            if self._known.get(name) != value:
                self._known[name] = value
                self._saver.put_setting(name, value)

    @Slot(object)
    def restore_view(self, state: dict[str, Any]) -> None:
        """Go back to where the user was. The file may hold anything: what makes no sense is left
        out."""
        self._known = dict(state)
        plane, view = state.get("plane"), state.get("view")
        if isinstance(plane, list) and len(plane) == 2 and all(type(i) is int for i in plane):
            self._document.set_plane(*plane)
        if isinstance(view, dict):
            self._viewport.restore_view_state(view)
        else:
            self._viewport.fit()
        self._prediction.threshold.setValue(LEVELS // 2)  # not that of the former image
        sliders = (("threshold", self._prediction.threshold), ("opacity", self._prediction.opacity))
        for name, slider in sliders:
            if type(value := state.get(name)) is int and slider.minimum() <= value <= 255:
                slider.setValue(value)
        if type(value := state.get("class")) is int:
            self._document.set_active_class(value)
        displays = self._document.displays
        self._document.set_displays(restored(state.get("channels"), displays))

    def restore_settings(self) -> None:
        """Bring the window and the tools back as they were at the last end."""
        self._document.set_brush_diameter(self._settings.brush_diameter)
        self._prediction.opacity.setValue(self._settings.opacity)
        if not self._window.restoreGeometry(self._settings.geometry):
            room = self._window.screen().availableSize()
            self._window.resize(room * 0.85)
            if room.width() < 1500 or room.height() < 900:
                self._window.setWindowState(Qt.WindowState.WindowMaximized)
        self._window.restoreState(self._settings.layout, LAYOUT_VERSION)

    def keep_settings(self) -> None:
        """Write the settings file."""
        self._settings.geometry = self._window.saveGeometry()
        self._settings.layout = self._window.saveState(LAYOUT_VERSION)
        self._settings.brush_diameter = self._document.brush_diameter
        self._settings.opacity = self._prediction.opacity.value()
        self._settings.flush()
