"""How each channel is shown: which intensities are black and bright, gamma, and in which colours.

For the screen only. The network sees intensities through `Document.ranges`, which nothing here
changes: who moves a contrast slider neither trains nor predicts anything else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_core.stack import Stack

LARGEST = float(np.finfo(np.float32).max) / 4
"""Of the intensities that are told apart: differences of them are finite in float32 too."""

GAMMAS = 0.2, 5.0
"""Smallest and largest gamma."""

AUTOMATIC = "Automatic"
"""Not a table by itself: grey where a channel shows alone, else its colour among the channels."""
GREY = "Grey"
INVERTED = "Inverted grey"

CHANNEL_COLORS = ("#00ff00", "#ff00ff", "#0090ff", "#ffa000", "#ffffff", "#ff4040")
"""Colours of fluorescence channels; the first two stay apart for colour-blind eyes."""
_CHANNEL_TABLES = ("Green", "Magenta", "Blue", "Orange", GREY, "Red")
_RGB_COLORS = ("#ff0000", "#00a000", "#0060ff")

_ANCHORS = {
    GREY: "000000 ffffff",
    INVERTED: "ffffff 000000",
    **{
        name: f"000000 {color[1:]}"
        for name, color in zip(_CHANNEL_TABLES, CHANNEL_COLORS, strict=True)
    },
    # Every 17th entry of the tables by S. van der Walt and N. Smith, "A Better Default Colormap for
    # Matplotlib" (SciPy 2015, released as CC0). The lines between differ from them by at most 7.
    "Viridis": "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e "
    "1f988b 22a884 35b779 54c568 7ad151 a5db36 d2e21b fde725",
    "Magma": "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d "
    "c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf",
    "Inferno": "000004 0c0826 240c4f 420a68 5d126e 781c6d 932667 ae305c "
    "c73e4c dd513a ed6925 f8850f fca50a fac62d f2e661 fcffa4",
    # The 32 colours of ImageJ's look-up table "Fire" (W. Rasband, NIH, public domain).
    "Fire": "000000 00003d 010060 190082 3100a5 4900c0 6200dc 7a00e3 "
    "9200d2 a200b5 ad0097 b8007a c3005d cf0e40 d92323 e53905 "
    "f04f00 fc6500 ff7500 ff8500 ff9300 ffa100 ffaf00 ffbe00 "
    "ffcd00 ffdb00 ffea00 fff823 ffff62 ffffa0 ffffdf ffffff",
}


def _between(anchors: str) -> NDArray[np.uint8]:
    """`(256, 3)` colours on straight lines between evenly spaced anchors "rrggbb rrggbb …"."""
    colors = np.array([list(bytes.fromhex(anchor)) for anchor in anchors.split()])
    at = np.linspace(0, 255, len(colors))
    columns = [np.interp(np.arange(256), at, column) for column in colors.T]
    table = np.floor(np.stack(columns, axis=1) + 0.5).astype(np.uint8)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=64)
def _of_color(color: str) -> NDArray[np.uint8]:
    return _between(f"000000 {color[1:]}")


TABLES: dict[str, NDArray[np.uint8]] = {name: _between(text) for name, text in _ANCHORS.items()}
"""Look-up tables: red, green and blue `(256, 3)` of each level, by the name that users see."""


@dataclass(frozen=True)
class ChannelDisplay:
    """How one channel is shown. Of an RGB image the first channel's range and gamma count for all.

    `low` and `high`, in the file's own units, are shown as the first and the last of 256 levels.
    Between them a level is 255 tᵞ, t rising evenly from 0 to 1: a gamma below 1 brightens what is
    dark. `lut` is `AUTOMATIC` or a key of `TABLES`. Raises ValueError where these make no sense.
    """

    low: float
    high: float
    gamma: float = 1.0
    lut: str = AUTOMATIC
    visible: bool = True
    color: str = ""
    """ "#rrggbb" where the image says in which colour its channel shows among others."""

    def __post_init__(self) -> None:
        if not -LARGEST <= self.low <= self.high <= LARGEST:
            raise ValueError(f"{self.low}…{self.high} is no range of intensities.")
        if not GAMMAS[0] <= self.gamma <= GAMMAS[1]:
            raise ValueError(f"Gamma must be between {GAMMAS[0]:g} and {GAMMAS[1]:g}.")
        if self.lut != AUTOMATIC and self.lut not in TABLES:
            raise ValueError(f"There is no look-up table “{self.lut}”.")
        if self.color and not re.fullmatch("#[0-9a-f]{6}", self.color):
            raise ValueError(f"{self.color} is no colour.")


def first_displays(stack: Stack, ranges: NDArray[np.float32]) -> list[ChannelDisplay]:
    """How the channels of an image just opened are shown: by their intensity ranges `(C, 2)`.

    RGB images of 8 bits are shown as they are, others with one range for all three colours.
    """
    if stack.is_rgb and stack.dtype == np.uint8:
        return [ChannelDisplay(0.0, 255.0)] * len(ranges)
    if stack.is_rgb:
        return [ChannelDisplay(float(ranges[:, 0].min()), float(ranges[:, 1].max()))] * len(ranges)
    colors = stack.channel_colors
    if not (all(colors) and len(set(colors)) == len(colors) == len(ranges) > 1):
        colors = ("",) * len(ranges)  # all in one colour: nobody has chosen that
    return [
        ChannelDisplay(float(low), float(high), color=color)
        for (low, high), color in zip(ranges, colors, strict=True)
    ]


def remembered(displays: Sequence[ChannelDisplay]) -> list[dict[str, Any]]:
    """`displays` as plain values for a project file."""
    return [asdict(replace(display, color="")) for display in displays]


def restored(state: object, now: Sequence[ChannelDisplay]) -> list[ChannelDisplay]:
    """What `remembered` gave; a channel about which `state` makes no sense stays as it is `now`."""
    known = state if isinstance(state, list) else []
    return [
        _restored(known[channel], display) if channel < len(known) else display
        for channel, display in enumerate(now)
    ]


def _restored(state: object, now: ChannelDisplay) -> ChannelDisplay:
    try:
        fields = dict(state)  # type: ignore[call-overload]
        numbers = {name: float(fields[name]) for name in ("low", "high", "gamma")}
        visible = fields["visible"]
        if type(visible) is not bool:
            return now
        return ChannelDisplay(lut=fields["lut"], visible=visible, color=now.color, **numbers)
    except (KeyError, TypeError, ValueError, OverflowError):
        return now


def shown_table(display: ChannelDisplay, channel: int, *, alone: bool) -> NDArray[np.uint8]:
    """The look-up table `(256, 3)` of channel number `channel`; alone: no other one is visible."""
    if display.lut != AUTOMATIC:
        return TABLES[display.lut]
    if display.color and not alone:
        return _of_color(display.color)
    return TABLES[GREY if alone else _CHANNEL_TABLES[channel % len(_CHANNEL_TABLES)]]


def swatches(displays: Sequence[ChannelDisplay], *, is_rgb: bool) -> list[str]:
    """A colour "#rrggbb" for each channel's name: that of its brightest pixels."""
    if is_rgb:
        return list(_RGB_COLORS[: len(displays)])
    tables = (shown_table(display, c, alone=False) for c, display in enumerate(displays))
    return [f"#{bytes(table[-1]).hex()}" for table in tables]


# --- what is in a plane ----------------------------------------------------------------------

AUTO_PERCENTILES = 0.35, 99.65
"""0.35 % of the pixels at either end may be black or fully bright: as ImageJ's "Enhance contrast".
"""
BINS = 256
SAMPLED_PIXELS = 1 << 18
"""At most this many pixels of a plane and channel are looked at."""


@dataclass(frozen=True)
class Histogram:
    """How often which intensities occur in one channel of a plane, in the file's units.

    The bins cover what is worth a look, the whole range of 8-bit images: a hot pixel far above
    everything else is not in them.
    """

    start: float
    """Where the first bin begins."""
    width: float
    """Of each bin; a whole number for whole-numbered intensities."""
    counts: NDArray[np.intp]
    """`(n,)` pixels in each bin, n at most `BINS`."""
    lowest: float
    highest: float
    """The smallest and the largest intensity."""
    low: float
    high: float
    """The intensities at `AUTO_PERCENTILES`."""

    @property
    def stop(self) -> float:
        """Where the last bin ends."""
        return self.start + self.width * len(self.counts)


def histogram(values: NDArray[Any]) -> Histogram:
    """Histogram of `values` `(Y, X)`, of an evenly spaced sample where there are many.

    Values that are not finite are left out; where there is no other, as if all were 0.
    """
    step = max(1, math.ceil(math.sqrt(values.size / SAMPLED_PIXELS)))
    sample = values[::step, ::step].ravel()
    whole = sample.dtype.kind in "iub"
    if not whole:
        sample = sample[np.isfinite(sample)]
    if not sample.size:
        sample = np.zeros(1)
    # Exact for whole numbers up to 2⁵³.
    sample = np.clip(sample.astype(np.float64), -LARGEST, LARGEST)
    lowest, highest = float(sample.min()), float(sample.max())
    low, high = map(float, np.percentile(sample, AUTO_PERCENTILES))
    if values.dtype == np.uint8:
        start, stop = 0.0, 255.0
    else:
        start, stop = max(lowest, 2 * low - high), min(highest, 2 * high - low)
    if whole:
        start, stop = math.floor(start), math.ceil(stop)
        width = float(math.ceil((stop - start + 1) / BINS))
        bins = math.ceil((stop - start + 1) / width)
    else:
        width = (stop - start) / BINS or 1.0
        bins = BINS
    inside = sample[(sample >= start) & (sample <= stop)]
    at = np.minimum(np.floor((inside - start) / width), bins - 1)  # `stop` itself too
    counts = np.bincount(at.astype(np.intp), minlength=bins)
    return Histogram(float(start), width, counts, lowest, highest, low, high)


def auto_contrast(
    displays: Sequence[ChannelDisplay], histograms: Sequence[Histogram]
) -> list[ChannelDisplay]:
    """Each display with the range that shows its histogram's channel well.

    If all have these ranges already: from the lowest to the highest intensity.
    """
    ends = [(h.low, h.high) if h.low < h.high else (h.lowest, h.highest) for h in histograms]
    if [(display.low, display.high) for display in displays] == ends:
        ends = [(h.lowest, h.highest) for h in histograms]
    return [
        replace(display, low=low, high=high)
        for display, (low, high) in zip(displays, ends, strict=True)
    ]
