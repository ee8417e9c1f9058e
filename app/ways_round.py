"""What is offered for a project that can not be opened as usual: a look, a copy, a rescue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from app.jobs import Steps
from app.messages import Message, MessageBar
from app.opening import Refused
from unet_core.limits import lift
from unet_core.project import SUFFIX, copy_project

if TYPE_CHECKING:
    from app.files import Files


class WaysRound(QObject):
    """Asks in a message; what is chosen runs as the one job of `Files`."""

    def __init__(self, files: Files, messages: MessageBar) -> None:
        super().__init__(files)
        self._files = files
        self._messages = messages
        self._choice: Message | None = None

    def offer(self, refused: Refused) -> None:
        """Say why the project was not opened, and what can be done instead."""
        path = refused.path
        look = ("Open read-only", partial(self._files.open, path, read_only=True))
        copy = ("Open a copy…", partial(self._ask_copy, path))
        mend = ("Rescue…", partial(self._ask_rescue, path))
        if refused.why == "limit":
            anyway = ("Open it anyway", partial(self._trust, path))
            self._choice = Message(refused.sentence, actions=(anyway,), close_text="Cancel")
        elif refused.why == "damaged":
            self._choice = Message(
                f"{path.name} is damaged, or no Limn project; what can still be read of it can be "
                "brought into a new project.",
                "error",
                refused.sentence,
                (mend,),
                "Cancel",
            )
        elif refused.why == "locked":
            sentence = f"{path.name} is open in another window or by another person."
            self._choice = Message(sentence, "offer", actions=(look, copy), close_text="Cancel")
        else:
            sentence = f"{path.name} can not be written: the file or its folder is read-only."
            self._choice = Message(sentence, "offer", actions=(look, copy), close_text="Cancel")
        self._messages.show_message(self._choice)

    def take_back(self) -> None:
        """Something else is opened: what was to choose is of no interest any more."""
        if self._choice is not None:
            self._messages.retract(self._choice)
            self._choice = None

    def _trust(self, path: Path) -> None:
        lift()
        self._files.open(path)

    def _ask_copy(self, path: Path) -> None:
        target = self._files.ask_project("Copy the project to", free_name(path, "copy"))
        if target is not None:
            self.open_copy(path, target)

    def open_copy(self, path: Path, target: Path) -> None:
        """Copy the project at `path`, whoever has it open, and open the copy."""

        def copy() -> str:
            copy_project(path, target)
            return ""

        self._make_and_open(f"Copying {path.name}…", copy, target)

    def _ask_rescue(self, path: Path) -> None:
        target = self._files.ask_project("Save what can be rescued as", free_name(path, "rescued"))
        if target is not None:
            self.open_rescued(path, target)

    def open_rescued(self, path: Path, target: Path) -> None:
        """Bring what can be read of a damaged project into a new one, and open that."""

        def mend() -> str:
            from unet_core.rescue import rescue  # needed so rarely

            return rescue(path, target).sentence()

        self._make_and_open(f"Reading what is left of {path.name}…", mend, target)

    def _make_and_open(self, text: str, make: Callable[[], str], target: Path) -> None:
        def steps() -> Steps:
            yield
            return make()

        self._files.run(text, steps, partial(self._made, target))

    def _made(self, target: Path, report: str) -> None:
        if report:
            self._messages.show_message(Message(report, "offer"))
        self._files.open_next(target)


def free_name(path: Path, word: str) -> Path:
    """Return "NAME WORD.limn" beside a project, or "NAME WORD 2.limn" and so on: one not taken."""
    number, free = 1, path.with_name(f"{path.stem} {word}{SUFFIX}")
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem} {word} {number}{SUFFIX}")
    return free
