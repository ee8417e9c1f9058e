#!/usr/bin/env python3
"""Set Limn up and start it, on a machine that has Python 3.11 or newer and nothing else.

    python3 packaging/bootstrap.py run [ARGS...]            open Limn (bundled sample without ARGS)
    python3 packaging/bootstrap.py test [PYTEST ARGS...]    run all the tests, offscreen

The first start makes a private virtual environment in .venv; later starts go straight on.
Only the standard library is used, and the syntax stays readable for older versions of Python,
so that they can say which version is needed.
"""

import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (this sentence is for exactly those versions)
    sys.exit(
        f"Limn needs Python 3.11 or newer, and this is Python {platform.python_version()}: install "
        "a newer one and start this with it, for example: python3.12 packaging/bootstrap.py run"
    )

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
SAMPLE = ROOT / "resources" / "sample.tif"
LOG = VENV / "limn-setup.log"
# Written when a set-up is complete; the next start believes it.
STAMP = VENV / "limn-ready.json"
# There while a set-up is at work: whoever finds it knows that the last one was cut short.
UNFINISHED = VENV / "limn-unfinished"

TORCH = "torch==2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# Arguments that need no display: the command line's own subcommands and questions.
WITHOUT_WINDOW = ("train", "predict", "measure", "info", "-h", "--help", "--version")

# Shared library -> Debian and Ubuntu package. First what every Qt program needs, on or off screen,
OFFSCREEN_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libX11.so.6": "libx11-6",
}
# then what a window on an X11 display needs.
WINDOW_LIBRARIES = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
}
FONT_PACKAGE = "fonts-dejavu-core"


class SetUpError(Exception):
    """Set-up can not go on; the message is the one sentence that says what to do."""


# --- small questions and answers, without side effects ------------------------------------------


def needs_window(args: Sequence[str]) -> bool:
    return not (args and args[0] in WITHOUT_WINDOW)


def has_display(env: Mapping[str, str], system: str) -> bool:
    """Whether Qt will find a screen; only Linux can be without one."""
    if system != "Linux":
        return True
    return any(env.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def python_in(venv: Path, system: str) -> Path:
    return venv / ("Scripts/python.exe" if system == "Windows" else "bin/python")


def inputs_key(root: Path, version: str) -> str:
    """Hash of everything that the environment depends on: pins, project, Python, place."""
    digest = hashlib.sha256()
    for part in (version, platform.machine(), str(root)):
        digest.update(part.encode() + b"\0")
    for name in ("pyproject.toml", "packaging/constraints.txt"):
        digest.update((root / name).read_bytes() + b"\0")
    return digest.hexdigest()


def read_stamp(path: Path) -> dict[str, object]:
    """What the last complete set-up left behind; empty when there was none."""
    try:
        stamp = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def needed_parts(command: str, args: Sequence[str]) -> set[str]:
    """Which parts of a set-up a command needs.

    `packages` to run, `dev` to test; `qt`, `window`: system libraries for Qt without and with a
    screen.
    """
    if command == "test":
        return {"packages", "dev", "qt"}
    return {"packages", "qt", "window"} if needs_window(args) else {"packages"}


def stamped_parts(stamp: Mapping[str, object], key: str) -> set[str]:
    """The parts that the stamp vouches for: none when anything that they depend on has changed."""
    parts = stamp.get("parts")
    return set(parts) if stamp.get("key") == key and isinstance(parts, list) else set()


def missing_packages(
    wanted: Mapping[str, str], loads: Callable[[str], bool], has_font: bool
) -> list[str]:
    """The system packages to install, given which shared libraries load."""
    packages = [package for library, package in wanted.items() if not loads(library)]
    return packages if has_font else [*packages, FONT_PACKAGE]


def torch_attempts(system: str, gpu: bool) -> list[list[str]]:
    """Arguments for pip, one list an attempt, until PyTorch is installed.

    On Linux the public index's plain wheel brings gigabytes of CUDA with it; elsewhere it is the
    CPU build already (on macOS with Metal). A configured source may well have the CPU build: only
    when it does not is PyTorch's own index asked.
    """
    if system != "Linux" or gpu:
        return [[TORCH]]
    return [[TORCH + "+cpu"], [TORCH + "+cpu", "--extra-index-url", TORCH_CPU_INDEX]]


def apt_command(packages: Sequence[str]) -> str:
    """The command line that a person would type."""
    return "sudo apt-get install " + " ".join(packages)


def job_commands(command: str, args: Sequence[str], python: Path) -> list[list[str]]:
    """What the finished environment runs."""
    here = str(python)
    if command == "run":
        # -P: a folder called `app` where the user happens to stand must not be taken for ours.
        return [[here, "-P", "-m", "app", *(args or [str(SAMPLE)])]]
    pytest = [here, "-m", "pytest", *args]
    if args:
        return [pytest]
    return [[here, "-m", "ruff", "check", "."], [here, "-m", "mypy"], pytest]


def log_tail(text: str, lines: int = 12) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])


# --- questions to this machine --------------------------------------------------------------------


def library_loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def font_folders() -> list[Path]:
    folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts")]
    return [*folders, Path.home() / ".fonts", Path.home() / ".local/share/fonts"]


def font_found(folders: Iterable[Path]) -> bool:
    endings = (".ttf", ".otf", ".ttc")
    return any(
        name.lower().endswith(endings)
        for folder in folders
        for _, _, names in os.walk(folder)
        for name in names
    )


def has_nvidia_gpu() -> bool:
    if Path("/proc/driver/nvidia/version").exists():
        return True
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        return subprocess.run([tool, "-L"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def has_venv_module() -> bool:
    """Debian and Ubuntu ship Python without ensurepip, which a virtual environment needs."""
    return all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip"))


def root_prefix() -> list[str] | None:
    """What to put before a command so that root runs it; None where that needs a password."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True)
    return ["sudo", "-n"] if asked.returncode == 0 else None


# --- the set-up -----------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def logged(command: Sequence[str]) -> tuple[int, str]:
    """Run with all output in the log file; return the exit code and that output."""
    with LOG.open("a", encoding="utf-8", errors="replace") as log:
        log.write("\n$ " + " ".join(command) + "\n")
        log.flush()
        start = log.tell()
        code = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ).returncode
    with LOG.open(encoding="utf-8", errors="replace") as log:
        log.seek(start)
        return code, log.read()


def failed(output: str, sentence: str) -> NoReturn:
    say(log_tail(output))
    raise SetUpError(sentence + " (all of the output: " + str(LOG) + ")")


def apt_install(packages: Sequence[str], why: str) -> None:
    """Install system packages where that needs no password, else say the command that does."""
    if shutil.which("apt-get") is None:
        raise SetUpError(
            f"{why}: install with your system's package manager what Debian calls "
            f"{' '.join(packages)}, then start this again."
        )
    ask = f"{why}: run `{apt_command(packages)}` and start this again."
    prefix = root_prefix()
    if prefix is None:
        raise SetUpError(ask)
    say("         installing " + " ".join(packages))
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
    # A fresh system has no package lists yet. Should this fail, the lists at hand may still do.
    logged([*apt, "update"])
    code, output = logged([*apt, "install", "-y", "--no-install-recommends", *packages])
    if code != 0:
        failed(output, ask)


def make_environment(python: Path) -> None:
    code, output = logged([sys.executable, "-m", "venv", str(VENV)])
    if code != 0 or not python.exists():
        failed(output, f"The private environment {VENV} could not be made.")


def install_torch(pip: Sequence[str], attempts: Iterable[Sequence[str]]) -> None:
    for attempt in attempts:
        code, output = logged([*pip, *attempt])
        if code == 0:
            return
        if "No matching distribution found for torch" not in output:
            break
    failed(output, "PyTorch could not be installed: check that its page can be reached.")


def install_packages(python: Path, dev: bool, step: Callable[[str], None]) -> None:
    pip = [str(python), "-m", "pip", "install", "--no-input", "-c", str(CONSTRAINTS)]
    gpu = has_nvidia_gpu()
    size = "NVIDIA GPU build, about 3 GB" if gpu else "CPU build, about 200 MB"
    step(f"3/4 PyTorch ({size})")
    install_torch(pip, torch_attempts(platform.system(), gpu))
    step("4/4 Qt, image formats and the other pinned packages (about 250 MB)")
    # setuptools first, at its pinned version: building Limn itself then needs no other download.
    target = str(ROOT) + ("[dev]" if dev else "")
    for what in (["setuptools"], ["--no-build-isolation", "-e", target]):
        code, output = logged([*pip, *what])
        if code != 0:
            failed(output, "Packages could not be installed: check the network and try again.")


def install_libraries(window: bool) -> None:
    """Qt's system libraries: complete on macOS and Windows, a matter of the system on Linux."""
    if platform.system() != "Linux":
        return
    wanted = {**OFFSCREEN_LIBRARIES, **(WINDOW_LIBRARIES if window else {})}
    packages = missing_packages(wanted, library_loads, font_found(font_folders()))
    if packages:
        apt_install(packages, "Qt needs system libraries that are missing")


def check_starts(python: Path, qt: bool) -> None:
    code, output = logged(
        [str(python), "-P", "-c", "import torch" + ("; import PySide6.QtWidgets" if qt else "")]
    )
    if code != 0:
        failed(output, "The installed packages do not start: delete .venv and start this again.")


def set_up(key: str, parts: set[str]) -> None:
    """Make or renew the environment; the stamp is written only when all of it is there."""
    started = time.monotonic()

    def step(text: str) -> None:
        say(f"[{time.monotonic() - started:4.0f} s] {text}")

    stamp = read_stamp(STAMP)
    version = platform.python_version()
    moved = bool(stamp) and (stamp.get("python"), stamp.get("root")) != (version, str(ROOT))
    # Packages that were cut short while they were written can look complete to pip.
    if moved or UNFINISHED.exists():
        step("Removing the environment of another Python or place, or of an unfinished set-up")
        shutil.rmtree(VENV)
    VENV.mkdir(exist_ok=True)
    python = python_in(VENV, platform.system())
    there = stamped_parts(stamp, key) if python.exists() else set()
    todo = parts - there
    if todo & {"packages", "dev"}:
        step(f"Setting Limn up, this once: a few minutes, about 2 GB on disk, all in {VENV}")
    # What may need a person comes first, before minutes of downloading.
    if todo & {"qt", "window"}:
        step("1/4 Qt's system libraries")
        install_libraries("window" in parts)
    if todo & {"packages", "dev"}:
        step("2/4 A private Python environment")
        if not has_venv_module():
            package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
            apt_install([package], "This Python can not make virtual environments")
        STAMP.unlink(missing_ok=True)
        UNFINISHED.touch()
        make_environment(python)
        install_packages(python, "dev" in parts | there, step)
        UNFINISHED.unlink()
    check_starts(python, "qt" in parts)
    ready = {"key": key, "parts": sorted(parts | there), "python": version, "root": str(ROOT)}
    partial = STAMP.with_suffix(".part")
    partial.write_text(json.dumps(ready), "utf-8")
    partial.replace(STAMP)
    step("Ready; the next start is immediate.")


# --- the two commands -----------------------------------------------------------------------------


def run_all(commands: Iterable[Sequence[str]], cwd: Path, env: Mapping[str, str]) -> int:
    """Run every command, whatever the others say; return the first exit code that is not 0."""
    result = 0
    for command in commands:
        code = subprocess.run(command, cwd=cwd, env=env).returncode
        result = result or code
    return result


def start(command: str, args: Sequence[str]) -> int:
    if command == "run" and needs_window(args) and not has_display(os.environ, platform.system()):
        raise SetUpError(
            "There is no display to open a window on: start this in a desktop session, "
            "or with `ssh -X`, or use the command line (`run predict --help`)."
        )
    key = inputs_key(ROOT, platform.python_version())
    parts = needed_parts(command, args)
    python = python_in(VENV, platform.system())
    if not (parts <= stamped_parts(read_stamp(STAMP), key) and python.exists()):
        set_up(key, parts)
    commands = job_commands(command, args, python)
    if command == "test":
        quiet = {"QT_QPA_PLATFORM": "offscreen", "OMP_WAIT_POLICY": "PASSIVE"}
        return run_all(commands, ROOT, {**os.environ, **quiet})
    if platform.system() == "Windows":
        return run_all(commands, Path.cwd(), os.environ)
    # Limn takes this process's place: signals and exit codes are its own.
    os.execv(commands[0][0], commands[0])


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] not in ("run", "test"):
        say("usage: bootstrap.py run [ARGS...] | bootstrap.py test [PYTEST ARGS...]")
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    try:
        return start(argv[0], argv[1:])
    except SetUpError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
