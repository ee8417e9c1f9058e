"""Real images with masks as cases for the benchmark: two painted images, others to score.

Each set is a folder of ../shared/data, or part of one. Every method sees the same pixels: those
that Limn would show its network, scaled by the percentiles of their stack, and cut to their middle
where they are large.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from tests.annotator import painted, random_strokes
from unet_core.intensity import intensity_range, normalise
from unet_core.objects import classes_of_objects
from unet_core.stack import PlaneIndex, open_stack

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PAINTED = 2
SCORED = 4
"""At most this many images of a set are scored, evenly spaced."""
SIDE = 768
"""Larger images are cut to their middle, in pixels."""

NEW = "no"
SEEN = "yes"
SAME = "these very ones"


@dataclass(frozen=True)
class Entry:
    """One annotated plane: its place in the dataset's order, its files, its plane in them."""

    number: int
    image: Path
    mask: Path
    plane: int | None = None
    """None where the files hold one plane."""
    columns: tuple[int, int | None] = (0, None)
    """From where to where its columns go."""

    def pixels(self) -> np.ndarray:
        """The image `(C, Y, X)` float32, 0 at its stack's low percentile and 1 at the high one."""
        stack = open_stack(self.image)
        index = PlaneIndex(0, 0) if self.plane is None else list(stack.planes())[self.plane]
        pixels = normalise(stack.plane(*index)[..., slice(*self.columns)], intensity_range(stack))
        return np.ascontiguousarray(_middle(pixels))

    def truth(self, of_mask: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The true objects `(Y, X)` int32, 0 background."""
        key = 0 if self.plane is None else self.plane
        mask = of_mask(tifffile.imread(self.mask, key=key).astype(np.int32))
        return np.ascontiguousarray(_middle(mask[..., slice(*self.columns)]))


def _middle(pixels: np.ndarray) -> np.ndarray:
    """The central `SIDE` × `SIDE` pixels."""
    y, x = (max(0, (size - SIDE) // 2) for size in pixels.shape[-2:])
    return pixels[..., y : y + SIDE, x : x + SIDE]


# --- what the masks mean ---------------------------------------------------------------------


def objects(mask: np.ndarray) -> np.ndarray:
    """Instances as they are."""
    return mask


def membranes(mask: np.ndarray) -> np.ndarray:
    """0 in the mask is membrane, which is what is to be found."""
    return (mask == 0).astype(np.int32)


def interiors(mask: np.ndarray) -> np.ndarray:
    """Cells without gaps: what is within 2 px of another cell is wall, the background here."""
    apart = ndimage.maximum_filter(mask, 5) == ndimage.minimum_filter(mask, 5)
    return np.where(apart, mask, 0)


# --- the sets --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dataset:
    """Where a set comes from, and which of its images may be scored."""

    entries: Callable[[Path], list[Entry]]
    pretraining: str
    """Whether the bundled weights were trained on other images of it: NEW, SEEN or SAME."""
    held_out: Callable[[list[Entry]], list[Entry]] = lambda entries: entries
    """Of all entries those that pretraining never saw: `Source` in packaging/pretrain.py."""
    belongs: Callable[[Path, Entry], bool] = lambda data, entry: True
    """Which entries are of this set, where a dataset is divided."""
    truth: Callable[[np.ndarray], np.ndarray] = objects
    kind: str = "instances"
    """`instances`, or `classes` where the truth has no objects to tell apart."""


def pairs(folder: str) -> Callable[[Path], list[Entry]]:
    """The entries of a folder with images/ and masks/."""

    def entries(data: Path) -> list[Entry]:
        masks = sorted((data / folder / "masks").glob("*.tif"))
        return [Entry(i, data / folder / "images" / m.name, m) for i, m in enumerate(masks)]

    return entries


def planes(folder: str) -> Callable[[Path], list[Entry]]:
    """The entries of a folder with stack.tif and masks.tif."""

    def entries(data: Path) -> list[Entry]:
        image, mask = data / folder / "stack.tif", data / folder / "masks.tif"
        with tifffile.TiffFile(mask) as file:
            count = len(file.pages)
        return [Entry(i, image, mask, i) for i in range(count)]

    return entries


def halves(folder: str, names: tuple[str, ...]) -> Callable[[Path], list[Entry]]:
    """Each of a few pictures as two entries: all the left halves, then all the right ones."""

    def entries(data: Path) -> list[Entry]:
        found: list[Entry] = []
        for side in range(2):
            for name in names:
                mask = data / folder / "masks" / name
                middle = tifffile.imread(mask).shape[-1] // 2
                columns = (0, middle) if side == 0 else (middle, None)
                image = data / folder / "images" / name
                found.append(Entry(len(found), image, mask, None, columns))
        return found

    return entries


def of_kind(kind: str) -> Callable[[Path, Entry], bool]:
    """Images of `dsb2018` that its index calls so."""
    return lambda data, entry: _kinds(data)[entry.image.stem] == kind


@cache
def _kinds(data: Path) -> dict[str, str]:
    with (data / "dsb2018" / "index.csv").open(newline="") as file:
        return {row["name"]: row["kind"] for row in csv.DictReader(file)}


def every_eighth(first: int = 7, step: int = 1) -> Callable[[list[Entry]], list[Entry]]:
    """Every eighth of every `step`-th entry, as pretraining holds them out."""
    return lambda entries: entries[::step][first::8]


def _dsb2018(kind: str) -> Dataset:
    return Dataset(pairs("dsb2018"), SEEN, every_eighth(), of_kind(kind))


SETS: dict[str, Dataset] = {
    "dsb2018_fluorescence": _dsb2018("fluorescence"),
    "dsb2018_purple": _dsb2018("colour histology, purple"),
    "dsb2018_purple_on_white": _dsb2018("colour histology, purple on white"),
    "dsb2018_brightfield": _dsb2018("brightfield grey (stained smear)"),
    "phc_t98g": Dataset(pairs("phc_t98g"), SEEN, every_eighth()),
    "confocal3d_ovule_nuclei": Dataset(planes("confocal3d_ovule_nuclei"), SEEN, every_eighth(7, 3)),
    "confocal3d_ovule_cells": Dataset(
        planes("confocal3d_ovule_cells"), SEEN, every_eighth(7, 3), truth=interiors
    ),
    # Pretraining reads the one image of nuclei2d before, so this stack's seventh is its eighth.
    "stardist_nuclei3d": Dataset(planes("stardist_samples/nuclei3d"), SEEN, every_eighth(6, 3)),
    # Four unlike pictures, none held out: one half of each is painted and the other half scored.
    "embl_two_channels": Dataset(halves("embl_small", ("000.tif", "001.tif")), SAME),
    "embl_mitosis": Dataset(halves("embl_small", ("002.tif", "003.tif")), SAME),
    "phc_u373": Dataset(pairs("phc_u373"), NEW),
    "fluo_u2os_coelho": Dataset(pairs("fluo_u2os_coelho"), NEW),
    "isbi2012_em": Dataset(planes("isbi2012_em"), NEW, truth=membranes, kind="classes"),
}


# --- cases -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One sitting: strokes on two images of a set, and other images of it to be scored."""

    name: str
    seed: int
    kind: str
    """`instances` or `classes`."""
    pretraining: str
    train_images: list[np.ndarray]
    """Each `(C, Y, X)` float32, percentile-normalised: intensity range 0…1."""
    train_labels: list[np.ndarray]
    """Each `(Y, X)` uint8: 0 unlabelled, 1 background, 2 cell."""
    train_truth: list[np.ndarray]
    """Each `(Y, X)` int32 objects: what the annotator knows."""
    test_images: list[np.ndarray]
    test_truth: list[np.ndarray]
    """Each `(Y, X)` int32: 0 background, 1… objects (a single 1 where `kind` is `classes`)."""


def load_case(name: str, seed: int = 0, strokes: int = 8, data: Path = DATA) -> Case:
    """The set `name` with `strokes` strokes on each of two images drawn by `seed`.

    The scored images are the same for every seed, and more strokes begin with the fewer ones.
    Raises ValueError where the set is unknown or has too few images with cells.
    """
    if name not in SETS:
        raise ValueError(f"There is no set “{name}”; choose from {', '.join(SETS)}.")
    dataset = SETS[name]
    random = np.random.default_rng((seed, zlib.crc32(name.encode())))
    painted_on, scored = _divide(dataset, seed, random, data)
    truths = [entry.truth(dataset.truth) for entry in painted_on]
    generators = random.spawn(len(truths))  # so that an image's strokes do not depend on another's
    return Case(
        name,
        seed,
        dataset.kind,
        dataset.pretraining,
        [entry.pixels() for entry in painted_on],
        [
            painted(truth.shape, random_strokes(truth, strokes, generator))
            for truth, generator in zip(truths, generators, strict=True)
        ],
        truths,
        [entry.pixels() for entry in scored],
        [entry.truth(dataset.truth) for entry in scored],
    )


def full_label_cases(name: str, folds: int, data: Path = DATA) -> Iterator[Case]:
    """The set `name` with whole masks: the images of every fold scored, the rest labelled.

    The case's seed is the number of the fold.
    """
    dataset = SETS[name]
    every = dataset.entries(data)
    images = [entry.pixels() for entry in every]
    truths = [entry.truth(dataset.truth) for entry in every]
    for fold in range(folds):
        scored = range(fold, len(every), folds)
        labelled = [i for i in range(len(every)) if i not in scored]
        yield Case(
            name,
            fold,
            dataset.kind,
            dataset.pretraining,
            [images[i] for i in labelled],
            [classes_of_objects(truths[i] + 1) for i in labelled],
            [truths[i] for i in labelled],
            [images[i] for i in scored],
            [truths[i] for i in scored],
        )


def _divide(
    dataset: Dataset, seed: int, random: np.random.Generator, data: Path
) -> tuple[list[Entry], list[Entry]]:
    """The entries to paint on and those to score."""
    every = dataset.entries(data)
    if dataset.pretraining == SAME:  # halves, which change places with every seed
        half = len(every) // 2
        return (every[:half], every[half:]) if seed % 2 == 0 else (every[half:], every[:half])
    scored = evenly(
        [e for e in dataset.held_out(every) if dataset.belongs(data, e) and _usable(e, dataset)],
        SCORED,
    )
    rest = [e for e in every if e not in scored and dataset.belongs(data, e)]
    painted_on: list[Entry] = []
    for i in random.permutation(len(rest)):
        if len(painted_on) < PAINTED and _usable(rest[i], dataset):
            painted_on.append(rest[i])
    if len(painted_on) < PAINTED or not scored:
        raise ValueError("The set has too few images with cells and background.")
    return painted_on, scored


def evenly(entries: list[Entry], count: int) -> list[Entry]:
    """At most `count` of `entries`, evenly spaced."""
    chosen = np.unique(np.linspace(0, len(entries) - 1, min(count, len(entries))).round())
    return [entries[int(i)] for i in chosen]


def _usable(entry: Entry, dataset: Dataset) -> bool:
    """Whether there is enough of both classes to paint on or to score."""
    return 0.01 < (entry.truth(dataset.truth) > 0).mean() < 0.99
