"""Damaged, foreign and absurd files are refused in one sentence; nothing crashes or prints."""

import logging
import struct
import time
import zipfile

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.stack_helpers import numbers, refusal
from unet_core.stack import StackError, open_stack

FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_no_image(tmp_path):
    (tmp_path / "text.tif").write_text("just some text, long enough to be read")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "one.tif").write_bytes(b"I")
    (tmp_path / "head.tif").write_bytes(b"II*\0")
    (tmp_path / "noifd.tif").write_bytes(b"II*\0\0\0\0\0")
    (tmp_path / "beyond.tif").write_bytes(b"II*\0\xff\xff\xff\x7f")
    (tmp_path / "loop.tif").write_bytes(b"II*\0\x08\0\0\0\x01\0" + b"\0" * 12 + b"\x08\0\0\0")
    (tmp_path / "big.tif").write_bytes(b"II+\0\x08\0\0\0" + b"\xff" * 8)
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(100))
    with zipfile.ZipFile(tmp_path / "zip.tif", "w") as archive:
        archive.writestr("a.txt", "a")
    for name, words in [
        ("text.tif", "not an image"),
        ("empty.tif", "empty"),
        ("one.tif", "not an image"),
        ("head.tif", "cut short"),
        ("noifd.tif", "no image"),
        ("beyond.tif", "cut short"),
        ("loop.tif", "damaged"),
        ("big.tif", "damaged"),
        ("folder.tif", "folder"),
        ("a.czi", "CZI"),
        ("zip.tif", "zip"),
        ("missing.tif", "does not exist"),
    ]:
        assert words in refusal(tmp_path / name)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["imagej", "ome", "plain", "pages"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_truncated_tiff(tmp_path, caplog, capfd, compression, kind, share):
    path = tmp_path / "whole.ome.tif" if kind == "ome" else tmp_path / "whole.tif"
    pixels = numbers((6, 40, 40), "uint16")
    if kind == "pages":
        with tifffile.TiffWriter(path) as writer:
            for page in pixels:
                writer.write(page, metadata=None, contiguous=False, compression=compression)
    else:
        tifffile.imwrite(path, pixels, imagej=kind == "imagej", compression=compression,
                         photometric="minisblack", metadata={"axes": "ZYX"})  # fmt: skip
    cut = tmp_path / "cut.ome.tif" if kind == "ome" else tmp_path / "cut.tif"
    data = path.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    refusal(cut)
    assert capfd.readouterr().err == ""


def test_truncated_pictures(tmp_path):
    png = imagecodecs.png_encode(numbers((50, 50)))
    jpeg = imagecodecs.jpeg8_encode(numbers((50, 50)))
    for name, data in (("a.png", png), ("a.jpg", jpeg)):
        for share in (0.02, 0.5, 0.95):
            (tmp_path / name).write_bytes(data[: max(9, int(len(data) * share))])
            refusal(tmp_path / name)


def absurd_tiff(compression: int, width: int, height: int, bits: int = 16) -> bytes:
    """A tiny TIFF whose header promises an enormous page."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, compression), (262, 3, 1),
            (273, 4, 200), (277, 3, 1), (278, 4, height), (279, 4, 20)]  # fmt: skip
    body = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + bytes(4)).ljust(300, b"\0")


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 50000])
def test_absurd_headers_are_refused_without_allocating(tmp_path, compression):
    for width, height in [(2**31 - 1, 2**31 - 1), (4_000_000_000, 3), (100_000, 100_000)]:
        (tmp_path / "a.tif").write_bytes(absurd_tiff(compression, width, height))
        start = time.process_time()
        refusal(tmp_path / "a.tif")
        assert time.process_time() - start < 1
    (tmp_path / "a.tif").write_bytes(absurd_tiff(compression, 0, 0))
    refusal(tmp_path / "a.tif")
    tall = absurd_tiff(compression, 20, 30_000_000, bits=8).replace(  # one strip of many is there
        struct.pack("<HHII", 278, 4, 1, 30_000_000), struct.pack("<HHII", 278, 4, 1, 8)
    )
    (tmp_path / "a.tif").write_bytes(tall)
    assert "cut short" in refusal(tmp_path / "a.tif") or compression == 50000
    png = bytearray(imagecodecs.png_encode(numbers((9, 8))))
    png[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    (tmp_path / "a.png").write_bytes(png)
    refusal(tmp_path / "a.png")


def test_pixels_that_mean_nothing_here(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((9, 8), np.complex64))
    assert "complex" in refusal(tmp_path / "c.tif")
    (tmp_path / "x.tif").write_bytes(absurd_tiff(65123, 20, 20))
    assert "compressed in a way" in refusal(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "k.tif", numbers((9, 8, 4)), photometric="separated")
    assert "CMYK" in refusal(tmp_path / "k.tif")


@FEW
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path_factory, data):
    """Any bytes of the header may be wrong: an image or one sentence comes out."""
    folder = tmp_path_factory.mktemp("damage")
    path = folder / "a.tif"
    tifffile.imwrite(path, numbers((3, 20, 20)), imagej=data.draw(st.booleans()),
                     photometric="minisblack", compression=data.draw(st.sampled_from(
                         [None, "zlib"])))  # fmt: skip
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(500, len(content) - 1)))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content)
    try:
        with open_stack(path) as stack:
            for index in [*stack.planes()][:5]:
                assert stack.plane(*index).shape == stack.shape[2:]
    except StackError as error:
        assert "a.tif" in str(error)


def test_a_file_cut_while_open_is_an_error_not_a_crash(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers((4, 99, 99)), photometric="minisblack")
    with open_stack(tmp_path / "a.tif") as stack:
        with (tmp_path / "a.tif").open("r+b") as file:
            file.truncate(2000)
        with pytest.raises(StackError, match="shorter"):
            stack.plane(0, 3)


def test_damaged_pixels_name_the_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers((3, 50, 50)), photometric="minisblack",
                     compression="zlib")  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages[1].dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start : start + 30] = b"\xff" * 30
    (tmp_path / "a.tif").write_bytes(content)
    with open_stack(tmp_path / "a.tif") as stack:
        stack.plane(0, 0)
        with pytest.raises(StackError, match=r"a\.tif is damaged.*page 2"):
            stack.plane(0, 1)
        stack.plane(0, 2)


def test_tifffile_is_silent_unless_someone_listens(tmp_path, capfd):
    (tmp_path / "a.tif").write_bytes(absurd_tiff(8, 20, 20))
    with open_stack(tmp_path / "a.tif") as stack, pytest.raises(StackError):
        stack.plane(0, 0)
    assert capfd.readouterr().err == ""
    assert logging.getLogger("tifffile").propagate
