"""Border weights: equation 2 of the U-Net paper, number for number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unet_core.border_weights import NEGLIGIBLE, border_term, border_weights, class_weights
from unet_core.objects import classes_of_objects


def brute_force(objects: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """Equation 2 pixel by pixel: every distance to every border pixel of every cell."""
    classes = classes_of_objects(objects)
    height, width = objects.shape
    borders: dict[int, list[tuple[int, int]]] = {}
    for y, x in np.argwhere(classes == 2):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width:
                neighbour = objects[v, u] if classes[v, u] == 2 else 0
                if neighbour != objects[y, x]:
                    borders.setdefault(int(objects[y, x]), []).append((y, x))
                    break
    result = np.zeros(objects.shape)
    labelled = [np.sum(classes == value) for value in (1, 2)]
    present = sum(count > 0 for count in labelled)
    for y, x in np.argwhere(objects > 0):
        result[y, x] = sum(labelled) / (present * labelled[classes[y, x] - 1])
        distances = sorted(
            min(np.hypot(y - v, x - u) for v, u in border) for border in borders.values()
        )
        if len(distances) > 1:
            term = np.exp(-(sum(distances[:2]) ** 2) / (2 * sigma**2))
            result[y, x] += w0 * term if term > NEGLIGIBLE else 0
    return result


@settings(max_examples=40, deadline=None)
@given(
    objects=arrays(
        np.int32,
        st.tuples(st.integers(1, 12), st.integers(1, 14)),
        # Mostly background, or one cell would touch the next everywhere.
        elements=st.sampled_from([0, 1, 1, 1, 1, 1, 2, 3, 70000]),
    ),
    w0=st.floats(0.5, 20),
    sigma=st.floats(0.5, 6),
)
def test_equals_the_formula_on_scattered_pixels(objects, w0, sigma):
    expected = brute_force(objects, w0, sigma)
    found = border_weights(objects, w0, sigma)
    assert found.dtype == np.float32
    # Where the term is just as large as what counts as nothing, either is right.
    assert np.allclose(found, expected, rtol=1e-4, atol=1.01 * NEGLIGIBLE * w0)


@settings(max_examples=12, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 27), st.integers(0, 27), st.integers(2, 9), st.integers(2, 9)),
        max_size=6,
    ),
    background=st.sampled_from([0, 1]),
)
def test_equals_the_formula_on_cells(cells, background):
    """Rectangles that touch, overlap, reach the image's edges, or leave the gap unlabelled."""
    objects = np.full((28, 28), background)
    for number, (y, x, height, width) in enumerate(cells, start=2):
        objects[y : y + height, x : x + width] = number
    found = border_weights(objects)
    assert np.allclose(found, brute_force(objects, 10, 5), rtol=1e-4, atol=1.01e-2)
    assert (found[objects == 0] == 0).all()


def test_a_narrow_gap_weighs_more_than_a_wide_one():
    largest = []
    for gap in range(1, 25):
        objects = np.ones((40, 60), np.uint16)
        objects[10:30, 5:20] = 2
        objects[10:30, 20 + gap : 45] = 3
        term = border_term(objects)[20, 20 : 20 + gap]
        assert np.allclose(term, term[0])  # across the gap d1 + d2 stays the same
        largest.append(term.max())
        exact = 10 * np.exp(-((gap + 1) ** 2) / 50)
        assert term.max() == pytest.approx(exact if exact > 10 * NEGLIGIBLE else 0, rel=1e-5)
    assert all(
        narrow > wide or wide == 0 for narrow, wide in zip(largest, largest[1:], strict=False)
    )
    assert largest[0] > 9
    assert largest[-1] == 0


def test_cells_that_touch_are_parted_by_heavy_background():
    objects = np.ones((30, 40), np.uint16)
    objects[5:25, 5:20] = 2
    objects[5:25, 20:35] = 3
    weights = border_weights(objects)
    line = weights[15, 19:21]  # background between the cells, though both are labelled as cells
    assert (classes_of_objects(objects)[15, 19:21] == 1).all()
    assert (line > 8).all()
    assert weights[15, 12] < 2


def test_one_cell_has_no_border_term_however_many_pieces_it_has():
    objects = np.ones((30, 30), np.uint16)
    objects[5:10, 5:25] = 2
    objects[12:20, 5:25] = 2
    assert not border_term(objects).any()
    assert len(np.unique(border_weights(objects))) == 2  # the two class weights, nothing else


def test_classes_are_balanced_over_labelled_pixels_only():
    objects = np.zeros((20, 20), np.uint16)
    objects[:3] = 1
    objects[3:4, :5] = 2
    weights = border_weights(objects)
    assert weights[objects > 0].mean() == pytest.approx(1)
    assert weights[objects == 1].sum() == pytest.approx(weights[objects == 2].sum())
    assert not weights[objects == 0].any()
    assert class_weights({1: 300, 2: 100}) == pytest.approx({1: 2 / 3, 2: 2})


@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_plane_of_one_value_is_no_special_case(value):
    weights = border_weights(np.full((9, 9), value, np.uint8))
    assert (weights == (value > 0)).all()
