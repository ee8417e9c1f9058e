"""CZI (ZEISS): scenes, mosaics of tiles, pyramids, plane by plane.

After ZEISS's description of the format (ZISRAW, "CZI file format", 2013, with the later
compressions of libCZI). A file is a list of segments. The directory lists sub-blocks: tiles of one
plane with their place in the scene. Read here, not with a package: czifile changes its interface
between the versions for Python 3.11 and 3.12, and libCZI is native code that meets strangers'
files.
"""

from __future__ import annotations

import struct
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from xml.etree import ElementTree

import imagecodecs
import numpy as np

from unet_core.reading import Contents, Series, distinct
from unet_core.stack import Array, Source, StackError, refuse_absurd
from unet_core.tiling import Rect
from unet_core.units import pixel_size, positive

_ENTRY = struct.Struct("<2siqiiB5xi")
_DIMENSION = struct.Struct("<4siifi")
_MOST_ENTRIES = 4_000_000
_MOST_DIMENSIONS = 40
_MOST_TEXT = 256 * 2**20
_KEPT_BYTES = 64 * 2**20

# Pixel type: NumPy's type, samples of a pixel (blue first)
_PIXEL_TYPES = {
    0: ("u1", 1), 1: ("<u2", 1), 2: ("<f4", 1), 3: ("u1", 3), 4: ("<u2", 3), 8: ("<f4", 3),
    9: ("u1", 4), 12: ("<u4", 1), 13: ("<f8", 1),
}  # fmt: skip
_NONE, _JPEG, _LZW, _JPEG_XR, _ZSTD, _ZSTD_1 = 0, 1, 2, 4, 5, 6
_METRES_TO_MICROMETRES = 1e6


class _Tile(NamedTuple):
    """A sub-block: where its pixels are in the file and on the stage."""

    position: int
    compression: int
    dtype: np.dtype[Any]
    samples: int
    start: dict[str, int]
    place: Rect
    stored: tuple[int, int]
    """(height, width) of its pixels; smaller than `place` in a pyramid."""

    @property
    def scale(self) -> int:
        return max(1, round(self.place.width / self.stored[1]))


def read_czi(path: Path) -> Contents:
    """The scenes of a CZI file. Raises StackError."""
    file = path.open("rb")
    try:
        tiles, text = _read_index(path, file)
        said = _Said(text)
        scenes: dict[tuple[tuple[str, int], ...], list[_Tile]] = defaultdict(list)
        for tile in tiles:
            scenes[_scene(tile)].append(tile)
        ordered = sorted(scenes.items())
        names = distinct([said.scene_name(scene) for scene, _ in ordered])
        series = [
            _series(path, file, name, tiles, said)
            for name, (_, tiles) in zip(names, ordered, strict=True)
            if any(tile.scale == 1 for tile in tiles)
        ]
        if not series:
            raise StackError(f"{path.name} is a CZI file without pixels.")
        return Contents(path, tuple(series), file.close)
    except BaseException as error:
        file.close()
        if isinstance(error, (struct.error, ValueError, OverflowError, KeyError)):
            if isinstance(error, StackError):
                raise
            raise _damaged(path) from error
        raise


# --- the directory -------------------------------------------------------------------------------


def _read_index(path: Path, file: BinaryIO) -> tuple[list[_Tile], bytes]:
    """The tiles of the file, and its XML."""
    header = _segment(file, 0, b"ZISRAWFILE", 80)
    part, directory, metadata = struct.unpack_from("<iqq", header, 48)
    if part != 0:
        raise StackError(f"{path.name} is a part of an image in several files: save it as one.")
    if directory <= 0:
        raise StackError(f"{path.name} was not written to its end: save it again.")
    count = struct.unpack("<i", _segment(file, directory, b"ZISRAWDIRECTORY", 4))[0]
    if not 0 < count <= _MOST_ENTRIES:
        raise _damaged(path)
    file.seek(directory + 32 + 128)
    longest = count * (_ENTRY.size + _MOST_DIMENSIONS * _DIMENSION.size)
    rows = file.read(min(longest, path.stat().st_size))
    tiles, place = [], 0
    for _ in range(count):
        tile, place = _entry(path, rows, place)
        tiles.append(tile)
    text = b""
    if metadata > 0:
        try:
            length = struct.unpack("<i", _segment(file, metadata, b"ZISRAWMETADATA", 4))[0]
        except ValueError:
            length = 0
        file.seek(metadata + 32 + 256)
        text = file.read(length) if 0 < length < _MOST_TEXT else b""
    return tiles, text


def _segment(file: BinaryIO, position: int, name: bytes, length: int) -> bytes:
    """The first bytes of a segment's content. ValueError where there is another or none."""
    file.seek(position)
    head = file.read(32)
    content = file.read(length)
    if head[:16].rstrip(b"\0") != name or len(content) < length:
        raise ValueError(f"no {name!r}")
    return content


def _entry(path: Path, rows: bytes, place: int) -> tuple[_Tile, int]:
    """The tile that is described at `place`, and where the next one is."""
    schema, kind, position, _, compression, _, dimensions = _ENTRY.unpack_from(rows, place)
    if schema != b"DV" or not 0 < dimensions <= _MOST_DIMENSIONS:
        raise _damaged(path)
    start: dict[str, int] = {}
    size: dict[str, tuple[int, int]] = {}
    end = place + _ENTRY.size + dimensions * _DIMENSION.size
    for row in _DIMENSION.iter_unpack(rows[place + _ENTRY.size : end]):
        axis = row[0].rstrip(b"\0").decode("ascii", "replace")
        start[axis], size[axis] = row[1], (row[2], row[4] if row[4] > 0 else row[2])
    if kind not in _PIXEL_TYPES:
        raise StackError(f"{path.name} has pixels of an unusual type: save it as OME-TIFF.")
    dtype, samples = _PIXEL_TYPES[kind]
    (height, high), (width, wide) = size["Y"], size["X"]
    if min(height, high, width, wide) < 1:
        raise _damaged(path)
    area = Rect(start["Y"], start["X"], height, width)
    return _Tile(position, compression, np.dtype(dtype), samples, start, area, (high, wide)), end


def _scene(tile: _Tile) -> tuple[tuple[str, int], ...]:
    """Which image a tile belongs to: its scene, and what else Limn has no axis for."""
    return tuple(sorted((a, n) for a, n in tile.start.items() if a not in "XYCZTM"))


# --- one scene -----------------------------------------------------------------------------------


def _series(path: Path, file: BinaryIO, name: str, tiles: list[_Tile], said: _Said) -> Series:
    full = [tile for tile in tiles if tile.scale == 1]
    top, left = (min(getattr(tile.place, edge) for tile in full) for edge in "yx")
    bottom = max(tile.place.bottom for tile in full)
    right = max(tile.place.right for tile in full)
    area = Rect(top, left, bottom - top, right - left)
    samples = full[0].samples
    if any(tile.samples != samples for tile in full):
        raise StackError(f"{path.name} mixes grey and colour images: save its channels apart.")
    dtype = np.result_type(*{tile.dtype.newbyteorder("=") for tile in full})
    at = {a: sorted({tile.start.get(a, 0) for tile in full}) for a in "TZC"}
    axes = "".join(a for a in "TZC" if any(a in tile.start for tile in full)) + "YX"
    shape = [len(at[a]) for a in axes[:-2]] + [area.height, area.width]
    if samples > 1:
        axes, shape = axes + "S", [*shape, samples]
    refuse_absurd(
        path.name, area.height * area.width * samples * dtype.itemsize, path.stat().st_size
    )

    def opened(letters: str) -> Source:
        count = len(letters.removesuffix("S")) - 2
        reader = _Reader(path, file, axes[:count], letters[:count], at, samples, dtype)
        source = reader.source(area, full, 1)
        for scale in sorted({tile.scale for tile in tiles} - {1}):
            smaller = [tile for tile in tiles if tile.scale == scale]
            if min(area.height, area.width) >= scale and reader.covers(area, smaller):
                source.reduced += (reader.source(area, smaller, scale),)
        said.describe(source)
        source.is_rgb = samples >= 3
        source.has_alpha = samples == 4
        source.close = file.close
        return source

    return Series(name, axes, tuple(shape), dtype, opened)


class _Reader:
    """Puts planes together from tiles. For one thread at a time."""

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        axes: str,
        outer: str,
        at: dict[str, list[int]],
        samples: int,
        dtype: np.dtype[Any],
    ) -> None:
        """`at`: the starts of tiles along each of T, Z, C. `outer`: what `axes` are taken for."""
        self._path, self._file, self._dtype, self._samples = path, file, dtype, samples
        self._axes, self._outer, self._at = axes, outer, at
        self._kept: OrderedDict[int, Array] = OrderedDict()
        self._kept_bytes = 0

    def covers(self, area: Rect, tiles: Sequence[_Tile]) -> bool:
        """Whether a smaller copy is more than a part of the image."""
        planes: dict[tuple[int, ...], int] = defaultdict(int)
        for tile in tiles:
            part = tile.place.intersect(area)
            planes[self._key(tile)] += part.height * part.width
        count = np.prod([len(values) for values in self._at.values()])
        return len(planes) == count and min(planes.values()) >= 0.9 * area.height * area.width

    def _key(self, tile: _Tile) -> tuple[int, ...]:
        return tuple(tile.start.get(a, 0) for a in "TZC")

    def source(self, area: Rect, tiles: Iterable[_Tile], scale: int) -> Source:
        """The image at one size; the tiles are all of it."""
        planes: dict[tuple[int, ...], list[_Tile]] = defaultdict(list)
        for tile in tiles:
            planes[self._key(tile)].append(tile)
        for found in planes.values():
            found.sort(key=lambda tile: tile.start.get("M", 0))
        height, width = -(-area.height // scale), -(-area.width // scale)
        sizes = tuple(len(self._at[a]) for a in self._axes)

        def read_part(number: int, rect: Rect) -> Array:
            at = dict.fromkeys("TZC", 0)
            for axis, size in zip(self._axes[::-1], sizes[::-1], strict=True):
                number, at[axis] = divmod(number, size)
            wanted = tuple(self._at[a][at[a]] for a in "TZC")
            return self._paste(planes.get(wanted, []), rect, area, scale)

        whole = Rect(0, 0, height, width)
        return Source(
            outer_axes=self._outer,
            outer_shape=sizes,
            inner_axes="YXS" if self._samples > 1 else "YX",
            inner_shape=(height, width, self._samples)[: 3 if self._samples > 1 else 2],
            dtype=self._dtype,
            read_page=lambda number: read_part(number, whole),
            read_part=read_part,
            files=(self._path,),
        )

    def _paste(self, tiles: Sequence[_Tile], rect: Rect, area: Rect, scale: int) -> Array:
        """The part `rect` of a plane; 0 where no tile lies, and where several do, the last."""
        result = np.zeros((rect.height, rect.width, self._samples), self._dtype)
        for tile in tiles:
            y, x = (tile.place.y - area.y) // scale, (tile.place.x - area.x) // scale
            place = Rect(y, x, *tile.stored)
            part = place.intersect(rect)
            if part.empty:
                continue
            pixels = self._pixels(tile)
            inside = Rect(part.y - place.y, part.x - place.x, part.height, part.width)
            target = Rect(part.y - rect.y, part.x - rect.x, part.height, part.width)
            result[target.slices] = pixels[inside.slices]
        return result

    def _pixels(self, tile: _Tile) -> Array:
        """(height, width, samples) of a tile, red first."""
        kept = self._kept.get(tile.position)
        if kept is not None:
            self._kept.move_to_end(tile.position)
            return kept
        pixels = _decoded(self._path, self._file, tile)
        self._kept[tile.position] = pixels
        self._kept_bytes += pixels.nbytes
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels


def _decoded(path: Path, file: BinaryIO, tile: _Tile) -> Array:
    head = _segment(file, tile.position, b"ZISRAWSUBBLOCK", 16 + _ENTRY.size)
    metadata, _, length = struct.unpack_from("<iiq", head)
    dimensions = _ENTRY.unpack_from(head, 16)[6]
    if min(metadata, length) < 0 or not 0 < dimensions <= _MOST_DIMENSIONS:
        raise _damaged(path)
    used = 16 + _ENTRY.size + dimensions * _DIMENSION.size
    file.seek(tile.position + 32 + max(256, used) + metadata)
    shape = (*tile.stored, tile.samples)
    size = int(np.prod(shape, dtype=object)) * tile.dtype.itemsize
    refuse_absurd(path.name, size, max(length, path.stat().st_size))
    if length > path.stat().st_size:
        raise _damaged(path)
    data = file.read(length)
    if tile.compression == _NONE:
        pixels = np.frombuffer(data, tile.dtype, count=size // tile.dtype.itemsize)
    elif tile.compression == _JPEG:
        pixels = imagecodecs.jpeg_decode(data)
    elif tile.compression == _JPEG_XR:
        pixels = imagecodecs.jpegxr_decode(data)
    elif tile.compression == _LZW:
        pixels = np.frombuffer(imagecodecs.lzw_decode(data, out=size), tile.dtype)
    elif tile.compression in (_ZSTD, _ZSTD_1):
        pixels = _from_zstd(data, size, tile)
    else:
        raise StackError(
            f"{path.name} is compressed in a way that Limn cannot read (number "
            f"{tile.compression}): save it with another compression, or as OME-TIFF."
        )
    pixels = pixels.reshape(shape)
    if pixels.dtype.itemsize != tile.dtype.itemsize:
        raise _damaged(path)
    # The decoder of JPEG XR knows the order, and has put red first.
    has_blue_first = tile.samples >= 3 and tile.compression != _JPEG_XR
    return pixels[..., [2, 1, 0, 3][: tile.samples]] if has_blue_first else pixels


def _from_zstd(data: bytes, size: int, tile: _Tile) -> Array:
    """Zstandard; with a header, perhaps all low bytes before all high ones."""
    apart = False
    if tile.compression == _ZSTD_1:
        length = data[0]
        apart = length >= 3 and data[1] == 1 and bool(data[2] & 1)
        data = data[length:]
    values = np.frombuffer(imagecodecs.zstd_decode(data, out=size), np.uint8)
    if apart:
        values = np.ascontiguousarray(values.reshape(2, -1).T).reshape(-1)
    return values.view(tile.dtype)


# --- what the XML says ---------------------------------------------------------------------------


class _Said:
    """The XML; what is missing or nonsense in it is left out."""

    def __init__(self, text: bytes) -> None:
        try:
            self._root = ElementTree.fromstring(text.rstrip(b"\0") or b"<none/>")
        except (ElementTree.ParseError, ValueError, LookupError):
            self._root = ElementTree.Element("none")

    def scene_name(self, scene: tuple[tuple[str, int], ...]) -> str:
        """What the scene is called."""
        at = dict(scene)
        number = at.pop("S", 0)
        name = f"Scene {number + 1}"
        for found in self._root.iterfind(".//Information/Image/Dimensions/S/Scenes/Scene"):
            if found.get("Index") == str(number) and found.get("Name"):
                name = str(found.get("Name"))[:200]
        others = [f"{axis} {value + 1}" for axis, value in sorted(at.items()) if value]
        return ", ".join([name, *others])

    def describe(self, source: Source) -> None:
        """Pixel size, time interval, names and colours of the channels."""
        known: dict[str, float] = {}
        for distance in self._root.iterfind(".//Scaling/Items/Distance"):
            value = positive(distance.findtext("Value"))
            if value is not None:
                known[str(distance.get("Id"))] = value * _METRES_TO_MICROMETRES
        source.pixel_size = pixel_size(known.get("Z"), known.get("Y"), known.get("X"))
        source.z_stated = "Z" in known
        dimensions = ".//Information/Image/Dimensions"
        interval = self._root.findtext(f"{dimensions}/T/Positions/Interval/Increment")
        source.time_interval = positive(interval)
        channels = self._root.findall(f"{dimensions}/Channels/Channel")
        shown = self._root.findall(".//DisplaySetting/Channels/Channel")
        if len(channels) == source.size("C") and source.size("S") == 1:
            like = shown if len(shown) == len(channels) else channels
            pairs = list(zip(channels, like, strict=True))
            names = [str(c.get("Name") or d.get("Name") or "")[:200] for c, d in pairs]
            if all(names):
                source.channel_names = tuple(names)
            colors = (c.findtext("Color") or d.findtext("Color") for c, d in pairs)
            source.channel_colors = tuple(map(_color, colors))


def _color(text: str | None) -> str:
    """A colour #AARRGGBB or #RRGGBB as #rrggbb."""
    digits = (text or "").lstrip("#")[-6:]
    try:
        return f"#{int(digits, 16):06x}" if len(digits) == 6 else ""
    except ValueError:
        return ""


def _damaged(path: Path) -> StackError:
    return StackError(f"{path.name} is a damaged or incomplete CZI file: copy it again.")
