"""Start Limn: `python -m app`, the command `limn`. Subcommands run without a window."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Must be set before torch is loaded: with a busy neighbour, threads that spin at barriers cost ten
# times the CPU of one thread.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the window or a subcommand; returns the exit code."""
    from app import cli

    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and (words[0] in cli.COMMANDS or words[0] in ("-h", "--help")):
        return cli.main(words)
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        print(f"limn: unknown option {unknown[0]}; see limn --help", file=sys.stderr)
        return 2
    return _window([Path(word) for word in words])


def _window(paths: list[Path]) -> int:
    if sys.platform == "win32":
        import torch  # noqa: F401  # before Qt: the other way round its DLLs do not load
    if sys.platform.startswith("linux") and not _has_display():
        print("limn: there is no screen here; use limn predict, or set DISPLAY.", file=sys.stderr)
        return 1
    from app.main_window import run

    return run(paths)


def _has_display() -> bool:
    return bool(
        os.environ.get("DISPLAY")
        or os.environ.get("WAYLAND_DISPLAY")
        or os.environ.get("QT_QPA_PLATFORM")
    )


if __name__ == "__main__":
    sys.exit(main())
