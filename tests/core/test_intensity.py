"""Normalisation and mirrored reading."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.synthetic import write_imagej
from unet_core import intensity
from unet_core import stack as stack_module
from unet_core.intensity import CLIP, intensity_range, normalise, percentile_range, read_mirrored
from unet_core.stack import open_stack
from unet_core.tiling import Rect


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    window=st.builds(Rect, *[st.integers(-20, 20)] * 2, *[st.integers(1, 30)] * 2),
)
def test_reading_outside_mirrors_like_numpy_pad(height, width, window):
    plane = np.arange(height * width).reshape(1, height, width)
    around = 64
    padded = np.pad(plane[0], around, mode="reflect")
    expected = padded[
        window.y + around : window.bottom + around, window.x + around : window.right + around
    ]
    assert np.array_equal(read_mirrored(plane, window)[0], expected)


def test_the_range_is_of_the_stack_and_not_of_a_plane(tmp_path):
    """A dark plane stays dark beside a bright one."""
    stack = np.zeros((5, 64, 64), np.uint16)
    stack[:4] = np.random.default_rng(0).integers(100, 120, (4, 64, 64))
    stack[4] = np.random.default_rng(1).integers(100, 30000, (64, 64))
    path = write_imagej(tmp_path / "s.tif", stack, "ZYX")
    with open_stack(path) as opened:
        ranges = intensity_range(opened)
        dark = normalise(opened.plane(0, 0), ranges)
    assert ranges.shape == (1, 2)
    assert np.ptp(dark) < 0.01


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_percentiles_map_to_zero_and_one(dtype):
    values = np.random.default_rng(0).integers(0, 250, (1, 100, 100)).astype(dtype)
    ranges = percentile_range(values.reshape(1, -1))
    result = normalise(values, ranges)
    assert result.dtype == np.float32
    assert np.isclose(np.percentile(result, 0.5), 0, atol=0.01)
    assert np.isclose(np.percentile(result, 99.7), 1, atol=0.01)


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_one_single_value_is_no_division_by_zero(value):
    plane = np.full((1, 8, 8), value, np.float32)
    result = normalise(plane, percentile_range(plane.reshape(1, -1)))
    assert np.isfinite(result).all()
    assert np.ptp(result) == 0


@pytest.mark.parametrize(
    "plane",
    [
        np.random.default_rng(0).random((1, 8, 8)) > 0.5,
        np.random.default_rng(0).random((1, 8, 8)) + 1e12,
        np.random.default_rng(0).normal(size=(1, 8, 8)) * 1e300,
        np.linspace(-3.4e38, 3.4e38, 64, dtype=np.float32).reshape(1, 8, 8),
        np.random.default_rng(0).integers(2**31 - 9, 2**31, (1, 8, 8)).astype(np.uint32),
    ],
    ids=["1 bit", "far from zero", "beyond float32", "all of float32", "32 bit"],
)
@pytest.mark.filterwarnings("error")
def test_values_that_float32_hardly_holds_are_still_an_image(plane):
    ranges = percentile_range(plane.reshape(1, -1))
    assert (ranges[:, 0] < ranges[:, 1]).all()
    result = normalise(plane, ranges)
    assert np.isfinite(result).all()
    assert result.min() >= CLIP[0]
    assert result.max() <= CLIP[1]


def test_a_hot_pixel_does_not_darken_the_rest():
    plane = np.random.default_rng(0).integers(0, 100, (1, 200, 200)).astype(np.uint16)
    plane[0, 3, 3] = 65535
    result = normalise(plane, percentile_range(plane.reshape(1, -1)))
    assert np.percentile(result, 99) > 0.9
    assert result.max() == CLIP[1]


def test_of_large_planes_small_patches_tell_the_same_range(tmp_path, monkeypatch):
    y, x = np.mgrid[:700, :600]
    image = (1000 + 300 * np.sin(y / 9) * np.cos(x / 7) + 200 * (x > 300)).astype(np.uint16)
    write_imagej(tmp_path / "a.tif", image[None], "ZYX")
    with open_stack(tmp_path / "a.tif") as stack:
        whole = intensity_range(stack)
        monkeypatch.setattr(stack_module, "LARGE_PIXELS", 1000)
        monkeypatch.setattr(intensity, "SAMPLED_PIXELS", 1 << 16)
        monkeypatch.setattr(stack, "plane", None)
        read = []
        region = stack.region
        monkeypatch.setattr(stack, "region", lambda *at: read.append(at) or region(*at))
        patches = intensity_range(stack)
    assert np.abs(patches - whole).max() < 0.03 * (whole[0, 1] - whole[0, 0])
    assert sum(rect.height * rect.width for _, _, rect in read) <= 1 << 16
    assert max(r.bottom for *_, r in read) == 700 and max(r.right for *_, r in read) == 600


def test_sampling_keeps_no_whole_planes(tmp_path):
    """As many planes are sampled as there are up to a dozen, and each may be large."""
    planes = np.random.default_rng(0).integers(0, 255, (12, 1400, 1800), np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, planes, compression="zlib", photometric="minisblack",
                     metadata={"axes": "ZYX"})  # fmt: skip
    with open_stack(path) as stack:
        intensity_range(stack)  # imports what it needs
        stack.cache_bytes = 0
        tracemalloc.start()
        intensity_range(stack)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 6 * planes[0].nbytes, most / planes[0].nbytes
