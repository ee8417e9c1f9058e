"""Stack: an image file, read plane by plane, or part by part, as (T, Z, C, Y, X).

Raw files are never written to.
"""

import hashlib
import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from unet_core.limits import ADVICE, LimitError, lifted
from unet_core.reading import Reading
from unet_core.tiling import Rect

Array = np.ndarray[Any, Any]

IMAGE_SUFFIXES = (
    ".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".png", ".jpg", ".jpeg", ".npy",
    ".h5", ".hdf5", ".hdf", ".he5", ".czi", ".lif", ".nd2",
)  # fmt: skip
"""What image files are called; OME-Zarr images are folders, see `FOLDER_SUFFIXES`."""

FOLDER_SUFFIXES = (".zarr",)
"""Folders of such names are images."""

LARGE_PIXELS = 4096 * 4096
"""Planes of more pixels than this are read in parts, as these are needed; see `Stack.is_large`."""

_CACHE_PAGES = 8
_CACHE_BYTES = 128 * 2**20
_FINGERPRINT_BLOCK = 64 * 1024

# A compressed page may be far larger than its file, but a header that promises more than this
# many times the file's size (and more than a gigabyte) is damage, and is refused unallocated.
_PLAUSIBLE_RATIO = 4096
_PLAUSIBLE_BYTES = 2**30


class StackError(ValueError):
    """The file cannot be opened or read as an image; the message is one sentence for the user."""


class PlaneIndex(NamedTuple):
    """One (Y, X) plane of a stack: time point and slice, both from 0."""

    t: int
    z: int


@dataclass
class Source:
    """What a file format gives to Stack: pages, what their axes mean, and metadata.

    The image is a grid of pages (`outer_axes`, C order), each an array of `inner_shape` with
    `inner_axes`. Axes are T, Z, C, S (samples of a colour pixel), Y, X, or "_" for an axis of
    size 1 without meaning. Y and X are inner. `read_page(number)` returns one page; what it
    raises becomes a StackError. `memory_mapped`: pages are views of the file, not copies.

    `read_part(number, rect)` returns the rows and columns of `rect` of a page and decodes nothing
    else; None where a page can be had only whole, or costs nothing. `reduced`: the same image at
    smaller sizes, largest first, as far as the file holds them.
    """

    outer_axes: str
    outer_shape: tuple[int, ...]
    inner_axes: str
    inner_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read_page: Callable[[int], Array]
    read_part: Callable[[int, Rect], Array] | None = None
    reduced: tuple["Source", ...] = ()
    stated_axes: str = ""  # axes to keep although their size is 1
    pixel_size: tuple[float, float, float] | None = None
    z_stated: bool | None = None  # None: where z is not 1.0, which also stands for "not stated"
    time_interval: float | None = None
    channel_names: tuple[str, ...] = ()
    channel_colors: tuple[str, ...] = ()  # "#rrggbb", "" where the file does not say
    is_rgb: bool = False
    has_alpha: bool = False
    white_is: int | None = None  # MinIsWhite images: the value that stands for black
    memory_mapped: bool = False
    least_file_size: int = 0  # bytes that a memory-mapped file must keep
    files: tuple[Path, ...] = ()
    close: Callable[[], None] = field(default=lambda: None)

    def size(self, axis: str) -> int:
        """The number of positions along `axis`, 1 where the image does not have it."""
        axes = self.outer_axes + self.inner_axes
        return math.prod(
            n for a, n in zip(axes, self.outer_shape + self.inner_shape, strict=True) if a == axis
        )


class Stack:
    """An image of shape (T, Z, C, Y, X), read lazily. Made by `open_stack`; safe between threads.

    path           the file
    shape          (T, Z, C, Y, X)
    dtype          as in the file (bool for 1-bit images), native byte order
    axes           the axes that the file really has: part of "TZCYX", in that order, ending "YX";
                   an axis of size 1 is kept where the file states it
    pixel_size     (z, y, x) in micrometres, or None; z is 1.0 where the file states only y and x
    z_stated       whether the file states z
    time_interval  seconds between time points, or None
    channel_names  one per channel
    channel_colors "#rrggbb", one per channel; "" where the file does not say
    reading        how it was opened, where there was something to choose
    is_rgb         the three channels are red, green, blue
    levels         (height, width) of the planes: full size, then the smaller copies in the file
    """

    def __init__(self, path: Path, source: Source, reading: Reading | None = None) -> None:
        self.path = path
        self.reading = reading or Reading()
        self.is_rgb = source.is_rgb
        self.dtype = source.dtype
        self.pixel_size = size = source.pixel_size
        stated = source.z_stated
        self.z_stated = size is not None and (size[0] != 1.0 if stated is None else stated)
        self.time_interval = source.time_interval
        self._source = source
        self._samples = source.size("S") - source.has_alpha
        channels = source.size("C") * self._samples
        self.shape = (
            source.size("T"), source.size("Z"), channels, source.size("Y"), source.size("X")
        )  # fmt: skip
        self.axes = "".join(
            a
            for a, n in zip("TZCYX", self.shape, strict=True)
            if n > 1 or a in "YX" or a in source.stated_axes
        )
        names = source.channel_names
        if len(names) != channels:
            names = tuple(f"Channel {i + 1}" for i in range(channels))
            if self.is_rgb:
                names = ("Red", "Green", "Blue")
        self.channel_names = names
        colors = source.channel_colors
        self.channel_colors = colors if len(colors) == channels else ("",) * channels
        self._levels = (source, *source.reduced)
        self.levels = tuple((level.size("Y"), level.size("X")) for level in self._levels)
        self.cache_bytes = _CACHE_BYTES
        """Decoded pages take at most so much memory, or as much as those of one plane do."""
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], Array] = OrderedDict()  # by level and number
        self._closed = False
        weakref.finalize(self, source.close)  # a stack that is dropped lets go of its file

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds pixels of this image: more than one for multi-file OME sets."""
        return self._source.files or (self.path,)

    @property
    def is_large(self) -> bool:
        """Whether a plane is better read in parts than whole."""
        return self.shape[3] * self.shape[4] > LARGE_PIXELS

    def planes(self) -> Iterator[PlaneIndex]:
        """All planes, time outside, slices inside."""
        for t in range(self.shape[0]):
            for z in range(self.shape[1]):
                yield PlaneIndex(t, z)

    def plane(self, t: int, z: int) -> Array:
        """Read one plane: (C, Y, X), native byte order, not to be written to.

        Reads nothing but the pages that hold it. Uncompressed files give a view of the
        memory-mapped file. Raises StackError when the file is damaged, IndexError when there is
        no such plane.
        """
        self._check_plane(t, z)
        plane = self._read(t, z, None, 0).view()  # the flags are its own
        plane.flags.writeable = False
        return plane

    def region(self, t: int, z: int, rect: Rect, level: int = 0) -> Array:
        """Read the part `rect` of a plane: (C, height, width), native byte order, a copy.

        Of compressed files only the tiles or strips that the rectangle touches are decoded. With
        `level`, the part of that one of `levels`, in its own pixels. Raises StackError when the
        file is damaged, IndexError when there is no such plane, level or part of it.
        """
        self._check_plane(t, z)
        if not 0 <= level < len(self.levels):
            raise IndexError(f"level {level} of a stack with {len(self.levels)} levels")
        if rect.empty or rect.intersect(Rect(0, 0, *self.levels[level])) != rect:
            raise IndexError(f"{rect} of planes of {self.levels[level]} pixels")
        part = self._read(t, z, rect, level)
        return part if part.flags.owndata else part.copy()

    def lazy_plane(self, t: int, z: int) -> "Array | LazyPlane":
        """What can be sliced like `plane(t, z)`; of a large plane only the slices are read."""
        if not self.is_large:
            return self.plane(t, z)
        self._check_plane(t, z)
        return LazyPlane(self, t, z)

    def fingerprint(self) -> str:
        """A short text that changes with the file's content, see `fingerprint_of`."""
        return fingerprint_of(self.path)

    def close(self) -> None:
        """Let go of the file. Planes that were given out stay valid."""
        with self._lock:
            self._closed = True
            self._cache.clear()
            self._source.close()

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stack {self.path.name} {self.axes} {self.shape} {self.dtype}>"

    def _check_plane(self, t: int, z: int) -> None:
        if not (0 <= t < self.shape[0] and 0 <= z < self.shape[1]):
            raise IndexError(f"plane t={t}, z={z} of a stack with shape {self.shape}")

    def _read(self, t: int, z: int, rect: Rect | None, level: int) -> Array:
        """A plane, or the part `rect` of it: (C, Y, X), a view of the file where that is so."""
        source = self._levels[level]
        channels = source.size("C") if "C" in source.outer_axes else 1
        with self._lock:
            if self._closed:
                raise StackError(f"{self.path.name} has been closed.")
            parts = [self._channels_of_page(t, z, c, rect, level) for c in range(channels)]
        plane = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if source.white_is is not None:
            plane = _inverted(plane, source.white_is)
        return np.ascontiguousarray(plane, dtype=self.dtype)

    def _channels_of_page(self, t: int, z: int, c: int, rect: Rect | None, level: int) -> Array:
        """The channels (c, Y, X) that one page holds of plane (t, z), or of its part `rect`."""
        source, at = self._levels[level], {"T": t, "Z": z, "C": c}
        number = 0
        for axis, size in zip(source.outer_axes, source.outer_shape, strict=True):
            number = number * size + at.get(axis, 0)
        page = self._page(number, rect, level)
        at.pop("C")  # within a page, channels are taken whole
        page = page[tuple(0 if a == "_" else at.get(a, slice(None)) for a in source.inner_axes)]
        left = [a for a in source.inner_axes if a in "CSYX"]
        page = np.transpose(page, [left.index(a) for a in "CSYX" if a in left])
        samples, (height, width) = source.size("S") if "S" in left else 1, page.shape[-2:]
        page = page.reshape(-1, samples, height, width)
        if source.has_alpha:
            page = page[:, : self._samples]
        return page.reshape(-1, height, width)

    def _page(self, number: int, rect: Rect | None, level: int) -> Array:
        """One page, or the part `rect` of it, from the cache of the last few or from the file."""
        source, key = self._levels[level], (level, number)
        if rect is not None and source.read_part is not None and key not in self._cache:
            read_part = source.read_part
            shape = [
                {"Y": rect.height, "X": rect.width}.get(axis, size)
                for axis, size in zip(source.inner_axes, source.inner_shape, strict=True)
            ]
            return self._guarded(number, lambda: read_part(number, rect).reshape(shape))
        if key in self._cache:
            self._cache.move_to_end(key)
            page = self._cache[key]
        else:
            if source.memory_mapped:
                self._check_size(source)
            shape = list(source.inner_shape)
            page = self._guarded(number, lambda: source.read_page(number).reshape(shape))
            if not source.memory_mapped:
                self._keep(key, page)
        if rect is None:
            return page
        rows, columns = rect.slices
        within = {"Y": rows, "X": columns}
        return page[tuple(within.get(axis, slice(None)) for axis in source.inner_axes)]

    def _check_size(self, source: Source) -> None:
        """Touching a page of a map beyond the file's end would kill the process."""
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise StackError(f"{self.path.name} can no longer be read: {why(error)}.") from error
        if size < source.least_file_size:
            raise StackError(f"{self.path.name} has become shorter since it was opened.")

    def _guarded(self, number: int, read: Callable[[], Array]) -> Array:
        """What `read` returns of page `number`; what it raises becomes a StackError."""
        try:
            return read()
        except StackError:
            raise
        except OSError as error:
            raise StackError(f"{self.path.name} can no longer be read: {why(error)}.") from error
        except MemoryError as error:
            raise StackError(
                f"{self.path.name} has planes too large for this computer's memory."
            ) from error
        except Exception as error:  # decoders raise what they like
            raise StackError(
                f"{self.path.name} is damaged: the pixels of page {number + 1} cannot be read."
            ) from error

    def _keep(self, key: tuple[int, int], page: Array) -> None:
        self._cache[key] = page
        source = self._levels[key[0]]
        least = source.size("C") if "C" in source.outer_axes else 1
        while len(self._cache) > least and (
            len(self._cache) > _CACHE_PAGES
            or sum(p.nbytes for p in self._cache.values()) > self.cache_bytes
        ):
            self._cache.popitem(last=False)


class LazyPlane:
    """A plane (C, Y, X) of a stack of which only what is indexed is read."""

    def __init__(self, stack: Stack, t: int, z: int) -> None:
        self._stack, self._t, self._z = stack, t, z
        self.shape = stack.shape[2:]

    def __getitem__(self, at: tuple[slice, slice, slice]) -> Array:
        """`plane[:, top:bottom, left:right]`: slices without a step, not empty."""
        channels, rows, columns = at
        top, bottom, _ = rows.indices(self.shape[1])
        left, right, _ = columns.indices(self.shape[2])
        part = Rect(top, left, bottom - top, right - left)
        return self._stack.region(self._t, self._z, part)[channels]


def open_stack(path: str | os.PathLike[str], reading: Reading | None = None) -> Stack:
    """Open an image file, or a folder that is one image; only the header is read.

    TIFF of all kinds, PNG, JPEG, NumPy, HDF5, OME-Zarr, CZI, LIF and ND2 (the latter two with
    `limn[formats]`), folders of numbered images. `reading` says which image of the file, and what
    its axes mean. Without it the first image is opened, at full resolution; and without axis names
    in the file three dimensions are ZYX, four are TZYX (ZCYX where the third last has at most 4
    planes), five are TZCYX. The alpha channel is dropped, palettes are given as values, MinIsWhite
    images are inverted. Raises StackError with one sentence.
    """
    from unet_core.openers import open_source  # which needs this module

    where, source, read = open_source(Path(path), reading)
    return Stack(where, source, read)


def open_stored(path: str | os.PathLike[str], reading: Reading | None = None) -> Stack:
    """Open an image with its values exactly as stored: nothing inverted, no alpha dropped.

    For label images, whose values are numbers and not brightness. Raises StackError.
    """
    from unet_core.openers import open_source

    where, source, read = open_source(Path(path), reading)
    source.white_is = None
    source.has_alpha = False
    source.is_rgb = False
    source.reduced = ()
    return Stack(where, source, read)


def fingerprint_of(path: Path) -> str:
    """A short text that changes with a file's content: its size and three blocks, hashed.

    Of a folder that is an image, see `folders.fingerprint`. Raises StackError where it can not be
    read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        if path.is_dir():
            from unet_core.folders import fingerprint

            return fingerprint(path)
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(size.to_bytes(8, "little"))
            for start in (0, size // 2, max(0, size - _FINGERPRINT_BLOCK)):
                file.seek(start)
                digest.update(file.read(_FINGERPRINT_BLOCK))
    except OSError as error:
        raise StackError(f"{path.name} can no longer be read: {why(error)}.") from error
    return digest.hexdigest()


class StackLimitError(StackError, LimitError):
    """The image claims to be larger than it may."""


def refuse_absurd(name: str, page_bytes: int, file_bytes: int) -> None:
    """Raise StackLimitError where a header promises a page that the file hardly can hold."""
    absurd = page_bytes > _PLAUSIBLE_BYTES and page_bytes > _PLAUSIBLE_RATIO * file_bytes
    if absurd and not lifted():
        raise StackLimitError(
            f"{name} is damaged: its header promises planes of {page_bytes / 2**30:,.0f} GiB, "
            f"more than {_PLAUSIBLE_RATIO:,} times what the file holds; {ADVICE}."
        )


def _inverted(plane: Array, black: int) -> Array:
    """Turn a MinIsWhite plane over, so that larger is brighter as everywhere else."""
    if plane.dtype == bool:
        return ~plane
    if plane.dtype.kind == "u":
        return np.subtract(plane.dtype.type(black), plane)
    if plane.dtype.kind == "i":
        return ~plane
    return plane  # floating point has no agreed black: as stored


def why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "you have no permission to read it"
    return (error.strerror or "the system refused").lower()
