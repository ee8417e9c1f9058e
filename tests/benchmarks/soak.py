"""A long day in minutes: does memory grow, does painting slow down, how large does the file get?

    QT_QPA_PLATFORM=offscreen python -m tests.benchmarks.soak --minutes 60 [--image stack.tif]

One window paints, erases, undoes, redoes, zooms, pans, goes from plane to plane, moves the
threshold, trains and writes the masks of the whole stack, at random but for its seed, with its
prediction on all the time. Every minute a line is printed; at the end the run is told by tenths,
and the last third is compared with the first. *Stroke* is the time that the window's thread needs
for one move of the mouse and for whatever comes with it; *saved* that from a stroke's end until it
is on the disk. *Pace* is the time that the same arithmetic takes each time: it grows only where the
machine has more else to do. Memory is what belongs to the process alone: the least of the minute,
which is what it keeps, and the most, with what a training takes for its time.

The file holds the labels, each edit's tiles before and after, and up to ten models: what takes how
much of it is told at the end.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as app.__main__ does

import numpy as np
from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QApplication

from app import assets
from app.main_window import MainWindow, build
from tests.benchmarks.painting_mouse import private_memory, wait, wait_until

MIB = 2**20


@dataclass
class Minute:
    """What was seen in one minute."""

    strokes: list[float] = field(default_factory=list)
    """Milliseconds of each move of the mouse."""
    saved: list[float] = field(default_factory=list)
    """Milliseconds until a stroke was on the disk."""
    pace: list[float] = field(default_factory=list)
    """Milliseconds of the same arithmetic, after each act."""
    memory: list[int] = field(default_factory=list)
    """Bytes, after each act."""
    size: int = 0
    edits: int = 0
    trained: int = 0
    """Trainings that came to an end."""
    exported: int = 0

    def line(self, number: int) -> str:
        """The row of the table."""
        return (
            f"| {number} | {min(self.memory) / MIB:.0f} | {max(self.memory) / MIB:.0f} | "
            f"{statistics.median(self.strokes):.2f} | "
            f"{np.percentile(self.strokes, 95):.2f} | {statistics.median(self.saved):.0f} | "
            f"{np.percentile(self.pace, 95):.2f} | {self.edits} | {self.size / MIB:.2f} | "
            f"{self.trained} | {self.exported} |"
        )


class Hand:
    """Does what a person does, by chance."""

    def __init__(self, window: MainWindow, folder: Path, seed: int) -> None:
        self.window = window
        self.folder = folder
        self.random = np.random.default_rng(seed)
        self.minute = Minute()
        window.engine.training_finished.connect(self.count_training)
        window.engine.export_finished.connect(self.count_export)

    def count_training(self) -> None:
        self.minute.trained += 1

    def count_export(self) -> None:
        self.minute.exported += 1

    def do_something(self) -> None:
        """One act, and a moment for the window."""
        acts = [
            (0.6, self.stroke), (0.1, self.undo), (0.05, self.redo), (0.08, self.look),
            (0.08, self.pan), (0.08, self.another_plane), (0.05, self.threshold),
            (0.04, self.train), (0.005, self.export),
        ]  # fmt: skip
        shares = np.array([share for share, _ in acts])
        acts[self.random.choice(len(acts), p=shares / shares.sum())][1]()
        wait(0.05)
        began = time.perf_counter()
        sum(range(20_000))
        self.minute.pace.append(1000 * (time.perf_counter() - began))
        self.minute.memory.append(private_memory())

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

    def pan(self) -> None:
        _, _, height, width = self.window.document.plane_rect
        self.window.viewport.centre_on(
            int(self.random.integers(height)), int(self.random.integers(width))
        )

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

    def export(self) -> None:
        if self.window.engine.busy not in ("training", "exporting"):
            self.window.export_to(self.folder / "objects.tif", "objects")


def main() -> None:
    """Run, print, and end with 1 where memory has grown by a quarter, or a time by half."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--image", type=Path, default=assets.path("sample.tif"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("LIMN_DATA_DIR", "LIMN_SETTINGS_DIR"):
            os.environ[name] = str(Path(folder) / name)
        project = Path(folder) / "soak.limn"
        minutes = soak(args.image, project, args.minutes, args.seed)
        tell_tenths(minutes)
        tell_contents(project)
    sys.exit(judge(minutes))


def soak(image: Path, project: Path, length: int, seed: int) -> list[Minute]:
    """All minutes; the project is closed."""
    app = QApplication([])  # noqa: F841  # lives as long as the window
    window = build([image])
    window.engine.training_seconds = 10.0
    wait_until(lambda: window.viewport.paintable)
    window.files.save_as(project)
    wait_until(project.exists)
    hand, minutes = Hand(window, project.parent, seed), []
    columns = (
        "minute|memory, least (MiB)|most|stroke p50 (ms)|p95|saved (ms)|pace p95|edits|file (MiB)|"
        "trained|exported"
    )
    print(f"| {columns.replace('|', ' | ')} |")
    print("|" + "---|" * 11)
    for number in range(1, length + 1):
        hand.minute, end = Minute(), time.monotonic() + 60
        while time.monotonic() < end or not hand.minute.saved:
            hand.do_something()
        hand.minute.size = project.stat().st_size
        hand.minute.edits = len(window.document.history)
        print(hand.minute.line(number), flush=True)
        minutes.append(hand.minute)
    window.close()
    wait_until(lambda: not window.isVisible())
    wait_until(lambda: not window.saver.unsaved)
    return minutes


def tell_tenths(minutes: Sequence[Minute]) -> None:
    """Ten lines: has anything grown?"""
    columns = "tenth|memory, least (MiB)|stroke p50 (ms)|p95|p99|saved p50 (ms)|p95|pace p95"
    print(f"\n| {columns.replace('|', ' | ')} |")
    print("|" + "---|" * 8)
    for number, part in enumerate(np.array_split(np.arange(len(minutes)), 10), start=1):
        chosen = [minutes[n] for n in part]
        if not chosen:
            continue
        strokes = np.concatenate([m.strokes for m in chosen])
        saved = np.concatenate([m.saved for m in chosen])
        cells = [
            f"{statistics.median(min(m.memory) / MIB for m in chosen):.0f}",
            *(f"{np.percentile(strokes, share):.2f}" for share in (50, 95, 99)),
            *(f"{np.percentile(saved, share):.0f}" for share in (50, 95)),
            f"{np.percentile(np.concatenate([m.pace for m in chosen]), 95):.2f}",
        ]
        print(f"| {number} | {' | '.join(cells)} |")


def tell_contents(path: Path) -> None:
    """What takes how much of the file."""
    sums = {
        "labels": "SELECT count(*), sum(length(data)) FROM tiles",
        "changed tiles, before and after": "SELECT count(*), "
        "sum(coalesce(length(before), 0) + coalesce(length(after), 0)) FROM changes",
        "models": "SELECT count(*), sum(length(weights)) FROM models",
        "training runs": "SELECT count(*), sum(length(record)) FROM runs",
    }
    print(f"\nThe file: {path.stat().st_size / MIB:.1f} MiB")
    with closing(sqlite3.connect(path)) as connection:  # it is closed: nobody else has it open

        def one(question: str) -> tuple[int, int]:
            number, size = connection.execute(question).fetchone()
            return int(number), int(size or 0)

        for what, question in sums.items():
            number, size = one(question)
            print(f"- {number} {what}: {size / MIB:.2f} MiB")
        free, page = one("SELECT f.freelist_count, p.page_size"
                         " FROM pragma_freelist_count f, pragma_page_size p")  # fmt: skip
        print(f"- free, to be used again: {free * page / MIB:.2f} MiB")
        edits, size = one("SELECT count(*), sum(size) FROM edits")
        print(f"- {edits} edits, {size / max(1, edits) / 1024:.1f} KiB each")


def judge(minutes: Sequence[Minute]) -> int:
    """What has become of memory, time and file: 1 where something has grown too much."""
    third = max(1, len(minutes) // 3)
    parts = minutes[:third], minutes[-third:]

    def per_pace(part: Sequence[Minute], of: Callable[[Minute], list[float]]) -> float:
        """The 95th percentile, against that of the same arithmetic in the same minutes."""
        times, paces = (np.concatenate([f(m) for m in part]) for f in (of, lambda m: m.pace))
        return float(np.percentile(times, 95) / np.percentile(paces, 95))

    def grown(what: str, figure: Callable[[Sequence[Minute]], float], limit: float) -> bool:
        early, late = figure(parts[0]), figure(parts[1])
        print(f"{what}: {early:.1f} in the first third, {late:.1f} in the last")
        return late > limit * early

    print()
    much = [
        grown("memory (MiB)", lambda p: statistics.median(min(m.memory) / MIB for m in p), 1.25),
        grown("stroke, p95 / pace", lambda p: per_pace(p, lambda m: m.strokes), 1.5),
        grown("saved, p95 / pace", lambda p: per_pace(p, lambda m: m.saved), 1.5),
    ]
    return int(any(much))


if __name__ == "__main__":
    main()
