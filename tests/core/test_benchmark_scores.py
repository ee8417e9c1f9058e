"""The benchmark's measuring stick: its scores, its annotator, its tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.annotator import BACKGROUND, CELL, Path, painted, random_strokes
from tests.benchmarks.scores import average_precision, score, seg
from tests.benchmarks.tables import curve
from tests.benchmarks.tables import scores as score_table

# --- scores ----------------------------------------------------------------------------------


def squares(*corners: tuple[int, int, int]) -> np.ndarray:
    """Objects 1, 2… of the given top, left and side in a plane of 40 × 40 px."""
    plane = np.zeros((40, 40), np.int32)
    for number, (y, x, side) in enumerate(corners, 1):
        plane[y : y + side, x : x + side] = number
    return plane


TRUTH = squares((2, 2, 10), (2, 20, 10), (20, 2, 10))


def test_the_truth_itself_scores_one_whatever_the_numbers() -> None:
    renumbered = np.array([0, 70_000, 5, 9])[TRUTH]
    found = score((TRUTH > 0).astype(np.float32), renumbered, TRUTH)
    assert (found.dice, found.iou, found.seg, found.ap50) == (1.0, 1.0, [1.0, 1.0, 1.0], 1.0)


def test_nothing_found_scores_nothing_and_nothing_to_find_scores_one() -> None:
    empty = np.zeros_like(TRUTH)
    assert seg(empty, TRUTH) == [0.0, 0.0, 0.0]
    assert average_precision(empty, TRUTH) == 0.0
    assert average_precision(TRUTH, empty) == 0.0
    assert average_precision(empty, empty) == 1.0
    assert seg(TRUTH, empty) == []
    assert score(empty, empty, TRUTH).dice == 0.0


def test_seg_wants_more_than_half_of_the_true_object() -> None:
    half, more = np.zeros_like(TRUTH), np.zeros_like(TRUTH)
    half[2:7, 2:12] = 1  # 50 of the first object's 100 px
    more[2:8, 2:12] = 1
    assert seg(half, TRUTH) == [0.0, 0.0, 0.0]
    assert seg(more, TRUTH) == [0.6, 0.0, 0.0]


def test_seg_counts_joined_objects_for_what_they_share() -> None:
    truth = squares((2, 2, 10), (2, 12, 10))
    joined = (truth > 0).astype(np.int32)
    assert seg(joined, truth) == [0.5, 0.5]  # covers each of them, and as much beside
    assert average_precision(joined, truth) == 0.0
    assert score(joined.astype(np.float32), joined, truth).dice == 1.0


def test_average_precision_counts_what_was_missed_and_what_was_made_up() -> None:
    found = squares((2, 2, 10), (2, 20, 10), (30, 30, 5))
    assert average_precision(found, TRUTH) == 2 / 4
    shifted = squares((2, 2, 10), (7, 20, 10))  # overlaps the second one by a third
    assert average_precision(shifted, TRUTH) == 1 / 4


def test_probability_counts_from_one_half_on() -> None:
    probability = np.where(TRUTH > 0, 0.5, 0.49).astype(np.float32)
    assert score(probability, TRUTH, TRUTH).iou == 1.0
    assert score(probability - np.float32(0.1), TRUTH, TRUTH).iou == 0.0


def test_classes_have_no_object_scores() -> None:
    found = score((TRUTH > 0).astype(np.float32), TRUTH, TRUTH, instances=False)
    assert (found.seg, found.ap50) == (None, None)


@given(st.integers(0, 10_000))
def test_object_scores_stay_between_zero_and_one_and_ap_is_symmetric(seed: int) -> None:
    random = np.random.default_rng(seed)
    found, truth = random.integers(0, 4, (2, 6, 6))
    assert all(0 <= value <= 1 for value in seg(found, truth))
    assert average_precision(found, truth) == average_precision(truth, found)
    assert 0 <= average_precision(found, truth) <= 1


# --- the annotator ---------------------------------------------------------------------------


def discs(seed: int) -> np.ndarray:
    """Discs of many sizes, some touching each other or the border, `(96, 128)`."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices((96, 128))
    objects = np.zeros((96, 128), np.int32)
    for number in range(1, 9):
        y, x, radius = random.uniform(0, 96), random.uniform(0, 128), random.uniform(2, 18)
        objects[np.hypot(rows - y, columns - x) < radius] = number
    return objects


def alone(truth: np.ndarray, path: Path) -> np.ndarray:
    """The pixels of one stroke."""
    return painted(truth.shape, [path]) > 0


@pytest.mark.parametrize("seed", range(12))
def test_strokes_stay_inside_one_region_and_the_classes_take_turns(seed: int) -> None:
    truth = discs(seed)
    paths = random_strokes(truth, 12, np.random.default_rng(seed))
    assert [path.value for path in paths] == [CELL, BACKGROUND] * 6
    for path in paths:
        under = np.unique(truth[alone(truth, path)])
        assert len(under) == 1
        assert (under[0] > 0) == (path.value == CELL)


def test_fewer_strokes_are_the_first_of_more() -> None:
    few, many = (random_strokes(discs(1), n, np.random.default_rng(3)) for n in (4, 32))
    assert many[:4] == few
    assert random_strokes(discs(1), 4, np.random.default_rng(4)) != few


def test_a_stroke_is_as_long_as_there_is_room_and_as_wide_as_fits() -> None:
    truth = np.zeros((200, 200), np.int32)
    truth[:, :100] = 1
    for path in random_strokes(truth, 8, np.random.default_rng(0)):
        assert path.diameter == 6
        assert 30 < len(path.points) <= 41
    truth[:, :50] = truth[:, 55:] = 0  # a strip 5 px wide
    assert random_strokes(truth, 1, np.random.default_rng(0))[0].diameter < 5


def test_a_third_of_the_background_strokes_run_along_a_cell() -> None:
    truth = np.zeros((300, 300), np.int32)
    truth[130:170, 130:170] = 1
    distance = ndimage.distance_transform_edt(truth == 0)
    paths = random_strokes(truth, 24, np.random.default_rng(5))[1::2]
    near = [max(distance[y, x] for y, x in path.points) < 8 for path in paths]
    assert sum(near) >= len(near) // 3
    assert len({tuple(near[i::3]) for i in range(3)} & {(True,) * 4}) == 1


def test_other_objects_come_first_and_crumbs_are_passed_over() -> None:
    truth = squares((2, 2, 10), (2, 20, 10), (20, 2, 10), (30, 30, 2))
    paths = random_strokes(truth, 6, np.random.default_rng(0))
    assert {int(truth[path.points[0]]) for path in paths[::2]} == {1, 2, 3}


def test_an_image_without_cells_gets_no_stroke() -> None:
    assert random_strokes(np.zeros((20, 20), int), 4, np.random.default_rng(0)) == []


# --- tables ----------------------------------------------------------------------------------


def record(name: str, column: str, seed: int, dice: float, strokes: int = 8) -> dict:
    return {"set": name, "column": column, "seed": seed, "dice": dice, "strokes": strokes}


def test_table_compares_with_the_forest_over_shared_seeds_and_groups_the_sets() -> None:
    records = [
        record("phc_u373", "forest", 0, 0.5),
        record("phc_u373", "forest", 1, 0.3),
        record("phc_u373", "limn 2 s", 0, 0.6),  # seed 1 is not there yet
        record("phc_t98g", "forest", 0, 0.8),
        record("phc_t98g", "limn 2 s", 0, 0.7),
    ]
    text = score_table(records, "dice", ["forest", "limn 2 s"], ["phc_t98g", "phc_u373"])
    assert "| phc_u373 | no | 0.400 (0.300–0.500) | 0.600 |" in text
    assert "| **mean: other images in pretraining** (1) |  | 0.800 | 0.700 |" in text
    assert "| **mean: all sets** (2) |  | 0.650 | 0.650 |" in text
    assert "| **sets above the forest** |  |  | 1 of 2 |" in text


def test_curve_has_a_row_for_each_number_of_strokes() -> None:
    records = [
        record(name, "forest", 0, dice, strokes)
        for name, dice in (("phc_u373", 0.2), ("phc_t98g", 0.4))
        for strokes in (16, 2)
    ]
    text = curve(records, ["forest", "instant"], ["phc_t98g", "phc_u373"])
    assert "Dice, mean over 2 sets:" in text
    assert "| 2 | 0.300 | – |\n| 16 | 0.300 | – |" in text
