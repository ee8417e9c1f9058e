"""Reading TIFF files of every kind that microscopes and ImageJ write, lazily, with tifffile."""

import logging
import math
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

from unet_core.axes import UNKNOWN, collapsed
from unet_core.ome_sets import open_set
from unet_core.reading import Contents, Series, distinct
from unet_core.stack import Array, Source, StackError, refuse_absurd
from unet_core.tiff_metadata import TiffMetadata, read_metadata
from unet_core.tiff_parts import PartReader
from unet_core.tiling import Rect

# tifffile reports damage to its log, which Python prints to stderr where nobody listens. We check
# for damage ourselves and say it in a sentence; a program that sets up logging still gets these.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_RGB, _CMYK, _YCBCR = 2, 5, 6
_READABLE_PHOTOMETRICS = {0, 1, 2, 3}  # MinIsWhite, MinIsBlack, RGB, palette
_JPEG_COMPRESSIONS = {6, 7, 33007, 34892, 33003, 33004, 33005, 34712, 22610}
# Bytes of each TIFF data type, by its number
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
               16: 8, 17: 8, 18: 8}  # fmt: skip


def read_tiff(path: Path) -> Contents:
    """The images of a TIFF, at full resolution. Raises StackError with one sentence."""
    name = path.name
    try:
        if path.suffix.lower() != ".lsm":  # beyond 4 GiB their offsets wrap; tifffile repairs them
            _check_page_chain(path)
        file = open_set(path)
    except StackError:
        raise
    except Exception as error:
        raise _damaged(name) from error
    try:
        return Contents(path, _all_series(path, file), file.close)
    except BaseException as error:
        file.close()
        if isinstance(error, StackError) or not isinstance(error, Exception):
            raise
        raise _damaged(name) from error


def _all_series(path: Path, file: tifffile.TiffFile) -> tuple[Series, ...]:
    """The first image must be a sound one; others are left out where they are not."""
    found = [(number, series) for number, series in enumerate(file.series) if series.dtype]
    if not found or found[0][0] != 0:
        _check_pixels(
            path.name, file.series[0].keyframe, file.series[0].dtype, (1,), file.filehandle.size
        )
        raise _damaged(path.name)
    names = distinct([series.name.strip() or f"Image {i + 1}" for i, series in found])
    result = []
    for (number, series), name in zip(found, names, strict=True):
        try:
            one = _one_series(path, file, number, series, name)
        except StackError:
            if number == 0:
                raise
            continue
        result.append(one)
    return tuple(result)


def _one_series(
    path: Path, file: tifffile.TiffFile, number: int, series: tifffile.TiffPageSeries, name: str
) -> Series:
    if file.is_imagej and series.kind in ("generic", "uniform"):
        # tifffile falls back to the first page where ImageJ's description asks for more data
        raise _cut_short(path.name)
    key = series.keyframe
    shape, axes = tuple(series.get_shape(False)), series.get_axes(False)
    _check_pixels(path.name, key, series.dtype, shape, file.filehandle.size)
    metadata = read_metadata(file, series, number)
    letters = _letters(path.name, axes, shape, series.kind, metadata, key.planarconfig)

    def opened(axes: str) -> Source:
        try:
            return _open_series(path, file, series, axes, metadata)
        except StackError:
            raise
        except Exception as error:
            raise _damaged(path.name) from error

    auxiliary = number > 0 and series.kind in ("svs", "ndpi", "scn", "philips", "bif", "qpi")
    return Series(name, letters, shape, np.dtype(series.dtype), opened, auxiliary)


def _open_series(
    path: Path,
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    axes: str,
    metadata: TiffMetadata,
) -> Source:
    key, shape = series.keyframe, tuple(series.get_shape(False))
    stated = metadata.stated_axes
    if series.kind == "shaped":
        stated = "".join(a for a in axes if a in "TZC")
    source = Source(
        outer_axes="",
        outer_shape=(),
        inner_axes=axes,
        inner_shape=shape,
        dtype=np.dtype(series.dtype).newbyteorder("="),
        read_page=lambda number: _never(),
        stated_axes=stated,
        pixel_size=metadata.pixel_size,
        z_stated=metadata.z_stated,
        time_interval=metadata.time_interval,
        channel_names=metadata.channel_names,
        channel_colors=metadata.channel_colors,
        files=(path,),
    )
    samples = source.size("S")
    is_colour = "S" in axes and key.photometric in (_RGB, _YCBCR) and source.size("C") == 1
    alphas = samples > 1 and key.extrasamples and key.extrasamples[-1] in (1, 2)
    source.has_alpha = bool((is_colour and samples == 4) or (samples == 2 and alphas))
    source.is_rgb = is_colour and samples - source.has_alpha == 3
    if key.photometric == 0:
        source.white_is = 2 ** int(_first(key.bitspersample)) - 1

    needs_file = _attach(file, series, source, path)
    for reduced in series.levels[1:]:
        level = _reduced(file, reduced, source, path)
        if level is not None:
            source.reduced += (level,)
            needs_file |= not level.memory_mapped
    if needs_file:
        source.close = file.close
    else:
        file.close()
    return source


def _reduced(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries, full: Source, path: Path
) -> Source | None:
    """A smaller copy of the image in the file; None, since it is not needed, if it looks odd."""
    axes = (*full.outer_axes, *full.inner_axes)
    whole, shape = full.outer_shape + full.inner_shape, tuple(series.get_shape(False))
    same = [size for axis, size in zip(axes, whole, strict=True) if axis not in "YX"]
    if len(shape) != len(axes) or np.dtype(series.dtype) != full.dtype or 0 in shape:
        return None
    if same != [size for axis, size in zip(axes, shape, strict=True) if axis not in "YX"]:
        return None
    level = replace(
        full,
        outer_axes="",
        outer_shape=(),
        inner_axes="".join(axes),
        inner_shape=shape,
        reduced=(),
        read_part=None,
        memory_mapped=False,
    )
    try:
        _check_pixels(path.name, series.keyframe, series.dtype, shape, file.filehandle.size)
        _attach(file, series, level, path)
    except (StackError, OSError):
        return None
    smaller = level.size("Y") < full.size("Y") and level.size("X") < full.size("X")
    return level if smaller else None


def _attach(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries, source: Source, path: Path
) -> bool:
    """Give `source` the way to read the pixels of `series`. Whether `file` must stay open."""
    offset = None if series.is_multifile else series.dataoffset
    if offset is not None:
        _map_contiguous(file, series, offset, source, path)
        return False
    _read_by_page(path.name, series, source, path)
    return True


def _map_contiguous(
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    offset: int,
    source: Source,
    path: Path,
) -> None:
    """All pixels lie in one uncompressed run: map it. Also ImageJ's stacks of one page > 4 GB."""
    stored = np.dtype(series.dtype).newbyteorder(file.byteorder)
    end = offset + math.prod(source.inner_shape) * stored.itemsize
    if end > file.filehandle.size:
        raise _cut_short(path.name)
    pixels = np.memmap(path, dtype=stored, mode="r", offset=offset, shape=source.inner_shape)
    source.read_page = lambda number: pixels
    source.memory_mapped = True
    source.least_file_size = end


def _read_by_page(name: str, series: tifffile.TiffPageSeries, source: Source, path: Path) -> None:
    """Compressed or scattered pixels: decode the pages that a plane needs, when it needs them."""
    key = series.keyframe
    pages = [series[i] for i in range(len(series))]
    if any(page is None for page in pages):
        raise StackError(
            f"{name} belongs to an image of which parts are missing: put all files of the set "
            "into one folder, or save it again as one file."
        )
    split = _outer_dimensions(source.inner_shape, len(pages), math.prod(key.shape))
    if split is None or not {"Y", "X"} <= set(source.inner_axes[split:]):
        raise _cut_short(name)
    source.outer_axes, source.inner_axes = source.inner_axes[:split], source.inner_axes[split:]
    source.outer_shape, source.inner_shape = source.inner_shape[:split], source.inner_shape[split:]

    sizes: dict[str, int] = {}
    for page in pages:
        handle = page.parent.filehandle
        if handle.path not in sizes:
            sizes[handle.path] = Path(handle.path).stat().st_size
        _check_extent(name, page, sizes[handle.path])
    # By their real places: tifffile follows links, and the path given may lead through one.
    places = {file.resolve(): file for file in [*map(Path, sizes), path]}
    source.files = tuple(places.values())

    def opened(page: Any, read: Callable[[], Array]) -> Array:
        handle = page.parent.filehandle
        if not handle.closed:
            return read()
        handle.open()  # other files of a set are closed between reads
        try:
            return read()
        finally:
            handle.close()

    def read_page(number: int) -> Array:
        page = pages[number]
        return opened(page, lambda: np.asarray(page.asarray(maxworkers=_workers())))

    def read_part(number: int, rect: Rect) -> Array:
        page = pages[number]
        return opened(page, lambda: parts.read(number, page, rect, _workers()))

    source.read_page = read_page
    if PartReader.can_read(key):
        parts = PartReader()
        source.read_part = read_part


def _check_page_chain(path: Path) -> None:
    """Walk the linked list of pages, which a cut-off file breaks and a malicious one closes.

    tifffile would show the pages before the break as if they were all.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = struct.unpack(order + "H", head[2:4])[0] == 43
        number_format, offset_format = (
            (order + "Q", order + "Q") if big else (order + "H", order + "I")
        )
        entry, number_size, offset_size = (20, 8, 8) if big else (12, 2, 4)
        start = head[8:16] if big else head[4:8]
        if len(start) < offset_size:
            raise _cut_short(path.name)
        offset = struct.unpack(offset_format, start)[0]
        if offset == 0:
            raise StackError(f"{path.name} holds no image: its list of pages is empty.")
        _check_first_tags(file, offset, big, order, size, path.name)
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise _damaged(path.name)
            seen.add(offset)
            file.seek(offset)
            number_bytes = file.read(number_size)
            if offset >= size or len(number_bytes) < number_size:
                raise _cut_short(path.name)
            tags = struct.unpack(number_format, number_bytes)[0]
            if tags == 0 or tags > 4096:
                raise _damaged(path.name)
            file.seek(offset + number_size + tags * entry)
            next_bytes = file.read(offset_size)
            if len(next_bytes) < offset_size:
                raise _cut_short(path.name)
            offset = struct.unpack(offset_format, next_bytes)[0]


def _check_first_tags(
    file: BinaryIO, offset: int, big: bool, order: str, size: int, name: str
) -> None:
    """The first page's tags must lie inside the file: OME's description is often at its end."""
    number_format, entry_format, inline = (
        (order + "Q", order + "HHQQ", 8) if big else (order + "H", order + "HHII", 4)
    )
    file.seek(offset)
    head = file.read(struct.calcsize(number_format))
    if len(head) < struct.calcsize(number_format):
        return
    entry = struct.Struct(entry_format)
    table = file.read(min(struct.unpack(number_format, head)[0], 4096) * entry.size)
    table = table[: len(table) // entry.size * entry.size]
    for _, kind, count, value in entry.iter_unpack(table):
        length = count * _TYPE_SIZES.get(kind, 0)
        if length > inline and value + length > size:
            raise _cut_short(name)


def _check_pixels(
    name: str, key: tifffile.TiffPage, dtype: Any, shape: tuple[int, ...], file_size: int
) -> None:
    """Refuse, before anything is allocated, what cannot be an image that we can read."""
    if not shape or 0 in shape or not len(key.dataoffsets):
        raise _damaged(name)
    dtype = None if dtype is None else np.dtype(dtype)
    if dtype is None or dtype.kind not in "biuf":
        what = "complex numbers" if dtype is not None and dtype.kind == "c" else "an unusual type"
        raise StackError(
            f"{name} has pixels of {what}, which Limn cannot show: convert it to 8 or 16 bit "
            "or to 32-bit float."
        )
    if key.compression != 1 and key.compression not in tifffile.TIFF.DECOMPRESSORS:
        known = tifffile.COMPRESSION._value2member_map_.get(key.compression)
        label = known.name if known is not None else f"number {int(key.compression)}"
        raise StackError(
            f"{name} is compressed in a way that Limn cannot read ({label}): save it "
            "uncompressed or with zlib."
        )
    is_jpeg_colour = key.photometric == _YCBCR and key.compression in _JPEG_COMPRESSIONS
    if key.photometric not in _READABLE_PHOTOMETRICS and not is_jpeg_colour:
        if key.photometric == _CMYK:
            raise StackError(
                f"{name} is in CMYK (inks, for print), whose colours depend on the printer: save "
                "it as RGB."
            )
        raise StackError(f"{name} is in an unusual colour space: save it as RGB or grey values.")
    refuse_absurd(name, math.prod(key.shape) * dtype.itemsize, file_size)


def _check_extent(name: str, page: Any, file_size: int) -> None:
    """The page's data must lie inside the file, and be enough where nothing is compressed."""
    key = page.keyframe
    offsets, counts = page.dataoffsets, page.databytecounts
    if not offsets or len(offsets) != len(counts):
        raise _damaged(name)
    if not key.is_contiguous and math.prod(key.chunked) > len(offsets):
        raise _cut_short(name)  # fewer strips or tiles than the image's size needs
    if max(map(sum, zip(offsets, counts, strict=True))) > file_size:
        raise _cut_short(name)
    if key.compression == 1 and all(counts) and not (key.is_lsm or key.is_stk):
        least = math.prod(key.shape) * _first(key.bitspersample) // 8
        if sum(counts) < least:
            raise _cut_short(name)


def _letters(
    name: str,
    axes: str,
    shape: tuple[int, ...],
    kind: str,
    metadata: TiffMetadata,
    planar_configuration: int,
) -> str:
    """Give each dimension one of the letters T, Z, C, S, Y, X, "_" (size 1, no meaning) or "?"."""
    if kind == "shaped" and not metadata.names_axes and planar_configuration == 2:
        # tifffile.imwrite(path, zyx) stores 3 or 4 slices as "separate colour planes" unless it
        # is told otherwise; a stack is what was meant far more often.
        axes = axes.replace("S", "Q")
    letters = [a if a in "TZCSYX" else UNKNOWN for a in axes]
    for i, letter in enumerate(letters):
        if letter == UNKNOWN and shape[i] == 1 and (kind != "shaped" or metadata.names_axes):
            letters[i] = "_"
    known = [a for a in letters if a in "TZCSYX"]
    if len(set(known)) != len(known):
        raise StackError(f"{name} names one of its axes twice ({axes}): save it again.")
    return collapsed(name, "".join(letters), shape)


def _outer_dimensions(shape: Sequence[int], pages: int, page_size: int) -> int | None:
    """How many leading dimensions number the pages; None if the shape does not fit them."""
    for split in range(len(shape) + 1):
        if math.prod(shape[:split]) == pages and math.prod(shape[split:]) == page_size:
            return split
    return None


def _workers() -> int:
    """Threads that decode one page: all cores but one, which belongs to the window."""
    return max(1, (os.cpu_count() or 2) - 1)


def _first(value: Any) -> int:
    """The first of several equal values (bits per sample may be one number or a tuple)."""
    return int(value[0]) if isinstance(value, tuple) else int(value)


def _never() -> Array:
    raise AssertionError("the source has no pages yet")


def _cut_short(name: str) -> StackError:
    return StackError(
        f"{name} is cut short: it holds less data than its header promises, so copy it again."
    )


def _damaged(name: str) -> StackError:
    return StackError(f"{name} is damaged, or a kind of TIFF that Limn cannot read.")
