"""Hostile files: each is read or gives a sentence; `torture.py` tries thousands."""

import sys

import pytest

pytest.importorskip("resource", reason="limits memory the way POSIX does")

from tests.core.mutants import SUFFIXES, attack


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("kind", SUFFIXES)
def test_mutants_crash_nothing(kind):
    came, bad = attack(kind, 200)
    assert not bad
    assert came["sentence"] > 20 and came["sentence"] + came["read"] >= 200
