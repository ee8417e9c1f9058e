"""Which Limn this is."""

from importlib.metadata import PackageNotFoundError, version


def app_version() -> str:
    """The installed version of Limn."""
    try:
        return version("limn")
    except PackageNotFoundError:  # used from a source tree that is not installed
        return "0+source"
