"""ND2 (Nikon): the positions of a file, plane by plane, with the package nd2."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from unet_core.axes import UNKNOWN, collapsed
from unet_core.extras import package_for
from unet_core.reading import Contents, Series, distinct
from unet_core.sliced import check_values
from unet_core.stack import Array, Source, StackError, refuse_absurd
from unet_core.units import pixel_size, positive


def read_nd2(path: Path) -> Contents:
    """The positions of an ND2 file. Raises StackError."""
    nd2 = package_for(path, "an ND2 file (Nikon)", "nd2")
    try:
        file = nd2.ND2File(path)
    except Exception as error:
        raise StackError(f"{path.name} is a damaged or unknown kind of ND2 file.") from error
    try:
        check_values(path.name, np.dtype(file.dtype))
        sizes = dict(file.sizes)
        loops = [axis for axis in sizes if axis not in "CYXS"]
        positions = range(sizes.get("P", 1))
        names = distinct([_position_name(file, i) for i in positions])
        series = [_series(path, file, i, name, loops) for i, name in enumerate(names)]
        return Contents(path, tuple(series), file.close)
    except BaseException as error:
        file.close()
        if isinstance(error, StackError) or not isinstance(error, Exception):
            raise
        raise StackError(f"{path.name} is a damaged or unknown kind of ND2 file.") from error


def _series(path: Path, file: Any, position: int, name: str, loops: list[str]) -> Series:
    """One position, with all its times and slices. `loops`: what numbers the frames, in order."""
    sizes, dtype = dict(file.sizes), np.dtype(file.dtype)
    steps = [axis for axis in loops if axis != "P"]
    frame = [axis for axis in "CYXS" if axis in sizes]
    letters = [axis if axis in "TZ" else UNKNOWN for axis in steps] + frame
    shape = tuple(sizes[axis] for axis in [*steps, *frame])
    axes = collapsed(path.name, "".join(letters), shape)
    inner_shape = tuple(sizes[axis] for axis in frame)
    refuse_absurd(path.name, math.prod(inner_shape) * dtype.itemsize, path.stat().st_size)

    def read_page(number: int) -> Array:
        at = {"P": position}
        for axis in steps[::-1]:
            number, at[axis] = divmod(number, sizes[axis])
        index = 0
        for axis in loops:
            index = index * sizes[axis] + at[axis]
        return np.asarray(file.read_frame(index)).reshape(inner_shape)

    def opened(letters: str) -> Source:
        source = Source(
            outer_axes=letters[: len(steps)],
            outer_shape=shape[: len(steps)],
            inner_axes=letters[len(steps) :],
            inner_shape=inner_shape,
            dtype=dtype.newbyteorder("="),
            read_page=read_page,
            is_rgb=sizes.get("S") in (3, 4),
            has_alpha=sizes.get("S") == 4,
            files=(path,),
            close=file.close,
        )
        _describe(source, file)
        return source

    return Series(name, axes, shape, dtype, opened)


def _position_name(file: Any, number: int) -> str:
    for loop in file.experiment:
        if loop.type == "XYPosLoop" and number < len(loop.parameters.points):
            name = loop.parameters.points[number].name
            if name:
                return str(name)[:200]
    return f"Position {number + 1}"


def _describe(source: Source, file: Any) -> None:
    """Pixel size, time interval, channels; what is missing or nonsense is left out."""
    with suppress(Exception):  # of a package that believes the file
        loops = [loop for loop in file.experiment if loop.type == "TimeLoop"]
        seconds = [positive(loop.parameters.periodMs / 1000) for loop in loops]
        source.time_interval = seconds[0] if seconds else None
    with suppress(Exception):
        voxel = file.voxel_size()
        calibrated = file.metadata.channels[0].volume.axesCalibrated
        if calibrated[0] and calibrated[1]:
            z = voxel.z if calibrated[2] and "Z" in file.sizes else None
            source.pixel_size, source.z_stated = pixel_size(z, voxel.y, voxel.x), z is not None
    with suppress(Exception):
        channels = [channel.channel for channel in file.metadata.channels]
        if len(channels) == source.size("C"):
            source.channel_names = tuple(str(channel.name)[:200] for channel in channels)
            colors = (channel.color for channel in channels)
            source.channel_colors = tuple(f"#{c.r:02x}{c.g:02x}{c.b:02x}" for c in colors)
