"""Every user command in one table; menus, toolbar, palette, tooltips and F1 sheet show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu, QToolBar, QWidget

from app import assets

IN_WORDS = {",": "Comma", ".": "Full stop"}
"""Keys that would not be seen in a list with commas."""
MENUS = ("File", "Edit", "View", "Tools", "Train", "Help")
ROLES = {"quit": QAction.MenuRole.QuitRole, "preferences": QAction.MenuRole.PreferencesRole}


@dataclass(frozen=True)
class Command:
    """One thing that a user can ask for.

    keys: Qt key sequences in the portable spelling, the one to show first. Ctrl is Cmd on macOS.
    menu: "File", or "View/Channels" for a submenu. A blank `tip` repeats the text.
    needs: what must be there before it can run: "" nothing, else a word that the main window knows.
    group: commands of one group are exclusive, like radio buttons.
    series: commands that share a series are one row of the F1 sheet, under that name.
    canvas: its keys count only while the image has the focus; elsewhere they mean something else.
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
    canvas: bool = False
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
    Command("add_images", "Add images…", ("Ctrl+Shift+A",), "File",
            "More images for this project: one list, one model, training on all of them"),
    Command("add_folder", "Add a folder of images…", (), "File",
            "All images of a folder for this project"),
    Command("open_folder", "Open a folder as one image…", (), "File",
            "Open an OME-Zarr, or numbered images that are the planes of one stack"),
    Command("choose", "Series and axes…", (), "File",
            "Open another image of this file, or take its axes for something else"),
    Command("save", "Save", ("Ctrl+S",), "File",
            "Give the project a name; every stroke is saved by itself already",
            icon="save", toolbar=True, separator=True, needs="stack"),
    Command("save_as", "Save as…", ("Ctrl+Shift+S",), "File",
            "Save a copy of the project under another name and go on there", needs="stack"),
    Command("save_copy", "Save a copy…", (), "File",
            "Write all of the project to another file and go on in this one", needs="stack"),
    Command("compact", "Compact the project", (), "File",
            "Give the disk back the room that the project file does not need", needs="stack"),
    Command("recover", "Unsaved work…", (), "File",
            "List what earlier sessions left without a name"),
    Command("export", "Export…", ("Ctrl+E",), "File",
            "Write masks as TIFF, for other programs, or as a table",
            icon="export", toolbar=True, separator=True, needs="stack"),
    Command("apply_folder", "Apply to folder…", (), "File",
            "Predict many images as this one and write their masks, as limn predict does",
            needs="stack"),
    Command("import_masks", "Import masks…", (), "File",
            "Take in what other programs made: label images, ImageJ's ROIs, GeoJSON",
            needs="stack"),
    Command("quit", "Quit", ("Ctrl+Q",), "File", "Close Limn", separator=True),
    Command("undo", "Undo", ("Ctrl+Z",), "Edit",
            "Take back the last stroke", icon="undo", toolbar=True, needs="undo", repeats=True),
    Command("redo", "Redo", ("Ctrl+Shift+Z", "Ctrl+Y"), "Edit",
            "Paint the undone stroke again", icon="redo", toolbar=True, needs="redo",
            repeats=True),
    Command("history", "History", ("Shift+H",), "Edit",
            "Show or hide the list of all edits; a click goes back or forth to any of them",
            checkable=True),
    Command("preferences", "Preferences…", ("Ctrl+,",), "Edit",
            "Choose keys and mouse habits that you know from elsewhere, and how strokes are drawn",
            separator=True),
    Command("fit", "Fit image to window", ("Ctrl+0",), "View",
            "Show the whole image", icon="fit", toolbar=True, needs="stack"),
    Command("zoom_actual", "Zoom to 100 %", ("Ctrl+1",), "View",
            "One image pixel on one screen pixel", needs="stack"),
    Command("zoom_in", "Zoom in", ("Ctrl++", "Ctrl+="), "View",
            "Show the middle of the picture larger", needs="stack", repeats=True),
    Command("zoom_out", "Zoom out", ("Ctrl+-",), "View",
            "Show more of the image, smaller", needs="stack", repeats=True),
    Command("show_annotation", "Show annotation", ("A",), "View",
            "Show or hide what you painted; hold to peek", checkable=True, separator=True,
            needs="stack"),
    Command("show_prediction", "Show prediction", ("S",), "View",
            "Show or hide the prediction; hold to peek", checkable=True, needs="stack"),
    Command("show_image", "Show image", ("I",), "View",
            "Show or hide the image itself; hold to peek", checkable=True, needs="stack"),
    Command("label_style", "Areas or outlines", ("Shift+A",), "View",
            "Show what you painted as areas with outlines, as areas, or as outlines",
            needs="stack"),
    Command("heat", "Prediction as probability", ("H",), "View",
            "Show how probable the cell is everywhere, instead of what is above the threshold",
            checkable=True, needs="stack"),
    Command("uncertainty", "Prediction as uncertainty", ("U",), "View",
            "Show where the prediction could be either: labels help most there", checkable=True,
            needs="stack"),
    Command("prediction_outline", "Prediction as outlines", ("Shift+S",), "View",
            "Show only the border of what is above the threshold", checkable=True,
            needs="stack"),
    Command("z_previous", "Previous slice", ("Left",), "View/Go to",
            "One slice down in z; one time point back where there is one slice only",
            separator=True, needs="planes", repeats=True),
    Command("z_next", "Next slice", ("Right",), "View/Go to",
            "One slice up in z; one time point on where there is one slice only",
            needs="planes", repeats=True),
    Command("z_back", "Ten slices back", ("Alt+Left",), "View/Go to",
            "Ten slices down in z, or ten time points back", needs="planes", repeats=True),
    Command("z_forward", "Ten slices forward", ("Alt+Right",), "View/Go to",
            "Ten slices up in z, or ten time points on", needs="planes", repeats=True),
    Command("z_first", "First slice", ("Home",), "View/Go to",
            "The slice where z begins, or the first time point", needs="planes"),
    Command("z_last", "Last slice", ("End",), "View/Go to",
            "The slice where z ends, or the last time point", needs="planes"),
    Command("t_previous", "Previous time point", ("Shift+Left",), "View/Go to",
            "One time point back", needs="t", repeats=True),
    Command("t_next", "Next time point", ("Shift+Right",), "View/Go to",
            "One time point on", needs="t", repeats=True),
    Command("image_previous", "Previous image", ("PgUp",), "View/Go to",
            "The image before in the project's list", separator=True, needs="images",
            repeats=True),
    Command("image_next", "Next image", ("PgDown",), "View/Go to",
            "The next image in the project's list", needs="images", repeats=True),
    Command("images", "Images", ("Shift+I",), "View",
            "Show or hide the list of the project's images", checkable=True),
    Command("review", "Reviewed", ("R",), "View",
            "Mark the image on show as done, or take the mark away", checkable=True,
            needs="stack"),
    Command("play", "Play", ("Ctrl+P",), "View",
            "Go through time, or through the slices of a stack without time, again and again",
            checkable=True, icon="play", needs="planes"),
    Command("next_place", "Next place to annotate", ("Tab",), "View/Go to",
            "Where the prediction is least certain: a few strokes help most there",
            separator=True, needs="stack", canvas=True, repeats=True),
    Command("previous_place", "Place before", ("Shift+Tab",), "View/Go to",
            "Back to the uncertain place before", needs="stack", canvas=True, repeats=True),
    Command("threshold_down", "Lower threshold", ("-",), "View/Threshold",
            "More pixels count as cell", separator=True, needs="stack", repeats=True),
    Command("threshold_up", "Higher threshold", ("=",), "View/Threshold",
            "Fewer pixels count as cell", needs="stack", repeats=True),
    Command("threshold_down_fine", "Lower threshold a little", ("Shift+-",), "View/Threshold",
            "Lower the threshold by one step of 256", needs="stack", repeats=True),
    Command("threshold_up_fine", "Higher threshold a little", ("Shift+=",), "View/Threshold",
            "Raise the threshold by one step of 256", needs="stack", repeats=True),
    *_channels(),
    Command("auto_contrast", "Auto contrast", ("C",), "View",
            "Brightness that shows this plane well; again: from its darkest to its brightest pixel",
            separator=True, needs="stack"),
    Command("contrast", "Contrast", ("Shift+C",), "View",
            "Show or hide histogram, brightness, gamma and look-up table of each channel",
            checkable=True),
    Command("orthogonal", "Orthogonal views", ("Ctrl+Shift+O",), "View",
            "Show or hide the stack from the side: XZ and YZ", checkable=True, needs="z"),
    Command("cut_here", "Cut here", ("O",), "View",
            "Show the stack from the side, cut through the pixel under the cursor", needs="z"),
    Command("minimap", "Minimap", (), "View",
            "While the image is larger than the view: where in it you are", checkable=True),
    Command("focus_next", "Next panel", ("F6",), "View",
            "Take the keyboard from the image to a panel, to the next one, and back to the image",
            separator=True),
    Command("focus_previous", "Panel before", ("Shift+F6",), "View",
            "Take the keyboard to the panel before, or back to the image"),
    Command("brush", "Brush", ("B", "P"), "Tools",
            "Paint with the chosen class", checkable=True, group="tool",
            icon="brush", toolbar=True, needs="stack"),
    Command("eraser", "Eraser", ("E",), "Tools",
            "Make pixels unlabelled again", checkable=True, group="tool", icon="eraser",
            toolbar=True, needs="stack"),
    Command("fill", "Fill", ("F",), "Tools",
            "Fill the enclosed region under a click", checkable=True, group="tool", icon="fill",
            toolbar=True, needs="stack"),
    Command("polygon", "Polygon and lasso", ("G",), "Tools",
            "Click corners, or drag around a cell; Return or a double-click fills it",
            checkable=True, group="tool", icon="polygon", toolbar=True, needs="stack"),
    Command("pick", "Pick class", ("K",), "Tools",
            "Click on a painted pixel to go on with its class", checkable=True, group="tool",
            icon="pick", toolbar=True, needs="stack"),
    Command("pan", "Pan", (), "Tools",
            "Drag the image; Space or the middle button pan in every tool", checkable=True,
            group="tool", icon="pan", toolbar=True, needs="stack"),
    Command("merge", "Merge cells", ("Ctrl+M",), "Tools",
            "Drag from one painted cell into others: they become one", checkable=True,
            group="tool", icon="merge", toolbar=True, needs="stack", separator=True),
    Command("split", "Split a cell", ("Ctrl+D",), "Tools",
            "Draw a line right across a painted cell to cut it in two", checkable=True,
            group="tool", icon="split", toolbar=True, needs="stack"),
    Command("complete", "Complete region", ("Ctrl+R",), "Tools",
            "Drag a box in which all cells are painted: the rest of it becomes background",
            checkable=True, group="tool", icon="complete", toolbar=True, needs="stack"),
    Command("interpolate", "Fill in between slices", ("Ctrl+I",), "Tools",
            "Between two labelled slices, make the labels of those in between", needs="z"),
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
    Command("class_add", "Add a class", (), "Tools",
            "One more class to paint with; its name and colour can be changed in the list",
            needs="stack"),
    Command("new_object", "Begin a new cell", ("M",), "Tools",
            "The next stroke is a new cell, wherever it begins", needs="stack"),
    Command("apart", "Tell cells apart", (), "Tools",
            "A stroke that begins outside a cell is a new cell, with an outline of its own",
            checkable=True, separator=True),
    Command("keep_others", "Leave other labels alone", ("Ctrl+B",), "Tools",
            "Paint only where nothing is labelled; erase only the class that you paint",
            checkable=True),
    Command("lock_class", "Lock this class", ("Ctrl+L",), "Tools",
            "Nothing painted or erased changes the labels of a locked class", checkable=True,
            needs="stack"),
    Command("show_class", "Show this class", ("V",), "Tools",
            "Show or hide the labels of the chosen class", checkable=True, needs="stack"),
    Command("smooth", "Smooth strokes", (), "Tools",
            "Take the tremor out of the line that you draw", checkable=True),
    Command("pressure", "Pen pressure sizes the brush", (), "Tools",
            "On a tablet, press lightly for a thin stroke", checkable=True),
    Command("accept", "Accept object", ("Return",), "Tools",
            "Take the predicted cell under the cursor over as if you had painted it",
            separator=True, needs="stack", canvas=True),
    Command("accept_all", "Accept all objects of this plane", ("Ctrl+Return",), "Tools",
            "Take every predicted cell over, where nothing is painted yet", needs="stack"),
    Command("delete_object", "Delete or reject object", ("Delete",), "Tools",
            "Delete the painted cell under the cursor; a predicted one becomes background",
            needs="stack", canvas=True),
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


def mouse_rows(
    right_drag: str = "erase",
    wheel: str = "zoom",
    shift_erases: bool = False,
    shift_wheel: str = "brush",
    ctrl_press: str = "paint",
) -> list[tuple[str, str]]:
    """Return what the mouse does in the image, for the F1 sheet: rows of (text, gesture).

    The viewport owns the behaviour; the arguments are its attributes of the same names.
    """
    erase = ["Right-drag"] * (right_drag == "erase") + ["Shift+drag"] * shift_erases
    rows = [("Paint", "Drag, or right-drag" if right_drag == "paint" else "Drag")]
    if erase:
        rows.append(("Erase", ", or ".join(erase)))
    if right_drag == "encircle":
        rows.append(("Encircle and fill", "Right-drag"))
    if not shift_erases:
        rows.append(("Straight stroke from the end of the last one", "Shift+click"))
    if ctrl_press == "delete":
        rows.append(("Delete or reject the cell", "Ctrl+click"))
    zooms, sizes = wheel == "zoom", shift_wheel == "brush"
    pan = ["Middle-drag", "Space+drag"] + ["Ctrl+drag"] * (ctrl_press == "pan")
    return [
        *rows,
        ("Pan", ", or ".join(pan)),
        ("Zoom at the cursor", "Wheel" if zooms else "Ctrl+wheel"),
        ("Brush size", "Shift+wheel, or Alt+drag" if sizes else "Alt+drag"),
        ("Pick the class under the cursor", "Alt+click"),
        ("Z slice", "Ctrl+wheel" if zooms else "Wheel"),
        ("Ten slices at once", "Ctrl+Alt+wheel" if zooms else "Alt+wheel"),
        *([] if sizes else [("Time point", "Shift+wheel")]),
        ("Polygon: next corner, lasso", "Click, drag"),
        ("Polygon: close it", "Return, double-click, or click on its first corner"),
        ("Polygon: take the last corner back", "Backspace, or right-click"),
        ("Cancel the stroke or polygon", "Esc"),
        ("Another tool for a moment", "Hold its key"),
    ]


def _native(keys: Iterable[str | QKeySequence]) -> list[str]:
    texts = [QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) for key in keys]
    return [IN_WORDS.get(text, text) for text in texts]


def shown_keys(of: Command | QAction) -> str:
    """Return the keys as this system writes them ("Ctrl+Y", "⌘Y"), separated by a comma.

    Of a command those of the table, of an action those that are in force.
    """
    return ", ".join(_native(of.shortcuts() if isinstance(of, QAction) else of.keys))


def sheet(
    actions: Mapping[str, QAction] | None = None,
    mouse: Sequence[tuple[str, str]] = tuple(mouse_rows()),
) -> dict[str, list[tuple[str, str]]]:
    """Return the F1 sheet: menu name -> rows of (text, keys); rows of a series are one row.

    With `actions` it has the keys in force, without them those of the table.
    """
    keys_of_row: dict[tuple[str, str], list[list[str]]] = {}
    for command in COMMANDS:
        keys = _native(actions[command.id].shortcuts() if actions else command.keys)
        if keys:
            row = command.menu.partition("/")[0], command.series or command.text.rstrip("…")
            keys_of_row.setdefault(row, []).append(keys)
    rows: dict[str, list[tuple[str, str]]] = {menu: [] for menu in MENUS}
    for (menu, text), each in keys_of_row.items():
        shown = each[0]
        if len(each) > 1:
            others = [key for keys in each for key in keys[1:]]
            shown = [f"{each[0][0]} … {each[-1][0]}", *others]
        rows[menu].append((text, ", ".join(shown)))
    rows["Mouse"] = list(mouse)
    return {menu: entries for menu, entries in rows.items() if entries}


def apply_keys(actions: Mapping[str, QAction], keys: Mapping[str, Sequence[str]]) -> None:
    """Give each action its keys, and a tooltip that names them.

    keys: command id -> Qt key sequences. A command that is not in it keeps those of the table.
    """
    # First none at all: a key that moves from one action to another never belongs to both.
    for action in actions.values():
        action.setShortcuts([])
    for command in COMMANDS:
        action = actions[command.id]
        own = keys.get(command.id, command.keys)
        action.setShortcuts([QKeySequence(key) for key in own])
        shown = shown_keys(action)
        name = command.text.rstrip("…")
        tip = command.tip or command.text
        action.setToolTip(f"{name} ({shown})\n{tip}" if shown else f"{name}\n{tip}")


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


def build_actions(window: QWidget, canvas: QWidget) -> dict[str, QAction]:
    """Make one QAction per command, named `action_<id>`, as children of `window`.

    `canvas` is the widget that shows the image.
    """
    actions: dict[str, QAction] = {}
    groups: dict[str, QActionGroup] = {}
    for command in COMMANDS:
        action = CommandAction(command.text, window)
        action.setObjectName(f"action_{command.id}")
        action.setCheckable(command.checkable)
        # A held key must toggle once, not thirty times a second.
        action.setAutoRepeat(command.repeats)
        action.setStatusTip(command.tip or command.text)
        action.setShortcutContext(
            Qt.ShortcutContext.WidgetShortcut
            if command.canvas
            else Qt.ShortcutContext.WindowShortcut
        )
        # Without a role macOS would guess from the words what belongs into its application menu.
        action.setMenuRole(ROLES.get(command.id, QAction.MenuRole.NoRole))
        if command.group:
            group = groups.setdefault(command.group, QActionGroup(window))
            group.addAction(action)
        (canvas if command.canvas else window).addAction(action)
        actions[command.id] = action
    apply_keys(actions, {})
    return actions


def build_menus(window: QMainWindow, actions: Mapping[str, QAction]) -> None:
    """Fill the window's menu bar with all commands."""
    menus: dict[str, QMenu] = {}
    for name in MENUS:
        menus[name] = window.menuBar().addMenu(f"&{name}")
        menus[name].setToolTipsVisible(True)
    for command in COMMANDS:
        parent = command.menu.partition("/")[0]
        if command.separator:
            menus.get(command.menu, menus[parent]).addSeparator()
        if command.menu not in menus:
            menus[command.menu] = menus[parent].addMenu(command.menu.partition("/")[2])
            menus[command.menu].setToolTipsVisible(True)
        menus[command.menu].addAction(actions[command.id])


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
