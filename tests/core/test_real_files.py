"""Every real file that we have opens right or is refused; skipped where the data are not here."""

import re

import czifile
import liffile
import numpy as np
import pytest
import tifffile

from tests.core.stack_helpers import assert_holds, canonical, refusal
from unet_core.choices import choices
from unet_core.reading import Reading
from unet_core.stack import open_stack

# Each file of the table in data/README.md: shape (T, Z, C, Y, X), axes, type, pixel size.
FILES = {
    "CellDivision_T3_Z5_CH2_X240_Y170_comp1.czi":
        ((3, 5, 2, 170, 240), "TZCYX", "uint16", None),
    "DAPI_GFP.czi": ((1, 1, 2, 640, 640), "CYX", "uint8", None),
    "nuc_small_new_red.czi": ((1, 1, 1, 240, 320), "YX", "uint8", (0.2, 0.1, 0.1)),
    "S3_1Pos_2Mosaic_T1_Z1_CH1.czi": ((1, 1, 1, 122, 295), "YX", "uint16", (1.0, 1.6, 1.6)),
    "FOV7_HV110_P0500510000.czi": ((1, 1, 1, 512, 512), "YX", "uint8", None),
    "FOV7_HV110_P0500510000.ome.tiff": ((1, 1, 1, 512, 512), "YX", "uint8", None),
    "xyz__multiple_images.czi": ((1, 2, 1, 251, 251), "ZYX", "uint16", (0.3, 0.195644, 0.195644)),
    "xz-example.lif": ((20, 1, 2, 128, 128), "TCYX", "uint8", (1.0, 0.1402788, 0.1402798)),
    "CMU-1-Small-Region.svs": ((1, 1, 3, 2967, 2220), "CYX", "uint8", (1.0, 0.499, 0.499)),
    "multi-channel-z-series.ome.tif": ((1, 5, 3, 167, 439), "ZCYX", "int8", None),
    "time-series.ome.tif": ((7, 1, 1, 167, 439), "TYX", "int8", None),
    "ome_companion_set/multifile-Z1.ome.tiff": ((1, 5, 1, 24, 18), "ZYX", "uint8", (1.0, 1.0, 1.0)),
    "prairieview_ome_set/TSeries-camp-005_Cycle00001_Ch1_000001.ome.tif":
        ((4, 1, 2, 128, 128), "TCYX", "uint16", (1.0, 4.05296, 4.05296)),
    "mitocheck_sequence": ((10, 1, 1, 190, 211), "TYX", "uint8", None),
    "xyz_8bit__mitotic_plate_calibrated.tif":
        ((1, 6, 1, 263, 263), "ZYX", "uint8", (3.0, 0.0851964, 0.0851964)),
    "xyc_16bit__cell_dna_mts_actin.tif":
        ((1, 1, 3, 350, 350), "CYX", "uint16", (0.5, 0.1324916, 0.1324916)),
    "xyt_8bit_polyp.tif": ((3, 1, 1, 313, 313), "TYX", "uint8", None),
    "xy_rgb__cells.tif": ((1, 1, 3, 257, 280), "CYX", "uint8", None),
    "shapes_lzw_12bps.tif": ((1, 1, 3, 72, 128), "CYX", "uint16", None),
    "shapes_lzw_planar_10bps.tif": ((1, 1, 3, 72, 128), "CYX", "uint16", None),
    "shapes_uncompressed_tiled_planar.tif": ((1, 1, 3, 72, 128), "CYX", "uint8", None),
    "shapes_zstd.tif": ((1, 1, 3, 72, 128), "CYX", "uint8", None),
    "shapes_jpg.tif": ((1, 1, 3, 72, 128), "CYX", "uint8", None),
    "shapes_multi_size.tif": ((1, 1, 3, 72, 128), "CYX", "uint8", None),
    "shapes_hyper.tif": ((1, 1, 7, 72, 128), "CYX", "float32", None),
    "capitol.tif": ((1, 1, 1, 378, 504), "YX", "bool", None),
    "BigTIFF.tif": ((1, 1, 3, 64, 64), "CYX", "uint8", None),
    "int16.tif": ((1, 1, 1, 64, 64), "YX", "int16", None),
    "palette-1c-8b.tiff": ((1, 1, 1, 151, 157), "YX", "uint8", None),
    "miniswhite-1c-1b.tiff": ((1, 1, 1, 151, 157), "YX", "bool", None),
    "predictor-3-gray-f32.tif": ((1, 1, 1, 200, 200), "YX", "float32", None),
}  # fmt: skip
REFUSED = {
    "cmyk-3c-8b.tiff": "CMYK (inks, for print), whose colours depend on the printer",
    "ome_companion_set/multifile.companion.ome": "XML",
}


# Compressed in a way that czifile does not know, or mosaics: as ZEISS's own library (pylibCZIrw
# 6.1.0) reads them: image, plane, the first values of the first channel, the sum of all.
BY_LIBCZI = {
    "CellDivision_T3_Z5_CH2_X240_Y170_comp1.czi": [
        ("1", (0, 0), [0, 0, 0, 0], 80519189),
        ("1", (0, 1), None, 89801056),
        ("1", (0, 2), None, 91739409),
    ],
    "S3_1Pos_2Mosaic_T1_Z1_CH1.czi": [
        ("TR1", (0, 0), [1231, 1353, 1335, 1162], 40470502),
        ("P1", (0, 0), [929, 819, 710, 659], 3902787),
        ("TR2", (0, 0), [714, 706, 688, 599], 63468447),
    ],
}


def by_another_reader(path) -> np.ndarray:
    """The first image as (T, Z, C, Y, X), by a program that is not ours."""
    if "companion" in path.parent.name:
        files = sorted(path.parent.glob("*.tiff"))
        return np.stack([tifffile.imread(p, is_ome=False) for p in files]).reshape(1, 5, 1, 24, 18)
    if path.is_dir():
        return np.stack([tifffile.imread(p) for p in sorted(path.iterdir())])[:, None, None]
    if path.suffix == ".czi":
        with czifile.CziFile(path) as file:
            pixels, axes = file.asarray(), file.axes
        if "S" in axes:
            pixels, axes = pixels.take(0, axes.index("S")), axes.replace("S", "")
        keep = [i for i, a in enumerate(axes) if a in "TZCYX"]
        pixels = pixels.reshape([pixels.shape[i] for i in keep])
        return canonical(pixels, "".join(axes[i] for i in keep))
    if path.suffix == ".lif":
        with liffile.LifFile(path) as file:
            return file.images[0].asarray()[:, None]
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes, pixels = series.get_axes(True), series.asarray()
    axes = axes.replace("S", "C") if "C" not in axes else axes
    return canonical(pixels, axes)


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_table(shared_data, name):
    path = shared_data / "formats" / name
    shape, axes, dtype, size = FILES[name]
    with open_stack(path) as stack:
        assert (stack.shape, stack.axes, stack.dtype) == (shape, axes, np.dtype(dtype))
        assert stack.pixel_size == (None if size is None else pytest.approx(size, rel=1e-5))
        if name in BY_LIBCZI:
            return
        expected = by_another_reader(path)
        if "miniswhite" in name:
            expected = ~expected
        assert_holds(stack, expected)


@pytest.mark.parametrize("name", BY_LIBCZI)
def test_tiles_are_put_together_as_by_the_maker(shared_data, name):
    for series, plane, first, total in BY_LIBCZI[name]:
        with open_stack(shared_data / "formats" / name, Reading(series)) as stack:
            pixels = stack.plane(*plane)
            assert int(pixels.sum()) == total
            assert first is None or pixels[0, 0, :4].tolist() == first


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(shared_data, name):
    assert REFUSED[name] in refusal(shared_data / "formats" / name)


def test_no_file_of_the_table_is_forgotten(shared_data):
    text = (shared_data / "README.md").read_text("utf-8").partition("## formats/")[2]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    named = {n if n[0] != "." else "FOV7_HV110_P0500510000" + n for n in named}
    here = {*FILES, *REFUSED}
    assert named <= here | {name.partition("/")[0] for name in here}


def test_every_odd_real_file_can_be_read_to_its_end(shared_data):
    opened = 0
    for path in sorted((shared_data / "formats").rglob("*")):
        if path.is_file() and str(path.relative_to(shared_data / "formats")) not in REFUSED:
            with open_stack(path) as stack:
                for index in stack.planes():
                    assert stack.plane(*index).shape == stack.shape[2:]
            opened += 1
    assert opened > 60


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("CMU-1-Small-Region.svs", {"Baseline": (1, 1, 3, 2967, 2220),
                                    "Thumbnail": (1, 1, 3, 768, 574),
                                    "Label": (1, 1, 3, 463, 387), "Macro": (1, 1, 3, 431, 1280)}),
        ("xz-example.lif", {"xzt": (20, 1, 2, 128, 128), "xzy": (1, 23, 2, 128, 128),
                            "xz": (1, 1, 2, 512, 512)}),
        ("S3_1Pos_2Mosaic_T1_Z1_CH1.czi", {"TR1": (1, 1, 1, 122, 295), "P1": (1, 1, 1, 64, 64),
                                           "TR2": (1, 1, 1, 237, 352)}),
        ("xyz__multiple_images.czi", {"Scene 1": (1, 2, 1, 251, 251),
                                      "Scene 2": (1, 2, 1, 251, 251)}),
        ("prairieview_ome_set/TSeries-camp-005_Cycle00001_Ch1_000001.ome.tif",
         {f"Sequence:{i}": (4, 1, 2, 128, 128) for i in (1, 2, 3)}),
    ],
)  # fmt: skip
def test_all_images_of_a_file_can_be_chosen(shared_data, name, images):
    path = shared_data / "formats" / name
    found = choices(path)
    assert [one.name for one in found.images] == list(images)
    assert found.worth_asking == (path.suffix != ".svs")  # its others are never what is meant
    for number, (series, shape) in enumerate(images.items(), 1):
        for wanted in (series, str(number)):
            with open_stack(path, Reading(wanted)) as stack:
                assert stack.shape == shape
                stack.plane(*list(stack.planes())[-1])
    if path.suffix == ".svs":
        with open_stack(path, Reading("Label")) as stack, tifffile.TiffFile(path) as file:
            np.testing.assert_array_equal(
                stack.plane(0, 0), np.moveaxis(file.series[2].asarray(), -1, 0)
            )


def test_the_second_scene_holds_its_own_pixels(shared_data):
    path = shared_data / "formats" / "xyz__multiple_images.czi"
    planes = {}
    for series in ("Scene 1", "Scene 2"):
        with open_stack(path, Reading(series)) as stack:
            planes[series] = stack.plane(0, 1)
    assert not np.array_equal(planes["Scene 1"], planes["Scene 2"])


def test_names_colours_and_times_are_read(shared_data):
    formats = shared_data / "formats"
    with open_stack(formats / "DAPI_GFP.czi") as stack:
        assert stack.channel_names == ("DAPI", "GFP")
        assert stack.channel_colors == ("#0000ff", "#00ff00")
    with open_stack(formats / "xz-example.lif") as stack:
        assert stack.channel_colors == ("#00ff00", "#ff0000")
        assert stack.time_interval == pytest.approx(0.53)
    with open_stack(formats / "xyc_16bit__cell_dna_mts_actin.tif") as stack:
        assert len(stack.channel_colors) == 3


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


def test_sets_of_files(shared_data):
    folder = shared_data / "formats" / "prairieview_ome_set"
    with open_stack(folder / "TSeries-camp-005_Cycle00001_Ch1_000001.ome.tif") as stack:
        assert len(stack.files) == 8
        third = tifffile.imread(folder / "TSeries-camp-005_Cycle00001_Ch2_000003.ome.tif",
                                _multifile=False)  # fmt: skip
        np.testing.assert_array_equal(stack.plane(2, 0)[1], third)


def test_a_palette_gives_its_numbers(shared_data):
    path = shared_data / "formats" / "palette-1c-8b.tiff"
    with open_stack(path) as stack, tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(stack.plane(0, 0)[0], file.pages[0].asarray())
