"""What can go wrong with a project file, each as one sentence for the user."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_core.atomic import os_reason
from unet_core.limits import LimitError


class ProjectError(ValueError):
    """A project file can not be used or written; the message is one sentence for the user."""


class ProjectLockedError(ProjectError):
    """The project is open elsewhere: in another window, by another person."""


class ProjectReadOnlyError(ProjectError):
    """The file, or its folder, may be read but not written to."""


class ProjectDamagedError(ProjectError):
    """The file can not be read; parts of it perhaps can, see `rescue`."""


class ProjectDriveError(ProjectError):
    """The disk or the network drive fails, or is away."""


class ProjectLimitError(ProjectError, LimitError):
    """The file asks for more than it may."""


class ProjectGoneError(ProjectError):
    """The file that is open has no name any more, or another one has taken it."""


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error came from Python."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_dead(error: sqlite3.Error) -> bool:
    """Whether an open file can no longer be reached: its drive is away, or was."""
    # Python's own error, without a code: the connection was closed when opening anew failed.
    return code_of(error) == sqlite3.SQLITE_IOERR or isinstance(error, sqlite3.ProgrammingError)


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turn whatever a file or a disk can do to us into one sentence about it."""
    try:
        yield
    except ProjectError:
        raise
    except LimitError as error:
        raise ProjectLimitError(f"{path}: {error}") from error
    except sqlite3.Error as error:
        code = code_of(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ProjectLockedError(
                f"{path} is open in another window or by another person; close it there first."
            ) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise foreign(path) from error
        if code == sqlite3.SQLITE_CANTOPEN and not path.exists():
            raise ProjectGoneError(
                f"{path} is not there any more (moved, deleted, or its drive is away); put it "
                "back, then try again."
            ) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
            raise ProjectReadOnlyError(
                f"{path} can not be written (the file or its folder is read-only); "
                "copy it to a folder of yours and open the copy."
            ) from error
        if code == sqlite3.SQLITE_FULL:
            raise ProjectError(
                f"{path} can not be saved because the disk is full; make room, then save again."
            ) from error
        if is_dead(error):
            raise ProjectDriveError(
                f"{path} can not be read or written because its disk or network drive fails; "
                "check the connection, then try again."
            ) from error
        raise _damaged(path) from error
    except OSError as error:
        raise ProjectError(
            f"{path} can not be saved because {os_reason(error)}; choose another place."
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError,
            RecursionError, MemoryError) as error:  # fmt: skip
        raise _damaged(path) from error


def foreign(path: Path) -> ProjectDamagedError:
    """What is to be raised where a file is none of ours."""
    return ProjectDamagedError(
        f"{path} is not a Limn project, or its beginning is damaged; open a backup copy of it, if "
        "you have one."
    )


def _damaged(path: Path) -> ProjectDamagedError:
    return ProjectDamagedError(
        f"{path} is damaged and can not be read; open a backup copy of it, if you have one."
    )
