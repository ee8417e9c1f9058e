"""Fine-tuning: the loss sees labelled pixels only; a run can be repeated, stopped and fed."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.annotator import annotate
from tests.synthetic import dice, make_cells
from unet_core import head, training
from unet_core.annotation import DEFAULT_CLASSES, Annotation
from unet_core.device import training_dtype
from unet_core.head import InstantHead
from unet_core.inference import predict_plane
from unet_core.instant import InstantAnswer
from unet_core.intensity import percentile_range
from unet_core.model import Model
from unet_core.networks import UNet
from unet_core.objects import interior_target
from unet_core.patches import Region, TrainingSet, draw_batch
from unet_core.stack import PlaneIndex
from unet_core.steps import result_of
from unet_core.training import (
    JUDGE_EVERY,
    Trainer,
    TrainingError,
    anchor_loss,
    fit,
    masked_loss,
)
from unet_core.validation import Judge, Score

CPU = torch.device("cpu")


def data_of(
    seed: int = 0, channels: int = 1, predicted: np.ndarray | None = None
) -> tuple[TrainingSet, np.ndarray, np.ndarray]:
    """Eight strokes on an image of cells among debris; the data, the image and the truth."""
    cells = make_cells(seed=seed, shape=(256, 320), count=8, kind="mixed")
    image = np.repeat(cells.image[None], channels, axis=0)
    ranges = percentile_range(image.reshape(channels, -1))
    annotation = Annotation((1, 1, *cells.mask.shape))
    annotate(
        annotation, PlaneIndex(0, 0), cells.mask, ~cells.mask if predicted is None else predicted
    )
    region = Region(image, annotation.read(PlaneIndex(0, 0)), ranges)
    return TrainingSet([region]), image, cells.mask


@pytest.fixture
def small_steps(monkeypatch):
    """Where it does not matter how much a step learns."""
    monkeypatch.setattr(UNet, "recipe", replace(UNet.recipe, patch=64, batch=2))


def same_weights(one: Model, other: Model) -> bool:
    pairs = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_unlabelled_pixels_have_no_gradient_and_no_weight():
    logits = torch.randn(1, 3, 20, 20, requires_grad=True)
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[0, 3, 4], labels[0, 10, 10] = 1, 3
    for options in ({}, {"balanced": True}, {"dice": 0.5}, {"balanced": True, "dice": 0.5}):
        loss = masked_loss(logits, labels, **options)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert ((gradient.abs().sum(1) > 0) == (labels > 0)).all()
    # The same pixels in a larger, emptier patch: the same loss.
    padded = torch.nn.functional.pad(logits, (30, 30, 30, 30))
    wider = torch.nn.functional.pad(labels, (30, 30, 30, 30))
    assert torch.isclose(
        masked_loss(logits, labels, balanced=True, dice=1),
        masked_loss(padded, wider, balanced=True, dice=1),
    )


def test_a_perfect_prediction_costs_nothing_however_little_is_labelled():
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[0, 5, 5:9], labels[0, 40, 40] = 1, 2
    logits = torch.zeros(1, 2, 64, 64)
    logits[0, 0][labels[0] == 1] = 50
    logits[0, 1][labels[0] == 2] = 50
    assert masked_loss(logits, labels, balanced=True, dice=1).item() < 1e-5


def test_balanced_means_that_a_rare_class_counts_as_much():
    logits = torch.zeros(1, 2, 10, 100)
    labels = torch.ones(1, 10, 100, dtype=torch.long)
    labels[0, 0, 0] = 2
    logits[:, 0] = 3.0  # right on background, wrong on the one cell pixel
    assert masked_loss(logits, labels, balanced=True) > 1.5
    assert masked_loss(logits, labels) < 0.1


def test_nothing_labelled_is_no_loss_and_no_nan():
    logits = torch.randn(1, 2, 8, 8, requires_grad=True)
    loss = masked_loss(logits, torch.zeros(1, 8, 8, dtype=torch.long), balanced=True, dice=1)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_eight_strokes_improve_clearly_on_the_bundled_weights():
    data, image, mask = data_of()
    ranges = data.regions[0].ranges
    bundled = Model.bundled()
    predicted = predict_plane(bundled, image, ranges, CPU).probabilities[0] >= 0.5
    data, *_ = data_of(predicted=predicted)
    *_, last = fit(bundled, data, device=CPU, seed=0, steps=12)
    after = dice(predict_plane(last.model, image, ranges, CPU).probabilities[0] >= 0.5, mask)
    assert after > dice(predicted, mask) + 0.05
    assert after > 0.75
    assert last.step == 12
    assert last.fraction == 1.0
    assert last.model.provenance["steps"] == 12
    assert bundled.provenance.get("steps") is None, "the start is not to be changed"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    data, *_ = data_of()

    def weights(seed: int, pause: bool = False) -> list[torch.Tensor]:
        for report in fit(Model.bundled(), data, device=CPU, seed=seed, steps=3):
            if pause:  # what happens between two steps leaves no trace
                torch.manual_seed(report.step)
                np.random.default_rng().random()
                predict_plane(report.model, data.regions[0].image, data.regions[0].ranges, CPU)
        return list(report.model.network.state_dict().values())

    one, same, other = weights(0), weights(0, pause=True), weights(1)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.usefixtures("small_steps")
def test_stopping_keeps_what_the_reports_showed():
    """Stopped after three steps equals asked for three steps: nothing depends on the end."""
    data, *_ = data_of()
    asked = list(fit(Model.bundled(), data, device=CPU, seed=4, steps=3))[-1].model
    running = fit(Model.bundled(), data, device=CPU, seed=4, seconds=1000)
    *_, report = itertools.islice(running, 1 + 3)  # the first is the instant answer
    running.close()
    assert same_weights(asked, report.model)
    assert report.model.provenance["steps"] == 3


def test_the_first_report_is_the_instant_answer(small_steps):
    data, *_ = data_of()
    bundled = Model.bundled()
    fitting = fit(bundled, data, device=CPU)
    first = next(fitting)
    assert (first.step, first.generation, first.settled) == (0, 0, False)
    answer = bundled.copy()
    InstantHead(bundled, CPU).fit(data.split()[0], into=answer)
    assert same_weights(first.model, answer)
    assert not same_weights(first.model, bundled)
    fitting.close()
    assert same_weights(first.model, answer), "closed before any step, it stays as it is"
    # What was trained before keeps its head, whatever the strokes are now.
    again = next(fit(first.model, data_of(seed=1)[0], device=CPU))
    assert same_weights(again.model, answer)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_the_instant_answer_has_computed_saves_time_and_changes_nothing(
    channels, small_steps, monkeypatch
):
    data, *_ = data_of(channels=channels)
    start = Model.bundled().adapted(channels)
    answer = InstantAnswer(start, CPU)
    result_of(answer.fit(data, DEFAULT_CLASSES))
    alone = next(fit(start, data, device=CPU)).model
    looked = []
    features_at = head._features_at
    monkeypatch.setattr(
        head, "_features_at", lambda *given: looked.append(given) or features_at(*given)
    )
    after = next(fit(start, data, device=CPU, head=answer.head)).model
    assert not looked
    assert same_weights(alone, after)
    # Whatever it has answered before.
    other, *_ = data_of(seed=1, channels=channels)
    result_of(answer.fit(other, DEFAULT_CLASSES))
    after = next(fit(start, data, device=CPU, head=answer.head)).model
    assert looked
    assert same_weights(alone, after)


def test_what_is_shown_never_gets_worse_on_the_judged_strokes(small_steps):
    data, *_ = data_of()
    learned, aside = data.split()
    judge = Judge(aside or data, Model.bundled().network, CPU)
    losses, generation = [], -1
    for report in fit(Model.bundled(), data, device=CPU, seed=2, steps=4 * JUDGE_EVERY):
        if report.generation != generation:
            assert report.generation == generation + 1
            generation = report.generation
            shift = torch.tensor(report.model.share_shift)
            losses.append(judge.score(report.model.network, shift, training_dtype(CPU)).loss)
    assert losses == sorted(losses, reverse=True)
    assert len(losses) > 1, "something was learned"


def test_worse_weights_are_never_shown(small_steps, monkeypatch):
    """With a learning rate that ruins the network, the instant answer stays."""
    monkeypatch.setattr(UNet, "recipe", replace(UNet.recipe, learning_rate=3.0, warm_up=0))
    data, *_ = data_of()
    fitting = fit(Model.bundled(), data, device=CPU, steps=JUDGE_EVERY)
    first = next(fitting)
    answer = first.model.copy()
    *_, last = fitting
    assert last.generation == 0
    assert same_weights(last.model, answer)


def test_where_nothing_can_judge_it_only_half_of_the_way_is_gone(small_steps, monkeypatch):
    """Eight strokes are too few to keep any aside, so they cannot tell how much is too much."""
    losses = itertools.count(1000, -1)
    monkeypatch.setattr(Judge, "score", lambda *_: Score(next(losses), 0.9, 6))

    def weights(share):
        monkeypatch.setattr(training, "UNJUDGED", share)
        fitting = fit(Model.bundled(), data_of()[0], device=CPU, steps=JUDGE_EVERY)
        first = next(fitting).model.copy().network.state_dict()
        last = result_of(fitting).network.state_dict()
        return [(first[name], last[name]) for name in first if last[name].is_floating_point()]

    none, half, whole = (weights(share) for share in (0.0, 0.5, 1.0))
    assert all(torch.equal(before, after) for before, after in none)
    assert any((after != before).any() for before, after in whole)
    for (before, after), (_, learned) in zip(half, whole, strict=True):
        torch.testing.assert_close(after, (before + learned) / 2)


def test_it_stops_by_itself_when_nothing_gets_better(small_steps, monkeypatch):
    patience = 2 * JUDGE_EVERY
    monkeypatch.setattr(UNet, "recipe", replace(UNet.recipe, patience=patience))
    monkeypatch.setattr("unet_core.training.WORTHWHILE", 1.0)  # nothing is worth it
    data, *_ = data_of()
    reports = list(fit(Model.bundled(), data, device=CPU, seconds=1e6))
    assert reports[-1].step == patience
    assert [report.settled for report in reports] == [False] * patience + [True]
    # Newer labels that come with the last report are learned from.
    fitting = fit(Model.bundled(), data, device=CPU, seconds=1e6)
    *_, settled = itertools.islice(fitting, patience + 1)
    assert settled.settled
    assert fitting.send(data_of(seed=1)[0]).step == patience + 1
    # Whoever asks for so many steps gets them.
    assert list(fit(Model.bundled(), data, device=CPU, steps=patience + 1))[-1].step == patience + 1


def test_the_verdict_goes_with_the_model(small_steps):
    annotation = Annotation((1, 1, 256, 320))
    for i, value in itertools.product(range(20), (1, 2)):
        stroke = annotation.stroke(PlaneIndex(0, 0), value, 3)
        stroke.to(10 + 12 * i, 100 * value)
        stroke.finish()
    data, image, _ = data_of()
    labels = annotation.read(PlaneIndex(0, 0))
    many = TrainingSet([Region(image, labels, data.regions[0].ranges)])
    first, report = fit(Model.bundled(), many, device=CPU, steps=1)
    assert first.verdict.score is None, "nothing has been judged yet"
    assert report.verdict.score is not None
    assert report.verdict.score.strokes == 8
    assert report.model.provenance["verdict"] == report.verdict.facts
    *_, few = fit(Model.bundled(), data, device=CPU, steps=1)
    assert few.verdict.score is None
    assert few.model.provenance["verdict"] is None


def test_seconds_are_an_upper_limit(monkeypatch, small_steps):
    """By a clock of the test's own, 0.3 s later at each look: no machine is too slow for it."""
    clock = itertools.count(100, 0.3)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    data, *_ = data_of()
    reports = list(fit(Model.bundled(), data, device=CPU, seconds=4))
    assert all(report.eta >= 0 for report in reports)
    assert 2.5 < reports[-1].elapsed <= 4 + 0.3, "the clock goes on when the last report looks"


def test_newer_labels_are_taken_in_between_two_steps(small_steps):
    data, image, mask = data_of()
    labels = np.zeros_like(data.regions[0].labels)
    labels[:10], labels[20:30] = 1, 2  # nonsense at first
    nonsense = TrainingSet([Region(image, labels, data.regions[0].ranges)])
    fitting = fit(Model.bundled(), nonsense, device=CPU, seed=0, steps=4)
    next(fitting)
    report = fitting.send(data)
    assert report.step == 1
    assert report.model.provenance["labelled_pixels"] == {
        str(value): n for value, n in data.pixel_counts().items()
    }


@pytest.mark.parametrize("limit", [{"steps": 2}, {"seconds": 1e-6}])
def test_newer_labels_that_come_with_the_last_report_are_learned(limit, small_steps):
    data, *_ = data_of()
    newer, *_ = data_of(seed=1)
    alone = list(fit(Model.bundled(), data, device=CPU, **limit))
    fitting = fit(Model.bundled(), data, device=CPU, **limit)
    *_, last = itertools.islice(fitting, len(alone))
    assert (last.step, last.fraction) == (alone[-1].step, 1.0)
    fitting.send(newer)
    *_, report = fitting
    assert report.step == last.step + JUDGE_EVERY
    assert report.generation > last.generation, "what was learned is shown"
    assert report.model.provenance["labelled_pixels"] == {
        str(value): n for value, n in newer.pixel_counts().items()
    }


def test_newer_labels_without_background_are_passed_over(small_steps):
    data, image, _ = data_of()
    region = data.regions[0]
    only_cells = np.where(region.labels == 2, region.labels, np.uint8(0))
    for newer in (TrainingSet([]), TrainingSet([Region(image, only_cells, region.ranges)])):
        fitting = fit(Model.bundled(), data, device=CPU, seed=0, steps=2)
        next(fitting)
        report = fitting.send(newer)
        assert set(report.model.provenance["labelled_pixels"]) == {"1", "2"}


def test_from_scratch_and_with_several_channels():
    data, *_ = data_of(channels=3)
    start = Model.fresh("compact", 3, DEFAULT_CLASSES, seed=0)
    instant, *losses = [report.loss for report in fit(start, data, device=CPU, seed=0, steps=8)]
    assert instant is None
    assert losses[-1] < losses[0]


def test_what_cannot_be_trained_on_is_said():
    data, image, _ = data_of()
    ranges = data.regions[0].ranges
    only_cells = np.where(data.regions[0].labels == 2, 2, 0).astype(np.uint8)
    with pytest.raises(TrainingError, match="background"):
        next(fit(Model.bundled(), TrainingSet([Region(image, only_cells, ranges)]), device=CPU))
    with pytest.raises(TrainingError, match="channels"):
        next(fit(Model.bundled().adapted(3), data, device=CPU))
    third = data.regions[0].labels.copy()
    third[0, 0] = 3
    with pytest.raises(TrainingError, match="value 3"):
        next(fit(Model.bundled(), TrainingSet([Region(image, third, ranges)]), device=CPU))


def test_what_is_not_painted_on_stays_as_it_was_believed():
    """The anchor holds the unlabelled pixels only, and only foreground against background."""
    believed = torch.randn(1, 3, 12, 12)
    labels = torch.zeros(1, 12, 12, dtype=torch.long)
    labels[0, :4] = 2
    logits = believed.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(anchor_loss(logits, believed, labels), logits)
    assert gradient.abs().max() < 1e-6, "nothing pulls where nothing has changed"
    other = (believed + torch.randn(1, 3, 12, 12)).requires_grad_()
    (gradient,) = torch.autograd.grad(anchor_loss(other, believed, labels), other)
    assert not gradient[0, :, :4].any()
    assert gradient[0, :, 4:].abs().sum() > 0
    swapped = believed[:, [0, 2, 1]]
    assert torch.isclose(
        anchor_loss(swapped, believed, labels), anchor_loss(believed, believed, labels)
    )


def test_numbered_cells_teach_how_touching_ones_part():
    """The interior comes nearer to what the numbers say; without them it stays as it was."""
    cells = make_cells(seed=4, shape=(128, 128), count=4)
    image = cells.image[None]
    labels = 1 + cells.mask.astype(np.uint8)
    region = Region(image, labels, percentile_range(image.reshape(1, -1)))
    truth = 1 - interior_target(cells.objects)  # the other way round: nobody believes that

    def error(region: Region, steps: int) -> float:
        """Of the interior after so many steps."""
        model, random = Model.bundled(), np.random.default_rng(0)
        trainer = Trainer(model.network, torch.zeros(2), CPU, from_scratch=False, seed=0)
        for _ in range(steps):
            trainer.step(draw_batch(TrainingSet([region]), batch=1, size=64, random=random))
        model.network = trainer.network.eval()
        return float(
            np.abs(predict_plane(model, image, region.ranges, CPU).interior - truth).mean()
        )

    before = error(region, 0)
    assert error(replace(region, interior=1 + truth), 12) < before - 0.1
    assert error(region, 12) > before - 0.05
