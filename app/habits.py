"""Which keys and mouse habits are in force: applied at once, and remembered."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QAction

from app import commands
from app.presets import PRESETS, Preset
from app.settings import Settings
from app.viewport import CtrlPress, RightDrag, ShiftWheel, Viewport, Wheel


class Habits(QObject):
    """Puts the chosen preset on the actions and the viewport.

    The mouse may be set apart from the preset; choosing a preset again sets it back.
    """

    changed = Signal()

    def __init__(
        self,
        actions: Mapping[str, QAction],
        viewport: Viewport,
        settings: Settings,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._actions = actions
        self._viewport = viewport
        self._settings = settings
        self.preset: Preset = PRESETS["Limn"]

    def restore(self) -> None:
        """Bring back what was in force at the last end. Call once, when all is connected."""
        self.preset = PRESETS[self._settings.preset]
        commands.apply_keys(self._actions, self.preset.keys_in_force())
        self._viewport.right_drag = self._settings.right_drag
        self._viewport.wheel = self._settings.wheel
        self._viewport.shift_erases = self._settings.shift_erases
        self._viewport.shift_wheel = self._settings.shift_wheel
        self._viewport.ctrl_press = self._settings.ctrl_press
        self._viewport.loader.set_memory(self.memory * 2**20)
        for name, was in (
            ("smooth", self._settings.smooth),
            ("pressure", self._settings.pressure),
        ):
            if self._actions[name].isChecked() != was:
                self._actions[name].trigger()
            self._actions[name].toggled.connect(self._keep)
        self.changed.emit()

    def choose_preset(self, name: str) -> None:
        """Take the keys and the mouse of the preset called `name`."""
        self.preset = PRESETS[name]
        commands.apply_keys(self._actions, self.preset.keys_in_force())
        self._viewport.right_drag = self.preset.right_drag
        self._viewport.wheel = self.preset.wheel
        self._viewport.shift_erases = self.preset.shift_erases
        self._viewport.shift_wheel = self.preset.shift_wheel
        self._viewport.ctrl_press = self.preset.ctrl_press
        self._keep()

    def choose_right_drag(self, does: RightDrag) -> None:
        self._viewport.right_drag = does
        self._keep()

    def choose_wheel(self, does: Wheel) -> None:
        self._viewport.wheel = does
        self._keep()

    def choose_shift(self, erases: bool) -> None:
        self._viewport.shift_erases = erases
        self._keep()

    def choose_shift_wheel(self, does: ShiftWheel) -> None:
        self._viewport.shift_wheel = does
        self._keep()

    def choose_ctrl(self, does: CtrlPress) -> None:
        self._viewport.ctrl_press = does
        self._keep()

    def choose_memory(self, mebibytes: int) -> None:
        """Let pictures take so much memory; a preset does not change it."""
        self._settings.picture_memory = mebibytes
        self._viewport.loader.set_memory(self.memory * 2**20)

    @property
    def memory(self) -> int:
        """MiB that pictures may take."""
        return self._settings.picture_memory

    @property
    def right_drag(self) -> RightDrag:
        return self._viewport.right_drag

    @property
    def wheel(self) -> Wheel:
        return self._viewport.wheel

    @property
    def shift_erases(self) -> bool:
        return self._viewport.shift_erases

    @property
    def shift_wheel(self) -> ShiftWheel:
        return self._viewport.shift_wheel

    @property
    def ctrl_press(self) -> CtrlPress:
        return self._viewport.ctrl_press

    def sheet(self) -> dict[str, list[tuple[str, str]]]:
        """Return the F1 sheet with the keys and gestures in force, see `commands.sheet`."""
        mouse = commands.mouse_rows(
            self.right_drag, self.wheel, self.shift_erases, self.shift_wheel, self.ctrl_press
        )
        return commands.sheet(self._actions, mouse)

    @Slot()
    def _keep(self) -> None:
        self._settings.preset = self.preset.name
        self._settings.right_drag = self.right_drag
        self._settings.wheel = self.wheel
        self._settings.shift_erases = self.shift_erases
        self._settings.shift_wheel = self.shift_wheel
        self._settings.ctrl_press = self.ctrl_press
        self._settings.smooth = self._actions["smooth"].isChecked()
        self._settings.pressure = self._actions["pressure"].isChecked()
        self.changed.emit()
