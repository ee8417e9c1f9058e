"""The document: strokes, history, planes and classes, without a viewport."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from pytestqt.qtbot import QtBot

from app.document import MAX_BRUSH, Document
from unet_core.annotation import (
    Annotation,
    AnnotationError,
    Edit,
    History,
    Tile,
    TileChange,
    TileKey,
)
from unet_core.stack import PlaneIndex, open_stack
from unet_core.tiling import Rect

HEIGHT, WIDTH = 300, 400


@pytest.fixture
def document(qapp: object, tmp_path: Path):
    """Two time points of three slices, two channels."""
    path = tmp_path / "stack.tif"
    pixels = np.zeros((2, 3, 2, HEIGHT, WIDTH), np.uint8)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TZCYX"})
    made = Document()
    with open_stack(path) as stack:
        made.set_stack(stack, np.array([[0, 255], [0, 99]], np.float32))
        yield made


class Heard:
    """Everything a document says, in order."""

    def __init__(self, document: Document) -> None:
        self.said: list[str] = []
        self.edits: list[Edit] = []
        self.labels: list[tuple[PlaneIndex, Rect]] = []
        for name in (
            "stack_changed", "plane_changed", "undone", "redone", "history_changed",
            "counts_changed", "classes_changed", "tool_changed", "channels_changed",
        ):  # fmt: skip
            getattr(document, name).connect(lambda name=name: self.said.append(name))
        document.edited.connect(self.edits.append)
        document.edited.connect(lambda _: self.said.append("edited"))
        document.labels_changed.connect(lambda plane, rect: self.labels.append((plane, rect)))
        document.labels_edited.connect(
            lambda edit: self.labels.extend((c.key.plane, c.extent) for c in edit.changes)
        )


def paint(document: Document, *points: tuple[float, float], erase: bool = False) -> None:
    document.begin_stroke(*points[0], erase=erase)
    for point in points[1:]:
        document.extend_stroke(*point)
    document.end_stroke()


def test_a_stroke_paints_the_active_class_and_becomes_one_edit(document: Document) -> None:
    document.set_brush_diameter(10)
    document.set_active_class(1)
    heard = Heard(document)
    document.begin_stroke(50.5, 60.5)
    assert document.stroking
    document.extend_stroke(50.5, 100.5)
    labels = document.annotation.read(document.plane)
    assert labels[50, 60] == labels[50, 80] == labels[50, 100] == 1
    assert heard.edits == []
    document.end_stroke()
    assert not document.stroking
    assert heard.said == ["edited", "history_changed", "counts_changed"]
    changed = np.zeros((HEIGHT, WIDTH), bool)
    for plane, rect in heard.labels:
        assert plane == document.plane
        changed[rect.slices] = True
    assert changed[labels > 0].all()
    assert document.annotation.counts() == {1: int((labels == 1).sum())}


def test_a_stroke_that_changes_nothing_is_no_edit(document: Document) -> None:
    heard = Heard(document)
    paint(document, (10, 10), erase=True)
    paint(document, (-500, -500))
    assert heard.edits == []
    assert not document.history.can_undo


def test_eraser_and_right_button_take_labels_away(document: Document) -> None:
    paint(document, (50, 50), (50, 150))
    document.set_tool("eraser")
    paint(document, (50, 50))
    assert document.annotation.read(document.plane)[50, 50] == 0
    document.set_tool("brush")
    paint(document, (50, 150), erase=True)
    assert document.annotation.read(document.plane)[50, 150] == 0
    assert document.annotation.read(document.plane)[50, 100] == 2


def test_a_cancelled_stroke_leaves_no_trace(document: Document) -> None:
    paint(document, (100, 100))
    before = document.annotation.read(document.plane)
    heard = Heard(document)
    document.begin_stroke(100, 100, erase=True)
    document.extend_stroke(100, 150)
    document.cancel_stroke()
    assert np.array_equal(document.annotation.read(document.plane), before)
    assert heard.said == []
    document.extend_stroke(10, 10)
    document.end_stroke()
    assert heard.said == []


def test_undo_and_redo_go_to_the_plane_of_the_change(document: Document) -> None:
    document.set_plane(1, 2)
    paint(document, (20, 20), (280, 390))
    painted = document.annotation.read(PlaneIndex(1, 2))
    document.set_plane(0, 0)
    paint(document, (100, 100))
    heard = Heard(document)
    document.undo()
    assert document.plane == PlaneIndex(0, 0)
    document.undo()
    assert document.plane == PlaneIndex(1, 2)
    assert document.annotation.labelled_planes() == []
    assert heard.said.count("undone") == 2
    document.undo()
    assert heard.said.count("undone") == 2
    document.set_plane(0, 1)
    document.redo()
    assert document.plane == PlaneIndex(1, 2)
    assert np.array_equal(document.annotation.read(document.plane), painted)
    assert heard.said.count("redone") == 1
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for plane, rect in heard.labels:
        if plane == PlaneIndex(1, 2):
            covered[rect.slices] = True
    assert covered[painted > 0].all()


def test_undo_during_a_stroke_takes_back_that_stroke(document: Document) -> None:
    paint(document, (10, 10))
    document.begin_stroke(100, 100)
    document.undo()
    assert not document.stroking
    labels = document.annotation.read(document.plane)
    assert labels[10, 10] == 2
    assert labels[100, 100] == 0
    document.redo()
    assert document.annotation.read(document.plane)[100, 100] == 2


def test_a_damaged_edit_is_told_and_the_history_stays_where_it_was(document: Document) -> None:
    key = TileKey(0, 0, 0, 0)
    never_painted = Tile(key, np.full((256, 256), 2 << 24, np.uint32))
    wrong = Edit("stroke", (TileChange(key, None, never_painted),))
    document.history.push(wrong)
    with pytest.raises(AnnotationError):
        document.undo()
    assert document.history.can_undo
    assert not document.history.can_redo


def test_changing_the_plane_finishes_the_stroke_on_its_own_plane(document: Document) -> None:
    heard = Heard(document)
    document.begin_stroke(50, 50)
    document.step_z(1)
    assert document.plane == PlaneIndex(0, 1)
    assert [edit.plane for edit in heard.edits] == [PlaneIndex(0, 0)]
    document.extend_stroke(50, 80)
    assert document.annotation.labelled_planes() == [PlaneIndex(0, 0)]


def test_planes_stay_within_the_stack(document: Document) -> None:
    heard = Heard(document)
    document.step_z(100)
    document.step_t(100)
    assert document.plane == PlaneIndex(1, 2)
    assert heard.said == ["plane_changed"] * 2
    document.step_z(1)
    assert heard.said == ["plane_changed"] * 2
    document.set_plane(-5, -5)
    assert document.plane == PlaneIndex(0, 0)


def test_a_straight_stroke_joins_the_last_one_on_this_plane_only(document: Document) -> None:
    document.set_brush_diameter(3)
    paint(document, (50.5, 50.5))
    document.begin_stroke(50.5, 200.5, straight=True)
    document.end_stroke()
    assert (document.annotation.read(document.plane)[50, 50:201] == 2).all()
    document.step_z(1)
    document.begin_stroke(80.5, 80.5, straight=True)
    document.end_stroke()
    labels = document.annotation.read(document.plane)
    assert labels[80, 80] == 2
    assert labels.sum() < 2 * 20


def test_a_new_stack_starts_afresh_and_ends_the_stroke(document: Document) -> None:
    heard = Heard(document)
    document.set_tool("eraser")
    document.set_plane(1, 1)
    document.set_tool("brush")
    document.begin_stroke(50, 50)
    stack, old = document.stack, document.annotation
    document.set_stack(stack)
    assert len(heard.edits) == 1
    assert old.labelled_planes() == [PlaneIndex(1, 1)]
    assert document.plane == PlaneIndex(0, 0)
    assert document.annotation.labelled_planes() == []
    assert document.visible_channels == [True, True]
    assert document.ranges.shape == (2, 2)
    document.set_stack(None)
    assert document.plane_rect.empty
    for action in (document.undo, document.redo, document.end_stroke, document.cancel_stroke):
        action()
    document.begin_stroke(1, 1)
    document.step_z(1)
    document.pick_class(0, 0)
    assert not document.stroking


def test_labels_and_ranges_of_another_shape_are_refused(document: Document) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        document.set_stack(document.stack, annotation=Annotation((1, 1, 5, 5)))
    with pytest.raises(ValueError, match="2 channels"):
        document.set_stack(document.stack, np.zeros((3, 2), np.float32))


def test_labels_and_history_can_be_taken_over(document: Document) -> None:
    annotation, history = Annotation((2, 3, HEIGHT, WIDTH)), History()
    edit = annotation.write(PlaneIndex(1, 1), np.full((10, 10), 2))
    assert edit is not None
    history.push(edit)
    document.set_stack(document.stack, None, annotation, history)
    document.undo()
    assert document.plane == PlaneIndex(1, 1)
    assert annotation.counts() == {}


def test_an_import_is_one_edit(document: Document) -> None:
    heard = Heard(document)
    edit = document.annotation.write(PlaneIndex(0, 2), np.full((20, 30), 2))
    assert edit is not None
    document.apply_edit(edit)
    assert heard.edits == [edit]
    assert heard.labels[0][0] == PlaneIndex(0, 2)
    document.undo()
    assert document.annotation.counts() == {}


def test_tools_and_brush(document: Document) -> None:
    heard = Heard(document)
    document.set_tool("pan")
    document.set_tool("pan")
    with pytest.raises(ValueError, match="no tool"):
        document.set_tool("chainsaw")  # type: ignore[arg-type]
    assert heard.said == ["tool_changed"]
    document.set_brush_diameter(0)
    assert document.brush_diameter == 1
    sizes = [1]
    for _ in range(80):
        document.step_brush(1)
        sizes.append(document.brush_diameter)
    assert all(a < b or b == MAX_BRUSH for a, b in zip(sizes, sizes[1:], strict=False))
    assert document.brush_diameter == MAX_BRUSH
    document.step_brush(-200)
    assert document.brush_diameter == 1


def test_classes_can_be_added_renamed_recoloured_and_picked(document: Document) -> None:
    heard = Heard(document)
    assert document.active_class == 2
    assert document.add_class("debris", "#112233") == 3
    assert document.active_class == 3
    paint(document, (50, 50))
    document.set_active_class(1)
    document.pick_class(50.9, 50.1)
    assert document.active_class == 3
    document.pick_class(200, 200)
    document.pick_class(-0.5, 10)
    assert document.active_class == 3
    document.set_active_class(9)
    assert document.active_class == 3
    document.rename_class(3, "dirt")
    document.recolor_class(3, "#ffffff")
    assert (document.classes[2].name, document.classes[2].color) == ("dirt", "#ffffff")
    before = heard.said.count("classes_changed")
    document.rename_class(3, "dirt")
    assert heard.said.count("classes_changed") == before
    with pytest.raises(ValueError, match="colour"):
        document.recolor_class(3, "pink")
    while document.add_class("more", "#000000") is not None:
        pass
    assert len(document.classes) == 255


def test_channels(document: Document, qtbot: QtBot) -> None:
    with qtbot.waitSignal(document.channels_changed):
        document.set_channel_visible(1, False)
    assert document.visible_channels == [True, False]
    with qtbot.assertNotEmitted(document.channels_changed):
        document.set_channel_visible(1, False)
