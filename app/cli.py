"""The command line: train, predict, measure, rescue, info. Thin over `unet_core`; no window."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tqdm import tqdm

from app.sentences import known_sentence

if TYPE_CHECKING:
    from types import FrameType

    from numpy.typing import NDArray

    from unet_core.batch import BatchProgress
    from unet_core.patches import Region
    from unet_core.reading import Reading
    from unet_core.recipe import Recipe

COMMANDS = ("train", "predict", "measure", "rescue", "info")

R = TypeVar("R")
N = TypeVar("N", int, float)

_interrupted = threading.Event()


def main(arguments: Sequence[str]) -> int:
    """Run one subcommand; returns the exit code: 0 done, 1 the input or the work failed."""
    options = _parser().parse_args(arguments)  # wrong usage exits with 2
    try:
        with _remembering_interrupts():
            summary = options.run(options)
        if options.json:
            print(json.dumps(summary))
        sys.stdout.flush()
    except _SomeFailedError as failures:
        for one in failures.summary["failed"]:
            _complain(one["error"])
        if options.json:
            print(json.dumps(failures.summary))
        return _complain(str(failures))
    except KeyboardInterrupt:
        # Python remembers an interrupt that left the exec() of a text, as dataclasses use it when
        # they are imported, and would end as if nobody had caught it. The next exec() forgets it.
        exec("")
        return _complain("Cancelled; unfinished files were removed.")
    except BrokenPipeError:  # the work is done, and whoever read of it has read enough
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # Python flushes it at its end
    except OSError as error:
        return _complain(f"{error.filename or 'A file'}: {error.strerror or error}.")
    except Exception as error:
        if (known := known_sentence(error)) is None:  # a mistake of ours: show where
            raise
        return _complain(known)
    return 0


@contextmanager
def _remembering_interrupts() -> Iterator[None]:
    """Ctrl+C raises KeyboardInterrupt as ever, and `_go_on` raises it again.

    For an exception raised while native code asks an object for an attribute, or in a destructor,
    is dropped there: the work would go on for ever.
    """
    _interrupted.clear()
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as in a shell's background job
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _go_on() -> None:
    """Raise KeyboardInterrupt where Ctrl+C was pressed and went unnoticed."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _say(sentence: str) -> None:
    tqdm.write(f"limn: {sentence}", file=sys.stderr)


def _complain(sentence: str) -> int:
    print(f"limn: {sentence}", file=sys.stderr)
    return 1


# --- usage -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="limn",
        description="Paint a few cells, get the rest. Without a subcommand: limn [PATH …] opens "
        "the window on a project or on images.",
        epilog="Example: limn cells.tif",
    )
    commands = parser.add_subparsers(required=True, metavar="|".join(COMMANDS))
    _add_train(commands)
    _add_predict(commands)
    _add_measure(commands)
    _add_rescue(commands)
    info = _add(
        commands,
        "info",
        "show versions, devices, memory, and where settings and logs are kept",
        "limn info --json",
    )
    info.set_defaults(run=_info)
    return parser


def _add(commands: Any, name: str, what: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=f"Example: {example}",
    )
    parser.add_argument("--json", action="store_true", help="print one summary object on stdout")
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--series", metavar="NAME", help="which image of each file: its name, or number from 1"
    )
    parser.add_argument(
        "--axes", metavar="TYX", help="what the axes of the images are, in the file's order"
    )


def _reading(options: argparse.Namespace) -> Reading:
    from unet_core.reading import Reading

    return Reading(options.series, options.axes)


def _add_train(commands: Any) -> None:
    parser = _add(
        commands,
        "train",
        "fine-tune a network on labelled images",
        "limn train --pair cells.tif labels.tif --out cells.safetensors --seconds 60",
    )
    parser.add_argument(
        "--pair",
        nargs=2,
        action="append",
        required=True,
        type=Path,
        metavar=("IMAGE", "LABELS"),
        help="an image and its labels: 0 unlabelled, 1 background, 2… classes; may be repeated",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="MODEL", help="file to write")
    parser.add_argument(
        "--from",
        dest="start",
        default="bundled",
        metavar="bundled|scratch|MODEL",
        help="the weights to start from (default: bundled)",
    )
    parser.add_argument("--network", metavar="NAME", help="the network, with --from scratch")
    parser.add_argument(
        "--labels-are",
        choices=("classes", "objects"),
        default="classes",
        help="objects: 0 unlabelled, 1 background, 2… one number per cell, all of one class",
    )
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument(
        "--seconds",
        type=_positive,
        help="longest training time (default: 60); ends earlier when nothing gets better any more",
    )
    limit.add_argument("--steps", type=_count, help="number of optimiser steps")
    parser.add_argument("--seed", type=_seed, default=0, help="of all random choices (default: 0)")
    _add_reading(parser)
    _add_device(parser)
    parser.set_defaults(run=_train)


def _add_predict(commands: Any) -> None:
    parser = _add(
        commands,
        "predict",
        "predict masks of whole images",
        "limn predict --model cells.safetensors --out masks --write objects *.tif",
    )
    parser.add_argument("--model", required=True, metavar="MODEL|bundled")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--write",
        type=_outputs,
        metavar="probability,classes,objects",
        help="which masks (default: all three, without --preset)",
    )
    parser.add_argument(
        "--preset",
        type=_presets,
        default=(),
        metavar="NAME",
        help="files for other programs: one or more of " + ",".join(_preset_names()),
    )
    parser.add_argument("--threshold", type=_share, default=0.5, help="0…1 (default: 0.5)")
    parser.add_argument(
        "--min-size",
        type=_count_or_zero,
        metavar="PX2",
        help="leave out smaller objects (default: 10)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="skip images whose files are all there already"
    )
    _add_reading(parser)
    _add_device(parser)
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="an image, a folder of images, or a pattern such as “day1/*.tif”",
    )
    parser.set_defaults(run=_predict)


def _add_measure(commands: Any) -> None:
    parser = _add(
        commands,
        "measure",
        "measure numbered objects",
        "limn measure --objects cells_objects.tif --image cells.tif --out cells.csv",
    )
    parser.add_argument("--objects", required=True, type=Path, metavar="LABELS")
    parser.add_argument("--image", required=True, type=Path, metavar="IMAGE")
    parser.add_argument("--out", required=True, type=Path, metavar="TABLE.csv")
    _add_reading(parser)
    parser.set_defaults(run=_measure)


def _add_rescue(commands: Any) -> None:
    parser = _add(
        commands,
        "rescue",
        "bring out of a damaged project what can be read, into a new project",
        "limn rescue damaged.limn --out rescued.limn",
    )
    parser.add_argument("project", type=Path, metavar="DAMAGED")
    parser.add_argument("--out", required=True, type=Path, metavar="NEW.limn")
    parser.set_defaults(run=_rescue)


def _number(convert: Callable[[str], N], text: str) -> N:
    try:
        return convert(text)
    except ValueError:
        kind = "whole number" if convert is int else "number"
        raise argparse.ArgumentTypeError(f"“{text}” is no {kind}") from None


def _positive(text: str) -> float:
    value = _number(float, text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _share(text: str) -> float:
    value = _number(float, text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def _count(text: str) -> int:
    value = _number(int, text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _count_or_zero(text: str) -> int:
    value = _number(int, text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return value


def _seed(text: str) -> int:
    value = _number(int, text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("must be from 0 to 2⁶³ - 1")
    return value


def _outputs(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    known = ("probability", "classes", "objects")
    if not names or any(name not in known for name in names):
        raise argparse.ArgumentTypeError(f"use one or more of {','.join(known)}")
    return names


def _preset_names() -> list[str]:
    from unet_core.export_presets import PRESETS

    return [one.id for one in PRESETS]


def _presets(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not names or not set(names) <= set(_preset_names()):
        raise argparse.ArgumentTypeError(f"use one or more of {','.join(_preset_names())}")
    return names


# --- the work --------------------------------------------------------------------------------


def _follow(steps: Generator[BatchProgress, None, R]) -> R:
    """Drive a generator to its end, showing each image on a bar of its own."""
    bar: tqdm[NoReturn] | None = None
    shown = 0
    try:
        while True:
            try:
                report = next(steps)
            except StopIteration as end:
                result: R = end.value
                return result
            if bar is None or report.number != shown:
                if bar is not None:
                    bar.close()
                bar, shown = tqdm(total=1, unit="step"), report.number
            _show(bar, report)
            _go_on()
    finally:
        if bar is not None:
            bar.close()


def _show(bar: tqdm[NoReturn], report: BatchProgress) -> None:
    from unet_core.batch import duration_in_words

    many, now = report.count > 1, report.progress
    name = f"{report.number}/{report.count} " if many else ""
    text = f"{name}{report.image.name}: {now.text}"
    if text != bar.desc or now.total != bar.total:
        bar.set_description_str(text, refresh=False)
        if bar.total != now.total:
            bar.reset(now.total)
    if many and report.seconds_left is not None:
        bar.set_postfix_str(f"all in {duration_in_words(report.seconds_left)}", refresh=False)
    bar.update(now.done - bar.n)


def _check_out(out: Path, *inputs: Path) -> None:
    """Raise ExportError, before any work, where the result cannot or must not be written."""
    from unet_core.export import ExportError

    if out.is_dir():
        raise ExportError(f"{out} is a folder: choose a file name inside it.")
    if not out.parent.is_dir():
        raise ExportError(f"{out} cannot be written: its folder does not exist; make it first.")
    if not os.access(out.parent, os.W_OK):
        raise ExportError(f"{out} cannot be written: its folder is read-only; choose another.")
    if out.resolve() in [path.resolve() for path in inputs]:
        raise ExportError(f"{out} is an input, which Limn never overwrites: choose another name.")


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from unet_core.annotation import Annotation
    from unet_core.device import choose_device
    from unet_core.export import ExportError, read_labels
    from unet_core.intensity import intensity_range
    from unet_core.model import Model
    from unet_core.objects import classes_of_objects
    from unet_core.openers import which_series
    from unet_core.patches import TrainingSet
    from unet_core.stack import PlaneIndex, open_stack
    from unet_core.training import TrainingError, fit

    device = choose_device(options.device)
    _check_out(options.out, *(path for pair in options.pair for path in pair))
    if options.network and options.start != "scratch":
        raise TrainingError("--network goes with --from scratch: a model brings its own network.")
    regions: list[Region] = []
    objects: list[NDArray[Any]] = []  # for each region the plane that it was cut from
    channels = pixel_size = None
    for image, labels in options.pair:
        with open_stack(image, _reading(options)) as stack:
            if told := which_series(stack, _reading(options)):
                _say(told)
            if channels is not None and stack.shape[2] != channels:
                raise TrainingError(
                    f"{image} has {stack.shape[2]} channels, the images before it {channels}."
                )
            channels, pixel_size = stack.shape[2], stack.pixel_size
            numbered = planes = read_labels(labels, stack)
            if options.labels_are == "objects":
                planes = {plane: classes_of_objects(p) for plane, p in planes.items()}
            if any(int(p.max()) > 255 for p in planes.values()):
                raise ExportError(
                    f"{labels} has values above 255: are these objects? Use --labels-are objects."
                )
            shape = (stack.shape[0], stack.shape[1], *stack.shape[3:])
            annotation = Annotation.from_planes(shape, planes)
            if not planes:
                raise ExportError(f"{labels} has no labels: all its pixels are 0.")
            added = TrainingSet.of(stack, annotation, intensity_range(stack)).regions
            regions += added
            objects += [numbered[PlaneIndex(*region.origin[:2])] for region in added]
    data = TrainingSet(regions)
    if 1 not in data.values or len(data.values) < 2:
        names = ", ".join(str(pair[1]) for pair in options.pair)
        raise TrainingError(
            f"{names}: training needs pixels of background (value 1) and of a class (value 2 or "
            f"more), but the only values are {data.values}."
        )
    assert channels is not None
    classes = _named_classes(max(data.values))
    if options.start == "scratch":
        start = Model.fresh(options.network or "compact", channels, classes, options.seed)
    elif options.start == "bundled":
        start = Model.bundled().adapted(channels, classes)
    else:
        start = Model.load(Path(options.start))
        known = (*start.classes, *classes[len(start.classes) :])
        if start.channels != channels or known != start.classes:
            start = start.adapted(channels, known)
    start.pixel_size = pixel_size
    if options.labels_are == "objects":
        recipe = start.network.recipe
        data = TrainingSet(
            [_emphasised(*pair, recipe) for pair in zip(regions, objects, strict=True)],
            data.strokes,
        )
    seconds = options.seconds or (None if options.steps else 60.0)
    fitting = fit(
        start, data, device=device, seed=options.seed, steps=options.steps, seconds=seconds
    )
    with tqdm(total=1000, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
        bar.set_description_str("Training", refresh=False)
        while True:
            try:
                report = next(fitting)
            except StopIteration as end:
                model = end.value
                break
            loss = "" if report.loss is None else f", loss {report.loss:.3f}"
            bar.set_postfix_str(f"step {report.step}{loss}", refresh=False)
            bar.update(int(report.fraction * 1000) - bar.n)
            _go_on()
    model.save(options.out)
    print(report.verdict, file=sys.stderr)
    return {"model": str(options.out), **model.provenance}


def _emphasised(region: Region, objects: NDArray[Any], recipe: Recipe) -> Region:
    """`region` with the narrow gaps between its cells emphasised, see `border_weights`.

    And with what their numbers tell of how touching cells part, see `known_interior`.
    """
    from unet_core.border_weights import border_term
    from unet_core.objects import known_interior

    (y, x), (height, width) = region.origin[2:], region.labels.shape
    # Of the whole plane: a cell beyond the region's edge has its part in it.
    term = border_term(objects, recipe.border_weight, recipe.border_sigma)
    inside = known_interior(objects)
    there = (slice(y, y + height), slice(x, x + width))
    return replace(region, emphasis=term[there], interior=inside[there])


def _named_classes(count: int) -> tuple[Any, ...]:
    """Background and `count` - 1 classes, the first of them a cell."""
    from unet_core.annotation import DEFAULT_CLASSES, ClassInfo

    more = [ClassInfo(f"class {value}", "#009e73") for value in range(3, count + 1)]
    return (*DEFAULT_CLASSES, *more)


def _predict(options: argparse.Namespace) -> dict[str, Any]:
    from unet_core.batch import plan, predict_all
    from unet_core.device import choose_device
    from unet_core.export import DEFAULT_MIN_SIZE, ExportError, make_folder
    from unet_core.model import Model

    device = choose_device(options.device)
    bundled = options.model == "bundled"
    model = Model.bundled() if bundled else Model.load(Path(options.model))
    wanted = options.write or (() if options.preset else _OUTPUTS)
    tasks = plan(options.images, tuple(dict.fromkeys((*wanted, *options.preset))), options.out)
    make_folder(options.out)
    outcomes = _follow(
        predict_all(
            tasks,
            model,
            device,
            adapt=bundled,
            threshold=options.threshold,
            min_size=DEFAULT_MIN_SIZE if options.min_size is None else options.min_size,
            resume=options.resume,
            explain=known_sentence,
            say=_say,
            reading=_reading(options),
        )
    )
    if len(outcomes) == 1 and outcomes[0].error:
        raise ExportError(outcomes[0].error)
    results: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for one in outcomes:
        image = {"image": str(one.task.image)}
        if one.error:
            failed.append({**image, "error": one.error})
            continue
        said = {"skipped": True} if one.skipped else {"objects": one.objects}
        written = {what: str(path) for what, path in one.task.targets.items()}
        results.append({**image, **said, "written": written})
    if skipped := sum(one.skipped for one in outcomes):
        _say(f"{skipped} of {len(outcomes)} images were there already and were skipped.")
    summary = {"model": options.model, "threshold": options.threshold, "images": results}
    if failed:
        raise _SomeFailedError(summary, failed)
    return summary


_OUTPUTS = ("probability", "classes", "objects")


class _SomeFailedError(Exception):
    """Some of many images could not be predicted; the others are done."""

    def __init__(self, summary: dict[str, Any], failed: list[dict[str, str]]) -> None:
        self.summary = {**summary, "failed": failed}
        done = len(summary["images"])
        super().__init__(f"{len(failed)} of {done + len(failed)} images failed.")


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from unet_core.atomic import os_reason, replacing
    from unet_core.export import ExportError, legible, read_labels
    from unet_core.measure import measure
    from unet_core.stack import open_stack
    from unet_core.table import write_rows

    _check_out(options.out, options.objects, options.image)
    rows = 0
    with open_stack(options.image, _reading(options)) as stack:
        planes = read_labels(options.objects, stack)
        empty = np.zeros(stack.shape[3:], np.uint8)
        name = legible(options.image.name)
        tables = measure(lambda plane: planes.get(plane, empty), stack, name)
        try:
            with (
                replacing(options.out) as part,
                part.open("w", newline="", encoding="utf-8") as file,
            ):
                written = write_rows(file, tables)
                for lines in tqdm(written, total=stack.shape[0], desc="Measuring"):
                    rows += len(lines)
                    _go_on()
        except OSError as error:
            raise ExportError(
                f"{options.out} cannot be written: {os_reason(error)}; choose another place."
            ) from error
    return {"table": str(options.out), "objects": rows - 1}  # without the header


def _rescue(options: argparse.Namespace) -> dict[str, Any]:
    from unet_core.rescue import rescue

    report = rescue(options.project, options.out)
    _say(report.sentence())
    return {"project": str(options.out), **asdict(report)}


def _info(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from unet_core.device import choose_device, describe, memory_line
    from unet_core.networks import REGISTRY
    from unet_core.places import crash_file, data_dir, log_file, settings_dir
    from unet_core.version import app_version

    devices = {"cpu": describe(torch.device("cpu"))}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        devices[f"cuda:{i}"] = describe(torch.device("cuda", i))
    if torch.backends.mps.is_available():
        devices["mps"] = describe(torch.device("mps"))
    facts: dict[str, Any] = {
        "limn": app_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "qt": version("PySide6-Essentials"),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory": memory_line(),
        "devices": devices,
        "auto_device": str(choose_device("auto")),
        "networks": list(REGISTRY),
        "settings": str(settings_dir()),
        "log": str(log_file()),
        "crashes": str(crash_file()),
        "recovery": str(data_dir() / "recovery"),
    }
    if not options.json:
        for name, value in facts.items():
            if isinstance(value, dict):
                value = "; ".join(f"{k}: {v}" for k, v in value.items())
            elif isinstance(value, list):
                value = ", ".join(value)
            print(f"{name.replace('_', ' '):12} {value}")
    return facts
