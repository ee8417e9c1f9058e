"""The pages of an SQLite database, read one by one, as far as damage lets them be understood.

The format is that of https://www.sqlite.org/fileformat2.html. Nothing is believed: a page or a row
that can not be parsed is counted, and never followed further than the file is long.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from unet_core.project_schema import MAX_BLOB, MAX_TEXT

Value = int | float | str | bytes | None

_TABLE_LEAF, _TABLE_INTERIOR, _INDEX_LEAF, _INDEX_INTERIOR = 0x0D, 0x05, 0x0A, 0x02
_PAGE_SIZE = 4096  # what SQLite gives new files; counts where the header is damaged
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_MAX_COLUMNS = 8
# An overflow page belongs to one row. Where damage or a stranger lets many rows lead to the same
# ones, so many times as there are pages they are followed.
_FOLLOWED = 8


class Pages:
    """The pages of a database, as far as they can be understood, numbered from 1."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        size = int.from_bytes(data[16:18], "big")
        size = 65536 if size == 1 else size
        self.size = size if size in [2**n for n in range(9, 17)] else _PAGE_SIZE
        # The usable part; at most 255 bytes of a page may be reserved, ours reserve none.
        self._usable = self.size
        self.count = -(-len(data) // self.size)
        self._to_follow = _FOLLOWED * self.count
        self.unreadable = 0
        """Pages that claim to hold rows, and rows on them, that can not be parsed."""

    def in_order(self) -> list[int]:
        """Those that the tables lead to, then the others except those that are known as free."""
        reached = self._reached()
        free = self._free() - reached
        others = set(range(1, self.count + 1)) - reached - free
        return [*sorted(reached), *sorted(others)]

    def rows(self, number: int) -> Iterator[tuple[int | None, tuple[Value, ...]]]:
        """The rows on a page, each with its row id; None for tables that have a key instead."""
        page = self._page(number)
        kind = page[self._start(number)] if len(page) > 108 else 0
        if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
            return
        for place in self._cells(number):
            try:
                place += 4 if kind == _INDEX_INTERIOR else 0
                length, place = _varint(page, place)
                rowid = None
                if kind == _TABLE_LEAF:
                    rowid, place = _varint(page, place)
                yield rowid, _record(self._payload(page, place, length, kind == _TABLE_LEAF))
            except (IndexError, ValueError, struct.error):
                self.unreadable += 1

    def _page(self, number: int) -> bytes:
        return self._data[(number - 1) * self.size : number * self.size]

    @staticmethod
    def _start(number: int) -> int:
        return 100 if number == 1 else 0

    def _cells(self, number: int) -> list[int]:
        page, start = self._page(number), self._start(number)
        count = int.from_bytes(page[start + 3 : start + 5], "big")
        first = start + (12 if page[start] in (_TABLE_INTERIOR, _INDEX_INTERIOR) else 8)
        count = min(count, (len(page) - first) // 2)
        return list(struct.unpack_from(f">{count}H", page, first)) if count > 0 else []

    def _payload(self, page: bytes, place: int, length: int, in_table: bool) -> bytes:
        """The bytes of a row, those on overflow pages included."""
        if not 0 < length <= min(MAX_BLOB + MAX_TEXT, len(self._data)):
            raise ValueError("no sensible length")
        usable = self._usable
        most = usable - 35 if in_table else (usable - 12) * 64 // 255 - 23
        local = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (usable - 4)
            local = least if local > most else local
        parts = [page[place : place + local]]
        left = length - local
        place += local
        following = int.from_bytes(page[place : place + 4], "big") if left else 0
        while left:  # ends: `left` shrinks with every page
            self._to_follow -= 1
            known = 0 < following <= self.count and self._to_follow >= 0
            overflow = self._page(following) if known else b""
            part = overflow[4 : 4 + min(left, usable - 4)]
            if not part:
                raise ValueError("the rest of a row is missing")
            parts.append(part)
            left -= len(part)
            following = int.from_bytes(overflow[:4], "big")
        return b"".join(parts)

    def _reached(self) -> set[int]:
        """The pages that the tables' roots lead to, page 1 included."""
        todo = [1]
        for _, row in self.rows(1):
            if kinds_of(row) == "tttit":
                todo.append(int(row[3]))  # type: ignore[arg-type]
        reached: set[int] = set()
        while todo:
            number = todo.pop()
            if number in reached or not 0 < number <= self.count:
                continue
            reached.add(number)
            page, start = self._page(number), self._start(number)
            if len(page) > 112 and page[start] in (_TABLE_INTERIOR, _INDEX_INTERIOR):
                places = [start + 8, *self._cells(number)]
                todo += [int.from_bytes(page[p : p + 4], "big") for p in places]
        return reached

    def _free(self) -> set[int]:
        """The pages of the free list, as far as it can be followed."""
        free: set[int] = set()
        trunk = int.from_bytes(self._data[32:36], "big")
        while 0 < trunk <= self.count and trunk not in free:
            free.add(trunk)
            page = self._page(trunk)
            if len(page) < self.size:
                break
            trunk, count = struct.unpack_from(">II", page)
            free.update(struct.unpack_from(f">{min(count, self.size // 4 - 2)}I", page, 8))
        return free


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes and the place after it."""
    value = 0
    for i in range(8):
        byte = data[place + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + i + 1
    return (value << 8 | data[place + 8]), place + 9


def _record(payload: bytes) -> tuple[Value, ...]:
    """The values of a row. ValueError, IndexError or struct.error where it can not be one."""
    end, place = _varint(payload, 0)
    types = []
    while place < end:
        kind, place = _varint(payload, place)
        types.append(kind)
        if len(types) > _MAX_COLUMNS:
            raise ValueError("more columns than any of our tables has")
    values: list[Value] = []
    place = end
    for kind in types:
        if kind in (0, 8, 9):
            values.append((None, 0, 1)[max(0, kind - 7)])
            continue
        if kind in (10, 11):
            raise ValueError("a type that is not in use")
        size = _INTEGER_SIZES.get(kind, 8 if kind == 7 else (kind - 12) // 2)
        raw = payload[place : place + size]
        if len(raw) != size:
            raise ValueError("a value is cut short")
        place += size
        if kind == 7:
            values.append(struct.unpack(">d", raw)[0])
        elif kind < 7:
            values.append(int.from_bytes(raw, "big", signed=True))
        else:
            values.append(raw if kind % 2 == 0 else raw.decode())
    return tuple(values)


def kinds_of(row: tuple[Value, ...]) -> str:
    """The types of a row, a letter each: i(nteger), r(eal), t(ext), b(lob), n(ull)."""
    return "".join("n" if v is None else {int: "i", float: "r", str: "t"}.get(type(v), "b")
                   for v in row)  # fmt: skip
