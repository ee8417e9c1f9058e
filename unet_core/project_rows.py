"""Rows that carry checksums: a project's named values, what it knows of its images, and its tiles.

Functions over a connection. A flipped bit is noticed: what is damaged raises ValueError, of which
`project_errors.sentences` makes a sentence.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from typing import Any

from unet_core.project_schema import FIRST_IMAGE, MAX_RECORD, MAX_TEXT


def get_value(connection: sqlite3.Connection, name: str, default: Any = None) -> Any:
    """A named value. ValueError where it is damaged."""
    row = connection.execute(
        "SELECT substr(value, 1, ?), checksum FROM properties WHERE name = ?", (MAX_TEXT, name)
    ).fetchone()
    if row is None:
        return default
    if checksum(name, row[0]) != row[1]:
        raise ValueError(f"the checksum of {name} does not fit")
    return json.loads(row[0])


def encoded(name: str, value: Any) -> str:
    """A value as JSON text. ValueError or TypeError where it can not be kept."""
    text = json.dumps(value)
    if len(text) >= MAX_TEXT:
        raise ValueError(f"{name} is too long to keep")
    return text


def set_value(connection: sqlite3.Connection, name: str, text: str) -> None:
    """Keep a named value, which is `encoded` already."""
    connection.execute(
        "INSERT OR REPLACE INTO properties VALUES (?, ?, ?)", (name, text, checksum(name, text))
    )


def checksum(name: str, text: str) -> int:
    """What is kept beside a named text, to notice damage."""
    return zlib.crc32(f"{name}\n{text}".encode())


def get_image_record(connection: sqlite3.Connection, image: int) -> dict[str, Any]:
    """What is known of an image. KeyError where there is no such one, ValueError if damaged."""
    row = connection.execute(
        "SELECT substr(record, 1, ?), checksum FROM images WHERE id = ?", (MAX_RECORD, image)
    ).fetchone()
    if row is None:
        raise KeyError(f"there is no image {image}")
    return checked_record(image, *row)


def checked_record(image: int, text: str, check: int) -> dict[str, Any]:
    """The record of an image from its row. ValueError where it is damaged."""
    if checksum(f"image {image}", text) != check:
        raise ValueError(f"the checksum of image {image} does not fit")
    record = json.loads(text)
    position = record.get("position") if isinstance(record, dict) else None
    if not isinstance(position, int) or position < 0 or "shape" not in record:
        raise ValueError(f"the record of image {image} makes no sense")
    return dict(record)


def set_image_record(connection: sqlite3.Connection, image: int, record: Mapping[str, Any]) -> None:
    """Keep what is known of an image."""
    text = json.dumps(dict(record))
    if len(text) >= MAX_RECORD:
        raise ValueError(f"what is known of image {image} is too long to keep")
    connection.execute(
        "INSERT OR REPLACE INTO images VALUES (?, ?, ?)",
        (image, text, checksum(f"image {image}", text)),
    )


def update_image_record(connection: sqlite3.Connection, image: int, name: str, value: Any) -> None:
    """Keep one thing that is known of an image, by its name in the record."""
    record = get_image_record(connection, image)
    set_image_record(connection, image, {**record, name: value})


def sealed_for(image: int, packed: bytes | None) -> bytes | None:
    """A packed tile as it lies in the file among those of `image`; the other way round, too.

    A flipped bit in the number of the image is noticed: the tile's checksum, its first four bytes,
    fits in one image only. Those of the first image are as `edits.pack_tile` made them.
    """
    if not isinstance(packed, bytes) or image == FIRST_IMAGE:
        return packed
    mark = zlib.crc32(b"image %d" % image)
    head = int.from_bytes(packed[:4], "little") ^ mark
    return head.to_bytes(4, "little") + packed[4:]
