"""What all the tests share. The first lines must stay in this order; the comments say why."""

import os

# Before torch and Qt read them: no screen is needed, and waiting threads sleep instead of spin.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# torch before PySide6: the other way round, Windows can not load torch's libraries.
import torch  # noqa: F401, I001

import pytest
from hypothesis import HealthCheck, settings
from collections.abc import Callable
from pathlib import Path

from tests.synthetic import Cells, make_cells

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# The same examples everywhere and no time limits: what passes here passes on a slow machine.
settings.register_profile(
    "limn", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("limn")


@pytest.fixture
def shared_data() -> Path:
    """The folder of real microscopy data beside the repository; where there is none, a skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data (../shared/data) is not here")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def private_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Recovered work and settings go to a folder of this test, never to the user's own."""
    home = tmp_path_factory.mktemp("limn")
    monkeypatch.setenv("LIMN_DATA_DIR", str(home / "data"))
    monkeypatch.setenv("LIMN_SETTINGS_DIR", str(home / "settings"))


@pytest.fixture
def cells_image() -> Callable[..., Cells]:
    """Maker of synthetic images with truth: `cells_image(seed=1, kind="phase")`, see synthetic."""
    return make_cells
