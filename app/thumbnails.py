"""Small pictures of the project's images, made in a thread, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QImage

from app.jobs import OneJob
from unet_core.choices import thumbnails
from unet_core.image_reference import ImageReference, may_be_touched
from unet_core.stack import StackError

SIDE = 96
"""Pixels of the longer side, for a list on a sharp screen."""


class Thumbnails(QObject):
    """Each image is looked at once; what can not be read has no picture."""

    made = Signal(int, QImage)
    """The number of an image, and its picture."""
    finished = Signal()
    """After `shutdown`: nothing is being read any more."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._seen: set[int] = set()
        self._wanted: dict[int, ImageReference] = {}
        self._work = OneJob(self)
        self._work.progressed.connect(self._take)
        self._work.finished.connect(self.finished)

    def want(
        self, references: Mapping[int, ImageReference], folder: Path, chosen: Collection[int]
    ) -> None:
        """Make pictures of these images, by their numbers, as far as there are none yet.

        folder: the project's; no other computer is asked for an image than its own, unless the
        image is one of the `chosen`, whose place the user has named.
        """
        wanted = {n: one for n, one in references.items() if n not in self._seen}
        if wanted.keys() != self._wanted.keys():
            self._wanted = wanted
            if wanted:
                taken = dict(wanted)  # the other one shrinks with each picture
                self._work.run(lambda: _pictures(taken, folder, chosen))

    def forget(self) -> None:
        """The images of another project come."""
        self._work.cancel()
        self._seen.clear()
        self._wanted = {}

    def shutdown(self) -> bool:
        """Make no more. True while one is being made; then `finished` will come."""
        return self._work.shutdown()

    @Slot(object)
    def _take(self, report: tuple[int, NDArray[np.uint8] | None]) -> None:
        number, picture = report
        if self._wanted.pop(number, None) is not None:
            self._seen.add(number)
            if picture is not None:
                self.made.emit(number, to_image(picture))


def _pictures(
    references: Mapping[int, ImageReference], folder: Path, chosen: Collection[int]
) -> Generator[tuple[int, NDArray[np.uint8] | None], None, None]:
    for number, reference in references.items():
        if number not in chosen and not may_be_touched(reference.path, folder):
            yield number, None
            continue
        try:
            picture = thumbnails(reference.path, reference.reading, SIDE)[0]
        except StackError:
            yield number, None
        else:
            yield number, picture


def to_image(picture: NDArray[np.uint8]) -> QImage:
    """A copy of `picture`, (Y, X) or (Y, X, 3), for the screen."""
    picture = np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    kind = QImage.Format.Format_Grayscale8 if picture.ndim == 2 else QImage.Format.Format_RGB888
    return QImage(picture.data, width, height, picture.strides[0], kind).copy()
