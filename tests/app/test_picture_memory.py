"""The memory that pictures may take: a choice that holds at once and is remembered."""

import pytest

from app import settings as settings_module
from app.preferences import PreferencesDialog
from app.settings import PICTURE_MEMORY, Settings
from unet_core.ram import ram_bytes


def test_the_choice_holds_at_once_and_is_remembered(make_window, qtbot):
    window = make_window()
    dialog = PreferencesDialog(window.habits, window.actions_by_id, window)
    qtbot.addWidget(dialog)
    loader = window.viewport.loader
    for mebibytes in PICTURE_MEMORY:
        dialog.memory.setCurrentIndex(dialog.memory.findData(mebibytes))
        dialog.memory.activated.emit(dialog.memory.currentIndex())
        assert window.habits.memory == mebibytes == Settings().picture_memory
        assert loader._cache.limit + loader._pages_bytes == mebibytes * 2**20
    dialog.memory.setCurrentIndex(1)
    dialog.memory.activated.emit(1)
    assert make_window().viewport.loader._cache.limit < PICTURE_MEMORY[1] * 2**20
    assert "512 MiB" in dialog.memory.currentText()


@pytest.mark.parametrize(
    ("gibibytes", "expected"), [(1, 256), (4, 512), (8, 1024), (12, 1024), (16, 2048), (999, 2048)]
)
def test_at_first_it_is_an_eighth_of_the_computers_memory(monkeypatch, gibibytes, expected):
    monkeypatch.setattr(settings_module, "ram_bytes", lambda: gibibytes * 2**30)
    settings = Settings()
    settings._store.remove("memory/pictures")
    assert settings.picture_memory == expected
    for odd in ("much", "-5", "300"):
        settings._store.setValue("memory/pictures", odd)
        assert settings.picture_memory in PICTURE_MEMORY


def test_the_computers_memory_is_known():
    assert 2**28 < ram_bytes() < 2**50
