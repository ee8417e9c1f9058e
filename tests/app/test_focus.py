"""Limn by keyboard and screen reader: names, visible focus, and a way in and out of everything."""

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtWidgets import QAbstractSpinBox, QApplication, QLineEdit, QWidget

from app.dialogs import CommandPalette, ShortcutSheet
from app.export_dialog import ExportDialog
from app.messages import Message
from app.preferences import PreferencesDialog

TAB = Qt.FocusPolicy.TabFocus


@pytest.fixture
def image(tmp_path):
    """Two times, five slices, two channels."""
    path = tmp_path / "cells.tif"
    shape = (2, 5, 2, 60, 80)
    tifffile.imwrite(path, np.zeros(shape, np.uint8), imagej=True, metadata={"axes": "TZCYX"})
    return path


@pytest.fixture
def window(make_window, image):
    """With every panel, a message and the progress strip to be seen."""
    window = make_window(image)
    for name in ("contrast", "history", "orthogonal"):
        window.actions_by_id[name].trigger()
    window.messages.show_message(Message("Something to say.", "error", "Details of it."))
    window.strip.begin("Something runs")
    window.resize(1366, 768)
    return window


def takes_focus(widget):
    inside = isinstance(widget, QLineEdit) and isinstance(widget.parent(), QAbstractSpinBox)
    here = widget.isVisible() and widget.isEnabled()
    return here and not inside and widget.focusPolicy() & TAB == TAB


def controls(top):
    """All widgets below `top` that Tab can reach."""
    return [widget for widget in top.findChildren(QWidget) if takes_focus(widget)]


def dialogs(window, image):
    yield PreferencesDialog(window.habits, window.actions_by_id, window)
    yield ShortcutSheet(window.habits.sheet(), window)
    yield ExportDialog(image, None, "objects", 10, 0.5, window)
    yield CommandPalette(window.actions_by_id, window)


def spoken(widget):
    """What a screen reader says of the widget."""
    interface = QAccessible.queryAccessibleInterface(widget)
    return interface.text(QAccessible.Text.Name).strip() if interface else ""


def test_every_widget_that_takes_the_focus_says_what_it_is(window, image, qtbot):
    found = controls(window)
    assert len(found) > 35
    for dialog in dialogs(window, image):
        dialog.show()
        found += controls(dialog)
        dialog.hide()
    nameless = [f"{type(w).__name__} {w.objectName()}" for w in found if not spoken(w)]
    assert nameless == []


def test_pictures_say_what_they_are(window):
    for name in ("viewport", "minimap", "contrastHistogram", "xzView", "yzView", "trainingPlot"):
        assert spoken(window.findChild(QWidget, name)), name


def test_where_the_keyboard_is_can_be_seen(window, qtbot):
    """Every control looks otherwise while it has the focus."""
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    unseen = []
    for widget in controls(window):
        slider, live = window.brush.slider, window.prediction.live
        other = slider if widget is not slider else live
        looks = []
        for focused in (other, widget):
            focused.setFocus(Qt.FocusReason.TabFocusReason)
            # As Qt itself does for the key, but not for the call.
            window.setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange)
            looks.append(widget.grab().toImage())
        assert widget.hasFocus() or widget.focusProxy(), widget.objectName()
        if looks[0] == looks[1]:
            unseen.append(f"{type(widget).__name__} {widget.objectName()}")
    assert unseen == []


def test_the_image_is_framed_only_for_who_comes_by_keyboard(window, qtbot):
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    view = window.viewport
    corner = QPoint(1, view.height() // 2)
    frame = view.palette().highlight().color()
    for reason in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.ShortcutFocusReason):
        window.brush.slider.setFocus()
        view.setFocus(reason)
        assert view.grab().toImage().pixelColor(corner) == frame
    window.brush.slider.setFocus()
    assert view.grab().toImage().pixelColor(corner) != frame
    view.setFocus(Qt.FocusReason.MouseFocusReason)
    assert view.grab().toImage().pixelColor(corner) != frame


def test_f6_goes_through_all_parts_and_back(window, qtbot):
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    window.viewport.setFocus()
    parts = {
        "image": window.viewport,
        "message": window.messages,
        "navigator": window.navigator,
        "classes": window.classes,
        "brush": window.brush,
        "training": window.training,
        "prediction": window.prediction,
        "contrast": window.contrast,
        "history": window.history,
        "status": window.status,
        "toolbar": window.bar,
    }

    def part():
        focused = QApplication.focusWidget()
        return next(n for n, w in parts.items() if w is focused or w.isAncestorOf(focused))

    there = []
    for _ in parts:
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_F6)
        there.append(part())
    assert there == [*list(parts)[1:], "image"]
    back = []
    for _ in parts:
        keys = Qt.KeyboardModifier.ShiftModifier
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_F6, keys)
        back.append(part())
    assert back == [*reversed(list(parts)[1:]), "image"]


def test_after_f6_the_focus_can_be_seen(window, qtbot):
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    button = window.classes.add_button
    window.brush.spin.setFocus()
    without = button.grab().toImage()
    window.navigator.play.setFocus()
    qtbot.keyClick(window.navigator.play, Qt.Key.Key_F6)
    assert window.classes.isAncestorOf(QApplication.focusWidget())
    while QApplication.focusWidget() is not button:
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    assert button.grab().toImage() != without


def test_tab_is_a_trap_nowhere(window, qtbot):
    """From any control but the image, Tab goes on, and within a panel in the order of reading."""
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    for widget in controls(window):
        if widget is window.viewport:
            continue
        widget.setFocus(Qt.FocusReason.TabFocusReason)
        start = QApplication.focusWidget()
        qtbot.keyClick(start, Qt.Key.Key_Tab)
        assert QApplication.focusWidget() is not start, widget.objectName()
    right = (window.classes, window.brush, window.training, window.prediction)
    for panel in (*right, window.contrast):
        inside = set(controls(panel))
        order, widget = [], panel.nextInFocusChain()
        while widget is not panel:
            if widget in inside:
                order.append(widget)
            widget = widget.nextInFocusChain()
        places = [w.mapTo(panel, QPoint(0, w.height() // 2)) for w in order]
        rows = [(place.y() // 14, place.x()) for place in places]
        assert rows == sorted(rows), [w.objectName() for w in order]


@pytest.mark.parametrize("preset", ["Limn", "ImageJ", "ilastik"])
def test_lists_and_sliders_keep_the_keys_that_move_in_them(preset, window, qtbot):
    window.habits.choose_preset(preset)
    for action in window.actions_by_id.values():
        action.setEnabled(True)
    plane = window.document.plane
    window.document.add_class("third", "#123456")
    window.document.set_active_class(1)
    tree = window.classes.tree
    tree.setFocus()
    qtbot.keyClick(tree, Qt.Key.Key_Down)
    assert window.document.active_class == 2
    qtbot.keyClick(tree, Qt.Key.Key_End)
    assert window.document.active_class == 3
    window.navigator.channels.setFocus()
    window.navigator.channels.setCurrentRow(0)
    qtbot.keyClick(window.navigator.channels, Qt.Key.Key_Right)
    assert window.navigator.channels.currentRow() == 1
    for box in (window.contrast.lut, window.contrast.channel):
        box.setFocus()
        before = box.currentIndex()
        qtbot.keyClick(box, Qt.Key.Key_Down)
        assert box.currentIndex() == before + 1
    slider = window.prediction.opacity
    slider.setFocus()
    for key, value in ((Qt.Key.Key_End, 100), (Qt.Key.Key_PageDown, 90), (Qt.Key.Key_Home, 0)):
        qtbot.keyClick(slider, key)
        assert slider.value() == value
    assert window.document.plane == plane
