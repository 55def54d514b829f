"""No standardization: the ablation's starting point."""

from typing import Self

from torch import Tensor, nn

from bundle.losses.standardize.protocol import check_channels, hash_buffer
from bundle.losses.statistics import FeatureStatistics


class Identity(nn.Module):
    """y = x. Teachers then differ in loudness by whatever their training left them with (751-fold in one study).

    Args:
        num_channels: Channels ``C`` of the teacher's features.
        sha256: Content hash ``(32,)`` of the statistics.
    """

    sha256: Tensor

    def __init__(self, num_channels: int, sha256: Tensor) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.register_buffer("sha256", sha256)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics) -> Self:
        return cls(statistics.num_channels, hash_buffer(statistics))

    def forward(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, self.num_channels)
        return features

    def inverse(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, self.num_channels)
        return features
