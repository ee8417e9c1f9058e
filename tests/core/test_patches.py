"""Patches: taken around labels, classes in turn, image and labels moved together."""

from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label

from tests.synthetic import write_imagej
from unet_core import patches
from unet_core import stack as stack_module
from unet_core.annotation import TILE, Annotation
from unet_core.intensity import intensity_range
from unet_core.patches import MARGIN, Augmentation, Region, TrainingSet, augment, draw_batch
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect

RANGES = np.array([[0, 255]], np.float32)


def region(labels: np.ndarray) -> Region:
    return Region(np.zeros((1, *labels.shape), np.uint8), labels.astype(np.uint8), RANGES)


def test_classes_take_turns_and_long_strokes_do_not_drown_short_ones():
    labels = np.zeros((640, 640))
    labels[:, :320] = 1  # half the image is filled with background
    labels[600:604, 600:610] = 2
    labels[20:24, 600:602] = 2  # a short stroke elsewhere
    data = TrainingSet([region(labels)])
    centres = list(data.draw_centres(400, np.random.default_rng(0)))
    values = [labels[y, x] for _, y, x in centres]
    assert values.count(1) == values.count(2) == 200
    short = sum(1 for _, y, x in centres if labels[y, x] == 2 and y < 100)
    assert 60 < short < 140


def test_every_patch_has_labelled_pixels_to_learn_from():
    labels = np.zeros((300, 300))
    labels[5:8, 5:8] = 1
    labels[290:295, 296:299] = 2
    data = TrainingSet([region(labels)])
    random = np.random.default_rng(0)
    for _ in range(20):
        drawn = draw_batch(data, batch=4, size=96, random=random)
        assert drawn.images.shape == (4, 1, 96, 96)
        assert drawn.labels.dtype == torch.int64
        assert (drawn.labels > 0).flatten(1).any(dim=1).all()


def test_image_and_labels_are_moved_together():
    """An image that is its own label map still is after any augmentation of its geometry."""
    labels = np.zeros((1, 200, 200), np.uint8)
    labels[0, 60:140, 80:120] = 1
    image = labels[:, None].astype(np.float32)
    plain = Augmentation(contrast=0, gamma=1, noise=0)
    for seed in range(10):
        moved, drawn = augment(
            torch.from_numpy(image),
            torch.from_numpy(labels[:, None].astype(np.float32)),
            size=120,
            random=np.random.default_rng(seed),
            how=plain,
        )
        inside = moved[0, 0] > 0.5
        assert drawn.sum() > 100
        assert (inside == (drawn[0, 0] == 1)).float().mean() > 0.995


def test_what_is_emphasised_moves_with_its_pixels():
    labels = np.zeros((200, 200))
    labels[20:180, 20:180] = 1
    labels[90:110, 90:110] = 2
    plain = region(labels)
    weights = (plain.labels == 2).astype(np.float32) * 7
    emphasised = replace(plain, emphasis=weights)
    batch = draw_batch(
        TrainingSet([plain, emphasised]), batch=8, size=64, random=np.random.default_rng(0)
    )
    of_cells = [e[mark == 2] for e, mark in zip(batch.emphasis, batch.labels, strict=True)]
    assert any((e == 7).all() and len(e) for e in of_cells)
    assert all((e == 0).all() or (e == 7).all() for e in of_cells)
    assert (
        draw_batch(TrainingSet([plain]), batch=1, size=64, random=np.random.default_rng(0)).emphasis
        is None
    )


def strokes(count: int, value: int, left: int) -> np.ndarray:
    """`count` short strokes of one class below each other."""
    labels = np.zeros((40 * count + 20, 300))
    for i in range(count):
        labels[40 * i : 40 * i + 6, left : left + 30] = value
    return labels


def test_one_stroke_in_five_of_each_class_is_kept_aside():
    labels = strokes(16, 1, 10) + strokes(16, 2, 100)
    learned, aside = TrainingSet([region(labels)]).split()
    kept = [stroke.value for stroke in aside.strokes]
    assert (kept.count(1), kept.count(2)) == (3, 3)
    assert len(learned.strokes) == 26
    both = learned.regions[0].labels.astype(int) + aside.regions[0].labels
    assert np.array_equal(both, labels), "every pixel is on one side"


def test_what_is_kept_aside_stays_so_when_more_is_painted():
    fewer = strokes(15, 1, 10) + strokes(15, 2, 100)
    more = fewer + 0
    more[30:36, 200:230], more[70:76, 200:230] = 1, 2
    _, aside = TrainingSet([region(fewer)]).split()
    _, later = TrainingSet([region(more)]).split()
    stayed = {stroke.place for stroke in aside.strokes} & {s.place for s in later.strokes}
    assert len(stayed) >= 4


def test_the_newest_are_preferred_also_where_some_are_kept_aside():
    fewer = TrainingSet([region(strokes(30, 1, 10) + strokes(30, 2, 100))])
    more = fewer.regions[0].labels + 0
    for row in range(20, 1200, 40):
        more[row : row + 6, 200:230] = 1
    data = TrainingSet([region(more)])
    data.prefer_what_is_not_in(fewer)
    learned, aside = data.split()
    assert aside is not None
    columns = [x for _, _, x in learned.draw_centres(2000, np.random.default_rng(0))]
    drawn = [x for x in columns if not 100 <= x < 200]  # of background
    new = sum(x >= 200 for x in drawn)
    assert new > 0.65 * len(drawn), "half of the strokes are new, and count three times"


def test_long_strokes_are_cut_in_the_same_places_however_much_is_painted_around():
    labels = np.zeros((512, 512), np.uint8)
    labels[100, 50:500] = 2
    whole = region(labels)
    part = replace(
        whole, image=whole.image[..., 64:, 32:], labels=labels[64:, 32:], origin=(0, 0, 64, 32)
    )
    places = [[stroke.place for stroke in TrainingSet([r]).strokes] for r in (whole, part)]
    assert len(places[0]) == 4
    assert places[0] == places[1]


def test_too_few_strokes_are_all_learned():
    few = TrainingSet([region(strokes(20, 1, 10)[:500] + strokes(12, 2, 100))])
    assert few.split() == (few, None)


def test_a_large_area_counts_as_several_strokes():
    labels = np.ones((600, 700))
    assert len(TrainingSet([region(labels)]).strokes) == 5 * 6


def plain_strokes(labels: np.ndarray, top: int, left: int, block: int):
    """Value, place and pixels of each stroke, found pixel by pixel."""
    parts = label(labels, background=0, connectivity=2)
    for part in range(1, parts.max() + 1):
        pixels = np.argwhere(parts == part)
        pieces: dict[tuple[int, int], list[tuple[int, int]]] = {}
        long = max(np.ptp(pixels, axis=0)) + 1 > block
        for y, x in pixels.tolist():
            key = ((y + top) // block, (x + left) // block) if long else (0, 0)
            pieces.setdefault(key, []).append((y, x))
        for _, piece in sorted(pieces.items()):
            value = int(labels[piece[0]])
            where = (value, 0, 0, top + piece[0][0], left + piece[0][1])
            yield value, crc32(repr(where).encode()), piece


@settings(deadline=None)
@given(
    labels=arrays(
        np.uint8,
        st.tuples(st.integers(1, 14), st.integers(1, 14)),
        elements=st.sampled_from([0, 1, 1, 2, 3]),
    ),
    corner=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_strokes_are_the_connected_parts_cut_at_the_blocks(labels, corner):
    found = replace(region(labels), origin=(0, 0, *corner))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unet_core.patches.BLOCK", 4)
        strokes = TrainingSet([found]).strokes
    assert [
        (stroke.value, stroke.place, [tuple(pixel) for pixel in stroke.pixels.tolist()])
        for stroke in strokes
    ] == list(plain_strokes(labels, *corner, 4))


def test_a_stroke_stays_what_it_is_on_whichever_side():
    """One of two parts of a long stroke may be kept aside, too."""
    labels = strokes(16, 1, 10) + strokes(16, 2, 100)
    for row in range(0, 600, 40):
        labels[row : row + 2, 40:240] = 1  # long ones: each counts as several
    data = TrainingSet([region(labels)])
    learned, aside = data.split()
    assert aside is not None
    sides = [[id(stroke) for stroke in side.strokes] for side in (learned, aside)]
    assert sorted(sides[0] + sides[1]) == sorted(id(stroke) for stroke in data.strokes)
    for side in (learned, aside):
        drawn = np.zeros_like(side.regions[0].labels)
        for stroke in side.strokes:
            drawn[tuple(stroke.pixels.T)] = stroke.value
        assert np.array_equal(side.regions[0].labels, drawn)


def test_new_strokes_are_drawn_more_often():
    fewer = strokes(8, 1, 10)
    more = fewer + 0
    more[0:6, 200:230] = 1
    data = TrainingSet([region(more)])
    before = [x > 150 for _, _, x in data.draw_centres(3000, np.random.default_rng(0))]
    data.prefer_what_is_not_in(TrainingSet([region(fewer)]))
    after = [x > 150 for _, _, x in data.draw_centres(3000, np.random.default_rng(0))]
    assert sum(after) > 1.8 * sum(before) > 0


def test_images_take_turns_however_much_is_painted_on_each():
    data = TrainingSet([region(strokes(20, 1, 10)), region(strokes(2, 1, 10))])
    regions = [number for number, _, _ in data.draw_centres(2000, np.random.default_rng(0))]
    assert 850 < regions.count(1) < 1150


def test_only_the_labelled_part_of_a_plane_is_kept(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (2, 1500, 1600)).astype(np.uint8)
    path = write_imagej(tmp_path / "s.tif", image, "ZYX")
    annotation = Annotation((1, 2, 1500, 1600))
    stroke = annotation.stroke(PlaneIndex(0, 1), 2, 9)
    stroke.to(300.5, 400.5)
    stroke.finish()
    with open_stack(path) as stack:
        data = TrainingSet.of(stack, annotation, intensity_range(stack))
    (only,) = data.regions
    # Tile (1, 1) spans 256…512; with the margin around it, inside the plane.
    assert only.labels.shape == (256 + 2 * MARGIN, 256 + 2 * MARGIN)
    y, x = np.argwhere(only.labels == 2).mean(axis=0).round().astype(int)
    top, left = 300 - y, 400 - x
    height, width = only.labels.shape
    assert np.array_equal(only.image[0], image[1, top : top + height, left : left + width])
    assert data.pixel_counts() == {2: annotation.counts()[2]}


def test_the_same_seed_draws_the_same_batch():
    labels = np.zeros((300, 300))
    labels[50:90, 50:90] = 1
    labels[150:190, 150:190] = 2
    data = TrainingSet([region(labels)])
    one = draw_batch(data, batch=4, size=64, random=np.random.default_rng(5))
    other = draw_batch(data, batch=4, size=64, random=np.random.default_rng(5))
    different = draw_batch(data, batch=4, size=64, random=np.random.default_rng(6))
    assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    assert not torch.equal(one.labels, different.labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_strong_augmentation_stays_in_range(channels):
    images = torch.rand(3, channels, 200, 200)
    labels = torch.ones(3, 1, 200, 200)
    strong = Augmentation(
        scale=2, elastic=8, contrast=0.4, gamma=1.8, noise=0.2, blur=1, invert=0.5, shading=0.3
    )
    moved, _ = augment(images, labels, size=64, random=np.random.default_rng(0), how=strong)
    assert moved.shape == (3, channels, 64, 64)
    assert torch.isfinite(moved).all()


@given(
    tiles=st.sets(st.tuples(st.integers(0, 13), st.integers(0, 11)), min_size=1, max_size=12),
    large=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_of_a_large_plane_only_the_surroundings_of_labels_are_read(tiles, large):
    height, width = 14 * TILE - 50, 12 * TILE - 7
    annotation = Annotation((1, 1, height, width))
    plane, whole = PlaneIndex(0, 0), Rect(0, 0, height, width)
    for row, column in tiles:
        annotation.write(plane, np.full((2, 2), 2), y=row * TILE + 5, x=column * TILE + 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "LARGE_PIXELS", 1000 if large else height * width)
        boxes = patches.labelled_boxes(annotation, plane)
    assert large or len(boxes) == 1
    for number, box in enumerate(boxes):
        assert box.intersect(whole) == box and (box.y % 32, box.x % 32) == (0, 0)
        assert all(box.intersect(other).empty for other in boxes[:number])
    for row, column in tiles:
        around = Rect(row * TILE, column * TILE, TILE, TILE).expand(MARGIN).intersect(whole)
        assert sum(box.intersect(around) == around for box in boxes) == 1
    if large and len(tiles) == 2:
        (r0, c0), (r1, c1) = tiles
        assert len(boxes) == (1 if max(abs(r0 - r1), abs(c0 - c1)) <= 2 else 2)


def test_regions_of_a_large_plane_are_its_pixels_without_the_plane_being_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(stack_module, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(patches, "LARGE_PIXELS", 1000)
    pixels = np.random.default_rng(0).integers(0, 255, (1, 2000, 1800), np.uint8)
    write_imagej(tmp_path / "a.tif", pixels, "ZYX")
    plane = PlaneIndex(0, 0)
    with open_stack(tmp_path / "a.tif") as stack:
        monkeypatch.setattr(stack, "plane", None)
        annotation = Annotation((1, 1, 2000, 1800))
        for y, x in ((10, 10), (1900, 1700), (1910, 1720)):
            annotation.write(plane, np.full((2, 2), 2), y=y, x=x)
        data = TrainingSet.of(stack, annotation, intensity_range(stack))
        assert len(data.regions) == 2
        for found in data.regions:
            _, _, y, x = found.origin
            height, width = found.labels.shape
            part = slice(y, y + height), slice(x, x + width)
            assert np.array_equal(found.image[0], pixels[0][part])
            assert np.array_equal(found.labels, annotation.read(plane)[part])
