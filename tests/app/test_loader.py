"""Reading away from the GUI thread, and the conversion to what a screen shows."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from pytestqt.qtbot import QtBot

from app import large_plane
from app import loader as loader_module
from app.display import TABLES, ChannelDisplay
from app.large_plane import Where
from app.loader import (
    HATCHED,
    LACKING,
    LoadedPlane,
    Piece,
    PlaneLoader,
    View,
    overviews,
    to_display,
)
from unet_core import stack as stack_module
from unet_core.stack import PlaneIndex, StackError, open_stack
from unet_core.tiling import Rect

SHOWN = (ChannelDisplay(0, 100),)


class SlowStack:
    """Three planes that are read only when the test says so."""

    is_rgb = False
    is_large = False
    path = Path("slow.tif")
    shape = (1, 1, 1, 4, 5)

    def __init__(self) -> None:
        self.read: list[int] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def plane(self, t: int, z: int) -> np.ndarray:
        self.read.append(z)
        self.begun.release()
        self.go.acquire()
        if z == 13:
            raise OSError("the share has gone")
        return np.full((1, 4, 5), z, np.uint8)


@pytest.fixture
def loader(qtbot: QtBot):
    made = PlaneLoader()
    yield made
    made.stop()
    assert made.isFinished() or not made.isRunning()


def ask(loader: PlaneLoader, stack: SlowStack, z: int) -> int:
    return loader.request(stack, PlaneIndex(0, z), SHOWN)  # type: ignore[arg-type]


def test_a_plane_of_a_real_file_arrives_with_its_raw_values(
    qtbot: QtBot, tmp_path: Path, loader: PlaneLoader
) -> None:
    pixels = np.random.default_rng(0).integers(0, 5000, (2, 3, 30, 40), dtype=np.uint16)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TZYX"})
    with open_stack(path) as stack:
        with qtbot.waitSignal(loader.loaded) as arrived:
            number = loader.request(stack, PlaneIndex(1, 2), [ChannelDisplay(0, 5000)])
        answer = arrived.args[0]
        assert (answer.number, answer.plane) == (number, PlaneIndex(1, 2))
        assert np.array_equal(answer.raw[0], pixels[1, 2])
        assert answer.histograms[0].highest == pixels[1, 2].max()
        assert answer.histograms[0].counts.sum() == pixels[1, 2].size
        expected = np.floor(pixels[1, 2] / 5000 * 255 + 0.5)
        assert np.abs(answer.image - expected).max() <= 1
        loader.stop()


def test_rapid_requests_skip_what_lies_between(qtbot: QtBot, loader: PlaneLoader) -> None:
    stack = SlowStack()
    got: list[int] = []
    loader.loaded.connect(lambda plane: got.append(plane.plane.z))
    ask(loader, stack, 0)
    stack.begun.acquire()
    for z in range(1, 10):
        ask(loader, stack, z)
    for _ in range(10):
        stack.go.release()
    qtbot.waitUntil(lambda: got[-1:] == [9])
    assert stack.read == [0, 9]
    # The plane that was being read is shown on the way, so that a slow drag is not blind.
    assert got in ([0, 9], [9])


class Walked(SlowStack):
    shape = (1, 4, 1, 4, 5)

    def plane(self, t: int, z: int) -> np.ndarray:
        self.go.release()
        return super().plane(t, z)


def test_the_next_plane_of_a_walk_is_prepared(qtbot: QtBot, loader: PlaneLoader) -> None:
    stack = Walked()
    got: list[LoadedPlane] = []
    loader.loaded.connect(got.append)

    def walk(z: int) -> None:
        number = ask(loader, stack, z)
        qtbot.waitUntil(lambda: got[-1:] != [] and got[-1].number == number)
        assert got[-1].plane.z == z and (got[-1].raw == z).all()

    walk(0)
    qtbot.waitUntil(lambda: stack.read == [0, 1])  # nobody has asked for the last one
    walk(0)  # as when its contrast changes
    walk(1)
    qtbot.waitUntil(lambda: stack.read == [0, 1, 2])
    walk(2)
    qtbot.waitUntil(lambda: stack.read == [0, 1, 2, 3])
    walk(3)  # and there the stack ends
    walk(1)  # no walk
    assert stack.read == [0, 1, 2, 3, 1]


def test_to_and_fro_between_two_planes_reads_neither_again(
    qtbot: QtBot, loader: PlaneLoader
) -> None:
    stack = Walked()
    got: list[LoadedPlane] = []
    loader.loaded.connect(got.append)
    for z in (0, 3, 0, 3, 0):
        number = ask(loader, stack, z)
        qtbot.waitUntil(lambda number=number: got[-1:] != [] and got[-1].number == number)
        expected = to_display(np.full((1, 4, 5), z, np.uint8), SHOWN, is_rgb=False)
        assert (got[-1].image == expected).all()
    assert sorted(stack.read) in ([0, 3], [0, 1, 3])


def test_histograms_are_made_when_nothing_else_is_wanted(
    qtbot: QtBot, loader: PlaneLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader_module, "MEASURED_AFTER", 1e6)
    stack = Walked()
    measured, got = list[LoadedPlane](), list[LoadedPlane]()
    loader.measured.connect(measured.append)
    loader.loaded.connect(got.append)
    for z in (0, 3, 1):  # while one waits to be measured, another can be had
        number = ask(loader, stack, z)
        qtbot.waitUntil(lambda number=number: got[-1:] != [] and got[-1].number == number)
    monkeypatch.setattr(loader_module, "MEASURED_AFTER", 0)
    number = ask(loader, stack, 2)
    qtbot.waitUntil(lambda: measured != [])
    assert [one.number for one in measured] == [number]


def test_a_stack_that_is_left_while_its_plane_waits_to_be_measured(
    qtbot: QtBot, loader: PlaneLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, wait = Walked(), loader._condition.wait
    left: list[bool] = []

    def leave(timeout: float | None = None) -> bool:
        if timeout is None or left:
            return wait(timeout)
        loader._drop()  # as `forget` does, in the moment in which the time is over
        left.append(True)
        return False

    monkeypatch.setattr(loader._condition, "wait", leave)
    ask(loader, stack, 0)
    qtbot.waitUntil(lambda: left != [])
    with qtbot.waitSignal(loader.loaded, check_params_cb=lambda one: one.plane.z == 2):
        ask(loader, stack, 2)


def test_other_colours_are_not_those_that_were_prepared(qtbot: QtBot, loader: PlaneLoader) -> None:
    stack = Walked()
    got: list[LoadedPlane] = []
    loader.loaded.connect(got.append)
    for z in (0, 1):
        number = ask(loader, stack, z)
        qtbot.waitUntil(lambda number=number: got[-1:] != [] and got[-1].number == number)
    qtbot.waitUntil(lambda: loader._ahead is not None)
    brighter = [ChannelDisplay(0, 10)]
    number = loader.request(stack, PlaneIndex(0, 2), brighter)  # type: ignore[arg-type]
    qtbot.waitUntil(lambda: got[-1].number == number)
    expected = to_display(np.full((1, 4, 5), 2, np.uint8), brighter, is_rgb=False)
    assert (got[-1].image == expected).all()


def test_nothing_of_a_former_stack_arrives(qtbot: QtBot, loader: PlaneLoader) -> None:
    old, new = SlowStack(), SlowStack()
    got: list[int] = []
    loader.loaded.connect(lambda plane: got.append(plane.plane.z))
    ask(loader, old, 1)
    old.begun.acquire()
    loader.forget()
    ask(loader, new, 2)
    old.go.release()
    new.go.release()
    qtbot.waitUntil(lambda: got != [])
    assert got == [2]


def test_a_failure_is_one_sentence_and_the_next_plane_works(
    qtbot: QtBot, loader: PlaneLoader
) -> None:
    stack = SlowStack()
    stack.go.release()
    with qtbot.waitSignal(loader.failed) as failed:
        ask(loader, stack, 13)
    plane, sentence = failed.args
    assert plane == PlaneIndex(0, 13)
    assert "slow.tif" in sentence and "the share has gone" in sentence
    stack.go.release()
    with qtbot.waitSignal(loader.loaded):
        ask(loader, stack, 1)


def test_a_damaged_file_gives_its_own_sentence(
    qtbot: QtBot, tmp_path: Path, loader: PlaneLoader
) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, np.zeros((5, 200, 200), np.uint16), photometric="minisblack")
    with open_stack(path) as stack:
        stack.close()
        with qtbot.waitSignal(loader.failed) as failed:
            loader.request(stack, PlaneIndex(0, 1), SHOWN)
    assert "cut.tif" in failed.args[1]


def test_another_contrast_does_not_read_the_plane_again(qtbot: QtBot, loader: PlaneLoader) -> None:
    stack = SlowStack()
    got = []
    loader.loaded.connect(got.append)
    stack.go.release()
    ask(loader, stack, 50)
    qtbot.waitUntil(lambda: len(got) == 1)
    number = loader.request(stack, PlaneIndex(0, 50), [ChannelDisplay(0, 50)])  # type: ignore[arg-type]
    qtbot.waitUntil(lambda: got[-1].number == number)
    assert (got[0].image == 128).all() and (got[-1].image == 255).all()
    assert stack.read == [50]
    # A stack that was closed and opened anew may have changed.
    loader.forget()
    stack.go.release()
    number = ask(loader, stack, 50)
    qtbot.waitUntil(lambda: got[-1].number == number)
    assert stack.read == [50, 50]


def test_a_contrast_being_dragged_skips_what_lies_between(
    qtbot: QtBot, loader: PlaneLoader
) -> None:
    stack = SlowStack()
    got = []
    loader.loaded.connect(got.append)
    ask(loader, stack, 50)
    stack.begun.acquire()
    for high in range(60, 90):
        number = loader.request(stack, PlaneIndex(0, 50), [ChannelDisplay(0, high)])  # type: ignore[arg-type]
    stack.go.release()
    qtbot.waitUntil(lambda: got != [] and got[-1].number == number)
    assert len(got) <= 2
    assert (got[-1].image == round(50 / 89 * 255)).all()


def test_stop_ends_the_thread_even_before_and_after_use(qtbot: QtBot) -> None:
    unused = PlaneLoader()
    unused.stop()
    used = PlaneLoader()
    stack = SlowStack()
    ask(used, stack, 1)
    stack.begun.acquire()
    stack.go.release()
    with qtbot.assertNotEmitted(used.loaded, wait=50):
        used.stop()
        used.stop()
        ask(used, stack, 2)
    assert not used.isRunning()


# --- conversion ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "f2", "f4", "f8"]
)
def test_all_types_are_scaled_alike(dtype: str) -> None:
    values = np.arange(0, 101).astype(dtype)[None, None, :]
    low, high = (0, 1) if dtype == "bool" else (10, 90)
    shown = to_display(values, [ChannelDisplay(low, high)], is_rgb=False)
    expected = (values[0].astype(float) - low) / (high - low) * 255
    assert shown.dtype == np.uint8
    assert np.abs(shown - np.clip(expected, 0, 255)).max() <= 0.51


def test_negative_values_of_signed_types_keep_their_order() -> None:
    values = np.arange(-128, 128, dtype=np.int8)[None, None, :]
    shown = to_display(values, [ChannelDisplay(-128, 127)], is_rgb=False)
    assert np.array_equal(shown[0], np.arange(256))


def test_what_is_no_number_is_black_and_infinity_is_an_end() -> None:
    values = np.array([[[np.nan, -np.inf, np.inf, 50]]], np.float32)
    assert to_display(values, SHOWN, is_rgb=False).tolist() == [[0, 0, 255, 128]]
    darker = [ChannelDisplay(0, 100, gamma=2.0)]
    assert to_display(values, darker, is_rgb=False).tolist() == [[0, 0, 255, 64]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@given(gamma=st.floats(0.2, 5))
@settings(deadline=None, max_examples=20)
def test_gamma_bends_what_lies_between_the_ends(dtype: str, gamma: float) -> None:
    values = np.arange(0, 201).astype(dtype)[None, None, :]
    shown = to_display(values, [ChannelDisplay(50, 150, gamma)], is_rgb=False)
    expected = 255 * np.clip((values[0].astype(float) - 50) / 100, 0, 1) ** gamma
    assert np.abs(shown - expected).max() <= 0.51


def test_channels_add_up_in_colours_and_one_alone_is_grey() -> None:
    raw = np.zeros((2, 1, 3), np.uint8)
    raw[0, 0, 0] = raw[1, 0, 1] = 100
    raw[:, 0, 2] = 100
    shown, hidden = ChannelDisplay(0, 100), ChannelDisplay(0, 100, visible=False)
    both = to_display(raw, (shown, shown), is_rgb=False)
    assert both.tolist() == [[[0, 255, 0], [255, 0, 255], [255, 255, 255]]]
    assert to_display(raw, (hidden, shown), is_rgb=False).tolist() == [[0, 255, 255]]
    assert not to_display(raw, (hidden, hidden), is_rgb=False).any()


def test_each_level_has_the_colour_of_its_table() -> None:
    raw = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for name, table in TABLES.items():
        image = to_display(raw, [ChannelDisplay(0, 255, lut=name)], is_rgb=False)
        grey = name in ("Grey", "Inverted grey")
        assert image.ndim == (2 if grey else 3) and image.flags.c_contiguous
        colors = np.repeat(image[..., None], 3, axis=2) if grey else image
        assert np.array_equal(colors.reshape(256, 3), table)


def test_chosen_tables_add_up_and_saturate() -> None:
    raw = np.full((2, 1, 1), 128, np.uint8)
    orange, fire = (ChannelDisplay(0, 255, lut=name) for name in ("Orange", "Fire"))
    image = to_display(raw, (orange, fire), is_rgb=False)
    added = TABLES["Orange"][128].astype(int) + TABLES["Fire"][128]
    assert added.max() > 255
    assert image[0, 0].tolist() == np.minimum(added, 255).tolist()


def test_colour_photographs_keep_their_colours() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (3, 5, 6), dtype=np.uint8)
    as_it_is = [ChannelDisplay(0, 255)] * 3
    assert np.array_equal(to_display(raw, as_it_is, is_rgb=True), np.moveaxis(raw, 0, -1))
    hidden = [ChannelDisplay(0, 255, visible=False), *as_it_is[1:]]
    without_red = to_display(raw, hidden, is_rgb=True)
    assert not without_red[..., 0].any()
    assert np.array_equal(without_red[..., 1], raw[1])


def test_colour_photographs_have_one_range_and_gamma() -> None:
    raw = np.random.default_rng(0).integers(0, 25600, (3, 5, 6), dtype=np.uint16)
    common = ChannelDisplay(2000, 20000, gamma=0.5)
    shown = to_display(raw, [common, *[ChannelDisplay(0, 1, gamma=3.0)] * 2], is_rgb=True)
    for channel in range(3):
        alone = to_display(raw[channel : channel + 1], [common], is_rgb=False)
        assert np.array_equal(shown[..., channel], alone)


@given(st.integers(1, 90), st.integers(1, 90), st.booleans())
def test_overviews_are_means_of_two_by_two(height: int, width: int, color: bool) -> None:
    from app import loader

    image = np.random.default_rng(height).integers(
        0, 256, (height, width, 3) if color else (height, width), dtype=np.uint8
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "OVERVIEW_SIDE", 16)
        patch.setattr(large_plane, "_CHUNK", 100)
        levels = overviews(image)
    for before, after in zip((image, *levels), levels, strict=False):
        assert after.shape[:2] == (-(-before.shape[0] // 2), -(-before.shape[1] // 2))
        pad = [(0, before.shape[0] % 2), (0, before.shape[1] % 2), (0, 0)][: before.ndim]
        full = np.pad(before, pad, mode="edge").astype(float)
        mean = (full[::2, ::2] + full[1::2, ::2] + full[::2, 1::2] + full[1::2, 1::2]) / 4
        assert np.abs(after - mean).max() <= 0.5
    assert max((image, *levels)[-1].shape[:2]) <= 16


# --- large planes ----------------------------------------------------------------------------


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as large, and what it is cut into, without images of thousands of pixels."""
    monkeypatch.setattr(stack_module, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(large_plane, "BLOCK", 16)
    monkeypatch.setattr(large_plane, "OVERVIEW_SIDE", 40)
    monkeypatch.setattr(large_plane, "BAND_BYTES", 1)


class SlowLarge:
    """A large plane of 8-bit noise; reading waits until the test says so."""

    def __init__(self, height: int = 128, width: int = 96, planes: int = 2) -> None:
        self.path, self.is_rgb, self.is_large = Path("slow.tif"), False, True
        self.shape, self.dtype = (1, planes, 1, height, width), np.dtype(np.uint8)
        self.levels = ((height, width),)
        self.pixels = np.random.default_rng(0).integers(0, 256, self.shape, np.uint8)
        self.read: list[Rect] = []
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Semaphore(0)
        self.broken = False

    def region(self, t: int, z: int, rect: Rect, level: int = 0) -> np.ndarray:
        self.read.append(rect)
        self.begun.release()
        self.free.wait()
        if self.broken:
            raise StackError("slow.tif is damaged.")
        return self.pixels[(t, z, slice(None), *rect.slices)].copy()


class Screen:
    """Takes what the loader gives, as the window would."""

    def __init__(self, loader: PlaneLoader) -> None:
        self.planes: list[LoadedPlane] = []
        self.pieces: dict[Where, Piece] = {}
        loader.loaded.connect(self.take_plane)
        loader.pieces.connect(self.take_pieces)

    def take_plane(self, plane: LoadedPlane) -> None:
        self.planes.append(plane)
        self.take_pieces(plane.pieces)

    def take_pieces(self, pieces: list[Piece]) -> None:
        self.pieces |= {piece.at: piece for piece in pieces}

    @property
    def complete(self) -> bool:
        return bool(self.planes) and (self.planes[-1].image[-1] != 0).any()


def look(*wanted: Where) -> View:
    return View(wanted, wanted)


def ask_large(loader: PlaneLoader, stack: SlowLarge, z: int = 0, high: float = 255) -> int:
    return loader.request(stack, PlaneIndex(0, z), [ChannelDisplay(0, high)])  # type: ignore[arg-type]


def test_of_a_large_plane_the_overview_comes_then_what_is_looked_at(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None
) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    ask_large(loader, stack)
    qtbot.waitUntil(lambda: screen.complete)
    last = screen.planes[-1]
    assert (last.level, last.size, last.image.shape) == (2, (128, 96), (32, 24))
    # Band by band, each pixel once.
    assert sum(rect.height * rect.width for rect in stack.read) == 128 * 96
    assert not screen.pieces and last.values_at(20, 40) is None
    stack.read.clear()
    loader.look_at(look(Where(0, 1, 2), Where(0, 7, 5)))
    qtbot.waitUntil(lambda: len(screen.pieces) == 2)
    assert stack.read == [Rect(16, 32, 16, 16), Rect(112, 80, 16, 16)]
    assert np.array_equal(screen.pieces[Where(0, 1, 2)].image, stack.pixels[0, 0, 0, 16:32, 32:48])
    assert last.values_at(20, 40).tolist() == [stack.pixels[0, 0, 0, 20, 40]]  # type: ignore[union-attr]


def test_the_newest_view_comes_before_the_rest_of_the_overview(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None
) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    stack.free.clear()
    ask_large(loader, stack)
    stack.begun.acquire()
    loader.look_at(look(*(Where(0, row, 0) for row in range(8))))
    loader.look_at(look(Where(0, 3, 3)))  # what was looked at before is not read any more
    stack.free.set()
    qtbot.waitUntil(lambda: screen.complete)
    assert stack.read[1] == Rect(48, 48, 16, 16)
    assert list(screen.pieces) == [Where(0, 3, 3)]
    assert all(rect.width == 96 for rect in [stack.read[0], *stack.read[2:]])


def test_other_colours_of_a_large_plane_are_shown_where_one_looks_and_nothing_is_read(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None
) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    ask_large(loader, stack)
    seen = Where(0, 1, 2)
    loader.look_at(look(Where(0, 0, 0)))
    qtbot.waitUntil(lambda: screen.complete and len(screen.pieces) == 1)
    loader.look_at(look(seen))
    qtbot.waitUntil(lambda: len(screen.pieces) == 2)
    stack.read.clear()
    number = ask_large(loader, stack, high=100)
    qtbot.waitUntil(lambda: screen.planes[-1].number == number)
    assert [piece.at for piece in screen.planes[-1].pieces] == [seen]
    raw = stack.pixels[0, 0, 0, 16:32, 32:48]
    expected = to_display(raw[None], [ChannelDisplay(0, 100)], is_rgb=False)
    assert np.array_equal(screen.pieces[seen].image, expected)
    assert screen.pieces[seen].number == number and screen.pieces[Where(0, 0, 0)].number < number
    assert stack.read == []


def test_another_plane_is_looked_at_in_the_same_place(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None
) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    ask_large(loader, stack)
    seen = Where(0, 1, 2)
    loader.look_at(look(seen))
    qtbot.waitUntil(lambda: screen.complete and seen in screen.pieces)
    ask_large(loader, stack, z=1)
    qtbot.waitUntil(lambda: screen.pieces[seen].plane.z == 1)
    assert np.array_equal(screen.pieces[seen].image, stack.pixels[0, 1, 0, 16:32, 32:48])
    qtbot.waitUntil(lambda: screen.planes[-1].plane.z == 1 and screen.complete)
    stack.read.clear()
    number = ask_large(loader, stack, z=0)  # all of it is still there
    qtbot.waitUntil(lambda: screen.planes[-1].number == number)
    assert screen.complete and stack.read == []


def test_the_memory_is_a_limit(qtbot: QtBot, loader: PlaneLoader, small_limits: None) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    loader.set_memory(2000)
    ask_large(loader, stack)
    qtbot.waitUntil(lambda: screen.complete)
    for row in range(8):
        for column in range(6):
            at = Where(0, row, column)
            loader.look_at(look(at))
            qtbot.waitUntil(lambda at=at: at in screen.pieces)
            assert loader._cache.nbytes <= 2000
    stack.read.clear()
    for at in (Where(0, 7, 5), Where(0, 0, 0)):
        screen.pieces.clear()
        loader.look_at(look(at))
        qtbot.waitUntil(lambda at=at: at in screen.pieces)
    assert stack.read == [Rect(0, 0, 16, 16)]  # the other was the last one seen


def test_damage_in_a_large_plane_is_told_once_and_the_rest_can_be_used(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None
) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    told: list[str] = []
    loader.incomplete.connect(told.append)
    loader.failed.connect(lambda plane, sentence: told.append("failed"))
    ask_large(loader, stack)
    qtbot.waitUntil(lambda: screen.complete)
    stack.broken = True
    missing = Where(0, 0, 0), Where(0, 0, 1)
    loader.look_at(look(*missing))
    qtbot.waitUntil(lambda: set(missing) <= set(screen.pieces))
    for at in missing:
        assert set(np.unique(screen.pieces[at].image)) == set(HATCHED)
    stack.broken = False
    sound = Where(0, 2, 1)
    loader.look_at(look(*missing, sound))
    qtbot.waitUntil(lambda: sound in screen.pieces)
    assert screen.planes[-1].large.values_at(5, 5) is None
    assert screen.planes[-1].large.values_at(40, 20) == stack.pixels[0, 0, 0, 40, 20]
    ask_large(loader, stack, z=1)
    qtbot.waitUntil(lambda: screen.planes[-1].plane.z == 1 and screen.complete)
    assert told == [f"slow.tif is damaged. {LACKING}"]


def test_a_large_plane_whose_disk_has_gone_is_told_at_once(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    ask_large(loader, stack)
    qtbot.waitUntil(lambda: screen.complete)

    def gone(*_: object) -> None:
        stack.read.append(Rect(0, 0, 0, 0))
        raise StackError("slow.tif has gone.") from OSError()

    stack.read.clear()
    monkeypatch.setattr(stack, "region", gone)
    with qtbot.waitSignal(loader.failed) as failed:
        loader.look_at(look(Where(0, 0, 0), Where(0, 0, 1)))
    assert failed.args[1] == "slow.tif has gone." and len(stack.read) == 1


def test_nothing_of_a_forgotten_large_plane_arrives(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None
) -> None:
    stack, screen = SlowLarge(), Screen(loader)
    stack.free.clear()
    ask_large(loader, stack)
    stack.begun.acquire()
    loader.look_at(look(Where(0, 0, 0)))
    loader.forget()
    other = SlowLarge(64, 64)
    stack.free.set()
    ask_large(loader, other)
    qtbot.waitUntil(lambda: screen.complete)
    assert all(plane.size == (64, 64) for plane in screen.planes) and not screen.pieces
    assert len(stack.read) == 1


def test_a_large_plane_can_be_left_in_the_middle(
    qtbot: QtBot, loader: PlaneLoader, small_limits: None
) -> None:
    stack = SlowLarge()
    stack.free.clear()
    ask_large(loader, stack)
    stack.begun.acquire()

    def go_on() -> None:
        while not loader._stopping:
            time.sleep(0.001)
        stack.free.set()

    helper = threading.Thread(target=go_on)
    helper.start()
    loader.stop()  # waits for the band that is being read, and for no other
    helper.join()
    assert not loader.isRunning() and len(stack.read) == 1
