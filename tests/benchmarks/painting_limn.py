"""Drives Limn through one case of the painting benchmark: `painting.py` starts it.

python -m tests.benchmarks.painting_limn '{"case": …}'
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as app.__main__ does

import numpy as np
from numpy.typing import NDArray
from PySide6.QtWidgets import QApplication

from app import cli  # noqa: F401  # as app.__main__ does; it is part of the start
from app.main_window import MainWindow, build
from tests.benchmarks.painting_mouse import (
    THRESHOLDS,
    Eyes,
    answer,
    fit_canvas,
    private_memory,
    probability,
    wait,
    wait_until,
)
from unet_core.stack import PlaneIndex
from unet_core.tiling import Rect


@dataclass(frozen=True)
class Tile:
    """What the viewport takes for a predicted tile."""

    plane: PlaneIndex
    rect: Rect
    maps: NDArray[np.uint8]
    interior: NDArray[np.uint8] | None = None


def main() -> None:
    """Do the case and print its result."""
    asked = json.loads(sys.argv[1])
    app = QApplication([])  # noqa: F841  # lives as long as the window
    window = build()
    Eyes(window).wait_for_paint()
    if asked["case"] == "start":
        answer({"start": [time.monotonic() - asked["began"]]})
    window.actions_by_id["live"].setChecked(asked["live"])
    fit_canvas(window, window.viewport)
    eyes = Eyes(window.viewport)
    if asked["case"] == "big":
        answer(big(window, eyes, Path(asked["image"])))
    window.files.open(Path(asked["image"]))
    wait_until(lambda: window.viewport.paintable)
    window.document.set_plane(0, asked["plane"])
    wait_until(lambda: window.viewport.paintable)
    if asked["training"]:
        train(window)
    result = CASES[asked["case"]](window, eyes, asked)
    result["training"] = window.engine.busy == "training"
    answer(result)


def stroke(window: MainWindow, eyes: Eyes, asked: dict[str, Any]) -> dict[str, Any]:
    """A stroke and its undo at one screen pixel per image pixel."""
    document = window.document
    window.viewport.zoom_actual()
    document.set_active_class(2)
    document.set_brush_diameter(asked["diameter"])
    document.labels_changed.connect(eyes.note_change)
    document.labels_edited.connect(eyes.note_change)
    return eyes.stroke(
        asked["events"],
        lambda: document.annotation.counts().get(2, 0),
        window.actions_by_id["undo"].trigger,
    )


def threshold(window: MainWindow, eyes: Eyes, asked: dict[str, Any]) -> dict[str, Any]:
    """Steps of the slider, the whole plane in view and predicted."""
    viewport, slider = window.viewport, window.prediction.threshold
    whole = window.document.plane_rect
    viewport.fit()
    viewport.put_tiles([Tile(PlaneIndex(0, 0), whole, probability(whole.height)[None])])
    slider.setValue(THRESHOLDS[0] - 1)
    wait(1.0)
    return {"step": [eyes.until_painted(partial(slider.setValue, t)) for t in THRESHOLDS]}


def planes(window: MainWindow, eyes: Eyes, asked: dict[str, Any]) -> dict[str, Any]:
    """From plane to plane and back, with the key's command."""
    viewport = window.viewport
    viewport.fit()
    times = []
    for command, target in (
        *(("z_next", z) for z in range(1, asked["planes"])),
        *(("z_previous", z) for z in reversed(range(asked["planes"] - 1))),
    ):

        def there(target: int = target) -> bool:
            return viewport.shown is not None and viewport.shown.plane.z == target

        times.append(eyes.until_painted(window.actions_by_id[command].trigger, there))
    return {"change": times}


def big(window: MainWindow, eyes: Eyes, image: Path) -> dict[str, Any]:
    """Open a stack and wait for its first plane."""
    before, began = private_memory(), time.monotonic()
    passed = eyes.until_painted(
        lambda: window.files.open(image), lambda: window.viewport.shown is not None
    )
    return {
        "first plane": [passed / 1000],
        "before": before,
        "from": began,
        "until": time.monotonic(),
    }


def train(window: MainWindow) -> None:
    """Paint two strokes of each class, press Train, and wait until steps are being made."""
    document = window.document
    _, _, height, width = document.plane_rect
    window.engine.training_seconds = None
    document.set_brush_diameter(20)
    for number in range(4):
        document.set_active_class(1 + number % 2)
        y = height // 2 - 450 + 30 * number
        document.begin_stroke(y, width // 2 - 300)
        document.extend_stroke(y, width // 2 + 300)
        document.end_stroke()
    steps: list[object] = []
    window.engine.training_progress.connect(steps.append)
    wait_until(lambda: window.actions_by_id["train"].isEnabled())
    window.actions_by_id["train"].trigger()
    wait_until(lambda: len(steps) > 3)


CASES = {"stroke": stroke, "threshold": threshold, "planes": planes}

if __name__ == "__main__":
    main()
