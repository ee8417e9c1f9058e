"""What is to be said and shown of unnamed work that an earlier session left. Needs no Qt."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.opening import shown_image
from unet_core.annotation import Annotation, ClassInfo, History
from unet_core.edits import bounding_box
from unet_core.image_reference import find_image
from unet_core.project import ImageReference, Project, ProjectError
from unet_core.recovery import RecoveredWork, recovery_dir, unfinished
from unet_core.stack import PlaneIndex, StackError, open_stack
from unet_core.tiling import Rect

SIDE = 160
"""Longer side of a picture, in pixels."""

_LEAST = 128  # so many image pixels are in a picture, at least, where the image has them
_MOST_PIXELS = 64_000_000  # a larger plane takes too long to read for a picture
_MOST_BYTES = 256 * 2**20
_MOST_OFFERS = 50


@dataclass(frozen=True)
class Offer:
    """Unnamed work, and what it holds. picture: (Y, X, 3) uint8, None where none can be made."""

    work: RecoveredWork
    classes: tuple[str, ...] = ()
    """Names of the classes that something is labelled with."""
    picture: NDArray[np.uint8] | None = None

    @property
    def sentence(self) -> str:
        """What it is, from when, and what it contains."""
        work = self.work
        contents = "; ".join(part for part in (strokes(work), ", ".join(self.classes)) if part)
        name = work.image_name or "an image"
        return f"Unsaved work on {name} from {when(work.modified)} ({contents})."


def offers() -> Generator[None, None, list[Offer]]:
    """Look through the recovery folder, newest first; one step for each piece of work."""
    yield
    found = []
    for work in unfinished()[:_MOST_OFFERS]:
        yield
        found.append(_described(work))
    return found


def _described(work: RecoveredWork) -> Offer:
    try:
        if work.path.stat().st_size > _MOST_BYTES:
            return Offer(work)
        with Project.open(work.path) as project:
            images = project.images()
            shown = shown_image(images, project.setting("window", {}))
            labelled = [one for one in images if one.labelled]
            chosen = shown if shown.labelled or not labelled else labelled[0]
            annotation, history = project.load(chosen.id)
            classes, image = project.classes, chosen.reference
    except (ProjectError, OSError):  # somebody else has just opened it, or it is damaged
        return Offer(work)
    used = [v for v in sorted(annotation.counts()) if 1 <= v <= len(classes)]
    names = tuple(classes[v - 1].name for v in used)
    return Offer(work, names, _picture(annotation, history, classes, image))


def _picture(
    annotation: Annotation,
    history: History,
    classes: Sequence[ClassInfo],
    image: ImageReference | None,
) -> NDArray[np.uint8] | None:
    """The surroundings of the labels on the plane that was worked on last."""
    planes = annotation.labelled_planes()
    if history.can_undo:
        planes = [p for p in history.step(history.position - 1).planes if p in planes] + planes
    if not planes:
        return None
    plane = planes[0]
    if annotation.plane_rect.height * annotation.plane_rect.width > _MOST_PIXELS:
        return None
    labels = annotation.read(plane)
    rect = _around(bounding_box(labels > 0), annotation.plane_rect)
    window = slice(rect.y, rect.bottom), slice(rect.x, rect.right)
    step = max(1, -(-max(rect.height, rect.width) // SIDE))
    ground = _ground(image, plane, annotation.shape, window, step)
    rows = np.arange(0, rect.height, step)
    cols = np.arange(0, rect.width, step)
    # The largest of each block: a thin stroke must not fall between two sampled pixels.
    small = np.maximum.reduceat(np.maximum.reduceat(labels[window], rows, 0), cols, 1)
    colors = np.zeros((256, 3), np.float32)
    for value, info in enumerate(classes, start=1):
        colors[value] = [int(info.color[i : i + 2], 16) for i in (1, 3, 5)]
    grey = np.full(small.shape, 48, np.float32) if ground is None else ground
    picture = np.repeat(grey[..., None], 3, axis=2)
    share = np.where(small > 0, np.float32(0.6), np.float32(0))[..., None]
    return np.asarray(picture * (1 - share) + colors[small] * share, np.uint8)


def _around(labelled: Rect, plane: Rect) -> Rect:
    """A square with some room around what is labelled, within the plane."""
    side = max(_LEAST, int(1.4 * max(labelled.height, labelled.width)))
    top = labelled.y + labelled.height // 2 - side // 2
    left = labelled.x + labelled.width // 2 - side // 2
    top = max(0, min(top, plane.height - side))
    left = max(0, min(left, plane.width - side))
    return Rect(top, left, side, side).intersect(plane)


def _ground(
    image: ImageReference | None,
    plane: PlaneIndex,
    shape: tuple[int, int, int, int],
    window: tuple[slice, slice],
    step: int,
) -> NDArray[np.float32] | None:
    """The image itself below the labels, 0 to 255; None where it is not there."""
    if image is None or (place := find_image(image, recovery_dir())) is None:
        return None
    try:
        with open_stack(place, image.reading) as stack:
            t, z, channels, y, x = stack.shape
            if (t, z, y, x) != tuple(shape) or channels * y * x > _MOST_PIXELS:
                return None
            part = stack.plane(*plane)[0][window][::step, ::step].astype(np.float32)
    except (StackError, OSError):
        return None
    dark, bright = np.nanpercentile(part, (1, 99.5)) if part.size else (0, 1)
    scaled = (part - dark) / max(float(bright - dark), 1e-6) * 255
    return np.asarray(np.clip(np.nan_to_num(scaled), 0, 255), np.float32)


def when(moment: float) -> str:
    """Return "today 17:30", "yesterday 09:05" or "2026-03-01 12:00" for a Unix time."""
    then, now = time.localtime(moment), time.localtime()
    clock = time.strftime("%H:%M", then)
    if then[:3] == now[:3]:
        return f"today {clock}"
    if then[:3] == time.localtime(time.time() - 86400)[:3]:
        return f"yesterday {clock}"
    return time.strftime("%Y-%m-%d %H:%M", then)


def strokes(work: RecoveredWork) -> str:
    """Return "1 stroke" or "8 strokes"."""
    return "1 stroke" if work.strokes == 1 else f"{work.strokes} strokes"
