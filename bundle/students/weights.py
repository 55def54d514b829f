"""What a student starts from: phase 1's file, loaded strictly, or published weights for its trunk."""

from pathlib import Path

from bundle.students.card import check_card
from bundle.students.encoder import StudentEncoder
from bundle.students.pretrained import load_pretrained
from bundle.teachers.checkpoint import load_strict, read_state_dict


def load_student(
    student: StudentEncoder, checkpoint: str | Path | None, pretrained: str | Path | None = None
) -> StudentEncoder:
    """Load phase 1's weights into a student, or published ones into its trunk.

    Args:
        student: Student of the same backbone and ``embed_dim``; changed in place.
        checkpoint: Phase 1's ``student.pt``; None keeps the weights that the student has, which trains without
            distillation.
        pretrained: Published weights for the trunk, as for :func:`bundle.students.pretrained.load_pretrained`.

    Returns:
        The same student.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If its card, keys or shapes are not this student's, or both are given.
    """
    if checkpoint is not None and pretrained is not None:
        raise ValueError(
            f"a student starts from student_checkpoint ({checkpoint}) or student_pretrained ({pretrained}), got both: "
            "leave student_pretrained out, or give --student_checkpoint None"
        )
    if pretrained is not None:
        load_pretrained(student.trunk, pretrained)
    if checkpoint is not None:
        path = Path(checkpoint)
        check_card(path, student.settings)
        load_strict(student, read_state_dict(path), path)
    return student
