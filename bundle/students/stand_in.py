"""A distilled student in the place of a teacher: its heads, with the standardizers undone, from phase 1's folder."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from bundle.students.encoder import StudentEncoder
from bundle.students.heads import ProjectionHead, StudentWithHeads
from bundle.students.trunk import TimmTrunk
from bundle.students.weights import load_student
from bundle.teachers.checkpoint import load_strict, read_state_dict


def load_stand_in(folder: str | Path, teachers: Sequence[str]) -> StudentWithHeads:
    """The student with its heads for some teachers, whose ``features`` are in these teachers' own units.

    Args:
        folder: Phase 1's ``output_dir``, with ``student.pt``, ``heads.pt`` and the JSON file beside each.
        teachers: Names of teachers of that phase 1.

    Returns:
        In evaluation mode. A standardizer's inverse is one with the last convolution of its head.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If there is no head for a teacher, or the files do not fit each other.
    """
    folder = Path(folder)
    card, student_card = (_read_card(folder / name) for name in ("heads.json", "student.json"))
    missing = [name for name in teachers if name not in card["grid_sizes"]]
    if missing:
        known = list(card["grid_sizes"])
        raise ValueError(f"{folder / 'heads.pt'} has heads for {known}, none for {missing}: distil that teacher")
    student = StudentEncoder(TimmTrunk(student_card["student_backbone"]), student_card["embed_dim"])
    load_student(student, folder / "student.pt")
    state = read_state_dict(folder / "heads.pt")
    channels = {name: len(state[f"inverse.{name}.bias"]) for name in card["grid_sizes"]}
    heads = {
        name: ProjectionHead(student.embed_dim, channels[name], grid_size, is_fine=card["fine_heads"])
        for name, grid_size in card["grid_sizes"].items()
    }
    inverses = {name: nn.Conv2d(number, number, kernel_size=1) for name, number in channels.items()}
    saved = nn.ModuleDict({"heads": nn.ModuleDict(heads), "inverse": nn.ModuleDict(inverses)})
    load_strict(saved, state, folder / "heads.pt")
    for name in teachers:
        _append(heads[name].project[-1], inverses[name])  # type: ignore[arg-type]
    return StudentWithHeads(student, {name: heads[name] for name in teachers}).eval()


@torch.no_grad()
def _append(last: nn.Conv2d, following: nn.Conv2d) -> None:
    """Make one 1 x 1 convolution do what two in a row do."""
    matrix = following.weight[:, :, 0, 0]
    last.bias.copy_(matrix @ last.bias + following.bias)  # type: ignore[union-attr, operator]
    last.weight.copy_((matrix @ last.weight[:, :, 0, 0])[:, :, None, None])


def _read_card(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}, which phase 1 writes: give its output_dir")
    return json.loads(path.read_text(encoding="utf-8"))
