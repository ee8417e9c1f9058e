"""What does the program that a file is made for see in it? An L at one known pixel, read back.

    python -m tests.benchmarks.readers [--python PYTHON …]

Limn exports a stack of two slices with one object in the second: the pixels (row, column) (3, 4),
(4, 4), (5, 4) and (5, 5). Then each program's own reader opens the file that is meant for it. Those
programs are no dependencies of Limn: every --python is an interpreter that has some of them, and
runs this very file with --read. The table says what was read by what, and where the L was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
import tifffile

SHAPE = (2, 17, 21)
MARK = [(1, 3, 4), (1, 4, 4), (1, 5, 4), (1, 5, 5)]
NUMBER = 7

Read = Callable[[Path], Any]


# Readers: each gives the object numbers (Z, Y, X) that the program sees in the folder's file


def by_tifffile(name: str) -> Read:
    """Any of the label images."""
    return lambda folder: tifffile.imread(folder / name)


def by_skimage(folder: Path) -> Any:
    from skimage.io import imread

    return imread(folder / "raw_objects.tif")


def by_napari(folder: Path) -> Any:
    from napari.layers.image._image_utils import (  # type: ignore[import-not-found]
        guess_labels,
    )
    from napari.plugins import _initialize_plugins  # type: ignore[import-not-found]
    from napari.plugins.io import read_data_with_plugins  # type: ignore[import-not-found]

    _initialize_plugins()
    layers, _ = read_data_with_plugins([str(folder / "raw_labels.tif")], "napari", stack=False)
    (layer,) = layers
    kind = layer[2] if len(layer) > 2 else "image"
    if kind != "labels" and guess_labels(layer[0]) != "labels":
        raise ValueError("napari takes it for an image, not for labels")
    return np.asarray(layer[0])


def by_cellpose(folder: Path) -> Any:
    # Its networks need torch; reading files does not, though it imports the module.
    inside = ("", ".fft", ".nn", ".nn.functional", ".utils", ".utils.data")
    names = [*(f"torch{name}" for name in inside), "segment_anything"]
    names += ["torchvision", "torchvision.transforms"]
    stubs = {name: MagicMock() for name in names}
    stubs["torch"].__version__ = "0"
    with patch.dict(sys.modules, stubs):
        from cellpose import io  # type: ignore[import-not-found]

    images, labels, _ = io.load_images_labels(str(folder / "cellpose"), "_cp_masks")
    if len(images) != 1:
        raise ValueError("the image and its masks are not paired")
    return labels[0]


def by_csbdeep(folder: Path) -> Any:
    """As StarDist's training data are read: pairs of files of the same name in two folders."""
    from csbdeep.data import RawData  # type: ignore[import-not-found]

    pairs = RawData.from_folder(folder, ["images"], "masks", axes="ZYX")
    ((_, masks, _, _),) = pairs.generator()
    return masks


def by_roifile(folder: Path) -> Any:
    import roifile
    from shapely.geometry import Polygon  # type: ignore[import-untyped]

    found = np.zeros(SHAPE, int)
    for roi in roifile.roiread(folder / "raw_RoiSet.zip"):
        for points in roi.coordinates(multi=True):
            _fill(found[roi.position - 1], Polygon(points), int(roi.name.split("_")[0]))
    return found


def by_shapely(folder: Path) -> Any:
    from shapely.geometry import shape

    found = np.zeros(SHAPE, int)
    for feature in json.loads((folder / "raw.geojson").read_text("utf-8"))["features"]:
        area = shape(feature["geometry"])
        if not area.is_valid:
            raise ValueError("the polygon is not valid")
        plane = feature["geometry"]["plane"]
        _fill(found[plane["z"]], area, int(feature["properties"]["name"]))
    return found


def by_geopandas(folder: Path) -> Any:
    import geopandas  # type: ignore[import-not-found]

    table = geopandas.read_file(folder / "raw.geojson")
    found = np.zeros(SHAPE, int)
    for row in table.itertuples():  # it drops QuPath's “plane”: the slice is in the id only
        _fill(found[1], row.geometry, int(row.name))
    return found


def by_pycocotools(folder: Path) -> Any:
    from pycocotools.coco import COCO  # type: ignore[import-not-found]

    coco = COCO(str(folder / "raw_coco.json"))
    found = np.zeros(SHAPE, int)
    for one in coco.loadAnns(coco.getAnnIds()):
        image = coco.loadImgs(one["image_id"])[0]
        found[image["slice"]][coco.annToMask(one) > 0] = one["object"]
    return found


def by_ome_zarr(name: str) -> Read:
    def read(folder: Path) -> Any:
        from ome_zarr.io import parse_url  # type: ignore[import-not-found]
        from ome_zarr.reader import Reader  # type: ignore[import-not-found]

        url = parse_url(folder / name)
        for node in Reader(url)():
            if node.zarr.basename() == "objects":
                return np.asarray(node.data[0])
        raise ValueError("the labels are not found from the image")

    return read


def by_ome_zarr_models(name: str) -> Read:
    """Checks all metadata against the standard, too."""

    def read(folder: Path) -> Any:
        import zarr
        from ome_zarr_models import open_ome_zarr  # type: ignore[import-not-found]

        open_ome_zarr(zarr.open_group(folder / name, mode="r"))
        labels = open_ome_zarr(zarr.open_group(folder / name / "labels/objects", mode="r"))
        at = labels.attributes
        levels = (at if hasattr(at, "multiscales") else at.ome).multiscales[0].datasets
        return zarr.open_array(folder / name / "labels/objects" / levels[0].path, mode="r")[:]

    return read


def by_zarr(name: str) -> Read:
    def read(folder: Path) -> Any:
        import zarr

        return zarr.open_group(folder / name, mode="r")["labels/objects/0"][:]

    return read


def by_pandas(folder: Path) -> Any:
    """A table has no pixels: the box and the centre of the L, as a full box less one corner."""
    import pandas  # type: ignore[import-untyped]

    (row,) = pandas.read_csv(folder / "raw_objects.csv").itertuples()
    box = [int(getattr(row, f"bbox_{axis}_min_px")) for axis in "zyx"]
    end = [int(getattr(row, f"bbox_{axis}_end_px")) for axis in "zyx"]
    centre = [getattr(row, f"centroid_{axis}_px") for axis in "zyx"]
    if row.volume_px != len(MARK) or not np.allclose(centre, np.mean(MARK, axis=0)):
        raise ValueError(f"size {row.volume_px}, centre {centre}")
    found = np.zeros(SHAPE, int)
    inside = itertools.product(*map(range, box, end))
    for z, y, x in inside:
        if (z, y, x) in MARK:
            found[z, y, x] = row.label
    return found


def _fill(plane: Any, area: Any, number: int) -> None:
    """The pixels whose centres lie in `area`."""
    from shapely.geometry import Point

    for y, x in np.ndindex(plane.shape):
        if area.contains(Point(x + 0.5, y + 0.5)):
            plane[y, x] = number


READERS: tuple[tuple[str, str, str, Read], ...] = (
    ("objects", "tifffile", "tifffile", by_tifffile("raw_objects.tif")),
    ("objects", "scikit-image", "scikit-image", by_skimage),
    ("imagej", "tifffile", "tifffile", by_tifffile("raw_imagej_objects.tif")),
    ("imagej-rois", "roifile", "roifile", by_roifile),
    ("cellpose", "Cellpose, `io.load_images_labels`", "cellpose", by_cellpose),
    ("stardist", "CSBDeep, `RawData.from_folder`", "csbdeep", by_csbdeep),
    ("qupath", "shapely", "shapely", by_shapely),
    ("qupath", "GeoPandas", "geopandas", by_geopandas),
    ("napari", "napari's own reader", "napari", by_napari),
    ("coco", "pycocotools, `annToMask`", "pycocotools", by_pycocotools),
    ("ome-zarr", "zarr", "zarr", by_zarr("raw.ome.zarr")),
    ("ome-zarr", "ome-zarr-py, `Reader`", "ome-zarr", by_ome_zarr("raw.ome.zarr")),
    ("ome-zarr", "ome-zarr-models", "ome-zarr-models", by_ome_zarr_models("raw.ome.zarr")),
    ("ome-zarr-0.5", "zarr", "zarr", by_zarr("raw_0.5.ome.zarr")),
    ("ome-zarr-0.5", "ome-zarr-py, `Reader`", "ome-zarr", by_ome_zarr("raw_0.5.ome.zarr")),
    ("ome-zarr-0.5", "ome-zarr-models", "ome-zarr-models", by_ome_zarr_models("raw_0.5.ome.zarr")),
    ("spreadsheet", "pandas", "pandas", by_pandas),
)


def read_all(folder: Path) -> list[dict[str, str]]:
    """What every reader that is installed here finds."""
    results = []
    for preset, reader, package, read in READERS:
        try:
            number = version(package)
        except ModuleNotFoundError:
            continue
        try:
            seen = np.asarray(read(folder)).reshape(SHAPE)
        except ImportError as error:
            results.append(_row(preset, reader, number, f"not run: {error}"))
            continue
        except Exception as error:
            results.append(_row(preset, reader, number, f"FAILED: {error}"))
            continue
        places = [tuple(place) for place in np.argwhere(seen).tolist()]
        numbers = set(seen[seen > 0].tolist())
        right = places == MARK and numbers == {NUMBER}
        where = ", ".join(f"({y}, {x})" for _, y, x in places)
        found = f"{'right' if right else 'WRONG'}: {where} of slice {places[0][0] + 1}"
        results.append(_row(preset, reader, number, found))
    return results


def _row(preset: str, reader: str, number: str, found: str) -> dict[str, str]:
    return {"preset": preset, "reader": reader, "version": number, "found": found}


def make(folder: Path) -> None:
    """Let Limn write all its presets."""
    from unet_core.annotation import DEFAULT_CLASSES, Annotation
    from unet_core.export_presets import PRESETS, write_presets
    from unet_core.stack import open_stack
    from unet_core.steps import result_of

    pixels = np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE).astype(np.uint8)
    for path in (folder / name / "raw.tif" for name in (".", "images", "cellpose")):
        path.parent.mkdir(exist_ok=True)
        options: Any = {"resolution": (4, 4), "metadata": {"axes": "ZYX", "unit": "um"}}
        tifffile.imwrite(path, pixels, imagej=True, **options)
    with open_stack(folder / "raw.tif") as stack:
        annotation = Annotation((1, *SHAPE))
        objects = np.zeros((1, *SHAPE), np.uint32)
        for place in MARK:
            objects[0][place] = NUMBER
        for plane in stack.planes():
            values = np.where(objects[plane] > 0, 2, 0)
            annotation.write(plane, values, objects=objects[plane])
        targets = {one.id: one.path_for(stack.path) for one in PRESETS if one.needs == "objects"}
        targets["cellpose"] = folder / "cellpose" / targets["cellpose"].name
        snapshot = annotation.snapshot()
        result_of(write_presets(targets, stack, annotation=snapshot, classes=DEFAULT_CLASSES))


def table(results: Sequence[dict[str, str]]) -> str:
    """What was found, as Markdown."""
    order = [(preset, reader) for preset, reader, _, _ in READERS]
    best = {(one["preset"], one["reader"]): one for one in results}
    lines = ["| preset | read by | version | the L |", "|---|---|---|---|"]
    for preset, reader in order:
        one = best.get((preset, reader), {"version": "", "found": "not installed here"})
        lines.append(f"| {preset} | {reader} | {one['version']} | {one['found']} |")
    return "\n".join(lines)


def main() -> None:
    """Export, let every interpreter read, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read_all(options.read)))
        return
    results: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        for python in options.python:
            words = [python, __file__, "--read", name]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            results += json.loads(done.stdout.splitlines()[-1])
    print(table(results))


if __name__ == "__main__":
    main()
