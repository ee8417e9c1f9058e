"""Work that has no name yet: where it is kept, and what a crash left there."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unet_core.places import is_recovery, recovery_dir
from unet_core.project import (
    SUFFIX,
    Project,
    ProjectError,
    ProjectImage,
    ProjectLockedError,
)
from unet_core.project_file import journal_of

__all__ = ["RecoveredWork", "discard", "new_recovery_path", "recovery_dir", "unfinished"]

_DAY = 24 * 3600.0


@dataclass(frozen=True)
class RecoveredWork:
    """An unnamed project that nobody has open."""

    path: Path
    image_name: str
    """File name of the image it belongs to, "" if it knows none."""
    strokes: int
    """Edits in its history, at least 1."""
    modified: float
    """When it was last written, Unix time."""


def new_recovery_path(image: Path | None) -> Path:
    """A file name that is not taken, in the recovery folder, which is made if need be.

    Raises ProjectError where the folder can not be made.
    """
    folder = recovery_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            f"{folder} can not be made for unsaved work; set LIMN_DATA_DIR to a folder of yours."
        ) from error
    # Only letters and digits that every file system takes; the project knows the real name.
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", image.stem if image else "")[:40].strip("-")
    made = time.strftime("%Y%m%d-%H%M%S")
    return folder / f"{stem or 'image'}_{made}_{secrets.token_hex(4)}{SUFFIX}"


def unfinished() -> list[RecoveredWork]:
    """Unnamed work that nobody has open and that holds strokes, newest first.

    Removes what holds no stroke and is older than a day. Files that can not be read stay where
    they are and are left out; this function raises nothing because of them.
    """
    now = time.time()
    found = []
    for path in _files():
        with suppress(ProjectError, OSError):
            modified = path.stat().st_mtime
            if path.suffix != SUFFIX:
                # A copy that a crash interrupted: nobody can have worked in it.
                if now - modified > _DAY:
                    path.unlink()
                continue
            with Project.open(path) as project:
                strokes = project.edit_count()
                images = project.images()
            if strokes:
                found.append(RecoveredWork(path, _name_of(images), strokes, modified))
            elif now - modified > _DAY:
                discard(path)
    return sorted(found, key=lambda work: work.modified, reverse=True)


def _name_of(images: Sequence[ProjectImage]) -> str:
    """The images that somebody worked on, in few words; empty where it is not known which."""
    worked_on = [one for one in images if one.labelled] or images[:1]
    reference = worked_on[0].reference
    if reference is None:
        return ""
    more = len(worked_on) - 1
    return f"{reference.path.name} and {more} more" if more else reference.path.name


def discard(path: Path) -> None:
    """Remove unnamed work. Raises ProjectError unless it is in the recovery folder and closed."""
    if not is_recovery(path):
        raise ProjectError(f"{path} is not unsaved work; remove it yourself if you do not need it.")
    try:
        Project.open(path).close()
    except ProjectLockedError:
        raise
    except ProjectError:
        pass  # damaged or gone: the user knows, and wants it gone
    try:
        path.unlink(missing_ok=True)
        journal_of(path).unlink(missing_ok=True)
    except OSError as error:
        raise ProjectError(f"{path} can not be removed; remove it yourself.") from error


def _files() -> list[Path]:
    try:
        return [
            path
            for path in recovery_dir().iterdir()
            if path.name.endswith((SUFFIX, f"{SUFFIX}.part"))
        ]
    except OSError:  # there is no such folder
        return []
