"""How good is a mask after eight strokes? On real images, beside the bundled weights untrained.

    python tests/benchmarks/eight_strokes.py [--data ../shared/data] [--steps 40] [--planes 4]

A careful annotator is simulated (tests/annotator.py): it looks at what the bundled network
predicts on one plane and paints eight strokes of at most 40 px with a 7 px brush into its largest
mistakes, in turn on cells and on background. Then the network is fine-tuned for a fixed number of
steps, so that the figures do not depend on how busy the machine is; the seconds are told beside
them. Prints a Markdown table: Dice of the foreground on the painted plane and on another plane of
the same dataset, mean and range over several painted planes (and as many seeds).
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import tifffile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.annotator import annotate
from tests.synthetic import dice
from unet_core.annotation import Annotation
from unet_core.device import describe, prepare_thread
from unet_core.inference import predict_plane
from unet_core.intensity import intensity_range
from unet_core.model import Model
from unet_core.patches import TrainingSet
from unet_core.stack import PlaneIndex, Stack, open_stack
from unet_core.training import fit

BRUSH = 7
CPU = torch.device("cpu")

# Dataset, whether the bundled weights were pretrained on other images of it, and what its masks
# call a cell.
DATASETS: dict[str, tuple[bool, Callable[[np.ndarray], np.ndarray]]] = {
    "phc_u373/timelapse": (False, lambda mask: mask > 0),
    "fluo_u2os_coelho": (False, lambda mask: mask > 0),
    "isbi2012_em": (False, lambda mask: mask > 0),
    "phc_t98g": (True, lambda mask: mask > 0),
    "confocal3d_ovule_nuclei": (True, lambda mask: mask > 0),
}


@dataclass(frozen=True)
class Plane:
    """One annotated plane: where it is in which stack, and its truth (Y, X) bool."""

    stack: Stack
    index: PlaneIndex
    truth: np.ndarray

    def predicted(self, model: Model) -> np.ndarray:
        """Foreground (Y, X) bool at a threshold of 0.5."""
        pixels = self.stack.plane(*self.index)
        return (
            predict_plane(model, pixels, intensity_range(self.stack), CPU).probabilities[0] >= 0.5
        )


def planes_of(folder: Path, is_cell: Callable[[np.ndarray], np.ndarray], count: int) -> list[Plane]:
    """`count` evenly spaced planes with cells of a stack or of a folder of images."""
    found = []
    if (folder / "stack.tif").exists():
        stack = open_stack(folder / "stack.tif")
        masks = tifffile.imread(folder / "masks.tif")
        for index, mask in zip(stack.planes(), masks, strict=True):
            found.append(Plane(stack, index, is_cell(mask)))
    else:
        for path in sorted((folder / "masks").glob("*.tif")):
            stack = open_stack(folder / "images" / path.name)
            found.append(Plane(stack, PlaneIndex(0, 0), is_cell(tifffile.imread(path))))
    found = [plane for plane in found if plane.truth.mean() > 0.02]
    chosen = np.linspace(0, len(found) - 1, count).round().astype(int)
    return [found[i] for i in chosen]


def paint(plane: Plane, predicted: np.ndarray) -> TrainingSet:
    """Eight strokes in the largest mistakes."""
    times, depth, _, height, width = plane.stack.shape
    annotation = Annotation((times, depth, height, width))
    annotate(annotation, plane.index, plane.truth, predicted, 8, BRUSH)
    return TrainingSet.of(plane.stack, annotation, intensity_range(plane.stack))


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--planes", type=int, default=4)
    args = parser.parse_args()
    prepare_thread()
    bundled = Model.bundled()
    print(f"{date.today()}, {describe(CPU)}, {platform.machine()}, torch {torch.__version__}")
    print(f"bundled weights: {bundled.provenance['pretraining']['steps']} pretraining steps")
    print(f"{args.planes} painted planes, seeds 0…{args.planes - 1}, {args.steps} steps\n")
    print(
        "| dataset | other images in pretraining | painted plane: bundled | fine-tuned "
        "| another plane: bundled | fine-tuned | seconds |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (seen, is_cell) in DATASETS.items():
        planes = planes_of(args.data / name, is_cell, args.planes)
        columns: list[list[float]] = [[], [], [], [], []]
        for seed, plane in enumerate(planes):
            other = planes[(seed + len(planes) // 2) % len(planes)]
            start = bundled.adapted(plane.stack.shape[2])
            predicted = plane.predicted(start)
            data = paint(plane, predicted)
            began = time.monotonic()
            *_, last = fit(start, data, device=CPU, seed=seed, steps=args.steps)
            seconds = time.monotonic() - began
            columns[0].append(dice(predicted, plane.truth))
            columns[1].append(dice(plane.predicted(last.model), plane.truth))
            columns[2].append(dice(other.predicted(start), other.truth))
            columns[3].append(dice(other.predicted(last.model), other.truth))
            columns[4].append(seconds)
        figures = " | ".join(spread(values) for values in columns[:4])
        yes = "yes" if seen else "no"
        print(f"| {name} | {yes} | {figures} | {np.mean(columns[4]):.0f} |", flush=True)


if __name__ == "__main__":
    main()
