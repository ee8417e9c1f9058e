"""Devices: chosen by name, refused with a sentence."""

import pytest
import torch

from unet_core.device import DeviceError, choose_device, describe, prepare_thread, worker_threads


def test_cpu_is_always_there_and_described_in_words():
    assert choose_device("cpu") == torch.device("cpu")
    assert "cores" in describe(torch.device("cpu"))
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "", "mps:0", "cuda:99", "cuda:²"])
def test_what_is_no_device_here_gives_a_sentence(name):
    with pytest.raises(DeviceError) as error:
        choose_device(name)
    assert name in str(error.value)


def test_one_core_is_left_to_the_window():
    prepare_thread()
    assert torch.get_num_threads() == worker_threads() >= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_gpu_agrees_with_the_cpu():
    import numpy as np

    from unet_core.inference import predict_plane
    from unet_core.model import Model

    plane = np.random.default_rng(0).integers(0, 255, (1, 300, 500)).astype(np.uint8)
    ranges = np.array([[0, 255]], np.float32)
    on_cpu = predict_plane(Model.bundled(), plane, ranges, torch.device("cpu"))
    on_gpu = predict_plane(Model.bundled(), plane, ranges, torch.device("cuda:0"))
    assert np.abs(on_cpu - on_gpu).max() < 5e-3
