"""What a TIFF says about its image besides pixels: pixel size, axes, times and channel names."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from unet_core.units import MICROMETRES, SECONDS, Size, pixel_size, positive

# The namespace of our own note inside an OME-TIFF (see export.py).
ANNOTATION_NAMESPACE = "limn/export"

# TIFF's own resolution units; 4 and 5 are tifffile's and libtiff's additions
_RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}

# Inch and centimetre resolutions are mostly a program's default for print (72, 96, 300 dpi: pixels
# of 353 to 85 µm) or a scanner's (1200 dpi: 21 µm). Only what a microscope can see is believed.
_LARGEST_PLAUSIBLE, _SMALLEST_PLAUSIBLE = 20.0, 1e-5


@dataclass
class TiffMetadata:
    """Metadata of one image: sizes in micrometres (z, y, x), interval in seconds, or None."""

    pixel_size: Size | None = None
    z_stated: bool = False
    time_interval: float | None = None
    channel_names: tuple[str, ...] = ()
    channel_colors: tuple[str, ...] = ()
    stated_axes: str = ""
    names_axes: bool = False  # for tifffile's "shaped" files: the axes were given by the writer


def read_metadata(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries, number: int = 0
) -> TiffMetadata:
    """Metadata of the image `number`. What is missing or nonsense is left out, never an error."""
    page = series.keyframe
    metadata = TiffMetadata()
    try:
        if series.kind == "ome":
            _from_ome(file, metadata, series.name, number)
        elif series.kind == "imagej":
            _from_imagej(file, metadata)
        elif series.kind == "shaped":
            _from_shaped(file, page, metadata)
        elif file.is_lsm and file.lsm_metadata:
            lsm = file.lsm_metadata
            metadata.pixel_size = pixel_size(*(lsm.get(f"VoxelSize{a}", 0) * 1e6 for a in "ZYX"))
            metadata.z_stated = positive(lsm.get("VoxelSizeZ")) is not None
        elif file.is_svs:
            micrometres = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", page.description)
            if micrometres:
                metadata.pixel_size = pixel_size(1.0, micrometres[1], micrometres[1])
    except (ValueError, TypeError, KeyError, AttributeError, ElementTree.ParseError):
        pass
    if metadata.pixel_size is None and series.kind != "imagej":
        metadata.pixel_size = _plausible_resolution(page)
    return metadata


def _from_imagej(file: tifffile.TiffFile, metadata: TiffMetadata) -> None:
    fields: Mapping[str, Any] = file.imagej_metadata or {}
    stated = {"T": "frames", "Z": "slices", "C": "channels"}
    metadata.stated_axes = "".join(a for a, key in stated.items() if key in fields)
    metadata.pixel_size = _calibrated(file.pages.first, fields)
    metadata.z_stated = positive(fields.get("spacing")) is not None
    interval = positive(fields.get("finterval"))
    if interval is not None:
        metadata.time_interval = interval * SECONDS.get(str(fields.get("tunit", "s")).lower(), 1.0)
    labels = fields.get("Labels")
    if isinstance(labels, list) and len(labels) == fields.get("channels"):
        metadata.channel_names = tuple(map(str, labels))
    luts = fields.get("LUTs")
    if isinstance(luts, list) and str(fields.get("mode")) in ("composite", "color"):
        metadata.channel_colors = tuple(_color_of_lut(lut) for lut in luts)


def _from_shaped(file: tifffile.TiffFile, page: tifffile.TiffPage, metadata: TiffMetadata) -> None:
    fields = json.loads(page.shaped_description or "{}")
    metadata.names_axes = len(fields.get("axes", "")) == len(fields.get("shape", ()))
    metadata.pixel_size = _calibrated(page, fields)
    metadata.z_stated = positive(fields.get("spacing")) is not None


def _from_ome(file: tifffile.TiffFile, metadata: TiffMetadata, name: str, number: int) -> None:
    root = ElementTree.fromstring(file.ome_metadata or "")
    images = root.findall("{*}Image")
    # Images of which no pixels are there are not counted.
    named = [image for image in images if image.get("Name", "") == name]
    there = named if len(named) == 1 else images[number : number + 1]
    image = there[0] if there else None
    pixels = None if image is None else image.find("{*}Pixels")
    if pixels is None:
        return
    known: dict[str, float] = {}
    for axis in "ZYX":
        value = positive(pixels.get(f"PhysicalSize{axis}"))
        unit = MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").strip().lower())
        if value is not None and unit is not None:
            known[axis] = value * unit
    y, x = known.get("Y", known.get("X")), known.get("X", known.get("Y"))
    metadata.pixel_size = pixel_size(known.get("Z", 1.0), y, x)
    metadata.z_stated = "Z" in known
    interval = positive(pixels.get("TimeIncrement"))
    if interval is not None:
        unit = SECONDS.get(pixels.get("TimeIncrementUnit", "s").strip().lower(), 1.0)
        metadata.time_interval = interval * unit
    channels = pixels.findall("{*}Channel")
    names = [c.get("Name", "") for c in channels]
    if names and all(names):
        metadata.channel_names = tuple(names)
    metadata.channel_colors = tuple(_color_of_ome(c.get("Color")) for c in channels)
    # OME-XML always states all five sizes; only our own files say which axes the image had.
    for annotation in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation"):
        if annotation.get("Namespace") == ANNOTATION_NAMESPACE:
            for entry in annotation.iterfind("{*}Value/{*}M"):
                if entry.get("K") == "axes":
                    metadata.stated_axes = entry.text or ""


def _color_of_ome(text: str | None) -> str:
    """OME's colour: red, green, blue and alpha as the bytes of a signed number."""
    try:
        return "" if text is None else f"#{int(text) % 2**32 >> 8:06x}"
    except ValueError:
        return ""


def _color_of_lut(lut: Any) -> str:
    """The colour of a table (3, 256) that goes from black to it; "" for other tables."""
    table = np.asarray(lut)
    if table.shape != (3, 256) or table[:, 0].any():
        return ""
    red, green, blue = (int(n) for n in table[:, 255])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _calibrated(page: tifffile.TiffPage, fields: Mapping[str, Any]) -> Size | None:
    """ImageJ's way: pixels per unit in the resolution tags, the unit's name in the description."""
    unit = MICROMETRES.get(str(fields.get("unit", "")).strip().lower())
    resolution = _resolution(page)
    if unit is None or resolution is None:
        return None
    z_unit = MICROMETRES.get(str(fields.get("zunit", "")).strip().lower(), unit)
    y_unit = MICROMETRES.get(str(fields.get("yunit", "")).strip().lower(), unit)
    spacing = positive(fields.get("spacing"))
    return pixel_size(
        1.0 if spacing is None else spacing * z_unit, y_unit / resolution[0], unit / resolution[1]
    )


def _plausible_resolution(page: tifffile.TiffPage) -> Size | None:
    """The resolution tags of a plain TIFF, if a microscope can have made them."""
    tag = page.tags.get("ResolutionUnit")
    unit = _RESOLUTION_UNITS.get(int(tag.value)) if tag is not None else None
    resolution = _resolution(page)
    if unit is None or resolution is None:
        return None
    y, x = (MICROMETRES[unit] / r for r in resolution)
    if not all(_SMALLEST_PLAUSIBLE <= size <= _LARGEST_PLAUSIBLE for size in (y, x)):
        return None
    return pixel_size(1.0, y, x)


def _resolution(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Pixels per unit along y and x."""
    found = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2:
            return None
        numerator, denominator = tag.value
        if numerator <= 0 or denominator <= 0:
            return None
        found.append(numerator / denominator)
    return found[0], found[1]
