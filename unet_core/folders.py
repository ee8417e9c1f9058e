"""Folders that are one image: numbered files as time points, slices or channels, and the like.

Files belong together whose names differ in numbers only. Where a number stands behind a T, Z or C
(`cell_T003_Z01.tif`) that is its axis; else one number counts time points, unless another axis is
chosen.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_core.axes import UNKNOWN
from unet_core.reading import Contents, Series
from unet_core.stack import (
    FOLDER_SUFFIXES,
    IMAGE_SUFFIXES,
    Array,
    Source,
    Stack,
    StackError,
    fingerprint_of,
    open_stack,
    why,
)
from unet_core.tiling import Rect

_NUMBER = re.compile(r"\d+")
_AXIS = re.compile(r"(?:^|[^a-z])(t|time|frame|z|slice|c|ch|channel)[-_ ]?$", re.IGNORECASE)
_AXES = {"t": "T", "f": "T", "z": "Z", "s": "Z", "c": "C"}
_CHECKED = 100
"""So many files are looked at when the folder is opened; the others when they are read."""
_OPEN = 8
_LISTED = 100_000
_DEPTH = 3


class _Sequence(NamedTuple):
    """Files whose names differ in numbers only, in order. axes: one for each of `shape`."""

    name: str
    files: tuple[Path, ...]
    axes: str
    shape: tuple[int, ...]


def read_folder(folder: Path) -> Contents:
    """The numbered images in a folder: one image for each pattern of names. Raises StackError."""
    sequences = _sequences(folder)
    if not sequences:
        raise StackError(
            f"{folder.name} is a folder without numbered images: choose a file inside it."
        )
    series = [_series(folder, one) for one in sequences]
    return Contents(folder, tuple(series))


def fingerprint(folder: Path) -> str:
    """A short text that changes when the image that a folder is changes: its files' names and
    sizes, and some of their content. Files that do not belong to the image do not count.

    Raises OSError.
    """
    from unet_core.zarr_reader import image_folder

    digest = hashlib.blake2b(digest_size=16)
    if image_folder(folder) is not None:
        files = list(_files_below(folder))
    else:
        files = [file for one in _sequences(folder)[:1] for file in one.files]
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\0".encode())
    some = files if len(files) < 4 else [files[0], files[len(files) // 2], files[-1]]
    for file in some:
        digest.update(fingerprint_of(file).encode())
    return digest.hexdigest()


def is_image(folder: Path) -> bool:
    """Whether a folder can be opened as an image. Raises OSError."""
    from unet_core.zarr_reader import image_folder

    return image_folder(folder) is not None or bool(_sequences(folder))


def size_of(path: Path) -> int:
    """Bytes of a file; 0 of a folder, which has no size of its own."""
    return 0 if path.is_dir() else path.stat().st_size


def images_inside(folder: Path) -> list[Path]:
    """What is an image by its name, 9 before 10; nothing hidden. Raises OSError."""
    kinds = (*IMAGE_SUFFIXES, *FOLDER_SUFFIXES)
    found = [p for p in folder.iterdir() if p.suffix.lower() in kinds]
    return sorted(
        (p for p in found if not p.name.startswith(".")), key=lambda path: natural(path.name)
    )


def natural(name: str) -> list[tuple[int, str]]:
    """So that image 9 comes before image 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(p) if p.isdecimal() else -1, p) for p in parts]


def _files_below(folder: Path) -> Iterator[Path]:
    """The files of an OME-Zarr, without its labels, in order, and not more than can be had soon."""
    left = _LISTED // 20

    def below(place: Path, depth: int) -> Iterator[Path]:
        nonlocal left
        with os.scandir(place) as entries:
            found = sorted(entries, key=lambda entry: natural(entry.name))
        for entry in found:
            left -= 1
            if left < 0:
                return
            if entry.is_dir(follow_symlinks=False):
                if depth < _DEPTH and entry.name != "labels":
                    yield from below(Path(entry.path), depth + 1)
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)

    yield from below(folder, 0)


def _sequences(folder: Path) -> list[_Sequence]:
    """What the folder holds, the longest first. A single image is no sequence."""
    groups: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _LISTED:
                break
            suffix = Path(entry.name).suffix.lower()
            image = suffix in IMAGE_SUFFIXES and suffix not in FOLDER_SUFFIXES
            if image and not entry.name.startswith(".") and _NUMBER.search(entry.name):
                with suppress(OSError):
                    if entry.is_file():
                        groups[_NUMBER.sub("#", Path(entry.name).stem) + suffix].append(entry.name)
    found = [
        _sequence(folder, pattern, sorted(names, key=natural))
        for pattern, names in groups.items()
        if len(names) > 1
    ]
    return sorted(found, key=lambda one: (-len(one.files), one.name))


def _sequence(folder: Path, pattern: str, names: list[str]) -> _Sequence:
    """Tell which numbers count, and what."""
    files = tuple(folder / name for name in names)
    numbers = np.array([[int(n[-18:]) for n in _NUMBER.findall(Path(name).stem)] for name in names])
    counting = [i for i in range(numbers.shape[1]) if len(np.unique(numbers[:, i])) > 1]
    starts = [match.start() for match in _NUMBER.finditer(names[0])]
    axes = ""
    for i in counting:
        said = _AXIS.search(names[0][: starts[i]])
        axes += _AXES[said[1][0].lower()] if said else UNKNOWN
    shape = tuple(len(np.unique(numbers[:, i])) for i in counting)
    complete = len(np.unique(numbers[:, counting], axis=0)) == len(names) == np.prod(shape)
    known = axes.replace(UNKNOWN, "")
    if len(counting) > 1 and not (complete and len(set(axes)) == len(axes) and known == axes):
        axes, shape = UNKNOWN, (len(names),)
    if not counting:  # 1.tif and 01.tif
        axes, shape = UNKNOWN, (len(names),)
    return _Sequence(pattern, files, axes, shape)


def _series(folder: Path, sequence: _Sequence) -> Series:
    """One image of all the files; the first tells what the others must be."""
    first = open_stack(sequence.files[0])
    with first:
        own, shape, dtype = first.axes, first.shape, first.dtype
    inner = [n for a, n in zip("TZCYX", shape, strict=True) if a in own]
    usual = "T" if sequence.axes == UNKNOWN and "T" not in own else sequence.axes
    _check(folder, sequence, first)

    def opened(letters: str) -> Source:
        return _source(sequence, letters, first)

    return Series(
        sequence.name,
        sequence.axes + own,
        (*sequence.shape, *inner),
        dtype,
        opened,
        usual=None if UNKNOWN in usual else usual + own,
    )


def _check(folder: Path, sequence: _Sequence, first: Stack) -> None:
    """Name the odd file out. Looks at all of few files, and at some of many."""
    count = len(sequence.files)
    for i in np.unique(np.linspace(0, count - 1, _CHECKED).round().astype(int)).tolist():
        with open_stack(sequence.files[i]) as stack:
            _check_alike(folder.name, stack, first)


def _check_alike(folder: str, stack: Stack, first: Stack) -> None:
    if (stack.shape, stack.dtype) != (first.shape, first.dtype):
        raise StackError(
            f"{stack.path.name} in {folder} is not like {first.path.name}: "
            f"{_words(stack)}, not {_words(first)}; take it out of the folder."
        )


def _words(stack: Stack) -> str:
    return f"{' x '.join(map(str, stack.shape))} {stack.dtype}"


def _source(sequence: _Sequence, letters: str, first: Stack) -> Source:
    """Pages are the files' planes, with all their channels."""
    outer = letters[: len(sequence.shape)]
    own = [(a, n) for a, n in zip("TZ", first.shape, strict=False) if a in first.axes]
    if set(outer) & set(first.axes):
        raise StackError(
            f"The files of {sequence.name} have the axes {first.axes}, so that they can not be "
            f"{outer} together: choose another axis."
        )
    stacks: dict[int, Stack] = {}
    planes = first.shape[0] * first.shape[1]

    def stack_of(number: int) -> tuple[Stack, int, int]:
        file, plane = divmod(number, planes)
        if file not in stacks:
            while len(stacks) >= _OPEN:
                stacks.pop(next(iter(stacks))).close()
            try:
                stacks[file] = open_stack(sequence.files[file])
            except OSError as error:
                raise StackError(
                    f"{sequence.files[file].name} cannot be read: {why(error)}."
                ) from error
            _check_alike(sequence.files[file].parent.name, stacks[file], first)
        return stacks[file], *divmod(plane, first.shape[1])

    def read_page(number: int) -> Array:
        stack, t, z = stack_of(number)
        return stack.plane(t, z)

    def read_part(number: int, rect: Rect) -> Array:
        stack, t, z = stack_of(number)
        return stack.region(t, z, rect)

    def close() -> None:
        while stacks:
            stacks.popitem()[1].close()

    channels = first.shape[2] > 1 or "C" not in outer
    return Source(
        outer_axes=outer + "".join(a for a, _ in own),
        outer_shape=(*sequence.shape, *(n for _, n in own)),
        inner_axes="CYX" if channels else "YX",
        inner_shape=first.shape[2:] if channels else first.shape[3:],
        dtype=first.dtype,
        read_page=read_page,
        read_part=read_part if first.is_large else None,
        stated_axes="".join(a for a in outer if a in "TZC"),
        pixel_size=first.pixel_size,
        z_stated=first.z_stated,
        time_interval=first.time_interval,
        channel_names=first.channel_names if channels else (),
        channel_colors=first.channel_colors if channels else (),
        is_rgb=first.is_rgb,
        files=sequence.files,
        close=close,
    )
