"""Limits on what a file may ask for, and how somebody who trusts the file lifts them.

A file may claim anything: planes of a thousand gigabytes in a header of a few bytes, millions of
labels in a project of a few. What asks for more than a file of its size, or any computer, can hold
is refused, before memory or time is spent on it. That may be wrong of a strange but honest file:
the window's message then has a button that opens it all the same, and everywhere else the
environment variable LIMN_LIMITS=off does that.
"""

from __future__ import annotations

import os

ADVICE = "if you trust it, open it anyway (without the window: set LIMN_LIMITS=off)"
READ_ANYWAY = "set LIMN_LIMITS=off to read it all the same"
"""For files that are read into something else that is open, where there is no button."""

_lifted = False


class LimitError(ValueError):
    """A file asks for more than it may, and might be opened with the limits lifted.

    The message is one sentence that says the limit and ends with how to lift it.
    """


def lift() -> None:
    """Believe every file, until the program ends: the user has said so."""
    global _lifted
    _lifted = True


def lifted() -> bool:
    """Whether limits do not count."""
    return _lifted or os.environ.get("LIMN_LIMITS", "").lower() == "off"
