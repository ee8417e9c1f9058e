"""What the window says without stopping anybody: messages over the image, progress below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtGui import QAccessible, QAccessibleEvent, QGuiApplication, QImage, QPixmap
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import assets

_MOST = 5
_PICTURE = 72
"""Side of the square that a message's picture is fitted into, in pixels."""


@dataclass(frozen=True)
class Message:
    """One sentence for the user.

    kind: "error", "offer", "done" for what has succeeded, or "hint" for what is of no use any more
    after the next change. details: for a report; may be copied.
    actions: (button text, what to do); pressing one also closes the message. close_text: what the
    closing button says. picture: stands in the place of the icon.
    """

    sentence: str
    kind: str = "error"
    details: str = field(default="", compare=False)
    actions: tuple[tuple[str, Callable[[], object]], ...] = field(default=(), compare=False)
    close_text: str = ""
    picture: QImage | None = field(default=None, compare=False, repr=False)


class MessageBar(QFrame):
    """Shows the newest message; closing it brings back the one before, so that none gets lost.

    It lies over the top of `ground`, its parent, and in no layout: a message that comes in the
    middle of a stroke must not move the image under the brush.
    """

    def __init__(self, ground: QWidget) -> None:
        super().__init__(ground)
        self._ground = ground
        ground.installEventFilter(self)
        self.setObjectName("messageBar")
        self.setAutoFillBackground(True)
        self.setAccessibleName("Message")
        self._messages: list[Message] = []
        self._icon = QLabel()
        self._sentence = QLabel()
        self._sentence.setObjectName("messageText")
        # Text from files is shown as it is: a file name may contain what looks like HTML.
        self._sentence.setTextFormat(Qt.TextFormat.PlainText)
        self._sentence.setWordWrap(True)
        self._sentence.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._sentence.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._details_button = _button("Details", "messageDetailsButton")
        self._details_button.setCheckable(True)
        self._copy_button = _button("Copy", "messageCopyButton")
        self._copy_button.setToolTip("Copy the message and its details, for a report")
        self._close_button = _button("Close", "messageCloseButton")
        self._details = QPlainTextEdit()
        self._details.setObjectName("messageDetails")
        self._details.setAccessibleName("Details of the message")
        self._details.setReadOnly(True)
        self._details.setMaximumHeight(140)
        self._details.hide()
        self._actions = QHBoxLayout()
        line = QHBoxLayout()
        line.setContentsMargins(10, 6, 8, 6)
        line.setSpacing(6)
        line.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self._sentence, 1)
        line.addLayout(self._actions)
        for button in (self._details_button, self._copy_button, self._close_button):
            line.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(line)
        column.addWidget(self._details)
        self.hide()
        self._details_button.toggled.connect(self._show_details)
        self._copy_button.clicked.connect(self._copy)
        self._close_button.clicked.connect(self.dismiss)

    @property
    def message(self) -> Message | None:
        """What is on show now."""
        return self._messages[-1] if self._messages else None

    @property
    def text(self) -> str:
        """The sentence on show now; empty when there is none."""
        return self._messages[-1].sentence if self._messages else ""

    @Slot(str)
    @Slot(str, str)
    def show_error(self, sentence: str, details: str = "") -> None:
        """Say what went wrong, in one sentence."""
        self.show_message(Message(sentence, "error", details))

    def show_message(self, message: Message, *, behind_errors: bool = False) -> None:
        """Show `message` on top of others; the same message again is not shown twice.

        behind_errors: unless an error is on show; then it waits until that is closed.
        """
        self._messages = [other for other in self._messages if other != message]
        place = len(self._messages)
        while behind_errors and place and self._messages[place - 1].kind == "error":
            place -= 1
        self._messages.insert(place, message)
        del self._messages[:-_MOST]
        self._refresh()

    def clear_past(self) -> None:
        """Another image is open: what went wrong or was done before is over; offers stay."""
        self._messages = [other for other in self._messages if other.kind == "offer"]
        self._refresh()

    @Slot()
    def clear_hints(self) -> None:
        """The labels or the plane have changed: hints were about what was there before."""
        if any(message.kind == "hint" for message in self._messages):
            self._messages = [other for other in self._messages if other.kind != "hint"]
            self._refresh()

    def retract(self, message: Message) -> None:
        """Take `message` back, wherever it waits: it is no longer true."""
        if message in self._messages:
            self._messages.remove(message)
            self._refresh()

    @Slot()
    def dismiss(self) -> None:
        """Close the message on show."""
        if self._messages:
            self._messages.pop()
        self._refresh()

    def _refresh(self) -> None:
        while (item := self._actions.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.setObjectName("")  # the name goes to the next message's button
                widget.deleteLater()
        self._details_button.setChecked(False)
        message = self.message
        if message is None:
            self.hide()
            return
        self.setProperty("kind", message.kind)
        self._sentence.setText(message.sentence)
        self._sentence.setAccessibleName(message.sentence)
        self._details.setPlainText(message.details)
        self._details_button.setVisible(bool(message.details))
        self._copy_button.setVisible(message.kind == "error")
        self._close_button.setText(message.close_text or "Close")
        for number, (text, act) in enumerate(message.actions):
            button = _ActionButton(text, act, self)
            button.setObjectName(f"messageAction{number + 1}")
            button.chosen.connect(self._act)
            self._actions.addWidget(button)
            button.show()  # now, not in the next turn of the event loop: it takes room
        self._restyle()
        self.show()
        self._place()  # only what shows knows the height that its words need
        self.raise_()
        QAccessible.updateAccessibility(QAccessibleEvent(self._sentence, QAccessible.Event.Alert))

    @Slot(bool)
    def _show_details(self, shown: bool) -> None:
        self._details.setVisible(shown)
        self._place()

    def _place(self) -> None:
        """Lie over the whole width of the ground, as high as the sentence needs."""
        layout = self.layout()
        width = self._ground.width()
        if layout is None:
            return
        layout.invalidate()
        layout.activate()  # the lines within it remember how high the former message was
        needed = layout.sizeHint().height()
        if layout.hasHeightForWidth():  # the sentence wraps
            needed = layout.heightForWidth(width)
        self.setGeometry(0, 0, width, min(needed, self._ground.height()))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep to the ground's width."""
        if watched is self._ground and event.type() == QEvent.Type.Resize:
            self._place()
        return super().eventFilter(watched, event)

    def _restyle(self) -> None:
        # A style sheet that asks for a property looks at it only when the style is set anew.
        for widget in (self, *self.findChildren(QWidget)):
            widget.style().unpolish(widget)
            widget.style().polish(widget)
        message = self.message
        if message is not None:
            self._sentence.ensurePolished()
            self._draw_icon(message)

    def _draw_icon(self, message: Message) -> None:
        if message.picture is not None:
            self._icon.setPixmap(fitted(message.picture, _PICTURE, self.devicePixelRatioF()))
            return
        color = self._sentence.palette().windowText().color()
        name = "error" if message.kind == "error" else "offer"
        self._icon.setPixmap(assets.pixmap(name, color, 20, 2))

    @Slot(object)
    def _act(self, act: Callable[[], object]) -> None:
        self.dismiss()
        act()

    @Slot()
    def _copy(self) -> None:
        message = self.message
        if message is not None:
            text = f"{message.sentence}\n\n{message.details}".strip()
            QGuiApplication.clipboard().setText(text)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self.message is not None:
            self._draw_icon(self.message)


class _ActionButton(QPushButton):
    """Carries what it does, so that no closure has to be connected to a signal."""

    chosen = Signal(object)

    def __init__(self, text: str, act: Callable[[], object], parent: QWidget) -> None:
        super().__init__(text, parent)
        self._act = act
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.clicked.connect(self._clicked)

    @Slot()
    def _clicked(self) -> None:
        self.chosen.emit(self._act)


def _button(text: str, name: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


def fitted(image: QImage, side: int, ratio: float) -> QPixmap:
    """Return `image` as large as fits into a square, on a screen of this device pixel ratio."""
    scaled = image.scaled(
        round(side * ratio),
        round(side * ratio),
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )
    scaled.setDevicePixelRatio(ratio)
    return QPixmap.fromImage(scaled)


class ProgressStrip(QFrame):
    """What runs besides the training, with a bar and Cancel. A part of the status bar."""

    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("progressStrip")
        self.label = QLabel()
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        self.label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.bar = QProgressBar()
        self.bar.setObjectName("exportProgress")
        self.bar.setAccessibleName("Progress")
        self.bar.setFixedWidth(150)
        self.cancel = QToolButton()
        self.cancel.setObjectName("cancelButton")
        self.cancel.setText("Cancel")
        self.cancel.setAccessibleName("Cancel what runs")
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 8, 0)
        line.addWidget(self.label, 1)
        line.addWidget(self.bar)
        line.addWidget(self.cancel)
        self.hide()
        self.cancel.clicked.connect(self.cancel_requested)

    def begin(self, text: str) -> None:
        """Show `text` with a bar that only says that something happens."""
        self.label.setText(text)
        self.bar.setRange(0, 0)
        self.cancel.setEnabled(True)
        self.show()

    def set_progress(self, done: int, total: int, text: str = "") -> None:
        """Show that `done` of `total` steps are done."""
        self.bar.setRange(0, max(1, total))
        self.bar.setValue(done)
        if text:
            self.label.setText(text)

    @Slot()
    def end(self) -> None:
        """Nothing runs any more."""
        self.hide()
