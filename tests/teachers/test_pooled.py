"""A teacher on a coarser grid gives the averages of its own features."""

import pytest
import torch
from torch import nn

from bundle.teachers.base import Teacher
from bundle.teachers.pooled import pool_teacher


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
