"""What phase 1's validation measures, against worked numbers and scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import r2_score

from bundle.engines.distillation_metrics import embedding_collapse, error_and_moments, feature_cosine, unexplained


def test_the_cosine_counts_valid_positions_only():
    pred = torch.tensor([[[[1.0, 1.0]], [[0.0, 1.0]]]])  # two positions: (1, 0) and (1, 1)
    target = torch.tensor([[[[1.0, -1.0]], [[0.0, -1.0]]]])
    assert feature_cosine(pred, target, torch.tensor([[[[1.0, 0.0]]]])) == 1.0
    assert abs(feature_cosine(pred, target, torch.tensor([[[[1.0, 1.0]]]]))) < 1e-6


def maps(num_images):
    target = 3 + 2 * torch.randn(num_images, 5, 4, 4)
    return target + torch.randn(target.shape), target, torch.rand(num_images, 1, 4, 4)


def test_the_unexplained_share_is_one_minus_the_r2_of_all_batches_together():
    torch.manual_seed(0)
    batches = [maps(2), maps(1)]
    pred, target, weight = (torch.cat(parts).movedim(1, -1).flatten(end_dim=2) for parts in zip(*batches, strict=True))
    expected = 1 - r2_score(target, pred, sample_weight=weight[:, 0], multioutput="variance_weighted")
    assert unexplained([error_and_moments(*batch) for batch in batches]) == pytest.approx(expected, rel=1e-5)


def test_a_student_that_knows_all_leaves_nothing_and_the_mean_alone_leaves_everything():
    torch.manual_seed(0)
    _, target, _ = maps(3)
    valid = torch.ones(3, 1, 4, 4)
    assert unexplained([error_and_moments(target, target, valid)]) == 0
    mean = target.mean(dim=(0, 2, 3), keepdim=True).expand_as(target)
    assert unexplained([error_and_moments(mean, target, valid)]) == pytest.approx(1.0)


def test_padding_explains_nothing_and_leaves_nothing():
    torch.manual_seed(0)
    pred, target, _ = maps(2)
    valid = torch.ones(2, 1, 4, 4)
    valid[..., 2:] = 0
    expected = unexplained([error_and_moments(pred[..., :2], target[..., :2], valid[..., :2])])
    pred[..., 2:] = 100
    assert unexplained([error_and_moments(pred, target, valid)]) == pytest.approx(expected)


def test_a_teacher_that_does_not_vary_has_no_share():
    target = torch.full((2, 3, 2, 2), 0.1)
    assert math.isnan(unexplained([error_and_moments(target + 1, target, torch.ones(2, 1, 2, 2))]))
    assert math.isnan(unexplained([error_and_moments(target + 1, target, torch.zeros(2, 1, 2, 2))]))


def test_an_embedding_that_uses_one_of_its_dimensions_has_nearly_collapsed():
    torch.manual_seed(0)
    rich = torch.randn(4, 8, 32, 32)
    assert embedding_collapse(torch.ones(2, 8, 4, 4)) == 1.0
    assert embedding_collapse(rich[:, :1] * torch.ones(8, 1, 1)) == pytest.approx(1 - 1 / 8, abs=1e-3)  # rank 1 of 8
    assert embedding_collapse(rich) < 0.01
