"""A long day in minutes: does memory grow, does painting slow down, how large does the file get?

    QT_QPA_PLATFORM=offscreen python -m tests.benchmarks.soak --minutes 60 [--image stack.tif]

One window paints, erases, undoes, redoes, zooms, goes from plane to plane, moves the threshold and
trains, at random but for its seed, with its prediction on all the time. Every minute a line is
printed; at the end the last third of the lines is compared with the first. *Stroke* is the time
that the window's thread needs for one move of the mouse and for whatever comes with it; *saved*
that from a stroke's end until it is on the disk. Memory is what belongs to the process alone.

The file holds the labels, each edit's tiles before and after, and up to ten models: what an edit
costs is told at the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as app.__main__ does

import numpy as np
from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QApplication

from app import assets
from app.main_window import MainWindow, build
from tests.benchmarks.painting_mouse import private_memory, wait, wait_until
from unet_core.project import Project

MIB = 2**20


@dataclass
class Minute:
    """What was seen in one minute."""

    strokes: list[float] = field(default_factory=list)
    """Milliseconds of each move of the mouse."""
    saved: list[float] = field(default_factory=list)
    """Milliseconds until a stroke was on the disk."""
    memory: int = 0
    size: int = 0
    edits: int = 0
    trained: int = 0
    """Trainings that came to an end."""

    def line(self, number: int) -> str:
        """The row of the table."""
        return (
            f"| {number} | {self.memory / MIB:.0f} | {statistics.median(self.strokes):.2f} | "
            f"{np.percentile(self.strokes, 95):.2f} | {statistics.median(self.saved):.0f} | "
            f"{self.edits} | {self.size / MIB:.2f} | {self.trained} |"
        )


class Hand:
    """Does what a person does, by chance."""

    def __init__(self, window: MainWindow, seed: int) -> None:
        self.window = window
        self.random = np.random.default_rng(seed)
        self.minute = Minute()
        window.engine.training_finished.connect(self.count_training)

    def count_training(self) -> None:
        self.minute.trained += 1

    def do_something(self) -> None:
        """One act, and a moment for the window."""
        acts = [
            (0.6, self.stroke), (0.1, self.undo), (0.05, self.redo), (0.08, self.look),
            (0.08, self.another_plane), (0.05, self.threshold), (0.04, self.train),
        ]  # fmt: skip
        shares = np.array([share for share, _ in acts])
        acts[self.random.choice(len(acts), p=shares / shares.sum())][1]()
        wait(0.05)

    def stroke(self) -> None:
        document, random = self.window.document, self.random
        wait_until(lambda: self.window.viewport.paintable)
        _, _, height, width = document.plane_rect
        document.set_active_class(int(random.integers(1, 3)))
        document.set_brush_diameter(int(random.integers(3, 20)))
        y, x = random.uniform(0, height), random.uniform(0, width)
        document.begin_stroke(y, x, erase=bool(random.random() < 0.15))
        for _ in range(int(random.integers(5, 40))):
            y, x = y + random.normal(0, 5), x + random.normal(0, 5)
            began = time.perf_counter()
            document.extend_stroke(y, x)
            QCoreApplication.processEvents()
            self.minute.strokes.append(1000 * (time.perf_counter() - began))
        document.end_stroke()
        began = time.perf_counter()
        wait_until(lambda: not self.window.saver.unsaved)
        self.minute.saved.append(1000 * (time.perf_counter() - began))

    def undo(self) -> None:
        for _ in range(int(self.random.integers(1, 6))):
            self.window.document.undo()

    def redo(self) -> None:
        for _ in range(int(self.random.integers(1, 6))):
            self.window.document.redo()

    def look(self) -> None:
        self.window.viewport.zoom_by(float(self.random.choice([0.5, 2.0])))

    def another_plane(self) -> None:
        times, depths = self.window.document.stack.shape[:2]  # type: ignore[union-attr]
        self.window.document.set_plane(
            int(self.random.integers(times)), int(self.random.integers(depths))
        )

    def threshold(self) -> None:
        for value in self.random.integers(40, 220, 10):
            self.window.prediction.threshold.setValue(int(value))
            QCoreApplication.processEvents()

    def train(self) -> None:
        if self.window.engine.busy == "training":
            self.window.desk.stop()
        elif self.window.actions_by_id["train"].isEnabled():
            self.window.desk.train()


def main() -> None:
    """Run, print, and end with 1 where memory or a stroke's time has grown by more than half."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--image", type=Path, default=assets.path("sample.tif"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("LIMN_DATA_DIR", "LIMN_SETTINGS_DIR"):
            os.environ[name] = str(Path(folder) / name)
        minutes, edits = soak(args.image, Path(folder) / "soak.limn", args.minutes, args.seed)
    sys.exit(judge(minutes, edits))


def soak(image: Path, project: Path, length: int, seed: int) -> tuple[list[Minute], int]:
    """All minutes, and how many edits the file holds at the end."""
    app = QApplication([])  # noqa: F841  # lives as long as the window
    window = build([image])
    window.engine.training_seconds = 10.0
    wait_until(lambda: window.viewport.paintable)
    window.files.save_as(project)
    wait_until(project.exists)
    hand, minutes = Hand(window, seed), []
    columns = "minute|memory (MiB)|stroke p50 (ms)|p95|saved (ms)|edits|file (MiB)|trained"
    print(f"| {columns.replace('|', ' | ')} |")
    print("|---|---|---|---|---|---|---|---|")
    for number in range(1, length + 1):
        hand.minute, end = Minute(), time.monotonic() + 60
        while time.monotonic() < end or not hand.minute.saved:
            hand.do_something()
        hand.minute.memory, hand.minute.size = private_memory(), project.stat().st_size
        hand.minute.edits = len(window.document.history)
        print(hand.minute.line(number), flush=True)
        minutes.append(hand.minute)
    window.close()
    wait_until(lambda: not window.isVisible())
    wait_until(lambda: not window.saver.unsaved)
    with Project.open(project, read_only=True) as written:
        return minutes, written.edit_count()


def judge(minutes: list[Minute], edits: int) -> int:
    """What has become of memory, time and file: 1 where something has grown too much."""
    third = max(1, len(minutes) // 3)
    first, last = minutes[:third], minutes[-third:]

    def grown(what: str, early: float, late: float) -> bool:
        print(f"{what}: {early:.1f} in the first third, {late:.1f} in the last")
        return late > 1.5 * early

    memory = [statistics.mean(m.memory / MIB for m in part) for part in (first, last)]
    stroke = [float(np.percentile([x for m in p for x in m.strokes], 95)) for p in (first, last)]
    saved = [statistics.median([x for m in part for x in m.saved]) for part in (first, last)]
    print(
        f"\n{edits} edits; {minutes[-1].size / max(1, edits) / 1024:.1f} KiB of the file for each"
    )
    much = [
        grown("memory (MiB)", *memory),
        grown("stroke, p95 (ms)", *stroke),
        grown("saved, median (ms)", *saved),
    ]
    return int(any(much))


if __name__ == "__main__":
    main()
