"""What follows an optimizer's steps, when several batches may make one: schedule, clipping, averaged weights."""

import math
from collections.abc import Mapping, Sized
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.engines import IterationEvents
from monai.optimizers import WarmupCosineSchedule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def ends_optimizer_step(engine: Any) -> bool:
    """Whether MONAI's trainer steps its optimizer in the present iteration; the last of an epoch always does."""
    position = engine.state.iteration % engine.state.epoch_length
    return position % engine.accumulation_steps == 0


class StepSchedule:
    """Step a learning rate scheduler with the optimizer.

    MONAI's ``LrScheduleHandler`` steps in every iteration, whether or not the optimizer does.
    """

    def __init__(self, lr_scheduler: LRScheduler) -> None:
        self.lr_scheduler = lr_scheduler

    def attach(self, engine: Engine) -> None:
        """Called by :class:`bundle.engines.safe_run.SafeRun` with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)

    def state_dict(self) -> dict[str, Any]:
        """Of the scheduler."""
        return self.lr_scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to it."""
        self.lr_scheduler.load_state_dict(state)

    def _step(self, engine: Engine) -> None:
        if ends_optimizer_step(engine):
            self.lr_scheduler.step()


def warmup_cosine(
    optimizer: Optimizer, dataloader: Sized, epochs: int, warmup: float = 0.1, accumulation_steps: int = 1
) -> StepSchedule:
    """A learning rate that rises from a hundredth, and then falls to zero along a cosine.

    Args:
        optimizer: Its groups' present learning rates are the highest that are used.
        dataloader: Of the training; its length gives the steps of an epoch.
        epochs: Of the training.
        warmup: Share of all steps in which the learning rate rises.
        accumulation_steps: Batches per optimizer step.
    """
    steps = epochs * math.ceil(len(dataloader) / accumulation_steps)
    rising = max(1, int(warmup * steps))
    return StepSchedule(WarmupCosineSchedule(optimizer, rising, steps, warmup_multiplier=0.01))


class GradientClipping:
    """Limit the norm of the trained network's gradients before each optimizer step."""

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Called with the trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Any) -> None:
        if not ends_optimizer_step(engine):
            return
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)


class WeightAverage:
    """average ← decay · average + (1 − decay) · weights, after every optimizer step; batch statistics too.

    Validated and saved in place of the weights.

    Args:
        network: The network that is trained.
        decay: In [0, 1); 0 keeps no average, and ``network`` is then the trained network itself.

    Raises:
        ValueError: If the decay is outside that range.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay must be at least 0, which is off, and below 1, got {decay}")
        self._handler = EMAHandler(network, momentum=1 - decay, handle_buffers="update") if decay else None
        self.network: nn.Module = network if self._handler is None else self._handler.ema_model

    def attach(self, engine: Engine) -> None:
        """Called by :class:`bundle.engines.safe_run.SafeRun` with the trainer."""
        if self._handler is not None:
            event = Events.ITERATION_COMPLETED(event_filter=lambda trainer, _: ends_optimizer_step(trainer))
            self._handler.attach(engine, event=event)

    def state_dict(self) -> dict[str, Any]:
        """The average; empty if there is none."""
        return {} if self._handler is None else self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to it."""
        if self._handler is not None:
            self.network.load_state_dict(state)
