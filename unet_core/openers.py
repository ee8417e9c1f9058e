"""Which reader a file is for: told by its content, never by its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from unet_core.axes import alternative_axes, chosen_axes
from unet_core.reading import Contents, Reading, Series
from unet_core.stack import Source, Stack, StackError, why

T = TypeVar("T")

# Module and function that read a kind of file, by its first bytes.
_READERS = (
    (b"II*\0", "tiff_reader", "read_tiff"),
    (b"MM\0*", "tiff_reader", "read_tiff"),
    (b"II+\0", "tiff_reader", "read_tiff"),
    (b"MM\0+", "tiff_reader", "read_tiff"),
    (b"\x89PNG\r\n\x1a\n", "picture_reader", "read_picture"),
    (b"\xff\xd8\xff", "picture_reader", "read_picture"),
    (b"\x93NUMPY", "numpy_reader", "read_npy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5_reader", "read_hdf5"),
    (b"ZISRAWFILE", "czi_reader", "read_czi"),
    (b"\x70\x00\x00\x00", "lif_reader", "read_lif"),
    (b"\xda\xce\xbe\x0a", "nd2_reader", "read_nd2"),
)

# What other programs write. These are recognised only to say so.
_FOREIGN = (
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 or old ND2 file, which Limn cannot open: save as TIFF"),
    (b"\xd0\xcf\x11\xe0", "an OIB or Office file, which Limn cannot open: save images as OME-TIFF"),
    (b"GIF8", "a GIF, which Limn cannot open: save it as TIFF or PNG"),
    (b"BM", "a BMP, which Limn cannot open: save it as TIFF or PNG"),
    (b"SQLite format 3", "a Limn project or another database, not an image"),
    (b"PK\x03\x04", "a zip archive (as .npz is one), not an image: unpack it first"),
    (b"%PDF", "a PDF, not an image"),
    (b"<?xml", "an XML file, not an image: choose one of the TIFF files that belong to it"),
)


def contents_of(path: Path) -> Contents:
    """All images of a file or folder; none is opened yet. Raises StackError."""
    from unet_core.folders import read_folder
    from unet_core.zarr_reader import image_folder, read_zarr

    try:
        folder = image_folder(path)
        if folder is not None:
            return read_zarr(folder)
        if path.is_dir():
            return read_folder(path)
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError as error:
        raise StackError(f"{path.name} does not exist in {path.absolute().parent}.") from error
    except OSError as error:
        raise StackError(f"{path.name} cannot be read: {why(error)}.") from error
    except ValueError as error:
        if isinstance(error, StackError):
            raise
        raise StackError(f"{path.name!r} is not a file name.") from error  # a NUL in the name
    if not start:
        raise StackError(f"{path.name} is empty (0 bytes): copy the image again.")
    for signature, module, function in _READERS:
        if start.startswith(signature):
            # Imported when needed: each brings a library of its own.
            read = getattr(import_module(f"unet_core.{module}"), function)
            return _guarded(path, partial(read, path))
    for signature, what in _FOREIGN:
        if start.startswith(signature):
            raise StackError(f"{path.name} is {what}.")
    raise StackError(
        f"{path.name} is not an image that Limn can open: choose a TIFF, PNG or JPEG, or see the "
        "guide for all that it opens."
    )


def open_source(path: Path, reading: Reading | None) -> tuple[Path, Source, Reading]:
    """(where the image is, its source, how it was read as far as there was a choice)."""
    contents = contents_of(path)
    try:
        series = chosen_series(contents, reading)
        source = open_series(contents, series, reading.axes if reading else None)
    except BaseException:
        contents.close()
        raise
    read = Reading(
        series.name if is_choice(contents) or series is not contents.series[0] else None,
        _axes_read(series, reading),
    )
    if not source.files:
        source.files = (contents.path,)
    return contents.path, source, read


def is_choice(contents: Contents) -> bool:
    """Whether there is more than one image that the file may have been opened for."""
    return sum(not one.auxiliary for one in contents.series) > 1


def chosen_series(contents: Contents, reading: Reading | None) -> Series:
    """The image that `reading` names, by name or number from 1. Raises StackError."""
    wanted = reading.series if reading else None
    if wanted is None:
        return contents.series[0]
    for one in contents.series:
        if one.name == wanted:
            return one
    if wanted.isdecimal() and len(wanted) < 9 and 0 < int(wanted) <= len(contents.series):
        return contents.series[int(wanted) - 1]
    names = ", ".join(one.name for one in contents.series[:8])
    more = "…" if len(contents.series) > 8 else ""
    raise StackError(
        f"{contents.path.name} holds no image called {wanted[:80]}: it holds {names}{more}."
    )


def open_series(contents: Contents, series: Series, axes: str | None) -> Source:
    """The source of one image. Raises StackError."""
    name = contents.path.name
    if min(series.shape) < 1:
        raise StackError(f"{name} is damaged: its image has no pixels.")
    letters = chosen_axes(name, series.axes, series.shape, axes, series.usual)
    return _guarded(contents.path, lambda: series.open(letters))


def which_series(stack: Stack, wanted: Reading) -> str:
    """One sentence on which image was taken, where that was not said; "" where it was."""
    name = stack.reading.series
    if name is None or wanted.series is not None:
        return ""
    return f"{stack.path.name} holds several images; {name} is taken, unless --series says another."


def _axes_read(series: Series, reading: Reading | None) -> str | None:
    """The axes as they were read, if they could have been read otherwise."""
    offered = alternative_axes(series.axes, series.shape, series.usual)
    if reading is None or reading.axes is None:
        return offered[0] if len(offered) > 1 else None
    letters = chosen_axes("", series.axes, series.shape, reading.axes)
    return None if (letters,) == offered else letters


def _guarded(path: Path, read: Callable[[], T]) -> T:
    """What `read` returns; what it raises becomes a StackError: readers raise what they like."""
    try:
        return read()
    except StackError:
        raise
    except OSError as error:
        raise StackError(f"{path.name} cannot be read: {why(error)}.") from error
    except MemoryError as error:
        raise StackError(f"{path.name} is too large for this computer's memory.") from error
    except Exception as error:
        raise StackError(f"{path.name} is damaged, or of a kind that Limn cannot read.") from error
