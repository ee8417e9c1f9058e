"""Drives napari through one case of the painting benchmark: `painting.py` starts it.

    python -m tests.benchmarks.painting_napari '{"case": …}'

Runs in napari's own environment, which has nothing of Limn's.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Any

import napari  # type: ignore[import-not-found, unused-ignore]
import numpy as np
import tifffile

from tests.benchmarks.painting_mouse import (
    THRESHOLDS,
    Eyes,
    answer,
    fit_canvas,
    private_memory,
    probability,
    wait,
)


def main() -> None:
    """Do the case and print its result."""
    asked = json.loads(sys.argv[1])
    viewer = napari.Viewer()
    window = viewer.window._qt_window
    Eyes(window).wait_for_paint()
    if asked["case"] == "start":
        answer({"start": [time.monotonic() - asked["began"]]})
    canvas = viewer.window._qt_viewer.canvas.native
    fit_canvas(window, canvas)
    eyes = Eyes(canvas)
    if asked["case"] == "big":
        answer(big(viewer, eyes, asked))
    viewer.open(asked["image"], plugin="napari")
    viewer.dims.set_current_step(0, asked["plane"])
    wait(1.0)
    answer(CASES[asked["case"]](viewer, eyes, asked))


def stroke(viewer: Any, eyes: Eyes, asked: dict[str, Any]) -> dict[str, Any]:
    """A stroke and its undo at one screen pixel per image pixel."""
    labels = add_labels(viewer)
    labels.mode = "paint"
    labels.brush_size = asked["diameter"]
    labels.selected_label = 1
    viewer.scene.camera.zoom = 1
    # Painting changes a part, undo the whole; last: after the texture has taken it over.
    labels.events.labels_update.connect(eyes.note_change, position="last")
    labels.events.set_data.connect(eyes.note_change, position="last")
    wait(1.0)
    plane = labels.data[asked["plane"]] if labels.ndim == 3 else labels.data
    return eyes.stroke(asked["events"], lambda: int(np.count_nonzero(plane)), labels.undo)


def threshold(viewer: Any, eyes: Eyes, asked: dict[str, Any]) -> dict[str, Any]:
    """Steps of a threshold on a probability map over the image, all of it in view."""
    maps = probability(viewer.layers[0].data.shape[-1])
    if asked["way"] == "labels":
        layer = viewer.add_labels((maps >= THRESHOLDS[0]).astype(np.uint8))

        def step(value: int) -> None:
            layer.data = (maps >= value).astype(np.uint8)

    else:
        layer = viewer.add_image(maps, colormap="green", blending="additive")

        def step(value: int) -> None:
            layer.contrast_limits = (value - 1, value)

    viewer.reset_view()
    wait(1.0)
    return {"step": [eyes.until_painted(partial(step, t)) for t in THRESHOLDS]}


def planes(viewer: Any, eyes: Eyes, asked: dict[str, Any]) -> dict[str, Any]:
    """From plane to plane and back, under a labels layer as when painting."""
    add_labels(viewer)
    viewer.reset_view()
    wait(1.0)
    last = asked["planes"]
    targets = [*range(1, last), *reversed(range(last - 1))]
    return {
        "change": [eyes.until_painted(partial(viewer.dims.set_current_step, 0, z)) for z in targets]
    }


def big(viewer: Any, eyes: Eyes, asked: dict[str, Any]) -> dict[str, Any]:
    """Open a stack and wait for its first plane."""

    def open_stack() -> None:
        if asked["way"] == "map":
            viewer.add_image(tifffile.memmap(asked["image"], mode="r"))
        else:
            viewer.open(asked["image"], plugin="napari")

    before, began = private_memory(), time.monotonic()
    passed = eyes.until_painted(open_stack)
    return {
        "first plane": [passed / 1000],
        "before": before,
        "from": began,
        "until": time.monotonic(),
    }


def add_labels(viewer: Any) -> Any:
    """A layer to paint on, as large as the image, of the smallest integers."""
    return viewer.add_labels(np.zeros(viewer.layers[0].data.shape, np.uint8))


CASES = {"stroke": stroke, "threshold": threshold, "planes": planes}

if __name__ == "__main__":
    main()
