"""What the window says about saving: in the status bar, in a message, and when it is closed."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Slot

from app.files import Files
from app.messages import Message, MessageBar
from app.saver import Saver
from app.status_bar import StatusBar

WATCH_MS = 2000


class SavingDesk(QObject):
    """Between the saver, the status bar and the messages."""

    def __init__(
        self,
        files: Files,
        saver: Saver,
        status: StatusBar,
        messages: MessageBar,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._files = files
        self._saver = saver
        self._status = status
        self._messages = messages
        self._pending = 0
        self._may_lose = False
        self._trouble: Message | None = None
        self._question: Message | None = None
        self._watch = QTimer(self, interval=WATCH_MS)
        self._watch.timeout.connect(self._look)

    @Slot(int)
    def pending(self, count: int) -> None:
        """So many pieces of work are not on the disk yet."""
        self._pending = count
        if count and not self._watch.isActive():
            self._watch.start()
        if not count:
            self._watch.stop()
            # Even after a failure: what must not be lost stays pending until it is on the disk.
            self.saved()
        elif self._files.project is not None:
            self._status.show_pending()

    @Slot()
    def saved(self) -> None:
        """All is on the disk."""
        for message in (self._trouble, self._question):
            if message is not None:
                self._messages.retract(message)
        self._trouble = self._question = None
        if self._files.project is None:
            self._status.show_nothing_to_save()
        elif self._files.read_only:
            self._status.show_read_only()
        else:
            self._status.show_saved()

    @Slot(str)
    def stuck(self, sentence: str) -> None:
        """Work can not be written now: it is kept in memory and tried again."""
        self._status.show_problem(sentence)
        if self._trouble is not None:
            self._messages.retract(self._trouble)
        self._trouble = Message(
            f"{sentence} You can go on painting: Limn keeps it in memory and tries again.",
            actions=(
                ("Save as…", self._files.ask_save_as),
                ("Try again", self._saver.try_again),
            ),
        )
        self._messages.show_message(self._trouble)

    @Slot()
    def _look(self) -> None:
        """Say so when the disk does not answer at all: then no error comes either."""
        if not self._saver.hangs or self._trouble is not None:
            return
        sentence = "The disk of the project does not answer; check its connection."
        self._status.show_problem(sentence)
        self._trouble = Message(
            f"{sentence} You can go on painting, and save a copy on another disk.",
            actions=(("Save a copy…", self._files.ask_save_copy),),
        )
        self._messages.show_message(self._trouble)

    @Slot(str)
    def failed(self, sentence: str) -> None:
        """Something else than saving strokes did not succeed."""
        self._messages.show_error(sentence)

    def may_close(self, close: Callable[[], object]) -> bool:
        """Whether nothing would be lost; else ask in the window, where `close` may be chosen."""
        if self._may_lose or not self._pending or not self._status.problem:
            return True

        def close_over_them() -> None:
            self._may_lose = True
            close()

        self._question = Message(
            f"Your last strokes are not saved yet: {self._status.problem} If you close now, Limn "
            "keeps them apart, where there is room, and offers them at its next start.",
            actions=(
                ("Save as…", self._files.ask_save_as),
                ("Close all the same", close_over_them),
            ),
            close_text="Go on",
        )
        self._messages.show_message(self._question)
        return False

    def close_unasked(self) -> None:
        """The computer or its user is leaving: nobody is there to answer a question."""
        self._may_lose = True
