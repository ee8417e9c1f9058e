"""The keyboard's way from the image into the panels and back."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, Qt, Slot
from PySide6.QtWidgets import QWidget


class PanelFocus(QObject):
    """Goes through the parts of the window that can be seen; Tab goes on within them.

    In the image Tab has another meaning (the next place to annotate), so that this is the
    keyboard's only way out of it.
    """

    def __init__(self, stops: Sequence[QWidget], window: QWidget) -> None:
        """`stops` are in the order in which they are gone through."""
        super().__init__(window)
        self._stops = stops
        self._window = window

    @Slot()
    def next(self) -> None:
        self._go(1)

    @Slot()
    def previous(self) -> None:
        self._go(-1)

    def _go(self, step: int) -> None:
        focused = self._window.focusWidget()
        stops = self._stops
        here = next((n for n, stop in enumerate(stops) if _holds(stop, focused)), 0)
        for distance in range(1, len(stops) + 1):
            target = first_control(stops[(here + step * distance) % len(stops)])
            if target is not None:
                target.setFocus(Qt.FocusReason.TabFocusReason)
                # As Qt does for Tab: without it buttons and sliders show no focus frame.
                self._window.setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange)
                target.update()
                return


def first_control(stop: QWidget) -> QWidget | None:
    """The first widget of `stop`, itself included, that Tab reaches now; None if there is none."""
    widget = stop
    while True:
        if _holds(stop, widget) and _takes_focus(widget):
            return widget
        following = widget.nextInFocusChain()
        if following is None or following is stop:
            return None
        widget = following


def _holds(stop: QWidget, widget: QWidget | None) -> bool:
    return widget is not None and (widget is stop or stop.isAncestorOf(widget))


def _takes_focus(widget: QWidget) -> bool:
    tab = Qt.FocusPolicy.TabFocus
    return widget.isVisible() and widget.isEnabled() and widget.focusPolicy() & tab == tab
