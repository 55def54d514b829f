"""The role of a standardizer, and the few steps that all of them share."""

from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.losses.statistics import FeatureStatistics


class Standardizer(Protocol):
    """A frozen, invertible ``nn.Module`` built from a teacher's statistics; its buffers travel in checkpoints.

    Keep the buffers: eigenvectors have no fixed sign, so a student fits the standardizer that it was trained with and
    not necessarily one rebuilt elsewhere. ``sha256`` holds the 32 bytes of the statistics' content hash.
    """

    sha256: Tensor

    @classmethod
    def from_statistics(cls, statistics: FeatureStatistics) -> Self: ...

    def __call__(self, features: Tensor) -> Tensor: ...

    def inverse(self, features: Tensor) -> Tensor: ...


def hash_buffer(statistics: FeatureStatistics) -> Tensor:
    """The statistics' hash as 32 bytes, a buffer that both ``torch.save`` and safetensors accept."""
    return torch.tensor(list(bytes.fromhex(statistics.sha256)), dtype=torch.uint8)


def check_channels(features: Tensor, num_channels: int) -> None:
    """Refuse anything but ``(B, num_channels, h, w)``."""
    if features.ndim != 4 or features.shape[1] != num_channels:
        raise ValueError(
            f"features must be (B, {num_channels}, h, w) like the statistics behind this standardizer,"
            f" got {tuple(features.shape)}"
        )


def as_map(vector: Tensor) -> Tensor:  # (C,) -> (1, C, 1, 1)
    """Shape a vector of channels so that it broadcasts over a feature map."""
    return vector[None, :, None, None]


def mix_channels(features: Tensor, matrix: Tensor) -> Tensor:  # (B, C, h, w), (C', C) -> (B, C', h, w)
    """Multiply every token of a feature map by a matrix."""
    return F.conv2d(features, matrix[:, :, None, None])


def mean_variance(statistics: FeatureStatistics) -> float:
    """tr Σ / C, the channels' mean variance.

    Raises:
        ValueError: If the features never vary, which no scale can bring to unit variance.
    """
    variance = statistics.covariance.diagonal().mean().item()
    if variance <= 0:
        raise ValueError(f"all {statistics.num_tokens} tokens are equal: check the teacher's weights and its input")
    return variance


def eigen(statistics: FeatureStatistics, floor: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(C,)``, at least ``floor`` times their mean, and eigenvectors in columns ``(C, C)`` of Σ."""
    eigenvalues, eigenvectors = torch.linalg.eigh(statistics.covariance)
    return eigenvalues.clamp_min(floor * mean_variance(statistics)), eigenvectors
