"""JSON with one entry to a line: files of any size are written, and checked, with one in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_core.atomic import sync_file
from unet_core.export import Progress, differs, forget_cached, writing
from unet_core.masks import Masks

Entry = Mapping[str, Any]


def write_entries(
    path: Path,
    masks: Masks,
    head: Entry,
    name: str,
    entries_of: Callable[[int], Iterator[Entry]],
    labels_of: Callable[[int, Iterator[Any]], NDArray[np.uint32]],
    overwrite: bool,
) -> Iterator[Progress]:
    """Write one object: `head`, not empty, and the entries of all planes as its last member `name`.

    entries_of  the entries of plane i
    labels_of   the object numbers (Y, X) that the entries of plane i stand for, once they are read
                back; ValueError, IndexError, KeyError or TypeError where they make no sense

    They are compared with what was to be written, pixel by pixel. Raises ExportError.
    """
    count = len(masks.planes)
    sizes: list[int] = []
    meant, again = hashlib.blake2b(), hashlib.blake2b()
    with writing(path, masks.extent, overwrite) as part:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            first = json.dumps(head, ensure_ascii=False)[:-1] + f', "{name}": ['
            meant.update(first.encode())
            file.write(first)
            between = "\n"
            for i in range(count):
                sizes.append(0)
                for entry in entries_of(i):
                    text = json.dumps(entry, ensure_ascii=False)
                    meant.update(text.encode())
                    file.write(between + text)
                    between = ",\n"
                    sizes[i] += 1
                yield Progress(i + 1, 2 * count, f"Writing plane {i + 1} of {count}")
            file.write("\n]}\n")
        sync_file(part)
        forget_cached(part)
        with part.open("rb") as written:

            def line() -> bytes:
                text = written.readline().rstrip(b",\n")
                again.update(text)
                return text

            line()
            for i in range(count):
                entries = (json.loads(line()) for _ in range(sizes[i]))
                try:
                    same = np.array_equal(labels_of(i, entries), masks.object_map(i))
                except (ValueError, IndexError, KeyError, TypeError) as error:
                    raise differs(path.name) from error
                if not same:
                    raise differs(path.name)
                yield Progress(count + i + 1, 2 * count, f"Checking plane {i + 1} of {count}")
        # Corners can be wrong and all pixel centres right.
        if again.digest() != meant.digest():
            raise differs(path.name)
