"""A trained student is a teacher: its own map, at the finest stride that it has learned, from the files of phase 1."""

import json

import pytest
import torch

from bundle.students.encoder import StudentEncoder
from bundle.students.teacher import load_student_teacher
from bundle.students.trunk import TimmTrunk

CARD = {"student_backbone": "efficientvit_b0", "embed_dim": 32, "image_size": 64}


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(0)
    student = StudentEncoder(TimmTrunk("efficientvit_b0"), 32).eval()
    torch.save(student.state_dict(), tmp_path / "student.pt")
    (tmp_path / "student.json").write_text(json.dumps(CARD))
    return student


@torch.no_grad()
def test_its_features_are_the_students_embedding(trained, tmp_path):
    teacher = load_student_teacher(tmp_path / "student.pt")
    frames = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(teacher(frames), trained.embed(frames))
    assert (teacher.name, teacher.input_size, teacher.grid_size, teacher.embed_dim) == ("proxy", 64, 4, 32)
    assert teacher.is_frozen
    assert "student.pt" in teacher.weights


@torch.no_grad()
@pytest.mark.parametrize(
    ("heads", "grid"),
    [({"fine_heads": True, "grid_sizes": {"a": 7, "b": 3}}, 8), ({"fine_heads": False, "grid_sizes": {"a": 16}}, 4)],
)
def test_they_are_as_fine_as_a_head_has_read(trained, tmp_path, heads, grid):
    (tmp_path / "heads.json").write_text(json.dumps(heads))
    teacher = load_student_teacher(tmp_path)
    assert (
        teacher(torch.rand(1, 1, 64, 64)).shape == (1, 32, grid, grid) == (1, 32, teacher.grid_size, teacher.grid_size)
    )
    assert load_student_teacher(tmp_path, stride=4).grid_size == 16


def test_weights_without_their_card_are_refused(trained, tmp_path):
    (tmp_path / "student.json").unlink()
    with pytest.raises(ValueError, match=r"student\.json must say what student\.pt fits, lacks student_backbone"):
        load_student_teacher(tmp_path)
