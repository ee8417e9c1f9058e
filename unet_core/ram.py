"""How much memory this computer has."""

from __future__ import annotations

import os
import sys


def ram_bytes() -> int | None:
    """Bytes of memory, used or not; None where the system does not tell."""
    try:
        if sys.platform == "win32":
            return _windows()
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _windows() -> int:
    """As GlobalMemoryStatusEx has it, whose answer is a MEMORYSTATUSEX of 64 bytes: its own length
    and a percentage, 32 bits each, then 64-bit numbers, the first being what we want."""
    import ctypes

    answer = (ctypes.c_uint64 * 8)(64)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(answer):  # type: ignore[attr-defined]
        raise OSError
    return int(answer[1])
