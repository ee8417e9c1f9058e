"""The instant answer: a linear head on frozen features, fitted to the strokes in closed form.

Ridge regression, one class against the rest (Bertinetto et al., ICLR 2019, section 3.2, use it
inside of training; so does our pretraining). Classes weigh the same, however much is painted of
each. What the pretrained network calls a cell comes in as one more feature, free of the penalty:
where the strokes agree with it, it is taken over, else it is turned down or around.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from copy import deepcopy
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unet_core.device import training_dtype
from unet_core.model import Model
from unet_core.networks import UNet, place
from unet_core.patches import Stroke, TrainingSet, window_of
from unet_core.tiling import round_up
from unet_core.validation import chosen_strokes

MOST_STROKES = 32
"""Strokes of a class that the head is fitted to, at most; and the newest ones, see `instant`."""

AROUND_STEP, AROUND_RIM = 16, 32
"""Every so many pixels of a stroke's surroundings are looked at for how common each class is, but
not this close to the edge of the window, where the network sees too little."""

PRIOR_PENALTY = 0.01
"""Penalty of the prior's coefficient and of the bias, as a share of the features'."""
SURE = 0.9
"""What the prior says of the pixels around the strokes counts where it is at least so sure, in
terms of the difference of the probabilities of cell and background. Of what it has never seen the
like it is unsure."""
PRIOR_STROKES = 0.5
"""What it says there weighs as much as so many strokes…"""
PRIOR_CORRECTED = 16.0
"""…and so many more, times the square of the error that heads make on strokes left out. Strokes
that are painted where the prior is wrong differ from one another: such heads err, and where nobody
painted the prior knows better. Where the prior is of no use, strokes tell of one another."""
MOST_LOST = 0.02
"""Share of the painted pixels of a class that allowing for uncommon classes may cost."""
UNPAINTED = 5.0
"""A class that nobody has painted has a logit so much below that of one that somebody has."""


def solve(
    features: Tensor, targets: Tensor, weights: Tensor, prior: Tensor, ridge: Tensor
) -> tuple[Tensor, Tensor]:
    """Coefficients of the weighted ridge regression; differentiable in every argument.

    Parameters
    ----------
    features
        `(n, F)` float32.
    targets
        `(n, K)`: 1 for the pixel's class, -1 for the others.
    weights
        `(n,)`, sum 1.
    prior
        `(F + 1,)`: weights and bias of the pretrained cell logit.
    ridge
        The penalty of the features' coefficients, above 0; the data term is a weighted mean.

    Returns
    -------
    Weights `(K, F)` and biases `(K,)` of the targets' estimates, the prior's share worked in.

    """
    known = features @ prior[:-1] + prior[-1]
    scale = known.detach().square().mean().sqrt().clamp_min(1e-3)
    ones = torch.ones_like(known)
    columns = torch.cat((features, (known / scale)[:, None], ones[:, None]), dim=1)
    penalty = torch.cat((ridge.expand(features.shape[1]), (PRIOR_PENALTY * ridge).expand(2)))
    weighted = columns * weights[:, None]
    solution = torch.linalg.solve(
        weighted.T @ columns + torch.diag(penalty), weighted.T @ targets
    )  # (F + 2, K)
    share = solution[-2] / scale
    return solution[:-2].T + share[:, None] * prior[:-1], solution[-1] + share * prior[-1]


def one_against_rest(classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Targets `(n, K)` and weights `(n,)` of class indices `(n,)`: each class weighs the same."""
    return 2 * functional.one_hot(classes, count).float() - 1, equal_weights(classes)


def equal_weights(classes: Tensor) -> Tensor:
    """Weights `(n,)`, sum 1, of pixels with class indices `(n,)`: each class weighs the same."""
    pixels = torch.bincount(classes).float()
    return 1 / (pixels * (pixels > 0).sum())[classes]


def penalty_of(network: UNet) -> Tensor:
    """The penalty that pretraining has found best for this network's features."""
    return functional.softplus(network.ridge - 3)


@torch.no_grad()
def fit_head(
    network: UNet, features: Tensor, classes: Tensor, around: Tensor, around_weight: float
) -> tuple[Tensor, Tensor]:
    """Weights `(K, F)` and biases `(K,)` for `network.head`, fitted to labelled pixels.

    Parameters
    ----------
    network
        Its present head is the prior: class 0 against the rest.
    features
        `(n, F)` float32, of `network.features_at` the labelled pixels.
    classes
        `(n,)` int64 class indices, 0 = background. A class without pixels becomes a copy of the
        last one with pixels, and stays behind it everywhere: its present weights would win the
        cells from the class that they were painted as.
    around
        `(m, F)`: of pixels around the labelled ones, for which the prior speaks: background or
        not. How the foreground is divided into classes, it does not know.
    around_weight
        How much the pixels around weigh together if the prior is sure everywhere. The labelled ones
        weigh 1.

    """
    assert network.head.bias is not None
    weight, bias, penalty, sharpness = (
        values.to(features.device)
        for values in (
            network.head.weight[:, :, 0, 0],
            network.head.bias,
            penalty_of(network),
            functional.softplus(network.sharpness),
        )
    )
    prior = torch.cat((weight[1:].mean(dim=0) - weight[0], (bias[1:].mean() - bias[0])[None]))
    believed = torch.tanh((around @ prior[:-1] + prior[-1]) / 2)  # 2 P(foreground) - 1
    each = around_weight / max(1, len(around))
    sure = believed.abs() > SURE
    around, believed = around[sure], believed[sure]
    weights = equal_weights(classes)
    all_features = torch.cat((features, around))
    fitted, fitted_bias = weight.clone(), bias.clone()
    painted = torch.unique(classes).tolist()
    for index in painted:
        wanted = -believed if index == 0 else believed
        # Of one of several classes, the prior only knows where it is not.
        known = believed.new_ones(len(around))
        if index and len(painted) > 2:
            wanted, known = torch.full_like(believed, -1.0), (1 - believed) / 2
        own, own_bias = solve(
            all_features,
            torch.cat((2 * (classes == index).float() - 1, wanted))[:, None],
            torch.cat((weights, each * known)),
            prior,
            penalty,
        )
        fitted[index], fitted_bias[index] = sharpness * own[0], sharpness * own_bias[0]
    for index in set(range(len(bias))) - set(painted):
        fitted[index] = fitted[painted[-1]].clone()
        fitted_bias[index] = fitted_bias[painted[-1]] - UNPAINTED
    return fitted, fitted_bias


@torch.no_grad()
def share_shift(logits: Tensor, painted: Tensor, classes: Tensor) -> Tensor:
    """What to add to the biases `(K,)`, as classes are not equally common where nothing is painted.

    `logits` `(m, K)` are of pixels anywhere around the strokes, by a head that gives every class
    the same weight. How common each class is follows from them by expectation maximisation
    (Saerens, Latinne, Decaestecker, Neural Computation 2002, section 2.2). Half of the shift is
    made, as the pixels are few and a class that the strokes were to bring out must not vanish; and
    less where it would turn strokes to another class, `painted` `(n, K)` being the logits of their
    pixels and `classes` `(n,)` their class indices.
    """
    equal = torch.full((logits.shape[1],), 1 / logits.shape[1], device=logits.device)
    shares = equal
    for _ in range(50):
        shares = (logits + (shares / equal).log()).softmax(dim=1).mean(dim=0).clamp_min(0.01)
        shares = shares / shares.sum()
    shift = (shares / equal).log()
    before = _right(painted, classes)
    for part in (0.5, 0.375, 0.25, 0.125):
        if (_right(painted + part * shift, classes) >= before - MOST_LOST).all():
            return part * shift
    return 0 * shift


def _counted_shift(data: TrainingSet, count: int) -> tuple[Tensor, float]:
    """As `share_shift`, `(count,)`, of the labels alone; and the share of pixels with a label."""
    counts = data.pixel_counts()
    pixels = torch.tensor([counts.get(1 + index, 0) for index in range(count)])
    shares = (pixels / pixels.sum()).clamp_min(0.01)
    regions = sum(region.labels.size for region in data.regions)
    return (count * shares / shares.sum()).log(), pixels.sum().item() / regions


def _right(logits: Tensor, classes: Tensor) -> Tensor:
    """Share of the pixels of each class that occurs, `(classes,)`, which get that class."""
    right = (logits.argmax(dim=1) == classes).float()
    return torch.stack([right[classes == index].mean() for index in torch.unique(classes)])


FOLDS = 4
"""Parts in which the strokes are left out in turn to see how well a head does without them."""
UNKNOWN_ERROR = 0.5
"""What is taken for a head's mean squared error where none can be left out."""
MEAN_PREFERRED = 0.95
"""A single channel is looked at instead of the mean of all where it leaves less than this share
of the error. Whole masks follow edges that nobody can place to the pixel: of what is left, much is
alike in every channel."""
MEAN = -1
"""In place of a channel's number: the mean of all."""


def looking_at(model: Model, channel: int) -> Model:
    """`model`, which sees the mean of its channels, or a copy that sees only this one of them."""
    if channel == MEAN:
        return model
    return model.seeing([float(other == channel) for other in range(model.channels)])


@torch.no_grad()
def _error_left_out(network: UNet, features: list[Tensor], classes: list[int]) -> float:
    """Mean squared error of heads on strokes that they were not fitted to, every class alike.

    `features` are `(n, F)` for each stroke, `classes` the index of each stroke's class. Targets are
    1 and -1. `UNKNOWN_ERROR` where there are too few strokes to leave any out.
    """
    count = max(classes) + 1
    nothing = features[0].new_zeros(network.feature_count + 1)
    fold = np.zeros(len(classes), int)
    for value in set(classes):  # each fold leaves out strokes of every class
        own = np.flatnonzero(np.array(classes) == value)
        fold[own] = np.arange(len(own)) % FOLDS
    errors = []
    for left_out in range(FOLDS):
        parts = [np.flatnonzero(part).tolist() for part in (fold != left_out, fold == left_out)]
        if len({classes[i] for i in parts[0]}) < 2 or not parts[1]:
            continue
        joined = [
            (
                torch.cat([features[i] for i in part]),
                torch.cat([torch.full((len(features[i]),), classes[i]) for i in part]),
            )
            for part in parts
        ]
        targets, weights = one_against_rest(joined[0][1].to(features[0].device), count)
        weight, bias = solve(joined[0][0], targets, weights, nothing, penalty_of(network))
        wanted, shares = one_against_rest(joined[1][1].to(features[0].device), count)
        error = (joined[1][0] @ weight.T + bias - wanted).square().mean(dim=1)
        errors.append(float((error * shares).sum()))
    return float(np.mean(errors)) if errors else UNKNOWN_ERROR


@torch.no_grad()
def _features_at(network: UNet, image: Tensor, pixels: NDArray[np.intp]) -> Tensor:
    """Features `(n, F)` of pixels `(n, 2)` of an image `(1, C, Y, X)` on the network's device."""
    rows, columns = (torch.from_numpy(axis).to(image.device) for axis in pixels.T)
    dtype = training_dtype(image.device)
    with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
        levels = network.levels(image)
    return network.features_at(levels, rows, columns)


class InstantHead:
    """Fits heads to one model's features, again and again as strokes are added.

    What the network says of a stroke is computed once: each new stroke costs its own surroundings
    only. What was computed before makes no difference to any result. `model` is a pretrained one
    that sees the mean of its channels, as `Model.adapted` makes it; it is not to be changed.
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model, self._device = model, device
        self._channel = MEAN
        self._network: UNet | None = None
        """That which looks at `_channel`, on the device; made on first use."""
        self._known: dict[_Key, _StrokeFeatures] = {}
        """What it says of strokes."""
        self._compared: dict[_Key, list[Tensor]] = {}
        """Features `(n, F)` of a stroke in the mean of all channels, then in each one."""

    def best_channel(self, data: TrainingSet) -> Generator[None, None, int]:
        """Step by step, the number of the channel to look at, or `MEAN`.

        In one channel cells may be plain to see that the mean of all hides; whether and in which
        one, the strokes tell: a head is fitted to each, and judged on strokes that were left out.
        """
        if self._model.channels == 1 or not isinstance(self._model.network, UNet):
            return MEAN
        network = place(self._model.adapted(1).network, self._device).eval()
        assert isinstance(network, UNet)
        wanted = _by_key(chosen_strokes(data, MOST_STROKES // 5))
        self._compared = {key: self._compared[key] for key in wanted.keys() & self._compared.keys()}
        for key, stroke in wanted.items():
            if key not in self._compared:
                image, pixels = self._near(data, stroke, network)
                compared = []
                for seen in (image.mean(dim=1, keepdim=True), *image.split(1, dim=1)):
                    compared.append(_features_at(network, seen, pixels))
                    yield
                self._compared[key] = compared
        classes = [stroke.value - 1 for stroke in wanted.values()]
        mean, *single = [
            _error_left_out(network, [self._compared[key][i] for key in wanted], classes)
            for i in range(1 + self._model.channels)
        ]
        best = int(np.argmin(single))
        return best if single[best] < MEAN_PREFERRED * mean else MEAN

    def _near(
        self, data: TrainingSet, stroke: Stroke, network: UNet
    ) -> tuple[Tensor, NDArray[np.intp]]:
        """The image `(1, C, Y, X)` near a stroke and its pixels `(n, 2)` there.

        Half of what the network can see is enough to compare channels, at a third of the price.
        """
        halo = round_up(network.halo // 2, network.stride)
        window = window_of(data, stroke, network, halo=halo)
        return window.image.to(self._device), window.pixels

    @torch.no_grad()
    def fit(
        self,
        data: TrainingSet,
        *,
        into: Model,
        channel: int = MEAN,
        newest: Sequence[Stroke] = (),
    ) -> None:
        """Give `into` a head fitted to `data`. Networks without features keep the one they have.

        Parameters
        ----------
        into
            A copy of the model, perhaps with further classes, `looking_at` the `channel`. Its head
            is the prior.
        newest
            Strokes of `data` that the head is to be fitted to in any case. Of many, it is fitted
            to some that are chosen by where they are, which a label file tells as well; in which
            order they were painted it does not.

        """
        network = into.network
        if not isinstance(network, UNet):
            return
        for _ in self.prepare(data, channel, newest):
            pass
        wanted = _by_key(_fitted_to(data, newest))
        under = [self._known[key].under for key in wanted]
        values = [stroke.value - 1 for stroke in wanted.values()]
        features = torch.cat(under)
        classes = torch.tensor(values).repeat_interleave(torch.tensor([len(u) for u in under]))
        classes = classes.to(self._device)
        around = torch.cat([self._known[key].around for key in wanted])
        error = _error_left_out(network, under, values)
        around_weight = (PRIOR_STROKES + PRIOR_CORRECTED * error**2) / len(wanted)
        weight, bias = fit_head(network, features, classes, around, around_weight)
        guessed = share_shift(around @ weight.T + bias, features @ weight.T + bias, classes)
        # Where nearly all is labelled, as in whole masks, the labels tell how common classes are.
        counted, labelled = _counted_shift(data, len(weight))
        shift = (1 - labelled) * guessed + labelled * counted.to(self._device)
        into.share_shift = tuple(shift.tolist())
        assert network.head.bias is not None
        network.head.weight.copy_(weight[:, :, None, None])
        network.head.bias.copy_(bias + shift)

    def prepare(
        self, data: TrainingSet, channel: int = MEAN, newest: Sequence[Stroke] = ()
    ) -> Iterator[None]:
        """Compute what `fit` will need to know of the same, one new stroke at a time."""
        if channel != self._channel:
            self._channel, self._network, self._known = channel, None, {}
        wanted = _by_key(_fitted_to(data, newest))
        self._known = {key: self._known[key] for key in wanted.keys() & self._known.keys()}
        for key, stroke in wanted.items():
            if key not in self._known:
                self._known[key] = self._features(data, stroke)
                yield

    @torch.no_grad()
    def _features(self, data: TrainingSet, stroke: Stroke) -> _StrokeFeatures:
        if self._network is None:
            network = place(deepcopy(looking_at(self._model, self._channel).network), self._device)
            assert isinstance(network, UNet)
            self._network = network.eval()
        network = self._network
        window = window_of(data, stroke, network)
        side = np.arange(AROUND_RIM, window.image.shape[-1] - AROUND_RIM, AROUND_STEP)
        grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        pixels = np.concatenate((window.pixels, grid))
        features = _features_at(network, window.image.to(self._device), pixels)
        under, around = features.split([len(window.pixels), len(grid)])
        return _StrokeFeatures(under, around)


def _fitted_to(data: TrainingSet, newest: Sequence[Stroke]) -> list[Stroke]:
    """The strokes that a head is fitted to."""
    chosen = chosen_strokes(data, MOST_STROKES)
    there = {id(stroke) for stroke in chosen}
    return [*chosen, *(stroke for stroke in newest if id(stroke) not in there)]


class _StrokeFeatures(NamedTuple):
    under: Tensor
    """`(n, F)`: of the stroke's pixels."""
    around: Tensor
    """`(m, F)`: of pixels evenly spread over its surroundings."""


_Key = tuple[int, int, int]


def _by_key(strokes: list[Stroke]) -> dict[_Key, Stroke]:
    """Strokes by where they are and their shape: what was computed for one holds for its equals.

    The third number tells apart those of different images, of which a set may have several.
    """
    found: dict[_Key, Stroke] = {}
    for stroke in strokes:
        shape = crc32((stroke.pixels - stroke.pixels[0]).tobytes())
        number = 0
        while (stroke.place, shape, number) in found:
            number += 1
        found[stroke.place, shape, number] = stroke
    return found
