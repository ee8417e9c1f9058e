"""LIF (Leica): the series of a file, plane by plane, with the package liffile.

A plane is what the microscope scanned in one go. Where that is X and Z, the rows are the depths,
and what is stepped through (y, or time) takes the place that is left.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from unet_core.axes import UNKNOWN, collapsed
from unet_core.extras import package_for
from unet_core.reading import Contents, Series, distinct
from unet_core.stack import Array, Source, StackError, refuse_absurd
from unet_core.units import MICROMETRES, SECONDS, pixel_size, positive

_DESCRIPTION = "./Data/Image/ImageDescription"
_DIMENSION_IDS = {"1": "X", "2": "Y", "3": "Z", "4": "T"}
_COLORS = {
    "red": "#ff0000", "green": "#00ff00", "blue": "#0000ff", "cyan": "#00ffff",
    "magenta": "#ff00ff", "yellow": "#ffff00", "gray": "#ffffff", "grey": "#ffffff",
}  # fmt: skip


def read_lif(path: Path) -> Contents:
    """The series of a LIF file. Raises StackError."""
    liffile = package_for(path, "a LIF file (Leica)", "liffile")
    try:
        file = liffile.LifFile(path)
    except Exception as error:
        raise StackError(f"{path.name} is a damaged or unknown kind of LIF file.") from error
    try:
        # Other files of Leica's name files beside them, which a stranger must not.
        if file.type != liffile.LifFileType.LIF:
            raise StackError(f"{path.name} belongs to a set of files: save it as one LIF file.")
        series = [one for image in file.images if (one := _series(path, file, image)) is not None]
        if not series:
            raise StackError(f"{path.name} is a LIF file without an image that Limn can show.")
        names = distinct([one.name for one in series])
        named = (
            Series(name, one.axes, one.shape, one.dtype, one.open)
            for name, one in zip(names, series, strict=True)
        )
        return Contents(path, tuple(named), file.close)
    except BaseException as error:
        file.close()
        if isinstance(error, StackError) or not isinstance(error, Exception):
            raise
        raise StackError(f"{path.name} is a damaged or unknown kind of LIF file.") from error


def _series(path: Path, file: Any, image: Any) -> Series | None:
    """One series; None of what is no image: events in time, empty ones, a single line."""
    if image.is_flim or image.memory_block.frames or image.memory_block.offset < 0:
        return None
    sizes = dict(image.sizes)
    frame = tuple(image.frames.frame_dims)
    lines = [dim for dim in frame if dim != "S"]
    if len(lines) != 2 or min(sizes.values(), default=0) < 1:
        return None
    steps = [dim for dim in sizes if dim not in frame]
    letters = {lines[0]: "Y", lines[1]: "X", "S": "S"}
    for dim in steps:
        wanted = {"T": "T", "Z": "Z", "C": "C", "Y": "Z", "λ": "C"}.get(dim, UNKNOWN)
        letters[dim] = UNKNOWN if wanted in letters.values() else wanted
    order = [*steps, *frame]
    shape = tuple(sizes[dim] for dim in order)
    axes = collapsed(path.name, "".join(letters[dim] for dim in order), shape)
    dtype = image.dtype
    refuse_absurd(
        path.name, math.prod(sizes[dim] for dim in frame) * dtype.itemsize, path.stat().st_size
    )

    def read_page(number: int) -> Array:
        at: dict[str, int] = {}
        for dim in steps[::-1]:
            number, at[dim] = divmod(number, sizes[dim])
        pixels: Array = image.frame(**at)
        return pixels

    def opened(axes: str) -> Source:
        outer, inner = axes[: len(steps)], axes[len(steps) :]
        source = Source(
            outer_axes=outer,
            outer_shape=shape[: len(steps)],
            inner_axes=inner,
            inner_shape=shape[len(steps) :],
            dtype=dtype.newbyteorder("="),
            read_page=read_page,
            is_rgb="S" in inner and sizes.get("S") in (3, 4),
            has_alpha=sizes.get("S") == 4,
            files=(path,),
            close=file.close,
        )
        _describe(source, image.xml_element, dict(zip(order, axes, strict=True)))
        return source

    return Series(str(image.path)[:500], axes, shape, dtype, opened)


def _describe(source: Source, xml: Any, letters: dict[str, str]) -> None:
    """Pixel size, time between planes, names and colours of channels, as far as they are stated."""
    known: dict[str, float] = {}
    for dimension in xml.findall(f"{_DESCRIPTION}/Dimensions/DimensionDescription"):
        letter = letters.get(_DIMENSION_IDS.get(dimension.get("DimID"), ""), "")
        # The length is that from the first to the last of them.
        length = positive(dimension.get("Length"))
        count = positive(dimension.get("NumberOfElements"))
        unit = str(dimension.get("Unit", "")).strip().lower()
        factor = (SECONDS if letter == "T" else MICROMETRES).get(unit)
        if length is not None and count is not None and count > 1 and factor is not None:
            known[letter] = length / (count - 1) * factor
    source.pixel_size = pixel_size(known.get("Z"), known.get("Y"), known.get("X"))
    source.z_stated = "Z" in known
    source.time_interval = known.get("T")
    channels = xml.findall(f"{_DESCRIPTION}/Channels/ChannelDescription")
    if len(channels) == source.size("C"):
        names = [channel.get("LUTName", "") for channel in channels]
        source.channel_colors = tuple(_COLORS.get(name.lower(), "") for name in names)
