"""Keys and mouse habits of other programs, put on the one table of commands.

A preset only moves keys: every command stays in its menu and in the palette. What a program's keys
do and Limn has no command for is left out, and so is what would be dangerous: no key of a single
character takes anything back or away. RootPainter's plain Z for undo is refused for that reason
(in napari Z pans, in Cellpose it shows outlines, in ilastik it is a view), and so is Cellpose's
Ctrl+0 for clearing all masks; undo is Ctrl+Z everywhere. The digits choose classes, except where
they choose tools (napari). No preset makes left-drag pan, as it does in Cellpose: a brush that does
not paint would be a riddle, and the Pan tool is there for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.commands import COMMANDS
from app.viewport import CtrlPress, RightDrag, ShiftWheel, Wheel


@dataclass(frozen=True)
class Preset:
    """What one program's users have in their fingers.

    about: one line for the user, what is different.
    keys: command id -> all of its Qt key sequences, the one to show first. What loses its letter
        to another command has it with Shift, if anything.
    right_drag, wheel, shift_erases, shift_wheel, ctrl_press: attributes of the viewport.
    """

    name: str
    about: str
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    right_drag: RightDrag = "erase"
    wheel: Wheel = "zoom"
    shift_erases: bool = False
    shift_wheel: ShiftWheel = "brush"
    ctrl_press: CtrlPress = "paint"

    def keys_in_force(self) -> dict[str, tuple[str, ...]]:
        """Return the keys of every command: the preset's own, and of the others what is left."""
        taken = {key for keys in self.keys.values() for key in keys}
        return {
            command.id: self.keys.get(
                command.id, tuple(key for key in command.keys if key not in taken)
            )
            for command in COMMANDS
        }


_SIGNS_ZOOM = {
    "zoom_in": ("+", "=", "Ctrl++", "Ctrl+="),
    "zoom_out": ("-", "Ctrl+-"),
    "threshold_down": ("Alt+-",),
    "threshold_up": ("Alt+=",),
    # On many keyboards plus is Shift and the key of "=".
    "threshold_down_fine": ("Alt+Shift+-",),
    "threshold_up_fine": ("Alt+Shift+=",),
}

_LIMN = Preset("Limn", "Limn's own keys; right-drag erases, the wheel zooms.")

_IMAGEJ = Preset(
    "ImageJ",
    "The wheel, comma and full stop go through slices, + and - zoom, \\ plays, / cuts, "
    "L finds commands, T accepts a cell.",
    {
        **_SIGNS_ZOOM,
        "zoom_in": (*_SIGNS_ZOOM["zoom_in"], "Up"),
        "zoom_out": (*_SIGNS_ZOOM["zoom_out"], "Down"),
        "z_previous": (",", "<", "Left"),
        "z_next": (".", ">", "Right"),
        "play": ("\\", "Ctrl+P"),
        "orthogonal": ("/", "Ctrl+Shift+O"),
        "palette": ("L", "Ctrl+K", "Ctrl+Shift+P"),
        "accept": ("T", "Return"),
        "live": ("Shift+L",),
    },
    wheel="slice",
)

_NAPARI = Preset(
    "napari",
    "1 to 6 choose tools, Alt+1 to 9 classes, B preserves labels; right-drag encircles and fills.",
    {
        "eraser": ("1", "E"),
        "brush": ("2", "P"),
        "polygon": ("3", "G"),
        "fill": ("4", "F"),
        "pick": ("5", "L", "K"),
        "pan": ("6", "Z"),
        "keep_others": ("B", "Ctrl+B"),
        "show_annotation": ("A", "V"),
        "show_class": ("Shift+V",),
        "live": ("Shift+L",),
        **{f"class_{n}": (f"Alt+{n}",) for n in range(1, 10)},
    },
    right_drag="encircle",
)

_ILASTIK = Preset(
    "ilastik",
    "The wheel goes through slices, with Shift through time; Shift erases; N moves the image, "
    "P shows probabilities, T contrast; comma and full stop size the brush.",
    {
        "pan": ("N",),
        "class_next": ("Shift+N",),
        "heat": ("P", "H"),
        "contrast": ("T", "Shift+C"),
        "fit": ("K", "Ctrl+0"),
        "pick": ("Shift+K",),
        "zoom_actual": ("W", "Ctrl+1"),
        "class_background": ("Shift+W",),
        "brush_smaller": (",", "["),
        "brush_larger": (".", "]"),
        "z_previous": ("Ctrl+Down", "Left"),
        "z_next": ("Ctrl+Up", "Right"),
        "z_back": ("Ctrl+Shift+Down", "Alt+Left"),
        "z_forward": ("Ctrl+Shift+Up", "Alt+Right"),
        "z_first": ("Shift+Down", "Home"),
        "z_last": ("Shift+Up", "End"),
    },
    wheel="slice",
    shift_erases=True,
    shift_wheel="time",
)

_ROOTPAINTER = Preset(
    "RootPainter",
    "Right-drag paints, Ctrl+drag moves the image, + and - zoom, Ctrl+F fits, Ctrl+A is 100 %; "
    "Q, W, E, S, A and I are the same. Undo stays Ctrl+Z.",
    {**_SIGNS_ZOOM, "fit": ("Ctrl+F", "Ctrl+0"), "zoom_actual": ("Ctrl+A", "Ctrl+1")},
    right_drag="paint",
    ctrl_press="pan",
)

_CELLPOSE = Preset(
    "Cellpose",
    "Right-drag outlines a cell, Ctrl+click deletes it; A and D go through slices, X shows masks, "
    "Z outlines, R, G, B channels; comma and full stop size the brush.",
    {
        "open": ("Ctrl+L", "Ctrl+O"),
        "lock_class": ("Ctrl+Shift+L",),
        "image_previous": ("A", "PgUp"),
        "image_next": ("D", "PgDown"),
        "show_annotation": ("X",),
        "class_swap": ("Shift+X",),
        "label_style": ("Z", "Shift+A"),
        "review": (),
        "channel_1": ("Shift+1", "R"),
        "channel_2": ("Shift+2", "G"),
        "channel_3": ("Shift+3", "B"),
        "polygon": ("Shift+G",),
        "brush_smaller": (",", "["),
        "brush_larger": (".", "]"),
    },
    right_drag="encircle",
    ctrl_press="delete",
)

PRESETS: Mapping[str, Preset] = {
    preset.name: preset for preset in (_LIMN, _IMAGEJ, _NAPARI, _ILASTIK, _ROOTPAINTER, _CELLPOSE)
}
