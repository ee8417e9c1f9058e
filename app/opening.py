"""From a path to something to show: away from the GUI thread, and without touching the document."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from app.empty_picture import empty_picture
from unet_core.intensity import intensity_range
from unet_core.project import (
    SUFFIX,
    ImageReference,
    Project,
    ProjectError,
    ProjectLockedError,
    check_image,
    find_image,
)
from unet_core.stack import Stack, StackError, open_stack

if TYPE_CHECKING:
    from unet_core.model import Model

_MOST_CHANNELS = 8
"""An empty picture has no more, whatever a strange file claims."""

Shape = tuple[int, int, int, int]
"""(T, Z, Y, X) of labels."""


class OpeningError(ValueError):
    """Image and project do not fit; the message is one sentence for the user."""


@dataclass(frozen=True)
class Opened:
    """An image that can be shown. ranges: (C, 2) float32, shown as black and as bright."""

    stack: Stack
    ranges: NDArray[np.float32]
    project: Path | None = None
    """The project that it belongs to; None where the image was opened by itself."""
    model: Model | None = None
    """The newest model of the project."""
    warning: str = ""
    """One sentence for the user that does not hinder opening."""
    read_only: bool = False
    """Whether the project is only to be looked at."""
    missing: bool = False
    """Whether the stack is an empty picture: the image was not found."""


@dataclass(frozen=True)
class Refused:
    """A project that can not be opened as usual, but in another way."""

    project: Path
    sentence: str
    why: Literal["locked", "unwritable", "damaged"]


def is_project(path: Path) -> bool:
    """Whether the name of `path` is that of a Limn project."""
    return path.suffix.lower() == SUFFIX


def opening(
    path: Path, image: Path | None = None, read_only: bool = False
) -> Generator[None, None, Opened | Refused]:
    """Read what is needed to show the image or project at `path`; steps of unequal length.

    image: where the project's image is now, if not where the project says. Raises StackError,
    ProjectError, ModelError or OpeningError, each with one sentence.
    """
    yield
    if not is_project(path):
        stack = open_stack(path)
        yield
        return Opened(stack, _ranges(stack))
    try:
        with _project(path, read_only) as project:
            known = project.image
            shape = project.shape
            weights = project.latest_model()
    except ProjectError as error:
        why = _way_round(path, error)
        if why is None or read_only and why != "damaged":
            raise
        return Refused(path, str(error), why)
    yield
    if image is not None:
        picture = yield from _chosen_image(image, known, shape)
    else:
        picture = yield from _known_image(path, known, shape)
    yield
    warning, model = picture.warning, None
    if weights is not None:
        # Here, not above: only a project with a model needs torch before it can be shown.
        from unet_core.model import Model

        try:
            model = Model.from_bytes(weights, path.name)
        except ValueError as error:
            warning = warning or str(error)
    return replace(picture, project=path, model=model, warning=warning, read_only=read_only)


def locating(
    place: Path, known: ImageReference | None, shape: Shape, project: Path
) -> Generator[None, None, Opened]:
    """Find the image of a project that is open: `place` is the image, or a folder to look in.

    Raises OpeningError where it is not there, else as `opening`.
    """
    yield
    if place.is_dir():
        found = None if known is None else find_image(known, project.parent, [place])
        if found is None or known is None:
            name = known.path.name if known is not None else "the image"
            raise OpeningError(
                f"{name} was not found in {place}, nor two folders deep below it; choose another "
                "folder, or the file itself."
            )
        place = found
    yield
    return (yield from _chosen_image(place, known, shape))


def _project(path: Path, read_only: bool) -> Project:
    return Project.open(path, read_only=True) if read_only else Project.open(path)


def _way_round(
    path: Path, error: ProjectError
) -> Literal["locked", "unwritable", "damaged"] | None:
    if isinstance(error, ProjectLockedError):
        return "locked"
    if not path.is_file():
        return None
    if "is damaged" in str(error):
        return "damaged"
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return "unwritable"
    return "unwritable" if "can not be written" in str(error) else None


def _chosen_image(
    place: Path, known: ImageReference | None, shape: Shape
) -> Generator[None, None, Opened]:
    """The image that the user says it is; OpeningError where that can not be."""
    stack = open_stack(place)
    yield
    if not _fits(stack, shape):
        there = (*stack.shape[:2], *stack.shape[3:])
        stack.close()
        raise OpeningError(
            f"{place.name} is not the image of this project: that one has (T, Z, Y, X) = "
            f"{tuple(shape)}, this one {there}; choose another image."
        )
    warning = (known is not None and check_image(known, stack)) or ""
    yield
    return Opened(stack, _ranges(stack), warning=warning)


def _known_image(
    project: Path, known: ImageReference | None, shape: Shape
) -> Generator[None, None, Opened]:
    """The image where the project says it is, or nearby; an empty picture where it is not."""
    place = None if known is None else find_image(known, project.parent)
    yield
    if place is None:
        name = known.path.name if known is not None else "The image"
        return _no_image(project, known, shape, f"{name} of {project.name} was not found")
    try:
        return (yield from _chosen_image(place, known, shape))
    except (OpeningError, StackError) as error:  # another one lies in its place, or a ruin
        return _no_image(project, known, shape, str(error).rstrip("."))


def _no_image(project: Path, known: ImageReference | None, shape: Shape, reason: str) -> Opened:
    """With its labels a project opens always; its image can be looked for afterwards."""
    place = known.path if known is not None else project.with_suffix("")
    channels = min(max(known.shape[2], 1), _MOST_CHANNELS) if known is not None else 1
    stack = empty_picture(place, (*shape[:2], channels, *shape[2:]))
    ranges = np.tile(np.array([0, 1], np.float32), (channels, 1))
    warning = f"{reason}; the labels are shown on an empty picture."
    return Opened(stack, ranges, warning=warning, missing=True)


def _fits(stack: Stack, shape: Sequence[int]) -> bool:
    times, depths, _, height, width = stack.shape
    return (times, depths, height, width) == tuple(shape)


def _ranges(stack: Stack) -> NDArray[np.float32]:
    try:
        return intensity_range(stack)
    except Exception:
        stack.close()
        raise
