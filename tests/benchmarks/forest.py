"""What ilastik, Labkit and Trainable Weka offer: filters of many scales and a random forest."""

from __future__ import annotations

import time

import numpy as np
from skimage.feature import multiscale_basic_features
from skimage.measure import label
from sklearn.ensemble import RandomForestClassifier

from tests.annotator import CELL
from tests.benchmarks.answer import Answer, Clock
from unet_core.export import DEFAULT_MIN_SIZE

TREES = 100
SIGMAS = 0.7, 16.0


def forest(
    images: list[np.ndarray],
    labels: list[np.ndarray],
    seed: int = 0,
    clock: Clock = time.monotonic,
) -> Answer:
    """A forest fitted to labelled pixels.

    `images` are `(C, Y, X)` float32, `labels` `(Y, X)` uint8: 0 unlabelled, 1 background, 2 cell.
    On one processor: its seconds tell how fast the machine was in that run.
    """
    began = clock()
    samples = [features(image)[marked > 0] for image, marked in zip(images, labels, strict=True)]
    classes = np.concatenate([marked[marked > 0] for marked in labels])
    trees = RandomForestClassifier(TREES, n_jobs=1, random_state=seed)
    trees.fit(np.concatenate(samples), classes)
    cell = list(trees.classes_).index(CELL)

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_pixels = features(image)
        found = trees.predict_proba(of_pixels.reshape(-1, of_pixels.shape[-1]))[:, cell]
        probability = found.reshape(image.shape[1:]).astype(np.float32)
        return probability, connected_objects(probability >= 0.5)

    return Answer(predict, clock() - began)


def features(image: np.ndarray) -> np.ndarray:
    """Intensity, edges and texture of each channel at five scales, `(Y, X, F)` float32."""
    return multiscale_basic_features(
        np.moveaxis(image, 0, -1),
        sigma_min=SIGMAS[0],
        sigma_max=SIGMAS[1],
        workers=1,
        channel_axis=-1,
    )


def connected_objects(cells: np.ndarray) -> np.ndarray:
    """Connected parts `(Y, X)` int32 of at least as many pixels as Limn keeps."""
    parts = label(cells, connectivity=1).astype(np.int32)
    sizes = np.bincount(parts.ravel())
    parts[(sizes < DEFAULT_MIN_SIZE)[parts]] = 0
    return parts
