"""Pretrain the bundled network on redistributable images and on images made here.

    .venv/bin/python packaging/pretrain.py --data ../shared/data --work DIR [--steps 12000]

`--data` holds the datasets named in DATASETS, each with a licence that lets a model trained on it
be given away (see the model card). Each step is a few little labelling sessions (`episodes.py`);
beside them the network learns to tell cells from background unasked, and how far inside its cell a
pixel lies. Training goes on from the checkpoint in `--work` where there is one, so it can be
stopped at any time. When it is done, the averaged weights and their scores on held-out images are
written to resources/.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent))

from episodes import Episode, collage, draw_episode, episode_loss, with_strokes
from synthesis import scene

from unet_core import networks
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.device import prepare_thread, training_dtype
from unet_core.inference import predict_plane
from unet_core.intensity import normalise, percentile_range, read_mirrored
from unet_core.model import BUNDLED_WEIGHTS, Model
from unet_core.objects import interior_target
from unet_core.patches import Augmentation, augment
from unet_core.tiling import Rect
from unet_core.training import Average, masked_loss

DATASETS = {  # share of the episodes; every eighth image is held out where there are as many
    "dsb2018": 0.26,
    "phc_t98g": 0.14,
    "embl_small": 0.03,
    "stardist_samples": 0.03,
    "confocal3d_ovule_nuclei": 0.05,
    "confocal3d_ovule_cells": 0.04,
    "synthetic": 0.45,
}
SITTINGS = ((3, 208), (2, 256))
"""Episodes in a step and side of their patches in pixels: now more images, now more of an image."""
COLLAGES = 0.1
"""Share of the episodes of which two kinds of images are mixed."""
SCENES = 600
STRONG = Augmentation(
    scale=2.0, elastic=8.0, contrast=0.4, gamma=1.8, noise=0.12, blur=0.3, invert=0.3, shading=0.3
)
LEARNING_RATE = 1.5e-3
DECAY = 0.5
"""Share of the steps, at the end, over which the learning rate falls to nothing…"""
FROZEN = 0.5
"""…and over which the statistics of the batch normalisation stay as they will be in use."""


@dataclass(frozen=True)
class Example:
    """One image with what is known about it."""

    image: NDArray[np.float16]
    """`(C, Y, X)`, each channel normalised as in the application."""
    objects: NDArray[np.int32]
    """`(Y, X)`: 0 none."""
    interior: NDArray[np.float16]
    """`(Y, X)`, see `interior_target`."""
    classes: NDArray[np.uint8]
    """`(Y, X)`: 0 nothing but the objects is known, else 1… the classes of a synthetic scene."""


def example(
    image: NDArray[np.generic],
    objects: NDArray[np.integer],
    classes: NDArray[np.uint8] | None = None,
) -> Example:
    """`image` is `(Y, X)`, `(C, Y, X)` or `(Y, X, 3)`."""
    if image.ndim == 3 and image.shape[-1] in (3, 4):
        image = np.moveaxis(image[..., :3], -1, 0)
    pixels = image if image.ndim == 3 else image[None]
    ranges = percentile_range(pixels.reshape(pixels.shape[0], -1))
    known = np.zeros(objects.shape, np.uint8) if classes is None else classes
    inside = interior_target(objects).astype(np.float16)
    return Example(
        normalise(pixels, ranges).astype(np.float16), objects.astype(np.int32), inside, known
    )


def read_dataset(folder: Path) -> list[Example]:
    """All annotated planes below `folder`."""
    examples = []
    for masks in sorted(folder.rglob("masks*")):
        if masks.is_dir():
            for mask in sorted(masks.glob("*.tif")):
                image = tifffile.imread(masks.parent / "images" / mask.name)
                examples.append(example(image, tifffile.imread(mask)))
        elif masks.name == "masks.tif":
            stack, objects = tifffile.imread(masks.parent / "stack.tif"), tifffile.imread(masks)
            examples += [example(stack[z], objects[z]) for z in range(0, len(stack), 3)]
    return examples


@dataclass(frozen=True)
class Batch:
    """Pairs of patches, one after the other."""

    images: torch.Tensor
    """`(N, 1, Y, X)` float32."""
    cells: torch.Tensor
    """`(N, Y, X)` int64: 1 background, 2 cell; 0 where the image knows no cells."""
    interior: torch.Tensor
    """`(N, 1, Y, X)` float32."""
    episodes: list[Episode]


class Source:
    """Draws episodes from all datasets in their shares."""

    def __init__(self, data: Path, without: set[str], seed: int) -> None:
        self.held_out: dict[str, list[Example]] = {}
        self.examples: dict[str, list[Example]] = {}
        for name in DATASETS:
            if name in without or name == "synthetic":
                continue
            found = read_dataset(data / name)
            if len(found) >= 8:
                self.held_out[name] = found[7::8]
                found = [e for i, e in enumerate(found) if i % 8 != 7]
            self.examples[name] = found
        self.names = [*self.examples, "synthetic"]
        self.seed = seed
        self.examples["synthetic"] = []
        shares = np.array([DATASETS[n] for n in self.names])
        self.shares = shares / shares.sum()

    def add_scenes(self) -> Iterator[int]:
        """Make synthetic scenes, one for each `next()`; the newest take the place of the oldest."""
        random = np.random.default_rng(self.seed)
        made = self.examples["synthetic"]
        for number in itertools.count():
            drawn = scene(random)
            made[number % SCENES : number % SCENES + 1] = [
                example(drawn.image, drawn.objects, drawn.classes)
            ]
            yield len(made)

    def batch(self, random: np.random.Generator) -> Batch:
        """The next episodes."""
        images, maps = [], []
        count, size = SITTINGS[random.integers(len(SITTINGS))]
        source = 3 * size
        for _ in range(count):
            of = self.examples[self.names[random.choice(len(self.names), p=self.shares)]]
            chosen = of[random.integers(len(of))]
            mix = random.dirichlet(np.ones(chosen.image.shape[0])).astype(np.float32)
            for _ in range(2):
                height, width = chosen.objects.shape
                y = int(random.integers(height)) - source // 2
                x = int(random.integers(width)) - source // 2
                window = Rect(y, x, source, source)
                channels = read_mirrored(chosen.image, window).astype(np.float32)
                images.append(np.tensordot(mix, channels, 1)[None])
                known = np.stack((chosen.objects, chosen.classes, chosen.interior))
                maps.append(read_mirrored(known.astype(np.float32), window))
        # Numbers up to 2^24 are exact in float32.
        seen, moved = augment(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(maps)),
            size=size,
            random=random,
            how=STRONG,
            alike=2,
        )
        objects, classes = moved[:, 0].long(), moved[:, 1].long()
        countable = (objects > 0).flatten(1).any(dim=1) | (classes == 0).flatten(1).all(dim=1)
        episodes = []
        for i in range(0, 2 * count, 2):
            pair = slice(i, i + 2)
            if random.uniform() < COLLAGES:
                seen[pair], where = collage(seen[pair], seen[i - 2 :][:2], random)
                episodes.append(with_strokes(where, random))
                countable[pair] = False
                continue
            known = (objects[pair].numpy(), classes[pair].numpy(), moved[pair, 2].numpy())
            episodes.append(draw_episode(seen[pair, 0].numpy(), *known, random))
        cells = torch.where(objects > 0, 2, 1) * countable[:, None, None]
        return Batch(seen, cells, moved[:, 2:], episodes)


def held_out_dice(model: Model, examples: list[Example]) -> float:
    """Mean over images of the Dice of cell pixels at a threshold of 0.5."""
    scores = []
    for one in examples[:40]:
        image = one.image.astype(np.float32).mean(axis=0, keepdims=True)
        found = predict_plane(model, image, np.array([[0, 1]], np.float32), torch.device("cpu"))
        cells, truth = found.probabilities[0] >= 0.5, one.objects > 0
        scores.append(2 * (cells & truth).sum() / max(1, cells.sum() + truth.sum()))
    return float(np.mean(scores))


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: a rise, a plateau, and a fall at the end."""
    return min(1.0, (step + 1) / 200, max(0.0, (steps - step) / (DECAY * steps)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--out", type=Path, default=BUNDLED_WEIGHTS)
    parser.add_argument("--network", default=networks.BUNDLED)
    parser.add_argument("--start", type=Path, help="weights to start from, as far as they fit")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=[], help="datasets to leave out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    prepare_thread()
    device = torch.device(args.device)
    dtype = training_dtype(device)
    torch.manual_seed(args.seed)
    source = Source(args.data, set(args.without), args.seed)
    network = networks.place(networks.build(args.network, 1, 2), device)
    if args.start:
        started = load_what_fits(network, args.start)
        print(f"{started} tensors from {args.start}")
    average = Average(network, horizon=300)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)
    done = 0
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        average.updates = state["done"]
        optimiser.load_state_dict(state["optimiser"])
        done = state["done"]
    about = {
        "steps": done,
        "seed": args.seed,
        "datasets": [name for name in DATASETS if name in source.names],
    }
    model = Model(
        average.network,
        args.network,
        DEFAULT_CLASSES,
        channels=1,
        provenance={"pretraining": about},
    )
    random = np.random.default_rng((args.seed, done))
    scenes = source.add_scenes()
    for _ in range(SCENES if done else 40):
        next(scenes)
    began = time.monotonic()
    losses: list[tuple[float, float, float]] = []
    for step in range(done, args.steps):
        if step % 2 == 0:
            next(scenes)
        if step == int((1 - FROZEN) * args.steps):
            for mine, settled in zip(network.buffers(), average.network.buffers(), strict=True):
                mine.copy_(settled)
        network.train(step < (1 - FROZEN) * args.steps)
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * rate(step, args.steps)
        batch = source.batch(random)
        images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            levels = network.levels(images)
            logits, inside = network.outputs(levels)
        answers = [
            episode_loss(network, [maps[2 * i : 2 * i + 2] for maps in levels], episode, random)
            for i, episode in enumerate(batch.episodes)
        ]
        episodes = torch.stack(answers).mean()
        cells = batch.cells.to(device)
        unasked = masked_loss(logits.float(), cells, dice=0.5)
        entropy = functional.binary_cross_entropy_with_logits(
            inside.float(), batch.interior.to(device), reduction="none"
        )[:, 0]
        interior = (entropy * (cells > 0)).sum() / (cells > 0).sum().clamp_min(1)
        loss = episodes + 0.5 * unasked + 0.5 * interior
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update(network)
        losses.append((episodes.item(), unasked.item(), interior.item()))
        if step % 50 == 49:
            pace = (time.monotonic() - began) / (step + 1 - done)
            figures = "  ".join(f"{x:.4f}" for x in np.mean(losses[-50:], axis=0))
            print(
                f"step {step + 1}  episodes, unasked, interior: {figures}  "
                f"ridge {network.ridge.item():.2f}  sharpness {network.sharpness.item():.2f}  "
                f"{pace:.2f} s a step",
                flush=True,
            )
        if step % 250 == 249 or step + 1 == args.steps:
            state = {
                "network": network.state_dict(),
                "average": average.network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "done": step + 1,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            about["steps"] = step + 1
            model.save(args.work / "model.safetensors")
    scores = {n: round(held_out_dice(model, e), 3) for n, e in source.held_out.items()}
    about["held_out_dice"] = scores
    model.save(args.out)
    print(json.dumps(scores))


def load_what_fits(network: networks.UNet, path: Path) -> int:
    """Take over the tensors of a model file that have the same name and shape; how many."""
    import safetensors.torch

    own = network.state_dict()
    known = safetensors.torch.load_file(path)
    fitting = {n: v for n, v in known.items() if n in own and own[n].shape == v.shape}
    network.load_state_dict(own | fitting)
    return len(fitting)


if __name__ == "__main__":
    main()
