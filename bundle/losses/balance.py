"""Balancers: how the teachers' losses become one.

Each is called as ``balancer(losses, embedding)`` with the teachers' losses of every image ``(K, B)``, in the order of
the teachers, and the student's features ``(B, C, h, w)`` or summary ``(B, C)``; it returns :class:`Balanced`. The
weights αᵢ of an image multiply its own losses ℓᵢ and depend on no other image.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Balanced(NamedTuple):
    """The balanced loss, to be minimized, and the teachers' weights in it, for the log."""

    total: Tensor  # ()
    weights: Tensor  # (K, B), detached


class Equal(nn.Module):
    """αᵢ = 1/K: with standardized features, a strong baseline."""

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # noqa: ARG002 - one call for all
        return weigh(losses, torch.full_like(losses, 1 / len(losses)))


class Static(nn.Module):
    """αᵢ as given, not normalized: the baseline of arXiv 2504.02351.

    Args:
        weights: One number per teacher, in the teachers' order; not negative, not all zero.
    """

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        if not weights or not all(math.isfinite(w) and w >= 0 for w in weights) or sum(weights) == 0:
            raise ValueError(f"static weights must be finite, not negative and not all zero, got {list(weights)}")
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # noqa: ARG002
        _check_teachers(losses, len(self.weights))
        return weigh(losses, self.weights[:, None].expand_as(losses))


class HighestLossFirst(nn.Module):
    """αᵢ = 1 for an image's teacher with the highest loss, else 0: minimizes maxᵢ ℓᵢ by its subgradient."""

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # noqa: ARG002
        worst = losses.detach().argmax(dim=0, keepdim=True)
        return weigh(losses, torch.zeros_like(losses).scatter(0, worst, 1.0))


class TeacherDropping(nn.Module):
    """αᵢ = keepᵢ / Σ keepⱼ: an image's worst teacher stays, each other is dropped at random (UNIC, arXiv 2408.05088).

    What is learned easily is learned less often. Drawn for every image, and only in training; in evaluation all stay.

    Args:
        drop_probability: In [0, 1]; 1 leaves the worst teacher alone.
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

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # noqa: ARG002
        keep = self.draw(losses.detach()) if self.training else torch.ones_like(losses)
        return weigh(losses, keep / keep.sum(dim=0))


class Uncertainty(nn.Module):
    """Σ ½ exp(−sᵢ) ℓᵢ + ½ sᵢ with one learned log-variance sᵢ per teacher, at the start 0 (arXiv 1705.07115).

    At its optimum sᵢ = log ℓᵢ: the weight 1/(2ℓᵢ) makes all teachers count alike, whatever their loss. The weights do
    not sum to 1, and the total may be negative.
    """

    def __init__(self, num_teachers: int) -> None:
        super().__init__()
        self.log_variances = nn.Parameter(torch.zeros(num_teachers))

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # noqa: ARG002
        _check_teachers(losses, len(self.log_variances))
        weighed = weigh(losses, 0.5 * torch.exp(-self.log_variances)[:, None].expand_as(losses))
        return Balanced(weighed.total + 0.5 * self.log_variances.sum(), weighed.weights)


class Mlp(nn.Module):
    """α = softmax(W₂ σ(W₁ L + b₁) + b₂) over the vector L of an image's losses, as published in arXiv 2504.02351.

    It has the same incentive to prefer the easiest teacher as :class:`Attention`. What the paper leaves open and we
    chose: σ is ReLU; W₂ and b₂ start at zero, hence equal weights; L is read as numbers, without a gradient.
    """

    def __init__(self, num_teachers: int, hidden_dim: int = 16) -> None:
        super().__init__()
        self.num_teachers = num_teachers
        self.hidden = nn.Sequential(nn.Linear(num_teachers, hidden_dim), nn.ReLU())
        self.score = nn.Linear(hidden_dim, num_teachers)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:  # noqa: ARG002
        _check_teachers(losses, self.num_teachers)
        return weigh(losses, self.score(self.hidden(losses.detach().T)).softmax(dim=1).T)


class Attention(nn.Module):
    """αᵢ = softmaxᵢ(qᵀkᵢ / √d): a query from the student's embedding, a learned key per teacher (arXiv 2504.02351).

    Minimizing Σ αᵢ ℓᵢ over the keys rewards the *easiest* teacher (the gradient to a score is αᵢ(ℓᵢ − Σ αⱼ ℓⱼ)): one
    weight tends to 1 unless something holds it back: see :class:`AttentionEntropyFloor`. What the paper leaves open and
    we chose: the query is a linear map of the embedding's mean over positions; keys start at zero, hence equal weights;
    the embedding is read, not trained.

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

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:
        _check_teachers(losses, len(self.keys))
        return weigh(losses, self.scores(embedding).softmax(dim=1).T)


class AttentionEntropyFloor(nn.Module):
    """α = (1 − ε) softmax(qᵀk / (τ√d)) + ε/K, with each image's smallest ε for which H(α) ≥ floor · log K. Ours.

    Attention that cannot collapse. A hard floor rather than a penalty: a penalty competes with losses whose size
    changes during training. Entropy grows with ε (it is concave and greatest for equal weights), so the smallest one is
    found on a grid of 1/1000.

    Args:
        in_channels: Channels of the student's embedding.
        num_teachers: Number ``K`` of teachers.
        key_dim: Length of query and keys.
        temperature: τ; more than 1 flattens the weights.
        floor: Least relative entropy in [0, 1]; with three teachers, 0.8 holds every weight below 0.66.
    """

    def __init__(
        self, in_channels: int, num_teachers: int, key_dim: int = 64, temperature: float = 1.0, floor: float = 0.8
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if not 0 <= floor <= 1:
            raise ValueError(f"floor is a share of the greatest entropy and must be in [0, 1], got {floor}")
        self.attention = Attention(in_channels, num_teachers, key_dim)
        self.temperature, self.floor = temperature, floor

    def forward(self, losses: Tensor, embedding: Tensor) -> Balanced:
        _check_teachers(losses, len(self.attention.keys))
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


def weigh(losses: Tensor, weights: Tensor) -> Balanced:  # (K, B), (K, B)
    """Mean over images of Σ αᵢ ℓᵢ; there must be one weight for every loss."""
    if weights.shape != losses.shape:
        raise ValueError(f"losses and weights must be (K, B), got {tuple(losses.shape)} and {tuple(weights.shape)}")
    return Balanced(total=(weights * losses).sum(dim=0).mean(), weights=weights.detach())


def relative_entropy(weights: Tensor) -> Tensor:  # (..., K) -> (...)
    """Entropy of weights that sum to 1, divided by log K: 1 for equal weights, 0 when one teacher has it all."""
    num_teachers = weights.shape[-1]
    if num_teachers == 1:
        return torch.ones_like(weights[..., 0])
    return torch.special.entr(weights).sum(dim=-1) / math.log(num_teachers)


def _check_teachers(losses: Tensor, num_teachers: int) -> None:
    if losses.ndim != 2 or len(losses) != num_teachers:
        raise ValueError(f"this balancer is made for {num_teachers} teachers, (K, B), got losses {tuple(losses.shape)}")
