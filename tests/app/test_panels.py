"""Panels: they show what they are told, and ask by signals only when the user acts."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QLineEdit,
    QMainWindow,
    QPushButton,
    QWidget,
)

from app.messages import Message, MessageBar, ProgressStrip
from app.panels.brush import BrushPanel
from app.panels.classes import NAME, OBJECTS, PIXELS, STROKES, ClassesPanel
from app.panels.loss_plot import LossPlot, nice_above
from app.panels.navigator import NavigatorPanel
from app.panels.prediction import PredictionPanel
from app.panels.training import TRAIN, TrainingPanel, time_left
from app.status_bar import StatusBar, intensity_text, label_text, probability_text
from unet_core.annotation import DEFAULT_CLASSES, ClassInfo


@pytest.fixture
def shown(qtbot):
    """Show a widget as a part of a window, the way that it is used."""
    windows = []

    def show(widget):
        window = QMainWindow()
        qtbot.addWidget(window)
        if isinstance(widget, QDockWidget):
            window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, widget)
        else:
            window.setCentralWidget(QWidget())
            widget.setParent(window.centralWidget())
        windows.append(window)
        window.show()
        return widget

    return show


def test_navigator_hides_what_has_one_of_a_kind(shown):
    navigator = shown(NavigatorPanel())
    assert navigator.isHidden()
    navigator.set_size(1, 5)
    assert navigator.z_slider.isVisible() and not navigator.t_slider.isVisible()
    assert not navigator.channels.isVisible()
    navigator.set_size(3, 1)
    assert navigator.t_slider.isVisible() and not navigator.z_slider.isVisible()
    navigator.set_channels(("DAPI", ""), ("#00ff00", "#ff00ff"), (True, True))
    assert navigator.channels.isVisible()
    assert [navigator.channels.item(i).text() for i in range(2)] == ["DAPI", "Channel 2"]


def test_navigator_asks_only_when_the_user_moves(shown, qtbot):
    navigator = shown(NavigatorPanel())
    navigator.set_size(4, 9)
    navigator.set_channels(("a", "b"), ("", ""), (True, True))
    with (
        qtbot.assertNotEmitted(navigator.z_chosen),
        qtbot.assertNotEmitted(navigator.t_chosen),
        qtbot.assertNotEmitted(navigator.channel_toggled),
    ):
        navigator.set_plane(2, 7)
        navigator.show_channels((True, False))
    assert (navigator.t_slider.value(), navigator.z_slider.value()) == (2, 7)
    with qtbot.waitSignal(navigator.z_chosen) as asked:
        qtbot.keyClick(navigator.z_slider, Qt.Key.Key_Right)
    assert asked.args == [8]
    with qtbot.waitSignal(navigator.channel_toggled) as asked:
        navigator.channels.item(1).setCheckState(Qt.CheckState.Checked)
    assert asked.args == [1, True]


def test_classes_show_and_choose(shown, qtbot):
    panel = shown(ClassesPanel())
    with qtbot.assertNotEmitted(panel.class_chosen):
        panel.set_classes(DEFAULT_CLASSES, 2)
        panel.set_counts({1: 12345, 2: 5}, {2: 3}, {1: 7, 3: 2})
    rows = [panel.tree.topLevelItem(i) for i in range(2)]
    assert [row.text(NAME) for row in rows] == [info.name for info in DEFAULT_CLASSES]
    assert [row.text(PIXELS).replace("\u202f", "") for row in rows] == ["12k", "5"]
    assert [row.text(OBJECTS) for row in rows] == ["0", "3"]
    assert [row.text(STROKES) for row in rows] == ["7", "0"]
    assert panel.tree.currentItem() is rows[1]
    with qtbot.waitSignal(panel.class_chosen) as asked:
        panel.tree.setCurrentItem(rows[0])
    assert asked.args == [1]


def test_classes_are_renamed_in_place(shown, qtbot):
    panel = shown(ClassesPanel())
    panel.set_classes(DEFAULT_CLASSES, 2)
    qtbot.keyClick(panel.tree, Qt.Key.Key_F2)
    editor = panel.tree.findChild(QLineEdit)
    editor.setText("  mitotic   cell ")
    with qtbot.waitSignal(panel.rename_requested) as asked:
        qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert asked.args == [2, "mitotic cell"]
    # A blank name is refused: the old one comes back.
    with qtbot.assertNotEmitted(panel.rename_requested):
        panel.tree.topLevelItem(1).setText(NAME, " ")
    assert panel.tree.topLevelItem(1).text(NAME) == DEFAULT_CLASSES[1].name


def test_classes_grow_and_shrink(shown):
    panel = shown(ClassesPanel())
    many = [ClassInfo(f"class {i}", "#123456") for i in range(12)]
    panel.set_classes(many, 12)
    assert panel.tree.topLevelItemCount() == 12
    panel.set_classes(DEFAULT_CLASSES, 1)
    assert panel.tree.topLevelItemCount() == 2


def test_brush_spin_and_slider_agree(shown, qtbot):
    panel = shown(BrushPanel())
    with qtbot.assertNotEmitted(panel.diameter_chosen):
        panel.set_diameter(40)
    assert panel.spin.value() == 40 and panel.slider.value() > 0
    with qtbot.waitSignal(panel.diameter_chosen) as asked:
        panel.slider.setValue(0)
    assert asked.args == [1]
    with qtbot.waitSignal(panel.diameter_chosen) as asked:
        panel.slider.setValue(panel.slider.maximum())
    assert asked.args == [panel.spin.maximum()]


def test_training_button_gives_the_reason(shown, qtbot):
    panel = shown(TrainingPanel())
    panel.set_reason("Paint some background.")
    assert not panel.train.isEnabled() and panel.train.text() == "Paint some background."
    panel.set_reason(None)
    assert panel.train.isEnabled() and panel.train.text() == TRAIN
    with qtbot.waitSignal(panel.train_requested):
        qtbot.mouseClick(panel.train, Qt.MouseButton.LeftButton)


def test_training_shows_progress_and_ends(shown):
    panel = shown(TrainingPanel())
    assert not panel.stop.isEnabled()
    panel.set_stoppable(True)
    panel.set_training(True)
    assert panel.stop.isEnabled() and not panel.start.isEnabled()
    for step in range(1, 5):
        panel.set_progress(step, 1 / step, step / 8, 8.0 - step)
    assert panel.progress.value() == 500 and "4 s left" in panel.progress.format()
    assert [step for step, _ in panel.plot.points] == [1, 2, 3, 4]
    panel.set_training(False)
    panel.set_stoppable(False)
    assert not panel.stop.isEnabled() and len(panel.plot.points) == 4
    assert panel.start.isEnabled()
    panel.set_training(True)
    assert panel.plot.points == []


def test_the_verdict_is_shown_whole_and_stays(shown):
    panel = shown(TrainingPanel())
    words = "Right on 93 % of the strokes kept aside to judge by (81 to 98 %)."
    panel.set_verdict(words)
    panel.set_training(False)
    assert panel.verdict.text() == words
    assert panel.verdict.heightForWidth(200) >= 2 * panel.verdict.fontMetrics().height()
    panel.reset()
    assert panel.verdict.text() == ""


def test_what_training_starts_from_is_asked_for_and_shown(shown, qtbot):
    panel = shown(TrainingPanel())
    panel.start.setFocus()
    with qtbot.waitSignal(panel.start_chosen) as asked:
        qtbot.keyClick(panel.start, Qt.Key.Key_Down)
    assert asked.args == ["unet2015"]
    assert panel.start.currentData() == "bundled", "not before it is so"
    with qtbot.assertNotEmitted(panel.start_chosen):
        panel.set_start("unet2015")
    assert panel.start.currentData() == "unet2015"
    # Networks that have no line of their own come from files.
    panel.set_start("wide")
    assert panel.start.currentData() == "file"
    with qtbot.waitSignal(panel.start_chosen) as asked:
        panel.start.activated.emit(panel.start.findData("file"))
    assert asked.args == ["file"]


def test_loss_plot_keeps_few_points_and_paints(shown):
    plot = shown(LossPlot())
    plot.show()
    for step in range(5000):
        plot.add(step, 1.0 if step % 7 else float("nan"))
    assert len(plot.points) <= 1001
    assert plot.points[-1][0] == 4999 and plot.points[0][0] == 1
    assert not plot.grab().isNull()
    assert (nice_above(0.13), nice_above(1.0), nice_above(6), nice_above(0)) == (0.2, 1, 10, 1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s left"), (61, "61 s left"), (200, "3 min left"), (9000, "2 h")]
)
def test_time_left(seconds, text):
    assert time_left(seconds).startswith(text)


def test_prediction_numbers(shown, qtbot):
    panel = shown(PredictionPanel())
    labels = {label.text() for label in panel.findChildren(type(panel.count))}
    assert {"0.50", "50 %"} <= labels
    with qtbot.waitSignal(panel.threshold_chosen) as asked:
        panel.step_threshold(-8)
    assert asked.args == [120]
    panel.step_threshold(-1000)
    assert panel.threshold.value() == 1
    panel.set_objects(1)
    assert panel.count.text() == "1 object"
    with qtbot.assertNotEmitted(panel.live_toggled):
        panel.show_live(True)
    assert panel.live.isChecked()


def test_messages_wait_below_each_other(shown, qtbot):
    bar = MessageBar(shown(QWidget()))
    assert bar.text == ""
    done = []
    bar.show_message(Message("An offer.", "offer", actions=(("Restore", lambda: done.append(1)),)))
    bar.show_error("cells.tif is <b>no</b> image.", "Traceback …")
    bar.show_error("cells.tif is <b>no</b> image.", "Traceback …")
    assert bar.isVisible() and bar.text == "cells.tif is <b>no</b> image."
    details = bar.findChild(QPushButton, "messageDetailsButton")
    qtbot.mouseClick(details, Qt.MouseButton.LeftButton)
    assert bar._details.isVisible()
    qtbot.mouseClick(bar._close_button, Qt.MouseButton.LeftButton)
    assert bar.text == "An offer."
    qtbot.mouseClick(bar.findChild(QPushButton, "messageAction1"), Qt.MouseButton.LeftButton)
    assert done == [1] and bar.isHidden()


def test_a_long_message_is_shown_whole(shown, qtbot):
    ground = shown(QWidget())
    ground.resize(700, 500)
    bar = MessageBar(ground)
    words = "This sentence is longer than the window is wide. " * 4
    actions = (("An action with a long name", print), ("Another one", print))
    bar.show_message(Message(words, actions=actions))
    qtbot.waitUntil(bar.isVisible)
    text = bar._sentence
    assert text.height() >= text.heightForWidth(text.width()) > 2 * text.fontMetrics().height()
    ground.resize(1100, 500)
    qtbot.waitUntil(lambda: bar.width() == 1100)
    assert text.height() >= text.heightForWidth(text.width())
    bar.show_error("Short.")
    qtbot.waitUntil(lambda: bar.height() < 60)


def test_the_first_message_of_a_window_is_shown_whole(make_window, qtbot):
    window = make_window()
    window.resize(1000, 700)
    QApplication.processEvents()  # else the resize comes later, and corrects what is wrong now
    # Two lines. The line below the bar takes a pixel of what is above.
    window.messages.show_message(Message("Words that fill a line and a half. " * 4, "offer"))
    text = window.messages._sentence
    assert text.heightForWidth(text.width()) >= 2 * text.fontMetrics().height()
    assert text.height() >= text.heightForWidth(text.width()) - 1


def test_status_bar_texts(shown):
    bar = shown(StatusBar(ProgressStrip()))
    bar.show_pixel((3, 7), (1.0, 0.5, 0.25))
    assert bar.position.text() == "x 7, y 3 px · 1.88, 1.75 µm"
    bar.show_pixel(None)
    assert bar.position.text() == ""
    assert (label_text("cell", 12), label_text("background", 0)) == ("cell, no. 12", "background")
    assert probability_text({"cell": 0.1, "debris": 0.874}) == "Predicted: debris 0.87, cell 0.10"
    assert probability_text({"cell": 0.0}) == ""
    assert intensity_text([12]) == "Intensity 12"
    assert intensity_text([0.5, 1e-7]) == "Intensities 0.5, 1e-07"
    bar.show_problem("The disk is full.")
    bar.show_pending()
    assert bar.saved.text() == "Not saved" and bar.saved.toolTip() == "The disk is full."
    bar.show_saved()
    assert bar.saved.text().startswith("Saved ") and bar.saved.toolTip() == ""
