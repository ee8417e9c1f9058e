"""How much each pixel counts in training: the border weights of the U-Net paper.

Ronneberger et al., MICCAI 2015, equation 2:

    w(x) = w_c(x) + w0 · exp(-(d1(x) + d2(x))² / (2 sigma²))

w_c balances the classes; d1 and d2 are the distances to the borders of the nearest and the second
nearest cell. The narrow gaps between cells, few pixels that decide whether two cells stay two, so
count several times as much as others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects

from unet_core.objects import classes_of_objects

NEGLIGIBLE = 1e-3
"""Border terms below this share of w0 are zero, which bounds how far one has to look."""


def border_weights(
    objects: NDArray[np.integer], w0: float = 10.0, sigma: float = 5.0
) -> NDArray[np.float32]:
    """Equation 2 for one plane: `(Y, X)` float32, zero where unlabelled.

    `objects` is `(Y, X)`: 0 unlabelled, 1 background, 2… one number a cell. Classes, and the cells
    that distances are taken to, are those of `objects.classes_of_objects`, a line of background
    between cells that touch. `w0` has no unit, `sigma` is in pixels. The balance is that of this
    plane alone; a training set with several planes adds its own to `border_term`.
    """
    classes = classes_of_objects(objects)
    values, counts = np.unique(classes[classes > 0], return_counts=True)
    balance = np.zeros(256, np.float32)
    for value, weight in class_weights(dict(zip(values, counts, strict=True))).items():
        balance[value] = weight
    return balance[classes] + border_term(objects, w0, sigma)


def class_weights(pixels: Mapping[int, int]) -> dict[int, float]:
    """w_c for each class value of which `pixels` counts the labelled pixels, one or more.

    Inversely proportional to how frequent the class is; the mean over all labelled pixels is one.
    """
    total = sum(pixels.values())
    return {value: total / (len(pixels) * count) for value, count in pixels.items()}


def border_term(
    objects: NDArray[np.integer], w0: float = 10.0, sigma: float = 5.0
) -> NDArray[np.float32]:
    """The second summand of equation 2 alone, `(Y, X)` float32; arguments as `border_weights`.

    The border of a cell are its pixels that have one of their four neighbours outside the cell:
    distances are zero there, and grow inside the cell as they do outside. Exact wherever the term
    is at least `NEGLIGIBLE` · w0, and zero elsewhere.
    """
    cells = np.where(classes_of_objects(objects) == 2, objects, 0)
    present, numbers = np.unique(cells, return_inverse=True)
    numbers = numbers.reshape(cells.shape) if present[0] == 0 else numbers.reshape(cells.shape) + 1
    farthest = sigma * math.sqrt(-2 * math.log(NEGLIGIBLE))  # of d1 + d2
    reach = math.ceil(farthest)
    nearest = np.full(cells.shape, np.inf, np.float32)
    second = np.full(cells.shape, np.inf, np.float32)
    for number, (rows, columns) in enumerate(find_objects(numbers), start=1):
        # No pixel farther away than this can have the cell as one of its two.
        window = (
            slice(max(0, rows.start - reach), rows.stop + reach),
            slice(max(0, columns.start - reach), columns.stop + reach),
        )
        cell = numbers[window] == number
        inside = binary_erosion(cell, border_value=1)  # the image's edge is not a border
        distance = distance_transform_edt(~cell | inside).astype(np.float32)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    sums = nearest + second
    term = np.float32(w0) * np.exp(-(sums**2) / np.float32(2 * sigma**2))
    return np.where((sums <= farthest) & (objects > 0), term, np.float32(0))
