"""A teacher on a coarser grid: what a student cannot resolve need be neither stored nor compared."""

import torch.nn.functional as F
from torch import Tensor, nn

from bundle.teachers.base import Teacher


class PooledEncoder(nn.Module):
    """Average another encoder's features over the cells of a coarser grid.

    Args:
        encoder: The encoder whose features are averaged.
        grid_size: Side of the coarser grid.

    Raises:
        ValueError: If the grid is not coarser than the encoder's.
    """

    def __init__(self, encoder: nn.Module, grid_size: int) -> None:
        super().__init__()
        if not 0 < grid_size < encoder.grid_size:  # type: ignore[operator]
            raise ValueError(f"grid_size must be below the encoder's own {encoder.grid_size}, got {grid_size}")
        self.encoder, self.grid_size = encoder, grid_size
        self.input_size, self.embed_dim = encoder.input_size, encoder.embed_dim
        self.mean, self.std = encoder.mean, encoder.std

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, C, grid_size, grid_size)
        return F.adaptive_avg_pool2d(self.encoder(images), self.grid_size)


def pool_teacher(teacher: Teacher, grid_size: int) -> Teacher:
    """The same frozen teacher with features on a coarser grid."""
    return Teacher(
        teacher.name, PooledEncoder(teacher.encoder, grid_size), f"{teacher.weights}, averaged to {grid_size}²"
    )
