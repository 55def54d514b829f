"""A distilled student in a teacher's place, from phase 1's folder: with its heads' features, or with its own.

A student that a larger one is distilled into first: agglomerate, then distill that (EUPE, arXiv 2603.22387).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bundle.students.encoder import StudentEncoder
from bundle.students.heads import ProjectionHead, StudentWithHeads
from bundle.students.trunk import TimmTrunk
from bundle.students.weights import load_student
from bundle.teachers.base import Teacher
from bundle.teachers.find import find_checkpoint
from bundle.weights import describe_weights, find_card, load_strict, read_state_dict


class StudentFeatures(nn.Module):
    """A student's map at one stride, in which all deeper levels are too.

    Args:
        student: The student.
        image_size: Side of the square frames that it was trained on.
        stride: 16 (its embedding), 8 or 4.
    """

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # the student normalizes frames itself

    def __init__(self, student: StudentEncoder, image_size: int, stride: int = 16) -> None:
        super().__init__()
        if stride not in (16, 8, 4):
            raise ValueError(f"stride is 16 (the student's embedding), 8 or 4, got {stride}")
        self.student, self.stride = student, stride
        self.input_size, self.grid_size, self.embed_dim = image_size, image_size // stride, student.embed_dim

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, S, S), channels equal -> (B, C, S/s, S/s)
        return self.student.top_down(self.student.stages(images[:, :1]), self.stride)[self.stride]


def load_student_teacher(checkpoint: str | Path, name: str = "proxy", stride: int | None = None) -> Teacher:
    """Make a teacher from what phase 1 wrote.

    Args:
        checkpoint: ``student.pt``, or the folder that holds it, with ``student.json`` beside it.
        name: What to call the teacher.
        stride: Of its features: 16 (the embedding), 8 or 4. None: the finest that a head has read, by the grids in
            ``heads.json`` beside it, since a finer one has learned nothing; 16 without that file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no card says what the weights fit, or they do not fit it.
    """
    path = find_checkpoint(checkpoint, ("student.pt",))
    card = find_card(path)
    if missing := [key for key in ("student_backbone", "embed_dim", "image_size") if key not in card]:
        raise ValueError(f"{path.with_suffix('.json')} must say what {path.name} fits, lacks {', '.join(missing)}")
    student = load_student(StudentEncoder(TimmTrunk(card["student_backbone"]), card["embed_dim"]), path)
    if stride is None:
        saved = find_card(path.with_name("heads.pt"))
        heads = [
            ProjectionHead(1, 1, grid, is_fine=saved["fine_heads"]) for grid in saved.get("grid_sizes", {}).values()
        ]
        stride = min((head.stride(card["image_size"] // 16) for head in heads), default=16)
    encoder = StudentFeatures(student, card["image_size"], stride)
    return Teacher(name, encoder, f"{describe_weights(path)}, a trained {card['student_backbone']}, stride {stride}")


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
    card, student_card = find_card(folder / "heads.pt"), find_card(folder / "student.pt")
    for name, found in (("heads.json", card), ("student.json", student_card)):
        if not found:
            raise FileNotFoundError(f"no {name} in {folder}, which phase 1 writes: give its output_dir")
    if missing := [name for name in teachers if name not in card["grid_sizes"]]:
        known = list(card["grid_sizes"])
        raise ValueError(f"{folder / 'heads.pt'} has heads for {known}, none for {missing}: distill that teacher")
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
