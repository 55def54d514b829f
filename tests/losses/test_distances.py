"""Distances between feature maps: worked by hand, zero for equal features, blind to padding."""

import numpy as np
import pytest
import torch

from bundle.losses.distances import AngleNormalized, Cosine, MeanSquared, SmoothL1, WeightedSum

DISTANCES = [MeanSquared(), Cosine(), AngleNormalized(), SmoothL1(), WeightedSum([MeanSquared(), Cosine()], [1.0, 0.5])]


@pytest.fixture
def maps():
    torch.manual_seed(0)
    return torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)


def tokens(**values):
    """One image with two channels and two positions."""
    return torch.tensor(values["first"] + values["second"]).reshape(1, 2, 1, 2)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_features_are_at_distance_zero(distance, maps):
    value = distance(maps[0], maps[0].clone(), torch.ones(2, 1, 3, 3))
    torch.testing.assert_close(value, torch.zeros(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("distance", DISTANCES)
def test_padding_has_no_effect_on_value_or_gradient(distance, maps):
    pred, target = maps
    weight = torch.ones(2, 1, 3, 3)
    weight[..., 2] = 0
    changed = pred.clone()
    changed[..., 2] = 1e3
    changed.requires_grad_()
    value = distance(changed, target, weight)
    cropped = distance(pred[..., :2], target[..., :2], weight[..., :2])
    torch.testing.assert_close(value, cropped)
    value.sum().backward()
    assert changed.grad[..., 2].abs().max() == 0
    assert changed.grad[..., :2].abs().max() > 0


def test_a_half_covered_position_counts_half():
    pred, target = tokens(first=[1.0, 3.0], second=[1.0, 3.0]), torch.zeros(1, 2, 1, 2)
    weight = torch.tensor([1.0, 0.5]).reshape(1, 1, 1, 2)
    assert MeanSquared()(pred, target, weight).item() == pytest.approx((1 * 1 + 0.5 * 9) / 1.5)


def test_cosine_is_one_minus_the_cosine_of_the_angle():
    pred, target = tokens(first=[1.0, 0.0], second=[0.0, 2.0]), tokens(first=[5.0, 3.0], second=[0.0, 0.0])
    assert Cosine()(pred, target, torch.ones(1, 1, 1, 2)).item() == pytest.approx((0 + 1) / 2)  # 0 and 90 degrees


def test_a_normalized_angle_is_one_for_a_student_that_knows_the_mean_direction_only(maps):
    target, weight = maps[0] + 1, torch.rand(2, 1, 3, 3)
    directions = target / target.norm(dim=1, keepdim=True)
    mean = (directions * weight).sum(dim=(2, 3), keepdim=True).expand_as(target)
    torch.testing.assert_close(AngleNormalized()(mean, target, weight), torch.ones(2))


def test_an_image_whose_tokens_all_point_one_way_is_not_divided_by_nothing(maps):
    value = AngleNormalized()(maps[0], torch.ones(2, 5, 3, 3), torch.ones(2, 1, 3, 3))
    torch.testing.assert_close(value, Cosine()(maps[0], torch.ones(2, 5, 3, 3), torch.ones(2, 1, 3, 3)) / 0.05)


def test_smooth_l1_is_quadratic_below_beta_and_linear_above():
    pred, target = tokens(first=[1.0, 4.0], second=[1.0, 4.0]), torch.zeros(1, 2, 1, 2)
    expected = np.mean([0.5 * 1.0**2 / 2.0, 4.0 - 0.5 * 2.0])
    assert SmoothL1(beta=2.0)(pred, target, torch.ones(1, 1, 1, 2)).item() == pytest.approx(expected)


def test_a_weighted_sum_adds_its_terms(maps):
    weight = torch.ones(2, 1, 3, 3)
    total = WeightedSum([MeanSquared(), Cosine()], [2.0, 0.5])(*maps, weight)
    torch.testing.assert_close(total, 2.0 * MeanSquared()(*maps, weight) + 0.5 * Cosine()(*maps, weight))


@pytest.mark.parametrize("distance", DISTANCES)
def test_an_image_of_nothing_but_padding_gives_zero_and_no_gradient(distance, maps):
    pred = maps[0].clone().requires_grad_()
    weight = torch.ones(2, 1, 3, 3)
    weight[0] = 0
    value = distance(pred, maps[1], weight)
    value.sum().backward()
    assert value[0] == 0
    assert value[1] > 0
    assert pred.grad[0].abs().max() == 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_every_image_has_a_distance_of_its_own_however_much_of_it_is_padding(distance, maps):
    weight = torch.ones(2, 1, 3, 3)
    weight[0, ..., 1:] = 0
    alone = [distance(pred[None], target[None], own[None]) for pred, target, own in zip(*maps, weight, strict=True)]
    torch.testing.assert_close(distance(*maps, weight), torch.cat(alone))


@pytest.mark.parametrize("distance", DISTANCES)
def test_maps_of_another_grid_are_refused(distance, maps):
    with pytest.raises(ValueError, match="must have one shape: the projection head"):
        distance(maps[0], maps[1][..., :2], torch.ones(2, 1, 3, 3))
    with pytest.raises(ValueError, match=r"weight must be the coverage \(2, 1, 3, 3\)"):
        distance(*maps, torch.ones(2, 3, 3))


def test_terms_and_weights_must_pair():
    with pytest.raises(ValueError, match="one weight per distance, got 1 distances and weights"):
        WeightedSum([MeanSquared()], [1.0, 2.0])
    with pytest.raises(ValueError, match="must not be negative"):
        WeightedSum([MeanSquared()], [-1.0])
    with pytest.raises(ValueError, match="beta must be positive"):
        SmoothL1(beta=0.0)
