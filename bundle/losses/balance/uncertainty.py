"""Uncertainty weighting, from Kendall, Gal and Cipolla (2018), arXiv 1705.07115."""

import torch
from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced, check_teachers, weigh


class Uncertainty(nn.Module):
    """Σ ½ exp(−sᵢ) ℓᵢ + ½ sᵢ with one learned log-variance sᵢ per teacher, at the start 0.

    At its optimum sᵢ = log ℓᵢ: the weight 1/(2ℓᵢ) makes all teachers count alike, whatever their loss. The weights do
    not sum to 1, and the total may be negative.

    Args:
        num_teachers: Number ``K`` of teachers.
    """

    def __init__(self, num_teachers: int) -> None:
        super().__init__()
        self.log_variances = nn.Parameter(torch.zeros(num_teachers))

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K, B), (B, C, h, w)  # noqa: ARG002 - one call
        check_teachers(losses, len(self.log_variances))
        weighed = weigh(losses, 0.5 * torch.exp(-self.log_variances)[:, None].expand_as(losses))
        return Balanced(weighed.total + 0.5 * self.log_variances.sum(), weighed.weights)
