"""Where Limn keeps what belongs to the user: below one folder, found without Qt."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_dir() -> Path:
    """The user's data folder of Limn (it may not exist yet).

    The environment variable LIMN_DATA_DIR names it; without it, it is the place that the
    operating system means for such data.
    """
    return _folder(
        "LIMN_DATA_DIR",
        windows=("LOCALAPPDATA", "AppData/Local"),
        linux=("XDG_DATA_HOME", ".local/share"),
    )


def recovery_dir() -> Path:
    """The folder of projects that have no name yet (it may not exist yet)."""
    return data_dir() / "recovery"


def is_recovery(path: Path) -> bool:
    """Whether a project file lies in the recovery folder."""
    try:
        return path.parent.samefile(recovery_dir())
    except OSError:  # there is no such folder
        return False


def settings_dir() -> Path:
    """The folder of settings and logs (it may not exist yet); LIMN_SETTINGS_DIR names another."""
    return _folder(
        "LIMN_SETTINGS_DIR",
        windows=("APPDATA", "AppData/Roaming"),
        linux=("XDG_CONFIG_HOME", ".config"),
    )


def log_file() -> Path:
    """Where the window writes its log."""
    return settings_dir() / "limn.log"


def crash_file() -> Path:
    """Where a native crash of the window leaves its traceback."""
    return settings_dir() / "limn-crash.log"


def _folder(named_by: str, *, windows: tuple[str, str], linux: tuple[str, str]) -> Path:
    """What the variable `named_by` says, else Limn's folder in the system's usual place.

    For Windows and Linux: the system's own variable, and the place below the home folder that
    counts where it is not set.
    """
    if named := os.environ.get(named_by):
        return Path(named).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Limn"
    name = "Limn" if sys.platform == "win32" else "limn"
    variable, usual = windows if sys.platform == "win32" else linux
    return Path(os.environ.get(variable) or Path.home() / usual) / name
