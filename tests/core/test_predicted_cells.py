"""One predicted cell is the same whether its surroundings or the whole plane are looked at."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from app.layers import PredictionLayer
from app.regions import _part_around, _predicted
from unet_core.objects import split_objects
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 3.0, 6.0]),
    st.booleans(),
    st.sampled_from([60, 128, 150]),
)
@settings(deadline=None, max_examples=60)
def test_a_cell_is_the_same_as_in_the_whole_plane(seed, size, with_interior, threshold):
    random = np.random.default_rng(seed)
    height, width = random.integers(20, 150, 2).tolist()
    rough = np.stack([gaussian_filter(random.normal(size=(height, width)), size) for _ in range(3)])
    maps = np.clip(128 + 60 * rough / rough.std(), 0, 255).astype(np.uint8)
    layer = PredictionLayer()
    layer.set_plane(PLANE, height, width)
    layer.set_threshold(threshold)
    layer.put(PLANE, Rect(0, 0, height, width), maps[:2], maps[2] if with_interior else None)
    plane = Rect(0, 0, height, width)
    classes = _predicted(layer, 2, plane)
    objects = split_objects(classes, layer.read_interior(plane), 0)
    for _ in range(5):
        y, x = int(random.integers(height)), int(random.integers(width))
        part = _part_around(layer, 2, plane, (y, x))
        if classes[y, x] == 0:
            assert part.empty
            continue
        seen = _predicted(layer, 2, part)
        assert np.array_equal(seen, classes[part.slices])
        alone = split_objects(seen, layer.read_interior(part), 0)
        mine = np.zeros(classes.shape, bool)
        mine[part.slices] = alone == alone[y - part.y, x - part.x]
        assert np.array_equal(mine, objects == objects[y, x])
