"""What the engine's jobs write: one file of the image on show, or the files of many images.

Generators that run in the job's thread; see `workshop` for what they may touch there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.document import OtherImage
from app.jobs import Steps
from app.requests import Applied, Exported, ExportRequest, FolderRequest
from app.sentences import known_sentence
from app.workshop import Given, Workshop, file_of, prepared, shown_model, to_show
from unet_core.annotation import Annotation
from unet_core.export import check_target

if TYPE_CHECKING:
    from unet_core.batch import Task


def exporting(
    request: ExportRequest, labels: Annotation | None, own: Workshop, given: Given
) -> Steps:
    """Write a file; `labels` is a snapshot, where the request asks for what was painted."""
    shown = shown_model(own, given)
    if request.what == "model":
        check_target(request.path, given.stack, overwrite=True)
        to_show(own, given).save(request.path)
        yield None
        return Exported(request, shown)
    from unet_core.export_presets import methods_sentence, write_presets

    device = None
    if request.predicted:
        device, _ = yield from prepared(own, given)
    written = yield from write_presets(
        {request.preset: request.path},
        given.stack,
        annotation=labels if request.painted else None,
        classes=given.exchange.classes,
        model=to_show(own, given) if request.predicted else None,
        ranges=given.ranges,
        device=device,
        plane=request.plane,
        threshold=request.threshold,
        min_size=request.min_size,
        overwrite=True,
        say=given.say,
    )
    return Exported(request, shown, written.objects, methods_sentence(written.notes))


def applying(
    request: FolderRequest, labelled: Mapping[Path, OtherImage], own: Workshop, given: Given
) -> Steps:
    """Predict many images and write their files; `labelled`: those of the project, by path."""
    from unet_core.batch import plan, predict_all
    from unet_core.export import make_folder
    from unet_core.model import Model
    from unet_core.segment import fingerprint

    shown = shown_model(own, given)
    tasks = [
        _with_labels(task, labelled, request)
        for task in plan(request.images, request.presets, request.folder)
    ]
    if request.source == "annotation":
        tasks = [task for task in tasks if task.annotation is not None]
    make_folder(request.folder)
    model = device = kept = None
    if request.source != "annotation":
        device, _ = yield from prepared(own, given)
        model = Model.bundled() if shown is None else shown.copy()
    in_a_file = file_of(shown, given.stack, given.saved) is not None
    if model is not None and request.keep_model and not in_a_file:
        kept = request.folder.absolute() / f"limn_model_{fingerprint(model)[:8]}.safetensors"
        model.save(kept)
        yield None
    outcomes = yield from predict_all(
        tasks,
        model,
        device,
        classes=given.exchange.classes if request.painted else (),
        adapt=shown is None,
        threshold=request.threshold,
        min_size=request.min_size,
        resume=request.resume,
        explain=known_sentence,
        say=given.say,
    )
    return Applied(request, shown, tuple(outcomes), kept)


def _with_labels(task: Task, labelled: Mapping[Path, OtherImage], request: FolderRequest) -> Task:
    """The same task with what is known of an image of the project."""
    known = labelled.get(task.image)
    if known is None or known.reference is None:
        return task
    painted = known.annotation if request.painted and known.annotation.counts() else None
    return replace(task, annotation=painted, reading=known.reference.reading)
