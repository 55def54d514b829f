"""Distances between the student's projected features and a teacher's standardized ones.

Each is called as ``distance(pred, target, weight)`` with features ``(B, C, h, w)`` and the coverage ``(B, 1, h, w)`` of
every position by image content, and gives one number per image, ``(B,)``: the mean over its positions, in which one
without content counts for nothing. Equal features give 0, and so does an image without any content.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_SPREAD = 0.05
"""Of an image's tokens, where less would be divided by: an image of nothing but background."""


def check_features(pred: Tensor, target: Tensor, weight: Tensor) -> None:
    """Refuse maps of another shape, or a coverage of other positions, before broadcasting hides it.

    Raises:
        ValueError: If ``pred`` and ``target`` are not of one shape ``(B, C, h, w)``, or ``weight`` is not
            ``(B, 1, h, w)``.
    """
    expected = (pred.shape[0], 1, *pred.shape[2:])
    if pred.shape != target.shape:
        raise ValueError(
            f"pred {tuple(pred.shape)} and target {tuple(target.shape)} must have one shape: the projection head must"
            " give the teacher's grid and channels"
        )
    if weight.shape != expected:
        raise ValueError(f"weight must be the coverage {expected} of pred's positions, got {tuple(weight.shape)}")


def mean_over_positions(values: Tensor, weight: Tensor) -> Tensor:  # (B, 1, h, w) -> (B,)
    """Each image's mean of ``values`` over its positions, weighted by their coverage; 0 where nothing is covered."""
    return (values * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp_min(torch.finfo(weight.dtype).tiny)


class MeanSquared(nn.Module):
    """Mean over channels of (pred − target)²."""

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:  # (B, C, h, w) -> (B,)
        check_features(pred, target, weight)
        return mean_over_positions(F.mse_loss(pred, target, reduction="none").mean(dim=1, keepdim=True), weight)


class Cosine(nn.Module):
    """1 − cos(pred, target), the angle between two tokens whatever their length."""

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:  # (B, C, h, w) -> (B,)
        check_features(pred, target, weight)
        return mean_over_positions(1 - F.cosine_similarity(pred, target, dim=1).unsqueeze(1), weight)


class AngleNormalized(nn.Module):
    """Cosine distance as a share of what the target's mean direction in the same image leaves: 1 is no better than it.

    A teacher whose tokens nearly all point one way then counts as much as one whose tokens differ: the idea of
    C-RADIOv4's angle-balanced loss, with the spread of each image's own tokens.
    """

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:  # (B, C, h, w) -> (B,)
        check_features(pred, target, weight)
        directions = F.normalize(target, dim=1)
        total = weight.sum(dim=(2, 3)).clamp_min(torch.finfo(weight.dtype).tiny)
        spread = 1 - ((directions * weight).sum(dim=(2, 3)) / total).norm(dim=1)
        cosine = F.cosine_similarity(pred, target, dim=1).unsqueeze(1)
        return mean_over_positions(1 - cosine, weight) / spread.clamp_min(LEAST_SPREAD)


class SmoothL1(nn.Module):
    """Mean over channels of the smooth L1 (Huber) distance, quadratic below ``beta`` and linear above.

    Args:
        beta: Where the two meet, in units of standardized features; positive.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be positive, got {beta}: for a plain L1 take a small one")
        self.beta = beta

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:  # (B, C, h, w) -> (B,)
        check_features(pred, target, weight)
        distance = F.smooth_l1_loss(pred, target, reduction="none", beta=self.beta)
        return mean_over_positions(distance.mean(dim=1, keepdim=True), weight)


class WeightedSum(nn.Module):
    """Σ weight · distance, such as MSE + cosine.

    Args:
        distances: The terms.
        weights: One number per term, not negative.
    """

    def __init__(self, distances: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        if len(distances) != len(weights) or not distances:
            raise ValueError(
                f"give one weight per distance, got {len(distances)} distances and weights {list(weights)}"
            )
        if min(weights) < 0:
            raise ValueError(f"weights must not be negative, got {list(weights)}")
        self.distances = nn.ModuleList(distances)
        self.weights = tuple(float(weight) for weight in weights)

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:  # (B, C, h, w) -> (B,)
        terms = [distance(pred, target, weight) for distance in self.distances]
        return torch.stack([factor * term for factor, term in zip(self.weights, terms, strict=True)]).sum(dim=0)
