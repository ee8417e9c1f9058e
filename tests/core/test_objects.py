"""Objects: connected in the plane and through z, numbered once, measured in the right units."""

import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.synthetic import write_imagej
from unet_core import tiling
from unet_core.measure import measure
from unet_core.objects import (
    ObjectNumbers,
    classes_of_objects,
    count_objects,
    interior_levels,
    interior_target,
    known_interior,
    label_plane,
    split_area,
    split_objects,
)
from unet_core.stack import PlaneIndex, open_stack
from unet_core.steps import result_of
from unet_core.tiling import Rect


def number(classes: np.ndarray, min_size: int) -> np.ndarray:
    """Number objects of a (T, Z, Y, X) class stack plane by plane."""
    planes = [PlaneIndex(t, z) for t in range(classes.shape[0]) for z in range(classes.shape[1])]
    labels = [label_plane(classes[p]) for p in planes]
    numbers = ObjectNumbers(cut=False)
    for plane, own in zip(planes, labels, strict=True):
        numbers.add(plane, own, classes[plane])
    found = numbers.finish(min_size)
    result = np.stack([numbers.number_of(i, own) for i, own in enumerate(labels)])
    assert result.max(initial=0) == found
    return result.reshape(classes.shape)


def looking_at(classes, interior):
    return lambda r: (classes[r.slices], None if interior is None else interior[r.slices])


def counted(classes, interior, min_size):
    look = looking_at(classes, interior)
    return result_of(count_objects(look, Rect(0, 0, *classes.shape), min_size))


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
    assert counted(plane, None, 2) == 1


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


def test_the_interior_is_known_of_background_and_of_cells_labelled_to_their_ends():
    objects = np.zeros((40, 60), np.uint16)
    objects[2:38, 2:58] = 1
    objects[5:15, 5:15] = 2  # touches the next one
    objects[5:15, 15:25] = 3
    objects[20:30, 30:58] = 4  # ends where nothing is labelled
    known = known_interior(objects)
    cells = np.where(np.isin(objects, (2, 3)), objects, 0)
    surely = (objects > 0) & (objects < 4)
    assert np.array_equal(known[surely], 1 + interior_target(cells)[surely])
    assert not known[~surely].any()


def test_interior_target_of_a_plane_without_borders():
    assert not interior_target(np.zeros((8, 9), np.int32)).any()
    assert (interior_target(np.full((8, 9), 5)) == 1).all()


def cells(shape, *discs):
    """Numbered discs (y, x, radius), the later over the earlier, and their class map."""
    objects = np.zeros(shape, np.int32)
    for number, (y, x, radius) in enumerate(discs, start=1):
        objects[disc(shape, y, x, radius)] = number
    return objects, np.where(objects > 0, 2, 1).astype(np.uint8)


def agreement(found, truth):
    """Smallest intersection over union of a true object with its best match."""
    return min(
        max(
            ((found == label) & (truth == cell)).sum() / ((found == label) | (truth == cell)).sum()
            for label in np.unique(found[truth == cell])
        )
        for cell in set(np.unique(truth)) - {0}
    )


TOUCHING = ((30, 25, 16), (32, 52, 12), (55, 42, 14), (32, 69, 6))


@pytest.mark.parametrize("keep", [lambda x: x, interior_levels], ids=["float", "uint8"])
def test_touching_cells_come_apart(keep):
    truth, classes = cells((80, 90), *TOUCHING)
    assert label_plane(classes).max() == 1
    found = split_objects(classes, keep(interior_target(truth)), 10)
    assert found.dtype == np.int32
    assert found.max() == 4
    assert ((found > 0) == (classes > 1)).all()
    assert agreement(found, truth) > 0.9
    assert counted(classes, keep(interior_target(truth)), 10) == 4


@given(seed=st.integers(0, 9999))
@settings(max_examples=30)
def test_a_poor_interior_does_not_hinder_and_other_classes_never_mix(seed):
    """Half as high, blurred and noisy, and free to say anything outside the cells."""
    random = np.random.default_rng(seed)
    truth, classes = cells((80, 90), *TOUCHING)
    noise = ndimage.gaussian_filter(random.normal(size=truth.shape), 2)
    interior = 0.6 * interior_target(truth) + 0.04 * noise / noise.std()
    interior = np.where(truth > 0, np.clip(interior, 0, 1), random.random(truth.shape))
    found = split_objects(classes, interior.astype(np.float32), 10)
    assert 3 <= found.max() <= 5
    assert agreement(found, truth * (truth < 4)) > 0.7
    classes[truth == 2] = 3
    found = split_objects(classes, interior.astype(np.float32), 10)
    for label in range(1, found.max() + 1):
        assert len(np.unique(classes[found == label])) == 1


def test_one_irregular_body_stays_whole():
    """Elongated, bent and with a protrusion: its own interior has humps, but no deep valleys."""
    body = np.zeros((120, 120), bool)
    for i, angle in enumerate(np.linspace(0, 2.5, 60)):
        body |= disc(
            body.shape, 60 - 40 * np.sin(angle), 60 - 40 * np.cos(angle), 9 + 2 * (i % 20 > 9)
        )
    body |= ndimage.binary_dilation(disc(body.shape, 30, 20, 1), iterations=6)
    classes = np.where(body, 2, 1).astype(np.uint8)
    random = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(random.normal(size=body.shape), 2)
    interior = np.clip(interior_target(body.astype(int)) + 0.05 * noise / noise.std(), 0, 1)
    assert split_objects(classes, interior, 10).max() == 1
    assert split_objects(classes, np.zeros_like(interior), 10).max() == 1


@given(seed=st.integers(0, 9999), min_size=st.integers(0, 40))
@settings(max_examples=40)
def test_splitting_only_ever_cuts_connected_parts(seed, min_size):
    """Each object is connected and lies in one part; what is cut off is not too small."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(2, 40, 50)), (0, 1.5, 1.5))
    classes = np.where(noise[0] > 0.06, 2, np.where(noise[0] < -0.1, 3, 1)).astype(np.uint8)
    interior = random.random(classes.shape, dtype=np.float32) ** 4
    found, parts = split_objects(classes, interior, min_size), label_plane(classes)
    assert ((found > 0) == (parts > 0)).all()
    assert set(np.unique(found)) - {0} == set(range(1, found.max() + 1))
    sizes = np.bincount(parts.ravel())
    for label in range(1, found.max() + 1):
        own = found == label
        assert ndimage.label(own)[1] == 1
        (part,) = np.unique(parts[own])
        assert own.sum() >= min(min_size, sizes[part])
    assert np.array_equal(split_objects(classes, None, min_size), parts)


@given(seed=st.integers(0, 2**32 - 1), min_size=st.integers(0, 40), band=st.integers(1, 4000))
@settings(max_examples=60, deadline=None)
def test_bands_of_an_area_give_the_same_objects_as_all_of_it(seed, min_size, band):
    """None is cut by a seam or counted twice, wherever in the plane the area lies."""
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 120, 2).tolist()
    noise = [
        ndimage.gaussian_filter(random.normal(size=(height, width)), random.choice([1, 3, 6]))
        for _ in range(2)
    ]
    classes = np.digitize(noise[0] / np.std(noise), [-0.8, -0.2, 1]).astype(np.uint8)
    interior = np.clip(128 + 60 * noise[1] / noise[1].std(), 0, 255).astype(np.uint8)
    top, left = random.integers(0, 50, 2).tolist()
    area = Rect(top, left, height, width)
    for inside in (interior, None):
        expected = split_objects(classes, inside, min_size)
        look = looking_at(classes, inside)
        with mock.patch.object(tiling, "BAND", band):
            steps = split_area(
                lambda r, look=look: look(Rect(r.y - top, r.x - left, *r[2:])), area, min_size
            )
            parts = result_of(steps)
        found = np.zeros_like(expected)
        for rect, labels in parts:
            found[rect.y - top : rect.bottom - top] = labels
        pairs = np.unique(np.stack((found.ravel(), expected.ravel())), axis=1)
        assert all(len(np.unique(side)) == pairs.shape[1] for side in pairs), "one to one"
        assert np.array_equal(found > 0, expected > 0)
        assert np.array_equal(parts.sizes, np.bincount(found.ravel())[1:])
        if inside is not None:
            assert np.array_equal(found, expected)
        y, x = int(random.integers(height)), int(random.integers(width))
        assert parts.at(top + y, left + x) == found[y, x]


def test_a_large_area_takes_little_memory():
    """Cells that touch each other everywhere. All at once would be some fifty bytes a pixel."""
    truth, classes = cells((64, 128), (20, 20, 18), (20, 50, 18), (46, 90, 17), (46, 120, 17))
    interior = interior_levels(interior_target(truth))
    area = Rect(0, 0, 4096, 4096)

    def look(rect):
        rows, columns = np.ogrid[rect.y : rect.bottom, rect.x : rect.right]
        where = rows % 64, columns % 128
        return classes[where], interior[where]

    with mock.patch.object(tiling, "BAND", 2**18):
        tracemalloc.start()
        try:
            number = result_of(count_objects(look, area))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert number >= 4 * 64 * 32 * 0.9
    assert peak < 2 * area.height * area.width


def test_an_empty_plane_has_no_objects():
    plane = np.ones((5, 6), np.uint8)
    for interior in (None, np.zeros((5, 6), np.float32)):
        assert not split_objects(plane, interior, 10).any()


def test_neighbours_stay_apart_through_z():
    """Two leaning cells: each lies a little on the other's next plane, as do all in tissue."""
    truth = np.zeros((1, 6, 50, 90), np.int32)
    for z in range(6):
        truth[0, z] = cells((50, 90), (25, 22 + 4 * z, 14), (25, 48 + 4 * z, 14))[0]
    classes = np.where(truth > 0, 2, 1).astype(np.uint8)
    joined, apart = ObjectNumbers(cut=False), ObjectNumbers(cut=True)
    own = [split_objects(classes[0, z], interior_target(truth[0, z]), 5) for z in range(6)]
    for z in range(6):
        for numbers in (joined, apart):
            numbers.add(PlaneIndex(0, z), own[z], classes[0, z])
    assert joined.finish(5) == 1
    assert apart.finish(5) == 2
    volume = np.stack([apart.number_of(z, own[z]) for z in range(6)])
    assert agreement(volume, truth[0]) > 0.85


def test_halves_of_a_cell_in_one_plane_are_one_through_the_next():
    classes = np.full((2, 10, 20), 2, np.uint8)
    halves = np.repeat(np.array([[1, 2]], np.int32), 10, axis=1).repeat(10, axis=0)
    numbers = ObjectNumbers(cut=True)
    numbers.add(PlaneIndex(0, 0), halves, classes[0])
    numbers.add(PlaneIndex(0, 1), np.ones((10, 20), np.int32), classes[1])
    numbers.add(PlaneIndex(1, 0), halves, classes[0])  # another time point
    assert numbers.finish(0) == 3


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
