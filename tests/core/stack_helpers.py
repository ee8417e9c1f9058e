"""What the tests of reading images share."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from unet_core.stack import Stack, StackError, open_stack


def numbers(shape, dtype="uint8", seed=0) -> np.ndarray:
    """Pixels that are all over the type's range."""
    dtype = np.dtype(dtype)
    random = np.random.default_rng(seed)
    if dtype.kind == "f":
        return random.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def canonical(pixels: np.ndarray, axes: str) -> np.ndarray:
    """The same pixels as (T, Z, C, Y, X)."""
    order = [axes.index(a) for a in "TZCYX" if a in axes]
    full = pixels.transpose(order)
    return full.reshape([full.shape[[a for a in "TZCYX" if a in axes].index(a)] if a in axes else 1
                         for a in "TZCYX"])  # fmt: skip


def assert_holds(stack: Stack, expected: np.ndarray) -> None:
    """The stack has exactly these pixels (T, Z, C, Y, X), plane for plane, in any order."""
    assert stack.shape == expected.shape
    assert stack.dtype == expected.dtype.newbyteorder("=")
    for t, z in [*stack.planes()][::-1]:
        plane = stack.plane(t, z)
        assert plane.dtype == stack.dtype and plane.dtype.isnative and not plane.flags.writeable
        np.testing.assert_array_equal(plane, expected[t, z])


def refusal(path: Path) -> str:
    """The one sentence with which the file is refused, on opening or on reading a plane."""
    with pytest.raises(StackError) as caught, open_stack(path) as stack:
        for index in stack.planes():
            stack.plane(*index)
    sentence = str(caught.value)
    assert path.name in sentence and sentence.endswith(".") and "\n" not in sentence
    assert "Traceback" not in sentence and "<" not in sentence
    return sentence


def imagej_of_one_page(path: Path, pixels: np.ndarray) -> None:
    """As ImageJ writes beyond 4 GiB: one page's header, big-endian, all the pixels behind it."""
    description = f"ImageJ=1.54f\nimages={len(pixels)}\nslices={len(pixels)}\nunit=micron\n"
    description += "spacing=0.5\nloop=false\n"
    with tifffile.TiffWriter(path, byteorder=">") as writer:
        writer.write(pixels[0], metadata=None, description=description, resolution=(5.0, 5.0))
    with path.open("ab") as file:
        file.write(pixels[1:].astype(pixels.dtype.newbyteorder(">")).tobytes())
