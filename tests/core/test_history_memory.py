"""A long day's undo history takes a bounded part of the memory; the newest steps stay."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_core import edits
from unet_core.annotation import Annotation, History
from unet_core.stack import PlaneIndex

PLANE = PlaneIndex(0, 0)
SHAPE = (1, 1, 200, 200)
NOISE = np.random.default_rng(0).integers(1, 3, (20, 64, 64), np.uint8)


def bytes_held(history: History) -> int:
    seen = {id(c.before): c.before for e in history._edits for c in e.changes if c.before}
    return sum(len(tile.packed()) for tile in seen.values())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["paint", "paint", "paint", "undo", "redo"]), max_size=120))
def test_memory_is_bounded_and_undo_goes_back_as_far_as_is_kept(steps):
    kept, edits.HISTORY_IN_MEMORY = edits.HISTORY_IN_MEMORY, 30_000
    try:
        annotation, history = Annotation(SHAPE), History()
        states = [annotation.read(PLANE)]  # after so many edits
        number = 0
        for what in steps * 3:
            if what == "paint":
                number += 1
                y, x = (7 * number) % 130, (31 * number) % 130
                edit = annotation.write(PLANE, NOISE[number % 20], y, x)
                if edit is None:
                    continue
                del states[history.forgotten + history.position + 1 :]
                history.push(edit)
                states.append(annotation.read(PLANE))
            elif (edit := getattr(history, what)()) is not None:
                annotation.apply(edit)
            assert np.array_equal(
                annotation.read(PLANE), states[history.forgotten + history.position]
            )
        loose = 60_000 * (History._LOOSE + 2)
        assert bytes_held(history) < 30_000 + loose
        while (edit := history.undo()) is not None:
            annotation.apply(edit)
            assert np.array_equal(
                annotation.read(PLANE), states[history.forgotten + history.position]
            )
        assert np.array_equal(annotation.read(PLANE), states[history.forgotten])
    finally:
        edits.HISTORY_IN_MEMORY = kept


def test_many_strokes_forget_the_oldest_only(monkeypatch):
    monkeypatch.setattr(edits, "HISTORY_IN_MEMORY", 200_000)
    annotation, history = Annotation(SHAPE), History()
    for number in range(300):
        edit = annotation.write(PLANE, NOISE[number % 20], (7 * number) % 130, (31 * number) % 130)
        if edit is not None:
            history.push(edit)
    assert history.forgotten > 100
    assert len(history) == history.position > History._LOOSE
    assert bytes_held(history) < 200_000 * 1.5 + 20_000 * History._LOOSE
    assert history.copy().position == history.position


def test_ordinary_work_forgets_nothing():
    annotation, history = Annotation(SHAPE), History()
    for number in range(200):
        stroke = annotation.stroke(PLANE, 1 + number % 2, 9)
        stroke.to(5 + number % 190, 5)
        stroke.to(100, 150)
        edit = stroke.finish()
        if edit is not None:
            history.push(edit)
    assert history.forgotten == 0 and len(history) > 150
