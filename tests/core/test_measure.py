"""Measurements taken plane by plane are those of the whole volume."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from tests.synthetic import write_imagej
from unet_core.measure import measure
from unet_core.stack import PlaneIndex, open_stack


def _named(table):
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_volumes_plane_by_plane(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("volume")
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    shape = (data.draw(st.integers(2, 4)), 7, 9)
    offset = data.draw(st.sampled_from([0, 60_000]))  # a small deviation beside a large mean
    image = random.integers(offset, offset + 99, (shape[0], 2, 7, 9)).astype(np.uint16)
    path = write_imagej(folder / "a.tif", image, "ZCYX", (2.0, 0.5, 0.25))
    own = np.array([0, 3, 65_536, 70_000], np.uint32)
    labels = own[random.integers(0, 4, shape)]
    with open_stack(path) as stack:
        (table,) = measure(lambda plane: labels[plane.z], stack, "a")
    rows = {row["label"]: row for row in _named(table)}
    whole = regionprops(labels.astype(np.int64), np.moveaxis(image, 1, -1).astype(float))
    assert set(rows) == {one.label for one in whole}
    for one in whole:
        row = rows[one.label]
        values = image.transpose(0, 2, 3, 1)[labels == one.label].astype(float)
        assert row["volume_px"] == one.area
        assert row["volume_um3"] == pytest.approx(one.area * 0.25)
        assert [row[f"centroid_{a}_px"] for a in "zyx"] == pytest.approx(one.centroid)
        box = [row[f"bbox_{a}_{e}_px"] for e in ("min", "end") for a in "zyx"]
        assert tuple(box) == one.bbox
        for c in (0, 1):
            of = f"channel{c + 1}"
            assert row[f"{of}_mean"] == pytest.approx(values[:, c].mean(), rel=1e-12)
            assert row[f"{of}_std"] == pytest.approx(values[:, c].std(), rel=1e-9, abs=1e-9)
            assert (row[f"{of}_min"], row[f"{of}_max"]) == (values[:, c].min(), values[:, c].max())
            assert row[f"{of}_integrated"] == values[:, c].sum()


def test_only_the_planes_that_are_asked_for(tmp_path):
    path = write_imagej(tmp_path / "a.tif", np.ones((3, 2, 5, 5), np.uint8), "TZYX")
    asked = []

    def labels(plane: PlaneIndex) -> np.ndarray:
        asked.append(plane)
        return np.eye(5, dtype=np.uint8)

    with open_stack(path) as stack:
        (table,) = measure(labels, stack, "a", times=[2], slices=[1])
    assert asked == [PlaneIndex(2, 1)]
    (row, *_) = _named(table)
    assert (row["frame"], row["area_px"], row["touches_border"]) == (2, 5, 1)
    assert "perimeter_um" in row


def test_places_count_from_the_first_plane_of_the_image(tmp_path):
    path = write_imagej(tmp_path / "a.tif", np.ones((4, 5, 5), np.uint8), "ZYX", (2.0, 1.0, 1.0))
    with open_stack(path) as stack:
        (table,) = measure(lambda plane: np.eye(5, dtype=np.uint8), stack, "a", slices=[2, 3])
    (row,) = _named(table)
    assert (row["centroid_z_px"], row["centroid_z_um"]) == (2.5, 5.0)
    assert (row["bbox_z_min_px"], row["bbox_z_end_px"]) == (2, 4)
