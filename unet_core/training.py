"""Fine-tuning on strokes: masked loss, averaged weights, and `fit()`, a plain generator."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unet_core.annotation import missing_labels
from unet_core.device import prepare_thread, training_dtype
from unet_core.model import Model
from unet_core.networks import UNet, place
from unet_core.patches import TrainingSet, draw_batch

BATCH = 4
PATCH = 256
LEARNING_RATE = 1e-3
WARM_UP = 5
"""Steps over which the learning rate rises; then it stays, and the average of the weights settles.
A schedule that ends would have to know when the user stops."""
ANCHOR = 1.0
"""Weight of staying with what the starting weights believe where nothing is labelled. Strokes are
painted where the prediction is wrong, so they say little about where it is right."""


class TrainingError(ValueError):
    """Training cannot start; the message is one sentence for the user."""


@dataclass(frozen=True)
class TrainingReport:
    """What one optimiser step has brought."""

    step: int
    loss: float
    """Of the labelled pixels; mean over the last steps, since one batch says little."""
    elapsed: float
    """Seconds since training began."""
    fraction: float
    """Share of the training that is done, 0…1."""
    eta: float
    """Seconds that are left."""
    model: Model
    """The averaged weights: always the same object, valid between two steps."""


def masked_loss(
    logits: Tensor, labels: Tensor, *, balanced: bool = False, dice: float = 0.0
) -> Tensor:
    """Cross-entropy, and optionally soft Dice, over labelled pixels only.

    Parameters
    ----------
    logits
        `(N, K, Y, X)` float32.
    labels
        `(N, Y, X)` int64: 0 unlabelled, i the class of logit i - 1.
    balanced
        Give every class that occurs the same weight, however many pixels it has.
    dice
        Weight of the mean over classes of 1 - soft Dice (Milletari et al., 3DV 2016, section 3).

    Sums over labelled pixels divided by their count: the value does not depend on how much of a
    patch is labelled. Zero, with zero gradients, where nothing is.

    """
    target = labels - 1
    labelled = (labels > 0).float()
    nll = functional.cross_entropy(logits, target, ignore_index=-1, reduction="none")
    present = functional.one_hot(target.clamp_min(0), logits.shape[1]).movedim(-1, 1)
    present = present.float() * labelled[:, None]
    pixels = present.sum(dim=(0, 2, 3))
    occurs = (pixels > 0).float()
    if balanced:
        per_class = (nll[:, None] * present).sum(dim=(0, 2, 3)) / pixels.clamp_min(1)
        loss = (per_class * occurs).sum() / occurs.sum().clamp_min(1)
    else:
        loss = nll.sum() / labelled.sum().clamp_min(1)
    if dice:
        probabilities = logits.softmax(dim=1) * labelled[:, None]
        overlap = (probabilities * present).sum(dim=(0, 2, 3))
        total = probabilities.sum(dim=(0, 2, 3)) + pixels
        missed = (1 - 2 * overlap / total.clamp_min(1)) * occurs
        loss = loss + dice * missed.sum() / occurs.sum().clamp_min(1)
    return loss


def anchor_loss(logits: Tensor, believed: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to the starting network's foreground and background, over unlabelled pixels.

    `logits` and those of the starting network, `believed`, are `(N, K, Y, X)`; `labels` is
    `(N, Y, X)`, 0 unlabelled. How the foreground is divided into classes is left to the strokes:
    a class that was just added knows nothing yet.
    """
    unlabelled = (labels == 0).float()
    background, foreground = _background_and_foreground(logits)
    believed_background = _background_and_foreground(believed)[0].exp()
    entropy = believed_background * background + (1 - believed_background) * foreground
    return -(entropy * unlabelled).sum() / unlabelled.sum().clamp_min(1)


def _background_and_foreground(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of both probabilities, each `(N, Y, X)`."""
    logarithms = logits.log_softmax(dim=1)
    return logarithms[:, 0], logarithms[:, 1:].logsumexp(dim=1)


class Average:
    """Polynomial-decay average of a network's weights (Shamir & Zhang, ICML 2013, section 4).

    Follows the weights closely at first and averages over more and more steps later, at most
    `horizon`. It takes the place of a learning-rate schedule that would have to know the end.
    """

    def __init__(self, network: UNet, horizon: int) -> None:
        self.network: UNet = deepcopy(network).eval()
        self.network.requires_grad_(False)
        self.horizon = horizon
        self.updates = 0

    @torch.no_grad()
    def update(self, network: UNet) -> None:
        """Take in the weights after one more step."""
        self.updates += 1
        share = max(4 / (self.updates + 3), 1 / self.horizon)
        for mine, theirs in zip(
            self.network.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mine.is_floating_point():
                mine.lerp_(theirs, share)
            else:
                mine.copy_(theirs)


def fit(
    start: Model,
    data: TrainingSet,
    *,
    device: torch.device,
    seed: int = 0,
    steps: int | None = None,
    seconds: float | None = None,
) -> Generator[TrainingReport, TrainingSet | None, Model]:
    """Fine-tune a copy of `start` on `data`: one optimiser step for each `next()`.

    A generator, so that whoever drives it decides what happens between two steps: show progress,
    predict, stop (`close()`), or hand in newer labels with `send(training_set)`; newer labels that
    no training could start with, as all have been erased, are passed over. Stops after
    `steps` or `seconds` of wall time, whichever comes first, and returns the averaged model,
    which every report carries too. The result depends on the start, the data, the seed, the
    device and the number of steps, and on nothing else.

    Raises
    ------
    TrainingError
        Where fewer than two classes are labelled, or channels do not match.

    """
    if problem := _problem(start, data):
        raise TrainingError(problem)
    prepare_thread()
    from_scratch = start.provenance.get("start") == "scratch" and not start.provenance.get("steps")
    average = start.copy()
    network = place(start.copy().network, device)
    # The stored statistics stay as they are: a few patches would only spoil them.
    network.train(from_scratch)
    keeper = Average(network, horizon=50)
    average.network = keeper.network
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    dtype = training_dtype(device)
    random = np.random.default_rng(seed)
    anchor = None if from_scratch else deepcopy(network).eval().requires_grad_(False)
    recent: list[float] = []
    step = 0
    began = time.monotonic()
    longest = 0.0
    before = int(start.provenance.get("steps", 0))
    while steps is None or step < steps:
        started = time.monotonic()
        # The next step would end too late: the time is the user's.
        if seconds is not None and started - began + longest > seconds and step:
            break
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARM_UP)
        images, labels = draw_batch(data, batch=BATCH, size=PATCH, random=random)
        images = images.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = network(images)
        logits, labels = logits.float(), labels.to(device)
        stroke_loss = loss = masked_loss(logits, labels, balanced=True)
        if anchor is not None:
            with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype is not None):
                believed = anchor(images)
            loss = loss + ANCHOR * anchor_loss(logits, believed.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        keeper.update(network)
        step += 1
        now = time.monotonic()
        longest = max(now - started, 0.5 * longest)
        recent = [*recent[-9:], stroke_loss.item()]
        average.provenance.update(
            app_version=app_version(),
            network=start.network_name,
            steps=before + step,
            seed=seed,
            seconds=round(now - began, 2),
            loss=round(float(np.mean(recent)), 5),
            labelled_pixels={str(v): n for v, n in data.pixel_counts().items()},
            device=device.type,
        )
        fraction, eta = _progress(step, now - began, steps, seconds)
        newer = yield TrainingReport(
            step, float(np.mean(recent)), now - began, fraction, eta, average
        )
        if newer is not None and not _problem(start, newer):
            data = newer
    average.network.cpu()
    return average


def _problem(start: Model, data: TrainingSet) -> str | None:
    """Why `start` cannot be trained on `data`, in one sentence; None when it can."""
    classes = len(start.classes)
    if data.values and data.values[-1] > classes:
        return f"The labels hold the value {data.values[-1]}, but the model has {classes} classes."
    if 1 not in data.values or len(data.values) < 2:
        return missing_labels(data.pixel_counts(), start.classes)
    if any(region.image.shape[0] != start.channels for region in data.regions):
        return f"The model wants images of {start.channels} channels."
    return None


def _progress(
    step: int, elapsed: float, steps: int | None, seconds: float | None
) -> tuple[float, float]:
    """Fraction done and seconds left, by whichever limit comes first."""
    fractions = [step / steps] if steps is not None else []
    if seconds is not None:
        fractions.append(elapsed / seconds if seconds > 0 else 1.0)
    fraction = min(1.0, max(fractions, default=0.0))
    return fraction, elapsed * (1 - fraction) / fraction if fraction else math.inf


def app_version() -> str:
    """The installed version of Limn."""
    try:
        return version("limn")
    except PackageNotFoundError:  # used from a source tree that is not installed
        return "0+source"
