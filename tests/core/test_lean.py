"""The prediction form of a network gives its own numbers and computes no more than it must."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unet_core.lean import LeanUNet, lean
from unet_core.networks import REGISTRY, UNet, build
from unet_core.tiling import Rect, cover

CPU = torch.device("cpu")


def lived_in(network: nn.Module, seed: int) -> nn.Module:
    """As if it had been trained: statistics that are not those of a fresh network."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=random)
            module.running_var.uniform_(0.5, 2, generator=random)
    return network.eval()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99),
    levels=st.integers(2, 4),
    channels=st.integers(1, 2),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    data=st.data(),
)
def test_on_the_core_it_equals_the_network(seed, levels, channels, height, width, data):
    torch.manual_seed(seed)
    network = lived_in(UNet(channels, 3, (4, 8, 8, 16)[:levels]), seed)
    size = network.stride * data.draw(st.integers(1, 4))
    tiles = cover(height, width, core=size, halo=network.halo, stride=network.stride)
    tile = data.draw(st.sampled_from(tiles))
    window = torch.randn(2, channels, tile.window.height, tile.window.width)
    cut = (slice(None), slice(None), *tile.crop.slices)
    with torch.inference_mode():
        logits, interior = lean(network, CPU, torch.float32)(window, tile.crop)
        expected, expected_interior = network.forward_all(window)
    assert logits.shape == (2, 3, tile.core.height, tile.core.width)
    torch.testing.assert_close(logits, expected[cut], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(interior, expected_interior[cut], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_network_has_one(name):
    torch.manual_seed(0)
    network = lived_in(build(name, 1, 2), 0)
    core = Rect(network.halo, network.halo, 16, 11)
    window = torch.randn(1, 1, 16 + 2 * network.halo, 16 + 2 * network.halo)
    with torch.inference_mode():
        logits, interior = lean(network, CPU, torch.float32)(window, core)
        expected, _ = network.forward_all(window)
    assert (interior is not None) == network.has_interior
    cut = expected[:, :, *core.slices]
    assert (logits.softmax(1) - cut.softmax(1)).abs().max() < 1e-4


def test_it_keeps_the_weights_it_was_made_of():
    network = lived_in(UNet(1, 2, (4, 8)), 0)
    window, core = torch.randn(1, 1, 64, 64), Rect(network.halo, network.halo, 8, 8)
    made = lean(network, CPU, torch.float32)
    before = made(window, core)[0]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert torch.equal(made(window, core)[0], before)


def test_of_the_halo_little_is_left_where_the_work_is():
    """The last level computes the core and nothing else, the first one less than the window."""
    network = UNet(1, 2, (4, 8, 8, 16)).eval()
    made = LeanUNet(network, torch.float32)
    seen: dict[str, tuple[int, ...]] = {}
    made.up[0].register_forward_hook(lambda *of: seen.update(top=tuple(of[2].shape[2:])))
    made.up[1].register_forward_hook(lambda *of: seen.update(second=tuple(of[2].shape[2:])))
    halo = network.halo
    window = torch.zeros(1, 1, 64 + 2 * halo, 96 + 2 * halo)
    made(window, Rect(halo, halo, 64, 96))
    assert seen["top"] == (64, 96)
    assert max(seen["second"][0] - 32, seen["second"][1] - 48) <= 4
