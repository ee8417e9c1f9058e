"""A disk that fails: a sentence, and nothing saved is harmed; `torture.py` tries every call."""

import os
from collections import Counter

import pytest

from tests.core import faults
from tests.core.faulty_disk import FaultyDisk

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="replaces POSIX system calls")


@pytest.fixture(scope="module")
def disk():
    try:
        return FaultyDisk()
    except (AttributeError, OSError):
        pytest.skip("SQLite's system calls can not be reached here")


def test_the_last_call_of_a_stroke_may_fail_and_it_is_not_recorded_twice(tmp_path, disk):
    """Then SQLite says that it failed, and it is in the file."""
    came = Counter(faults.inject(tmp_path, disk, ["undo"], ["EIO"]))
    assert came.total() == came["undo", "sentence"] > 15


def test_faults_while_writing(tmp_path, disk):
    names = ["record", "model", "save a copy", "save as"]
    came = Counter(faults.inject(tmp_path, disk, names, ["ENOSPC"], every=7))
    assert {name for name, _ in came} == set(names) and came.total() > 20
    assert sum(n for (_, what), n in came.items() if what == "sentence") > 15


@pytest.mark.parametrize("number", [2, 3])
def test_faults_while_opening(tmp_path, disk, number):
    source = faults.DATA / f"format{number}.limn"
    came = faults.inject_while_opening(tmp_path, disk, source, ["EIO"], every=9)
    assert came["sentence"] > 2
