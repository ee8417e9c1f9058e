"""What the dimensions of an image mean where the file does not say: the default, and what else.

A dimension is T, Z, C, S (samples of a colour pixel), Y, X, "_" (size 1, no meaning) or "?".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from unet_core.stack import StackError

UNKNOWN = "?"

_IN_ORDER = {1: "Z", 2: "TZ", 3: "TZC"}
_FEW_CHANNELS = 4
_MOST_CHANNELS = 32
"""More planes than this are not offered as channels."""
_MOST_OFFERED = 6


def collapsed(name: str, axes: str, shape: Sequence[int]) -> str:
    """`axes` without more unknown dimensions than T, Z and C can name; the rest has size 1.

    Raises StackError where the image has too many dimensions.
    """
    plane = _with_plane(axes, shape)
    if UNKNOWN in plane and len([a for a in plane if a in "TZC?"]) > 3:
        # What is stated to be one gives its name to what is not stated.
        pairs = zip(axes, shape, strict=True)
        axes = "".join("_" if a in "TZC" and n == 1 else a for a, n in pairs)
        plane = _with_plane(axes, shape)
    known = len(set(plane) & set("TZC"))
    outer = [i for i, a in enumerate(plane) if a == UNKNOWN]
    single = [i for i in outer if shape[i] == 1][: max(0, len(outer) - 3)]
    count = len(outer) - len(single) + known
    if count > 3:
        raise StackError(
            f"{name} has {count + 2} dimensions; Limn opens up to time, "
            "slices, channels, height and width: save a part of it."
        )
    return "".join("_" if i in single else a for i, a in enumerate(axes))


def default_axes(axes: str, shape: Sequence[int]) -> str:
    """Name all dimensions. One more is Z; two are T and Z (Z and C where the second has at most
    4 planes); three T, Z, C. Where not even Y and X are named they are the last two, or those
    before a last one of 3 or 4, which then are the samples of a colour.
    """
    letters = list(_with_plane(axes, shape))
    unknown = [i for i, letter in enumerate(letters) if letter == UNKNOWN]
    known = set(letters) & set("TZC")
    if known:
        names = "".join(a for a in "ZTC" if a not in known)[: len(unknown)]
    else:
        names = _IN_ORDER.get(len(unknown), "")
        if len(unknown) == 2 and "S" not in letters and shape[unknown[1]] <= _FEW_CHANNELS:
            names = "ZC"
    for i, letter in zip(unknown, names, strict=True):
        letters[i] = letter
    return "".join(letters)


def alternative_axes(axes: str, shape: Sequence[int], usual: str | None = None) -> tuple[str, ...]:
    """All that the dimensions may well mean, the default first: as slices, as times, as channels.
    `usual` is the default, if not that of `default_axes`.

    A dimension that the file names, or of size 1, is not in doubt.
    """
    first = usual or default_axes(axes, shape)
    found = [first]
    for base in _layouts(axes, shape):
        doubtful = [i for i, a in enumerate(base) if a == UNKNOWN and shape[i] > 1]
        settled = default_axes(base, shape)
        taken = {a for i, a in enumerate(settled) if i not in doubtful and shape[i] > 1}
        for names in itertools.permutations([a for a in "TZC" if a not in taken], len(doubtful)):
            letters = list(settled)
            for i, letter in zip(doubtful, names, strict=True):
                letters[i] = letter
            for i, letter in enumerate(letters):  # what a size of 1 was taken for goes to another
                if shape[i] == 1 and letter != "_" and letters.count(letter) > 1:
                    letters[i] = next(a for a in "TZC_" if a == "_" or a not in letters)
            many = any(a == "C" and shape[i] > _MOST_CHANNELS for i, a in enumerate(letters))
            if not many and "".join(letters) not in found:
                found.append("".join(letters))
    return tuple(_simplest_first(found, first)[:_MOST_OFFERED])


def chosen_axes(
    name: str, axes: str, shape: Sequence[int], wanted: str | None, usual: str | None = None
) -> str:
    """`wanted`, if the image can be read so, or the default. Raises StackError."""
    if wanted is None:
        return usual or default_axes(axes, shape)
    letters = _filled(axes, shape, wanted.upper())
    named = letters.replace("_", "")
    fits = (
        len(letters) == len(axes)
        and {"Y", "X"} <= set(named) <= set("TZCSYX")
        and len(set(named)) == len(named)
        and all(
            # What is a pixel's row, column or colour in the file is nothing else.
            size == 1 if a == "_" else own in (UNKNOWN, a) or not {own, a} & set("SYX")
            for own, a, size in zip(axes, letters, shape, strict=True)
        )
    )
    if not fits:
        sizes = " x ".join(map(str, shape))
        raise StackError(
            f"{name} can not be read as {wanted[:20]}: its axes are "
            f"{default_axes(axes, shape)} ({sizes})."
        )
    return letters


def _filled(axes: str, shape: Sequence[int], letters: str) -> str:
    """`letters` with those of dimensions of size 1 that were left out, as far as these fit."""
    spare = len(axes) - len(letters)
    single = [i for i, a in enumerate(axes) if shape[i] == 1 and a not in "YX"][: max(0, spare)]
    rest = iter(letters)
    result = ["" if i in single else next(rest, "") for i in range(len(axes))]
    for i in single:
        result[i] = "_" if axes[i] == UNKNOWN or axes[i] in result else axes[i]
    return "".join([*result, *rest])


def _with_plane(axes: str, shape: Sequence[int]) -> str:
    """The axes with Y and X named, if none is."""
    return _layouts(axes, shape)[0]


def _layouts(axes: str, shape: Sequence[int]) -> list[str]:
    """Where Y and X may be: one answer where the file says so."""
    if "Y" in axes or "X" in axes:
        return [axes]
    last = axes[:-2] + "YX"
    if len(axes) < 3 or axes[-1] != UNKNOWN or shape[-1] not in (3, 4) or min(shape[-3:-1]) <= 4:
        return [last]
    return [axes[:-3] + "YXS"]


def _simplest_first(found: list[str], first: str) -> list[str]:
    """The default, then time for slices and the like, then what is stranger."""
    order = {"Z": 0, "T": 1, "C": 2}
    others = [one for one in found if one != first]
    return [first, *sorted(others, key=lambda one: [order.get(a, 3) for a in one])]
