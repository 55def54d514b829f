"""Invertible maps from a teacher's features to standardized ones, frozen once built.

=================== =================================== =========================================
class               y =                                 what it does to a teacher's geometry
=================== =================================== =========================================
Identity            x                                   nothing
GlobalScale         (x − μ) / α                         similarity
PhiS                R Uᵀ (x − μ) / α                    similarity; every channel has unit variance
PerChannel          (x − μ) / σ, channel by channel     stretches along the channels
Whitening.pca       Λ^−½ Uᵀ (x − μ)                     stretches along the principal axes
Whitening.hadamard  H Λ^−½ Uᵀ (x − μ) / √C              stretches, then spreads the error evenly
=================== =================================== =========================================

μ and Σ = UΛUᵀ are the mean and covariance of the teacher's tokens, α = √(tr Σ / C). Buffers travel in checkpoints, and
must: eigenvectors have no fixed sign, so a student fits the standardizer that it was trained with and not necessarily
one rebuilt elsewhere. ``sha256`` holds the 32 bytes of the statistics' content hash.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.losses.rotation import equalizing_rotation, hadamard_matrix
from bundle.losses.statistics import FeatureStatistics


class Identity(nn.Module):
    """y = x. Teachers then differ in loudness by whatever their training left them with (751-fold in one study)."""

    def __init__(self, num_channels: int, sha256: Tensor) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.register_buffer("sha256", sha256)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics) -> Self:
        return cls(statistics.num_channels, _hash(statistics))

    def forward(self, features: Tensor) -> Tensor:  # (B, C, h, w)
        _check_channels(features, self.num_channels)
        return features

    def inverse(self, features: Tensor) -> Tensor:
        return self(features)


class GlobalScale(nn.Module):
    """y = (x − μ) / α: mean channel variance 1, loud channels stay louder than quiet ones."""

    mean: Tensor  # (C,)
    scale: Tensor  # ()

    def __init__(self, mean: Tensor, scale: Tensor, sha256: Tensor) -> None:
        super().__init__()
        _register(self, sha256, mean=mean, scale=scale)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics) -> Self:
        return cls(statistics.mean, torch.tensor(_mean_variance(statistics)).sqrt(), _hash(statistics))

    def forward(self, features: Tensor) -> Tensor:
        return _centered(features, self.mean) / self.scale

    def inverse(self, features: Tensor) -> Tensor:
        _check_channels(features, len(self.mean))
        return features * self.scale + _as_map(self.mean)


class PerChannel(nn.Module):
    """y_c = (x_c − μ_c) / σ_c, as in Theia and UNIC: quiet channels count as much as loud ones."""

    mean: Tensor  # (C,)
    deviation: Tensor  # (C,), positive

    def __init__(self, mean: Tensor, deviation: Tensor, sha256: Tensor) -> None:
        super().__init__()
        _register(self, sha256, mean=mean, deviation=deviation)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics, floor: float = 1e-6) -> Self:
        """Build it; variances below ``floor`` times their mean (dead channels) are raised to that."""
        variance = statistics.covariance.diagonal().clamp_min(floor * _mean_variance(statistics))
        return cls(statistics.mean, variance.sqrt(), _hash(statistics))

    def forward(self, features: Tensor) -> Tensor:
        return _centered(features, self.mean) / _as_map(self.deviation)

    def inverse(self, features: Tensor) -> Tensor:
        _check_channels(features, len(self.mean))
        return features * _as_map(self.deviation) + _as_map(self.mean)


class PhiS(nn.Module):
    """y = Q (x − μ) / α with Q = R Uᵀ orthogonal: PHI-S, from Ranzinger et al. (2024), arXiv 2410.01680.

    Every channel has unit variance and no distance is distorted, since R makes every diagonal entry of R Λ Rᵀ the mean
    eigenvalue (:func:`~bundle.losses.rotation.equalizing_rotation`). No small eigenvalue is divided by.
    """

    mean: Tensor  # (C,)
    rotation: Tensor  # Q (C, C)
    scale: Tensor  # ()
    sha256: Tensor  # (32,)

    def __init__(self, mean: Tensor, rotation: Tensor, scale: Tensor, sha256: Tensor) -> None:
        super().__init__()
        _register(self, sha256, mean=mean, rotation=rotation, scale=scale)

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics) -> Self:
        eigenvalues, eigenvectors = _eigen(statistics, floor=0.0)
        rotation = equalizing_rotation(eigenvalues) @ eigenvectors.T
        return cls(statistics.mean, rotation, eigenvalues.mean().sqrt(), _hash(statistics))

    def forward(self, features: Tensor) -> Tensor:
        return _mix_channels(_centered(features, self.mean), self.rotation) / self.scale

    def inverse(self, features: Tensor) -> Tensor:
        _check_channels(features, len(self.mean))
        return _mix_channels(features * self.scale, self.rotation.T) + _as_map(self.mean)


class Whitening(nn.Module):
    """Uncorrelated channels of unit variance, which amplifies whatever varies least; offered for the ablation.

    Eigenvalues below ``floor`` times their mean are raised to that, so that the map is invertible.
    """

    mean: Tensor  # (C,)
    whiten: Tensor  # (C, C)
    restore: Tensor  # its inverse

    def __init__(self, mean: Tensor, whiten: Tensor, restore: Tensor, sha256: Tensor) -> None:
        super().__init__()
        _register(self, sha256, mean=mean, whiten=whiten, restore=restore)

    @classmethod
    def pca(cls, statistics: FeatureStatistics, floor: float = 1e-6) -> Self:
        """y = Λ^−½ Uᵀ (x − μ)."""
        eigenvalues, eigenvectors = _eigen(statistics, floor)
        whiten = eigenvalues.rsqrt()[:, None] * eigenvectors.T
        return cls(statistics.mean, whiten, eigenvectors * eigenvalues.sqrt(), _hash(statistics))

    @classmethod
    def hadamard(cls, statistics: FeatureStatistics, floor: float = 1e-6) -> Self:
        """y = H Λ^−½ Uᵀ (x − μ) / √C: an error in one output channel spreads evenly over all principal axes."""
        hadamard = hadamard_matrix(statistics.num_channels)
        if hadamard is None:
            raise ValueError(
                "Whitening.hadamard needs a channel count with a Hadamard matrix (such as 256, 384 or 768),"
                f" got {statistics.num_channels}: use PhiS or Whitening.pca, which take any"
            )
        rotation = hadamard / statistics.num_channels**0.5
        eigenvalues, eigenvectors = _eigen(statistics, floor)
        whiten = rotation @ (eigenvalues.rsqrt()[:, None] * eigenvectors.T)
        restore = (eigenvectors * eigenvalues.sqrt()) @ rotation.T
        return cls(statistics.mean, whiten, restore, _hash(statistics))

    def forward(self, features: Tensor) -> Tensor:
        return _mix_channels(_centered(features, self.mean), self.whiten)

    def inverse(self, features: Tensor) -> Tensor:
        _check_channels(features, len(self.mean))
        return _mix_channels(features, self.restore) + _as_map(self.mean)


def _register(module: nn.Module, sha256: Tensor, **buffers: Tensor) -> None:
    for name, value in buffers.items():
        module.register_buffer(name, value.float())
    module.register_buffer("sha256", sha256)


def _hash(statistics: FeatureStatistics) -> Tensor:
    """The statistics' hash as 32 bytes, a buffer that both ``torch.save`` and safetensors accept."""
    return torch.tensor(list(bytes.fromhex(statistics.sha256)), dtype=torch.uint8)


def _check_channels(features: Tensor, num_channels: int) -> None:
    if features.ndim != 4 or features.shape[1] != num_channels:
        raise ValueError(
            f"features must be (B, {num_channels}, h, w) like the statistics behind this standardizer,"
            f" got {tuple(features.shape)}"
        )


def _as_map(vector: Tensor) -> Tensor:  # (C,) -> (1, C, 1, 1)
    return vector[None, :, None, None]


def _centered(features: Tensor, mean: Tensor) -> Tensor:
    _check_channels(features, len(mean))
    return features - _as_map(mean)


def _mix_channels(features: Tensor, matrix: Tensor) -> Tensor:  # (B, C, h, w), (C', C) -> (B, C', h, w)
    return F.conv2d(features, matrix[:, :, None, None])


def _mean_variance(statistics: FeatureStatistics) -> float:
    variance = statistics.covariance.diagonal().mean().item()
    if variance <= 0:
        raise ValueError(f"all {statistics.num_tokens} tokens are equal: check the teacher's weights and its input")
    return variance


def _eigen(statistics: FeatureStatistics, floor: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(C,)``, at least ``floor`` times their mean, and eigenvectors in columns ``(C, C)`` of Σ."""
    eigenvalues, eigenvectors = torch.linalg.eigh(statistics.covariance)
    return eigenvalues.clamp_min(floor * _mean_variance(statistics)), eigenvectors
