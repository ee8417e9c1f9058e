"""The canvas: shows one plane of the document with labels and prediction over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, Qt, QTimer, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QShowEvent,
    QTransform,
)
from PySide6.QtWidgets import QWidget

from app import overlays
from app.camera import Camera, Point
from app.document import Document
from app.image_layer import ImageLayer
from app.layers import (
    LabelLayer,
    LabelStyle,
    PredictionLayer,
    PredictionStyle,
)
from app.loader import LoadedPlane, Piece, PlaneLoader
from app.still import StillPicture
from unet_core.edits import AnnotationError, Edit
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

EMPTY_HINT = "Open an image or drop it here (Ctrl+O)"
LOADING_HINT = "Loading…"

LOADING_DELAY_MS = 200
"""A plane that comes sooner is shown without a word; the one before stays until then."""

VIEW_INTERVAL_MS = 33
"""`view_changed` comes at most this often, and always once more at the end."""

MANY_TILES = 64
"""An edit of more label tiles repaints the whole view."""

CATCH_UP_SECONDS = 0.005
"""So long each paint may look for labels that an edit has changed; the rest of the frame is its
own."""

BACKGROUND = QColor(32, 33, 36)


class Tile(Protocol):
    """What the engine predicts: see `engine.PredictedTile`."""

    @property
    def plane(self) -> PlaneIndex: ...
    @property
    def rect(self) -> Rect: ...
    @property
    def maps(self) -> NDArray[np.uint8]: ...
    @property
    def interior(self) -> NDArray[np.uint8] | None: ...


class Canvas(QWidget):
    """The picture, without any say of mouse or keys: `viewport.Viewport` adds those.

    The shown plane follows `document.plane` as soon as it is read. Until then the plane before
    stays, whole, with its own labels, and cannot be painted on.
    """

    view_changed = Signal(object)
    """The Rect of the plane that is in view; the newest one, about 30 times a second at most."""
    plane_shown = Signal(object)
    """The `LoadedPlane` that is shown from now on."""
    plane_measured = Signal(object)
    """The `LoadedPlane` that is shown, now that its histograms are known."""
    plane_incomplete = Signal(str)
    """One sentence: a part of the plane on the screen can not be shown."""
    plane_failed = Signal(str)
    """One sentence: why the document's plane cannot be shown."""

    def __init__(self, document: Document, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMinimumSize(160, 120)

        self.document = document
        self.camera = Camera()
        self.image_layer = ImageLayer()
        self.label_layer = LabelLayer()
        self.prediction_layer = PredictionLayer()
        self.loader = PlaneLoader(self)
        self.shown: LoadedPlane | None = None
        """The plane on the screen, with its raw intensities."""

        self._label_style: LabelStyle = "both"
        self._cut: tuple[int, int] | None = None
        self._failure = ""
        self._early_tiles: list[Tile] = []
        self._still: StillPicture | None = None
        self._standing_still = False
        self._last_view: tuple[Rect, float] | None = None

        self._view_timer = QTimer(self, singleShot=True, interval=VIEW_INTERVAL_MS)
        self._view_timer.timeout.connect(self._announce_view)
        self._loading_timer = QTimer(self, singleShot=True, interval=LOADING_DELAY_MS)
        self._loading_timer.timeout.connect(self.update)

        document.stack_changed.connect(self._on_stack_changed)
        document.plane_changed.connect(self._on_plane_changed)
        document.channels_changed.connect(self._load)
        document.labels_changed.connect(self._on_labels_changed)
        document.labels_edited.connect(self._on_labels_edited)
        document.classes_changed.connect(self._on_classes_changed)
        document.options_changed.connect(self._on_options_changed)
        self.loader.loaded.connect(self._on_loaded)
        self.loader.pieces.connect(self._on_pieces)
        self.loader.measured.connect(self._on_measured)
        self.loader.incomplete.connect(self.plane_incomplete)
        self.loader.failed.connect(self._on_failed)
        # Qt aborts the program when a QThread object dies while its thread runs.
        self.destroyed.connect(self.loader.stop)
        self._on_classes_changed()

    def shutdown(self) -> None:
        """Finish a stroke in progress and end the loader's thread. For good."""
        self.document.end_stroke()
        self.loader.stop()

    # --- what the window calls ---------------------------------------------------------------

    def fit(self) -> None:
        """Show the whole image."""
        self.camera.fit()
        self._on_view_moved()

    def zoom_actual(self) -> None:
        """One device pixel per image pixel, the middle of the picture staying where it is."""
        self.camera.look_at(self.camera.centre, 1 / self.devicePixelRatioF())
        self._on_view_moved()

    @Slot(int, int)
    def centre_on(self, y: int, x: int) -> None:
        """Bring pixel `(y, x)` to the middle, close enough to be painted on."""
        closest = max(self.camera.zoom, 1 / self.devicePixelRatioF())
        self.camera.look_at(Point(y + 0.5, x + 0.5), closest)
        self._on_view_moved()

    def zoom_by(self, factor: float) -> None:
        """Zoom at the middle of the picture."""
        self.zoom_at(factor, QPointF(self.width() / 2, self.height() / 2))

    def look_at(self, y: float, x: float) -> None:
        """Show the image point `(y, x)` in the middle of the picture."""
        self.camera.look_at(Point(y, x), self.camera.zoom)
        self._on_view_moved()

    def set_cut(self, pixel: tuple[int, int] | None) -> None:
        """Draw lines through `(y, x)`, where the views from the side cut; None for no lines."""
        if pixel != self._cut:
            self._cut = pixel
            self.update()

    def set_image_visible(self, visible: bool) -> None:
        self.image_layer.visible = visible
        self.update()

    def set_label_visible(self, visible: bool) -> None:
        self.label_layer.visible = visible
        self.update()

    def set_prediction_visible(self, visible: bool) -> None:
        self.prediction_layer.visible = visible
        self.update()

    def set_threshold(self, threshold: int) -> None:
        """Show the prediction where a class's map is at least `threshold`, 1 to 255."""
        self.prediction_layer.set_threshold(threshold)
        self._recolour()

    def set_opacity(self, opacity: float) -> None:
        """How much the prediction covers the image, 0 to 1."""
        self.prediction_layer.set_opacity(opacity)
        self._recolour()

    def put_tiles(self, tiles: Sequence[Tile]) -> None:
        """Show predicted tiles of the document's plane; those of another plane are ignored."""
        for tile in tiles:
            if self.prediction_layer.put(tile.plane, tile.rect, tile.maps, tile.interior):
                self._update_image_rect(tile.rect)
                self.prediction_layer.stale = False
            elif tile.plane == self.document.plane:
                self._early_tiles.append(tile)  # the network was faster than the disk

    def set_label_style(self, style: LabelStyle) -> None:
        """Show what was painted as areas, outlines or both."""
        self._label_style = style
        self._on_options_changed()

    @Slot()
    def next_label_style(self) -> None:
        """The style after the present one, after the last the first."""
        styles = get_args(LabelStyle)
        self.set_label_style(styles[(styles.index(self._label_style) + 1) % len(styles)])

    def set_prediction_style(self, style: PredictionStyle) -> None:
        """Show the prediction as areas, outlines, probabilities or doubts."""
        self.prediction_layer.set_style(style)
        self.update()

    def clear_prediction(self) -> None:
        self._early_tiles.clear()
        self.prediction_layer.clear()
        self.update()

    def mark_prediction_stale(self) -> None:
        """Remember that the prediction is older than the labels; see `prediction_layer.stale`."""
        self.prediction_layer.stale = not self.prediction_layer.empty

    def visible_rect(self) -> Rect:
        """The image pixels in view, wholly or in part."""
        return self.camera.visible()

    def image_to_widget(self, y: float, x: float) -> QPoint:
        """Where in the widget pixel `(y, x)` has its centre.

        At 1:1 and closer, a mouse event at this point hits exactly that pixel.
        """
        row, column = self.camera.cursor_for(math.floor(y), math.floor(x))
        return QPoint(column, row)

    def widget_to_image(self, position: QPointF | QPoint) -> tuple[float, float]:
        """The image point `(y, x)` under a cursor at `position`; its floor is the pixel."""
        point = self.camera.under_cursor(position.y(), position.x())
        return point.y, point.x

    def view_state(self) -> dict[str, Any]:
        """What is in view, as plain values for a settings or project file."""
        centre = self.camera.centre
        return {
            "fit": self.camera.fitted,
            "zoom": self.camera.zoom,
            "y": centre.y,
            "x": centre.x,
        }

    def restore_view_state(self, state: dict[str, Any]) -> None:
        """Go back to what `view_state` gave; a state that makes no sense shows the whole image."""
        try:
            numbers = [float(state[key]) for key in ("y", "x", "zoom")]
        except (KeyError, TypeError, ValueError):
            numbers = []
        if not numbers or state.get("fit") or not all(map(math.isfinite, numbers)):
            self.fit()
            return
        self.camera.look_at(Point(numbers[0], numbers[1]), numbers[2])
        self._on_view_moved()

    # --- what the document tells -------------------------------------------------------------

    @Slot()
    def _on_stack_changed(self) -> None:
        plane = self.document.plane_rect
        self.loader.forget()
        self.shown = None
        self._failure = ""
        self._early_tiles.clear()
        self.image_layer.clear()
        self.label_layer.clear()
        self.prediction_layer.set_plane(self.document.plane, plane.height, plane.width)
        self.camera.set_image(plane.height, plane.width)
        self._last_view = None
        self._on_picture_changed()
        self._on_view_moved()

    @Slot()
    def _on_plane_changed(self) -> None:
        self._early_tiles.clear()
        self._load()

    @Slot()
    def _load(self) -> None:
        document = self.document
        if document.stack is None:
            return
        self.loader.request(document.stack, document.plane, document.displays)
        self._loading_timer.start()

    @Slot(object)
    def _on_loaded(self, loaded: LoadedPlane) -> None:
        another_plane = self.shown is None or self.shown.plane != loaded.plane
        self.shown = loaded
        self._failure = ""
        self.image_layer.set_plane(loaded)
        if another_plane:
            self.label_layer.set_plane(self.document.annotation, loaded.plane)
            self.prediction_layer.set_plane(loaded.plane, *loaded.size)
            early, self._early_tiles = self._early_tiles, []
            self.put_tiles(early)
            self._last_view = None  # the same rectangle of another plane is another view
        if loaded.number == self.loader.newest:
            self._loading_timer.stop()
        self._on_picture_changed()
        self._on_view_moved()
        self.plane_shown.emit(loaded)

    @Slot(object)
    def _on_pieces(self, pieces: Sequence[Piece]) -> None:
        self._update_image_rect(self.image_layer.put(pieces))

    @Slot(object)
    def _on_measured(self, loaded: LoadedPlane) -> None:
        if self.shown is not None and loaded.measured is self.shown.measured:
            self.plane_measured.emit(self.shown)

    @Slot(object, str)
    def _on_failed(self, plane: PlaneIndex, sentence: str) -> None:
        self.shown = None
        self._failure = sentence
        self._loading_timer.stop()
        self.image_layer.clear()
        self.label_layer.set_plane(self.document.annotation, plane)
        self.prediction_layer.set_plane(plane, *self.document.plane_rect[2:])
        self._on_picture_changed()
        self.update()
        self.plane_failed.emit(sentence)

    @Slot(object, object)
    def _on_labels_changed(self, plane: PlaneIndex, rect: Rect) -> None:
        if self.shown is None or plane != self.shown.plane:
            return
        if self.document.stroking:
            self._update_image_rect(self.label_layer.refresh(rect))
        else:
            self.label_layer.put_off(rect)
            self._update_image_rect(rect.expand(1))

    @Slot(object)
    def _on_labels_edited(self, edit: Edit) -> None:
        """Repaint: an edit may change millions of pixels, each is looked at when it is to be seen.

        The box around a long diagonal stroke is the whole plane; its tiles are a small part of it.
        """
        if self.shown is None:
            return
        plane = self.shown.plane
        rects = [change.extent for change in edit.changes if change.key[:2] == plane]
        for rect in rects:
            self.label_layer.put_off(rect)
        if len(rects) > MANY_TILES:
            self.update()
        else:
            for rect in rects:
                self._update_image_rect(rect.expand(1))

    @Slot()
    def _on_classes_changed(self) -> None:
        self.label_layer.set_classes(self.document.classes)
        self.prediction_layer.set_classes(self.document.classes)
        self.update()

    @Slot()
    def _on_options_changed(self) -> None:
        self.label_layer.set_style(self._label_style, self.document.hidden)
        self.update()

    @property
    def paintable(self) -> bool:
        """Whether what is on the screen is the plane that a stroke would go to."""
        return self.shown is not None and self.shown.plane == self.document.plane

    def _on_picture_changed(self) -> None:
        """Another stack or plane is shown, or none; for subclasses to follow."""

    # --- view --------------------------------------------------------------------------------

    def _on_view_moved(self) -> None:
        """The camera has moved."""
        self.update()
        zoom = self.camera.zoom * self.devicePixelRatioF()
        blocks = self.image_layer.look_at(self.visible_rect(), zoom)
        if blocks is not None:
            self.loader.look_at(blocks)
        if not self._view_timer.isActive():
            self._announce_view()

    @Slot()
    def _announce_view(self) -> None:
        # The zoom too: in a larger window the whole image is another view of the same rectangle.
        view = self.visible_rect(), self.camera.zoom
        if view == self._last_view or self.shown is None:
            return
        self._last_view = view
        self._view_timer.start()
        self.view_changed.emit(view[0])

    def zoom_at(self, factor: float, position: QPointF) -> None:
        """Zoom with the image point at widget point `position` staying where it is."""
        self.camera.zoom_at(factor, position.y(), position.x())
        self._on_view_moved()

    def _update_image_rect(self, rect: Rect) -> None:
        """Repaint the part of the widget that shows `rect` of the plane."""
        if rect.empty:
            return
        top, left = self.camera.to_widget(rect.y, rect.x)
        bottom, right = self.camera.to_widget(rect.bottom, rect.right)
        first = QPoint(math.floor(left) - 1, math.floor(top) - 1)
        last = QPoint(math.ceil(right), math.ceil(bottom))
        self.update(QRect(first, last))

    # --- painting ----------------------------------------------------------------------------

    def update(self, *area: Any) -> None:
        """Repaint: anything may have changed."""
        self._still, self._standing_still = None, False
        super().update(*area)

    def _recolour(self) -> None:
        """Repaint: nothing has changed but the colours of the prediction."""
        if self.prediction_layer.style == "outline":  # its lines follow the threshold
            self.update()
        else:
            self._standing_still = True
            super().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.devicePixelRatioF() != self.camera.ratio:
            self._measure()  # the window has come to another screen
        painter = QPainter(self)
        painter.fillRect(event.rect(), BACKGROUND)
        if self.document.stack is None:
            overlays.paint_message(painter, self.rect(), EMPTY_HINT)
            return
        later = self._catch_up(event.rect())
        self._paint_layers(painter, event.rect())
        pixel_size = self.document.stack.pixel_size
        if pixel_size is not None:
            zoom = self.camera.zoom
            overlays.paint_scale_bar(painter, self.height(), pixel_size, zoom, event.rect())
        if self._cut is not None:
            y, x = self.camera.to_widget(self._cut[0] + 0.5, self._cut[1] + 0.5)
            overlays.paint_cross_lines(painter, QRectF(self.rect()), QPointF(x, y))
        if message := self._failure or self._loading_message():
            overlays.paint_message(painter, self.rect(), message)
        self._paint_cursor(painter)
        self._update_image_rect(later)

    def _catch_up(self, area: QRect) -> Rect:
        """Take over labels that are to be painted; returns what must be painted after `area`.

        So many as there is time for: the next paint goes on, until all in view are taken over.
        """
        if self.label_layer.up_to_date:
            return Rect(0, 0, 0, 0)
        exposed, view = self._pixels_in(area), self.visible_rect()
        try:
            changed = self.label_layer.catch_up(view, exposed, CATCH_UP_SECONDS)
        except AnnotationError as error:
            # A forged project file: a tile holds something else than it said. It is not asked again
            # for this plane; nothing must be told, nor raised, in the middle of painting.
            QTimer.singleShot(0, self, partial(self.plane_incomplete.emit, str(error)))
            changed = Rect(0, 0, 0, 0)
        seen = changed.intersect(exposed) == changed
        behind = self.label_layer.behind(view)
        # What has changed may lie outside the view, where repainting brings no next paint.
        return behind if seen else changed.union(behind)

    def _paint_cursor(self, painter: QPainter) -> None:
        """For subclasses: what belongs above everything else."""

    def _paint_layers(self, painter: QPainter, area: QRect) -> None:
        """Image, prediction, labels, bottom to top."""
        if self._standing_still:
            self._paint_still(painter)
            return
        painter.save()
        exposed = self._look_through(painter, area)
        self._paint_image(painter, exposed)
        self.prediction_layer.paint(painter, exposed)
        self.label_layer.paint(painter, exposed)
        painter.restore()

    def _paint_still(self, painter: QPainter) -> None:
        layer = self.prediction_layer

        def below(painter: QPainter) -> None:
            painter.fillRect(self.rect(), BACKGROUND)
            self._paint_image(painter, self._look_through(painter, self.rect()))

        def values(number: int, painter: QPainter) -> None:
            layer.paint_values(painter, self._look_through(painter, self.rect()), number)

        def above(painter: QPainter) -> None:
            self.label_layer.paint(painter, self._look_through(painter, self.rect()))

        tables = layer.tables
        if self._still is None:
            self._still = StillPicture(
                self.size(),
                self.devicePixelRatioF(),
                below,
                [partial(values, number) for number in range(len(tables))],
                above if self.label_layer.visible and self.label_layer.blocks else None,
            )
        self._still.paint(painter, tables)

    def _paint_image(self, painter: QPainter, exposed: Rect) -> None:
        self.image_layer.paint(painter, exposed, self.camera.zoom * self.devicePixelRatioF())

    def _look_through(self, painter: QPainter, area: QRect) -> Rect:
        """Make the image pixel the painter's unit; returns which of them `area` shows."""
        zoom, corner = self.camera.zoom, self.camera.corner
        painter.setTransform(QTransform(zoom, 0, 0, zoom, corner.x, corner.y))
        # So that every pixel of the screen is one of the image.
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
        return self._pixels_in(area)

    def _pixels_in(self, area: QRect) -> Rect:
        """What of the image `area` of the widget shows, wholly or in part."""
        top, left = self.camera.to_image(area.top(), area.left())
        bottom, right = self.camera.to_image(area.bottom() + 1, area.right() + 1)
        y, x = math.floor(top), math.floor(left)
        return Rect(y, x, math.ceil(bottom) - y, math.ceil(right) - x)

    def _loading_message(self) -> str:
        late = not self.paintable and not self._loading_timer.isActive()
        return LOADING_HINT if late else ""

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._measure()

    def showEvent(self, event: QShowEvent) -> None:
        self._measure()

    def _measure(self) -> None:
        self.camera.set_widget(self.height(), self.width(), self.devicePixelRatioF())
        self._on_view_moved()
