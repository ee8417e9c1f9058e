"""The keys that Limn promises, pressed in the real window: each does its own thing and no other.

`KEYS` is written by hand, apart from the table of commands: a key that is lost there is missed.
"""

import numpy as np
import pytest
import tifffile
from PySide6.QtGui import QKeySequence

from app.commands import COMMANDS

KEYS = {
    "open": "Ctrl+O",
    "save": "Ctrl+S",
    "save_as": "Ctrl+Shift+S",
    "export": "Ctrl+E",
    "undo": "Ctrl+Z",
    "redo": "Ctrl+Shift+Z Ctrl+Y",
    "preferences": "Ctrl+,",
    "brush": "B P",
    "eraser": "E",
    "fill": "F",
    "polygon": "G",
    "pick": "K",
    "brush_smaller": "[",
    "brush_larger": "]",
    "z_previous": "Left",
    "z_next": "Right",
    "image_previous": "PgUp",
    "image_next": "PgDown",
    "review": "R",
    "z_back": "Alt+Left",
    "z_forward": "Alt+Right",
    "z_first": "Home",
    "z_last": "End",
    "t_previous": "Shift+Left",
    "t_next": "Shift+Right",
    **{f"channel_{n}": f"Shift+{n}" for n in range(1, 10)},
    **{f"class_{n}": f"{n}" for n in range(1, 10)},
    "class_swap": "X",
    "class_next": "N",
    "new_object": "M",
    "class_foreground": "Q",
    "class_background": "W",
    "keep_others": "Ctrl+B",
    "show_annotation": "A",
    "show_prediction": "S",
    "show_image": "I",
    "heat": "H",
    "uncertainty": "U",
    "threshold_down": "-",
    "threshold_up": "=",
    "threshold_down_fine": "Shift+-",
    "threshold_up_fine": "Shift+=",
    "live": "L",
    "next_place": "Tab",
    "previous_place": "Shift+Tab",
    "accept": "Return",
    "delete_object": "Delete",
    "lock_class": "Ctrl+L",
    "train": "Ctrl+T",
    "stop": "Ctrl+.",
    "fit": "Ctrl+0",
    "zoom_actual": "Ctrl+1",
    "zoom_in": "Ctrl++ Ctrl+=",
    "zoom_out": "Ctrl+-",
    "contrast": "Shift+C",
    "auto_contrast": "C",
    "palette": "Ctrl+K Ctrl+Shift+P",
    "shortcuts": "F1 ?",
    "focus_next": "F6",
    "focus_previous": "Shift+F6",
}


@pytest.fixture
def window(make_window, tmp_path):
    path = tmp_path / "cells.tif"
    planes = np.zeros((2, 12, 60, 80), np.uint8)
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "TZYX"})
    return make_window(path)


def press(qtbot, window, key):
    stroke = QKeySequence(key)[0]
    qtbot.keyClick(window.viewport, stroke.key(), stroke.keyboardModifiers())


@pytest.mark.parametrize("command", KEYS)
def test_every_promised_key_asks_for_its_command_and_no_other(command, window, qtbot):
    ran = []
    for name, action in window.actions_by_id.items():
        action.triggered.disconnect()
        action.triggered.connect(lambda _=False, name=name: ran.append(name))
        action.setEnabled(True)
    window.viewport.setFocus()
    for key in KEYS[command].split():
        press(qtbot, window, key)
        assert ran == [command], key
        ran.clear()


def test_every_single_key_is_promised():
    """A new key belongs into the table above, too; those of menus alone need not be there."""
    bare = {
        command.id
        for command in COMMANDS
        for key in command.keys
        if "+" not in key.removesuffix("+")
    }
    assert bare - set(KEYS) <= {"cut_here", "show_class"}


def test_keys_go_through_the_stack(window, qtbot):
    window.viewport.setFocus()
    went = []
    keys = "End Left Left Home Right Right Alt+Right Alt+Left Shift+Right"
    for key in keys.split():
        press(qtbot, window, key)
        went.append(tuple(window.document.plane))
    assert [z for _, z in went] == [11, 10, 9, 0, 1, 2, 11, 1, 1]
    assert [t for t, _ in went] == [0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_where_there_is_one_slice_the_same_keys_go_through_time(make_window, tmp_path, qtbot):
    frames = np.zeros((30, 20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "film.tif", frames, imagej=True, metadata={"axes": "TYX"})
    window = make_window(tmp_path / "film.tif")
    window.viewport.setFocus()
    went = []
    for key in ("Right", "Alt+Right", "Left", "End", "Alt+Left", "Home"):
        press(qtbot, window, key)
        went.append(window.document.plane.t)
    assert went == [1, 11, 10, 29, 19, 0]
    assert not window.actions_by_id["orthogonal"].isEnabled(), "there are no sides to look at"


def test_keys_zoom_at_the_middle(window, qtbot):
    window.viewport.setFocus()
    camera = window.viewport.camera
    middle, zoom = camera.centre, camera.zoom
    press(qtbot, window, "Ctrl++")
    press(qtbot, window, "Ctrl+=")
    assert camera.zoom == pytest.approx(zoom * 1.25**2, rel=0.01)
    press(qtbot, window, "Ctrl+-")
    assert camera.zoom == pytest.approx(zoom * 1.25, rel=0.01)
    assert (camera.centre.y, camera.centre.x) == pytest.approx((middle.y, middle.x), abs=1)


def test_a_class_is_added_by_command(window):
    count = len(window.document.classes)
    window.actions_by_id["class_add"].trigger()
    assert len(window.document.classes) == count + 1 == window.document.active_class
