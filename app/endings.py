"""When somebody else ends the program: a signal, the end of the session, a shutdown."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from PySide6.QtCore import QObject, QSocketNotifier, Slot
from PySide6.QtGui import QGuiApplication, QSessionManager

_SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT", "SIGBREAK")


class Endings(QObject):
    """Calls `close` in the GUI thread when a signal asks the program to end.

    Python runs signal handlers only between its own instructions, and Qt's event loop is none of
    them. So the signal writes a byte into a socket, which the event loop watches.
    """

    def __init__(
        self, app: QGuiApplication, close: Callable[[], object], flush: Callable[[], object]
    ) -> None:
        """flush: writes all that is left and returns when it is written, or after a few seconds."""
        super().__init__(app)
        self._close = close
        self._flush = flush
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._notifier = QSocketNotifier(self._reading.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._signalled)
        self._former = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, _note)
        app.commitDataRequest.connect(self._session_ends)
        app.aboutToQuit.connect(self._quits)

    @Slot()
    def _signalled(self) -> None:
        self._reading.recv(64)
        self._close()

    @Slot(QSessionManager)
    def _session_ends(self, _manager: QSessionManager) -> None:
        # The system waits for the answer, and ends the program soon after it.
        self._flush()

    @Slot()
    def _quits(self) -> None:
        self._flush()
        signal.set_wakeup_fd(self._former)


def _note(_number: int, _frame: object) -> None:
    """The byte in the socket is what counts; without a handler the program would end at once."""
