"""How fast is prediction, beside the bare network? And how much memory does it take?

    python tests/benchmarks/prediction.py [--network compact] [--device auto] [--rounds 7]

Prints a Markdown table. The *raw forward pass* is the network as it was trained, in evaluation
mode, channels last, on one tile without any halo, with nothing before or after it. *Whole stack* is
what `limn predict` and the window do for a stack in memory: cut out tiles with their mirrored
halos, normalise, predict, softmax, copy out. Pixels are those of the planes: the halo counts as
cost. Both are timed in turn, so that a busy neighbour meets both; on the processor in CPU seconds,
which such a neighbour disturbs less than wall time.

`torch.compile` is not used: it needs a C++ compiler on the user's machine and a long wait for each
tile size and precision, against an answer that is due in seconds. `--compile` times it.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from unet_core.annotation import DEFAULT_CLASSES
from unet_core.device import choose_device, describe, prediction_dtype, prepare_thread
from unet_core.inference import LIVE_CORE, WHOLE_CORE, Predictor, bytes_per_pixel
from unet_core.lean import lean
from unet_core.model import Model
from unet_core.networks import place
from unet_core.tiling import Rect

RANGES = np.array([[0, 255]], np.float32)
STACKS = {
    "1 of 2048 × 2048": (1, 2048, 2048),
    "2 of 1024 × 1024": (2, 1024, 1024),
    "3 of 520 × 696": (3, 520, 696),
}


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds that `work` takes: CPU seconds on the processor, wall time on a card."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        return time.perf_counter() - began
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    began = clock()
    work()
    return (clock() - began) / (torch.get_num_threads() if device.type == "cpu" else 1)


def raw_pass(model: Model, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    """One forward pass of the network as trained, over WHOLE_CORE² pixels without a halo."""
    network = place(deepcopy(model.network), device).to(dtype).eval()
    image = torch.rand(1, 1, WHOLE_CORE, WHOLE_CORE).to(device, dtype)
    image = image.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            network.forward_all(image)

    return run


def whole_stack(predictor: Predictor, planes: np.ndarray) -> Callable[[], object]:
    """Predict all `planes` `(n, Y, X)`."""
    tiles = predictor.tiles(*planes.shape[1:])

    def run() -> None:
        for _ in predictor.each(((p[None], tile) for p in planes for tile in tiles), RANGES):
            pass

    return run


def first_tile(model: Model, device: torch.device) -> Callable[[], object]:
    """From new weights to the first tile of what is in view."""
    plane = np.random.default_rng(0).integers(0, 255, (1, 2048, 2048)).astype(np.uint8)

    def run() -> None:
        predictor = Predictor(model, device)
        tiles = predictor.tiles(2048, 2048, core=LIVE_CORE, view=Rect(600, 600, 800, 800))
        predictor.tile(plane, RANGES, tiles[0])

    return run


def peak(network: str, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes by which memory grows at most while a tile is predicted, and what was expected.

    In a process of its own, on the processor: the peak of a process never goes down again.
    """
    words = [sys.executable, __file__, "--network", network, "--peak", str(dtype).split(".")[-1]]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    grown, expected = (int(word) for word in done.stdout.split())
    return grown, expected


def _print_peak(model: Model, dtype: torch.dtype) -> None:
    def highest() -> int:
        # Not getrusage: a child's figure begins with its parent's.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    predictor = Predictor(model, torch.device("cpu"), dtype=dtype)
    side = predictor.core
    plane = np.zeros((1, side, side), np.uint8)
    (small,) = predictor.tiles(16, 16)
    (tile,) = predictor.tiles(side, side)
    predictor.tile(plane[:, :16, :16], RANGES, small)
    before = highest()
    predictor.tile(plane, RANGES, tile)
    pixels = tile.window.height * tile.window.width
    print(highest() - before, pixels * bytes_per_pixel(model.network, dtype))


def _compiled(model: Model, device: torch.device, dtype: torch.dtype) -> str:
    """What `torch.compile` brings: seconds until it is ready, and pixels per second."""
    network = lean(model.network, device, dtype)
    halo = model.network.halo
    core = Rect(halo, halo, WHOLE_CORE, WHOLE_CORE)
    side = WHOLE_CORE + 2 * halo
    window = torch.rand(1, 1, side, side).to(device)
    window = window.contiguous(memory_format=torch.channels_last)
    fast = torch.compile(network, dynamic=False)
    with torch.inference_mode():
        began = time.perf_counter()
        fast(window, core)
        ready = time.perf_counter() - began
        eager = min(timed(device, lambda: network(window, core)) for _ in range(5))
        after = min(timed(device, lambda: fast(window, core)) for _ in range(5))
    mega = WHOLE_CORE**2 / 1e6
    return (
        f"`torch.compile` of one tile size: ready after {ready:.0f} s, then {mega / after:.2f} "
        f"Mpixel/s, against {mega / eager:.2f} without."
    )


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="compact")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak", choices=("float32", "bfloat16"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare_thread()
    model = Model.fresh(options.network, 1, DEFAULT_CLASSES, seed=0)
    if options.peak:
        _print_peak(model, getattr(torch, options.peak))
        return
    device = choose_device(options.device)
    used = prediction_dtype(device)
    random = np.random.default_rng(0)
    stacks = {
        name: random.integers(0, 255, shape).astype(np.uint8) for name, shape in STACKS.items()
    }
    per = "CPU second" if device.type == "cpu" else "second"
    seconds = "CPU seconds" if device.type == "cpu" else "seconds"
    print(f"- {date.today()}, {describe(device)}, {platform.machine()}, torch {torch.__version__}")
    print(f"- network {options.network}, {options.rounds} rounds: median (lowest–highest)")
    print(f"- Limn predicts in {str(used).split('.')[-1]} here\n")
    print(f"| what | precision | Mpixel per {per} | share of the raw forward pass |")
    print("|---|---|---|---|")
    for dtype in dict.fromkeys((torch.float32, used)):
        word = str(dtype).split(".")[-1]
        raw = raw_pass(model, device, dtype)
        runs = {
            name: whole_stack(Predictor(model, device, dtype=dtype), planes)
            for name, planes in stacks.items()
        }
        for run in (raw, *runs.values()):
            run()
        bare: list[float] = []
        rates: dict[str, list[float]] = {name: [] for name in runs}
        shares: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            before = timed(device, raw)
            for name, run in runs.items():
                # Compared with what ran before and after: the machine changes its pace.
                rates[name].append(stacks[name].size / timed(device, run) / 1e6)
                after = timed(device, raw)
                bare.append(2 * WHOLE_CORE**2 / (before + after) / 1e6)
                shares[name].append(rates[name][-1] / bare[-1])
                before = after
        print(f"| raw forward pass, {WHOLE_CORE}² | {word} | {_spread(bare)} | |")
        for name in runs:
            rate, share = _spread(rates[name]), _spread(shares[name])
            print(f"| whole stack, {name} | {word} | {rate} | {share} |")
    live = first_tile(model, device)
    live()
    times = [timed(device, live) for _ in range(options.rounds)]
    print(f"\nNew weights to the first live tile ({LIVE_CORE}²): {_spread(times)} {seconds}.")
    if device.type == "cuda":
        print(
            f"Peak memory on the card: {torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB."
        )
    if sys.platform == "linux":
        for dtype in (torch.float32, torch.bfloat16):
            grown, expected = peak(options.network, dtype)
            print(
                f"Peak memory of a tile on the processor in {str(dtype).split('.')[-1]}: "
                f"{grown / 2**20:.0f} MiB; {expected / 2**20:.0f} MiB are reckoned with."
            )
    if options.compile:
        print(_compiled(model, device, used))


def _spread(values: list[float]) -> str:
    low, middle, high = np.quantile(values, (0, 0.5, 1))
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


if __name__ == "__main__":
    main()
