"""Static weights, the baseline of arXiv 2504.02351."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced, check_teachers, weigh


class Static(nn.Module):
    """αᵢ as given, not normalized.

    Args:
        weights: One number per teacher, in the teachers' order; not negative, not all zero.
    """

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        if not weights or not all(math.isfinite(w) and w >= 0 for w in weights) or sum(weights) == 0:
            raise ValueError(f"static weights must be finite, not negative and not all zero, got {list(weights)}")
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K, B), (B, C, h, w)  # noqa: ARG002 - one call
        check_teachers(losses, len(self.weights))
        return weigh(losses, self.weights[:, None].expand_as(losses))
