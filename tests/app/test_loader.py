"""Reading away from the GUI thread, and the conversion to what a screen shows."""

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from pytestqt.qtbot import QtBot

from app.display import TABLES, ChannelDisplay
from app.loader import PlaneLoader, overviews, to_display
from unet_core.stack import PlaneIndex, open_stack

SHOWN = (ChannelDisplay(0, 100),)


class SlowStack:
    """Three planes that are read only when the test says so."""

    is_rgb = False
    path = Path("slow.tif")

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
        patch.setattr(loader, "_CHUNK", 100)
        levels = overviews(image)
    for before, after in zip((image, *levels), levels, strict=False):
        assert after.shape[:2] == (-(-before.shape[0] // 2), -(-before.shape[1] // 2))
        pad = [(0, before.shape[0] % 2), (0, before.shape[1] % 2), (0, 0)][: before.ndim]
        full = np.pad(before, pad, mode="edge").astype(float)
        mean = (full[::2, ::2] + full[1::2, ::2] + full[::2, 1::2] + full[1::2, 1::2]) / 4
        assert np.abs(after - mean).max() <= 0.5
    assert max((image, *levels)[-1].shape[:2]) <= 16
