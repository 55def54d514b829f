"""What every balancer promises, and the values of the simple ones."""

import copy

import numpy as np
import pytest
import torch

from bundle.losses.balance import (
    Attention,
    AttentionEntropyFloor,
    Equal,
    HighestLossFirst,
    Mlp,
    Static,
    TeacherDropping,
    Uncertainty,
    relative_entropy,
)

BALANCERS = {
    "attention": Attention(8, 3),
    "attention_entropy_floor": AttentionEntropyFloor(8, 3),
    "equal": Equal(),
    "highest_loss_first": HighestLossFirst(),
    "mlp": Mlp(3),
    "static": Static([0.5, 0.3, 0.2]),
    "teacher_dropping": TeacherDropping(),
    "uncertainty": Uncertainty(3),
}
LEARNED = ["attention", "attention_entropy_floor", "mlp", "uncertainty"]
SUM_TO_ONE = [name for name in BALANCERS if name != "uncertainty"]
LOSSES = torch.tensor([0.2, 0.9, 0.4])[:, None].expand(3, 4)
"""Of four equal images."""


@pytest.fixture(params=sorted(BALANCERS))
def balancer(request):
    torch.manual_seed(0)
    return copy.deepcopy(BALANCERS[request.param])


@pytest.fixture
def embedding():
    return torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(1))


def test_total_is_a_scalar_and_every_image_has_one_weight_per_teacher(balancer, embedding):
    balanced = balancer(LOSSES, embedding)
    assert balanced.total.shape == ()
    assert balanced.weights.shape == (3, 4)
    assert (balanced.weights >= 0).all()
    assert not balanced.weights.requires_grad


def test_the_gradient_to_an_images_loss_is_its_own_weight_in_the_mean_over_images(balancer, embedding):
    for parameter in balancer.parameters():
        torch.nn.init.normal_(parameter)  # away from the start, where learned weights are equal
    losses = torch.rand(3, 4).requires_grad_()
    balanced = balancer(losses, embedding)
    balanced.total.backward()
    torch.testing.assert_close(losses.grad, balanced.weights / 4)


@pytest.mark.parametrize("name", [name for name in BALANCERS if name != "teacher_dropping"])  # which draws
def test_an_images_weights_do_not_depend_on_the_others_in_its_batch(name, embedding):
    balancer = copy.deepcopy(BALANCERS[name])
    torch.manual_seed(0)
    for parameter in balancer.parameters():
        torch.nn.init.normal_(parameter)
    losses = torch.rand(3, 4)
    alone = [balancer(losses[:, i : i + 1], embedding[i : i + 1]) for i in range(4)]
    together = balancer(losses, embedding)
    torch.testing.assert_close(together.weights, torch.cat([one.weights for one in alone], dim=1))
    torch.testing.assert_close(together.total, torch.stack([one.total for one in alone]).mean())


@pytest.mark.parametrize("name", ["attention", "attention_entropy_floor", "mlp"])
def test_images_that_differ_are_weighed_differently(name, embedding):
    balancer = copy.deepcopy(BALANCERS[name])
    for parameter in balancer.parameters():
        torch.nn.init.normal_(parameter)
    assert balancer(torch.rand(3, 4), embedding).weights.std(dim=1).max() > 1e-3


@pytest.mark.parametrize("name", SUM_TO_ONE)
def test_weights_sum_to_one(name, embedding):
    torch.testing.assert_close(BALANCERS[name](LOSSES, embedding).weights.sum(dim=0), torch.ones(4))


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_to_the_balancer_are_finite_even_for_huge_losses(name, embedding):
    balancer = copy.deepcopy(BALANCERS[name])
    for losses in (LOSSES, torch.zeros(3, 4), torch.tensor([1e6, 1e-6, 1.0])[:, None].expand(3, 4)):
        balancer.zero_grad()
        balancer(losses, embedding).total.backward()
        assert all(torch.isfinite(p.grad).all() for p in balancer.parameters() if p.grad is not None)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in balancer.parameters())


def test_the_embedding_is_read_and_not_trained(balancer, embedding):
    embedding.requires_grad_()
    balancer(LOSSES.clone().requires_grad_(), embedding).total.backward()
    assert embedding.grad is None


@pytest.mark.parametrize("name", [*LEARNED, "static"])
def test_another_number_of_teachers_is_refused(name, embedding):
    with pytest.raises(ValueError, match=r"made for 3 teachers, \(K, B\), got losses \(2, 4\)"):
        BALANCERS[name](LOSSES[:2], embedding)


@pytest.mark.parametrize("name", ["attention", "attention_entropy_floor", "mlp"])
def test_learned_weights_start_equal(name, embedding):
    weights = copy.deepcopy(BALANCERS[name])(LOSSES, embedding).weights
    torch.testing.assert_close(weights, torch.full((3, 4), 1 / 3))


def test_an_embedding_of_other_images_is_refused(embedding):
    with pytest.raises(ValueError, match=r"must be \(K, B\), got \(3, 1\) and \(3, 4\)"):
        BALANCERS["attention"](LOSSES[:, :1], embedding)


def test_equal_is_the_mean(embedding):
    assert Equal()(LOSSES, embedding).total.item() == pytest.approx(0.5)


def test_static_uses_the_weights_as_given(embedding):
    assert Static([2.0, 0.0, 1.0])(LOSSES, embedding).total.item() == pytest.approx(2 * 0.2 + 0.4)


def test_static_is_told_by_its_state_dictionary():
    assert "weights" in Static([1.0, 2.0]).state_dict()


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [float("nan")]])
def test_useless_static_weights_are_refused(weights):
    with pytest.raises(ValueError, match="finite, not negative and not all zero"):
        Static(weights)


def test_highest_loss_first_serves_the_worst_teacher_only(embedding):
    balanced = HighestLossFirst()(LOSSES, embedding)
    assert balanced.weights.T.tolist() == [[0.0, 1.0, 0.0]] * 4
    assert balanced.total.item() == pytest.approx(0.9)


def test_relative_entropy_is_one_for_equal_weights_and_zero_for_one_teacher():
    assert relative_entropy(torch.full((4,), 0.25)).item() == pytest.approx(1.0)
    assert relative_entropy(torch.tensor([0.0, 1.0])).item() == 0.0
    assert relative_entropy(torch.tensor([1.0])).item() == 1.0
    half = relative_entropy(torch.tensor([0.5, 0.5, 0.0, 0.0])).item()  # 1 bit of 2
    assert half == pytest.approx(0.5)


def test_the_mlp_is_a_softmax_over_two_layers(embedding):
    balancer = Mlp(3, hidden_dim=4)
    torch.nn.init.normal_(balancer.score.weight)
    w1, b1, w2, b2 = (p.detach().numpy() for p in balancer.parameters())
    scores = w2 @ np.maximum(w1 @ LOSSES[:, 0].numpy() + b1, 0) + b2
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(balancer(LOSSES, embedding).weights[:, 0].numpy(), expected, rtol=1e-5)


def drawn_weights(balancer, num_images=2000):
    """Weights (num_images, K) of one batch of images with equal losses."""
    torch.manual_seed(0)
    return balancer(LOSSES[:, :1].expand(3, num_images), torch.zeros(num_images, 1)).weights.T


def test_the_teacher_with_the_highest_loss_is_never_dropped():
    assert (drawn_weights(TeacherDropping(0.9))[:, 1] > 0).all()


def test_the_worst_teacher_is_that_of_the_image():
    losses = torch.tensor([[0.2, 0.9], [0.9, 0.2]])
    assert TeacherDropping(1.0)(losses, torch.zeros(2, 1)).weights.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_the_others_are_dropped_about_as_often_as_asked():
    shares = (drawn_weights(TeacherDropping(0.3)) == 0).float().mean(dim=0)
    torch.testing.assert_close(shares, torch.tensor([0.3, 0.0, 0.3]), atol=0.04, rtol=0)


def test_who_stays_shares_the_weight_equally():
    weights = drawn_weights(TeacherDropping(0.5), num_images=100)
    assert {tuple(round(w, 4) for w in row) for row in weights.tolist()} == {
        (0.0, 1.0, 0.0),
        (0.5, 0.5, 0.0),
        (0.0, 0.5, 0.5),
        (0.3333, 0.3333, 0.3333),
    }


def test_the_same_seed_draws_the_same_teachers():
    assert torch.equal(drawn_weights(TeacherDropping(), 50), drawn_weights(TeacherDropping(), 50))


def test_nobody_is_dropped_in_evaluation():
    weights = drawn_weights(TeacherDropping(1.0).eval(), num_images=5)
    torch.testing.assert_close(weights, torch.full((5, 3), 1 / 3))


def test_an_impossible_probability_is_refused():
    with pytest.raises(ValueError, match=r"drop_probability must be in \[0, 1\], got 1.5"):
        TeacherDropping(1.5)
