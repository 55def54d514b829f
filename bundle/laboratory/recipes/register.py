"""The register ``teachers.json`` beside the shipped weights: what each file is, and how the teachers compare."""

import json
from pathlib import Path

import torch

from bundle.laboratory.recipes.card import render
from bundle.laboratory.recipes.catalogue import find_small_teacher
from bundle.laboratory.recipes.frames import PhantomFrames
from bundle.laboratory.recipes.probe import probe_patches
from bundle.laboratory.recipes.ship import NUM_HELD_OUT_PATIENTS
from bundle.teachers.base import Teacher
from bundle.teachers.similarity import LinearCKA

REGISTER = "teachers.json"


def register(folder: Path, name: str, entry: dict) -> None:
    """Put one teacher's entry into ``teachers.json``, beside what is there, and rewrite the model card."""
    content = read_register(folder)
    content["teachers"][name] = entry
    _write(folder, content)


def read_register(folder: Path) -> dict:
    """What ``teachers.json`` says; an empty register if there is none."""
    path = folder / REGISTER
    if path.is_file():
        return json.loads(path.read_text())
    return {"synthetic": "trained and measured on generated phantom frames only", "teachers": {}}


def load_shipped(folder: Path, name: str) -> Teacher:
    """The shipped small teacher, its checksum checked against the register."""
    entry = read_register(folder)["teachers"][name]
    small = find_small_teacher(name)
    return small.load(folder / entry["file"], small.build(), sha256=entry["sha256"])


def compare(folder: Path, frames: PhantomFrames, num_held_out: int = NUM_HELD_OUT_PATIENTS) -> dict:
    """Measure how alike the teachers' features are and how well each knows places; add both to the register.

    Args:
        folder: Where ``teachers.json`` and the weights are.
        frames: The frames that the teachers were trained on and held out from.
        num_held_out: How many of the last patients were held out.

    Returns:
        The register.
    """
    content = read_register(folder)
    training, held_out = frames.split(num_held_out)
    teachers = {name: load_shipped(folder, name) for name in content["teachers"]}
    content["pairwise_cka"] = pairwise_cka(teachers, held_out)
    content["patch_probe"] = {
        name: round(probe_patches(teacher.encoder, training, held_out)["patch_probe_average_precision"], 3)
        for name, teacher in teachers.items()
    }
    _write(folder, content)
    return content


def pairwise_cka(teachers: dict[str, Teacher], frames: PhantomFrames) -> dict[str, float]:
    """Linear CKA of every two teachers, on the coarsest teacher's grid."""
    cka = LinearCKA(min(teacher.grid_size for teacher in teachers.values()))
    for batch in frames.batches(16):
        cka.update({name: teacher(batch.image) for name, teacher in teachers.items()})
    names, matrix = cka.compute()
    pairs = torch.combinations(torch.arange(len(names))).tolist()
    return {f"{names[a]} - {names[b]}": round(matrix[a, b].item(), 3) for a, b in pairs}


def _write(folder: Path, content: dict) -> None:
    (folder / REGISTER).write_text(json.dumps(content, indent=2) + "\n")
    (folder / "README.md").write_text(render(content))
