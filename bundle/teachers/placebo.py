"""A teacher that knows nothing: an encoder with random weights, to tell what distillation owes to the teachers."""

import torch

from bundle.teachers.base import Teacher
from bundle.teachers.medsam2 import small_medsam2


def load_placebo(name: str = "placebo", seed: int = 0) -> Teacher:
    """A teacher of the small MedSAM2's architecture, with the random weights that a training would start from.

    Its features are not noise: they depend on the frame, as random projections do. What a student gains from it, it
    would gain from having any target.

    Args:
        name: What the teacher is called.
        seed: Of the weights; the caller's random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = small_medsam2()
    return Teacher(name, encoder, f"random, seed {seed}: a placebo")
