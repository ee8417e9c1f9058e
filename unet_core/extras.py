"""Packages that only some formats need, with a sentence where they are missing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from unet_core.stack import StackError


def package_for(path: Path, kind: str, name: str) -> ModuleType:
    """Import the package `name`, which reads files of `kind`. Raises StackError."""
    try:
        return import_module(name)
    except ImportError as error:
        raise StackError(
            f"{path.name} is {kind}, for which Limn needs another package: pip install {name} (or "
            "'limn[formats]' for all formats), or save the image as OME-TIFF."
        ) from error
