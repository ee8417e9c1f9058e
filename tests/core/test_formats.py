"""Images of other formats, made here: opened right, lazily, and with what they say about pixels."""

import json
import struct
import time

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.stack_helpers import assert_holds, canonical, numbers, refusal
from unet_core import extras
from unet_core.choices import choices
from unet_core.reading import Reading
from unet_core.stack import StackError, open_stack
from unet_core.tiling import Rect

FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# --- NumPy -----------------------------------------------------------------------------------


@FEW
@given(data=st.data())
def test_any_npy(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    shape = tuple(data.draw(st.lists(st.integers(5, 9), min_size=2, max_size=5)))
    dtype = data.draw(st.sampled_from(["u1", ">u2", "<i4", "f4", "f8", "?"]))
    pixels = numbers(shape, "u1") > 99 if dtype == "?" else numbers(shape, dtype[-2:]).astype(dtype)
    order = data.draw(st.sampled_from("CF"))
    np.save(path, np.asarray(pixels, order=order))
    with open_stack(path) as stack:
        axes = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}[len(shape)]
        assert stack.axes == axes
        assert_holds(stack, canonical(pixels, axes))


def test_npy_with_colours_last(tmp_path):
    pixels = numbers((20, 30, 4))
    np.save(tmp_path / "a.npy", pixels)
    with open_stack(tmp_path / "a.npy") as stack:
        assert stack.is_rgb
        assert_holds(stack, canonical(pixels[..., :3], "YXC"))


def test_npy_that_would_run_code_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[print, 1], [2, 3]], object), allow_pickle=True)
    assert "object" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", numbers((9, 8)))
    whole = (tmp_path / "b.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-9])
    assert "cut short" in refusal(tmp_path / "cut.npy")
    (tmp_path / "odd.npy").write_bytes(whole.replace(b"descr", b"d[0]("))
    assert "NumPy" in refusal(tmp_path / "odd.npy")
    np.savez(tmp_path / "c.npz", a=numbers((9, 8)))
    assert ".npz" in refusal(tmp_path / "c.npz")


def test_an_npy_that_shrinks_while_open_is_an_error_not_a_crash(tmp_path):
    np.save(tmp_path / "a.npy", numbers((50, 100, 100)))
    with open_stack(tmp_path / "a.npy") as stack:
        with (tmp_path / "a.npy").open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(StackError, match="shorter"):
            stack.plane(0, 49)


# --- HDF5 ------------------------------------------------------------------------------------


def test_hdf5_as_ilastik_writes_it(tmp_path):
    pixels = numbers((3, 20, 30, 5, 2), "u2")  # t, y, x, z, c: any order
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("exported_data", data=pixels, chunks=True, compression="gzip")
        data.attrs["axistags"] = json.dumps({"axes": [{"key": a} for a in "tyxzc"]})
        data.attrs["element_size_um"] = [0.5, 0.2, 0.1]
        file.create_dataset("tiny", data=np.arange(3))
    with open_stack(tmp_path / "a.h5") as stack:
        assert stack.axes == "TZCYX" and stack.reading == Reading()
        assert stack.pixel_size == (0.5, 0.2, 0.1) and stack.z_stated
        assert_holds(stack, canonical(pixels, "TYXZC"))
        part = stack.region(2, 1, Rect(3, 4, 5, 6))
        np.testing.assert_array_equal(part, stack.plane(2, 1)[:, 3:8, 4:10])


def test_hdf5_datasets_are_chosen_by_name(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["label"] = numbers((4, 9, 8), "u2", 1)
        file["volumes/raw"] = numbers((4, 9, 8), "u1", 2)
        file["table"] = np.zeros(7)
        file["words"] = ["a", "b"]
    found = choices(tmp_path / "a.h5")
    assert [one.name for one in found.images] == ["volumes/raw", "label"]
    assert found.worth_asking
    for name, seed, dtype in (("volumes/raw", 2, "u1"), ("label", 1, "u2")):
        with open_stack(tmp_path / "a.h5", Reading(name)) as stack:
            assert stack.reading == Reading(name, "ZYX")
            assert_holds(stack, canonical(numbers((4, 9, 8), dtype, seed), "ZYX"))
    with pytest.raises(StackError, match=r"a\.h5 holds no image called other.*volumes/raw, label"):
        open_stack(tmp_path / "a.h5", Reading("other"))


def test_hdf5_leads_to_no_other_file(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = numbers((9, 8))
    (tmp_path / "secret.raw").write_bytes(bytes(72))
    layout = h5py.VirtualLayout((9, 8), "u1")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "data", (9, 8))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["external"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "data")
        file["soft"] = h5py.SoftLink("/external")
    assert "without an array" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        raw = (str(tmp_path / "secret.raw"), 0, h5py.h5f.UNLIMITED)
        file.create_dataset("raw", (9, 8), "u1", external=[raw])
    assert "other files" in refusal(tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5", "a") as file:
        file["own"] = numbers((9, 8))
    assert [one.name for one in choices(tmp_path / "b.h5").images] == ["own"]


def test_hdf5_with_a_compression_that_is_not_here(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=numbers((9, 8)), compression="gzip")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    assert "compressed in a way that Limn cannot read (deflate)" in refusal(tmp_path / "a.h5")


def test_hdf5_groups_in_circles_end(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("a/b/c")
        group["again"] = file["a"]
        group["data"] = numbers((9, 8))
        file["twin"] = group["data"]
    assert len(choices(tmp_path / "a.h5").images) == 1


# --- OME-Zarr --------------------------------------------------------------------------------


def write_zarr(path, pixels, axes, version="0.4", levels=3, **said):
    """A multiscale image as the NGFF specification has it."""
    root = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    kinds = {"t": ("time", "millisecond"), "c": ("channel", None)}
    described = []
    for axis in axes.lower():
        kind, unit = kinds.get(axis, ("space", "nanometer"))
        described.append({"name": axis, "type": kind, **({"unit": unit} if unit else {})})
    scale = {"t": 500, "c": 1, "z": 2000, "y": 300, "x": 250}
    datasets = []
    for level in range(levels):
        step = 2**level
        reduced = pixels[..., ::step, ::step]
        chunks = tuple(1 if a in "tzc" else 16 for a in axes.lower())
        options = {"dimension_names": list(axes.lower())} if version == "0.5" else {
            "chunk_key_encoding": {"name": "v2", "separator": "/"}}  # fmt: skip
        root.create_array(f"s{level}", data=reduced, chunks=chunks, **options)
        steps = [scale[a] * (step if a in "yx" else 1) for a in axes.lower()]
        moves = [{"type": "scale", "scale": steps}]
        datasets.append({"path": f"s{level}", "coordinateTransformations": moves})
    image = {"name": "cells", "axes": described, "datasets": datasets}
    everything = {"multiscales": [image], **said}
    root.attrs.update(everything if version == "0.4" else {"ome": {"version": "0.5", **everything}})
    return root


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["YX", "CYX", "ZYX", "TCZYX"])
def test_ome_zarr(tmp_path, version, axes):
    shape = tuple({"T": 2, "C": 3, "Z": 4, "Y": 50, "X": 70}[a] for a in axes)
    pixels = numbers(shape, "u2")
    omero = {"channels": [{"label": f"dye {i}", "color": f"00FF0{i}"} for i in range(3)]}
    root = write_zarr(tmp_path / "a.ome.zarr", pixels, axes, version, omero=omero)
    labels = root.create_group("labels")
    labels.create_group("cells")
    places = ["", "s0", "s1"] + (["zarr.json"] if version == "0.5" else [".zattrs", ".zgroup"])
    for place in [*places, "labels", "labels/cells"]:
        with open_stack(tmp_path / "a.ome.zarr" / place) as stack:
            assert stack.path == tmp_path / "a.ome.zarr"
            assert stack.axes == "".join(a for a in "TZCYX" if a in axes)
            assert_holds(stack, canonical(pixels, axes))
            z = 2.0 if "Z" in axes else 1.0
            assert stack.pixel_size == pytest.approx((z, 0.3, 0.25))
            assert stack.z_stated == ("Z" in axes)
            assert stack.time_interval == (0.5 if "T" in axes else None)
            if "C" in axes:
                assert stack.channel_names == ("dye 0", "dye 1", "dye 2")
                assert stack.channel_colors[2] == "#00ff02"
            assert stack.levels == ((50, 70), (25, 35), (13, 18))
            part = stack.region(0, 0, Rect(3, 4, 5, 6), level=1)
            whole = canonical(pixels, axes)[0, 0][:, ::2, ::2]
            np.testing.assert_array_equal(part, whole[:, 3:8, 4:10])
    fingerprint = open_stack(tmp_path / "a.ome.zarr").fingerprint()
    labels.create_array("cells/0", data=numbers((9, 8)))
    assert open_stack(tmp_path / "a.ome.zarr").fingerprint() == fingerprint


def test_several_images_in_a_zarr(tmp_path):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for name in "01":
        write_zarr(tmp_path / "a.zarr" / name, numbers((9, 8), seed=int(name)), "YX", levels=1)
    found = choices(tmp_path / "a.zarr")
    assert [one.name for one in found.images] == ["cells", "cells (2)"] and found.worth_asking
    with open_stack(tmp_path / "a.zarr", Reading("2")) as stack:
        np.testing.assert_array_equal(stack.plane(0, 0)[0], numbers((9, 8), seed=1))
    plain = zarr.open_group(tmp_path / "b.zarr", mode="w")
    plain.create_array("first", data=numbers((3, 9, 8)))
    with open_stack(tmp_path / "b.zarr") as stack:
        assert stack.axes == "ZYX" and stack.reading.axes == "ZYX"


def damaged_zarr(tmp_path, change):
    write_zarr(tmp_path / "a.zarr", numbers((20, 30)), "YX", levels=1)
    for name in (".zattrs", "s0/.zarray"):
        file = tmp_path / "a.zarr" / name
        said = json.loads(file.read_text())
        change(name, said)
        file.write_text(json.dumps(said))
    return refusal(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a["multiscales"][0]["datasets"][0].update(path="../b.zarr/s0"), "outside"),
        (lambda a: a["multiscales"][0]["datasets"][0].update(path="/etc"), "outside"),
        (lambda a: a["multiscales"][0]["datasets"][0].update(path="http://x/y"), "outside"),
        (lambda a: a["multiscales"][0]["datasets"][0].update(path="missing"), "lacks"),
        (lambda a: a["multiscales"][0].update(datasets=[]), "damaged"),
        (lambda a: a.update(multiscales=7), "damaged"),
    ],
)  # fmt: skip
def test_strange_attributes_of_a_zarr(tmp_path, change, words):
    assert words in damaged_zarr(tmp_path, lambda name, s: change(s) if name == ".zattrs" else None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filters": [{"id": "pickle"}]}, "pickle"),
        ({"compressor": {"id": "mine"}}, "mine"),
        ({"dtype": "|O"}, "unusual type"),
        ({"dtype": [["a", "<u2"]]}, "unusual type"),
        ({"dtype": "<c8"}, "unusual type"),
        ({"chunks": [10**6, 10**6]}, "too large"),
        ({"shape": [0, 5]}, "shape"),
        ({"shape": [10**7, 10**7], "chunks": [16, 16]}, "promises"),
    ],
)  # fmt: skip
def test_strange_arrays_of_a_zarr(tmp_path, change, words):
    def apply(name, said):
        said.update({} if name == ".zattrs" else change)

    assert words in damaged_zarr(tmp_path, apply)


def test_a_zarr_that_links_out_is_refused(tmp_path):
    write_zarr(tmp_path / "secret.zarr", numbers((20, 30)), "YX", levels=1)
    write_zarr(tmp_path / "a.zarr", numbers((20, 30)), "YX", levels=1)
    (tmp_path / "a.zarr" / "s0").rename(tmp_path / "kept")
    (tmp_path / "a.zarr" / "s0").symlink_to(tmp_path / "secret.zarr" / "s0")
    assert "outside" in refusal(tmp_path / "a.zarr")


# --- folders ---------------------------------------------------------------------------------


def write_folder(folder, names, shape=(9, 8), dtype="u1"):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        tifffile.imwrite(folder / name, numbers(shape, dtype, i), photometric="minisblack")


def test_a_folder_of_numbered_images(tmp_path):
    folder = tmp_path / "series"
    write_folder(folder, [f"cell {i}.tif" for i in range(12)])
    (folder / "notes 1.txt").write_text("no image")
    (folder / ".hidden 1.tif").write_bytes(b"no image")
    expected = np.stack([numbers((9, 8), "u1", i) for i in range(12)])
    with open_stack(folder) as stack:
        assert stack.axes == "TYX" and stack.path == folder and len(stack.files) == 12
        assert stack.reading.axes == "TYX"
        assert_holds(stack, canonical(expected, "TYX"))
    with open_stack(folder, Reading(axes="ZYX")) as stack:
        assert_holds(stack, canonical(expected, "ZYX"))
    with open_stack(folder, Reading(axes="CYX")) as stack:
        assert_holds(stack, canonical(expected, "CYX"))
    assert choices(folder).images[0].alternatives == ("TYX", "ZYX", "CYX")


def test_names_that_say_what_is_numbered(tmp_path):
    folder = tmp_path / "series"
    names = [f"a_T{t:03}_Z{z}_ch{c}.tif" for t in range(2) for z in range(3) for c in (1, 2)]
    write_folder(folder, names)
    expected = np.stack([numbers((9, 8), "u1", i) for i in range(12)]).reshape(2, 3, 2, 9, 8)
    with open_stack(folder) as stack:
        assert_holds(stack, expected)
        assert stack.axes == "TZCYX"
    (folder / names[5]).unlink()  # not a full grid any more: one after the other
    with open_stack(folder) as stack:
        assert stack.shape == (11, 1, 1, 9, 8)


def test_a_folder_of_stacks_and_of_colours(tmp_path):
    for t in range(3):
        for name, axes, photometric in (("z", "ZYX", "minisblack"), ("rgb", "YXS", "rgb")):
            (tmp_path / name).mkdir(exist_ok=True)
            shape = (4, 9, 8) if name == "z" else (9, 8, 3)
            tifffile.imwrite(tmp_path / name / f"{t}.tif", numbers(shape, "u1", t),
                             photometric=photometric, metadata={"axes": axes})  # fmt: skip
    with open_stack(tmp_path / "z") as stack:
        expected = np.stack([numbers((4, 9, 8), "u1", t) for t in range(3)])
        assert_holds(stack, canonical(expected, "TZYX"))
    with open_stack(tmp_path / "rgb") as stack:
        expected = np.stack([numbers((9, 8, 3), "u1", t) for t in range(3)])
        assert_holds(stack, canonical(expected, "TYXC"))
        assert stack.is_rgb
    with pytest.raises(StackError, match="can not be"):
        open_stack(tmp_path / "z", Reading(axes="ZZYX"))


def test_the_odd_one_out_is_named(tmp_path):
    folder = tmp_path / "series"
    write_folder(folder, [f"{i}.tif" for i in range(4)])
    write_folder(folder, ["7.tif"], (9, 7))
    sentence = refusal(folder)
    assert "7.tif" in sentence and "0.tif" in sentence
    write_folder(folder, [f"{i}.tif" for i in range(300)])
    write_folder(folder, ["101.tif"], (9, 7))
    with open_stack(folder) as stack, pytest.raises(StackError, match=r"101\.tif"):
        stack.plane(101, 0)
    empty = tmp_path / "empty"
    write_folder(empty, ["a.tif"])
    assert "folder" in refusal(empty)


def test_what_is_added_to_a_folder_under_other_names_changes_nothing(tmp_path):
    folder = tmp_path / "series"
    write_folder(folder, [f"cell {i}.tif" for i in range(5)])
    before = open_stack(folder).fingerprint()
    write_folder(folder, [f"cell {i}_objects.tif" for i in range(3)])
    assert open_stack(folder).fingerprint() == before
    assert len(choices(folder).images) == 2
    write_folder(folder, ["cell 2.tif"], dtype="u2")
    with pytest.raises(StackError):
        open_stack(folder)


# --- CZI -------------------------------------------------------------------------------------


def czi(path, tiles, kind=0, compression=0, xml="<ImageDocument/>", encode=bytes):
    """A minimal CZI. tiles: (start by dimension, pixels (Y, X[, S])), or with a stored copy."""
    content, entries = bytearray(), []

    def segment(name, body):
        place = len(content)
        content.extend(struct.pack("<16sqq", name, len(body), len(body)) + body)
        return place

    segment(b"ZISRAWFILE", bytes(512))
    for start, pixels, *size in tiles:
        height, width = size[0] if size else pixels.shape[:2]
        dimensions = {"X": (width, pixels.shape[1]), "Y": (height, pixels.shape[0])}
        rows = b""
        for name in ["X", "Y", *(a for a in start if a not in "XY")]:
            extent, stored = dimensions.get(name, (1, 1))
            rows += struct.pack("<4siifi", name.encode(), start.get(name, 0), extent, 0, stored)
        place, count = len(content), len(rows) // 20
        entry = struct.pack("<2siqiiB5xi", b"DV", kind, place, 0, compression, 0, count) + rows
        data = encode(np.ascontiguousarray(pixels).tobytes())
        head = (struct.pack("<iiq", 0, 0, len(data)) + entry).ljust(256, b"\0")
        segment(b"ZISRAWSUBBLOCK", head + data)
        entries.append(entry)
    text = xml.encode()
    metadata = segment(b"ZISRAWMETADATA", struct.pack("<ii", len(text), 0).ljust(256, b"\0") + text)
    directory = segment(
        b"ZISRAWDIRECTORY", struct.pack("<i", len(entries)).ljust(128, b"\0") + b"".join(entries)
    )
    struct.pack_into("<iqq", content, 32 + 48, 0, directory, metadata)
    path.write_bytes(content)


ZSTD_1 = (3, 1, 1)


def hi_lo(data):
    """Zstandard with all low bytes before all high ones."""
    apart = np.frombuffer(data, np.uint8).reshape(-1, 2).T.tobytes()
    return bytes(ZSTD_1) + imagecodecs.zstd_encode(apart)


@pytest.mark.parametrize(
    ("kind", "dtype", "compression", "encode"),
    [
        (0, "u1", 0, bytes), (1, "u2", 0, bytes), (2, "f4", 0, bytes), (12, "u4", 0, bytes),
        (1, "u2", 5, imagecodecs.zstd_encode), (1, "u2", 6, hi_lo),
        (0, "u1", 6, lambda data: b"\1" + imagecodecs.zstd_encode(data)),
        (0, "u1", 2, imagecodecs.lzw_encode),
    ],
)  # fmt: skip
def test_czi(tmp_path, kind, dtype, compression, encode):
    if encode is imagecodecs.lzw_encode and not imagecodecs.LZW.available:
        pytest.skip("no LZW encoder")
    pixels = numbers((2, 3, 2, 20, 30), dtype)
    tiles = [({"T": t, "Z": z, "C": c}, pixels[t, z, c])
             for t in range(2) for z in range(3) for c in range(2)]  # fmt: skip
    scaling = "".join(f'<Distance Id="{a}"><Value>{v}e-6</Value></Distance>'
                      for a, v in (("X", 0.1), ("Y", 0.2), ("Z", 0.5)))  # fmt: skip
    channels = "".join(f'<Channel Name="{n}"><Color>#FF{c}</Color></Channel>'
                       for n, c in (("DAPI", "0000FF"), ("GFP", "00FF00")))  # fmt: skip
    xml = (
        f"<ImageDocument><Metadata><Information><Image><Dimensions><Channels>{channels}</Channels>"
        "<T><Positions><Interval><Increment>2.5</Increment></Interval></Positions></T></Dimensions>"
        f"</Image></Information><Scaling><Items>{scaling}</Items></Scaling></Metadata>"
        "</ImageDocument>"
    )
    czi(tmp_path / "a.czi", tiles, kind, compression, xml, encode)
    with open_stack(tmp_path / "a.czi") as stack:
        assert_holds(stack, pixels)
        assert stack.pixel_size == pytest.approx((0.5, 0.2, 0.1)) and stack.z_stated
        assert stack.channel_names == ("DAPI", "GFP")
        assert stack.channel_colors == ("#0000ff", "#00ff00")
        assert stack.time_interval == 2.5


def test_czi_mosaics_scenes_and_smaller_copies(tmp_path):
    whole = numbers((40, 60), "u2")
    tiles = [({"S": 0, "M": m, "X": -7 + x, "Y": 5 + y}, whole[y : y + 22, x : x + 32])
             for m, (y, x) in enumerate([(0, 0), (0, 28), (18, 0), (18, 28)])]  # fmt: skip
    tiles.append(({"S": 0, "X": -7, "Y": 5}, whole[::2, ::2], (40, 60)))
    other = numbers((9, 8), "u2", 1)
    tiles.append(({"S": 1, "X": 500, "Y": 100}, other))
    czi(tmp_path / "a.czi", tiles, kind=1)
    with open_stack(tmp_path / "a.czi") as stack:
        assert stack.levels == ((40, 60), (20, 30)) and stack.reading == Reading("Scene 1")
        np.testing.assert_array_equal(stack.plane(0, 0)[0], whole)
        part = stack.region(0, 0, Rect(15, 25, 10, 12))
        np.testing.assert_array_equal(part[0], whole[15:25, 25:37])
        part = stack.region(0, 0, Rect(5, 6, 7, 8), 1)
        np.testing.assert_array_equal(part[0], whole[::2, ::2][5:12, 6:14])
    with open_stack(tmp_path / "a.czi", Reading("Scene 2")) as stack:
        np.testing.assert_array_equal(stack.plane(0, 0)[0], other)


def test_czi_colours_are_stored_blue_first(tmp_path):
    rgb = numbers((9, 8, 3))
    czi(tmp_path / "a.czi", [({}, rgb[..., ::-1])], kind=3)
    with open_stack(tmp_path / "a.czi") as stack:
        assert stack.is_rgb
        assert_holds(stack, canonical(rgb, "YXC"))


def test_czi_in_jpeg_xr(tmp_path):
    """Lossless. Colours are blue first, and say so where JPEG XR names its pixels."""
    rgb, rgb_name = numbers((32, 48, 3)), bytes.fromhex("24c3dd6f034efe4bb1853d77768dc90d")

    def encode(data):
        pixels = np.frombuffer(data, np.uint8).reshape(32, 48, -1)
        stored = imagecodecs.jpegxr_encode(pixels.squeeze(), level=1.0)
        return stored.replace(rgb_name, rgb_name[:-1] + b"\x0c")

    czi(tmp_path / "rgb.czi", [({}, rgb)], 3, 4, encode=encode)
    czi(tmp_path / "grey.czi", [({}, rgb[..., 0])], 0, 4, encode=encode)
    with open_stack(tmp_path / "rgb.czi") as stack:
        assert stack.is_rgb
        assert_holds(stack, canonical(rgb, "YXC"))
    with open_stack(tmp_path / "grey.czi") as stack:
        assert_holds(stack, canonical(rgb[..., 0], "YX"))


def test_a_damaged_czi_is_refused(tmp_path):
    czi(tmp_path / "a.czi", [({}, numbers((90, 80)))])
    whole = (tmp_path / "a.czi").read_bytes()
    for length in (40, 600, 2000, len(whole) - 10):
        (tmp_path / "cut.czi").write_bytes(whole[:length])
        assert "CZI" in refusal(tmp_path / "cut.czi")
    czi(tmp_path / "b.czi", [({}, numbers((9, 8)))], compression=99)
    assert "compressed" in refusal(tmp_path / "b.czi")


# --- LIF -------------------------------------------------------------------------------------


def lif(path, images):
    """A minimal LIF. images: name -> (axes, slowest first, of "TZCYX"; pixels; colours)."""
    elements, blocks = "", b""
    ids = {"X": 1, "Y": 2, "Z": 3, "T": 4}
    for number, (name, (axes, pixels, colors)) in enumerate(images.items()):
        strides = dict(zip(axes, pixels.strides, strict=True))
        sizes = dict(zip(axes, pixels.shape, strict=True))
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * pixels.itemsize}" '
            'NameOfMeasuredQuantity="" Min="0" Max="255" Unit="" '
            f'LUTName="{color}" IsLUTInverted="0" BytesInc="{i * strides.get("C", 0)}" BitInc="0"/>'
            for i, color in enumerate(colors)
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{ids[a]}" NumberOfElements="{sizes[a]}" Origin="0" '
            f'Length="{(sizes[a] - 1) * (2.0 if a == "T" else 1e-6)}" '
            f'Unit="{"s" if a == "T" else "m"}" BytesInc="{strides[a]}" BitInc="0"/>'
            for a in "XYZT" if a in axes
        )  # fmt: skip
        elements += (
            f'<Element Name="{name}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
            f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{pixels.nbytes}" MemoryBlockID="Block{number}"/></Element>'
        )
        block = f"Block{number}".encode("utf-16-le")
        head = struct.pack("<BQBI", 42, pixels.nbytes, 42, len(block) // 2) + block
        blocks += struct.pack("<II", 0x70, len(head)) + head + pixels.tobytes()
    xml = (f'<LMSDataContainerHeader Version="2"><Element Name="file"><Children>{elements}'
           "</Children></Element></LMSDataContainerHeader>").encode("utf-16-le")  # fmt: skip
    head = struct.pack("<BI", 42, len(xml) // 2) + xml
    path.write_bytes(struct.pack("<II", 0x70, len(head)) + head + blocks)


def test_lif(tmp_path):
    first, second = numbers((2, 3, 4, 20, 30), "u2"), numbers((20, 30), "u1")
    images = {"Series001": ("TZCYX", first, ("Red", "Green", "Gray", "odd")),
              "Series002": ("YX", second, ("Gray",))}  # fmt: skip
    lif(tmp_path / "a.lif", images)
    assert [one.name for one in choices(tmp_path / "a.lif").images] == ["Series001", "Series002"]
    with open_stack(tmp_path / "a.lif") as stack:
        assert_holds(stack, first)
        assert stack.pixel_size == pytest.approx((1, 1, 1)) and stack.time_interval == 2.0
        assert stack.channel_colors == ("#ff0000", "#00ff00", "#ffffff", "")
    with open_stack(tmp_path / "a.lif", Reading("Series002")) as stack:
        assert_holds(stack, canonical(second, "YX"))


# --- ND2 -------------------------------------------------------------------------------------


def light_variant(said):
    """Nikon's binary form of nested names and values."""
    content = b""
    for name, value in said.items():
        letters = (name + "\0").encode("utf-16-le")
        if isinstance(value, dict):
            inside = light_variant(value)
            head = bytes([11, len(letters) // 2]) + letters
            body = head + struct.pack("<IQ", len(value), len(head) + 12 + len(inside)) + inside
            content += body + bytes(8 * len(value))
            continue
        if isinstance(value, str):
            kind, packed = 8, (value + "\0").encode("utf-16-le")
        else:
            kind, form = {float: (6, "<d"), int: (3, "<I"), bool: (1, "<?")}[type(value)]
            packed = struct.pack(form, value)
        content += bytes([kind, len(letters) // 2]) + letters + packed
    return content


def nd2(path, frames, loops):
    """A minimal ND2. frames: (Y, X, C) each; loops: (kind, count), the outermost first."""
    content, places = bytearray(), {}

    def chunk(name, data, key=None):
        places[key or name] = (len(content), len(data))
        content.extend(struct.pack("<IIQ", 0x0ABECEDA, len(name), len(data)) + name + data)

    chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"))
    height, width, channels = frames[0].shape
    itemsize = frames[0].itemsize
    attributes = {
        "uiWidth": width, "uiHeight": height, "uiWidthBytes": width * channels * itemsize,
        "uiComp": channels, "uiBpcInMemory": 8 * itemsize, "uiBpcSignificant": 8 * itemsize,
        "uiSequenceCount": len(frames), "uiVirtualComponents": channels, "eCompression": 2,
    }  # fmt: skip
    chunk(b"ImageAttributesLV!", light_variant({"SLxImageAttributes": attributes}))
    probe = {"m_ExcitationSpectrum": {"uiCount": 0}, "m_EmissionSpectrum": {"uiCount": 0}}
    planes = {f"a{i}": {"uiCompCount": 1, "uiColor": color, "sDescription": f"dye {i}",
                        "pFluorescentProbe": probe}
              for i, color in enumerate([0xFF0000, 0x00FF00, 0x0000FF][:channels])}  # fmt: skip
    picture = {"sPicturePlanes": {"uiCount": channels, "sPlaneNew": planes},
               "dCalibration": 0.25, "bCalibrated": True, "dTimeMSec": 0.0}  # fmt: skip
    chunk(b"ImageMetadataSeqLV|0!", light_variant({"SLxPictureMetadata": picture}))
    experiment: dict = {}
    for kind, count in loops[::-1]:
        pars: dict = {"uiCount": count}
        if kind == 1:
            pars |= {"dStart": 0.0, "dPeriod": 500.0, "dDuration": 0.0}
        if kind == 2:
            points = {f"i{i}": {"dPosX": 0.0, "dPosY": 0.0, "dPosZ": 0.0, "dPFSOffset": 0.0,
                                "dPosName": f"well {i}"} for i in range(count)}  # fmt: skip
            pars |= {"Points": points, "bUseZ": False}
        if kind == 4:
            pars |= {"dZLow": 0.0, "dZHigh": 2.0 * (count - 1), "dZStep": 2.0, "dZHome": 0.0,
                     "bAbsolute": False, "iType": 0, "dReferencePosition": 0.0,
                     "bInversed": False}  # fmt: skip
        level = {"eType": kind, "uiNextLevelCount": int(bool(experiment)), "uLoopPars": pars}
        experiment = level | ({"ppNextLevelEx": {"one": experiment}} if experiment else {})
    if experiment:
        chunk(b"ImageMetadataLV!", light_variant({"SLxExperiment": experiment}))
    for number, frame in enumerate(frames):
        key = f"ImageDataSeq|{number}!".encode()
        chunk(key.ljust(4072, b"\0"), bytes(8) + frame.tobytes(), key)  # on a page of the disk
    start = len(content)
    rows = b"".join(key + struct.pack("<QQ", *place) for key, place in places.items())
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!"
    chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", rows + end + struct.pack("<Q", start))
    content.extend(end + struct.pack("<Q", start))
    path.write_bytes(content)


def test_nd2(tmp_path):
    pixels = numbers((2, 3, 4, 2, 20, 32), "u2")  # t, p, z, c, y, x
    frames = [np.ascontiguousarray(np.moveaxis(pixels[t, p, z], 0, -1))
              for t in range(2) for p in range(3) for z in range(4)]  # fmt: skip
    nd2(tmp_path / "a.nd2", frames, [(1, 2), (2, 3), (4, 4)])
    found = choices(tmp_path / "a.nd2")
    assert [one.name for one in found.images] == ["well 0", "well 1", "well 2"]
    for position, image in enumerate(found.images):
        with open_stack(tmp_path / "a.nd2", image.reading()) as stack:
            assert_holds(stack, pixels[:, position])
            assert stack.pixel_size == (2.0, 0.25, 0.25) and stack.z_stated
            assert stack.time_interval == 0.5
            assert stack.channel_names == ("dye 0", "dye 1")
            assert stack.channel_colors == ("#0000ff", "#00ff00")
    nd2(tmp_path / "b.nd2", [np.ascontiguousarray(frames[0][..., :1])], [])
    with open_stack(tmp_path / "b.nd2") as stack:
        assert_holds(stack, pixels[:1, 0, :1, :1])
    whole = (tmp_path / "a.nd2").read_bytes()
    (tmp_path / "cut.nd2").write_bytes(whole[: len(whole) // 2])
    assert "ND2" in refusal(tmp_path / "cut.nd2")


@pytest.mark.parametrize(
    ("start", "kind"), [(b"\x70\0\0\0", "LIF"), (b"\xda\xce\xbe\x0a", "ND2")]
)  # fmt: skip
def test_where_a_package_is_missing_it_is_named(tmp_path, monkeypatch, start, kind):
    def missing(_name):
        raise ImportError

    monkeypatch.setattr(extras, "import_module", missing)
    (tmp_path / "a.xyz").write_bytes(start + bytes(500))
    sentence = refusal(tmp_path / "a.xyz")
    package = {"LIF": "liffile", "ND2": "nd2"}[kind]
    assert kind in sentence and f"pip install {package} (or 'limn[formats]'" in sentence


def test_a_damaged_nd2_is_refused(tmp_path):
    (tmp_path / "a.nd2").write_bytes(b"\xda\xce\xbe\x0a" + bytes(500))
    assert "ND2" in refusal(tmp_path / "a.nd2")


# --- however large -----------------------------------------------------------------------------


def test_opening_costs_little_however_large_the_file(tmp_path):
    """5 GiB each, sparse: nothing but a plane's own bytes is read."""
    shape = (160, 4096, 4096)
    header = {"descr": "<u2", "fortran_order": False, "shape": shape}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * 160 * 4096 * 4096)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", shape, "u2", chunks=(1, 512, 512))
        file["data"][159, :512, :512] = 7
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    array = root.create_array("0", shape=shape, chunks=(1, 512, 512), dtype="u2")
    array[159, :512, :512] = 7
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    axes = [{"name": a, "type": "space"} for a in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    for name, value in (("a.npy", 0), ("a.h5", 7), ("a.zarr", 7)):
        start = time.process_time()
        with open_stack(tmp_path / name) as stack:
            assert stack.shape == (1, 160, 1, 4096, 4096)
            assert stack.plane(0, 159)[0, 0, 0] == value
        assert time.process_time() - start < 3


def test_a_part_of_a_plane_reads_only_its_chunks(tmp_path):
    write_zarr(tmp_path / "a.zarr", numbers((64, 64)), "YX", levels=1)
    for chunk in (tmp_path / "a.zarr" / "s0").glob("*/*"):
        if chunk.name != "0" or chunk.parent.name != "0":
            chunk.write_bytes(b"damaged")
    with open_stack(tmp_path / "a.zarr") as stack:
        part = stack.region(0, 0, Rect(2, 3, 10, 9))
        np.testing.assert_array_equal(part[0], numbers((64, 64))[2:12, 3:12])
        with pytest.raises(StackError, match="damaged"):
            stack.region(0, 0, Rect(2, 3, 30, 9))
