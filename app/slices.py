"""Cuts through a stack from the side, XZ and YZ: read plane by plane, away from the GUI thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.display import ChannelDisplay
from app.layers import label_indices
from app.loader import to_display
from unet_core.annotation import Annotation
from unet_core.labels import Labels
from unet_core.stack import PlaneIndex, Stack
from unet_core.tiling import Rect

MAX_SLICES = 1024
MAX_SIDE = 2048
"""A cut shows so many slices, and so many pixels of a row or column, at most: beyond that every
second, third, … one. This bounds the memory, and on a screen nobody would see more."""

SHOW_SECONDS = 0.1
"""While slices are being read, what has come so far is given at most this often."""

PAUSE_SECONDS = 0.001
"""Between two planes, so that a plane which the window wants can be read in between."""


class Grid(NamedTuple):
    """Every how many-th slice, row and column is in the cuts."""

    z: int
    y: int
    x: int

    @classmethod
    def of(cls, shape: Sequence[int]) -> Grid:
        """The finest that is allowed for a stack of `shape` (T, Z, C, Y, X)."""
        depth, height, width = shape[1], shape[3], shape[4]
        return cls(-(-depth // MAX_SLICES), -(-height // MAX_SIDE), -(-width // MAX_SIDE))


@dataclass(frozen=True)
class CutRequest:
    """Cut through `(y, x)` at time `plane.t`; slices near `plane.z` are wanted first."""

    stack: Stack
    plane: PlaneIndex
    y: int
    x: int
    displays: tuple[ChannelDisplay, ...]
    annotation: Annotation
    """A snapshot."""


@dataclass(frozen=True)
class Cut:
    """One cut, ready for the screen. Of XZ the rows are slices, of YZ the columns."""

    image: NDArray[np.uint8]
    """`(height, width)` grey or `(height, width, 3)` red, green, blue; black where not read yet."""
    labels: NDArray[np.uint8]
    """`(height, width)`: where in a label table each pixel finds its colour."""


@dataclass(frozen=True)
class Cuts:
    """The answer to a request, or what there is of it so far."""

    request: CutRequest
    grid: Grid
    xz: Cut
    yz: Cut
    share: float
    """0 to 1: how much has been read."""


class _Pixels:
    """The raw intensities of one cut, as far as they have been read."""

    def __init__(self, stack: Stack, t: int, at: int, slices: int, length: int) -> None:
        self._of = stack, t, at
        self.values: NDArray[Any] = np.zeros((stack.shape[2], slices, length), stack.dtype)
        """`(C, Z, X)` or `(C, Z, Y)`."""
        self.known = np.zeros(slices, bool)

    def is_of(self, stack: Stack, t: int, at: int) -> bool:
        return self._of[0] is stack and self._of[1:] == (t, at)

    def shown(self, request: CutRequest) -> NDArray[np.uint8]:
        """`(Z, X)` or `(Z, X, 3)`, in the colours in force."""
        image = to_display(self.values, request.displays, is_rgb=request.stack.is_rgb)
        image[~self.known] = 0
        return image


class CutReader:
    """Answers one request at a time, and remembers what it has read of the last one.

    So another contrast or another label reads nothing, and of a point that has moved along one
    axis only the other cut is read.
    """

    def __init__(self) -> None:
        self._xz: _Pixels | None = None
        self._yz: _Pixels | None = None

    def steps(self, request: CutRequest) -> Iterator[Cuts | None]:
        """Read one plane a step. Yields None, now and then what there is, and at last everything.

        Raises StackError where the image cannot be read.
        """
        stack, (t, z) = request.stack, request.plane
        grid = Grid.of(stack.shape)
        slices = range(0, stack.shape[1], grid.z)
        row, column = Rect(request.y, 0, 1, stack.shape[4]), Rect(0, request.x, stack.shape[3], 1)
        row_of_plane, column_of_plane = (slice(None), *row.slices), (slice(None), *column.slices)
        xz_labels = _labels(request, slices, row, grid.x)
        yz_labels = _labels(request, slices, column, grid.y)
        if self._xz is None or not self._xz.is_of(stack, t, request.y):
            self._xz = _Pixels(stack, t, request.y, *xz_labels.shape)
        if self._yz is None or not self._yz.is_of(stack, t, request.x):
            self._yz = _Pixels(stack, t, request.x, *yz_labels.shape)
        xz, yz = self._xz, self._yz

        def so_far() -> Cuts:
            share = float((xz.known & yz.known).mean())
            along_z = np.ascontiguousarray(yz.shown(request).swapaxes(0, 1))
            return Cuts(
                request,
                grid,
                Cut(xz.shown(request), xz_labels),
                Cut(along_z, np.ascontiguousarray(yz_labels.T)),
                share,
            )

        missing = np.flatnonzero(~(xz.known & yz.known)).tolist()
        last = time.monotonic()
        for n in sorted(missing, key=lambda n: abs(slices[n] - z)):
            yield None
            plane = stack.lazy_plane(t, slices[n])
            xz.values[:, n] = plane[row_of_plane][:, 0, :: grid.x]
            yz.values[:, n] = plane[column_of_plane][:, :: grid.y, 0]
            xz.known[n] = yz.known[n] = True
            time.sleep(PAUSE_SECONDS)
            if time.monotonic() - last > SHOW_SECONDS:
                yield so_far()
                last = time.monotonic()
        yield so_far()


def _labels(request: CutRequest, slices: Sequence[int], line: Rect, step: int) -> NDArray[np.uint8]:
    """Label indices `(Z, length)` of every `step`-th pixel of `line` in each of `slices`."""
    t = request.plane.t
    length = len(range(0, line.height * line.width, step))
    labels: Labels = np.zeros((len(slices) + 2, length + 2), np.uint32)  # with the rim of `outline`
    labelled = set(request.annotation.labelled_planes())
    for n, z in enumerate(slices):
        if (t, z) in labelled:
            read = request.annotation.read_labels(PlaneIndex(t, z), line)
            labels[n + 1, 1:-1] = read.ravel()[::step]
    return label_indices(labels)
