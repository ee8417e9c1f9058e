"""Every format: what is written lands on the same pixels when its own reader reads it back."""

import csv
import errno
import itertools
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from tests.synthetic import write_imagej
from unet_core import atomic, imagej_tiff, json_lines, masks, rois, table
from unet_core import export as export_
from unet_core.annotation import DEFAULT_CLASSES, Annotation, ClassInfo
from unet_core.coco import packed_runs, unpacked_runs
from unet_core.export import ExportError, Extent
from unet_core.export_presets import PRESETS, methods_sentence, preset, write_presets
from unet_core.labels import MAX_OBJECT
from unet_core.stack import PlaneIndex, open_stack
from unet_core.steps import result_of
from unet_core.tiling import Rect

CLASSES = (*DEFAULT_CLASSES, ClassInfo("débris, λ", "#009e73"))
PAINTED = [one.id for one in PRESETS if one.needs != "probability"]
RASTERS = ["objects", "imagej", "cellpose", "stardist", "napari"]
ZARRS = ["ome-zarr", "ome-zarr-0.5"]
OBJECTS = [*RASTERS, "imagej-rois", "qupath", "coco", *ZARRS]


def make_image(path: Path, times=1, slices=1, shape=(17, 21), size=(0.5, 0.25, 0.125)):
    """An image without a T or Z axis where there is only one of them."""
    pixels = np.arange(times * slices * np.prod(shape), dtype=np.uint32) % 251
    pixels = pixels.astype(np.uint8).reshape(times, slices, *shape)
    axes = "T" * (times > 1) + "Z" * (slices > 1) + "YX"
    return write_imagej(path, pixels.reshape([n for n in pixels.shape[:2] if n > 1] + list(shape)),
                        axes, size)  # fmt: skip


def annotated(stack, objects, classes=2) -> Annotation:
    """An annotation with these object numbers (T, Z, Y, X), all of one class or of those given."""
    annotation = Annotation((*stack.shape[:2], *stack.shape[3:]))
    values = np.broadcast_to(np.where(objects > 0, classes, 0), objects.shape)
    for plane in stack.planes():
        annotation.write(plane, values[plane], objects=objects[plane])
    return annotation.snapshot()


def export(name, path, stack, annotation, **options):
    steps = write_presets({name: path}, stack, annotation=annotation, classes=CLASSES, **options)
    return result_of(steps)


def read_objects(name, path, shape):
    """Object numbers (T, Z, Y, X) as the format's own kind of reader finds them."""
    times, slices, height, width = shape
    if name in RASTERS:
        return tifffile.imread(path).reshape(shape)
    if name in ZARRS:
        array = zarr.open_group(path, mode="r")["labels/objects/0"]
        return np.asarray(array[:]).reshape(shape)
    found = np.zeros(shape, np.uint32)
    if name == "imagej-rois":
        for roi in roifile.roiread(path):
            number = int(dict(line.split(": ") for line in roi.props.splitlines())["object"])
            z = max(roi.z_position, 1) - 1
            t = max(roi.t_position, 1) - 1
            if roi.position:
                t, z = divmod(roi.position - 1, slices)
            for points in roi.coordinates(multi=True):
                inside = polygon2mask((height, width), np.asarray(points)[:, ::-1] - 0.5)
                found[t, z][inside] ^= number
    elif name == "qupath":
        for feature in json.loads(path.read_text("utf-8"))["features"]:
            geometry = feature["geometry"]
            plane = geometry["plane"]
            polygons = geometry["coordinates"]
            for ring in itertools.chain(
                *([polygons] if geometry["type"] == "Polygon" else polygons)
            ):
                assert ring[0] == ring[-1]
                inside = polygon2mask((height, width), np.array(ring)[:-1, ::-1] - 0.5)
                found[plane["t"], plane["z"]][inside] ^= int(feature["properties"]["name"])
    else:
        content = json.loads(path.read_text("utf-8"))
        places = {
            image["id"]: (image.get("frame", 0), image.get("slice", 0))
            for image in content["images"]
        }
        for one in content["annotations"]:
            assert one["segmentation"]["size"] == [height, width]
            runs = unpacked_runs(one["segmentation"]["counts"])
            assert runs.sum() <= height * width
            inside = np.zeros(height * width, bool)
            marked = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
            inside[: len(marked)] = marked
            mask = inside.reshape(width, height).T
            assert one["area"] == mask.sum()
            y, x = np.nonzero(mask)
            assert one["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            found[places[one["image_id"]]][mask] = one["object"]
    return found


# The shift test


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("planes", [(1, 1), (1, 3), (3, 1), (2, 3)])
def test_an_l_lands_on_its_own_pixels(tmp_path, name, planes):
    path = make_image(tmp_path / "raw.tif", *planes)
    with open_stack(path) as stack:
        objects = np.zeros((*planes, 17, 21), np.uint32)
        t, z = planes[0] - 1, planes[1] - 1
        for y, x in ((3, 4), (4, 4), (5, 4), (5, 5)):
            objects[t, z, y, x] = 7
        target = preset(name).path_for(path, tmp_path / "out")
        export(name, target, stack, annotated(stack, objects))
        np.testing.assert_array_equal(read_objects(name, target, objects.shape), objects)


def test_polygon_corners_are_pixel_edges(tmp_path):
    """The L's outline, corner by corner, in QuPath's and in ImageJ's coordinates (x, y)."""
    path = make_image(tmp_path / "raw.tif")
    corners = {(4, 3), (5, 3), (5, 5), (6, 5), (6, 6), (4, 6)}
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 3:6, 4] = objects[0, 0, 5, 5] = 7
    with open_stack(path) as stack:
        annotation = annotated(stack, objects)
        export("qupath", tmp_path / "a.geojson", stack, annotation)
        export("imagej-rois", tmp_path / "a.zip", stack, annotation)
    (feature,) = json.loads((tmp_path / "a.geojson").read_text("utf-8"))["features"]
    (ring,) = feature["geometry"]["coordinates"]
    assert set(map(tuple, ring)) == corners and len(ring) == 7
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"] == {"name": "cell", "color": [0xE6, 0x9F, 0]}
    x, y = np.array(ring).T
    assert abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2 == 4, "the area is 4 pixels"
    (roi,) = roifile.roiread(tmp_path / "a.zip")
    assert set(map(tuple, roi.coordinates().tolist())) == corners
    assert roi.roitype == roifile.ROI_TYPE.TRACED
    assert (roi.left, roi.top, roi.right, roi.bottom) == (4, 3, 6, 6)


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_labels_come_back_from_every_format(tmp_path_factory, data):
    """Holes, touching objects, single pixels, borders, huge numbers, one-slice stacks, T and Z."""
    folder = tmp_path_factory.mktemp("random")
    planes = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    shape = (*planes, data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12)))
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    kinds = data.draw(st.integers(1, 4))
    highest = data.draw(st.sampled_from([kinds, 65_535, 65_536, MAX_OBJECT]))
    own = np.append(0, random.integers(1, highest + 1, kinds)).astype(np.uint32)
    objects = own[random.integers(0, kinds + 1, shape)]
    if data.draw(st.booleans()):
        objects[..., 1:-1, 1:-1] = 0  # a frame: one hole in all
    path = make_image(folder / "raw.tif", *shape[:2], shape[2:])
    with open_stack(path) as stack:
        annotation = annotated(stack, objects)
        targets = {name: folder / name / preset(name).path_for(path).name for name in OBJECTS}
        steps = write_presets(targets, stack, annotation=annotation, classes=CLASSES)
        written = result_of(steps)
    assert written.objects == len(set(np.unique(objects)) - {0})
    for name, target in targets.items():
        np.testing.assert_array_equal(read_objects(name, target, objects.shape), objects, name)


@pytest.mark.parametrize("name", OBJECTS)
def test_numbers_above_16_bits(tmp_path, name):
    path = make_image(tmp_path / "raw.tif")
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 0, 0], objects[0, 0, 16, 20] = 65_536, 1
    with open_stack(path) as stack:
        target = preset(name).path_for(path, tmp_path / "out")
        export(name, target, stack, annotated(stack, objects))
    np.testing.assert_array_equal(read_objects(name, target, objects.shape), objects)
    if name in ("objects", "cellpose", "stardist"):
        assert tifffile.imread(target).dtype == np.uint32


# What each program expects


def test_label_images_have_the_programs_names_and_types(tmp_path):
    path = make_image(tmp_path / "cells 1.tif")
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 3:6, 4] = 2
    found = {}
    with open_stack(path) as stack:
        for name in RASTERS:
            target = preset(name).path_for(path)
            export(name, target, stack, annotated(stack, objects))
            found[str(target.relative_to(tmp_path))] = tifffile.imread(target).dtype
    assert found == {
        "cells 1_objects.tif": np.uint16,
        "cells 1_imagej_objects.tif": np.uint16,
        "cells 1_cp_masks.tif": np.uint16,
        str(Path("masks") / "cells 1.tif"): np.uint16,
        "cells 1_labels.tif": np.uint32,  # napari takes 32-bit integers for labels
    }


@pytest.mark.parametrize("planes", [(1, 1), (1, 4), (5, 1), (2, 3)])
def test_imagej_sees_slices_frames_and_scale(tmp_path, planes):
    path = make_image(tmp_path / "raw.tif", *planes)
    objects = np.zeros((*planes, 17, 21), np.uint32)
    objects[..., 3:6, 4] = 300
    with open_stack(path) as stack:
        export("imagej", tmp_path / "o.tif", stack, annotated(stack, objects))
        export("imagej-mask", tmp_path / "m.tif", stack, annotated(stack, objects))
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        said = file.imagej_metadata
        assert said["images"] == planes[0] * planes[1]
        assert (said.get("frames", 1), said.get("slices", 1)) == planes
        assert (said["unit"], said["spacing"]) == ("um", 0.5)
        assert (said["min"], said["max"]) == (0.0, 300.0)
        assert "program: Limn" in said["Info"]
        assert file.pages[0].tags["XResolution"].value == (8, 1)
        assert file.pages[0].compression == 1
    white = tifffile.imread(tmp_path / "m.tif")
    assert white.dtype == np.uint8 and set(np.unique(white)) == {0, 255}
    np.testing.assert_array_equal(white.reshape(objects.shape) == 255, objects > 0)
    with open_stack(tmp_path / "o.tif") as written:
        assert written.pixel_size == pytest.approx((0.5, 0.25, 0.125))


def test_class_images_hold_the_label_values(tmp_path):
    path = make_image(tmp_path / "raw.tif")
    with open_stack(path) as stack:
        annotation = Annotation((1, 1, 17, 21))
        values = np.arange(17 * 21).reshape(17, 21) % 4
        annotation.write(PlaneIndex(0, 0), values)
        for name in ("classes", "ilastik"):
            export(name, tmp_path / f"{name}.tif", stack, annotation.snapshot())
            np.testing.assert_array_equal(tifffile.imread(tmp_path / f"{name}.tif"), values)


def test_holes_and_parts_are_composite_rois_and_multipolygons(tmp_path):
    path = make_image(tmp_path / "raw.tif", times=2)
    objects = np.zeros((2, 1, 17, 21), np.uint32)
    objects[1, 0, 2:9, 2:9] = 3
    objects[1, 0, 4:6, 4:6] = 0
    objects[1, 0, 5, 5] = 3  # touches the hole's rim by its corner only
    objects[1, 0, 12:14, 12:14] = 3
    with open_stack(path) as stack:
        annotation = annotated(stack, objects, classes=3)
        export("imagej-rois", tmp_path / "a.zip", stack, annotation)
        export("qupath", tmp_path / "a.geojson", stack, annotation)
    (roi,) = roifile.roiread(tmp_path / "a.zip")
    assert roi.composite and roi.roitype == roifile.ROI_TYPE.RECT
    assert (roi.position, roi.t_position, roi.z_position) == (2, 0, 0)
    assert "class: débris, λ" in roi.props
    (feature,) = json.loads((tmp_path / "a.geojson").read_text("utf-8"))["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert feature["geometry"]["plane"] == {"c": -1, "z": 0, "t": 1}
    assert feature["properties"]["classification"]["name"] == "débris, λ"


@pytest.mark.parametrize("planes", [(1, 1), (1, 4), (5, 1), (2, 3)])
def test_rois_carry_the_positions_that_imagej_asks_for(tmp_path, planes):
    """`position` in a stack with one axis, t and z in a hyperstack, nothing in a single image."""
    path = make_image(tmp_path / "raw.tif", *planes)
    objects = np.ones((*planes, 17, 21), np.uint32)
    with open_stack(path) as stack:
        export("imagej-rois", tmp_path / "a.zip", stack, annotated(stack, objects))
    found = [(r.position, r.t_position, r.z_position, r.c_position)
             for r in roifile.roiread(tmp_path / "a.zip")]  # fmt: skip
    if planes == (1, 1):
        assert found == [(0, 0, 0, 0)]
    elif min(planes) == 1:
        assert found == [(n + 1, 0, 0, 0) for n in range(max(planes))]
    else:
        assert found == [(0, t + 1, z + 1, 0) for t in range(2) for z in range(3)]


@pytest.mark.parametrize(("name", "version"), [("ome-zarr", 2), ("ome-zarr-0.5", 3)])
def test_ome_zarr_says_what_ngff_asks_for(tmp_path, name, version):
    path = tmp_path / "raw.tif"
    pixels = np.random.default_rng(0).integers(0, 99, (2, 3, 2, 300, 400), dtype=np.uint16)
    write_imagej(path, pixels, "TZCYX", (0.5, 0.25, 0.25))
    objects = np.zeros((2, 3, 300, 400), np.uint32)
    objects[1, 2, 100:160, 300:390] = 9
    with open_stack(path) as stack:
        annotation = annotated(stack, objects, classes=3)
        export(name, tmp_path / "a.ome.zarr", stack, annotation)
        root = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
        assert root.metadata.zarr_format == version
        at = (lambda group: group.attrs["ome"]) if version == 3 else (lambda group: group.attrs)
        (image,) = at(root)["multiscales"]
        assert [axis["name"] for axis in image["axes"]] == ["t", "c", "z", "y", "x"]
        assert [axis["type"] for axis in image["axes"]] == ["time", "channel", *["space"] * 3]
        assert image["axes"][-1]["unit"] == "micrometer"
        assert at(root["labels"])["labels"] == ["objects", "classes"]
        group = root["labels/objects"]
        said = at(group)
        assert said["image-label"]["source"] == {"image": "../../"}
        assert said["image-label"]["properties"] == [
            {"label-value": 9, "class": "débris, λ", "source": "painted"}
        ]
        scales = [
            one["coordinateTransformations"][0]["scale"]
            for one in said["multiscales"][0]["datasets"]
        ]
        assert scales == [[1.0, 0.5, 0.25, 0.25], [1.0, 0.5, 0.5, 0.5]]
        np.testing.assert_array_equal(group["1"][:], objects[..., ::2, ::2])
        np.testing.assert_array_equal(root["labels/classes/0"][:], (objects > 0) * 3)
        np.testing.assert_array_equal(root["0"][:], pixels.transpose(0, 2, 1, 3, 4))
        assert root.attrs["limn"]["source"] == "annotation"


def test_coco_categories_are_the_label_values(tmp_path):
    path = make_image(tmp_path / "raw.tif", times=2)
    objects = np.zeros((2, 1, 17, 21), np.uint32)
    objects[:, 0, 2:4, 2:9] = 3
    with open_stack(path) as stack:
        export("coco", tmp_path / "a.json", stack, annotated(stack, objects, classes=3))
    content = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert [(one["id"], one["name"]) for one in content["categories"]] == [
        (2, "cell"),
        (3, "débris, λ"),
    ]
    assert [one["frame"] for one in content["images"]] == [0, 1]
    assert {one["category_id"] for one in content["annotations"]} == {3}
    assert {one["iscrowd"] for one in content["annotations"]} == {0}


def test_runs_as_text_are_those_of_the_coco_tools():
    """Two masks whose text is worked out by hand from COCO's rules, and random ones back."""
    assert packed_runs([0, 4]) == "04"
    assert packed_runs([5, 3, 2, 40]) == "532U1"  # 40 - 3 = 37 = 1·32 + 5
    assert packed_runs([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"
    random = np.random.default_rng(0)
    for _ in range(50):
        runs = random.integers(0, 10 ** random.integers(1, 9), random.integers(1, 30)).tolist()
        assert unpacked_runs(packed_runs(runs)).tolist() == runs


def test_the_spreadsheet_has_units_classes_and_sources(tmp_path):
    path = make_image(tmp_path / "zellen µ.tif", times=2, slices=2)
    objects = np.zeros((2, 2, 17, 21), np.uint32)
    objects[1, :, 3:6, 4:8] = 70_000
    with open_stack(path) as stack:
        export("spreadsheet", tmp_path / "a.csv", stack, annotated(stack, objects, classes=3))
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "Excel looks for it"
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["image"], row["frame"], row["label"]) == ("zellen µ.tif", "1", "70000")
    assert (row["class"], row["source"]) == ("débris, λ", "painted")
    assert row["volume_px"] == "24"
    assert float(row["volume_um3"]) == pytest.approx(24 * 0.5 * 0.25 * 0.125)
    assert [float(row[f"centroid_{a}_px"]) for a in "zyx"] == [0.5, 4.0, 5.5]


NAMES = ["=1+1", "+x", "-x", "@x", "'=1", "\t=a", "＝1", "it's", "'", "a=b", "débris", "−5", ""]


@given(st.one_of(st.sampled_from(NAMES), st.text("'=+-@\ta", max_size=6)))
def test_names_are_no_formulas_and_come_back(name):
    cell = table.as_text(name)
    assert table.from_text(cell) == name
    assert not cell.startswith(table.FORMULA_STARTS)
    assert cell == name or cell == f"'{name}"


def test_a_class_or_a_file_like_a_formula_stays_text(tmp_path):
    path = make_image(tmp_path / "=1+1.tif")
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 3:6, 4] = 1
    classes = (*DEFAULT_CLASSES[:1], ClassInfo("@SUM(A1)", "#009e73"))
    with open_stack(path) as stack:
        result_of(write_presets({"spreadsheet": tmp_path / "a.csv"}, stack, classes=classes,
                                annotation=annotated(stack, objects)))  # fmt: skip
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["image"], row["class"]) == ("'=1+1.tif", "'@SUM(A1)")
    assert table.from_text(row["image"]) == path.name


@pytest.mark.parametrize("name", PAINTED)
def test_half_characters_are_replaced_and_said(tmp_path, name):
    """In class names of a stranger's model, and in the names of files that are not UTF-8."""
    path = tmp_path / "Bl\udce4schen.tif"
    try:
        make_image(path)
    except (OSError, UnicodeError):
        pytest.skip("there are no such file names here")
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 3:6, 4] = 2
    classes = (*DEFAULT_CLASSES[:1], ClassInfo("x\ud800\udfffy", "#009e73"))
    said = []
    with open_stack(path) as stack:
        target = preset(name).path_for(path, tmp_path / "out")
        steps = write_presets({name: target}, stack, annotation=annotated(stack, objects),
                              classes=classes, say=said.append)  # fmt: skip
        written = result_of(steps)
    assert "x��y" in written.notes["classes"] and written.notes["image"] == "Bl�schen.tif"
    assert len(said) == 1 and "�" in said[0]
    if name in OBJECTS:
        np.testing.assert_array_equal(read_objects(name, target, objects.shape), objects)


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("planes", [(1, 1), (1, 3)])
def test_a_distance_of_slices_that_nobody_stated_is_not_claimed(tmp_path, planes, stated):
    path = make_image(tmp_path / "raw.tif", *planes, size=(1.0, 0.5, 0.25))
    if not stated:
        pixels = tifffile.imread(path)
        tifffile.imwrite(path, pixels, imagej=True, resolution=(4, 2),
                         metadata={"axes": "ZYX"[-pixels.ndim:], "unit": "um"})  # fmt: skip
    objects = np.zeros((*planes, 17, 21), np.uint32)
    objects[..., 3:6, 4] = 1
    names = ("objects", "imagej", *ZARRS, "spreadsheet")
    with open_stack(path) as stack:
        assert (stack.pixel_size, stack.z_stated) == ((1.0, 0.5, 0.25), stated)
        targets = {one: preset(one).path_for(path, tmp_path / "out") for one in names}
        annotation = annotated(stack, objects)
        result_of(write_presets(targets, stack, annotation=annotation, classes=CLASSES))
    with tifffile.TiffFile(targets["objects"]) as file:
        assert ("PhysicalSizeZ" in file.ome_metadata) == stated
        assert 'PhysicalSizeY="0.5"' in file.ome_metadata
    with tifffile.TiffFile(targets["imagej"]) as file:
        assert ("spacing" in file.imagej_metadata) == stated
    for one in ("objects", "imagej"):
        with open_stack(targets[one]) as written:
            assert written.pixel_size == pytest.approx((1.0, 0.5, 0.25))
            assert written.z_stated == stated
    for one in ZARRS:
        said = dict(zarr.open_group(targets[one], mode="r")["labels/objects"].attrs)
        axes = said.get("ome", said)["multiscales"][0]["axes"]
        units = {axis["name"]: axis.get("unit") for axis in axes}
        assert units["y"] == "micrometer"
        assert units.get("z") == ("micrometer" if stated and planes[1] > 1 else None)
    header = targets["spreadsheet"].read_text("utf-8-sig").splitlines()[0]
    assert ("volume_um3" in header) == (stated and planes[1] > 1)
    assert ("centroid_z_um" in header) == (stated and planes[1] > 1)
    assert "centroid_y_um" in header


# One plane


@pytest.mark.parametrize("name", OBJECTS)
def test_one_plane_alone(tmp_path, name):
    """An image of its own; outlines, which go onto the image, say which plane it was."""
    path = make_image(tmp_path / "raw.tif", 2, 3)
    objects = np.random.default_rng(3).integers(0, 4, (2, 3, 17, 21)).astype(np.uint32)
    with open_stack(path) as stack:
        target = preset(name).path_for(path, tmp_path / "out")
        written = export(name, target, stack, annotated(stack, objects), plane=PlaneIndex(1, 2))
        assert written.notes["plane"] == "t 1, z 2"
    overlay = name in ("imagej-rois", "qupath", "coco")
    found = read_objects(name, target, objects.shape if overlay else (1, 1, 17, 21))
    np.testing.assert_array_equal(found[-1, -1], objects[1, 2])
    assert not found[0].any() or not overlay
    if name == "objects":
        with open_stack(target) as alone:
            assert (alone.axes, alone.pixel_size) == ("YX", (0.5, 0.25, 0.125))


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("axis", ["Z", "T"])
def test_a_stack_of_one_slice_or_one_time_point_stays_one(tmp_path, name, axis):
    path = tmp_path / "one.tif"
    like = Extent(path, path.name, (), (1, 1, 1, 17, 21), f"{axis}YX", None, False, None,
                  PlaneIndex(0, 0))  # fmt: skip
    list(export_.write_mask(path, [np.zeros((17, 21), np.uint8)], like=like, dtype=np.uint8))
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 3:6, 4] = 5
    with open_stack(path) as stack:
        assert stack.axes == f"{axis}YX"
        target = preset(name).path_for(path, tmp_path / "out")
        export(name, target, stack, annotated(stack, objects))
    np.testing.assert_array_equal(read_objects(name, target, objects.shape), objects)
    if name in ("objects", "cellpose", "stardist", "napari"):
        with open_stack(target) as written:
            assert written.axes == f"{axis}YX"
    if name in ZARRS:
        said = dict(zarr.open_group(target, mode="r")["labels/objects"].attrs)
        axes = said.get("ome", said)["multiscales"][0]["axes"]
        assert [one["name"] for one in axes] == [axis.lower(), "y", "x"]


# Files and folders


@pytest.mark.parametrize("name", PAINTED)
def test_cancelled_at_any_step_nothing_is_left(tmp_path, name):
    path = make_image(tmp_path / "raw.tif", 2)
    objects = np.ones((2, 1, 17, 21), np.uint32)
    out = tmp_path / "out"
    out.mkdir()
    with open_stack(path) as stack:
        annotation = annotated(stack, objects)
        target = preset(name).path_for(path, out)
        for count in itertools.count():
            steps = write_presets({name: target}, stack, annotation=annotation, classes=CLASSES)
            taken = len(list(itertools.islice(steps, count)))
            steps.close()
            if taken < count:
                break
            assert [p for p in out.rglob("*") if p.is_file()] == []
            assert not target.exists()
        assert target.exists() and count > 3
        assert [p.name for p in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("name", PAINTED)
def test_a_second_export_asks_and_a_cancelled_one_keeps_the_first(tmp_path, name):
    path = make_image(tmp_path / "raw.tif")
    first, second = (np.full((1, 1, 17, 21), n, np.uint32) for n in (1, 2))
    second[0, 0, 0, 0] = 0

    def content():
        files = [target] if target.is_file() else sorted(p for p in target.rglob("*"))
        return [p.read_bytes() for p in files if p.is_file()]

    with open_stack(path) as stack:
        target = preset(name).path_for(path, tmp_path / "out")
        export(name, target, stack, annotated(stack, first))
        old = content()
        with pytest.raises(ExportError, match="exists already"):
            export(name, target, stack, annotated(stack, second))
        steps = write_presets({name: target}, stack, annotation=annotated(stack, second),
                              classes=CLASSES, overwrite=True)  # fmt: skip
        for _ in itertools.islice(steps, 3):
            pass
        steps.close()
        assert content() == old
        export(name, target, stack, annotated(stack, second), overwrite=True)
        assert content() != old
        new = content()
        export(name, target, stack, annotated(stack, second), overwrite=True)
        assert content() == new, "the same masks, the same bytes"
    assert [p.name for p in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("name", PAINTED)
@pytest.mark.parametrize(
    "folder", ["Zellen µm λ 細胞", "a b (1) [2] {3} #%&", "long " + "x" * 120 + "/" + "y" * 80]
)
def test_any_name_of_file_and_folder(tmp_path, name, folder):
    (tmp_path / folder).mkdir(parents=True)
    path = make_image(tmp_path / folder / "Bild [1] ä細 {0} $.tif")
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 3:6, 4] = 2
    with open_stack(path) as stack:
        target = preset(name).path_for(path)
        export(name, target, stack, annotated(stack, objects))
    assert target.exists() and path.exists()
    if name in OBJECTS:
        np.testing.assert_array_equal(read_objects(name, target, objects.shape), objects)


@pytest.mark.parametrize("name", PAINTED)
def test_what_cannot_be_written_is_said_in_one_sentence(tmp_path, name, monkeypatch):
    path = make_image(tmp_path / "raw.tif")
    with open_stack(path) as stack:
        annotation = annotated(stack, np.ones((1, 1, 17, 21), np.uint32))
        (tmp_path / "file").write_text("x")
        targets = [tmp_path / "file" / "a", path]
        if hasattr(os, "geteuid") and os.geteuid() != 0:
            (tmp_path / "locked").mkdir()
            (tmp_path / "locked").chmod(0o500)
            targets.append(tmp_path / "locked" / "a")
        for target in targets:
            with pytest.raises(ExportError) as caught:
                export(name, target, stack, annotation, overwrite=True)
            sentence = str(caught.value)
            assert sentence.endswith(".") and "\n" not in sentence and "Errno" not in sentence
        assert path.stat().st_size > 300


@pytest.mark.parametrize("name", [n for n in PAINTED if n not in ("ome-zarr", "ome-zarr-0.5")])
def test_a_disk_that_changes_a_byte_is_noticed(tmp_path, name, monkeypatch):
    """Between writing and reading back, the file on the disk is spoilt."""
    path = make_image(tmp_path / "raw.tif")
    objects = np.zeros((1, 1, 17, 21), np.uint32)
    objects[0, 0, 3:6, 4] = 2

    def spoil(part: Path) -> None:
        data = part.read_bytes()
        if name in ("imagej", "imagej-mask"):
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif name in ("qupath", "coco"):
            before = b'"coordinates": [[[' if name == "qupath" else b'"counts": "'
            at = data.index(before) + len(before)
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        elif name == "spreadsheet":
            data = data[:-3] + b"9\r\n"
        else:
            half = 45 if name == "imagej-rois" else 8  # in the first ROI; in the header
            data = data[:half] + bytes([data[half] ^ 255]) + data[half + 1 :]
        part.write_bytes(data)

    for module in (export_, imagej_tiff, rois, json_lines, table):
        monkeypatch.setattr(module, "forget_cached", spoil)
    with open_stack(path) as stack:
        annotation = annotated(stack, objects)
        with pytest.raises(ExportError, match="read back"):
            export(name, tmp_path / "out.x", stack, annotation)
    assert [p.name for p in tmp_path.iterdir()] == ["raw.tif"]


@pytest.mark.parametrize("name", ["qupath", "coco"])
@pytest.mark.parametrize("byte", [b"a", b"\xff"])
def test_a_disk_that_changes_the_first_line_is_noticed(tmp_path, name, byte, monkeypatch):
    path = make_image(tmp_path / "raw.tif")

    def spoil(part: Path) -> None:
        part.write_bytes(part.read_bytes().replace(b"Limn", b"L" + byte + b"mn", 1))

    monkeypatch.setattr(json_lines, "forget_cached", spoil)
    with open_stack(path) as stack:
        annotation = annotated(stack, np.ones((1, 1, 17, 21), np.uint32))
        with pytest.raises(ExportError, match="read back"):
            export(name, tmp_path / "out.x", stack, annotation)
    assert [p.name for p in tmp_path.iterdir()] == ["raw.tif"]


@pytest.mark.parametrize("name", PAINTED)
@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_is_full_or_read_only(tmp_path, name, full, monkeypatch):
    """At the very end, when the bytes have to reach the disk; and where nothing can be made."""
    path = make_image(tmp_path / "raw.tif")
    words = "disk is full" if full == errno.ENOSPC else "read-only"

    def refuse(*_, **__):
        raise OSError(full, os.strerror(full))

    with open_stack(path) as stack:
        annotation = annotated(stack, np.ones((1, 1, 17, 21), np.uint32))
        for module, function in (
            *((m, "sync_file") for m in (export_, imagej_tiff, rois, json_lines, table, atomic)),
            (masks.tempfile, "TemporaryFile"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(module, function, refuse)
                try:
                    export(name, tmp_path / "out.x", stack, annotation)
                except ExportError as error:
                    assert words in str(error) and str(error).endswith(".")
                    assert [p.name for p in tmp_path.iterdir()] == ["raw.tif"]
                    continue
            assert module is not atomic and function != "TemporaryFile", "these all formats use"
            target = tmp_path / "out.x"
            shutil.rmtree(target) if target.is_dir() else target.unlink()


def test_a_folder_that_limn_did_not_write_is_never_replaced(tmp_path):
    path = make_image(tmp_path / "raw.tif")
    (tmp_path / "mine.ome.zarr").mkdir()
    (tmp_path / "mine.ome.zarr" / "thesis.txt").write_text("years of work")
    with open_stack(path) as stack:
        annotation = annotated(stack, np.ones((1, 1, 17, 21), np.uint32))
        with pytest.raises(ExportError, match="not written by Limn"):
            export("ome-zarr", tmp_path / "mine.ome.zarr", stack, annotation, overwrite=True)
    assert (tmp_path / "mine.ome.zarr" / "thesis.txt").read_text() == "years of work"


def test_the_names_in_a_folder_are_on_the_disk_before_it_gets_its_own(tmp_path, monkeypatch):
    path = make_image(tmp_path / "raw.tif")
    target = tmp_path / "out.ome.zarr"
    synced = []

    def note(folder: Path) -> None:
        synced.append(folder)
        assert folder == tmp_path or not target.exists()

    monkeypatch.setattr(atomic, "sync_folder", note)
    with open_stack(path) as stack:
        export("ome-zarr", target, stack, annotated(stack, np.ones((1, 1, 17, 21), np.uint32)))
    part = atomic.part_path(target)
    folders = [p.relative_to(target) for p in target.rglob("*") if p.is_dir()]
    assert len(folders) > 5 and {part, *(part / f for f in folders), tmp_path} == set(synced)


@pytest.mark.parametrize("name", ["imagej-rois", "qupath", "coco"])
def test_objects_beyond_32767_pixels(tmp_path, name):
    """ImageJ's coordinates have 16 bits, and a sign."""
    path = make_image(tmp_path / "raw.tif", shape=(3, 60_535))
    objects = np.zeros((1, 1, 3, 60_535), np.uint32)
    objects[0, 0, 0, 5:-1], objects[0, 0, 2, 50_000:50_002] = 1, 2
    objects[0, 0, :, 60_534] = 3
    with open_stack(path) as stack:
        target = preset(name).path_for(path)
        export(name, target, stack, annotated(stack, objects))
    np.testing.assert_array_equal(read_objects(name, target, objects.shape), objects)


def test_planes_are_read_one_at_a_time(tmp_path, monkeypatch):
    """Between two steps of any format at most three planes have been asked for."""
    path = make_image(tmp_path / "raw.tif", times=5, slices=2)
    objects = np.ones((5, 2, 17, 21), np.uint32)
    asked = []
    original = Annotation.read_labels

    def counting(self, plane, rect: Rect | None = None):
        asked.append(plane)
        return original(self, plane, rect)

    monkeypatch.setattr(Annotation, "read_labels", counting)
    with open_stack(path) as stack:
        annotation = annotated(stack, objects)
        for name in PAINTED:
            target = preset(name).path_for(path, tmp_path / name)
            before = 0
            asked.clear()
            for _ in write_presets({name: target}, stack, annotation=annotation, classes=CLASSES):
                new = set(asked[before:])
                before = len(asked)
                assert len(new) <= (2 if name == "spreadsheet" else 1)


# The table of presets


def test_presets_have_all_that_a_window_shows():
    assert len({one.id for one in PRESETS}) == len(PRESETS) == len({one.title for one in PRESETS})
    for one in PRESETS:
        assert one.line.endswith(".") and "\n" not in one.line
        assert one.path_for(Path("/a/b c.d.tif")).stem
        assert one.suffix.startswith(".")
    with pytest.raises(ExportError, match="cellpose"):
        preset("nothing")


def test_notes_are_in_the_files(tmp_path):
    path = make_image(tmp_path / "raw.tif")
    with open_stack(path) as stack:
        annotation = annotated(stack, np.ones((1, 1, 17, 21), np.uint32))
        targets = {n: preset(n).path_for(path, tmp_path / "out") for n in PAINTED if "0.5" not in n}
        written = result_of(write_presets(targets, stack, annotation=annotation, classes=CLASSES))
    program = written.notes["program"]
    assert program.startswith("Limn ")
    with tifffile.TiffFile(targets["objects"]) as file:
        assert program in file.ome_metadata
    with tifffile.TiffFile(targets["imagej"]) as file:
        assert program in file.imagej_metadata["Info"]
    with zipfile.ZipFile(targets["imagej-rois"]) as archive:
        assert json.loads(archive.comment)["program"] == program
    assert json.loads(targets["qupath"].read_text("utf-8"))["limn"]["program"] == program
    assert json.loads(targets["coco"].read_text("utf-8"))["info"]["limn"]["program"] == program
    assert zarr.open_group(targets["ome-zarr"], mode="r").attrs["limn"]["program"] == program
    assert methods_sentence(written.notes) == f"Objects were annotated by hand in {program}."
