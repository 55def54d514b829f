"""Highest loss first: every step serves the teacher that is matched worst."""

import torch
from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced, weigh


class HighestLossFirst(nn.Module):
    """αᵢ = 1 for the teacher with the highest loss, 0 for the others: minimizes maxᵢ ℓᵢ by its subgradient."""

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K,), (B, C, h, w)  # noqa: ARG002 - one call
        worst = torch.zeros_like(losses)
        worst[losses.detach().argmax()] = 1.0
        return weigh(losses, worst)
