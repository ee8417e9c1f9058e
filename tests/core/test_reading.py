"""Which image of a file, and what its axes mean: chosen, kept, and refused where it can not be."""

import math
import re

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.stack_helpers import assert_holds, canonical, numbers, refusal
from unet_core.axes import alternative_axes, chosen_axes, default_axes
from unet_core.choices import choices, thumbnail, thumbnails
from unet_core.image_reference import ImageReference, check_image, find_image
from unet_core.reading import Reading, distinct
from unet_core.stack import StackError, open_stack

QUICK = settings(max_examples=300, deadline=None)


def plain(path, pixels, **options):
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    return path


# --- axes ------------------------------------------------------------------------------------


@QUICK
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.data())
def test_every_alternative_is_a_reading(shape, data):
    axes = "".join("?" if data.draw(st.booleans()) else a for a in "TZC"[: len(shape) - 2]) + "YX"
    found = alternative_axes(axes, shape)
    assert found[0] == default_axes(axes, shape) and len(set(found)) == len(found)
    for one in found:
        assert chosen_axes("a", axes, shape, one) == one
        letters = one.replace("_", "")
        assert len(set(letters)) == len(letters) and letters[-2:] == "YX"
        assert all(a in ("?", b) for a, b in zip(axes, one, strict=True) if a != b and a != "?")
    if "?" not in axes:
        assert found == (axes,)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9, 50, 60), ["ZYX", "TYX", "CYX"]),
        ((99, 50, 60), ["ZYX", "TYX"]),
        ((7, 2, 50, 60), ["ZCYX"]),
        ((50, 60, 3), ["YXS"]),
        ((50, 60), ["YX"]),
        ((1, 50, 60), ["ZYX"]),
    ],
)
def test_what_is_offered(shape, expected):
    found = alternative_axes("?" * len(shape), shape)
    assert list(found[: len(expected)]) == expected
    assert len(found) <= 6


@pytest.mark.parametrize(
    "wanted",
    ["", "YX", "TYXC", "XYT", "AYX", "YYX", "TTYX", "TCYX", "ZY", "_YX", "T" * 99, "T\nYX"],
)
def test_axes_that_can_not_be(tmp_path, wanted):
    path = plain(tmp_path / "a.tif", numbers((9, 8, 7)))
    with pytest.raises(StackError) as caught:
        open_stack(path, Reading(axes=wanted))
    assert "a.tif can not be read as" in str(caught.value) and len(str(caught.value)) < 200


def test_sizes_of_one_may_be_left_out(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, numbers((5, 9, 8)), photometric="minisblack", metadata={"axes": "ZYX"})
    with open_stack(path, Reading(axes="TYX")) as stack:
        assert_holds(stack, canonical(numbers((5, 9, 8)), "TYX"))


def test_the_axes_of_a_plain_tiff_are_chosen(tmp_path):
    pixels = numbers((3, 20, 30), "u2")
    for options in ({}, {"compression": "zlib"}, {"metadata": None}, {"metadata": None,
                    "description": "ImageJ=1.54f\nimages=3\n"}):  # fmt: skip
        path = plain(tmp_path / "a.tif", pixels, **options)
        image = choices(path).images[0]
        assert len(image.alternatives) == 3
        for axes, shape in zip(image.alternatives, [(1, 3, 1), (3, 1, 1), (1, 1, 3)], strict=True):
            with open_stack(path, image.reading(axes)) as stack:
                assert stack.shape == (*shape, 20, 30) and stack.reading.axes == axes
                assert_holds(stack, pixels.reshape(stack.shape))


def test_a_file_that_says_everything_leaves_no_choice(tmp_path):
    path = plain(tmp_path / "a.tif", numbers((3, 9, 8)), imagej=True, metadata={"axes": "TYX"})
    assert not choices(path).worth_asking
    with open_stack(path) as stack:
        assert stack.reading == Reading() and stack.reading.stored() == {}


# --- several images in a TIFF ------------------------------------------------------------------


def test_pages_of_different_sizes_are_images(tmp_path):
    shapes = [(40, 50), (9, 8), (40, 51)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for seed, shape in enumerate(shapes):
            writer.write(numbers(shape, seed=seed), photometric="minisblack", metadata=None)
    found = choices(tmp_path / "a.tif")
    assert found.several and len(found.images) == 3
    for number, (image, shape) in enumerate(zip(found.images, shapes, strict=True)):
        with open_stack(tmp_path / "a.tif", image.reading()) as stack:
            assert_holds(stack, numbers((1, 1, 1, *shape), seed=number))
            assert stack.reading.series == image.name


def test_images_of_an_ome_tiff_have_their_own_words(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for i in range(3):
            writer.write(
                numbers((2, 9, 8 + i), seed=i),
                photometric="minisblack",
                metadata={
                    "axes": "CYX", "Name": f"well {i}", "PhysicalSizeX": 0.1 * (i + 1),
                    "PhysicalSizeY": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm",
                    "Channel": {"Name": [f"a{i}", f"b{i}"], "Color": [-16776961, 0x00FF00FF]},
                },
            )  # fmt: skip
    names = [one.name for one in choices(tmp_path / "a.ome.tif").images]
    assert names == ["well 0", "well 1", "well 2"]
    with open_stack(tmp_path / "a.ome.tif", Reading("well 2")) as stack:
        assert stack.channel_names == ("a2", "b2")
        assert stack.channel_colors == ("#ff0000", "#00ff00")
        assert stack.pixel_size == pytest.approx((1, 0.2, 0.3))
        np.testing.assert_array_equal(stack.plane(0, 0), numbers((2, 9, 10), seed=2))


def test_colours_of_imagej(tmp_path):
    ramp = np.arange(256, dtype=np.uint8)
    luts = [np.stack([ramp, 0 * ramp, ramp]), np.stack([0 * ramp, ramp, 0 * ramp])]
    path = plain(tmp_path / "a.tif", numbers((2, 9, 8)), imagej=True,
                 metadata={"axes": "CYX", "mode": "composite", "LUTs": luts})  # fmt: skip
    with open_stack(path) as stack:
        assert stack.channel_colors == ("#ff00ff", "#00ff00")


def companion_set(folder, names):
    """Two planes, each in its own file, whose description is a third one."""
    data = ""
    for z, name in enumerate(names):
        data += (f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">'
                 f"urn:uuid:0000000{z}-0000-4000-8000-000000000000</UUID></TiffData>")  # fmt: skip
        binary = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:0000000{z}-0000-4000-8000-000000000000">'
            '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:1"/></OME>'
        )
        tifffile.imwrite(folder / f"z{z}.ome.tif", numbers((9, 8), seed=z), metadata=None,
                         photometric="minisblack", description=binary)  # fmt: skip
    (folder / "set.companion.ome").write_text(
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels DimensionOrder="XYZCT" ID="Pixels:0" Type="uint8" SizeX="8" '
        f'SizeY="9" SizeZ="2" SizeC="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5">{data}'
        "</Pixels></Image></OME>"
    )
    return folder / "z0.ome.tif"


def test_a_set_with_a_companion(tmp_path):
    path = companion_set(tmp_path, ["z0.ome.tif", "z1.ome.tif"])
    with open_stack(path) as stack:
        assert stack.axes == "ZYX" and stack.pixel_size == (1.0, 0.5, 0.5)
        for z in range(2):
            np.testing.assert_array_equal(stack.plane(0, z)[0], numbers((9, 8), seed=z))
    (tmp_path / "set.companion.ome").unlink()
    with open_stack(path) as stack:
        assert stack.shape == (1, 1, 1, 9, 8)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.tif",
        "/etc/passwd",
        r"\\evil\share\a.tif",
        "//evil/share/a.tif",
        "C:a.tif",
        "..&#47;secret.tif",
    ],
)
def test_a_set_that_leads_to_other_places_is_refused(tmp_path, name):
    path = companion_set(tmp_path, ["z0.ome.tif", name])
    assert "other folders" in refusal(path)
    text = (tmp_path / "set.companion.ome").read_text()
    tifffile.imwrite(tmp_path / "b.ome.tif", numbers((9, 8)), metadata=None, description=text,
                     photometric="minisblack")  # fmt: skip
    assert "other folders" in refusal(tmp_path / "b.ome.tif")


def test_other_paths_in_a_description_do_not_matter(tmp_path):
    path = companion_set(tmp_path, ["z0.ome.tif", "z1.ome.tif"])
    companion = tmp_path / "set.companion.ome"
    text = companion.read_text().replace("<Image ", '<Image FileName="D:\\data\\x.czi" ')
    companion.write_text(text)
    with open_stack(path) as stack:
        assert stack.axes == "ZYX"


def test_names_are_made_distinct():
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]
    assert len(set(distinct(["a", "a (2)", "a"]))) == 3


# --- what a project keeps ----------------------------------------------------------------------


def test_a_project_keeps_the_reading(tmp_path):
    path = plain(tmp_path / "a.tif", numbers((3, 9, 8)))
    with open_stack(path, Reading(axes="TYX")) as stack:
        reference = ImageReference.of(stack)
    stored = reference.stored(tmp_path)
    assert stored["reading"] == {"axes": "TYX"}
    again = ImageReference.restored(stored, tmp_path)
    assert again == reference
    with open_stack(again.path, again.reading) as stack:
        assert stack.shape == (3, 1, 1, 9, 8) and check_image(again, stack) is None
    del stored["reading"]  # as older projects have it
    assert ImageReference.restored(stored, tmp_path).reading == Reading()


@pytest.mark.parametrize(
    "odd", [7, "TYX", [], {"axes": 7}, {"series": ["a"]}, {"axes": "T" * 9999}]
)
def test_strange_readings_of_a_project(tmp_path, odd):
    path = plain(tmp_path / "a.tif", numbers((3, 9, 8)))
    stored = {**ImageReference.of(open_stack(path)).stored(tmp_path), "reading": odd}
    with pytest.raises(TypeError):
        ImageReference.restored(stored, tmp_path)


def test_folders_are_found_again(tmp_path):
    (tmp_path / "one" / "series").mkdir(parents=True)
    for i in range(3):
        plain(tmp_path / "one" / "series" / f"{i}.tif", numbers((9, 8), seed=i))
    reference = ImageReference.of(open_stack(tmp_path / "one" / "series", Reading(axes="ZYX")))
    stored = reference.stored(tmp_path / "one")
    assert find_image(reference, tmp_path / "one") == tmp_path / "one" / "series"
    (tmp_path / "one").rename(tmp_path / "two")
    moved = ImageReference.restored(stored, tmp_path / "two")
    assert find_image(moved, tmp_path / "two") == tmp_path / "two" / "series"
    (tmp_path / "two" / "series").rename(tmp_path / "two" / "other")
    (tmp_path / "two" / "deeper").mkdir()
    (tmp_path / "two" / "other").rename(tmp_path / "two" / "deeper" / "series")
    assert find_image(moved, tmp_path / "two") == tmp_path / "two" / "deeper" / "series"
    (tmp_path / "else" / "where").mkdir(parents=True)
    (tmp_path / "two" / "deeper" / "series").rename(tmp_path / "else" / "where" / "renamed")
    assert find_image(moved, tmp_path / "two") is None
    named = tmp_path / "else" / "where" / "renamed"
    assert find_image(moved, tmp_path / "two", [named]) == named
    named.rename(tmp_path / "two" / "deeper" / "series")
    plain(tmp_path / "two" / "deeper" / "series" / "1.tif", numbers((9, 8), seed=9))
    assert find_image(moved, tmp_path / "two") is None


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "?"])
@pytest.mark.parametrize("shape", [(300, 200), (10, 90), (3, 2)])
def test_thumbnails(tmp_path, dtype, shape):
    pixels = numbers(shape, "u1") > 99 if dtype == "?" else numbers(shape, dtype)
    if dtype == "f4":
        pixels[0, 0], pixels[1, 1] = math.nan, math.inf
    path = plain(tmp_path / "a.tif", pixels)
    picture = thumbnail(open_stack(path), 64)
    assert picture.dtype == np.uint8 and picture.ndim == 2 and max(picture.shape) <= 64
    assert picture.flags.c_contiguous
    assert picture.min() < 30 and picture.max() > 200


def test_thumbnails_of_several_channels_and_of_large_planes(tmp_path, monkeypatch):
    pixels = numbers((3, 90, 80), "u2")
    path = plain(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "CYX"})
    (picture,) = thumbnails(path, Reading(), 32)
    assert picture.shape == (30, 27, 3)
    pixels = numbers((256, 256))
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        writer.write(pixels, subifds=1, tile=(16, 16), photometric="minisblack")
        writer.write(pixels[::4, ::4], subfiletype=1, photometric="minisblack")
    with open_stack(tmp_path / "p.tif") as stack:
        monkeypatch.setattr(stack, "plane", None)  # the smaller copy is enough
        assert thumbnail(stack, 64).shape == (64, 64)


def test_choices_read_no_pixels(tmp_path, monkeypatch):
    path = plain(tmp_path / "a.tif", numbers((3, 90, 80)), compression="zlib")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
    found = choices(path)
    assert found.worth_asking and re.fullmatch(r"uint8", found.images[0].dtype)
