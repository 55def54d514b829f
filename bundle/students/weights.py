"""Load a trained student strictly, from phase 1's file."""

from pathlib import Path

from bundle.students.card import check_card
from bundle.students.encoder import StudentEncoder
from bundle.teachers.checkpoint import load_strict, read_state_dict


def load_student(student: StudentEncoder, checkpoint: str | Path | None) -> StudentEncoder:
    """Load phase 1's weights into a student.

    Args:
        student: Student of the same backbone and ``embed_dim``; changed in place.
        checkpoint: Phase 1's ``student.pt``; None keeps the weights that the student has, which trains without
            distillation.

    Returns:
        The same student.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its card, keys or shapes are not this student's.
    """
    if checkpoint is not None:
        path = Path(checkpoint)
        check_card(path, student.settings)
        load_strict(student, read_state_dict(path), path)
    return student
