"""NumPy's .npy files: mapped into memory, never unpickled."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from unet_core.axes import UNKNOWN, collapsed
from unet_core.reading import Contents, Series
from unet_core.sliced import Index, check_values, sliced_source
from unet_core.stack import Array, Source, StackError


def read_npy(path: Path) -> Contents:
    """The one array of a .npy file. Raises StackError."""
    name = path.name
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            # Parses a literal of at most 10,000 characters; nothing in it is run.
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, in_fortran_order, dtype = read_header(file)
            offset, size = file.tell(), path.stat().st_size
    except OSError:
        raise
    except Exception as error:
        raise StackError(f"{name} is a damaged or unusual NumPy file: save it again.") from error
    check_values(name, dtype)
    if not 2 <= len(shape) <= 8 or min(shape) < 1:
        raise StackError(f"{name} has the shape {shape}, which is no image.")
    end = offset + math.prod(shape) * dtype.itemsize
    if end > size:
        raise StackError(f"{name} is cut short: copy it again.")
    axes = collapsed(name, UNKNOWN * len(shape), shape)

    def opened(letters: str) -> Source:
        stored = shape[::-1] if in_fortran_order else shape
        mapped = np.memmap(path, dtype, mode="r", offset=offset, shape=stored)
        pixels = mapped.T if in_fortran_order else mapped

        def read(index: Index) -> Array:
            return np.asarray(pixels[index])

        source = sliced_source(letters, shape, dtype, read, in_parts=False)
        source.memory_mapped, source.least_file_size = True, end
        return source

    return Contents(path, (Series(path.stem, axes, shape, dtype, opened),))
