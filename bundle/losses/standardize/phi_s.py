"""PHI-S: PCA-Hadamard isotropic standardization, from Ranzinger et al. (2024), arXiv 2410.01680; any channel count."""

from typing import Self

from torch import Tensor, nn

from bundle.losses.standardize.protocol import as_map, check_channels, eigen, hash_buffer, mix_channels
from bundle.losses.standardize.rotation import equalizing_rotation
from bundle.losses.statistics import FeatureStatistics


class PhiS(nn.Module):
    """y = Q (x − μ) / α with Q = R Uᵀ orthogonal: every channel has unit variance and no distance is distorted.

    Σ = UΛUᵀ, α = √(tr Σ / C), and R makes every diagonal entry of R Λ Rᵀ the mean eigenvalue
    (:func:`~bundle.losses.standardize.rotation.equalizing_rotation`). No small eigenvalue is divided by.

    Args:
        mean: μ ``(C,)``.
        rotation: Q ``(C, C)``, orthogonal.
        scale: α ``()``.
        sha256: Content hash ``(32,)`` of the statistics.
    """

    mean: Tensor
    rotation: Tensor
    scale: Tensor
    sha256: Tensor

    def __init__(self, mean: Tensor, rotation: Tensor, scale: Tensor, sha256: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("rotation", rotation.float())
        self.register_buffer("scale", scale.float())
        self.register_buffer("sha256", sha256)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics) -> Self:
        eigenvalues, eigenvectors = eigen(statistics, floor=0.0)
        rotation = equalizing_rotation(eigenvalues) @ eigenvectors.T
        return cls(statistics.mean, rotation, eigenvalues.mean().sqrt(), hash_buffer(statistics))

    def forward(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return mix_channels(features - as_map(self.mean), self.rotation) / self.scale

    def inverse(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        check_channels(features, len(self.mean))
        return mix_channels(features * self.scale, self.rotation.T) + as_map(self.mean)
