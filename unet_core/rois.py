"""ImageJ's ROIs: a RoiSet.zip for the ROI Manager, written and read.

Every object of every plane is a ROI of its own, as the ROI Manager has it, along the edges of its
pixels: where it hangs together and has no hole a traced one, as ImageJ's wand makes it, else a
composite. The object's number and class are in the ROI's name and properties.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unet_core.atomic import sync_file
from unet_core.contours import Contour, contours
from unet_core.export import ExportError, Progress, differs, forget_cached, legible, writing
from unet_core.limits import READ_ANYWAY, lifted
from unet_core.masks import Masks
from unet_core.shapes import Ring, Shape, ShapeError, painted, ring_of
from unet_core.stack import PlaneIndex, Stack

if TYPE_CHECKING:
    from roifile import ImagejRoi

MOST_ROIS = 1_000_000
MOST_ROI_BYTES = 2**24
"""A ROI of more bytes has over a million corners, or is not what it seems."""
MOST_BYTES = 2**29
"""Of all ROIs of a file together."""
_LARGEST_SIDE = 60_535
"""ImageJ takes larger coordinates for negative ones."""
_MOST_TRACED = 65_535
# The last two: an archive that is encrypted, or packed in a way that Python does not know.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


def write_rois(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write all objects as a RoiSet.zip; read back plane by plane and compared pixel by pixel."""
    extent, count = masks.extent, len(masks.planes)
    if max(extent.shape[3:]) > _LARGEST_SIDE:
        raise ExportError(
            f"{path.name} was not written: ImageJ's ROIs end at {_LARGEST_SIDE} pixels; choose "
            "QuPath's GeoJSON or OME-TIFF."
        )
    names: list[list[str]] = []
    with writing(path, extent, overwrite) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = _comment(masks.notes)
            for i, plane in enumerate(masks.planes):
                names.append([])
                outlines = contours(masks.object_map(i))
                for found in masks.objects_in(i):
                    name = _name(found.number, masks.stack, extent.in_image(plane))
                    roi = _roi(outlines[found.number], name)
                    _place(roi, masks.stack, extent.in_image(plane))
                    info = masks.class_info(found.value)
                    roi.stroke_color = b"\xff" + bytes.fromhex(info.color[1:])
                    source = "painted" if found.painted else "predicted"
                    roi.props = _properties(
                        {"object": str(found.number), "class": info.name, "source": source}
                    )
                    names[-1].append(f"{name}.roi")
                    # No date: the same masks give the same bytes.
                    entry = zipfile.ZipInfo(names[-1][-1])
                    archive.writestr(entry, roi.tobytes(), zipfile.ZIP_DEFLATED)
                yield Progress(i + 1, 2 * count, f"Writing plane {i + 1} of {count}")
        sync_file(part)
        forget_cached(part)
        only = masks.stack.shape[0] * masks.stack.shape[1] == 1
        try:
            with zipfile.ZipFile(part) as archive:
                for i, plane in enumerate(masks.planes):
                    shapes = [read_roi(archive.read(name), masks.stack) for name in names[i]]
                    areas = [shape for shape in shapes if shape is not None]
                    place = None if only else extent.in_image(plane)
                    if (
                        len(areas) < len(shapes)
                        or any(shape.plane != place for shape in areas)
                        or not np.array_equal(
                            painted(areas, *extent.shape[3:]), masks.object_map(i)
                        )
                    ):
                        raise differs(path.name)
                    yield Progress(count + i + 1, 2 * count, f"Checking plane {i + 1} of {count}")
        except (*_DAMAGE, KeyError, ShapeError) as error:
            raise differs(path.name) from error


def read_rois(path: Path, like: Stack) -> Iterator[Shape | None]:
    """The ROIs of a RoiSet.zip, or of a single .roi file, for an image; None for one without area.

    Raises ShapeError where the file is damaged or absurdly large.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) == b"Iout":
                yield read_roi(b"Iout" + file.read(MOST_ROI_BYTES), like)
                return
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if e.filename.lower().endswith(".roi")]
            if not entries:
                raise ShapeError(f"{path.name} holds no ImageJ ROIs: choose a RoiSet.zip.")
            if len(entries) > MOST_ROIS and not lifted():
                raise ShapeError(
                    f"{path.name} holds {len(entries):,} ROIs, more than {MOST_ROIS:,}; "
                    f"{READ_ANYWAY}."
                )
            left = MOST_BYTES
            for entry in entries:
                with archive.open(entry) as file:  # never more than is looked at, whatever it says
                    data = file.read(MOST_ROI_BYTES + 1)
                left -= len(data)
                if len(data) > MOST_ROI_BYTES or left < 0 and not lifted():
                    raise ShapeError(f"{path.name} holds ROIs with far too many corners.")
                yield read_roi(data, like)
    except _DAMAGE as error:
        raise ShapeError(f"{path.name} is damaged: its ROIs cannot be read.") from error


def read_roi(data: bytes, like: Stack) -> Shape | None:
    """A ROI, for an image; None for a point, a line or a text, which have no area."""
    from roifile import ROI_TYPE, ImagejRoi

    try:
        roi = ImagejRoi.frombytes(data)
        areas = ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED, ROI_TYPE.RECT, ROI_TYPE.OVAL
        if roi.roitype not in areas or roi.subtype.name in ("TEXT", "IMAGE"):
            return None
        if roi.composite and roi.multi_coordinates is not None:
            rings = _path(roi.multi_coordinates.tolist())
        else:
            rings = [ring_of(points) for points in roi.coordinates(multi=True)]
    except ShapeError:
        raise
    except Exception as error:  # the decoder raises what it likes
        raise ShapeError("A ROI is damaged: its corners cannot be read.") from error
    facts = dict(re.findall(r"^(object|class): (.*)$", roi.props, re.MULTILINE))
    number = facts.get("object", "")
    return Shape(
        (tuple(rings),),
        _plane(roi, like),
        number if number.isdecimal() and len(number) < 9 else "",
        facts.get("class", ""),
    )


def _roi(outline: Sequence[Contour], name: str) -> ImagejRoi:
    from roifile import ROI_TYPE, ImagejRoi

    points = np.concatenate([contour.exterior for contour in outline])
    top, left = points.min(axis=0).tolist()
    bottom, right = points.max(axis=0).tolist()
    roi = ImagejRoi(
        name=name, version=228, top=int(top), left=int(left), bottom=int(bottom), right=int(right)
    )
    if len(outline) == 1 and not outline[0].holes and len(points) <= _MOST_TRACED:
        roi.roitype = ROI_TYPE.TRACED
        roi.integer_coordinates = (points[:, ::-1] - (left, top)).astype(np.int32)
        roi.n_coordinates = len(points)
        return roi
    path: list[float] = []
    for contour in outline:
        for ring in (contour.exterior, *contour.holes):
            step = _MOVE
            for y, x in ring.tolist():
                path += (step, x, y)
                step = _LINE
            path.append(_CLOSE)
    roi.roitype = ROI_TYPE.RECT
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def _path(path: Sequence[float]) -> list[Ring]:
    """The rings of a composite: steps of an operation and the points that it needs.

    Curves become lines between their ends and the points a quarter, half and three quarters along.
    """
    rings: list[list[tuple[float, float]]] = []
    i = 0
    while i < len(path):
        operation = int(path[i])
        length = {0: 1, 1: 1, 2: 2, 3: 3, 4: 0}.get(operation, -1)
        if length < 0 or i + 2 * length >= len(path) or (operation > 0 and not rings):
            raise ShapeError("A composite ROI is damaged: its outline cannot be read.")
        points = [(path[i + 1 + 2 * k], path[i + 2 + 2 * k]) for k in range(length)]
        if operation == 0:
            rings.append([])
        if length > 1:
            points = _curve([rings[-1][-1], *points])
        rings[-1] += points
        i += 1 + 2 * length
    return [ring_of(ring) for ring in rings]


def _curve(control: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points along a Bézier curve (de Casteljau's construction), its beginning left out."""
    points = []
    for share in (0.25, 0.5, 0.75, 1.0):
        left = control
        while len(left) > 1:
            left = [
                ((1 - share) * a[0] + share * b[0], (1 - share) * a[1] + share * b[1])
                for a, b in pairwise(left)
            ]
        points.append(left[0])
    return points


def _axes(stack: Stack) -> dict[str, int]:
    """Sizes of the axes that ImageJ would count slices along, fastest first."""
    return {"c": 1 if stack.is_rgb else stack.shape[2], "z": stack.shape[1], "t": stack.shape[0]}


def _name(number: int, stack: Stack, plane: PlaneIndex) -> str:
    """Object 12 on the third slice: 00012_z003."""
    name = f"{number:05d}"
    for letter, size, index in (("t", stack.shape[0], plane.t), ("z", stack.shape[1], plane.z)):
        if size > 1:
            name += f"_{letter}{index + 1:03d}"
    return name


def _place(roi: ImagejRoi, stack: Stack, plane: PlaneIndex) -> None:
    """Say which slice it belongs to, counted from 1; nothing where there is only one.

    ImageJ asks for `position` in a stack with one axis, and for the others in a hyperstack, where
    channel 0 stands for all channels.
    """
    if stack.shape[0] * stack.shape[1] == 1:
        return
    if sum(size > 1 for size in _axes(stack).values()) == 1:
        roi.position = max(plane) + 1
    else:
        roi.t_position, roi.z_position = plane.t + 1, plane.z + 1


def _plane(roi: ImagejRoi, stack: Stack) -> PlaneIndex | None:
    """Which plane a ROI belongs to, as ImageJ finds it: its positions, else its name."""
    if roi.t_position > 0 or roi.z_position > 0:
        return PlaneIndex(max(roi.t_position, 1) - 1, max(roi.z_position, 1) - 1)
    position = roi.position
    if position <= 0 and (named := re.match(r"(\d{4,6})-\d{4,6}-\d{4,6}", roi.name)):
        position = int(named[1])
    if position <= 0:
        return None
    sizes = _axes(stack)
    t, z = divmod((position - 1) // sizes["c"], sizes["z"])
    return PlaneIndex(t, z)


def _properties(facts: Mapping[str, str]) -> str:
    """ImageJ's properties: a line for each, in characters of two bytes (all that ROIs know)."""
    text = "".join(f"{key}: {' '.join(value.splitlines())}\n" for key, value in facts.items())
    return "".join(c if c <= "\uffff" else "?" for c in legible(text))


def _comment(notes: Mapping[str, str]) -> bytes:
    return json.dumps(dict(notes)).encode()[:65_535]
