"""What the runs of a study say: means, paired differences with their uncertainty, and a verdict in plain words.

**Score.** A patient's score is the mean Dice over the structures that the patient has; a run's score is the mean over
patients; a variant's score is the mean over its seeds, with the sample standard deviation between seeds. (The
evaluation's ``mean_dice`` averages patients first and structures last: it differs where a patient lacks a structure.)

**Difference.** A variant and the reference are compared on the patients and the trainings that both have, so that every
patient and every training is a pair: a table of differences, crossed, such as (seeds, patients) or (distillations,
draws of labeled films, films). Its mean is the difference.

**Interval and test.** A difference between two trainings is not one between two methods: training again gives another
one. So every axis of the table is random: the analysis of variance of imaging's multi-reader, multi-case studies
(Dorfman, Berbaum & Metz, Invest. Radiol. 1992; 27: 723-731), with trainings for readers and patients for cases. Each
axis and each of their interactions has a component of variance, estimated from the largest interaction down; an
estimate below 0 counts as 0. The t-interval and the p-value use their sum and Satterthwaite's degrees of freedom
(Biometrics Bull. 1946; 2: 110-114), so they never disagree. With few trainings the interval is wide; that is what few
trainings say. In simulations at 3 x 20 and 3 x 3 x 60 the 95% interval covers the truth in 92 to 96% of studies where
trainings or patients vary by themselves, and in more (it is too wide) where only interactions do. An axis of length 1
cannot be counted as random; ``patients_interval`` resamples patients alone: both speak of these trainings, not of the
methods. All this is about patients drawn like these: for synthetic ones it says nothing about real patients.

**Verdict.** "higher" and "lower" need a p-value below 0.05 after Holm's correction (Scand. J. Stat. 1979; 6: 65-70)
for all comparisons of a table and all of its claims together; "equivalent" needs the whole interval within the gain
that the paper reports; all else "could not be told", and ``power`` says how much could have been.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isnan, nan, prod
from statistics import fmean, stdev
from typing import TypeVar

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincinv
from scipy.stats import norm
from scipy.stats import t as student_t

from bundle.laboratory.studies.record import DICE, RunRecord

NUM_DRAWS = 10_000
MIN_PATIENTS = 5
"""Fewer give no interval and no verdict."""

LEVEL = 0.05
"""Of the interval and of the test, both two-sided."""

NEGLIGIBLE = 0.02
"""Differences in Dice within this are none: the gain that the paper reports of three teachers over one."""

FOUND = 0.8
"""Share of studies that find a difference that counts as detectable."""

QUANTILES = (np.arange(1000) + 0.5) / 1000

HIGHER, LOWER, EQUIVALENT = "higher", "lower", "equivalent"
OPEN, TOO_FEW = "could not be told", "too few runs to tell"
HELD, OPPOSITE, NOT_SO, OPEN_HERE = "held here", "the opposite was seen here", "not so here", "could not be told here"
"""Of claims."""

Interval = tuple[float, float]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class VariantScore:
    """A variant's Dice on one split."""

    mean: float  # Over seeds
    sd: float | None  # Sample standard deviation between seeds (n - 1); None with one seed
    per_seed: dict[int, float]  # Seed -> mean over patients, by increasing seed
    num_patients: int  # Patients with a score in any run


@dataclass(frozen=True)
class Comparison:
    """A variant less the reference; see the module for what is computed and why."""

    difference: float  # Mean of the table
    # Lengths of the table's axes by name, patients last; those of length 1 are not counted as random
    sizes: Mapping[str, int]
    negligible: float = NEGLIGIBLE  # Differences within this, in the measure's own unit, are none
    standard_error: float | None = None  # Of the difference; None with too few patients, as all that follows
    degrees_of_freedom: float = nan  # Of the standard error
    interval: Interval | None = None  # 95%, by Student's t
    p_value: float | None = None  # Two-sided
    patients_interval: Interval | None = None  # 95%, patients resampled: of these trainings, not of the methods
    corrected_p_value: float | None = None  # After Holm's correction
    num_comparisons: int = 1  # That the correction counted

    @property
    def fixed(self) -> list[str]:
        """Axes that cannot be counted as random, since there is only one of each."""
        return [axis for axis, size in self.sizes.items() if size == 1]

    @property
    def power(self) -> float | None:
        """Share of studies like this one in which a true difference of ``+negligible`` gives an interval above 0."""
        return None if self.standard_error is None else self._share_found(self.negligible, 1)

    @property
    def corrected_power(self) -> float | None:
        """As ``power``, for the verdict "higher": with the first and hardest step of Holm's correction."""
        return None if self.standard_error is None else self._share_found(self.negligible, self.num_comparisons)

    @property
    def detectable(self) -> float | None:
        """The true difference that gives an interval above 0 in 80% of studies like this one."""
        if not self.standard_error:
            return self.standard_error
        highest = self.standard_error
        while self._share_found(highest, 1) < FOUND:
            highest *= 2
        return float(brentq(lambda true: self._share_found(true, 1) - FOUND, 0, highest, rtol=1e-4))

    def _share_found(self, true: float, num_comparisons: int) -> float:
        """By the non-central t; standard error and degrees of freedom, which are estimates, are taken as known."""
        if not self.standard_error:
            return float(true > 0)
        free = self.degrees_of_freedom
        needed = student_t.isf(LEVEL / num_comparisons / 2, free)
        spreads = np.sqrt(
            2 / free * gammaincinv(free / 2, QUANTILES)
        )  # that such studies would estimate, by this one's
        return float(norm.sf(needed * spreads - true / self.standard_error).mean())


def score(records: Sequence[RunRecord], variant: str, split: str) -> VariantScore | None:
    """A variant's Dice on a split; None without a run of it.

    Raises:
        ValueError: If two runs have the same variant and seed.
    """
    runs = {seed: means for seed, means in _patient_means(records, variant, split).items() if means}
    if not runs:
        return None
    per_seed = {seed: fmean(means.values()) for seed, means in sorted(runs.items())}
    sd = stdev(per_seed.values()) if len(per_seed) > 1 else None
    return VariantScore(fmean(per_seed.values()), sd, per_seed, len(set().union(*runs.values())))


def compare_pairs(
    records: Sequence[RunRecord], pairs: Iterable[tuple[str, str]], split: str
) -> dict[tuple[str, str], Comparison]:
    """Compare variants on one split, with p-values corrected for the number of all pairs.

    Returns:
        Pair -> comparison; without pairs that have no seed or no patient in common.

    Raises:
        ValueError: If two runs have the same variant and seed.
    """
    tables = {pair: paired_differences(records, *pair, split) for pair in dict.fromkeys(pairs)}
    return correct({pair: compare(table) for pair, table in tables.items() if table.size})


def paired_differences(records: Sequence[RunRecord], variant: str, reference: str, split: str) -> np.ndarray:
    """Variant less reference ``(seeds, patients)``, mean over structures; only seeds and patients that both have.

    Raises:
        ValueError: If two runs have the same variant and seed.
    """
    ours, theirs = (
        {
            (seed, patient): mean
            for seed, means in _patient_means(records, name, split).items()
            for patient, mean in means.items()
        }
        for name in (variant, reference)
    )
    return paired(ours, theirs)


def paired(ours: Mapping[tuple, float], theirs: Mapping[tuple, float]) -> np.ndarray:
    """The table of differences between two sets of scores.

    Args:
        ours: Levels of the crossed axes, the patient last, such as ``(distillation, draw, film)`` -> score.
        theirs: As ``ours``.

    Returns:
        ``ours`` less ``theirs``, an axis for each level, over the runs that both have and the patients that all of
        these runs have; empty where there is none.

    Raises:
        ValueError: If the runs that both have are not crossed.
    """
    runs = sorted({key[:-1] for key in ours} & {key[:-1] for key in theirs})
    patients = [{key[-1] for key in scores if key[:-1] == run} for scores in (ours, theirs) for run in runs]
    common = sorted(set.intersection(*patients)) if patients else []
    shape = [len(set(levels)) for levels in zip(*runs, strict=True)]
    if prod(shape) != len(runs) and runs:
        raise ValueError(f"expected every combination of the runs' levels, {prod(shape)} runs, got {len(runs)}: {runs}")
    rows = [[ours[(*run, patient)] - theirs[(*run, patient)] for patient in common] for run in runs]
    return np.array(rows, dtype=np.float64).reshape(*shape, len(common))


def compare(
    differences: np.ndarray,
    axes: Sequence[str] = ("seed", "patient"),
    negligible: float = NEGLIGIBLE,
    num_draws: int = NUM_DRAWS,
) -> Comparison:
    """Difference with its uncertainty; swapping variant and reference mirrors it.

    Args:
        differences: Variant less reference, crossed and complete, the last axis patients.
        axes: Names of the axes, in the singular.
        negligible: Differences within this are none, in the unit of the table.
        num_draws: Number of resamplings of the patients.

    Raises:
        ValueError: If the table is empty, has a gap, or has another number of axes.
    """
    if not differences.size or differences.ndim != len(axes) or not np.isfinite(differences).all():
        raise ValueError(
            f"differences must be a complete table of {list(axes)}, got the shape {differences.shape}, "
            f"{int((~np.isfinite(differences)).sum())} values missing"
        )
    mean, num_patients = float(differences.mean()), differences.shape[-1]
    plain = Comparison(mean, dict(zip(axes, differences.shape, strict=True)), negligible)
    if num_patients < MIN_PATIENTS:
        return plain
    several = differences.squeeze()
    error, free = map(float, standard_error(several, several.ndim))
    p_value = float(2 * student_t.sf(abs(mean) / error, free)) if error else float(mean == 0)
    reach = float(student_t.isf(LEVEL / 2, free)) * error if error else 0.0
    of_patient = differences.reshape(-1, num_patients).mean(axis=0)
    draws = np.random.default_rng(0).multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=num_draws)
    low, high = np.quantile(draws @ of_patient / num_patients, [LEVEL / 2, 1 - LEVEL / 2])
    return replace(
        plain,
        standard_error=error,
        degrees_of_freedom=free,
        interval=(mean - reach, mean + reach),
        p_value=p_value,
        patients_interval=(float(low), float(high)),
        corrected_p_value=p_value,
    )


def standard_error(tables: np.ndarray, num_axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the means of some tables, every axis random and crossed.

    Args:
        tables: ``(..., n_1, ..., n_k)``, every ``n`` above 1.
        num_axes: ``k``.

    Returns:
        Standard errors and their degrees of freedom ``(...)``; NaN degrees where a table does not vary.
    """
    axes = range(-num_axes, 0)
    sizes = {axis: tables.shape[axis] for axis in axes}
    terms = [term for size in range(num_axes, 0, -1) for term in combinations(axes, size)]  # the largest first
    squares: dict[tuple[int, ...], np.ndarray] = {}
    shares: dict[tuple[int, ...], np.ndarray] = {}
    free = {term: prod(sizes[axis] - 1 for axis in term) for term in terms}
    for term in terms:
        effect = tables
        for axis in axes:
            mean = effect.mean(axis=axis, keepdims=True)
            effect = effect - mean if axis in term else mean
        repeats = prod(sizes[axis] for axis in axes if axis not in term)
        squares[term] = repeats * (effect**2).sum(axis=tuple(axes)) / free[term]
        within = sum((share for other, share in shares.items() if set(term) < set(other)), start=np.zeros(()))
        shares[term] = np.maximum(0, squares[term] - within)  # never makes another component smaller
    spread = sum(shares.values(), start=np.zeros(()))
    with np.errstate(invalid="ignore"):
        degrees_of_freedom = spread**2 / sum((squares[t] ** 2 / free[t] for t in terms), start=np.zeros(()))
    return np.sqrt(spread / prod(sizes.values())), degrees_of_freedom


def correct(comparisons: Mapping[Key, Comparison]) -> dict[Key, Comparison]:
    """Correct the p-values of all comparisons that are read together, those of a table and those of its claims."""
    p_values = {key: found.p_value for key, found in comparisons.items() if found.p_value is not None}
    corrected = holm(p_values)
    return {
        key: replace(found, corrected_p_value=corrected.get(key), num_comparisons=max(1, len(p_values)))
        for key, found in comparisons.items()
    }


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's correction: multiply the smallest by n, the next by n - 1, and so on; never below an earlier one."""
    corrected, highest = {}, 0.0
    for passed, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (len(p_values) - passed) * p_values[name]))
        corrected[name] = highest
    return corrected


def verdict(comparison: Comparison) -> str:
    """One of the five words above."""
    if comparison.interval is None or comparison.corrected_p_value is None or len(_random(comparison)) < 2:
        return TOO_FEW
    if comparison.corrected_p_value < LEVEL:
        return HIGHER if comparison.difference > 0 else LOWER
    return EQUIVALENT if _is_narrow(comparison) else OPEN


def judge(comparison: Comparison | None, expected: str) -> str:
    """Whether a claim, that is expected to be ``"higher"`` or ``"equivalent"``, held: one of the four words above."""
    word = TOO_FEW if comparison is None else verdict(comparison)
    if comparison is None or word in (TOO_FEW, OPEN):
        return OPEN_HERE
    if expected == EQUIVALENT:
        return HELD if _is_narrow(comparison) else NOT_SO
    return {HIGHER: HELD, LOWER: OPPOSITE, EQUIVALENT: NOT_SO}[word]


def explain(comparison: Comparison, reference: str) -> str:
    """The verdict as a clause, with the numbers that it rests on."""
    word = verdict(comparison)
    if word == TOO_FEW or comparison.interval is None:
        return f"{word} ({', '.join(count(size, axis) for axis, size in comparison.sizes.items())})"
    low, high = comparison.interval
    interval, bound = f"interval {low:+z.3f} to {high:+z.3f}", comparison.negligible
    fixed = "".join(f"; one {axis} only, not counted as random" for axis in comparison.fixed)
    p_value = f"p {format_p_value(comparison.corrected_p_value)}"
    if word in (HIGHER, LOWER):
        narrow = f", less than {bound:g} in any case" if _is_narrow(comparison) else ""
        return f"{word} than {reference} by {abs(comparison.difference):.3f}{narrow} ({interval}, {p_value}{fixed})"
    if word == EQUIVALENT:
        return f"{word} to {reference} ({interval}, within ±{bound:g}{fixed})"
    if low <= 0 <= high:
        inside = " and ".join(f"{value:+g}" for value in (-bound, bound) if low <= value <= high)
        return f"{word} ({interval} contains 0 and {inside}{fixed})"
    number = count(comparison.num_comparisons, "comparison")
    return f"{word} ({interval} excludes 0, but {p_value} with {number}{fixed})"


def _random(comparison: Comparison) -> list[str]:
    return [axis for axis in comparison.sizes if axis not in comparison.fixed]


def _is_narrow(comparison: Comparison) -> bool:
    return comparison.interval is not None and max(map(abs, comparison.interval)) <= comparison.negligible


def format_p_value(value: float | None) -> str:
    """``= 0.012``, ``< 0.001``; a dash for None."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def count(number: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _runs(records: Sequence[RunRecord], variant: str, split: str) -> dict[int, RunRecord]:
    """Seed -> run."""
    runs: dict[int, RunRecord] = {}
    for record in records:
        if record.variant != variant or split not in record.splits:
            continue
        if record.seed in runs:
            raise ValueError(f"expected one run per variant and seed, got two of {variant}, seed {record.seed}")
        runs[record.seed] = record
    return runs


def _patient_means(records: Sequence[RunRecord], variant: str, split: str) -> dict[int, dict[str, float]]:
    """Seed -> patient -> mean over structures; without patients that have none."""
    return {
        seed: {
            patient: fmean(values)
            for patient, structures in run.splits[split][DICE].items()
            if (values := _known(structures.values()))
        }
        for seed, run in _runs(records, variant, split).items()
    }


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and not isnan(value)]
