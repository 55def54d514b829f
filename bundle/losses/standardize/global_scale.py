"""One scale for the whole feature space."""

from typing import Self

import torch
from torch import Tensor, nn

from bundle.losses.standardize.protocol import as_map, check_channels, hash_buffer, mean_variance
from bundle.losses.statistics import FeatureStatistics


class GlobalScale(nn.Module):
    """y = (x − μ) / α with α = √(tr Σ / C): mean channel variance 1, loud channels stay louder than quiet ones.

    Args:
        mean: μ ``(C,)``.
        scale: α ``()``.
        sha256: Content hash ``(32,)`` of the statistics.
    """

    mean: Tensor
    scale: Tensor
    sha256: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, sha256: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())
        self.register_buffer("sha256", sha256)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics) -> Self:
        return cls(statistics.mean, torch.tensor(mean_variance(statistics)).sqrt(), hash_buffer(statistics))

    def forward(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return (features - as_map(self.mean)) / self.scale

    def inverse(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return features * self.scale + as_map(self.mean)
