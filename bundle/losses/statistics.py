"""Streaming, mergeable mean and covariance of a teacher's features, in float64, and the file that keeps them."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bundle.atomic import atomic_path

MIN_TOKENS = 10_000
MIN_IMAGES = 200
FILE_FORMAT = "feature-statistics-1"
MOMENTS = ("mean", "scatter")


class FeatureStatistics:
    """Count, mean and covariance of the feature vectors (tokens) seen so far.

    Shards and ranks combine by :meth:`merge`, with the pairwise update of Chan, Golub and LeVeque (1979), so that the
    result does not depend on how the data were cut.

    Args:
        num_channels: Length ``C`` of a token.
        source: What made the features, such as the SHA-256 of a teacher's weights; only equal sources merge.

    Example:
        >>> statistics = FeatureStatistics(num_channels=2)
        >>> statistics.update(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
        >>> statistics.mean.tolist(), statistics.covariance.tolist()
        ([1.0, 3.0], [[1.0, 2.0], [2.0, 4.0]])
    """

    def __init__(self, num_channels: int, source: str = "") -> None:
        if num_channels < 1:
            raise ValueError(f"num_channels must be at least 1, got {num_channels}")
        self.num_channels = num_channels
        self.source = source
        self.num_tokens = 0
        self.num_images = 0
        self.mean = torch.zeros(num_channels, dtype=torch.float64)
        self.scatter = torch.zeros(num_channels, num_channels, dtype=torch.float64)  # sum of (x - mean)(x - mean)ᵀ

    @property
    def covariance(self) -> Tensor:
        """Covariance ``(C, C)`` of the tokens seen (divided by their number)."""
        if self.num_tokens < 2:
            raise ValueError(f"a covariance needs at least 2 tokens, got {self.num_tokens}: call update() first")
        return self.scatter / self.num_tokens

    @property
    def sha256(self) -> str:
        """Content hash, by which a standardizer names the statistics that it was built from."""
        header = f"{self.num_channels} {self.num_tokens} {self.num_images} {self.source} "
        content = header.encode() + self.mean.numpy().tobytes() + self.scatter.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()

    def update(self, features: Tensor, valid: Tensor | None = None) -> None:
        """Add feature maps ``(B, C, h, w)`` of B images, or the tokens ``(N, C)`` of one image.

        ``valid`` is their coverage in [0, 1], ``(B, 1, h, w)`` or ``(N,)``; those covered by half or less are left out.
        """
        tokens = self._tokens(features.detach().as_subclass(Tensor))  # a MetaTensor would leak into files and buffers
        num_images = len(features) if features.ndim == 4 else 1
        if valid is not None:
            if valid.numel() != len(tokens):
                raise ValueError(f"valid must hold one value per token, {len(tokens)}, got {tuple(valid.shape)}")
            tokens = tokens[valid.detach().as_subclass(Tensor).flatten().to(tokens.device) > 0.5]
        if not torch.isfinite(tokens).all():
            raise ValueError(f"features {tuple(features.shape)} hold NaN or infinity: statistics would be useless")
        if len(tokens) == 0:
            return
        batch = FeatureStatistics(self.num_channels, self.source)
        batch.num_tokens, batch.num_images = len(tokens), num_images
        tokens = tokens.to("cpu", torch.float64)
        batch.mean = tokens.mean(dim=0)
        centered = tokens - batch.mean
        batch.scatter = centered.T @ centered
        self.merge(batch)

    def merge(self, other: "FeatureStatistics") -> None:
        """Take in what another shard or rank has seen."""
        if (other.num_channels, other.source) != (self.num_channels, self.source):
            raise ValueError(
                f"statistics of different features cannot be merged: {self.num_channels} channels of {self.source!r}"
                f" and {other.num_channels} channels of {other.source!r}"
            )
        total = self.num_tokens + other.num_tokens
        if total == 0:
            return
        shift = other.mean - self.mean
        self.mean = self.mean + shift * (other.num_tokens / total)
        between = torch.outer(shift, shift) * (self.num_tokens * other.num_tokens / total)
        self.scatter = self.scatter + other.scatter + between
        self.num_tokens, self.num_images = total, self.num_images + other.num_images

    def moments(self) -> dict[str, Tensor]:
        """``mean`` and ``scatter``, the tensors that a file keeps."""
        return {"mean": self.mean.contiguous(), "scatter": self.scatter.contiguous()}

    def numbers(self) -> dict[str, str | int]:
        """What a file keeps beside the tensors."""
        counts = {"num_tokens": self.num_tokens, "num_images": self.num_images}
        return {**counts, "source": self.source, "sha256": self.sha256}

    @classmethod
    def restored(cls, moments: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Self:
        """From what :meth:`moments` and :meth:`numbers` gave; numbers may be text, and their hash must be right."""
        statistics = cls(len(moments["mean"]), str(numbers["source"]))
        statistics.num_tokens, statistics.num_images = int(numbers["num_tokens"]), int(numbers["num_images"])
        statistics.mean, statistics.scatter = moments["mean"], moments["scatter"]
        if statistics.sha256 != numbers["sha256"]:
            raise ValueError(f"should have SHA-256 {numbers['sha256']}, got {statistics.sha256}")
        return statistics

    def warn_if_small(self, name: str) -> None:
        """Warn where the sample is too small for stable standardization (see ``docs/concepts/losses.md``)."""
        if self.num_tokens < MIN_TOKENS or self.num_images < MIN_IMAGES:
            warnings.warn(
                f"statistics of {name!r} rest on {self.num_tokens} tokens from {self.num_images} images; at least"
                f" {MIN_TOKENS} tokens from {MIN_IMAGES} training images are advised: fit on more batches",
                stacklevel=2,
            )

    def _tokens(self, features: Tensor) -> Tensor:  # (B, C, h, w) or (N, C) -> (N, C)
        if features.ndim not in (2, 4) or features.shape[1] != self.num_channels:
            raise ValueError(
                f"features must be (B, {self.num_channels}, h, w) or (N, {self.num_channels}),"
                f" got {tuple(features.shape)}"
            )
        return features.movedim(1, -1).reshape(-1, self.num_channels) if features.ndim == 4 else features


def save_statistics(statistics: Mapping[str, FeatureStatistics], path: str | Path) -> None:
    """Write the statistics of all teachers to one safetensors file, completely or not at all."""
    tensors = {f"{name}/{key}": value for name, entry in statistics.items() for key, value in entry.moments().items()}
    entries = {name: {"num_channels": entry.num_channels, **entry.numbers()} for name, entry in statistics.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"format": FILE_FORMAT, "teachers": json.dumps(entries)})


def load_statistics(path: str | Path) -> dict[str, FeatureStatistics]:
    """Read what :func:`save_statistics` wrote and verify every content hash."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no feature statistics at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
    except SafetensorError as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}): delete it to fit again") from error
    if metadata.get("format") != FILE_FORMAT:
        raise ValueError(f"{path} must be of format {FILE_FORMAT!r}, got {metadata.get('format')!r}")
    found = {}
    for name, entry in json.loads(metadata["teachers"]).items():
        try:
            found[name] = FeatureStatistics.restored({key: tensors[f"{name}/{key}"] for key in MOMENTS}, entry)
        except ValueError as error:
            raise ValueError(
                f"statistics of {name!r} in {path} {error}: the file was changed or damaged, delete it to fit again"
            ) from error
    return found
