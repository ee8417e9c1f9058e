"""What the other images of the project teach: their labels, with the pixels around them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.document import OtherImage
from unet_core.annotation import Annotation
from unet_core.image_reference import ImageReference, find_image
from unet_core.intensity import intensity_range
from unet_core.project import FIRST_IMAGE
from unet_core.stack import StackError, open_stack

if TYPE_CHECKING:
    from unet_core.patches import TrainingSet


class LabelledImages:
    """Reads the labelled parts of the images that are not on show, each once.

    `set_others` is called in the GUI thread, `joined` in the job's.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._image = FIRST_IMAGE
        self._others: dict[int, OtherImage] = {}
        self._folder = Path()
        # Of each image, the labels that were read, and what they teach.
        self._read: dict[int, tuple[Annotation, int, TrainingSet | None]] = {}

    def set_others(self, image: int, others: Mapping[int, OtherImage], folder: Path) -> None:
        """`image` is on show, these are the others, by their numbers; `folder` is the project's."""
        with self._lock:
            self._image, self._others, self._folder = image, dict(others), folder

    def joined(self, own: TrainingSet, highest: int = 255) -> Generator[None, None, TrainingSet]:
        """Step by step, all that is labelled, in the order of images; `own` is what is on show.

        Labels above the value `highest` count as unlabelled. An image that can not be read is left
        out, and the user is told.
        """
        from unet_core.patches import TrainingSet

        with self._lock:
            image, others, folder = self._image, dict(self._others), self._folder
        self._read = {n: read for n, read in self._read.items() if n in others}
        parts: dict[int, TrainingSet] = {image: own}
        for number, other in others.items():
            if not other.annotation.counts() or other.reference is None:
                continue
            read = self._read.get(number)
            if read is None or read[0] is not other.annotation or read[1] != highest:
                part = self._of(other, other.reference, folder, highest)
                self._read[number] = read = (other.annotation, highest, part)
                yield
            if read[2] is not None:
                parts[number] = read[2]
        return own if len(parts) == 1 else TrainingSet.joined([parts[n] for n in sorted(parts)])

    def _of(
        self, other: OtherImage, reference: ImageReference, folder: Path, highest: int
    ) -> TrainingSet | None:
        from unet_core.patches import TrainingSet

        labels = other.annotation
        try:
            place = find_image(reference, folder, chosen=other.chosen)
            if place is None:
                raise StackError(f"{reference.path.name} was not found.")
            with open_stack(place, reference.reading) as stack:
                there = (*stack.shape[:2], *stack.shape[3:])
                if there != tuple(labels.shape) or stack.shape[2] != reference.shape[2]:
                    raise StackError(f"{reference.path.name} has another size than its labels.")
                return TrainingSet.of(stack, labels, intensity_range(stack), highest)
        except StackError as error:
            self._say(f"Its labels do not take part in training: {error}")
            return None
