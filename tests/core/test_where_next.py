"""Where to paint next: doubt that nobody has cleared up yet."""

import numpy as np

from unet_core import tiling
from unet_core.tiling import Rect
from unet_core.where_next import APART, STEP, uncertain_places


def places_in(maps, labelled, count, area=None):
    """Of a whole plane, or of a part of it."""
    area = Rect(0, 0, *labelled.shape) if area is None else area
    return uncertain_places(lambda r: (maps[:, *r.slices], labelled[r.slices]), area, count)


def test_the_most_uncertain_place_comes_first_and_painted_ones_not_at_all():
    maps = np.zeros((1, 300, 500), np.uint8)
    maps[0, 100:140, 100:140] = 100
    maps[0, 100:140, 400:440] = 127
    maps[0, 220:260, 250:290] = 255
    nothing = np.zeros((300, 500), bool)
    first, second = places_in(maps, nothing, 10)
    assert 395 < first[1] < 445 and 95 < first[0] < 145
    assert 95 < second[1] < 145
    labelled = nothing.copy()
    labelled[95:145, 395:445] = True
    (only,) = places_in(maps, labelled, 10)
    assert only == second


def test_places_are_apart_and_inside():
    maps = np.full((2, 203, 331), 128, np.uint8)
    maps[:, 50:100, 60:90] = 3
    places = places_in(maps, np.zeros((203, 331), bool), 5)
    for number, (y, x) in enumerate(places):
        assert 0 <= y < 203 and 0 <= x < 331
        for other in places[:number]:
            assert max(abs(y - other[0]), abs(x - other[1])) > (APART - 1) * STEP


def test_no_doubt_no_place():
    sure = np.zeros((1, 50, 50), np.uint8)
    sure[0, :, 20:] = 255
    assert places_in(sure, np.zeros((50, 50), bool), 5) == []
    assert places_in(np.zeros((0, 50, 50), np.uint8), np.zeros((50, 50), bool), 5) == []


def test_bands_and_the_part_that_is_predicted_give_the_same(monkeypatch):
    random = np.random.default_rng(0)
    maps, nothing = np.zeros((2, 803, 931), np.uint8), np.zeros((803, 931), bool)
    maps[:, 43:790, 61:900] = random.integers(0, 160, (2, 747, 839))
    expected = places_in(maps, nothing, 5)
    assert len(expected) == 5
    monkeypatch.setattr(tiling, "BAND", 931 * 16)
    assert places_in(maps, nothing, 5) == expected
    assert places_in(maps, nothing, 5, Rect(43, 61, 747, 839)) == expected
