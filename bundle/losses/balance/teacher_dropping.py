"""Teacher dropping, from UNIC: Sariyildiz et al. (2024), arXiv 2408.05088."""

import torch
from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced, weigh


class TeacherDropping(nn.Module):
    """αᵢ = keepᵢ / Σ keepⱼ: an image's worst teacher always stays, each other is dropped with probability p.

    What is learned easily is learned less often. Drawn for every image, and only in training; in evaluation all stay.

    Args:
        drop_probability: p, in [0, 1]; 1 leaves the worst teacher alone.
    """

    def __init__(self, drop_probability: float = 0.5) -> None:
        super().__init__()
        if not 0 <= drop_probability <= 1:
            raise ValueError(f"drop_probability must be in [0, 1], got {drop_probability}")
        self.drop_probability = drop_probability

    def draw(self, losses: Tensor) -> Tensor:  # (K, B) -> (K, B) of 0 or 1
        """Which teachers stay."""
        keep = torch.rand_like(losses) >= self.drop_probability
        return keep.to(losses).scatter(0, losses.argmax(dim=0, keepdim=True), 1.0)

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K, B), (B, C, h, w)  # noqa: ARG002 - one call
        keep = self.draw(losses.detach()) if self.training else torch.ones_like(losses)
        return weigh(losses, keep / keep.sum(dim=0))
