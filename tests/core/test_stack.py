"""Opening images: what any program wrote is read plane for plane, or refused in one sentence."""

import hashlib
import threading
import time

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.stack_helpers import assert_holds, canonical, imagej_of_one_page, numbers, refusal
from unet_core.stack import PlaneIndex, StackError, open_stack

FEW = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"]


@FEW
@given(data=st.data())
def test_any_tiff_that_tifffile_writes(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    kind = data.draw(st.sampled_from(["imagej", "ome", "shaped"]))
    outer = data.draw(st.sets(st.sampled_from("TZC")).map(sorted))
    if kind != "imagej":
        outer = data.draw(st.permutations(outer))
    axes = "".join(sorted(outer, key="TZC".index) if kind == "imagej" else outer) + "YX"
    shape = tuple(data.draw(st.integers(1, 4)) for _ in outer) + (
        data.draw(st.integers(1, 70)),
        data.draw(st.integers(1 if kind == "shaped" else 2, 70)),  # tifffile miswrites width 1
    )
    dtype = data.draw(
        st.sampled_from(["uint8", "uint16", "float32"])
        if kind == "imagej"
        else st.sampled_from([d for d in DTYPES if kind == "shaped" or d != "float16"])
    )
    options = {"byteorder": data.draw(st.sampled_from("<>"))}
    if data.draw(st.booleans()):
        options["compression"] = data.draw(
            st.sampled_from(["zlib", "lzw", "zstd", "packbits" if dtype == "uint8" else "zlib"])
        )
        if dtype != "float16":
            options["predictor"] = data.draw(st.booleans()) and options["compression"] != "packbits"
    layout = data.draw(st.sampled_from(["one strip", "rows", "tiles"]))
    if layout == "rows":
        options["rowsperstrip"] = data.draw(st.integers(1, 20))
    if layout == "tiles" and kind != "imagej":
        options["tile"] = (16, 32)
    if kind != "imagej":
        options["bigtiff"] = data.draw(st.booleans())
    pixels = numbers(shape, dtype)
    path = folder / ("a.ome.tif" if kind == "ome" else "a.tif")
    tifffile.imwrite(
        path, pixels, imagej=kind == "imagej", metadata={"axes": axes}, photometric="minisblack",
        **options,
    )  # fmt: skip
    with open_stack(path) as stack:
        assert_holds(stack, canonical(pixels, axes))
        if kind == "shaped":
            assert stack.axes == "".join(a for a in "TZCYX" if a in axes)
        else:
            assert set("YX") <= set(stack.axes) <= set(axes)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 8), "YX"),
        ((6, 9, 8), "ZYX"),
        ((2, 9, 8), "ZYX"),
        ((3, 9, 8), "ZYX"),
        ((6, 5, 9, 8), "TZYX"),
        ((6, 4, 9, 8), "ZCYX"),
        ((6, 1, 9, 8), "ZCYX"),
        ((6, 5, 2, 9, 8), "TZCYX"),
        ((1, 2, 3, 4, 5, 9, 8), None),
    ],
)
@pytest.mark.parametrize("separately", [False, True])
def test_plain_shapes(tmp_path, shape, axes, separately):
    pixels = numbers(shape, "uint16")
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", contiguous=not separately,
                     compression="zlib" if separately else None)  # fmt: skip
    if axes is None:
        assert "7 dimensions" in refusal(path) or "6 dimensions" in refusal(path)
        return
    with open_stack(path) as stack:
        assert stack.axes == axes
        assert_holds(stack, canonical(pixels, axes))


@pytest.mark.filterwarnings("ignore:.*stored as RGB:DeprecationWarning")
@pytest.mark.parametrize("slices", [3, 4])
def test_three_or_four_slices_saved_carelessly_are_slices(tmp_path, slices):
    """tifffile's default calls these separate colour planes; no slice may get lost as alpha."""
    pixels = numbers((slices, 9, 8))
    tifffile.imwrite(tmp_path / "z.tif", pixels)
    with open_stack(tmp_path / "z.tif") as stack:
        assert stack.axes == "ZYX" and not stack.is_rgb
        assert_holds(stack, canonical(pixels, "ZYX"))


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colour(tmp_path, samples, planar, compression):
    pixels = numbers((5, 9, 8, samples))
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 1)
    tifffile.imwrite(tmp_path / "rgb.tif", stored, photometric="rgb", planarconfig=planar,
                     compression=compression, metadata={"axes": "ZYXS" if planar == "contig"
                                                        else "ZSYX"})  # fmt: skip
    with open_stack(tmp_path / "rgb.tif") as stack:
        assert stack.is_rgb and stack.axes == "ZCYX" and stack.channel_names[0] == "Red"
        assert_holds(stack, canonical(pixels[..., :3], "ZYXC"))


def test_values_are_given_as_meant(tmp_path):
    """MinIsWhite is inverted; palettes stay numbers; one-bit images are bool; 12 bits unpacked."""
    pixels = numbers((9, 8))
    tifffile.imwrite(tmp_path / "w.tif", pixels, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "p.tif", pixels, photometric="palette",
                     colormap=numbers((3, 256), "uint16"))  # fmt: skip
    tifffile.imwrite(tmp_path / "b.tif", pixels > 99, photometric="minisblack")
    assert_holds(open_stack(tmp_path / "w.tif"), 255 - pixels[None, None, None])
    assert_holds(open_stack(tmp_path / "p.tif"), pixels[None, None, None])
    assert_holds(open_stack(tmp_path / "b.tif"), (pixels > 99)[None, None, None])


def test_imagej_stack_of_one_page(tmp_path):
    pixels = numbers((7, 9, 8), "uint16")
    imagej_of_one_page(tmp_path / "big.tif", pixels)
    with open_stack(tmp_path / "big.tif") as stack:
        assert_holds(stack, canonical(pixels, "ZYX"))
        assert stack.pixel_size == (0.5, 0.2, 0.2)
    data = (tmp_path / "big.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[:-20])
    assert "cut short" in refusal(tmp_path / "cut.tif")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_png(tmp_path, dtype, samples):
    pixels = numbers((9, 8, samples), dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels.squeeze()))
    with open_stack(tmp_path / "a.png") as stack:
        assert stack.is_rgb == (samples > 1)
        assert_holds(stack, canonical(pixels[..., :3], "YXC"))


def test_jpeg(tmp_path):
    smooth = np.dstack([np.add.outer(np.arange(40), np.arange(50))] * 3).astype(np.uint8)
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(smooth, level=95))
    with open_stack(tmp_path / "a.jpg") as stack:
        assert stack.shape == (1, 1, 3, 40, 50) and stack.is_rgb
        assert np.abs(stack.plane(0, 0)[1].astype(int) - smooth[..., 1]).max() < 8


def test_the_kind_is_told_by_content_not_by_name(tmp_path):
    (tmp_path / "really.tif").write_bytes(imagecodecs.png_encode(numbers((9, 8))))
    assert open_stack(str(tmp_path / "really.tif")).shape == (1, 1, 1, 9, 8)


# A Stack in use


def test_planes_and_their_limits(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers((2, 3, 9, 8)), imagej=True,
                     metadata={"axes": "TZYX"})  # fmt: skip
    stack = open_stack(tmp_path / "a.tif")
    assert list(stack.planes()) == [PlaneIndex(t, z) for t in range(2) for z in range(3)]
    for t, z in ((2, 0), (0, 3), (-1, 0)):
        with pytest.raises(IndexError):
            stack.plane(t, z)
    kept = stack.plane(1, 2)
    total = kept.sum()
    stack.close()
    assert kept.sum() == total
    with pytest.raises(StackError, match="closed"):
        stack.plane(0, 0)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_threads_may_share_a_stack(tmp_path, compression):
    pixels = numbers((20, 64, 64), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", compression=compression)
    wrong: list[object] = []

    def read(seed: int) -> None:
        for z in np.random.default_rng(seed).integers(0, 20, 40):
            if not np.array_equal(stack.plane(0, int(z))[0], pixels[z]):
                wrong.append(z)

    with open_stack(tmp_path / "a.tif") as stack:
        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_the_file_is_only_read(tmp_path):
    for name, options in (("a.tif", {}), ("b.tif", {"compression": "zlib"})):
        path = tmp_path / name
        tifffile.imwrite(path, numbers((3, 9, 8)), photometric="minisblack", **options)
        path.chmod(0o444)
        before = hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
        with open_stack(path) as stack:
            with pytest.raises(ValueError, match="read-only"):
                stack.plane(0, 0)[:] = 0
            stack.fingerprint()
        assert (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) == before


def test_fingerprint_follows_content_not_name(tmp_path):
    pixels = numbers((3, 300, 300))
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    (tmp_path / "moved.tif").write_bytes((tmp_path / "a.tif").read_bytes())
    pixels[0, 0, 0] ^= 1
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="minisblack")
    prints = [open_stack(tmp_path / n).fingerprint() for n in ("a.tif", "moved.tif", "b.tif")]
    assert prints[0] == prints[1] != prints[2]


def test_opening_costs_little_however_large_the_file(tmp_path):
    """5 GiB (sparse) as ImageJ writes it: no page but the first is looked at."""
    path = tmp_path / "huge.tif"
    description = b"ImageJ=1.54f\nimages=160\nslices=160\nunit=micron\nspacing=0.5\n"
    with tifffile.TiffWriter(path, byteorder=">") as writer:
        writer.write(numbers((4096, 4096), "uint16"), metadata=None, description=description)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 159 * 4096 * 4096 * 2)
    start = time.process_time()
    with open_stack(path) as stack:
        assert stack.shape == (1, 160, 1, 4096, 4096)
        assert stack.plane(0, 159)[0, -1, -1] == 0
    assert time.process_time() - start < 2
