"""Predict a whole stack and write its masks: what the window exports and `limn predict` writes.

One function for both, so that they cannot differ. Each tile is predicted once; what it gives waits
in unnamed files beside the results, so memory does not grow with the stack.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unet_core.annotation import Annotation, ClassInfo
from unet_core.device import prepare_thread
from unet_core.export import ExportError, Extent, Progress
from unet_core.export_presets import write_presets
from unet_core.inference import Predictor, classes_at
from unet_core.masks import Masks, finding, spool
from unet_core.model import Model
from unet_core.objects import interior_levels
from unet_core.stack import Stack

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
    check_channels(model, stack)
    written = yield from write_presets(
        targets,
        stack,
        model=model,
        ranges=ranges,
        device=device,
        threshold=threshold,
        min_size=min_size,
        overwrite=overwrite,
        say=say,
    )
    return written.objects


def check_channels(model: Model, stack: Stack) -> None:
    """Raise ExportError where the model was made for images with other channels."""
    if stack.shape[2] != model.channels:
        raise ExportError(
            f"{stack.path} has {stack.shape[2]} channels, but the model was trained on "
            f"{model.channels}."
        )


def predicting(
    model: Model,
    stack: Stack,
    extent: Extent,
    ranges: NDArray[np.float32],
    device: torch.device,
    folder: Path,
    spools: ExitStack,
    *,
    threshold: float,
    min_size: int,
    objects: bool = True,
    annotation: Annotation | None = None,
    classes: tuple[ClassInfo, ...] = (),
    say: Callable[[str], None] = lambda sentence: None,
) -> Generator[Progress, None, Masks]:
    """Predict the planes of `extent`, with the annotation on top where there is one.

    The masks last until `spools` is closed, which holds the files in `folder` that they wait in.
    `objects`: whether to find and number objects. Otherwise as `segment`.
    """
    check_channels(model, stack)
    prepare_thread()
    planes = [extent.in_image(plane) for plane in extent.planes()]
    height, width = extent.shape[3:]
    # What a painted object replaces, see `masks.under_paint`, must not depend on what is asked for.
    cut = (objects or annotation is not None) and bool(model.network.has_interior)
    shape = (len(planes), height, width)
    probabilities = spools.enter_context(
        spool(folder, (len(planes), len(model.foreground), height, width), np.float32)
    )
    interiors = spools.enter_context(spool(folder, shape, np.uint8)) if cut else None
    predictor = Predictor(model, device, say=say)
    tiles = predictor.tiles(height, width)
    total = len(planes) * len(tiles)
    work = ((pixels, tile) for p in planes for pixels in [stack.lazy_plane(*p)] for tile in tiles)
    for n, part in enumerate(predictor.each(work, ranges)):
        i, j = divmod(n, len(tiles))
        probabilities[i][(slice(None), *tiles[j].core.slices)] = part.probabilities
        if interiors is not None and part.interior is not None:
            interiors[i][tiles[j].core.slices] = interior_levels(part.interior)
        yield Progress(n + 1, total, "Predicting")

    notes = {
        "model": fingerprint(model),
        "network": model.network_name,
        "threshold": f"{threshold:g}",
    }
    if steps := model.provenance.get("steps"):
        notes["training"] = f"{steps} training steps"
    masks = yield from finding(
        stack,
        extent,
        classes or model.classes,
        folder,
        spools,
        notes=notes,
        predicted=lambda i: classes_at(probabilities[i], threshold),
        interior=None if interiors is None else lambda i: interiors[i],
        probabilities=lambda i: probabilities[i],
        predicted_classes=model.foreground,
        annotation=annotation,
        min_size=min_size,
        objects=objects,
    )
    return masks


def fingerprint(model: Model) -> str:
    """Short name of a model's weights: equal weights, equal name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
