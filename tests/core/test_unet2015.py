"""The U-Net of 2015: every fact of the paper, and that it fits the rest of the program."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from unet_core.border_weights import class_weights
from unet_core.intensity import read_mirrored
from unet_core.tiling import cover
from unet_core.training import masked_loss
from unet_core.unet2015 import UNet2015


@pytest.fixture(scope="module")
def paper() -> UNet2015:
    """The paper's network, one channel in and two classes out: shapes only, nothing computed."""
    with torch.device("meta"):
        return UNet2015(1, 2)


@pytest.fixture(scope="module")
def thin() -> UNet2015:
    """The same with a sixteenth of the channels, in evaluation mode."""
    torch.manual_seed(0)
    return UNet2015(1, 3, width=4).eval()


def convolutions(network: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


# --- the paper -------------------------------------------------------------------------------


def test_572_in_388_out(paper):
    image = torch.empty(1, 1, 572, 572, device="meta")
    assert paper.valid(image).shape == (1, 2, 388, 388)
    assert paper(image).shape == (1, 2, 388, 388)
    assert paper.valid_features(image).shape == (1, 64, 388, 388)


def test_23_convolutional_layers_with_31_million_parameters(paper):
    assert len(convolutions(paper)) == 23
    assert sum(p.numel() for p in paper.parameters()) == 31_030_658


def test_no_convolution_is_padded(paper):
    sizes = [layer.kernel_size for layer in convolutions(paper)]
    assert {layer.padding for layer in convolutions(paper)} == {(0, 0)}
    assert sizes.count((3, 3)) == 18
    assert sizes.count((2, 2)) == 4
    assert sizes.count((1, 1)) == 1


def test_the_maps_of_figure_1(paper):
    """Height and channels after every pair of convolutions, as the figure writes them."""
    seen: list[tuple[int, int]] = []
    hooks = [
        pair.register_forward_hook(lambda _, __, out: seen.append((out.shape[2], out.shape[1])))
        for pair in (*paper.down, *paper.up)
    ]
    paper.valid(torch.empty(1, 1, 572, 572, device="meta"))
    for hook in hooks:
        hook.remove()
    down = [(568, 64), (280, 128), (136, 256), (64, 512), (28, 1024)]
    assert seen == [*down, (52, 512), (100, 256), (196, 128), (388, 64)]


@pytest.mark.parametrize("side", [188, 204, 252, 572, 700])
def test_the_answer_is_184_pixels_shorter_whatever_the_side(paper, side):
    image = torch.empty(2, 1, side, 188, device="meta")
    assert paper.valid(image).shape == (2, 2, side - 184, 4)


@pytest.mark.parametrize("side", [4, 172, 187, 189, 192, 196, 571])
def test_sides_that_cannot_be_pooled_evenly_are_refused(paper, side):
    with pytest.raises(ValueError, match=f"188, 204.*not {side}"):
        paper.valid(torch.empty(1, 1, 572, side, device="meta"))


@pytest.mark.parametrize("axis", [-1, -2])
def test_copies_are_cropped_in_their_middle(axis):
    """A network whose kernels are their own mirror images takes a mirrored image to a mirrored
    answer: only so if nothing is cropped more on one side than on the other."""
    torch.manual_seed(1)
    network = UNet2015(1, 2, width=2).double().eval()
    for layer in convolutions(network):
        layer.weight.data = layer.weight.data + layer.weight.data.flip(axis)
    image = torch.rand(1, 1, 204, 220, dtype=torch.double)
    with torch.inference_mode():
        answer, mirrored = network.valid(image), network.valid(image.flip(axis))
    assert answer.std() > 1e-3
    assert torch.allclose(answer.flip(axis), mirrored)


def test_copies_carry_detail_past_the_bottom():
    """With what comes from below cut off at the first level, the answer still sees the image."""
    torch.manual_seed(1)
    network = UNet2015(1, 2, width=4).eval()
    nn.init.zeros_(network.enlarge[0].weight)
    image = torch.rand(1, 1, 188, 188)
    other = image.clone()
    other[..., 94, 94] += 1
    with torch.inference_mode():
        assert not torch.equal(network.valid(image), network.valid(other))


def test_initial_weights_are_he_normal():
    """Standard deviation sqrt(2 / N), N being how many numbers one neuron sums up."""
    torch.manual_seed(2)
    network = UNet2015(1, 2, width=32)
    expected = {(3, 3): 9, (2, 2): 1, (1, 1): 1}  # one of an up-convolution's four reaches a pixel
    for layer in convolutions(network):
        weights = layer.weight.detach()
        nodes = expected[layer.kernel_size] * layer.in_channels
        # Six standard errors of a standard deviation.
        assert float(weights.std()) * math.sqrt(nodes / 2) == pytest.approx(
            1, abs=6 / math.sqrt(2 * weights.numel())
        )
        fourth = ((weights / weights.std()) ** 4).mean()
        if weights.numel() > 5000:
            assert 2.7 < fourth < 3.3  # a normal distribution; a uniform one has 1.8
        assert not layer.bias.detach().any()


def test_features_keep_about_unit_variance_at_the_start():
    """What the initial weights are for: "each feature map … has approximately unit variance"."""
    torch.manual_seed(3)
    network = UNet2015(1, 2, width=16).eval()
    with torch.inference_mode():
        features = network.valid_features(torch.randn(1, 1, 204, 204))
    assert 0.1 < features.square().mean() < 20


def test_dropout_ends_the_contracting_path():
    """In training only; half of the features, after the last two levels."""
    torch.manual_seed(4)
    network = UNet2015(1, 2, width=4)
    dropped: list[tuple[int, float]] = []

    def watch(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        alive = inputs[0] != 0
        dropped.append((output.shape[1], float((output[alive] == 0).float().mean())))

    network.dropout.register_forward_hook(watch)
    image = torch.rand(1, 1, 236, 236)
    with torch.inference_mode():
        one, other = network.train().valid(image), network.train().valid(image)
        assert not torch.equal(one, other)
        assert [channels for channels, _ in dropped[:2]] == [32, 64]
        assert all(share == pytest.approx(0.5, abs=0.1) for _, share in dropped[:4])
        dropped.clear()
        one, other = network.eval().valid(image), network.eval().valid(image)
    assert torch.equal(one, other)
    assert all(share == 0 for _, share in dropped)


def test_the_loss_is_the_weighted_cross_entropy():
    """Equations 1 and 2: softmax, cross-entropy, and w_c + border term as each pixel's weight."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 6, generator=random)
    labels = torch.randint(0, 4, (2, 5, 6), generator=random)
    border = torch.rand(2, 5, 6, generator=random) * 10
    balance = class_weights({value: int((labels == value).sum()) for value in (1, 2, 3)})
    total = 0.0
    for n, y, x in (labels > 0).nonzero().tolist():
        label = int(labels[n, y, x])
        exponents = logits[n, :, y, x].exp()
        probability = float(exponents[label - 1] / exponents.sum())
        total -= (balance[label] + float(border[n, y, x])) * math.log(probability)
    loss = masked_loss(logits, labels, balanced=True, emphasis=border)
    assert float(loss) == pytest.approx(total / int((labels > 0).sum()), rel=1e-5)


def test_the_recipe_is_the_papers():
    recipe = UNet2015.recipe
    assert (recipe.batch, recipe.patch) == (1, 576)  # one large tile: 572 and what is cropped
    assert (recipe.elastic, recipe.elastic_grid) == (10, 3)
    assert (recipe.border_weight, recipe.border_sigma) == (10, 5)
    assert not recipe.anchor
    # Under a steady gradient a step grows towards a hundred times the first: momentum 0.99.
    weight = nn.Parameter(torch.zeros(1, dtype=torch.double))
    optimiser = recipe.optimiser([weight])
    steps = []
    for _ in range(3):
        before = weight.item()
        weight.grad = torch.ones_like(weight)
        optimiser.step()
        steps.append((before - weight.item()) / recipe.learning_rate)
    assert steps == pytest.approx([1, 1.99, 1 + 0.99 * 1.99])


# --- the rest of the program -------------------------------------------------------------------


def test_forward_is_the_papers_answer_in_a_frame_of_zeros(thin):
    image = torch.rand(2, 1, 208, 240)
    with torch.inference_mode():
        logits = thin(image)
        inner = thin.valid(image[..., 2:-2, 2:-2])
        features = thin.features(image)
        headed = thin.head(features)
        everything = thin.forward_all(image)
    m = thin.margin
    assert logits.shape == (2, 3, 208, 240)
    assert torch.equal(logits[..., m:-m, m:-m], inner)
    assert logits.count_nonzero() == inner.count_nonzero()
    assert features.shape == (2, thin.feature_count, 208, 240)
    assert torch.allclose(headed[..., m:-m, m:-m], inner, atol=1e-5)
    assert torch.equal(everything[0], logits)
    assert everything[1] is None
    assert not thin.has_interior


@pytest.mark.parametrize("shape", [(48, 80), (176, 400), (16, 16)])
def test_an_image_without_enough_context_gets_no_answer(thin, shape):
    image = torch.rand(1, 1, *shape)
    assert thin(image).shape == (1, 3, *shape)
    assert not thin(image).any()
    assert thin.features(image).shape == (1, thin.feature_count, *shape)


def test_the_halo_covers_what_gets_no_answer(thin):
    assert thin.halo % thin.stride == 0
    assert thin.halo >= thin.margin
    assert thin.margin == (thin.stride * 40 - thin.valid(torch.zeros(1, 1, 636, 188)).shape[2]) / 2


def by_tiles(network: UNet2015, plane: np.ndarray, core: int) -> np.ndarray:
    """Logits `(K, Y, X)` of a plane `(1, Y, X)`, tile by tile, mirrored beyond its borders."""
    height, width = plane.shape[1:]
    result = np.full((3, height, width), np.nan, np.float32)
    for tile in cover(height, width, core=core, halo=network.halo, stride=network.stride):
        window = torch.from_numpy(read_mirrored(plane, tile.window))[None]
        with torch.inference_mode():
            logits = network(window)[0].numpy()
        result[:, *tile.core.slices] = logits[:, *tile.crop.slices]
    return result


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (17, 131), (250, 97), (128, 128)], ids=str)
@pytest.mark.parametrize("core", [16, 48, 112])
def test_tiled_equals_whole(thin, shape, core):
    if core == 16:  # the smallest tiles, of a part: there are many of them
        shape = tuple(min(side, 70) for side in shape)
    plane = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    whole = by_tiles(thin, plane, 512)
    assert np.isfinite(whole).all()
    assert np.abs(whole - by_tiles(thin, plane, core)).max() < 1e-4
    assert min(shape) == 1 or whole.std() > 0.01


def test_tiles_are_the_papers_network_on_the_mirrored_image(thin):
    """Overlap-tile: the plane, extrapolated by mirroring, goes through the unpadded network."""
    plane = np.random.default_rng(1).random((1, 96, 128)).astype(np.float32)
    # 96 - 2 pixels before the first, and behind the last as many as give 188 + a multiple of 16.
    padded = np.pad(plane, ((0, 0), (94, 94), (94, 94)), mode="reflect")
    with torch.inference_mode():
        expected = thin.valid(torch.from_numpy(padded)[None])[0, :, 2:-2, 2:-2].numpy()
    assert np.abs(by_tiles(thin, plane, 64) - expected).max() < 1e-4


def test_receptive_field_is_exact():
    """The farthest pixel that an answer depends on lies as far away as the network says."""
    network = UNet2015(1, 1, width=1).double().eval()
    torch.manual_seed(0)
    for parameter in network.parameters():  # positive weights: nothing cancels, no dead ReLU
        parameter.data.uniform_(0.1, 1.0)
    side = 304
    # Max pooling passes a gradient to one of four equal pixels only; a slope makes it the far one.
    slope = 1e-3 * torch.arange(side).double()
    reach = 0
    for pixel in (114, 119, 125):  # the two that see farthest, to either side, and one between
        for tilt in (slope, -slope):
            image = (torch.ones(1, 1, side, side).double() + tilt).requires_grad_()
            answer = network(image)[0, 0, pixel, pixel]
            (gradient,) = torch.autograd.grad(answer, image)
            columns = gradient[0, 0].abs().sum(0).nonzero().flatten()
            reach = max(reach, pixel - int(columns.min()), int(columns.max()) - pixel)
    assert reach == network.receptive_field_radius


def train(seed: int, steps: int) -> tuple[list[float], torch.Tensor]:
    """Bright disks on dark ground, by the recipe but small; the losses and a weight."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:220, :220]
    torch.manual_seed(seed)
    network = UNet2015(1, 2, width=8).train()
    optimiser = network.recipe.optimiser(network.parameters())
    losses = []
    for _ in range(steps):
        y, x = random.uniform(85, 135, 2)
        disk = (rows - y) ** 2 + (columns - x) ** 2 < 12**2
        image = torch.from_numpy(disk + random.normal(0, 0.1, disk.shape))[None, None].float()
        labels = torch.from_numpy(disk[92:-92, 92:-92] + 1)[None].long()
        loss = masked_loss(network.valid(image), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses, network.up[0][0].weight.detach().clone()


def test_it_learns_from_scratch():
    losses, _ = train(seed=3, steps=50)
    share = math.pi * 12**2 / 36**2  # of what is answered that is disk
    ignorant = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert np.mean(losses[:3]) > ignorant
    assert np.mean(losses[-10:]) < 0.75 * ignorant  # than any answer that does not see the image


def test_the_same_seed_trains_the_same_weights():
    one, other, different = (train(seed, steps=3)[1] for seed in (5, 5, 6))
    assert torch.equal(one, other)
    assert not torch.equal(one, different)
