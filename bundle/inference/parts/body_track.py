"""Which of a structure's parts is the body: the way along the film that costs least, by dynamic programming.

Viterbi's algorithm (Forney, Proc. IEEE 1973; 61: 268-278); whoever takes a frame's answer decides how many later frames
have a say in it.
"""

from collections import deque

import numpy as np

# A part costs the logarithm of how many times smaller it is than the frame's largest, and a move from one frame to the
# next the square of its length, in sides of a square as large as the larger of the two parts, but no more than a jump.
JUMP = 4.0


class BodyTrack:
    """Takes the parts of one structure frame by frame, and says which of them is the body."""

    def __init__(self) -> None:
        self._ways: deque[np.ndarray | None] = deque()  # for each part of a frame, the best one of the frame before
        self._costs = np.zeros(1)  # of the best way to each part of the newest frame that has any
        self._areas, self._middles = np.zeros(0), np.zeros((0, 2))  # of that frame's parts

    def add(self, areas: np.ndarray, middles: np.ndarray) -> None:
        """The parts of the next frame, ``(K,)`` and ``(K, 2)``; K is 0 where the structure is absent."""
        if not len(areas):
            self._ways.append(None)
            return
        if len(self._areas):
            costs = self._costs[:, None] + self._moves(areas, middles)  # (parts before, parts now)
            ways = costs.argmin(axis=0)
            costs = costs[ways, np.arange(len(areas))]
        else:
            ways, costs = np.zeros(len(areas), int), np.zeros(len(areas))
        costs = costs + np.log(areas.max() / areas)
        self._ways.append(ways)
        self._costs, self._areas, self._middles = costs - costs.min(), areas, middles

    def take(self) -> int | None:
        """Decide the oldest frame, which is then forgotten: the number of its part; None where it has none."""
        part = int(self._costs.argmin())
        for ways in reversed(list(self._ways)[1:]):
            part = part if ways is None else int(ways[part])
        return None if self._ways.popleft() is None else part

    def _moves(self, areas: np.ndarray, middles: np.ndarray) -> np.ndarray:
        squares = ((self._middles[:, None] - middles) ** 2).sum(axis=2)
        return np.minimum(squares / np.maximum(self._areas[:, None], areas), JUMP)
