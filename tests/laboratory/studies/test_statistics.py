"""Means, intervals and verdicts of studies: by hand, by simulation, and against statistics of other libraries."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bundle.laboratory.studies.record import RunRecord
from bundle.laboratory.studies.statistics import (
    Comparison,
    compare,
    compare_pairs,
    correct,
    explain,
    holm,
    judge,
    paired,
    paired_differences,
    score,
    standard_error,
    verdict,
)

NAN = float("nan")


def run(variant: str, seed: int, patients: dict[str, dict[str, float | None]]) -> RunRecord:
    return RunRecord("key", "study", variant, seed, {"test": {"dice": patients}}, {}, {}, "2026-11-27", "machine")


def runs_of(variant: str, scores: np.ndarray) -> list[RunRecord]:
    """One structure; ``scores`` (seeds, patients)."""
    return [
        run(variant, seed, {f"p{number}": {"bolus": float(value)} for number, value in enumerate(row)})
        for seed, row in enumerate(scores)
    ]


def simulated(shape: tuple[int, ...], num_tables: int = 2000, **spreads: float) -> np.ndarray:
    """Tables of differences about a true difference of 0.

    ``spreads``: Standard deviations of axes and interactions, by the letters of the axes: a, b, ..., p for patients.
    """
    random, axes = np.random.default_rng(7), [*"abc"[: len(shape) - 1], "p"]
    tables = np.zeros((num_tables, *shape))
    for name, spread in spreads.items():
        sizes = [size if axis in name else 1 for axis, size in zip(axes, shape, strict=True)]
        tables += random.normal(0, spread, (num_tables, *sizes))
    return tables


def coverage(tables: np.ndarray) -> float:
    error, free = standard_error(tables, tables.ndim - 1)
    means = tables.mean(axis=tuple(range(1, tables.ndim)))
    return float((np.abs(means) <= stats.t.ppf(0.975, free) * error).mean())


def compared(low: float, high: float, p_value: float = 0.5, **given) -> Comparison:
    mean = (low + high) / 2
    found = Comparison(mean, {"seed": 3, "patient": 10}, 0.02, 0.01, 3.0, (low, high), p_value, None, p_value, 4)
    return replace(found, **given)


# Scores


def test_structures_are_averaged_within_a_patient_then_patients_then_seeds():
    # Patients 0.7 and 0.3 -> 0.5; patients 0.9 and 0.5 -> 0.7. Mean 0.6; sd sqrt(2 * 0.1**2 / 1) = 0.141421.
    records = [
        run("a", 4, {"p1": {"bolus": 0.9, "c2": 0.9}, "p2": {"bolus": 0.4, "c2": 0.6}}),
        run("a", 1, {"p1": {"bolus": 0.6, "c2": 0.8}, "p2": {"bolus": 0.3, "c2": None}}),
        run("b", 1, {"p1": {"bolus": 0.0, "c2": 0.0}}),
    ]
    found = score(records, "a", "test")
    assert found.mean == pytest.approx(0.6)
    assert found.sd == pytest.approx(0.141421, abs=1e-6)
    assert list(found.per_seed.items()) == [(1, pytest.approx(0.5)), (4, pytest.approx(0.7))]
    assert found.num_patients == 2


def test_one_seed_has_no_standard_deviation_and_no_run_has_no_score():
    records = [run("a", 0, {"p1": {"bolus": 0.5}})]
    assert score(records, "a", "test").sd is None
    assert score(records, "b", "test") is None
    assert score(records, "a", "hard_test") is None


def test_what_is_null_or_nan_is_left_out_and_warns_of_nothing():
    records = [run("a", 0, {"p1": {"bolus": 0.5, "c2": NAN}, "p2": {"bolus": None, "c2": None}})]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(records, "a", "test")
    assert (found.mean, found.num_patients) == (0.5, 1)


def test_two_runs_of_one_variant_and_seed_are_refused():
    twice = [run("a", 3, {"p1": {"bolus": 0.5}})] * 2
    with pytest.raises(ValueError, match="one run per variant and seed, got two of a, seed 3"):
        score(twice, "a", "test")


# Differences


def test_only_seeds_and_patients_that_both_have_are_compared():
    records = [
        run("a", 0, {"p1": {"bolus": 0.5}, "p2": {"bolus": 0.6}, "p3": {"bolus": 0.9}}),
        run("a", 1, {"p1": {"bolus": 0.7}, "p2": {"bolus": 0.8}, "p3": {"bolus": None}}),
        run("a", 2, {"p9": {"bolus": 0.1}}),
        run("b", 0, {"p3": {"bolus": 0.1}, "p2": {"bolus": 0.2}, "p1": {"bolus": 0.4}}),
        run("b", 1, {"p1": {"bolus": 0.4}, "p2": {"bolus": 0.4}, "p3": {"bolus": 0.1}}),
    ]
    np.testing.assert_allclose(paired_differences(records, "a", "b", "test"), [[0.1, 0.4], [0.3, 0.4]])
    assert compare(paired_differences(records, "a", "b", "test")).difference == pytest.approx(0.3)
    assert paired_differences(records, "a", "c", "test").size == 0


def test_a_table_has_an_axis_for_every_level_of_the_runs():
    ours = {(d, k, f): 0.5 + d + 10 * k for d in (0, 1) for k in (3, 4, 5) for f in "xy"}
    theirs = {(d, k, f): 0.5 for d in (1, 0) for k in (5, 4, 3) for f in "yxz"}
    table = paired(ours, theirs)
    assert table.shape == (2, 3, 2)
    np.testing.assert_allclose(table[1, :, 0], [31, 41, 51])
    del ours[1, 5, "x"], ours[1, 5, "y"]
    with pytest.raises(ValueError, match="every combination of the runs' levels, 6 runs, got 5"):
        paired(ours, theirs)


@pytest.mark.parametrize("table", [np.zeros((3, 0)), np.zeros(6), np.full((3, 6), NAN)])
def test_a_table_must_be_complete(table):
    with pytest.raises(ValueError, match=r"complete table of \['seed', 'patient'\], got the shape"):
        compare(table)


# Interval and test


def test_seeds_alike_leave_the_variation_of_patients():
    """Then test and interval are the paired t-test's over patients."""
    patients = np.array([0.01, 0.03, -0.02, 0.05, 0.02, 0.04, 0.00, 0.03])
    found, expected = compare(np.tile(patients, (3, 1))), stats.ttest_1samp(patients, 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    bootstrap = stats.bootstrap((patients,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    np.testing.assert_allclose(found.patients_interval, bootstrap.confidence_interval, atol=0.0015)


def test_patients_alike_leave_the_variation_of_seeds():
    """Then they are the paired t-test's over seeds, and patients alone would know of no variation at all."""
    seeds = np.array([0.02, 0.05, 0.01])
    found, expected = compare(np.tile(seeds[:, None], (1, 6))), stats.ttest_1samp(seeds, 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.patients_interval == pytest.approx((0.08 / 3, 0.08 / 3))


def test_the_test_is_the_analysis_of_variance_worked_out_by_hand():
    # Mean 4. Mean squares: seeds -1, 1: 5 * 2 / 1 = 10; patients -2 ... 2: 2 * 10 / 4 = 5; rest: 4 * 1^2 / 4 = 1.
    # Spread 10 + 5 - 1 = 14; degrees of freedom 14^2 / (10^2 / 1 + 5^2 / 4 + 1^2 / 4) = 1.84038.
    # t = 4 / sqrt(14 / 10) = 3.38062.
    differences = np.add.outer([-1.0, 1.0], [-2.0, -1.0, 0.0, 1.0, 2.0]) + 4
    differences += [[1, -1, 0, 0, 0], [-1, 1, 0, 0, 0]]
    assert compare(differences).p_value == pytest.approx(2 * stats.t.sf(3.38062, 1.84038), abs=1e-5)


def test_three_axes_that_only_add_up_have_the_sum_of_their_variances():
    random = np.random.default_rng(5)
    axes = [random.normal(size=size) for size in (3, 4, 9)]
    parts = [axis.var(ddof=1) / axis.size for axis in axes]
    found = compare(np.add.outer(np.add.outer(*axes[:2]), axes[2]), ("distillation", "draw", "film"))
    assert found.standard_error == pytest.approx(sum(parts) ** 0.5)
    # Welch and Satterthwaite's, of the means of three samples.
    expected = sum(parts) ** 2 / sum(part**2 / (axis.size - 1) for part, axis in zip(parts, axes, strict=True))
    assert found.degrees_of_freedom == pytest.approx(expected)


def test_an_axis_that_changes_nothing_changes_nothing():
    table = np.random.default_rng(2).normal(size=(3, 8))
    two, three = compare(table), compare(np.tile(table[:, None], (1, 4, 1)), ("distillation", "draw", "film"))
    assert three.interval == pytest.approx(two.interval)
    assert three.p_value == pytest.approx(two.p_value)


def test_an_axis_of_length_1_is_not_counted_as_random_and_is_named():
    table = np.random.default_rng(2).normal(0.0, 0.1, size=(3, 8))
    names = ("distillation", "draw", "film")
    alone, found = compare(table, ("draw", "film")), compare(table[None], names)
    assert found.interval == alone.interval
    assert found.fixed == ["distillation"]
    assert "one distillation only, not counted as random" in explain(found, "none")
    assert "counted" not in explain(alone, "none")
    patients = compare(table[None, :1], names)
    assert patients.interval == pytest.approx(tuple(stats.ttest_1samp(table[0], 0).confidence_interval()))
    assert verdict(patients) == "too few runs to tell"  # of these trainings, not of the methods


def test_swapping_variant_and_reference_mirrors_everything():
    differences = simulated((3, 9), 1, a=0.01, p=0.02, ap=0.01)[0] + 0.01
    one, other = compare(differences), compare(-differences)
    assert one.difference == -other.difference
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.p_value == pytest.approx(other.p_value)


def test_a_variant_that_equals_the_reference_is_equivalent():
    found = compare(np.zeros((3, 6)))
    assert (found.difference, found.interval, found.p_value, found.detectable) == (0, (0, 0), 1, 0)
    assert verdict(found) == "equivalent"


def test_the_same_differences_give_the_same_interval_and_order_does_not_matter():
    scores = np.random.default_rng(0).uniform(0.5, 0.9, (2, 3, 7))
    records = runs_of("a", scores[0]) + runs_of("b", scores[1])
    pairs = [("a", "b")]
    assert compare_pairs(records, pairs, "test") == compare_pairs(records[::-1], pairs, "test")


# Simulations: the true difference is 0


@pytest.mark.parametrize(
    ("shape", "spreads"),
    [
        ((3, 20), {"a": 0.02, "p": 0.002, "ap": 0.002}),
        ((3, 20), {"a": 0.01, "p": 0.03, "ap": 0.02}),
        ((3, 20), {"a": 0.01, "p": 0.05, "ap": 0.02}),
        ((3, 20), {"a": 0.002, "p": 0.04, "ap": 0.01}),
        ((3, 3, 60), {"a": 0.01, "b": 0.01, "p": 0.04, "abp": 0.03}),
        ((3, 3, 60), {"a": 0.02, "b": 0.01, "p": 0.03, "abp": 0.02}),
        ((3, 3, 60), {"a": 0.01, "b": 0.01, "ab": 0.01, "p": 0.05, "ap": 0.02, "bp": 0.02, "abp": 0.03}),
        ((3, 3, 60), {"p": 0.05, "abp": 0.05}),
    ],
)
def test_the_interval_covers_the_true_difference_in_about_95_percent_of_studies(shape, spreads):
    assert 0.93 <= coverage(simulated(shape, **spreads)) <= 0.98


def test_where_one_axis_of_three_runs_matters_most_but_not_alone_it_covers_a_little_less():
    assert 0.915 <= coverage(simulated((3, 3, 60), a=0.02, b=0.003, p=0.03, abp=0.02)) <= 0.95


@pytest.mark.parametrize(("shape", "spreads"), [((3, 20), {"ap": 0.03}), ((3, 3, 60), {"ab": 0.02, "p": 0.03})])
def test_where_only_interactions_matter_it_is_too_wide(shape, spreads):
    assert coverage(simulated(shape, **spreads)) >= 0.98


# Power


@pytest.mark.parametrize("true", [0.0, 0.02, 0.05])
def test_power_is_the_noncentral_ts(true):
    found = replace(compared(-0.01, 0.05), negligible=true, standard_error=0.012, degrees_of_freedom=6.5)
    for number, power in ((1, found.power), (4, found.corrected_power)):
        needed = stats.t.isf(0.025 / number, 6.5)
        assert power == pytest.approx(stats.nct.sf(needed, 6.5, true / 0.012), abs=0.002)


def test_the_detectable_difference_is_found_in_80_percent_of_studies():
    found = replace(compared(-0.01, 0.05), standard_error=0.012, degrees_of_freedom=3.0)
    assert replace(found, negligible=found.detectable).power == pytest.approx(0.8, abs=0.001)


# Verdicts


@pytest.mark.parametrize(("num_seeds", "num_patients"), [(1, 20), (3, 4)])
def test_too_few_seeds_or_patients_give_a_difference_but_no_verdict(num_seeds, num_patients):
    found = compare(np.full((num_seeds, num_patients), 0.25))
    assert found.difference == 0.25
    assert verdict(found) == "too few runs to tell"
    assert judge(found, "higher") == judge(None, "higher") == "could not be told here"
    assert f"({num_seeds} seed" in explain(found, "none")


@pytest.mark.parametrize(
    ("found", "word", "sentence", "higher", "equivalent"),
    [
        (
            compared(0.01, 0.05, 0.02),
            "higher",
            "higher than A by 0.030 (interval +0.010 to +0.050, p = 0.020)",
            "held here",
            "not so here",
        ),
        (
            compared(-0.05, -0.01, 0.0001),
            "lower",
            "lower than A by 0.030 (interval -0.050 to -0.010, p < 0.001)",
            "the opposite was seen here",
            "not so here",
        ),
        (
            compared(0.002, 0.012, 0.01),
            "higher",
            "higher than A by 0.007, less than 0.02 in any case (interval +0.002 to +0.012, p = 0.010)",
            "held here",
            "held here",
        ),
        (
            compared(-0.01, 0.015),
            "equivalent",
            "equivalent to A (interval -0.010 to +0.015, within ±0.02)",
            "not so here",
            "held here",
        ),
        (
            compared(-0.01, 0.05),
            "could not be told",
            "could not be told (interval -0.010 to +0.050 contains 0 and +0.02)",
            "could not be told here",
            "could not be told here",
        ),
        (
            compared(0.01, 0.05, 0.08),
            "could not be told",
            "could not be told (interval +0.010 to +0.050 excludes 0, but p = 0.080 with 4 comparisons)",
            "could not be told here",
            "could not be told here",
        ),
    ],
)
def test_a_verdict_is_said_in_words_and_claims_follow_it(found, word, sentence, higher, equivalent):
    assert verdict(found) == word
    assert explain(found, "A") == sentence
    assert (judge(found, "higher"), judge(found, "equivalent")) == (higher, equivalent)


def test_holms_correction_is_the_one_worked_out_by_hand():
    # Ordered 0.01, 0.02, 0.03, 0.9: times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.9, none below an earlier one.
    p_values = {"a": 0.03, "b": 0.01, "c": 0.9, "d": 0.02}
    assert holm(p_values) == pytest.approx({"b": 0.04, "d": 0.06, "a": 0.06, "c": 0.9})
    assert holm({"a": 0.7, "b": 0.6}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}


def test_holms_correction_does_not_depend_on_the_order_of_variants():
    p_values = {"a": 0.03, "b": 0.01, "c": 0.9, "d": 0.02}
    for order in itertools.permutations(p_values):
        assert holm({name: p_values[name] for name in order}) == holm(p_values)


def test_a_table_and_its_claims_are_corrected_together_and_each_pair_counts_once():
    random = np.random.default_rng(1)
    records = [run for name in "abcd" for run in runs_of(name, random.uniform(0.5, 0.9, (3, 8)))]
    table, claims = [("b", "a"), ("c", "a")], [("b", "a"), ("b", "c")]
    found = compare_pairs(records, [*table, *claims, ("not run", "a")], "test")
    assert list(found) == [("b", "a"), ("c", "a"), ("b", "c")]
    p_values = {pair: compare(paired_differences(records, *pair, "test")).p_value for pair in found}
    assert {pair: one.corrected_p_value for pair, one in found.items()} == holm(p_values)
    assert {one.num_comparisons for one in found.values()} == {3}


def test_what_cannot_be_tested_does_not_count():
    few, enough = compare(np.full((3, 4), 0.1)), compare(np.random.default_rng(0).normal(size=(3, 8)))
    found = correct({"few": few, "enough": enough})
    assert found["few"].corrected_p_value is None
    assert found["enough"].corrected_p_value == enough.p_value
