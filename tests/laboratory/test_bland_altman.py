"""Bland-Altman bias and limits of agreement, by hand."""

import numpy as np
import pytest

from bundle.laboratory.bland_altman import bland_altman


def test_bias_and_limits_are_those_worked_out_by_hand():
    # Differences 1, -1, 3, 1: mean 1; squares about it 0 + 4 + 4 + 0 = 8, over 3; s = sqrt(8 / 3) = 1.63299.
    agreement = bland_altman([11.0, 19.0, 33.0, 41.0], [10.0, 20.0, 30.0, 40.0])
    assert agreement.bias == pytest.approx(1.0)
    assert agreement.lower == pytest.approx(1.0 - 3.20067, abs=1e-5)
    assert agreement.upper == pytest.approx(1.0 + 3.20067, abs=1e-5)
    assert (agreement.num_pairs, agreement.num_left_out) == (4, 0)


def test_a_constant_offset_is_all_bias_and_its_sign_is_measured_less_reference():
    agreement = bland_altman([7.0, 8.0, 9.0], [9.0, 10.0, 11.0])
    assert (agreement.bias, agreement.lower, agreement.upper) == (-2.0, -2.0, -2.0)


def test_a_pair_without_one_value_is_left_out_and_counted():
    agreement = bland_altman([1.0, np.nan, 5.0, 4.0], [0.0, 2.0, 2.0, np.nan])
    assert (agreement.bias, agreement.num_pairs, agreement.num_left_out) == (2.0, 2, 2)


@pytest.mark.parametrize(
    ("measured", "reference", "message"),
    [
        ([1.0, 2.0], [1.0], r"must be \(N,\), one pair per patient, got \(2,\) and \(1,\)"),
        ([1.0, np.inf], [1.0, 2.0], "must not be infinite"),
        ([1.0, np.nan], [1.0, 2.0], "need two pairs or more with both values, got 1"),
    ],
)
def test_values_without_limits_are_refused(measured, reference, message):
    with pytest.raises(ValueError, match=message):
        bland_altman(measured, reference)
