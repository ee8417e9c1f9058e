"""From stacks and strokes to batches: sampling around labels, augmentation.

Random choices come from a generator that the caller seeds, so a training run can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor
from torch.nn import functional

from unet_core.annotation import TILE, Annotation
from unet_core.elastic import displacements
from unet_core.intensity import CLIP, normalise, read_mirrored
from unet_core.networks import Network
from unet_core.stack import LARGE_PIXELS, PlaneIndex, Stack
from unet_core.tiling import Rect, round_up

N = TypeVar("N", bound=np.generic)

# --- labelled pixels -------------------------------------------------------------------------

MARGIN = 224
"""Image context, in pixels, kept around labelled tiles for patches and their augmentation."""

BLOCK = 128
"""Labels are balanced over strokes; what is longer than this, in pixels, counts as several."""

KEPT_ASIDE = 5
"""One in so many strokes of each class is kept aside to judge by…"""
LEAST_KEPT_ASIDE = 3
"""…but none where that would be fewer than these: they would be missed, and say nothing."""
MOST_KEPT_ASIDE = 12
"""Strokes of a class that are kept aside at most."""

NEW_WEIGHT = 3.0
"""How much more often a stroke is drawn while it is new."""


@dataclass(frozen=True)
class Region:
    """Part of one plane that holds labels, with the image around them."""

    image: NDArray[np.generic]
    """`(C, Y, X)`, raw intensities, a copy."""
    labels: NDArray[np.uint8]
    """`(Y, X)`: 0 unlabelled, 1 background, 2… the user's classes."""
    ranges: NDArray[np.float32]
    """`(C, 2)`: the stack's intensity range."""
    origin: tuple[int, int, int, int] = (0, 0, 0, 0)
    """t, z, y, x of the first pixel. y and x are multiples of any network's stride."""
    emphasis: NDArray[np.float32] | None = None
    """`(Y, X)`: how much more each pixel counts than its class alone would make it."""
    interior: NDArray[np.float32] | None = None
    """`(Y, X)`: `objects.known_interior`, where cells are labelled one by one."""


@dataclass(frozen=True)
class Stroke:
    """Connected pixels of one class: what was painted in one go, or a part of a larger area."""

    value: int
    region: int
    pixels: NDArray[np.intp]
    """`(n, 2)`, rows and columns in the region."""
    place: int
    """A number drawn from where it is, the same in every set that holds it."""


class TrainingSet:
    """Labelled regions and their strokes.

    `strokes` are those of `regions`, where they are known: in whole masks it takes long to find
    them, so they are looked for when they are first asked for.
    """

    def __init__(self, regions: list[Region], strokes: list[Stroke] | None = None) -> None:
        self.regions = regions
        self._strokes = strokes
        self._new: set[int] = set()

    @classmethod
    def joined(cls, parts: Sequence[TrainingSet]) -> TrainingSet:
        """All regions and strokes of several sets, one set after the other."""
        strokes: list[Stroke] = []
        regions: list[Region] = []
        for part in parts:
            strokes += [replace(s, region=s.region + len(regions)) for s in part.strokes]
            regions += part.regions
        return cls(regions, strokes)

    @property
    def strokes(self) -> list[Stroke]:
        """Region by region, in an order that depends on the labels only."""
        if self._strokes is None:
            self._strokes = [s for i, r in enumerate(self.regions) for s in _strokes_of(r, i)]
        return self._strokes

    @cached_property
    def _drawn(self) -> dict[int, dict[int, list[Stroke]]]:
        """For each class value and each region that holds it: its strokes."""
        drawn: dict[int, dict[int, list[Stroke]]] = {}
        for stroke in self.strokes:
            drawn.setdefault(stroke.value, {}).setdefault(stroke.region, []).append(stroke)
        return drawn

    @classmethod
    def of(
        cls,
        stack: Stack,
        annotation: Annotation,
        ranges: NDArray[np.float32],
        highest: int = 255,
    ) -> TrainingSet:
        """All labelled parts of `annotation`, with their pixels read from `stack`.

        Labels above the value `highest` count as unlabelled.
        """
        regions = []
        for plane in annotation.labelled_planes():
            pixels = stack.lazy_plane(*plane)
            for box in labelled_boxes(annotation, plane):
                labels = annotation.read(plane, box)
                labels[labels > highest] = 0
                image = np.array(pixels[(slice(None), *box.slices)])
                regions.append(Region(image, labels, ranges, (*plane, box.y, box.x)))
        return cls(regions)

    @property
    def values(self) -> list[int]:
        """The class values that are labelled anywhere, ascending."""
        return sorted(self._drawn)

    def pixel_counts(self) -> dict[int, int]:
        """Labelled pixels of each class value."""
        counts = dict.fromkeys(self.values, 0)
        for stroke in self.strokes:
            counts[stroke.value] += len(stroke.pixels)
        return counts

    def split(self) -> tuple[TrainingSet, TrainingSet | None]:
        """The strokes to train on, and those kept aside to judge by.

        Which ones are kept aside depends on where they are, so that a stroke stays on its side
        when others are added. None, and all are trained on, where a class has too few for that.
        """
        aside: list[Stroke] = []
        for value in self.values:
            own = sorted((s for s in self.strokes if s.value == value), key=lambda s: s.place)
            count = min(len(own) // KEPT_ASIDE, MOST_KEPT_ASIDE)
            if count < LEAST_KEPT_ASIDE:
                return self, None
            aside += own[:count]
        learned = [region.labels.copy() for region in self.regions]
        judged = [np.zeros_like(region.labels) for region in self.regions]
        for stroke in aside:
            where = tuple(stroke.pixels.T)
            learned[stroke.region][where], judged[stroke.region][where] = 0, stroke.value
        taken = {id(stroke) for stroke in aside}
        others = [stroke for stroke in self.strokes if id(stroke) not in taken]
        return self._part(learned, others), self._part(judged, aside)

    def _part(self, labels: list[NDArray[np.uint8]], strokes: list[Stroke]) -> TrainingSet:
        """The same regions with only these of the labels and strokes; what is new stays so."""
        regions = zip(self.regions, labels, strict=True)
        part = TrainingSet([replace(region, labels=own) for region, own in regions], strokes)
        part._new = self._new
        return part

    def prefer_what_is_not_in(self, former: TrainingSet) -> None:
        """Draw the strokes that `former` does not hold more often: they are the newest."""
        known = {stroke.place for stroke in former.strokes}
        self._new = {stroke.place for stroke in self.strokes} - known

    def draw_centres(
        self, count: int, random: np.random.Generator
    ) -> Iterator[tuple[int, int, int]]:
        """`count` times region number, row and column of a labelled pixel.

        Classes take turns; within a class every region has the same chance, within a region every
        stroke but new ones a higher one, and within a stroke every pixel.
        """
        values = self.values
        first = int(random.integers(len(values)))
        for i in range(count):
            of_class = self._drawn[values[(first + i) % len(values)]]
            strokes = of_class[sorted(of_class)[int(random.integers(len(of_class)))]]
            weights = np.array([NEW_WEIGHT if s.place in self._new else 1.0 for s in strokes])
            stroke = strokes[int(random.choice(len(strokes), p=weights / weights.sum()))]
            y, x = stroke.pixels[int(random.integers(len(stroke.pixels)))]
            yield stroke.region, int(y), int(x)


@dataclass(frozen=True)
class StrokeWindow:
    """A stroke with all of the image that a network needs to judge it."""

    image: Tensor
    """`(1, C, Y, X)` float32, normalised."""
    pixels: NDArray[np.intp]
    """`(n, 2)`, rows and columns in `image`."""


def window_of(
    data: TrainingSet, stroke: Stroke, network: Network, *, halo: int | None = None, most: int = 400
) -> StrokeWindow:
    """The surroundings of a stroke, aligned to the network's pooling grid.

    All that the network can see, or `halo` pixels around the stroke, a multiple of the network's
    stride. Of long strokes, `most` pixels that are evenly spread.
    """
    halo = network.halo if halo is None else halo
    region = data.regions[stroke.region]
    low = stroke.pixels.min(axis=0) // network.stride * network.stride - halo
    reach = int((stroke.pixels.max(axis=0) + 1 - low).max())
    size = round_up(reach + halo, network.stride)
    around = Rect(int(low[0]), int(low[1]), size, size)
    image = normalise(read_mirrored(region.image, around), region.ranges)
    every = -(-len(stroke.pixels) // most)
    batch = torch.from_numpy(image)[None].contiguous(memory_format=torch.channels_last)
    return StrokeWindow(batch, stroke.pixels[::every] - low)


def labelled_boxes(annotation: Annotation, plane: PlaneIndex) -> list[Rect]:
    """Boxes around the labelled tiles of a plane, with `MARGIN` around them, inside the plane.

    One box; of a large plane several, which do not meet, where labels lie far apart.
    """
    whole = Rect(0, 0, *annotation.shape[2:])
    apart = whole.height * whole.width > LARGE_PIXELS
    boxes: list[Rect] = []
    for row, column in sorted(annotation.tiles(plane)):
        box = Rect(row * TILE, column * TILE, TILE, TILE).expand(MARGIN).intersect(whole)
        while near := [b for b in boxes if not apart or not b.intersect(box).empty]:
            for other in near:
                boxes.remove(other)
                box = box.union(other)
        boxes.append(box)
    return sorted(boxes)


def _strokes_of(region: Region, number: int) -> Iterator[Stroke]:
    """The connected parts of each class, cut to pieces where they are long.

    Not pixels are sorted into them but runs, pixels of a row side by side: whole masks have far
    fewer of these.
    """
    t, z, y, x = region.origin
    width = region.labels.shape[1]
    parts = label(region.labels, background=0, connectivity=2)
    begins = np.ones(parts.shape, bool)
    begins[:, 1:] = parts[:, 1:] != parts[:, :-1]
    # Blocks of the plane: those of the region would move when more is painted above or left.
    begins[:, -x % BLOCK :: BLOCK] = True
    starts = np.flatnonzero(begins)
    part, lengths = parts.ravel()[starts], np.diff(starts, append=parts.size)
    labelled = part > 0
    starts, part, lengths = starts[labelled], part[labelled], lengths[labelled]
    rows, columns = np.divmod(starts, width)
    long = _extents(part, rows, columns, columns + lengths) > BLOCK
    down, right = (rows + y) // BLOCK * long, (columns + x) // BLOCK * long
    order = np.lexsort((right, down, part))  # within a piece, as they lie
    key, lengths = np.stack((part, down, right))[:, order], lengths[order]
    before = np.cumsum(lengths) - lengths
    pixels = np.empty((int(lengths.sum()), 2), np.intp)
    pixels[:, 0] = np.repeat(rows[order], lengths)
    pixels[:, 1] = np.arange(len(pixels)) + np.repeat(columns[order] - before, lengths)
    for piece in np.split(pixels, before[1:][(key[:, 1:] != key[:, :-1]).any(axis=0)]):
        if not len(piece):
            return  # nothing is labelled
        row, column = (int(first) for first in piece[0])
        value = int(region.labels[row, column])
        where = (value, t, z, y + row, x + column)
        yield Stroke(value, number, piece, crc32(repr(where).encode()))


def _extents(
    part: NDArray[np.integer],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    ends: NDArray[np.intp],
) -> NDArray[np.intp]:
    """For each run of pixels, the longer side of the box around all runs of its part, `(n,)`.

    `part` counts from 1, without a gap; a run spans `columns` up to but not including `ends`.
    """
    if not len(part):
        return rows
    order = np.argsort(part, kind="stable")
    firsts = np.flatnonzero(np.diff(part[order], prepend=0))
    height = np.maximum.reduceat(rows[order] + 1, firsts) - np.minimum.reduceat(rows[order], firsts)
    span = np.maximum.reduceat(ends[order], firsts) - np.minimum.reduceat(columns[order], firsts)
    return np.maximum(height, span)[part - 1]


@dataclass(frozen=True)
class Batch:
    """Augmented patches around labelled pixels."""

    images: Tensor
    """`(N, C, Y, X)`, normalised float32."""
    labels: Tensor
    """`(N, Y, X)` int64 class values, 0 where unlabelled or outside."""
    emphasis: Tensor | None
    """`(N, Y, X)` float32, see `Region.emphasis`; None where there is none."""
    interior: Tensor | None = None
    """`(N, Y, X)` float32, see `Region.interior`; None where there is none."""


def draw_batch(
    data: TrainingSet,
    *,
    batch: int,
    size: int,
    random: np.random.Generator,
    margin: int = 0,
    augmentation: Augmentation | None = None,
) -> Batch:
    """`batch` augmented patches of `size` × `size` pixels, the outer `margin` of no use."""
    jitter = (size - 2 * margin) // 4
    # A rotated, shrunk patch looks into a window of up to √2 · 1.35 its size; what the window
    # cannot show is mirrored (image) and unlabelled (labels).
    source = 2 * int(size * 0.75)
    images, maps = [], []
    emphasised = any(region.emphasis is not None for region in data.regions)
    numbered = any(region.interior is not None for region in data.regions)
    for number, y, x in data.draw_centres(batch, random):
        region = data.regions[number]
        # Not always in the middle: the network must not learn that labels are.
        dy, dx = random.integers(-jitter, jitter + 1, 2)
        window = Rect(y + int(dy) - source // 2, x + int(dx) - source // 2, source, source)
        images.append(normalise(read_mirrored(region.image, window), region.ranges))
        known = [_read_padded(region.labels, window).astype(np.float32)]  # small integers: exact
        for there, values in ((emphasised, region.emphasis), (numbered, region.interior)):
            if there:
                nothing = np.zeros_like(known[0])
                known.append(nothing if values is None else _read_padded(values, window))
        maps.append(np.stack(known))
    seen, moved = augment(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(maps)),
        size=size,
        random=random,
        how=augmentation or Augmentation(),
    )
    return Batch(
        seen,
        moved[:, 0].long(),
        moved[:, 1] if emphasised else None,
        moved[:, -1] if numbered else None,
    )


def _read_padded(values: NDArray[N], window: Rect) -> NDArray[N]:
    """Cut `window` out of `values` `(Y, X)`, zero where the window leaves it."""
    result = np.zeros((window.height, window.width), values.dtype)
    inside = window.intersect(Rect(0, 0, *values.shape))
    if not inside.empty:
        y, x = inside.y - window.y, inside.x - window.x
        result[y : y + inside.height, x : x + inside.width] = values[inside.slices]
    return result


# --- augmentation ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """How far patches are varied. Geometry is always flipped and freely rotated."""

    scale: float = 1.35
    """Zoom between 1/scale and scale."""
    elastic: float = 4.0
    """Standard deviation, in pixels, of the coarse displacement grid (U-Net paper: 10)."""
    elastic_grid: int = 5
    """Vectors of that grid in either direction (U-Net paper: 3)."""
    contrast: float = 0.25
    """Gain between 1 - contrast and 1 + contrast, and half as much offset."""
    gamma: float = 1.4
    """Exponent between 1/gamma and gamma."""
    noise: float = 0.05
    """Largest standard deviation of added Gaussian noise."""
    blur: float = 0.0
    """Chance of a 3 × 3 or 5 × 5 Gaussian blur."""
    invert: float = 0.0
    """Chance of swapping dark and bright."""
    shading: float = 0.0
    """Largest strength of an uneven illumination."""


def augment(
    images: Tensor,
    maps: Tensor,
    *,
    size: int,
    random: np.random.Generator,
    how: Augmentation,
    alike: int = 1,
) -> tuple[Tensor, Tensor]:
    """Vary a batch: images `(N, C, S, S)` and maps of them `(N, M, S, S)`, float32, S > size.

    Returns images `(N, C, size, size)` and maps `(N, M, size, size)`. The maps are only moved, each
    value as it is, and are zero outside. Every `alike` images in a row are shown at one scale and
    one polarity, as images of one experiment are.
    """
    grid = _sampling_grid(images.shape[0], images.shape[-1], size, random, how, alike)
    warped = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    # Nearest never mixes two labels.
    moved = functional.grid_sample(
        maps, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return _vary_intensities(warped, random, how, alike), moved


def _sampling_grid(
    batch: int,
    source: int,
    size: int,
    random: np.random.Generator,
    how: Augmentation,
    alike: int,
) -> Tensor:
    """Where each output pixel comes from, `(N, size, size, 2)` in grid_sample's coordinates."""
    angle = random.uniform(0, 2 * math.pi, batch)
    zoom = np.exp(random.uniform(-math.log(how.scale), math.log(how.scale), batch // alike))
    zoom = zoom.repeat(alike)
    flip = random.choice((-1.0, 1.0), batch)
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    matrix = np.stack(
        (np.stack((cosine * flip, -sine), 1), np.stack((sine * flip, cosine), 1)), 1
    ).astype(np.float32)
    theta = torch.zeros(batch, 2, 3)
    theta[:, :, :2] = torch.from_numpy(matrix) * (size / source)
    grid = functional.affine_grid(theta, [batch, 1, size, size], align_corners=False)
    if how.elastic:
        bend = displacements(batch, size, grid=how.elastic_grid, sigma=how.elastic, random=random)
        grid = grid + bend.permute(0, 2, 3, 1) * (2 / source)
    return grid


def _vary_intensities(
    images: Tensor, random: np.random.Generator, how: Augmentation, alike: int
) -> Tensor:
    """Vary the intensities of `(N, C, Y, X)`; see `augment`."""
    n, channels = images.shape[:2]

    def each(low: float, high: float, per_channel: bool = False) -> Tensor:
        drawn = random.uniform(low, high, (n, channels if per_channel else 1, 1, 1))
        return torch.from_numpy(drawn.astype(np.float32))

    def each_group(low: float, high: float) -> Tensor:
        drawn = random.uniform(low, high, (n // alike, 1, 1, 1)).repeat(alike, axis=0)
        return torch.from_numpy(drawn.astype(np.float32))

    if how.invert:
        images = torch.where(each_group(0, 1) < how.invert, 1.0 - images, images)
    if how.gamma > 1:
        exponent = torch.exp(each_group(-math.log(how.gamma), math.log(how.gamma)))
        images = images.sign() * images.abs().clamp_min(1e-6) ** exponent
    if how.contrast:
        images = images * each(1 - how.contrast, 1 + how.contrast, True)
        images = images + each(-how.contrast / 2, how.contrast / 2, True)
    if how.shading:
        coarse = torch.from_numpy(random.normal(0, 1, (n, 1, 3, 3)).astype(np.float32))
        shade = functional.interpolate(
            coarse, images.shape[-2:], mode="bicubic", align_corners=True
        )
        images = images * (1 + each(0, how.shading) * shade)
    if how.blur and random.uniform() < how.blur:
        images = functional.avg_pool2d(
            functional.pad(images, (1, 1, 1, 1), mode="reflect"), 3, stride=1
        )
    if how.noise:
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        images = images + torch.randn(images.shape, generator=generator) * each(0, how.noise)
    return images.clamp(*CLIP)
