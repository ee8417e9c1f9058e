"""The benchmark's results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.benchmarks.datasets import NEW, SAME, SEEN, SETS

Record = dict[str, Any]
"""One result, a line of the file: what was scored (set, seed, strokes, round, column) and how
(clock, threads), its scores (dice, iou and, with objects, seg and ap50), seconds, steps, and the
scores of each image."""

METRICS = {"dice": "Dice", "seg": "SEG", "ap50": "AP50"}
GROUPS: dict[str, tuple[str, ...]] = {
    "mean: not in pretraining": (NEW,),
    "mean: other images in pretraining": (SEEN,),
    "mean: both of these": (NEW, SEEN),
    "mean: all sets": (NEW, SEEN, SAME),
}
NOTE = f"""\
- of the other images of a set at most 4 are scored, cut to their middle 768 × 768 px; Dice and AP50
  are means over images, SEG is the mean over all true objects; sets without objects have Dice only
- “{SAME}”: no image of the set was held out of pretraining, so one half of each picture is painted
  and the other half scored; the three 3-D sets are scored on planes that pretraining did not see,
  but it has seen planes three slices away"""


def report(records: list[Record], across: list[str], names: list[str]) -> str:
    """What each column took, then its scores, for every round of corrections."""
    parts = [NOTE]
    for turn in sorted({record["round"] for record in records}):
        now = [record for record in records if record["round"] == turn]
        if turn:
            parts.append(f"## Corrected {turn} times")
        parts.append(costs(now, across))
        parts += [scores(now, metric, across, names) for metric in METRICS]
        if "phc_u373" in names:
            parts.append(iou(now, across, "phc_u373"))
    return "\n\n".join(parts)


def curve(records: list[Record], across: list[str], names: list[str]) -> str:
    """Strokes down, columns across: the mean over the sets."""
    parts = [NOTE]
    for metric, title in METRICS.items():
        scored = _with_metric(records, metric, names)
        rows = []
        for strokes in sorted({record["strokes"] for record in records}):
            of = [record for record in records if record["strokes"] == strokes]
            means = [_over_sets(of, metric, column, scored) for column in across]
            rows.append([str(strokes), *map(spread, means)])
        parts.append(f"{title}, mean over {len(scored)} sets:")
        parts.append(table(["strokes on each image", *across], rows))
    return "\n\n".join(parts)


def full_labels(records: list[Record], across: list[str]) -> str:
    """What each column took, and the mean IoU over the folds."""
    return "\n\n".join([costs(records, across), iou(records, across, "phc_u373")])


def costs(records: list[Record], across: list[str]) -> str:
    """Steps done and seconds passed in each column, over all sets and seeds."""
    measured = ("steps", "seconds", "megapixels_per_second")
    rows = []
    for column in across:
        of = [record for record in records if record["column"] == column]
        rows.append([column, *(_range([record[name] for record in of]) for name in measured)])
    head = ["median (range)", "steps done", "seconds to the answer", "Mpixel/s predicted"]
    return table(head, rows)


def scores(records: list[Record], metric: str, across: list[str], names: list[str]) -> str:
    """Sets down, columns across; below, means over groups of sets and who beats the forest."""
    scored = _with_metric(records, metric, names)
    rows = []
    for name in scored:
        found = [_by_seed(records, metric, column, name) for column in across]
        rows.append([name, SETS[name].pretraining, *(spread(list(f.values())) for f in found)])
    for title, group in GROUPS.items():
        members = [name for name in scored if SETS[name].pretraining in group]
        if members:
            means = [spread(_over_sets(records, metric, column, members)) for column in across]
            rows.append([f"**{title}** ({len(members)})", "", *means])
    if "forest" in across:
        wins = [_above_forest(records, metric, column, scored) for column in across]
        rows.append(["**sets above the forest**", "", *wins])
    return table([METRICS[metric], "other images in pretraining", *across], rows)


def iou(records: list[Record], across: list[str], name: str) -> str:
    """Both readings of “mean IoU”: over the cells as in SEG, and of the foreground."""
    rows = []
    for title, metric in (("mean over cells (SEG)", "seg"), ("foreground", "iou")):
        found = [_by_seed(records, metric, column, name) for column in across]
        rows.append([title, *(spread(list(f.values())) for f in found)])
    return table([f"{name}: mean IoU", *across], rows)


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def spread(values: list[float]) -> str:
    """Mean, and lowest to highest where there are several."""
    if not values:
        return "–"
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f}–{max(values):.3f})"


def _range(values: list[float]) -> str:
    return f"{np.median(values):g} ({min(values):g}–{max(values):g})" if values else "–"


def _with_metric(records: list[Record], metric: str, names: list[str]) -> list[str]:
    """The sets that have been scored by this metric."""
    have = {record["set"] for record in records if metric in record}
    return [name for name in names if name in have]


def _by_seed(records: list[Record], metric: str, column: str, name: str) -> dict[int, float]:
    """One set's values in a column, by seed."""
    return {
        record["seed"]: record[metric]
        for record in records
        if record["column"] == column and record["set"] == name and metric in record
    }


def _over_sets(records: list[Record], metric: str, column: str, names: list[str]) -> list[float]:
    """The mean over these sets, for each seed with which all of them have been scored."""
    each = [_by_seed(records, metric, column, name) for name in names]
    seeds = set.intersection(*(set(found) for found in each)) if each else set()
    return [float(np.mean([found[seed] for found in each])) for seed in sorted(seeds)]


def _above_forest(records: list[Record], metric: str, column: str, names: list[str]) -> str:
    """On how many sets a column is above the forest, by its mean over the seeds that both have."""
    if column == "forest":
        return ""
    wins = compared = 0
    for name in names:
        mine = _by_seed(records, metric, column, name)
        other = _by_seed(records, metric, "forest", name)
        shared = mine.keys() & other.keys()
        compared += bool(shared)
        wins += sum(mine[seed] - other[seed] for seed in shared) > 0
    return f"{wins} of {compared}"
