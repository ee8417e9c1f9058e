"""How long until what the hand does is on the screen? Limn beside napari, in one run.

    python tests/benchmarks/painting.py [--cases NAME …] [--repeats 5] [--events 200] [--training]
        [--offscreen] [--limn-only] [--napari-env PATH] [--folder PATH] [--out results.md]

Prints a table for each case:

    start            from the start of the process until the window is painted
    stroke-4096      a stroke of diameter 40 on a plane of 4096², and its undo
    stroke-16384     the same on 16,384²
    stroke-stack     the same on the middle plane of a stack of 20 × 2048²
    stroke-400       a stroke of diameter 400 on 4096², and its undo
    threshold        steps of the threshold of a prediction of 4096²
    planes           from plane to plane through the stack of 20 × 2048²
    big              opening a stack of 4 GiB (512 × 2048², 16 bits): time and private memory

Every case runs in a process of its own, `--repeats` times, Limn and napari in turn, so that a busy
neighbour meets both. A figure is the median over the repeats of each one's p50, p95 and so on.
napari is installed from the package index into an environment of its own.

*Event to painted* is the same for both programs: a QMouseEvent is posted to the canvas (Limn:
`window.viewport`; napari: the native widget of its vispy canvas), events are processed until a
paint event has come to the canvas after that one, and the clock stops when `processEvents` returns:
the paint has been handled, and so has whatever came with it. Then all that is still waiting is
done, outside the timing, and the next event comes 16 ms after the one before, as from a mouse
(vispy drops moves that come within 10 ms). *Handled* is the part of it until labels have changed
and the layer has taken them over, before anything is drawn: that is the programs' own work,
whatever the graphics card. (A move of less than an eighth of the brush draws in napari what came
before it, so there a few change nothing and are the quicker for it.) Undo, threshold, plane and
file count from the call that the key, slider or menu makes. Both canvases are 1024 × 768; strokes
and their undo are at one screen pixel per image pixel, threshold and planes show the whole plane.

- The stroke is a sine of three waves over the canvas, the same for both. Each process first paints
  and undoes a short one. Both programs' pixels are counted, lest one should skip some.
- Live prediction is off but in `start`, in the column `Limn` of `big`, and while training runs.
  There the window's own training was started with its command on two strokes of each class, and
  its prediction of what is in view goes on between its steps. napari has no such thing.
- napari's labels are of 8 bits, and its images are opened with its own reader, which reads all of a
  file; `napari, map` in `big` is what a script can do: show tifffile's memory map.
- A threshold of a prediction in napari: the probabilities as an image whose contrast limits are
  moved. `napari, labels` makes labels from them at each step instead.
- `big` is a file with holes: reading it costs no disk. Memory is what belongs to the process alone
  (RssAnon), looked at 100 times a second: its peak until the plane is painted, less what there was
  before. Linux only.
- napari needs OpenGL, which Qt's offscreen platform does not give: without a screen both run under
  Xvfb, with Mesa's software renderer, which is napari's burden and not Limn's. A card draws faster.
  `Limn, offscreen` (`--offscreen`) leaves out Xvfb.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.tables import table

ROOT = Path(__file__).resolve().parents[2]
NAPARI = "0.9.2"
NAPARI_PACKAGES = (f"napari[pyqt6]=={NAPARI}",)

PLANES = 20
BIG = (512, 2048, 2048)
LONGEST = 900
"""Seconds that a case may take in one program."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of a table: a figure of a measure, in ms unless its title says more."""

    title: str
    measure: str
    quantile: float = 0.5
    budget: str = ""


@dataclass(frozen=True)
class Case:
    """What is asked of both programs, and which lines the table has."""

    title: str
    do: str
    rows: tuple[Row, ...]
    image: str = ""
    plane: int = 0
    diameter: int = 40
    ways: tuple[str, ...] = ("",)
    """napari's ways to do it, the first being compared with."""
    trained: bool = True
    """Whether it is of interest while training runs."""


@dataclass(frozen=True)
class Column:
    """A program, and how it is run."""

    title: str
    napari: bool = False
    asked: dict[str, Any] = field(default_factory=dict)
    platform: str = ""
    """Qt's platform; empty: the one that there is."""


def _stroke(p50: str = "", p95: str = "", pixels: str = "") -> tuple[Row, ...]:
    return (
        Row("event to painted, p50", "event", 0.5, p50),
        Row("event to painted, p95", "event", 0.95, p95),
        Row("event to painted, max", "event", 1.0),
        Row("handled, p50", "handled", 0.5),
        Row("handled, p95", "handled", 0.95),
        Row("undo", "undo", 0.5, "16"),
        Row("pixels painted (1000)", "pixels", 0.5, pixels),
    )


FIFTH = "1/5 of napari's"
CASES = {
    "start": Case(
        "Start",
        "start",
        (Row("process to painted window (s)", "start", 0.5, "1; 1/3 of napari's"),),
        trained=False,
    ),
    "stroke-4096": Case(
        "Stroke of diameter 40 on 4096²",
        "stroke",
        _stroke("1.2", f"4; {FIFTH}; while training 16"),
        "4096",
    ),
    "stroke-16384": Case(
        "Stroke of diameter 40 on 16,384²",
        "stroke",
        _stroke("2 × that on 4096²", f"{FIFTH}; while training 16"),
        "16384",
    ),
    "stroke-stack": Case(
        f"Stroke of diameter 40 on {PLANES} × 2048²",
        "stroke",
        _stroke("", f"{FIFTH}; while training 16"),
        "stack",
        plane=PLANES // 2,
    ),
    "stroke-400": Case(
        "Stroke of diameter 400 on 4096²",
        "stroke",
        _stroke("", f"{FIFTH}; while training 16"),
        "4096",
        diameter=400,
    ),
    "threshold": Case(
        "Threshold of a prediction of 4096²",
        "threshold",
        (
            Row("step to painted, p50", "step", 0.5),
            Row("step to painted, p95", "step", 0.95, f"16; {FIFTH}"),
            Row("step to painted, max", "step", 1.0),
        ),
        "4096",
        ways=("", "labels"),
    ),
    "planes": Case(
        f"Change of plane in {PLANES} × 2048²",
        "planes",
        (
            Row("change to painted, p50", "change", 0.5),
            Row("change to painted, p95", "change", 0.95, FIFTH),
            Row("change to painted, max", "change", 1.0),
        ),
        "stack",
    ),
    "big": Case(
        "Opening 4 GiB",
        "big",
        (
            Row("first plane (s)", "first plane", 0.5, "0.3"),
            Row("private memory grows by (MiB)", "grown", 0.5, "100"),
        ),
        "big",
        ways=("", "map"),
        trained=False,
    ),
}


def columns(case: Case, options: argparse.Namespace) -> list[Column]:
    """The programs that take part in a case."""
    found = [Column("Limn", asked={"live": case.do == "big"})]
    if case.do == "big":
        found.append(Column("Limn, Live off"))
    if options.offscreen:
        found.append(Column("Limn, offscreen", platform="offscreen"))
    if options.training and case.trained:
        found.append(Column("Limn, training", asked={"live": True, "training": True}))
    if options.napari is not None:
        for way in case.ways:
            name = f"napari, {way}" if way else "napari"
            found.append(Column(name, napari=True, asked={"way": way}))
    return found


class Bench:
    """Runs cases in processes of their own, with settings of their own, below `folder`."""

    def __init__(self, folder: Path, napari: Path | None, events: int) -> None:
        self._folder = folder
        self._napari = napari
        self._events = events

    def run(self, case: Case, column: Column) -> Result | None:
        """One repeat of a case in one program; None, and a word to stderr, where it fails."""
        asked = {
            "case": case.do,
            "image": str(self._image(case.image)) if case.image else "",
            "plane": case.plane,
            "planes": PLANES,
            "diameter": case.diameter,
            "events": self._events,
            "way": "",
            "live": False,
            "training": False,
            **column.asked,
        }
        python = str(self._napari) if column.napari else sys.executable
        driver = f"tests.benchmarks.painting_{'napari' if column.napari else 'limn'}"
        environment = os.environ | {
            "LIMN_DATA_DIR": str(self._folder / "limn"),
            "LIMN_SETTINGS_DIR": str(self._folder / "limn"),
            "NAPARI_CONFIG": str(self._folder / "napari.yaml"),
        }
        if column.platform:
            environment["QT_QPA_PLATFORM"] = column.platform
        said, complained = self._folder / "stdout", self._folder / "stderr"
        with said.open("w") as out, complained.open("w") as err:
            asked["began"] = time.monotonic()
            words = [python, "-m", driver, json.dumps(asked)]
            process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=out, stderr=err)
            try:
                memory = _watch(process) if case.do == "big" else []
                process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                complained.write_text(f"it did not end in {LONGEST} s")
            finally:
                process.kill()
                process.wait()
        for line in said.read_text().splitlines():
            if line.startswith("RESULT "):
                return _with_memory(json.loads(line.removeprefix("RESULT ")), memory)
        tail = complained.read_text().splitlines()[-3:]
        print(f"{case.title}: {column.title} failed: {' / '.join(tail)}", file=sys.stderr)
        return None

    def _image(self, name: str) -> Path:
        """The file of this name, made when it is first asked for."""
        path = self._folder / f"{name}.tif"
        if path.exists():
            return path
        random = np.random.default_rng(0)
        if name == "big":
            # A file with holes: nothing is written but its header.
            metadata = {"axes": "ZYX"}
            tifffile.memmap(path, shape=BIG, dtype=np.uint16, bigtiff=True, metadata=metadata)
        elif name == "stack":
            stack = random.integers(0, 256, (PLANES, 2048, 2048), np.uint8)
            tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})
        else:
            noise = random.integers(0, 256, (2048, 2048), np.uint8)
            tifffile.imwrite(path, np.tile(noise, (int(name) // 2048,) * 2))
        return path


def _watch(process: subprocess.Popen[bytes]) -> list[tuple[float, int]]:
    """Private memory in bytes at each time, until the process ends; looking costs it nothing."""
    seen = []
    status = Path(f"/proc/{process.pid}/status")
    until = time.monotonic() + LONGEST
    while process.poll() is None and time.monotonic() < until:
        try:
            lines = status.read_text().splitlines()
        except OSError:  # not Linux, or it has just ended
            lines = []
        for line in lines:
            if line.startswith("RssAnon"):
                seen.append((time.monotonic(), int(line.split()[1]) * 1024))
        time.sleep(0.01)
    return seen


def _with_memory(result: Result, memory: list[tuple[float, int]]) -> Result:
    """Add by how many MiB private memory had grown at most."""
    if "before" in result:
        within = [size for at, size in memory if result["from"] <= at <= result["until"]]
        if within:
            result["grown"] = [max(0, max(within) - result["before"]) / 2**20]
    return result


def report(case: Case, across: list[Column], results: dict[str, list[Result]]) -> str:
    """The case's table: median over the repeats, and ratios to napari's first way."""
    limn = [column.title for column in across if not column.napari]
    reference = next((column.title for column in across if column.napari), None)
    ratios = [f"{title} / napari" for title in limn] if reference else []
    rows = []
    for row in case.rows:
        figures = {column.title: _figure(results[column.title], row) for column in across}
        cells = [_text(figures[column.title]) for column in across]
        for title in limn if reference else []:
            ours, theirs = figures[title], figures[reference or ""]
            comparable = ours is not None and theirs and row.measure != "pixels"
            cells.append(f"{ours / theirs:.2g}" if comparable else "–")  # type: ignore[operator]
        rows.append([row.title, *cells, row.budget])
    heads = [case.title, *(column.title for column in across), *ratios, "budget"]
    parts = [table(heads, rows)]
    for column in across:
        runs = results[column.title]
        if column.asked.get("training") and not all(run.get("training") for run in runs):
            parts.append(f"Training had ended before the end in a run of {column.title}.")
    return "\n\n".join(parts)


def _figure(runs: list[Result], row: Row) -> float | None:
    """Median over the runs of the quantile of each; None where nothing was measured."""
    values = [np.quantile(run[row.measure], row.quantile) for run in runs if row.measure in run]
    scale = 1000 if row.measure == "pixels" else 1
    return float(np.median(values)) / scale if values else None


def _text(figure: float | None) -> str:
    if figure is None:
        return "–"
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def napari_python(folder: Path) -> Path | None:
    """The interpreter of napari's environment in `folder`, which is built if it is not there.

    None, and a word to stderr, where that does not work.
    """
    windows = sys.platform == "win32"
    python = folder / ("Scripts/python.exe" if windows else "bin/python")
    asks = [str(python), "-c", "import napari, PyQt6.QtCore; print(napari.__version__)"]
    try:
        if not python.exists():
            print(f"Building napari's environment in {folder}…", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        done = subprocess.run(asks, capture_output=True, text=True)
        if done.stdout.strip() != NAPARI:
            words = [str(python), "-m", "pip", "install", "--quiet", *NAPARI_PACKAGES]
            subprocess.run(words, check=True)
        return python
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"napari can not be installed, so it is left out: {error}", file=sys.stderr)
        return None


@contextmanager
def screen() -> Iterator[str]:
    """A screen for both programs: the one that there is, else Xvfb. Yields what it is."""
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        yield "the screen of this machine"
        return
    if shutil.which("Xvfb") is None:
        raise SystemExit("There is no screen: install Xvfb, or set DISPLAY.")
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1920x1080x24", "-nolisten", "tcp"]
    server = subprocess.Popen(words, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        os.environ |= {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
        yield "Xvfb, OpenGL by software"
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """See the module's text."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--events", type=int, default=200, help="moves of a stroke")
    parser.add_argument("--training", action="store_true", help="Limn also while it trains")
    parser.add_argument("--offscreen", action="store_true", help="Limn also without any screen")
    parser.add_argument("--limn-only", action="store_true", help="leave out napari")
    parser.add_argument("--skip-big", action="store_true", help="leave out the 4 GiB")
    default = caches / "limn-benchmarks" / f"napari-{NAPARI}"
    parser.add_argument("--napari-env", type=Path, default=default, help="built if it is not there")
    parser.add_argument("--folder", type=Path, help="for images; the system's temporary one")
    parser.add_argument("--out", type=Path, help="write the tables here as well")
    options = parser.parse_args()
    # So that programs end and files go when this is told to end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.napari = None if options.limn_only else napari_python(options.napari_env.absolute())
    names = [name for name in options.cases if not (name == "big" and options.skip_big)]
    with ExitStack() as stack:
        shown = stack.enter_context(screen())
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder))
        bench = Bench(Path(folder), options.napari, options.events)
        parts = [head(shown, options)]
        print(parts[0], flush=True)
        for name in names:
            parts.append(measure(bench, CASES[name], options))
            print("\n" + parts[-1], flush=True)
    if options.out is not None:
        options.out.write_text("# Painting\n\n" + "\n\n".join(parts) + "\n")


def measure(bench: Bench, case: Case, options: argparse.Namespace) -> str:
    """Run a case in all programs, in turn, and make its table."""
    across = columns(case, options)
    results: dict[str, list[Result]] = {column.title: [] for column in across}
    if case.do == "start":  # files come into the system's cache
        for column in across:
            bench.run(case, column)
    for _ in range(options.repeats):
        for column in across:
            if (result := bench.run(case, column)) is not None:
                results[column.title].append(result)
    return report(case, across, results)


def head(shown: str, options: argparse.Namespace) -> str:
    """When, on what, and how often."""
    napari = "" if options.napari is None else f" and napari {NAPARI} (PyQt6)"
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"- {date.today()}, {platform.machine()}, {os.cpu_count()} cores{busy}\n"
        f"- Limn{napari}, {shown}\n"
        f"- median of {options.repeats} runs; ms, where nothing else is said; strokes of "
        f"{options.events} events"
    )


if __name__ == "__main__":
    main()
