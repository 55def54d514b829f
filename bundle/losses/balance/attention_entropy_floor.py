"""Attention balancing that cannot collapse: a temperature, and a floor under the weights' entropy. Ours."""

import torch
from torch import Tensor, nn

from bundle.losses.balance.attention import Attention
from bundle.losses.balance.balanced import Balanced, check_teachers, relative_entropy, weigh


class AttentionEntropyFloor(nn.Module):
    """α = (1 − ε) softmax(qᵀk / (τ√d)) + ε/K, with each image's smallest ε for which H(α) ≥ floor · log K.

    A hard floor rather than a penalty: a penalty competes with losses whose size changes during training. Entropy is
    concave and greatest for equal weights, so it grows with ε and the smallest one is found on a grid of 1/1000.

    Args:
        in_channels: Channels of the student's embedding.
        num_teachers: Number ``K`` of teachers.
        key_dim: Length of query and keys.
        temperature: τ; more than 1 flattens the weights.
        floor: Least relative entropy in [0, 1]; with three teachers, 0.8 holds every weight below 0.66.
    """

    def __init__(
        self,
        in_channels: int,
        num_teachers: int,
        key_dim: int = 64,
        temperature: float = 1.0,
        floor: float = 0.8,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if not 0 <= floor <= 1:
            raise ValueError(f"floor is a share of the greatest entropy and must be in [0, 1], got {floor}")
        self.attention = Attention(in_channels, num_teachers, key_dim)
        self.temperature, self.floor = temperature, floor

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # (K, B), (B, C, h, w)
        check_teachers(losses, len(self.attention.keys))
        weights = (self.attention.scores(embedding) / self.temperature).softmax(dim=1)
        equal = torch.full_like(weights, 1 / len(losses))
        return weigh(losses, torch.lerp(weights, equal, self._share(weights, equal)).T)

    @torch.no_grad()
    def _share(self, weights: Tensor, equal: Tensor) -> Tensor:  # (B, K), (B, K) -> (B, 1)
        """The smallest share of equal weights that lifts the entropy to the floor."""
        shares = torch.linspace(0, 1, 1001, device=weights.device)
        mixtures = torch.lerp(weights, equal, shares[:, None, None])  # (1001, B, K)
        reaches = relative_entropy(mixtures) >= self.floor
        reaches[-1] = True  # equal weights, whose entropy rounding may put just under a floor of 1
        return shares[reaches.int().argmax(dim=0), None]
