"""The synthetic scenes: every kind is repeatable, well formed and has its truth."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

SIDE = 160
SCRIPTS = Path(__file__).resolve().parents[2] / "packaging"
sys.path.insert(0, str(SCRIPTS))
try:  # scripts find their neighbours when they are run; they are no package
    synthesis, shapes = import_module("synthesis"), import_module("shapes")
finally:
    sys.path.remove(str(SCRIPTS))

UNCOUNTED = {"fibres", "textures"}  # kinds that may hold nothing to count


@pytest.mark.parametrize("kind", synthesis.KINDS)
def test_a_scene_is_well_formed(kind: str) -> None:
    for seed in range(3):
        made = synthesis.scene(np.random.default_rng(seed), SIDE, kind)
        assert made.kind == kind
        assert made.image.dtype == np.float32
        assert made.image.shape in {(1, SIDE, SIDE), (3, SIDE, SIDE)}
        assert np.isfinite(made.image).all() and made.image.std() > 0
        assert made.objects.dtype == np.int32 and made.objects.shape == (SIDE, SIDE)
        assert made.classes.dtype == np.uint8 and made.classes.shape == (SIDE, SIDE)
        assert made.classes.min() >= shapes.BACKGROUND and made.classes.max() <= 6
        assert len(np.unique(made.classes)) >= 2
        assert (made.classes[made.objects > 0] != shapes.BACKGROUND).all()


@pytest.mark.parametrize("kind", sorted(set(synthesis.KINDS) - UNCOUNTED))
def test_objects_are_numbered_without_gaps_and_are_connected(kind: str) -> None:
    made = synthesis.scene(np.random.default_rng(7), SIDE, kind)
    count = int(made.objects.max())
    assert count >= 1
    assert set(np.unique(made.objects)) - {0} == set(range(1, count + 1))
    for number, box in enumerate(ndimage.find_objects(made.objects), 1):
        assert ndimage.label(made.objects[box] == number)[1] == 1


@pytest.mark.parametrize("kind", synthesis.KINDS)
def test_a_seed_gives_the_same_scene_again_and_another_seed_another(kind: str) -> None:
    first, again, other = (
        synthesis.scene(np.random.default_rng(seed), SIDE, kind) for seed in (5, 5, 6)
    )
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.objects, again.objects)
    assert np.array_equal(first.classes, again.classes)
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_without_a_kind_all_kinds_come_up() -> None:
    random = np.random.default_rng(0)
    kinds = {synthesis.scene(random, 64).kind for _ in range(80)}
    assert kinds == set(synthesis.KINDS)


def test_crowded_cells_touch_and_stay_apart_as_objects() -> None:
    """Touching instances are what splitting is learnt from."""
    made = shapes.bodies(np.random.default_rng(1), SIDE, 12, 0.8, together=0.9)
    both = (made.objects[1:] > 0) & (made.objects[:-1] > 0)
    assert (both & (made.objects[1:] != made.objects[:-1])).sum() > 20
    assert made.rho[made.inside].max() < 1 and (made.rho[~made.inside] == 1).all()


def test_bodies_stay_within_the_region_of_their_centre() -> None:
    regions = np.zeros((SIDE, SIDE), np.int32)
    regions[:, :70], regions[:, 80:] = 1, 2
    made = shapes.bodies(np.random.default_rng(2), SIDE, 10, 0.5, within=regions)
    assert made.inside.any()
    for number in range(1, int(made.objects.max()) + 1):
        assert len(np.unique(regions[made.objects == number])) == 1
    assert not made.inside[regions == 0].any()
