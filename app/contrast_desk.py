"""What the contrast panel and its keys do to the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PySide6.QtCore import QObject, Slot

from app.display import auto_contrast, first_displays
from app.document import Document
from app.loader import LoadedPlane
from app.panels.contrast import ContrastPanel
from app.viewport import Viewport


class ContrastDesk(QObject):
    """Between panel, document, and the plane on the screen, whose histograms Auto goes by."""

    def __init__(
        self, document: Document, viewport: Viewport, panel: ContrastPanel, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document = document
        self._viewport = viewport
        self._panel = panel

    @Slot()
    def another_image(self) -> None:
        stack = self._document.stack
        self._panel.set_channels(
            stack.channel_names if stack is not None else (),
            whole=stack is not None and stack.dtype.kind in "iub",
            is_rgb=stack is not None and stack.is_rgb,
        )
        self.show_displays()

    @Slot()
    def show_displays(self) -> None:
        self._panel.show_displays(self._document.displays)

    @Slot(object)
    def plane_measured(self, loaded: LoadedPlane) -> None:
        self._panel.show_histograms(loaded.histograms)

    @Slot()
    def auto_visible(self) -> None:
        """Show every visible channel of the plane on the screen well."""
        stack, displays = self._document.stack, self._document.displays
        if stack is not None and stack.is_rgb:
            self._auto([0])
        else:
            self._auto([c for c, display in enumerate(displays) if display.visible])

    @Slot(int)
    def auto(self, channel: int) -> None:
        self._auto([channel])

    def _auto(self, channels: Sequence[int]) -> None:
        shown, displays = self._viewport.shown, list(self._document.displays)
        if shown is None or not all(c < len(shown.histograms) for c in channels):
            return
        changed = auto_contrast(
            [displays[c] for c in channels], [shown.histograms[c] for c in channels]
        )
        for channel, display in zip(channels, changed, strict=True):
            displays[channel] = display
        self._document.set_displays(displays)

    @Slot(int)
    def reset(self, channel: int) -> None:
        """Show the channel as when the image was opened; hidden ones stay hidden."""
        document = self._document
        if document.stack is not None:
            first = first_displays(document.stack, document.ranges)[channel]
            visible = document.displays[channel].visible
            document.set_display(channel, replace(first, visible=visible))
