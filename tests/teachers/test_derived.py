"""A teacher on a coarser grid gives the averages of its own features; a placebo knows nothing."""

from functools import partial

import pytest
import torch
from torch import nn

from bundle.teachers.backbone import TimmBackbone
from bundle.teachers.base import Teacher
from bundle.teachers.derived import load_placebo, pool_teacher
from bundle.teachers.medsam2 import small_medsam2


class Encoder(nn.Module):
    """A 4 x 4 grid whose features are the means of 2 x 2 pixels."""

    input_size, grid_size, embed_dim, mean, std = 8, 4, 3, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def forward(self, images):
        return nn.functional.avg_pool2d(images, 2)


@pytest.fixture
def teacher() -> Teacher:
    return Teacher("toy", Encoder(), "no weights")


def test_features_are_averaged_over_the_coarser_cells(teacher):
    frames = torch.rand(2, 1, 8, 8)
    pooled = pool_teacher(teacher, 2)
    expected = frames.reshape(2, 1, 2, 4, 2, 4).mean(dim=(3, 5)).expand(-1, 3, -1, -1)
    torch.testing.assert_close(pooled(frames), expected)
    assert (pooled.grid_size, pooled.embed_dim, pooled.input_size) == (2, 3, 8)


def test_coverage_is_on_the_coarser_grid_and_the_teacher_stays_frozen(teacher):
    pooled = pool_teacher(teacher, 2)
    assert pooled.valid_grid(torch.ones(1, 1, 8, 8)).shape == (1, 1, 2, 2)
    assert pooled.is_frozen
    assert pooled.name == "toy"
    assert pooled.weights == "no weights, averaged to 2²"


@pytest.mark.parametrize("grid_size", [0, 4, 5])
def test_a_grid_that_is_not_coarser_is_refused(teacher, grid_size):
    with pytest.raises(ValueError, match=f"grid_size must be below the encoder's own 4, got {grid_size}"):
        pool_teacher(teacher, grid_size)


def test_a_placebos_weights_are_random_and_always_the_same():
    before = torch.random.get_rng_state()
    one, same, other = (load_placebo(seed=seed).encoder.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_placebo_says_that_it_is_one_and_has_a_real_teachers_shape():
    teacher = load_placebo()
    assert teacher.weights == "random, seed 0: a placebo"
    assert teacher(torch.rand(2, 1, 64, 64)).shape == (2, 256, 16, 16)
    assert teacher.is_frozen
    assert isinstance(teacher.encoder, type(small_medsam2()))


def test_a_placebo_takes_the_architecture_of_the_teacher_that_it_stands_for():
    encoder = partial(TimmBackbone, "resnet10t", 64, level=2)
    one, same = (load_placebo("resnet_random", encoder, seed=3) for _ in range(2))
    assert (one.name, one.embed_dim, one.grid_size, one.weights) == (
        "resnet_random",
        128,
        8,
        "random, seed 3: a placebo",
    )
    torch.testing.assert_close(one.state_dict(), same.state_dict())
