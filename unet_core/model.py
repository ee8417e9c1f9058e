"""Model: a network with everything needed to use it again on another day and another machine.

One `.safetensors` file: tensors, and in its metadata a JSON recipe. Loading runs no code from the
file and works on any device.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unet_core import networks
from unet_core.annotation import DEFAULT_CLASSES, ClassInfo
from unet_core.atomic import os_reason, replacing
from unet_core.intensity import CLIP, HIGH_PERCENTILE, LOW_PERCENTILE
from unet_core.limits import READ_ANYWAY, lifted

FORMAT_VERSION = 2
MAX_BYTES = 1 << 30
MAX_CHANNELS = 64
MAX_CLASSES = 255

BUNDLED_WEIGHTS = Path(str(files("resources"))) / "unet_compact.safetensors"


class ModelError(ValueError):
    """A model cannot be read or used; the message is one sentence for the user."""


@dataclass
class Model:
    """A network, what its outputs mean and where its weights come from."""

    network: networks.Network
    network_name: str
    classes: tuple[ClassInfo, ...]
    """`classes[i]` has the label value i + 1; the first one is background."""
    channels: int
    pixel_size: tuple[float, float, float] | None = None
    """(z, y, x) in µm of the stack it was last trained on, None where that was not known."""
    provenance: dict[str, Any] = field(default_factory=dict)
    share_shift: tuple[float, ...] = ()
    """For each class: what its logit holds for the class being common or rare, see `head`. Without
    it, the logits are those of equally common classes, as strokes show them. () is zero."""

    @property
    def foreground(self) -> tuple[ClassInfo, ...]:
        """The classes that are predicted and exported: all but background."""
        return self.classes[1:]

    @classmethod
    def bundled(cls) -> Model:
        """The pretrained network that Limn ships with: one channel, background and cell."""
        if not BUNDLED_WEIGHTS.is_file():
            raise ModelError(
                f"Limn's own network is missing ({BUNDLED_WEIGHTS}); install it again."
            )
        return cls.load(BUNDLED_WEIGHTS)

    @classmethod
    def fresh(cls, network: str, channels: int, classes: Sequence[ClassInfo], seed: int) -> Model:
        """The network `network` with random weights drawn from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = networks.build(network, channels, len(classes))
        return cls(built, network, tuple(classes), channels, provenance={"start": "scratch"})

    def adapted(self, channels: int, classes: Sequence[ClassInfo] | None = None) -> Model:
        """A copy for another number of channels and other classes, keeping what was learned.

        Each new input channel sees the average of the old ones' filters, scaled so that a grey
        image gives the same features however often it is repeated. New classes start as copies of
        the first foreground class and share its probability with it.
        """
        classes = self.classes if classes is None else tuple(classes)
        weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        if channels != self.channels:
            stem = weights["down.0.0.weight"]
            grey = stem.sum(dim=1, keepdim=True) / channels
            weights["down.0.0.weight"] = grey.repeat(1, channels, 1, 1)
        added = len(classes) - len(self.classes)
        shift = self.share_shift and (*self.share_shift, *[self.share_shift[1]] * max(0, added))
        if added:
            known = min(len(classes), len(self.classes))
            rows = [*range(known), *[1] * max(0, added)]
            weights["head.weight"] = weights["head.weight"][rows]
            weights["head.bias"] = weights["head.bias"][rows]
        if added > 0:  # the first class and its copies share its probability
            sharing = [1, *range(len(self.classes), len(classes))]
            weights["head.bias"][sharing] -= math.log(len(sharing))
        network = networks.build(self.network_name, channels, len(classes))
        network.load_state_dict(weights)
        return replace(
            self,
            network=network,
            classes=tuple(classes),
            channels=channels,
            provenance=deepcopy(self.provenance),
            share_shift=shift[: len(classes)],
        )

    def seeing(self, mix: Sequence[float]) -> Model:
        """A copy that looks at this mix of the channels, for a model that sees the mean of them."""
        seen = self.copy()
        stem = seen.network.down[0][0].weight  # type: ignore[index]
        with torch.no_grad():
            grey = stem.sum(dim=1, keepdim=True)
            stem.copy_(grey * torch.tensor(mix, dtype=stem.dtype)[None, :, None, None])
        return seen

    def copy(self) -> Model:
        """An independent copy, on the CPU."""
        return self.adapted(self.channels)

    # --- files -------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The content of a model file."""
        recipe = {
            "format_version": FORMAT_VERSION,
            "network": {
                "name": self.network_name,
                "in_channels": self.channels,
                "out_channels": len(self.classes),
            },
            "channels": self.channels,
            "classes": [{"name": c.name, "color": c.color} for c in self.classes],
            "normalisation": {
                "method": "percentiles of each stack and channel",
                "low": LOW_PERCENTILE,
                "high": HIGH_PERCENTILE,
                "clip": CLIP,
            },
            "pixel_size_um": self.pixel_size,
            "share_shift": self.share_shift,
            "provenance": self.provenance,
        }
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.network.state_dict().items()
        }
        return safetensors.torch.save(weights, metadata={"limn": json.dumps(recipe)})

    def save(self, path: Path) -> None:
        """Write the model file atomically; raises ModelError where it cannot be written."""
        try:
            with replacing(path) as part:
                part.write_bytes(self.to_bytes())
        except OSError as error:
            raise ModelError(
                f"The model {path} cannot be written: {os_reason(error)}; choose another place."
            ) from error

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read a model file. Raises ModelError with one sentence where it is none."""
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"There is no model {path}; check the path or use “bundled”.")
        if path.stat().st_size > MAX_BYTES and not lifted():
            raise ModelError(
                f"{path} has more than {MAX_BYTES >> 20:,} MiB, which is too large for a model of "
                f"Limn; {READ_ANYWAY}."
            )
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"{path} is no model file, or it is damaged.") from error
        return cls._from_parts(weights, metadata, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Model:
        """The inverse of `to_bytes`; `name` says in an error where the bytes came from."""
        try:
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])
            weights = safetensors.torch.load(content)
            metadata = dict(header.get("__metadata__", {}))
        except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"The model in {name} is damaged.") from error
        return cls._from_parts(weights, metadata, name)

    @classmethod
    def _from_parts(cls, weights: dict[str, Tensor], metadata: dict[str, str], name: str) -> Model:
        try:
            recipe = json.loads(metadata["limn"])
            version = int(recipe["format_version"])
            network_name = str(recipe["network"]["name"])
            channels = int(recipe["channels"])
            classes = tuple(ClassInfo(str(c["name"]), str(c["color"])) for c in recipe["classes"])
            pixel_size = recipe.get("pixel_size_um")
            if pixel_size is not None:
                z, y, x = (float(v) for v in pixel_size)
                pixel_size = (z, y, x)
            provenance = dict(recipe.get("provenance", {}))
            shift = tuple(float(v) for v in recipe.get("share_shift", ()))
            int(provenance.get("steps", 0))  # training counts on from there
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError,
                RecursionError) as error:  # fmt: skip
            raise ModelError(
                f"{name} is no model of Limn: its recipe is missing or damaged."
            ) from error
        if version > FORMAT_VERSION:
            raise ModelError(f"The model {name} was made by a newer Limn; please update.")
        if version < FORMAT_VERSION:
            raise ModelError(f"The model {name} was made by an early Limn; train it again.")
        if not (1 <= channels <= MAX_CHANNELS and 2 <= len(classes) <= MAX_CLASSES):
            raise ModelError(f"{name} is no model of Limn: its recipe makes no sense.")
        if shift and (len(shift) != len(classes) or not np.isfinite(shift).all()):
            raise ModelError(f"{name} is no model of Limn: its recipe makes no sense.")
        if network_name not in networks.REGISTRY:
            raise ModelError(f"The model {name} uses the network “{network_name}”, unknown here.")
        network = networks.build(network_name, channels, len(classes))
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(f"The weights in {name} do not fit its recipe.") from error
        return cls(network, network_name, classes, channels, pixel_size, provenance, shift)


__all__ = ["BUNDLED_WEIGHTS", "DEFAULT_CLASSES", "Model", "ModelError"]
