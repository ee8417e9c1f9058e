"""OME-TIFF in several files: the description may lie beside them, and must lead nowhere else."""

from __future__ import annotations

import html
import re
from pathlib import Path

import tifffile

from unet_core.stack import StackError

_METADATA_FILE = re.compile(r"<(?:\w+:)?BinaryOnly\b[^>]*\bMetadataFile=[\"']([^\"']+)[\"']")
_FILE_NAMES = re.compile(r"<(?:\w+:)?UUID\b[^>]*\bFileName=[\"']([^\"']*)[\"']")
_MOST_TEXT = 64 * 2**20


def open_set(path: Path) -> tifffile.TiffFile:
    """Open a TIFF, with the description of its set where that is another file beside it.

    Raises StackError where an OME description leads out of the folder: tifffile would open any
    file, on any computer, that it names.
    """
    file = tifffile.TiffFile(path)
    try:
        text = file.pages.first.description
        if not text.rstrip().endswith("OME>"):
            return file
        companion = _METADATA_FILE.search(text)
        if companion is None:
            _check_names(path, _FILE_NAMES.findall(text))
            return file
        name = companion[1]
        _check_names(path, [name])
        beside = path.parent / name
        if beside.suffix != ".ome" or not beside.is_file() or beside.stat().st_size > _MOST_TEXT:
            return file  # without its set, this file is one plane
        text = beside.read_text("utf-8", errors="replace")
        _check_names(path, _FILE_NAMES.findall(text))
        together = tifffile.TiffFile(path, omexml=text)
    except BaseException:
        file.close()
        raise
    file.close()
    return together


def _check_names(path: Path, names: list[str]) -> None:
    for name in map(html.unescape, names):
        if "/" in name or "\\" in name or ":" in name or name == "..":
            raise StackError(
                f"{path.name} says that parts of it lie in other folders, where Limn does not "
                "look: put all files of the set into one folder."
            )
