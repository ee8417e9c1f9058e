"""Raw data is opened to be read, ever: a whole session leaves every byte and time as it was."""

import hashlib
import os
import sys

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import Qt
from skimage.io import imsave

from tests.app.conftest import close_and_wait, open_and_wait

_watched: list[tuple[str, object, int]] = []
_watching: list[str] = []


def _watch(event, arguments):
    if event == "open" and _watching:
        path, mode, flags = arguments
        if isinstance(path, (str, bytes)) and os.fsdecode(path) in _watching:
            _watched.append((os.fsdecode(path), mode, flags))


@pytest.fixture
def watch():
    """Notes how Python opens files. An audit hook stays for good, so it is given nothing to do."""
    sys.addaudithook(_watch)
    yield _watching
    _watching.clear()
    _watched.clear()


def state(path):
    about = path.stat()
    return hashlib.sha256(path.read_bytes()).hexdigest(), about.st_mtime_ns, about.st_mode


def paint(window, qtbot, value, y):
    window.document.set_active_class(value)
    view = window.viewport
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=view.image_to_widget(y, 20))
    qtbot.mouseMove(view, view.image_to_widget(y, 50))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=view.image_to_widget(y, 50))


@pytest.mark.parametrize("kind", ["mapped.tif", "packed.tif", "picture.png"])
def test_a_session_leaves_the_image_as_it_was(make_window, tmp_path, qtbot, watch, kind):
    image = tmp_path / kind
    pixels = np.random.default_rng(5).integers(0, 255, (96, 96), np.uint8)
    if image.suffix == ".png":
        imsave(image, pixels)
    else:
        packing = "zlib" if kind.startswith("packed") else None
        tifffile.imwrite(image, pixels, compression=packing)
    os.utime(image, ns=(10**18, 10**18))
    before = state(image)
    watch.append(str(image))
    window = make_window(image)
    paint(window, qtbot, 2, 30)
    paint(window, qtbot, 1, 70)
    window.actions_by_id["undo"].trigger()
    window.actions_by_id["redo"].trigger()
    with qtbot.waitSignal(window.engine.export_finished):
        window.export_to(tmp_path / "labels.tif", "annotation")
    project = tmp_path / "work.limn"
    window.files.save_as(project)
    qtbot.waitUntil(lambda: window.files.project == project)
    window.files.save_copy(tmp_path / "copy.limn")
    window.actions_by_id["compact"].trigger()
    qtbot.waitUntil(lambda: window.saver.unsaved == 0)
    close_and_wait(window, qtbot)
    again = make_window()
    open_and_wait(again, project, qtbot)
    close_and_wait(again, qtbot)
    assert _watched, "the hook has seen it being opened"
    writing = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
    for path, mode, flags in _watched:
        assert not flags & writing, (path, mode, flags)
    assert state(image) == before
