"""Masks that other programs made, as an annotation: label images, ImageJ's ROIs, GeoJSON.

Label images are those of Cellpose (`_cp_masks.tif`), StarDist, ilastik and Limn itself: 0 nothing,
1, 2, 3… the objects. All that a file brings becomes one edit, which one undo takes back.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_core.annotation import BACKGROUND, MAX_CLASSES, Annotation, AnnotationError
from unet_core.atomic import os_reason
from unet_core.edits import Edit, TileChange, bounding_box
from unet_core.export import ExportError, Progress, label_planes
from unet_core.geojson import read_geojson
from unet_core.labels import MAX_OBJECT, Labels, label
from unet_core.masks import compact
from unet_core.rois import read_rois
from unet_core.shapes import Shape, ShapeError
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

Part = tuple[PlaneIndex, Rect, Labels]

_STEP = 200
"""So many shapes are read between two looks at whether to go on."""


SAMPLE = 512
"""Most pixels of a sample's longer side."""


@dataclass(frozen=True)
class Sample:
    """A small look at what comes in on one plane."""

    plane: PlaneIndex
    labels: Labels
    """Every few pixels (Y, X): the labels that come in, 0 where nothing changes."""
    objects: int
    """How many objects come in on this plane, or classes."""


@dataclass(frozen=True)
class Imported:
    """What a file brings."""

    edit: Edit | None
    """Not applied yet; None where nothing changes."""
    objects: int
    skipped: int
    """Shapes without an area (points, lines), or on planes or places that the image has not."""
    planes: int = 0
    """On how many planes something changes."""
    covered: int = 0
    """Pixels that the masks have where something else is painted already."""
    sample: Sample | None = None
    """Of the plane that was asked for, or of the one on which most comes in."""


@dataclass
class _Numbers:
    """New numbers for the objects of a file: one that occurs twice stays one object."""

    following: int
    known: dict[str | int, int] = field(default_factory=dict)
    count: int = 0

    def of(self, key: str | int) -> int:
        """The number of the object that the file calls `key`; "" is a new one each time."""
        if key != "" and key in self.known:
            return self.known[key]
        number = self.following + self.count
        if number > MAX_OBJECT:
            raise AnnotationError(f"There is no room for more than {MAX_OBJECT} objects.")
        self.count += 1
        if key != "":
            self.known[key] = number
        return number


def importing(
    path: Path,
    like: Stack,
    annotation: Annotation,
    *,
    value: int = 2,
    values: Mapping[str, int] | None = None,
    labels_are: Literal["objects", "classes"] = "objects",
    plane: PlaneIndex = PlaneIndex(0, 0),  # noqa: B008  # a tuple, never changed
    background: bool = False,
    keep: bool = True,
) -> Generator[Progress, None, Imported]:
    """Read the masks in `path`, made for the image `like`, as one edit of `annotation`.

    Parameters
    ----------
    annotation
        The labels as they are, or a snapshot; it is not changed. Objects get numbers that none of
        its objects has had.
    value
        The class of all objects, 2 or more.
    values
        Class names and their values, for files that name classes. What is called background there
        becomes that, if it is not among them; all else gets `value`.
    labels_are
        "classes" for label images whose values are classes: 0 unlabelled, 1 background, 2…, as
        Limn's own and what ilastik calls a simple segmentation.
    plane
        Where shapes go that say no plane, of which ImageJ shows the same on all; the sample is of
        this one if it can be.
    background
        Also label all that is nothing in the file as background, on the planes where it has
        objects.
    keep
        What is painted already stays as it is; otherwise the masks lie on top.

    A generator of Progress that may run on a snapshot in a thread; closing it cancels. Files of any
    kind and size may come: raises ShapeError, ExportError, StackError or AnnotationError, each with
    one sentence, where they are damaged, absurd or do not fit.

    """
    if not BACKGROUND < value <= MAX_CLASSES:
        raise ValueError(f"{value} is no class that objects may have")
    if not all(BACKGROUND <= one <= MAX_CLASSES for one in (values or {}).values()):
        raise ValueError("there are values that are no classes")
    if path.name.casefold().endswith("_seg.npy"):
        raise ExportError(
            f"{path.name} is Cellpose's own file, and reading it could run a stranger's program: "
            "let Cellpose save the masks as TIFF or PNG."
        )
    numbers = _Numbers(annotation.next_object())
    counts = {"skipped": 0}
    found: Iterator[Progress | tuple[PlaneIndex, Labels]]
    kind = "labels" if path.is_dir() else kind_of(path)
    if kind == "labels":
        found = _from_labels(path, like, numbers, value, labels_are)
    else:
        shapes = read_geojson(path) if kind == "geojson" else read_rois(path, like)
        named = {"background": BACKGROUND}
        named |= {name.casefold(): one for name, one in (values or {}).items()}
        found = _from_shapes(shapes, like, numbers, value, named, plane, counts)
    changes: list[TileChange] = []
    sample: Sample | None = None
    planes = covered = 0
    try:
        for step in found:
            if isinstance(step, Progress):
                yield step
                continue
            before = annotation.read_labels(step[0])
            covered += int(((before > 0) & (step[1] > 0) & (before != step[1])).sum())
            part = _laid(*step, before, background, keep)
            if part is not None and (edit := annotation.planned("import", [part])):
                changes += edit.changes
                planes += 1
                seen = _sample(part, before)
                if sample is None or _better(seen, sample, plane):
                    sample = seen
    except OSError as error:
        raise ExportError(f"{path.name} cannot be read: {os_reason(error)}.") from error
    ready = Edit("import", tuple(changes), shape=annotation.shape).ready() if changes else None
    return Imported(ready, numbers.count, counts["skipped"], planes, covered, sample)


def made_by(path: Path) -> tuple[str, Literal["objects", "classes"]]:
    """What a file seems to be, in words, and what its values stand for; by its name and beginning.

    Raises ExportError where it cannot be read.
    """
    kind = "labels" if path.is_dir() else kind_of(path)
    if kind == "rois":
        return "ImageJ's ROIs", "objects"
    if kind == "geojson":
        return "GeoJSON, as of QuPath", "objects"
    name = path.stem.casefold().replace("-", " ").replace("_", " ")
    if name.endswith("simple segmentation"):
        return "a segmentation of ilastik", "classes"
    if name.endswith(("classes", "annotation", "ilastik labels")):
        return "an image of classes, as Limn writes it", "classes"
    if name.endswith("cp masks"):
        return "masks of Cellpose", "objects"
    if name.endswith(("object identities", "object predictions")):
        return "objects of ilastik", "objects"
    if path.absolute().parent.name.casefold() in ("masks", "labels"):
        return "a label image, as StarDist has them", "objects"
    return "a label image", "objects"


def kind_of(path: Path) -> str:
    """What a file holds, by its first bytes: "rois", "geojson" or "labels".

    Raises ExportError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ExportError(f"{path.name} cannot be read: {os_reason(error)}.") from error
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"Iout")):
        return "rois"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "geojson" if text.startswith((b"{", b"[")) else "labels"


def _from_labels(
    path: Path, like: Stack, numbers: _Numbers, value: int, labels_are: str
) -> Iterator[Progress | tuple[PlaneIndex, Labels]]:
    total = like.shape[0] * like.shape[1]
    for i, (plane, stored) in enumerate(label_planes(path, like)):
        if labels_are == "classes":
            if stored.max(initial=0) > MAX_CLASSES:
                raise ExportError(
                    f"{path.name} has values above {MAX_CLASSES}: these are objects, not classes."
                )
            yield plane, stored.astype(np.uint32) << np.uint32(24)
        elif stored.any():
            known, own = compact(stored)
            table = [0, *(label(value, numbers.of(number)) for number in known.tolist())]
            yield plane, np.array(table, np.uint32)[own]
        yield Progress(i + 1, total, "Reading masks")


def _from_shapes(
    shapes: Iterator[Shape | None],
    like: Stack,
    numbers: _Numbers,
    value: int,
    values: Mapping[str, int],
    default: PlaneIndex,
    counts: dict[str, int],
) -> Iterator[Progress | tuple[PlaneIndex, Labels]]:
    """Later shapes lie on top of earlier ones, and all on background.

    `values`: of class names in lower case.
    """

    def value_of(shape: Shape) -> int:
        return values.get(shape.class_name.casefold(), value)

    times, slices, _, height, width = like.shape
    by_plane: dict[PlaneIndex, list[Shape]] = {}
    total = 0
    for shape in shapes:
        place = default if shape is None or shape.plane is None else shape.plane
        total += 1
        if shape is None or not (0 <= place.t < times and 0 <= place.z < slices):
            counts["skipped"] += 1
        else:
            by_plane.setdefault(place, []).append(shape)
        if total % _STEP == 0:
            yield Progress(0, 1, "Reading shapes")
    done = 0
    for place in sorted(by_plane):
        labels = np.zeros((height, width), np.uint32)
        for shape in sorted(by_plane.pop(place), key=lambda one: value_of(one) != BACKGROUND):
            box, mask = shape.mask(Rect(0, 0, height, width))
            if mask.any():
                own = value_of(shape)
                number = 0 if own == BACKGROUND else numbers.of(shape.key)
                labels[box.slices][mask] = label(own, number)
            else:
                counts["skipped"] += 1
            done += 1
            if done % _STEP == 0:
                yield Progress(done, total, "Reading shapes")
        yield place, labels
    yield Progress(total, total, "Reading shapes")


def _sample(part: Part, before: Labels) -> Sample:
    plane, box, after = part
    changed = np.zeros_like(before)
    changed[box.slices] = np.where(after != before[box.slices], after, 0)
    step = -(-max(before.shape) // SAMPLE)
    count = len(compact(changed & np.uint32(MAX_OBJECT))[0]) or len(compact(changed >> 24)[0])
    return Sample(plane, changed[::step, ::step].copy(), count)


def _better(one: Sample, other: Sample, wanted: PlaneIndex) -> bool:
    if wanted in (one.plane, other.plane):
        return one.plane == wanted
    return one.objects > other.objects


def _laid(
    plane: PlaneIndex, found: Labels, before: Labels, background: bool, keep: bool
) -> Part | None:
    """The smallest rectangle of the plane that changes, and its new labels; None for nothing."""
    there: NDArray[np.bool_] = found > 0
    after = np.where(there & (before == 0) if keep else there, found, before)
    if background and there.any():
        after = np.where(after == 0, np.uint32(label(BACKGROUND)), after)
    box = bounding_box(after != before)
    return None if box.empty else (plane, box, after[box.slices])


__all__ = ["Imported", "Sample", "ShapeError", "importing", "kind_of", "made_by"]
