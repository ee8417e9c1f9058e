"""What all panels share: a compact dock, and sliders that keep to themselves."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDockWidget, QFrame, QScrollArea, QSlider, QVBoxLayout, QWidget

_NAVIGATION = (
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
)
_PLAIN = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
LEAST_HEIGHT = 64
"""A growing panel may shrink to so many pixels and scroll: the window fits small screens."""


class _Body(QScrollArea):
    """Shows a panel's content at its natural size, and scrolls only where there is no room."""

    def __init__(self, content: QWidget, shrinking: bool) -> None:
        super().__init__()
        self._shrinking = shrinking
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # The controls inside take the focus, not the empty area around them.
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._content = content
        self.setWidget(content)

    def sizeHint(self) -> QSize:
        return self._content.sizeHint()

    def minimumSizeHint(self) -> QSize:
        least = self._content.minimumSizeHint()
        return QSize(
            least.width(), min(least.height(), LEAST_HEIGHT) if self._shrinking else least.height()
        )


class _Navigation(QObject):
    """Lets a widget have the keys that move in it, although they are also keys of the window."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.key() in _NAVIGATION
            and event.modifiers() in _PLAIN
        ):
            event.accept()
            return True
        return super().eventFilter(watched, event)


def keep_navigation(widget: QWidget) -> None:
    """While `widget`, a slider or list, has the focus, arrows, Home and the like move in it."""
    widget.installEventFilter(_Navigation(widget))


class Panel(QDockWidget):
    """One dock. `self.content` is the widget to lay out, `self.column` its vertical layout.

    growing: take part in the free height; the others keep to what they need. closable: the user may
    do without it.
    """

    def __init__(
        self, title: str, name: str, *, growing: bool = False, closable: bool = False
    ) -> None:
        super().__init__(title)
        self.setObjectName(name)
        features = QDockWidget.DockWidgetFeature.DockWidgetMovable
        if closable:
            features |= QDockWidget.DockWidgetFeature.DockWidgetClosable
        self.setFeatures(features)
        self._growing = growing
        self.content = QWidget()
        self.column = QVBoxLayout(self.content)
        self.column.setContentsMargins(8, 4, 8, 6)
        self.column.setSpacing(4)

    def finish(self) -> None:
        """Put the content into the dock: last line of every panel's __init__."""
        self.setWidget(_Body(self.content, self._growing))
        if not self._growing:
            self.widget().setMaximumHeight(self.content.sizeHint().height())


class Slider(QSlider):
    """A horizontal slider for keyboards too.

    While it has the focus the arrow keys move it, although they are also keys of the window. A
    click does not give it the focus: after a drag the window's keys go on working.
    """

    def __init__(self, name: str, label: str) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setObjectName(name)
        self.setAccessibleName(label)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        keep_navigation(self)

    def show_value(self, value: int) -> None:
        """Move to `value` without emitting `valueChanged`: the change came from elsewhere."""
        self.blockSignals(True)
        self.setValue(value)
        self.blockSignals(False)
        self.update()
