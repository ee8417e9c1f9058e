"""Tiles, packed and unpacked: nobody can tell how one is held, and no file can lie about it."""

import random
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.random_steps import SHAPE, random_step
from unet_core import tiles
from unet_core.annotation import Annotation, AnnotationError, History
from unet_core.labels import MAX_OBJECT, classes_of, label, objects_of
from unet_core.stack import PlaneIndex
from unet_core.tiles import (
    _COUNT,
    _HEAD,
    _MARK,
    MAX_PACKED_TILE,
    TILE,
    Tile,
    TileKey,
    is_sealed,
    pack_tile,
    packed_contents,
    unpack_tile,
)

KEY = TileKey(0, 1, 0, 1)


def old_kind(key, pixels):
    """How tiles were packed before they said what is in them: they lie in people's projects."""
    planes = [classes_of(pixels)]
    if objects_of(pixels).any():
        planes += [(objects_of(pixels) >> shift).astype(np.uint8) for shift in (0, 8, 16)]
    return sealed(key, zlib.compress(b"".join(plane.tobytes() for plane in planes), 1))


def sealed(key, data):
    """A forger's: the checksum fits."""
    return tiles._CHECKSUM.pack(tiles._seal(key, data)) + data


def painted(seed):
    """A tile with cells, some of them without a number."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((TILE, TILE), np.uint32)
    for _ in range(rng.integers(0, 6)):
        y, x, height, width = rng.integers(1, TILE, 4)
        pixels[y : y + height, x : x + width] = label(rng.integers(0, 4)) and label(
            int(rng.integers(1, 256)), int(rng.choice([0, 1, 70_000, MAX_OBJECT]))
        )
    return pixels


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_a_tile_says_what_is_in_it_without_being_unpacked(seed):
    pixels = painted(seed)
    for packed in (pack_tile(KEY, pixels), old_kind(KEY, pixels)):
        assert is_sealed(KEY, packed) and len(packed) <= MAX_PACKED_TILE
        np.testing.assert_array_equal(unpack_tile(KEY, packed), pixels)
        tile = Tile(KEY, packed=packed)
        box, counts = tile.contents()
        values, numbers = np.unique(pixels[pixels > 0], return_counts=True)
        assert counts == dict(zip(values.tolist(), numbers.tolist(), strict=True))
        inside = np.zeros_like(pixels)
        inside[box.slices] = pixels[box.slices]
        np.testing.assert_array_equal(inside, pixels)
        assert not tile.is_loose and not tile.pixels.flags.writeable
        np.testing.assert_array_equal(tile.pixels, pixels)
        assert tile.packed() == packed
    assert packed_contents(KEY, old_kind(KEY, pixels)) is None


def test_a_stroke_s_tile_takes_hardly_more_room_than_before():
    pixels = np.zeros((TILE, TILE), np.uint32)
    pixels[20:60, 30:200] = label(2, 7)
    assert len(pack_tile(KEY, pixels)) <= len(old_kind(KEY, pixels)) + 15


def test_the_fullest_tile_is_no_larger_than_a_tile_may_be():
    pixels = np.random.default_rng(0).permutation(TILE * TILE).astype(np.uint32)
    pixels = pixels.reshape(TILE, TILE) + np.uint32(label(200, 77_000))
    packed = pack_tile(KEY, pixels)
    assert len(packed) <= MAX_PACKED_TILE
    assert len(packed_contents(KEY, packed).counts) == TILE * TILE
    np.testing.assert_array_equal(unpack_tile(KEY, packed), pixels)


def forged(counts, box, pixels, count=None):
    table = np.array(counts, _COUNT)
    head = _HEAD.pack(_MARK, *box, len(table) if count is None else count)
    data = zlib.compress(classes_of(pixels).tobytes(), 1)
    return sealed(KEY, head + table.tobytes() + data)


CELL, OTHER = label(2), label(3)
BOX = (10, 20, 19, 39)
SOME = np.zeros((TILE, TILE), np.uint32)
SOME[10:20, 20:40] = CELL


def test_what_is_forged_rightly_is_believed():
    np.testing.assert_array_equal(unpack_tile(KEY, forged([(CELL, 199)], BOX, SOME)), SOME)


@pytest.mark.parametrize(
    "counts, box, count",
    [
        ([(CELL, 198)], BOX, None), ([(OTHER, 199)], BOX, None), ([], BOX, None),
        ([(CELL, 199)], (10, 20, 19, 40), None), ([(CELL, 199)], (9, 20, 19, 39), None),
        ([(CELL, 99), (OTHER, 99)], BOX, None),
    ],
)  # fmt: skip
def test_lies_are_found_out_when_a_tile_is_unpacked(counts, box, count):
    packed = forged(counts, box, SOME, count)
    annotation = Annotation.from_packed(SHAPE, [(KEY, packed)])
    with pytest.raises(AnnotationError, match=r"^The labels of t 0, z 1, tile 0, 1 are damaged\.$"):
        unpack_tile(KEY, packed)
    if counts:
        with pytest.raises(AnnotationError, match="damaged"):
            annotation.read(PlaneIndex(0, 1))


@pytest.mark.parametrize(
    "counts, box, count",
    [
        ([(CELL, 199)], (10, 20, 9, 39), None),  # a box of no height
        ([(CELL, 200)], BOX, None),  # more pixels than the box has
        ([(CELL, 60000)] * 60, (0, 0, 255, 255), None),
        ([(5, 199)], BOX, None),  # a number without a class
        ([(0, 199)], BOX, None),
        ([(OTHER, 1), (CELL, 1)], BOX, None),  # not in order
        ([(CELL, 1), (CELL, 1)], BOX, None),  # twice
        ([(CELL, 199)], BOX, 2**32 - 1),  # more labels than there are bytes
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_at_once(counts, box, count):
    packed = forged(counts, box, SOME, count)
    with pytest.raises(AnnotationError, match="damaged"):
        Annotation.from_packed(SHAPE, [(KEY, packed)])
    with pytest.raises(AnnotationError, match="damaged"):
        unpack_tile(KEY, packed)


def test_labels_outside_the_image_are_refused_without_unpacking():
    pixels = np.zeros((TILE, TILE), np.uint32)
    pixels[SHAPE[2] - TILE, 0] = CELL  # one row too far down
    key = TileKey(0, 0, 1, 0)
    for packed in (pack_tile(key, pixels), old_kind(key, pixels)):
        with pytest.raises(AnnotationError, match="reaches outside"):
            Annotation.from_packed(SHAPE, [(key, packed)])
    for key in (TileKey(0, 0, 2, 0), TileKey(0, 3, 0, 0), TileKey(0, 0, 0, -1)):
        with pytest.raises(AnnotationError):
            Annotation.from_packed(SHAPE, [(key, pack_tile(key, SOME))])
    with pytest.raises(AnnotationError, match="twice"):
        Annotation.from_packed(SHAPE, [(KEY, pack_tile(KEY, SOME))] * 2)
    for nothing in (None, b"", b"1234"):
        with pytest.raises(AnnotationError, match="damaged"):
            Annotation.from_packed(SHAPE, [(KEY, nothing)])


def test_there_is_an_end_to_what_is_loaded(monkeypatch):
    monkeypatch.setattr("unet_core.annotation.MAX_MEMORY", 2**20)
    made = []

    def rows():
        for z in range(10**6):
            made.append(z)
            yield TileKey(0, z, 0, 0), pack_tile(TileKey(0, z, 0, 0), SOME)

    with pytest.raises(AnnotationError, match="of memory"):
        Annotation.from_packed((1, 10**6, 300, 300), rows())
    assert 100 < len(made) < 3000


def test_ten_thousand_planes_are_loaded_as_they_lie_in_the_file():
    planes = 10_000
    some = [painted(seed) for seed in range(50, 60)]
    some = [pixels for pixels in some if pixels.any()]

    def rows():
        for z in range(planes):
            key = TileKey(0, z, 0, 0)
            yield key, sealed(key, bodies[z % len(some)])

    bodies = [pack_tile(KEY, pixels)[4:] for pixels in some]
    tracemalloc.start()
    annotation = Annotation.from_packed((1, planes, TILE, TILE), rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(annotation.labelled_planes()) == planes
    assert peak < 60 * 2**20  # of pixels they are 2.4 GiB
    keys = [TileKey(0, z, 0, 0) for z in range(planes)]
    assert not any(annotation.tile(key).is_loose for key in keys)
    expected = sum(np.count_nonzero(some[z % len(some)]) for z in range(planes))
    assert sum(annotation.counts().values()) == expected
    np.testing.assert_array_equal(
        annotation.read_labels(PlaneIndex(0, 7777)), some[7777 % len(some)]
    )
    assert sum(annotation.tile(key).is_loose for key in keys) == 1


def test_of_all_tiles_only_those_last_looked_at_are_held_as_pixels(monkeypatch):
    monkeypatch.setattr(tiles, "MAX_LOOSE", 20)
    annotation = Annotation((1, 200, 100, 100))
    for z in range(200):
        stroke = annotation.stroke(PlaneIndex(0, z), 1, 9)
        stroke.to(50, 50 + z % 40)
        stroke.finish()
        annotation.read(PlaneIndex(0, 0))  # looked at again and again
    held = [z for z in range(200) if annotation.tile(TileKey(0, z, 0, 0)).is_loose]
    assert len(held) <= 20 and held[0] == 0 and held[-1] == 199
    for z in range(200):
        assert annotation.read(PlaneIndex(0, z))[50, 50 + z % 40] == 1


def everything(annotation):
    return [annotation.read_labels(PlaneIndex(0, z)) for z in range(SHAPE[1])]


def assert_alike(one, other):
    np.testing.assert_array_equal(everything(one), everything(other))
    assert one.counts() == other.counts() and one.object_counts() == other.object_counts()
    assert one.labelled_planes() == other.labelled_planes()
    assert one.next_object() >= other.next_object() > 0


def keys_of(annotation):
    return [
        TileKey(*plane, *place)
        for plane in annotation.labelled_planes()
        for place in annotation.labelled_tiles(plane)
    ]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_nobody_can_tell_how_tiles_are_held(seed, steps):
    """The same random strokes, undos and redos: kept as pixels, and packed at random moments."""
    plain, history = Annotation(SHAPE), History()
    packed, its_history = Annotation(SHAPE), History()
    rng, other, choice = random.Random(seed), random.Random(seed), random.Random(seed + 1)
    taken = []
    for _ in range(steps):
        random_step(plain, history, rng)
        random_step(packed, its_history, other)
        if choice.random() < 0.3:
            taken.append((packed.snapshot(), everything(packed)))
        for key in keys_of(packed):
            if choice.random() < 0.5:
                packed.tile(key).put_away()
        if choice.random() < 0.2:  # closed and opened again
            kept = [(key, packed.tile(key).packed()) for key in keys_of(packed)]
            if choice.random() < 0.5:
                kept = [(key, old_kind(key, packed.tile(key).pixels)) for key, _ in kept]
            packed = Annotation.from_packed(SHAPE, kept)
        assert_alike(plain, packed)
    for one, its in ((plain, history), (packed, its_history)):
        while edit := its.undo():
            one.apply(edit)
    assert_alike(plain, packed)
    assert plain.labelled_planes() == []
    for one, its in ((plain, history), (packed, its_history)):
        while edit := its.redo():
            one.apply(edit)
    assert_alike(plain, packed)
    for snapshot, labels in taken:
        np.testing.assert_array_equal(everything(snapshot), labels)


def test_threads_read_while_tiles_are_put_away(monkeypatch):
    monkeypatch.setattr(tiles, "MAX_LOOSE", 3)
    annotation = Annotation((1, 8, 512, 512))
    for z in range(8):
        annotation.write(PlaneIndex(0, z), np.full((512, 512), z + 1, np.uint8))
    wrong = []

    def read():
        for n in range(60):
            z = n % 8
            if (annotation.read(PlaneIndex(0, z)) != z + 1).any():
                wrong.append(z)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        for key in keys_of(annotation):
            annotation.tile(key).put_away()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_edit_of_packed_tiles_is_undone_without_unpacking_them(monkeypatch):
    annotation, history = Annotation((1, 30, TILE, TILE)), History()
    parts = [(PlaneIndex(0, z), annotation.plane_rect, SOME) for z in range(30)]
    history.push(annotation.change("merge", parts))
    for key in keys_of(annotation):
        annotation.tile(key).put_away()
    unpacked = []
    monkeypatch.setattr(tiles, "unpack_tile", lambda key, packed: unpacked.append(key))
    annotation.apply(history.undo())
    assert annotation.counts() == {} and annotation.labelled_planes() == []
    annotation.apply(history.redo())
    assert annotation.counts() == {2: 30 * 200}
    assert not unpacked
