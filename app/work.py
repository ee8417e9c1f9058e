"""The work as the window holds it in memory, and how it becomes a project file without the old one.

The usual way to another file is a copy of the project file, with its whole history and its models.
This here is for when that file can not be read any more: its disk has gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.document import Document, OtherImage
from unet_core.annotation import Annotation, AnnotationError, ClassInfo, Edit, History
from unet_core.edits import Tile, TileChange, TileKey
from unet_core.project import FIRST_IMAGE, ImageReference, Project


@dataclass(frozen=True)
class Work:
    """Labels, undo steps and classes at one moment; nothing of it changes any more."""

    annotation: Annotation
    history: History
    classes: tuple[ClassInfo, ...]
    image: int = FIRST_IMAGE
    """The number of the image on show, whose labels and steps these are."""
    others: Mapping[int, OtherImage] = field(default_factory=dict)
    """The other images, by their numbers."""
    reference: ImageReference | None = None
    """Where the image on show is."""

    @classmethod
    def of(cls, document: Document, reference: ImageReference | None) -> Work:
        """What `document` holds now; between strokes. Costs no copying of labels.

        reference: where the image on show is.
        """
        return cls(
            document.annotation.snapshot(),
            document.history.copy(),
            tuple(document.classes),
            document.image,
            dict(document.others),
            reference,
        )


def write_work(work: Work, path: Path) -> Project:
    """Make a project file of `work` at `path`, replacing a project there, and open it.

    Raises ProjectError as `Project` does; then `path` is as it was.
    """
    fresh = beside(path)
    images = {n: (one.annotation, one.history, one.reference) for n, one in work.others.items()}
    images[work.image] = work.annotation, work.history, work.reference
    (first, (labels, _, reference)), *more = sorted(images.items())
    project = Project.create(
        fresh, labels.shape, image=reference, classes=work.classes, number=first, draft=True
    )
    try:
        if more:
            added = [(annotation.shape, reference) for _, (annotation, _, reference) in more]
            project.add_images(added, [number for number, _ in more])
            project.set_setting("window", {"image": work.image})
        for number, (annotation, history, _) in images.items():
            _fill(project, number, annotation, history or History())
    except BaseException:
        project.close()
        fresh.unlink(missing_ok=True)
        raise
    rename(project, path)
    return project


def beside(path: Path) -> Path:
    """A name for what will replace `path`, in the same folder and so on the same disk."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)  # left over from a crash
    return fresh


def rename(project: Project, path: Path) -> None:
    """Give a project that was just made `beside` `path` that name, replacing a project there."""
    fresh = project.path
    try:
        project.save_as(path)
    except BaseException:
        project.close()
        raise
    finally:
        fresh.unlink(missing_ok=True)


def _fill(project: Project, image: int, annotation: Annotation, history: History) -> None:
    """Record every step that the window can undo or redo: both must count the same steps."""
    history = history.copy()
    tiles = _tiles(annotation)
    steps = _go_back(history, tiles)
    changes = [TileChange(key, None, tile) for key, tile in tiles.items() if tile is not None]
    if changes:
        project.record(Edit("earlier work", tuple(changes)), image)
    # The first `steps` of them lead to the present, the others are what redo brings back.
    done = 0
    while (edit := _next(history)) is not None:
        project.record(edit, image)
        done += 1
    for _ in range(done - steps):
        project.record_undo(image)


def _tiles(annotation: Annotation) -> dict[TileKey, Tile | None]:
    keys = (
        TileKey(*plane, *place)
        for plane in annotation.labelled_planes()
        for place in annotation.labelled_tiles(plane)
    )
    return {key: annotation.tile(key) for key in keys}


def _go_back(history: History, tiles: dict[TileKey, Tile | None]) -> int:
    """Undo in `tiles` as many steps as are sound; answers how many those are."""
    done = 0
    while True:
        try:
            edit = history.undo()
        except AnnotationError:  # its bytes are damaged: what comes before it is out of reach
            return done
        if edit is None:
            return done
        for change in edit.changes:
            tiles[change.key] = change.after
        done += 1


def _next(history: History) -> Edit | None:
    try:
        return history.redo()
    except AnnotationError:
        return None
