"""Intraclass correlation of two methods that measure the same swallows, as published for two people who do."""

import numpy as np
from numpy.typing import ArrayLike


def intraclass_correlation(one: ArrayLike, other: ArrayLike) -> float | None:
    """ICC(2,1) of Shrout and Fleiss (Psychol Bull 1979; 86: 420-428): two-way random, absolute agreement, one rating.

    It says how small the differences of the methods are beside those of the swallows, so it depends on the sample.

    Args:
        one: Values ``(N,)``; pairs with a NaN are left out.
        other: Values ``(N,)`` of the same swallows.

    Returns:
        1 where both agree; None with fewer than three pairs, or where the swallows do not differ at all.
    """
    pairs = np.stack([np.asarray(one, float), np.asarray(other, float)], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    number = len(pairs)
    if number < 3:
        return None
    rows, columns, grand = pairs.mean(axis=1), pairs.mean(axis=0), pairs.mean()
    between_rows = 2.0 * ((rows - grand) ** 2).sum() / (number - 1)
    between_columns = number * ((columns - grand) ** 2).sum()
    residual = ((pairs - rows[:, None] - columns + grand) ** 2).sum() / (number - 1)
    total = between_rows + residual + 2.0 * (between_columns - residual) / number
    return float((between_rows - residual) / total) if total > 0 else None
