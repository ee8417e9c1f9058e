"""Kill the program while somebody paints: what the window showed as saved is there again."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.synthetic import make_cells, write_imagej
from unet_core.places import recovery_dir
from unet_core.project import Project
from unet_core.recovery import unfinished
from unet_core.stack import PlaneIndex

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("paint_in_window.py")
PLANE = PlaneIndex(0, 0)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is a matter of POSIX")
@pytest.mark.parametrize(
    "words",
    [(), (), ("train",), ("undo",), ("fill",), ("export",), ("copy",)],
    ids=["painting", "again", "training", "undoing", "filling", "exporting", "copying"],
)
def test_every_stroke_shown_as_saved_survives_kill_9(tmp_path, words, request):
    image = write_imagej(tmp_path / "cells.tif", make_cells(shape=(400, 400)).image, "YX")
    seed = zlib.crc32(request.node.name.encode())
    random = np.random.default_rng(seed)
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(image), str(seed), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    wanted = int(random.integers(4, 12))
    for line in child.stdout:
        lines.append(line)
        if len(lines) == wanted:
            break
    child.kill()
    rest, errors = child.communicate()
    complete = [line for line in (*lines, *rest.splitlines(keepends=True)) if line.endswith("\n")]
    assert len(complete) >= wanted, errors
    strokes, checksum = map(int, complete[-1].split())

    (work,) = unfinished()  # the next start offers it
    assert work.path.parent == recovery_dir()
    assert work.strokes >= strokes or "undo" in words
    assert work.image_name == "cells.tif"
    with Project.open(work.path) as project:
        annotation, history = project.load()
    assert history.position >= strokes
    for _ in range(history.position - strokes):  # saved, but not yet shown so
        annotation.apply(history.undo())
    assert zlib.crc32(annotation.read(PLANE)) == checksum
    while history.can_undo:
        annotation.apply(history.undo())
    assert not annotation.read(PLANE).any()
    # What was written beside it is whole, or not there.
    if (tmp_path / "export.tif").exists():
        assert tifffile.imread(tmp_path / "export.tif").shape == (400, 400)
    if (tmp_path / "copy.limn").exists():
        with Project.open(tmp_path / "copy.limn") as copy:
            copied, _ = copy.load()
        assert copied.read(PLANE).any()
