"""The one table of commands, and what is made of it."""

from collections import Counter
from types import SimpleNamespace
from typing import get_args

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QColor, QKeySequence
from PySide6.QtWidgets import QMainWindow, QScrollArea, QToolBar

from app import assets, commands
from app.commands import COMMANDS
from app.dialogs import CommandPalette, ShortcutSheet
from app.document import Tool

CONTRACT = [  # fmt: skip
    "open",
    "save",
    "save_as",
    "export",
    "undo",
    "redo",
    "brush",
    "eraser",
    "fill",
    "polygon",
    "pick",
    "pan",
    "train",
    "stop",
    "live",
    "predict_all",
    "accept",
    "fit",
    "palette",
    "shortcuts",
]


@pytest.fixture
def window(qtbot):
    window = QMainWindow()
    qtbot.addWidget(window)
    window.made = commands.build_actions(window, window)
    commands.build_menus(window, window.made)
    commands.build_toolbar(window, window.made)
    commands.refresh_icons(window.made, window)
    return window


def test_every_command_of_the_contract_is_an_action(window):
    names = {action.objectName() for action in window.findChildren(QAction)}
    assert {f"action_{name}" for name in CONTRACT} <= names


def test_ids_and_keys_are_unique():
    assert max(Counter(command.id for command in COMMANDS).values()) == 1
    keys = [QKeySequence(key).toString() for c in COMMANDS for key in c.keys]
    assert all(keys)
    assert [key for key, count in Counter(keys).items() if count > 1] == []


def test_every_command_is_in_a_menu_and_says_what_it_does(window):
    menus = set()
    for top in window.menuBar().actions():
        for action in top.menu().actions():
            menus |= {action.objectName()}
            if action.menu():
                menus |= {inner.objectName() for inner in action.menu().actions()}
    for command in COMMANDS:
        action = window.made[command.id]
        assert action.objectName() in menus
        assert command.text.rstrip("…") in action.toolTip()
        assert command.tip and command.tip in action.toolTip()
        if command.keys:
            assert commands.shown_keys(command) in action.toolTip()


def test_no_menu_is_longer_than_a_small_screen(window):
    for top in window.menuBar().actions():
        rows = [action for action in top.menu().actions() if not action.isSeparator()]
        assert len(rows) <= 30, top.text()


def test_the_sheet_has_every_key_once(window, qtbot):
    rows = [row for menu in commands.sheet().values() for row in menu]
    texts = [text for text, _ in rows]
    assert len(texts) == len(set(texts))
    assert "Fill" in texts and "Brush" in texts
    assert ("Paint with class 1…9", "1 … 9") in rows
    for command in COMMANDS:
        if command.keys and not command.series:
            assert (command.text.rstrip("…"), commands.shown_keys(command)) in rows
    sheet = ShortcutSheet(commands.sheet(), window)
    qtbot.addWidget(sheet)
    sheet.show()


def test_the_sheet_shrinks_a_little_rather_than_lose_its_last_column(window, qtbot, monkeypatch):
    def content(room):
        screen = SimpleNamespace(availableSize=lambda: QSize(room, 700))
        monkeypatch.setattr(ShortcutSheet, "screen", lambda _: screen)
        sheet = ShortcutSheet(commands.sheet(), window)
        qtbot.addWidget(sheet)
        return sheet.findChild(QScrollArea).widget()

    natural = content(100_000)
    wide, size = natural.sizeHint().width(), natural.font().pointSizeF()
    narrow = content(round(0.88 * wide) + 100)
    assert narrow.sizeHint().width() <= round(0.88 * wide)
    assert content(300).font().pointSizeF() >= 0.75 * size, "it must still be read"


def test_the_palette_finds_enabled_commands_by_name_first(window, qtbot):
    window.made["undo"].setEnabled(False)
    palette = CommandPalette(window.made, window)
    palette.show()
    assert "brush" in palette.found() and "undo" not in palette.found()
    qtbot.keyClicks(palette.search, "smaller")
    assert palette.found()[0] == "brush_smaller"
    palette.search.setText("stack whole")
    assert "predict_all" in palette.found()
    palette.search.setText("undo")
    assert "undo" not in palette.found()
    shown = [palette.list.topLevelItem(row) for row in range(palette.list.topLevelItemCount())]
    assert next(item for item in shown if item.text(0) == "Undo").isDisabled()
    palette.search.setText("no such command")
    assert palette.found() == []
    assert palette.list.topLevelItem(0).text(0) == "No command has these words"
    palette.search.setText("zoom 100")
    with qtbot.waitSignal(window.made["zoom_actual"].triggered):
        qtbot.keyClick(palette.search, Qt.Key.Key_Return)


def test_the_tool_in_hand_shows_on_the_toolbar(window):
    bar = window.findChild(QToolBar)
    for name in get_args(Tool):
        window.made[name].trigger()
        assert bar.widgetForAction(window.made[name]).isChecked(), name


def test_every_icon_is_there_and_follows_the_theme(window):
    for command in COMMANDS:
        if command.icon:
            assert assets.path(f"icons/{command.icon}.svg").is_file()
    white = assets.pixmap("brush", QColor("white")).toImage()
    black = assets.pixmap("brush", QColor("black")).toImage()
    assert white != black
    assert not window.made["brush"].icon().isNull()
