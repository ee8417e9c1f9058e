"""What the keys for tools, classes and channels do to the document."""

from __future__ import annotations

from functools import partial
from typing import cast

from PySide6.QtCore import QObject, Slot
from PySide6.QtGui import QAction, QKeyEvent

from app.commands import CommandAction
from app.document import Document
from app.hold_keys import HoldKeys

NEW_COLORS = ("#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999", "#332288")
"""Mostly Okabe and Ito's palette, whose colours also colour-blind eyes tell apart."""


class ToolCommands(QObject):
    """Slots of actions that carry their value as data, and of panels that choose a plane."""

    def __init__(self, document: Document, parent: QObject) -> None:
        super().__init__(parent)
        self._document = document
        self._foreground = 2  # the cell class painted with last
        self.hold = HoldKeys(self)
        document.classes_changed.connect(self._remember_class)

    @Slot()
    def step(self) -> None:
        """Call the action's (function, amount)."""
        function, amount = cast(QAction, self.sender()).data()
        function(amount)

    @Slot()
    def toggle_channel(self) -> None:
        """Show or hide the action's channel."""
        channel = cast(QAction, self.sender()).data()
        self._document.set_channel_visible(channel, not self._document.visible_channels[channel])

    @Slot()
    def choose_tool(self) -> None:
        """Take the action's tool: for good, or while its key is held."""
        action = cast(CommandAction, self.sender())
        self.hold.settle()
        former = self._document.tool
        self._document.set_tool(action.data())
        if action.by_key and former != self._document.tool:
            self.hold.pressed(action, partial(self._document.set_tool, former))

    @Slot()
    def peek(self) -> None:
        """A layer has been switched: for good, or while its key is held."""
        action = cast(CommandAction, self.sender())
        self.hold.settle()
        if action.by_key:
            self.hold.pressed(action, action.toggle)

    def key_released(self, event: QKeyEvent) -> None:
        """Every key release of the window comes here."""
        self.hold.key_released(event)

    def step_slices(self, steps: int) -> None:
        """Through the slices, or through time where there is one slice only, as the wheel does."""
        if self._document.stack is not None and self._document.stack.shape[1] > 1:
            self._document.step_z(steps)
        else:
            self._document.step_t(steps)

    @Slot(int)
    def choose_z(self, z: int) -> None:
        self._document.set_plane(self._document.plane.t, z)

    def choose_slice(self, number: int) -> None:
        """One of the slices, or of the time points where there is one slice only."""
        if self._document.stack is not None and self._document.stack.shape[1] > 1:
            self.choose_z(number)
        else:
            self.choose_t(number)

    @Slot(int)
    def choose_t(self, t: int) -> None:
        self._document.set_plane(t, self._document.plane.z)

    @Slot()
    def _remember_class(self) -> None:
        if self._document.active_class > 1:
            self._foreground = self._document.active_class

    @Slot()
    def use_foreground(self) -> None:
        self._document.set_active_class(min(self._foreground, len(self._document.classes)))

    @Slot()
    def use_background(self) -> None:
        self._document.set_active_class(1)

    @Slot()
    def swap_class(self) -> None:
        if self._document.active_class == 1:
            self.use_foreground()
        else:
            self.use_background()

    @Slot()
    def next_class(self) -> None:
        """The next class in the list, after the last the first."""
        count = len(self._document.classes)
        self._document.set_active_class(self._document.active_class % count + 1)

    @Slot()
    def add_class(self) -> None:
        """A class with a name to be changed and a colour that is not used yet, if there is one."""
        used = {info.color.lower() for info in self._document.classes}
        free = [color for color in NEW_COLORS if color not in used]
        number = len(self._document.classes) + 1
        self._document.add_class(f"class {number}", free[0] if free else NEW_COLORS[0])
