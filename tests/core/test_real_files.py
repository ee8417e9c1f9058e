"""Every real file that we have opens right or is refused; skipped where the data are not here."""

import numpy as np
import pytest
import tifffile

from tests.core.stack_helpers import assert_holds, canonical, refusal
from unet_core.stack import open_stack

REFUSED = {".czi": "CZI", ".lif": "LIF", ".ome": "XML"}


def test_every_real_stack_reads_as_tifffile_reads_it(shared_data):
    files = [p for p in shared_data.rglob("*.tif") if p.name in ("stack.tif", "masks.tif")]
    files += [*shared_data.rglob("*timelapse.tif"), *shared_data.glob("*/images/000.tif")]
    files += [*shared_data.glob("*/masks/000.tif"), *shared_data.glob("dsb2018/images/1*0.tif")]
    assert len(files) > 15
    for path in files:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            axes, pixels = series.axes.replace("S", "C"), series.asarray()
        with open_stack(path) as stack:
            assert_holds(stack, canonical(pixels, axes))


def test_every_odd_real_file_opens_or_says_why_not(shared_data):
    opened = 0
    for path in sorted((shared_data / "formats").rglob("*")):
        if path.suffix in REFUSED:
            assert REFUSED[path.suffix] in refusal(path)
        elif path.name == "cmyk-3c-8b.tiff":
            assert "CMYK" in refusal(path)
        elif path.is_file():
            with open_stack(path) as stack:
                for index in stack.planes():
                    assert stack.plane(*index).shape == stack.shape[2:]
            opened += 1
    assert opened > 50


@pytest.mark.parametrize(
    ("name", "shape", "axes", "dtype", "size"),
    [
        ("CMU-1-Small-Region.svs", (1, 1, 3, 2967, 2220), "CYX", "uint8", (1.0, 0.499, 0.499)),
        ("multi-channel-z-series.ome.tif", (1, 5, 3, 167, 439), "ZCYX", "int8", None),
        ("time-series.ome.tif", (7, 1, 1, 167, 439), "TYX", "int8", None),
        ("xyz_8bit__mitotic_plate_calibrated.tif", (1, 6, 1, 263, 263), "ZYX", "uint8",
         (3.0, 0.0851964, 0.0851964)),
        ("xyc_16bit__cell_dna_mts_actin.tif", (1, 1, 3, 350, 350), "CYX", "uint16",
         (0.5, 0.1324916, 0.1324916)),
        ("xyt_8bit_polyp.tif", (3, 1, 1, 313, 313), "TYX", "uint8", None),
        ("xy_rgb__cells.tif", (1, 1, 3, 257, 280), "CYX", "uint8", None),
        ("shapes_lzw_12bps.tif", (1, 1, 3, 72, 128), "CYX", "uint16", None),
        ("shapes_lzw_planar_10bps.tif", (1, 1, 3, 72, 128), "CYX", "uint16", None),
        ("shapes_uncompressed_tiled_planar.tif", (1, 1, 3, 72, 128), "CYX", "uint8", None),
        ("shapes_hyper.tif", (1, 1, 7, 72, 128), "CYX", "float32", None),
        ("capitol.tif", (1, 1, 1, 378, 504), "YX", "bool", None),
        ("int16.tif", (1, 1, 1, 64, 64), "YX", "int16", None),
        ("prairieview_ome_set/TSeries-camp-005_Cycle00001_Ch1_000001.ome.tif",
         (4, 1, 2, 128, 128), "TCYX", "uint16", (1.0, 4.05296, 4.05296)),
    ],
)  # fmt: skip
def test_real_files_are_what_they_are(shared_data, name, shape, axes, dtype, size):
    with open_stack(shared_data / "formats" / name) as stack:
        assert (stack.shape, stack.axes, stack.dtype) == (shape, axes, np.dtype(dtype))
        assert stack.pixel_size == (None if size is None else pytest.approx(size, rel=1e-5))


def test_min_is_white_and_sets_of_files(shared_data):
    formats = shared_data / "formats"
    with open_stack(formats / "miniswhite-1c-1b.tiff") as stack:
        stored = tifffile.imread(formats / "miniswhite-1c-1b.tiff")
        np.testing.assert_array_equal(stack.plane(0, 0)[0], ~stored)
    folder = formats / "prairieview_ome_set"
    with open_stack(folder / "TSeries-camp-005_Cycle00001_Ch1_000001.ome.tif") as stack:
        assert len(stack.files) == 8
        third = tifffile.imread(folder / "TSeries-camp-005_Cycle00001_Ch2_000003.ome.tif",
                                _multifile=False)  # fmt: skip
        np.testing.assert_array_equal(stack.plane(2, 0)[1], third)
