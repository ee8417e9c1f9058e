"""Where in the stack: z and t sliders, and which channels show."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QSpinBox,
    QToolButton,
    QWidget,
)

from app import assets
from app.panels.base import Slider, keep_navigation
from app.playing import FASTEST, SLOWEST, USUAL


class NavigatorPanel(QFrame):
    """A strip below the image. An axis of size 1, and a single channel, take no room."""

    z_chosen = Signal(int)
    t_chosen = Signal(int)
    channel_toggled = Signal(int, bool)
    rate_chosen = Signal(int)
    """Planes a second, to be played."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("navigator")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(8, 3, 8, 3)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self.z_slider = Slider("zSlider", "Z slice")
        self.t_slider = Slider("tSlider", "Time point")
        self._z_row = self._row(0, "&Z", self.z_slider)
        self._t_row = self._row(1, "T&ime", self.t_slider)
        self.play = QToolButton()
        self.play.setObjectName("playButton")
        self.play.setAutoRaise(True)
        self.play.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.rate = QSpinBox()
        self.rate.setObjectName("playRate")
        self.rate.setAccessibleName("Planes played a second")
        self.rate.setToolTip("Planes a second; fewer where they cannot be read so fast")
        self.rate.setRange(SLOWEST, FASTEST)
        self.rate.setValue(USUAL)
        self.rate.setSuffix(" /s")
        self.rate.valueChanged.connect(self.rate_chosen)
        self.channels = QListWidget()
        self.channels.setObjectName("channelList")
        self.channels.setAccessibleName("Channels that show")
        keep_navigation(self.channels)
        self.channels.setFlow(QListView.Flow.LeftToRight)
        self.channels.setFrameShape(QFrame.Shape.NoFrame)
        self.channels.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.channels.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.channels.setSpacing(2)
        self.channels.viewport().setAutoFillBackground(False)
        self.channels.setFixedHeight(self.fontMetrics().height() + 12)
        self._channel_label = QLabel("Channels")
        self._grid.addWidget(self._channel_label, 2, 0)
        self._grid.addWidget(self.channels, 2, 1, 1, 4)
        self.z_slider.valueChanged.connect(self.z_chosen)
        self.t_slider.valueChanged.connect(self.t_chosen)
        self.z_slider.valueChanged.connect(self._show_numbers)
        self.t_slider.valueChanged.connect(self._show_numbers)
        self.channels.itemChanged.connect(self._channel_changed)
        self.set_size(1, 1)
        self.set_channels((), (), ())

    def _row(self, row: int, text: str, slider: Slider) -> tuple[QLabel, Slider, QLabel]:
        label = QLabel(text)
        label.setBuddy(slider)
        number = QLabel()
        number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(slider, row, 1)
        self._grid.addWidget(number, row, 2)
        return label, slider, number

    def set_size(self, times: int, depths: int) -> None:
        """Offer `times` time points and `depths` slices."""
        for (label, slider, number), size in ((self._z_row, depths), (self._t_row, times)):
            slider.blockSignals(True)
            slider.setRange(0, size - 1)
            slider.setPageStep(min(10, max(1, size // 10)))
            slider.blockSignals(False)
            number.setMinimumWidth(number.fontMetrics().horizontalAdvance(f"{size} / {size}"))
            for widget in (label, slider, number):
                widget.setVisible(size > 1)
        for column, control in enumerate((self.play, self.rate), start=3):
            self._grid.addWidget(control, 1 if times > 1 else 0, column)  # beside what it moves
            control.setVisible(times > 1 or depths > 1)
        self._show_numbers()
        self._hide_if_empty()

    def set_plane(self, t: int, z: int) -> None:
        """Show which plane is on screen, without asking for another."""
        self.z_slider.show_value(z)
        self.t_slider.show_value(t)
        self._show_numbers()

    @Slot()
    def _show_numbers(self) -> None:
        for _, slider, number in (self._z_row, self._t_row):
            number.setText(f"{slider.value() + 1} / {slider.maximum() + 1}")

    def set_channels(
        self, names: Sequence[str], colors: Sequence[str], visible: Sequence[bool]
    ) -> None:
        """List the channels. Colours are "#rrggbb", or empty where a channel has no colour."""
        self.channels.blockSignals(True)
        self.channels.clear()
        for number, (name, color, shown) in enumerate(
            zip(names, colors, visible, strict=True), start=1
        ):
            item = QListWidgetItem(name or f"Channel {number}")
            if color:
                item.setIcon(assets.swatch(color, 10))
            item.setFlags(
                Qt.ItemFlag.ItemIsEnabled
                | Qt.ItemFlag.ItemIsUserCheckable
                | Qt.ItemFlag.ItemIsSelectable
            )
            item.setCheckState(Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked)
            key = f" (Shift+{number})" if number < 10 else ""
            item.setToolTip(f"Show or hide {item.text()}{key}")
            self.channels.addItem(item)
        self.channels.blockSignals(False)
        for widget in (self.channels, self._channel_label):
            widget.setVisible(len(names) > 1)
        self._hide_if_empty()

    def show_colors(self, colors: Sequence[str]) -> None:
        """Colour the squares beside the channels' names, "#rrggbb"."""
        self.channels.blockSignals(True)
        for row, color in enumerate(colors):
            self.channels.item(row).setIcon(assets.swatch(color, 10))
        self.channels.blockSignals(False)
        self.channels.viewport().update()

    def show_channels(self, visible: Sequence[bool]) -> None:
        """Tick the channels that show, without asking for anything."""
        self.channels.blockSignals(True)
        for row, shown in enumerate(visible):
            state = Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked
            self.channels.item(row).setCheckState(state)
        self.channels.blockSignals(False)

    @Slot(QListWidgetItem)
    def _channel_changed(self, item: QListWidgetItem) -> None:
        self.channel_toggled.emit(
            self.channels.row(item), item.checkState() == Qt.CheckState.Checked
        )

    def _hide_if_empty(self) -> None:
        several = (
            self.z_slider.maximum() > 0 or self.t_slider.maximum() > 0 or self.channels.count() > 1
        )
        self.setVisible(several)
