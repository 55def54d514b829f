"""Each channel scaled on its own, as in Theia and UNIC."""

from typing import Self

from torch import Tensor, nn

from bundle.losses.standardize.protocol import as_map, check_channels, hash_buffer, mean_variance
from bundle.losses.statistics import FeatureStatistics


class PerChannel(nn.Module):
    """y_c = (x_c − μ_c) / σ_c: unit variance in every channel, but quiet channels count as much as loud ones.

    Args:
        mean: μ ``(C,)``.
        deviation: σ ``(C,)``, positive.
        sha256: Content hash ``(32,)`` of the statistics.
    """

    mean: Tensor
    deviation: Tensor
    sha256: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, sha256: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("deviation", deviation.float())
        self.register_buffer("sha256", sha256)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics, floor: float = 1e-6) -> Self:
        """Build it; variances below ``floor`` times their mean (dead channels) are raised to that."""
        variance = statistics.covariance.diagonal().clamp_min(floor * mean_variance(statistics))
        return cls(statistics.mean, variance.sqrt(), hash_buffer(statistics))

    def forward(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return (features - as_map(self.mean)) / as_map(self.deviation)

    def inverse(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return features * as_map(self.deviation) + as_map(self.mean)
