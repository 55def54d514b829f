"""Fit frames of any size into a square of square pixels: nothing is distorted, zeros at the bottom or right."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor
from torch.nn import functional as F

from bundle.data.clip import check_aspect
from bundle.keys import PIXEL_ASPECT, PIXEL_SPACING_MM, VALID


@dataclass(frozen=True)
class LetterboxGeometry:
    """How frames of ``rows`` x ``columns`` lie in a square: their content fills it from the top left corner."""

    rows: int  # Of the frames
    columns: int  # Of the frames
    size: int  # Side of the square, whose own pixels are square
    pixel_aspect: float = 1.0  # Height of a frame's pixel divided by its width

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.size) < 1:
            raise ValueError(f"rows, columns and size must be positive, got {self.rows}, {self.columns}, {self.size}")
        check_aspect(self.pixel_aspect)

    @property
    def content_rows(self) -> int:
        return max(1, round(self.rows * self.pixel_aspect * self.size / self._longest))

    @property
    def content_columns(self) -> int:
        return max(1, round(self.columns * self.size / self._longest))

    @property
    def _longest(self) -> float:
        """Longer side of a frame in widths of its pixels."""
        return max(self.rows * self.pixel_aspect, self.columns)

    @property
    def scale(self) -> tuple[float, float]:
        """Square's pixels per pixel of the frame, for rows and columns."""
        return self.content_rows / self.rows, self.content_columns / self.columns


def letterbox(frames: Tensor, size: int, pixel_aspect: float = 1.0) -> tuple[Tensor, LetterboxGeometry]:
    """Resize and pad ``(..., C, H, W)`` to ``(..., C, size, size)``, whose pixels are square.

    Values are averaged where the frame shrinks. Masks (integer or bool) become 1 where at least half of a pixel is
    covered, and keep their type. Returns also how the frames lie in the square.
    """
    geometry = LetterboxGeometry(int(frames.shape[-2]), int(frames.shape[-1]), size, pixel_aspect)
    content = _resize(frames, geometry.content_rows, geometry.content_columns)
    padding = (0, size - geometry.content_columns, 0, size - geometry.content_rows)
    return F.pad(content, padding), geometry


def unletterbox(masks: Tensor, geometry: LetterboxGeometry) -> Tensor:
    """Map masks or logits ``(T, S, size, size)`` back to ``(T, S, rows, columns)``.

    Logits (floating point) are interpolated: threshold them afterwards. Masks (integer or bool) stay masks.
    """
    expected = (geometry.size, geometry.size)
    if tuple(masks.shape[-2:]) != expected:
        raise ValueError(f"masks must be on the letterbox's grid {expected}, got {tuple(masks.shape[-2:])}")
    content = masks[..., : geometry.content_rows, : geometry.content_columns]
    return _resize(content, geometry.rows, geometry.columns)


def valid_region(geometry: LetterboxGeometry) -> Tensor:
    """Where the square has image content, ``(1, size, size)``: 1 inside, 0 on padding."""
    valid = torch.zeros(1, geometry.size, geometry.size)
    valid[:, : geometry.content_rows, : geometry.content_columns] = 1.0
    return valid


class Letterboxd(MapTransform):
    """Letterbox ``image`` and ``label``, add ``valid`` and adapt ``pixel_spacing_mm``.

    Takes ``pixel_aspect`` away, since pixels are square afterwards; an entry without it has square ones before, too.

    Args:
        keys: Entries of one grid: floating point is averaged, integer or bool is a mask.
        size: Side of the square in pixels.
        allow_missing_keys: As in every MONAI transform.
    """

    def __init__(self, keys: KeysCollection, size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        if size < 1:
            raise ValueError(f"size must be positive, got {size}")
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        entry = dict(data)
        pixel_aspect = float(entry.pop(PIXEL_ASPECT, 1.0))
        geometries = set()
        for key in self.key_iterator(entry):
            entry[key], geometry = letterbox(torch.as_tensor(entry[key]), self.size, pixel_aspect)
            geometries.add(geometry)
        if len(geometries) != 1:
            sizes = sorted((geometry.rows, geometry.columns) for geometry in geometries)
            raise ValueError(f"entries {list(self.keys)} must have one size, got {sizes}")
        geometry = geometries.pop()
        entry[VALID] = valid_region(geometry)
        if PIXEL_SPACING_MM in entry:
            spacing = torch.as_tensor(entry[PIXEL_SPACING_MM], dtype=torch.float32)
            entry[PIXEL_SPACING_MM] = spacing / torch.tensor(geometry.scale)
        return entry


def _resize(frames: Tensor, rows: int, columns: int) -> Tensor:
    if frames.shape[-2:] == (rows, columns):
        return frames
    is_mask = not frames.is_floating_point()
    values = frames.to(torch.float32) if is_mask else frames
    batch = values.reshape(-1, 1, *values.shape[-2:])
    resized = F.interpolate(batch, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True)
    resized = resized.reshape(*frames.shape[:-2], rows, columns)
    return (resized >= 0.5).to(frames.dtype) if is_mask else resized
