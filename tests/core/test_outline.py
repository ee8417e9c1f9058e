"""Outlines of labels for display."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unet_core.outline import outline

planes = arrays(
    np.uint32,
    st.tuples(st.integers(1, 15), st.integers(1, 15)),
    elements=st.sampled_from([0, 1, 2, 258, 70_000]),
    fill=st.just(0),
)


@given(planes)
def test_border_pixels_have_another_value_beside_them(labels):
    rim = np.pad(labels, 1)
    border = outline(rim)
    assert border.shape == labels.shape
    for y, x in np.ndindex(labels.shape):
        around = rim[y, x + 1], rim[y + 2, x + 1], rim[y + 1, x], rim[y + 1, x + 2]
        expected = labels[y, x] != 0 and any(value != labels[y, x] for value in around)
        assert border[y, x] == expected


@given(planes, st.integers(1, 7), st.integers(1, 7))
def test_tiles_join_to_the_whole(labels, height, width):
    rim = np.pad(labels, 1)
    joined = np.zeros(labels.shape, bool)
    for y in range(0, labels.shape[0], height):
        for x in range(0, labels.shape[1], width):
            joined[y : y + height, x : x + width] = outline(rim[y : y + height + 2,
                                                                x : x + width + 2])  # fmt: skip
    assert (joined == outline(rim)).all()


def test_touching_objects_have_an_outline_each():
    labels = np.zeros((12, 20), np.uint8)
    labels[2:10, 2:10], labels[2:10, 10:18] = 2, 3
    border = outline(np.pad(labels, 1))
    assert border[2:10, 9].all()
    assert border[2:10, 10].all()
    assert not border[3:9, 3:9].any()
    assert not border[labels == 0].any()
