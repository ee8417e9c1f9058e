"""Images too large to be read whole, in the image layer and in the window: only what is in view is
decoded, and every pixel is where it belongs."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QPointF
from PySide6.QtGui import QColor, QImage, QPainter

from app import large_plane, loader
from app.camera import Point
from app.display import ChannelDisplay
from app.image_layer import ImageLayer
from app.large_plane import LargePlane, PixelCache, Where, halved
from app.loader import LoadedPlane, Piece
from app.slices import CutReader, CutRequest
from tests.app.conftest import open_and_wait
from unet_core import stack as stack_module
from unet_core import tiff_parts
from unet_core.annotation import Annotation
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect

PLANE = PlaneIndex(0, 0)
TILE = 32


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(stack_module, "LARGE_PIXELS", 10_000)
    monkeypatch.setattr(large_plane, "BLOCK", 64)
    monkeypatch.setattr(large_plane, "OVERVIEW_SIDE", 100)
    for kept in ("KEPT_BYTES", "MOST_KEPT_BYTES"):  # each tile that is needed is decoded anew
        monkeypatch.setattr(tiff_parts, kept, 0)


@pytest.fixture
def decoded(monkeypatch):
    """(page size, tile number) of every tile that is decoded."""
    seen = []
    real = tiff_parts._decoded

    def counting(page, indices, workers):
        seen.extend((page.shape[-2:], index) for index in indices)
        return real(page, indices, workers)

    monkeypatch.setattr(tiff_parts, "_decoded", counting)
    return seen


def levels_of_noise(height, width):
    """A noisy 8-bit image and its halved copies."""
    found = [np.random.default_rng(0).integers(1, 255, (height, width), np.uint8)]
    while max(found[-1].shape) > 100:
        found.append(halved(found[-1][None])[0])
    return found


def write(path, levels, copies=()):
    options = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], subifds=len(copies), **options)
        for level in copies:
            writer.write(levels[level], subfiletype=1, **options)


def pixels_of(image):
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    pixels = np.frombuffer(image.constBits(), np.uint8)
    return pixels.reshape(image.height(), image.width(), 4)[..., 0].copy()


# --- the layer -------------------------------------------------------------------------------


@pytest.fixture
def shown(qapp, tmp_path):
    """(levels, layer that shows them, the large plane)."""
    levels = levels_of_noise(450, 390)
    write(tmp_path / "a.tif", levels)
    with open_stack(tmp_path / "a.tif") as stack:
        large = LargePlane(stack, PLANE, PixelCache(0))  # keeps nothing
        while not large.complete:
            large.read_on()
        layer = ImageLayer()
        raw = large.overview
        layer.set_plane(LoadedPlane(1, PLANE, raw[0].copy(), (), raw, (), large))
        yield levels, layer, large


def pieces_for(large, wanted, number=1):
    return [Piece(number, PLANE, at, np.ascontiguousarray(large.block(at)[0])) for at in wanted]


def painted(layer, rect, zoom):
    """The part `rect` of the plane as it is painted at `zoom`."""
    canvas = QImage(round(rect.width * zoom), round(rect.height * zoom), QImage.Format.Format_RGB32)
    canvas.fill(QColor("black"))
    painter = QPainter(canvas)
    painter.scale(zoom, zoom)
    painter.translate(-rect.x, -rect.y)
    layer.paint(painter, rect, zoom)
    painter.end()
    return pixels_of(canvas)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("rect", [Rect(0, 0, 450, 390), Rect(80, 160, 200, 104)])
def test_every_level_is_painted_pixel_for_pixel(shown, level, rect):
    levels, layer, large = shown
    zoom = 0.5**level
    view = layer.look_at(rect, zoom)
    assert {at.level for at in view.wanted} <= {level} and view.missing == view.wanted
    assert bool(view.wanted) == (level < 3)  # the overview is there anyway
    box = layer.put(pieces_for(large, view.wanted))
    assert not view.wanted or box.intersect(rect) == rect
    assert layer.look_at(rect, zoom).missing == ()
    y, x, height, width = (value >> level for value in rect)
    assert np.array_equal(
        painted(layer, rect, zoom)[:height, :width], levels[level][y : y + height, x : x + width]
    )


def test_what_is_missing_shows_through_coarser(shown):
    levels, layer, large = shown
    rect = Rect(0, 0, 128, 128)
    layer.look_at(rect, 1.0)
    overview = np.kron(levels[3][:16, :16], np.ones((8, 8), np.uint8))
    assert np.array_equal(painted(layer, rect, 1.0), overview)
    layer.put(pieces_for(large, [Where(1, 0, 0)]))
    coarser = np.kron(levels[1][:64, :64], np.ones((2, 2), np.uint8))
    assert np.array_equal(painted(layer, rect, 1.0), coarser)
    assert layer.put(pieces_for(large, [Where(0, 0, 1)])) == Rect(0, 64, 64, 64)
    mixed = painted(layer, rect, 1.0)
    assert np.array_equal(mixed[:64, 64:], levels[0][:64, 64:128])
    assert np.array_equal(mixed[:, :64], coarser[:, :64])


def test_blocks_far_away_or_too_fine_are_dropped(shown):
    levels, layer, large = shown
    whole, corner = Rect(0, 0, 450, 390), Rect(0, 0, 64, 64)
    layer.put(pieces_for(large, layer.look_at(whole, 1.0).wanted))
    layer.look_at(corner, 1.0)
    assert sorted(layer._pieces) == [Where(0, row, column) for row in (0, 1) for column in (0, 1)]
    # The fine ones stand in for the coarser ones, until these are there.
    missing = layer.look_at(corner, 0.5).missing
    assert missing == (Where(1, 0, 0),) and len(layer._pieces) == 4
    stand_in = painted(layer, corner, 0.5)
    assert not np.array_equal(stand_in, levels[1][:32, :32])
    assert set(stand_in.ravel()) <= set(levels[0][:64, :64].ravel())
    layer.put(pieces_for(large, missing))
    assert list(layer._pieces) == [Where(1, 0, 0)]
    assert np.array_equal(painted(layer, corner, 0.5), levels[1][:32, :32])


def test_blocks_in_former_colours_are_wanted_again_and_never_come_over_newer_ones(shown):
    levels, layer, large = shown
    rect = Rect(0, 0, 64, 64)
    layer.look_at(rect, 1.0)
    layer.put(pieces_for(large, [Where(0, 0, 0)]))
    loaded = replace(layer._loaded, number=2)
    layer.set_plane(loaded)
    assert np.array_equal(painted(layer, rect, 1.0), levels[0][:64, :64])  # until then
    assert layer.look_at(rect, 1.0).missing == (Where(0, 0, 0),)
    new = pieces_for(large, [Where(0, 0, 0)], number=2)
    layer.set_plane(replace(loaded, pieces=tuple(new)))
    assert layer.look_at(rect, 1.0).missing == ()
    layer.put([Piece(1, PLANE, Where(0, 0, 0), np.zeros((64, 64), np.uint8))])
    assert np.array_equal(painted(layer, rect, 1.0), levels[0][:64, :64])
    layer.put([Piece(3, PlaneIndex(0, 1), Where(0, 0, 0), np.zeros((64, 64), np.uint8))])
    assert np.array_equal(painted(layer, rect, 1.0), levels[0][:64, :64])


def test_cuts_from_the_side_read_a_row_and_a_column_of_each_plane(tmp_path, decoded, monkeypatch):
    pixels = np.random.default_rng(0).integers(1, 255, (3, 200, 160), np.uint8)
    tifffile.imwrite(tmp_path / "z.tif", pixels, tile=(TILE, TILE), compression="zlib",
                     photometric="minisblack")  # fmt: skip
    with open_stack(tmp_path / "z.tif") as stack:
        monkeypatch.setattr(stack, "plane", None)
        request = CutRequest(
            stack, PLANE, 70, 40, (ChannelDisplay(0, 255),), Annotation((1, 3, 200, 160))
        )
        cuts = [cut for cut in CutReader().steps(request) if cut is not None][-1]
    assert np.array_equal(cuts.xz.image, pixels[:, 70])
    assert np.array_equal(cuts.yz.image, pixels[:, :, 40].T)
    assert len(decoded) == 3 * (5 + 7)  # of each plane five tiles in a row and seven in a column


# --- the window ------------------------------------------------------------------------------


def complete(view):
    return view.shown is not None and view.shown.large is not None and view.shown.large.complete


def go(view, zoom, y, x, qtbot):
    """Look somewhere, and wait until all that is in view is there."""
    view.camera.look_at(Point(y, x), zoom)
    view._on_view_moved()
    wait_for_blocks(view, qtbot)


def wait_for_blocks(view, qtbot):
    zoom = view.camera.zoom * view.devicePixelRatioF()
    qtbot.waitUntil(
        lambda: complete(view) and not view.image_layer.look_at(view.visible_rect(), zoom).missing
    )


def tiles_of(rect, width):
    """The numbers of the tiles of a page of `width` that the blocks around `rect` touch."""
    side, columns = large_plane.BLOCK, -(-width // TILE)
    rows = range(rect.y // side * side // TILE, -(-rect.bottom // side) * side // TILE)
    across = range(rect.x // side * side // TILE, -(-rect.right // side) * side // TILE)
    return {row * columns + column for row in rows for column in across if column < columns}


def as_shown(window, pixels):
    """The intensities as grey levels, as the document has them shown."""
    display = window.document.displays[0]
    scaled = (pixels.astype(np.float32) - display.low) * (255 / (display.high - display.low))
    return np.clip(scaled + 0.5, 0, 255).astype(np.uint8)


def test_only_what_is_in_view_is_decoded_and_it_is_in_its_place(
    make_window, tmp_path, qtbot, decoded
):
    levels = levels_of_noise(2048, 2000)
    write(tmp_path / "a.tif", levels)
    window = make_window()
    window.resize(700, 500)
    open_and_wait(window, tmp_path / "a.tif", qtbot)
    view = window.viewport
    qtbot.waitUntil(lambda: complete(view))
    decoded.clear()
    go(view, 1.0, 1000, 900, qtbot)
    first = view.visible_rect()
    numbers = {number for _, number in decoded}
    rows_and_columns = tiles_of(first, 2000)
    assert numbers == rows_and_columns and len(decoded) == len(numbers)
    assert len(numbers) < 64 * 63 / 4
    # What the screen shows, pixel for pixel.
    y, x = first.y + 8, first.x + 8
    where = view.image_to_widget(y, x)
    grabbed = pixels_of(view.grab().toImage())[where.y() :, where.x() :][:100, :100]
    expected = as_shown(window, levels[0][y : y + 100, x : x + 100])
    assert np.abs(grabbed.astype(int) - expected).max() <= 1
    # A little further: nothing that was there is decoded again.
    decoded.clear()
    go(view, 1.0, 1000, 900 + 2 * large_plane.BLOCK, qtbot)
    new = {number for _, number in decoded}
    assert new == tiles_of(view.visible_rect(), 2000) - rows_and_columns
    # Nor for another contrast.
    decoded.clear()
    number = view.shown.number
    window.document.set_display(0, replace(window.document.displays[0], high=100.0))
    qtbot.waitUntil(lambda: view.shown.number > number)
    wait_for_blocks(view, qtbot)
    assert decoded == []


def test_zoomed_out_a_copy_in_the_file_is_decoded_instead(make_window, tmp_path, qtbot, decoded):
    levels = levels_of_noise(2048, 2000)
    write(tmp_path / "a.tif", levels, copies=(1, 2, 3, 4, 5))
    window = make_window()
    window.resize(700, 500)
    open_and_wait(window, tmp_path / "a.tif", qtbot)
    view = window.viewport
    qtbot.waitUntil(lambda: complete(view))
    wait_for_blocks(view, qtbot)
    decoded.clear()
    go(view, 0.5, 1000, 900, qtbot)
    assert {size for size, _ in decoded} == {levels[1].shape}
    go(view, 1.0, 300, 300, qtbot)
    assert {size for size, _ in decoded} == {levels[1].shape, levels[0].shape}


def test_the_pixel_under_the_cursor_is_told_where_it_was_read(make_window, tmp_path, qtbot):
    levels = levels_of_noise(600, 600)
    write(tmp_path / "a.tif", levels)
    window = make_window()
    open_and_wait(window, tmp_path / "a.tif", qtbot)
    view, said = window.viewport, window.status.intensities
    qtbot.waitUntil(lambda: complete(view))
    go(view, 2.0, 300, 300, qtbot)
    view._move_cursor(QPointF(view.image_to_widget(310, 305)))
    assert view.hovered == (310, 305) and said.text() == f"Intensity {levels[0][310, 305]}"


def test_painting_and_histograms_work_on_a_large_image(make_window, tmp_path, qtbot):
    levels = levels_of_noise(600, 600)
    write(tmp_path / "a.tif", levels)
    window = make_window()
    open_and_wait(window, tmp_path / "a.tif", qtbot)
    view, document = window.viewport, window.document
    qtbot.waitUntil(lambda: complete(view))
    assert view.shown.histograms[0].counts.sum() == levels[-1].size
    document.begin_stroke(300.5, 300.5)
    document.end_stroke()
    assert document.annotation.label_at(PLANE, 300, 300)[0] == document.active_class
    assert view.label_layer.blocks


def test_playing_waits_for_planes_that_are_read_bit_by_bit(
    make_window, tmp_path, qtbot, monkeypatch
):
    monkeypatch.setattr(large_plane, "BAND_BYTES", 1)
    monkeypatch.setattr(loader, "SHOW_SECONDS", 0)
    pixels = np.random.default_rng(0).integers(1, 255, (3, 300, 260), np.uint8)
    tifffile.imwrite(tmp_path / "t.ome.tif", pixels, tile=(TILE, TILE), compression="zlib",
                     metadata={"axes": "TYX"}, ome=True)  # fmt: skip
    window = make_window()
    open_and_wait(window, tmp_path / "t.ome.tif", qtbot)
    view, document = window.viewport, window.document
    qtbot.waitUntil(lambda: complete(view))
    left, cut_off = [document.plane.t], []

    def step():
        if view.shown.plane.t == left[-1] and not view.shown.complete:
            cut_off.append(left[-1])
        left.append(document.plane.t)

    document.plane_changed.connect(step)
    window.player.set_rate(30)
    window.player.set_playing(True)
    qtbot.waitUntil(lambda: len(left) >= 7)
    window.player.set_playing(False)
    assert left[:7] == [0, 1, 2, 0, 1, 2, 0] and not cut_off
