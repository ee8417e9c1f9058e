"""A disk that fails on command: one of the system calls of SQLite, or of our own, at a time.

SQLite's system calls are replaced through its own interface for such tests (`xSetSystemCall` of the
virtual file system, https://www.sqlite.org/c3ref/vfs.html), `fsync` by a wrapper of the method that
calls it. Reading, writing, shortening, opening and removing files and syncing are covered; locks
are not. Of ours: `os.open`, `os.replace`, `os.unlink`, `os.fsync`.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p, cast
from typing import Any
from unittest.mock import patch

SHORT = -1
"""In the place of an error number: a write that writes half, and then reports ENOSPC."""

_SQLITE_OK, _SQLITE_IOERR_FSYNC = 0, 10 | 4 << 8


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", c_int), ("file_size", c_int), ("path_size", c_int), ("next", c_void_p),
        ("name", c_char_p), ("data", c_void_p), ("open", c_void_p), ("others", c_void_p * 12),
        ("set_call", c_void_p), ("get_call", c_void_p), ("next_call", c_void_p),
    ]  # fmt: skip


class _Methods(ctypes.Structure):
    # The version, then close, read, write, truncate, sync, ...
    _fields_ = [("version", c_int), ("before", c_void_p * 4), ("sync", c_void_p),
                ("after", c_void_p * 13)]  # fmt: skip


_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_SET = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GET = CFUNCTYPE(c_void_p, c_void_p, c_char_p)
_TRANSFER = (c_int, c_void_p, c_size_t, c_int64)

# Arguments and result of the system calls, as SQLite declares them.
_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "open": (c_int, (c_char_p, c_int, c_int)),
    "openDirectory": (c_int, (c_char_p, POINTER(c_int))),
    "ftruncate": (c_int, (c_int, c_int64)),
    "read": (ctypes.c_ssize_t, _TRANSFER[:3]),
    "pread": (ctypes.c_ssize_t, _TRANSFER),
    "pread64": (ctypes.c_ssize_t, _TRANSFER),
    "write": (ctypes.c_ssize_t, _TRANSFER[:3]),
    "pwrite": (ctypes.c_ssize_t, _TRANSFER),
    "pwrite64": (ctypes.c_ssize_t, _TRANSFER),
    "unlink": (c_int, (c_char_p,)),
}


class FaultyDisk:
    """Counts file-system calls while `watching`, and lets one fail, or all from that one on."""

    def __init__(self) -> None:
        """Raises AttributeError where SQLite is built in such a way that it can not be reached."""
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._vfs = library.sqlite3_vfs_find(None).contents
        if self._vfs.version < 3 or not self._vfs.set_call:
            raise AttributeError("no system calls to replace")
        self.names: list[str] = []
        """Of the calls since `arm`."""
        self._fails_at = 0
        self._error = 0
        self._on = False
        self._lasting = False
        self._kept: list[Any] = []  # what SQLite points to

    def arm(self, at: int, error: int, lasting: bool = False) -> None:
        """Let call number `at` (from 1; 0 for none) fail with `error`, and all after it, too."""
        self.names.clear()
        self._fails_at, self._error, self._lasting = at, error, lasting

    def disarm(self) -> None:
        """Everything works again."""
        self._fails_at = 0

    @contextmanager
    def watching(self) -> Iterator[FaultyDisk]:
        """The block's system calls go through here."""
        set_call, get_call = _SET(self._vfs.set_call), _GET(self._vfs.get_call)
        vfs = ctypes.addressof(self._vfs)
        real_open = self._vfs.open
        for name, (result, arguments) in _CALLS.items():
            if not (real := get_call(vfs, name.encode())):
                continue
            kind = CFUNCTYPE(result, *arguments, use_errno=True)
            replaced = kind(self._replacement(name, kind(real)))
            self._kept.append(replaced)
            set_call(vfs, name.encode(), cast(replaced, c_void_p))
        opened = _OPEN(self._replaced_open(_OPEN(real_open)))
        self._kept.append(opened)
        self._vfs.open = cast(opened, c_void_p)
        with self._ours():
            self._on = True
            try:
                yield self
            finally:
                self._on = False
                self._vfs.open = real_open
                for name in _CALLS:
                    set_call(vfs, name.encode(), None)

    def _fault(self, name: str) -> int:
        """The error that this call is to fail with, 0 for none."""
        if not self._on:
            return 0
        self.names.append(name)
        number = len(self.names)
        fails = self._fails_at and (
            number >= self._fails_at if self._lasting else number == self._fails_at
        )
        return self._error if fails else 0

    def _replacement(self, name: str, real: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            error = self._fault(name)
            if error == SHORT:
                if "write" in name and arguments[2] > 1:
                    self._fails_at, self._error = len(self.names) + 1, 28  # ENOSPC, next time
                    return real(arguments[0], arguments[1], arguments[2] // 2, *arguments[3:])
                error = 28
            if error:
                ctypes.set_errno(error)
                return -1
            return real(*arguments)

        return call

    def _replaced_open(self, real: Callable[..., int]) -> Callable[..., int]:
        wrapped: dict[int, _Methods] = {}

        def call(vfs: int, name: int, file: int, flags: int, out: int) -> int:
            code = real(vfs, name, file, flags, out)
            place = cast(file, POINTER(c_void_p))
            methods = place[0]
            if code == _SQLITE_OK and methods:
                if methods not in wrapped:
                    copy = _Methods.from_buffer_copy(cast(methods, POINTER(_Methods)).contents)
                    sync = _SYNC(self._replaced_sync(_SYNC(copy.sync)))
                    copy.sync = cast(sync, c_void_p)
                    wrapped[methods] = copy
                    self._kept += [copy, sync]
                place[0] = ctypes.addressof(wrapped[methods])
            return code

        return call

    def _replaced_sync(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(file: int, flags: int) -> int:
            return _SQLITE_IOERR_FSYNC if self._fault("fsync") else real(file, flags)

        return call

    @contextmanager
    def _ours(self) -> Iterator[None]:
        def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **more: Any) -> Any:
                if error := self._fault(f"os.{name}"):
                    error = 28 if error == SHORT else error
                    raise OSError(error, os.strerror(error), str(arguments[0]))
                return real(*arguments, **more)

            return call

        names = ("open", "replace", "unlink", "fsync")
        replaced = {name: failing(name, getattr(os, name)) for name in names}
        with patch.multiple(os, **replaced):
            yield
