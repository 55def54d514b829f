"""The three small teachers: how each is built, trained and read back. The schedules are the shipped files'."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bundle.laboratory.recipes.image_text import ImageTextContrast
from bundle.laboratory.recipes.promptable import PromptableSegmentation
from bundle.laboratory.recipes.self_distillation import SelfDistillation
from bundle.laboratory.recipes.training import Schedule
from bundle.teachers.base import Teacher
from bundle.teachers.medclip import load_medclip, small_medclip
from bundle.teachers.medsam2 import load_medsam2, small_medsam2
from bundle.teachers.rad_dino import load_rad_dino, small_rad_dino


@dataclass(frozen=True)
class SmallTeacher:
    """How one small teacher is built, trained and read back.

    Attributes:
        speciality: What it is trained to be good at, in words.
        build: Makes the encoder with random weights.
        load: Makes the frozen teacher from a file and an encoder.
        recipe: Wraps the encoder in what trains it.
        schedule: Steps, rates and seed of the shipped weights.
        headline: The speciality number by which it is judged.
    """

    speciality: str
    build: Callable[[], Any]
    load: Callable[..., Teacher]
    recipe: Callable[[Any], Any]
    schedule: Schedule
    headline: str

    def start(self) -> Any:
        """The untrained `Recipe`, a module; the same weights at each call."""
        torch.manual_seed(self.schedule.seed)
        return self.recipe(self.build())


SMALL_TEACHERS: dict[str, SmallTeacher] = {
    "medsam2": SmallTeacher(
        speciality="promptable segmentation",
        build=small_medsam2,
        load=load_medsam2,
        recipe=PromptableSegmentation,
        schedule=Schedule(steps=1500, batch_size=8, learning_rate=6e-4, seed=1),
        headline="box_prompt_dice",
    ),
    "rad_dino": SmallTeacher(
        speciality="localization without labels",
        build=small_rad_dino,
        load=load_rad_dino,
        recipe=SelfDistillation,
        schedule=Schedule(steps=700, batch_size=16, learning_rate=1e-3, seed=2),
        headline="patch_probe_average_precision",
    ),
    "medclip": SmallTeacher(
        speciality="naming findings",
        build=small_medclip,
        load=load_medclip,
        recipe=ImageTextContrast,
        schedule=Schedule(steps=900, batch_size=16, learning_rate=4e-4, seed=3),
        headline="zero_shot_balanced_accuracy",
    ),
}


def find_small_teacher(name: str) -> SmallTeacher:
    """Look a small teacher up by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in SMALL_TEACHERS:
        raise ValueError(f"small teacher must be one of {', '.join(SMALL_TEACHERS)}, got {name!r}")
    return SMALL_TEACHERS[name]
