"""Masks at the film's resolution, straight from logits at stride 4."""

import numpy as np
import torch
from torch import Tensor

from bundle.export.formats import logit_of
from bundle.transforms.letterbox import LetterboxGeometry


class MaskEnlarger:
    """Interpolate logits once, bilinearly, from the network's grid to the film's, only where a structure is.

    The usual way enlarges the logits to the letterboxed square and that to the film: two full-size float maps per
    structure. Here a structure is enlarged within a box. A pixel can be above the limit only if one of the four logits
    that it lies between is, so nothing is lost. Interpolation is a product with a thin matrix from each side.

    Args:
        geometry: How the film's frames lie in the network's square.
        grid_size: Side of the logits' grid.
        threshold: Probability above which a pixel belongs to a structure, between 0 and 1.

    Raises:
        ValueError: If the threshold is not between 0 and 1.
    """

    def __init__(self, geometry: LetterboxGeometry, grid_size: int, threshold: float = 0.5) -> None:
        self.grid_size = grid_size
        self.limit = logit_of(threshold)
        cell = geometry.size / grid_size  # the square's pixels per cell of the grid
        row_scale, column_scale = geometry.scale
        self._rows = _Axis(geometry.rows, row_scale / cell, grid_size)
        self._columns = _Axis(geometry.columns, column_scale / cell, grid_size)

    def __call__(self, logits: Tensor, out: Tensor | None = None) -> Tensor:
        """Masks ``(B, S, rows, columns)`` bool of logits ``(B, S, grid_size, grid_size)`` float32 on the CPU.

        ``out`` is where they are written, all False; None: a new tensor.
        """
        if logits.ndim != 4 or tuple(logits.shape[2:]) != (self.grid_size, self.grid_size):
            expected = f"(B, S, {self.grid_size}, {self.grid_size})"
            raise ValueError(f"logits must be {expected}, got {tuple(logits.shape)}")
        size = (self._rows.num_pixels, self._columns.num_pixels)
        masks = torch.zeros(*logits.shape[:2], *size, dtype=torch.bool) if out is None else out
        above = logits > self.limit
        has_rows, has_columns = (above.any(dim=axis).numpy() for axis in (3, 2))
        for frame, structure in np.argwhere(has_rows.any(axis=2)):
            rows, grid_rows = self._rows.reach(has_rows[frame, structure])
            columns, grid_columns = self._columns.reach(has_columns[frame, structure])
            enlarged = torch.linalg.multi_dot(
                [
                    self._rows.weights[rows, grid_rows],
                    logits[frame, structure, grid_rows, grid_columns],
                    self._columns.weights[columns, grid_columns].T,
                ]
            )
            torch.gt(enlarged, self.limit, out=masks[frame, structure, rows, columns])
        return masks


class _Axis:
    """Bilinear interpolation along one axis, pixel centers on pixel centers, the edge held."""

    def __init__(self, num_pixels: int, scale: float, grid_size: int) -> None:
        self.num_pixels = num_pixels
        position = ((np.arange(num_pixels) + 0.5) * scale - 0.5).clip(0, grid_size - 1)
        self.low = np.floor(position).astype(int)
        self.high = np.minimum(self.low + 1, grid_size - 1)
        weights = np.zeros((num_pixels, grid_size), np.float32)
        weights[np.arange(num_pixels), self.low] = 1 - (position - self.low)
        weights[np.arange(num_pixels), self.high] += position - self.low
        self.weights = torch.from_numpy(weights)

    def reach(self, is_above: np.ndarray) -> tuple[slice, slice]:
        """Pixels that a run of cells reaches, and all the cells that these pixels lie between; no pixel: both empty."""
        cells = np.flatnonzero(is_above)
        first = int(np.searchsorted(self.high, cells[0], side="left"))
        last = int(np.searchsorted(self.low, cells[-1], side="right"))
        if first >= last:
            return slice(0, 0), slice(0, 0)
        return slice(first, last), slice(int(self.low[first]), int(self.high[last - 1]) + 1)
