"""The stack from the side: cuts against the stack's own numbers, and the panel in the window."""

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QPointF, Qt, QThread
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication

from app import slices
from app.display import ChannelDisplay
from app.layers import label_table
from app.loader import to_display
from app.panels.orthogonal import borderless
from app.slices import CutReader, CutRequest
from tests.app.conftest import open_and_wait
from tests.patience import PATIENCE
from unet_core.annotation import DEFAULT_CLASSES, Annotation
from unet_core.labels import classes_of
from unet_core.stack import PlaneIndex, Source, Stack, StackError, open_stack

LEFT, NO_KEY = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
AS_IT_IS = ChannelDisplay(0, 255)
FIRST = PlaneIndex(0, 0)


def make_stack(path, shape=(2, 12, 30, 40), axes="TZYX", spacing=2.0, compression=None):
    """An image of random bytes and its values; pixels are 0.5 µm wide."""
    values = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    tifffile.imwrite(
        path,
        values,
        imagej=True,
        resolution=(2, 2),
        compression=compression,
        metadata={"axes": axes, "spacing": spacing, "unit": "um"},
    )
    return values


def request(stack, plane=FIRST, y=0, x=0, displays=None, annotation=None):
    shape = (*stack.shape[:2], *stack.shape[3:])
    return CutRequest(
        stack,
        plane,
        y,
        x,
        tuple(displays or [AS_IT_IS] * stack.shape[2]),
        (annotation or Annotation(shape)).snapshot(),
    )


def read(reader, wish):
    """The last answer, which must be a whole one."""
    cuts = list(reader.steps(wish))[-1]
    assert cuts is not None and cuts.share == 1
    return cuts


@pytest.fixture
def counted(monkeypatch):
    """Maker of stacks whose reads are noted down."""
    made = []

    def open_counted(path):
        stack = open_stack(path)
        made.append(stack)
        reads, plane = [], stack.plane

        def note(t, z):
            reads.append((t, z))
            return plane(t, z)

        monkeypatch.setattr(stack, "plane", note)
        return stack, reads

    yield open_counted
    for stack in made:
        stack.close()


# --- what the cuts are -----------------------------------------------------------------------


@given(data=st.data())
def test_cuts_are_slices_of_the_stack(data):
    """Of every size, down to one voxel."""
    times, depth, height, width = shape = [data.draw(st.integers(1, 9)) for _ in range(4)]
    values = np.random.default_rng(4).integers(0, 256, shape).astype(np.uint8)
    pages = values.reshape(-1, height, width)
    source = Source(
        "TZ", (times, depth), "YX", (height, width), np.dtype(np.uint8), pages.__getitem__
    )
    t, z, y, x = (data.draw(st.integers(0, size - 1)) for size in shape)
    cuts = read(CutReader(), request(Stack(Path("made.tif"), source), PlaneIndex(t, z), y, x))
    assert np.array_equal(cuts.xz.image, values[t, :, y, :])
    assert np.array_equal(cuts.yz.image, values[t, :, :, x].T)
    assert cuts.xz.image.flags.c_contiguous and cuts.yz.image.flags.c_contiguous


def test_channels_are_shown_as_in_the_image(tmp_path):
    values = make_stack(tmp_path / "two.tif", (5, 2, 8, 9), "ZCYX")
    displays = [ChannelDisplay(10, 90, 0.5), ChannelDisplay(0, 200, lut="Fire")]
    with open_stack(tmp_path / "two.tif") as stack:
        cuts = read(CutReader(), request(stack, y=3, x=4, displays=displays))
        for z in range(5):
            plane = to_display(stack.plane(0, z), displays, is_rgb=False)
            assert np.array_equal(cuts.xz.image[z], plane[3])
            assert np.array_equal(cuts.yz.image[:, z], plane[:, 4])
    assert values.shape == (5, 2, 8, 9)


def test_labels_are_cut_like_the_image(tmp_path):
    make_stack(tmp_path / "stack.tif")
    with open_stack(tmp_path / "stack.tif") as stack:
        annotation = Annotation((2, 12, 30, 40))
        random = np.random.default_rng(5)
        wanted = random.integers(0, 3, (12, 30, 40)).astype(np.uint8)
        for z in range(12):
            annotation.write(PlaneIndex(1, z), wanted[z])
        wish = request(stack, PlaneIndex(1, 0), 7, 9, annotation=annotation)
        cuts = read(CutReader(), wish)
        assert np.array_equal(cuts.xz.labels & 127, wanted[:, 7, :])
        assert np.array_equal(cuts.yz.labels & 127, wanted[:, :, 9].T)
        other_time = read(CutReader(), request(stack, y=7, x=9, annotation=annotation))
        assert not other_time.xz.labels.any()


def test_thick_slices_show_what_is_in_them_and_no_borders_as_thick():
    both, outline = (label_table(DEFAULT_CLASSES, style) for style in ("both", "outline"))
    assert borderless(both)[:128] == both[:128] == borderless(both)[128:]
    # Where areas do not show there would be nothing left.
    assert borderless(outline)[130] == outline[130] != 0 == borderless(outline)[2]


def test_huge_stacks_are_thinned_out(tmp_path, monkeypatch):
    values = make_stack(tmp_path / "stack.tif")
    monkeypatch.setattr(slices, "MAX_SLICES", 5)
    monkeypatch.setattr(slices, "MAX_SIDE", 16)
    with open_stack(tmp_path / "stack.tif") as stack:
        cuts = read(CutReader(), request(stack, y=7, x=9))
    assert cuts.grid == (3, 2, 3)
    assert np.array_equal(cuts.xz.image, values[0, ::3, 7, ::3])
    assert np.array_equal(cuts.yz.image, values[0, ::3, ::2, 9].T)


def test_nothing_is_read_twice_and_the_nearest_first(tmp_path, counted):
    make_stack(tmp_path / "stack.tif")
    stack, reads = counted(tmp_path / "stack.tif")
    reader = CutReader()
    before = read(reader, request(stack, PlaneIndex(0, 5), 7, 9))
    assert sorted(reads) == [(0, z) for z in range(12)]
    assert [abs(z - 5) for _, z in reads] == sorted(abs(z - 5) for _, z in reads)
    reads.clear()
    darker = read(reader, request(stack, PlaneIndex(0, 8), 7, 9, [ChannelDisplay(0, 510)]))
    assert not reads and darker.xz.image.max() < before.xz.image.max()
    read(reader, request(stack, PlaneIndex(1, 8), 7, 9))
    assert sorted(reads) == [(1, z) for z in range(12)]


def test_the_cut_that_stays_stays_whole_while_the_other_is_read(tmp_path, monkeypatch):
    values = make_stack(tmp_path / "stack.tif")
    monkeypatch.setattr(slices, "SHOW_SECONDS", -1)
    with open_stack(tmp_path / "stack.tif") as stack:
        reader = CutReader()
        read(reader, request(stack, y=7, x=9))
        answers = [cuts for cuts in reader.steps(request(stack, y=7, x=20)) if cuts is not None]
    assert 0 < answers[0].share < 1 and np.array_equal(answers[0].xz.image, values[0, :, 7, :])
    assert np.array_equal(answers[0].yz.image[:, 0], values[0, 0, :, 20])
    assert not answers[0].yz.image[:, 1:].any()


def test_a_reading_broken_off_is_taken_up_again(tmp_path, counted):
    values = make_stack(tmp_path / "stack.tif")
    stack, reads = counted(tmp_path / "stack.tif")
    reader = CutReader()
    steps = reader.steps(request(stack, y=7, x=9))
    while len(reads) < 4:
        next(steps)
    steps.close()
    cuts = read(reader, request(stack, y=7, x=9))
    assert len(reads) == 12 and np.array_equal(cuts.xz.image, values[0, :, 7, :])


# --- in the window ---------------------------------------------------------------------------


@pytest.fixture
def values(tmp_path):
    return make_stack(tmp_path / "stack.tif")


@pytest.fixture
def window(make_window, tmp_path, values):
    window = make_window(tmp_path / "stack.tif")
    window.document.set_displays([AS_IT_IS])
    return window


def cuts_of(window):
    """What the two views show now, None where there is nothing."""
    return [
        None if view._cut is None else view._cut.image
        for view in (window.sides.xz, window.sides.yz)
    ]


def shows(window, values):
    """Whether the panel shows the whole cuts through its point at the present time."""
    (y, x), t = window.orthogonal.point, window.document.plane.t
    xz, yz = cuts_of(window)
    return (
        xz is not None
        and np.array_equal(xz, values[t, :, y, :])
        and np.array_equal(yz, values[t, :, :, x].T)
    )


def open_panel(window, values, qtbot):
    window.actions_by_id["orthogonal"].trigger()
    assert window.sides.isVisible()
    qtbot.waitUntil(lambda: shows(window, values))


def click(view, across, down, qtbot):
    qtbot.mouseClick(view, LEFT, NO_KEY, view.place_of(across, down).toPoint())


def test_the_panel_opens_in_the_middle_and_closes(window, values, qtbot):
    action = window.actions_by_id["orthogonal"]
    assert window.sides.objectName() == "orthogonalPanel" and window.sides.isHidden()
    open_panel(window, values, qtbot)
    assert window.orthogonal.point == (15, 20) and action.isChecked()
    xz, yz = window.sides.xz.area, window.sides.yz.area  # with voxels of their true shape
    assert xz.height() / xz.width() == pytest.approx(12 * 2.0 / (40 * 0.5))
    assert yz.width() / yz.height() == pytest.approx(12 * 2.0 / (30 * 0.5))
    assert window.sides.state.isHidden()
    window.sides.close()
    assert not action.isChecked()
    qtbot.waitUntil(lambda: cuts_of(window) == [None, None])


def test_it_shows_the_right_pixels_on_the_screen(window, values, qtbot):
    open_panel(window, values, qtbot)
    for view, wanted in (
        (window.sides.xz, values[0, :, 15, :]),
        (window.sides.yz, values[0, :, :, 20].T),
    ):
        picture = view.grab().toImage()
        for down in range(2, wanted.shape[0], 3):
            for across in range(2, wanted.shape[1], 3):
                place = view.place_of(across, down)
                lines = view.place_of(*view._point)
                if abs(place.x() - lines.x()) < 4 or abs(place.y() - lines.y()) < 4:
                    continue
                shade = picture.pixelColor(place.toPoint())
                assert shade.red() == shade.green() == wanted[down, across], (across, down)


def test_a_click_in_xz_goes_to_that_x_and_slice(window, values, qtbot):
    open_panel(window, values, qtbot)
    click(window.sides.xz, 31, 9, qtbot)
    assert window.orthogonal.point == (15, 31) and window.document.plane == (0, 9)
    qtbot.waitUntil(lambda: shows(window, values))
    assert window.sides.yz_title.text() == "YZ at x 31"


def test_a_drag_in_yz_goes_to_that_y_and_slice(window, values, qtbot):
    open_panel(window, values, qtbot)
    view = window.sides.yz
    qtbot.mousePress(view, LEFT, NO_KEY, view.place_of(2, 3).toPoint())
    for slice_, y in ((4, 10), (7, 22), (100, 100)):
        at = QPointF(view.place_of(slice_, y))
        event = QMouseEvent(
            QEvent.Type.MouseMove, at, view.mapToGlobal(at), Qt.MouseButton.NoButton, LEFT, NO_KEY
        )
        QApplication.sendEvent(view, event)
        assert window.document.plane.z == min(slice_, 11)
        assert window.orthogonal.point == (min(y, 29), 20)
    qtbot.waitUntil(lambda: shows(window, values))


def test_cut_here_takes_the_pixel_under_the_cursor(window, values, qtbot):
    view = window.viewport
    at = QPointF(view.image_to_widget(5, 33))
    event = QMouseEvent(
        QEvent.Type.MouseMove, at, view.mapToGlobal(at), Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton, NO_KEY,
    )  # fmt: skip
    QApplication.sendEvent(view, event)
    qtbot.keyClick(view, Qt.Key.Key_O)
    assert window.sides.isVisible() and window.orthogonal.point == (5, 33)
    qtbot.waitUntil(lambda: shows(window, values))
    assert window.viewport._cut == (5, 33)


def test_the_lines_in_the_image_pass_through_the_point(window, values, qtbot):
    window.document.set_displays([ChannelDisplay(255, 255)])  # black
    qtbot.waitUntil(lambda: window.viewport.shown.image.max() == 0)
    window.actions_by_id["orthogonal"].trigger()
    view = window.viewport
    window.orthogonal.cut_at(5.5, 33.5)
    where = view.image_to_widget(5, 33)
    picture = view.grab().toImage()
    for x in (where.x() - 60, where.x() + 30):
        column = [picture.pixelColor(x, y).lightness() for y in range(where.y() - 5, where.y() + 6)]
        assert max(column) > 100 and abs(np.argmax(column) - 5) <= 1
    assert picture.pixelColor(where).lightness() < 50  # the point itself is free
    window.sides.close()
    picture = view.grab().toImage()
    assert picture.pixelColor(where.x() - 60, where.y()).lightness() < 50


def test_it_follows_time_contrast_and_strokes(window, values, qtbot):
    open_panel(window, values, qtbot)
    window.document.set_plane(1, 4)
    qtbot.waitUntil(lambda: shows(window, values))
    window.document.set_displays([ChannelDisplay(0, 510)])
    qtbot.waitUntil(lambda: cuts_of(window)[0].max() < 130)
    qtbot.waitUntil(lambda: window.viewport.paintable)
    view = window.viewport
    qtbot.mousePress(view, LEFT, pos=view.image_to_widget(15, 20))
    qtbot.mouseRelease(view, LEFT, pos=view.image_to_widget(15, 20))
    qtbot.waitUntil(lambda: window.sides.xz._cut.labels.any())
    for side, cut in ((window.sides.xz, (15, slice(None))), (window.sides.yz, (slice(None), 20))):
        labels = window.document.annotation.read_labels(PlaneIndex(1, 4))[cut]
        shown = side._cut.labels & 127
        along = shown[4] if side is window.sides.xz else shown[:, 4]
        assert np.array_equal(along, classes_of(labels)) and (shown > 0).sum() == (labels > 0).sum()
    place = window.sides.xz.place_of(20, 4).toPoint()
    assert window.sides.xz.grab().toImage().pixelColor(place).saturation() > 100
    window.actions_by_id["show_annotation"].trigger()
    assert window.sides.xz.grab().toImage().pixelColor(place).saturation() == 0
    window.actions_by_id["show_annotation"].trigger()
    window.actions_by_id["undo"].trigger()
    qtbot.waitUntil(lambda: not window.sides.xz._cut.labels.any())


def test_a_very_flat_stack_says_so_in_plain_numbers(make_window, tmp_path, qtbot):
    values = make_stack(tmp_path / "flat.tif", (3, 60, 90), "ZYX", spacing=0.0125)
    window = make_window(tmp_path / "flat.tif")
    window.document.set_displays([AS_IT_IS])
    open_panel(window, values[np.newaxis], qtbot)
    assert window.sides.state.text() == "Z is drawn 240 times too long."


def test_a_flat_stack_is_drawn_thicker_and_says_so(make_window, tmp_path, qtbot):
    values = make_stack(tmp_path / "flat.tif", (3, 60, 90), "ZYX", spacing=0.5)
    window = make_window(tmp_path / "flat.tif")
    window.document.set_displays([AS_IT_IS])
    open_panel(window, values[np.newaxis], qtbot)
    area = window.sides.xz.area
    assert area.width() / area.height() == pytest.approx(5)
    assert window.sides.state.text() == "Z is drawn 6 times too long."
    click(window.sides.xz, 80, 2, qtbot)
    assert window.document.plane.z == 2 and window.orthogonal.point == (30, 80)


def test_it_says_what_it_leaves_out(window, values, monkeypatch, qtbot):
    monkeypatch.setattr(slices, "MAX_SLICES", 5)
    window.actions_by_id["orthogonal"].trigger()
    qtbot.waitUntil(lambda: "Every 3rd slice is shown." in window.sides.state.text())
    assert cuts_of(window)[0].shape == (4, 40)
    click(window.sides.xz, 3, 10, qtbot)  # also slices that are not shown can be reached
    assert window.document.plane.z == 10


def test_one_slice_has_no_sides(window, values, tmp_path, qtbot):
    open_panel(window, values, qtbot)
    path = tmp_path / "one.tif"
    tifffile.imwrite(path, np.zeros((1, 1), np.uint8))
    open_and_wait(window, path, qtbot)
    qtbot.waitUntil(lambda: "one slice" in window.sides.state.text())
    assert cuts_of(window) == [None, None] and window.viewport._cut is None
    assert not window.actions_by_id["orthogonal"].isEnabled()
    assert not window.actions_by_id["cut_here"].isEnabled()
    open_and_wait(window, tmp_path / "stack.tif", qtbot)
    window.document.set_displays([AS_IT_IS])
    qtbot.waitUntil(lambda: shows(window, values))


# --- never in the way ------------------------------------------------------------------------


@pytest.fixture
def blocked(window, monkeypatch):
    """The stack's planes cannot be read by the cuts' thread until the event is set. Also the list
    of the threads that have read, and that of what they have read."""
    stack = window.document.stack
    plane, go_on, threads, reads = stack.plane, threading.Event(), [], []

    def later(t, z):
        if QThread.currentThread() == window.viewport.loader:  # it may read the next plane ahead
            return plane(t, z)
        threads.append(threading.get_ident())
        reads.append((t, z))
        assert go_on.wait(PATIENCE)
        return plane(t, z)

    monkeypatch.setattr(stack, "plane", later)
    yield go_on, threads, reads
    go_on.set()


def test_nothing_is_read_in_the_gui_thread_and_the_newest_wish_wins(window, values, blocked, qtbot):
    go_on, threads, reads = blocked
    window.actions_by_id["orthogonal"].trigger()
    qtbot.waitUntil(lambda: len(reads) == 1)
    for x in range(5):
        window.orthogonal.cut_at(3, x)
    qtbot.waitUntil(window.orthogonal._job.isInterruptionRequested)
    go_on.set()
    qtbot.waitUntil(lambda: shows(window, values))
    assert window.orthogonal.point == (3, 4)
    assert threading.get_ident() not in threads
    assert len(reads) == 1 + 12  # of the first wish one plane, of those between none


def test_another_image_while_it_reads(window, values, blocked, tmp_path, qtbot):
    go_on, _, reads = blocked
    window.actions_by_id["orthogonal"].trigger()
    qtbot.waitUntil(lambda: len(reads) == 1)
    other = make_stack(tmp_path / "other.tif", (7, 20, 25), "ZYX")
    threading.Timer(0.2, go_on.set).start()  # the former image is only closed once that is read
    open_and_wait(window, tmp_path / "other.tif", qtbot)
    window.document.set_displays([AS_IT_IS])
    qtbot.waitUntil(lambda: shows(window, other[np.newaxis]))
    assert "closed" not in window.sides.state.text() and not window.messages.isVisible()


def test_the_window_closes_while_it_reads(window, blocked, qtbot):
    go_on, _, reads = blocked
    window.actions_by_id["orthogonal"].trigger()
    qtbot.waitUntil(lambda: len(reads) == 1)
    window.close()
    go_on.set()
    qtbot.waitUntil(lambda: not window.isVisible())
    assert len(reads) == 1 and window.orthogonal._job is None


def test_a_plane_that_can_not_be_read_is_told_in_the_panel(window, monkeypatch, qtbot):
    def damaged(t, z):
        raise StackError("stack.tif is damaged: the pixels of page 3 cannot be read.")

    monkeypatch.setattr(window.document.stack, "plane", damaged)
    window.actions_by_id["orthogonal"].trigger()
    qtbot.waitUntil(lambda: "page 3" in window.sides.state.text())


def test_real_nuclei(make_window, shared_data, qtbot):
    path = shared_data / "confocal3d_ovule_nuclei" / "stack.tif"
    window = make_window(path)
    window.document.set_displays([AS_IT_IS])
    open_panel(window, tifffile.imread(path)[np.newaxis], qtbot)
    area = window.sides.xz.area
    assert area.height() / area.width() == pytest.approx(0.2837 / 0.127, rel=0.01)
