"""One random rotation, scaling and shift for the image, its masks and its valid region."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AffineDraw:
    """One draw: what is applied to the content of a frame, about its center."""

    degrees: float  # Rotation, counterclockwise as one sees it
    scale: float  # Above 1 magnifies
    shift: tuple[float, float]  # Downwards and to the right, as a share of the side


class RandAffineFramed(Randomizable, MapTransform):
    """Rotate, scale and shift a frame and everything on its grid; zeros come in from outside.

    MONAI's ``RandAffined`` gives the same (a test compares them), but turns masks into float, which
    is slow with a mask per structure.

    Args:
        keys: Entries ``(C, H, W)`` of one grid.
        prob: Share of frames that are changed.
        degrees: Rotation is drawn from plus to minus this.
        scale: Lowest and highest magnification.
        shift: Shift along each axis is drawn from plus to minus this share of the side.
        mode: "bilinear" or "nearest", for all keys or one for each; masks need "nearest" and keep their type.
        allow_missing_keys: As in every MONAI transform.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        degrees: float = 10.0,
        scale: tuple[float, float] = (0.9, 1.1),
        shift: float = 0.05,
        mode: str | Sequence[str] = ("bilinear", "nearest", "nearest"),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if not 0.0 <= prob <= 1.0:
            raise ValueError(f"prob must be in [0, 1], got {prob}")
        if not 0.0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be a lowest and a highest magnification above 0, got {tuple(scale)}")
        if degrees < 0.0 or shift < 0.0:
            raise ValueError(f"degrees and shift must not be negative, got {degrees} and {shift}")
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        if not set(self.mode) <= {"bilinear", "nearest"}:
            raise ValueError(f'mode must be "bilinear" or "nearest", got {self.mode}')
        self.prob = prob
        self.degrees = degrees
        self.scale = tuple(scale)
        self.shift = shift

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        drawn = self.draw()
        return dict(data) if drawn is None else self.apply(data, drawn)

    def draw(self) -> AffineDraw | None:
        """Draw what to do with the next frame; None leaves it as it is."""
        if self.R.random() >= self.prob:
            return None
        return AffineDraw(
            degrees=self.R.uniform(-self.degrees, self.degrees),
            scale=math.exp(self.R.uniform(math.log(self.scale[0]), math.log(self.scale[1]))),
            shift=(self.R.uniform(-self.shift, self.shift), self.R.uniform(-self.shift, self.shift)),
        )

    def apply(self, data: Mapping[Hashable, Any], drawn: AffineDraw) -> dict[Hashable, Any]:
        """Apply one draw to every key."""
        entry = dict(data)
        grid = None
        for key, mode in self.key_iterator(entry, self.mode):
            frame = entry[key]
            if grid is None or grid.shape[1:3] != frame.shape[1:]:
                grid = sampling_grid(drawn, frame.shape[1], frame.shape[2])
            entry[key] = resample(frame, grid, mode)
        return entry


def affine_matrix(drawn: AffineDraw, rows: int = 1, columns: int = 1) -> Tensor:  # (2, 3)
    """For an output position, from -1 to 1 along each side, the input position that moves there.

    Of rows and columns only the ratio counts, so leave both out for a square frame.
    """
    cos, sin = math.cos(math.radians(drawn.degrees)), math.sin(math.radians(drawn.degrees))
    down, right = drawn.shift  # positions run from -1 to 1, x (columns) first
    # Rotation is in pixels, so a frame that is not square needs the ratio of its sides.
    linear = torch.tensor([[cos, -sin * rows / columns], [sin * columns / rows, cos]]) / drawn.scale
    offset = linear @ torch.tensor([[-2.0 * right], [-2.0 * down]])
    return torch.cat([linear, offset], dim=1)


def sampling_grid(drawn: AffineDraw, rows: int, columns: int) -> Tensor:  # (1, H, W, 2)
    """For every output pixel the input position that moves there, as ``grid_sample`` takes it."""
    return F.affine_grid(affine_matrix(drawn, rows, columns)[None], [1, 1, rows, columns], align_corners=False)


def move_features(features: Tensor, matrices: Tensor) -> Tensor:  # (B, C, h, h), (B, 2, 3) -> (B, C, h, h)
    """Move square feature maps as their frames were moved; zeros come in from outside.

    Features of a moved frame are not exactly the moved features: keep angles and scales small.
    """
    grid = F.affine_grid(matrices.to(features), list(features.shape), align_corners=False)
    return F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def resample(frame: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Move the content of ``(C, H, W)``, which keeps its type; zeros come in from outside."""
    moved = F.grid_sample(frame[None].to(grid.dtype), grid, mode=mode, padding_mode="zeros", align_corners=False)
    return moved[0].to(frame.dtype)
