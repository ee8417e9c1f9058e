"""What a TIFF says about its image besides pixels: pixel size, axes, times and channel names."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import tifffile

# The namespace of our own note inside an OME-TIFF (see export.py).
ANNOTATION_NAMESPACE = "limn/export"

_MICROMETRES = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometers": 1.0, "micrometre": 1.0, "micrometres": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometers": 1e-3, "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "dm": 1e5, "m": 1e6, "meter": 1e6,
    "inch": 25400.0, "inches": 25400.0, "in": 25400.0,
}  # fmt: skip
_SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "µs": 1e-6,
    "us": 1e-6, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0,
    "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
# TIFF's own resolution units; 4 and 5 are tifffile's and libtiff's additions
_RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}

# Inch and centimetre resolutions are mostly a program's default for print (72, 96, 300 dpi: pixels
# of 353 to 85 µm) or a scanner's (1200 dpi: 21 µm). Only what a microscope can see is believed.
_LARGEST_PLAUSIBLE, _SMALLEST_PLAUSIBLE = 20.0, 1e-5

Size = tuple[float, float, float]


@dataclass
class TiffMetadata:
    """Metadata of one image: sizes in micrometres (z, y, x), interval in seconds, or None."""

    pixel_size: Size | None = None
    time_interval: float | None = None
    channel_names: tuple[str, ...] = ()
    stated_axes: str = ""
    names_axes: bool = False  # for tifffile's "shaped" files: the axes were given by the writer


def read_metadata(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> TiffMetadata:
    """The first image's metadata. What is missing or nonsense is left out, never an error."""
    page = series.keyframe
    metadata = TiffMetadata()
    readers = {"ome": _from_ome, "imagej": _from_imagej, "shaped": _from_shaped}
    try:
        if series.kind in readers:
            readers[series.kind](file, metadata)
        elif file.is_lsm and file.lsm_metadata:
            lsm = file.lsm_metadata
            metadata.pixel_size = _size(*(lsm.get(f"VoxelSize{a}", 0) * 1e6 for a in "ZYX"))
        elif file.is_svs:
            micrometres = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", page.description)
            if micrometres:
                metadata.pixel_size = _size(1.0, micrometres[1], micrometres[1])
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
    interval = _number(fields.get("finterval"))
    if interval is not None:
        metadata.time_interval = interval * _SECONDS.get(str(fields.get("tunit", "s")).lower(), 1.0)
    labels = fields.get("Labels")
    if isinstance(labels, list) and len(labels) == fields.get("channels"):
        metadata.channel_names = tuple(map(str, labels))


def _from_shaped(file: tifffile.TiffFile, metadata: TiffMetadata) -> None:
    fields = json.loads(file.pages.first.shaped_description or "{}")
    metadata.names_axes = len(fields.get("axes", "")) == len(fields.get("shape", ()))
    metadata.pixel_size = _calibrated(file.pages.first, fields)


def _from_ome(file: tifffile.TiffFile, metadata: TiffMetadata) -> None:
    root = ElementTree.fromstring(file.ome_metadata or "")
    image = root.find("{*}Image")
    pixels = None if image is None else image.find("{*}Pixels")
    if pixels is None:
        return
    known: dict[str, float] = {}
    for axis in "ZYX":
        value = _number(pixels.get(f"PhysicalSize{axis}"))
        unit = _MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").strip().lower())
        if value is not None and unit is not None:
            known[axis] = value * unit
    y, x = known.get("Y", known.get("X")), known.get("X", known.get("Y"))
    metadata.pixel_size = _size(known.get("Z", 1.0), y, x)
    interval = _number(pixels.get("TimeIncrement"))
    if interval is not None:
        unit = _SECONDS.get(pixels.get("TimeIncrementUnit", "s").strip().lower(), 1.0)
        metadata.time_interval = interval * unit
    names = [c.get("Name", "") for c in pixels.findall("{*}Channel")]
    if names and all(names):
        metadata.channel_names = tuple(names)
    # OME-XML always states all five sizes; only our own files say which axes the image had.
    for annotation in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation"):
        if annotation.get("Namespace") == ANNOTATION_NAMESPACE:
            for entry in annotation.iterfind("{*}Value/{*}M"):
                if entry.get("K") == "axes":
                    metadata.stated_axes = entry.text or ""


def _calibrated(page: tifffile.TiffPage, fields: Mapping[str, Any]) -> Size | None:
    """ImageJ's way: pixels per unit in the resolution tags, the unit's name in the description."""
    unit = _MICROMETRES.get(str(fields.get("unit", "")).strip().lower())
    resolution = _resolution(page)
    if unit is None or resolution is None:
        return None
    z_unit = _MICROMETRES.get(str(fields.get("zunit", "")).strip().lower(), unit)
    y_unit = _MICROMETRES.get(str(fields.get("yunit", "")).strip().lower(), unit)
    spacing = _number(fields.get("spacing"))
    return _size(
        1.0 if spacing is None else spacing * z_unit, y_unit / resolution[0], unit / resolution[1]
    )


def _plausible_resolution(page: tifffile.TiffPage) -> Size | None:
    """The resolution tags of a plain TIFF, if a microscope can have made them."""
    tag = page.tags.get("ResolutionUnit")
    unit = _RESOLUTION_UNITS.get(int(tag.value)) if tag is not None else None
    resolution = _resolution(page)
    if unit is None or resolution is None:
        return None
    y, x = (_MICROMETRES[unit] / r for r in resolution)
    if not all(_SMALLEST_PLAUSIBLE <= size <= _LARGEST_PLAUSIBLE for size in (y, x)):
        return None
    return _size(1.0, y, x)


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


def _size(z: Any, y: Any, x: Any) -> Size | None:
    """A pixel size; None without y and x. An impossible z counts as not stated."""
    numbers = _number(z), _number(y), _number(x)
    if numbers[1] is None or numbers[2] is None:
        return None
    return numbers[0] or 1.0, numbers[1], numbers[2]


def _number(value: Any) -> float | None:
    """A positive finite float, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
