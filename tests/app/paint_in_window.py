"""Child of test_kill: paints in a real window for ever and tells what the window shows as saved.

    python paint_in_window.py IMAGE SEED [train]

It paints a few strokes as fast as it can, waits until the window says "Saved", prints one line, the
number of strokes and a checksum of the labels, and goes on. Without the waiting a slow disk would
never catch up. With "train" it trains all the while.
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


def main() -> None:
    app = QApplication([])
    window = build([Path(sys.argv[1])])
    window.actions_by_id["live"].setChecked(False)
    random = np.random.default_rng(int(sys.argv[2]))
    saved = window.findChild(QLabel, "savedLabel")
    document, viewport = window.document, window.viewport
    told, burst = 0, 1

    def tell() -> None:
        nonlocal told, burst
        done = len(document.history)
        if saved.text().startswith("Saved") and done > told:
            told, burst = done, int(random.integers(1, 6))
            print(done, zlib.crc32(document.annotation.read(document.plane)), flush=True)

    def stroke() -> None:
        tell()  # before anything new: what is shown now is what the user has seen
        if not viewport.paintable or done_strokes() >= told + burst:
            return
        value = 1 + done_strokes() % 2
        document.set_active_class(value)
        points = [QPoint(*map(int, random.integers(80, 400, 2))) for _ in range(4)]
        QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=points[0])
        for point in points[1:]:
            QTest.mouseMove(viewport, point)
        QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=points[-1])
        if "train" in sys.argv and window.engine.busy == "idle" and done_strokes() > 4:
            window.desk.train()

    def done_strokes() -> int:
        return len(document.history)

    timer = QTimer(interval=15)
    timer.timeout.connect(stroke)
    timer.start()
    sys.exit(app.exec())


if __name__ == "__main__":
    main()
