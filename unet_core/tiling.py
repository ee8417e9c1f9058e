"""Tile geometry: integers only, no pixels.

A plane is covered by *cores* that touch without overlapping; what a core shows is predicted from
the larger *window* around it, the core plus a halo on every side. Windows may reach outside the
plane: the reader mirrors the plane there. Core origins are multiples of the network's stride, so
that pooling sees the same groups of pixels whatever the tile size, which is half of what makes
tiled equal whole (the other half is that the halo covers the receptive field).
"""

from __future__ import annotations

from typing import NamedTuple


class Rect(NamedTuple):
    """A rectangle `(y, x, height, width)` in pixels of the full-resolution plane."""

    y: int
    x: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The first row below the rectangle."""
        return self.y + self.height

    @property
    def right(self) -> int:
        """The first column to the right of the rectangle."""
        return self.x + self.width

    @property
    def empty(self) -> bool:
        return self.height <= 0 or self.width <= 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in a `(Y, X)` array."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def intersect(self, other: Rect) -> Rect:
        """What both cover; `.empty` where they do not meet."""
        # Written out: while painting it is asked many times for each move of the mouse.
        y, x, height, width = self
        top, left, its_height, its_width = other
        bottom, right = y + height, x + width
        its_bottom, its_right = top + its_height, left + its_width
        y, x = (y if y > top else top), (x if x > left else left)
        height = (bottom if bottom < its_bottom else its_bottom) - y
        width = (right if right < its_right else its_right) - x
        return Rect(y, x, height if height > 0 else 0, width if width > 0 else 0)

    def union(self, other: Rect) -> Rect:
        """The smallest rectangle around both; an empty one adds nothing."""
        if self.empty:
            return other
        if other.empty:
            return self
        y, x = min(self.y, other.y), min(self.x, other.x)
        bottom, right = max(self.bottom, other.bottom), max(self.right, other.right)
        return Rect(y, x, bottom - y, right - x)

    def expand(self, by: int) -> Rect:
        """The rectangle with `by` pixels more on every side."""
        return Rect(self.y - by, self.x - by, self.height + 2 * by, self.width + 2 * by)


BAND = 2**21
"""So many pixels, about, make a band: enough for whole-array steps, and little memory."""


def bands_of(area: Rect) -> list[Rect]:
    """`area` from top to bottom in bands of about `BAND` pixels.

    They begin at multiples of a power of two, at least 16, so that few label tiles lie in two.
    """
    if area.empty:
        return []
    rows: int = 2 ** max(4, (BAND // area.width).bit_length() - 1)
    tops = range(area.y - area.y % rows, area.bottom, rows)
    return [Rect(y, area.x, rows, area.width).intersect(area) for y in tops]


class Tile(NamedTuple):
    """One unit of prediction work."""

    core: Rect
    """What the tile contributes to the plane; inside the plane."""

    window: Rect
    """What the network sees: `core` grown to whole strides, plus the halo. May leave the plane."""

    @property
    def crop(self) -> Rect:
        """Where `core` lies inside `window`."""
        return Rect(
            self.core.y - self.window.y,
            self.core.x - self.window.x,
            self.core.height,
            self.core.width,
        )


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `value`."""
    return -(-value // multiple) * multiple


def cover(
    height: int, width: int, *, core: int, halo: int, stride: int, view: Rect | None = None
) -> list[Tile]:
    """Tiles that cover a plane of `height` × `width`, each of its pixels exactly once.

    Parameters
    ----------
    core
        Side of a tile's core in pixels, a multiple of `stride`.
    halo
        Context on every side of the core, a multiple of `stride`.
    view
        Only tiles that meet this rectangle, the ones nearest to its centre first.
        Without it all tiles, row by row.

    """
    if core % stride or halo % stride:
        raise ValueError(f"core {core} and halo {halo} must be multiples of the stride {stride}")
    tiles = []
    plane = Rect(0, 0, height, width)
    wanted = plane if view is None else view.intersect(plane)
    if wanted.empty:
        return []
    for y in range(wanted.y - wanted.y % core, wanted.bottom, core):
        for x in range(wanted.x - wanted.x % core, wanted.right, core):
            kept = Rect(y, x, core, core).intersect(plane)
            grown = Rect(y, x, round_up(kept.height, stride), round_up(kept.width, stride))
            tiles.append(Tile(kept, grown.expand(halo)))
    if view is None:
        return tiles
    centre_y, centre_x = view.y + view.height / 2, view.x + view.width / 2

    def distance(tile: Tile) -> float:
        dy = tile.core.y + tile.core.height / 2 - centre_y
        dx = tile.core.x + tile.core.width / 2 - centre_x
        return dy * dy + dx * dx

    return sorted(tiles, key=distance)
