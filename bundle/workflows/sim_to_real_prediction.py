"""How far measures without labels tell the Dice of synthetic patients, for whom both are known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from bundle.workflows.sim_to_real_measures import SUMMARY

RESAMPLES = 2000


def predict_dice(patients: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Spearman's rank correlation of every measure with Dice, over patients.

    Args:
        patients: ``dice``, ``domain`` and the measures of :func:`summarize` of each.

    Returns:
        By measure and group (``all`` and each domain): ``rho``, its 95% interval ``low`` to ``high`` from resampled
        patients, and ``patients``; None where a measure is the same for all.
    """
    groups = {"all": list(patients)}
    for patient in patients:
        groups.setdefault(patient["domain"], []).append(patient)
    return {
        measure: {name: _correlation([(one[measure], one["dice"]) for one in group]) for name, group in groups.items()}
        for measure in SUMMARY
    }


def _correlation(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    known = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    nothing = {"rho": None, "low": None, "high": None, "patients": len(known)}
    if len(known) < 3 or (np.ptp(known, axis=0) == 0).any():
        return nothing
    rng = np.random.default_rng(0)
    resampled = known[rng.integers(len(known), size=(RESAMPLES, len(known)))]
    low, high = np.nanquantile(_spearman(resampled), (0.025, 0.975))
    return {"rho": float(_spearman(known)), "low": float(low), "high": float(high), "patients": len(known)}


def _spearman(pairs: np.ndarray) -> np.ndarray:
    """Rank correlations of pairs ``(..., n, 2)``: Pearson's of the ranks; NaN where either side is constant."""
    ranks = stats.rankdata(pairs, axis=-2)
    ranks = ranks - ranks.mean(axis=-2, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=-2)).prod(axis=-1)
    products = ranks.prod(axis=-1).sum(axis=-1)
    return np.divide(products, lengths, out=np.full(np.shape(lengths), np.nan), where=lengths > 0)
