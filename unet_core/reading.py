"""How a file is read: which of its images, and what the axes mean where the file does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from unet_core.stack import Source

_LONGEST = 1000
"""A name in a project that is longer than this is no series of ours."""


@dataclass(frozen=True)
class Reading:
    """What had to be chosen to open an image; the default reading where nothing is given.

    series  the name of the image in the file (series, scene, dataset), or its number from 1
    axes    a letter of T, Z, C, S (samples of a colour), Y, X for each dimension, in the file's
            order; dimensions of size 1 may be left out
    """

    series: str | None = None
    axes: str | None = None

    def stored(self) -> dict[str, str]:
        """As JSON for a project: empty for the default."""
        said = {"series": self.series, "axes": self.axes}
        return {key: value for key, value in said.items() if value is not None}

    @classmethod
    def restored(cls, stored: object) -> Reading:
        """The inverse of `stored`, None included; TypeError where it makes no sense."""
        if stored is None:
            return cls()
        if not isinstance(stored, Mapping):
            raise TypeError("a reading is an object")
        values = [stored.get(key) for key in ("series", "axes")]
        if any(v is not None and (not isinstance(v, str) or len(v) > _LONGEST) for v in values):
            raise TypeError("series and axes are short texts")
        return cls(*values)


@dataclass(frozen=True)
class Series:
    """One image of a file, before it is opened.

    axes: a letter for each dimension, "?" where the file does not name it. `open` takes the axes
    all named; what it raises becomes a StackError.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    open: Callable[[str], Source]
    auxiliary: bool = False
    """A label, an overview, a thumbnail: not what the file was opened for."""
    usual: str | None = None
    """The default axes, where these are not those of `axes.default_axes`."""


@dataclass(frozen=True)
class Contents:
    """All images of a file; the first is the default. `close` lets go of it if none is opened."""

    path: Path
    """The file, or the folder that the image is, if a part of it was named."""
    series: tuple[Series, ...]
    close: Callable[[], None] = field(default=lambda: None)


def distinct(names: list[str]) -> list[str]:
    """The names, with numbers where one occurs twice, so that each means one image."""
    result: list[str] = []
    for name in names:
        wanted, number = name, 2
        while wanted in result:
            wanted, number = f"{name} ({number})", number + 1
        result.append(wanted)
    return result
