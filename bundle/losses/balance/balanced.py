"""What every balancer returns, and the checks that they share."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Balanced(NamedTuple):
    """The balanced loss, to be minimized, and the teachers' weights in it, for the log."""

    total: Tensor  # ()
    weights: Tensor  # (K, B), detached


def weigh(losses: Tensor, weights: Tensor) -> Balanced:  # (K, B), (K, B)
    """Mean over images of Σ αᵢ ℓᵢ.

    Raises:
        ValueError: If there is not one weight for every loss, as with embeddings of other images.
    """
    if weights.shape != losses.shape:
        raise ValueError(f"losses and weights must be (K, B), got {tuple(losses.shape)} and {tuple(weights.shape)}")
    return Balanced(total=(weights * losses).sum(dim=0).mean(), weights=weights.detach())


def check_teachers(losses: Tensor, num_teachers: int) -> None:
    """Refuse losses of another number of teachers than the balancer was made for."""
    if losses.ndim != 2 or len(losses) != num_teachers:
        raise ValueError(f"this balancer is made for {num_teachers} teachers, (K, B), got losses {tuple(losses.shape)}")


def relative_entropy(weights: Tensor) -> Tensor:  # (..., K) -> (...)
    """Entropy of weights that sum to 1, divided by log K: 1 for equal weights, 0 when one teacher has it all."""
    num_teachers = weights.shape[-1]
    if num_teachers == 1:
        return torch.ones_like(weights[..., 0])
    return torch.special.entr(weights).sum(dim=-1) / math.log(num_teachers)
