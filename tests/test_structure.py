"""The rooms of the house and the direction between them, kept by reading the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = sorted((ROOT / "unet_core").rglob("*.py"))
PANELS = sorted((ROOT / "app" / "panels").glob("[!_]*.py"))
ALL = [*ENGINE, *sorted((ROOT / "app").rglob("*.py"))]

QT = {"PySide6", "shiboken6", "pyqtgraph", "pytestqt"}
# These run code from the file that they read.
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a module imports, relative imports made absolute."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", ENGINE, ids=name)
def test_engine_imports_neither_qt_nor_the_application(path: Path) -> None:
    roots = {imported.split(".")[0] for imported in imports(path)}
    assert not roots & (QT | {"app"})


def test_engine_imports_where_qt_is_missing() -> None:
    modules = ["unet_core", *(f"unet_core.{path.stem}" for path in ENGINE if path.stem[0] != "_")]
    block = f"import sys, importlib; sys.modules.update(dict.fromkeys({sorted(QT)!r}))\n"
    code = block + f"for module in {modules!r}: importlib.import_module(module)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ALL, ids=name)
def test_nothing_that_reads_files_can_run_code_from_them(path: Path) -> None:
    assert not {imported.split(".")[0] for imported in imports(path)} & UNSAFE
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save"):
            pytest.fail(f"{name(path)}:{node.lineno} reads or writes a pickle")
        # numpy's loader is safe as long as nobody allows it pickles.
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"


def is_panel(path: Path) -> bool:
    """Panels are modules with a class named so; `base` and their small parts are none."""
    classes = [n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, ast.ClassDef)]
    return path.stem != "base" and any(found.name.endswith("Panel") for found in classes)


@pytest.mark.parametrize("path", PANELS, ids=name)
def test_panels_know_neither_each_other_nor_the_engine(path: Path) -> None:
    others = [f"app.panels.{panel.stem}" for panel in PANELS if panel != path and is_panel(panel)]
    for imported in imports(path):
        for forbidden in ["app.engine", "app.main_window", "app.jobs", "app.saver", *others]:
            assert not f"{imported}.".startswith(f"{forbidden}.")


@pytest.mark.parametrize("module", ["workshop", "learning", "writing"])
def test_what_the_engine_runs_in_a_thread_does_not_know_the_engine(module: str) -> None:
    """It gets what it works with as arguments, see `workshop`."""
    for imported in imports(ROOT / "app" / f"{module}.py"):
        assert not f"{imported}.".startswith(("app.engine.", "PySide6."))


def test_torch_is_loaded_before_qt() -> None:
    """On Windows torch's libraries fail to load after Qt's (WinError 1114)."""
    path = ROOT / "app" / "__main__.py"
    body = ast.parse(path.read_text("utf-8")).body
    tops = [n for n in body if isinstance(n, ast.Import | ast.ImportFrom)]
    roots = [
        (n.names[0].name if isinstance(n, ast.Import) else n.module or "").split(".")[0]
        for n in tops
    ]
    if QT & set(roots):
        assert "torch" in roots
        assert roots.index("torch") < min(roots.index(root) for root in QT & set(roots))
