"""A trained student as a teacher: agglomerate into a larger one first, then distil that (EUPE, arXiv 2603.22387)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bundle.students.card import find_card
from bundle.students.encoder import StudentEncoder
from bundle.students.heads import ProjectionHead
from bundle.students.trunk import TimmTrunk
from bundle.students.weights import load_student
from bundle.teachers.base import Teacher
from bundle.teachers.checkpoint import describe_weights, find_checkpoint

NEEDED = ("student_backbone", "embed_dim", "image_size")


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
    if missing := [key for key in NEEDED if key not in card]:
        raise ValueError(f"{path.with_suffix('.json')} must say what {path.name} fits, lacks {', '.join(missing)}")
    student = StudentEncoder(TimmTrunk(card["student_backbone"]), card["embed_dim"])
    load_student(student, path)
    if stride is None:
        stride = _finest_stride(find_card(path.with_name("heads.pt")), card["image_size"])
    encoder = StudentFeatures(student, card["image_size"], stride)
    return Teacher(name, encoder, f"{describe_weights(path)}, a trained {card['student_backbone']}, stride {stride}")


def _finest_stride(card: Mapping[str, Any], image_size: int) -> int:
    heads = [ProjectionHead(1, 1, grid, is_fine=card["fine_heads"]) for grid in card.get("grid_sizes", {}).values()]
    return min((head.stride(image_size // 16) for head in heads), default=16)
