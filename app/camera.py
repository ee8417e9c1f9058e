"""Where the image lies in the widget: pan, zoom and their limits. Numbers only, no widget.

Widget coordinates are Qt's logical pixels, image coordinates are pixels of the plane; both have
y first here and pixel centres at +0.5.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from unet_core.tiling import Rect

MAX_ZOOM = 64.0
"""Logical screen pixels per image pixel at most."""

FIT_MARGIN = 0.98
"""Part of the widget that a fitted image fills."""

VISIBLE_MARGIN = 64
"""Panning keeps at least this many logical pixels of the image in the widget, if it has them."""


class Point(NamedTuple):
    y: float
    x: float


class Camera:
    """The mapping between image and widget: one zoom factor and one offset.

    Two roundings make the picture exact. Qt samples a scaled image with steps in units of 1/65536
    image pixel, so the zoom is kept at values whose step is a whole number of these (a change of
    0.1 % at most); else the error sums up to whole screen pixels along a line. And the image's
    corner is shown at a whole device pixel, so that at 1:1 pixels are copied and not resampled.
    """

    def __init__(self) -> None:
        self.zoom = 1.0
        """Logical screen pixels per image pixel."""
        self.fitted = True
        """Whether the image is shown whole and shall stay so when the widget's size changes."""
        self._height, self._width = 0, 0
        self._widget_height, self._widget_width = 1.0, 1.0
        self.ratio = 1.0
        """Device pixels per logical one."""
        # Corner of the image in the widget, not rounded: zooming out and in again must not drift.
        self._corner = Point(0.0, 0.0)
        self.corner = Point(0.0, 0.0)
        """Where the image's top left corner is shown, in the widget; a whole device pixel."""

    # --- what it looks at --------------------------------------------------------------------

    def set_image(self, height: int, width: int) -> None:
        """Look at an image of this size, whole."""
        self._height, self._width = height, width
        self.fit()

    def set_widget(self, height: float, width: float, ratio: float) -> None:
        """Look through a widget of this logical size; `ratio` is device pixels per logical one.

        A fitted image stays fitted, else the middle of the picture stays in the middle.
        """
        centre = self.centre
        self._widget_height, self._widget_width = max(height, 1.0), max(width, 1.0)
        self.ratio = ratio
        if self.fitted:
            self.fit()
        else:
            self.look_at(centre, self.zoom)

    @property
    def empty(self) -> bool:
        return self._height == 0 or self._width == 0

    # --- mapping -----------------------------------------------------------------------------

    @property
    def centre(self) -> Point:
        """The image point in the middle of the widget."""
        return Point(
            (self._widget_height / 2 - self._corner.y) / self.zoom,
            (self._widget_width / 2 - self._corner.x) / self.zoom,
        )

    def to_image(self, y: float, x: float) -> Point:
        """The image point shown at widget point `(y, x)`."""
        corner = self.corner
        return Point((y - corner.y) / self.zoom, (x - corner.x) / self.zoom)

    def to_widget(self, y: float, x: float) -> Point:
        """The widget point that shows image point `(y, x)`."""
        corner = self.corner
        return Point(y * self.zoom + corner.y, x * self.zoom + corner.x)

    def under_cursor(self, y: float, x: float) -> Point:
        """The image point under a cursor at `(y, x)`: at the centre of the device pixel there.

        A mouse at x stands for the whole device pixel that begins at x, and what that pixel shows
        is the image at its centre.
        """
        return self.to_image(
            (math.floor(y * self.ratio + 1e-6) + 0.5) / self.ratio,
            (math.floor(x * self.ratio + 1e-6) + 0.5) / self.ratio,
        )

    def cursor_for(self, y: int, x: int) -> tuple[int, int]:
        """The whole widget position `(y, x)` whose `under_cursor` is nearest to a pixel's centre.

        At 1:1 and closer it lies in that pixel (at fractional ratios from 1.6 : 1 on: there,
        whole logical positions do not reach every device pixel).
        """
        where = self.to_widget(y + 0.5, x + 0.5)
        rows = range(math.floor(where.y) - 1, math.floor(where.y) + 2)
        columns = range(math.floor(where.x) - 1, math.floor(where.x) + 2)
        return (
            min(rows, key=lambda row: abs(self.under_cursor(row, 0).y - (y + 0.5))),
            min(columns, key=lambda column: abs(self.under_cursor(0, column).x - (x + 0.5))),
        )

    def visible(self) -> Rect:
        """The image pixels that can be seen, wholly or in part; empty without an image."""
        top, left = self.to_image(0, 0)
        bottom, right = self.to_image(self._widget_height, self._widget_width)
        y, x = math.floor(top), math.floor(left)
        shown = Rect(y, x, math.ceil(bottom) - y, math.ceil(right) - x)
        return shown.intersect(Rect(0, 0, self._height, self._width))

    # --- movement ----------------------------------------------------------------------------

    @property
    def fit_zoom(self) -> float:
        """The zoom at which the whole image is seen."""
        if self.empty:
            return 1.0
        return FIT_MARGIN * min(
            self._widget_height / self._height, self._widget_width / self._width
        )

    def fit(self) -> None:
        """Show the whole image, as large as it goes."""
        self.look_at(Point(self._height / 2, self._width / 2), self.fit_zoom)
        self.fitted = True

    def look_at(self, centre: Point, zoom: float) -> None:
        """Show image point `centre` in the middle of the widget."""
        self._set_zoom(zoom)
        self._move_corner(
            self._widget_height / 2 - centre.y * self.zoom,
            self._widget_width / 2 - centre.x * self.zoom,
        )
        self.fitted = False

    def zoom_at(self, factor: float, y: float, x: float) -> None:
        """Multiply the zoom; the image point at widget point `(y, x)` stays where it is."""
        before = self.zoom
        image_y, image_x = (y - self._corner.y) / before, (x - self._corner.x) / before
        self._set_zoom(before * factor)
        if self.zoom == before:
            return
        self._move_corner(y - image_y * self.zoom, x - image_x * self.zoom)
        self.fitted = False

    def pan(self, dy: float, dx: float) -> None:
        """Move the image by logical pixels of the widget."""
        self._move_corner(self._corner.y + dy, self._corner.x + dx)
        self.fitted = False

    def _set_zoom(self, zoom: float) -> None:
        smallest = min(self.fit_zoom / 2, 1.0)
        device_zoom = min(max(zoom, smallest), MAX_ZOOM) * self.ratio
        steps = max(1, round(65536 / device_zoom))
        # Qt inverts the zoom and cuts off the fraction: stay a trace above the whole number. But at
        # 1:1 nothing is resampled, if it is exactly 1:1: copying takes a fraction of the time.
        self.zoom = 65536 / (steps + 0.001 if steps != 65536 else steps) / self.ratio

    def _move_corner(self, y: float, x: float) -> None:
        self._corner = Point(
            _keep_in_sight(y, self._height * self.zoom, self._widget_height),
            _keep_in_sight(x, self._width * self.zoom, self._widget_width),
        )
        self.corner = Point(
            round(self._corner.y * self.ratio) / self.ratio,
            round(self._corner.x * self.ratio) / self.ratio,
        )


def _keep_in_sight(corner: float, extent: float, widget: float) -> float:
    """Limit the image's `corner` along one axis so that part of the image stays in the widget."""
    margin = min(VISIBLE_MARGIN, extent, widget / 2)
    return min(max(corner, margin - extent), widget - margin)
