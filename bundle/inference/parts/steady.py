"""Outlines of slow structures that do not flicker: of a pixel in three frames in a row, what two of them say."""

from collections.abc import Sequence

import numpy as np

from bundle.structures import SLOW


class SteadyMasks:
    """Takes a film's masks frame by frame and gives them back one frame later, those of slow structures steadied.

    No structure appears in a frame, nor vanishes from one, by what its neighbors show. A film's first and last frame
    are as they come.
    """

    def __init__(self, structures: Sequence[str]) -> None:
        self._slow = [number for number, name in enumerate(structures) if name in SLOW]
        self._newest: list[np.ndarray] = []  # the newest frame, all structures; empty before the first
        self._before: np.ndarray = np.zeros((0, 0, 0), bool)  # slow structures of the frame before it
        self._now: np.ndarray = self._before  # and of it

    def add(self, masks: np.ndarray) -> list[np.ndarray]:
        """Take the next frame ``(S, H, W)`` bool, which may not change until it comes back; give the one before it."""
        after = masks[self._slow]  # a copy
        ready = [self._steadied(frame, after) for frame in self._newest]
        self._before, self._now = (self._now if self._newest else after), after
        self._newest = [masks]
        return ready

    def finish(self) -> list[np.ndarray]:
        """The last frame, if there is one."""
        return self._newest

    def _steadied(self, frame: np.ndarray, after: np.ndarray) -> np.ndarray:
        masks, before, now = frame.copy(), self._before, self._now
        for number, steady, mask in zip(self._slow, (before & after) | (now & (before | after)), now, strict=True):
            if mask.any() and steady.any():
                masks[number] = steady
        return masks
