"""Child of test_leaving: paints, and is asked to end while the project's disk does not answer.

    python close_on_a_hanging_disk.py IMAGE PROJECT

Prints a line when a stroke waits for the disk; then comes SIGTERM. What hangs is a read of a pipe
into which nobody writes: a call of the system that does not come back.
"""

import os
import sys
from pathlib import Path

from PySide6.QtCore import QTimer

from app import leaving, main_window, saver
from unet_core.project import Project

saver.HANG_SECONDS = leaving.PATIENCE_SECONDS = 0.2


def paint(document, y: float) -> None:
    document.set_active_class(2)
    document.begin_stroke(y, 20)
    document.extend_stroke(y, 60)
    document.end_stroke()


def record_or_hang(project: Project, *arguments) -> None:
    if project.path == path:
        os.read(nothing, 1)
    record(project, *arguments)


nothing, _unused = os.pipe()
record = Project.record
image, path = map(Path, sys.argv[1:])
built = main_window.build
step = 0


def build(paths):
    window = built(paths)
    window.actions_by_id["live"].setChecked(False)

    def go_on() -> None:
        global step
        done = window.viewport.paintable and not window.saver.unsaved
        if step == 0 and done:
            step = 1
            paint(window.document, 20)
            window.files.save_as(path)
        elif step == 1 and done and path.exists():
            step = 2
            Project.record = record_or_hang
            paint(window.document, 40)
            paint(window.document, 60)
            print("waits", flush=True)
            timer.stop()

    timer = QTimer(window, interval=20)
    timer.timeout.connect(go_on)
    timer.start()
    return window


main_window.build = build
sys.exit(main_window.run([image]))
