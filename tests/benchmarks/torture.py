"""Never lose a stroke: kills, failing disks, hostile files, and the cost of saving, with counts.

    python -m tests.benchmarks.torture --kills 500 --large-kills 100 --faults --mutate 10000 \
        --save-latency

Exits with 1 where anything was lost, crashed, hung, or was told without a sentence. Short versions
of all of it are in `tests/core`: test_kills, test_faults, test_mutants.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.core import faults, kill_large
from tests.core.faulty_disk import FaultyDisk
from tests.core.mutants import SUFFIXES, attack
from tests.core.work_forever import kill_and_judge
from unet_core.annotation import Annotation, Edit
from unet_core.edits import TILE, TileArray, TileKey, pack_tile
from unet_core.project import Project
from unet_core.project_rows import get_image_record, sealed_for, set_image_record, set_value
from unet_core.project_schema import FIRST_IMAGE
from unet_core.stack import PlaneIndex

_DEPTH = 10_000


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def kills(folder: Path, count: int, seed: int) -> int:
    """Workers killed at random moments; every 10th of them begins with a file of an old format."""
    path, copy = folder / "work.limn", folder / "copy.limn"
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    lost = 0
    for number in range(count):
        if number % 10 == 0 or not path.exists():
            for old in (path, copy):
                old.unlink(missing_ok=True)
                old.with_name(old.name + "-journal").unlink(missing_ok=True)
            shutil.copy(faults.DATA / f"format{number // 10 % 3 + 1}.limn", path)
        try:
            done += Counter(kill_and_judge(path, copy, seed * 10**6 + number, rng))
        except Exception as error:
            lost += 1
            kept = Path(tempfile.gettempdir()) / f"limn-lost-{seed}-{number}.limn"
            shutil.copy(path, kept)
            say(f"kill {number}: {type(error).__name__} {error} (the file: {kept})")
            path.unlink()
        if number % 50 == 49:
            say(f"{number + 1} kills, {lost} of them lost something; acknowledged: {dict(done)}")
    say(f"KILLS: {count} kills, {done.total()} acknowledged steps, {lost} kills lost something")
    return lost


def large_kills(folder: Path, count: int, seed: int) -> int:
    """So many kills, in turns, of what takes long in a large project."""
    rng = random.Random(seed)
    lasts = kill_large.prepare(folder)
    say("at scale: " + ", ".join(f"{way} takes {lasts[way]:.2f} s" for way in lasts))
    came: Counter[tuple[str, str]] = Counter()
    lost = 0
    for number in range(count):
        way = kill_large.WAYS[number % len(kill_large.WAYS)]
        try:
            came[way, kill_large.kill_and_judge(folder, way, lasts[way], rng)] += 1
        except Exception as error:
            lost += 1
            say(f"large kill {number} ({way}): {type(error).__name__} {error}")
    for (way, left), times in sorted(came.items()):
        say(f"{way}: {times} x {left}")
    say(f"LARGE KILLS: {count} kills, {lost} of them lost something")
    return lost


def fail(folder: Path) -> int:
    """Every file-system call of every way to write fails with every error, once and for good."""
    disk = FaultyDisk()
    bad = 0
    total: Counter[str] = Counter()
    everything: Edit | None = None
    names = faults.ways_to_write(everything, folder)  # type: ignore[arg-type]  # for their names
    for name, error, lasting in itertools.product(names, faults.ERRORS, (False, True)):
        here = folder / f"{name}-{error}-{lasting}"
        here.mkdir()
        came: Counter[str] = Counter()
        try:
            # Packing the file writes hundreds of pages, all alike.
            every = 7 if name == "compact" else 1
            came.update(what for _, what in faults.inject(
                here, disk, [name], [error], [lasting], every))  # fmt: skip
        except Exception as problem:
            bad += 1
            say(f"fault: {type(problem).__name__} {problem}")
        total += came
        say(f"{name}, {error}{' from there on' if lasting else ''}: {dict(came)}")
        shutil.rmtree(here)
    for number, error in itertools.product((1, 2, 3), faults.ERRORS):
        try:
            came = faults.inject_while_opening(
                folder, disk, faults.DATA / f"format{number}.limn", [error]
            )
        except Exception as problem:
            bad += 1
            say(f"fault: opening format {number}: {type(problem).__name__} {problem}")
            continue
        total += came
        say(f"opening format {number}, {error}: {dict(came)}")
    say(f"FAULTS: {total.total()} faults: {dict(total)}; {bad} operations where something was lost")
    return bad


def mutate(count: int, seed: int) -> int:
    """So many mutants of each kind of file."""
    problems = 0
    for kind in SUFFIXES:
        came, bad = attack(kind, count, seed)
        for line in bad[:50]:
            say(line)
        problems += len(bad)
        say(f"MUTANTS: {count} of {kind}: {dict(came)}; {len(bad)} bad")
    return problems


# ---- what saving costs


def _stroke(annotation: Annotation, rng: random.Random) -> Edit:
    while True:
        plane = PlaneIndex(0, rng.randrange(annotation.shape[1]))
        stroke = annotation.stroke(plane, 1 + rng.randrange(2), 21)
        y, x = rng.uniform(0, 1024), rng.uniform(0, 1024)
        for _ in range(4):
            stroke.to(y, x)
            y, x = y + rng.uniform(-60, 60), x + rng.uniform(-60, 60)
        edit = stroke.finish()
        if edit is not None:
            return edit


def _fill(path: Path, edits: int, planes: int) -> None:
    """Put so many edits, of the shape of real strokes, and so many labelled planes in, in bulk."""
    rng = random.Random(0)
    samples = [
        _stroke(Annotation((1, 1, 1024, 1024)), rng).changes[0].after.pixels for _ in range(64)
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.executemany(
            "INSERT OR REPLACE INTO tiles VALUES (?, 0, ?, 0, 0, ?)",
            (
                (FIRST_IMAGE, z, _packed(TileKey(0, z, 0, 0), samples[z % 64]))
                for z in range(planes)
            ),  # fmt: skip
        )
        key = TileKey(0, 0, 0, 0)
        packed = [_packed(key, sample) for sample in samples]
        size = 0
        for n in range(1, edits + 1):
            before, after = packed[(n - 1) % 64], packed[n % 64]
            both = len(before) + len(after)
            size += both
            connection.execute(
                "INSERT INTO changes VALUES (?, ?, 0, 0, 0, 0, ?, ?)",
                (FIRST_IMAGE, n, before, after),
            )
            connection.execute(
                "INSERT INTO edits VALUES (?, ?, 'stroke', 0, 1, ?)", (FIRST_IMAGE, n, both)
            )
        record = get_image_record(connection, FIRST_IMAGE)
        set_image_record(connection, FIRST_IMAGE, {**record, "position": edits})
        set_value(connection, "history", str(size))


def _packed(key: TileKey, sample: TileArray) -> bytes:
    packed = sealed_for(FIRST_IMAGE, pack_tile(key, sample))
    assert packed is not None
    return packed


def save_latency(folder: Path, edits: int) -> int:
    """The cost of a stroke in a project with 10 edits and in one with many, taken in turns."""
    shape = (1, _DEPTH, 1024, 1024)
    projects = {}
    for name, many, planes in (("few", 10, 1), ("many", edits, 1), ("planes", 10, _DEPTH)):
        path = folder / f"{name}.limn"
        Project.create(path, shape).close()
        started = time.monotonic()
        _fill(path, many, planes)
        say(f"{name}: {many} edits, {planes} planes, {path.stat().st_size >> 20} MiB, "
            f"made in {time.monotonic() - started:.0f} s")  # fmt: skip
        started = time.monotonic()
        projects[name] = Project.open(path)
        say(f"{name}: opened in {time.monotonic() - started:.2f} s")
    times: dict[str, list[float]] = {name: [] for name in projects}
    busy: dict[str, list[float]] = {name: [] for name in projects}
    annotation, rng = Annotation(shape), random.Random(1)
    for _ in range(300):
        edit = _stroke(annotation, rng)
        for name, project in projects.items():
            started, worked = time.perf_counter(), time.thread_time()
            project.record(edit)
            times[name].append(time.perf_counter() - started)
            busy[name].append(time.thread_time() - worked)
    for name, project in projects.items():
        project.close()
        ordered = sorted(times[name])
        say(f"{name}: a stroke is durable after {statistics.median(ordered) * 1000:.2f} ms (median)"
            f", {ordered[int(len(ordered) * 0.95)] * 1000:.2f} (95 %), of which "
            f"{statistics.median(busy[name]) * 1000:.2f} ms are the processor's")  # fmt: skip
    ratios = {
        name: statistics.median(times[name]) / statistics.median(times["few"]) for name in projects
    }
    say("SAVE LATENCY, against 10 edits: "
        + ", ".join(f"{name} x {ratio:.2f}" for name, ratio in ratios.items()))  # fmt: skip
    _loading(folder / "planes.limn")
    return int(max(ratios.values()) > 2)


def _loading(path: Path) -> None:
    """What opening a project of many labelled planes takes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    with Project.open(path) as project:
        annotation, _ = project.load()
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    tiles = sum(len(annotation.tiles(plane)) for plane in annotation.labelled_planes())
    say(f"LOADING: {len(annotation.labelled_planes())} planes, {tiles} tiles of {TILE} x {TILE}: "
        f"{time.monotonic() - started:.1f} s, {taken} MiB")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0, metavar="N")
    parser.add_argument("--large-kills", type=int, default=0, metavar="N")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--mutate", type=int, default=0, metavar="N")
    parser.add_argument("--save-latency", action="store_true")
    parser.add_argument("--edits", type=int, default=1_000_000, help="of --save-latency")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    problems = 0
    with tempfile.TemporaryDirectory(prefix="limn-torture-") as name:
        folder = Path(name)
        if options.kills:
            problems += kills(folder, options.kills, options.seed)
        if options.large_kills:
            problems += large_kills(folder, options.large_kills, options.seed)
        if options.faults:
            problems += fail(folder)
        if options.mutate:
            problems += mutate(options.mutate, options.seed)
        if options.save_latency:
            problems += save_latency(folder, options.edits)
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
