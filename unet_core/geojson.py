"""GeoJSON as QuPath has it: every object of every plane a polygon with its class; written and read.

Coordinates are pixels of the full-resolution image, y down, along the pixels' edges. The standard
is RFC 7946; `objectType`, `classification` and `plane` are QuPath's. One feature to a line, see
`json_lines`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_core.contours import Contour, Ring, contours
from unet_core.export import Progress
from unet_core.json_lines import write_entries
from unet_core.limits import READ_ANYWAY, lifted
from unet_core.masks import Masks
from unet_core.shapes import Shape, ShapeError, painted, ring_of
from unet_core.stack import PlaneIndex

MOST_BYTES = 2**28
"""Larger files are refused unread: as Python objects they take ten times the room."""
MOST_SHAPES = 1_000_000

_NAMES = uuid.UUID("6f1b7a52-33f5-5c0e-9a53-8c6c1f0d2b7e")
"""Features get the same id each time that they are written."""


def write_geojson(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write all objects as a FeatureCollection; read back and compared pixel by pixel.

    What was painted is an annotation in QuPath, what was predicted a detection.
    """
    extent = masks.extent
    head = {"type": "FeatureCollection", "limn": dict(masks.notes)}

    def features(i: int) -> Iterator[dict[str, Any]]:
        outlines = contours(masks.object_map(i))
        place = extent.in_image(masks.planes[i])
        for found in masks.objects_in(i):
            info = masks.class_info(found.value)
            name = f"{extent.name}/{place.t}/{place.z}/{found.number}"
            yield {
                "type": "Feature",
                "id": str(uuid.uuid5(_NAMES, name)),
                "geometry": _geometry(outlines[found.number], place),
                "properties": {
                    "objectType": "annotation" if found.painted else "detection",
                    "name": str(found.number),
                    "classification": {"name": info.name, "color": _rgb(info.color)},
                },
            }

    def labels(i: int, features: Iterator[Any]) -> NDArray[np.uint32]:
        return painted(_areas(features, extent.in_image(masks.planes[i])), *extent.shape[3:])

    return write_entries(path, masks, head, "features", features, labels, overwrite)


def _areas(features: Iterator[Any], plane: PlaneIndex) -> Iterator[Shape]:
    """Features as shapes; ShapeError where one is no area, or lies on another plane."""
    for feature in features:
        shape = _shape(feature)
        if shape is None or shape.plane != plane:
            raise ShapeError("A feature is not where it belongs.")
        yield shape


def read_geojson(path: Path) -> Iterator[Shape | None]:
    """The polygons of a FeatureCollection, a list of features or one feature, or of geometries.

    None for what has no area: points and lines. Raises ShapeError where the file is damaged or
    absurdly large.
    """
    if (size := path.stat().st_size) > MOST_BYTES and not lifted():
        raise ShapeError(
            f"{path.name} is too large ({size / 2**20:.0f} MiB of text): export fewer objects at a "
            f"time, or a label image, or {READ_ANYWAY}."
        )
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ShapeError(f"{path.name} is damaged: it is no GeoJSON.") from error
    features = found.get("features", [found]) if isinstance(found, dict) else found
    if not isinstance(features, list) or not all(isinstance(f, dict) for f in features):
        raise ShapeError(f"{path.name} is no GeoJSON: it has no features.")
    if len(features) > MOST_SHAPES and not lifted():
        raise ShapeError(
            f"{path.name} holds {len(features):,} shapes, more than {MOST_SHAPES:,}; {READ_ANYWAY}."
        )
    for feature in features:
        yield _shape(feature)


def _shape(feature: Mapping[str, Any]) -> Shape | None:
    geometry = feature if "coordinates" in feature else feature.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        return None
    assert isinstance(geometry, dict)
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not all(isinstance(p, list) and p for p in polygons):
        raise ShapeError("A polygon is damaged: it has no corners.")
    parts = tuple(tuple(ring_of(ring) for ring in polygon) for polygon in polygons)
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        properties = {}
    name, classification = properties.get("name"), properties.get("classification")
    numbered = isinstance(name, str) and name.isdecimal() and len(name) < 9
    return Shape(
        parts,
        _plane(geometry.get("plane")),
        name if isinstance(name, str) and numbered else "",
        str(classification.get("name", "")) if isinstance(classification, dict) else "",
    )


def _plane(plane: Any) -> PlaneIndex | None:
    if not isinstance(plane, dict):
        return None
    t, z = plane.get("t", 0), plane.get("z", 0)
    if not isinstance(t, int) or not isinstance(z, int):
        raise ShapeError("A polygon lies on a plane that is no number.")
    return PlaneIndex(t, z)


def _geometry(outline: list[Contour], plane: PlaneIndex) -> dict[str, Any]:
    polygons = [[_closed(ring) for ring in (part.exterior, *part.holes)] for part in outline]
    one = len(polygons) == 1
    return {
        "type": "Polygon" if one else "MultiPolygon",
        "coordinates": polygons[0] if one else polygons,
        "plane": {"c": -1, "z": plane.z, "t": plane.t},  # channel -1: all of them
    }


def _closed(ring: Ring) -> list[list[int]]:
    points: list[list[int]] = ring[:, ::-1].tolist()
    return [*points, points[0]]


def _rgb(color: str) -> list[int]:
    return list(bytes.fromhex(color[1:]))
