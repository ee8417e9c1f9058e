"""From a path to something to show: away from the GUI thread, and without touching the document."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.choosing import Choose, to_choose
from app.empty_picture import empty_picture
from unet_core.folders import images_inside
from unet_core.image_reference import check_image, find_image
from unet_core.intensity import intensity_range
from unet_core.limits import LimitError
from unet_core.project import (
    SUFFIX,
    ImageReference,
    Project,
    ProjectDamagedError,
    ProjectError,
    ProjectImage,
    ProjectLockedError,
    ProjectReadOnlyError,
)
from unet_core.reading import Reading
from unet_core.stack import IMAGE_SUFFIXES, Stack, StackError, open_stack
from unet_core.zarr_reader import image_folder

if TYPE_CHECKING:
    from app.document import OtherImage
    from unet_core.model import Model

IMAGE_PATTERNS = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
IMAGE_FILTER = f"Images ({IMAGE_PATTERNS});;All files (*)"
"""What dialogs that ask for images show."""

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
    reference: ImageReference | None = None
    """Which image it is, and where it was found; None of an empty picture."""


@dataclass(frozen=True)
class Refused:
    """A project, or an image, that can not be opened as usual, but in another way."""

    path: Path
    sentence: str
    why: Literal["locked", "unwritable", "damaged", "limit"]


def is_project(path: Path) -> bool:
    """Whether the name of `path` is that of a Limn project."""
    return path.suffix.lower() == SUFFIX


def shown_image(images: Sequence[ProjectImage], settings: Mapping[str, Any]) -> ProjectImage:
    """The image that was on show last, as the window's settings say; else the first."""
    shown = settings.get("image") if isinstance(settings, Mapping) else None
    return next((one for one in images if one.id == shown), images[0])


def opening(
    path: Path,
    image: Path | None = None,
    read_only: bool = False,
    reading: Reading | None = None,
    ask: Mapping[str, str] | None = None,
) -> Generator[None, None, Opened | Refused | ImageList | Choose]:
    """Read what is needed to show the image or project at `path`; steps of unequal length.

    A folder stands for the images in it.

    image: where the project's image is now, if not where the project says. reading: which image of
    the file, and its axes. ask: answer with a Choose where the user had better say that; the axes
    that are remembered for files of the same kind, see `choosing.to_choose`. Raises StackError,
    ProjectError, ModelError or OpeningError, each with one sentence.
    """
    yield
    if path.is_dir() and image_folder(path) is None and reading is None:
        return (yield from listing([path]))
    if not is_project(path):
        if ask is not None and reading is None:
            chosen = to_choose(path, ask)
            if isinstance(chosen, Choose):
                return chosen
            reading = chosen
        try:
            stack = open_stack(path, reading)
        except LimitError as error:
            return Refused(path, str(error), "limit")
        yield
        return Opened(stack, _ranges(stack), reference=ImageReference.of(stack))
    try:
        with _project(path, read_only) as project:
            shown = shown_image(project.images(), project.setting("window", {}))
            known, shape = shown.reference, shown.shape
            weights = project.latest_model()
    except ProjectError as error:
        refused = refusal(path, error, read_only)
        if refused is None:
            raise
        return refused
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


def showing(image: OtherImage, project: Path | None) -> Generator[None, None, Opened]:
    """Read another image of the project; an empty picture where it is not found.

    Raises StackError where it can not be read.
    """
    yield
    shape = image.annotation.shape
    return (yield from _known_image(project or Path(), image.reference, shape, image.chosen))


@dataclass(frozen=True)
class ImageList:
    """Several images to begin new work with; the first of them can be opened."""

    paths: tuple[Path, ...]


def listing(paths: Sequence[Path]) -> Generator[None, None, ImageList]:
    """The images that are meant, of a folder all in it; OpeningError where there are none.

    A damaged one must not keep all others from being opened.
    """
    yield
    files = image_files(paths)
    why = f"{paths[0].name} is a folder without images: choose another one."
    for number, path in enumerate(files):
        try:
            if not is_project(path):
                open_stack(path).close()
        except StackError as error:
            why = str(error)
        else:
            return ImageList((path, *files[:number], *files[number + 1 :]))
        yield
    raise OpeningError(why)


@dataclass(frozen=True)
class Found:
    """Images that can be added to a project."""

    images: tuple[tuple[Shape, ImageReference], ...]
    refused: tuple[str, ...]
    """Of each file that is none of them, one sentence."""


def adding(paths: Sequence[Path], channels: int | None) -> Generator[None, None, Found]:
    """Look at files that are to be added to a project, whose images have so many channels.

    A folder stands for the images in it.
    """
    yield
    images: list[tuple[Shape, ImageReference]] = []
    refused: list[str] = []
    for path in image_files(paths):
        try:
            with open_stack(path) as stack:
                t, z, c, y, x = stack.shape
                if channels not in (None, c):
                    raise OpeningError(
                        f"{path.name} has {c} channels, the images of this project {channels}."
                    )
                channels = c
                images.append(((t, z, y, x), ImageReference.of(stack)))
        except (StackError, OpeningError, OSError) as error:
            refused.append(str(error))
        yield
    return Found(tuple(images), tuple(refused))


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant: of a folder all images in it, 9 before 10."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir() and image_folder(path) is None:
            files += images_inside(path)
        else:
            files.append(path)
    return list(dict.fromkeys(files))


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


def refusal(path: Path, error: Exception, read_only: bool) -> Refused | None:
    """A project that can be opened in another way; None where it can not."""
    match error:
        case LimitError():
            return Refused(path, str(error), "limit")
        case ProjectDamagedError():
            return Refused(path, str(error), "damaged")
        case ProjectLockedError() if not read_only:
            return Refused(path, str(error), "locked")
        case ProjectReadOnlyError() if not read_only:
            return Refused(path, str(error), "unwritable")
    return None


def _chosen_image(
    place: Path, known: ImageReference | None, shape: Shape
) -> Generator[None, None, Opened]:
    """The image that the user says it is; OpeningError where that can not be."""
    stack = open_stack(place, known.reading if known is not None else None)
    yield
    if not _fits(stack, shape):
        there = (*stack.shape[:2], *stack.shape[3:])
        stack.close()
        raise OpeningError(
            f"{place.name} is not the image of this project: that one has (T, Z, Y, X) = "
            f"{tuple(shape)}, this one {there}; choose another image."
        )
    if known is not None and known.shape[2] != stack.shape[2]:
        channels = stack.shape[2]
        stack.close()
        raise OpeningError(
            f"{place.name} is not the image of this project: that one has {known.shape[2]} "
            f"channels, this one {channels}; choose another image."
        )
    warning = (known is not None and check_image(known, stack)) or ""
    yield
    return Opened(stack, _ranges(stack), warning=warning, reference=ImageReference.of(stack))


def _known_image(
    project: Path, known: ImageReference | None, shape: Shape, chosen: bool = False
) -> Generator[None, None, Opened]:
    """The image where the project says it is, or nearby; an empty picture where it is not.

    chosen: see `OtherImage`.
    """
    place = None if known is None else find_image(known, project.parent, chosen=chosen)
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
