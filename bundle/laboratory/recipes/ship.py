"""From a recipe to a shipped file: train, write half-precision weights, and judge the file that was written."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from bundle.laboratory.recipes.catalogue import SmallTeacher, find_small_teacher
from bundle.laboratory.recipes.frames import PhantomFrames, make_frames
from bundle.laboratory.recipes.training import train
from bundle.weights import file_sha256

logger = logging.getLogger(__name__)

NUM_TRAINING_PATIENTS = 120
NUM_HELD_OUT_PATIENTS = 24
FRAMES_PER_PATIENT = 10
FRAME_SIZE = 256


def train_small_teacher(
    name: str, output: Path, frames: PhantomFrames, num_held_out: int = NUM_HELD_OUT_PATIENTS, steps: int | None = None
) -> dict:
    """Train one small teacher, write its weights and describe the written file.

    Args:
        name: ``medsam2``, ``rad_dino`` or ``medclip``.
        output: The ``.safetensors`` file to write.
        frames: Phantom frames; the last patients are held out for the speciality numbers.
        num_held_out: How many patients those are.
        steps: Fewer steps than the shipped weights took, for a trial.

    Returns:
        The file's entry in ``teachers.json``: what it is, how it was made, its checksum and its speciality numbers.
    """
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
        "licence": "Apache-2.0",
        "source": f"python scripts/laboratory/train_teacher.py {name}",
        "speciality": small.speciality,
        "headline": small.headline,
        **provenance,
        "measured": judge(small, recipe, output, training, held_out),
    }


def write_weights(encoder: Any, path: Path, provenance: dict) -> None:
    """Write an encoder under its published names, in half precision, with its provenance in the file's header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: _halve(value) for key, value in encoder.published_state_dict().items()}
    save_file(state, path, metadata={key: json.dumps(value) for key, value in provenance.items()})


def judge(
    small: SmallTeacher, recipe: Any, path: Path, training: PhantomFrames, held_out: PhantomFrames
) -> dict[str, dict[str, float]]:
    """Speciality numbers of the weights in the file, read by the teacher's strict loader, and of an untrained twin."""
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
