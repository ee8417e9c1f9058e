"""Planes too large to be read whole: overview and blocks, made of nothing but what they show."""

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import large_plane
from app.large_plane import LargePlane, PixelCache, Where, blocks_in, halved, levels_of, size_at
from unet_core import tiff_parts
from unet_core.stack import PlaneIndex, StackError, open_stack
from unet_core.tiling import Rect

FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLANE = PlaneIndex(0, 0)
DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(large_plane, "BLOCK", 16)
    monkeypatch.setattr(large_plane, "OVERVIEW_SIDE", 20)
    monkeypatch.setattr(large_plane, "BAND_BYTES", 2000)
    monkeypatch.setattr(large_plane, "READ_BYTES", 1500)


def random_pixels(shape, dtype, seed=0):
    dtype = np.dtype(dtype)
    values = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype.kind == "b":
        return values[..., 0] > 127
    if dtype.kind == "f":
        return values[..., 0].astype(dtype) * dtype.type(1.7)
    return values.view(dtype)[..., 0]


def levels_by_hand(pixels):
    """Every level of `(C, Y, X)`."""
    found = [pixels]
    while max(found[-1].shape[1:]) > 1:
        found.append(halved(found[-1]))
    return found


def read_all(large):
    while not large.complete:
        large.read_on()


def assert_blocks(large, expected):
    """Every block of every level is there, and shows `expected[level]`."""
    for level in range(large.coarsest + 1):
        shown = np.zeros_like(expected[level])
        for at in blocks_in(Rect(0, 0, *large.size), level):
            assert large.ready(at)
            shown[(slice(None), *at.rect.slices)] = large.block(at)
        np.testing.assert_array_equal(shown, expected[level])


@given(data=st.data())
@FEW
def test_halving_gives_means_of_two_by_two(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = (
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 40)),
        data.draw(st.integers(1, 40)),
    )
    raw = random_pixels(shape, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_plane, "_CHUNK", data.draw(st.integers(1, 200)))
        small = halved(raw)
    assert small.dtype == raw.dtype and small.shape[1:] == size_at(shape[1:], 1)
    padded = np.pad(raw, ((0, 0), (0, shape[1] % 2), (0, shape[2] % 2)), mode="edge").astype(float)
    four = padded[:, ::2, ::2] + padded[:, 1::2, ::2] + padded[:, ::2, 1::2] + padded[:, 1::2, 1::2]
    if dtype == "bool":
        assert np.array_equal(small, four >= 2)
    else:
        assert np.abs(small - four / 4).max() <= (0.5 if raw.dtype.kind in "iu" else 1e-4)


@given(data=st.data())
@FEW
def test_overview_and_blocks_are_the_plane_halved(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("large") / "a.tif"
    shape = tuple(data.draw(st.integers(1, 150)) for _ in "YX")
    channels = data.draw(st.integers(1, 3))
    pixels = random_pixels((channels, *shape), data.draw(st.sampled_from(DTYPES[2:5])))
    options = data.draw(st.sampled_from([{"tile": (32, 16)}, {"rowsperstrip": 7}, {}]))
    tifffile.imwrite(path, pixels[None], compression=data.draw(st.sampled_from(["zlib", None])),
                     metadata={"axes": "ZCYX"}, ome=True, photometric="minisblack",
                     **options)  # fmt: skip
    expected = levels_by_hand(pixels)
    with open_stack(path) as stack:
        cache = PixelCache(data.draw(st.sampled_from([0, 4000, 10**6])))
        large = LargePlane(stack, PLANE, cache)
        assert large.coarsest == levels_of(stack.shape[3:])
        early = [at for at in blocks_in(Rect(0, 0, *large.size), 0) if large.ready(at)]
        for at in early[:2]:  # before the overview is there, too
            part = expected[0][(slice(None), *at.rect.slices)]
            np.testing.assert_array_equal(large.block(at), part)
        read_all(large)
        np.testing.assert_array_equal(large.overview, expected[large.coarsest])
        assert_blocks(large, expected)
        assert cache.nbytes <= cache.limit


def write_pyramid(path, pixels, reduced):
    with tifffile.TiffWriter(path) as writer:
        options = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
        writer.write(pixels, subifds=len(reduced), **options)
        for smaller in reduced:
            writer.write(smaller, subfiletype=1, **options)


def test_copies_in_the_file_spare_reading_the_full_size(tmp_path, monkeypatch):
    decoded = []
    real = tiff_parts._decoded
    monkeypatch.setattr(
        tiff_parts,
        "_decoded",
        lambda page, indices, workers: (
            decoded.extend([page.shape] * len(indices)) or real(page, indices, workers)
        ),
    )
    levels = [level[0] for level in levels_by_hand(random_pixels((1, 160, 130), "uint16"))]
    write_pyramid(tmp_path / "p.tif", levels[0], [levels[2]])
    with open_stack(tmp_path / "p.tif") as stack:
        large = LargePlane(stack, PLANE, PixelCache(10**6))
        read_all(large)
        assert large.coarsest == 3
        large.block(Where(2, 0, 0))
        assert set(decoded) == {levels[2].shape}
        np.testing.assert_array_equal(large.overview[0], levels[3])
        large.block(Where(1, 0, 0))  # what is finer than the copy is made of the full size
        assert set(decoded) == {levels[2].shape, levels[0].shape}
        assert_blocks(large, [level[None] for level in levels])


def test_copies_rounded_down_fit_all_the_same_and_odd_ones_do_not(tmp_path):
    levels = [level[0] for level in levels_by_hand(random_pixels((1, 151, 131), "uint8"))]
    down = levels[0][:150:2, :130:2]
    assert down.shape == (75, 65)
    write_pyramid(tmp_path / "p.tif", levels[0], [down, levels[0][:100:2, ::4]])
    with open_stack(tmp_path / "p.tif") as stack:
        large = LargePlane(stack, PLANE, PixelCache(10**6))
        read_all(large)
        last = large.block(Where(1, 4, 4))
        assert last.shape == (1, 76 - 64, 66 - 64)
        np.testing.assert_array_equal(last[0, :-1, :-1], down[64:, 64:])
        assert (last[0, -1, 0], last[0, 0, -1]) == (down[74, 64], down[64, 64])


def test_blocks_cover_the_view_nearest_first():
    view = Rect(40, 70, 60, 100)
    found = blocks_in(view, 1)
    assert len(set(found)) == len(found)
    assert {(at.row, at.column) for at in found} == {
        (y // 32, x // 32) for y in range(40, 100) for x in range(70, 170)
    }
    assert found[0] in (Where(1, 2, 3), Where(1, 1, 3))
    assert found[-1].column == 5
    assert blocks_in(Rect(5, 5, 0, 9), 0) == []


def test_what_is_read_is_kept_in_bounds_and_the_longest_unseen_goes():
    cache = PixelCache(1000)
    for key in range(5):
        cache.put(key, np.zeros(300, np.uint8))
        cache.get(0)
    assert cache.get(1) is None and cache.get(2) is None
    assert all(cache.get(key) is not None for key in (0, 3, 4))
    cache.put(0, np.zeros(10, np.uint8))
    assert cache.nbytes == 610
    cache.limit = 100
    assert cache.get(3) is None and cache.get(0) is not None and cache.nbytes == 10
    cache.put(5, np.zeros(101, np.uint8))
    assert cache.nbytes <= 100
    cache.clear()
    assert cache.nbytes == 0 and cache.get(0) is None


def test_going_back_reads_nothing_again(tmp_path, monkeypatch):
    pixels = random_pixels((2, 100, 100), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(16, 16), compression="zlib",
                     photometric="minisblack")  # fmt: skip
    cache = PixelCache(10**6)
    with open_stack(tmp_path / "a.tif") as stack:
        for z in (0, 1):
            large = LargePlane(stack, PlaneIndex(0, z), cache)
            read_all(large)
            large.block(Where(0, 1, 1))
        monkeypatch.setattr(stack, "region", None)
        for z in (0, 1):
            again = LargePlane(stack, PlaneIndex(0, z), cache)
            assert again.complete and again.kept(Where(0, 1, 1)) and not again.kept(Where(0, 2, 2))
            np.testing.assert_array_equal(again.block(Where(0, 1, 1))[0], pixels[z, 16:32, 16:32])
            assert again.values_at(20, 31).tolist() == [pixels[z, 20, 31]]
            assert again.values_at(40, 31) is None


def test_only_what_is_damaged_is_missing(tmp_path):
    pixels = random_pixels((1, 100, 100), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", pixels[0], tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages[0].dataoffsets[-1]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start : start + 20] = b"\xff" * 20
    (tmp_path / "a.tif").write_bytes(content)
    with open_stack(tmp_path / "a.tif") as stack:
        large = LargePlane(stack, PLANE, PixelCache(10**6))
        large = LargePlane(stack, PLANE, PixelCache(10**6))
        read_all(large)
        (corner,) = large.missing.items()
        assert corner[0].intersect(Rect(96, 96, 4, 4)) == Rect(96, 96, 4, 4)
        assert "a.tif" in corner[1] and max(corner[0][2:]) <= 16
        pixels[(0, *corner[0].slices)] = 0
        levels = levels_by_hand(pixels)
        np.testing.assert_array_equal(large.block(Where(0, 6, 6)), pixels[:, 96:, 96:])
        np.testing.assert_array_equal(large.block(Where(0, 2, 3)), pixels[:, 32:48, 48:64])
        shown = large.overview.astype(int)
        lacks = np.zeros(shown.shape[1:], bool)
        for part in large.missing_in(Rect(0, 0, *shown.shape[1:]), large.coarsest):
            lacks[part.slices] = True
        assert 0 < lacks.sum() < 10
        assert np.array_equal(shown[0][~lacks], levels[large.coarsest][0][~lacks])


def test_a_plane_that_is_damaged_all_over_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(large_plane, "MOST_MISSING", 3)
    tifffile.imwrite(tmp_path / "a.tif", random_pixels((100, 100), "uint8"))
    with open_stack(tmp_path / "a.tif") as stack:

        def damaged(*_):
            raise StackError("a.tif is damaged.")

        monkeypatch.setattr(stack, "region", damaged)
        with pytest.raises(StackError, match="damaged"):
            read_all(LargePlane(stack, PLANE, PixelCache(10**6)))


def test_what_comes_late_from_one_image_is_not_shown_in_the_next(tmp_path):
    """They share a cache, and the same block of the same plane may be of either."""
    levels, cache = [], PixelCache(10**6)
    for seed, name in enumerate(("one.tif", "other.tif")):
        pixels = random_pixels((1, 150, 140), "uint8", seed)
        tifffile.imwrite(tmp_path / name, pixels[0])
        levels.append(levels_by_hand(pixels))
        with open_stack(tmp_path / name) as stack:
            large = LargePlane(stack, PLANE, cache)
            assert not large.complete
            read_all(large)
            np.testing.assert_array_equal(large.overview, levels[-1][large.coarsest])
            assert_blocks(large, levels[-1])
    assert not np.array_equal(levels[0][0], levels[1][0])
