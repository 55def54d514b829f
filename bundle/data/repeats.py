"""Frames that repeat the one before: a capture at twice the pulse rate."""

import numpy as np

from bundle.data.clip import Clip

SAMPLED_ROWS = 32  # and columns: at least as many are compared
MAX_DIFFERENCE = 0.05 / 255  # mean, of the full scale: noise of a pulse of its own is above it
REPEATED_SHARE = 0.2  # of 15 pulses/s captured at 30 frames/s it is 0.5


def repeat_warnings(clip: Clip) -> tuple[str, ...]:
    """A warning where at least a fifth of ten frames or more repeat the one before."""
    if clip.num_frames < 10:
        return ()
    step = max(1, min(clip.shape.rows, clip.shape.columns) // SAMPLED_ROWS)
    difference = np.abs(np.diff(clip.sample(step), axis=0)).mean(axis=(1, 2))
    repeats = int((difference < MAX_DIFFERENCE).sum())
    if repeats < REPEATED_SHARE * clip.num_frames:
        return ()
    return (f"{repeats} of {clip.num_frames} frames repeat the one before: the pulse rate was below the frame rate",)
