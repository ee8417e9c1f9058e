"""Damaged and hostile files by the thousand: each gives a sentence or an answer, in bounded memory.

`python -m tests.core.mutants KIND SEED FIRST LAST` reads mutants of that kind, in a process whose
memory and time are limited, and prints a line for each: its number and what came of it.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
SECONDS = 10
MEMORY = 2**30
"""Bytes of address space beyond what the process has taken after it has read a sound file."""

SUFFIXES = {
    "project": ".limn", "model": ".safetensors", "tiff": ".tif", "png": ".png", "npy": ".npy",
    "hdf5": ".h5", "zarr": ".bundle", "czi": ".czi", "lif": ".lif",
    "nd2": ".nd2",
}  # fmt: skip


# ---- sound files


def _images() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    yield rng.integers(0, 60000, (3, 40, 50), np.uint16)
    yield (np.arange(64 * 70).reshape(64, 70) % 200).astype(np.uint8)
    yield rng.random((2, 30, 30)).astype(np.float32)


def sound(kind: str, folder: Path) -> list[bytes]:
    """The content of sound files of a kind, of several makes."""
    path = folder / f"sound{SUFFIXES[kind]}"
    contents = []
    if kind == "project":
        return [(DATA / f"format{n}.limn").read_bytes() for n in (1, 2, 3)]
    if kind == "model":
        from unet_core.annotation import DEFAULT_CLASSES
        from unet_core.model import Model

        return [Model.fresh("compact", 1, DEFAULT_CLASSES, 0).to_bytes()]
    if kind == "png":
        import imagecodecs

        small = [image[0] if image.ndim == 3 else image for image in _images()][:2]
        rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
        return [imagecodecs.png_encode(image) for image in [*small, rgb]]
    if kind in ("npy", "hdf5", "zarr", "czi", "lif", "nd2"):
        return list(_other_formats(kind, path))
    makes: list[dict[str, object]] = [
        {}, {"bigtiff": True}, {"compression": "zlib"}, {"compression": "lzw", "predictor": True},
        {"tile": (16, 16), "compression": "zlib"}, {"imagej": True}, {"ome": True},
        {"byteorder": ">"}, {"compression": "zstd", "rowsperstrip": 7},
    ]  # fmt: skip
    for number, image in enumerate(_images()):
        for make in makes if number == 0 else makes[:3]:
            tifffile.imwrite(path, image, photometric="minisblack", **make)  # type: ignore[arg-type]
            contents.append(path.read_bytes())
    return contents


def _other_formats(kind: str, path: Path) -> Iterator[bytes]:
    import io

    import h5py
    import zarr

    from tests.core.test_formats import czi, hi_lo, lif, nd2

    for number, image in enumerate(_images()):
        if kind == "npy":
            file = io.BytesIO()
            np.save(file, image)
            yield file.getvalue()
        elif kind == "hdf5":
            with h5py.File(path, "w") as data:
                options = {"chunks": True, "compression": "gzip"} if number else {}
                made = data.create_dataset("volume/raw", data=image, **options)
                made.attrs["element_size_um"] = [1.0, 0.5, 0.5]
            yield path.read_bytes()
        elif kind == "zarr" and not number:
            root = zarr.open_group(path, mode="w", zarr_format=2)
            root.create_array("0", data=image)
            axes = [{"name": a, "type": "space"} for a in "zyx"[-image.ndim :]]
            root.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
            places = sorted(p for p in path.rglob("*") if p.is_file())
            for place in places:
                yield f"{place.relative_to(path)}\n".encode() + place.read_bytes()
        elif kind == "czi" and image.dtype == np.uint16:
            tiles = [({"Z": z, "M": m}, image[z]) for z in range(len(image)) for m in (0, 1)]
            for compression, encode in ((0, bytes), (6, hi_lo)):
                czi(path, tiles, 1, compression, "<ImageDocument/>", encode)
                yield path.read_bytes()
        elif kind == "lif" and image.ndim == 3 and image.dtype.kind == "u":
            lif(path, {"one": ("ZYX", image, ("Red",)), "two": ("YX", image[0], ("Gray",))})
            yield path.read_bytes()
        elif kind == "nd2" and image.ndim == 3 and image.dtype.kind == "u":
            nd2(path, [plane[..., None].copy() for plane in image], [(1, len(image))])
            yield path.read_bytes()


def _with_png_checksums(data: bytes) -> bytes:
    """A forger's PNG: its checksums fit, so that the decoder goes on."""
    fitting, place = bytearray(data), 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            break
        fitting[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(fitting)


def mutant(whole: bytes, rng: random.Random) -> bytes:
    """The content with a few accidents, or attacks, of different kinds."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        if len(data) < 8:
            break
        # Half of them near the start, where headers are.
        place = rng.randrange(min(len(data) - 4, rng.choice([64, 512, len(data)])) or 1)
        what = rng.randrange(6)
        if what == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            extreme = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, len(data), 0xFFFF])
            data[place : place + 4] = extreme.to_bytes(4, rng.choice(["little", "big"]))
        elif what == 2:
            del data[place:]
        elif what == 3:
            data[place : place + 64] = rng.randbytes(rng.randrange(64))
        elif what == 4:
            other = rng.randrange(len(data))
            data[place : place + 256] = data[other : other + 256]
        else:
            data[place] = rng.randrange(256)
    return bytes(data)


# ---- reading them


def _read_project(path: Path) -> None:
    from unet_core.project import Project

    with Project.open(path) as project:
        _ = project.shape, project.classes, project.image, project.setting("view")
        _ = project.models(), project.latest_model(), project.training_runs()
        annotation, history = project.load()
    for place in annotation.labelled_planes():  # tiles are unpacked when they are looked at
        annotation.read(place)
    while (edit := history.undo()) is not None:
        annotation.apply(edit)


def _rescue(path: Path) -> None:
    from unet_core.rescue import rescue

    target = path.with_name("rescued.limn")
    target.unlink(missing_ok=True)
    rescue(path, target)


def _read_model(path: Path) -> None:
    from unet_core.model import Model

    Model.load(path)
    Model.from_bytes(path.read_bytes(), path.name)


def _read_image(path: Path) -> None:
    from unet_core.stack import open_stack

    with open_stack(path) as stack:
        _ = stack.fingerprint(), stack.pixel_size, stack.channel_names
        for plane in list(stack.planes())[:4]:
            np.asarray(stack.plane(*plane)).sum()


def _read_choices(path: Path) -> None:
    """All images of a file, with all that their axes may mean."""
    from unet_core.choices import choices, thumbnail
    from unet_core.stack import open_stack

    for one in choices(path).images[:4]:
        for axes in one.alternatives:
            with open_stack(path, one.reading(axes)) as stack:
                thumbnail(stack, 32)


def _read_zarr(path: Path) -> None:
    """A sound image, of which one file, named in the bundle's first line, is the bundle's rest."""
    import zarr

    folder = path.with_suffix(".zarr")
    root = zarr.open_group(folder, mode="w", zarr_format=2)
    root.create_array("0", data=next(_images()))
    axes = [{"name": a, "type": "space"} for a in "zyx"]
    root.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    name, _, content = path.read_bytes().partition(b"\n")
    known = {str(p.relative_to(folder)).encode(): p for p in folder.rglob("*") if p.is_file()}
    known.get(name, folder / ".zattrs").write_bytes(content)
    _read_image(folder)
    _read_choices(folder)


READERS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "project": (_read_project, _rescue),
    "model": (_read_model,),
    "tiff": (_read_image,),
    "png": (_read_image,),
    "npy": (_read_image, _read_choices),
    "hdf5": (_read_image, _read_choices),
    "zarr": (_read_zarr,),
    "czi": (_read_image, _read_choices),
    "lif": (_read_image, _read_choices),
    "nd2": (_read_image, _read_choices),
}


def came_of(read: Callable[[Path], None], path: Path) -> str:
    """What reading a file led to: "read", "sentence", or what it must never be."""
    from app.sentences import known_sentence

    try:
        read(path)
    except Exception as error:
        said = known_sentence(error)
        if said is None:
            return f"BAD {type(error).__name__}: {error}".replace("\n", " ")
        if isinstance(error, MemoryError):
            return "BAD too much memory"
        return "sentence" if "\n" not in said and said.endswith(".") else f"BAD sentence: {said}"
    return "read"


def main(kind: str, seed: int, first: int, last: int) -> None:
    """Read the mutants from `first` up to `last`, exclusive."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mutant{SUFFIXES[kind]}"
        contents = sound(kind, Path(folder))
        for content in contents:
            path.write_bytes(content)
            for read in READERS[kind]:
                assert came_of(read, path) == "read", f"a sound {kind} is not read"
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        for number in range(first, last):
            rng = random.Random(f"{kind} {seed} {number}")
            path.with_name(path.name + "-journal").unlink(missing_ok=True)
            content = mutant(rng.choice(contents), rng)
            if kind == "png" and rng.random() < 0.7:
                content = _with_png_checksums(content)
            path.write_bytes(content)
            for read in READERS[kind]:
                signal.alarm(SECONDS)  # ends the process, also within native code
                came = came_of(read, path)
                signal.alarm(0)
                print(number, came, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"-1 peak {peak} MiB", flush=True)


def attack(kind: str, count: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Read so many mutants; counts what came of them, and lists what must not have come."""
    came: Counter[str] = Counter()
    bad: list[str] = []
    first = 0
    while first < count:
        worker = subprocess.run(
            [sys.executable, "-m", "tests.core.mutants", kind, str(seed), str(first), str(count)],
            cwd=ROOT, capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        )  # fmt: skip
        last = first - 1
        for line in worker.stdout.splitlines():
            number, what = line.split(" ", 1)
            if int(number) >= 0:
                last = int(number)
            came[what.split()[0]] += 1
            if what.startswith("BAD"):
                bad.append(f"{kind} {seed} {line}")
            elif what.startswith("peak"):
                came["MiB at most"] = max(came["MiB at most"], int(what.split()[1]))
        if worker.returncode == 0:
            break
        if last < first and not worker.stdout:
            raise RuntimeError(f"the worker for {kind} does not start: {worker.stderr[-2000:]}")
        # It died in the mutant after the last one that it told of.
        died = last + 1
        why = "no answer in time" if worker.returncode == -signal.SIGALRM else worker.returncode
        bad.append(f"{kind} {seed} {died} DIED {why}: {worker.stderr[-300:]}")
        came["died"] += 1
        first = died + 1
    came.pop("peak", None)
    return came, bad


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
