"""Images that have moved, changed, or are where a stranger wants us to look."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile

from unet_core import image_reference
from unet_core.image_reference import ImageReference, check_image, find_image, may_be_touched
from unet_core.project import Project
from unet_core.stack import open_stack


def image_at(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (3, 40, 50), np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A slow computer finds as much as a fast one."""
    monkeypatch.setattr(image_reference, "_SECONDS", 600.0)


@pytest.fixture
def known(tmp_path):
    """A reference to an image in the folder of a project."""
    with open_stack(image_at(tmp_path / "work" / "cells.tif")) as stack:
        return ImageReference.of(stack)


def test_it_is_where_it_was(known, tmp_path):
    image_at(tmp_path / "work" / "a" / "cells.tif")
    assert find_image(known, tmp_path / "work") == known.path


@pytest.mark.parametrize(
    "place", ["work/sub/cells.tif", "cells.tif", "data/cells.tif", "work/a/b/other name.tif"]
)
def test_it_is_found_nearby_by_its_content(known, tmp_path, place):
    moved = tmp_path / place
    moved.parent.mkdir(parents=True, exist_ok=True)
    known.path.rename(moved)
    image_at(tmp_path / "work" / "z" / "cells.tif", seed=1)  # same name and size, other content
    assert find_image(known, tmp_path / "work") == moved


def test_of_equal_ones_that_of_the_same_name_is_taken(known, tmp_path):
    known.path.unlink()
    image_at(tmp_path / "work" / "aaa.tif")
    image_at(tmp_path / "work" / "b" / "cells.tif")
    assert find_image(known, tmp_path / "work") == tmp_path / "work" / "b" / "cells.tif"


def test_it_is_found_in_a_folder_that_the_user_names(known, tmp_path):
    known.path.unlink()
    far = image_at(tmp_path / "x" / "y" / "z" / "w" / "cells.tif")
    assert find_image(known, tmp_path / "work") is None
    assert find_image(known, tmp_path / "work", [tmp_path / "x" / "y"]) == far


def test_another_content_is_found_and_said(known, tmp_path):
    image_at(known.path, seed=1)
    assert find_image(known, tmp_path / "work") == known.path
    with open_stack(known.path) as stack:
        assert "cells.tif has changed" in check_image(known, stack)
    true = image_at(tmp_path / "work" / "backup" / "cells.tif")
    assert find_image(known, tmp_path / "work") == true
    with open_stack(true) as stack:
        assert check_image(known, stack) is None
    tifffile.imwrite(known.path, np.zeros((2, 40, 50), np.uint8))
    with open_stack(known.path) as stack:
        assert "not the image of this project" in check_image(known, stack)


def test_the_search_ends(known, tmp_path, monkeypatch):
    known.path.unlink()
    deep = image_at(tmp_path / "work" / "1" / "2" / "3" / "cells.tif")
    assert find_image(known, tmp_path / "work") is None  # too deep
    deep.rename(tmp_path / "work" / "1" / "cells.tif")
    with suppress(OSError):  # Windows makes no links for everybody
        (tmp_path / "work" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert find_image(known, tmp_path / "work") is not None
    for number in range(30):
        (tmp_path / "work" / f"{number}.txt").touch()
    monkeypatch.setattr(image_reference, "_ENTRIES", 20)
    assert find_image(known, tmp_path / "work") is None
    monkeypatch.setattr(image_reference, "_ENTRIES", 2000)
    monkeypatch.setattr(image_reference, "_SECONDS", -1.0)
    assert find_image(known, tmp_path / "work") is None
    assert find_image(known, tmp_path / "no such folder") is None


FOREIGN = [
    "//evil.example/share/cells.tif",
    "\\\\evil.example\\share\\cells.tif",
    "\\\\.\\pipe\\x",
    "\\\\?\\UNC\\evil.example\\share\\cells.tif",
    "/net/evil.example/cells.tif",
    "../../../../../../../../../../../../net/evil.example/cells.tif",
]


@pytest.mark.parametrize("place", FOREIGN)
def test_no_other_computer_is_asked_because_a_project_says_so(tmp_path, monkeypatch, place):
    asked = []

    def listened(real):
        def spy(path, *rest, **more):
            asked.append(str(path))
            return real(path, *rest, **more)

        return spy

    for name in ("stat", "scandir", "open"):
        monkeypatch.setattr(os, name, listened(getattr(os, name)))
    stored = {"path": place, "size": 9, "fingerprint": "x", "shape": [1, 1, 1, 4, 4]}
    reference = ImageReference.restored(stored, tmp_path)
    assert find_image(reference, tmp_path) is None
    assert asked and not [path for path in asked if "evil" in path or "pipe" in path]


def test_a_project_on_a_share_may_name_images_there():
    there = Path("//server/lab/projects")
    assert may_be_touched(Path("//server/lab/data/cells.tif"), there)
    assert not may_be_touched(Path("//server/other/cells.tif"), there)
    assert may_be_touched(Path("/home/me/cells.tif"), there)
    assert may_be_touched(Path("/net/host/a.tif"), Path("/net/host/b"))
    assert not may_be_touched(Path("/net/host/a.tif"), Path("/home/me"))


def test_what_is_no_file_is_no_image(tmp_path):
    for place in ("/dev/zero", "/dev/stdin", ".", "nul\0name"):
        stored = {"path": place, "size": 0, "fingerprint": "x", "shape": [1, 1, 1, 4, 4]}
        assert find_image(ImageReference.restored(stored, tmp_path), tmp_path) is None


def test_a_project_knows_its_image_again(known, tmp_path):
    path = tmp_path / "work" / "a.limn"
    with Project.create(path, (1, 3, 40, 50), image=known) as project:
        assert project.image == known
    (tmp_path / "work").rename(tmp_path / "elsewhere")
    with Project.open(tmp_path / "elsewhere" / "a.limn") as project:
        assert find_image(project.image, project.path.parent) == (
            tmp_path / "elsewhere" / "cells.tif"
        )
