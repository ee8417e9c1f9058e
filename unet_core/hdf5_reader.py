"""HDF5: each array that may be an image is one to choose from.

A stranger's file must lead to no other file: links other than hard ones are not followed, and
arrays that lie in other files (external or virtual ones) are refused.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from unet_core.axes import UNKNOWN, collapsed
from unet_core.reading import Contents, Series
from unet_core.sliced import Index, may_be_image, sliced_source
from unet_core.stack import Array, Source, StackError, refuse_absurd

_MOST_DATASETS = 1000
_MOST_GROUPS = 10_000
_MOST_NAMES = 100_000
_USUAL_NAMES = ("raw", "data", "image", "exported_data", "img")
_CHUNK_CACHE = 16 * 2**20
_CHUNK = 2**30


def read_hdf5(path: Path) -> Contents:
    """The images of an HDF5 file: the one with a usual name first, then the largest."""
    file = h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE)
    try:
        found = [one for one in _datasets(file) if may_be_image(one.shape, one.dtype)]
        safe = [one for one in found if not _lies_elsewhere(one)]
        if found and not safe:
            raise StackError(
                f"{path.name} keeps its pixels in other files, which Limn does not follow: save "
                "the image as one file."
            )
        if not safe:
            raise StackError(f"{path.name} is an HDF5 file without an array that is an image.")
        safe.sort(key=_rank)
        size = path.stat().st_size
        return Contents(path, tuple(_series(path, file, one, size) for one in safe), file.close)
    except BaseException:
        file.close()
        raise


def _datasets(file: h5py.File) -> Iterator[h5py.Dataset]:
    """All datasets that hard links lead to, each once, those near the root first."""
    groups: deque[h5py.Group] = deque([file])
    seen = {h5py.h5o.get_info(file.id).addr}
    left, datasets = _MOST_NAMES, 0
    while groups and len(seen) < _MOST_GROUPS and datasets < _MOST_DATASETS:
        group = groups.popleft()
        for name in group:
            left -= 1
            if left < 0:
                return
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                datasets += 1
                yield item


def _lies_elsewhere(dataset: h5py.Dataset) -> bool:
    if dataset.external:
        return True
    return bool(dataset.is_virtual) and any(s.file_name != "." for s in dataset.virtual_sources())


def _rank(dataset: h5py.Dataset) -> tuple[int, int, str]:
    last = dataset.name.rpartition("/")[2].lower()
    usual = _USUAL_NAMES.index(last) if last in _USUAL_NAMES else len(_USUAL_NAMES)
    return usual, -dataset.size, dataset.name


def _series(path: Path, file: h5py.File, dataset: h5py.Dataset, file_size: int) -> Series:
    name = dataset.name.strip("/")
    shape = tuple(dataset.shape)
    axes = _axes(dataset)
    letters = collapsed(path.name, axes or UNKNOWN * len(shape), shape)

    def opened(letters: str) -> Source:
        _check_filters(path.name, dataset)
        chunk = dataset.chunks
        if chunk is not None:
            itemsize = dataset.dtype.itemsize
            refuse_absurd(path.name, int(np.prod(chunk, dtype=object)) * itemsize, file_size)

        def read(index: Index) -> Array:
            return np.asarray(dataset[index])

        source = sliced_source(letters, shape, dataset.dtype, read)
        plane = int(np.prod(source.inner_shape, dtype=object)) * dataset.dtype.itemsize
        refuse_absurd(path.name, plane, file_size)
        source.pixel_size, source.z_stated = _pixel_size(dataset, letters)
        source.close = file.close
        return source

    return Series(name, letters, shape, dataset.dtype, opened)


def _check_filters(name: str, dataset: h5py.Dataset) -> None:
    """Raise StackError where the pixels are compressed with what this computer does not have."""
    said = dataset.id.get_create_plist()
    for number in range(said.get_nfilters()):
        code, _, _, label = said.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            known = label.decode("ascii", "replace")[:40] or f"number {code}"
            raise StackError(
                f"{name} is compressed in a way that Limn cannot read ({known}): save it with "
                "gzip, or as OME-TIFF."
            )


def _axes(dataset: h5py.Dataset) -> str | None:
    """A letter for each dimension, if the file names them: ilastik's tags, or HDF5's labels."""
    letters: list[str] = []
    tags = dataset.attrs.get("axistags")
    try:
        if tags is not None:
            letters = [str(tag["key"]) for tag in json.loads(tags)["axes"]]
        elif "DIMENSION_LABELS" in dataset.attrs:
            letters = [dim.label for dim in dataset.dims]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    found = "".join(letter[:1].upper() for letter in letters)
    wrong = len(found) != dataset.ndim or len(set(found)) != len(found)
    return None if wrong or not {"Y", "X"} <= set(found) <= set("TZCYX") else found


def _pixel_size(dataset: h5py.Dataset, axes: str) -> tuple[tuple[float, float, float] | None, bool]:
    """(size in micrometres, whether z is stated), as ilastik and PlantSeg write it: z, y, x."""
    stated: Any = dataset.attrs.get("element_size_um")
    try:
        sizes = [float(n) for n in np.ravel(stated)]
    except (TypeError, ValueError):
        return None, False
    if not all(np.isfinite(sizes)) or any(n <= 0 for n in sizes):
        return None, False
    if len(sizes) == 3:
        return (sizes[0], sizes[1], sizes[2]), True
    return ((1.0, sizes[0], sizes[1]), False) if len(sizes) == 2 else (None, False)
