"""Tile geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unet_core.tiling import Rect, cover


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    core=st.sampled_from([16, 32, 64, 128]),
    halo=st.sampled_from([0, 16, 48]),
)
def test_every_pixel_belongs_to_exactly_one_core(height, width, core, halo):
    covered = np.zeros((height, width), int)
    for tile in cover(height, width, core=core, halo=halo, stride=16):
        covered[tile.core.slices] += 1
        assert tile.window.y % 16 == tile.window.x % 16 == 0
        assert tile.window.height % 16 == tile.window.width % 16 == 0
        assert tile.window.expand(-halo).intersect(tile.core) == tile.core
        assert tile.crop.y >= halo
        assert tile.crop.x >= halo
    assert (covered == 1).all()


def test_tiles_in_view_come_nearest_first_and_no_others():
    view = Rect(100, 200, 40, 40)
    tiles = cover(400, 400, core=64, halo=0, stride=16, view=view)
    assert all(not t.core.intersect(view).empty for t in tiles)
    centres = [(t.core.y + 32 - 120) ** 2 + (t.core.x + 32 - 220) ** 2 for t in tiles]
    assert centres == sorted(centres)
    seen = np.zeros((400, 400), bool)
    for tile in tiles:
        seen[tile.core.slices] = True
    assert seen[view.slices].all()


def test_tiles_off_the_stride_are_refused():
    with pytest.raises(ValueError, match="stride"):
        cover(100, 100, core=50, halo=16, stride=16)


rects = st.builds(Rect, *[st.integers(-50, 50)] * 2, *[st.integers(0, 60)] * 2)


@given(rects, rects)
def test_rectangles_meet_and_join_like_sets(one, other):
    def pixels(r):
        return {(y, x) for y in range(r.y, r.bottom) for x in range(r.x, r.right)}

    met = one.intersect(other)
    assert (set() if met.empty else pixels(met)) == pixels(one) & pixels(other)
    assert pixels(one) | pixels(other) <= pixels(one.union(other))
