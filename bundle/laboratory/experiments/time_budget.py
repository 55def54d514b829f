"""Train for a given time rather than a given number of epochs, so that networks of different cost can be compared."""

import math
import time
from collections.abc import Mapping

from ignite.engine import Engine, Events
from torch.optim import Optimizer


class TimeBudget:
    """Warm the learning rate up and let it fall along a cosine over the *time* that is given, then stop.

    Replaces the step-based schedule: a faster network takes more steps in the same time, at the same learning rates. A
    resumed run has what was left of its time at the checkpoint.

    Args:
        optimizer: Its groups' present learning rates are the highest that are used.
        seconds: Wall-clock time from the first step on; validation during training counts.
        warmup: Share of the time in which the learning rate rises.
    """

    def __init__(self, optimizer: Optimizer, seconds: float, warmup: float = 0.1) -> None:
        if seconds <= 0:
            raise ValueError(f"the time budget must be positive, got {seconds} seconds")
        self.optimizer, self.seconds, self.warmup = optimizer, float(seconds), warmup
        self._highest = [group["lr"] for group in optimizer.param_groups]
        self._start: float | None = None

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the engine."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.EPOCH_STARTED, self._stop)
        engine.add_event_handler(Events.ITERATION_STARTED, self._schedule)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop)

    def factor(self, progress: float) -> float:
        """Share of the highest learning rate after a share ``progress`` of the time."""
        if progress < self.warmup:
            return max(0.01, progress / self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - self.warmup) / (1 - self.warmup))))

    def state_dict(self) -> dict[str, float]:
        """Seconds that are spent."""
        return {"spent": self._spent()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from there."""
        self._start = time.monotonic() - state["spent"]

    def _progress(self) -> float:
        return self._spent() / self.seconds

    def _spent(self) -> float:
        return 0.0 if self._start is None else time.monotonic() - self._start

    def _begin(self, _engine: Engine) -> None:
        if self._start is None:
            self._start = time.monotonic()

    def _schedule(self, _engine: Engine) -> None:
        factor = self.factor(self._progress())
        for group, highest in zip(self.optimizer.param_groups, self._highest, strict=True):
            group["lr"] = highest * factor

    def _stop(self, engine: Engine) -> None:
        if self._progress() >= 1:
            engine.terminate()
