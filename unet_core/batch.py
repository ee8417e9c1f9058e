"""Many images, one after the other: what `limn predict` and the window's “Apply to folder” do.

One function for both, so that they cannot differ. An image that fails does not keep the others from
being done, and images whose files are all there can be skipped, which is how an interrupted night
goes on.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unet_core.export import DEFAULT_MIN_SIZE, ExportError, Progress, make_folder, mask_path
from unet_core.export_presets import PRESETS, preset, write_presets
from unet_core.folders import images_inside, natural
from unet_core.intensity import intensity_range
from unet_core.openers import which_series
from unet_core.reading import Reading
from unet_core.stack import FOLDER_SUFFIXES, open_stack

if TYPE_CHECKING:
    import torch

    from unet_core.annotation import Annotation, ClassInfo
    from unet_core.model import Model


@dataclass(frozen=True)
class Task:
    """An image, and what is to be written where, by preset."""

    image: Path
    targets: Mapping[str, Path]
    annotation: Annotation | None = None
    """What was painted on it: lies on top of the prediction, or is all there is without a model."""
    reading: Reading | None = None
    """How it is read, where that differs from image to image."""

    @property
    def is_done(self) -> bool:
        """Whether all its files are there."""
        return all(path.exists() for path in self.targets.values())


@dataclass(frozen=True)
class Outcome:
    """What has become of a task."""

    task: Task
    objects: int | None = None
    """How many there are, None where nobody asked."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Where the masks come from, see `export_presets.methods_sentence`."""
    skipped: bool = False
    error: str = ""
    """Why it failed, in one sentence."""


@dataclass(frozen=True)
class BatchProgress:
    """How far many images are."""

    number: int
    """Which image this is, from 1."""
    count: int
    image: Path
    progress: Progress
    """Of this image."""
    share: float
    """How much of all is done, 0…1."""
    seconds_left: float | None
    """Until all are done, by the time that those before it took; None in the beginning."""


def plan(paths: Iterable[Path], presets: Sequence[str], out: Path) -> list[Task]:
    """The images that are meant and what they give, before any work is done.

    A folder means all images in it, a pattern all that match, in the order of their numbers; what
    Limn itself wrote for another one of them is no image. Raises ExportError where there are none,
    where two of them would give the same files, and where a result would replace an image.
    """
    kinds = [preset(name) for name in presets]
    images = images_in(paths, out)
    stems = [image.stem for image in images]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ExportError(f"Two images are called {twice}: predict them into different folders.")
    tasks = [Task(image, {k.id: k.path_for(image, out) for k in kinds}) for image in images]
    inputs = {image.resolve() for image in images}
    for path in (path for task in tasks for path in task.targets.values()):
        if path.resolve() in inputs:
            raise ExportError(f"{path} is an image to predict: write into another folder.")
    return tasks


def predict_all(
    tasks: Sequence[Task],
    model: Model | None,
    device: torch.device | None,
    *,
    classes: tuple[ClassInfo, ...] = (),
    adapt: bool = False,
    threshold: float = 0.5,
    min_size: int = DEFAULT_MIN_SIZE,
    resume: bool = False,
    explain: Callable[[Exception], str | None] = lambda error: None,
    say: Callable[[str], None] = lambda sentence: None,
    reading: Reading = Reading(),  # noqa: B008  # it is frozen
) -> Generator[BatchProgress, None, list[Outcome]]:
    """Predict all images and write their files, replacing what is there.

    Parameters
    ----------
    model, device
        None where only what was painted is written; an image without labels then fails.
    classes
        The names and colours of the label values, background first; the model's if not given.
    adapt
        Whether the model is to be made to fit each image's channels; else an image with other
        channels fails.
    threshold, min_size, say
        As for `segment`.
    resume
        Whether images whose files are all there are skipped.
    reading
        Which image of each file, and what its axes are.
    explain
        Says an error in one sentence; what it says nothing about is a mistake of ours and raised.

    A generator; closing it cancels: the present image leaves nothing behind, those before it stay.

    """
    outcomes: list[Outcome] = []
    clock = _Clock([0 if resume and task.is_done else _weight(task.image) for task in tasks])
    for number, task in enumerate(tasks, 1):
        if resume and task.is_done:
            outcomes.append(Outcome(task, skipped=True))
            continue
        yield clock.report(number, task.image, Progress(0, 1, "Opening"))
        try:
            for folder in {path.parent for path in task.targets.values()}:
                make_folder(folder)
            own = task.reading or reading
            with open_stack(task.image, own) as stack:
                if told := which_series(stack, own):
                    say(told)
                steps = write_presets(
                    task.targets,
                    stack,
                    annotation=task.annotation,
                    classes=classes,
                    model=model.adapted(stack.shape[2]) if adapt and model else model,
                    ranges=intensity_range(stack),
                    device=device,
                    threshold=threshold,
                    min_size=min_size,
                    overwrite=True,
                    say=say,
                )
                while True:
                    try:
                        progress = next(steps)
                    except StopIteration as end:
                        outcomes.append(Outcome(task, end.value.objects, end.value.notes))
                        break
                    yield clock.report(number, task.image, progress)
        except Exception as error:
            sentence = explain(error)
            if sentence is None:
                raise
            outcomes.append(Outcome(task, error=sentence))
    return outcomes


def images_in(paths: Iterable[Path], out: Path) -> list[Path]:
    """The images that `paths` mean, see `plan`; masks go to `out`."""
    images: list[Path] = []
    for path in paths:
        if path.is_dir() and path.suffix.lower() not in FOLDER_SUFFIXES:
            found = images_inside(path)
            nothing = f"{path} is a folder without images: choose an image, or another folder."
        elif not path.exists() and glob.has_magic(str(path)):
            # Path.glob takes no absolute pattern.
            found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
            nothing = f"{path} matches no file."
        else:
            images.append(path)
            continue
        found = [p for p in found if p.is_file() or p.suffix.lower() in FOLDER_SUFFIXES]
        written = {one.resolve() for image in found for one in _masks_of(image, out)}
        found = [p for p in found if p.resolve() not in written]
        if not found:
            raise ExportError(nothing)
        images += sorted(found, key=lambda image: natural(str(image)))
    return list(dict.fromkeys(images))


def _masks_of(image: Path, out: Path) -> list[Path]:
    """What Limn may have written for an image, in `out` or beside it."""
    masks = [mask_path(image, "annotation", folder) for folder in (None, out)]
    return masks + [one.path_for(image, folder) for one in PRESETS for folder in (None, out)]


def _weight(image: Path) -> int:
    """How much there is to do for an image, roughly."""
    try:
        return max(1, image.stat().st_size)
    except OSError:
        return 1


class _Clock:
    """Tells from the time so far how long it will take."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = weights
        self._started = time.monotonic()

    def report(self, number: int, image: Path, progress: Progress) -> BatchProgress:
        """All that is known while image `number`, from 1, is this far."""
        part = 1.0  # nearly all of the time is the network's; what follows counts as done
        if progress.text in ("Opening", "Predicting"):
            part = progress.done / max(1, progress.total)
        done = sum(self._weights[: number - 1]) + part * self._weights[number - 1]
        share = done / max(1, sum(self._weights))
        passed = time.monotonic() - self._started
        left = passed * (1 - share) / share if passed > 1 and share > 0 else None
        return BatchProgress(number, len(self._weights), image, progress, share, left)


def duration_in_words(seconds: float) -> str:
    """A rough time to wait: 40 s, 12 min, 3 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


__all__ = ["BatchProgress", "Outcome", "Task", "duration_in_words", "plan", "predict_all"]
