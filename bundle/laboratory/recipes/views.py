"""Square crops of frames that remember where they were, so that two views of a frame can be laid over each other."""

import torch
import torch.nn.functional as F
from torch import Tensor


def draw_crops(count: int, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Side and centre ``(B, 3)`` of random squares, in ``grid_sample``'s coordinates (the frame is [-1, 1]).

    Args:
        count: How many.
        area: Smallest and largest share of the frame.
        generator: Source of the draw.
    """
    uniform = torch.rand(3, count, generator=generator)
    side = (area[0] + (area[1] - area[0]) * uniform[0]).sqrt()
    return torch.stack([side, *((1 - side) * (2 * uniform[1:] - 1))], dim=1)


def take_crops(image: Tensor, crops: Tensor, size: int) -> Tensor:  # (B, 1, H, W) -> (B, 1, size, size)
    """Resample each frame's crop."""
    return F.grid_sample(image, _to_frame(_centres(size), crops), align_corners=False)


def cells_of(crops: Tensor, size: int, cells: int) -> Tensor:
    """Where each patch of a crop lies in its frame.

    Args:
        crops: Crops ``(B, 3)``.
        size: Patches along a side of the crop.
        cells: Cells along a side of the frame.

    Returns:
        Index of the frame's cell, row by row, for each patch, row by row ``(B, size²)``.
    """
    places = (_to_frame(_centres(size), crops) + 1) / 2 * cells
    columns, rows = places.long().clamp(0, cells - 1).flatten(1, 2).unbind(-1)
    return rows * cells + columns


def look_up(features: Tensor, crops: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Read one view's features at the places that another view's grid has in the frame.

    Args:
        features: Features ``(B, C, h, w)`` of the views ``other``.
        crops: Crops ``(B, 3)`` of the views that ask.
        other: Crops ``(B, 3)`` that ``features`` belong to.

    Returns:
        Features ``(B, h, w, C)`` on the asking grid, and whether each place ``(B, h, w)`` lies inside the other view.
    """
    places = _to_frame(_centres(features.shape[-1]), crops)
    within = (places - other[:, None, None, 1:]) / other[:, None, None, :1]
    found = F.grid_sample(features, within, padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1), within.abs().amax(dim=-1) <= 1


def _centres(size: int) -> Tensor:
    """Centres ``(size, size, 2)`` of a grid's cells as column, row in [-1, 1]."""
    at = (torch.arange(size) + 0.5) * 2 / size - 1
    return torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)


def _to_frame(places: Tensor, crops: Tensor) -> Tensor:  # (h, w, 2), (B, 3) -> (B, h, w, 2)
    return places * crops[:, None, None, :1] + crops[:, None, None, 1:]
