"""What balancers do when left alone with three nearly equal losses, as the docs report, and the warning of it."""

import warnings

import pytest
import torch

from bundle.losses.balance import Attention, AttentionEntropyFloor, Mlp, Uncertainty, relative_entropy
from bundle.losses.distillation import CollapseMonitor

COLLAPSED = {"medsam2": 0.97, "rad_dino": 0.02, "medclip": 0.01}
LOSSES = torch.tensor([0.300, 0.301, 0.302])[:, None].expand(3, 4)  # of four images
HEALTHY = {"medsam2": 0.5, "rad_dino": 0.3, "medclip": 0.2}


def test_a_collapse_that_lasts_is_warned_of_with_a_remedy():
    monitor = CollapseMonitor(patience=3)
    monitor.update(COLLAPSED)
    monitor.update(COLLAPSED)
    with pytest.warns(UserWarning, match=r"collapsed: teacher 'medsam2' .* for 3 steps .* Use AttentionEntropyFloor"):
        monitor.update(COLLAPSED)


@pytest.mark.parametrize(
    "history",
    [
        [COLLAPSED, COLLAPSED, HEALTHY] * 5,
        [COLLAPSED, {"medsam2": 0.0, "rad_dino": 1.0, "medclip": 0.0}] * 5,
        [{"medsam2": 1.0}] * 10,
        [HEALTHY] * 10,
    ],
    ids=["it recovers", "teachers take turns", "there is one teacher", "healthy"],
)
def test_nothing_is_said_when(history):
    monitor = CollapseMonitor(patience=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for weights in history:
            monitor.update(weights)


def test_it_is_said_once():
    monitor = CollapseMonitor(patience=1)
    with pytest.warns(UserWarning, match="collapsed"):
        monitor.update(COLLAPSED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.update(COLLAPSED)


def test_weights_need_not_sum_to_one():
    with pytest.warns(UserWarning, match="'rad_dino'"):
        CollapseMonitor(patience=1).update({"medsam2": 0.1, "rad_dino": 40.0})


def weights_over_steps(balancer, num_steps):
    """Mean weights (num_steps, K) while Adam at 1e-3 minimizes the total over the balancer's own parameters."""
    embedding = torch.randn(4, 64, 4, 4, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(balancer.parameters(), lr=1e-3)
    history = []
    for _ in range(num_steps):
        balanced = balancer(LOSSES, embedding)
        optimizer.zero_grad()
        balanced.total.backward()
        optimizer.step()
        history.append(balanced.weights.mean(dim=1))
    return torch.stack(history)


@pytest.mark.parametrize("make", [lambda: Attention(64, 3), lambda: Mlp(3)], ids=["attention", "mlp"])
def test_the_published_balancers_collapse_on_the_easiest_teacher_within_500_steps(make):
    torch.manual_seed(0)
    weights = weights_over_steps(make(), num_steps=500)
    assert weights[-1].argmax() == 0
    assert weights[-1, 0] > 0.95


def test_a_score_moves_by_its_weight_times_its_distance_from_the_total():
    attention = Attention(1, 3, key_dim=1)
    torch.nn.init.constant_(attention.query.weight, 0.0)
    torch.nn.init.constant_(attention.query.bias, 1.0)  # the query is 1, so that the keys are the scores
    attention(LOSSES, torch.zeros(4, 1)).total.backward()
    expected = [(loss - 0.301) / 3 for loss in (0.300, 0.301, 0.302)]
    torch.testing.assert_close(attention.keys.grad.flatten(), torch.tensor(expected), rtol=1e-3, atol=1e-8)


def test_with_an_entropy_floor_attention_never_falls_below_it():
    torch.manual_seed(0)
    weights = weights_over_steps(AttentionEntropyFloor(64, 3, floor=0.8), num_steps=500)
    assert relative_entropy(weights).min() >= 0.8
    assert weights.max() < 0.66
    assert weights[-1, 0] > 0.6  # the incentive is still there; only the floor holds it


def test_a_floor_that_is_not_reached_changes_nothing():
    torch.manual_seed(0)
    floored = AttentionEntropyFloor(8, 3, floor=0.1)
    torch.nn.init.normal_(floored.attention.keys)
    embedding = torch.randn(4, 8)
    assert torch.equal(floored(LOSSES, embedding).weights, floored.attention(LOSSES, embedding).weights)


@pytest.mark.parametrize("num_teachers", range(1, 10))
@pytest.mark.parametrize("floor", [0.0, 0.5, 0.99, 1.0])
def test_any_floor_holds_against_a_one_sided_attention(floor, num_teachers):
    balancer = AttentionEntropyFloor(8, num_teachers, floor=floor)
    torch.nn.init.constant_(balancer.attention.query.bias, 50.0)
    torch.nn.init.constant_(balancer.attention.keys[0], 50.0)
    weights = balancer(torch.ones(num_teachers, 2), torch.zeros(2, 8)).weights
    assert (relative_entropy(weights.T) >= floor - 1e-6).all()


def test_the_floor_holds_for_every_image_and_not_for_their_mean_only():
    balancer = AttentionEntropyFloor(2, 2, floor=0.8)
    torch.nn.init.eye_(balancer.attention.query.weight[:2])
    balancer.attention.keys.data[:, :2] = 100 * torch.eye(2)
    weights = balancer(torch.ones(2, 2), 100 * torch.eye(2)).weights  # each image prefers another teacher
    assert weights.diagonal().min() > 0.7
    assert (relative_entropy(weights.T) >= 0.8).all()


def test_a_high_temperature_flattens_the_weights():
    torch.manual_seed(0)
    cold = AttentionEntropyFloor(8, 3, temperature=1.0, floor=0.0)
    torch.nn.init.normal_(cold.attention.keys, std=3.0)
    hot = AttentionEntropyFloor(8, 3, temperature=10.0, floor=0.0)
    hot.load_state_dict(cold.state_dict())
    embedding = torch.randn(4, 8)
    assert (
        relative_entropy(hot(LOSSES, embedding).weights.T) > relative_entropy(cold(LOSSES, embedding).weights.T)
    ).all()


def test_uncertainty_gives_loud_losses_small_weights():
    torch.manual_seed(0)
    balancer = Uncertainty(3)
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.05)
    losses = torch.tensor([[0.1], [1.0], [10.0]])
    for _ in range(500):
        optimizer.zero_grad()
        balancer(losses, torch.zeros(1, 1)).total.backward()
        optimizer.step()
    weights = balancer(losses, torch.zeros(1, 1)).weights
    torch.testing.assert_close(weights, torch.tensor([[5.0], [0.5], [0.05]]), rtol=1e-2, atol=0)  # 1 / (2 loss)


@pytest.mark.parametrize(
    ("setting", "message"), [({"temperature": 0}, "temperature must be"), ({"floor": 1.2}, "floor")]
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        AttentionEntropyFloor(8, 3, **setting)


def test_attention_says_which_channels_it_wants():
    with pytest.raises(ValueError, match=r"embedding must have 8 channels, got \(2, 4\)"):
        Attention(8, 3)(LOSSES, torch.zeros(2, 4))
