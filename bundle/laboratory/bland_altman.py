"""Agreement of two methods that measure the same thing, after Bland and Altman (Lancet 1986; 327: 307-310)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

NORMAL_95 = 1.96
"""Half-width of the middle 95% of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Agreement:
    """Bias and 95% limits of agreement, in the unit of the measure."""

    bias: float  # Mean of measured less reference
    lower: float  # Lower limit, ``bias - 1.96 s`` with the standard deviation ``s`` of the differences (n - 1)
    upper: float  # Upper limit
    num_pairs: int  # Number of pairs with both values
    num_left_out: int  # Number of pairs without one of them


def bland_altman(measured: ArrayLike, reference: ArrayLike) -> Agreement:
    """Bias and 95% limits of agreement of paired values.

    Pairs are assumed to be independent, one per patient; limits of repeated measures in a patient would be too narrow.

    Args:
        measured: Values ``(N,)``; NaN where there is none.
        reference: Values ``(N,)`` of the same patients, in the same unit.

    Raises:
        ValueError: If the shapes differ, a value is infinite, or fewer than two pairs have both values.
    """
    one, other = np.asarray(measured, float), np.asarray(reference, float)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(
            f"measured and reference must be (N,), one pair per patient, got {one.shape} and {other.shape}"
        )
    if np.isinf(one).any() or np.isinf(other).any():
        raise ValueError("measured and reference must not be infinite; where there is no value, pass NaN")
    difference = (one - other)[~np.isnan(one - other)]
    if len(difference) < 2:
        raise ValueError(f"limits of agreement need two pairs or more with both values, got {len(difference)}")
    bias, half = float(difference.mean()), NORMAL_95 * float(difference.std(ddof=1))
    return Agreement(bias, bias - half, bias + half, len(difference), len(one) - len(difference))
