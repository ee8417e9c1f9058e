"""The sample that Limn opens at first start is small, real-looking and made by its script."""

import runpy
from pathlib import Path

import numpy as np

from unet_core.stack import open_stack

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "resources" / "sample.tif"


def test_the_sample_opens_with_axes_and_scale():
    assert SAMPLE.stat().st_size < 1_500_000
    with open_stack(SAMPLE) as stack:
        assert (stack.axes, stack.shape, stack.dtype) == ("TYX", (8, 1, 1, 384, 512), np.uint8)
        assert abs(stack.pixel_size[1] - 0.65) < 1e-6 and stack.time_interval == 900


def test_the_script_makes_the_sample_again():
    """To a grey value or two: another processor or scipy may round differently."""
    made = runpy.run_path(str(ROOT / "packaging" / "make_sample.py"))["make"]()
    with open_stack(SAMPLE) as stack:
        for t in range(len(made)):
            difference = np.abs(stack.plane(t, 0)[0].astype(int) - made[t])
            assert difference.max() <= 2
