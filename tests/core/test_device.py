"""Devices: chosen by name, refused with a sentence."""

import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from unet_core.device import (
    DeviceError,
    choose_device,
    describe,
    is_out_of_memory,
    multiplies_bfloat16,
    prediction_dtype,
    prepare_thread,
    release,
    training_dtype,
    worker_threads,
)


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


def test_precision_follows_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    for able in ({"amx_bf16": True}, {"avx512_bf16": True, "amx_bf16": False}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        multiplies_bfloat16.cache_clear()
        assert training_dtype(cpu) == prediction_dtype(cpu) == torch.bfloat16
        assert "bfloat16" in describe(cpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    multiplies_bfloat16.cache_clear()
    assert training_dtype(cpu) is None
    assert prediction_dtype(cpu) == torch.float32
    assert "float32" in describe(cpu)
    monkeypatch.undo()
    multiplies_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:115] . DefaultCPUAllocator: not enough"),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_failures(error, expected):
    assert is_out_of_memory(error) is expected


def test_giving_memory_back_is_possible_on_every_device(monkeypatch):
    release(torch.device("cpu"))
    monkeypatch.setattr("unet_core.device._glibc", lambda: None)  # any other system
    release(torch.device("cpu"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about how glibc keeps memory")
def test_what_was_freed_goes_back_to_the_system():
    prepare_thread()  # from here on freed memory is kept, for the next step
    used: list[np.ndarray] = []
    pins = []
    for _ in range(300):
        used.append(np.ones(2**20, np.uint8))
        pins.append(np.ones(200, np.uint8))  # so that no large piece is free at the heap's end
    full = _resident()
    used.clear()
    release(torch.device("cpu"))
    assert _resident() < full - 200 * 2**20
    assert all(pin.all() for pin in pins)


def _resident() -> int:
    """Bytes of memory that belong to this process alone."""
    status = Path("/proc/self/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith("RssAnon")).split()[1]) << 10
