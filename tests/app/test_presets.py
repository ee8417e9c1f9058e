"""Presets of other programs' keys and mouse, in the real window, and the dialog for them."""

import time
from collections import Counter

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QByteArray, QSettings, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QLabel, QLineEdit

from app.commands import COMMANDS, shown_keys
from app.dialogs import CommandPalette, ShortcutSheet
from app.preferences import PreferencesDialog
from app.presets import PRESETS
from app.settings import Settings
from tests.app.conftest import close_and_wait

SHIFTS = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier)
ON_PURPOSE = ("undo", "redo", "delete", "clear", "quit", "stop", "merge", "split", "accept_all",
              "interpolate", "complete", "save", "train", "predict_all")  # fmt: skip
"""Parts of names of commands that change much, or take away: never on a single character."""


@pytest.fixture
def image(tmp_path):
    """Four slices of 60 x 80 pixels."""
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.zeros((4, 60, 80), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    return path


def press(qtbot, widget, key):
    stroke = QKeySequence(key)[0]
    qtbot.keyClick(widget, stroke.key(), stroke.keyboardModifiers())


def is_bare(key):
    """Whether `key` is what a letter, digit or sign types, so that it can be hit by accident."""
    stroke = QKeySequence(key)[0]
    return stroke.keyboardModifiers() in SHIFTS and stroke.key() < Qt.Key.Key_Escape


def everything(window):
    """Keys, tooltips, sheet and mouse: all that a preset may change."""
    actions, view = window.actions_by_id, window.viewport
    return (
        {name: (shown_keys(action), action.toolTip()) for name, action in actions.items()},
        window.habits.sheet(),
        mouse(view),
        [widget.toolTip() for widget in (window.brush.spin, window.prediction.live)],
        window.classes.tree.topLevelItem(1).toolTip(0),
    )


def mouse(view):
    return view.right_drag, view.wheel, view.shift_erases, view.shift_wheel, view.ctrl_press


def texts(sheet):
    return [label.text() for label in sheet.findChildren(QLabel)]


def recorded(window):
    """Return a list to which each command adds its name instead of running: some open dialogs."""
    ran = []
    for name, action in window.actions_by_id.items():
        action.triggered.disconnect()
        action.triggered.connect(lambda _=False, name=name: ran.append(name))
    return ran


def enable(window):
    """Make all commands possible; the window may forbid some again at any event."""
    for action in window.actions_by_id.values():
        action.setEnabled(True)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_no_key_is_bound_twice_and_none_is_dangerous(preset, qapp):
    names = [command.id for command in COMMANDS]
    assert set(preset.keys) <= set(names)
    in_force = preset.keys_in_force()
    assert list(in_force) == names
    # As a keyboard sees it: "<" is Shift and comma on many.
    keys = [QKeySequence(key).toString() for keys in in_force.values() for key in keys]
    assert all(keys) and max(Counter(keys).values()) == 1
    for name, own in in_force.items():
        if any(word in name for word in ON_PURPOSE):
            assert not any(is_bare(key) for key in own), name
    assert "Ctrl+Z" in in_force["undo"] and "Ctrl+K" in in_force["palette"]
    assert preset.about and preset.name


def test_the_default_is_the_table():
    preset = PRESETS["Limn"]
    assert preset.keys_in_force() == {command.id: command.keys for command in COMMANDS}
    assert mouse(preset) == ("erase", "zoom", False, "brush", "paint")
    assert list(PRESETS)[0] == "Limn"


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_key_in_force_runs_its_command_and_no_other(preset, make_window, image, qtbot):
    window = make_window(image)
    window.habits.choose_preset(preset.name)
    ran = recorded(window)
    window.viewport.setFocus()
    for name, keys in preset.keys_in_force().items():
        for key in keys:
            enable(window)
            press(qtbot, window.viewport, key)
            assert ran == [name], key
            ran.clear()
    # What lost its keys still runs from its menu.
    for name, action in window.actions_by_id.items():
        enable(window)
        action.trigger()
        assert ran == [name]
        ran.clear()


def test_tools_follow_the_fingers(make_window, image, qtbot, monkeypatch):
    window = make_window(image)
    # On a slow machine too, these keys are tapped and not held.
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    view, document = window.viewport, window.document
    view.setFocus()
    window.habits.choose_preset("napari")
    for key, tool in (("1", "eraser"), ("2", "brush"), ("4", "fill"), ("5", "pick"), ("6", "pan")):
        press(qtbot, view, key)
        assert document.tool == tool
    press(qtbot, view, "Alt+1")
    assert document.active_class == 1
    press(qtbot, view, "B")
    assert document.keep_others and document.tool == "pan"
    window.habits.choose_preset("ilastik")
    press(qtbot, view, "B")
    assert document.tool == "brush"
    press(qtbot, view, "2")
    assert document.active_class == 2 and document.tool == "brush"
    press(qtbot, view, "Ctrl+Up")
    assert document.plane.z == 1
    window.habits.choose_preset("ImageJ")
    press(qtbot, view, ".")
    press(qtbot, view, ".")
    press(qtbot, view, ",")
    assert document.plane.z == 2
    diameter = document.brush_diameter
    window.habits.choose_preset("Cellpose")
    press(qtbot, view, ".")
    assert document.plane.z == 2 and document.brush_diameter > diameter
    window.habits.choose_preset("RootPainter")
    press(qtbot, view, "Z")
    assert not document.history.can_redo  # plain Z is refused


def test_each_preset_brings_its_mouse(make_window):
    window = make_window()
    view = window.viewport
    expected = {
        "Limn": ("erase", "zoom", False, "brush", "paint"),
        "ImageJ": ("erase", "slice", False, "brush", "paint"),
        "napari": ("encircle", "zoom", False, "brush", "paint"),
        "ilastik": ("erase", "slice", True, "time", "paint"),
        "RootPainter": ("paint", "zoom", False, "brush", "pan"),
        "Cellpose": ("encircle", "zoom", False, "brush", "delete"),
    }
    assert set(expected) == set(PRESETS)
    for name, habits in expected.items():
        window.habits.choose_preset(name)
        assert mouse(view) == habits


def test_going_back_to_the_default_restores_everything(make_window, image):
    window = make_window(image)
    before = everything(window)
    for name in [*PRESETS, *reversed(PRESETS)]:
        window.habits.choose_preset(name)
        assert name == "Limn" or everything(window) != before
        window.habits.choose_preset("Limn")
        assert everything(window) == before


def test_sheet_tooltips_and_palette_name_the_keys_in_force(make_window, image, qtbot):
    window = make_window(image)
    window.actions_by_id["shortcuts"].trigger()
    sheet = window.findChild(ShortcutSheet)
    assert "Erase" in texts(sheet) and "Encircle and fill" not in texts(sheet)
    window.habits.choose_preset("napari")
    # The sheet that lies open follows.
    assert "Encircle and fill" in texts(sheet) and "Erase" not in texts(sheet)
    rows = window.habits.sheet()
    assert ("Eraser", "1, E") in rows["Tools"]
    assert ("Encircle and fill", "Right-drag") in rows["Mouse"]
    first, last = (shown_keys(window.actions_by_id[f"class_{n}"]) for n in (1, 9))
    assert ("Paint with class 1…9", f"{first} … {last}") in rows["Tools"]
    actions = window.actions_by_id
    assert actions["eraser"].toolTip().startswith("Eraser (1, E)\n")
    assert "Shift+L" in window.prediction.live.toolTip()
    assert f"Key {last[:-1]}2" in window.classes.tree.topLevelItem(1).toolTip(0)
    actions["palette"].trigger()
    palette = window.findChild(CommandPalette)
    palette.search.setText("eraser")
    item = palette.list.topLevelItem(0)
    assert (item.text(0), item.text(1)) == ("Eraser", "1, E")
    palette.close()
    window.habits.choose_preset("ilastik")
    rows = window.habits.sheet()
    assert ("Erase", "Right-drag, or Shift+drag") in rows["Mouse"]
    assert ("Zoom at the cursor", "Ctrl+wheel") in rows["Mouse"]
    assert ("Z slice", "Wheel") in rows["Mouse"]
    assert ("Ten slices at once", "Alt+wheel") in rows["Mouse"]
    assert ("Time point", "Shift+wheel") in rows["Mouse"]
    assert ("Brush size", "Alt+drag") in rows["Mouse"]
    assert "Shift+wheel" not in window.brush.spin.toolTip()
    assert "Straight stroke from the end of the last one" not in dict(rows["Mouse"])
    assert shown_keys(actions["brush_smaller"]) in window.brush.spin.toolTip()
    window.habits.choose_preset("RootPainter")
    assert ("Paint", "Drag, or right-drag") in window.habits.sheet()["Mouse"]
    assert "Ctrl+drag" in dict(window.habits.sheet()["Mouse"])["Pan"]
    window.habits.choose_preset("Cellpose")
    assert ("Delete or reject the cell", "Ctrl+click") in window.habits.sheet()["Mouse"]
    channels = dict(window.habits.sheet()["View"])["Show or hide channel 1…9"]
    assert channels.endswith("R, G, B")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_bare_keys_are_text_in_text_fields(preset, make_window, image, qtbot):
    window = make_window(image)
    window.habits.choose_preset(preset.name)
    ran = recorded(window)
    enable(window)
    bare = [key for keys in preset.keys_in_force().values() for key in keys if is_bare(key)]
    strokes = [QKeySequence(key)[0] for key in bare]
    window.classes.tree.setFocus()
    qtbot.keyClick(window.classes.tree, Qt.Key.Key_F2)
    editor = window.classes.tree.findChild(QLineEdit)
    editor.clear()
    for stroke in strokes:
        # Characters as a keyboard gives them, with Shift where the key has it.
        qtbot.keyClick(editor, chr(stroke.key()), stroke.keyboardModifiers())
    assert len(editor.text()) == len(bare) and ran == []
    qtbot.keyClick(editor, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert editor.selectedText() == editor.text() and ran == []
    qtbot.keyClick(editor, Qt.Key.Key_Escape)
    window.brush.spin.setFocus()
    window.brush.spin.selectAll()
    for stroke in strokes:
        qtbot.keyClick(window.brush.spin, chr(stroke.key()), stroke.keyboardModifiers())
    assert ran == []
    # In the image the same keys are commands.
    window.viewport.setFocus()
    for key in bare:
        enable(window)
        press(qtbot, window.viewport, key)
    assert len(ran) == len(bare)


def test_the_dialog_changes_things_at_once(make_window, image, qtbot):
    window = make_window(image)
    view, actions = window.viewport, window.actions_by_id
    view.setFocus()
    press(qtbot, view, "Ctrl+,")
    dialog = window.findChild(PreferencesDialog)
    assert dialog.isVisible() and dialog.about.text() == PRESETS["Limn"].about
    dialog.preset.setFocus()
    for preset in list(PRESETS.values())[1:]:
        qtbot.keyClick(dialog.preset, Qt.Key.Key_Down)
        assert window.habits.preset is preset and dialog.about.text() == preset.about
        assert actions["fit"].shortcuts()[0].toString() == preset.keys_in_force()["fit"][0]
        assert dialog.right_drag.currentData() == view.right_drag == preset.right_drag
        assert dialog.wheel.currentData() == view.wheel == preset.wheel
        assert dialog.shift.currentData() is view.shift_erases is preset.shift_erases
        assert dialog.shift_wheel.currentData() == view.shift_wheel == preset.shift_wheel
        assert dialog.ctrl.currentData() == view.ctrl_press == preset.ctrl_press
    assert view.right_drag == "encircle"
    qtbot.keyClick(dialog.right_drag, Qt.Key.Key_Down)
    assert view.right_drag == "paint" and window.habits.preset.name == "Cellpose"
    qtbot.keyClick(dialog.wheel, Qt.Key.Key_Down)
    assert view.wheel == "slice"
    qtbot.keyClick(dialog.shift, Qt.Key.Key_Down)
    assert view.shift_erases
    qtbot.keyClick(dialog.shift_wheel, Qt.Key.Key_Down)
    assert view.shift_wheel == "time"
    qtbot.keyClick(dialog.ctrl, Qt.Key.Key_Down)
    assert view.ctrl_press == "pan"
    smooth, pressure = dialog.boxes
    smooth.click()
    assert window.document.smoothing > 0 and actions["smooth"].isChecked()
    actions["smooth"].trigger()
    assert not smooth.isChecked() and window.document.smoothing == 0
    pressure.click()
    assert view.pressure_sizes
    # Asked for again, it is the same dialog.
    actions["preferences"].trigger()
    assert window.findChildren(PreferencesDialog) == [dialog]
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_all_of_it_survives_a_new_window(make_window, image, qtbot):
    first = make_window()
    first.habits.choose_preset("ilastik")
    first.habits.choose_right_drag("paint")
    first.habits.choose_shift(False)
    first.habits.choose_shift_wheel("brush")
    first.habits.choose_ctrl("delete")
    first.actions_by_id["smooth"].trigger()
    first.actions_by_id["pressure"].trigger()
    close_and_wait(first, qtbot)
    second = make_window(image)
    assert second.habits.preset.name == "ilastik"
    view = second.viewport
    assert mouse(view) == ("paint", "slice", False, "brush", "delete")
    assert second.document.smoothing > 0 and view.pressure_sizes
    assert second.actions_by_id["pan"].shortcuts() == [QKeySequence("N")]
    assert (
        second.actions_by_id["smooth"].isChecked() and second.actions_by_id["pressure"].isChecked()
    )
    assert second.brush.spin.toolTip().startswith("Diameter of brush and eraser (Comma")
    second.habits.choose_preset("Limn")
    for name in ("smooth", "pressure"):
        second.actions_by_id[name].trigger()
    close_and_wait(second, qtbot)
    third = make_window()
    assert third.habits.preset.name == "Limn" and third.document.smoothing == 0
    assert third.viewport.right_drag == "erase" and not third.viewport.pressure_sizes


@pytest.mark.parametrize(
    "value", ["", "emacs", "Zoom", 7, ["napari", "ilastik"], QByteArray(b"\xff\x00"), None]
)
def test_nonsense_in_the_settings_counts_as_absent(make_window, value):
    store = QSettings(str(Settings().path), QSettings.Format.IniFormat)
    for key in ("preset", "right_drag", "wheel", "shift_erases", "shift_wheel", "ctrl_press"):
        store.setValue(f"habits/{key}", value)
    for key in ("smooth", "pressure"):
        store.setValue(f"brush/{key}", value)
    store.sync()
    window = make_window()
    view = window.viewport
    assert window.habits.preset.name == "Limn"
    assert mouse(view) == ("erase", "zoom", False, "brush", "paint")
    assert window.document.smoothing == 0 and not view.pressure_sizes
