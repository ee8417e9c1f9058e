"""Which image of a file, and what its axes mean: asked with pictures, and remembered."""

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QGuiApplication

from app.choosing import Choose, ChoosingDialog, Preview, kind_of, previews, to_choose
from unet_core.choices import choices
from unet_core.reading import Reading
from unet_core.stack import open_stack


@pytest.fixture
def plain(tmp_path):
    """Three planes that may be slices, time points or channels."""
    path = tmp_path / "plain.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (3, 40, 50), np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


@pytest.fixture
def several(tmp_path):
    """Images of different sizes in one file; the second is a plain stack."""
    path = tmp_path / "several.tif"
    with tifffile.TiffWriter(path) as writer:
        for shape in ((40, 50), (3, 30, 20), (60, 20)):
            writer.write(np.zeros(shape, np.uint8) + 7, photometric="minisblack", metadata=None)
    return path


def dialog_of(window, qtbot):
    qtbot.waitUntil(lambda: bool(window.findChildren(ChoosingDialog)))
    (dialog,) = window.findChildren(ChoosingDialog)
    qtbot.waitUntil(dialog.isVisible)
    return dialog


def test_what_is_asked_and_what_not(plain, several, tmp_path):
    assert isinstance(to_choose(several, {}), Choose)
    asked = to_choose(plain, {})
    assert isinstance(asked, Choose)
    kind = kind_of(plain, asked.choices.images[0])
    assert to_choose(plain, {kind: "TYX"}) == Reading(axes="TYX")
    assert isinstance(to_choose(plain, {kind: "odd"}), Choose)
    clear = tmp_path / "clear.tif"
    tifffile.imwrite(clear, np.zeros((3, 9, 8), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    assert to_choose(clear, {kind: "TYX"}) == Reading()


def test_pictures_show_what_the_axes_would_mean(plain):
    found = [one for one in previews(choices(plain)) if one is not None]
    assert [(p.axes, p.arrangement, len(p.pictures)) for p in found] == [
        ("ZYX", "Z", 3), ("TYX", "T", 3), ("CYX", "", 1)
    ]  # fmt: skip
    assert found[2].pictures[0].ndim == 3  # channels in colours


def test_asked_by_hand_the_dialog_comes_and_its_answer_is_opened_and_remembered(
    make_window, qtbot, plain
):
    window = make_window()
    window.files.open(plain, ask=True)
    dialog = dialog_of(window, qtbot)
    assert not dialog.images.isVisible() and dialog.meanings.count() == 3
    assert [dialog.meanings.item(i).text() for i in range(3)] == [
        "3 slices", "3 time points", "3 channels"
    ]  # fmt: skip
    qtbot.waitUntil(lambda: len(dialog._pictures) == 3)
    assert dialog.focusWidget() is dialog.meanings
    qtbot.keyClick(dialog.meanings, Qt.Key.Key_Right)
    with qtbot.waitSignal(window.files.opened):
        qtbot.keyClick(dialog.meanings, Qt.Key.Key_Return)
    assert window.document.stack.shape == (3, 1, 1, 40, 50)
    assert window.document.stack.reading == Reading(axes="TYX")
    assert not window.messages.isVisible()
    with qtbot.waitSignal(window.files.opened):
        window.files.open(plain, ask=True)  # not asked again
    assert window.document.stack.shape == (3, 1, 1, 40, 50)
    assert "3 time points" in window.messages.text
    window.actions_by_id["choose"].trigger()
    assert dialog_of(window, qtbot).meanings.currentRow() == 1


def test_an_image_of_several_is_chosen(make_window, qtbot, several):
    window = make_window()
    window.files.open(several, ask=True)
    dialog = dialog_of(window, qtbot)
    assert dialog.images.count() == 3 and dialog.focusWidget() is dialog.images
    assert not dialog.meanings.isVisible()
    qtbot.keyClick(dialog.images, Qt.Key.Key_Down)
    assert dialog.meanings.isVisible() and dialog.meanings.count() == 3
    dialog.meanings.setCurrentRow(2)
    room = QGuiApplication.primaryScreen().availableGeometry()
    assert dialog.height() <= max(room.height(), 728) and dialog.width() <= max(room.width(), 1366)
    with qtbot.waitSignal(window.files.opened):
        dialog.open_button.click()
    assert window.document.stack.shape == (1, 1, 3, 30, 20)


def test_a_script_is_not_asked_but_told(make_window, qtbot, several, plain):
    window = make_window(several)
    assert window.document.stack.shape[3:] == (40, 50)
    assert "holds several images" in window.messages.text
    with qtbot.waitSignal(window.files.opened):
        window.files.open(plain)
    assert "does not say what its axes are; it is shown as 3 slices." in window.messages.text
    window.messages.dismiss()
    assert "holds several images" not in window.messages.text, "it is of the file before"


def test_cancelled_nothing_is_opened(make_window, qtbot, several):
    window = make_window()
    window.files.open(several, ask=True)
    dialog = dialog_of(window, qtbot)
    dialog.reject()
    qtbot.waitUntil(lambda: not window.findChildren(ChoosingDialog))
    assert window.document.stack is None


def test_previews_come_in_any_order_and_too_late(qtbot, make_window, several):
    window = make_window()
    dialog = ChoosingDialog(choices(several), Reading("2"), window)
    qtbot.addWidget(dialog)
    picture = np.zeros((9, 8, 3), np.uint8)
    for preview in (
        Preview(1, dialog._found.images[1].alternatives[2], (picture,), ""),
        Preview(0, dialog._found.images[0].axes, (picture[..., 0],), ""),
    ):
        dialog.set_preview(preview)


def test_the_settings_forget_no_kind_and_believe_nothing_odd(make_window):
    window = make_window()
    window.settings.remember_axes(".tif ?YX", "TYX")
    window.settings.remember_axes(".npy ??YX", "TZYX")
    window.settings.remember_axes("odd;kind=", "TZYX")
    assert window.settings.axes == {".tif ?YX": "TYX", ".npy ??YX": "TZYX"}
    store = QSettings(str(window.settings.path), QSettings.Format.IniFormat)
    store.setValue("open/axes", "a;;=b;c=d=e")
    store.sync()
    assert isinstance(window.settings.axes, dict)


def test_a_project_reopens_the_same_image(make_window, qtbot, several, tmp_path):
    window = make_window()
    with qtbot.waitSignal(window.files.opened):
        window.files.open(several, reading=Reading("3"))
    window.files.save_as(tmp_path / "p.limn")
    qtbot.waitUntil(lambda: window.files.has_name)

    window.close()
    qtbot.waitUntil(lambda: not window.isVisible())
    again = make_window(tmp_path / "p.limn")
    assert again.document.stack.shape == (1, 1, 1, 60, 20)
    assert again.document.stack.reading.series == open_stack(several, Reading("3")).reading.series
