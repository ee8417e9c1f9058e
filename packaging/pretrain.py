"""Pretrain the bundled network on redistributable images and on images made here.

    .venv/bin/python packaging/pretrain.py --data ../shared/data --work DIR [--steps 8000]

`--data` holds the datasets named in DATASETS, each with a licence that lets a model trained on it
be given away (see the model card). Training goes on from the checkpoint in `--work` where there
is one, so it can be stopped at any time. When it is done, the averaged weights and their scores
on held-out images are written to resources/.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from scipy import ndimage

from unet_core import networks
from unet_core.annotation import DEFAULT_CLASSES
from unet_core.device import prepare_thread, training_dtype
from unet_core.intensity import normalise, percentile_range, read_mirrored
from unet_core.model import BUNDLED_WEIGHTS, Model
from unet_core.objects import classes_of_objects
from unet_core.patches import Augmentation, augment
from unet_core.tiling import Rect
from unet_core.training import Average, masked_loss

DATASETS = {  # share of the batch; every eighth image is held out where there are as many
    "dsb2018": 0.35,
    "phc_t98g": 0.25,
    "embl_small": 0.03,
    "stardist_samples": 0.03,
    "confocal3d_ovule_nuclei": 0.06,
    "confocal3d_ovule_cells": 0.03,
    "synthetic": 0.25,
}
BATCH, SIZE = 6, 224
SOURCE = 640
STRONG = Augmentation(
    scale=2.0, elastic=8.0, contrast=0.4, gamma=1.8, noise=0.12, blur=0.3, invert=0.3, shading=0.3
)
BACKGROUND, CELL = 1, 2


@dataclass(frozen=True)
class Example:
    """One image `(1, Y, X)`, its labels `(Y, X)` (1 background, 2 cell) and intensity range."""

    image: NDArray[np.generic]
    labels: NDArray[np.uint8]
    ranges: NDArray[np.float32]


def labels_of(objects: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Instances (0 background) to classes; where two touch, their rims become background."""
    return classes_of_objects(objects + 1)


def grey(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """One channel: the mean of colours, the first of several channels."""
    if image.ndim == 3 and image.shape[-1] in (3, 4):
        return image[..., :3].mean(axis=-1).astype(np.float32)
    return image[0] if image.ndim == 3 else image


def example(image: NDArray[np.generic], objects: NDArray[np.integer]) -> Example:
    pixels = grey(image)[None]
    values = pixels.reshape(1, -1)[:, :: max(1, pixels.size // (1 << 18))]
    return Example(pixels, labels_of(objects.astype(np.int64)), percentile_range(values))


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


def synthetic(random: np.random.Generator) -> Example:
    """Round and ragged objects on an uneven ground, shown in one of several ways.

    Filled, darker, by outline, by texture only, or with the bright rim of phase contrast.
    """
    side = 512
    radius = float(np.exp(random.uniform(np.log(5), np.log(60))))
    objects = np.zeros((side, side), np.int32)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    ragged = ndimage.gaussian_filter(random.normal(size=(side, side)), radius / 3) * radius
    spread = random.uniform(0, 0.8) * radius
    for number in range(1, int(min(250, random.uniform(0.1, 0.5) * side**2 / radius**2 / 3)) + 1):
        y, x = random.uniform(0, side, 2)
        longer, turn = random.uniform(1, 2.2), random.uniform(0, np.pi)
        dy, dx = rows - y, columns - x
        along = (np.cos(turn) * dy + np.sin(turn) * dx) / longer
        across = -np.sin(turn) * dy + np.cos(turn) * dx
        inside = np.hypot(along, across) + spread * ragged < radius * random.uniform(0.6, 1.2)
        objects[inside & (objects == 0)] = number
    distance = ndimage.distance_transform_edt(labels_of(objects) == CELL)
    outside = ndimage.distance_transform_edt(labels_of(objects) == BACKGROUND)
    inside = distance > 0
    fine = ndimage.gaussian_filter(random.normal(size=(side, side)), random.uniform(0.7, 3))
    fine /= fine.std()
    way = random.integers(5)
    rim = np.exp(-((distance / random.uniform(1, 4)) ** 2)) * inside
    if way == 0:
        image = inside * (0.7 + 0.15 * fine) * np.minimum(1, distance / random.uniform(1, 8))
    elif way == 1:
        image = -0.6 * inside + 0.1 * fine
    elif way == 2:
        image = rim * 1.2 + 0.08 * fine
    elif way == 3:
        other = ndimage.gaussian_filter(random.normal(size=(side, side)), random.uniform(3, 8))
        image = np.where(inside, 0.5 * fine, 0.3 * other / other.std())
    else:
        halo = np.exp(-((outside / random.uniform(2, 8)) ** 2)) * ~inside
        image = 0.8 * halo - 0.35 * inside + 0.25 * fine * inside + 0.5 * rim * random.uniform()
    brightness = random.uniform(0.6, 1.4, objects.max() + 1)
    image = image * np.where(inside, brightness[objects], 1)
    image = ndimage.gaussian_filter(image, random.uniform(0, 1.5))
    slope = ndimage.zoom(random.normal(0, random.uniform(0, 0.3), (4, 4)), side / 4, order=1)
    image = image + slope + random.normal(0, random.uniform(0.01, 0.15), image.shape)
    return example(image.astype(np.float32), objects)


class Source:
    """Draws training windows from all datasets in their shares."""

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
        random = np.random.default_rng(seed)
        self.examples["synthetic"] = [synthetic(random) for _ in range(200)]
        self.names = list(self.examples)
        shares = np.array([DATASETS[n] for n in self.names])
        self.shares = shares / shares.sum()

    def batch(self, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = [], []
        for _ in range(BATCH):
            of = self.examples[self.names[random.choice(len(self.names), p=self.shares)]]
            chosen = of[random.integers(len(of))]
            height, width = chosen.labels.shape
            y = int(random.integers(height)) - SOURCE // 2
            x = int(random.integers(width)) - SOURCE // 2
            window = Rect(y, x, SOURCE, SOURCE)
            images.append(normalise(read_mirrored(chosen.image, window), chosen.ranges))
            labels.append(read_mirrored(chosen.labels[None], window)[0])
        return augment(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(labels)),
            size=SIZE,
            random=random,
            how=STRONG,
        )


def held_out_dice(model: Model, examples: list[Example]) -> float:
    """Mean over images of the Dice of cell pixels at a threshold of 0.5."""
    from unet_core.inference import predict_plane

    scores = []
    for one in examples[:40]:
        cells = predict_plane(model, one.image, one.ranges, torch.device("cpu"))[0] >= 0.5
        truth = one.labels == CELL
        scores.append(2 * (cells & truth).sum() / max(1, cells.sum() + truth.sum()))
    return float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--out", type=Path, default=BUNDLED_WEIGHTS)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=[], help="datasets to leave out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    prepare_thread()
    device = torch.device(args.device)
    dtype = training_dtype(device)
    torch.manual_seed(args.seed)
    source = Source(args.data, set(args.without), args.seed)
    network = networks.place(networks.build(networks.BUNDLED, 1, 2), device)
    average = Average(network, horizon=200)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=2e-3, total_steps=args.steps, pct_start=0.05
    )
    done = 0
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        average.updates = state["done"]
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        done = state["done"]
    about = {
        "steps": done,
        "seed": args.seed,
        "datasets": [name for name in DATASETS if name in source.names],
    }
    model = Model(
        average.network,
        networks.BUNDLED,
        DEFAULT_CLASSES,
        channels=1,
        provenance={"pretraining": about},
    )
    random = np.random.default_rng((args.seed, done))
    network.train()
    began, losses = time.monotonic(), []
    for step in range(done, args.steps):
        images, labels = source.batch(random)
        images = images.to(device).contiguous(memory_format=torch.channels_last)
        labels = labels.to(device)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = network(images).float()
        loss = masked_loss(logits, labels, dice=0.5)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update(network)
        losses.append(loss.item())
        if step % 50 == 49:
            pace = (time.monotonic() - began) / (step + 1 - done)
            print(
                f"step {step + 1}  loss {np.mean(losses[-50:]):.4f}  {pace:.2f} s a step",
                flush=True,
            )
        if step % 250 == 249 or step + 1 == args.steps:
            state = {
                "network": network.state_dict(),
                "average": average.network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
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


if __name__ == "__main__":
    main()
