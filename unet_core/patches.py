"""From stacks and strokes to batches: sampling around labels, augmentation.

Random choices come from a generator that the caller seeds, so a training run can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unet_core.annotation import TILE, Annotation
from unet_core.intensity import CLIP, normalise, read_mirrored
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

# --- labelled pixels -------------------------------------------------------------------------

MARGIN = 224
"""Image context, in pixels, kept around labelled tiles for patches and their augmentation."""

BLOCK = 64
"""Labels are balanced over blocks of this side, so that a long fill does not drown a stroke."""


@dataclass(frozen=True)
class Region:
    """Part of one plane that holds labels, with the image around them."""

    image: NDArray[np.generic]
    """`(C, Y, X)`, raw intensities, a copy."""
    labels: NDArray[np.uint8]
    """`(Y, X)`: 0 unlabelled, 1 background, 2… the user's classes."""
    ranges: NDArray[np.float32]
    """`(C, 2)`: the stack's intensity range."""


class TrainingSet:
    """Labelled regions and an index of where each class is labelled."""

    def __init__(self, regions: list[Region]) -> None:
        self.regions = regions
        # For each class value: its blocks, each an array (n, 2) of labelled pixels in one region.
        self._blocks: dict[int, list[tuple[int, NDArray[np.intp]]]] = {}
        for number, region in enumerate(regions):
            for value, pixels in _labelled_blocks(region.labels):
                self._blocks.setdefault(value, []).append((number, pixels))

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
            box = labelled_box(annotation, plane)
            pixels = np.array(stack.plane(plane.t, plane.z)[(slice(None), *box.slices)])
            labels = annotation.read(plane, box)
            labels[labels > highest] = 0
            regions.append(Region(pixels, labels, ranges))
        return cls(regions)

    @property
    def values(self) -> list[int]:
        """The class values that are labelled anywhere, ascending."""
        return sorted(self._blocks)

    def pixel_counts(self) -> dict[int, int]:
        """Labelled pixels of each class value."""
        return {
            value: sum(len(pixels) for _, pixels in blocks)
            for value, blocks in sorted(self._blocks.items())
        }

    def draw_centres(
        self, count: int, random: np.random.Generator
    ) -> Iterator[tuple[int, int, int]]:
        """`count` times region number, row and column of a labelled pixel.

        Classes take turns; within a class every block has the same chance, and within a block
        every labelled pixel.
        """
        values = self.values
        first = int(random.integers(len(values)))
        for i in range(count):
            blocks = self._blocks[values[(first + i) % len(values)]]
            region, pixels = blocks[int(random.integers(len(blocks)))]
            y, x = pixels[int(random.integers(len(pixels)))]
            yield region, int(y), int(x)


def labelled_box(annotation: Annotation, plane: PlaneIndex) -> Rect:
    """The labelled tiles of a plane and `MARGIN` around them, inside the plane."""
    box = Rect(0, 0, 0, 0)
    for row, column in annotation.tiles(plane):
        box = box.union(Rect(row * TILE, column * TILE, TILE, TILE))
    height, width = annotation.shape[2:]
    return box.expand(MARGIN).intersect(Rect(0, 0, height, width))


def _labelled_blocks(labels: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each class's labelled pixels `(n, 2)`, block by block."""
    rows, columns = np.nonzero(labels)
    values = labels[rows, columns]
    across = -(-labels.shape[1] // BLOCK)
    keys = (values.astype(np.int64) * (labels.shape[0] // BLOCK + 1) + rows // BLOCK) * across
    keys += columns // BLOCK
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for group in np.split(order, starts[1:]):
        if group.size:
            pixels = np.stack((rows[group], columns[group]), axis=1)
            yield int(values[group[0]]), pixels


def draw_batch(
    data: TrainingSet,
    *,
    batch: int,
    size: int,
    random: np.random.Generator,
    augmentation: Augmentation | None = None,
) -> tuple[Tensor, Tensor]:
    """Augmented patches around labelled pixels.

    Images are `(N, C, size, size)`, normalised float32; labels are `(N, size, size)` int64 class
    values, 0 where unlabelled or outside.
    """
    # A rotated, shrunk patch looks into a window of up to √2 · 1.35 its size; what the window
    # cannot show is mirrored (image) and unlabelled (labels).
    source = 2 * int(size * 0.75)
    images, labels = [], []
    for number, y, x in data.draw_centres(batch, random):
        region = data.regions[number]
        # Not always in the middle: the network must not learn that labels are.
        dy, dx = random.integers(-size // 4, size // 4 + 1, 2)
        window = Rect(y + int(dy) - source // 2, x + int(dx) - source // 2, source, source)
        images.append(normalise(read_mirrored(region.image, window), region.ranges))
        labels.append(_read_padded(region.labels, window))
    return augment(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(labels)),
        size=size,
        random=random,
        how=augmentation or Augmentation(),
    )


def _read_padded(labels: NDArray[np.uint8], window: Rect) -> NDArray[np.uint8]:
    """Cut `window` out of `labels` `(Y, X)`, unlabelled where the window leaves it."""
    result = np.zeros((window.height, window.width), np.uint8)
    inside = window.intersect(Rect(0, 0, *labels.shape))
    if not inside.empty:
        y, x = inside.y - window.y, inside.x - window.x
        result[y : y + inside.height, x : x + inside.width] = labels[inside.slices]
    return result


# --- augmentation ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """How far patches are varied. Geometry is always flipped and freely rotated."""

    scale: float = 1.35
    """Zoom between 1/scale and scale."""
    elastic: float = 4.0
    """Standard deviation, in pixels, of the coarse displacement grid (U-Net paper: 10)."""
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
    images: Tensor, labels: Tensor, *, size: int, random: np.random.Generator, how: Augmentation
) -> tuple[Tensor, Tensor]:
    """Vary a batch: images `(N, C, S, S)` float32 and labels `(N, S, S)` uint8, S > size.

    Returns images `(N, C, size, size)` float32 and labels `(N, size, size)` int64.
    """
    grid = _sampling_grid(images.shape[0], images.shape[-1], size, random, how)
    warped = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    # Label values are small integers: exact in float32, and nearest never mixes two of them.
    moved = functional.grid_sample(
        labels[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return _vary_intensities(warped, random, how), moved[:, 0].long()


def _sampling_grid(
    batch: int, source: int, size: int, random: np.random.Generator, how: Augmentation
) -> Tensor:
    """Where each output pixel comes from, `(N, size, size, 2)` in grid_sample's coordinates."""
    angle = random.uniform(0, 2 * math.pi, batch)
    zoom = np.exp(random.uniform(-math.log(how.scale), math.log(how.scale), batch))
    flip = random.choice((-1.0, 1.0), batch)
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    matrix = np.stack(
        (np.stack((cosine * flip, -sine), 1), np.stack((sine * flip, cosine), 1)), 1
    ).astype(np.float32)
    theta = torch.zeros(batch, 2, 3)
    theta[:, :, :2] = torch.from_numpy(matrix) * (size / source)
    grid = functional.affine_grid(theta, [batch, 1, size, size], align_corners=False)
    if how.elastic:
        coarse = random.normal(0, how.elastic * 2 / source, (batch, 2, 5, 5)).astype(np.float32)
        bend = functional.interpolate(
            torch.from_numpy(coarse), (size, size), mode="bicubic", align_corners=True
        )
        grid = grid + bend.permute(0, 2, 3, 1)
    return grid


def _vary_intensities(images: Tensor, random: np.random.Generator, how: Augmentation) -> Tensor:
    n, channels = images.shape[:2]

    def each(low: float, high: float, per_channel: bool = False) -> Tensor:
        drawn = random.uniform(low, high, (n, channels if per_channel else 1, 1, 1))
        return torch.from_numpy(drawn.astype(np.float32))

    if how.invert:
        images = torch.where(each(0, 1) < how.invert, 1.0 - images, images)
    if how.gamma > 1:
        exponent = torch.exp(each(-math.log(how.gamma), math.log(how.gamma)))
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
