"""Little labelling sessions: what pretraining rehearses.

An episode is a pair of patches of one kind of image. What counts as foreground is drawn anew each
time: cells, their outlines, the larger ones, one texture among others. A few strokes are painted on
the first patch, a head is fitted to the features under them in closed form, and the loss is how
badly this head does on all of both patches. So the features learn to answer to strokes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from unet_core.head import one_against_rest, penalty_of, solve
from unet_core.networks import UNet

SUPPORT = 256
"""Labelled pixels of each class that the head is fitted to, at most."""
BRUSH = 3
"""Radius of the brush in pixels."""

_rows, _columns = np.mgrid[-BRUSH : BRUSH + 1, -BRUSH : BRUSH + 1]
_DISC = np.argwhere(_rows**2 + _columns**2 <= BRUSH**2 + 1) - BRUSH


@dataclass(frozen=True)
class Episode:
    """`foreground` `(2, Y, X)` bool, and what is painted on the first: `strokes` `(Y, X)` uint8,
    0 nothing, 1 background, 2 foreground."""

    foreground: NDArray[np.bool_]
    strokes: NDArray[np.uint8]


def draw_episode(
    images: NDArray[np.float32],
    objects: NDArray[np.int64],
    classes: NDArray[np.int64],
    interior: NDArray[np.float32],
    random: np.random.Generator,
) -> Episode:
    """A task and its strokes for a pair of patches, all arguments `(2, Y, X)`.

    `classes` is 0 where nothing but the objects is known.
    """
    return with_strokes(_task(images, objects, classes, interior, random), random)


def with_strokes(foreground: NDArray[np.bool_], random: np.random.Generator) -> Episode:
    """The task `foreground` `(2, Y, X)` with strokes on its first patch."""
    strokes = paint(foreground[0], int(np.exp(random.uniform(np.log(2), np.log(16)))), random)
    return Episode(foreground, strokes)


def _task(
    images: NDArray[np.float32],
    objects: NDArray[np.int64],
    classes: NDArray[np.int64],
    interior: NDArray[np.float32],
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    """What counts as foreground this time, `(2, Y, X)`."""
    cells = objects > 0
    present = np.unique(classes[0])
    if present[0] > 0 and len(present) > 1 and random.uniform() < 0.6:
        count = int(random.integers(1, len(present)))
        return np.isin(classes, random.choice(present, count, replace=False))
    kind = random.choice(
        ("cells", "rims", "cores", "surround", "large", "bright", "filter"),
        p=(0.55, 0.13, 0.05, 0.05, 0.07, 0.07, 0.08),
    )
    task = cells
    if kind == "rims":
        width = 1 + 2 * int(random.integers(1, 4))
        size = (1, width, width)
        task = ndimage.maximum_filter(objects, size) != ndimage.minimum_filter(objects, size)
    elif kind == "cores":
        task = interior > random.uniform(0.3, 0.6)
    elif kind == "surround":
        width = 1 + 2 * int(random.integers(2, 7))
        task = ndimage.maximum_filter(cells, (1, width, width)) & ~cells
    elif kind in ("large", "bright") and cells.any():
        _, own = np.unique(objects, return_inverse=True)
        own = own.reshape(objects.shape)
        sizes = np.bincount(own.ravel())
        value = sizes.astype(float)
        if kind == "bright":
            value = np.bincount(own.ravel(), images.ravel()) / sizes
        chosen = value > np.median(value[1:]) if len(value) > 2 else value > -1
        task = chosen[own] & cells
    elif kind == "filter":
        task = filtered(images, random)
    share = task[0].mean()
    return task if 0.005 < share < 0.995 else cells


def filtered(images: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.bool_]:
    """Where a simple filter answers strongly to `images` `(2, Y, X)`: what a forest would see."""
    sigma = np.exp(random.uniform(np.log(0.7), np.log(10)))
    kind = random.choice(("intensity", "gradient", "blobs", "ridges", "texture"))
    answers = []
    for image in images:
        if kind == "intensity":
            answer = ndimage.gaussian_filter(image, sigma)
        elif kind == "gradient":
            answer = ndimage.gaussian_gradient_magnitude(image, sigma)
        elif kind == "blobs":
            answer = -ndimage.gaussian_laplace(image, sigma)
        elif kind == "ridges":
            orders = (2, 0), (1, 1), (0, 2)
            yy, yx, xx = (ndimage.gaussian_filter(image, sigma, order) for order in orders)
            answer = np.sqrt((yy - xx) ** 2 + 4 * yx**2) - yy - xx
        else:
            mean = ndimage.gaussian_filter(image, sigma)
            answer = ndimage.gaussian_filter((image - mean) ** 2, 2 * sigma)
        answers.append(answer)
    both = np.stack(answers)
    if random.uniform() < 0.5:
        both = -both
    return both > np.quantile(both[0], random.uniform(0.2, 0.9))


def collage(
    first: Tensor, second: Tensor, random: np.random.Generator
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Two pairs of patches `(2, 1, Y, X)` in one, and where the second shows, `(2, Y, X)`.

    One kind of image in patches of another: only their texture tells them apart, as mostly both are
    brought to the same brightness and contrast.
    """
    size = first.shape[-1]
    sigma = np.exp(random.uniform(np.log(4), np.log(size / 8)))
    noise = ndimage.gaussian_filter(random.normal(size=(2, size, size)), (0, sigma, sigma))
    where = noise > np.quantile(noise, random.uniform(0.3, 0.8))
    if random.uniform() < 0.7:
        second = (second - second.mean()) / second.std().clamp_min(0.01)
        second = second * first.std() + first.mean()
    soft = torch.from_numpy(ndimage.gaussian_filter(where.astype(np.float32), (0, 0.7, 0.7)))
    return first + soft[:, None] * (second - first), where


def paint(
    foreground: NDArray[np.bool_], count: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """`count` strokes of about 40 pixels, in turn on `foreground` `(Y, X)` and on the rest.

    A third of those on the background hug the foreground. Nothing is painted across an edge.
    """
    painted = np.zeros(foreground.shape, np.uint8)
    near = ndimage.binary_dilation(foreground, iterations=8) & ~foreground
    for number in range(max(2, count)):
        value = 2 if number % 2 == 0 else 1
        region = foreground if value == 2 else ~foreground
        start = near if value == 1 and random.uniform() < 1 / 3 and near.any() else region
        places = np.flatnonzero(start)
        if not places.size:
            continue
        y, x = divmod(int(places[random.integers(places.size)]), foreground.shape[1])
        angle = random.uniform(0, 2 * np.pi)
        for _ in range(14):
            disc = _DISC + (y, x)
            inside = ((disc >= 0) & (disc < foreground.shape)).all(axis=1)
            rows, columns = disc[inside].T
            fits = region[rows, columns]
            painted[rows[fits], columns[fits]] = value
            for _ in range(4):
                angle += random.normal(0, 0.5)
                ny, nx = int(round(y + 3 * np.sin(angle))), int(round(x + 3 * np.cos(angle)))
                within = 0 <= ny < foreground.shape[0] and 0 <= nx < foreground.shape[1]
                if within and region[ny, nx]:
                    y, x = ny, nx
                    break
                angle += random.uniform(0.5, 2.5)
            else:
                break
    return painted


def episode_loss(
    network: UNet, levels: list[Tensor], episode: Episode, random: np.random.Generator
) -> Tensor:
    """Cross-entropy and Dice of the fitted head on both patches; `levels` are the pair's."""
    rows, columns = np.nonzero(episode.strokes)
    values = episode.strokes[rows, columns]
    chosen = np.concatenate(
        [random.permutation(np.flatnonzero(values == value))[:SUPPORT] for value in (1, 2)]
    )
    device = levels[0].device
    first = [maps[:1] for maps in levels]
    features = network.features_at(
        first,
        torch.from_numpy(rows[chosen]).to(device),
        torch.from_numpy(columns[chosen]).to(device),
    )
    classes = torch.from_numpy(values[chosen].astype(np.int64) - 1).to(device)
    targets, weights = one_against_rest(classes, 2)
    assert network.head.bias is not None
    prior = torch.cat(
        (
            (network.head.weight[1] - network.head.weight[0])[:, 0, 0],
            (network.head.bias[1] - network.head.bias[0])[None],
        )
    ).detach()
    weight, bias = solve(features, targets[:, 1:], weights, prior, penalty_of(network))
    # Two classes: the difference of both logits is twice the one against the rest.
    sharpness = 2 * functional.softplus(network.sharpness)
    logits = network.linear(
        [maps.float() for maps in levels], sharpness * weight[:, :, None, None], sharpness * bias
    )[:, 0]
    truth = torch.from_numpy(episode.foreground).to(device).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    probability = logits.sigmoid()
    dice = 1 - 2 * (probability * truth).sum() / (probability.sum() + truth.sum()).clamp_min(1)
    return entropy + dice
