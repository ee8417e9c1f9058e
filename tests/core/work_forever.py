"""Works on a project until it is killed, and how to tell afterwards what must be there.

The worker and the judge draw the same steps from the same seed. The worker says so after each step
that the project has acknowledged; the judge takes the same steps in memory and compares.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tests.core.random_steps import random_step, record
from unet_core.annotation import Annotation, History
from unet_core.project import Project

# The share of steps that are not strokes, undo or redo.
OTHERS = {
    "model": 0.04, "setting": 0.04, "run": 0.02, "copy": 0.04, "compact": 0.02, "add": 0.02,
}  # fmt: skip
MOST_IMAGES = 3

Loaded = dict[int, tuple[Annotation, History]]
"""Labels and history of each image, by its number."""


class Work:
    """The state of a project in memory, and the next random step of it."""

    def __init__(self, images: Loaded, seed: int) -> None:
        self.images = images
        self.setting: int | None = None
        self.models: list[bytes] = []
        self.runs = 0
        self.copied: dict[int, np.ndarray] | None = None
        self._rng = random.Random(seed)

    def step(self, project: Project | None, copy: Path | None) -> str:
        """Take the next step, also in the project where there is one; answers what it was."""
        chance = self._rng.random()
        for what, share in OTHERS.items():
            chance -= share
            if chance < 0:
                self._other(what, project, copy)
                return what
        image = self._rng.choice(sorted(self.images))
        what, edit = random_step(*self.images[image], self._rng)
        if project is not None:
            record(project, what, edit, image)
        return what

    def _other(self, what: str, project: Project | None, copy: Path | None) -> None:
        if what == "model":
            self.models.append(self._rng.randbytes(20_000))
            if project is not None:
                project.add_model(self.models[-1], {"n": len(self.models)})
        elif what == "setting":
            self.setting = self._rng.randrange(10**6)
            if project is not None:
                project.set_setting("n", self.setting)
        elif what == "run":
            self.runs += 1
            if project is not None:
                project.add_training_run({"n": self.runs})
        elif what == "add":
            shape = self.images[1][0].shape
            added = len(self.images) < MOST_IMAGES
            if project is not None and added:
                assert project.add_images([(shape, None)]) == [len(self.images) + 1]
            if added:
                self.images[len(self.images) + 1] = Annotation(shape), History()
        elif what == "copy":
            self.copied = all_labels(self.images)
            if project is not None and copy is not None:
                project.save_copy(copy)
        elif project is not None:
            project.compact()


def labels(annotation: Annotation) -> np.ndarray:
    """All labels: uint32 (T, Z, Y, X)."""
    t, z, y, x = annotation.shape
    whole = np.zeros((t, z, y, x), np.uint32)
    for plane in annotation.labelled_planes():
        whole[plane] = annotation.read_labels(plane)
    return whole


def all_labels(images: Loaded) -> dict[int, np.ndarray]:
    """All labels of each image."""
    return {image: labels(annotation) for image, (annotation, _) in images.items()}


def load(project: Project) -> Loaded:
    """What the project holds of each image."""
    return {one.id: project.load(one.id) for one in project.images()}


def _same_labels(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def work(path: Path, copy: Path, seed: int, acknowledge: Connection) -> None:
    """Open the project (an old one is migrated) and go on until killed."""
    project = Project.open(path)
    acknowledge.send_bytes(b"open")
    doing = Work(load(project), seed)
    while True:
        acknowledge.send_bytes(doing.step(project, copy).encode())


def kill_and_judge(path: Path, copy: Path, seed: int, rng: random.Random) -> dict[str, int]:
    """One worker, killed at a random moment: counts what it had acknowledged, by kind.

    AssertionError where any of that is not there.
    """
    with Project.open(path, read_only=True) as project:
        before = Work(load(project), seed)
        before.setting = project.setting("n")
        models_before = len(project.models())
        runs_before = len(project.training_runs())
    done = _acknowledged(path, copy, seed, rng)
    steps = done[1:]
    for what in steps:
        assert before.step(None, None) == what
    copied = before.copied
    # The step in which it was killed may have made it, or not: one of the two.
    with Project.open(path) as project:
        now = load(project)
        settled = (project.setting("n"), len(project.models()), len(project.training_runs()))
        models = [project.model_weights(model.id) for model in project.models()]
    expected = before.setting, models_before + len(before.models), runs_before + before.runs
    if not _equal(now, before) or settled != _bounded(expected):
        _ = before.step(None, None)
        expected = before.setting, models_before + len(before.models), runs_before + before.runs
    assert settled == _bounded(expected), (settled, expected)
    newest = before.models[::-1][: len(models)]
    assert models[: len(newest)] == newest
    present = all_labels(now)
    assert now.keys() == before.images.keys()
    for image in now:
        assert_same_history(now[image], before.images[image])
    if copied is not None:
        with Project.open(copy, read_only=True) as project:
            there = all_labels(load(project))
        # Or it was killed when a new copy was there, and had not been told.
        possible = (copied, before.copied, present)
        assert any(_same_labels(there, one) for one in possible if one is not None)
    return {what: done.count(what) for what in set(done)}


def _bounded(counts: tuple[int | None, int, int]) -> tuple[int | None, int, int]:
    """At most so many models and runs are kept."""
    from unet_core.project_models import MODELS_KEPT, RUNS_KEPT

    return counts[0], min(counts[1], MODELS_KEPT), min(counts[2], RUNS_KEPT)


def _equal(one: Loaded, other: Work) -> bool:
    return _same_labels(all_labels(one), all_labels(other.images)) and all(
        (history.position, len(history)) == (known.position, len(known))
        for (_, history), (_, known) in zip(one.values(), other.images.values(), strict=True)
    )


def assert_same_history(one: tuple[Annotation, History], other: tuple[Annotation, History]) -> None:
    """The same labels now and at every step of undo and redo. Walks both through."""
    for step in ("stay", "undo", "redo"):
        while True:
            np.testing.assert_array_equal(labels(one[0]), labels(other[0]))
            if step == "stay":
                break
            edits = [getattr(history, step)() for _, history in (one, other)]
            assert (edits[0] is None) == (edits[1] is None)
            if edits[0] is None:
                break
            one[0].apply(edits[0])
            other[0].apply(edits[1])


def _acknowledged(path: Path, copy: Path, seed: int, rng: random.Random) -> list[str]:
    """What a worker says until it is killed, anywhere from its start to its twentieth step."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.core.work_forever"])
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=work, args=(path, copy, seed, theirs), daemon=True)
    worker.start()
    theirs.close()
    if rng.random() < 0.1:  # while it opens the project, or soon after
        worker.join(rng.uniform(0, 0.2))
        worker.kill()
    said: list[str] = []
    until = 0
    for message in _messages(ours):
        said.append(message)
        if len(said) == 1:
            until = rng.randrange(1, 20)
        if len(said) == until:
            # Somewhere in the middle of what comes next; which moment that is does not matter.
            worker.join(rng.uniform(0, 0.03))
            worker.kill()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL, "the worker failed by itself"
    return said


def _messages(pipe: Connection) -> Iterator[str]:
    while True:
        try:
            yield pipe.recv_bytes().decode()
        except EOFError:
            return
