"""Predict a whole stack and write its masks: what the window exports and `limn predict` writes.

One function for both, so that they cannot differ. Each tile is predicted once; what it gives waits
in unnamed files beside the results, so memory does not grow with the stack.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unet_core.atomic import os_reason
from unet_core.device import prepare_thread
from unet_core.export import ExportError, Progress, check_target, write_mask
from unet_core.inference import Predictor, classes_at
from unet_core.model import Model
from unet_core.objects import ObjectNumbers, interior_levels, split_objects
from unet_core.stack import Stack
from unet_core.training import app_version

OUTPUTS = ("probability", "classes", "objects")


def segment(
    model: Model,
    stack: Stack,
    ranges: NDArray[np.float32],
    device: torch.device,
    targets: Mapping[str, Path],
    *,
    threshold: float,
    min_size: int,
    overwrite: bool = True,
    say: Callable[[str], None] = lambda sentence: None,
) -> Generator[Progress, None, int | None]:
    """Predict every plane of `stack` and write the wanted masks.

    Parameters
    ----------
    targets
        Where to write which of OUTPUTS: "probability" (float32, 0…1, of the one foreground class
        or with a C axis of all), "classes" (uint8, 1 = background) and "objects" (uint16, uint32
        above 65,535 objects, 0 = background).
    threshold
        Foreground where 1 - P(background) is at least this, 0…1.
    min_size
        Objects of fewer pixels (voxels where they span planes) are left out.
    say
        Called with a sentence for the user where predicting has to make do with little memory.

    A generator of Progress; closing it cancels and leaves nothing behind. Returns the number of
    objects, None if they were not asked for. Raises ExportError, StackError.

    """
    if stack.shape[2] != model.channels:
        raise ExportError(
            f"{stack.path} has {stack.shape[2]} channels, but the model was trained on "
            f"{model.channels}."
        )
    prepare_thread()
    for path in targets.values():  # before any work
        check_target(path, stack, overwrite)
        _make_folder(path.parent)
    folder = next(iter(targets.values())).parent
    planes = list(stack.planes())
    height, width = stack.shape[3:]
    count = len(model.foreground)
    notes = {
        "program": f"Limn {app_version()}",
        "model": fingerprint(model),
        "threshold": f"{threshold:g}",
        "classes": ", ".join(f"{i + 1} = {c.name}" for i, c in enumerate(model.classes)),
    }
    cut = "objects" in targets and bool(model.network.has_interior)
    with (
        _spool(folder, (len(planes), count, height, width), np.float32) as probabilities,
        _spool(folder, (len(planes), height, width), np.uint8)
        if cut
        else nullcontext() as interiors,
    ):
        predictor = Predictor(model, device, say=say)
        tiles = predictor.tiles(height, width)
        total = len(planes) * len(tiles)
        work = ((pixels, tile) for pixels in (stack.plane(*p) for p in planes) for tile in tiles)
        for n, part in enumerate(predictor.each(work, ranges)):
            i, j = divmod(n, len(tiles))
            probabilities[(i, slice(None), *tiles[j].core.slices)] = part.probabilities
            if interiors is not None and part.interior is not None:
                interiors[(i, *tiles[j].core.slices)] = interior_levels(part.interior)
            yield Progress(n + 1, total, "Predicting")

        def classes(i: int) -> NDArray[np.uint8]:
            return classes_at(probabilities[i], threshold)

        if "probability" in targets:
            many = count > 1
            yield from write_mask(
                targets["probability"],
                (probabilities[i] if many else probabilities[i, 0] for i in range(len(planes))),
                like=stack,
                dtype=np.float32,
                channels=count if many else 0,
                channel_names=[c.name for c in model.foreground] if many else (),
                overwrite=overwrite,
                description=notes,
            )
        if "classes" in targets:
            yield from write_mask(
                targets["classes"],
                (classes(i) for i in range(len(planes))),
                like=stack,
                dtype=np.uint8,
                overwrite=overwrite,
                description=notes,
            )
        if "objects" in targets:

            def found(i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
                return classes(i), None if interiors is None else interiors[i]

            path = targets["objects"]
            return (yield from _write_objects(path, found, cut, stack, min_size, overwrite, notes))
    return None


def _write_objects(
    path: Path,
    found: Callable[[int], tuple[NDArray[np.uint8], NDArray[np.uint8] | None]],
    cut: bool,
    stack: Stack,
    min_size: int,
    overwrite: bool,
    notes: Mapping[str, str],
) -> Generator[Progress, None, int]:
    """Write the objects in what `found(plane number)` gives: classes and, if `cut`, interior."""
    planes = list(stack.planes())
    # A ball of N voxels has about N^⅔ pixels in a plane: what is cut off there must not be less.
    smallest = min_size if stack.shape[1] == 1 else round(min_size ** (2 / 3))
    numbers = ObjectNumbers(cut)
    with _spool(path.parent, (len(planes), *stack.shape[3:]), np.int32) as labels:
        for i, plane in enumerate(planes):
            classes, interior = found(i)
            labels[i] = split_objects(classes, interior, smallest)
            numbers.add(plane, labels[i], classes)
            yield Progress(i + 1, len(planes), "Finding objects")
        count = numbers.finish(min_size)
        yield from write_mask(
            path,
            (numbers.number_of(i, labels[i]) for i in range(len(planes))),
            like=stack,
            dtype=np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32,
            overwrite=overwrite,
            description={**notes, "min_size_px": str(min_size), "objects": str(count)},
        )
    return count


def fingerprint(model: Model) -> str:
    """Short name of a model's weights: equal weights, equal name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"The folder {folder} cannot be made: {os_reason(error)}; choose another one."
        ) from error


@contextmanager
def _spool(folder: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> Iterator[np.memmap]:
    """An array on disk that is gone when the block ends, or the process."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            if hasattr(os, "posix_fallocate"):  # a mapped page on a full disk would kill us
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            yield np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise ExportError(
            f"Nothing can be written to {folder}: {os_reason(error)}; choose another folder."
        ) from error
