"""“Apply to folder” through the window: the same files as `limn predict`, and what goes wrong."""

import shlex

import pytest
import tifffile
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QPushButton

from app.__main__ import main
from app.apply_dialog import OWN_FOLDER, ApplyDialog
from app.requests import FolderRequest
from tests.synthetic import make_stack, write_imagej
from unet_core.export_presets import PRESETS
from unet_core.model import Model

EVERY = tuple(one.id for one in PRESETS)


@pytest.fixture
def folder(tmp_path):
    """Three images with names that need quotes."""
    folder = tmp_path / "day 1 [λ]"
    folder.mkdir()
    for number in range(3):
        pixels, _ = make_stack(times=1, shape=(64, 80), count=4, kind="mixed", seed=number)
        write_imagej(folder / f"cells {number + 9}.tif", pixels[0, 0], "YX", (1, 0.5, 0.5))
    return folder


@pytest.fixture
def window(make_window, folder):
    window = make_window(folder / "cells 9.tif")
    window.engine.device_name = "cpu"
    return window


def ask(window, qtbot, names):
    """The dialog with these boxes ticked, when it has counted the images."""
    window.actions_by_id["apply_folder"].trigger()
    (dialog,) = window.findChildren(ApplyDialog)
    for row in range(dialog.what.topLevelItemCount()):
        item = dialog.what.topLevelItem(row)
        wanted = item.data(0, Qt.ItemDataRole.UserRole) in names
        item.setCheckState(0, Qt.CheckState.Checked if wanted else Qt.CheckState.Unchecked)
    qtbot.waitUntil(dialog.apply_button.isEnabled)
    return dialog


def press(window, qtbot, dialog):
    with qtbot.waitSignal(window.engine.apply_finished) as done:
        qtbot.mouseClick(dialog.apply_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.engine.busy == "idle")
    qtbot.waitUntil(lambda: window.findChild(ApplyDialog) is None)
    return done.args[0]


def button(window, text):
    shown = [b for b in window.messages.findChildren(QPushButton) if b.isVisible()]
    return next((b for b in shown if b.text() == text), None)


def contents(folder):
    """Every file below a folder, but for the model."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".safetensors"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.parametrize("own", [False, True])
def test_window_and_command_line_write_the_same_bytes(window, folder, qtbot, own):
    """Every preset; with the bundled network, and with one that only the session has."""
    window.prediction.threshold.setValue(99)
    if own:
        window.engine.set_model(Model.bundled().adapted(1))
        qtbot.waitUntil(lambda: window.engine.busy == "idle")
    done = press(window, qtbot, ask(window, qtbot, EVERY))
    assert [one.error for one in done.outcomes] == [""] * 3
    assert window.messages.text == f"3 images written to {folder / OWN_FOLDER}."
    assert window.strip.isHidden()
    from_window = contents(folder / OWN_FOLDER)
    assert len([name for name in from_window if name.count("/") == 0]) == 3 * (len(EVERY) - 3)
    models = list((folder / OWN_FOLDER).glob("*.safetensors"))
    assert len(models) == own, "the network is written where no other file holds it"
    qtbot.mouseClick(button(window, "Copy command"), Qt.MouseButton.LeftButton)
    words = shlex.split(QApplication.clipboard().text())
    words.remove("--resume")
    assert main([*words[1:], "--device", "cpu"]) == 0
    assert contents(folder / OWN_FOLDER) == from_window
    elsewhere = folder.parent / "elsewhere"
    words[words.index("--out") + 1] = str(elsewhere)
    assert main([*words[1:], "--device", "cpu"]) == 0
    assert contents(elsewhere) == from_window


def test_what_is_done_is_skipped_and_what_fails_is_told(window, folder, qtbot):
    bad = folder / "cells 10.tif"
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    dialog = ask(window, qtbot, ["classes"])
    assert dialog.counted.text() == "3 images."
    press(window, qtbot, dialog)
    assert window.messages.text == (
        f"2 images written to {folder / OWN_FOLDER}; 1 of 3 images failed."
    )
    message = window.messages.message
    assert message.kind == "error" and message.details.startswith("cells 10.tif: cells 10.tif")
    kept = {p: p.stat().st_mtime_ns for p in (folder / OWN_FOLDER).iterdir()}
    bad.write_bytes(good)
    dialog = ask(window, qtbot, ["classes"])
    assert dialog.counted.text() == "3 images, 2 of them done already."
    press(window, qtbot, dialog)
    assert "1 image written" in window.messages.text
    assert "2 images done already" in window.messages.text
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_nothing_to_do_cannot_be_pressed(window, folder, qtbot):
    dialog = ask(window, qtbot, ["objects"])
    empty = folder / "empty"
    empty.mkdir()
    dialog.set_images([empty])
    qtbot.waitUntil(lambda: "without images" in dialog.counted.text())
    assert not dialog.apply_button.isEnabled()
    dialog.set_images([folder.parent / "nothing"])
    qtbot.waitUntil(lambda: "does not exist" in dialog.counted.text())
    assert not dialog.apply_button.isEnabled()
    dialog.set_images([folder / "cells 9.tif", folder / "cells 11.tif"])
    qtbot.waitUntil(dialog.apply_button.isEnabled)
    assert dialog.counted.text() == "2 images."
    assert dialog.images.text() == f"2 files in {folder}"
    dialog.what.topLevelItem(0).setCheckState(0, Qt.CheckState.Unchecked)
    qtbot.waitUntil(lambda: dialog.counted.text() == "Choose what to write.")
    assert not dialog.apply_button.isEnabled()
    dialog.reject()
    assert not (folder / OWN_FOLDER).exists()


def test_cancelled_it_leaves_whole_files_only(window, folder, qtbot):
    """What was done before stays; of the image under way nothing does."""
    engine = window.engine

    def cancel(report):
        if report.number == 2:
            window.strip.cancel.click()

    engine.apply_progress.connect(cancel)
    with qtbot.waitSignal(engine.apply_finished) as done:
        window.applying.apply(FolderRequest((folder,), folder / "out", ("objects", "qupath")))
    assert done.args == [None]
    assert window.messages.text.startswith("Cancelled at image 2 of 3")
    names = {"cells 9.geojson", "cells 9_objects.tif"}
    later = {p.name for p in (folder / "out").iterdir()} - names
    assert names <= {p.name for p in (folder / "out").iterdir()}
    # A step may have ended before the request was seen; unfinished files there are none.
    assert not any(name.endswith(".part") for name in later)
    for path in (folder / "out").glob("*.tif"):
        assert tifffile.imread(path).shape == (64, 80)
    assert window.strip.isHidden()


def test_a_folder_that_cannot_be_made_is_one_sentence(window, folder, qtbot):
    (folder / "a file").write_text("")
    with qtbot.waitSignal(window.engine.failed) as failed:
        window.applying.apply(FolderRequest((folder,), folder / "a file" / "x", ("objects",)))
    assert "a file" in failed.args[0] and failed.args[1] == ""
    qtbot.waitUntil(lambda: window.engine.busy == "idle")
    assert window.strip.isHidden()
