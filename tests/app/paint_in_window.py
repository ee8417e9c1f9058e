"""Child of test_kill: paints in a real window for ever and tells what the window shows as saved.

    python paint_in_window.py IMAGE SEED [train|undo|fill|export|copy]

It paints a few strokes as fast as it can, waits until the window says "Saved", prints one line, the
number of strokes and a checksum of the labels, and goes on. Without the waiting a slow disk would
never catch up. With "train" it trains all the while, with "export" and "copy" it writes the labels
to export.tif, or copies of the project to copy.limn, beside the image again and again. With "undo"
it ends each burst by taking back a stroke, with "fill" by filling a region.
"""

import sys
import zlib
from pathlib import Path

import numpy as np
import torch  # noqa: F401  # before Qt
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from app.main_window import build
from unet_core.tiling import Rect


def main() -> None:
    app = QApplication([])
    window = build([Path(sys.argv[1])])
    window.actions_by_id["live"].setChecked(False)
    random = np.random.default_rng(int(sys.argv[2]))
    saved = window.findChild(QLabel, "savedLabel")
    document, viewport = window.document, window.viewport
    told, burst, done = 0, 1, 0
    what = sys.argv[3] if len(sys.argv) > 3 else ""
    beside = Path(sys.argv[1]).parent

    def tell() -> None:
        nonlocal told, burst
        if saved.text().startswith("Saved") and done > told:
            told, burst = done, int(random.integers(1, 6))
            print(
                document.history.position,
                zlib.crc32(document.annotation.read(document.plane)),
                flush=True,
            )

    def stroke() -> None:
        nonlocal done
        tell()  # before anything new: what is shown now is what the user has seen
        if not viewport.paintable or done >= told + burst:
            return
        done += 1
        value = 1 + done % 2
        document.set_active_class(value)
        points = [QPoint(*map(int, random.integers(80, 400, 2))) for _ in range(4)]
        QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=points[0])
        for point in points[1:]:
            QTest.mouseMove(viewport, point)
        QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=points[-1])
        if done == told + burst and what == "undo" and document.history.position > 1:
            document.undo()
        elif done == told + burst and what == "fill":
            square = Rect(*map(int, random.integers(0, 300, 2)), 60, 60)
            edit = document.annotation.fill(document.plane, square, np.ones((60, 60), bool), value)
            document.apply_edit(edit) if edit is not None else None
        if what == "train" and window.engine.busy == "idle" and done > 4:
            window.desk.train()
        elif what == "export" and window.engine.busy == "idle":
            window.export_to(beside / "export.tif", "annotation")
        elif what == "copy" and window.saver.unsaved < 20:
            window.files.save_copy(beside / "copy.limn")

    timer = QTimer(interval=15)
    timer.timeout.connect(stroke)
    timer.start()
    sys.exit(app.exec())


if __name__ == "__main__":
    main()
