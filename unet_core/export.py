"""Writing masks as TIFF: streamed, atomic, and only kept when they read back identical.

Why OME-TIFF and not ImageJ's TIFF: ImageJ's format has no uint32 (object numbers above 65,535),
no BigTIFF, no documented compression, and one z spacing at most; OME-TIFF has all of these, states
axes and pixel size in a standard, and is read by Fiji, QuPath, napari, Cellpose and scikit-image.
The TIFF resolution tags are written too, so that ImageJ's own reader shows the right scale.
Neither format says whether an axis of size 1 exists, so a note in the file keeps that for us.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile
from numpy.typing import DTypeLike

from unet_core.atomic import os_reason, replacing, sync_file
from unet_core.stack import Array, PlaneIndex, Stack, StackError, open_stack, open_stored
from unet_core.tiff_metadata import ANNOTATION_NAMESPACE

_OME_TYPES = {"uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "float32": "float"}

# Offsets in a classic TIFF have 32 bits. Compression only makes data smaller but for a few bytes
# in a thousand, and tables come on top.
_CLASSIC_LIMIT = 2**32 - 2**27

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extent:
    """Which planes of an image are exported, and what their file must state about them."""

    path: Path
    """The image."""
    name: str
    """Its file's name, as it is written into files."""
    files: tuple[Path, ...]
    """Every file of the image: none of them may be overwritten."""
    shape: tuple[int, int, int, int, int]
    """(T, Z, C, Y, X), C being the image's."""
    axes: str
    pixel_size: tuple[float, float, float] | None
    """(z, y, x) in µm; z is 1.0 where the file states none, see `z_stated`."""
    z_stated: bool
    """Whether the file states how far its slices are apart."""
    time_interval: float | None
    origin: PlaneIndex
    """The first plane, in the image."""

    @classmethod
    def of(cls, stack: Stack, plane: PlaneIndex | None = None) -> "Extent":
        """All of an image, or one plane of it: that is an image without T and Z."""
        shape, axes, interval = stack.shape, stack.axes, stack.time_interval
        if plane is not None:
            shape = (1, 1, *shape[2:])
            axes, interval = axes.replace("T", "").replace("Z", ""), None
        origin = plane or PlaneIndex(0, 0)
        size, z_stated = stack.pixel_size, stack.z_stated
        name = legible(stack.path.name)
        return cls(stack.path, name, stack.files, shape, axes, size, z_stated, interval, origin)

    def planes(self) -> Iterator[PlaneIndex]:
        """All planes of the file, time outside, slices inside, from (0, 0)."""
        for t in range(self.shape[0]):
            for z in range(self.shape[1]):
                yield PlaneIndex(t, z)

    def in_image(self, plane: PlaneIndex) -> PlaneIndex:
        """Which plane of the image a plane of the file is."""
        return PlaneIndex(self.origin.t + plane.t, self.origin.z + plane.z)


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work has come: `done` of `total` steps, and what it does now."""

    done: int
    total: int
    text: str


DEFAULT_MIN_SIZE = 10
"""Objects below this many pixels are noise more often than cells."""


def mask_path(image: Path, what: str, folder: Path | None = None) -> Path:
    """Where a mask of `image` goes by default: `<stem>_<what>.tif`, beside it or in `folder`."""
    return (folder or image.parent) / f"{image.stem}_{what}.tif"


class ExportError(ValueError):
    """A mask could not be written, or a label file not be used; one sentence for the user."""


def write_mask(
    path: Path,
    planes: Iterable[Array],
    *,
    like: Stack | Extent,
    dtype: DTypeLike,
    channels: int = 0,
    overwrite: bool = True,
    description: Mapping[str, str] | None = None,
    channel_names: Sequence[str] = (),
) -> Iterator[Progress]:
    """Write `planes` as an OME-TIFF of the same T, Z, Y, X, axes and pixel size as `like`.

    planes        one array per plane of `like.planes()`: (Y, X), or (channels, Y, X) where
                  `channels` > 0, which adds a C axis, outermost in the file
    dtype         uint8, uint16, uint32 or float32; integers that do not fit are refused
    description   notes to keep in the file (program version, threshold …)

    A generator: it does one plane per step and yields a Progress, first for writing, then for
    reading back; at most two planes are in memory. The file is made as NAME.part and renamed only
    when shape, axes, pixel size and every pixel have been read back identical. Closing the
    generator cancels: the .part goes, a file that was there stays. The raw image is never
    written to. Raises ExportError with one sentence; what `planes` raises passes through.
    """
    path = Path(path)
    like = Extent.of(like) if isinstance(like, Stack) else like
    dtype = np.dtype(dtype)
    names = tuple(channel_names) or tuple(f"Channel {i + 1}" for i in range(channels))
    if dtype.name not in _OME_TYPES or (channels and len(names) != channels):
        raise ValueError(f"cannot write {dtype} with {len(names)} names for {channels} channels")
    header = _ome_xml(path.name, like, dtype, channels, names, description or {})
    with writing(path, like, overwrite) as part:
        checksums: list[bytes] = []
        yield from _write_planes(part, path.name, planes, like, dtype, channels, header, checksums)
        sync_file(part)
        yield from _verify(part, path.name, like, dtype, channels, checksums)


@contextmanager
def writing(path: Path, like: Stack | Extent, overwrite: bool) -> Iterator[Path]:
    """The .part to write for `path`, see `atomic.replacing`; what fails is an ExportError."""
    try:
        check_target(path, like, overwrite)
        with replacing(path) as part:
            yield part
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> ExportError:
    """The sentence about a file that the system does not let us write."""
    return ExportError(
        f"{path.name} cannot be written in {path.absolute().parent}: {os_reason(error)}."
    )


def differs(name: str) -> ExportError:
    """The sentence about a file that did not read back as it was meant."""
    return ExportError(
        f"{name} was not written: it did not read back identical, so check the disk."
    )


def legible(text: str) -> str:
    """`text` with � for what is half a character only, which no file can hold.

    Names of files that are not in UTF-8 come like this, and so may what a stranger's file says.
    """
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; ExportError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"The folder {folder} cannot be made: {os_reason(error)}; choose another one."
        ) from error


def read_labels(path: Path, like: Stack) -> dict[PlaneIndex, Array]:
    """Read an integer label image made for `like`; only planes that have a label.

    The file has the image's plane shape, or its stack shape without C; its axes may have other
    names (a plain TIFF of 30 planes fits 30 slices and 30 time points alike). Gives integer arrays
    (Y, X) as stored, 0 = unlabelled. Raises ExportError or StackError with one sentence.
    """
    return {index: plane.copy() for index, plane in label_planes(Path(path), like) if plane.any()}


def label_planes(path: Path, like: Stack) -> Iterator[tuple[PlaneIndex, Array]]:
    """As `read_labels`, but one plane after the other, those without a label included."""
    with open_stored(path) as stack:
        if stack.dtype.kind not in "biu":
            raise ExportError(
                f"{path.name} holds fractional numbers ({stack.dtype}), not labels: save it as an "
                "8- or 16-bit integer TIFF with 0 for unlabelled."
            )
        _check_label_shape(path.name, stack, like)
        for index, plane in zip(like.planes(), _flat_planes(stack), strict=True):
            if plane.dtype == bool:
                plane = plane.astype(np.uint8)
            if plane.dtype.kind == "i" and plane.min() < 0:
                raise ExportError(
                    f"{path.name} has negative values, which mean nothing as labels: use 0 for "
                    "unlabelled and 1, 2, 3 … for labels."
                )
            yield index, plane


def check_target(path: Path, like: Stack | Extent, overwrite: bool) -> None:
    """Raise ExportError where a mask of `like` must not be written to `path`."""
    if path.is_dir():
        raise ExportError(f"{path.name} is a folder: choose a file name inside it.")
    if not path.exists():
        return
    if any(raw.exists() and path.samefile(raw) for raw in like.files):
        raise ExportError(f"{path.name} is the image itself, which Limn never overwrites: "
                          "choose another name.")  # fmt: skip
    if not overwrite:
        raise ExportError(f"{path.name} exists already: choose another name, or allow replacing.")


def _write_planes(
    part: Path,
    name: str,
    planes: Iterable[Array],
    like: Extent,
    dtype: np.dtype[Any],
    channels: int,
    header: bytes,
    checksums: list[bytes],
) -> Iterator[Progress]:
    """Write each plane as it comes; `checksums` receives one per plane."""
    times, slices, _, height, width = like.shape
    count = times * slices
    shape = (channels, height, width) if channels else (height, width)
    size = count * max(1, channels) * height * width * dtype.itemsize
    options = _resolution_options(like)
    # Never a second file object on the .part: tifffile seeks back to fix the list of pages.
    with tifffile.TiffWriter(part, bigtiff=size > _CLASSIC_LIMIT) as writer:
        done = 0
        for plane in planes:
            if done == count:
                raise ExportError(
                    f"{name} was not written: there are more planes than in the image."
                )
            pixels = _converted(np.asarray(plane), name, shape, dtype)
            checksums.append(checksum(pixels))
            for page in pixels if channels else [pixels]:
                writer.write(
                    page,
                    photometric="minisblack",
                    compression="zlib",
                    description=header,
                    metadata=None,
                    software="Limn",
                    contiguous=False,
                    **options,
                )
                header = b""
            done += 1
            yield Progress(done, 2 * count, f"Writing plane {done} of {count}")
    if done < count:
        raise ExportError(f"{name} was not written: only {done} of {count} planes were computed.")


def _verify(
    part: Path,
    name: str,
    like: Extent,
    dtype: np.dtype[Any],
    channels: int,
    checksums: Sequence[bytes],
) -> Iterator[Progress]:
    """Read the finished file as anyone would, and compare it with what was meant."""
    times, slices, _, height, width = like.shape
    forget_cached(part)
    wrong = differs(name)
    try:
        with open_stack(part) as written:
            axes = "".join(a for a in "TZCYX" if (a == "C" and channels) or a in _axes(like))
            found = written.shape, written.dtype, written.axes, written.pixel_size
            expected = (
                (times, slices, max(1, channels), height, width),
                dtype,
                axes,
                like.pixel_size,
            )
            if found != expected:
                logger.error("export read back as %s instead of %s", found, expected)
                raise wrong
            for i, (index, meant) in enumerate(zip(written.planes(), checksums, strict=True)):
                plane = written.plane(*index)
                if checksum(plane if channels else plane[0]) != meant:
                    raise wrong
                done = len(checksums) + i + 1
                text = f"Checking plane {i + 1} of {len(checksums)}"
                yield Progress(done, 2 * len(checksums), text)
    except StackError as error:
        raise wrong from error


def _axes(like: Extent) -> str:
    """The axes of a mask without channels."""
    return like.axes.replace("C", "")


def _converted(plane: Array, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The plane in the file's type, contiguous; never a silently wrapped number."""
    if plane.shape != shape:
        raise ExportError(f"{name} was not written: a plane came as {plane.shape} "
                          f"instead of {shape}.")  # fmt: skip
    if plane.dtype != dtype and dtype.kind == "u":
        if plane.dtype.kind not in "biu":
            raise ExportError(f"{name} was not written: its values are not whole numbers.")
        if int(plane.max(initial=0)) > np.iinfo(dtype).max or int(plane.min(initial=0)) < 0:
            raise ExportError(f"{name} was not written: its numbers need more than "
                              f"{dtype.itemsize * 8} bits.")  # fmt: skip
    return np.ascontiguousarray(plane, dtype=dtype)


def checksum(plane: Array) -> bytes:
    """16 bytes that change with any pixel of the plane."""
    return hashlib.blake2b(np.ascontiguousarray(plane).data, digest_size=16).digest()


def forget_cached(path: Path) -> None:
    """Drop the system's cached copy, so that reading back tests the disk and not the memory."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _resolution_options(like: Extent) -> dict[str, Any]:
    """TIFF's own resolution tags, in pixels per centimetre, for readers that ignore OME."""
    if like.pixel_size is None:
        return {}
    _, y, x = like.pixel_size
    return {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}


def _ome_xml(
    name: str,
    like: Extent,
    dtype: np.dtype[Any],
    channels: int,
    channel_names: Sequence[str],
    description: Mapping[str, str],
) -> bytes:
    """The OME-XML of the file. Pages are stored by plane, all its channels together.

    With channels the dimension order puts C outermost, as the command line promises, and every
    page says which plane it is.
    """
    times, slices, _, height, width = like.shape
    sizes = {"X": width, "Y": height, "Z": slices, "T": times, "C": max(1, channels)}
    attributes = {
        "ID": "Pixels:0",
        "DimensionOrder": "XYZTC" if channels else "XYCZT",
        "Type": _OME_TYPES[dtype.name],
        **{f"Size{axis}": str(size) for axis, size in sizes.items()},
    }
    if like.pixel_size is not None:
        for axis, size in zip("ZYX", like.pixel_size, strict=True):
            if axis != "Z" or like.z_stated:
                attributes[f"PhysicalSize{axis}"] = repr(float(size))
                attributes[f"PhysicalSize{axis}Unit"] = "µm"
    if like.time_interval is not None:
        attributes["TimeIncrement"] = repr(float(like.time_interval))
        attributes["TimeIncrementUnit"] = "s"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06'
        ' http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd" Creator="Limn">',
        f'<Image ID="Image:0" Name={quoteattr(_legal(name))}>',
        f"<Pixels {_attributes(attributes)}>",
    ]
    for i in range(max(1, channels)):
        channel = {"ID": f"Channel:0:{i}", "SamplesPerPixel": "1"}
        if channels:
            channel["Name"] = channel_names[i]
        lines.append(f"<Channel {_attributes(channel)}><LightPath/></Channel>")
    if channels:
        page = 0
        for t, z in like.planes():
            for c in range(channels):
                first = f'FirstC="{c}" FirstT="{t}" FirstZ="{z}"'
                lines.append(f'<TiffData IFD="{page}" {first} PlaneCount="1"/>')
                page += 1
    else:
        lines.append(f'<TiffData IFD="0" PlaneCount="{times * slices}"/>')
    axes = "".join(a for a in "TZCYX" if (a == "C" and channels) or a in _axes(like))
    notes = {"axes": axes, **description}
    entries = "".join(f"<M K={quoteattr(k)}>{_text(v)}</M>" for k, v in notes.items())
    lines += [
        '</Pixels><AnnotationRef ID="Annotation:0"/></Image>',
        "<StructuredAnnotations>"
        f'<MapAnnotation ID="Annotation:0" Namespace="{ANNOTATION_NAMESPACE}">'
        f"<Value>{entries}</Value></MapAnnotation></StructuredAnnotations></OME>",
    ]
    return "\n".join(lines).encode()


def _attributes(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={quoteattr(_legal(value))}" for key, value in values.items())


def _text(value: str) -> str:
    return _legal(str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _legal(text: str) -> str:
    """Without the control characters that XML forbids and TIFF strings end at."""
    kept = (c if c >= " " and c not in "\ufffe\uffff" else " " for c in legible(text))
    return "".join(kept)


def _check_label_shape(name: str, labels: Stack, like: Stack) -> None:
    times, slices, _, height, width = like.shape
    found_planes = [n for n in labels.shape[:3] if n > 1]
    like_planes = [n for n in (times, slices) if n > 1]
    if labels.shape[3:] != (height, width) or found_planes != like_planes:
        raise ExportError(
            f"{name} ({_words(labels)}) does not fit {like.path.name} ({_words(like)}): labels "
            "need the image's height and width, and as many time points and slices."
        )


def _words(stack: Stack) -> str:
    """The shape in words: 30 time points, 520 × 696 pixels."""
    times, slices, channels, height, width = stack.shape
    counts = ((times, "time points"), (slices, "slices"), (channels, "channels"))
    return ", ".join(
        [f"{n} {word}" for n, word in counts if n > 1] + [f"{height} × {width} pixels"]
    )


def _flat_planes(stack: Stack) -> Iterator[Array]:
    """All (Y, X) planes in the order of the file's own axes: labels have no channels."""
    for t, z in stack.planes():
        yield from stack.plane(t, z)
