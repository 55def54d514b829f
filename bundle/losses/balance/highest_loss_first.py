"""Highest loss first: every image serves the teacher that is matched worst."""

import torch
from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced, weigh


class HighestLossFirst(nn.Module):
    """αᵢ = 1 for an image's teacher with the highest loss, else 0: minimizes maxᵢ ℓᵢ by its subgradient."""

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K, B), (B, C, h, w)  # noqa: ARG002 - one call
        worst = losses.detach().argmax(dim=0, keepdim=True)
        return weigh(losses, torch.zeros_like(losses).scatter(0, worst, 1.0))
