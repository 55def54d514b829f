"""Invertible maps from a teacher's features to standardized ones, frozen once built, one class per file.

=================== =================================== =========================================
class               y =                                 what it does to a teacher's geometry
=================== =================================== =========================================
Identity            x                                   nothing
GlobalScale         (x − μ) / α                         similarity
PhiS                R Uᵀ (x − μ) / α                    similarity; every channel has unit variance
PerChannel          (x − μ) / σ, channel by channel     stretches along the channels
PcaWhitening        Λ^−½ Uᵀ (x − μ)                     stretches along the principal axes
HadamardWhitening   H Λ^−½ Uᵀ (x − μ) / √C              stretches, then spreads the error evenly
=================== =================================== =========================================

μ and Σ = UΛUᵀ are the mean and covariance of the teacher's tokens, α = √(tr Σ / C).
"""

from bundle.losses.standardize.global_scale import GlobalScale
from bundle.losses.standardize.hadamard_whitening import HadamardWhitening
from bundle.losses.standardize.identity import Identity
from bundle.losses.standardize.pca_whitening import PcaWhitening
from bundle.losses.standardize.per_channel import PerChannel
from bundle.losses.standardize.phi_s import PhiS
from bundle.losses.standardize.protocol import Standardizer

__all__ = [
    "GlobalScale",
    "HadamardWhitening",
    "Identity",
    "PcaWhitening",
    "PerChannel",
    "PhiS",
    "Standardizer",
]
