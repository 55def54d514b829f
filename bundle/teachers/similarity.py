"""How alike teachers see the same frames: linear CKA (Kornblith et al. 2019, arXiv 1905.00414) and a PCA picture."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class LinearCKA:
    """Centered kernel alignment between every two teachers, over all positions of all frames seen.

    Exact, whatever the batches: it adds up float64 second moments of all teachers' channels together. 1 means that the
    features agree up to rotation and scale, 0 that they have nothing in common.

    Args:
        grid_size: Side of the common grid on which features are compared; the coarsest teacher's is a fair choice.
    """

    def __init__(self, grid_size: int) -> None:
        self.grid_size = grid_size
        self._channels: dict[str, int] = {}
        self._count = 0
        self._sum = torch.zeros(0)
        self._products = torch.zeros(0)

    def update(self, features: Mapping[str, Tensor]) -> None:
        """Add one batch: each teacher's features ``(B, C, h, w)`` of the same frames."""
        channels = {name: value.shape[1] for name, value in features.items()}
        if not self._count:
            self._channels = channels
            total = sum(channels.values())
            self._sum = torch.zeros(total, dtype=torch.float64)
            self._products = torch.zeros(total, total, dtype=torch.float64)
        elif channels != self._channels:
            raise ValueError(f"features must be those of {self._channels}, got {channels}")
        rows = torch.cat([self._to_rows(value) for value in features.values()], dim=1)
        self._count += len(rows)
        self._sum += rows.sum(dim=0)
        self._products += rows.T @ rows

    def compute(self) -> tuple[list[str], Tensor]:
        """Teachers' names and their CKA matrix, symmetric with ones on its diagonal."""
        if not self._count:
            raise ValueError("no features to compare; call update first")
        mean = self._sum / self._count
        covariance = self._products / self._count - torch.outer(mean, mean)
        sizes = list(self._channels.values())
        blocks = [list(row.split(sizes, dim=1)) for row in covariance.split(sizes, dim=0)]
        alignment = torch.stack([torch.stack([block.square().sum() for block in row]) for row in blocks])
        norm = alignment.diagonal().sqrt()
        return list(self._channels), alignment / torch.outer(norm, norm).clamp(min=1e-300)

    def _to_rows(self, features: Tensor) -> Tensor:  # (B, C, h, w) -> (B * g * g, C)
        features = resize_features(features.double().cpu(), self.grid_size)
        return features.flatten(2).transpose(1, 2).flatten(0, 1)


def resize_features(features: Tensor, grid_size: int) -> Tensor:
    """Bring features ``(B, C, h, w)`` to a common grid, averaging to a coarser one and interpolating to a finer."""
    if features.shape[-1] >= grid_size:
        return F.adaptive_avg_pool2d(features, grid_size)
    return F.interpolate(features, size=(grid_size, grid_size), mode="bilinear", align_corners=False)


def pca_picture(features: Mapping[str, Tensor], tile_size: int = 128) -> np.ndarray:
    """Show features as colors: each column one teacher, each row one frame.

    A column's colors are the first three principal components of its own features, so equal colors in one column mean
    alike features; colors of different columns have nothing to do with each other.

    Args:
        features: Features ``(B, C, h, w)`` of the same frames, by name, in the order of the columns.
        tile_size: Side of one tile in pixels.

    Returns:
        Picture ``(B * tile_size, columns * tile_size, 3)``, uint8.
    """
    columns = [_colors(value.detach().float().cpu()) for value in features.values()]
    tiles = [F.interpolate(column, size=(tile_size, tile_size), mode="nearest") for column in columns]
    picture = torch.cat([tile.permute(0, 2, 3, 1).flatten(0, 1) for tile in tiles], dim=1)
    return (picture * 255).round().to(torch.uint8).numpy()


def _colors(features: Tensor) -> Tensor:  # (B, C, h, w) -> (B, 3, h, w) in [0, 1]
    batch, _, height, width = features.shape
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)
    rows = rows - rows.mean(dim=0)
    _, components = torch.linalg.eigh(rows.T @ rows)  # ascending, so the last three are the first three
    axes = components[:, -3:].flip(1)
    # A component's sign is arbitrary; a fixed one keeps the colors from one epoch's picture to the next.
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    scores = rows @ axes
    low, high = torch.quantile(scores, torch.tensor([0.02, 0.98]), dim=0)
    scores = ((scores - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    scores = F.pad(scores, (0, 3 - scores.shape[1]))  # fewer than three channels: the missing colors stay dark
    return scores.reshape(batch, height, width, 3).permute(0, 3, 1, 2)
