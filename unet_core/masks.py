"""What an export is made of: the classes and objects of the planes that were asked for.

They come from the annotation, from a prediction, or from both, and every format writes the same
ones. Where both are given, what was painted lies on top: painted background takes away predicted
cells, painted cells without a number add to them, and a painted object replaces the predicted ones
that it covers at least half of, while the others lose the pixels that it has.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from unet_core.annotation import BACKGROUND, Annotation, ClassInfo
from unet_core.atomic import os_reason
from unet_core.export import ExportError, Extent, Progress, legible
from unet_core.labels import Labels, classes_of, objects_of
from unet_core.objects import ObjectNumbers, split_objects
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect
from unet_core.version import app_version

A = TypeVar("A")
PlaneOf = Callable[[int], A]
"""What plane i of an extent holds, as an array."""


@dataclass(frozen=True)
class PlaneObject:
    """An object as far as it lies in one plane."""

    number: int
    value: int
    """Its class, as in `labels`."""
    painted: bool
    """Painted by hand, not predicted."""
    box: Rect
    """The smallest rectangle around it."""
    mask: NDArray[np.bool_]
    """Its pixels in the rectangle."""


@dataclass(frozen=True)
class Masks:
    """The finished masks of an image, or of one plane of it; read plane by plane, again and again.

    `class_map(i)` and `object_map(i)` give plane i of the extent, (Y, X): classes as in `labels`
    (uint8, 0 unlabelled, 1 background), and object numbers (0 none), each within its object's
    class. `probabilities(i)` gives (classes, Y, X) float32, 0…1; None where nothing was predicted.
    """

    stack: Stack
    extent: Extent
    classes: tuple[ClassInfo, ...]
    """`classes[i]` has the value i + 1; the first one is background."""
    notes: Mapping[str, str]
    """Where the masks come from, for the file's metadata and `export_presets.methods_sentence`."""
    class_map: PlaneOf[NDArray[np.uint8]]
    object_map: PlaneOf[NDArray[Any]]
    probabilities: PlaneOf[NDArray[np.float32]] | None = None
    predicted: tuple[ClassInfo, ...] = ()
    """The classes of `probabilities`."""
    objects: int = 0
    """How many objects there are."""
    highest: int = 0
    """The largest object number."""
    painted: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, bool))
    """Which numbers, from 0 to the highest, are of objects painted by hand, not predicted."""
    planes: tuple[PlaneIndex, ...] = field(init=False)
    """The planes of the file, in order; `extent.in_image` gives those of the image."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "planes", tuple(self.extent.planes()))

    @property
    def object_type(self) -> np.dtype[Any]:
        """The smallest type that label images use for so many numbers: uint16 or uint32."""
        return np.dtype(np.uint16 if self.highest <= np.iinfo(np.uint16).max else np.uint32)

    def class_info(self, value: int) -> ClassInfo:
        """Name and colour of a class."""
        if value > len(self.classes):
            return ClassInfo(f"class {value}", "#009e73")
        return self.classes[value - 1]

    def objects_in(self, index: int) -> Iterator[PlaneObject]:
        """The objects of plane `index`, by number."""
        labels, classes = self.object_map(index), self.class_map(index)
        for number, box, mask in boxes(labels):
            value = int(np.bincount(classes[box.slices][mask]).argmax())
            yield PlaneObject(number, value, bool(self.painted[number]), box, mask)


def boxes(labels: NDArray[Any]) -> Iterator[tuple[int, Rect, NDArray[np.bool_]]]:
    """Each object of a plane (Y, X): its number, the rectangle around it, its pixels in there."""
    numbers, own = compact(labels)
    for index, (rows, columns) in enumerate(find_objects(own)):
        box = Rect(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        yield int(numbers[index]), box, own[rows, columns] == index + 1


def compact(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """The numbers that occur in an array, in order, and the array in terms of 1, 2, 3… instead."""
    highest = int(labels.max(initial=0))
    if highest > 8 * labels.size:  # no room for each number: sort all pixels
        zero = labels.dtype.type(0)  # a plain 0 would turn uint64 into floats
        known, place = np.unique(np.append(zero, labels), return_inverse=True)
        return known[1:], place[1:].reshape(labels.shape).astype(np.int32)
    there = np.zeros(highest + 1, bool)
    there[labels.ravel()] = True
    there[0] = False
    numbers = np.flatnonzero(there)
    return numbers, np.cumsum(there, dtype=np.int32)[labels] * (labels > 0)


def under_paint(
    painted: Labels,
    predicted: NDArray[np.uint8] | None,
    interior: NDArray[np.uint8] | None,
    smallest: int,
) -> NDArray[np.uint8]:
    """Classes (Y, X) of all that has no painted number: where objects are still to be found.

    `painted` are the labels of the annotation, `predicted` the classes of the prediction, None
    where there is none. Painted objects are background here, or unlabelled without a prediction.
    """
    values, numbers = classes_of(painted), objects_of(painted)
    nothing = np.uint8(0 if predicted is None else BACKGROUND)
    under = np.zeros_like(values) if predicted is None else predicted
    own = numbers > 0
    under = np.where((values > 0) & ~own, values, under)
    if not own.any():
        return under
    if predicted is not None:
        pieces = split_objects(under, interior, smallest)
        sizes = np.bincount(pieces.ravel())
        covered = np.bincount(pieces[own], minlength=len(sizes))
        gone = 2 * covered >= sizes
        gone[0] = False
        # What was painted without a number stays, whatever lies on the rest of its piece.
        under[gone[pieces] & (values == 0)] = nothing
    under[own] = nothing
    return under


def on_top(painted: Labels, under: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The finished classes (Y, X): the painted objects on what `under_paint` left."""
    return np.where(objects_of(painted) > 0, classes_of(painted), under)


def finding(
    stack: Stack,
    extent: Extent,
    classes: tuple[ClassInfo, ...],
    folder: Path,
    spools: ExitStack,
    *,
    notes: Mapping[str, str] | None = None,
    predicted: PlaneOf[NDArray[np.uint8]] | None = None,
    interior: PlaneOf[NDArray[np.uint8]] | None = None,
    probabilities: PlaneOf[NDArray[np.float32]] | None = None,
    predicted_classes: tuple[ClassInfo, ...] = (),
    annotation: Annotation | None = None,
    min_size: int = 0,
    objects: bool = True,
) -> Generator[Progress, None, Masks]:
    """Put prediction and annotation together, and find and number the objects if `objects`.

    predicted     classes of plane i of the extent, None to export the annotation alone
    probabilities, predicted_classes
                  to be passed on
    interior      the network's interior, uint8, where it has one, see `objects.split_objects`
    annotation    a snapshot; None to export the prediction alone
    folder        where files lie that hold intermediate planes until `spools` is closed
    min_size      found objects of fewer pixels are left out (voxels where they span planes);
                  those that were painted with a number never, nor is anything without a prediction
    """
    classes, predicted_classes = _legible(classes), _legible(predicted_classes)
    images = [extent.in_image(plane) for plane in extent.planes()]
    shape = (len(images), *extent.shape[3:])
    # A ball of N voxels has about N^⅔ pixels in a plane: what is cut off there must not be less.
    smallest = min_size if extent.shape[1] == 1 else round(min_size ** (2 / 3))
    painted: PlaneOf[Labels] | None = None
    if annotation is None:
        assert predicted is not None
        under = class_map = predicted
        source = "prediction"
    else:
        read = annotation.read_labels
        below = spools.enter_context(spool(folder, shape, np.uint8))
        for i, plane in enumerate(images):
            below[i] = under_paint(
                read(plane),
                None if predicted is None else predicted(i),
                None if interior is None else interior(i),
                smallest,
            )
            yield Progress(i + 1, len(images), "Laying the annotation on top")

        def painted(i: int) -> Labels:
            return read(images[i])

        def under(i: int) -> NDArray[np.uint8]:
            return below[i]

        def class_map(i: int) -> NDArray[np.uint8]:
            return on_top(read(images[i]), below[i])

        source = "annotation" if predicted is None else "prediction under annotation"
    notes = {
        "program": f"Limn {app_version()}",
        **(notes or {}),
        "classes": ", ".join(f"{i + 1} = {c.name}" for i, c in enumerate(classes)),
        "source": source,
        "image": extent.name,
    }
    if len(images) < stack.shape[0] * stack.shape[1]:
        notes["plane"] = f"t {images[0].t}, z {images[0].z}"  # counted from 0
    masks = Masks(stack, extent, classes, notes, class_map, _none, probabilities, predicted_classes)
    if not objects:
        return masks
    pieces = spools.enter_context(spool(folder, shape, np.int32))
    if predicted is None:
        return (yield from _numbered(masks, pieces, under, None, painted, 0, 0))
    notes["min_size_px"] = str(min_size)
    return (yield from _numbered(masks, pieces, under, interior, painted, smallest, min_size))


def _legible(classes: tuple[ClassInfo, ...]) -> tuple[ClassInfo, ...]:
    return tuple(replace(info, name=legible(info.name)) for info in classes)


def _numbered(
    masks: Masks,
    pieces: Spool,
    under: PlaneOf[NDArray[np.uint8]],
    interior: PlaneOf[NDArray[np.uint8]] | None,
    painted: PlaneOf[Labels] | None,
    smallest: int,
    min_size: int,
) -> Generator[Progress, None, Masks]:
    """`masks` with its objects: the painted numbers, and after them those found in `under`.

    `pieces` is room for the objects of each plane by itself, (planes, Y, X).
    """
    numbers = ObjectNumbers(cut=interior is not None)
    own: set[int] = set()
    by_hand: list[NDArray[np.int64]] = []  # of each object of a plane: painted pixels less others
    for i, plane in enumerate(masks.planes):
        classes = under(i)
        found = split_objects(classes, None if interior is None else interior(i), smallest)
        numbers.add(plane, found, classes)
        pieces[i] = found
        if painted is not None:
            labels = painted(i)
            own.update(compact(objects_of(labels))[0].tolist())
            balance = np.bincount(found[classes_of(labels) > 0], minlength=int(found.max()) + 1)
            by_hand.append(2 * balance - np.bincount(found.ravel()))
        yield Progress(i + 1, len(masks.planes), "Finding objects")
    count = numbers.finish(min_size)
    after = max(own, default=0)
    hand = np.zeros(after + count + 1, bool)
    hand[sorted(own)] = True
    if painted is not None:
        hand[after + 1 :] = _by_hand(numbers, by_hand, count)

    def object_map(i: int) -> NDArray[Any]:
        final = numbers.number_of(i, pieces[i]).astype(np.uint32)
        if painted is None:
            return final
        final[final > 0] += np.uint32(after)
        drawn = objects_of(painted(i))
        return np.where(drawn > 0, drawn, final)

    return replace(
        masks,
        notes={**masks.notes, "objects": str(len(own) + count)},
        object_map=object_map,
        objects=len(own) + count,
        highest=after + count,
        painted=hand,
    )


def _by_hand(
    numbers: ObjectNumbers, balances: list[NDArray[np.int64]], count: int
) -> NDArray[np.bool_]:
    """Which of `count` found objects are painted rather than predicted: at least half of them.

    `balances`: of each plane's own objects, the painted pixels less all others.
    """
    total = np.zeros(count + 1, np.int64)
    for i, balance in enumerate(balances):
        known = np.arange(len(balance), dtype=np.int32)
        np.add.at(total, numbers.number_of(i, known), balance)
    painted: NDArray[np.bool_] = total[1:] >= 0
    return painted


def _none(index: int) -> NDArray[Any]:
    raise ValueError("no objects were asked for")


class Spool:
    """An array on disk, used plane by plane: `spool[i]` is plane i, and what is set there is kept.

    Only the planes that somebody holds are mapped into memory: of a map of the whole file every
    page that was ever touched would count as ours.
    """

    def __init__(self, file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file, self._shape, self._dtype = file, shape, dtype

    def __getitem__(self, index: int) -> np.memmap[Any, Any]:
        size = int(np.prod(self._shape, dtype=np.int64)) * self._dtype.itemsize
        return np.memmap(self._file, self._dtype, "r+", index * size, self._shape)

    def __setitem__(self, index: int, values: NDArray[Any]) -> None:
        self[index][...] = values


@contextmanager
def spool(folder: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> Iterator[Spool]:
    """Room for `shape[0]` planes on disk, 0 everywhere; gone when the block ends, or the process.

    Raises ExportError where nothing can be written to `folder`.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            if hasattr(os, "posix_fallocate"):  # a mapped page on a full disk would kill us
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            yield Spool(file, shape[1:], np.dtype(dtype))
    except OSError as error:
        raise ExportError(
            f"Nothing can be written to {folder}: {os_reason(error)}; choose another folder."
        ) from error
