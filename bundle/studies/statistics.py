"""What the runs of a study say: means, paired differences with their uncertainty, and a verdict in plain words.

**Score.** A patient's score is the mean Dice over the structures that the patient has; a run's score is the mean over
patients; a variant's score is the mean over its seeds, with the sample standard deviation between seeds. (The
evaluation's ``mean_dice`` averages patients first and structures last: it differs where a patient lacks a structure.)

**Difference.** A variant and the reference are compared on the patients and the seeds that both have, so that every
patient and every seed is a pair: a table of differences (seeds, patients), whose mean is the difference.

**Interval.** A difference between two trainings is not a difference between two methods: training again with other
seeds gives another one. The interval therefore resamples seeds *and* patients with replacement, independently of each
other (the pigeonhole bootstrap: Owen, Ann. Appl. Stat. 2007; 1: 386-411), and takes the 2.5% and the 97.5% quantile.
Its limit is the number of seeds. Resampled means of S seeds vary (S - 1) / S as much as they should, and never leave
the range of the S seeds. Where many patients matter more than seeds, the interval is about right; where only seeds
matter, the one of three seeds is their range, which covers the true difference in 1 - 2 / 2**3 = 75% of studies instead
of 95% (five seeds: 94% at the very most). Ten patients, too, are few: their resampling gives a little less than 95%.
Hence an interval alone is no verdict. ``patients_interval`` resamples patients only: it speaks of these trainings, not
of the methods.

**Verdict.** "higher" and "lower" need the interval to exclude 0 and a small p-value of a test that knows how few seeds
there are: the analysis of variance of imaging's multi-reader, multi-case studies (Dorfman, Berbaum & Metz, Invest.
Radiol. 1992; 27: 723-731), with seeds as readers and patients as cases, both random, and Satterthwaite's degrees of
freedom (Biometrics Bull. 1946; 2: 110-114). The p-values are corrected for the number of variants that are compared
with the reference on one split (Holm, Scand. J. Stat. 1979; 6: 65-70); the intervals are not. With three seeds the test
finds only differences that are large beside the spread of the seeds. All this is about patients drawn like these: for
the synthetic ones it says nothing about real patients.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isnan, sqrt
from statistics import fmean, stdev

import numpy as np
from scipy.stats import t as student_t

from bundle.studies.record import DICE, RunRecord

NUM_DRAWS = 10_000
MIN_SEEDS, MIN_PATIENTS = 2, 5
"""Fewer give no interval and no verdict."""

LEVEL = 0.05
"""Of the interval and of the test, both two-sided."""

HIGHER, LOWER, NO_DIFFERENCE = "higher", "lower", "no difference found"
UNCLEAR, TOO_FEW = "unclear", "too few runs to tell"

Interval = tuple[float, float]


@dataclass(frozen=True)
class VariantScore:
    """A variant's Dice on one split.

    Attributes:
        mean: Over seeds.
        sd: Sample standard deviation between seeds (n - 1); None with one seed.
        per_seed: Seed -> mean over patients, by increasing seed.
        num_patients: Patients with a score in any run.
    """

    mean: float
    sd: float | None
    per_seed: dict[int, float]
    num_patients: int


@dataclass(frozen=True)
class Comparison:
    """A variant less the reference, on one split; see the module for what is computed and why.

    Attributes:
        difference: Mean over common seeds and patients.
        num_seeds: That both have.
        num_patients: That both have, with a score in every common seed.
        interval: 95%, seeds and patients resampled; None with too few of either, as all that follows.
        patients_interval: 95%, patients resampled: of these trainings, not of the methods.
        probability_higher: Share of the resampled differences above 0, ties counted half.
        p_value: Two-sided, seeds and patients random.
        corrected_p_value: After Holm's correction.
        num_comparisons: That the correction counted.
    """

    difference: float
    num_seeds: int
    num_patients: int
    interval: Interval | None = None
    patients_interval: Interval | None = None
    probability_higher: float | None = None
    p_value: float | None = None
    corrected_p_value: float | None = None
    num_comparisons: int = 1


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


def structure_means(records: Sequence[RunRecord], variant: str, split: str) -> dict[str, float | None]:
    """Mean Dice of every structure over patients, then seeds; None where no patient has it."""
    per_seed: dict[str, list[float]] = {}
    for run in _runs(records, variant, split).values():
        patients = run.splits[split][DICE].values()
        for structure in dict.fromkeys(name for patient in patients for name in patient):
            means = per_seed.setdefault(structure, [])
            if values := _known(patient.get(structure) for patient in patients):
                means.append(fmean(values))
    return {structure: fmean(means) if means else None for structure, means in per_seed.items()}


def compare_all(
    records: Sequence[RunRecord], variants: Sequence[str], reference: str, split: str
) -> dict[str, Comparison]:
    """Compare variants with the reference on one split, with p-values corrected for their number.

    Args:
        records: Runs of the study.
        variants: Names; the reference among them is passed over.
        reference: Name of the variant that the others are compared with.
        split: Name of the held-out patients.

    Returns:
        Variant -> comparison; without variants that have no seed or no patient in common with the reference.

    Raises:
        ValueError: If two runs have the same variant and seed.
    """
    tables = {
        variant: paired_differences(records, variant, reference, split) for variant in variants if variant != reference
    }
    comparisons = {variant: compare(table) for variant, table in tables.items() if table.size}
    p_values = {name: found.p_value for name, found in comparisons.items() if found.p_value is not None}
    for name, corrected in holm(p_values).items():
        comparisons[name] = replace(comparisons[name], corrected_p_value=corrected, num_comparisons=len(p_values))
    return comparisons


def paired_differences(records: Sequence[RunRecord], variant: str, reference: str, split: str) -> np.ndarray:
    """Variant less reference ``(seeds, patients)``, mean over structures; only seeds and patients that both have.

    Raises:
        ValueError: If two runs have the same variant and seed.
    """
    ours, theirs = (_patient_means(records, name, split) for name in (variant, reference))
    seeds = sorted(ours.keys() & theirs.keys())
    means = [runs[seed] for runs in (ours, theirs) for seed in seeds]
    patients = sorted(set(means[0]).intersection(*means[1:])) if means else []
    rows = [[ours[seed][patient] - theirs[seed][patient] for patient in patients] for seed in seeds]
    return np.array(rows, dtype=np.float64).reshape(len(seeds), len(patients))


def compare_structures(records: Sequence[RunRecord], variant: str, reference: str, split: str) -> dict[str, Comparison]:
    """Compare a variant with the reference structure by structure; nothing is corrected for their number.

    Args:
        records: Runs of the study.
        variant: Name.
        reference: Name of the variant that it is compared with.
        split: Name of the held-out patients.

    Returns:
        Structure -> comparison, on the patients that have it in every run.
    """
    runs = [run for name in (variant, reference) for run in _runs(records, name, split).values()]
    structures = dict.fromkeys(name for run in runs for found in run.splits[split][DICE].values() for name in found)
    found = {}
    for structure in structures:
        table = paired_differences([_only(run, structure) for run in runs], variant, reference, split)
        if table.size:
            found[structure] = compare(table)
    return found


def _only(run: RunRecord, structure: str) -> RunRecord:
    splits = {
        split: {DICE: {name: {structure: found.get(structure)} for name, found in scores[DICE].items()}}
        for split, scores in run.splits.items()
    }
    return replace(run, splits=splits)


def compare(differences: np.ndarray, num_draws: int = NUM_DRAWS) -> Comparison:
    """Difference with its uncertainty; swapping variant and reference mirrors it.

    Args:
        differences: Variant less reference ``(seeds, patients)``, at least one of each.
        num_draws: Number of resamplings.
    """
    num_seeds, num_patients = differences.shape
    plain = Comparison(float(differences.mean()), num_seeds, num_patients)
    if num_seeds < MIN_SEEDS or num_patients < MIN_PATIENTS:
        return plain
    random = np.random.default_rng(0)
    patients = _resampled_shares(random, num_patients, num_draws)
    seeds = _resampled_shares(random, num_seeds, num_draws)
    draws = ((seeds @ differences) * patients).sum(axis=1)
    p_value = _p_value(differences)
    return replace(
        plain,
        interval=_interval(draws),
        patients_interval=_interval(patients @ differences.mean(axis=0)),
        probability_higher=float((draws > 0).mean() + (draws == 0).mean() / 2),
        p_value=p_value,
        corrected_p_value=p_value,
    )


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Holm's correction: multiply the smallest by n, the next by n - 1, and so on; never below an earlier one."""
    corrected, highest = {}, 0.0
    for passed, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (len(p_values) - passed) * p_values[name]))
        corrected[name] = highest
    return corrected


def verdict(comparison: Comparison) -> str:
    """One of the five words above."""
    if comparison.interval is None or comparison.corrected_p_value is None:
        return TOO_FEW
    low, high = comparison.interval
    if low <= 0 <= high:
        return NO_DIFFERENCE
    if comparison.corrected_p_value >= LEVEL:
        return UNCLEAR
    return HIGHER if low > 0 else LOWER


def explain(comparison: Comparison, reference: str) -> str:
    """The verdict as a clause, with the numbers that it rests on.

    Args:
        comparison: With the reference.
        reference: The reference's name.
    """
    word = verdict(comparison)
    if comparison.interval is None:
        return f"{word} ({count(comparison.num_seeds, 'seed')}, {count(comparison.num_patients, 'patient')})"
    low, high = comparison.interval
    interval = f"interval {low:+z.3f} to {high:+z.3f}"
    p_value = f"p {format_p_value(comparison.corrected_p_value)}"
    if word == NO_DIFFERENCE:
        return f"{word} ({interval} contains 0)"
    if word == UNCLEAR:
        return (
            f"{word} ({interval} excludes 0, but {p_value} with "
            f"{count(comparison.num_seeds, 'seed')} and {count(comparison.num_comparisons, 'comparison')})"
        )
    return f"{word} than {reference} by {abs(comparison.difference):.3f} ({interval}, {p_value})"


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


def _resampled_shares(random: np.random.Generator, number: int, num_draws: int) -> np.ndarray:
    """Share of every one of ``number`` things in each draw with replacement ``(num_draws, number)``."""
    return random.multinomial(number, np.full(number, 1 / number), size=num_draws) / number


def _interval(draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _p_value(differences: np.ndarray) -> float:
    """Two-sided test of no difference, seeds and patients random and crossed."""
    num_seeds, num_patients = differences.shape
    mean = differences.mean()
    of_seed, of_patient = differences.mean(axis=1) - mean, differences.mean(axis=0) - mean
    rest = differences - mean - of_seed[:, None] - of_patient
    free = np.array([num_seeds - 1, num_patients - 1, (num_seeds - 1) * (num_patients - 1)])
    squares = [num_patients * (of_seed**2).sum(), num_seeds * (of_patient**2).sum(), (rest**2).sum()]
    seed, patient, residual = mean_squares = np.array(squares) / free
    # An estimated component of variance may be negative; it never makes the other one smaller.
    spread = max(seed + patient - residual, seed, patient)
    if spread == 0:
        return float(mean == 0)
    degrees_of_freedom = spread**2 / (mean_squares**2 / free).sum()
    return float(2 * student_t.sf(abs(mean) / sqrt(spread / differences.size), degrees_of_freedom))
