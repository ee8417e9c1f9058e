"""OME-Zarr from the disk, 0.1 to 0.5: chunks, several sizes, channels with names and colours.

A stranger's folder must lead nowhere else and run nothing: paths stay inside it, and only codecs
that turn bytes into numbers are accepted (Zarr 2 knows one that unpickles).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from unet_core.axes import UNKNOWN, collapsed
from unet_core.reading import Contents, Series, distinct
from unet_core.sliced import Index, is_numeric, may_be_image, sliced_source
from unet_core.stack import Array, Source, StackError, refuse_absurd
from unet_core.units import MICROMETRES, SECONDS, pixel_size, positive

_MARKS = (".zattrs", ".zgroup", ".zarray", "zarr.json")
_CODECS = {
    "blosc", "zstd", "zlib", "gzip", "bz2", "lzma", "lz4", "delta", "shuffle", "bytes",
    "transpose", "crc32c", "sharding_indexed",
}  # fmt: skip
_DTYPE = re.compile(r"[<>|=]?[biuf][1248]|bool|u?int(8|16|32|64)|float(16|32|64)")
_MOST_TEXT = 64 * 2**20
_MOST_SERIES = 500
_MOST_CHUNK = 2**30
_COUNTED = 2000
_ABOVE = 12


class _Array(NamedTuple):
    """An array on the disk, as its metadata describes it."""

    folder: Path
    zarr_format: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]


def image_folder(path: Path) -> Path | None:
    """The folder of the Zarr image that `path` is or lies in; None where it is none.

    Labels and single sizes of an image lead to the image.
    """
    start = path if path.is_dir() else path.parent
    inside = any(place.suffix == ".zarr" for place in (start, *start.parents))
    if not (inside or path.name in _MARKS or (start == path and _is_marked(path))):
        return None
    plain: Path | None = None
    for place in [start, *start.parents][:_ABOVE]:
        if _is_marked(place):
            said = _attributes(place)
            is_image = any(key in said for key in ("multiscales", "bioformats2raw.layout", "plate"))
            if is_image and "image-label" not in said and place.parent.name != "labels":
                return place
            plain = plain or (None if "labels" in said or is_image else place)
        if place.suffix == ".zarr":
            break
    return plain


def read_zarr(folder: Path) -> Contents:
    """The images of an OME-Zarr, or the arrays of another Zarr folder. Raises StackError."""
    try:
        series = list(_images(folder))[:_MOST_SERIES]
    except StackError:
        raise
    except Exception as error:
        raise StackError(f"{folder.name} is a damaged or unknown kind of Zarr image.") from error
    if not series:
        raise StackError(f"{folder.name} is a Zarr folder without an image.")
    names = distinct([one.name for one in series])
    named = [
        Series(name, one.axes, one.shape, one.dtype, one.open)
        for name, one in zip(names, series, strict=True)
    ]
    return Contents(folder, tuple(named))


def _images(folder: Path) -> Iterator[Series]:
    said = _attributes(folder)
    if "multiscales" in said:
        for one in said["multiscales"]:
            yield _multiscale(folder, folder, one, said)
    elif "plate" in said:
        for well in said["plate"]["wells"][:_MOST_SERIES]:
            place = _within(folder, well["path"])
            for image in _attributes(place).get("well", {}).get("images", []):
                yield from _image_below(folder, f"{well['path']}/{image['path']}")
    elif "bioformats2raw.layout" in said:
        for name in sorted((p.name for p in folder.iterdir() if p.name.isdecimal()), key=int):
            yield from _image_below(folder, name)
    elif (array := _array(folder, folder)) is not None:
        yield _plain(folder, folder.stem, array)
    else:
        for place in sorted(folder.iterdir()):
            array = _array(folder, place) if place.is_dir() else None
            if array is not None and may_be_image(array.shape, array.dtype):
                yield _plain(folder, place.name, array)


def _image_below(root: Path, path: str) -> Iterator[Series]:
    folder = _within(root, path)
    said = _attributes(folder)
    for one in said.get("multiscales", []):
        series = _multiscale(root, folder, one, said)
        name = path if series.name in ("", "/", folder.name) else series.name
        yield Series(name, series.axes, series.shape, series.dtype, series.open)


def _plain(root: Path, name: str, array: _Array) -> Series:
    axes = collapsed(root.name, UNKNOWN * len(array.shape), array.shape)
    return Series(name, axes, array.shape, array.dtype, lambda letters: _source(array, letters))


def _multiscale(root: Path, folder: Path, said: Mapping[str, Any], all_said: Any) -> Series:
    """One image, which lies there at several sizes."""
    datasets = said["datasets"]
    array = _array(root, _within(folder, datasets[0]["path"]))
    if array is None:
        raise StackError(f"{root.name} lacks the array {datasets[0]['path']}: copy it again.")
    axes = collapsed(root.name, _axes(said, len(array.shape)), array.shape)

    def opened(letters: str) -> Source:
        source = _source(array, letters)
        for dataset in datasets[1:]:
            with suppress(StackError):
                smaller = _array(root, _within(folder, dataset["path"]))
                if smaller is not None and _is_reduced(array, smaller, letters, source):
                    source.reduced += (_source(smaller, letters),)
        scale = _scale(said, datasets[0], len(letters))
        _describe(source, said, scale, letters)
        _name_channels(source, all_said)
        return source

    return Series(str(said.get("name") or folder.stem), axes, array.shape, array.dtype, opened)


def _is_reduced(array: _Array, smaller: _Array, axes: str, source: Source) -> bool:
    last = source.reduced[-1] if source.reduced else source
    pairs = list(zip(axes, array.shape, smaller.shape, strict=False))
    return (
        len(smaller.shape) == len(array.shape)
        and smaller.dtype == array.dtype
        and all(full == less for a, full, less in pairs if a not in "YX")
        and all(0 < less < last.size(a) for a, _, less in pairs if a in "YX")
    )


def _source(array: _Array, letters: str) -> Source:
    import zarr  # takes a while

    stored = zarr.open_array(array.folder, mode="r", zarr_format=array.zarr_format)  # type: ignore[arg-type]
    if tuple(stored.shape) != array.shape or stored.dtype != array.dtype:
        raise StackError(f"{array.folder.name} has changed while it was opened.")

    def read(index: Index) -> Array:
        return np.asarray(stored[index])

    source = sliced_source(letters, array.shape, array.dtype, read)
    plane = math.prod(source.inner_shape) * array.dtype.itemsize
    if plane > _MOST_CHUNK:  # only then are the files worth counting
        refuse_absurd(array.folder.parent.name, plane, _bytes_in(array.folder))
    return source


def _bytes_in(folder: Path) -> int:
    """The bytes of all files; of very many files, so many as to doubt nothing."""
    total, count = 0, 0
    for place, _, names in os.walk(folder):
        for name in names:
            count += 1
            if count > _COUNTED:
                return 2**62
            with suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total


# --- what is said about them ---------------------------------------------------------------------


def _is_marked(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in _MARKS)


def _json(file: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none. ValueError where it is damaged."""
    try:
        if file.stat().st_size > _MOST_TEXT:
            raise ValueError(f"{file.name} is too long")
        said = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except RecursionError as error:
        raise ValueError(f"{file.name} is nested too deeply") from error
    if not isinstance(said, dict):
        raise ValueError(f"{file.name} is no object")
    return said


def _attributes(folder: Path) -> dict[str, Any]:
    """The attributes of a group or array; those of OME, where they are apart."""
    try:
        said = _json(folder / "zarr.json").get("attributes") or _json(folder / ".zattrs")
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict):
        return {}
    ome = said.get("ome")
    return {**said, **ome} if isinstance(ome, dict) else said


def _within(folder: Path, path: Any) -> Path:
    """A place below `folder`. Raises StackError where it is not."""
    parts = PurePosixPath(str(path)).parts
    place = folder.joinpath(*parts)
    odd = any(part in ("..", "/", "\\") or ":" in part or "\\" in part for part in parts)
    if odd or not parts or not place.resolve().is_relative_to(folder.resolve()):
        raise StackError(
            f"{folder.name} keeps its pixels outside of its folder, which Limn does not follow."
        )
    return place


def _array(root: Path, folder: Path) -> _Array | None:
    """The array that a folder is; None where it is none. Raises StackError."""
    said, zarr_format = _json(folder / "zarr.json"), 3
    if not said:
        said, zarr_format = _json(folder / ".zarray"), 2
    if zarr_format == 3 and said.get("node_type") != "array" or not said:
        return None
    if zarr_format == 3:
        kind, codecs = said["data_type"], list(_codec_names(said["codecs"]))
        codecs += ["a storage transformer"] if said.get("storage_transformers") else []
        chunks = said["chunk_grid"]["configuration"]["chunk_shape"]
    else:
        kind, chunks = said["dtype"], said["chunks"]
        used = [said.get("compressor"), *(said.get("filters") or [])]
        codecs = [str(codec["id"]) for codec in used if codec is not None]
    strange = [codec for codec in codecs if codec not in _CODECS]
    if strange:
        raise StackError(
            f"{root.name} is stored in a way that Limn cannot read ({strange[0][:40]}): save it "
            "with another compression."
        )
    shape = tuple(int(n) for n in said["shape"])
    if not isinstance(kind, str) or not _DTYPE.fullmatch(kind) or not is_numeric(np.dtype(kind)):
        raise StackError(f"{root.name} has values of an unusual type, which Limn cannot show.")
    dtype = np.dtype(kind)
    if not shape or min(shape) < 1 or len(shape) > 8 or len(chunks) != len(shape):
        raise StackError(f"{root.name} is damaged: an array has the shape {shape[:8]}.")
    chunks = tuple(int(n) for n in chunks)
    if min(chunks) < 1 or math.prod(chunks) * dtype.itemsize > _MOST_CHUNK:
        raise StackError(f"{root.name} is cut into pieces too large to be read.")
    return _Array(folder, zarr_format, shape, chunks, dtype)


def _codec_names(codecs: Any) -> Iterator[str]:
    """The names of all codecs, those within shards included."""
    for codec in codecs:
        name = codec if isinstance(codec, str) else codec["name"]
        yield str(name)
        if name == "sharding_indexed":
            configuration = codec["configuration"]
            yield from _codec_names(configuration["codecs"])
            yield from _codec_names(configuration.get("index_codecs", []))


def _axes(said: Mapping[str, Any], count: int) -> str:
    """A letter for each dimension, "?" where it has another name."""
    named = said.get("axes")
    if not isinstance(named, list) or len(named) != count:
        return "TCZYX" if count == 5 else UNKNOWN * count  # what the oldest versions mean
    letters = ""
    for axis in named:
        name = axis.get("name") if isinstance(axis, dict) else axis
        letter = str(name)[:1].upper()
        kind = axis.get("type") if isinstance(axis, dict) else None
        letter = {"time": "T", "channel": "C"}.get(str(kind), letter)
        letters += letter if letter in "TZCYX" and letter not in letters else UNKNOWN
    return letters


def _scale(said: Mapping[str, Any], dataset: Mapping[str, Any], count: int) -> list[float]:
    """How far it is from one value to the next along each dimension."""
    scale = [1.0] * count
    for place in (dataset, said):
        for step in place.get("coordinateTransformations") or []:
            factors = step.get("scale") if isinstance(step, dict) else None
            if isinstance(factors, list) and len(factors) == count:
                scale = [a * (positive(b) or 1.0) for a, b in zip(scale, factors, strict=True)]
    return scale


def _describe(source: Source, said: Mapping[str, Any], scale: list[float], axes: str) -> None:
    """Pixel size and time interval, where their units are named."""
    named = said.get("axes")
    if not isinstance(named, list) or len(named) != len(axes):
        return
    known: dict[str, float] = {}
    for letter, axis, step in zip(axes, named, scale, strict=True):
        unit = str(axis.get("unit", "")).lower() if isinstance(axis, dict) else ""
        factor = (SECONDS if letter == "T" else MICROMETRES).get(unit)
        if factor is not None:
            known[letter] = step * factor
    source.pixel_size = pixel_size(known.get("Z"), known.get("Y"), known.get("X"))
    source.z_stated = "Z" in known
    source.time_interval = known.get("T")


def _name_channels(source: Source, said: Mapping[str, Any]) -> None:
    """Names and colours, as OMERO shows them."""
    omero = said.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list) or len(channels) != source.size("C"):
        return
    described = [channel if isinstance(channel, dict) else {} for channel in channels]
    names = [str(channel.get("label", ""))[:200] for channel in described]
    if all(names):
        source.channel_names = tuple(names)
    colors = [str(channel.get("color", "")) for channel in described]
    source.channel_colors = tuple(
        f"#{color.lower()}" if re.fullmatch("[0-9A-Fa-f]{6}", color) else "" for color in colors
    )
    if source.dtype == np.uint8 and source.channel_colors == ("#ff0000", "#00ff00", "#0000ff"):
        source.is_rgb = True
