"""Long work as a generator: whoever drives it decides what happens between two steps."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

R = TypeVar("R")


def result_of(steps: Generator[Any, None, R]) -> R:
    """Take all steps at once; what the generator returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: R = end.value
            return result
