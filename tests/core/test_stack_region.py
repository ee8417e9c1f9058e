"""Parts of planes and the smaller copies in a file: the same pixels, and nothing else decoded."""

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.stack_helpers import numbers
from unet_core import stack as stack_module
from unet_core import tiff_parts
from unet_core.stack import StackError, open_stack, open_stored
from unet_core.tiling import Rect

FEW = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def draw_rect(data, height, width):
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    return Rect(y, x, data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x)))


def assert_region_is_the_plane(stack, t, z, rect):
    part = stack.region(t, z, rect)
    assert part.shape == (stack.shape[2], rect.height, rect.width)
    assert part.dtype == stack.dtype and part.dtype.isnative and part.flags.writeable
    whole = stack.plane(t, z)
    np.testing.assert_array_equal(part, whole[(slice(None), *rect.slices)])
    part[:] = 0  # a copy: neither the file nor the next reader sees this
    np.testing.assert_array_equal(stack.plane(t, z), whole)


@pytest.fixture
def decoded(monkeypatch):
    """The number of every tile or strip that is decoded for a part."""
    seen = []
    real = tiff_parts._decoded

    def counting(page, indices, workers):
        seen.extend(indices)
        return real(page, indices, workers)

    monkeypatch.setattr(tiff_parts, "_decoded", counting)
    return seen


@FEW
@given(data=st.data())
def test_a_region_is_what_the_plane_shows_there(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("region") / "a.tif"
    colours = data.draw(st.sampled_from([None, "contig", "separate"]))
    alpha = colours is not None and data.draw(st.booleans())
    height, width = data.draw(st.integers(1, 80)), data.draw(st.integers(2, 80))
    pages = data.draw(st.integers(1, 3))
    samples = 3 + alpha
    shape = {None: (height, width), "contig": (height, width, samples),
             "separate": (samples, height, width)}[colours]  # fmt: skip
    dtype = data.draw(st.sampled_from(["bool", "uint8", "int16", "uint16", "float32"]))
    if dtype == "bool" and colours:
        dtype = "uint8"
    options = {
        "photometric": "rgb"
        if colours
        else data.draw(st.sampled_from(["minisblack", "miniswhite"])),
        "planarconfig": colours,
        "extrasamples": ["unassalpha"] if alpha else None,
    }
    if dtype != "bool":
        options["compression"] = data.draw(st.sampled_from([None, "zlib", "lzw", "zstd"]))
        options["predictor"] = options["compression"] is not None and data.draw(st.booleans())
    layout = data.draw(st.sampled_from(["one strip", "rows", "tiles"]))
    if layout == "rows":
        options["rowsperstrip"] = data.draw(st.integers(1, 20))
    elif layout == "tiles":
        options["tile"] = data.draw(st.sampled_from([(16, 32), (32, 16)]))
    pixels = numbers((pages, *shape), "uint8" if dtype == "bool" else dtype)
    if dtype == "bool":
        pixels = pixels > 127
    with tifffile.TiffWriter(path, byteorder=data.draw(st.sampled_from("<>"))) as writer:
        for page in pixels:
            writer.write(page, metadata=None, contiguous=False, **options)
    with open_stack(path) as stack:
        size = stack.shape[3:]
        t, z = data.draw(st.sampled_from([*stack.planes()]))
        for _ in range(4):  # what was decoded for one serves the next
            rect = draw_rect(data, *size)
            if data.draw(st.booleans()):
                stack._cache.clear()  # else a whole page that is there already serves
            assert_region_is_the_plane(stack, t, z, rect)
    with open_stored(path) as stored:
        assert_region_is_the_plane(stored, 0, 0, draw_rect(data, *size))


@FEW
@given(data=st.data())
def test_regions_of_stacks_with_outer_axes_and_of_mapped_files(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("stack") / "a.ome.tif"
    axes = data.draw(st.sampled_from(["TZCYX", "ZCYX", "CZYX", "TCYX", "TYX", "CYX", "ZYXS"]))
    shape = tuple(
        {"Y": 40, "X": 50, "S": 3}.get(axis) or data.draw(st.integers(1, 3)) for axis in axes
    )
    tifffile.imwrite(
        path, numbers(shape, "uint16"), metadata={"axes": axes}, ome=True,
        photometric="rgb" if "S" in axes else "minisblack",
        compression=data.draw(st.sampled_from([None, "zlib"])),
        tile=data.draw(st.sampled_from([None, (16, 16)])),
    )  # fmt: skip
    with open_stack(path) as stack:
        for t, z in stack.planes():
            assert_region_is_the_plane(stack, t, z, draw_rect(data, 40, 50))


def test_jpeg_tiles_and_pictures(tmp_path):
    y, x = np.mgrid[:70, :90]
    smooth = np.stack([2 * y, 2 * x, y + x], -1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "j.tif", smooth, photometric="ycbcr", compression="jpeg",
                     tile=(32, 32), subsampling=(2, 2))  # fmt: skip
    import imagecodecs

    (tmp_path / "p.png").write_bytes(imagecodecs.png_encode(smooth))
    for name in ("j.tif", "p.png"):
        with open_stack(tmp_path / name) as stack:
            for rect in (Rect(0, 0, 1, 1), Rect(30, 60, 40, 30), Rect(0, 0, 70, 90)):
                assert_region_is_the_plane(stack, 0, 0, rect)


def test_only_what_the_rectangle_touches_is_decoded(tmp_path, decoded):
    pixels = numbers((3, 128, 160), "uint16")
    tifffile.imwrite(tmp_path / "t.tif", pixels, tile=(32, 32), compression="zlib",
                     photometric="minisblack")  # fmt: skip
    with open_stack(tmp_path / "t.tif") as stack:
        stack.region(0, 2, Rect(33, 70, 31, 40))
        assert decoded == [7, 8]  # second row of tiles, third and fourth column
        assert not stack._cache  # no whole page
        stack.region(0, 2, Rect(40, 70, 40, 40))
        assert decoded == [7, 8, 12, 13]  # the former two were kept
        stack.region(0, 1, Rect(0, 0, 1, 1))
        assert decoded[4:] == [0]
    decoded.clear()
    tifffile.imwrite(tmp_path / "s.tif", pixels, rowsperstrip=10, compression="zlib",
                     photometric="minisblack")  # fmt: skip
    with open_stack(tmp_path / "s.tif") as stack:
        stack.region(0, 0, Rect(19, 5, 12, 9))
    assert decoded == [1, 2, 3]


def test_what_is_kept_is_bounded(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(tiff_parts, "KEPT_BYTES", 3 * 32 * 32)
    pixels = numbers((128, 160))
    tifffile.imwrite(tmp_path / "t.tif", pixels, tile=(32, 32), compression="zlib")
    with open_stack(tmp_path / "t.tif") as stack:
        for column in (0, 32, 64, 96, 0):
            part = stack.region(0, 0, Rect(0, column, 32, 32))
            np.testing.assert_array_equal(part[0], pixels[:32, column : column + 32])
    assert decoded == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("most, again", [(10**6, []), (2 * 10 * 160, [0])])
def test_strips_serve_all_neighbours_in_a_row(tmp_path, monkeypatch, decoded, most, again):
    """Each strip spans the width: a row of rectangles touches the same ones, up to a bound."""
    monkeypatch.setattr(tiff_parts, "KEPT_BYTES", 1000)
    monkeypatch.setattr(tiff_parts, "MOST_KEPT_BYTES", most)
    pixels = numbers((128, 160))
    tifffile.imwrite(tmp_path / "t.tif", pixels, rowsperstrip=10, compression="zlib")
    with open_stack(tmp_path / "t.tif") as stack:
        for column in (0, 80):
            part = stack.region(0, 0, Rect(0, column, 30, 80))
            np.testing.assert_array_equal(part[0], pixels[:30, column : column + 80])
    assert decoded == [0, 1, 2, *again]


def test_pages_whose_tiles_are_enormous_are_read_whole_and_kept(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(tiff_parts, "MOST_SEGMENT_BYTES", 1000)
    pixels = numbers((128, 160))
    tifffile.imwrite(tmp_path / "t.tif", pixels, rowsperstrip=128, compression="zlib")
    with open_stack(tmp_path / "t.tif") as stack:
        assert_region_is_the_plane(stack, 0, 0, Rect(3, 4, 50, 60))
        assert len(stack._cache) == 1
    tifffile.imwrite(tmp_path / "c.tif", numbers((3, 90, 80)), rowsperstrip=90, compression="zlib",
                     imagej=True, metadata={"axes": "CYX"})  # fmt: skip
    with open_stack(tmp_path / "c.tif") as stack:
        stack.cache_bytes = 0
        assert_region_is_the_plane(stack, 0, 0, Rect(3, 4, 50, 60))
        assert len(stack._cache) == 3  # not one channel in turn for another
    assert decoded == []


def test_what_is_not_there_is_an_index_error(tmp_path):
    tifffile.imwrite(tmp_path / "t.tif", numbers((40, 50)), tile=(32, 32), compression="zlib")
    with open_stack(tmp_path / "t.tif") as stack:
        for rect in (Rect(0, 0, 0, 5), Rect(-1, 0, 5, 5), Rect(30, 0, 11, 5), Rect(0, 50, 1, 1)):
            with pytest.raises(IndexError):
                stack.region(0, 0, rect)
        for t, z, level in ((1, 0, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
            with pytest.raises(IndexError):
                stack.region(t, z, Rect(0, 0, 1, 1), level)
    with pytest.raises(StackError, match="closed"):
        stack.region(0, 0, Rect(0, 0, 1, 1))


def test_damage_is_met_only_where_it_is(tmp_path):
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, numbers((64, 64)), tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[3]
    content = bytearray(path.read_bytes())
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    with open_stack(path) as stack:
        stack.region(0, 0, Rect(0, 0, 32, 64))
        with pytest.raises(StackError, match=r"t\.tif is damaged.*page 1"):
            stack.region(0, 0, Rect(0, 0, 33, 64))


# --- smaller copies in the file --------------------------------------------------------------


def write_pyramid(path, pixels, factors=(2, 4), **options):
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=len(factors), **options)
        for factor in factors:
            reduced = pixels[..., ::factor, ::factor]
            writer.write(reduced, subfiletype=1, **(options | {"metadata": None}))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_the_smaller_copies_are_read(tmp_path, compression, tile):
    pixels = numbers((2, 3, 100, 130), "uint16")
    write_pyramid(tmp_path / "p.ome.tif", pixels, tile=tile, compression=compression,
                  metadata={"axes": "ZCYX"}, photometric="minisblack")  # fmt: skip
    with open_stack(tmp_path / "p.ome.tif") as stack:
        assert stack.levels == ((100, 130), (50, 65), (25, 33))
        for level, factor in enumerate((1, 2, 4)):
            height, width = stack.levels[level]
            rect = Rect(height // 3, width // 4, height // 2, width // 2)
            part = stack.region(0, 1, rect, level)
            expected = pixels[1, :, ::factor, ::factor][(slice(None), *rect.slices)]
            np.testing.assert_array_equal(part, expected)


def test_copies_that_are_no_copies_are_left_out(tmp_path):
    pixels = numbers((100, 130), "uint16")
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        writer.write(pixels, subifds=2, tile=(16, 16), compression="zlib")
        writer.write(pixels[::2, ::2].astype(np.uint8), subfiletype=1)  # another type
        writer.write(pixels[::4, ::4], subfiletype=1)
    with open_stack(tmp_path / "p.tif") as stack:
        assert stack.levels in (((100, 130),), ((100, 130), (25, 33)))
        np.testing.assert_array_equal(stack.plane(0, 0)[0], pixels)


def test_a_file_without_copies_has_one_level(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers((3, 40, 50)), photometric="minisblack")
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.levels == ((40, 50),)


# --- planes that are sliced like arrays ------------------------------------------------------


def test_a_large_plane_is_sliced_without_being_read_whole(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(stack_module, "LARGE_PIXELS", 1000)
    pixels = numbers((128, 160), "uint16")
    tifffile.imwrite(tmp_path / "t.tif", pixels, tile=(32, 32), compression="zlib")
    with open_stack(tmp_path / "t.tif") as stack:
        assert stack.is_large
        plane = stack.lazy_plane(0, 0)
        assert plane.shape == (1, 128, 160)
        np.testing.assert_array_equal(plane[:, 5:20, 100:], pixels[None, 5:20, 100:])
        assert decoded == [3, 4] and not stack._cache
        with pytest.raises(IndexError):
            stack.lazy_plane(0, 1)
    monkeypatch.undo()
    with open_stack(tmp_path / "t.tif") as stack:
        assert not stack.is_large
        assert isinstance(stack.lazy_plane(0, 0), np.ndarray)
