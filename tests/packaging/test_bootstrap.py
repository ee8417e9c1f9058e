"""packaging/bootstrap.py without network: its answers, and the order of its steps."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "packaging" / "bootstrap.py"


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, working on a copy of the few files that it reads."""
    spec = importlib.util.spec_from_file_location("limn_bootstrap", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path / "repository"
    (root / "packaging").mkdir(parents=True)
    for name in ("pyproject.toml", "packaging/constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    venv = root / ".venv"
    places = {
        "ROOT": root,
        "VENV": venv,
        "CONSTRAINTS": root / "packaging" / "constraints.txt",
        "LOG": venv / "limn-setup.log",
        "STAMP": venv / "limn-ready.json",
        "UNFINISHED": venv / "limn-unfinished",
    }
    for name, place in places.items():
        monkeypatch.setattr(module, name, place)
    return module


class Machine:
    """Stands for the commands of a machine: notes every one, answers with what a test says."""

    def __init__(self, bootstrap: ModuleType) -> None:
        self.bootstrap = bootstrap
        self.commands: list[str] = []
        self.failures: dict[str, str] = {}

    def logged(self, command: list[str]) -> tuple[int, str]:
        line = " ".join(command)
        self.commands.append(line)
        for part, output in self.failures.items():
            if part in line:
                return 1, output
        if "-m venv" in line:
            python = self.bootstrap.python_in(self.bootstrap.VENV, "Linux")
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return 0, ""

    def ran(self, part: str) -> bool:
        return any(part in line for line in self.commands)


@pytest.fixture
def machine(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A Debian without a GPU on which everything that Qt needs is there and nobody is root."""
    machine = Machine(bootstrap)
    monkeypatch.setattr(bootstrap, "logged", machine.logged)
    monkeypatch.setattr(bootstrap, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(bootstrap, "has_venv_module", lambda: True)
    monkeypatch.setattr(bootstrap, "library_loads", lambda name: True)
    monkeypatch.setattr(bootstrap, "font_found", lambda folders: True)
    monkeypatch.setattr(bootstrap, "root_prefix", lambda: None)
    monkeypatch.setattr(bootstrap.platform, "system", lambda: "Linux")
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: f"/usr/bin/{name}")
    return machine


def set_up(bootstrap: ModuleType, *parts: str) -> None:
    key = bootstrap.inputs_key(bootstrap.ROOT, bootstrap.platform.python_version())
    bootstrap.set_up(key, {"packages", *parts})


def vouched(bootstrap: ModuleType) -> set[str]:
    key = bootstrap.inputs_key(bootstrap.ROOT, bootstrap.platform.python_version())
    return bootstrap.stamped_parts(bootstrap.read_stamp(bootstrap.STAMP), key)


# --- answers --------------------------------------------------------------------------------------


def test_missing_libraries_are_named_as_packages(bootstrap: ModuleType) -> None:
    wanted = {"libA.so.1": "a1", "libB.so.2": "b2"}
    assert bootstrap.missing_packages(wanted, lambda name: True, True) == []
    assert bootstrap.missing_packages(wanted, lambda name: name == "libA.so.1", True) == ["b2"]
    assert bootstrap.missing_packages(wanted, lambda name: True, False) == [bootstrap.FONT_PACKAGE]


def test_a_library_that_does_not_exist_does_not_load(bootstrap: ModuleType) -> None:
    assert not bootstrap.library_loads("libthere-is-no-such-library.so.0")


def test_fonts_are_found_in_any_folder(bootstrap: ModuleType, tmp_path: Path) -> None:
    folders = [tmp_path / "none", tmp_path / "fonts"]
    assert not bootstrap.font_found(folders)
    (tmp_path / "fonts" / "deep").mkdir(parents=True)
    (tmp_path / "fonts" / "deep" / "Some.TTF").touch()
    assert bootstrap.font_found(folders)


@pytest.mark.parametrize("changed", ["pyproject.toml", "packaging/constraints.txt"])
def test_the_key_follows_every_input(bootstrap: ModuleType, changed: str) -> None:
    before = bootstrap.inputs_key(bootstrap.ROOT, "3.11.7")
    assert bootstrap.inputs_key(bootstrap.ROOT, "3.11.7") == before
    assert bootstrap.inputs_key(bootstrap.ROOT, "3.12.1") != before
    with (bootstrap.ROOT / changed).open("a") as file:
        file.write("\n# one more line\n")
    assert bootstrap.inputs_key(bootstrap.ROOT, "3.11.7") != before


@pytest.mark.parametrize("text", ["", "not json", "[1, 2]", '{"key": "k", "parts": 3}'])
def test_a_damaged_stamp_vouches_for_nothing(bootstrap: ModuleType, text: str) -> None:
    bootstrap.VENV.mkdir()
    bootstrap.STAMP.write_text(text)
    assert bootstrap.stamped_parts(bootstrap.read_stamp(bootstrap.STAMP), "k") == set()


def test_the_cpu_build_unless_there_is_a_gpu(bootstrap: ModuleType) -> None:
    first, second = bootstrap.torch_attempts("Linux", gpu=False)
    assert first == ["torch==2.13.0+cpu"]
    assert second == [*first, "--extra-index-url", bootstrap.TORCH_CPU_INDEX]
    assert bootstrap.torch_attempts("Linux", gpu=True) == [["torch==2.13.0"]]
    assert bootstrap.torch_attempts("Darwin", gpu=False) == [["torch==2.13.0"]]
    assert bootstrap.torch_attempts("Windows", gpu=False) == [["torch==2.13.0"]]


def test_run_opens_the_sample_unless_told_otherwise(bootstrap: ModuleType) -> None:
    python = Path("python")
    assert bootstrap.job_commands("run", [], python)[0][-1] == str(bootstrap.SAMPLE)
    assert bootstrap.job_commands("run", ["a.tif"], python)[0][-2:] == ["app", "a.tif"]


def test_test_lints_checks_types_and_tests(bootstrap: ModuleType) -> None:
    modules = [line[2] for line in bootstrap.job_commands("test", [], Path("python"))]
    assert modules == ["ruff", "mypy", "pytest"]
    only = bootstrap.job_commands("test", ["-k", "stack"], Path("python"))
    assert only == [["python", "-m", "pytest", "-k", "stack"]]


@pytest.mark.parametrize(
    ("args", "needed"),
    [([], True), (["a.tif"], True), (["predict", "a.tif"], False), (["--help"], False)],
)
def test_only_a_window_needs_a_display(
    bootstrap: ModuleType, args: list[str], needed: bool
) -> None:
    assert bootstrap.needs_window(args) is needed


def test_the_command_line_needs_no_qt(bootstrap: ModuleType) -> None:
    assert bootstrap.needed_parts("run", ["info"]) == {"packages"}
    assert bootstrap.needed_parts("run", []) == {"packages", "qt", "window"}
    assert bootstrap.needed_parts("test", []) == {"packages", "dev", "qt"}


def test_displays(bootstrap: ModuleType) -> None:
    assert not bootstrap.has_display({}, "Linux")
    assert not bootstrap.has_display({"DISPLAY": ""}, "Linux")
    assert bootstrap.has_display({"DISPLAY": ":0"}, "Linux")
    assert bootstrap.has_display({"WAYLAND_DISPLAY": "wayland-0"}, "Linux")
    assert bootstrap.has_display({}, "Windows")


# --- the set-up -----------------------------------------------------------------------------------


def test_a_set_up_leaves_a_stamp_for_what_it_did(bootstrap: ModuleType, machine: Machine) -> None:
    set_up(bootstrap, "dev", "qt")
    assert vouched(bootstrap) == {"packages", "dev", "qt"}
    assert not bootstrap.UNFINISHED.exists()
    assert machine.ran("torch==2.13.0+cpu") and not machine.ran(bootstrap.TORCH_CPU_INDEX)
    assert machine.ran(f"-e {bootstrap.ROOT}[dev]")


def test_the_window_after_the_tests_installs_no_package_again(
    bootstrap: ModuleType, machine: Machine
) -> None:
    set_up(bootstrap, "dev", "qt")
    machine.commands.clear()
    set_up(bootstrap, "qt", "window")
    assert not machine.ran("pip install") and not machine.ran("-m venv")
    assert vouched(bootstrap) == {"packages", "dev", "qt", "window"}


def test_pytorchs_own_index_is_asked_only_when_needed(
    bootstrap: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_on_that_index(command: list[str]) -> tuple[int, str]:
        code, output = machine.logged(command)
        if "torch==2.13.0+cpu" in command and bootstrap.TORCH_CPU_INDEX not in command:
            return 1, "ERROR: No matching distribution found for torch==2.13.0+cpu"
        return code, output

    monkeypatch.setattr(bootstrap, "logged", only_on_that_index)
    set_up(bootstrap)
    assert machine.ran(bootstrap.TORCH_CPU_INDEX)


@pytest.mark.parametrize("broken", ["-m venv", "torch==", "-e ", "import torch"])
def test_a_failed_step_leaves_no_stamp_and_one_sentence(
    bootstrap: ModuleType,
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    machine.failures[broken] = "\n".join(f"line {number}" for number in range(50))
    with pytest.raises(bootstrap.SetUpError, match=r"limn-setup\.log"):
        set_up(bootstrap)
    assert vouched(bootstrap) == set()
    shown = capsys.readouterr().err
    assert "line 49" in shown and "line 30" not in shown


def test_an_interrupted_set_up_starts_from_nothing(
    bootstrap: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bootstrap, "install_packages", interrupt)
        set_up(bootstrap)
    assert vouched(bootstrap) == set()
    half = bootstrap.VENV / "half-written.py"
    half.touch()
    set_up(bootstrap)
    assert not half.exists() and vouched(bootstrap) == {"packages"}


def test_new_pins_renew_the_environment_in_place(bootstrap: ModuleType, machine: Machine) -> None:
    set_up(bootstrap)
    kept = bootstrap.VENV / "kept.txt"
    kept.touch()
    with bootstrap.CONSTRAINTS.open("a") as file:
        file.write("# a new pin\n")
    assert vouched(bootstrap) == set()
    machine.commands.clear()
    set_up(bootstrap)
    assert machine.ran("pip install") and kept.exists()


def test_another_python_starts_from_nothing(bootstrap: ModuleType, machine: Machine) -> None:
    set_up(bootstrap)
    old = bootstrap.VENV / "old.txt"
    old.touch()
    stamp = json.loads(bootstrap.STAMP.read_text())
    bootstrap.STAMP.write_text(json.dumps({**stamp, "python": "3.10.1", "key": "other"}))
    set_up(bootstrap)
    assert not old.exists() and vouched(bootstrap) == {"packages"}


def test_missing_libraries_without_rights_name_the_command(
    bootstrap: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "library_loads", lambda name: "xcb-cursor" not in name)
    with pytest.raises(bootstrap.SetUpError, match="`sudo apt-get install libxcb-cursor0`"):
        set_up(bootstrap, "qt", "window")
    assert not machine.commands, "nothing is downloaded before a person has to act"
    assert vouched(bootstrap) == set() and not bootstrap.UNFINISHED.exists()
    set_up(bootstrap, "dev", "qt")  # the tests do without a screen


def test_root_installs_what_is_missing(
    bootstrap: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "root_prefix", lambda: [])
    monkeypatch.setattr(bootstrap, "library_loads", lambda name: name != "libEGL.so.1")
    set_up(bootstrap, "dev", "qt")
    assert machine.ran("apt-get -q install -y --no-install-recommends libegl1")


def test_a_system_without_apt_names_the_packages(
    bootstrap: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    with pytest.raises(bootstrap.SetUpError, match="package manager what Debian calls libegl1"):
        bootstrap.apt_install(["libegl1"], "Qt needs it")


def test_a_python_without_venv_names_its_package(
    bootstrap: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "has_venv_module", lambda: False)
    package = f"python3.{sys.version_info.minor}-venv"
    with pytest.raises(bootstrap.SetUpError, match=f"`sudo apt-get install {package}`"):
        set_up(bootstrap)


# --- the commands ---------------------------------------------------------------------------------


def test_every_check_runs_and_any_failure_counts(bootstrap: ModuleType, tmp_path: Path) -> None:
    def script(text: str) -> list[str]:
        return [sys.executable, "-c", text]

    done = "from pathlib import Path; Path('done').touch()"
    commands = [script("raise SystemExit(3)"), script(done)]
    assert bootstrap.run_all(commands, tmp_path, {}) == 3
    assert (tmp_path / "done").exists()
    assert bootstrap.run_all([script("pass")], tmp_path, {}) == 0


def test_no_display_is_one_sentence_before_any_set_up(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux can be without a display")
    copy = tmp_path / "packaging" / "bootstrap.py"
    copy.parent.mkdir()
    shutil.copy(SCRIPT, copy)
    done = subprocess.run([sys.executable, copy, "run"], env={}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "no display" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_wrong_usage_is_exit_code_2() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "fly"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage:")
