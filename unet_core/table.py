"""The table of measurements as a file that spreadsheets open: CSV in UTF-8, decimal points.

Excel takes a CSV for UTF-8 only where it begins with a byte order mark, so it does; pandas and R's
readr skip it. Spreadsheets also compute what begins like a formula, quoted or not, so names that do
get an apostrophe in front: see `as_text` and `from_text`.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from unet_core.atomic import sync_file
from unet_core.export import Progress, differs, forget_cached, writing
from unet_core.masks import Masks
from unet_core.measure import Cell, Table, measure
from unet_core.stack import PlaneIndex

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_text(name: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula; `from_text` gives it back."""
    return f"'{name}" if name.lstrip("'").startswith(FORMULA_STARTS) else name


def from_text(cell: str) -> str:
    """The name in a cell that `as_text` made."""
    guarded = cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_STARTS)
    return cell[1:] if guarded else cell


def write_rows(file: TextIO, tables: Iterable[Table]) -> Iterator[list[list[str]]]:
    """Write tables of the same columns as CSV under one header; yields each one's lines."""
    writer = csv.writer(file)
    for number, table in enumerate(tables):
        lines: list[list[Cell]] = [[*table.header]] if number == 0 else []
        lines += [[as_text(c) if isinstance(c, str) else c for c in row] for row in table.rows]
        writer.writerows(lines)
        yield [[str(cell) for cell in line] for line in lines]


def write_table(path: Path, masks: Masks, overwrite: bool = True) -> Iterator[Progress]:
    """Write one row for each object and time point, see `measure`; read back and compared.

    Beside the measurements a row says of which class the object is, whether it was painted or
    predicted, and by which model.
    """
    extent = masks.extent
    places = {extent.in_image(plane): i for i, plane in enumerate(masks.planes)}
    planes = list(places)
    times = sorted({plane.t for plane in planes})
    slices = sorted({plane.z for plane in planes})
    count = len(times)

    def labels(plane: PlaneIndex) -> NDArray[np.integer]:
        return masks.object_map(places[plane])

    def more(t: int, numbers: list[int]) -> dict[str, list[Cell]]:
        values: dict[int, int] = {}
        for z in slices:
            for one in masks.objects_in(places[PlaneIndex(t, z)]):
                values.setdefault(one.number, one.value)
        model = masks.notes.get("model", "")
        predicted = [not masks.painted[number] for number in numbers]
        return {
            "class": [masks.class_info(values[number]).name for number in numbers],
            "source": ["predicted" if one else "painted" for one in predicted],
            "model": [model if one else "" for one in predicted],
        }

    meant, found = hashlib.blake2b(), hashlib.blake2b()
    with writing(path, extent, overwrite) as part:
        with part.open("w", newline="", encoding="utf-8-sig") as file:
            tables = measure(
                labels, masks.stack, extent.name, times=times, slices=slices, more=more
            )
            for frame, lines in enumerate(write_rows(file, tables)):
                for line in lines:
                    meant.update(repr(line).encode())
                yield Progress(frame + 1, count, "Measuring objects")
        sync_file(part)
        forget_cached(part)
        with part.open(newline="", encoding="utf-8-sig") as file:
            for line in csv.reader(file):
                found.update(repr(line).encode())
        if found.digest() != meant.digest():
            raise differs(path.name)
