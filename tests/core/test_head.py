"""The instant answer: a head in closed form, fitted again with each stroke."""

import numpy as np
import pytest
import torch

import unet_core.head as head_module
from tests.synthetic import make_cells
from unet_core.annotation import DEFAULT_CLASSES, Annotation, ClassInfo
from unet_core.head import (
    PRIOR_PENALTY,
    InstantHead,
    fit_head,
    looking_at,
    one_against_rest,
    penalty_of,
    share_shift,
    solve,
)
from unet_core.instant import InstantAnswer
from unet_core.model import Model
from unet_core.patches import Region, TrainingSet
from unet_core.stack import PlaneIndex
from unet_core.steps import result_of

CPU = torch.device("cpu")
RANGES = np.array([[0, 1]], np.float32)
NOWHERE = torch.zeros(0, 64)
BLANK = np.random.default_rng(5).uniform(0, 1, (1, 192, 192)).astype(np.float32)


def data_of(*strokes: tuple[int, int, int], image: np.ndarray = BLANK) -> TrainingSet:
    """Strokes, each (class value, y, x), on an image `(C, Y, X)` of noise."""
    annotation = Annotation((1, 1, *image.shape[1:]))
    for value, y, x in strokes:
        stroke = annotation.stroke(PlaneIndex(0, 0), value, 5)
        stroke.to(y, x)
        stroke.to(y, x + 10)
        stroke.finish()
    ranges = np.repeat(RANGES, len(image), axis=0)
    return TrainingSet([Region(image, annotation.read(PlaneIndex(0, 0)), ranges)])


@pytest.fixture
def drawn():
    """Features `(n, F)` of two classes that overlap, and class indices `(n,)`."""
    torch.manual_seed(0)
    classes = (torch.rand(300) < 0.3).long()
    return torch.randn(300, 64) + 0.5 * classes[:, None], classes


@pytest.fixture
def network():
    torch.manual_seed(1)
    return Model.fresh("compact", 1, DEFAULT_CLASSES, seed=1).network


def test_solving_is_least_squares_with_a_penalty(drawn):
    """As numpy solves it: the penalty as further rows of data."""
    features, classes = drawn
    targets, weights = one_against_rest(classes, 2)
    prior, ridge = torch.randn(65), torch.tensor(0.3)
    weight, bias = solve(features, targets, weights, prior, ridge)
    known = (features @ prior[:-1] + prior[-1]).double().numpy()
    scale = np.sqrt((known**2).mean())
    columns = np.column_stack((features.double().numpy(), known / scale, np.ones(len(known))))
    root = np.sqrt(weights.double().numpy())[:, None]
    penalty = np.sqrt(np.array([0.3] * 64 + [0.3 * PRIOR_PENALTY] * 2))
    rows = np.vstack((columns * root, np.diag(penalty)))
    wanted = np.vstack((targets.double().numpy() * root, np.zeros((66, 2))))
    solution = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    assert np.allclose((features @ weight.T + bias).double().numpy(), columns @ solution, atol=1e-3)


def test_classes_weigh_the_same_however_much_is_painted_of_each(drawn, network):
    features, classes = drawn
    _, weights = one_against_rest(classes, 2)
    assert weights.sum().item() == pytest.approx(1)
    assert weights[classes == 0].sum().item() == pytest.approx(0.5)
    # Background painted three times over changes nothing.
    background = features[classes == 0]
    more = torch.cat((features, background, background))
    labels = torch.cat((classes, torch.zeros(2 * len(background), dtype=torch.long)))
    for a, b in zip(
        fit_head(network, features, classes, NOWHERE, 0.5),
        fit_head(network, more, labels, NOWHERE, 0.5),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-3)


def agreement(network, features, head) -> float:
    """Correlation of what a head says of other pixels with what the network's own says."""
    weight, bias = (values.detach() for values in head)
    own = features @ (network.head.weight[1] - network.head.weight[0]).detach().flatten()
    found = features @ (weight[1] - weight[0]) + bias[1] - bias[0]
    return float(torch.corrcoef(torch.stack((own, found)))[0, 1])


def test_strokes_decide_whether_what_the_network_knows_is_kept(network):
    torch.manual_seed(2)
    features, others = torch.randn(40, 64), torch.randn(1000, 64)
    says = features @ (network.head.weight[1] - network.head.weight[0]).flatten()
    says = says + network.head.bias[1] - network.head.bias[0]
    cells = (says > says.median()).long()
    with torch.no_grad():
        same = fit_head(network, features, cells, NOWHERE, 0.5)
        turned = fit_head(network, features, 1 - cells, NOWHERE, 0.5)
    assert agreement(network, others, same) > 0.7
    assert agreement(network, others, turned) < -0.7


def test_a_few_strokes_do_not_overrule_what_the_network_knows_elsewhere(network):
    """Strokes that contradict, and the surroundings of which the network is sure."""
    torch.manual_seed(2)
    features, around, others = (torch.randn(n, 64) for n in (40, 500, 1000))
    with torch.no_grad():
        network.head.weight *= 10
    says = features @ (network.head.weight[1] - network.head.weight[0]).flatten()
    wrong = (says < says.median()).long()
    with torch.no_grad():
        agreed = [
            agreement(network, others, fit_head(network, features, wrong, around, weight))
            for weight in (2.0, 0.5, 0.02)
        ]
        # Where it is not sure of anything, it has no say.
        unsure = around / 1000
        ignored, nowhere = (
            fit_head(network, features, wrong, anything, 2.0) for anything in (unsure, NOWHERE)
        )
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ignored, nowhere, strict=True))
    assert agreed[0] > 0.5
    assert agreed[0] > agreed[1] > agreed[2]
    assert agreed[2] < 0


@pytest.mark.parametrize("alike", [True, False])
def test_strokes_that_tell_nothing_of_each_other_leave_more_to_the_network(alike, monkeypatch):
    """Those of a class look alike, or each has a look of its own, as corrections have."""
    given = []
    fit = head_module.fit_head
    monkeypatch.setattr(head_module, "fit_head", lambda *args: given.append(args[-1]) or fit(*args))
    image = BLANK.copy()
    strokes = [(1 + i % 2, 20 + 20 * i, 40) for i in range(8)]
    for i, (value, y, x) in enumerate(strokes):
        grey = value - 1 if alike else (value + i // 2) % 2
        image[0, y - 10 : y + 10, x - 20 : x + 30] = grey
    model = Model.bundled()
    InstantHead(model, CPU).fit(data_of(*strokes, image=image), into=model.copy())
    (weight,) = given
    if alike:
        assert weight < 0.2
    else:
        assert weight > 0.8


def test_rare_classes_are_expected_to_be_rare_but_no_stroke_is_lost():
    """One pixel in ten is of class 1; the head, fitted to as many of either, is unsure."""
    torch.manual_seed(3)
    rare = torch.rand(4000) < 0.1
    sure = torch.where(rare, 1.5, -1.5) + torch.randn(4000)
    logits = torch.stack((-sure, sure), dim=1) / 2
    classes = torch.tensor([0] * 50 + [1] * 50)
    clear = torch.where(classes > 0, 5.0, -5.0)
    shift = share_shift(logits, torch.stack((-clear, clear), dim=1) / 2, classes)
    assert shift[0] > 0.2 and shift[1] < -0.2
    # Strokes that are only just right stay right.
    close = torch.where(classes > 0, 0.01, -5.0)
    held = share_shift(logits, torch.stack((-close, close), dim=1) / 2, classes)
    assert not held.any()


@pytest.mark.parametrize("painted", [1, 2])
def test_a_class_without_pixels_wins_nothing(drawn, painted):
    """Whatever the network knows of cells: they are what they were painted as."""
    features, classes = drawn
    three = [*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")]
    network = Model.fresh("compact", 1, three, seed=1).network
    with torch.no_grad():
        network.head.bias[3 - painted] = 20.0
    weight, bias = fit_head(network, features, classes * painted, NOWHERE, 0.5)
    found = (torch.randn(1000, 64) @ weight.T + bias).argmax(dim=1)
    assert set(found.tolist()) == {0, painted}


@pytest.fixture
def looked(monkeypatch):
    """Every stroke that a head has looked at closely, as often as it did."""
    strokes = []
    features = InstantHead._features

    def count(self, data, stroke):
        strokes.append(stroke)
        return features(self, data, stroke)

    monkeypatch.setattr(InstantHead, "_features", count)
    return strokes


def test_what_was_painted_before_is_not_computed_again(looked):
    model = Model.bundled()
    head = InstantHead(model, CPU)
    first = data_of((1, 20, 20), (2, 100, 100))
    head.fit(first, into=model.copy())
    assert [stroke.value for stroke in looked] == [1, 2]
    both = data_of((1, 20, 20), (2, 100, 100), (2, 150, 30))
    again, anew = model.copy(), model.copy()
    head.fit(both, into=again)
    assert [stroke.value for stroke in looked] == [1, 2, 2]
    InstantHead(model, CPU).fit(both, into=anew)
    assert torch.equal(again.network.head.weight, anew.network.head.weight)
    looked.clear()
    head.fit(first, into=model.copy())
    head.fit(both, into=model.copy())
    assert [stroke.value for stroke in looked] == [2], "what was erased is forgotten"


def test_another_stroke_in_the_same_place_is_looked_at():
    """As many pixels that begin with the same one, but down instead of to the right."""
    image = np.random.default_rng(5).uniform(0, 1, (1, 192, 192)).astype(np.float32)
    labels = np.zeros((2, 192, 192), np.uint8)
    labels[:, 20:25, 20:40] = 1
    labels[0, 100:105, 100:120], labels[1, 100:120, 100:105] = 2, 2
    across, down = (TrainingSet([Region(image, painted, RANGES)]) for painted in labels)
    model = Model.bundled()
    again, anew = model.copy(), model.copy()
    head = InstantHead(model, CPU)
    head.fit(across, into=model.copy())
    head.fit(down, into=again)
    InstantHead(model, CPU).fit(down, into=anew)
    assert torch.equal(again.network.head.weight, anew.network.head.weight)


def test_strokes_in_the_same_place_of_two_images_both_count(looked):
    regions = [data_of((1, 20, 20), (2, 100, 100), image=i).regions[0] for i in (BLANK, 1 - BLANK)]
    model = Model.bundled()
    InstantHead(model, CPU).fit(TrainingSet(regions), into=model.copy())
    places = sorted((stroke.region, stroke.value) for stroke in looked)
    assert places == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_whole_masks_say_themselves_how_common_classes_are():
    labels = np.ones((1, 192, 192), np.uint8)
    labels[:, 60:100, 60:100] = 2
    model = Model.bundled()
    into = model.copy()
    InstantHead(model, CPU).fit(TrainingSet([Region(BLANK, labels[0], RANGES)]), into=into)
    background, cell = into.share_shift
    share = 40 * 40 / 192**2
    assert cell - background == pytest.approx(np.log(share / (1 - share)), abs=1e-3)


def test_only_the_head_is_changed():
    model = Model.bundled()
    into = model.copy()
    InstantHead(model, CPU).fit(data_of((1, 20, 20), (2, 100, 100)), into=into)
    before = model.network.state_dict()
    changed = {n for n, v in into.network.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {"head.weight", "head.bias"}


def test_the_instant_answer_knows_where_it_comes_from():
    answer = InstantAnswer(Model.bundled(), CPU)
    assert result_of(answer.fit(data_of((2, 20, 20)), DEFAULT_CLASSES)) is None
    data = data_of((1, 20, 20), (2, 100, 100))
    model = result_of(answer.fit(data, DEFAULT_CLASSES))
    assert model.provenance["steps"] == 0
    assert model.provenance["labelled_pixels"] == {
        str(value): n for value, n in data.pixel_counts().items()
    }
    three = [*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")]
    assert len(result_of(answer.fit(data, three)).classes) == 2, "nothing is painted of the third"
    data = data_of((1, 20, 20), (2, 100, 100), (3, 150, 30))
    assert [c.name for c in result_of(answer.fit(data, three)).classes][-1] == "debris"


def test_another_class_does_not_make_what_is_known_of_the_others_forgotten(looked):
    answer = InstantAnswer(Model.bundled(), CPU)
    three = [*DEFAULT_CLASSES, ClassInfo("debris", "#009e73")]
    result_of(answer.fit(data_of((1, 20, 20), (2, 100, 100)), three))
    data = data_of((1, 20, 20), (2, 100, 100), (3, 150, 30))
    model = result_of(answer.fit(data, three))
    assert [stroke.value for stroke in looked] == [1, 2, 3]
    anew = result_of(InstantAnswer(Model.bundled(), CPU).fit(data, three))
    assert torch.equal(model.network.head.weight, anew.network.head.weight)


def test_however_many_strokes_there_are_the_newest_ones_count(looked, monkeypatch):
    monkeypatch.setattr("unet_core.head.MOST_STROKES", 3)
    monkeypatch.setattr("unet_core.instant.MOST_NEWEST", 2)
    strokes = [(1 + i % 2, 8 + 12 * (i // 2), 20 + 80 * (i % 2)) for i in range(24)]
    answer = InstantAnswer(Model.bundled(), CPU)
    result_of(answer.fit(data_of(*strokes[:12]), DEFAULT_CLASSES))
    assert len(looked) == 2 * 3, "of those that were there at first none is newer than another"
    for count in range(13, 25):
        data = data_of(*strokes[:count])
        model = result_of(answer.fit(data, DEFAULT_CLASSES))
        places = {stroke.place for stroke in looked}
        value, y, x = strokes[count - 1]
        (newest,) = (
            s for s in data.strokes if s.value == value and np.ptp([y, s.pixels[:, 0].mean()]) < 4
        )
        assert newest.place in places
    # It counts: the head is another than that which is fitted to the chosen ones alone.
    chosen = Model.bundled()
    InstantHead(Model.bundled(), CPU).fit(data, into=chosen)
    assert not torch.equal(model.network.head.weight, chosen.network.head.weight)
    # The same strokes in the same order give the same.
    other = InstantAnswer(Model.bundled(), CPU)
    for count in range(12, 25):
        again = result_of(other.fit(data_of(*strokes[:count]), DEFAULT_CLASSES))
    assert torch.equal(model.network.head.weight, again.network.head.weight)


def test_the_channel_in_which_the_strokes_differ_is_looked_at():
    """Cells are bright in the second channel, and the others hide it in their mean."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (3, 192, 192)).astype(np.float32)
    image[1] = 0.1
    strokes = [(1 + i % 2, 20 + 18 * i, 30 + 40 * (i % 3)) for i in range(8)]
    for value, y, x in strokes:
        if value == 2:
            image[1, y - 8 : y + 8, x - 8 : x + 18] = 0.9
    start = Model.bundled().adapted(3)
    head = InstantHead(start, CPU)
    assert result_of(head.best_channel(data_of(*strokes, image=image))) == 1
    stem = looking_at(start, 1).network.down[0][0].weight
    assert stem[:, [0, 2]].abs().max() == 0
    assert stem[:, 1].abs().max() > 0


@pytest.mark.parametrize("noise", [0, 1])
@pytest.mark.parametrize("whole", [False, True], ids=["strokes", "whole masks"])
def test_noise_beside_cells_is_not_looked_at(noise, whole):
    """Two channels, one of them noise: whether strokes or whole masks are given."""
    cells = make_cells(3, (256, 256), count=8, kind="fluorescence", dtype="float32")
    image = np.random.default_rng(3).uniform(0, 1, (2, 256, 256)).astype(np.float32)
    image[1 - noise] = np.clip(cells.image, 0, 1)
    labels = 1 + cells.mask.astype(np.uint8)
    if not whole:
        painted = np.zeros_like(labels)
        painted[::40], painted[1::40], painted[:, ::64] = 1, 1, 0
        labels = np.where(painted > 0, labels, 0).astype(np.uint8)
    data = TrainingSet([Region(image, labels, np.repeat(RANGES, 2, axis=0))])
    head = InstantHead(Model.bundled().adapted(2), CPU)
    assert result_of(head.best_channel(data)) == 1 - noise


def test_the_penalty_is_above_zero(network):
    assert penalty_of(network) > 0
