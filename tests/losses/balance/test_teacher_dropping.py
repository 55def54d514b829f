"""Teacher dropping: the worst teacher always stays, the others by chance."""

import pytest
import torch

from bundle.losses.balance import TeacherDropping

LOSSES = torch.tensor([0.2, 0.9, 0.4])


def drawn_weights(balancer, num_images=2000):
    """Weights (num_images, K) of one batch of images with equal losses."""
    torch.manual_seed(0)
    return balancer(LOSSES[:, None].expand(3, num_images), torch.zeros(num_images, 1)).weights.T


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
