"""What Limn remembers between two starts: one small ini file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, get_args

from PySide6.QtCore import QByteArray, QSettings

from app.presets import PRESETS
from app.viewport import CtrlPress, RightDrag, ShiftWheel, Wheel
from unet_core.places import settings_dir
from unet_core.ram import ram_bytes

_Word = TypeVar("_Word", bound=str)


PICTURE_MEMORY = (256, 512, 1024, 2048, 4096, 8192)
"""MiB that pictures may take, as users can choose it."""
_PICTURE_SHARE, _MOST_AT_FIRST = 8, 2048
_MOST_KINDS = 100
_UNKNOWN_RAM = 8 * 2**30  # where the system does not tell


class Settings:
    """Typed access to limn.ini. An unreadable or odd value counts as absent, never as an error."""

    def __init__(self) -> None:
        self.path = settings_dir() / "limn.ini"
        self._store = QSettings(str(self.path), QSettings.Format.IniFormat)

    def _integer(self, key: str, default: int, low: int, high: int) -> int:
        try:
            value = int(str(self._store.value(key, default)))
        except ValueError:
            return default
        return min(max(value, low), high)

    def _folder(self, key: str) -> Path | None:
        value = str(self._store.value(key, "") or "")
        return Path(value) if value and Path(value).is_dir() else None

    def _bytes(self, key: str) -> QByteArray:
        value = self._store.value(key)
        return value if isinstance(value, QByteArray) else QByteArray()

    def _word(self, key: str, words: Iterable[_Word], default: _Word) -> _Word:
        value = self._store.value(key, default)
        return next((word for word in words if word == value), default)

    def _flag(self, key: str, default: bool) -> bool:
        return self._word(key, ("false", "true"), str(default).lower()) == "true"

    @property
    def geometry(self) -> QByteArray:
        """Size and place of the window, as `QWidget.saveGeometry` gives it; empty at first."""
        return self._bytes("window/geometry")

    @geometry.setter
    def geometry(self, value: QByteArray) -> None:
        self._store.setValue("window/geometry", value)

    @property
    def layout(self) -> QByteArray:
        """Place of the docks, as `QMainWindow.saveState` gives it; empty at first."""
        return self._bytes("window/layout")

    @layout.setter
    def layout(self, value: QByteArray) -> None:
        self._store.setValue("window/layout", value)

    @property
    def open_folder(self) -> Path | None:
        """The folder that something was opened from last, if it still exists."""
        return self._folder("folders/open")

    @open_folder.setter
    def open_folder(self, value: Path) -> None:
        self._store.setValue("folders/open", str(value))

    @property
    def axes(self) -> dict[str, str]:
        """What the axes were taken for last, by kind of file, see `choosing.kind_of`."""
        value = self._store.value("open/axes", "")
        pairs = (line.rpartition("=") for line in str(value or "").split(";"))
        return {kind: axes for kind, _, axes in pairs if kind}

    def remember_axes(self, kind: str, axes: str) -> None:
        """Open files of this kind with these axes from now on."""
        if not set(kind) & set(";="):
            kept = {**self.axes, kind: axes}
            pairs = list(kept.items())[-_MOST_KINDS:]
            self._store.setValue("open/axes", ";".join(f"{k}={a}" for k, a in pairs))

    @property
    def export_folder(self) -> Path | None:
        """The folder that was exported to last, if that was not beside the image."""
        return self._folder("folders/export")

    @export_folder.setter
    def export_folder(self, value: Path | None) -> None:
        self._store.setValue("folders/export", str(value or ""))

    @property
    def brush_diameter(self) -> int:
        """Diameter of the brush in image pixels, 1 to 999."""
        return self._integer("brush/diameter", 12, 1, 999)

    @brush_diameter.setter
    def brush_diameter(self, value: int) -> None:
        self._store.setValue("brush/diameter", value)

    @property
    def opacity(self) -> int:
        """Opacity of the prediction in percent, 0 to 100."""
        return self._integer("prediction/opacity", 50, 0, 100)

    @opacity.setter
    def opacity(self, value: int) -> None:
        self._store.setValue("prediction/opacity", value)

    @property
    def preset(self) -> str:
        """Name of the preset of keys and mouse habits, one of PRESETS."""
        return self._word("habits/preset", PRESETS, "Limn")

    @preset.setter
    def preset(self, value: str) -> None:
        self._store.setValue("habits/preset", value)

    @property
    def right_drag(self) -> RightDrag:
        """What dragging with the right button does; at first what the preset says."""
        words: tuple[RightDrag, ...] = get_args(RightDrag)
        return self._word("habits/right_drag", words, PRESETS[self.preset].right_drag)

    @right_drag.setter
    def right_drag(self, value: RightDrag) -> None:
        self._store.setValue("habits/right_drag", value)

    @property
    def wheel(self) -> Wheel:
        """What the wheel alone does; at first what the preset says."""
        words: tuple[Wheel, ...] = get_args(Wheel)
        return self._word("habits/wheel", words, PRESETS[self.preset].wheel)

    @wheel.setter
    def wheel(self, value: Wheel) -> None:
        self._store.setValue("habits/wheel", value)

    @property
    def shift_erases(self) -> bool:
        """Whether Shift makes the brush an eraser; at first what the preset says."""
        return self._flag("habits/shift_erases", PRESETS[self.preset].shift_erases)

    @shift_erases.setter
    def shift_erases(self, value: bool) -> None:
        self._store.setValue("habits/shift_erases", str(value).lower())

    @property
    def shift_wheel(self) -> ShiftWheel:
        """What the wheel does with Shift; at first what the preset says."""
        words: tuple[ShiftWheel, ...] = get_args(ShiftWheel)
        return self._word("habits/shift_wheel", words, PRESETS[self.preset].shift_wheel)

    @shift_wheel.setter
    def shift_wheel(self, value: ShiftWheel) -> None:
        self._store.setValue("habits/shift_wheel", value)

    @property
    def ctrl_press(self) -> CtrlPress:
        """What the left button does with Ctrl; at first what the preset says."""
        words: tuple[CtrlPress, ...] = get_args(CtrlPress)
        return self._word("habits/ctrl_press", words, PRESETS[self.preset].ctrl_press)

    @ctrl_press.setter
    def ctrl_press(self, value: CtrlPress) -> None:
        self._store.setValue("habits/ctrl_press", value)

    @property
    def smooth(self) -> bool:
        """Whether strokes are smoothed."""
        return self._flag("brush/smooth", False)

    @smooth.setter
    def smooth(self, value: bool) -> None:
        self._store.setValue("brush/smooth", str(value).lower())

    @property
    def pressure(self) -> bool:
        """Whether the pressure of a pen sizes the brush."""
        return self._flag("brush/pressure", False)

    @pressure.setter
    def pressure(self, value: bool) -> None:
        self._store.setValue("brush/pressure", str(value).lower())

    @property
    def minimap(self) -> bool:
        """Whether the minimap shows while the image is larger than the view."""
        return self._flag("view/minimap", True)

    @minimap.setter
    def minimap(self, value: bool) -> None:
        self._store.setValue("view/minimap", str(value).lower())

    @property
    def picture_memory(self) -> int:
        """MiB that pictures of large images may take, one of PICTURE_MEMORY; at first an eighth of
        the computer's memory, 2 GiB at most."""
        room = min((ram_bytes() or _UNKNOWN_RAM) // 2**20 // _PICTURE_SHARE, _MOST_AT_FIRST)
        default = max((m for m in PICTURE_MEMORY if m <= room), default=PICTURE_MEMORY[0])
        value = self._integer("memory/pictures", default, PICTURE_MEMORY[0], PICTURE_MEMORY[-1])
        return value if value in PICTURE_MEMORY else default

    @picture_memory.setter
    def picture_memory(self, value: int) -> None:
        self._store.setValue("memory/pictures", value)

    def flush(self) -> None:
        """Write to the disk now."""
        self._store.sync()
