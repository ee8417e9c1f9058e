"""What can be exported, in ONE table: the window's menu, `limn predict --preset`, and the writers.

A preset says for which program its file is; `write_presets` writes any of them from an annotation,
a prediction or both. The modules that write are imported when they are used: the window lists the
presets before torch and scipy are there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unet_core.annotation import Annotation, ClassInfo
from unet_core.export import (
    DEFAULT_MIN_SIZE,
    ExportError,
    Extent,
    Progress,
    check_target,
    legible,
    make_folder,
)
from unet_core.stack import PlaneIndex, Stack

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from unet_core.masks import Masks
    from unet_core.model import Model

Writer = Callable[[Path, "Masks", bool], Iterator[Progress]]


@dataclass(frozen=True)
class Preset:
    """A kind of file to export."""

    id: str
    title: str
    line: str
    """What it is good for, in one line."""
    pattern: str
    """Its file's name: {stem} is the image's."""
    writer: Writer
    needs: str = "objects"
    """What has to be worked out for it: "objects", "classes" or "probability"."""
    is_folder: bool = False

    @property
    def suffix(self) -> str:
        """What the file's name ends with: ".tif"."""
        return self.pattern[self.pattern.rindex(".") :]

    def path_for(self, image: Path, folder: Path | None = None) -> Path:
        """Where it goes by default: beside the image, or in `folder`."""
        return (folder or image.parent) / self.pattern.format(stem=image.stem)


@dataclass(frozen=True)
class Written:
    """What `write_presets` did."""

    paths: tuple[Path, ...]
    objects: int | None
    """How many there are; None where no format asked for objects."""
    notes: Mapping[str, str]
    """Where the masks come from, see `methods_sentence`."""


def write_presets(
    targets: Mapping[str, Path],
    stack: Stack,
    *,
    annotation: Annotation | None = None,
    classes: tuple[ClassInfo, ...] = (),
    model: Model | None = None,
    ranges: NDArray[np.float32] | None = None,
    device: torch.device | None = None,
    plane: PlaneIndex | None = None,
    threshold: float = 0.5,
    min_size: int = DEFAULT_MIN_SIZE,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> Generator[Progress, None, Written]:
    """Write the masks of an image as any of PRESETS; the work is done once for all of them.

    Parameters
    ----------
    targets
        Where to write which preset, by id. Folders that are missing are made.
    annotation
        A snapshot, to write what was painted. With a `model` too, it lies on top of the
        prediction, see `masks`.
    classes
        The names and colours of the label values, background first; the model's if not given.
    model, ranges, device
        To write what the model predicts: with the image's intensity ranges, on the device.
    plane
        Only this plane, as an image of its own; ImageJ's ROIs and GeoJSON say which one it was.
    threshold, min_size
        As for `segment`.
    overwrite
        Whether files that are there may be replaced. The image itself never is.
    say
        As for `segment`.

    A generator of Progress; closing it cancels, and no unfinished file stays. Each file is read
    back and compared before it gets its name. Raises ExportError, StackError.

    """
    if annotation is None and model is None:
        raise ExportError("There is nothing to export: neither an annotation nor a prediction.")
    presets = {name: preset(name) for name in targets}
    extent = Extent.of(stack, plane)
    names = [stack.path.name, *(info.name for info in classes or (model.classes if model else ()))]
    if any(legible(name) != name for name in names):
        say("A name has characters that no file can hold; � is written in their place.")
    for name, path in targets.items():  # before any work
        if presets[name].needs == "probability" and model is None:
            raise ExportError(f"{path.name} was not written: nothing has been predicted.")
        if presets[name].is_folder:
            from unet_core.ome_zarr import check_folder

            check_folder(path, overwrite)
        else:
            check_target(path, extent, overwrite)
        make_folder(path.parent)
    folder = next(iter(targets.values())).parent
    objects = any(one.needs == "objects" for one in presets.values())
    with ExitStack() as spools:
        if model is not None:
            from unet_core.segment import predicting

            if ranges is None or device is None:
                raise ValueError("a model predicts with the image's ranges and on a device")
            masks = yield from predicting(
                model,
                stack,
                extent,
                ranges,
                device,
                folder,
                spools,
                threshold=threshold,
                min_size=min_size,
                objects=objects,
                annotation=annotation,
                classes=classes,
                say=say,
            )
        else:
            from unet_core.masks import finding

            masks = yield from finding(
                stack,
                extent,
                classes,
                folder,
                spools,
                annotation=annotation,
                min_size=min_size,
                objects=objects,
            )
        for name, path in targets.items():
            yield from presets[name].writer(path, masks, overwrite)
    return Written(tuple(targets.values()), masks.objects if objects else None, masks.notes)


def methods_sentence(notes: Mapping[str, str]) -> str:
    """How the masks were made, to paste into a paper; from what an export has noted."""
    program = notes.get("program", "Limn")
    source = notes.get("source", "prediction")
    if source == "annotation":
        return f"Objects were annotated by hand in {program}."
    facts = [notes.get("network"), notes.get("training")]
    facts.append(f"weights {notes['model']}" if "model" in notes else None)
    text = f"Objects were segmented with {program}, by a U-Net"
    if any(facts):
        text += f" ({', '.join(filter(None, facts))})"
    text += f" at a foreground probability of at least {notes.get('threshold', '0.5')}"
    smallest = int(notes.get("min_size_px", "0"))
    if smallest > 1:
        text += f", leaving out objects of fewer than {smallest} pixels"
    if source != "prediction":
        text += "; objects and areas annotated by hand replaced the prediction where they overlap"
    return text + "."


def preset(name: str) -> Preset:
    """A preset by its id; ExportError where there is none."""
    for one in PRESETS:
        if one.id == name:
            return one
    known = ", ".join(one.id for one in PRESETS)
    raise ExportError(f"There is no export preset “{name}”: use one of {known}.")


def _objects(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.ome_tiff import write_objects

    return write_objects(path, masks, overwrite)


def _wide_objects(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.ome_tiff import write_objects

    return write_objects(path, masks, overwrite, wide=True)


def _classes(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.ome_tiff import write_classes

    return write_classes(path, masks, overwrite)


def _probability(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.ome_tiff import write_probability

    return write_probability(path, masks, overwrite)


def _imagej_objects(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.imagej_tiff import write_imagej_objects

    return write_imagej_objects(path, masks, overwrite)


def _imagej_mask(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.imagej_tiff import write_imagej_mask

    return write_imagej_mask(path, masks, overwrite)


def _rois(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.rois import write_rois

    return write_rois(path, masks, overwrite)


def _geojson(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.geojson import write_geojson

    return write_geojson(path, masks, overwrite)


def _coco(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.coco import write_coco

    return write_coco(path, masks, overwrite)


def _ome_zarr(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.ome_zarr import write_ome_zarr

    return write_ome_zarr(path, masks, overwrite)


def _ome_zarr_3(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.ome_zarr import write_ome_zarr

    return write_ome_zarr(path, masks, overwrite, version="0.5")


def _table(path: Path, masks: Masks, overwrite: bool) -> Iterator[Progress]:
    from unet_core.table import write_table

    return write_table(path, masks, overwrite)


PRESETS = (
    Preset(
        "objects",
        "Object numbers",
        "One number for each object, 0 elsewhere: OME-TIFF with axes and pixel size.",
        "{stem}_objects.tif",
        _objects,
    ),
    Preset(
        "classes",
        "Classes",
        "1 background, 2, 3… the classes (they look nearly black in a viewer): OME-TIFF.",
        "{stem}_classes.tif",
        _classes,
        needs="classes",
    ),
    Preset(
        "probability",
        "Probability",
        "The network's own answer for each pixel, 0 to 1: OME-TIFF.",
        "{stem}_probability.tif",
        _probability,
        needs="probability",
    ),
    Preset(
        "imagej",
        "ImageJ/Fiji: objects",
        "Object numbers in colours, as a hyperstack with scale.",
        "{stem}_imagej_objects.tif",
        _imagej_objects,
    ),
    Preset(
        "imagej-mask",
        "ImageJ/Fiji: black and white",
        "255 where there is a cell, else 0: what ImageJ calls a binary image.",
        "{stem}_imagej_mask.tif",
        _imagej_mask,
        needs="classes",
    ),
    Preset(
        "imagej-rois",
        "ImageJ/Fiji: ROI Manager",
        "An outline for each object, on its slice.",
        "{stem}_RoiSet.zip",
        _rois,
    ),
    Preset(
        "cellpose",
        "Cellpose",
        "Object numbers under the name that Cellpose looks for beside the image.",
        "{stem}_cp_masks.tif",
        _objects,
    ),
    Preset(
        "stardist",
        "StarDist",
        "Object numbers in a folder “masks”, under the image's own name, to train with.",
        "masks/{stem}.tif",
        _objects,
    ),
    Preset(
        "qupath",
        "QuPath",
        "GeoJSON: drag it onto the image; objects with class and colour.",
        "{stem}.geojson",
        _geojson,
    ),
    Preset(
        "napari",
        "napari",
        "Object numbers that napari opens as a Labels layer (32 bits).",
        "{stem}_labels.tif",
        _wide_objects,
    ),
    Preset(
        "ilastik",
        "ilastik",
        "Classes to import as labels in Pixel Classification: 1, 2, 3…, 0 unlabelled.",
        "{stem}_ilastik_labels.tif",
        _classes,
        needs="classes",
    ),
    Preset(
        "coco",
        "COCO",
        "JSON for training detectors: one run-length mask for each object.",
        "{stem}_coco.json",
        _coco,
    ),
    Preset(
        "ome-zarr",
        "OME-Zarr",
        "A folder with the image and its labels at several sizes (NGFF 0.4).",
        "{stem}.ome.zarr",
        _ome_zarr,
        is_folder=True,
    ),
    Preset(
        "ome-zarr-0.5",
        "OME-Zarr 0.5",
        "The same in the newer Zarr 3, which fewer programs read.",
        "{stem}_0.5.ome.zarr",
        _ome_zarr_3,
        is_folder=True,
    ),
    Preset(
        "spreadsheet",
        "Spreadsheet",
        "CSV: size, place, shape and intensities of each object, with units.",
        "{stem}_objects.csv",
        _table,
    ),
)
