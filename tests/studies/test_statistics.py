"""Means, intervals and verdicts of studies: by hand, by simulation, and against statistics of other libraries."""

import itertools
import warnings

import numpy as np
import pytest
from scipy import stats

from bundle.studies.record import RunRecord
from bundle.studies.statistics import (
    Comparison,
    compare,
    compare_all,
    explain,
    holm,
    paired_differences,
    score,
    structure_means,
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


def simulated(random: np.random.Generator, shape: tuple[int, int], of_seed: float, of_patient: float, rest: float):
    """Differences (seeds, patients) about a true difference of 0, with these standard deviations."""
    num_seeds, num_patients = shape
    seeds, patients = random.normal(0, of_seed, (num_seeds, 1)), random.normal(0, of_patient, (1, num_patients))
    return seeds + patients + random.normal(0, rest, shape)


def share(function, num_trials: int = 400) -> float:
    random = np.random.default_rng(7)
    return float(np.mean([function(random) for _ in range(num_trials)]))


def covers(differences: np.ndarray) -> bool:
    low, high = compare(differences, num_draws=1000).interval
    return low <= 0 <= high


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
        assert structure_means(records, "a", "test") == {"bolus": 0.5, "c2": None}
    assert (found.mean, found.num_patients) == (0.5, 1)


def test_a_structures_mean_is_over_the_patients_that_have_it_then_over_seeds():
    # bolus: seed 0 (0.4 + 0.8) / 2 = 0.6, seed 1 0.2: 0.4. c2: seed 0 0.9; seed 1 has none.
    records = [
        run("a", 0, {"p1": {"bolus": 0.4, "c2": None}, "p2": {"bolus": 0.8, "c2": 0.9}}),
        run("a", 1, {"p1": {"bolus": 0.2, "c2": None}}),
    ]
    assert structure_means(records, "a", "test") == pytest.approx({"bolus": 0.4, "c2": 0.9})
    assert structure_means(records, "b", "test") == {}


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


def test_seeds_alike_leave_the_variation_of_patients():
    """Then the test is the paired t-test over patients, and both intervals are the bootstrap of their mean."""
    patients = np.array([0.01, 0.03, -0.02, 0.05, 0.02, 0.04, 0.00, 0.03])
    found = compare(np.tile(patients, (3, 1)))
    assert found.p_value == pytest.approx(stats.ttest_1samp(patients, 0).pvalue)
    assert found.interval == pytest.approx(found.patients_interval)
    expected = stats.bootstrap((patients,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose(found.interval, expected, atol=0.0015)


def test_patients_alike_leave_the_variation_of_seeds():
    """Then the test is the paired t-test over seeds, and patients alone would know of no variation at all."""
    seeds = np.array([0.02, 0.05, 0.01])
    found = compare(np.tile(seeds[:, None], (1, 6)))
    assert found.p_value == pytest.approx(stats.ttest_1samp(seeds, 0).pvalue)
    assert found.interval == pytest.approx((0.01, 0.05))  # one draw in 27 takes the lowest thrice: more than 2.5%
    assert found.patients_interval == pytest.approx((0.08 / 3, 0.08 / 3))


def test_the_test_is_the_analysis_of_variance_worked_out_by_hand():
    # Mean 4. Mean squares: seeds -1, 1: 5 * 2 / 1 = 10; patients -2 ... 2: 2 * 10 / 4 = 5; rest: 4 * 1^2 / 4 = 1.
    # Spread 10 + 5 - 1 = 14; degrees of freedom 14^2 / (10^2 / 1 + 5^2 / 4 + 1^2 / 4) = 1.84038.
    # t = 4 / sqrt(14 / 10) = 3.38062.
    differences = np.add.outer([-1.0, 1.0], [-2.0, -1.0, 0.0, 1.0, 2.0]) + 4
    differences += [[1, -1, 0, 0, 0], [-1, 1, 0, 0, 0]]
    assert compare(differences).p_value == pytest.approx(2 * stats.t.sf(3.38062, 1.84038), abs=1e-5)


def test_swapping_variant_and_reference_mirrors_everything():
    differences = simulated(np.random.default_rng(3), (3, 9), 0.01, 0.02, 0.01) + 0.01
    one, other = compare(differences), compare(-differences)
    assert one.difference == -other.difference
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.probability_higher == pytest.approx(1 - other.probability_higher)
    assert one.p_value == pytest.approx(other.p_value)


def test_a_variant_that_equals_the_reference_is_as_often_higher_as_lower():
    found = compare(np.zeros((3, 6)))
    assert (found.difference, found.interval, found.probability_higher, found.p_value) == (0, (0, 0), 0.5, 1)
    assert verdict(found) == "no difference found"


def test_the_same_differences_give_the_same_interval_and_order_does_not_matter():
    scores = np.random.default_rng(0).uniform(0.5, 0.9, (2, 3, 7))
    records = runs_of("a", scores[0]) + runs_of("b", scores[1])
    assert compare_all(records, ["a"], "b", "test") == compare_all(records[::-1], ["a"], "b", "test")


# Simulations: the true difference is 0


def test_the_interval_covers_the_true_difference_in_about_95_percent_of_studies_where_patients_matter_most():
    assert 0.91 <= share(lambda random: covers(simulated(random, (5, 20), 0.004, 0.02, 0.01))) <= 0.98


def test_at_three_seeds_that_matter_more_than_patients_the_interval_is_too_narrow_as_the_module_says():
    assert 0.70 <= share(lambda random: covers(simulated(random, (3, 20), 0.02, 0.0, 0.0))) <= 0.80


@pytest.mark.parametrize(
    ("num_seeds", "of_seed", "of_patient"),
    [(2, 0.02, 0.001), (2, 0.001, 0.02), (3, 0.02, 0.001), (3, 0.01, 0.02), (3, 0.001, 0.02), (5, 0.01, 0.02)],
)
def test_equal_methods_are_seldom_told_apart_whatever_varies(num_seeds, of_seed, of_patient):
    def is_told_apart(random: np.random.Generator) -> bool:
        found = compare(simulated(random, (num_seeds, 10), of_seed, of_patient, 0.01), num_draws=500)
        return verdict(found) in ("higher", "lower")

    assert share(is_told_apart) <= 0.08


def test_a_difference_that_is_large_beside_its_spread_is_found_with_its_sign():
    def finds(random: np.random.Generator) -> bool:
        return verdict(compare(simulated(random, (3, 10), 0.003, 0.01, 0.01) - 0.05, num_draws=500)) == "lower"

    assert share(finds, num_trials=100) >= 0.95


# Verdicts


@pytest.mark.parametrize(("num_seeds", "num_patients"), [(1, 20), (3, 4)])
def test_too_few_seeds_or_patients_give_a_difference_but_no_interval_and_no_verdict(num_seeds, num_patients):
    found = compare(np.full((num_seeds, num_patients), 0.25))
    assert found.difference == 0.25
    assert found.interval is found.patients_interval is found.p_value is found.probability_higher is None
    assert verdict(found) == "too few runs to tell"
    assert f"({num_seeds} seed" in explain(found, "none")


@pytest.mark.parametrize(
    ("interval", "p_value", "word", "sentence"),
    [
        ((0.01, 0.05), 0.02, "higher", "higher than A by 0.030 (interval +0.010 to +0.050, p = 0.020)"),
        ((-0.05, -0.01), 0.0001, "lower", "lower than A by 0.030 (interval -0.050 to -0.010, p < 0.001)"),
        ((-0.01, 0.05), 0.2, "no difference found", "found (interval -0.010 to +0.050 contains 0)"),
        ((-0.01, 0.05), 0.04, "no difference found", "found (interval -0.010 to +0.050 contains 0)"),
        ((0.01, 0.05), 0.08, "unclear", "excludes 0, but p = 0.080 with 3 seeds and 4 comparisons)"),
    ],
)
def test_a_verdict_needs_both_the_interval_and_the_test_and_is_said_in_words(interval, p_value, word, sentence):
    difference = -0.03 if word == "lower" else 0.03
    found = Comparison(difference, 3, 10, interval, interval, 0.9, p_value, p_value, 4)
    assert verdict(found) == word
    assert explain(found, "A").startswith(word)
    assert explain(found, "A").endswith(sentence)


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


def test_p_values_are_corrected_for_the_comparisons_that_could_be_made():
    random = np.random.default_rng(1)
    records = runs_of("reference", random.uniform(0.5, 0.6, (3, 8)))
    records += runs_of("a", random.uniform(0.5, 0.6, (3, 8))) + runs_of("b", random.uniform(0.7, 0.8, (3, 8)))
    records += runs_of("one seed", random.uniform(0.7, 0.8, (1, 8)))
    found = compare_all(records, ["reference", "a", "b", "one seed", "not run"], "reference", "test")
    assert list(found) == ["a", "b", "one seed"]
    assert found["b"].corrected_p_value == pytest.approx(2 * found["b"].p_value)
    assert found["a"].corrected_p_value == pytest.approx(found["a"].p_value)
    assert (found["a"].num_comparisons, found["b"].num_comparisons) == (2, 2)
    assert verdict(found["one seed"]) == "too few runs to tell"
