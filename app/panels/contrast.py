"""How bright a channel is shown, and in which colours: histogram, range, gamma, look-up table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PySide6.QtCore import QLineF, QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QIcon,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPixmap,
    QPolygonF,
    QValidator,
)
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from app.display import (
    AUTOMATIC,
    GAMMAS,
    LARGEST,
    TABLES,
    ChannelDisplay,
    Histogram,
    shown_table,
)
from app.panels.base import Panel, Slider, keep_navigation

_GAMMA_STEPS = 50
"""Of the slider, to either side of 1, which is in the middle."""

_REACH = 6
"""A handle is taken hold of, and does not jump, so many pixels beside it."""


class HistogramView(QWidget):
    """Logarithmic counts, the curve from intensity to brightness, and two handles to drag."""

    range_chosen = Signal(float, float)
    """`low` and `high` of the display, in the file's units."""
    released = Signal()
    """The handle has been let go of."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("contrastHistogram")
        self.setAccessibleName("Histogram of the channel")
        self.setToolTip("Drag the two lines: darker is black, brighter is fully bright")
        self.setMinimumHeight(64)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.whole = True
        """Intensities are whole numbers."""
        self.start, self.stop = 0.0, 255.0
        """The intensities at the left and at the right end."""
        self._histogram: Histogram | None = None
        self._display = ChannelDisplay(0.0, 255.0)
        self._table = TABLES["Grey"]
        self._dragged = ""
        self._grip = 0.0  # from the mouse to the handle that it holds, in pixels

    def sizeHint(self) -> QSize:
        return QSize(200, 76)

    @property
    def dragging(self) -> bool:
        return self._dragged != ""

    @property
    def gap(self) -> float:
        """`low` and `high` stay so far apart."""
        return 1.0 if self.whole else (self.stop - self.start) / 1000

    def show_display(self, display: ChannelDisplay, table: np.ndarray) -> None:
        """Show the range and gamma of `display`, and the colours of `table` `(256, 3)`."""
        self._display, self._table = display, table
        self._fit_axis()

    def show_histogram(self, histogram: Histogram | None) -> None:
        self._histogram = histogram
        self._fit_axis()

    def _fit_axis(self) -> None:
        """Make room for histogram and range; not under the hand of the user."""
        if not self.dragging:
            start, stop = self._display.low, self._display.high
            if self._histogram is not None:
                start = min(start, self._histogram.start)
                stop = max(stop, self._histogram.stop - (1 if self.whole else 0))
            self.start, self.stop = start, stop if stop > start else start + 1
        self.update()

    # --- geometry --------------------------------------------------------------------------------

    def _area(self) -> QRectF:
        return QRectF(self.rect()).adjusted(7, 4, -7, -12)

    def x_of(self, value: float) -> float:
        """Where intensity `value` is, in logical pixels from the left."""
        area = self._area()
        return area.left() + area.width() * (value - self.start) / (self.stop - self.start)

    def value_at(self, x: float) -> float:
        """The intensity at `x`; a whole number where intensities are."""
        area = self._area()
        share = min(max((x - area.left()) / max(1.0, area.width()), 0.0), 1.0)
        value = self.start + share * (self.stop - self.start)
        return float(round(value)) if self.whole else value

    # --- mouse -----------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        x = event.position().x()
        low, high = self.x_of(self._display.low), self.x_of(self._display.high)
        self._dragged = "low" if abs(x - low) < abs(x - high) or x < low else "high"
        handle = low if self._dragged == "low" else high
        self._grip = handle - x
        if abs(self._grip) > _REACH:  # beside the handle: it comes to the mouse
            self._grip = 0.0
            self._drag_to(x)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.dragging:
            self._drag_to(event.position().x() + self._grip)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self.dragging and event.button() == Qt.MouseButton.LeftButton:
            self._dragged = ""
            self._fit_axis()
            self.released.emit()

    def _drag_to(self, x: float) -> None:
        value, low, high = self.value_at(x), self._display.low, self._display.high
        if self._dragged == "low":
            low = min(value, high - self.gap)
        else:
            high = max(value, low + self.gap)
        if (low, high) != (self._display.low, self._display.high):
            self.range_chosen.emit(low, high)

    # --- painting --------------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        palette, area = self.palette(), self._area()
        painter.fillRect(self.rect(), palette.color(QPalette.ColorRole.Base))
        faint = palette.color(QPalette.ColorRole.Text)
        faint.setAlphaF(0.45)
        painter.setPen(QPen(faint, 1))
        painter.drawLines(self._bars(area))
        self._paint_colors(painter, area)
        self._paint_curve(painter, area)

    def _bars(self, area: QRectF) -> list[QLineF]:
        """A line for each column of pixels, as high as the logarithm of its fullest bin."""
        shown = self._histogram
        if shown is None or not shown.counts.any():
            return []
        heights = np.log1p(shown.counts)
        heights *= area.height() / heights.max()
        columns = area.left() + np.arange(int(area.width()) + 1)
        per_pixel = (self.stop - self.start) / max(1.0, area.width())
        values = self.start + (columns - area.left()) * per_pixel
        first = np.floor((values - shown.start) / shown.width)
        last = np.maximum(np.ceil((values + per_pixel - shown.start) / shown.width), first + 1)
        lines = []
        for x, begin, end in zip(columns, first, last, strict=True):
            part = heights[max(0, int(begin)) : max(0, int(end))]
            if part.size and (height := part.max()) > 0:
                lines.append(QLineF(x, area.bottom(), x, area.bottom() - height))
        return lines

    def _paint_colors(self, painter: QPainter, area: QRectF) -> None:
        """A strip with the colour in which each intensity is shown."""
        low, high = self._display.low, self._display.high
        values = np.linspace(self.start, self.stop, max(2, int(area.width())))
        share = np.clip((values - low) / max(high - low, np.finfo(float).tiny), 0, 1)
        levels = np.rint(255 * share**self._display.gamma).astype(np.uint8)
        pixels = np.ascontiguousarray(self._table[levels])
        row = QImage(pixels.data, len(pixels), 1, pixels.nbytes, QImage.Format.Format_RGB888)
        painter.drawImage(QRectF(area.left(), area.bottom() + 2, area.width(), 7), row)

    def _paint_curve(self, painter: QPainter, area: QRectF) -> None:
        low, high = self.x_of(self._display.low), self.x_of(self._display.high)
        share = np.linspace(0, 1, 33)
        curve = [
            QPointF(low + s * (high - low), area.bottom() - area.height() * s**self._display.gamma)
            for s in share
        ]
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = self.palette().color(QPalette.ColorRole.Link)
        painter.setPen(QPen(color, 1.5))
        painter.drawPolyline(QPolygonF(curve))
        for x in (low, high):
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
            painter.setBrush(color)
            bottom = area.bottom() + 9
            tip = [QPointF(x, bottom - 9), QPointF(x - 5, bottom), QPointF(x + 5, bottom)]
            painter.drawPolygon(QPolygonF(tip))


class NumberBox(QDoubleSpinBox):
    """An intensity in any unit: seven significant digits, however large or small it is."""

    def __init__(self, name: str, label: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setAccessibleName(label)
        self.setDecimals(40)
        self.setRange(-LARGEST, LARGEST)
        self.setKeyboardTracking(False)  # 1200 is not 1, 12, 120 on its way
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        text = self.fontMetrics().horizontalAdvance("00000000")
        return QSize(text + 30, self.lineEdit().sizeHint().height() + 4)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def textFromValue(self, value: float) -> str:
        return f"{value:.7g}"

    def valueFromText(self, text: str) -> float:
        try:
            return float(text.replace(",", "."))
        except ValueError:
            return self.value()

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        try:
            good = math.isfinite(float(text.replace(",", ".")))
        except ValueError:
            good = False
        state = QValidator.State.Acceptable if good else QValidator.State.Intermediate
        return state, text, position


class ContrastPanel(Panel):
    """Shows one channel at a time; an RGB image has one range and gamma for all three."""

    display_chosen = Signal(int, object)
    """Channel and the `ChannelDisplay` that the user wants for it."""
    auto_requested = Signal(int)
    reset_requested = Signal(int)

    def __init__(self) -> None:
        super().__init__("Contrast", "contrastPanel", closable=True)
        self._displays: list[ChannelDisplay] = []
        self._histograms: tuple[Histogram, ...] = ()
        self._is_rgb = False
        self.channel = QComboBox()
        self.channel.setObjectName("contrastChannel")
        self.channel.setAccessibleName("Channel whose contrast is shown")
        self.channel.setToolTip("The channel that this panel is about")
        self.lut = QComboBox()
        self.lut.setObjectName("lookUpTable")
        self.lut.setAccessibleName("Look-up table")
        self.lut.setToolTip(
            "Colours of the channel. Automatic: grey where it shows alone, else its own colour"
        )
        self.lut.setIconSize(QSize(32, 10))
        self.lut.addItem(AUTOMATIC)
        for name, table in TABLES.items():
            self.lut.addItem(_gradient(table), name)
        for box in (self.channel, self.lut):
            box.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            keep_navigation(box)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(6)
        self.view = HistogramView()
        self.low = NumberBox("contrastLow", "Intensity shown as black")
        self.low.setToolTip("This intensity and lower ones are black")
        self.high = NumberBox("contrastHigh", "Intensity shown fully bright")
        self.high.setToolTip("This intensity and higher ones are fully bright")
        self.gamma = Slider("gammaSlider", "Gamma")
        self.gamma.setRange(-_GAMMA_STEPS, _GAMMA_STEPS)
        self.gamma.setToolTip("Below 1 dark pixels become brighter, above 1 darker")
        self._gamma_number = QLabel()
        self._gamma_number.setMinimumWidth(self.fontMetrics().horizontalAdvance("0.00"))
        self.auto = QPushButton("Auto")
        self.auto.setObjectName("autoContrastButton")
        self.auto.setToolTip(
            "Shows this channel of this plane well; again: from its darkest to its brightest "
            "pixel (C: every visible channel)"
        )
        self.reset = QPushButton("Reset")
        self.reset.setObjectName("resetContrastButton")
        self.reset.setToolTip("As the image was opened")
        for button in (self.auto, self.reset):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._lay_out()
        self.finish()
        self._connect()
        self.set_channels((), whole=True, is_rgb=False)

    def _lay_out(self) -> None:
        top, ends, curve, buttons = (QHBoxLayout() for _ in range(4))
        top.addWidget(self.channel, 1)
        top.addWidget(self.lut, 1)
        ends.addWidget(self.low)
        ends.addWidget(self.high)
        label = QLabel("&Gamma")
        label.setBuddy(self.gamma)
        curve.addWidget(label)
        curve.addWidget(self.gamma, 1)
        curve.addWidget(self._gamma_number)
        buttons.addWidget(self.auto, 1)
        buttons.addWidget(self.reset, 1)
        self.column.addLayout(top)
        self.column.addWidget(self.view)
        for row in (ends, curve, buttons):
            self.column.addLayout(row)

    def _connect(self) -> None:
        self.channel.currentIndexChanged.connect(self._show)
        self.lut.currentTextChanged.connect(self._choose_lut)
        self.view.range_chosen.connect(self._choose_range)
        self.low.valueChanged.connect(self._choose_low)
        self.high.valueChanged.connect(self._choose_high)
        self.gamma.valueChanged.connect(self._choose_gamma)
        self.auto.clicked.connect(self._ask_auto)
        self.reset.clicked.connect(self._ask_reset)

    # --- what it is told -------------------------------------------------------------------------

    def set_channels(self, names: Sequence[str], *, whole: bool, is_rgb: bool) -> None:
        """Another image, or none: its channels' names, and whether intensities are whole numbers.

        What is shown of them comes with `show_displays` and `show_histograms`.
        """
        self._displays, self._histograms, self._is_rgb = [], (), is_rgb
        self.view.whole = whole
        self.channel.blockSignals(True)
        self.channel.clear()
        self.channel.addItems([name or f"Channel {n}" for n, name in enumerate(names, start=1)])
        self.channel.blockSignals(False)
        self.channel.setVisible(len(names) > 1 and not is_rgb)
        self.lut.setVisible(not is_rgb)
        self.content.setEnabled(bool(names))
        self._show()

    def show_displays(self, displays: Sequence[ChannelDisplay]) -> None:
        """Show how the channels are shown, without asking for anything."""
        self._displays = list(displays)
        self._show()

    def show_histograms(self, histograms: Sequence[Histogram]) -> None:
        """Show what is in the plane: one for each channel, of an RGB image one for all."""
        self._histograms = tuple(histograms)
        self._show()

    @property
    def chosen(self) -> int:
        """Number of the channel that is shown: 0 for RGB images, -1 where there is no image."""
        return 0 if self._is_rgb else self.channel.currentIndex()

    @Slot()
    def _show(self) -> None:
        channel = self.chosen
        if not 0 <= channel < len(self._displays):
            self.view.show_histogram(None)
            return
        display = self._displays[channel]
        controls = (self.lut, self.low, self.high)
        for control in controls:
            control.blockSignals(True)
        self.lut.setCurrentText(display.lut)
        self.low.setValue(display.low)
        self.high.setValue(display.high)
        for control in controls:
            control.blockSignals(False)
        self.gamma.show_value(round(_GAMMA_STEPS * math.log(display.gamma) / math.log(GAMMAS[1])))
        self._gamma_number.setText(f"{display.gamma:.2f}")
        alone = self._is_rgb or sum(d.visible for d in self._displays) == 1
        self.view.show_display(display, shown_table(display, channel, alone=alone))
        known = channel < len(self._histograms)
        self.view.show_histogram(self._histograms[channel] if known else None)
        for box in (self.low, self.high):
            step = (self.view.stop - self.view.start) / 100
            box.setSingleStep(max(1.0, round(step)) if self.view.whole else step)

    # --- what the user does ----------------------------------------------------------------------

    @property
    def _display(self) -> ChannelDisplay | None:
        known = 0 <= self.chosen < len(self._displays)
        return self._displays[self.chosen] if known else None

    @Slot(float, float)
    def _choose_range(self, low: float, high: float) -> None:
        low, high = max(low, -LARGEST), min(high, LARGEST)
        if self._display is not None:
            self.display_chosen.emit(self.chosen, replace(self._display, low=low, high=high))

    @Slot(float)
    def _choose_low(self, low: float) -> None:
        """The other end gives way."""
        if self._display is not None:
            high = self._display.high
            self._choose_range(low, high if high > low else low + self.view.gap)

    @Slot(float)
    def _choose_high(self, high: float) -> None:
        if self._display is not None:
            low = self._display.low
            self._choose_range(low if low < high else high - self.view.gap, high)

    @Slot(int)
    def _choose_gamma(self, step: int) -> None:
        if self._display is not None:
            gamma = GAMMAS[1] ** (step / _GAMMA_STEPS)
            gamma = min(max(gamma, GAMMAS[0]), GAMMAS[1])
            self.display_chosen.emit(self.chosen, replace(self._display, gamma=gamma))

    @Slot(str)
    def _choose_lut(self, name: str) -> None:
        if self._display is not None:
            self.display_chosen.emit(self.chosen, replace(self._display, lut=name))

    @Slot()
    def _ask_auto(self) -> None:
        if self._display is not None:
            self.auto_requested.emit(self.chosen)

    @Slot()
    def _ask_reset(self) -> None:
        if self._display is not None:
            self.reset_requested.emit(self.chosen)


def _gradient(table: np.ndarray) -> QIcon:
    pixels = np.ascontiguousarray(np.repeat(table[None, ::8], 10, axis=0))
    height, width = pixels.shape[:2]
    image = QImage(pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    return QIcon(QPixmap.fromImage(image.copy()))
