"""Every user command in one table; menus, toolbar, palette, tooltips and F1 sheet show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu, QToolBar, QWidget

from app import assets

LATER = "Coming in a later version"
MENUS = ("File", "Edit", "View", "Tools", "Train", "Help")


@dataclass(frozen=True)
class Command:
    """One thing that a user can ask for.

    keys: Qt key sequences in the portable spelling, the one to show first. Ctrl is Cmd on macOS.
    menu: "File", or "View/Channels" for a submenu. A blank `tip` repeats the text.
    needs: what must be there before it can run: "" nothing, else a word that the main window knows.
    group: commands of one group are exclusive, like radio buttons.
    series: commands that share a series are one row of the F1 sheet, under that name.
    later: the tool belongs to a later release; the action exists, disabled.
    """

    id: str
    text: str
    keys: tuple[str, ...] = ()
    menu: str = ""
    tip: str = ""
    checkable: bool = False
    icon: str = ""
    toolbar: bool = False
    separator: bool = False
    needs: str = ""
    group: str = ""
    series: str = ""
    later: bool = False
    repeats: bool = False


def _classes() -> Iterator[Command]:
    for n in range(1, 10):
        yield Command(
            f"class_{n}",
            f"Class {n}",
            (f"{n}",),
            "Tools/Class",
            f"Paint with class {n}",
            needs=f"class_{n}",
            series="Paint with class 1…9",
        )


def _channels() -> Iterator[Command]:
    for n in range(1, 10):
        yield Command(
            f"channel_{n}",
            f"Channel {n}",
            (f"Shift+{n}",),
            "View/Channels",
            f"Show or hide channel {n}",
            checkable=True,
            needs=f"channel_{n}",
            series="Show or hide channel 1…9",
        )


COMMANDS: tuple[Command, ...] = (
    Command("open", "Open…", ("Ctrl+O",), "File",
            "Open an image or a Limn project", icon="open", toolbar=True),
    Command("save", "Save", ("Ctrl+S",), "File",
            "Give the project a name; every stroke is saved by itself already",
            icon="save", toolbar=True, separator=True, needs="stack"),
    Command("save_as", "Save as…", ("Ctrl+Shift+S",), "File",
            "Save a copy of the project under another name and go on there", needs="stack"),
    Command("export", "Export…", ("Ctrl+E",), "File",
            "Write masks of the whole stack as TIFF",
            icon="export", toolbar=True, separator=True, needs="stack"),
    Command("quit", "Quit", ("Ctrl+Q",), "File", "Close Limn", separator=True),
    Command("undo", "Undo", ("Ctrl+Z",), "Edit",
            "Take back the last stroke", icon="undo", toolbar=True, needs="undo", repeats=True),
    Command("redo", "Redo", ("Ctrl+Shift+Z", "Ctrl+Y"), "Edit",
            "Paint the undone stroke again", icon="redo", toolbar=True, needs="redo",
            repeats=True),
    Command("fit", "Fit image to window", ("Ctrl+0",), "View",
            "Show the whole image", icon="fit", toolbar=True, needs="stack"),
    Command("zoom_actual", "Zoom to 100 %", ("Ctrl+1",), "View",
            "One image pixel on one screen pixel", needs="stack"),
    Command("show_annotation", "Show annotation", ("A",), "View",
            "Show or hide what you painted; hold to peek", checkable=True, separator=True,
            needs="stack"),
    Command("show_prediction", "Show prediction", ("S",), "View",
            "Show or hide the prediction; hold to peek", checkable=True, needs="stack"),
    Command("show_image", "Show image", ("I",), "View",
            "Show or hide the image itself; hold to peek", checkable=True, needs="stack"),
    Command("z_previous", "Previous slice", ("Left",), "View",
            "One slice down in z", separator=True, needs="z", repeats=True),
    Command("z_next", "Next slice", ("Right",), "View",
            "One slice up in z", needs="z", repeats=True),
    Command("z_back", "Ten slices back", ("Alt+Left",), "View",
            "Ten slices down in z", needs="z", repeats=True),
    Command("z_forward", "Ten slices forward", ("Alt+Right",), "View",
            "Ten slices up in z", needs="z", repeats=True),
    Command("t_previous", "Previous time point", ("Shift+Left",), "View",
            "One time point back", needs="t", repeats=True),
    Command("t_next", "Next time point", ("Shift+Right",), "View",
            "One time point on", needs="t", repeats=True),
    Command("threshold_down", "Lower threshold", ("-",), "View",
            "More pixels count as cell", separator=True, needs="stack", repeats=True),
    Command("threshold_up", "Higher threshold", ("=",), "View",
            "Fewer pixels count as cell", needs="stack", repeats=True),
    Command("threshold_down_fine", "Lower threshold a little", ("Shift+-",), "View",
            "Lower the threshold by one step of 256", needs="stack", repeats=True),
    Command("threshold_up_fine", "Higher threshold a little", ("Shift+=",), "View",
            "Raise the threshold by one step of 256", needs="stack", repeats=True),
    *_channels(),
    Command("brush", "Brush", ("B", "P"), "Tools",
            "Paint with the chosen class; right-drag erases", checkable=True, group="tool",
            icon="brush", toolbar=True, needs="stack"),
    Command("eraser", "Eraser", ("E",), "Tools",
            "Make pixels unlabelled again", checkable=True, group="tool", icon="eraser",
            toolbar=True, needs="stack"),
    Command("fill", "Fill", ("F",), "Tools", LATER, later=True),
    Command("polygon", "Polygon", ("G",), "Tools", LATER, later=True),
    Command("pick", "Pick class", ("K",), "Tools",
            "Click on a painted pixel to go on with its class", checkable=True, group="tool",
            icon="pick", toolbar=True, needs="stack"),
    Command("pan", "Pan", (), "Tools",
            "Drag the image; Space or the middle button pan in every tool", checkable=True,
            group="tool", icon="pan", toolbar=True, needs="stack"),
    Command("brush_smaller", "Smaller brush", ("[",), "Tools",
            "Make the brush smaller", separator=True, repeats=True),
    Command("brush_larger", "Larger brush", ("]",), "Tools",
            "Make the brush larger", repeats=True),
    Command("class_foreground", "Paint the cell class", ("Q",), "Tools",
            "Paint with the foreground class used last", separator=True, needs="stack"),
    Command("class_background", "Paint the background", ("W",), "Tools",
            "Paint with the background class", needs="stack"),
    Command("class_swap", "Swap cell and background", ("X",), "Tools",
            "Change between background and the foreground class used last", needs="stack"),
    Command("class_next", "Next class", ("N",), "Tools",
            "Paint with the next class in the list", needs="stack"),
    *_classes(),
    Command("accept", "Accept object", ("Return",), "Tools", LATER, separator=True, later=True),
    Command("train", "Train on my annotations", ("Ctrl+T",), "Train",
            "Teach the network with what you painted", icon="train", toolbar=True, needs="train"),
    Command("stop", "Stop", ("Ctrl+.",), "Train",
            "Stop what runs now; what was learnt so far is kept", icon="stop", toolbar=True,
            needs="busy"),
    Command("live", "Live prediction", ("L",), "Train",
            "Predict what is in view, again and again", checkable=True, icon="live",
            toolbar=True, separator=True, needs="stack"),
    Command("predict_all", "Predict the whole stack…", (), "Train",
            "Predict every plane and write the result to a file", needs="stack"),
    Command("palette", "Command palette…", ("Ctrl+K", "Ctrl+Shift+P"), "Help",
            "Search all commands by name"),
    Command("shortcuts", "Keys and mouse", ("F1", "?"), "Help",
            "Show every key on one sheet"),
)  # fmt: skip

# What the mouse does in the image: for the F1 sheet only, the viewport owns the behaviour.
MOUSE: tuple[tuple[str, str], ...] = (
    ("Paint", "Drag"),
    ("Erase", "Right-drag"),
    ("Straight stroke from the end of the last one", "Shift+click"),
    ("Pan", "Middle-drag, or Space+drag"),
    ("Zoom at the cursor", "Wheel"),
    ("Brush size", "Shift+wheel, or Alt+drag"),
    ("Pick the class under the cursor", "Alt+click"),
    ("Z slice", "Ctrl+wheel"),
    ("Cancel the stroke", "Esc"),
    ("Another tool for a moment", "Hold its key"),
)


def shown_keys(command: Command) -> str:
    """Return the keys as this system writes them ("Ctrl+Y", "⌘Y"), separated by a comma."""
    native = QKeySequence.SequenceFormat.NativeText
    return ", ".join(QKeySequence(key).toString(native) for key in command.keys)


def sheet() -> dict[str, list[tuple[str, str]]]:
    """Return the F1 sheet: menu name -> rows of (text, keys); rows of a series are one row."""
    rows: dict[str, list[tuple[str, str]]] = {menu: [] for menu in MENUS}
    seen: set[str] = set()
    for command in COMMANDS:
        if command.later or not command.keys or command.series in seen:
            continue
        menu = command.menu.partition("/")[0]
        if command.series:
            seen.add(command.series)
            last = [other for other in COMMANDS if other.series == command.series][-1]
            rows[menu].append((command.series, f"{shown_keys(command)} … {shown_keys(last)}"))
        else:
            rows[menu].append((command.text.rstrip("…"), shown_keys(command)))
    rows["Mouse"] = list(MOUSE)
    return {menu: entries for menu, entries in rows.items() if entries}


class CommandAction(QAction):
    """Knows, while it is carried out, whether its key was pressed (and so may be held)."""

    by_key = False

    def event(self, event: QEvent) -> bool:
        if event.type() != QEvent.Type.Shortcut:
            return super().event(event)
        self.by_key = True
        try:
            return super().event(event)
        finally:
            self.by_key = False


def build_actions(window: QWidget) -> dict[str, QAction]:
    """Make one QAction per command, named `action_<id>`, as children of `window`."""
    actions: dict[str, QAction] = {}
    groups: dict[str, QActionGroup] = {}
    for command in COMMANDS:
        action = CommandAction(command.text, window)
        action.setObjectName(f"action_{command.id}")
        action.setCheckable(command.checkable)
        # A held key must toggle once, not thirty times a second.
        action.setAutoRepeat(command.repeats)
        tip = command.tip or command.text
        if command.later:
            # No key either: a dead letter would only puzzle.
            action.setEnabled(False)
            action.setToolTip(LATER)
        else:
            action.setShortcuts([QKeySequence(key) for key in command.keys])
            keys = shown_keys(command)
            name = command.text.rstrip("…")
            action.setToolTip(f"{name} ({keys})\n{tip}" if keys else f"{name}\n{tip}")
        action.setStatusTip(tip)
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        if command.id == "quit":
            action.setMenuRole(QAction.MenuRole.QuitRole)
        else:
            # Else macOS would guess from the words, and move some into its application menu.
            action.setMenuRole(QAction.MenuRole.NoRole)
        if command.group:
            group = groups.setdefault(command.group, QActionGroup(window))
            group.addAction(action)
        window.addAction(action)
        actions[command.id] = action
    return actions


def build_menus(window: QMainWindow, actions: Mapping[str, QAction]) -> None:
    """Fill the window's menu bar with all commands."""
    menus: dict[str, QMenu] = {}
    for name in MENUS:
        menus[name] = window.menuBar().addMenu(f"&{name}")
        menus[name].setToolTipsVisible(True)
    for command in COMMANDS:
        parent = command.menu.partition("/")[0]
        if command.menu not in menus:
            menus[parent].addSeparator()
            menus[command.menu] = menus[parent].addMenu(command.menu.partition("/")[2])
        menu = menus[command.menu]
        if command.separator:
            menu.addSeparator()
        menu.addAction(actions[command.id])


def build_toolbar(window: QMainWindow, actions: Mapping[str, QAction]) -> QToolBar:
    """Add the slim toolbar, with a gap wherever the menu changes."""
    bar = QToolBar("Tools", window)
    bar.setObjectName("toolBar")
    bar.setMovable(False)
    bar.setIconSize(QSize(20, 20))
    bar.toggleViewAction().setVisible(False)
    bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
    menu = ""
    for command in COMMANDS:
        if not command.toolbar:
            continue
        if menu and menu != command.menu:
            bar.addSeparator()
        menu = command.menu
        bar.addAction(actions[command.id])
        button = bar.widgetForAction(actions[command.id])
        # Reachable by Tab, and named for a screen reader.
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setAccessibleName(command.text.rstrip("…"))
        button.setAccessibleDescription(command.tip)
    window.addToolBar(bar)
    return bar


def refresh_icons(actions: Mapping[str, QAction], widget: QWidget) -> None:
    """Draw the icons again in the text colour of `widget`: after a change of theme."""
    for command in COMMANDS:
        if command.icon:
            actions[command.id].setIcon(assets.icon(command.icon, widget.palette()))
            # Menus without icons are easier to scan, and look the same on every system.
            actions[command.id].setIconVisibleInMenu(False)
