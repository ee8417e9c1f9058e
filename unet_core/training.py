"""Fine-tuning on strokes: masked loss, averaged weights, and `fit()`, a plain generator."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Generator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unet_core.annotation import missing_labels
from unet_core.device import prepare_thread, release, training_dtype
from unet_core.head import InstantHead, looking_at
from unet_core.model import Model
from unet_core.networks import Network, place
from unet_core.patches import Augmentation, Batch, TrainingSet, draw_batch
from unet_core.steps import result_of
from unet_core.validation import Judge, Score, Verdict, verdict_of
from unet_core.version import app_version

UNJUDGED = 0.5
"""Share of the way from the starting weights to the learned ones that is gone where nothing tells
how well the learned ones do on what they have not seen."""
JUDGE_EVERY = 8
"""Steps between two looks at whether the new weights are better than those that are shown."""
WORTHWHILE = 0.01
"""Share by which the loss must fall to count as better when it comes to settling."""


class TrainingError(ValueError):
    """Training cannot start; the message is one sentence for the user."""


@dataclass(frozen=True)
class TrainingReport:
    """What one optimiser step has brought; step 0 is the instant answer, before the first."""

    step: int
    loss: float | None
    """Of the labelled pixels; mean over the last steps, since one batch says little. None before
    the first step."""
    elapsed: float
    """Seconds since training began."""
    fraction: float
    """Share of the training that is done, 0…1."""
    eta: float
    """Seconds that are left."""
    model: Model
    """The best weights so far: always the same object, valid between two steps."""
    generation: int
    """Counts how often better weights have been taken over into `model`."""
    verdict: Verdict
    """How `model` does on strokes that were kept aside."""
    settled: bool
    """Whether training ends here, unless newer labels come, as nothing better has come for long."""


def masked_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    balanced: bool = False,
    dice: float = 0.0,
    emphasis: Tensor | None = None,
) -> Tensor:
    """Cross-entropy, and optionally soft Dice, over labelled pixels only.

    Parameters
    ----------
    logits
        `(N, K, Y, X)` float32.
    labels
        `(N, Y, X)` int64: 0 unlabelled, i the class of logit i - 1.
    balanced
        Give every class that occurs the same weight, however many pixels it has: w_c of the U-Net
        paper's equation 2, its mean over labelled pixels being one.
    dice
        Weight of the mean over classes of 1 - soft Dice (Milletari et al., 3DV 2016, section 3).
    emphasis
        `(N, Y, X)`: added to the weight of each pixel, as equation 2's second term.

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
    weights = labelled
    if balanced:
        of_class = labelled.sum() / (pixels.clamp_min(1) * occurs.sum().clamp_min(1))
        weights = (present * of_class[:, None, None]).sum(dim=1)
    if emphasis is not None:
        weights = weights + emphasis * labelled
    loss = (weights * nll).sum() / labelled.sum().clamp_min(1)
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


def interior_loss(interior: Tensor, kept: Tensor | None, told: Tensor | None) -> Tensor:
    """Cross-entropy of the interior's logit to what is told of it, elsewhere to what it was.

    All are `(N, 1, Y, X)`: `kept` the interior 0…1 of the starting network, None where nothing is
    to be kept, and `told` as `Region.interior`, None where nothing is told.
    """
    told = torch.zeros_like(interior) if told is None else told
    target, counts = (told - 1).clamp_min(0), (told > 0).float()
    if kept is not None:
        target, counts = torch.where(told > 0, target, kept), torch.ones_like(counts)
    return functional.binary_cross_entropy_with_logits(interior, target, weight=counts)


class Average:
    """Polynomial-decay average of a network's weights (Shamir & Zhang, ICML 2013, section 4).

    Follows the weights closely at first and averages over more and more steps later, at most
    `horizon`. It takes the place of a learning-rate schedule that would have to know the end.
    """

    def __init__(self, network: Network, horizon: int) -> None:
        self.network: Network = deepcopy(network).eval()
        self.network.requires_grad_(False)
        self.horizon = horizon
        self.updates = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
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


class Trainer:
    """One network under training: `step()` is one optimiser step on one batch."""

    def __init__(
        self,
        network: Network,
        shift: Tensor,
        device: torch.device,
        *,
        from_scratch: bool,
        seed: int,
    ) -> None:
        self.recipe = network.recipe
        self.shift = shift
        self.device = device
        self.dtype = training_dtype(device)
        self.network = place(deepcopy(network), device)
        # The stored statistics stay as they are: a few patches would only spoil them.
        normalised = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        self.network.train(from_scratch or not normalised)
        self.network.requires_grad_(True)
        self.average = Average(self.network, horizon=50)
        self._optimiser = self.recipe.optimiser(self.network.parameters())
        self._anchor: Network | None = None
        if not from_scratch and self.recipe.anchor:
            self._anchor = deepcopy(self.network).eval().requires_grad_(False)
        self._steps = 0
        self._seed = seed

    def step(self, batch: Batch) -> float:
        """Learn from a batch; the loss over its labelled pixels."""
        self._steps += 1
        for group in self._optimiser.param_groups:
            share = min(1.0, self._steps / max(1, self.recipe.warm_up))
            group["lr"] = self.recipe.learning_rate * share
        images = batch.images.to(self.device).contiguous(memory_format=torch.channels_last)
        labels = _inside(batch.labels, self.network.margin).to(self.device)
        emphasis = None if batch.emphasis is None else batch.emphasis.to(self.device)
        with (
            torch.random.fork_rng(devices=[]),  # of dropout, where the network has any
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
        ):
            torch.manual_seed(self._seed + self._steps)
            logits, interior = self.network.forward_all(images)
        # Strokes show classes as if they were equally common: logits without the shift do, too
        # (logit adjustment: Menon et al., ICLR 2021, section 3).
        equal = logits.float() - self.shift[:, None, None]
        of_strokes = masked_loss(equal, labels, balanced=True, emphasis=emphasis)
        loss = of_strokes + self._held(images, labels, logits, interior, batch.interior)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.average.update(self.network)
        return of_strokes.item()

    def _held(
        self,
        images: Tensor,
        labels: Tensor,
        logits: Tensor,
        interior: Tensor | None,
        true_interior: Tensor | None,
    ) -> Tensor:
        """How far the network has gone from what it believed at the start, and from the truth.

        Strokes say nothing about how touching cells part: that is kept as it was. Where cells are
        labelled one by one, `true_interior` `(N, Y, X)` says it, see `Region.interior`.
        """
        loss = logits.new_zeros(())
        kept = None
        if self._anchor is not None:
            with (
                torch.no_grad(),
                torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
            ):
                believed, believed_interior = self._anchor.forward_all(images)
            loss = loss + anchor_loss(logits.float(), believed.float(), labels)
            if believed_interior is not None:
                kept = believed_interior.float().sigmoid()
        if interior is not None:
            told = None if true_interior is None else true_interior.to(self.device)[:, None]
            loss = loss + interior_loss(interior.float(), kept, told)
        return self.recipe.anchor * loss


def fit(
    start: Model,
    data: TrainingSet,
    *,
    device: torch.device,
    seed: int = 0,
    steps: int | None = None,
    seconds: float | None = None,
    head: InstantHead | None = None,
) -> Generator[TrainingReport, TrainingSet | None, Model]:
    """Fine-tune a copy of `start` on `data`: one optimiser step for each `next()`.

    A generator, so that whoever drives it decides what happens between two steps: show progress,
    predict, stop (`close()`), or hand in newer labels with `send(training_set)`: they are learned
    from for `JUDGE_EVERY` steps at least, also those that come with the last report. Newer labels
    that no training could start with, as all have been erased, are passed over.

    The first report comes before the first step: a model that was never fine-tuned gets a head
    fitted in closed form (see `head`). From then on every `JUDGE_EVERY` steps the averaged weights
    replace those in the report's model if they are no worse on strokes that were kept aside. Where
    there are too few to keep any aside, they are judged by the strokes themselves, which they fit
    too well: then only `UNJUDGED` of the way to them is gone (Wortsman et al., CVPR 2022, average
    the weights before and after fine-tuning for the same reason).

    Ends after `steps` or `seconds` of wall time, and without `steps` also when `Recipe.patience`
    steps have brought nothing better; returns the model of the last report. The result depends on
    the start, the data, the seed, the device and the number of steps, and on nothing else; a `head`
    that has been fitted to the features of the same start before, on the same device, only saves
    time.

    Raises
    ------
    TrainingError
        Where fewer than two classes are labelled, or channels do not match.

    """
    if problem := _problem(start, data):
        raise TrainingError(problem)
    prepare_thread()
    untouched = "labelled_pixels" not in start.provenance  # never fitted to any strokes
    from_scratch = untouched and start.provenance.get("start") == "scratch"
    began = time.monotonic()
    random = np.random.default_rng(seed)
    learned, aside = data.split()
    shown = start.copy()
    if untouched and not from_scratch:
        head = head or InstantHead(start, device)
        channel = result_of(head.best_channel(learned))
        shown = looking_at(shown, channel)
        head.fit(learned, into=shown, channel=channel)
    place(shown.network, device).eval()
    shift = torch.tensor(shown.share_shift or (0.0,) * len(shown.classes), device=device)
    origin = deepcopy(shown.network)
    recipe = shown.network.recipe
    augmentation = Augmentation(elastic=recipe.elastic, elastic_grid=recipe.elastic_grid)
    trainer: Trainer
    judge: Judge
    patience: _Patience
    score: Score | None = None
    recent: list[float] = []
    step = generation = judged = 0
    longest = 0.0
    before = int(start.provenance.get("steps", 0))

    def judge_what_is_shown() -> None:
        """Begin to judge by the present labels."""
        nonlocal judge, patience, score
        judge = Judge(aside or data, shown.network, device)
        score = judge.score(shown.network, shift, trainer.dtype)
        patience = _Patience(recipe.patience)
        patience.look(score.loss, step)

    def consider() -> None:
        """Show what was learned if it is no worse than what is shown."""
        nonlocal score, generation, judged
        assert score is not None
        judged = step
        learned_so_far = trainer.average.network
        if not aside and not from_scratch:
            learned_so_far = _between(origin, learned_so_far, UNJUDGED)
        candidate = judge.score(learned_so_far, shift, trainer.dtype)
        patience.look(candidate.loss, step)
        if candidate.loss <= score.loss:
            score = candidate
            generation += 1
            shown.network.load_state_dict(learned_so_far.state_dict())

    def note() -> Verdict:
        """Keep with the model where it comes from, and how good it is."""
        verdict = verdict_of(score if aside else None)
        shown.provenance.update(
            app_version=app_version(),
            network=start.network_name,
            steps=before + step,
            seed=seed,
            seconds=round(time.monotonic() - began, 2),
            loss=None if score is None else round(score.loss, 5),
            verdict=verdict.facts,
            labelled_pixels={str(v): n for v, n in data.pixel_counts().items()},
            device=device.type,
        )
        return verdict

    def report(settled: bool = False) -> TrainingReport:
        elapsed = time.monotonic() - began
        loss = float(np.mean(recent)) if recent else None
        progress = _progress(step, elapsed, steps, seconds)
        return TrainingReport(step, loss, elapsed, *progress, shown, generation, note(), settled)

    try:
        newer = yield report()  # the instant answer, before anything else is made ready
        trainer = Trainer(shown.network, shift, device, from_scratch=from_scratch, seed=seed)
        started = time.monotonic()
        judge_what_is_shown()
        judging = time.monotonic() - started
        enough = 0  # newer labels are learned from up to this step, whatever the limits are
        while True:
            if newer is not None and not _problem(start, newer):
                newer.prefer_what_is_not_in(data)
                data = newer
                learned, aside = data.split()
                judge_what_is_shown()
                enough = step + JUDGE_EVERY
            started = time.monotonic()
            # The next step, and judging it, would end too late: the time is the user's.
            needed = started - began + longest + judging
            late = seconds is not None and needed > seconds and step > 0
            if step >= enough and (late or step == _last(steps, enough)):
                if judged == step:
                    break
                consider()
                newer = yield report()
                continue
            batch = draw_batch(
                learned,
                batch=recipe.batch,
                size=recipe.patch,
                random=random,
                margin=shown.network.margin,
                augmentation=augmentation,
            )
            recent = [*recent[-9:], trainer.step(batch)]
            step += 1
            if step % JUDGE_EVERY == 0 or step == _last(steps, enough):
                consider()
            longest = max(time.monotonic() - started, 0.5 * longest)
            settled = steps is None and step % JUDGE_EVERY == 0 and patience.over(step)
            newer = yield report(settled)
            if settled and newer is None:
                break
    finally:
        # Closed after k steps is as asked for k steps. (Not while the interpreter goes down.)
        if judged != step and not sys.is_finalizing():
            consider()
            note()
        shown.network.cpu()
        release(device)
    return shown


def _last(steps: int | None, enough: int) -> int | None:
    """The last step where `steps` are asked for, but up to `enough` are made in any case."""
    return None if steps is None else max(steps, enough)


@torch.no_grad()
def _between(one: Network, other: Network, share: float) -> Network:
    """A network whose weights lie between those of two, `share` of the way to the other."""
    result = deepcopy(one)
    for mine, theirs in zip(result.state_dict().values(), other.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, share)
    return result


class _Patience:
    """Whether there has been nothing better for long."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._best = math.inf
        self._since = 0

    def look(self, loss: float, step: int) -> None:
        """Take note of a loss."""
        if loss < self._best * (1 - WORTHWHILE):
            self._best, self._since = loss, step

    def over(self, step: int) -> bool:
        """Whether it is time to stop."""
        return step - self._since >= self._steps


def _inside(labels: Tensor, margin: int) -> Tensor:
    """`labels` `(N, Y, X)` with nothing labelled along the edges, where the network is blind."""
    if not margin:
        return labels
    inner = torch.zeros_like(labels)
    cut = (slice(None), slice(margin, -margin), slice(margin, -margin))
    inner[cut] = labels[cut]
    return inner


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
