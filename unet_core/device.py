"""Which device, how many threads, which precision."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

import torch

from unet_core.ram import ram_bytes


class DeviceError(ValueError):
    """The asked-for device is not on this machine; the message is one sentence for the user."""


def choose_device(wanted: str = "auto") -> torch.device:
    """The device called `wanted`: auto, cpu, cuda, cuda:i or mps.

    `auto` is the first CUDA card, else Apple's GPU, else the processor.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    name, _, number = wanted.partition(":")
    if name not in ("cpu", "cuda", "mps") or (
        number and (name != "cuda" or not number.isdecimal())
    ):
        raise DeviceError(f"“{wanted}” is no device; use auto, cpu, cuda, cuda:0 or mps.")
    if name == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise DeviceError(f"The device “{wanted}” is not on this machine; use --device cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("The device “mps” is not on this machine; use --device cpu.")
    return torch.device(wanted if name != "cuda" or number else "cuda:0")


def describe(device: torch.device) -> str:
    """The device in words, for the window and `limn info`."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return f"{card.name}, {card.total_memory / 2**30:.0f} GB"
    if device.type == "mps":
        return "Apple GPU"
    return f"CPU, {worker_threads()} of {os.cpu_count() or 1} cores, {_cpu_precision_name()}"


def worker_threads() -> int:
    """Threads that computing may use; one core is left to the window.

    The command line uses as many as the window: sums are split over threads, so another number
    gives other last digits, and both must give identical pixels.
    """
    return max(1, (os.cpu_count() or 1) - 1)


def prepare_thread() -> None:
    """Call first in the thread that will compute: torch keeps its thread count per thread."""
    torch.set_num_threads(worker_threads())
    # On CUDA: full float32, so that tiled equals whole, and the same result for the same seed.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    _keep_freed_memory()


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what tensors free, up to 1 GiB.

    With its default thresholds every large tensor comes from the system and goes back to it, and
    half of a training step on the CPU is spent on page faults.
    """
    if (glibc := _glibc()) is not None:
        trim_threshold, mmap_threshold = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        glibc.mallopt(mmap_threshold, 1 << 30)
        glibc.mallopt(trim_threshold, 1 << 30)


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is the one that can be told what to do with freed memory."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def training_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype for mixed-precision training on `device`, None for float32.

    On processors, bfloat16 pays only where they multiply it in hardware: with AMX a step is three
    times faster, with AVX-512 BF16 one and a half times, and several times slower without either.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else None


def prediction_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which `device` predicts fastest; masks are the same but for single pixels."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return training_dtype(device) or torch.float32


@cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16: AMX or AVX-512 BF16."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the device's or the computer's.

    Only CUDA has an exception of its own for it; the others raise a bare RuntimeError.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def release(device: torch.device) -> None:
    """Give memory that is cached but not in use back to other programs: after training, say.

    Of the device and of the computer: see `_keep_freed_memory`. It takes some 40 ms for each GiB,
    so it is for the end of a long job, in that job's thread.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    if (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)


def share_of_card(device: torch.device) -> int | None:
    """Bytes of a graphics card's memory that predicting may use: a quarter; None for the others.

    Of all its memory, not of what is free just now: the same work is cut in the same way each time.
    """
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory) // 4


def memory_line() -> str:
    """Physical memory in words, or an empty text where the system does not tell."""
    total = ram_bytes()
    return "" if total is None else f"{total / 2**30:.1f} GB"


def _cpu_precision_name() -> str:
    return "bfloat16" if multiplies_bfloat16() else "float32"
