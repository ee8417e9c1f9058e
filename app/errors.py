"""Errors that nobody expected: logged always, shown in the window, never the end of the session."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

from PySide6.QtCore import QObject, Signal

from app.messages import Message, MessageBar
from app.reports import report

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


def show_crash(messages: MessageBar, trace: str) -> None:
    """Say that the last session ended by a native crash."""
    messages.show_message(
        Message(
            "Limn ended unexpectedly the last time; every stroke that it called saved is there. "
            "Copy the report if you want to tell the developers.",
            "error",
            report(trace),
        )
    )


def _on_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("unexpected error", exc_info=(kind, error, trace))
    details = report("".join(traceback.format_exception(kind, error, trace)))
    sentence = (
        f"Something went wrong in Limn ({kind.__name__}); your strokes are kept, and you can go on "
        "working. Copy the report if you want to tell the developers."
    )
    for reporter in _reporters:
        try:
            reporter.happened.emit(sentence, details)
        except RuntimeError:  # the window is gone already: the log has it
            return


def _on_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _on_exception(args.exc_type, args.exc_value, args.exc_traceback)
