"""Make resources/sample.tif: a small phase-contrast-like time-lapse that Limn opens at first start.

Run from the repository's root: `python packaging/make_sample.py [OUT.tif]`. The same numpy and
scipy give the same file. Everything is computed here; no image of anyone else's is in it.

Cells creep and turn over a shaded background. As in real phase contrast, a cell has a bright halo
outside and a grain of organelles inside whose brightness spans that of the background, so that no
threshold finds it: a few strokes and a network do.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

FRAMES, HEIGHT, WIDTH = 8, 384, 512
CELLS = 20
PIXEL_SIZE = 0.65  # µm: a 10x objective on a 6.5 µm camera pixel
MINUTES_PER_FRAME = 15.0

REACH = 90  # pixels around a cell's centre that it and its halo can touch

Array = np.ndarray


@dataclass
class Cell:
    """A cell's shape, way of moving and private texture. Lengths in pixels, angles in radians."""

    centre: Array  # (y, x) in the first frame
    radius: float
    stretch: float  # length : width
    angle: float
    turn: float  # per frame
    step: Array  # (y, x) per frame
    lobes: Array  # (orders from 2, cosine and sine) of the outline
    wobble: Array  # change of the lobes per frame
    texture: Array
    body: float  # grey values above the background
    halo: float  # grey values of the bright seam


def make(seed: int = 20) -> Array:
    """The time-lapse: uint8 (T, Y, X)."""
    random = np.random.default_rng(seed)
    cells = [_new_cell(random, centre) for centre in _spread_centres(random)]
    shading = _shading(random)
    dirt = _specks(random, number=26)
    frames = [_frame(random, cells, shading, dirt, time) for time in range(FRAMES)]
    return np.stack(frames)


def _spread_centres(random: np.random.Generator) -> list[Array]:
    """Centres (y, x) of the cells, no two closer than a cell is wide."""
    centres: list[Array] = []
    while len(centres) < CELLS:
        centre = random.uniform((8, 8), (HEIGHT - 8, WIDTH - 8))
        if all(np.hypot(*(centre - other)) > 64 for other in centres):
            centres.append(centre)
    return centres


def _new_cell(random: np.random.Generator, centre: Array) -> Cell:
    return Cell(
        centre=centre,
        radius=random.uniform(19, 30),
        stretch=random.uniform(1.0, 1.9),
        angle=random.uniform(0, np.pi),
        turn=random.normal(0, 0.05),
        step=random.normal(0, 1.4, 2),
        lobes=random.normal(0, 1, (5, 2)) * [[0.11], [0.10], [0.055], [0.03], [0.02]],
        wobble=random.normal(0, 0.006, (5, 2)),
        texture=_grain(random, (160, 160), fine=1.3, coarse=4.5),
        body=random.uniform(-3, 11),
        halo=random.uniform(26, 44),
    )


def _frame(
    random: np.random.Generator,
    cells: list[Cell],
    shading: Array,
    dirt: Array,
    time: int,
) -> Array:
    """One frame, uint8 (Y, X)."""
    image = np.full((HEIGHT, WIDTH), 118.0) + shading + dirt
    for cell in cells:
        _add_cell(image, cell, time)
    image = ndimage.gaussian_filter(image, 0.8)
    shot = random.normal(0, 1, image.shape) * np.sqrt(np.clip(image, 1, None)) * 0.33
    image += ndimage.gaussian_filter(shot, 0.45)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _add_cell(image: Array, cell: Cell, time: int) -> None:
    """Add one cell and its halo to the image, in place."""
    centre = cell.centre + time * cell.step
    angle = cell.angle + time * cell.turn
    top, left = np.maximum(centre.astype(int) - REACH, 0)
    window = image[top : int(centre[0]) + REACH, left : int(centre[1]) + REACH]
    y, x = np.mgrid[: window.shape[0], : window.shape[1]]
    dy, dx = y + top - centre[0], x + left - centre[1]
    along = np.cos(angle) * dx + np.sin(angle) * dy
    across = -np.sin(angle) * dx + np.cos(angle) * dy
    stretch = np.sqrt(cell.stretch)
    theta = np.arctan2(across * stretch, along / stretch)
    edge = np.ones_like(theta)
    for order, (cosine, sine) in enumerate(cell.lobes + time * cell.wobble, start=2):
        edge += cosine * np.cos(order * theta) + sine * np.sin(order * theta)
    # Distance to the outline, in pixels, positive inside
    depth = cell.radius * edge - np.hypot(along / stretch, across * stretch)
    inside = 1 / (1 + np.exp(np.clip(-depth / 0.9, -50, 50)))

    rows, columns = np.clip(across + 80, 0, 159), np.clip(along + 80, 0, 159)
    grain = ndimage.map_coordinates(cell.texture, [rows, columns], order=1)
    nucleus = np.exp(-(((along / 9.5) ** 2 + (across / 8.0) ** 2) ** 2))
    nucleolus = np.exp(-(((along - 2.5) / 2.2) ** 2 + ((across + 1.5) / 2.2) ** 2))
    rim = np.exp(-(((depth - 2.5) / 2.2) ** 2))
    halo = np.exp(-(((depth + 3.2) / 2.6) ** 2)) + 0.35 * np.exp(-(((depth + 8) / 5.0) ** 2))
    patchy = 0.75 + 0.35 * np.sin(theta * 2 + angle)  # halos are never even

    content = cell.body + 15 * grain * (1 - 0.6 * nucleus) - 13 * nucleus + 24 * nucleolus
    window += inside * (content - 20 * rim) + (1 - inside) * cell.halo * halo * patchy


def _grain(
    random: np.random.Generator, shape: tuple[int, int], fine: float, coarse: float
) -> Array:
    """Organelle-like texture of mean 0 and standard deviation 1."""
    grain = ndimage.gaussian_filter(random.normal(0, 1, shape), fine)
    large = ndimage.gaussian_filter(random.normal(0, 1, shape), coarse)
    mixed = grain / grain.std() + 0.8 * large / large.std()
    return mixed / mixed.std()


def _shading(random: np.random.Generator) -> Array:
    """Uneven light: brighter to one side, with a broad ripple, about ±18 grey values."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    tilt = 14 * (x / WIDTH - 0.5) - 12 * ((y / HEIGHT - 0.55) ** 2 + (x / WIDTH - 0.5) ** 2) * 2
    ripple = ndimage.gaussian_filter(random.normal(0, 1, (HEIGHT, WIDTH)), 45)
    return tilt + 6 * ripple / ripple.std()


def _specks(random: np.random.Generator, number: int) -> Array:
    """Dust and debris: small, bright with a dark ring, as bright as any halo."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    dirt = np.zeros((HEIGHT, WIDTH))
    for _ in range(number):
        cy, cx, size = random.uniform(0, HEIGHT), random.uniform(0, WIDTH), random.uniform(1.2, 2.6)
        square = ((y - cy) ** 2 + (x - cx) ** 2) / size**2
        dirt += random.uniform(15, 55) * (np.exp(-square) - 0.5 * np.exp(-square / 4))
    return dirt


def main() -> None:
    """Write the sample where the first argument says, or into resources/."""
    default = Path(__file__).resolve().parent.parent / "resources" / "sample.tif"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    tifffile.imwrite(
        target,
        make(),
        imagej=True,
        compression="zlib",
        predictor=True,
        resolution=(1 / PIXEL_SIZE, 1 / PIXEL_SIZE),
        metadata={"axes": "TYX", "unit": "um", "finterval": MINUTES_PER_FRAME * 60},
    )
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
