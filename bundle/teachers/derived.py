"""Teachers made of other encoders: on a coarser grid, or with random weights as a control."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.teachers.base import Teacher
from bundle.teachers.medsam2 import small_medsam2


class PooledEncoder(nn.Module):
    """Average another encoder's features over the cells of a coarser grid.

    Args:
        encoder: The encoder whose features are averaged.
        grid_size: Side of the coarser grid.
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
    """The same frozen teacher on a coarser grid: what a student cannot resolve need be neither stored nor compared."""
    return Teacher(
        teacher.name, PooledEncoder(teacher.encoder, grid_size), f"{teacher.weights}, averaged to {grid_size}²"
    )


def load_placebo(name: str = "placebo", encoder: Callable[[], nn.Module] = small_medsam2, seed: int = 0) -> Teacher:
    """A teacher that knows nothing: the random weights that a training would start from.

    Its features are not noise: they depend on the frame, as random projections do. What a student gains from it, it
    would gain from having any target.

    Args:
        name: What the teacher is called.
        encoder: Makes the encoder. A fair control has the architecture, width, layer and input size of the teacher
            that it stands for.
        seed: Of the weights; the caller's random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Teacher(name, encoder(), f"random, seed {seed}: a placebo")
