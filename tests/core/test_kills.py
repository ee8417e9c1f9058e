"""Kills at random moments lose nothing that was acknowledged; `benchmarks/torture.py` has more."""

import multiprocessing
import random
import shutil
from pathlib import Path

import pytest

from tests.core import kill_large
from tests.core.work_forever import kill_and_judge

DATA = Path(__file__).parent / "data"


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="kills the way POSIX does"
)
def test_what_takes_a_moment_is_done_or_not_begun(tmp_path):
    lasts = kill_large.prepare(tmp_path)
    rng = random.Random(5)
    for way in kill_large.WAYS:
        kill_large.kill_and_judge(tmp_path, way, lasts[way], rng)


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="kills the way POSIX does"
)
def test_twenty_kills_lose_nothing(tmp_path):
    path = tmp_path / "work.limn"
    rng = random.Random(9)
    done = 0
    for seed in range(20):
        if seed % 10 == 0:  # it starts as a file of an older format
            shutil.copy(DATA / "format2.limn", path)
        done += sum(kill_and_judge(path, tmp_path / "copy.limn", seed, rng).values())
    assert done > 60
