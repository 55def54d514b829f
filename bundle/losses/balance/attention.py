"""Attention balancing, as published in arXiv 2504.02351."""

import torch
from torch import Tensor, nn

from bundle.losses.balance.balanced import Balanced, check_teachers, weigh


class Attention(nn.Module):
    """αᵢ = softmaxᵢ(qᵀkᵢ / √d): a query from the student's embedding against one learned key per teacher.

    Minimizing Σ αᵢ ℓᵢ over the keys rewards the *easiest* teacher (the gradient to a score is αᵢ(ℓᵢ − Σ αⱼ ℓⱼ)): one
    weight tends to 1 unless something holds it back: see :class:`AttentionEntropyFloor`.

    Every image has weights of its own. What the paper leaves open and we chose: the query is a linear map of the
    embedding's mean over positions; keys start at zero, hence equal weights; the embedding is read, not trained.

    Args:
        in_channels: Channels of the student's embedding.
        num_teachers: Number ``K`` of teachers.
        key_dim: Length ``d`` of query and keys.
    """

    def __init__(self, in_channels: int, num_teachers: int, key_dim: int = 64) -> None:
        super().__init__()
        self.query = nn.Linear(in_channels, key_dim)
        self.keys = nn.Parameter(torch.zeros(num_teachers, key_dim))

    def scores(self, embedding: Tensor) -> Tensor:  # (B, C, h, w) or (B, C) -> (B, K)
        """qᵀkᵢ / √d for every image."""
        summary = embedding.detach().float()
        if summary.ndim == 4:
            summary = summary.mean(dim=(2, 3))
        if summary.ndim != 2 or summary.shape[1] != self.query.in_features:
            raise ValueError(
                f"embedding must have {self.query.in_features} channels, got {tuple(embedding.shape)}: in_channels of"
                " the balancer must be the student's"
            )
        return self.query(summary) @ self.keys.T / self.keys.shape[1] ** 0.5

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K, B), (B, C, h, w)
        check_teachers(losses, len(self.keys))
        return weigh(losses, self.scores(embedding).softmax(dim=1).T)
