"""Paints into a project until it is killed: `python -m tests.core.paint_forever PROJECT SEED`.

Prints a line after each edit that the project has acknowledged.
"""

import random
import sys
from pathlib import Path

from unet_core.annotation import Annotation, Edit, History
from unet_core.project import Project
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
        stroke = annotation.stroke(PlaneIndex(0, rng.randrange(3)), value, 15, number)
        for _ in range(3):
            stroke.to(rng.uniform(-20, 320), rng.uniform(-20, 540))
        painted = stroke.finish()
        if painted is not None:
            history.push(painted)
            return "record", painted


def record(project: Project, what: str, edit: Edit | None) -> None:
    """Mirror a step in the project."""
    if edit is not None:
        project.record(edit)
    elif what == "undo":
        project.record_undo()
    else:
        project.record_redo()


def main(path: Path, seed: int) -> None:
    """Go on with what the project holds."""
    project = Project.open(path)
    annotation, history = project.load()
    rng = random.Random(seed)
    while True:
        record(project, *random_step(annotation, history, rng))
        print("saved", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
