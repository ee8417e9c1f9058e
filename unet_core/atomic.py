"""Writing a file so that a crash, a full disk or a cancel leaves the old one whole."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def part_path(path: Path) -> Path:
    """The temporary neighbour of `path` that is written first: NAME.part in the same folder."""
    return path.with_name(path.name + ".part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new, empty NAME.part; when the block ends well it becomes `path`.

    The bytes are on the disk before the name changes (fsync of file and folder), so after a
    power cut `path` is either the old file or the whole new one. If the block raises, or is
    left by a closed generator, the .part is removed and an existing `path` is untouched. Once the
    name has changed nothing raises any more.
    Raises OSError as the file system does (`os_reason` turns it into words).
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    part = part_path(path)
    part.unlink(missing_ok=True)  # left over from a crash
    part.touch(exist_ok=False)
    try:
        yield part
        sync_file(part)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder: give a new, empty NAME.part, a folder, that becomes `path`.

    Whether an existing folder `path` may go is for the caller to know. It stays until the new one
    is whole, and lies beside it as .NAME.replaced for the moment between two renames.
    """
    path = Path(path)
    part, old = part_path(path), path.with_name(f".{path.name}.replaced")
    if part.is_dir():  # left over from a crash
        shutil.rmtree(part)
    if old.is_dir() and not path.exists():
        old.rename(path)
    shutil.rmtree(old, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        for entry in (part, *part.rglob("*")):
            if entry.is_dir():
                sync_folder(entry)
            else:
                sync_file(entry)
        if path.exists():
            path.rename(old)
        try:
            part.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the file's bytes have reached the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the folder's names have reached the disk, where the system can do that.

    It may not be able to: some network file systems refuse it, and so does a folder that may be
    written to but not read.
    """
    if os.name == "nt":  # Windows journals names itself and cannot open a folder
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def os_reason(error: OSError) -> str:
    """Why the system refused, as words that continue a sentence: "the disk is full"."""
    reasons = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "your disk quota is used up",
        errno.EFBIG: "the file would be too large for this disk",
        errno.ENOENT: "the folder does not exist",
        errno.ENOTDIR: "its folder is a file",
        errno.EISDIR: "it is a folder",
        errno.EACCES: "you may not write there (the folder or the file is read-only)",
        errno.EPERM: "you may not write there (the folder or the file is read-only)",
        errno.EROFS: "the disk is read-only",
        errno.ENAMETOOLONG: "the name is too long",
        errno.EIO: "the disk reported an error",
    }
    known = reasons.get(error.errno or 0)
    return known or (error.strerror or "the system refused").lower()
