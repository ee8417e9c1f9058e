"""Errors that nobody expected: logged always, shown in the window, never the end of the session."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from logging.handlers import RotatingFileHandler
from types import TracebackType

from PySide6.QtCore import QObject, Signal

from app.messages import MessageBar
from unet_core.places import log_file

logger = logging.getLogger(__name__)


class _Reporter(QObject):
    """Carries an error to the GUI thread, whichever thread it happened in."""

    happened = Signal(str, str)


_reporters: list[_Reporter] = []


def install_hook(messages: MessageBar) -> None:
    """Send uncaught exceptions of all threads to the log and to `messages`.

    Exceptions in Qt slots arrive at `sys.excepthook` too, and the program goes on.
    """
    reporter = _Reporter(messages)
    reporter.happened.connect(messages.show_error)
    _reporters[:] = [reporter]
    sys.excepthook = _on_exception
    threading.excepthook = _on_thread_exception


def _on_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("unexpected error", exc_info=(kind, error, trace))
    details = "".join(traceback.format_exception(kind, error, trace))
    sentence = (
        f"Something went wrong in Limn ({kind.__name__}); "
        "your strokes are saved, and you can go on working."
    )
    for reporter in _reporters:
        try:
            reporter.happened.emit(sentence, details)
        except RuntimeError:  # the window is gone already: the log has it
            return


def _on_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _on_exception(args.exc_type, args.exc_value, args.exc_traceback)


def log_to_file() -> None:
    """Write warnings and errors to the log file; where that is not possible, to stderr only."""
    path = log_file()
    screen = logging.StreamHandler()
    screen.setFormatter(logging.Formatter("limn: %(message)s"))
    handlers: list[logging.Handler] = [screen]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(path, maxBytes=2**20, backupCount=1, encoding="utf-8"))
    except OSError:
        pass
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
    )
