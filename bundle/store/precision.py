"""How features are kept: as float16, or as 8-bit integers after PHI-S, where one step size fits all channels."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bundle.losses.standardize import PhiS
from bundle.losses.statistics import FeatureStatistics
from bundle.store.shard import REMEDY, StoreError

PRECISIONS = ("float16", "int8")
INT8_MAX = 127
LIMITS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.2)
"""Shares of the largest value that are tried as the limit beyond which values are clipped."""


class Float16(nn.Module):
    """Half precision: 11 bits of each number, up to 65504."""

    dtype = torch.float16
    identity = "float16"

    def encode(self, features: Tensor) -> Tensor:
        """Features as they are stored, if all values are finite in half precision."""
        stored = features.to(torch.float16)
        if not torch.isfinite(stored).all():
            raise StoreError(
                f"features up to {features.abs().max():.3g} do not fit float16 (65504): use precision 'int8', or look"
                " at the teacher's weights and input if they are not finite"
            )
        return stored

    def forward(self, stored: Tensor) -> Tensor:
        return stored.float()


class PhiSInt8(nn.Module):
    """8-bit integers: every channel has unit variance after PHI-S, so that one step size serves them all.

    Args:
        phi_s: PHI-S of a sample of the features; exactly invertible, however good the sample.
        step: Size of a step ``()`` in standardized units; values beyond 127 steps are clipped.
    """

    dtype = torch.int8
    step: Tensor

    def __init__(self, phi_s: PhiS, step: Tensor) -> None:
        super().__init__()
        self.phi_s = phi_s
        self.register_buffer("step", step.float())

    @property
    def identity(self) -> str:
        """Tells features that were quantized in one way from others."""
        return f"int8 {bytes(self.phi_s.sha256.tolist()).hex()[:16]} {float(self.step):.9g}"

    @classmethod
    def fit(cls, statistics: FeatureStatistics, sample: Sequence[Tensor]) -> "PhiSInt8":
        """Choose the step with the smallest squared error over a sample of feature maps ``(B, C, h, w)``.

        The error is of rounding and clipping together; ``statistics`` are the sample's.
        """
        phi_s = PhiS.from_statistics(statistics)
        standardized = torch.cat([phi_s(features.float()).flatten() for features in sample])
        largest = standardized.abs().max()
        steps = [largest * share / INT8_MAX for share in LIMITS]
        errors = [float((_round(standardized, step) * step - standardized).square().mean()) for step in steps]
        return cls(phi_s, steps[errors.index(min(errors))])

    def encode(self, features: Tensor) -> Tensor:
        """Features as they are stored."""
        return _round(self.phi_s(features.float()), self.step).to(torch.int8)

    def forward(self, stored: Tensor) -> Tensor:
        return self.phi_s.inverse(stored.float() * self.step)

    def save(self, path: Path) -> None:
        """Write what is needed to decode."""
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path) -> "PhiSInt8":
        """Read what :meth:`save` wrote."""
        if not path.is_file():
            raise StoreError(f"{path} is missing, without which its features cannot be decoded: {REMEDY}")
        content = load_file(path)
        phi_s = PhiS(*(content[f"phi_s.{name}"] for name in ("mean", "rotation", "scale", "sha256")))
        return cls(phi_s, content["step"])


Codec = Float16 | PhiSInt8
"""Decodes when called: ``(B, C, h, w)`` as stored to float32, on whatever device the input is on."""


def _round(standardized: Tensor, step: Tensor) -> Tensor:
    return (standardized / step).round().clamp(-INT8_MAX, INT8_MAX)
