"""Views: a frame as the teachers see it, augmented by draws that can be repeated, and stored as 8-bit pixels.

View 0 is the frame itself; view k > 0 is augmented with random numbers that follow from the frame's content, the
augmentation and k alone. So more views can be added later, and every process draws the same.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Transform
from torch import Tensor

from bundle.keys import IMAGE, PATIENT, VALID
from bundle.store.digest import digest

PREPROCESSING_VERSION = 2
"""Counted up whenever ``bundle.data`` or ``bundle.transforms`` give other pixels for the same file and settings."""


@dataclass(frozen=True)
class View:
    """One view of one frame."""

    image: Tensor  # (1, S, S) uint8, 255 = 1.0
    valid: Tensor  # (1, S, S) uint8, 1 on image content and 0 on padding

    @cached_property
    def content(self) -> bytes:
        """Address of the pixels, which are all that a teacher's features depend on."""
        return digest(str(tuple(self.image.shape)), self.image.numpy().tobytes())


def read_view(columns: Mapping[str, Tensor]) -> View:
    """A view from an entry of a store's table of views."""
    return View(columns["image"], unpack_valid(columns["valid"], columns["image"].shape[-1]))


def pack_valid(valid: Tensor) -> Tensor:  # (1, S, S) -> (S * S / 8,) uint8
    """A valid region as bits."""
    return torch.from_numpy(np.packbits(valid.numpy().reshape(-1) > 0))


def unpack_valid(bits: Tensor, size: int) -> Tensor:  # (S * S / 8,) -> (1, S, S) uint8
    """The inverse of :func:`pack_valid`."""
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=size * size).reshape(1, size, size))


def as_float(image: Tensor) -> Tensor:
    """8-bit pixels as the networks take them, float32 in [0, 1]."""
    return image.float() / 255


class ViewRecipe:
    """How views are made of the entries of a data list, and by which addresses they are known.

    Args:
        deterministic: Transforms from an entry of ``load_datalist`` to a square ``image`` and its ``valid`` region.
        random: Augmentation of both, by any random transforms of MONAI's kind.
        seed: Another seed gives other draws.
    """

    def __init__(self, deterministic: Sequence[Transform], random: Sequence[Transform] = (), seed: int = 0) -> None:
        self.deterministic, self.augment = list(deterministic), Compose(list(random))
        version = str(PREPROCESSING_VERSION)
        self._load_id = digest(version, *(describe_transform(transform) for transform in deterministic))
        self._augment_id = digest(version, seed, *(describe_transform(transform) for transform in random))

    def source_key(self, entry: Mapping[str, Any], fingerprint: str) -> bytes:
        """Address of a frame on disk, by its :func:`file_fingerprint`, known without decoding it."""
        stated = {key: value for key, value in entry.items() if key not in (IMAGE, PATIENT)}
        return digest(self._load_id, fingerprint, json.dumps(stated, sort_keys=True, default=str))

    def view_key(self, frame: bytes, view: int) -> bytes:
        """Address of a view of the frame with this content; view 0 does not depend on the augmentation."""
        return digest(frame, self._augment_id, view) if view else digest(frame, 0)

    def frame(self, entry: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Load a frame; its ``image`` and ``valid``, float32 ``(1, S, S)``, and the address of its content."""
        loaded: Any = dict(entry)
        for transform in self.deterministic:
            loaded = transform(loaded)
        frame = {key: torch.as_tensor(loaded[key]).as_subclass(Tensor) for key in (IMAGE, VALID)}
        size = str(tuple(frame[IMAGE].shape))
        return frame, digest(size, *(frame[key].contiguous().numpy().tobytes() for key in (IMAGE, VALID)))

    def render(self, frame: Mapping[str, Any], content: bytes, view: int) -> View:
        """Make one view of what :meth:`frame` gave."""
        entry: dict[str, Any] = dict(frame)
        if view:
            self.augment.set_random_state(seed=seed_of(content, self._augment_id, view))
            entry = self.augment(entry)
        image = torch.as_tensor(entry[IMAGE]).as_subclass(Tensor)
        valid = torch.as_tensor(entry[VALID]).as_subclass(Tensor)
        quantized = (image.clamp(0, 1) * 255).round().to(torch.uint8)
        return View(quantized.contiguous(), (valid > 0.5).to(torch.uint8).contiguous())


def seed_of(*parts: bytes | str | int) -> int:
    """A seed that follows from the parts, in [0, 2³²)."""
    return int.from_bytes(digest(*parts)[:4], "little")


def file_fingerprint(path: Path) -> str:
    """Sizes and modification times of a file, or of all files in a folder: they change when the content does."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return json.dumps(stats)


def describe_transform(transform: Any) -> str:
    """A transform's class and settings as text, without the state that it carries from draw to draw.

    Settings are the attributes with the name of a constructor's argument, and the transforms that it is made of.
    """
    arguments = inspect.signature(type(transform)).parameters
    settings = {
        name: _as_json(value)
        for name, value in sorted(vars(transform).items())
        if name in arguments or isinstance(value, Transform)
    }
    return json.dumps([f"{type(transform).__module__}.{type(transform).__qualname__}", settings], sort_keys=True)


def _as_json(value: Any) -> Any:
    if isinstance(value, Transform):
        return describe_transform(value)
    if isinstance(value, Mapping):
        return {str(key): _as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray | Tensor):
        return [_as_json(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(type(value).__qualname__)
