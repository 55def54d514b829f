"""Notice when a balancer has given everything to one teacher (the failure that arXiv 2504.02351 names)."""

import warnings
from collections.abc import Mapping

THRESHOLD = 0.95


class CollapseMonitor:
    """Warn once when one teacher's share of the weights stays above 0.95 for many steps.

    Args:
        patience: How many steps in a row.
    """

    def __init__(self, patience: int = 100) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 step, got {patience}")
        self.patience = patience
        self.num_steps = 0
        self.teacher: str | None = None
        self.has_warned = False

    def update(self, weights: Mapping[str, float]) -> None:
        """Look at the weights of one step; a single teacher cannot collapse."""
        top = max(weights, key=lambda name: weights[name])
        collapsed = top if len(weights) > 1 and weights[top] > THRESHOLD * sum(weights.values()) else None
        self.num_steps = self.num_steps + 1 if collapsed == self.teacher else 1
        self.teacher = collapsed
        if collapsed is not None and self.num_steps >= self.patience and not self.has_warned:
            self.has_warned = True
            warnings.warn(
                f"the balancer has collapsed: teacher {collapsed!r} has held over {THRESHOLD:.0%} of the weight for"
                f" {self.num_steps} steps and the others are no longer learned. Use AttentionEntropyFloor, Equal or"
                " TeacherDropping instead",
                stacklevel=2,
            )
