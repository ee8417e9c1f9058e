"""Names of units, as files of all kinds write them."""

from __future__ import annotations

import math
from typing import Any

Size = tuple[float, float, float]

MICROMETRES = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometers": 1.0, "micrometre": 1.0, "micrometres": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometers": 1e-3, "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "dm": 1e5, "m": 1e6, "meter": 1e6,
    "inch": 25400.0, "inches": 25400.0, "in": 25400.0,
}  # fmt: skip
SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "µs": 1e-6,
    "us": 1e-6, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0,
    "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0, "millisecond": 1e-3,
    "microsecond": 1e-6,
}  # fmt: skip


def pixel_size(z: Any, y: Any, x: Any) -> Size | None:
    """A pixel size; None without y and x. An impossible z counts as not stated."""
    numbers = positive(z), positive(y), positive(x)
    if numbers[1] is None or numbers[2] is None:
        return None
    return numbers[0] or 1.0, numbers[1], numbers[2]


def positive(value: Any) -> float | None:
    """A positive finite float, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
