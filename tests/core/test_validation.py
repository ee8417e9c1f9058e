"""Did it learn? An interval that is honest about how few the strokes are."""

import itertools

import numpy as np
import pytest
import torch

from unet_core.annotation import Annotation
from unet_core.model import Model
from unet_core.patches import KEPT_ASIDE, LEAST_KEPT_ASIDE, Region, TrainingSet
from unet_core.stack import PlaneIndex
from unet_core.validation import ENOUGH, MOST_STROKES, Judge, Score, chosen_strokes, verdict_of

CPU = torch.device("cpu")


def data_of(per_class: int) -> TrainingSet:
    """So many short strokes of each of two classes, on noise."""
    annotation = Annotation((1, 1, 256, 256))
    for i, value in itertools.product(range(per_class), (1, 2)):
        stroke = annotation.stroke(PlaneIndex(0, 0), value, 3)
        stroke.to(10 + 12 * i, 30 + 100 * value)
        stroke.finish()
    image = np.random.default_rng(0).uniform(0, 1, (1, 256, 256)).astype(np.float32)
    ranges = np.array([[0, 1]], np.float32)
    return TrainingSet([Region(image, annotation.read(PlaneIndex(0, 0)), ranges)])


@pytest.mark.parametrize(
    ("right", "strokes", "low", "high"),
    [
        (0.8, 10, 0.490, 0.943),
        (1.0, 10, 0.722, 1.0),
        (0.0, 10, 0.0, 0.278),
        (0.5, 100, 0.404, 0.596),
    ],
)
def test_the_interval_is_wilsons(right, strokes, low, high):
    """Figures as in Newcombe, Statistics in Medicine 1998, or by hand from his equation."""
    verdict = verdict_of(Score(0.1, right, strokes))
    assert (verdict.low, verdict.high) == (
        pytest.approx(low, abs=2e-3),
        pytest.approx(high, abs=2e-3),
    )


def test_the_verdict_is_plain():
    assert str(verdict_of(Score(0.2, 0.93, 40))) == (
        "Right on 93 % of the strokes kept aside to judge by (81 to 98 %)."
    )
    too_few = "Too few labels to judge how well it learned."
    for score in (None, Score(0.0, 1.0, ENOUGH - 1), Score(0.7, 0.5, ENOUGH)):
        verdict = verdict_of(score)
        assert str(verdict) == too_few
        assert verdict.facts is None
    facts = verdict_of(Score(0.2, 0.93, 40)).facts
    assert facts["strokes"] == 40
    assert facts["low"] < facts["right"] == 0.93 < facts["high"]


def test_strokes_are_kept_aside_of_each_class_and_stay_aside():
    enough = KEPT_ASIDE * LEAST_KEPT_ASIDE
    few = data_of(enough - 1)
    assert few.split() == (few, None)
    data = data_of(enough)
    learned, aside = data.split()
    assert aside is not None
    places = {stroke.place for stroke in aside.strokes}
    assert aside.values == learned.values == [1, 2]
    assert len(aside.strokes) == 2 * LEAST_KEPT_ASIDE
    assert not places & {stroke.place for stroke in learned.strokes}
    assert {s.place for s in data.strokes} == places | {s.place for s in learned.strokes}
    # Those on one side mostly stay there while others are added.
    assert {stroke.place for stroke in data_of(enough + 1).split()[1].strokes} & places


def test_of_many_strokes_some_are_looked_at_always_the_same():
    data = data_of(MOST_STROKES + 5)
    chosen = chosen_strokes(data, MOST_STROKES)
    assert len(chosen) == 2 * MOST_STROKES
    assert [s.place for s in chosen] == [s.place for s in chosen_strokes(data, MOST_STROKES)]


def test_a_judge_scores_what_the_network_says_under_the_strokes():
    """A network that says "cell" everywhere is right on the half of the classes."""
    model = Model.bundled()
    with torch.no_grad():
        model.network.head.weight.zero_()
        model.network.head.bias.copy_(torch.tensor([0.0, 2.0]))
    judge = Judge(data_of(6), model.network, CPU)
    score = judge.score(model.network, torch.zeros(2), None)
    assert score.right == pytest.approx(0.5)
    assert score.strokes == 12
    right, wrong = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    assert score.loss == pytest.approx((right + wrong) / 2, rel=1e-4)
    # How common cells are where nothing is painted is none of the strokes' business.
    assert judge.score(model.network, torch.tensor([0.0, 2.0]), None).loss == pytest.approx(
        np.log(2), rel=1e-4
    )
