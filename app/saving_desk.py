"""What the window says about saving: in the status bar, in a message, and when it is closed."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Slot

from app.files import Files
from app.messages import Message, MessageBar
from app.status_bar import StatusBar


class SavingDesk(QObject):
    """Between the saver, the status bar and the messages."""

    def __init__(
        self, files: Files, status: StatusBar, messages: MessageBar, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._files = files
        self._status = status
        self._messages = messages
        self._pending = 0
        self._may_lose = False
        self._question: Message | None = None

    @Slot(int)
    def pending(self, count: int) -> None:
        """So many pieces of work are not on the disk yet."""
        self._pending = count
        if not count:
            # Even after a failure: what must not be lost stays pending until it is on the disk.
            self.saved()
            if self._question is not None:
                self._messages.retract(self._question)
                self._question = None
        elif self._files.project is not None:
            self._status.show_pending()

    @Slot()
    def saved(self) -> None:
        """All is on the disk."""
        if self._files.project is None:
            self._status.show_nothing_to_save()
        else:
            self._status.show_saved()

    @Slot(str)
    def failed(self, sentence: str) -> None:
        """Something could not be saved."""
        self._status.show_problem(sentence)
        self._messages.show_error(sentence)

    def may_close(self, close: Callable[[], object]) -> bool:
        """Whether nothing would be lost; else ask in the window, where `close` may be chosen."""
        if self._may_lose or not self._pending or not self._status.problem:
            return True

        def lose() -> None:
            self._may_lose = True
            close()

        self._question = Message(
            f"Your last strokes are not saved yet: {self._status.problem}",
            actions=(("Close and lose them", lose),),
            close_text="Go on",
        )
        self._messages.show_message(self._question)
        return False
