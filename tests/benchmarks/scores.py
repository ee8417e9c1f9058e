"""How good a mask is: of the foreground, and of the objects in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """One predicted image against the truth; all values are between 0 and 1."""

    dice: float
    iou: float
    """Intersection over union of the foreground."""
    seg: list[float] | None
    """One value for each true object, see `seg`; None where the truth has no objects."""
    ap50: float | None


def score(
    probability: np.ndarray, found: np.ndarray, truth: np.ndarray, instances: bool = True
) -> Scores:
    """Score one image.

    `probability` of the foreground `(Y, X)` 0…1 counts from 0.5 on; `found` and `truth` are objects
    `(Y, X)` integer, 0 background.
    """
    cells, true_cells = probability >= 0.5, truth > 0
    both, either = int((cells & true_cells).sum()), int((cells | true_cells).sum())
    total = both + either
    return Scores(
        dice=2 * both / total if total else 1.0,
        iou=both / either if either else 1.0,
        seg=seg(found, truth) if instances else None,
        ap50=average_precision(found, truth) if instances else None,
    )


def seg(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """For each true object the Jaccard index with the found one that covers more than half of it.

    0 where none does. The mean over all true objects is SEG, the segmentation accuracy of the Cell
    Tracking Challenge (Maška et al., Nature Methods 2023, 10.1038/s41592-023-01879-y, Methods).
    """
    overlap, of_found, of_truth = _overlaps(found, truth)
    jaccard = overlap / (of_found[:, None] + of_truth[None] - overlap)
    matched = overlap > 0.5 * of_truth  # at most one found object can do so
    return [float(value) for value in np.where(matched, jaccard, 0).sum(axis=0)]


def average_precision(found: np.ndarray, truth: np.ndarray) -> float:
    """TP / (TP + FP + FN) of objects that overlap by an intersection over union above 0.5.

    As in the 2018 Data Science Bowl at that threshold (Caicedo et al., Nature Methods 2019,
    10.1038/s41592-019-0612-7). Above one half no object can have two partners. 1 where there are
    no objects and none were found.
    """
    overlap, of_found, of_truth = _overlaps(found, truth)
    jaccard = overlap / (of_found[:, None] + of_truth[None] - overlap)
    matches = int((jaccard > 0.5).sum())
    either = len(of_found) + len(of_truth) - matches
    return matches / either if either else 1.0


def _overlaps(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Common pixels (found objects, true objects), and the sizes of both."""
    rows, columns = _from_one(found), _from_one(truth)
    shape = (int(rows.max(initial=0)) + 1, int(columns.max(initial=0)) + 1)
    pairs = np.ravel_multi_index((rows.ravel(), columns.ravel()), shape)
    table = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
    return table[1:, 1:], table[1:].sum(axis=1), table[:, 1:].sum(axis=0)


def _from_one(objects: np.ndarray) -> np.ndarray:
    """The same objects numbered 1, 2, 3… without gaps, 0 background."""
    numbers, inverse = np.unique(np.append(objects, objects.dtype.type(0)), return_inverse=True)
    return inverse[:-1].reshape(objects.shape) - int(np.searchsorted(numbers, 0))
