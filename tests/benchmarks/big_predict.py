"""A stack far larger than a tile through `limn predict`: how much memory does it take?

    python -m tests.benchmarks.big_predict --gib 1 4 [--channels 4] [--folder DIR]

For each size a stack of planes of 2048 × 4096 pixels (uint16, deflate) is made and predicted by a
command line of its own, classes and objects. Twice a second it is looked up what the process holds:
its own memory (RssAnon), and all that counts as resident (VmHWM, the system's own record of the
most), which includes the pages of files that it has mapped. Bounded
means: neither grows with the stack, nor with the time. Linux only.

What waits on disk meanwhile (four bytes a pixel and class, and nine more) and the results are in
--folder, which must have room for some four times the pixels of the stack.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

MIB, GIB = 2**20, 2**30
HEIGHT, WIDTH = 2048, 4096
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Result:
    """What was seen of one stack."""

    planes: int
    stack_bytes: int
    file_bytes: int
    early: int
    """The most memory of its own in the first quarter of the time, bytes."""
    own: int
    """The most of all the time."""
    resident: int
    """The most that was resident, mapped files included."""
    seconds: float
    objects: int

    def line(self) -> str:
        """The row of the table."""
        memory = (one / MIB for one in (self.file_bytes, self.early, self.own, self.resident))
        cells = [f"{self.stack_bytes / GIB:.2f}", f"{self.planes}", *(f"{m:.0f}" for m in memory)]
        return f"| {' | '.join([*cells, f'{self.objects:,}', f'{self.seconds / 60:.1f}'])} |"


def planes_of(count: int, channels: int) -> Iterator[NDArray[np.uint16]]:
    """Planes (Y, X) of bright discs on a slope, the channels of a plane one after the other."""
    rng = np.random.default_rng(0)
    scene = np.zeros((HEIGHT, WIDTH), np.uint16)
    scene += np.linspace(200, 400, WIDTH).astype(np.uint16)
    y, x = np.mgrid[-16:17, -16:17]
    for cy, cx, radius in zip(
        rng.integers(16, HEIGHT - 17, 900),
        rng.integers(16, WIDTH - 17, 900),
        rng.uniform(6, 15, 900),
        strict=True,
    ):
        disc = (3000 * np.clip(1.2 - (y * y + x * x) / radius**2, 0, 1)).astype(np.uint16)
        part = scene[cy - 16 : cy + 17, cx - 16 : cx + 17]
        np.maximum(part, part + disc, out=part)
    for plane in range(count):
        for channel in range(channels):
            # Everything moves on from plane to plane: no object spans them all.
            yield np.roll(scene, (37 * plane, 61 * plane), (0, 1)) >> np.uint16(channel)


def make_stack(path: Path, size: float, channels: int) -> int:
    """Write a stack of `size` GiB; returns how many planes it has."""
    count = round(size * GIB / (2 * HEIGHT * WIDTH * channels))
    tifffile.imwrite(
        path,
        planes_of(count, channels),
        shape=(count, channels, HEIGHT, WIDTH),
        dtype=np.uint16,
        ome=True,
        bigtiff=True,
        compression="zlib",
        compressionargs={"level": 1},
        photometric="minisblack",
        metadata={"axes": "ZCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2},
    )
    return count


def predict(path: Path, count: int, channels: int, out: Path) -> Result:
    """Run `limn predict` on the stack and watch it."""
    words = ["predict", "--model", "bundled", "--write", "classes,objects", "--json"]
    words += ["--device", "cpu", "--out", str(out), str(path)]
    started = time.monotonic()
    own: list[int] = []
    resident = 0
    with (out.parent / "stderr").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *words], stdout=subprocess.PIPE, stderr=said
        )
        while process.poll() is None:
            own.append(_of_status(process.pid, "RssAnon"))
            resident = max(resident, _of_status(process.pid, "VmHWM"))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    assert process.stdout is not None
    if process.returncode:
        sys.exit((out.parent / "stderr").read_text()[-2000:])
    summary = json.loads(process.stdout.read())
    return Result(
        count,
        count * channels * HEIGHT * WIDTH * 2,
        path.stat().st_size,
        max(own[: len(own) // 4 + 1]),
        max(own),
        resident,
        time.monotonic() - started,
        summary["images"][0]["objects"],
    )


def _of_status(pid: int, name: str) -> int:
    """A line of /proc/PID/status in bytes; 0 where the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    """Make, predict, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where there is room")
    options = parser.parse_args()
    columns = "stack, GiB|planes|file, MiB|own memory at first, MiB|own memory, MiB|resident, MiB"
    print(f"|{columns}|objects|minutes|\n" + 8 * "|---" + "|", flush=True)
    for size in options.gib:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            path = folder / "stack.ome.tif"
            count = make_stack(path, size, options.channels)
            (folder / "out").mkdir()
            print(predict(path, count, options.channels, folder / "out").line(), flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
