"""The minimap: where in the image the view is, in a corner of the picture."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.loader import LoadedPlane
from app.viewport import Viewport

LONGEST = 180
"""Length of its longer side in logical pixels at most."""
SMALLEST = 24
"""And of its shorter side at least: there must be something to click on."""
PART = 3
"""It takes this part of the picture's width or height at most."""
MARGIN = 14

RIM = QColor(0, 0, 0)
VEIL = QColor(0, 0, 0, 110)
FRAME = QColor(255, 255, 255)


class Minimap(QWidget):
    """The whole plane, small, with the part in view marked; seen only while there is more than
    that. A click or drag moves the view.

    It lies on the viewport as a widget of its own, and opaque: strokes beside it do not repaint it,
    and presses on it never reach the brush.
    """

    def __init__(self, viewport: Viewport) -> None:
        super().__init__(viewport)
        self.setObjectName("minimap")
        self.setAccessibleName("Minimap")
        self.setToolTip("Click or drag to move the view")
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._viewport = viewport
        self._wanted = True
        self._picture: QImage | None = None
        self._grip = QPointF()
        corner = QVBoxLayout(viewport)
        corner.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        corner.addWidget(self, 0, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom)
        self.hide()

    @Slot(bool)
    def set_wanted(self, wanted: bool) -> None:
        """Show it where it is of use, or never."""
        self._wanted = wanted
        self.follow_view()

    @Slot()
    def show_plane(self) -> None:
        """The viewport shows another plane, the same in other colours, or none."""
        self._picture = None
        self.follow_view()

    @Slot()
    def follow_view(self) -> None:
        """The view has moved, or its size has changed."""
        seen, whole = self._viewport.visible_rect(), self._viewport.document.plane_rect
        self.setVisible(self._wanted and self._viewport.shown is not None and seen != whole)
        if not self.isHidden():
            self.setFixedSize(self._size_for(whole.height, whole.width))
            self.update()

    def _size_for(self, height: int, width: int) -> QSize:
        room = self._viewport.size() / PART
        scale = min(LONGEST / max(height, width), room.width() / width, room.height() / height)
        return QSize(max(round(width * scale), SMALLEST), max(round(height * scale), SMALLEST))

    # --- what it shows -----------------------------------------------------------------------

    @property
    def frame(self) -> QRectF:
        """What is in view, in the minimap's own pixels."""
        seen = self._viewport.visible_rect()
        across, down = self._scale()
        return QRectF(seen.x * across, seen.y * down, seen.width * across, seen.height * down)

    def _scale(self) -> tuple[float, float]:
        """Pixels of the minimap per image pixel, across and down."""
        whole = self._viewport.document.plane_rect
        return self.width() / max(1, whole.width), self.height() / max(1, whole.height)

    def _small_picture(self, plane: LoadedPlane) -> QImage:
        """The plane in device pixels: made once, shown many times."""
        size = (QSize(self.width(), self.height()).toSizeF() * self.devicePixelRatioF()).toSize()
        if self._picture is None or self._picture.size() != size:
            pixels = (plane.image, *plane.overviews)[-1]
            height, width = pixels.shape[:2]
            grey = pixels.ndim == 2
            kind = QImage.Format.Format_Grayscale8 if grey else QImage.Format.Format_RGB888
            # A copy, which does not hold on to the plane's memory.
            self._picture = QImage(pixels.data, width, height, pixels.strides[0], kind).scaled(
                size,
                Qt.AspectRatioMode.IgnoreAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
        return self._picture

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        plane = self._viewport.shown
        if plane is None:
            painter.fillRect(self.rect(), RIM)  # about to be hidden
            return
        whole, frame = QRectF(self.rect()), self.frame
        picture = self._small_picture(plane)
        painter.drawImage(whole, picture)
        painter.fillRect(whole, VEIL)
        scale = self.devicePixelRatioF()
        source = QRectF(frame.topLeft() * scale, frame.size() * scale)
        painter.drawImage(frame, picture, source)
        painter.setPen(QPen(RIM, 1))
        painter.drawRect(whole.adjusted(0.5, 0.5, -0.5, -0.5))
        # A view of a few pixels is still to be found.
        least = QRectF(frame.center() - QPointF(2, 2), frame.center() + QPointF(2, 2))
        painter.setPen(QPen(FRAME, 1))
        painter.drawRect(frame.united(least).adjusted(0.5, 0.5, -0.5, -0.5) & whole)

    # --- mouse -------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        frame, position = self.frame, event.position()
        # Who takes hold of the frame moves it; elsewhere it jumps under the cursor.
        self._grip = position - frame.center() if frame.contains(position) else QPointF()
        self._move_to(position)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._move_to(event.position())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.mousePressEvent(event)

    def _move_to(self, position: QPointF) -> None:
        across, down = self._scale()
        whole = self._viewport.document.plane_rect
        centre = position - self._grip
        self._viewport.look_at(
            min(max(centre.y() / down, 0.0), whole.height),
            min(max(centre.x() / across, 0.0), whole.width),
        )
