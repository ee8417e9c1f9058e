"""The table of measurements as a file that spreadsheets open: CSV in UTF-8, decimal points.

Excel takes a CSV for UTF-8 only where it begins with a byte order mark, so it does; pandas and R's
readr skip it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_core.atomic import sync_file
from unet_core.export import Progress, differs, forget_cached, writing
from unet_core.masks import Masks
from unet_core.measure import Cell, measure
from unet_core.stack import PlaneIndex


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
        predicted = [number > masks.painted_to for number in numbers]
        return {
            "class": [masks.class_info(values[number]).name for number in numbers],
            "source": ["predicted" if one else "painted" for one in predicted],
            "model": [model if one else "" for one in predicted],
        }

    meant, found = hashlib.blake2b(), hashlib.blake2b()
    with writing(path, extent, overwrite) as part:
        with part.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file)
            tables = measure(
                labels, masks.stack, extent.path.name, times=times, slices=slices, more=more
            )
            for frame, table in enumerate(tables):
                if frame == 0:
                    writer.writerow(table.header)
                    meant.update(repr(table.header).encode())
                writer.writerows(table.rows)
                for row in table.rows:
                    meant.update(repr([str(cell) for cell in row]).encode())
                yield Progress(frame + 1, count, "Measuring objects")
        sync_file(part)
        forget_cached(part)
        with part.open(newline="", encoding="utf-8-sig") as file:
            for line in csv.reader(file):
                found.update(repr(line).encode())
        if found.digest() != meant.digest():
            raise differs(path.name)
