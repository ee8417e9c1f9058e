"""Other programs' masks as an annotation: the right pixels, one edit, whatever the file holds."""

import itertools
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.synthetic import write_imagej
from unet_core import geojson, rois
from unet_core.annotation import DEFAULT_CLASSES, Annotation, AnnotationError, ClassInfo
from unet_core.export import ExportError
from unet_core.export_presets import preset, write_presets
from unet_core.import_masks import importing, made_by
from unet_core.labels import MAX_OBJECT, classes_of, objects_of
from unet_core.shapes import ShapeError
from unet_core.stack import PlaneIndex, StackError, open_stack
from unet_core.steps import result_of
from unet_core.tiling import Rect

CLASSES = (*DEFAULT_CLASSES, ClassInfo("debris", "#009e73"))
P = PlaneIndex(0, 0)


def image(path: Path, *shape):
    axes = {2: "YX", 3: "ZYX", 4: "TZYX"}[len(shape)]
    return open_stack(write_imagej(path, np.zeros(shape, np.uint8), axes))


@pytest.fixture
def stack(tmp_path):
    with image(tmp_path / "cells.tif", 17, 21) as opened:
        yield opened


def empty(stack) -> Annotation:
    return Annotation((*stack.shape[:2], *stack.shape[3:]))


def bring(path, stack, annotation=None, **options):
    """Import into an annotation: the annotation afterwards, and what the import says."""
    annotation = empty(stack) if annotation is None else annotation
    imported = result_of(importing(path, stack, annotation.snapshot(), **options))
    if imported.edit is not None:
        annotation.apply(imported.edit)
    return annotation, imported


def objects(annotation, plane=P):
    return objects_of(annotation.read_labels(plane))


def refusal(path, stack, **options):
    """The sentence with which a file is refused."""
    with pytest.raises((ShapeError, ExportError, StackError, AnnotationError)) as caught:
        bring(path, stack, **options)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and "Error" not in sentence
    return sentence


# Label images


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "uint64"])
def test_a_label_image_of_cellpose(tmp_path, stack, dtype):
    labels = np.zeros((17, 21), dtype)
    labels[3, 4] = labels[4, 4] = 120
    labels[10:12, 10:12] = 7
    tifffile.imwrite(tmp_path / "cells_cp_masks.tif", labels, compression="zlib")
    annotation, imported = bring(tmp_path / "cells_cp_masks.tif", stack)
    assert (imported.objects, imported.skipped) == (2, 0)
    np.testing.assert_array_equal(objects(annotation), (labels == 7) * 1 + (labels == 120) * 2)
    np.testing.assert_array_equal(annotation.read(P), (labels > 0) * 2)


def test_an_object_through_z_stays_one(tmp_path):
    labels = np.zeros((2, 3, 17, 21), np.uint16)
    labels[0, :, 3, 4] = 9
    labels[1, 1, 5, 5] = 4
    tifffile.imwrite(tmp_path / "m.tif", labels, photometric="minisblack")
    with image(tmp_path / "raw.tif", 2, 3, 17, 21) as stack:
        annotation, imported = bring(tmp_path / "m.tif", stack)
    assert imported.objects == 2
    assert {int(objects(annotation, PlaneIndex(0, z))[3, 4]) for z in range(3)} == {1}
    assert objects(annotation, PlaneIndex(1, 1))[5, 5] == 2
    assert len(imported.edit.planes) == 4, "all of it is one edit"
    annotation.apply(imported.edit.inverse())
    assert annotation.counts() == {}


def test_what_was_painted_stays_unless_the_masks_are_to_lie_on_top(tmp_path, stack):
    labels = np.ones((17, 21), np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", labels)
    for keep in (True, False):
        annotation = empty(stack)
        annotation.fill(P, Rect(2, 2, 3, 3), np.ones((3, 3), bool), 1)
        annotation.fill(P, Rect(9, 9, 2, 2), np.ones((2, 2), bool), 2, 5)
        before = annotation.read_labels(P)
        bring(tmp_path / "m.tif", stack, annotation, value=3, keep=keep)
        after = annotation.read_labels(P)
        new = (before == 0) | (not keep)
        assert (classes_of(after)[new] == 3).all() and (objects_of(after)[new] == 6).all()
        np.testing.assert_array_equal(after[~new], before[~new])


def test_the_rest_can_become_background(tmp_path, stack):
    labels = np.zeros((17, 21), np.uint8)
    labels[3:5, 3:5] = 1
    tifffile.imwrite(tmp_path / "m.tif", labels)
    annotation, _ = bring(tmp_path / "m.tif", stack, background=True)
    assert annotation.counts() == {1: 17 * 21 - 4, 2: 4}


def test_classes_of_an_ilastik_segmentation(tmp_path, stack):
    labels = np.random.default_rng(0).integers(0, 4, (17, 21), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", labels)
    annotation, imported = bring(tmp_path / "m.tif", stack, labels_are="classes")
    np.testing.assert_array_equal(annotation.read(P), labels)
    assert imported.objects == 0 and not objects(annotation).any()
    tifffile.imwrite(tmp_path / "n.tif", labels.astype(np.uint16) + 300)
    assert "above 255" in refusal(tmp_path / "n.tif", stack, labels_are="classes")


def test_nothing_new_is_no_edit(tmp_path, stack):
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((17, 21), np.uint8))
    assert bring(tmp_path / "m.tif", stack)[1].edit is None


# Out and in again


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_limn_exports_comes_back_the_same(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("again")
    shape = tuple(data.draw(st.integers(1, 3)) for _ in range(2)) + (
        data.draw(st.integers(1, 15)), data.draw(st.integers(1, 15)))  # fmt: skip
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    numbers = random.integers(0, 4, shape).astype(np.uint32)
    values = np.array([0, 2, 3, 2])[numbers]  # a class for each object
    with image(folder / "raw.tif", *shape) as stack:
        annotation = empty(stack)
        for plane in stack.planes():
            annotation.write(plane, values[plane], objects=numbers[plane])
        for name in ("objects", "imagej", "imagej-rois", "qupath"):
            path = folder / preset(name).path_for(stack.path).name
            result_of(write_presets({name: path}, stack, annotation=annotation.snapshot(),
                                    classes=CLASSES))  # fmt: skip
            known = {"cell": 2, "debris": 3}
            found, imported = bring(path, stack, values=known)
            assert imported.objects == len(np.unique(numbers[numbers > 0]))
            same: dict[int, int] = {}
            for plane in stack.planes():
                for old, new in zip(numbers[plane].flat, objects(found, plane).flat, strict=True):
                    assert same.setdefault(int(new), int(old)) == old
                if name in ("imagej-rois", "qupath"):
                    np.testing.assert_array_equal(found.read(plane), values[plane])


# ImageJ's ROIs


def test_rois_as_imagej_draws_them(tmp_path, stack):
    """A wand's outline, a rectangle, an oval, a freehand line, a point: what has an area counts."""
    wand = roifile.ImagejRoi.frompoints(np.array([[4, 3], [5, 3], [5, 6], [4, 6]]), name="a")
    box = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, top=10, left=12, bottom=13, right=14, name="b"
    )
    oval = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.OVAL, top=2, left=10, bottom=10, right=18, name="c"
    )
    point = roifile.ImagejRoi.frompoints(np.array([[1, 1]]), name="d")
    point.roitype = roifile.ROI_TYPE.POINT
    outside = roifile.ImagejRoi.frompoints(np.array([[50, 50], [60, 50], [60, 60]]), name="e")
    for number, roi in enumerate((wand, box, oval, point, outside)):
        roi.tofile(tmp_path / "RoiSet.zip", name=f"{number}.roi")
    annotation, imported = bring(tmp_path / "RoiSet.zip", stack)
    assert (imported.objects, imported.skipped) == (3, 2)
    found = objects(annotation)
    assert {tuple(p) for p in np.argwhere(found == 1)} == {(3, 4), (4, 4), (5, 4)}
    assert {tuple(p) for p in np.argwhere(found == 2)} == {
        (y, x) for y in (10, 11, 12) for x in (12, 13)
    }
    y, x = np.indices((17, 21)) + 0.5
    distance = np.hypot(y - 6, x - 14)
    assert (found[distance < 3.6] == 3).all() and not (found[distance > 4.1] == 3).any()


def test_a_single_roi_file_and_a_composite_with_curves(tmp_path, stack):
    path = [0, 2, 2, 1, 10, 2, 1, 10, 10, 1, 2, 10, 4, 0, 4, 4, 3, 4, 6, 4, 8, 8, 8, 1, 8, 4, 4]
    roi = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, top=2, left=2, bottom=10, right=10, name="x",
        shape_roi_size=len(path), multi_coordinates=np.array(path, np.float32),
    )  # fmt: skip
    roi.tofile(tmp_path / "one.roi")
    annotation, imported = bring(tmp_path / "one.roi", stack)
    found = objects(annotation)
    assert imported.objects == 1
    assert (found[2:4, 2:10] == 1).all() and (found[5, 6], found[2, 2], found[1, 1]) == (0, 1, 0)


@pytest.mark.parametrize(("shape", "positions"), [
    ((3, 17, 21), [{"position": 2}, {"z": 2}, {"name": "0003-0001-0001"}]),
    ((2, 3, 17, 21), [{"z": 0, "t": 1}, {"position": 5}]),
])  # fmt: skip
def test_rois_go_to_the_slice_that_imagej_would_show(tmp_path, shape, positions):
    """`frompoints` counts from 0, the name from 1."""
    with image(tmp_path / "raw.tif", *shape) as stack:
        for number, where in enumerate(positions):
            points = np.array([[4, 3], [5, 3], [5, 4], [4, 4]])
            roi = roifile.ImagejRoi.frompoints(points, **{"name": "r", **where})
            roi.tofile(tmp_path / "RoiSet.zip", name=f"{number}.roi")
        annotation, imported = bring(tmp_path / "RoiSet.zip", stack)
        expected = [(0, 2), (0, 2), (0, 2)] if len(shape) == 3 else [(1, 0), (1, 2)]
        assert annotation.labelled_planes() == sorted(set(expected))


def test_shapes_without_a_plane_go_where_they_are_wanted(tmp_path):
    roi = roifile.ImagejRoi.frompoints(np.array([[4, 3], [5, 3], [5, 4], [4, 4]]), name="x")
    roi.tofile(tmp_path / "a.roi")
    with image(tmp_path / "raw.tif", 3, 17, 21) as stack:
        annotation, _ = bring(tmp_path / "a.roi", stack, plane=PlaneIndex(0, 1))
    assert annotation.labelled_planes() == [PlaneIndex(0, 1)]


# GeoJSON


def square(y, x, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def test_geojson_of_qupath(tmp_path, stack):
    ring = {"type": "Polygon", "coordinates": [square(2, 2, 6), square(4, 4, 2)]}
    pair = {"type": "MultiPolygon", "coordinates": [[square(10, 2, 2)], [square(10, 8, 2)]]}
    point = {"type": "Point", "coordinates": [1, 1]}
    elsewhere = {"type": "Polygon", "coordinates": [square(0, 0, 1)], "plane": {"z": 4, "t": 0}}
    features = [
        {
            "type": "Feature",
            "geometry": ring,
            "properties": {"objectType": "annotation", "classification": {"name": "debris"}},
        },
        {"type": "Feature", "geometry": pair, "properties": None},
        {"type": "Feature", "geometry": point, "properties": {}},
        {"type": "Feature", "geometry": None, "properties": {}},
        {"type": "Feature", "geometry": elsewhere},
    ]
    for content in (features, {"type": "FeatureCollection", "features": features}):
        (tmp_path / "a.geojson").write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
        annotation, imported = bring(tmp_path / "a.geojson", stack, values={"debris": 3})
        assert (imported.objects, imported.skipped) == (2, 3)
        expected = np.zeros((17, 21), int)
        expected[2:8, 2:8] = 1
        expected[4:6, 4:6] = 0
        expected[10:12, 2:4] = expected[10:12, 8:10] = 2
        np.testing.assert_array_equal(objects(annotation), expected)
        np.testing.assert_array_equal(annotation.read(P), np.array([0, 3, 2])[expected])


def test_background_is_no_class_that_objects_may_have(tmp_path, stack):
    (tmp_path / "a.geojson").write_text("[]")
    for options in ({"value": 1}, {"value": 256}, {"values": {"a": 0}}, {"values": {"a": 256}}):
        with pytest.raises(ValueError, match="no class"):
            bring(tmp_path / "a.geojson", stack, **options)


def test_what_is_called_background_becomes_background(tmp_path, stack):
    """Under the cells, whichever comes first in the file; also by the name it has here."""

    def feature(name, *place):
        geometry = {"type": "Polygon", "coordinates": [square(*place)]}
        return {
            "type": "Feature",
            "geometry": geometry,
            "properties": {"classification": {"name": name}},
        }

    features = [feature("Cell", 3, 3, 4), feature("Background", 0, 0, 9), feature("Rest", 12, 0, 3)]
    (tmp_path / "a.geojson").write_text(json.dumps(features))
    annotation, imported = bring(tmp_path / "a.geojson", stack, value=3, values={"rest": 1})
    expected = np.zeros((17, 21), int)
    expected[:9, :9] = expected[12:15, :3] = 1
    expected[3:7, 3:7] = 3
    np.testing.assert_array_equal(annotation.read(P), expected)
    np.testing.assert_array_equal(objects(annotation), expected == 3)
    assert imported.objects == 1
    annotation, _ = bring(tmp_path / "a.geojson", stack, value=3, values={"background": 2})
    assert set(np.unique(annotation.read(P))) == {0, 2, 3}, "unless a class has that name"


# Strangers' files


@pytest.mark.parametrize("text", [
    "{", "[[[[", "[1, 2]", '{"features": 3}', '{"features": [{"geometry": {"type": "Polygon"}}]}',
    '{"type": "Polygon", "coordinates": [[["a", 1]]]}', '{"type": "Polygon", "coordinates": []}',
    '{"type": "Polygon", "coordinates": [[[1, 2], [3]]]}', "[" * 100_000,
    '{"type": "Polygon", "coordinates": [[[NaN, 1], [2, 3], [4, 5]]]}',
    '{"type": "Polygon", "coordinates": [[[1e300, 1], [2, 3], [4, 5]]]}',
    '{"type": "Polygon", "coordinates": [[[1' + "0" * 400 + ', 1], [2, 3], [4, 5]]]}',
    '{"type": "Polygon", "coordinates": [[{"a": 1}]]}',
    '{"type": "MultiPolygon", "coordinates": 4}',
    '{"type": "Polygon", "coordinates": [[[1, 1], [2, 3], [4, 5]]], "plane": {"z": "x"}}',
    '{"type": "Polygon", "coordinates": [[[1, 1], [2, 3], [4, 5]]], "plane": {"z": 0.5}}',
])  # fmt: skip
def test_damaged_geojson_is_refused_in_a_sentence(tmp_path, stack, text):
    (tmp_path / "a.geojson").write_text(text)
    refusal(tmp_path / "a.geojson", stack)


def test_a_polygon_that_would_take_for_ever_is_refused(tmp_path, stack):
    zigzag = [[x % 2, (x % 2) * 1e8] for x in range(100)]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [zigzag]}))
    bring(tmp_path / "a.geojson", stack)  # far beyond the plane: only what lies in it costs
    with image(tmp_path / "tall.tif", 4000, 1) as tall:
        zigzag = [[x % 2, (x % 2) * 4000] for x in range(5000)]
        (tmp_path / "b.geojson").write_text(
            json.dumps({"type": "Polygon", "coordinates": [zigzag]})
        )
        assert "too many corners" in refusal(tmp_path / "b.geojson", tall)


def test_files_that_are_too_large_are_refused_unread(tmp_path, stack, monkeypatch):
    (tmp_path / "a.geojson").write_text("[" + " " * 5000 + "]")
    monkeypatch.setattr(geojson, "MOST_BYTES", 4096)
    assert "too large" in refusal(tmp_path / "a.geojson", stack)
    monkeypatch.setattr(geojson, "MOST_BYTES", 10**6)
    monkeypatch.setattr(geojson, "MOST_SHAPES", 3)
    (tmp_path / "a.geojson").write_text("[{}, {}, {}, {}]")
    assert "more than" in refusal(tmp_path / "a.geojson", stack)


def test_a_zip_bomb_is_not_unpacked(tmp_path, stack, monkeypatch):
    monkeypatch.setattr(rois, "MOST_ROI_BYTES", 2**16)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.roi", b"Iout" + bytes(2**24))
    assert "too many corners" in refusal(tmp_path / "a.zip", stack)
    monkeypatch.setattr(rois, "MOST_ROIS", 2)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.roi", b"Iout" + bytes(100))
    assert "more than" in refusal(tmp_path / "b.zip", stack)


def test_other_archives_are_refused(tmp_path, stack):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("photo.png", b"x")
    assert "no ImageJ ROIs" in refusal(tmp_path / "a.zip", stack)
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 and then nothing")
    assert "damaged" in refusal(tmp_path / "b.zip", stack)
    assert "does not exist" in refusal(tmp_path / "none.zip", stack)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_rois_never_do_more_than_be_refused(tmp_path_factory, data):
    """Any byte of a ROI may be anything."""
    folder = tmp_path_factory.mktemp("damage")
    roi = roifile.ImagejRoi.frompoints(np.array([[4, 3], [5, 3], [5, 6], [4, 6]]), name="a")
    if data.draw(st.booleans()):
        roi.roitype, roi.shape_roi_size = roifile.ROI_TYPE.RECT, 6
        roi.multi_coordinates = np.array([0, 1, 1, 1, 5, 5], np.float32)
    content = bytearray(roi.tobytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(4, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(8, len(content))) :]
    (folder / "a.roi").write_bytes(content)
    with image(folder / "raw.tif", 17, 21) as stack:
        try:
            bring(folder / "a.roi", stack)
        except ShapeError as error:
            assert str(error).endswith(".")


def test_a_roi_that_promises_more_corners_than_it_has(tmp_path, stack):
    roi = roifile.ImagejRoi.frompoints(np.array([[4, 3], [5, 3], [5, 6], [4, 6]]), name="a")
    content = bytearray(roi.tobytes())
    content[16:18] = struct.pack(">H", 0)
    content[18:22] = struct.pack(">i", 2**31 - 1)
    (tmp_path / "a.roi").write_bytes(content)
    assert "damaged" in refusal(tmp_path / "a.roi", stack)


def test_a_pickle_of_cellpose_is_never_unpacked(tmp_path, stack):
    np.save(tmp_path / "cells_seg.npy", {"masks": np.ones((17, 21))}, allow_pickle=True)
    assert "Cellpose" in refusal(tmp_path / "cells_seg.npy", stack)


@pytest.mark.parametrize(("name", "meaning"), [
    ("cells_cp_masks.tif", "objects"), ("cells_Simple Segmentation.tif", "classes"),
    ("cells_Object-Identities.tif", "objects"), ("cells_classes.tif", "classes"),
    ("cells_annotation.tif", "classes"), ("cells.tif", "objects"), ("glasses.tif", "objects"),
])  # fmt: skip
def test_what_values_stand_for_is_guessed_by_the_name(tmp_path, name, meaning):
    path = tmp_path / name
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8))
    assert made_by(path)[1] == meaning


def test_a_sample_of_the_plane_where_most_comes_in(tmp_path):
    labels = np.zeros((3, 17, 21), np.uint16)
    labels[1, 2:5, 2:5], labels[1, 8:9, 8:9], labels[2, 2:5, 2:5] = 1, 2, 1
    tifffile.imwrite(tmp_path / "l.tif", labels, photometric="minisblack")
    with image(tmp_path / "c.tif", 3, 17, 21) as stack:
        _, imported = bring(tmp_path / "l.tif", stack)
        assert imported.sample.plane == (0, 1) and imported.sample.objects == 2
        np.testing.assert_array_equal(imported.sample.labels > 0, labels[1] > 0)
        assert (imported.planes, imported.covered) == (2, 0)
        _, imported = bring(tmp_path / "l.tif", stack, plane=PlaneIndex(0, 2))
        assert imported.sample.plane == (0, 2) and imported.sample.objects == 1
        annotation = Annotation((1, 3, 17, 21))
        painted = np.full((3, 21), 1 << 24, np.uint32)
        annotation.change("test", [(PlaneIndex(0, 1), Rect(0, 0, 3, 21), painted)])
        steps = importing(tmp_path / "l.tif", stack, annotation)
        assert result_of(steps).covered == 3


def test_label_images_that_do_not_fit_are_refused(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((21, 17), np.uint8))
    assert "does not fit" in refusal(tmp_path / "a.tif", stack)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((17, 21), np.float32))
    assert "fractional" in refusal(tmp_path / "b.tif", stack)
    tifffile.imwrite(tmp_path / "c.tif", np.full((17, 21), -2, np.int16))
    assert "negative" in refusal(tmp_path / "c.tif", stack)
    (tmp_path / "d.tif").write_text("hello")
    assert "not an image" in refusal(tmp_path / "d.tif", stack)


def test_there_are_only_so_many_object_numbers(tmp_path, stack):
    annotation = empty(stack)
    annotation.fill(P, Rect(0, 0, 1, 1), np.ones((1, 1), bool), 2, MAX_OBJECT - 1)
    labels = np.zeros((17, 21), np.uint8)
    labels[5, 5], labels[6, 7] = 1, 2
    tifffile.imwrite(tmp_path / "a.tif", labels)
    with pytest.raises(AnnotationError, match="no room"):
        bring(tmp_path / "a.tif", stack, annotation)


def test_importing_can_be_cancelled_and_changes_nothing_itself(tmp_path):
    labels = np.ones((4, 17, 21), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    with image(tmp_path / "raw.tif", 4, 17, 21) as stack:
        annotation = empty(stack)
        steps = importing(tmp_path / "a.tif", stack, annotation.snapshot())
        assert [(p.done, p.total) for p in itertools.islice(steps, 3)] == [(1, 4), (2, 4), (3, 4)]
        steps.close()
        assert annotation.counts() == {}
