"""What is known of a pixel, in one number: its class and which object it belongs to.

A label is a uint32. Its highest 8 bits are the class: 0 unlabelled, 1 background, 2… the user's
classes. The other 24 are the object: 0 none, 1… a cell's own number. As one number is written at a
time, class and object can never contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint32]

MAX_OBJECT = 2**24 - 1
"""The largest object number."""


def label(value: int, number: int = 0) -> int:
    """The label of class `value` (0…255) and object `number` (0…`MAX_OBJECT`)."""
    if not 0 <= value <= 255:
        raise ValueError(f"a label value lies between 0 and 255, {value} does not")
    if not 0 <= number <= MAX_OBJECT:
        raise ValueError(f"an object number lies between 0 and {MAX_OBJECT}, {number} does not")
    return value << 24 | number


def class_of(one: int) -> int:
    """The class of a label."""
    return one >> 24


def object_of(one: int) -> int:
    """The object number of a label."""
    return one & MAX_OBJECT


def classes_of(labels: Labels) -> npt.NDArray[np.uint8]:
    """The classes of labels of any shape: uint8, perhaps a view of the same memory."""
    # The highest byte comes last; as a view it costs nothing.
    ordered = np.ascontiguousarray(labels).astype("<u4", copy=False)
    return ordered.view(np.uint8)[..., 3::4].reshape(labels.shape)


def objects_of(labels: Labels) -> npt.NDArray[np.uint32]:
    """The object numbers of labels of any shape."""
    return labels & np.uint32(MAX_OBJECT)


def tally(labels: Labels) -> dict[int, int]:
    """How often each label occurs in an array of any shape."""
    if not labels.size:
        return {}
    # What a brush paints over is mostly of one kind; finding that out is far faster.
    if (first := labels.item(0)) == labels.item(-1) and not np.count_nonzero(labels != first):
        return {first: labels.size}
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


class LabelCounts:
    """How many pixels and how many objects there are of each class, kept up to date."""

    def __init__(self) -> None:
        self._pixels: dict[int, int] = {}
        self._pixels_of_class = [0] * 256
        self._objects_of_class = [0] * 256
        self.highest_object = 0
        """The largest object number there has been, 0 if there was none."""

    def copy(self) -> LabelCounts:
        """The same counts, on their own from now on."""
        other = LabelCounts()
        other._pixels = dict(self._pixels)
        other._pixels_of_class = list(self._pixels_of_class)
        other._objects_of_class = list(self._objects_of_class)
        other.highest_object = self.highest_object
        return other

    def change(self, gained: Mapping[int, int], sign: int = 1) -> None:
        """Take in how many pixels each label has gained, or lost where `sign` is -1."""
        for one, pixels in gained.items():
            value = class_of(one)
            if value == 0 or pixels == 0:
                continue
            before = self._pixels.get(one, 0)
            after = before + sign * pixels
            if after:
                self._pixels[one] = after
            else:
                self._pixels.pop(one, None)
            self._pixels_of_class[value] += sign * pixels
            if number := object_of(one):
                self._objects_of_class[value] += (after > 0) - (before > 0)
                self.highest_object = max(self.highest_object, number)

    @property
    def pixels(self) -> dict[int, int]:
        """Labelled pixels of each class that occurs."""
        return _present(self._pixels_of_class)

    @property
    def objects(self) -> dict[int, int]:
        """Numbered objects of each class that has any."""
        return _present(self._objects_of_class)


def difference(gained: Mapping[int, int], lost: Mapping[int, int]) -> dict[int, int]:
    """`gained` less `lost`, without zeros."""
    total = dict(gained)
    for one, pixels in lost.items():
        total[one] = total.get(one, 0) - pixels
    return {one: pixels for one, pixels in total.items() if pixels}


def _present(counts: Iterable[int]) -> dict[int, int]:
    return {value: count for value, count in enumerate(counts) if count}
