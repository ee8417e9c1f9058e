"""Pixel sizes, times and channel names reach us in micrometres and seconds, or not at all."""

import pytest
import tifffile

from tests.core.stack_helpers import numbers
from unet_core.stack import open_stack


@pytest.mark.parametrize(
    ("unit", "spacing", "expected"),
    [
        ("um", 2.0, (2.0, 0.5, 0.25)),
        ("\\u00B5m", 2.0, (2.0, 0.5, 0.25)),
        ("micron", None, (1.0, 0.5, 0.25)),
        ("nm", 2.0, (0.002, 0.0005, 0.00025)),
        ("mm", 2.0, (2000.0, 500.0, 250.0)),
        ("pixel", 2.0, None),
        (None, None, None),
    ],
)
def test_pixel_size_of_imagej(tmp_path, unit, spacing, expected):
    metadata = {"axes": "ZYX", "unit": unit, "spacing": spacing, "finterval": 1.5}
    tifffile.imwrite(tmp_path / "a.tif", numbers((2, 9, 8)), imagej=True, resolution=(4.0, 2.0),
                     metadata={k: v for k, v in metadata.items() if v is not None})  # fmt: skip
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.pixel_size == (None if expected is None else pytest.approx(expected))
        assert stack.time_interval == 1.5


def test_metadata_of_ome(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", numbers((2, 3, 9, 8)), photometric="minisblack",
                     metadata={"axes": "TCYX", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm",
                               "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
                               "TimeIncrement": 2.0, "TimeIncrementUnit": "min",
                               "Channel": {"Name": ["DAPI", "GFP", "BF"]}})  # fmt: skip
    with open_stack(tmp_path / "a.ome.tif") as stack:
        assert stack.pixel_size == (1.0, 0.5, 0.25)
        assert stack.time_interval == 120.0
        assert stack.channel_names == ("DAPI", "GFP", "BF")


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20000, 10000), "CENTIMETER", (1.0, 1.0, 0.5)),
        ((50800, 50800), "INCH", (1.0, 0.5, 0.5)),
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((1200, 1200), "INCH", None),
        ((118, 118), "CENTIMETER", None),
        ((1, 1), "NONE", None),
    ],
)
def test_resolution_of_plain_tiff_only_where_plausible(tmp_path, resolution, unit, expected):
    tifffile.imwrite(tmp_path / "a.tif", numbers((9, 8)), metadata=None, resolution=resolution,
                     resolutionunit=unit)  # fmt: skip
    size = open_stack(tmp_path / "a.tif").pixel_size
    assert size == (None if expected is None else pytest.approx(expected))
