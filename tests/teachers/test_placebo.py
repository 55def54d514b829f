"""The teacher that knows nothing."""

from functools import partial

import torch

from bundle.teachers.backbone import TimmBackbone
from bundle.teachers.medsam2 import small_medsam2
from bundle.teachers.placebo import load_placebo


def test_its_weights_are_random_and_always_the_same():
    before = torch.random.get_rng_state()
    one, same, other = (load_placebo(seed=seed).encoder.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_it_says_that_it_is_one_and_has_a_real_teachers_shape():
    teacher = load_placebo()
    assert teacher.weights == "random, seed 0: a placebo"
    assert teacher(torch.rand(2, 1, 64, 64)).shape == (2, 256, 16, 16)
    assert teacher.is_frozen
    assert isinstance(teacher.encoder, type(small_medsam2()))


def test_it_takes_the_architecture_of_the_teacher_that_it_stands_for():
    encoder = partial(TimmBackbone, "resnet10t", 64, level=2)
    one, same = (load_placebo("resnet_random", encoder, seed=3) for _ in range(2))
    assert (one.name, one.embed_dim, one.grid_size, one.weights) == (
        "resnet_random",
        128,
        8,
        "random, seed 3: a placebo",
    )
    torch.testing.assert_close(one.state_dict(), same.state_dict())
