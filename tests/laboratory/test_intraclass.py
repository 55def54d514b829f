"""Intraclass correlation against numbers worked out by hand."""

import numpy as np
import pytest

from bundle.laboratory.intraclass import intraclass_correlation


def test_methods_that_agree_have_1_and_a_bias_costs_agreement():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert intraclass_correlation(values, values) == pytest.approx(1.0)
    # Rows: 2 x 5 / 3 = 10/3; columns: 4 x 0.5 = 2; residual 0: (10/3) / (10/3 + 2 x 2 / 4)
    assert intraclass_correlation(values, values + 1) == pytest.approx((10 / 3) / (10 / 3 + 1))


def test_pairs_without_a_value_are_left_out():
    one, other = [1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, 9.0]
    assert intraclass_correlation(one, other) == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[1.0, 2.0], [5.0, 5.0, 5.0]])
def test_too_few_pairs_or_swallows_that_are_all_the_same_have_none(values):
    assert intraclass_correlation(values, values) is None
