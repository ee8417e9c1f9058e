"""What is asked of the engine, and what it says came of it: plain data that nobody changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unet_core.export import DEFAULT_MIN_SIZE
from unet_core.stack import PlaneIndex

if TYPE_CHECKING:
    from unet_core.batch import Outcome
    from unet_core.model import Model

Source = Literal["annotation", "prediction", "both"]

BUNDLED = "bundled"
MODEL_FILE = "file"
"""What training may begin with, beside the name of a network."""


@dataclass(frozen=True)
class TrainingProgress:
    """What the training panel shows after a step."""

    step: int
    loss: float | None
    """None before the first step."""
    fraction: float
    eta: float | None
    elapsed: float
    verdict: str
    """How well it does on strokes kept aside, in one sentence."""


@dataclass(frozen=True)
class ExportRequest:
    """A file to be written."""

    path: Path
    what: str
    """The id of one of `export_presets.PRESETS`, "annotation" for the classes as they were painted,
    or "model"."""
    threshold: float = 0.5
    min_size: int = DEFAULT_MIN_SIZE
    source: Source = "prediction"
    """What the masks are made from; "both": with the annotation on top."""
    plane: PlaneIndex | None = None
    """Only this one."""

    @property
    def preset(self) -> str:
        """The id of the preset that writes it."""
        return "classes" if self.what == "annotation" else self.what

    @property
    def painted(self) -> bool:
        """Whether the annotation goes into it."""
        return self.what == "annotation" or self.source != "prediction"

    @property
    def predicted(self) -> bool:
        """Whether the prediction goes into it."""
        return self.what != "annotation" and self.source != "annotation"


@dataclass(frozen=True)
class Exported:
    """What an export has written."""

    request: ExportRequest
    model: Model | None
    """The model that was shown then; None: the bundled one."""
    objects: int | None = None
    methods: str = ""
    """How the masks were made, to paste into a paper."""


@dataclass(frozen=True)
class FolderRequest:
    """Many images to be predicted with the model that is shown."""

    images: tuple[Path, ...]
    """Images, and folders of images; of the project, all that it holds."""
    folder: Path
    """Where the files go."""
    presets: tuple[str, ...]
    threshold: float = 0.5
    min_size: int = DEFAULT_MIN_SIZE
    resume: bool = True
    """Skip images whose files are all there."""
    keep_model: bool = True
    """Also write the model there, unless a file holds it already."""
    source: Source = "prediction"
    """What the masks are made from; what was painted is known of the project's images only."""

    @property
    def painted(self) -> bool:
        """Whether annotations go into the masks."""
        return self.source != "prediction"


@dataclass(frozen=True)
class Applied:
    """What has become of many images."""

    request: FolderRequest
    model: Model | None
    """The model that was shown then; None: the bundled one."""
    outcomes: tuple[Outcome, ...]
    kept: Path | None = None
    """Where the model was written."""
