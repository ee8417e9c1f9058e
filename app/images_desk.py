"""What the list of images shows, and what it does to the gallery."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot

from app.document import Document
from app.gallery import Entry, Gallery
from app.panels.images import ImageRow, ImagesPanel
from app.thumbnails import Thumbnails


class ImagesDesk(QObject):
    """Between gallery and panel, which is there by itself where there is more than one image."""

    finished = Signal()
    """After `shutdown`: no picture is being made any more."""

    def __init__(
        self, document: Document, gallery: Gallery, panel: ImagesPanel, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document = document
        self._gallery = gallery
        self._panel = panel
        self._several: bool | None = None  # not known yet
        self._rows: dict[int, tuple[Entry, ImageRow]] = {}
        self._thumbnails = Thumbnails(self)
        self._thumbnails.made.connect(panel.model.set_picture)
        self._thumbnails.finished.connect(self.finished)
        gallery.changed.connect(self.update)
        panel.image_chosen.connect(gallery.show)
        panel.reviewed_chosen.connect(self._review)
        panel.remove_requested.connect(self._remove)
        panel.visibilityChanged.connect(self._want_pictures)

    @Slot()
    def project_changed(self) -> None:
        """Other work altogether."""
        self._thumbnails.forget()
        self._panel.model.forget_pictures()
        self._several = None

    @Slot()
    def update(self) -> None:
        """Show what the gallery knows."""
        entries, known = self._gallery.entries, self._rows
        # Only what has changed is made anew: there may be thousands.
        self._rows = {
            e.id: known[e.id] if e.id in known and known[e.id][0] is e else (e, _row(e))
            for e in entries
        }
        self._panel.show_images([row for _, row in self._rows.values()], self._document.image)
        if entries and (len(entries) > 1) != self._several:
            # By itself only at such a moment: what the user shows or hides then stays so.
            self._several = len(entries) > 1
            self._panel.setVisible(self._several)
        self._want_pictures()

    @Slot()
    def _want_pictures(self) -> None:
        if self._panel.isVisible():
            chosen = frozenset(n for n, one in self._document.others.items() if one.chosen)
            self._thumbnails.want(
                {e.id: e.reference for e in self._gallery.entries if e.reference is not None},
                self._gallery.folder,
                chosen,
            )

    @Slot(bool)
    def _review(self, reviewed: bool) -> None:
        self._gallery.mark(self._document.image, "reviewed", reviewed)

    @Slot()
    def _remove(self) -> None:
        self._gallery.remove(self._document.image)

    def shutdown(self) -> bool:
        """Make no more pictures. True while one is being made; then `finished` will come."""
        return self._thumbnails.shutdown()


def _row(entry: Entry) -> ImageRow:
    marks = ("labelled", "predicted", "reviewed")
    return ImageRow(
        entry.id,
        entry.path.name,
        str(entry.path),
        tuple(mark for mark in marks if getattr(entry, mark)),
        entry.reviewed,
    )
