"""Objects: connected in the plane and through z, numbered once, measured in the right units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.synthetic import write_imagej
from unet_core.objects import (
    ObjectNumbers,
    classes_of_objects,
    count_objects,
    interior_target,
    label_plane,
    measure,
)
from unet_core.stack import PlaneIndex, open_stack


def number(classes: np.ndarray, min_size: int) -> np.ndarray:
    """Number objects of a (T, Z, Y, X) class stack plane by plane."""
    planes = [PlaneIndex(t, z) for t in range(classes.shape[0]) for z in range(classes.shape[1])]
    labels = [label_plane(classes[p]) for p in planes]
    numbers = ObjectNumbers()
    for plane, own in zip(planes, labels, strict=True):
        numbers.add(plane, own, classes[plane])
    found = numbers.finish(min_size)
    result = np.stack([numbers.number_of(i, own) for i, own in enumerate(labels)])
    assert result.max(initial=0) == found
    return result.reshape(classes.shape)


@settings(max_examples=40)
@given(seed=st.integers(0, 9999), depth=st.integers(1, 5), min_size=st.integers(0, 12))
def test_streaming_through_planes_equals_labelling_the_volume(seed, depth, min_size):
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(2, depth, 20, 24)), (0, 0.7, 1.2, 1.2))
    classes = np.where(noise > 0.1, 2, np.where(noise < -0.15, 3, 1)).astype(np.uint8)
    found = number(classes, min_size)
    for t in range(2):
        expected = np.zeros_like(found[t])
        for value in (2, 3):
            parts, count = ndimage.label(classes[t] == value)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)
            for part in range(1, count + 1):
                if sizes[part] >= max(1, min_size):
                    expected[parts == part] = expected.max() + 1
        assert ((found[t] > 0) == (expected > 0)).all()
        pairs = np.unique(np.stack((found[t].ravel(), expected.ravel())), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    if found[0].any() and found[1].any():  # no number in two time points
        assert found[0].max() < found[1][found[1] > 0].min()


def test_planes_without_objects_cause_no_shift():
    classes = np.ones((1, 4, 6, 6), np.uint8)
    classes[0, 1, 0, 0] = classes[0, 3, 5, 5] = 2
    found = number(classes, 0)
    assert found[0, 1, 0, 0] == 1
    assert found[0, 3, 5, 5] == 2
    assert np.count_nonzero(found) == 2


def test_diagonal_neighbours_and_other_classes_stay_apart():
    plane = np.array([[2, 1, 3], [1, 2, 3], [0, 0, 2]], np.uint8)
    assert label_plane(plane).max() == 4
    assert count_objects(plane, min_size=2) == 1


def test_touching_cells_get_a_line_of_background():
    objects = np.zeros((9, 12), np.int32)
    objects[2:7, 1:6], objects[2:7, 6:11] = 2, 3
    objects[0] = 1
    classes = classes_of_objects(objects)
    assert (classes[0] == 1).all()
    assert (classes[2:7, 5:7] == 1).all()
    assert (classes[2:7, 1:5] == 2).all()
    assert (classes[8] == 0).all(), "unlabelled stays unlabelled"
    assert label_plane(classes).max() == 2


def disc(shape, y, x, radius):
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def test_interior_target_is_1_in_the_middle_of_every_object_and_falls_to_its_border():
    objects = np.zeros((60, 90), np.uint16)
    objects[disc(objects.shape, 30, 25, 20)] = 7
    objects[disc(objects.shape, 30, 52, 7)] = 60_000  # touches the large one
    objects[10, 70:80] = 3  # one pixel wide
    interior = interior_target(objects)
    assert interior.dtype == np.float32
    assert not interior[objects == 0].any()
    for y, x in ((30, 25), (30, 52), (10, 75)):
        assert interior[y, x] == 1
    assert interior[30, 44:47].max() < 0.2, "low on both sides of the line between touching cells"
    along = interior[30, 25:45]
    assert (np.diff(along) < 0).all()
    assert along[10] == pytest.approx(0.5, abs=0.05), "linear in the distance"


@given(seed=st.integers(0, 9999))
@settings(max_examples=25)
def test_interior_target_knows_each_object_by_itself(seed):
    """Equal to what each object alone gives, whatever its number, and in 0…1."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(40, 50)), 3)
    objects = np.digitize(noise, [-0.05, 0, 0.05]) * 2**40
    interior = interior_target(objects)
    assert 0 <= interior.min() <= interior.max() <= 1
    for value in set(np.unique(objects)) - {0}:
        own = objects == value
        assert np.allclose(interior[own], interior_target(own.astype(np.uint8))[own])


def test_interior_target_of_a_plane_without_borders():
    assert not interior_target(np.zeros((8, 9), np.int32)).any()
    assert (interior_target(np.full((8, 9), 5)) == 1).all()


def rows_of(path, numbers, name="cells.tif"):
    with open_stack(path) as stack:
        for table in measure(lambda p: numbers[p], stack, name):
            for row in table.rows:
                yield dict(zip(table.header, row, strict=True))


def test_measurements_of_a_square(tmp_path):
    image = np.zeros((2, 3, 20, 30), np.uint16)  # T, C
    image[:, 1, 5:9, 10:15] = 100
    image[:, 1, 5, 10] = 300
    path = write_imagej(tmp_path / "cells.tif", image, "TCYX", pixel_size=(1, 0.5, 0.5))
    numbers = np.zeros((2, 1, 20, 30), np.uint16)
    numbers[0, 0, 5:9, 10:15] = 7
    numbers[1, 0, 0:2, 0:3] = 8
    first, second = rows_of(path, numbers)
    assert (first["image"], first["frame"], first["label"]) == ("cells.tif", 0, 7)
    assert first["area_px"] == 20
    assert first["area_um2"] == pytest.approx(5.0)
    assert (first["centroid_y_px"], first["centroid_x_px"]) == (6.5, 12.0)
    assert (first["centroid_y_um"], first["centroid_x_um"]) == (3.25, 6.0)
    assert [first[f"bbox_{k}_px"] for k in ("y_min", "x_min", "y_end", "x_end")] == [5, 10, 9, 15]
    assert first["channel1_mean"] == 0
    assert first["channel2_mean"] == pytest.approx(110)
    assert first["channel2_max"] == 300
    assert first["channel2_integrated"] == pytest.approx(2200)
    assert (first["touches_border"], second["touches_border"]) == (0, 1)
    assert second["frame"] == 1


def test_an_object_through_z_is_one_row_with_a_volume(tmp_path):
    path = write_imagej(
        tmp_path / "z.tif", np.ones((3, 10, 10), np.uint8), "ZYX", pixel_size=(2, 0.5, 0.5)
    )
    numbers = np.zeros((1, 3, 10, 10), np.uint8)
    numbers[0, :2, 4:6, 4:6] = 1
    (row,) = rows_of(path, numbers)
    assert row["volume_px"] == 8
    assert row["volume_um3"] == pytest.approx(8 * 0.5)
    assert row["centroid_z_um"] == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_huge_numbers_need_no_huge_memory(tmp_path, dtype):
    path = write_imagej(tmp_path / "h.tif", np.ones((10, 10), np.uint8), "YX")
    largest = np.iinfo(dtype).max
    numbers = np.ones((1, 1, 10, 10), dtype)  # nothing is 0
    numbers[..., 4:6, 4:6] = largest
    first, second = rows_of(path, numbers)
    assert (first["label"], first["area_px"]) == (1, 96)
    assert (second["label"], second["area_px"]) == (largest, 4)
    assert second["channel1_mean"] == 1


def test_an_image_without_objects_gives_no_rows(tmp_path):
    path = write_imagej(tmp_path / "e.tif", np.ones((10, 10), np.uint8), "YX")
    assert list(rows_of(path, np.zeros((1, 1, 10, 10), np.uint8))) == []
