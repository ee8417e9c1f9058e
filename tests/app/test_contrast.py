"""The contrast panel: what it shows and asks for, and what that does in the real window."""

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QMainWindow

from app.display import AUTOMATIC, CHANNEL_COLORS, TABLES, ChannelDisplay, histogram
from app.panels.contrast import ContrastPanel
from tests.app.conftest import open_and_wait
from unet_core.tiling import Rect


@pytest.fixture
def panel(qtbot):
    window = QMainWindow()
    qtbot.addWidget(window)
    panel = ContrastPanel()
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, panel)
    window.resize(700, 500)
    window.show()
    qtbot.waitExposed(window)
    yield panel


@pytest.fixture
def asked(panel):
    """What the panel asks for, which comes about as the document would do it."""
    wishes = []

    def take(channel, display):
        wishes.append((channel, display))
        displays = list(panel._displays)
        displays[channel] = display
        panel.show_displays(displays)

    panel.display_chosen.connect(take)
    return wishes


def show_two(panel, *, whole=True):
    plane = np.random.default_rng(0).integers(0, 1000, (2, 40, 40), dtype=np.uint16)
    found = [histogram(channel if whole else channel / 1000.0) for channel in plane]
    panel.set_channels(("DAPI", ""), whole=whole, is_rgb=False)
    top = 800.0 if whole else 0.8
    panel.show_displays([ChannelDisplay(top / 8, top), ChannelDisplay(0, top, 2.0, "Fire")])
    panel.show_histograms(found)


def drag(qtbot, view, start, *ways):
    """Drag from intensity `start` over `ways`; the button stays pressed."""
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(round(view.x_of(start)), 30))
    for value in ways:
        qtbot.mouseMove(view, QPoint(round(view.x_of(value)), 30))


# --- the panel -------------------------------------------------------------------------------


def test_shows_the_chosen_channel_and_asks_for_nothing(panel, asked):
    show_two(panel)
    assert [panel.channel.itemText(i) for i in range(2)] == ["DAPI", "Channel 2"]
    assert panel.channel.isVisible() and panel.lut.isVisible()
    assert (panel.low.value(), panel.high.value()) == (100, 800)
    assert panel.lut.currentText() == AUTOMATIC
    panel.channel.setCurrentIndex(1)
    assert (panel.low.value(), panel.high.value(), panel.lut.currentText()) == (0, 800, "Fire")
    assert panel._gamma_number.text() == "2.00" and panel.gamma.value() > 0
    panel.show_histograms(())
    panel.set_channels((), whole=True, is_rgb=False)
    panel.auto.click()
    assert not panel.content.isEnabled()
    assert asked == []


def test_a_handle_follows_the_mouse_and_stops_before_the_other(panel, asked, qtbot):
    show_two(panel)
    view = panel.view
    near = (view.stop - view.start) / 100
    drag(qtbot, view, 800, 600, 400)
    assert view.dragging
    channel, display = asked[-1]
    assert channel == 0 and display.low == 100
    assert display.high == pytest.approx(400, abs=near) and display.high == int(display.high)
    assert len(asked) == 2  # each move at once
    axis = (view.start, view.stop)
    drag(qtbot, view, 400, -500)
    assert asked[-1][1].high == 101
    # What is under the hand stays in its place until it is let go of.
    assert (view.start, view.stop) == axis
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(0, 30))
    assert not view.dragging
    drag(qtbot, view, 20)  # far from both: the nearer one comes
    assert asked[-1][1].low == pytest.approx(20, abs=near)
    qtbot.mouseMove(view, QPoint(round(view.x_of(50)), 30))
    assert asked[-1][1].low == pytest.approx(50, abs=near) and asked[-1][1].high == 101


def test_fractions_are_chosen_where_intensities_are_fractions(panel, asked, qtbot):
    show_two(panel, whole=False)
    drag(qtbot, panel.view, 0.8, 0.45)
    high = asked[-1][1].high
    assert high == pytest.approx(0.45, abs=0.01) and high != int(high)
    panel.low.setValue(1e-7)
    assert asked[-1][1].low == 1e-7 and panel.low.text() == "1e-07"


def test_the_other_end_gives_way_to_a_typed_number(panel, asked, qtbot):
    show_two(panel)
    panel.low.setFocus()
    panel.low.selectAll()
    qtbot.keyClicks(panel.low, "1200")
    assert asked == []  # not 1, 12 and 120 on the way
    qtbot.keyClick(panel.low, Qt.Key.Key_Return)
    assert (asked[-1][1].low, asked[-1][1].high) == (1200, 1201)
    panel.high.setValue(7)
    assert (asked[-1][1].low, asked[-1][1].high) == (6, 7)
    panel.high.selectAll()
    qtbot.keyClicks(panel.high, "many")
    qtbot.keyClick(panel.high, Qt.Key.Key_Return)
    assert asked[-1][1].high == 7


def test_gamma_and_table_are_those_of_the_chosen_channel(panel, asked, qtbot):
    show_two(panel)
    panel.channel.setCurrentIndex(1)
    panel.gamma.setValue(0)
    assert asked[-1] == (1, ChannelDisplay(0, 800, 1.0, "Fire"))
    panel.gamma.setValue(panel.gamma.minimum())
    assert asked[-1][1].gamma == pytest.approx(0.2)
    panel.lut.setCurrentText("Viridis")
    assert (asked[-1][0], asked[-1][1].lut) == (1, "Viridis")
    with qtbot.waitSignal(panel.auto_requested) as auto:
        panel.auto.click()
    with qtbot.waitSignal(panel.reset_requested) as reset:
        panel.reset.click()
    assert auto.args == reset.args == [1]


def test_an_rgb_image_has_one_of_everything(panel, asked):
    panel.set_channels(("Red", "Green", "Blue"), whole=True, is_rgb=True)
    panel.show_displays([ChannelDisplay(0, 255)] * 3)
    panel.show_histograms([histogram(np.zeros((4, 4), np.uint8))])
    assert not panel.channel.isVisible() and not panel.lut.isVisible()
    panel.gamma.setValue(10)
    assert asked[-1][0] == 0 and panel.view.stop == 255


@pytest.mark.parametrize("dark", [False, True])
def test_the_histogram_is_drawn_on_the_themes_ground(panel, dark):
    ground, text = (QColor("#202020"), QColor("white")) if dark else (QColor("white"), "black")
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.Base, ground)
    palette.setColor(QPalette.ColorRole.Text, text)
    panel.view.setPalette(palette)
    plane = np.full((10, 10), 200, np.uint8)
    plane[:5] = 100
    panel.set_channels(("one",), whole=True, is_rgb=False)
    panel.show_displays([ChannelDisplay(0, 255, lut="Fire")])
    panel.show_histograms([histogram(plane)])
    image = panel.view.grab().toImage()
    scale = image.devicePixelRatio()

    def pixel(value, y):
        return image.pixelColor(round(panel.view.x_of(value) * scale), round(y * scale))

    def is_bar(value):
        here = pixel(value, panel.view.height() - 14)
        return abs(here.lightness() - ground.lightness()) > 30

    # Two bars of the same height, and the curve is not as low as where they are looked for.
    assert is_bar(100) and is_bar(200) and not is_bar(150) and not is_bar(240)
    strip = pixel(128, panel.view.height() - 8)
    wanted = TABLES["Fire"][128]
    assert np.abs(np.array(strip.getRgb()[:3], int) - wanted).max() < 25


# --- in the window ---------------------------------------------------------------------------


def wait_shown(window, qtbot):
    """Until the screen shows the document's plane in the way asked for last."""
    view = window.viewport
    qtbot.waitUntil(lambda: view.shown is not None and view.shown.number == view.loader.newest)
    assert view.paintable


@pytest.fixture
def cells(tmp_path):
    """Two planes of two channels; the second plane is a hundred times darker."""
    pixels = np.random.default_rng(1).integers(0, 40000, (2, 2, 64, 90), np.uint16)
    pixels[1] //= 100
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZCYX"})
    return path


def test_shift_c_opens_and_closes_the_panel(make_window, cells, qtbot):
    window = make_window(cells)
    action = window.actions_by_id["contrast"]
    assert window.contrast.isHidden() and not action.isChecked()
    shift = Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(window.viewport, Qt.Key.Key_C, shift)
    assert window.contrast.isVisible() and action.isChecked()
    # A small laptop's screen has room for it.
    assert window.minimumSizeHint().height() <= 700 and window.minimumSizeHint().width() <= 1000
    window.contrast.close()
    assert not action.isChecked()
    qtbot.keyClick(window.viewport, Qt.Key.Key_C, shift)
    qtbot.keyClick(window.viewport, Qt.Key.Key_C, shift)
    assert window.contrast.isHidden()


def test_the_picture_follows_the_hand(make_window, cells, qtbot):
    window = make_window(cells)
    window.actions_by_id["contrast"].trigger()
    window.document.set_channel_visible(1, False)
    wait_shown(window, qtbot)
    before = window.viewport.shown.image.astype(int)
    view = window.contrast.view
    high = window.document.displays[0].high
    drag(qtbot, view, high, high / 2)
    wait_shown(window, qtbot)
    assert view.dragging  # live, not only in the end
    shown = window.document.displays[0]
    assert shown.high == pytest.approx(high / 2, rel=0.03)
    assert window.viewport.shown.image.mean() > 1.4 * before.mean()
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(0, 30))
    window.contrast.lut.setCurrentText("Magma")
    wait_shown(window, qtbot)
    assert window.viewport.shown.image.shape == (64, 90, 3)
    window.contrast.reset.click()
    wait_shown(window, qtbot)
    assert np.array_equal(window.viewport.shown.image, before)
    assert window.document.visible_channels == [True, False]


def test_c_makes_a_dark_plane_visible(make_window, cells, qtbot):
    window = make_window(cells)
    window.document.set_plane(0, 1)
    wait_shown(window, qtbot)
    assert window.viewport.shown.image.max() < 10
    qtbot.keyClick(window.viewport, Qt.Key.Key_C)
    wait_shown(window, qtbot)
    image = window.viewport.shown.image
    for channel in range(2):  # green and magenta
        assert image[..., channel].max() == 255 and 100 < image[..., channel].mean() < 155
    raw = window.viewport.shown.raw
    qtbot.keyClick(window.viewport, Qt.Key.Key_C)
    wait_shown(window, qtbot)
    for channel, display in enumerate(window.document.displays):
        assert (display.low, display.high) == (raw[channel].min(), raw[channel].max())


def test_auto_is_for_the_chosen_channel_and_c_for_visible_ones(make_window, cells, qtbot):
    window = make_window(cells)
    first = list(window.document.displays)
    window.contrast.channel.setCurrentIndex(1)
    window.contrast.auto.click()
    assert window.document.displays[0] == first[0] and window.document.displays[1] != first[1]
    window.document.set_channel_visible(1, False)
    second = window.document.displays[1]
    qtbot.keyClick(window.viewport, Qt.Key.Key_C)
    assert window.document.displays[0] != first[0] and window.document.displays[1] == second


def test_a_channels_square_has_its_colour(make_window, cells):
    window = make_window(cells)

    def square(row):
        icon = window.navigator.channels.item(row).icon()
        return icon.pixmap(10).toImage().pixelColor(5, 5).name()

    assert [square(0), square(1)] == list(CHANNEL_COLORS[:2])
    window.document.set_display(1, ChannelDisplay(0, 1, lut="Orange"))
    assert square(1) == CHANNEL_COLORS[3]


def test_the_network_sees_the_same_whatever_the_contrast(make_window, cells, qtbot):
    """Same intensity ranges, same probabilities; and nothing is predicted anew for it."""
    window = make_window(cells)
    ranges = window.document.ranges.copy()
    whole = Rect(0, 0, 64, 90)
    layer = window.viewport.prediction_layer

    def predicted():
        window.viewport.clear_prediction()
        window.actions_by_id["live"].setChecked(True)
        qtbot.waitUntil(lambda: not layer.empty and not layer.stale)
        window.actions_by_id["live"].setChecked(False)
        qtbot.waitUntil(lambda: window.engine.busy == "idle")
        return layer.read(whole).copy()

    before = predicted()
    with qtbot.assertNotEmitted(window.engine.tiles_ready):
        for channel in range(2):
            window.document.set_display(channel, ChannelDisplay(900, 1000, 0.3, "Inverted grey"))
        wait_shown(window, qtbot)
    for seen in (window.document.ranges, window.engine._ranges):
        assert np.array_equal(seen, ranges)
    # The same plane, predicted again from its pixels.
    window.document.set_plane(0, 1)
    wait_shown(window, qtbot)
    window.document.set_plane(0, 0)
    wait_shown(window, qtbot)
    assert before.any() and np.array_equal(predicted(), before)


def test_the_contrast_comes_back_with_the_project(make_window, cells, tmp_path, qtbot):
    window = make_window(cells)
    project = tmp_path / "cells.limn"
    named = {"check_params_cb": lambda now: now is not None and now.stem == "cells"}
    with qtbot.waitSignal(window.saver.named, **named):
        window.files.save_as(project)
    wanted = [ChannelDisplay(5, 500, 0.5, "Fire"), ChannelDisplay(1, 2, visible=False)]
    window.document.set_displays(wanted)
    qtbot.waitUntil(lambda: window.memory._known.get("channels", [{}])[0].get("low") == 5)
    qtbot.waitUntil(lambda: window.saver.unsaved == 0)
    open_and_wait(window, cells, qtbot)
    assert window.document.displays != wanted
    open_and_wait(window, project, qtbot)
    assert window.document.displays == wanted
    # A file from elsewhere may hold anything.
    window.memory.restore_view({"channels": [{"low": "x"}, 7, None]})
    assert window.document.displays == wanted
