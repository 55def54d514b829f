"""A teacher that knows nothing: an encoder with random weights, to tell what distillation owes to the teachers."""

from collections.abc import Callable

import torch
from torch import nn

from bundle.teachers.base import Teacher
from bundle.teachers.medsam2 import small_medsam2


def load_placebo(name: str = "placebo", encoder: Callable[[], nn.Module] = small_medsam2, seed: int = 0) -> Teacher:
    """A teacher with the random weights that a training would start from.

    Its features are not noise: they depend on the frame, as random projections do. What a student gains from it, it
    would gain from having any target.

    Args:
        name: What the teacher is called.
        encoder: Makes the encoder; the small MedSAM2's by default. A fair control has the architecture, width, layer
            and input size of the teacher that it stands for.
        seed: Of the weights; the caller's random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Teacher(name, encoder(), f"random, seed {seed}: a placebo")
