"""Frames that repeat the one before: a capture at twice the pulse rate."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

SPARSE_STEP = 8
MAX_DIFFERENCE = 0.05 / 255  # mean, of the full scale: noise of a pulse of its own is above it
REPEATED_SHARE = 0.2  # of 15 pulses/s captured at 30 frames/s it is 0.5


def repeat_warnings(frames: Sequence[np.ndarray]) -> list[str]:  # (H, W), float32 in [0, 1]
    """A warning where at least a fifth of ten frames or more repeat the one before."""
    if len(frames) < 10:
        return []
    sparse = [frame[::SPARSE_STEP, ::SPARSE_STEP] for frame in frames]
    repeats = sum(bool(np.abs(after - before).mean() < MAX_DIFFERENCE) for before, after in pairwise(sparse))
    if repeats < REPEATED_SHARE * len(frames):
        return []
    return [f"{repeats} of {len(frames)} frames repeat the one before: the pulse rate was below the frame rate"]
