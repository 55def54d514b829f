"""Frames that repeat the one before: a capture at twice the pulse rate."""

import numpy as np

SAMPLED_ROWS = 32  # and columns: at least as many are compared
MAX_DIFFERENCE = 0.05 / 255  # mean, of the full scale: noise of a pulse of its own is above it
REPEATED_SHARE = 0.2  # of 15 pulses/s captured at 30 frames/s it is 0.5
FEWEST_FRAMES = 10


class RepeatCounter:
    """Counts them as frames come by.

    Args:
        rows: Of a frame.
        columns: Of a frame.

    Attributes:
        step: Every ``step``-th row and column is looked at.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.step = max(1, min(rows, columns) // SAMPLED_ROWS)
        self._num_frames = self._repeats = 0
        self._last: np.ndarray | None = None

    def add(self, sample: np.ndarray) -> None:
        """Look at the next frames ``(n, h, w)``, as shown, of every ``step``-th row and column."""
        known = sample if self._last is None else np.concatenate([self._last, sample])
        difference = np.abs(np.diff(known, axis=0)).mean(axis=(1, 2))
        self._repeats += int((difference < MAX_DIFFERENCE).sum())
        self._num_frames += len(sample)
        self._last = np.array(sample[-1:])

    def warnings(self) -> tuple[str, ...]:
        """A warning where at least a fifth of ten frames or more repeat the one before."""
        if self._num_frames < FEWEST_FRAMES or self._repeats < REPEATED_SHARE * self._num_frames:
            return ()
        share = f"{self._repeats} of {self._num_frames} frames"
        return (f"{share} repeat the one before: the pulse rate was below the frame rate",)
