"""Reading a part of a TIFF page: only the tiles or strips that a rectangle touches are decoded."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from unet_core.tiling import Rect

Array = np.ndarray[Any, Any]

KEPT_BYTES = 32 * 2**20
"""Decoded tiles and strips that are kept: neighbouring rectangles touch the same ones."""

MOST_KEPT_BYTES = 128 * 2**20
"""So much is kept where one rectangle touches that much: strips span the whole width, and each
neighbour in a row would decode all of them again."""

MOST_SEGMENT_BYTES = 32 * 2**20
"""Pages with larger tiles or strips than this are read whole: that costs no more than a part."""

_READ_BYTES = 8 * 2**20
_JPEG = {6, 7, 34892, 33007}


class PartReader:
    """Reads parts of the pages of one file; keeps what it decoded last. For one thread at a time.

    A segment is a tile or a strip. tifffile numbers the segments of a page of shape (separate
    sample, depth, length, width, sample) in the order of these axes.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._kept_bytes = 0

    @staticmethod
    def can_read(key: Any) -> bool:
        """Whether a part of a page like `key` (a TiffPage) can be read for less than the whole."""
        if key.is_contiguous:
            # Whole bytes in a row; anything else has to be unpacked from the page's start.
            whole_bytes = _bits(key) == 8 * key.dtype.itemsize
            return bool(whole_bytes and key.predictor == 1 and key.fillorder == 1)
        if key.jpegheader is not None:
            return False  # NDPI: one strip that only pretends to be tiled
        return math.prod(_segment_shape(key)) * key.dtype.itemsize <= MOST_SEGMENT_BYTES

    def read(self, number: int, page: Any, rect: Rect, workers: int) -> Array:
        """Rows and columns `rect` of `page` (a TiffPage or TiffFrame), the file's page `number`.

        The shape is (separate sample, depth, height, width, sample), each 1 where it is not used.
        Raises what decoders raise where the file is damaged.
        """
        key = page.keyframe
        if key.is_contiguous:
            return _read_rows(page, rect)
        separate, depth, _, _, samples = key.shaped
        result = np.empty((separate, depth, rect.height, rect.width, samples), key.dtype)
        for segment, (s, d, y, x, _), shape in self._segments(number, page, rect, workers):
            place = Rect(y, x, shape[1], shape[2])
            part = place.intersect(rect)
            target = result[
                s,
                d : d + shape[0],
                part.y - rect.y : part.bottom - rect.y,
                part.x - rect.x : part.right - rect.x,
            ]
            if segment is None:
                target[:] = key.nodata
            else:
                rows, columns = _within(part, place)
                target[:] = segment[: depth - d, rows, columns]
        return result

    def _segments(
        self, number: int, page: Any, rect: Rect, workers: int
    ) -> Iterator[tuple[Array | None, tuple[int, ...], tuple[int, ...]]]:
        """(pixels or None, place, shape) of each segment that meets `rect`."""
        key = page.keyframe
        indices = list(_indices(key, rect))
        touched = len(indices) * math.prod(_segment_shape(key)) * key.dtype.itemsize
        room = max(KEPT_BYTES, min(touched, MOST_KEPT_BYTES))
        missing = []
        for index in indices:
            kept = self._kept.get((number, index))
            if kept is None:
                missing.append(index)
            else:
                self._kept.move_to_end((number, index))
                yield kept, _place(key, index), kept.shape
        for index, (segment, place, shape) in _decoded(page, missing, workers):
            if segment is not None:
                self._keep((number, index), segment, room)
            yield segment, place, shape

    def _keep(self, key: tuple[int, int], segment: Array, room: int) -> None:
        self._kept[key] = segment
        self._kept_bytes += segment.nbytes
        while self._kept_bytes > room:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.nbytes


def _decoded(page: Any, indices: list[int], workers: int) -> Iterator[tuple[int, Any]]:
    """(index, what tifffile's decoder gives) for each segment, read in the order of the file."""
    if not indices:
        return
    key, handle = page.keyframe, page.parent.filehandle
    options: dict[str, Any] = {"_fullsize": False}
    if key.compression in _JPEG:
        options |= {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
    decode = key.decode

    def one(read: tuple[bytes | None, int]) -> tuple[int, Any]:
        data, index = read
        return index, decode(data, index, **options)

    # A few at a time: what was read and decoded of them is in memory at once.
    chunks = handle.read_segments(
        [page.dataoffsets[i] for i in indices],
        [page.databytecounts[i] for i in indices],
        indices=indices,
        sort=True,
        buffersize=_READ_BYTES,
        flat=False,
    )
    if workers < 2 or len(indices) < 2:
        for chunk in chunks:
            yield from map(one, chunk)
        return
    with ThreadPoolExecutor(workers) as pool:
        for chunk in chunks:
            yield from pool.map(one, chunk)


def _read_rows(page: Any, rect: Rect) -> Array:
    """Cut `rect` out of a page whose pixels lie uncompressed in one run."""
    key, handle = page.keyframe, page.parent.filehandle
    separate, depth, length, width, samples = key.shaped
    stored = np.dtype(key.dtype).newbyteorder(key.parent.byteorder)
    result = np.empty((separate, depth, rect.height, rect.width, samples), stored)
    row_bytes = width * samples * stored.itemsize
    wanted = rect.width * samples * stored.itemsize
    for s in range(separate):
        for d in range(depth):
            first = ((s * depth + d) * length + rect.y) * row_bytes
            first += page.dataoffsets[0] + rect.x * samples * stored.itemsize
            for row in range(rect.height):
                handle.seek(first + row * row_bytes)
                data = handle.read(wanted)
                result[s, d, row] = np.frombuffer(data, stored).reshape(rect.width, samples)
    return result


def _segment_shape(key: Any) -> tuple[int, int, int, int]:
    """(depth, length, width, samples) of a page's tiles or strips."""
    samples = key.shaped[4]
    if key.is_tiled:
        return key.tiledepth, key.tilelength, key.tilewidth, samples
    return 1, min(key.rowsperstrip, key.imagelength), key.imagewidth, samples


def _grid(key: Any) -> tuple[int, int, int, int]:
    """How many segments there are along (separate sample, depth, length, width)."""
    separate, *extent, _ = key.shaped
    counts = (-(-size // step) for size, step in zip(extent, _segment_shape(key), strict=False))
    depth, length, width = counts
    return separate, depth, length, width


def _indices(key: Any, rect: Rect) -> Iterator[int]:
    """The numbers of the segments that meet `rect`."""
    separate, depth, rows, columns = _grid(key)
    _, length, width, _ = _segment_shape(key)
    for outer in range(separate * depth):
        for row in range(rect.y // length, (rect.bottom - 1) // length + 1):
            for column in range(rect.x // width, (rect.right - 1) // width + 1):
                yield (outer * rows + row) * columns + column


def _place(key: Any, index: int) -> tuple[int, int, int, int, int]:
    """Where segment `index` begins: (separate sample, depth, length, width, 0)."""
    _, depth, rows, columns = _grid(key)
    step_depth, length, width, _ = _segment_shape(key)
    index, column = divmod(index, columns)
    index, row = divmod(index, rows)
    s, d = divmod(index, depth)
    return s, d * step_depth, row * length, column * width, 0


def _within(part: Rect, whole: Rect) -> tuple[slice, slice]:
    """Index of `part` in an array that holds `whole`."""
    return Rect(part.y - whole.y, part.x - whole.x, part.height, part.width).slices


def _bits(key: Any) -> int:
    bits = key.bitspersample
    return int(bits[0]) if isinstance(bits, tuple) else int(bits)
