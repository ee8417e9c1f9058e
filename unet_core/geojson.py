"""GeoJSON as QuPath has it: every object of every plane a polygon with its class; written and read.

Coordinates are pixels of the full-resolution image, y down, along the pixels' edges. The standard
is RFC 7946; `objectType`, `classification` and `plane` are QuPath's. One feature to a line, so that
a file of any size is written, and checked, with one feature in memory.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unet_core.atomic import sync_file
from unet_core.contours import Contour, Ring, contours
from unet_core.export import Progress, differs, forget_cached, writing
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
    extent, count = masks.extent, len(masks.planes)
    features: list[int] = []
    meant, again = hashlib.blake2b(), hashlib.blake2b()
    with writing(path, extent, overwrite) as part:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write('{"type": "FeatureCollection", "limn": ')
            file.write(json.dumps(dict(masks.notes), ensure_ascii=False))
            file.write(', "features": [')
            between = "\n"
            for i, plane in enumerate(masks.planes):
                outlines = contours(masks.object_map(i))
                for found in masks.objects_in(i):
                    info = masks.class_info(found.value)
                    place = extent.in_image(plane)
                    name = f"{extent.path.name}/{place.t}/{place.z}/{found.number}"
                    feature = {
                        "type": "Feature",
                        "id": str(uuid.uuid5(_NAMES, name)),
                        "geometry": _geometry(outlines[found.number], place),
                        "properties": {
                            "objectType": "annotation" if found.painted else "detection",
                            "name": str(found.number),
                            "classification": {"name": info.name, "color": _rgb(info.color)},
                        },
                    }
                    line = json.dumps(feature, ensure_ascii=False)
                    meant.update(line.encode())
                    file.write(between + line)
                    between = ",\n"
                features.append(len(outlines))
                yield Progress(i + 1, 2 * count, f"Writing plane {i + 1} of {count}")
            file.write("\n]}\n")
        sync_file(part)
        forget_cached(part)
        with part.open(encoding="utf-8") as file:
            file.readline()
            for i, plane in enumerate(masks.planes):
                try:
                    lines = [file.readline().rstrip(",\n") for _ in range(features[i])]
                    again.update("".join(lines).encode())
                    shapes = [_shape(json.loads(line)) for line in lines]
                    areas = [shape for shape in shapes if shape is not None]
                    same = np.array_equal(painted(areas, *extent.shape[3:]), masks.object_map(i))
                except (ShapeError, ValueError) as error:
                    raise differs(path.name) from error
                if not same or {shape.plane for shape in areas} - {extent.in_image(plane)}:
                    raise differs(path.name)
                yield Progress(count + i + 1, 2 * count, f"Checking plane {i + 1} of {count}")
            # Corners can be wrong and all pixel centres right.
            if again.digest() != meant.digest():
                raise differs(path.name)


def read_geojson(path: Path) -> Iterator[Shape | None]:
    """The polygons of a FeatureCollection, a list of features or one feature, or of geometries.

    None for what has no area: points and lines. Raises ShapeError where the file is damaged or
    absurdly large.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ShapeError(
            f"{path.name} is too large ({size / 2**20:.0f} MiB of text): export fewer objects at a "
            "time, or a label image."
        )
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ShapeError(f"{path.name} is damaged: it is no GeoJSON.") from error
    features = found.get("features", [found]) if isinstance(found, dict) else found
    if not isinstance(features, list) or not all(isinstance(f, dict) for f in features):
        raise ShapeError(f"{path.name} is no GeoJSON: it has no features.")
    if len(features) > MOST_SHAPES:
        raise ShapeError(f"{path.name} holds {len(features):,} shapes, far too many.")
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
