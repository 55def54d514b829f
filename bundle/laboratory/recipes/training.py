"""The loop that the three recipes share: AdamW, warm-up, cosine decay, gradient clipping."""

import logging
import math
import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import trange

from bundle.laboratory.recipes.frames import FrameBatch, PhantomFrames

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one recipe trains; written into the weights' header."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 50
    weight_decay: float = 0.05
    max_gradient_norm: float = 3.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of ``step``: linear warm-up, then a cosine to 1% of the peak."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Recipe(Protocol):
    """What a recipe offers the loop: a loss, a hook after each update, and a measure of its speciality."""

    encoder: nn.Module

    def loss(self, batch: FrameBatch, generator: torch.Generator) -> Tensor:
        """Scalar loss of one batch; every random draw comes from ``generator``."""

    def after_step(self, progress: float) -> None:
        """Update whatever is not learned by gradient; ``progress`` runs from 0 to 1."""

    def evaluate(self, train: PhantomFrames, held_out: PhantomFrames) -> dict[str, float]:
        """Speciality numbers on patients that training never saw."""


def train(recipe: Recipe, frames: PhantomFrames, schedule: Schedule) -> list[float]:
    """Train ``recipe`` in place.

    Args:
        recipe: A module that is also a `Recipe`.
        frames: Training frames; batches are drawn with replacement.
        schedule: Steps, rates and seed.

    Returns:
        The loss of every step.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    if not isinstance(recipe, nn.Module):
        raise TypeError(f"recipe must be an nn.Module with loss, after_step and evaluate, got {type(recipe).__name__}")
    generator = torch.Generator().manual_seed(schedule.seed)
    torch.manual_seed(schedule.seed)  # dropout and stochastic depth
    optimizer = torch.optim.AdamW(_parameter_groups(recipe, schedule.weight_decay), lr=schedule.learning_rate)
    losses, started = [], time.monotonic()
    recipe.train()
    for step in (bar := trange(schedule.steps, desc=type(recipe).__name__, mininterval=5)):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        batch = frames.draw(schedule.batch_size, generator)
        with torch.autocast("cpu", torch.bfloat16):  # losses are summed in float32
            loss = recipe.loss(batch, generator)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"loss of step {step} is {loss.item()}: lower learning_rate ({schedule.learning_rate})"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(recipe.parameters(), schedule.max_gradient_norm)
        optimizer.step()
        recipe.after_step((step + 1) / schedule.steps)
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            mean = sum(losses[-50:]) / 50
            bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
            logger.info("step %d loss %.4f at %.0f s", step + 1, mean, time.monotonic() - started)
    recipe.eval()
    return losses


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Weight matrices decay; biases, norms and single vectors do not."""
    learned = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
