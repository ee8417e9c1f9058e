"""Which image a project belongs to, and where that image is now.

Images move, and projects are sent by strangers. So the path in a project is a hint: what is found
there, or nearby, is the image when its size and its fingerprint say so.

**No other computer is asked.** A path on a network share, as in a project from somebody else, would
make Windows log on to a computer of the sender's choice as soon as it is touched. Such a path is
left alone unless the project itself lies on the same share; the image is then looked for beside
the project, and the user may choose it. Other local paths, `..` included, are only ever opened to
read an image, so they may be tried.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from unet_core.folders import is_image, size_of
from unet_core.reading import Reading
from unet_core.stack import Stack, StackError, fingerprint_of

# How far, how much and how long is looked for an image that has moved.
_DEPTH = 2
_ENTRIES = 2_000
_SECONDS = 2.0

# Folders of Unix systems whose subfolders are other computers, asked when they are touched.
_AUTOMOUNTED = {"net", "afs", "Network"}


@dataclass(frozen=True)
class ImageReference:
    """Which image the labels belong to."""

    path: Path
    size: int
    """Bytes of the file; 0 of a folder."""
    fingerprint: str
    shape: tuple[int, int, int, int, int]
    """(T, Z, C, Y, X)"""
    reading: Reading = Reading()
    """How the file was read: which of its images, and its axes."""

    @classmethod
    def of(cls, stack: Stack) -> ImageReference:
        """Describe an open stack."""
        t, z, c, y, x = stack.shape
        path = Path(stack.path).absolute()
        return cls(path, size_of(path), stack.fingerprint(), (t, z, c, y, x), stack.reading)

    def stored(self, folder: Path) -> dict[str, Any]:
        """As JSON for a project in `folder`: the path is relative to it."""
        path = Path(self.path).absolute()
        try:
            relative = Path(os.path.relpath(path, folder))
        except ValueError:  # Windows: on another drive there is no relative path
            relative = path
        reading = self.reading.stored()
        return {
            "path": relative.as_posix(),
            "size": self.size,
            "fingerprint": self.fingerprint,
            "shape": list(self.shape),
            **({"reading": reading} if reading else {}),
        }

    @classmethod
    def restored(cls, stored: dict[str, Any], folder: Path) -> ImageReference:
        """The inverse of `stored`; ValueError, TypeError or KeyError where it makes no sense."""
        t, z, c, y, x = (int(n) for n in stored["shape"])
        path = Path(os.path.normpath(folder / PurePosixPath(stored["path"])))
        reading = Reading.restored(stored.get("reading"))
        return cls(path, int(stored["size"]), str(stored["fingerprint"]), (t, z, c, y, x), reading)


def find_image(
    reference: ImageReference,
    project_folder: Path,
    nearby: Sequence[Path] = (),
    *,
    chosen: bool = False,
) -> Path | None:
    """Where the image is now; None where it is not found.

    First the place that the project names, then, by content, `nearby` (folders that the user has
    named), the project's folder and the one around it, each with what is below them: at most 2,000
    entries in 2 seconds, of one name before others. Where only the named place holds a file, and
    its content is another one, that file is the answer: `check_image` says what is the matter.
    chosen: whether the user has named that place, too; then it may be on any computer. Raises
    nothing.
    """
    named = reference.path
    there = (chosen or may_be_touched(named, project_folder)) and _is_image(named)
    if there and _is_it(named, reference):
        return named
    until = time.monotonic() + _SECONDS
    roots = [*nearby, project_folder, project_folder.parent]
    candidates = list(_of_size(reference.size, named.name, roots, until))
    candidates.sort(key=lambda path: path.name != named.name)
    for path in candidates:
        if _is_it(path, reference):
            return path
        if time.monotonic() > until:
            break
    return named if there else None


def check_image(reference: ImageReference, stack: Stack) -> str | None:
    """One sentence where the open image is another one, or has changed; None where it is the one.

    Raises StackError where the image can no longer be read.
    """
    name = stack.path.name
    t, z, _, y, x = reference.shape
    if (stack.shape[0], stack.shape[1], *stack.shape[3:]) != (t, z, y, x):
        return (
            f"{name} is not the image of this project: that one has (T, Z, Y, X) = {(t, z, y, x)}, "
            f"this one {(*stack.shape[:2], *stack.shape[3:])}; choose another image."
        )
    if stack.fingerprint() != reference.fingerprint:
        return f"{name} has changed since the project was saved; check that the labels fit."
    return None


def may_be_touched(path: Path, project_folder: Path) -> bool:
    """Whether looking at `path` asks no computer but those that the project itself lies on."""
    share = _share(path)
    return share is None or share == _share(project_folder)


def _share(path: Path) -> str | None:
    """Which other computer's folder a path leads to, as far as its name tells; None for ours."""
    # Windows' rules everywhere: a project is refused or accepted alike wherever it is opened.
    drive = PureWindowsPath(str(path)).drive
    if drive.startswith("\\\\"):
        return drive.lower()
    # A name with backslashes is a plain name on Unix, but never one that we wrote.
    if any("\\" in part for part in path.parts[1:]):
        return str(path)
    parts = path.parts
    if len(parts) > 2 and parts[0] == "/" and parts[1] in _AUTOMOUNTED:
        return "/".join(parts[1:3])
    return None


def _is_it(path: Path, reference: ImageReference) -> bool:
    try:
        return fingerprint_of(path) == reference.fingerprint
    except StackError:
        return False


def _is_image(path: Path) -> bool:
    """Whether there is a file, or a folder that is an image."""
    try:
        return path.is_file() or (path.is_dir() and is_image(path))
    except OSError:  # a folder that may not be looked into
        return False


def _of_size(size: int, name: str, roots: Sequence[Path], until: float) -> Iterator[Path]:
    """Files of `size` bytes, and folders of that name where the image is a folder, in the folders
    and below, the nearest first. Follows no links."""
    left = _ENTRIES
    seen: set[str] = set()
    folders = deque((str(root), 0) for root in roots)
    if not size:  # one that the user has named may be the image itself
        yield from roots
    while folders:
        folder, depth = folders.popleft()
        if folder in seen:
            continue
        seen.add(folder)
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                left -= 1
                if left < 0 or time.monotonic() > until:
                    return
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        if not size and entry.name == name:
                            yield Path(entry.path)
                        if depth < _DEPTH:
                            folders.append((entry.path, depth + 1))
                    elif entry.is_file() and entry.stat().st_size == size:
                        yield Path(entry.path)
