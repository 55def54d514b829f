"""PCA whitening followed by a Hadamard rotation (arXiv 2410.01680); offered for the ablation."""

from typing import Self

from torch import Tensor, nn

from bundle.losses.standardize.protocol import as_map, check_channels, eigen, hash_buffer, mix_channels
from bundle.losses.standardize.rotation import hadamard_matrix
from bundle.losses.statistics import FeatureStatistics


class HadamardWhitening(nn.Module):
    """y = H Λ^−½ Uᵀ (x − μ) / √C: an error in one output channel spreads evenly over all principal axes.

    Args:
        mean: μ ``(C,)``.
        whiten: H Λ^−½ Uᵀ / √C ``(C, C)``.
        restore: Its inverse, U Λ^½ Hᵀ / √C ``(C, C)``.
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
        """Build it; eigenvalues below ``floor`` times their mean are raised to that, so that the map is invertible.

        Raises:
            ValueError: If no Hadamard matrix of this order is known to :func:`hadamard_matrix`.
        """
        hadamard = hadamard_matrix(statistics.num_channels)
        if hadamard is None:
            raise ValueError(
                "HadamardWhitening needs a channel count with a Hadamard matrix (such as 256, 384 or 768),"
                f" got {statistics.num_channels}: use PhiS or PcaWhitening, which take any"
            )
        rotation = hadamard / statistics.num_channels**0.5
        eigenvalues, eigenvectors = eigen(statistics, floor)
        whiten = rotation @ (eigenvalues.rsqrt()[:, None] * eigenvectors.T)
        restore = (eigenvectors * eigenvalues.sqrt()) @ rotation.T
        return cls(statistics.mean, whiten, restore, hash_buffer(statistics))

    def forward(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return mix_channels(features - as_map(self.mean), self.whiten)

    def inverse(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return mix_channels(features, self.restore) + as_map(self.mean)
