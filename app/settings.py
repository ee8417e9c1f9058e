"""What Limn remembers between two starts: one small ini file."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings

from unet_core.places import settings_dir


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

    def flush(self) -> None:
        """Write to the disk now."""
        self._store.sync()
