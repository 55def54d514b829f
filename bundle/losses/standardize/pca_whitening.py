"""PCA whitening, which amplifies whatever varies least; offered for the ablation."""

from typing import Self

from torch import Tensor, nn

from bundle.losses.standardize.protocol import as_map, check_channels, eigen, hash_buffer, mix_channels
from bundle.losses.statistics import FeatureStatistics


class PcaWhitening(nn.Module):
    """y = Λ^−½ Uᵀ (x − μ): uncorrelated channels of unit variance; a similarity only if Σ already is a multiple of I.

    Args:
        mean: μ ``(C,)``.
        whiten: Λ^−½ Uᵀ ``(C, C)``.
        restore: Its inverse, U Λ^½ ``(C, C)``.
        sha256: Content hash ``(32,)`` of the statistics.
    """

    mean: Tensor
    whiten: Tensor
    restore: Tensor
    sha256: Tensor

    def __init__(self, mean: Tensor, whiten: Tensor, restore: Tensor, sha256: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("whiten", whiten.float())
        self.register_buffer("restore", restore.float())
        self.register_buffer("sha256", sha256)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics, floor: float = 1e-6) -> Self:
        """Build it; eigenvalues below ``floor`` times their mean are raised to that, so that the map is invertible."""
        eigenvalues, eigenvectors = eigen(statistics, floor)
        whiten = eigenvalues.rsqrt()[:, None] * eigenvectors.T
        return cls(statistics.mean, whiten, eigenvectors * eigenvalues.sqrt(), hash_buffer(statistics))

    def forward(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return mix_channels(features - as_map(self.mean), self.whiten)

    def inverse(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return mix_channels(features, self.restore) + as_map(self.mean)
