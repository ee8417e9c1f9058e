"""The networks: sizes, and a receptive field that is what they say."""

import pytest
import torch

from unet_core import networks


@pytest.mark.parametrize("name", networks.REGISTRY)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_keeps_the_size_of_its_input(name, channels):
    network = networks.build(name, channels, 4)
    assert not network.training
    with torch.inference_mode():
        assert network(torch.zeros(2, channels, 48, 80)).shape == (2, 4, 48, 80)


@pytest.mark.parametrize("offset", [0, 2, 13])
def test_receptive_field_is_exact(offset):
    """The farthest pixel that an output depends on lies as far away as the network says."""
    network = networks.UNet(1, 1, (2, 2, 2, 2, 2)).double().eval()
    torch.manual_seed(0)
    for parameter in network.parameters():  # positive weights: nothing cancels, no dead ReLU
        parameter.data.uniform_(0.1, 1.0)
    side, middle = 272, 128 + offset
    image = torch.ones(1, 1, side, side, dtype=torch.double, requires_grad=True)
    # Max pooling passes a gradient to one of four equal pixels only; a slope makes it the far one.
    reach = 0
    for slope in (1.0, -1.0):
        tilted = image + slope * 1e-3 * torch.arange(side).double()
        (gradient,) = torch.autograd.grad(network(tilted)[0, 0, middle, middle], image)
        columns = gradient[0, 0].abs().sum(0).nonzero().flatten()
        reach = max(reach, middle - int(columns.min()), int(columns.max()) - middle)
    assert reach <= network.receptive_field_radius
    if offset:  # where the reach is largest, to the right and to the left
        assert reach == network.receptive_field_radius
    assert network.halo % network.stride == 0
    assert network.halo >= network.receptive_field_radius


def test_an_unknown_network_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="compact"):
        networks.build("resnet", 1, 2)
