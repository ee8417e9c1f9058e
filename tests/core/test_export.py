"""Masks: what is written is what is read, whatever happens on the way."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unet_core.atomic
import unet_core.export
from unet_core.export import ExportError, Progress, mask_path, read_labels, write_mask
from unet_core.stack import PlaneIndex, Stack, StackError, open_stack

FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make_image(path: Path, shape=(3, 2, 17, 21), axes="TZYX", size=(0.5, 0.25, 0.125)) -> Stack:
    """An ImageJ stack with pixel size (z, y, x) in µm."""
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    tifffile.imwrite(
        path,
        pixels,
        imagej=True,
        resolution=(1 / size[2], 1 / size[1]),
        metadata={"axes": axes, "unit": "um", "spacing": size[0], "finterval": 30.0},
    )
    return open_stack(path)


def mask_planes(stack: Stack, dtype="uint8", channels=0) -> list[np.ndarray]:
    shape = ((channels,) if channels else ()) + stack.shape[3:]
    random = np.random.default_rng(1)
    return [random.integers(0, 5, shape).astype(dtype) for _ in stack.planes()]


def export(path: Path, planes, like: Stack, **options) -> list[Progress]:
    return list(write_mask(path, planes, like=like, **{"dtype": np.uint8, **options}))


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@FEW
@given(data=st.data())
def test_export_reads_back_identical(tmp_path_factory, data):
    """Shape, axes (also of size 1), values and pixel size survive, for every type and layout."""
    folder = tmp_path_factory.mktemp("identity")
    axes = data.draw(st.sampled_from(["YX", "ZYX", "TYX", "TZYX", "CYX", "TZCYX", "ZCYX"]))
    shape = tuple(data.draw(st.integers(1, 3)) for _ in axes[:-2]) + (
        data.draw(st.integers(1, 40)),
        data.draw(st.integers(1, 40)),
    )
    tifffile.imwrite(
        folder / "raw.tif",
        np.zeros(shape, np.uint8),
        photometric="minisblack",
        resolution=(data.draw(st.floats(0.1, 30)), data.draw(st.floats(0.1, 30))),
        metadata={"axes": axes, "unit": "um", "spacing": data.draw(st.floats(0.01, 10))},
    )
    like = open_stack(folder / "raw.tif")
    assert like.axes == axes
    dtype = np.dtype(data.draw(st.sampled_from(["uint8", "uint16", "uint32", "float32"])))
    channels = data.draw(st.integers(0, 3))
    top = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    plane_shape = ((channels,) if channels else ()) + like.shape[3:]
    planes = [(random.random(plane_shape) * top).astype(dtype) for _ in like.planes()]

    export(folder / "mask.tif", iter(planes), like, dtype=dtype, channels=channels)
    with open_stack(folder / "mask.tif") as mask:
        assert mask.shape == (*like.shape[:2], max(1, channels), *like.shape[3:])
        plain = like.axes.replace("C", "")
        assert mask.axes == (plain[:-2] + "C" + plain[-2:] if channels else plain)
        assert (mask.dtype, mask.pixel_size) == (dtype, like.pixel_size)
        for index, plane in zip(mask.planes(), planes, strict=True):
            np.testing.assert_array_equal(mask.plane(*index), np.atleast_3d(plane.T).T)
    like.close()
    assert names(folder) == {"raw.tif", "mask.tif"}


def test_other_programs_see_the_same(tmp_path):
    """tifffile, as scikit-image, napari and Cellpose use it, sees shape, channel axis and scale."""
    like = make_image(tmp_path / "raw.tif")
    planes = mask_planes(like)
    export(tmp_path / "mask.tif", planes, like)
    expected = np.stack(planes).reshape(3, 2, 17, 21)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "mask.tif"), expected)

    planes = mask_planes(like, "float32", channels=2)
    export(
        tmp_path / "p.tif", planes, like, dtype="float32", channels=2, channel_names=["a", "<b>"]
    )
    read = tifffile.imread(tmp_path / "p.tif")  # the contract: C leads
    expected = np.stack(planes).reshape(3, 2, 2, 17, 21).transpose(2, 0, 1, 3, 4)
    np.testing.assert_array_equal(read, expected)
    assert open_stack(tmp_path / "p.tif").channel_names == ("a", "<b>")
    with tifffile.TiffFile(tmp_path / "p.tif") as file:
        assert file.pages[0].tags["XResolution"].value == (80000, 1)  # per cm: 0.125 µm
        assert file.pages[0].tags["YResolution"].value == (40000, 1)


def test_one_pixel_lands_where_it_was(tmp_path):
    like = make_image(tmp_path / "raw.tif")
    planes = [np.zeros((17, 21), np.uint8) for _ in like.planes()]
    planes[3][3, 4] = planes[3][4, 4] = 2  # t = 1, z = 1
    export(tmp_path / "mask.tif", planes, like)
    assert {tuple(i) for i in np.argwhere(tifffile.imread(tmp_path / "mask.tif"))} == {
        (1, 1, 3, 4),
        (1, 1, 4, 4),
    }


def test_object_numbers_above_16_bits(tmp_path):
    like = make_image(tmp_path / "raw.tif", (2, 300, 300), "ZYX")
    planes = [np.arange(90_000, dtype=np.int64).reshape(300, 300) + 90_000 * z for z in range(2)]
    export(tmp_path / "objects.tif", planes, like, dtype=np.uint32)
    assert tifffile.imread(tmp_path / "objects.tif").max() == 179_999
    with pytest.raises(ExportError, match="16 bits"):
        export(tmp_path / "small.tif", planes, like, dtype=np.uint16)
    assert not (tmp_path / "small.tif").exists()


def test_progress_counts_writing_and_checking(tmp_path):
    like = make_image(tmp_path / "raw.tif")
    steps = export(tmp_path / "mask.tif", mask_planes(like), like)
    assert [s.done for s in steps] == list(range(1, 13))
    assert {s.total for s in steps} == {12}


def test_planes_are_taken_one_at_a_time(tmp_path):
    """Constant memory: the next plane is asked for only after the last one was written."""
    like = make_image(tmp_path / "raw.tif")
    asked = 0

    def planes() -> Iterator[np.ndarray]:
        nonlocal asked
        for plane in mask_planes(like):
            asked += 1
            yield plane

    for number, _ in zip(range(1, 7), write_mask(tmp_path / "m.tif", planes(), like=like,
                                                  dtype="uint8"), strict=False):  # fmt: skip
        assert asked == number


@pytest.mark.parametrize("steps", [0, 1, 5, 8])
def test_cancel_leaves_nothing_and_keeps_the_old_file(tmp_path, steps):
    like = make_image(tmp_path / "raw.tif")
    (tmp_path / "mask.tif").write_bytes(b"old")
    work = write_mask(tmp_path / "mask.tif", mask_planes(like), like=like, dtype="uint8")
    for _ in range(steps):
        next(work)
    assert (tmp_path / "mask.tif.part").exists() == (steps > 0)
    work.close()
    assert names(tmp_path) == {"raw.tif", "mask.tif"}
    assert (tmp_path / "mask.tif").read_bytes() == b"old"


def test_failure_of_the_planes_passes_through_and_leaves_nothing(tmp_path):
    like = make_image(tmp_path / "raw.tif")

    def planes() -> Iterator[np.ndarray]:
        yield np.zeros((17, 21), np.uint8)
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="CUDA"):
        export(tmp_path / "mask.tif", planes(), like)
    assert names(tmp_path) == {"raw.tif"}


def test_wrong_planes_are_refused(tmp_path):
    like = make_image(tmp_path / "raw.tif")
    planes = mask_planes(like)
    for wrong in (
        planes[:-1],
        [*planes, planes[0]],
        [p.T for p in planes],
        [p / 2 for p in planes],
    ):
        with pytest.raises(ExportError, match=r"m\.tif"):
            export(tmp_path / "m.tif", wrong, like)
    assert names(tmp_path) == {"raw.tif"}


def test_the_raw_image_never_changes(tmp_path):
    like = make_image(tmp_path / "raw.tif")
    before = hashlib.sha256((tmp_path / "raw.tif").read_bytes()).digest()
    os.link(tmp_path / "raw.tif", tmp_path / "other_name.tif")
    (tmp_path / "linked.tif").symlink_to(tmp_path / "raw.tif")
    for target in (tmp_path / "raw.tif", tmp_path / "." / "raw.tif", tmp_path / "other_name.tif",
                   tmp_path / "linked.tif"):  # fmt: skip
        with pytest.raises(ExportError, match="is the image itself"):
            export(target, mask_planes(like), like)
    export(tmp_path / "mask.tif", mask_planes(like), like)
    assert hashlib.sha256((tmp_path / "raw.tif").read_bytes()).digest() == before


def test_targets_that_cannot_be_written(tmp_path, monkeypatch):
    like = make_image(tmp_path / "raw.tif")
    planes = mask_planes(like)
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.tif").write_bytes(b"old")
    cases = [
        (tmp_path / "folder", {}, "is a folder"),
        (tmp_path / "none" / "m.tif", {}, "the folder does not exist"),
        (tmp_path / "there.tif" / "m.tif", {}, "its folder is a file"),
        (tmp_path / "there.tif", {"overwrite": False}, "exists already"),
        (tmp_path / ("m" * 300 + ".tif"), {}, "name is too long"),
    ]
    for target, options, words in cases:
        with pytest.raises(ExportError, match=words) as caught:
            export(target, planes, like, **options)
        assert target.name in str(caught.value) and str(caught.value).count("\n") == 0
    assert (tmp_path / "there.tif").read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    like = make_image(tmp_path / "raw.tif")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(ExportError, match="read-only"):
        export(locked / "mask.tif", mask_planes(like), like)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "read-only")],
)
def test_the_system_refuses_in_the_middle(tmp_path, monkeypatch, number, words):
    like = make_image(tmp_path / "raw.tif")
    (tmp_path / "mask.tif").write_bytes(b"old")
    real = tifffile.TiffWriter.write
    calls = []

    def write(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(number, os.strerror(number))
        return real(self, *arguments, **options)

    monkeypatch.setattr(tifffile.TiffWriter, "write", write)
    with pytest.raises(ExportError, match=rf"mask\.tif cannot be written .*{words}"):
        export(tmp_path / "mask.tif", mask_planes(like), like)
    assert names(tmp_path) == {"raw.tif", "mask.tif"}
    assert (tmp_path / "mask.tif").read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_disk(tmp_path, monkeypatch):
    like = make_image(tmp_path / "raw.tif")
    (tmp_path / "full").symlink_to("/dev/full")
    monkeypatch.setattr(unet_core.export, "sync_file", lambda path: None)
    writer = tifffile.TiffWriter
    monkeypatch.setattr(tifffile, "TiffWriter", lambda part, **k: writer(tmp_path / "full", **k))
    with pytest.raises(ExportError, match="disk is full"):
        export(tmp_path / "mask.tif", mask_planes(like), like)
    assert not (tmp_path / "mask.tif").exists()


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_disk_that_lies_is_noticed(tmp_path, monkeypatch, damage):
    """Pixels that change between writing and reading back never get the file's name."""
    like = make_image(tmp_path / "raw.tif")

    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as file:
            start = file.pages[2].dataoffsets[0]
        if damage == "flip":
            data[start + 20] ^= 0xFF
        else:
            del data[start:]
        path.write_bytes(data)

    monkeypatch.setattr(unet_core.export, "forget_cached", spoil)
    with pytest.raises(ExportError, match=r"mask\.tif was not written: it did not read back"):
        export(tmp_path / "mask.tif", mask_planes(like), like)
    assert names(tmp_path) == {"raw.tif"}


def test_odd_names_and_notes(tmp_path):
    like = make_image(tmp_path / "raw.tif", size=(1.0, 0.3, 0.3))
    target = tmp_path / "größe & <Zelle> 細胞.tif"
    export(target, mask_planes(like), like, description={"threshold": "0.5 < p & µ\0\n"})
    with open_stack(target) as mask:
        assert mask.pixel_size == like.pixel_size and mask.time_interval == 30.0


def test_atomic_write_removes_its_part_on_error(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), unet_core.atomic.replacing(tmp_path / "a.txt") as part:
        part.write_text("new")
        raise KeyboardInterrupt
    assert names(tmp_path) == {"a.txt"} and (tmp_path / "a.txt").read_text() == "old"
    with unet_core.atomic.replacing(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert names(tmp_path) == {"a.txt"} and (tmp_path / "a.txt").read_text() == "new"


# Labels


@pytest.mark.filterwarnings("ignore:.*stored as RGB:DeprecationWarning")
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "bool"])
@pytest.mark.parametrize("options", [{"photometric": "minisblack"}, {"compression": "zlib"}, {}])
def test_labels_of_the_stack_shape(tmp_path, dtype, options):
    like = make_image(tmp_path / "raw.tif", (3, 17, 21), "TYX")
    labels = np.zeros((3, 17, 21), dtype)
    labels[1, 3, 4] = 1
    # without "photometric", tifffile stores three planes as red, green and blue
    tifffile.imwrite(tmp_path / "labels.tif", labels, **options)
    found = read_labels(tmp_path / "labels.tif", like)
    assert list(found) == [PlaneIndex(1, 0)]
    np.testing.assert_array_equal(found[PlaneIndex(1, 0)], labels[1])


@pytest.mark.parametrize("shape", [(3, 2), (10, 3), (2, 4), (1, 3), (3, 1), (1, 1)])
def test_plain_labels_fit_whatever_their_axes_are_called(tmp_path, shape):
    """A plain TIFF of (10, 3, Y, X) could be ZCYX; against a TZYX image it is time and slices."""
    like = make_image(tmp_path / "raw.tif", (*shape, 17, 21), "TZYX")
    labels = np.random.default_rng(0).integers(0, 3, (*shape, 17, 21), dtype=np.uint16)
    for stored in (labels, labels.reshape([n for n in labels.shape if n > 1])):
        tifffile.imwrite(tmp_path / "labels.tif", stored, photometric="minisblack")
        found = read_labels(tmp_path / "labels.tif", like)
        for index in like.planes():
            np.testing.assert_array_equal(found[index], labels[index.t, index.z])


def test_labels_of_min_is_white_files_are_numbers(tmp_path):
    like = make_image(tmp_path / "raw.tif", (17, 21), "YX")
    labels = np.zeros((17, 21), np.uint8)
    labels[3, 4] = 2
    tifffile.imwrite(tmp_path / "labels.tif", labels, photometric="miniswhite")
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif", like)[(0, 0)], labels)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    like = make_image(tmp_path / "raw.tif", (3, 17, 21), "TYX")
    plain = {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((17, 21), np.uint8))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((3, 21, 17), np.uint8), **plain)
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((4, 17, 21), np.uint8), **plain)
    tifffile.imwrite(tmp_path / "d.tif", np.zeros((3, 17, 21), np.float32), **plain)
    tifffile.imwrite(tmp_path / "e.tif", np.full((3, 17, 21), -1, np.int16), **plain)
    (tmp_path / "f.tif").write_text("no image")
    for name, words in [
        ("a.tif", "does not fit raw.tif"),
        ("b.tif", "does not fit raw.tif"),
        ("c.tif", "4 slices"),
        ("d.tif", "fractional"),
        ("e.tif", "negative"),
        ("f.tif", "not an image"),
        ("g.tif", "does not exist"),
    ]:
        with pytest.raises((ExportError, StackError), match=words) as caught:
            read_labels(tmp_path / name, like)
        assert name in str(caught.value)


def test_an_annotation_goes_out_and_comes_back(tmp_path):
    """What a window paints can train on the command line."""
    like = make_image(tmp_path / "raw.tif")
    planes = [np.zeros((17, 21), np.uint8) for _ in like.planes()]
    planes[2][5:9, 3:7], planes[5][0, 0] = 1, 3
    export(tmp_path / "labels.tif", planes, like)
    found = read_labels(tmp_path / "labels.tif", like)
    assert set(found) == {(1, 0), (2, 1)}
    np.testing.assert_array_equal(found[PlaneIndex(1, 0)], planes[2])


def test_masks_are_named_after_the_image() -> None:
    assert mask_path(Path("/a/b.c.PNG"), "classes") == Path("/a/b.c_classes.tif")
    assert mask_path(Path("/a/b.tif"), "objects", Path("/x")) == Path("/x/b_objects.tif")
