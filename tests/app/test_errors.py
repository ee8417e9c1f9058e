"""Unexpected errors, native crashes and signals: the work is kept, and a report can be copied."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton

from app import errors, reports
from app.jobs import Job
from tests.app.conftest import open_and_wait
from unet_core.places import crash_file, log_file
from unet_core.recovery import recovery_dir, unfinished

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hooked(make_window, monkeypatch):
    window = make_window()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    errors.install_hook(window.messages)
    return window


def test_an_error_in_a_slot_leaves_a_report_to_copy(hooked, tmp_path, qtbot):
    def fail():
        raise ZeroDivisionError("in a slot")

    QTimer.singleShot(0, fail)
    qtbot.waitUntil(lambda: "ZeroDivisionError" in hooked.messages.text)
    hooked.messages.findChild(QAbstractButton, "messageCopyButton").click()
    copied = QGuiApplication.clipboard().text()
    assert "in a slot" in copied and "Traceback" in copied
    assert "torch" in copied and "Python" in copied and sys.platform.lower()[:3] in copied.lower()
    # The window can be used as before.
    image = tmp_path / "cells.tif"
    tifffile.imwrite(image, np.zeros((40, 40), np.uint8))
    open_and_wait(hooked, image, qtbot)


def test_the_same_error_is_shown_once(hooked, qtbot):
    for _ in range(20):
        errors._on_exception(ValueError, ValueError("again"), None)
    qtbot.waitUntil(lambda: "ValueError" in hooked.messages.text)
    assert len(hooked.messages._messages) == 1


def test_a_job_that_fails_gives_a_report(qtbot):
    def steps():
        yield
        raise KeyError("lost")

    job = Job(steps)
    with qtbot.waitSignal(job.failed) as failed, qtbot.waitSignal(job.finished):
        job.start()
    job.wait()
    assert "lost" in failed.args[0].details and "Python" in failed.args[0].details


def test_a_report_names_no_home_and_holds_the_last_lines():
    record = logging.LogRecord("app", logging.WARNING, __file__, 1, "a warning", (), None)
    reports._last_lines.emit(record)
    text = reports.report(f"in {Path.home()}/cells.tif")
    assert "a warning" in text and str(Path.home()) not in text and "~/cells.tif" in text


def run_python(code, *words, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_native_crash_is_told_at_the_next_start():
    code = "from app import reports; import os\nprint(repr(reports.watch_crashes()), flush=True)\n"
    first = run_python(code + "os.abort()")
    out, _ = first.communicate()
    assert out.strip() == "''" and first.returncode != 0
    assert "Fatal Python error" in crash_file().read_text()
    second = run_python(code)
    out, _ = second.communicate()
    assert "Fatal Python error" in out and second.returncode == 0
    third = run_python(code)
    assert third.communicate()[0].strip() == "''"


def test_what_was_noted_before_a_good_end_was_no_crash():
    """Windows notes what goes wrong within its own dialogs, and goes on."""
    code = "from app import reports; import faulthandler\nprint(repr(reports.watch_crashes()))\n"
    noted = "faulthandler.dump_traceback(reports._crash_log)\n"
    first = run_python(code + noted + "reports.end_watch()")
    assert first.communicate()[0].strip() == "''" and first.returncode == 0
    assert "File" in crash_file().read_text()
    assert run_python(code).communicate()[0].strip() == "''"


def test_the_log_is_bounded():
    code = (
        "from app import reports; import logging\nreports.log_to_file()\n"
        "for n in range(4000): logging.getLogger('app').warning('x' * 1000)"
    )
    child = run_python(code)
    child.communicate()
    files = list(log_file().parent.glob("limn.log*"))
    assert len(files) == 2 and sum(f.stat().st_size for f in files) <= 2.1 * 2**20


PAINT = """
import sys
from pathlib import Path
from PySide6.QtCore import QTimer
from app import main_window
build = main_window.build
def built(paths):
    window = build(paths)
    window.actions_by_id["live"].setChecked(False)
    def paint():
        document = window.document
        if document.stack is None or not window.isEnabled():
            return  # a window that is closing takes no strokes
        if window.engine.busy == "idle":
            window.export_to(Path(sys.argv[1]).with_name("labels.tif"), "annotation")
        document.begin_stroke(10, 10)
        document.extend_stroke(10, 10 + len(document.history) % 40)
        document.end_stroke()
        print(len(document.history), flush=True)
    timer = QTimer(window, interval=20)
    timer.timeout.connect(paint)
    timer.start()
    return window
main_window.build = built
sys.exit(main_window.run([Path(sys.argv[1])]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are a matter of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_closes_the_window_with_all_written(tmp_path, number):
    image = tmp_path / "cells.tif"
    tifffile.imwrite(image, np.zeros((60, 60), np.uint8))
    child = run_python(PAINT, image)
    for line in child.stdout:
        if int(line) >= 5:
            break
    child.send_signal(number)
    rest, err = child.communicate()
    assert child.returncode == 0, err
    told = [int(line) for line in rest.split()]
    (work,) = unfinished()
    assert work.strokes >= max(told, default=5)
    assert not [p for p in recovery_dir().iterdir() if p.suffix != ".limn"]
    work.path.unlink()
    assert not list(tmp_path.glob("*.part")), "the export under way has been given up cleanly"


def test_info_tells_where_logs_and_crashes_are():
    child = run_python("from app import cli; cli.main(['info', '--json'])")
    out, err = child.communicate()
    facts = json.loads(out)
    assert facts["log"] == str(log_file()) and facts["crashes"] == str(crash_file()), err
