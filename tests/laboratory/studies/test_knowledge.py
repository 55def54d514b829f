"""What a linear map explains: everything where the truth is linear, nothing where there is nothing to know."""

import pytest
import torch

from bundle.laboratory.studies.readouts import read_student, unexplained_share


@pytest.fixture
def inputs():
    return torch.randn(3000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3


def test_a_linear_map_with_an_offset_is_all_known(inputs):
    targets = inputs @ torch.arange(12.0, dtype=torch.float64).reshape(6, 2) - 5
    assert unexplained_share(inputs, targets, 2000) < 1e-3


def test_what_has_nothing_to_do_with_the_inputs_is_not_known(inputs):
    targets = torch.randn(3000, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert unexplained_share(inputs, targets, 2000) == pytest.approx(1, abs=0.02)


def test_half_of_the_variance_is_half(inputs):
    noise = torch.randn(3000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert unexplained_share(inputs, inputs[:, :1] + noise, 2000) == pytest.approx(0.5, abs=0.05)


def test_random_weights_are_those_of_the_seed_and_leave_the_random_state_alone():
    before = torch.get_rng_state()
    one, same, other = (read_student(None, "efficientvit_b0", seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    name = next(name for name, value in one.items() if name.endswith("weight") and value.ndim == 4)
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
