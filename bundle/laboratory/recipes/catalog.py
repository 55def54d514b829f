"""The small teachers: how each is built, trained, measured and read back."""

import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import trange

from bundle.laboratory.recipes.frames import FrameBatch, PhantomFrames, make_frames
from bundle.laboratory.recipes.image_text import ImageTextContrast
from bundle.laboratory.recipes.promptable import PromptableSegmentation
from bundle.laboratory.recipes.self_distillation import SelfDistillation
from bundle.teachers.base import Teacher
from bundle.teachers.medclip import load_medclip, small_medclip
from bundle.teachers.medsam2 import load_medsam2, small_medsam2
from bundle.teachers.rad_dino import load_rad_dino, small_rad_dino
from bundle.weights import file_sha256

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
    """What a recipe offers the loop: a loss, a hook after each update, and a measure of its specialty."""

    encoder: nn.Module

    def loss(self, batch: FrameBatch, generator: torch.Generator) -> Tensor:
        """Scalar loss of one batch; every random draw comes from ``generator``."""

    def after_step(self, progress: float) -> None:
        """Update whatever is not learned by gradient; ``progress`` runs from 0 to 1."""

    def evaluate(self, train: PhantomFrames, held_out: PhantomFrames) -> dict[str, float]:
        """Specialty numbers on patients that training never saw."""


def train(recipe: Recipe, frames: PhantomFrames, schedule: Schedule) -> list[float]:
    """Train ``recipe``, a module, in place on frames drawn with replacement; the loss of every step.

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


@dataclass(frozen=True)
class SmallTeacher:
    """How one small teacher is built, trained and read back."""

    specialty: str  # What it is trained to be good at, in words
    build: Callable[[], Any]  # Makes the encoder with random weights
    load: Callable[..., Teacher]  # Makes the frozen teacher from a file and an encoder
    recipe: Callable[[Any], Any]  # Wraps the encoder in what trains it
    schedule: Schedule  # Steps, rates and seed of the shipped weights
    headline: str  # The specialty number by which it is judged

    def start(self) -> Any:
        """The untrained `Recipe`, a module; the same weights at each call."""
        torch.manual_seed(self.schedule.seed)
        return self.recipe(self.build())


SMALL_TEACHERS: dict[str, SmallTeacher] = {
    "medsam2": SmallTeacher(
        specialty="promptable segmentation",
        build=small_medsam2,
        load=load_medsam2,
        recipe=PromptableSegmentation,
        schedule=Schedule(steps=1500, batch_size=8, learning_rate=6e-4, seed=1),
        headline="box_prompt_dice",
    ),
    "rad_dino": SmallTeacher(
        specialty="localization without labels",
        build=small_rad_dino,
        load=load_rad_dino,
        recipe=SelfDistillation,
        schedule=Schedule(steps=700, batch_size=16, learning_rate=1e-3, seed=2),
        headline="patch_probe_average_precision",
    ),
    "medclip": SmallTeacher(
        specialty="naming findings",
        build=small_medclip,
        load=load_medclip,
        recipe=ImageTextContrast,
        schedule=Schedule(steps=900, batch_size=16, learning_rate=4e-4, seed=3),
        headline="zero_shot_balanced_accuracy",
    ),
}


def find_small_teacher(name: str) -> SmallTeacher:
    """Look a small teacher up by name."""
    if name not in SMALL_TEACHERS:
        raise ValueError(f"small teacher must be one of {', '.join(SMALL_TEACHERS)}, got {name!r}")
    return SMALL_TEACHERS[name]


NUM_TRAINING_PATIENTS = 120
NUM_HELD_OUT_PATIENTS = 24
FRAMES_PER_PATIENT = 10
FRAME_SIZE = 256


def train_small_teacher(
    name: str, output: Path, frames: PhantomFrames, num_held_out: int = NUM_HELD_OUT_PATIENTS, steps: int | None = None
) -> dict:
    """Train one small teacher, write its weights, and return the file's entry in ``teachers.json``."""
    small = find_small_teacher(name)
    schedule = dataclasses.replace(small.schedule, steps=steps) if steps else small.schedule
    training, held_out = frames.split(num_held_out)
    recipe = small.start()
    losses = train(recipe, training, schedule)
    provenance = {
        "synthetic": "trained on generated phantom frames only; no patient data",
        "recipe": f"{type(recipe).__module__}.{type(recipe).__qualname__}",
        "schedule": dataclasses.asdict(schedule),
        "frames": {**describe_frames(training), "held_out_patients": num_held_out},
        "last_loss": round(sum(losses[-50:]) / len(losses[-50:]), 4),
    }
    write_weights(recipe.encoder, output, provenance)
    return {
        "file": output.name,
        "sha256": file_sha256(output),
        "bytes": output.stat().st_size,
        "license": "Apache-2.0",
        "source": f"python scripts/laboratory/train_teacher.py {name}",
        "specialty": small.specialty,
        "headline": small.headline,
        **provenance,
        "measured": measure_twins(small, recipe, output, training, held_out),
    }


def write_weights(encoder: Any, path: Path, provenance: dict) -> None:
    """Write an encoder under its published names, in half precision, with its provenance in the file's header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: _halve(value) for key, value in encoder.published_state_dict().items()}
    save_file(state, path, metadata={key: json.dumps(value) for key, value in provenance.items()})


def measure_twins(
    small: SmallTeacher, recipe: Any, path: Path, training: PhantomFrames, held_out: PhantomFrames
) -> dict[str, dict[str, float]]:
    """Specialty numbers of the weights in the file, read by the teacher's strict loader, and of an untrained twin."""
    teacher = small.load(path, small.build())
    recipe.encoder.load_state_dict(teacher.encoder.state_dict())
    twins = {"trained": recipe, "untrained": small.start()}
    return {
        name: {key: round(value, 4) for key, value in twin.eval().evaluate(training, held_out).items()}
        for name, twin in twins.items()
    }


def find_frames(cache: Path | None) -> PhantomFrames:
    """The frames that the shipped weights were trained on, made once and kept in ``cache`` if one is given."""
    if cache is not None and cache.is_file():
        return PhantomFrames.load(cache)
    frames = make_frames(NUM_TRAINING_PATIENTS + NUM_HELD_OUT_PATIENTS, FRAMES_PER_PATIENT, FRAME_SIZE)
    if cache is not None:
        frames.save(cache)
    return frames


def describe_frames(frames: PhantomFrames) -> dict:
    """Which frames these are; the hash changes when the phantom does."""
    digest = hashlib.sha256(frames.frames.tobytes() + frames.masks.tobytes()).hexdigest()
    return {
        "phantom": "bundle.phantom",
        "patient_seeds": [int(frames.patients.min()), int(frames.patients.max())],
        "frames": len(frames),
        "size": frames.frames.shape[-1],
        "sha256": digest,
    }


def _halve(value: Tensor) -> Tensor:
    value = value.detach().contiguous()
    return value.half() if value.is_floating_point() else value
