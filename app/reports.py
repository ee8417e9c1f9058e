"""Reports of errors that nobody expected: all that a developer needs, no image data. No Qt."""

from __future__ import annotations

import faulthandler
import logging
import os
import platform
import sys
import time
from collections import deque
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from unet_core.places import crash_file, log_file

_LINES = 40
_LOG_BYTES = 2**20
_CRASH_BYTES = 2**18
_PACKAGES = ("limn", "torch", "PySide6-Essentials", "numpy", "tifffile")
_MARK = "--- Limn "
"""Begins the lines that say when Limn started and ended. On Windows the crash file also gets what
goes wrong inside dialogs of the system and hurts nobody: only after a start that no end follows was
it a crash."""

_crash_log: IO[str] | None = None  # must stay open as long as the process lives


class _LastLines(logging.Handler):
    """Keeps the last lines of the log in memory, for reports."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # The first line says it; the traceback of the error is in the report anyway.
            self.lines.append(self.format(record).partition("\n")[0])
        except Exception:  # a log must never be the end of the program
            self.handleError(record)


_last_lines = _LastLines()


def log_to_file() -> None:
    """Write warnings and errors to the log file; where that is not possible, to stderr only."""
    path = log_file()
    screen = logging.StreamHandler()
    screen.setFormatter(logging.Formatter("limn: %(message)s"))
    handlers: list[logging.Handler] = [screen, _last_lines]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
        )
    except OSError:
        pass
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
    )


def watch_crashes() -> str:
    """Have native crashes written to the crash file; answers what the last session left there.

    The file is not the log: that one is renamed when it is full, and a crashing process can only
    write to a file that is open already.
    """
    global _crash_log
    path = crash_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        left = _last_crash(path)
        if path.exists() and path.stat().st_size > _CRASH_BYTES:
            path.unlink()
        _crash_log = path.open("a", encoding="utf-8")
        _mark_crash_log("started")
        faulthandler.enable(_crash_log)
    except OSError:
        if sys.stderr is not None:
            faulthandler.enable()
        return ""
    return left


def end_watch() -> None:
    """The program ends as it should: whatever the crash file holds was no crash."""
    with suppress(OSError):
        _mark_crash_log("ended")


def _mark_crash_log(what: str) -> None:
    if _crash_log is not None:
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        _crash_log.write(f"{_MARK}{what} {moment}, {os.getpid()}\n")
        _crash_log.flush()


def _last_crash(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _CRASH_BYTES))
        text = file.read().decode("utf-8", "replace")
    return text.rpartition(_MARK)[2].partition("\n")[2].strip()


def report(trace: str) -> str:
    """What to send to the developers: versions, the traceback, the last lines of the log.

    The user's home folder is not named.
    """
    known = [f"{name} {_version(name)}" for name in _PACKAGES]
    system = [f"Python {platform.python_version()}", platform.platform()]
    parts = [", ".join(known + system), trace.strip()]
    if _last_lines.lines:
        parts.append("Last lines of the log:\n" + "\n".join(_last_lines.lines))
    return "\n\n".join(parts).replace(str(Path.home()), "~")


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # 30 ms that no start needs

    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
