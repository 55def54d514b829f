"""Held-out synthetic frames to look at: patients of no training, of both domains of the phantom."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bundle.phantom.study import Domain, generate_study

FIRST_SEED = 34_000_000
"""Patients of no data set, no teacher's training and no benchmark; patient ``i`` has this plus ``i``."""

DOMAINS: tuple[Domain, ...] = ("standard", "hard")


@dataclass(frozen=True)
class HeldOutFrames:
    """Frames of several patients, in order.

    Attributes:
        frames: ``(N, 1, H, W)`` in [0, 1].
        masks: True masks ``bool (N, S, H, W)``, of synthetic frames in the order of ``STRUCTURES``.
        patients: Seed, or number, of each frame's patient ``(N,)``.
    """

    frames: Tensor
    masks: Tensor
    patients: np.ndarray


def held_out_frames(domain: Domain, num_patients: int, num_frames: int, size: int) -> HeldOutFrames:
    """Draw frames, spread over each patient's whole swallow.

    Args:
        domain: Of all patients; the other domain has the same patients, of which it draws a part anew.
        num_patients: One swallow each.
        num_frames: Of each patient.
        size: Rows and columns.

    Raises:
        ValueError: If there is no patient.
    """
    if num_patients < 1:
        raise ValueError(f"expected one patient or more, got num_patients={num_patients}")
    studies = [generate_study(FIRST_SEED + patient, size, num_frames, domain=domain) for patient in range(num_patients)]
    return HeldOutFrames(
        frames=torch.from_numpy(np.concatenate([study.frames for study in studies])),
        masks=torch.from_numpy(np.concatenate([study.masks for study in studies])).bool(),
        patients=np.repeat([study.seed for study in studies], num_frames),
    )
