"""The best mask from the fewest strokes in the least time: Limn beside a random forest.

    python tests/benchmarks/strokes.py [--sets NAME …] [--methods NAME …] [--seeds 3] [--strokes 8]
        [--marks 2 5 15 30 60] [--threads 2] [--jsonl strokes.jsonl] [--out results.md]
        [--curve | --full-labels] [--rounds 0] [--clock wall|processor] [--data ../shared/data]

A careful annotator is simulated (`random_strokes` in tests/annotator.py): on each of two images of
a set it paints so many strokes, in turn on cells and on background. With --rounds it then looks at
each method's own answer on these two images and paints as many strokes again into the largest
mistakes. Other images of the set are scored (tests/benchmarks/datasets.py says which), the same
ones with the same strokes for every method:

    forest    filters of many scales and a random forest: ilastik, Labkit, Weka
    scratch   our network from random weights, trained for 30 s
    bundled   the bundled weights as they are; they see no stroke
    instant   Limn's answer to the strokes before any training
    limn      Limn after each of --marks seconds of training

With --clock processor the seconds are those that the main thread was at work: what they would be
on a machine with nothing else to do, since training and predicting on the CPU keep this thread
busy from beginning to end, and --threads bring others to help.

Every result is appended to --jsonl as it comes, and what is there already is not computed again.
--curve does it for 2, 4, 8, 16 and 32 strokes; --full-labels trains on whole masks of phc_u373
instead, on twelve frames to score the other three, five times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch reads it

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.annotator import CELL, painted, strokes_for
from tests.benchmarks import limn_engine
from tests.benchmarks.answer import Answer, Clock
from tests.benchmarks.datasets import DATA, SETS, Case, full_label_cases, load_case
from tests.benchmarks.forest import forest
from tests.benchmarks.scores import Scores, score
from tests.benchmarks.tables import Record, curve, full_labels, report
from unet_core.device import describe, prepare_thread
from unet_core.objects import classes_of_objects

SCRATCH_SECONDS = 30
CURVE = (2, 4, 8, 16, 32)
WHOLE_MASKS = 0
"""Stands for the number of strokes where whole masks were given…"""
SAME_IMAGES = -2
"""…and for that where the two images that are painted on elsewhere were labelled whole."""
FOLDS = 5
CLOCKS = {"wall": time.monotonic, "processor": time.thread_time}
METHODS = ("forest", "scratch", "bundled", "instant", "limn")

# --- running ---------------------------------------------------------------------------------


def columns(method: str, marks: list[float]) -> list[str]:
    """The names under which a method's answers are listed."""
    if method == "limn":
        return [f"limn {mark:g} s" for mark in marks]
    return [f"scratch {SCRATCH_SECONDS} s"] if method == "scratch" else [method]


def answers(
    method: str, case: Case, labels: list[np.ndarray], marks: list[float], clock: Clock
) -> dict[str, Answer]:
    """A method's answers to the labels, one for each of its columns."""
    images, names = case.train_images, columns(method, marks)
    if method == "forest":
        found = [forest(images, labels, case.seed, clock)]
    elif method == "bundled":
        found = [limn_engine.bundled(images, labels, clock)]
    elif method == "instant":
        found = [limn_engine.instant(images, labels, clock)]
    else:
        scratch = method == "scratch"
        seconds = [SCRATCH_SECONDS] if scratch else marks
        after = limn_engine.finetune(images, labels, seconds, case.seed, scratch, clock)
        found = [after[mark] for mark in seconds]
    return dict(zip(names, found, strict=True))


def corrected(
    case: Case, labels: list[np.ndarray], answer: Answer, strokes: int
) -> list[np.ndarray]:
    """The labels with so many more strokes on each image, in the largest mistakes of `answer`."""
    result = []
    for image, objects, marked in zip(case.train_images, case.train_truth, labels, strict=True):
        truth = objects > 0
        paths = strokes_for(truth, answer.predict(image)[0] >= 0.5, strokes)
        newer = painted(truth.shape, paths)
        newer[(newer == CELL) != truth] = 0  # where a region was too narrow for the brush
        result.append(np.where(newer > 0, newer, marked))
    return result


def evaluate(case: Case, answer: Answer, clock: Clock) -> Record:
    """Scores over the scored images: Dice, IoU and AP50 as means over images, SEG over objects."""
    began = clock()
    predictions = [answer.predict(image) for image in case.test_images]
    seconds = clock() - began
    each: list[Scores] = [
        score(probability, found, truth, case.kind == "instances")
        for (probability, found), truth in zip(predictions, case.test_truth, strict=True)
    ]
    means = {"dice": [s.dice for s in each], "iou": [s.iou for s in each]}
    if case.kind == "instances":
        means["ap50"] = [s.ap50 or 0.0 for s in each]
        means["seg"] = [value for s in each for value in s.seg or []]
    pixels = sum(image[0].size for image in case.test_images)
    return {
        **{name: round(float(np.mean(values)), 4) for name, values in means.items()},
        "seconds": round(answer.seconds, 2),
        "steps": answer.steps,
        "megapixels_per_second": round(pixels / 1e6 / seconds, 3),
        "images": [{n: _short(value) for n, value in asdict(s).items()} for s in each],
    }


def _short(value: float | list[float] | None) -> float | None:
    """A score, or the mean of the objects' scores, in four digits."""
    return None if value is None else round(float(np.mean(value)), 4)


@dataclass(frozen=True)
class Sitting:
    """How every case is worked on."""

    strokes: int
    rounds: int
    marks: list[float]
    clock: str


def run(case: Case, method: str, how: Sitting, known: set[str]) -> Iterator[Record]:
    """A method's results on a case, round by round, but for what is `known` already."""
    keys = [
        {
            "set": case.name,
            "seed": case.seed,
            "strokes": how.strokes,
            "round": turn,
            "column": column,
            "clock": how.clock,
            "threads": torch.get_num_threads(),
        }
        for turn in range(how.rounds + 1)
        for column in columns(method, how.marks)
    ]
    if all(key_of(key) in known for key in keys):
        return
    labels = case.train_labels
    clock = clock_of(method, how.clock)
    for turn in range(how.rounds + 1):
        found = answers(method, case, labels, how.marks, clock)
        for key in keys:
            if key["round"] == turn and key_of(key) not in known:
                result = evaluate(case, found[str(key["column"])], clock)
                yield {**key, "date": str(date.today()), **result}
        if turn < how.rounds:
            labels = corrected(case, labels, list(found.values())[-1], how.strokes)


def clock_of(method: str, name: str) -> Clock:
    """The clock for a method. The forest runs one thread at a time, but not always the same one."""
    return time.process_time if name == "processor" and method == "forest" else CLOCKS[name]


KEY = ("set", "seed", "strokes", "round", "column", "clock", "threads")


def key_of(record: Record) -> str:
    """What makes a result one and the same."""
    return json.dumps([record[name] for name in KEY])


class Results:
    """All results so far, kept in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self.records: list[Record] = [json.loads(line) for line in lines]

    @property
    def known(self) -> set[str]:
        return {key_of(record) for record in self.records}

    def add(self, record: Record) -> None:
        self.records.append(record)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strokes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=0, help="of corrections")
    parser.add_argument("--marks", nargs="+", type=float, default=[2, 5, 15, 30, 60])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--jsonl", type=Path, default=Path("strokes.jsonl"))
    parser.add_argument("--out", type=Path)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--curve", action="store_true")
    mode.add_argument("--full-labels", action="store_true")
    mode.add_argument(
        "--whole-images",
        action="store_true",
        help="label the two images whole",
    )
    args = parser.parse_args()
    prepare_thread()
    torch.set_num_threads(args.threads)
    across = [column for method in args.methods for column in columns(method, args.marks)]
    results = Results(args.jsonl)
    wanted: set[int] = set(CURVE) if args.curve else {args.strokes}
    if args.full_labels:
        wanted = {WHOLE_MASKS}
    if args.whole_images:
        wanted = {SAME_IMAGES}
    for strokes in sorted(wanted):
        for case in cases(args.sets, args.seeds, strokes, args.data):
            how = Sitting(strokes, args.rounds, args.marks, args.clock)
            for method in args.methods:
                for record in run(case, method, how, results.known):
                    results.add(record)
                    tell(record)
    chosen = [
        record
        for record in results.records
        if record["strokes"] in wanted
        and record["set"] in args.sets
        and record["column"] in across
        and record["seed"] < max(args.seeds, FOLDS if args.full_labels else 0)
        and record["round"] <= args.rounds
        and record["clock"] == args.clock
        and record["threads"] == args.threads
    ]
    if args.full_labels:
        text = full_labels(chosen, across)
    elif args.curve:
        text = curve(chosen, across, args.sets)
    else:
        text = report(chosen, across, args.sets)
    text = f"{about(args.seeds, sorted(wanted), args.clock)}\n\n{text}\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def cases(sets: list[str], seeds: int, strokes: int, data: Path) -> Iterator[Case]:
    """Every set with every seed; or, with whole masks, the folds of phc_u373."""
    if strokes == WHOLE_MASKS:
        yield from full_label_cases("phc_u373", FOLDS, data)
        return
    for seed in range(seeds):  # all sets once before any set twice: a first table comes early
        for name in sets:
            case = load_case(name, seed, max(strokes, 1), data)
            if strokes == SAME_IMAGES:
                case.train_labels[:] = [classes_of_objects(t + 1) for t in case.train_truth]
            yield case


def tell(record: Record) -> None:
    """One line on how it goes."""
    scores = "  ".join(f"{n} {record[n]:.3f}" for n in ("dice", "seg", "ap50") if n in record)
    done = f"{record['seconds']} s, {record['steps']} steps"
    where = f"{record['set']}, seed {record['seed']}, {record['strokes']} strokes"
    print(f"{where}, {record['column']}: {scores} ({done})", file=sys.stderr, flush=True)


def about(seeds: int, strokes: list[int], clock: str) -> str:
    """Where, when and on what."""
    if strokes == [WHOLE_MASKS]:
        painted_how = (
            f"whole masks of {FOLDS - 1} parts of {FOLDS}, the last part is scored in turn"
        )
    elif strokes == [SAME_IMAGES]:
        painted_how = f"whole masks of the same 2 images, seeds 0…{seeds - 1}"
    else:
        painted_how = (
            f"{', '.join(map(str, strokes))} strokes on each of 2 images, seeds 0…{seeds - 1}: "
            "mean (lowest–highest over the seeds)"
        )
    return "\n".join(
        [
            f"- {date.today()}, {describe(torch.device('cpu'))}, {platform.machine()}, "
            f"torch {torch.__version__}; torch threads: {torch.get_num_threads()}, the forest: 1",
            f"- {painted_how}",
            f"- seconds by the {clock} clock",
        ]
    )


if __name__ == "__main__":
    main()
