"""From a path to something to show: away from the GUI thread, and without touching the document."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unet_core.intensity import intensity_range
from unet_core.project import SUFFIX, Project
from unet_core.stack import Stack, open_stack

if TYPE_CHECKING:
    from unet_core.model import Model


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


@dataclass(frozen=True)
class MissingImage:
    """A project whose image is not where it was."""

    project: Path
    image: Path | None


def is_project(path: Path) -> bool:
    """Whether the name of `path` is that of a Limn project."""
    return path.suffix.lower() == SUFFIX


def opening(path: Path, image: Path | None = None) -> Generator[None, None, Opened | MissingImage]:
    """Read what is needed to show the image or project at `path`; steps of unequal length.

    image: where the project's image is now, if not where the project says. Raises StackError,
    ProjectError, ModelError or OpeningError, each with one sentence.
    """
    yield
    if not is_project(path):
        stack = open_stack(path)
        yield
        return Opened(stack, _ranges(stack))
    with Project.open(path) as project:
        known = project.image
        shape = project.shape
        weights = project.latest_model()
    yield
    place = image or (known.path if known is not None else None)
    if place is None or not place.is_file():
        return MissingImage(path, place)
    stack = open_stack(place)
    yield
    times, depths, _, height, width = stack.shape
    if (times, depths, height, width) != tuple(shape):
        stack.close()
        raise OpeningError(
            f"{place.name} is not the image of {path.name}: that one has (T, Z, Y, X) = "
            f"{tuple(shape)}, this one {(times, depths, height, width)}; choose another image."
        )
    warning = ""
    if known is not None and known.fingerprint != stack.fingerprint():
        warning = (
            f"{place.name} has changed since {path.name} was saved; check that the labels fit."
        )
    model = None
    if weights is not None:
        # Here, not above: only a project with a model needs torch before it can be shown.
        from unet_core.model import Model

        yield
        model = Model.from_bytes(weights, path.name)
    yield
    return Opened(stack, _ranges(stack), path, model, warning)


def _ranges(stack: Stack) -> NDArray[np.float32]:
    try:
        return intensity_range(stack)
    except Exception:
        stack.close()
        raise
