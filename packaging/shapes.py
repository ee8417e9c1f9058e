"""What synthetic scenes are made of: bodies, tissue, curves, and how they are dealt out.

Every function draws from the generator that is passed in, so a seed gives the same again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import measure

Random = np.random.Generator
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Instances = NDArray[np.int32]

BACKGROUND = 1


@dataclass(frozen=True)
class Bodies:
    """Painted bodies: `objects` `(Y, X)`, and the place of a pixel in its body.

    `rho` runs from 0 in the centre to 1 at the border of the body, and is 1 outside. `along` is
    the coordinate in pixels along the body's long axis, 0 in the centre and outside.
    """

    objects: Instances
    rho: Plane
    along: Plane

    @property
    def inside(self) -> Mask:
        return self.objects > 0


def chance(random: Random, probability: float) -> bool:
    return bool(random.random() < probability)


def log_uniform(random: Random, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def smooth(
    random: Random, side: int, scale: float, stretch: float = 1.0, turn: float | None = None
) -> Plane:
    """Noise `(side, side)` of mean 0 and deviation 1 with details of about `scale` pixels.

    With `stretch` above 1 the details are longer along `turn`, in radians from
    +Y to +X, or along a random direction.
    """
    step = max(1, int(scale / 2))
    coarse = -(-side // step) + 5
    noise = random.standard_normal((coarse, coarse), np.float32)
    noise = ndimage.gaussian_filter(noise, scale / step / 1.5)
    if stretch > 1:
        # Averaging along a line is cheaper than rotating a stretched field.
        turn = random.uniform(0, np.pi) if turn is None else turn
        offsets = np.linspace(-1, 1, 2 * int(np.ceil(2 * stretch)) + 1) * stretch * scale / step
        noise = sum(
            np.roll(noise, (round(o * np.cos(turn)), round(o * np.sin(turn))), (0, 1))
            for o in offsets
        )
    if step > 1:
        # Linear interpolation and a box of one step: a smooth surface at little cost.
        noise = ndimage.uniform_filter(ndimage.zoom(noise, step, order=1), step)
    start = (noise.shape[0] - side) // 2
    noise = noise[start : start + side, start : start + side]
    return ((noise - noise.mean()) / (noise.std() + 1e-6)).astype(np.float32)


def edges(objects: NDArray[np.integer]) -> Mask:
    """Pixels with a 4-neighbour of another number."""
    edge = np.zeros(objects.shape, bool)
    for axis in (0, 1):
        first = np.moveaxis(objects, axis, 0)
        differs = first[1:] != first[:-1]
        marked = np.moveaxis(edge, axis, 0)
        marked[1:] |= differs
        marked[:-1] |= differs
    return edge


def depth(objects: NDArray[np.integer], seams: bool) -> Plane:
    """Distance of pixels in objects to the border; with `seams`, also to touching neighbours."""
    inside = objects > 0
    return ndimage.distance_transform_edt(inside & ~edges(objects) if seams else inside).astype(
        np.float32
    )


def height(mask: Mask) -> Plane:
    """Distance in pixels to the nearest pixel out of `mask`, 0 there."""
    if mask.all():
        return np.full(mask.shape, 1e3, np.float32)
    return ndimage.distance_transform_edt(mask).astype(np.float32)


def tidy(objects: Instances, area: float) -> Instances:
    """Connected pieces of at least `area` pixels, numbered anew."""
    pieces = measure.label(objects, background=0, connectivity=1)
    kept = np.bincount(pieces.ravel()) >= area
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return numbers[pieces].astype(np.int32)


def per_object(random: Random, objects: Instances, low: float, high: float) -> Plane:
    """A value for each object, drawn evenly between `low` and `high`; 1 outside."""
    values = random.uniform(low, high, int(objects.max()) + 1).astype(np.float32)
    values[0] = 1
    return values[objects]


def bodies(
    random: Random,
    side: int,
    radius: float,
    cover: float,
    *,
    stretch: float = 1.6,
    ragged: float = 0.1,
    together: float = 0.3,
    spread: float = 0.2,
    overlap: float = 0.25,
    within: NDArray[np.integer] | None = None,
    turned: float | None = None,
    most: int = 350,
) -> Bodies:
    """Round to ragged bodies of about `radius` pixels that cover about the share `cover`.

    `together` is the share of bodies put beside an earlier one. Where bodies overlap, a pixel goes
    to the one whose centre is relatively nearer, so that contacts are flat as those of cells. With
    `within`, a body stays in the region (a number above 0) of its centre; with `turned`, long axes
    lie about that many radians from +Y to +X.
    """
    objects = np.zeros((side, side), np.int32)
    rho = np.ones((side, side), np.float32)
    lengthwise = np.zeros((side, side), np.float32)
    centres = np.zeros((0, 3))
    count = int(np.clip(round(cover * side**2 / (np.pi * radius**2)), 1, most))
    for _ in range(count * 2 + 4):
        if len(centres) >= count:
            break
        size = radius * np.exp(random.normal(0, spread))
        if len(centres) and chance(random, together):
            beside = centres[random.integers(len(centres))]
            turn, apart = random.uniform(0, 2 * np.pi), (size + beside[2]) * random.uniform(0.85, 1)
            y, x = beside[0] + apart * np.sin(turn), beside[1] + apart * np.cos(turn)
        else:
            margin = 0 if len(centres) or within is not None else 0.2  # one at least is in view
            y, x = random.uniform(margin * side, (1 - margin) * side, 2)
        if not (0 <= y < side and 0 <= x < side):
            continue
        region = 1 if within is None else within[int(y), int(x)]
        apart = np.hypot(centres[:, 0] - y, centres[:, 1] - x)
        if region == 0 or (apart < (1 - overlap) * (centres[:, 2] + size)).any():
            continue
        long = np.sqrt(random.uniform(1, stretch))
        reach = size * long * (1 + 2 * ragged) + 2
        box = (
            slice(max(0, int(y - reach)), int(y + reach) + 1),
            slice(max(0, int(x - reach)), int(x + reach) + 1),
        )
        there = objects[box]
        dy = (np.arange(there.shape[0]) + box[0].start - y).astype(np.float32)[:, None]
        dx = (np.arange(there.shape[1]) + box[1].start - x).astype(np.float32)[None]
        turn = random.uniform(0, np.pi) if turned is None else random.normal(turned, 0.15)
        along = np.cos(turn) * dy + np.sin(turn) * dx
        across = -np.sin(turn) * dy + np.cos(turn) * dx
        far = np.hypot(along / long, across * long) / size
        if ragged > 0:
            angle = np.arctan2(across, along)
            border = np.ones_like(far)
            for wave in range(2, 6):
                lobe = random.normal(0, ragged / np.sqrt(wave))
                border += lobe * np.cos(wave * angle + random.uniform(0, 2 * np.pi))
            far = far / np.maximum(border, 0.3)
        won = far < rho[box]
        if within is not None:
            won &= within[box] == region
        centres = np.vstack([centres, (y, x, size)])
        there[won] = len(centres)
        rho[box][won] = far[won]
        lengthwise[box][won] = along[won]
    objects = tidy(objects, max(4, 0.5 * radius**2))
    outside = objects == 0
    rho[outside], lengthwise[outside] = 1, 0
    return Bodies(objects, rho, lengthwise)


def debris(random: Random, free: Mask, radius: float, cover: float) -> Bodies:
    """Irregular bits on free ground."""
    return bodies(
        random,
        len(free),
        radius,
        cover,
        stretch=random.uniform(1, 4),
        ragged=random.uniform(0.03, 0.25),
        together=random.uniform(0, 0.4),
        spread=0.35,
        within=free.astype(np.int8),
        most=150,
    )


def tissue(random: Random, side: int, size: float, warp: float) -> Instances:
    """A gapless partition of the plane into warped, in part merged, Voronoi cells."""
    count = max(3, int(1.4 * side**2 / size**2))
    seeds = random.uniform(0, side, (count, 2))
    # Some relaxation: real tissue is more even than points at random.
    even = random.uniform(0, 1)
    near, which = cKDTree(seeds).query(seeds, k=2)
    push = seeds - seeds[which[:, 1]]
    seeds = seeds + even * np.clip(size - near[:, 1:], 0, None) * push / (near[:, 1:] + 1e-3) / 2
    seeds = np.clip(seeds, 0, side - 1).astype(int)
    points = np.ones((side, side), bool)
    points[tuple(seeds.T)] = False
    numbers = np.zeros((side, side), np.int32)
    names = np.arange(1, count + 1)
    merged = random.random(count) < random.uniform(0, 0.4)
    names[merged] = names[which[merged, 1]]
    numbers[tuple(seeds.T)] = names
    nearest = ndimage.distance_transform_edt(points, return_distances=False, return_indices=True)
    cells = numbers[tuple(nearest)]
    rows, columns = np.mgrid[:side, :side]
    rows = rows + warp * smooth(random, side, size / 2)
    columns = columns + warp * smooth(random, side, size / 2)
    rows, columns = (np.clip(c, 0, side - 1).astype(int) for c in (rows, columns))
    return tidy(cells[rows, columns], 12)


@dataclass
class Path:
    """Points `(n, 2)` of a curve in pixels, and the radius at each."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]


def curve(
    random: Random,
    start: NDArray[np.float64],
    heading: float,
    length: float,
    radius: float,
    bend: float,
    taper: float = 0.0,
) -> Path:
    """A curve of `length` steps of one pixel that turns by about `bend` radians a step."""
    count = max(4, int(length))
    turning = ndimage.gaussian_filter1d(random.normal(0, 1, count), min(10, count / 4)) * bend * 5
    angles = heading + np.cumsum(turning)
    points = start + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], 1), 0)
    return Path(points, radius * (1 - taper * np.linspace(0, 1, count)))


def tube(paths: list[Path], side: int) -> Plane:
    """1 on the centre lines, falling to 0 at the border of the tubes: `1 - (d / r)²`."""
    profile = np.zeros((side, side), np.float32)
    if not paths:
        return profile
    points = np.concatenate([p.points for p in paths]).round().astype(int)
    radii = np.concatenate([p.radii for p in paths])
    shown = ((points >= 0) & (points < side)).all(1)
    points, radii = points[shown], radii[shown]
    # The nearest point decides the width, so tubes of unlike widths are drawn one after another.
    bins = np.unique(np.quantile(radii, [0, 0.33, 0.67, 1])) if len(radii) else np.zeros(0)
    group = np.searchsorted(bins[1:-1], radii)
    for one in np.unique(group):
        of = group == one
        widths = np.zeros((side, side), np.float32)
        widths[tuple(points[of].T)] = radii[of]
        far, nearest = ndimage.distance_transform_edt(widths == 0, return_indices=True)
        width = widths[tuple(nearest)]
        profile = np.maximum(profile, 1 - (far / width) ** 2)
    return profile.astype(np.float32)


def span(image: Plane) -> float:
    low, high = np.percentile(image[::3, ::3], (1, 99))
    return float(max(high - low, 1e-3))


def taken(
    random: Random, image: NDArray[np.floating], blur: float = 1.3, uneven: float = 0.22
) -> NDArray[np.float32]:
    """The image as a camera gives it: focus, uneven light, noise. `(Y, X)` to `(1, Y, X)`."""
    side = len(image)
    image = image.astype(np.float32)
    if chance(random, 0.7):
        image = ndimage.gaussian_filter(image, random.uniform(0.3, blur))
    size = span(image)
    light = smooth(random, side, side / random.uniform(2, 6))
    way = random.integers(3)
    if way == 0:
        image = image + random.uniform(0, uneven) * size * light
    elif way == 1:
        image = (image - image.min()) * np.exp(random.uniform(0, uneven) * light)
    if chance(random, 0.3):
        photons = log_uniform(random, 15, 600)
        image = np.clip((image - image.min()) / size + random.uniform(0, 0.5), 0, None)
        image = random.poisson(image * photons) / photons
    else:
        grain = random.standard_normal(image.shape, np.float32)
        if chance(random, 0.2):
            grain = ndimage.gaussian_filter(grain, 0.7) * 2
        image = image + log_uniform(random, 0.005, 0.15) * size * grain
    return image.astype(np.float32)[None]


def classed(*layers: tuple[NDArray[np.generic], int]) -> NDArray[np.uint8]:
    """Classes from masks, later ones over earlier ones, on background."""
    classes = np.full(layers[0][0].shape, BACKGROUND, np.uint8)
    for mask, number in layers:
        classes[mask.astype(bool)] = number
    return classes


def populations(random: Random, objects: Instances, count: int) -> NDArray[np.uint8]:
    """Deals the objects out to `count` populations, from 0; 0 outside too."""
    of = random.integers(count, size=int(objects.max()) + 1).astype(np.uint8)
    of[0] = 0
    return of[objects]
