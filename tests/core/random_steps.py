"""Random steps of painting, the same for the same random numbers, for a project and in memory."""

import random

from unet_core.annotation import Annotation, Edit, History
from unet_core.project import FIRST_IMAGE, Project
from unet_core.stack import PlaneIndex

SHAPE = (1, 3, 300, 520)


def random_step(
    annotation: Annotation, history: History, rng: random.Random
) -> tuple[str, Edit | None]:
    """Undo, redo or paint in memory: what a project has to record, the same for the same `rng`."""
    what = rng.random()
    if what < 0.15 and history.can_undo:
        edit = history.undo()
        assert edit is not None
        annotation.apply(edit)
        return "undo", None
    if what < 0.25 and history.can_redo:
        edit = history.redo()
        assert edit is not None
        annotation.apply(edit)
        return "redo", None
    while True:
        value = rng.randrange(4)
        number = rng.randrange(3) if value else 0
        times, depths, *_ = annotation.shape
        plane = PlaneIndex(rng.randrange(times), rng.randrange(depths))
        stroke = annotation.stroke(plane, value, 15, number)
        for _ in range(3):
            stroke.to(rng.uniform(-20, 320), rng.uniform(-20, 540))
        painted = stroke.finish()
        if painted is not None:
            history.push(painted)
            return "record", painted


def record(project: Project, what: str, edit: Edit | None, image: int = FIRST_IMAGE) -> None:
    """Mirror a step on an image in the project."""
    if edit is not None:
        project.record(edit, image)
    elif what == "undo":
        project.record_undo(image)
    else:
        project.record_redo(image)
