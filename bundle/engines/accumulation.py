"""Which of a trainer's iterations end an optimizer step, when several batches make one."""

from typing import Any

from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LRScheduler


def ends_optimizer_step(engine: Any) -> bool:
    """Whether MONAI's trainer steps its optimizer in the present iteration; the last of an epoch always does."""
    position = engine.state.iteration % engine.state.epoch_length
    return position % engine.accumulation_steps == 0


class StepSchedule:
    """Step a learning rate scheduler with the optimizer.

    MONAI's ``LrScheduleHandler`` steps in every iteration, whether or not the optimizer does.

    Args:
        lr_scheduler: The scheduler.
    """

    def __init__(self, lr_scheduler: LRScheduler) -> None:
        self.lr_scheduler = lr_scheduler

    def attach(self, engine: Engine) -> None:
        """Called by MONAI with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)

    def _step(self, engine: Engine) -> None:
        if ends_optimizer_step(engine):
            self.lr_scheduler.step()
