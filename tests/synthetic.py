"""Images with a known truth that the tests make themselves.

They are made so that a threshold alone does badly: bodies are about as bright as their
surroundings and differ in texture and rim, the background is uneven, and there is noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

DTYPE_RANGE = {"uint8": (10, 240), "uint16": (300, 9000), "float32": (0.0, 1.0)}


@dataclass(frozen=True)
class Cells:
    """One plane: `image` (Y, X) in its dtype, `mask` (Y, X) bool, `objects` (Y, X) uint32."""

    image: np.ndarray
    mask: np.ndarray
    objects: np.ndarray


def make_cells(
    seed: int = 0,
    shape: tuple[int, int] = (256, 256),
    count: int = 9,
    radius: float = 22.0,
    kind: str = "phase",
    dtype: str = "uint16",
) -> Cells:
    """`kind` is "phase" (textured bodies with a bright rim), "fluorescence" (uneven stain) or
    "mixed": phase, with as many smooth dark bodies of the same shapes that are no cells."""
    rng = np.random.default_rng(seed)
    objects = _bodies(rng, shape, 2 * count if kind == "mixed" else count, radius)
    others = (objects > 0) & (objects % 2 == 0) & (kind == "mixed")
    objects[others] = 0
    mask = objects > 0
    light = _smooth_noise(rng, shape, max(shape) / 4)
    fine = _smooth_noise(rng, shape, 1.5)
    depth = ndimage.distance_transform_edt(mask)
    if kind == "phase":
        outside = ndimage.distance_transform_edt(~mask)
        rim = np.exp(-(((depth + outside) / 3.0) ** 2)) * (outside > 0)
        picture = 0.5 * light + 0.9 * rim + mask * (0.55 * fine - 0.12) + 0.1 * ~mask * fine
    elif kind == "mixed":
        outside = ndimage.distance_transform_edt(~mask)
        rim = np.exp(-(((depth + outside) / 3.0) ** 2)) * (outside > 0)
        smooth = np.minimum(ndimage.distance_transform_edt(others) / 5.0, 1.0)
        picture = 0.3 * light + 0.7 * rim + mask * (0.55 * fine - 0.2) - 0.9 * smooth
    elif kind == "fluorescence":
        strength = rng.uniform(0.35, 1.2, objects.max() + 1)
        strength[0] = 0.0
        body = strength[objects] * np.minimum(depth / (radius / 4), 1.0) * (1 + 0.4 * fine)
        picture = ndimage.gaussian_filter(body, 1.5) + 0.45 * light
    else:
        raise ValueError(f"unknown kind of image: {kind}")
    picture = picture + rng.normal(0.0, 0.06, shape)
    return Cells(_to_dtype(picture, dtype), mask, objects)


def make_stack(
    times: int = 1, slices: int = 1, seed: int = 0, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    """Image (T, Z, Y, X) in its dtype and truth (T, Z, Y, X) bool, every plane another picture."""
    planes = [make_cells(seed + number, **options) for number in range(times * slices)]  # type: ignore[arg-type]
    image = np.stack([plane.image for plane in planes])
    mask = np.stack([plane.mask for plane in planes])
    front = (times, slices)
    return image.reshape(front + image.shape[1:]), mask.reshape(front + mask.shape[1:])


def write_imagej(
    path: Path,
    image: np.ndarray,
    axes: str,
    pixel_size: Sequence[float] | None = (1.0, 0.5, 0.5),
) -> Path:
    """Write an ImageJ TIFF; `axes` names the array's axes, `pixel_size` is (z, y, x) in um."""
    options: dict[str, object] = {}
    metadata: dict[str, object] = {"axes": axes}
    if pixel_size is not None:
        z, y, x = pixel_size
        options["resolution"] = (1 / x, 1 / y)
        metadata |= {"unit": "um", "spacing": z}
    tifffile.imwrite(path, image, imagej=True, metadata=metadata, **options)  # type: ignore[arg-type]
    return path


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two boolean masks, 0 to 1; two empty ones agree."""
    total = int(found.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int(np.logical_and(found, truth).sum()) / total


def _bodies(
    rng: np.random.Generator, shape: tuple[int, int], count: int, radius: float
) -> np.ndarray:
    """Wobbly discs that do not touch, numbered from 1."""
    objects = np.zeros(shape, np.uint32)
    rows, columns = np.indices(shape)
    for _ in range(count * 30):
        if objects.max() == count:
            break
        size = radius * rng.uniform(0.7, 1.2)
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        angle = np.arctan2(rows - y, columns - x)
        wobble = 1 + sum(
            rng.uniform(-0.12, 0.12) * np.cos(order * angle + rng.uniform(0, 6.28))
            for order in (2, 3, 5)
        )
        distance = np.hypot(rows - y, columns - x) / (size * wobble)
        if not objects[distance < 1.35].any():
            objects[distance < 1.0] = objects.max() + 1
    return objects


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.normal(size=shape), scale, mode="wrap")
    return noise / max(float(noise.std()), 1e-9)


def _to_dtype(picture: np.ndarray, dtype: str) -> np.ndarray:
    low, high = DTYPE_RANGE[dtype]
    bottom, top = np.percentile(picture, (0.1, 99.9))
    scaled = np.clip((picture - bottom) / max(top - bottom, 1e-9), 0, 1) * (high - low) + low
    return scaled.astype(dtype)
