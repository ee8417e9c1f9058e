"""Rows of a project's images.

Functions over a connection; those that change something are called within a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_core.edits import Shape
from unet_core.image_reference import ImageReference
from unet_core.project_edits import forget_edits, is_labelled
from unet_core.project_rows import checked_record, get_value, set_image_record, set_value
from unet_core.project_schema import MAX_RECORD

MAX_IMAGES = 10_000
"""A file from a stranger may hold any number."""


@dataclass(frozen=True)
class ProjectImage:
    """An image of the project; the labels, and the steps of undo, belong to one each."""

    id: int
    shape: Shape
    """(T, Z, Y, X)"""
    reference: ImageReference | None
    """Its path as seen from where the project lies now."""
    reviewed: bool = False
    """Whether the user has said that it is done."""
    predicted: bool = False
    """Whether its prediction has been written."""
    labelled: bool = False
    """Whether anything is labelled."""


def read_images(connection: sqlite3.Connection, folder: Path) -> list[ProjectImage]:
    """All images, in the order in which they were added; folder: where the project lies now."""
    return [
        ProjectImage(
            image,
            shape_in(record),
            reference_in(record, folder),
            record.get("reviewed") is True,
            record.get("predicted") is True,
            is_labelled(connection, image),
        )
        for image, record in read_records(connection)
    ]


def read_records(
    connection: sqlite3.Connection, most: int = MAX_IMAGES
) -> list[tuple[int, dict[str, Any]]]:
    """The numbers of the first images and what is known of them."""
    rows = connection.execute(
        "SELECT id, substr(record, 1, ?), checksum FROM images ORDER BY id LIMIT ?",
        (MAX_RECORD, most),
    )
    return [(image, checked_record(image, text, check)) for image, text, check in rows]


def first_record(connection: sqlite3.Connection) -> dict[str, Any]:
    """What is known of the first image."""
    return read_records(connection, 1)[0][1]


def shape_in(record: dict[str, Any]) -> Shape:
    """(T, Z, Y, X) of the labels of an image."""
    t, z, y, x = record["shape"]
    return int(t), int(z), int(y), int(x)


def reference_in(record: dict[str, Any], folder: Path) -> ImageReference | None:
    """Where an image is, as seen from the folder where the project lies now."""
    stored = record.get("image")
    return None if stored is None else ImageReference.restored(stored, folder)


def new_record(shape: Shape, image: ImageReference | None, folder: Path) -> dict[str, Any]:
    """The record of an image on which nothing is labelled."""
    return {"shape": list(shape), "image": image and image.stored(folder), "position": 0}


def count_images(connection: sqlite3.Connection) -> int:
    """How many images there are."""
    return int(connection.execute("SELECT count(*) FROM images").fetchone()[0])


def insert_images(
    connection: sqlite3.Connection, records: Sequence[dict[str, Any]], numbers: Sequence[int]
) -> list[int]:
    """Add images by their records; answers their numbers.

    These are the next ones that no image has had, unless `numbers` gives other free ones.
    """
    (last,) = connection.execute("SELECT max(id) FROM images").fetchone()
    last = max(last, get_value(connection, "last removed", 0))
    added = list(numbers or range(last + 1, last + 1 + len(records)))
    for number, record in zip(added, records, strict=True):
        set_image_record(connection, number, record)
    return added


def delete_image(connection: sqlite3.Connection, image: int) -> bool:
    """Forget an image, its labels and their history; False, and nothing, if there is no other."""
    cursor = connection.execute(
        "DELETE FROM images WHERE id = ? AND (SELECT count(*) FROM images) > 1", (image,)
    )
    if not cursor.rowcount:
        return False
    forget_edits(connection, image)
    # Its number is not given to another one: who still means this one must not find that.
    last = max(image, get_value(connection, "last removed", 0))
    set_value(connection, "last removed", str(last))
    return True
