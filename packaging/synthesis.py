"""Synthetic microscopy scenes of many modalities, with instances and classes, for pretraining.

    random = np.random.default_rng(0)
    made = scene(random, side=384)            # any kind
    made = scene(random, side=384, kind="rods")

The scenes do not copy one instrument each; they vary what instruments vary (contrast, polarity,
focus, noise, light), and hold things that share a brightness but not a class, so that a network
has to look at shape, size and texture. Everything is drawn from the generator that is passed in,
so a seed gives the same scene again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapes import (
    BACKGROUND,
    Bodies,
    Instances,
    Path,
    Plane,
    Random,
    bodies,
    chance,
    classed,
    curve,
    debris,
    depth,
    edges,
    height,
    log_uniform,
    per_object,
    populations,
    smooth,
    taken,
    tidy,
    tissue,
    tube,
)


@dataclass(frozen=True)
class Scene:
    """One made image with its truth.

    `image` is `(C, Y, X)` with C 1 or 3, on an arbitrary intensity scale. `objects` `(Y, X)`
    numbers countable things from 1 (0 none; all 0 for fibres and most textures). `classes`
    `(Y, X)` is 1 for background and 2… 6 for the things of this scene; it is never background
    where there is an object.
    """

    kind: str
    image: NDArray[np.float32]
    objects: Instances
    classes: NDArray[np.uint8]


def shown(random: Random, objects: Instances, way: int, seams: bool) -> Plane:
    """Objects filled (0), darker (1), by outline (2), by texture (3), in phase contrast (4)."""
    side = len(objects)
    inside = objects > 0
    deep = depth(objects, seams)
    fine = smooth(random, side, random.uniform(1, 4))
    rim = np.exp(-((deep / random.uniform(1, 4)) ** 2)) * inside
    if way == 0:
        image = inside * (0.7 + 0.15 * fine) * np.minimum(1, (deep + 0.3) / random.uniform(1, 8))
    elif way == 1:
        image = -0.6 * inside * np.minimum(1, (deep + 0.5) / random.uniform(1, 3)) + 0.1 * fine
    elif way == 2:
        image = rim * 1.2 + 0.08 * fine
    elif way == 3:
        other = smooth(random, side, random.uniform(4, 10))
        image = np.where(inside, 0.5 * fine, random.uniform(0.1, 0.4) * other)
    else:
        halo = np.exp(-((height(~inside) / random.uniform(2, 8)) ** 2)) * ~inside
        dark = random.uniform(0.1, 0.5)
        image = 0.8 * halo - dark * inside + 0.25 * fine * inside + rim * random.uniform(0, 0.5)
    return (image * per_object(random, objects, 0.6, 1.4)).astype(np.float32)


def cells(random: Random, side: int) -> Scene:
    """Round and ragged cells (2, 3) shown in one of five ways, with debris (4) among them."""
    radius = log_uniform(random, 2.2, 50)
    crowded = chance(random, 0.5)
    made = bodies(
        random,
        side,
        radius,
        random.uniform(0.5, 1.0) if crowded else random.uniform(0.05, 0.35),
        stretch=random.uniform(1, 3),
        ragged=random.choice([0.0, 0.05, 0.12, 0.25]),
        together=0.8 if crowded else random.uniform(0, 0.5),
    )
    objects = made.objects
    way = int(random.integers(5))
    image = shown(random, objects, way, seams=chance(random, 0.6))
    two = populations(random, objects, 2 if chance(random, 0.3) else 1)
    if two.any():
        # The second population differs by what is inside, not by its mean brightness.
        grain = smooth(random, side, max(1, radius / 5))
        image = image + 0.3 * grain * (two > 0) * np.minimum(1, 2 - 2 * made.rho)
    elif chance(random, 0.4):
        nucleus = np.clip((random.uniform(0.3, 0.6) - made.rho) * 6, 0, 1) * made.inside
        image = image + random.choice([-0.4, 0.4]) * nucleus
    layers = [(made.inside, 2), (two > 0, 3)]
    if chance(random, 0.6):
        size = np.clip(radius * random.choice([0.25, 0.4, 2.0]), 2, 35)
        bits = debris(random, ~made.inside, float(size), random.uniform(0.01, 0.06))
        image = np.where(bits.inside, shown(random, bits.objects, way, seams=False), image)
        layers.append((bits.inside, 4))
    if chance(random, 0.4):
        image = image + random.uniform(0, 0.25) * smooth(random, side, random.uniform(4, 40))
    return Scene("cells", taken(random, image, blur=1.6), objects, classed(*layers))


def membranes(random: Random, side: int) -> Scene:
    """Tissue: walls (3) around interiors (2) with ovals (4) and vesicles (5); gaps are ground."""
    size = log_uniform(random, 12, 110)
    tiles = tissue(random, side, size, warp=size * random.uniform(0.02, 0.15))
    width = float(np.clip(log_uniform(random, 0.8, 5), 0.8, size / 8))
    wall_depth = height(~edges(tiles))
    # Walls that swell and thin out a little along their way.
    wall = wall_depth < width * (1 + 0.3 * smooth(random, side, size / 2))
    wall |= edges(tiles)
    gap = (random.random(int(tiles.max()) + 1) < random.choice([0, 0.03, 0.12]))[tiles]
    gap &= ~wall
    interior = ~wall & ~gap
    objects = tidy(np.where(interior, tiles, 0), 6)
    wall |= interior & (objects == 0)
    electrons = chance(random, 0.55)
    fine = smooth(random, side, 1.0)
    coarse = smooth(random, side, random.uniform(2, 5))
    faint = random.uniform(0.2, 1)
    profile = np.exp(-((wall_depth / max(width, 1)) ** 2)) if chance(random, 0.6) else 1.0
    image = 0.15 * (fine + 0.7 * coarse) * (random.uniform(0.3, 1.2) if electrons else 0.4)
    image = image + (per_object(random, objects, -0.25, 0.25) - (objects == 0)) * 0.7
    empty = random.choice([-1, 1]) * random.uniform(0.3, 0.6) + 0.1 * fine
    image = np.where(gap, empty, np.where(wall, 0.1 * fine, image)) - faint * wall * profile
    layers = [(objects > 0, 2), (wall, 3)]
    if size > 20 and chance(random, 0.75):
        room = np.where(wall_depth > width + 1, objects, 0)
        large = float(np.clip(size * random.uniform(0.06, 0.14), 2.5, 14))
        ovals = bodies(
            random,
            side,
            large,
            random.uniform(0.03, 0.15),
            stretch=4,
            ragged=0.1,
            together=0.2,
            within=room,
            most=200,
        )
        # Mitochondria: a dark wall as that of the cell, and cristae across.
        stripes = np.sin(ovals.along * (2 * np.pi / random.uniform(3, 6)) + 0.8 * coarse)
        shell = np.exp(-((depth(ovals.objects, True) / 1.3) ** 2))
        oval = -faint * random.uniform(0.5, 1) * shell - 0.25 + 0.2 * stripes
        image = np.where(ovals.inside, oval + 0.1 * fine, image)
        layers.append((ovals.inside, 4))
        if chance(random, 0.5):
            room = np.where(ovals.inside, 0, room)
            small = random.uniform(1.5, max(2, large / 2))
            dots = bodies(
                random,
                side,
                small,
                random.uniform(0.01, 0.05),
                stretch=1.2,
                ragged=0,
                together=0.6,
                within=room,
                most=300,
            )
            hollow = np.where(dots.rho > 0.6, -faint, random.choice([-faint, 0.2]))
            image = np.where(dots.inside, hollow, image)
            layers.append((dots.inside, 5))
    elif chance(random, 0.5):
        nuclei = np.exp(-((height(wall_depth < size * 0.2) / size * 8) ** 2))
        image = image + random.choice([-0.3, 0.3]) * nuclei * (objects > 0)
    if not electrons and chance(random, 0.7):
        image = -image  # bright walls: a membrane stain
    return Scene("membranes", taken(random, image, blur=1.0), objects, classed(*layers))


def fibres(random: Random, side: int) -> Scene:
    """Crossing curves or branching vessels (2), at times thick ones (3) apart, and dots (4)."""
    radius = log_uniform(random, 0.8, 6)
    bend = log_uniform(random, 0.005, 0.06)
    paths: list[Path] = []
    if chance(random, 0.5):
        aligned, heading = random.uniform(0.1, 3), random.uniform(0, 2 * np.pi)
        for _ in range(int(log_uniform(random, 4, 60) / max(1, radius / 2)) + 1):
            start = (random.uniform(-0.2, 1.2, 2) if paths else random.uniform(0.3, 0.7, 2)) * side
            length = random.uniform(0.2, 1.5) * side
            width = max(0.7, radius * random.uniform(0.7, 1.3))
            paths.append(curve(random, start, random.normal(heading, aligned), length, width, bend))
    else:
        for _ in range(int(random.integers(1, 5))):
            start = random.uniform(0.1, 0.9, 2) * side
            heading = random.uniform(0, 2 * np.pi)
            stems = [curve(random, start, heading, side, radius * 1.8, bend, taper=0.5)]
            while stems and len(paths) < 80:
                stem = stems.pop(0)
                paths.append(stem)
                if stem.radii[0] < 0.9 or len(stem.points) < 20:
                    continue
                for _ in range(int(random.integers(1, 5))):
                    at = int(random.uniform(0.1, 0.95) * len(stem.points))
                    way = stem.points[at] - stem.points[max(0, at - 5)]
                    turn = random.choice([-1, 1]) * random.uniform(0.4, 1.2)
                    stems.append(
                        curve(
                            random,
                            stem.points[at],
                            np.arctan2(way[0], way[1]) + turn,
                            len(stem.points) * random.uniform(0.3, 0.7),
                            max(0.7, stem.radii[at] * random.uniform(0.5, 0.8)),
                            bend,
                            taper=0.5,
                        )
                    )
    profile = tube(paths, side)
    fibre = profile > 0
    hollow = chance(random, 0.25) and radius > 2.5
    bright = np.sqrt(np.clip(profile, 0, 1))
    if hollow:
        bright = np.where(fibre, 0.25 + np.exp(-((profile / 0.4) ** 2)), 0)
    strength = np.clip(1 + random.uniform(0, 0.5) * smooth(random, side, 30), 0.15, 2)
    image = bright * strength
    layers = [(fibre, 2)]
    if chance(random, 0.35):
        wide = [
            curve(
                random,
                random.uniform(0, side, 2),
                random.uniform(0, 2 * np.pi),
                1.5 * side,
                np.clip(radius * random.uniform(3, 5), 4, 18),
                bend / 3,
            )
            for _ in range(int(random.integers(1, 4)))
        ]
        profile = tube(wide, side)
        image = np.maximum(image, np.minimum(1, 2 * profile) * strength)
        layers.append((profile > 0, 3))
    if chance(random, 0.75):
        free = np.ones((side, side), bool)
        bits = debris(random, free, max(1.8, radius * random.uniform(1, 2)), 0.02)
        image = np.where(bits.inside, np.maximum(image, 1 - 0.5 * bits.rho**2), image)
        layers.append((bits.inside, 4))
    ground = smooth(random, side, log_uniform(random, 1.5, 30))
    image = image + random.uniform(0, 0.35) * ground
    if chance(random, 0.4):
        image = -image
    return Scene("fibres", taken(random, image), np.zeros((side, side), np.int32), classed(*layers))


def dots(random: Random, side: int) -> Scene:
    """Puncta of one size (2) among debris of another (3) on textured ground."""
    radius = log_uniform(random, 1.7, 6)
    puncta = bodies(
        random,
        side,
        radius,
        random.uniform(0.01, 0.2),
        stretch=1.15,
        ragged=0,
        together=random.uniform(0, 0.6),
        spread=0.08,
    )
    other = radius * random.uniform(2.2, 4) if chance(random, 0.7) or radius < 4 else radius * 0.4
    bits = debris(random, ~puncta.inside, other, random.uniform(0.01, 0.1))
    spots = np.exp(-1.2 * puncta.rho**2) * puncta.inside
    if chance(random, 0.3):
        spots = np.minimum(1, 2 - 2 * puncta.rho) * puncta.inside
    image = spots * per_object(random, puncta.objects, random.uniform(0.3, 0.9), 1.2)
    lumps = (
        np.clip(1.3 - bits.rho, 0, 0.8) * bits.inside * per_object(random, bits.objects, 0.6, 1.3)
    )
    image = np.maximum(image, lumps)
    ground = smooth(random, side, log_uniform(random, 1.5, 40), random.choice([1.0, 4.0]))
    image = image + random.uniform(0.02, 0.25) * ground
    if chance(random, 0.4):
        tiles = bodies(random, side, random.uniform(30, 70), 0.5, ragged=0.15)
        image = image + random.uniform(0.1, 0.4) * tiles.inside * (1 - tiles.rho**4)
    if chance(random, 0.35):
        image = -image
    return Scene(
        "dots",
        taken(random, image),
        puncta.objects,
        classed((puncta.inside, 2), (bits.inside, 3)),
    )


def capsules(random: Random, side: int, radius: float, count: int, packing: float) -> Bodies:
    """Rods with round ends, alone, packed in parallel (`packing` to 1) or end to end in chains."""
    objects = np.zeros((side, side), np.int32)
    rho = np.ones((side, side), np.float32)
    lengthwise = np.zeros((side, side), np.float32)
    order = smooth(random, side, side / random.uniform(2, 8)) * 2
    aspect, bend = random.uniform(1.3, 5), random.uniform(0, 0.1)
    last: tuple[float, float, float, float] | None = None
    number = misses = 0
    while number < count and misses < 3 * count:
        half = radius * aspect * np.exp(random.normal(0, 0.2))
        if last is not None and chance(random, packing):
            y, x, turn, other = last
            if chance(random, 0.5):
                step = (half + other + 2 * radius) * random.choice([-1, 1])
                y, x = y + step * np.sin(turn), x + step * np.cos(turn)
            else:
                step = 1.97 * radius * random.choice([-1, 1])
                slide = random.normal(0, half / 2)
                y = y + step * np.cos(turn) + slide * np.sin(turn)
                x = x - step * np.sin(turn) + slide * np.cos(turn)
            turn = turn + random.normal(0, 0.1)
        else:
            y, x = random.uniform(0, side, 2)
            turn = float(order[int(y), int(x)]) if packing > 0.3 else random.uniform(0, np.pi)
        last = None
        misses += 1
        if not (0 <= y < side and 0 <= x < side):
            continue
        reach = half + radius + 3
        box = (
            slice(max(0, int(y - reach)), int(y + reach) + 1),
            slice(max(0, int(x - reach)), int(x + reach) + 1),
        )
        there = objects[box]
        dy = (np.arange(there.shape[0]) + box[0].start - y).astype(np.float32)[:, None]
        dx = (np.arange(there.shape[1]) + box[1].start - x).astype(np.float32)[None]
        along = np.sin(turn) * dy + np.cos(turn) * dx
        across = np.cos(turn) * dy - np.sin(turn) * dx
        across = across + random.normal(0, bend) * along**2 / half
        far = np.hypot(np.maximum(np.abs(along) - half, 0), across) / radius
        mine = far < 1
        if (there[mine] > 0).mean() > 0.15:
            continue
        mine &= far < rho[box]
        number += 1
        misses -= 1
        there[mine] = number
        rho[box][mine] = far[mine]
        lengthwise[box][mine] = along[mine]
        last = (y, x, turn, half)
    objects = tidy(objects, max(5, radius**2))
    outside = objects == 0
    rho[outside], lengthwise[outside] = 1, 0
    return Bodies(objects, rho, lengthwise)


def rods(random: Random, side: int) -> Scene:
    """Bacteria (2): phase dark with a halo, fluorescent, or by their walls; round things (3)."""
    radius = log_uniform(random, 1.8, 10)
    most = min(280, 0.9 * side**2 / (8 * radius**2))
    count = int(max(4, most * (random.uniform(0.5, 1) if chance(random, 0.6) else 0.15)))
    made = capsules(random, side, radius, count, packing=random.uniform(0, 0.95))
    layers = [(made.inside, 2)]
    shapes, rho = made.objects, made.rho
    if chance(random, 0.6):
        bits = bodies(
            random,
            side,
            radius * random.uniform(1, 1.8),
            random.uniform(0.01, 0.06),
            ragged=0.05,
            stretch=1.2,
            within=(~made.inside).astype(np.int8),
            most=80,
        )
        layers.append((bits.inside, 3))
        shapes = np.where(bits.inside, bits.objects + made.objects.max(), shapes)
        rho = np.where(bits.inside, bits.rho, rho)
    inside = shapes > 0
    each = per_object(random, shapes, random.uniform(0.4, 0.9), 1.2)
    way = random.integers(3)
    if way == 0:
        halo = np.exp(-((height(~inside) / (radius * random.uniform(0.5, 1.2))) ** 2)) * ~inside
        image = random.uniform(0.1, 0.7) * halo - np.minimum(1, 2.5 - 2.2 * rho) * each * inside
    elif way == 1:
        image = np.sqrt(np.clip(1 - 0.9 * rho**2, 0, 1)) * each * inside
    else:
        image = (0.25 + np.exp(-(((rho - 0.85) / 0.25) ** 2))) * each * inside
    if chance(random, 0.3) and way:
        spots = np.exp(-(((np.abs(made.along) - 1.5 * radius) / radius) ** 2) - 4 * made.rho**2)
        image = image + random.choice([-0.5, 0.5]) * spots * made.inside
    image = ndimage.gaussian_filter(image.astype(np.float32), radius * random.uniform(0.05, 0.3))
    image = image + random.uniform(0, 0.2) * smooth(random, side, log_uniform(random, 1.2, 40))
    return Scene("rods", taken(random, image, blur=1.0), made.objects, classed(*layers))


def histology(random: Random, side: int) -> Scene:
    """H&E in colour: nuclei (2), thin dark ones (5), stroma (3), epithelium (4), white gaps (1).

    Light is absorbed by two stains as in Ruifrok and Johnston, "Quantification of histochemical
    staining by color deconvolution" (2001): a colour is `exp(-Σ amount · absorbance)`.
    """
    radius = log_uniform(random, 4, 16)
    islands = smooth(random, side, side / random.uniform(4, 12)) > random.uniform(-0.8, 0.8)
    holes = smooth(random, side, radius * random.uniform(2, 6))
    gap = holes > random.uniform(1.2, 2.8)
    turn = random.uniform(0, np.pi)
    epithelium = islands & ~gap
    stroma = ~islands & ~gap
    large = bodies(
        random,
        side,
        radius,
        random.uniform(0.3, 0.7),
        stretch=2,
        ragged=0.06,
        together=0.6,
        within=epithelium.astype(np.int8),
        most=300,
    )
    thin = bodies(
        random,
        side,
        radius * random.uniform(0.5, 0.8),
        random.uniform(0.03, 0.12),
        stretch=8,
        ragged=0.05,
        together=0.2,
        within=stroma.astype(np.int8),
        turned=turn,
        most=200,
    )
    chromatin = smooth(random, side, random.uniform(1.2, 3))
    strands = smooth(random, side, random.uniform(1.5, 4), random.uniform(3, 8), turn)
    streaks = random.uniform(0.05, 0.16)
    wavy = smooth(random, side, 12)
    cloud = smooth(random, side, random.uniform(20, 60))
    pale = random.uniform(0.2, 0.9)
    blue = np.where(epithelium, 0.18 + 0.05 * wavy, np.where(stroma, 0.05, 0))
    red = np.where(epithelium, 0.35, np.where(stroma, 0.42 + streaks * strands + 0.08 * wavy, 0.02))
    red = red * (1 + 0.15 * cloud)
    rim = np.exp(-((depth(large.objects, True) / 1.5) ** 2))
    body = pale + random.uniform(0.1, 0.3) * chromatin + random.uniform(0, 0.5) * rim
    body = np.where(thin.inside, 1.1 + 0.15 * chromatin, body)
    nuclei = large.inside | thin.inside
    objects = np.where(thin.inside, thin.objects + large.objects.max(), large.objects)
    objects = objects.astype(np.int32)
    blue = np.where(nuclei, body * per_object(random, objects, 0.6, 1.3), blue)
    red = np.where(nuclei, 0.25, red)
    strength = random.uniform(0.6, 1.5)
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.75, 0.25]]) + random.normal(0, 0.04, (2, 3))
    layers = [(stroma, 3), (epithelium, 4)]
    if chance(random, 0.4):
        # Red blood cells: as round as nuclei, as strong, but without blue.
        discs = bodies(
            random,
            side,
            radius * 0.8,
            0.03,
            stretch=1.2,
            ragged=0.03,
            together=0.8,
            within=((stroma | gap) & ~nuclei).astype(np.int8),
            most=80,
        )
        blue, red = np.where(discs.inside, 0.05, blue), np.where(discs.inside, 0.9, red)
        layers.append((discs.inside, 6))
    layers += [(large.inside, 2), (thin.inside, 5)]
    amounts = ndimage.gaussian_filter(
        np.clip(np.stack([blue, red]), 0, None), (0, *[random.uniform(0.4, 1.2)] * 2)
    )
    image = np.exp(-strength * np.einsum("sc,syx->cyx", stains, amounts))
    image = image * random.uniform(0.85, 1, (3, 1, 1)) * (1 + 0.02 * cloud)
    image = image + random.normal(0, random.uniform(0.003, 0.03), image.shape)
    return Scene("histology", (255 * image).astype(np.float32), objects, classed(*layers))


def texture(random: Random, side: int) -> Plane:
    """One of several textures of mean 0 and about deviation 1."""
    way = random.integers(4)
    if way == 0:
        return smooth(random, side, log_uniform(random, 0.8, 8))
    if way == 1:
        return smooth(random, side, log_uniform(random, 0.8, 4), stretch=random.uniform(3, 8))
    if way == 2:  # stripes, wavy
        turn, period = random.uniform(0, np.pi), log_uniform(random, 4, 25)
        rows, columns = np.mgrid[:side, :side].astype(np.float32)
        phase = (np.cos(turn) * rows + np.sin(turn) * columns) * 2 * np.pi / period
        return (1.4 * np.sin(phase + random.uniform(0, 2) * smooth(random, side, 20))).astype(
            np.float32
        )
    lumps = np.abs(smooth(random, side, log_uniform(random, 1.5, 6)))  # a mesh of dark lines
    return ((lumps - lumps.mean()) / lumps.std()).astype(np.float32)


def textures(random: Random, side: int) -> Scene:
    """Parts, or bodies on ground, that differ by texture only, at one mean brightness."""
    objects = np.zeros((side, side), np.int32)
    count = int(random.integers(2, 5))
    if chance(random, 0.4):
        radius = log_uniform(random, 18, 50)
        made = bodies(random, side, radius, random.uniform(0.2, 0.7), ragged=0.15, together=0.5)
        objects = made.objects
        dealt = populations(random, objects, count - 1)
        classes = np.where(made.inside, dealt + 2, BACKGROUND).astype(np.uint8)
    else:
        size = random.uniform(0.13, 0.3) * side
        tiles = tissue(random, side, size, warp=random.uniform(0, 0.2) * size)
        of = random.permutation(np.arange(tiles.max() + 1) % count) + BACKGROUND
        classes = of[tiles].astype(np.uint8)
    image = np.zeros((side, side), np.float32)
    for number in range(BACKGROUND, BACKGROUND + count):
        grain = texture(random, side) * random.uniform(0.5, 1.2)
        image = np.where(classes == number, grain, image)
    return Scene("textures", taken(random, image, blur=0.8), objects, classes)


def relief(random: Random, side: int) -> Scene:
    """Differential interference contrast: the slope, along one direction, of a height map."""
    radius = log_uniform(random, 5, 50)
    crowded = chance(random, 0.4)
    made = bodies(
        random,
        side,
        radius,
        random.uniform(0.4, 0.9) if crowded else random.uniform(0.05, 0.35),
        stretch=random.uniform(1, 3),
        ragged=random.uniform(0, 0.2),
        together=0.7 if crowded else 0.3,
    )
    flat = random.uniform(0.3, 1.2)
    tall = (
        np.clip(1 - made.rho**2, 0, 1) ** flat * radius * per_object(random, made.objects, 0.6, 1.3)
    )
    tall = tall * made.inside
    if radius > 9:
        # Organelles: small bumps; and the nucleus, a shallow dimple with a rim.
        bumps = np.clip(smooth(random, side, random.uniform(1.5, 3)) - 0.8, 0, None)
        tall = tall + random.uniform(0, 1.5) * bumps * made.inside
        dimple = np.clip((random.uniform(0.3, 0.5) - made.rho) * random.uniform(4, 12), 0, 1)
        tall = tall - random.uniform(-0.15, 0.15) * radius * dimple
    layers = [(made.inside, 2)]
    if chance(random, 0.6):
        small = max(2.0, radius * random.uniform(0.15, 0.35))
        bits = debris(random, ~made.inside, small, random.uniform(0.005, 0.03))
        lump = np.clip(1 - bits.rho**2, 0, 1) * small * 1.2 * random.choice([-1, 1])
        tall = np.where(bits.inside, lump, tall)
        layers.append((bits.inside, 3))
    tall = tall + random.uniform(0, 0.4) * smooth(random, side, random.uniform(2, 15))
    tall = ndimage.gaussian_filter(tall.astype(np.float32), random.uniform(0.8, 2))
    turn = random.uniform(0, 2 * np.pi)
    slope = np.sin(turn) * np.gradient(tall, axis=0) + np.cos(turn) * np.gradient(tall, axis=1)
    slope = np.tanh(slope / random.uniform(0.7, 2))
    rows, columns = np.mgrid[:side, :side] / side
    tilt, amount = random.uniform(0, 2 * np.pi), random.uniform(0, 0.8)
    image = slope + amount * (np.sin(tilt) * rows + np.cos(tilt) * columns)
    return Scene("relief", taken(random, image.astype(np.float32)), made.objects, classed(*layers))


def phase_spread(random: Random, side: int) -> Scene:
    """Adherent cells (2) in phase contrast: flat, with arms, hardly brighter than the ground."""
    radius = log_uniform(random, 15, 45)
    ragged = smooth(random, side, radius / 3)
    objects = np.zeros((side, side), np.int32)
    nucleus = np.zeros((side, side), np.float32)
    thick = np.zeros((side, side), np.float32)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    count = int(np.clip(random.uniform(0.05, 0.35) * side**2 / (5 * radius**2), 2, 30))
    for number in range(1, count + 1):
        margin = 0.2 if number == 1 else 0  # one at least is in view
        y, x = random.uniform(margin * side, (1 - margin) * side, 2)
        if objects[int(y), int(x)]:
            continue
        reach = int(4 * radius)
        box = (
            slice(max(0, int(y) - reach), int(y) + reach),
            slice(max(0, int(x) - reach), int(x) + reach),
        )
        dy, dx = rows[box] - y, columns[box] - x
        # Bells that add up, cut at one level: the parts run into one another without corners.
        level = np.exp(-(dy**2 + dx**2) / (radius * random.uniform(0.6, 0.9)) ** 2)
        axis = random.uniform(0, 2 * np.pi)
        for _ in range(int(random.integers(1, 5))):  # lobes
            ly, lx = radius * random.normal(0, 0.35, 2)
            out = radius * random.normal(0, 0.8)
            ly, lx = ly + out * np.sin(axis), lx + out * np.cos(axis)
            size = radius * random.uniform(0.4, 0.9)
            level += np.exp(-((dy - ly) ** 2 + (dx - lx) ** 2) / size**2)
        for _ in range(int(random.integers(1, 6))):  # arms, thinner to their end
            turn = axis + random.choice([0, np.pi]) + random.normal(0, 0.6)
            long = radius * random.uniform(1.0, 2.8)
            along = np.sin(turn) * dy + np.cos(turn) * dx
            bend = random.normal(0, 0.15) / long
            across = np.cos(turn) * dy - np.sin(turn) * dx + bend * along**2
            far = np.clip(along / long, 0, 1)
            width = radius * random.uniform(0.3, 0.6) * (1 - 0.75 * far)
            beyond = np.maximum(along - long, 0) + np.maximum(-along, 0)
            level += 0.8 * np.exp(-(across**2 + beyond**2) / width**2)
        level = level * np.exp(random.uniform(0.1, 0.45) * ragged[box])
        mine = (level > 0.35) & (objects[box] == 0)
        objects[box][mine] = number
        thick[box][mine] = np.clip(level[mine] - 0.35, 0, 1.2)
        core = np.hypot(dy, dx * random.uniform(0.8, 1.25)) / radius / random.uniform(0.28, 0.4)
        nucleus[box] = np.where(
            mine, np.maximum(nucleus[box], np.clip(2 - 2 * core, 0, 1)), nucleus[box]
        )
    objects = tidy(objects, radius**2 / 2)
    inside = objects > 0
    grain = smooth(random, side, random.uniform(1, 2.5))
    lumps = smooth(random, side, random.uniform(2.5, 5))
    near = np.exp(-height(inside) / radius * 2)  # the flat margin is smoother than the middle
    image = 0.05 * smooth(random, side, 1.5) + 0.05 * smooth(random, side, 40)
    rough = random.uniform(0.08, 0.25) * (grain + 0.8 * lumps) * (1.35 - near)
    offset = random.normal(0, 0.06)
    image = image + inside * (offset + rough)
    image = image + random.uniform(0.1, 0.5) * thick * inside * random.choice([-0.4, 0.5, 1])
    spots = np.clip(smooth(random, side, 2) - 1, 0, None)
    image = image + nucleus * (random.uniform(0.1, 0.5) - random.uniform(0, 0.5) * spots)
    # The halo follows the border where the cell is thick; the flat parts have little of it.
    outside = height(~inside)
    partly = np.clip(smooth(random, side, radius) + random.uniform(-0.5, 0.8), 0, 1.5)
    halo = np.exp(-((outside / random.uniform(1.5, 5)) ** 2)) * ~inside
    image = image + random.uniform(0.15, 0.8) * halo * partly
    rim = np.exp(-((height(inside) / random.uniform(1, 2.5)) ** 2)) * inside
    image = image + random.choice([-1, 1]) * random.uniform(0.1, 0.4) * rim * (0.3 + partly)
    layers = [(inside, 2)]
    if chance(random, 0.6):
        # Floating bits: bright, round, haloed; the brightest of the image, and not cells.
        bits = debris(random, ~inside, random.uniform(2, radius / 3), random.uniform(0.002, 0.02))
        ring = np.exp(-((height(~bits.inside) / 2.5) ** 2)) * ~bits.inside
        image = np.where(bits.inside, 1.1 - bits.rho, image - 0.25 * ring)
        layers.append((bits.inside, 3))
    return Scene("phase_spread", taken(random, image.astype(np.float32)), objects, classed(*layers))


def fluorescence_debris(random: Random, side: int) -> Scene:
    """Nuclei (2), faint to bright, some out of focus, in groups; debris (3); haze is ground."""
    radius = log_uniform(random, 4, 35)
    made = bodies(
        random,
        side,
        radius,
        log_uniform(random, 0.08, 0.7),
        stretch=2,
        ragged=0.05,
        together=random.uniform(0.3, 0.9),
        overlap=random.uniform(0.15, 0.35),
    )
    objects = made.objects
    count = int(objects.max()) + 1
    bright = np.exp(random.normal(0, random.uniform(0.2, 0.9), count)).clip(0.12, 3)
    defocused = random.random(count) < random.choice([0, 0.2, 0.4])
    defocused[0] = False
    grain = 1 + random.uniform(0, 0.25) * smooth(
        random, side, max(1, radius / random.uniform(3, 8))
    )
    deep = depth(objects, seams=chance(random, 0.5))
    body = np.minimum(1, (deep + 0.7) / max(1, radius * random.uniform(0.05, 0.4)))
    body = body * np.clip(grain, 0, None) * bright[objects] * made.inside
    if chance(random, 0.3) and radius > 8:  # dark nucleoli
        body = body * (1 - 0.5 * (smooth(random, side, radius / 4) > 1.3))
    blurred = ndimage.gaussian_filter(body * defocused[objects], max(1, radius * 0.15))
    image = body * ~defocused[objects] + blurred
    size = max(1.6, radius * random.uniform(0.1, 0.35))
    bits = debris(random, ~made.inside, size, random.uniform(0.003, 0.04))
    lumps = np.clip(1.4 - bits.rho, 0, 1) * bits.inside * per_object(random, bits.objects, 0.4, 2)
    image = np.maximum(image, lumps)
    layers = [(made.inside, 2), (bits.inside, 3)]
    if chance(random, 0.3):
        hairs = [
            curve(
                random,
                random.uniform(0, side, 2),
                random.uniform(0, 6.3),
                random.uniform(3, 10) * radius,
                max(0.8, radius / 12),
                0.05,
            )
            for _ in range(int(random.integers(1, 5)))
        ]
        hair = np.where(made.inside, 0, tube(hairs, side))
        image = np.maximum(image, hair * random.uniform(0.3, 1.2))
        layers.append((hair > 0, 3))
    if chance(random, 0.5):  # haze from nuclei far out of focus, not counted
        far = bodies(random, side, radius * 1.3, random.uniform(0.03, 0.2), ragged=0)
        haze = ndimage.gaussian_filter(far.inside.astype(np.float32), min(15, radius * 0.7))
        image = image + random.uniform(0.1, 0.5) * haze
    if chance(random, 0.4):  # the cell's own glow around a nucleus
        image = image + random.uniform(0.05, 0.3) * np.exp(-height(~made.inside) / radius)
    image = ndimage.gaussian_filter(
        image.astype(np.float32), min(2, radius * random.uniform(0, 0.1))
    )
    return Scene("fluorescence_debris", taken(random, image), objects, classed(*layers))


KINDS: dict[str, Callable[[Random, int], Scene]] = {
    "cells": cells,
    "membranes": membranes,
    "fibres": fibres,
    "dots": dots,
    "rods": rods,
    "histology": histology,
    "textures": textures,
    "relief": relief,
    "phase_spread": phase_spread,
    "fluorescence_debris": fluorescence_debris,
}


def coloured(random: Random, made: Scene) -> Scene:
    """The scene in three channels: a tint for the whole, and more or less of one for each class."""
    low, high = np.percentile(made.image[0, ::3, ::3], (1, 99))
    grey = (made.image - low) / max(high - low, 1e-3)
    each = random.uniform(0, 0.5) * random.normal(size=(3, int(made.classes.max()) + 1))
    tint = ndimage.gaussian_filter(each[:, made.classes].astype(np.float32), (0, 1.5, 1.5))
    light = random.uniform(0.3, 1, (3, 1, 1))
    image = light * (grey * np.exp(tint) + random.uniform(0, 0.3) * tint)
    image = image + random.normal(0, 0.02, image.shape)
    return replace(made, image=image.astype(np.float32))


def scene(random: Random, side: int = 384, kind: str | None = None) -> Scene:
    """A scene of `side`² pixels, of `kind` (a key of KINDS) or of any kind with even chances.

    One in eight of the grey scenes is shown in colour.
    """
    made = KINDS[kind or str(random.choice(list(KINDS)))](random, side)
    return coloured(random, made) if len(made.image) == 1 and chance(random, 0.12) else made
