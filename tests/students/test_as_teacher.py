"""A student in a teacher's place, from phase 1's folder: its own map, or its heads' features in the teachers' units."""

import json

import pytest
import torch

from bundle.losses.standardize import PhiS
from bundle.losses.statistics import FeatureStatistics
from bundle.students.as_teacher import load_stand_in, load_student_teacher
from bundle.students.encoder import StudentEncoder
from bundle.students.heads import ProjectionHead, StudentWithHeads, with_inverses
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


@pytest.fixture(scope="module")
def phase_1(tmp_path_factory):
    """What phase 1 writes, its network, and the standardizers."""
    torch.manual_seed(0)
    student = StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=16)
    network = StudentWithHeads(student, {"a": ProjectionHead(16, 6, 8), "b": ProjectionHead(16, 4, 3)}).eval()
    standardizers = {}
    for name, channels in (("a", 6), ("b", 4)):
        statistics = FeatureStatistics(channels, "random")
        statistics.update(5 + 3 * torch.randn(2, channels, 16, 16))
        standardizers[name] = PhiS.from_statistics(statistics)
    folder = tmp_path_factory.mktemp("distill")
    torch.save(student.state_dict(), folder / "student.pt")
    torch.save(with_inverses(network.heads, standardizers).state_dict(), folder / "heads.pt")
    (folder / "student.json").write_text(json.dumps({"student_backbone": "efficientvit_b0", "embed_dim": 16}))
    (folder / "heads.json").write_text(json.dumps({"fine_heads": True, "grid_sizes": {"a": 8, "b": 3}}))
    return folder, network, standardizers


@torch.no_grad()
def test_features_are_what_the_head_predicts_before_standardization(phase_1):
    folder, network, standardizers = phase_1
    frames = torch.rand(1, 1, 64, 64)
    predicted = network(frames)["features"]["a"]
    features = load_stand_in(folder, ["a"])(frames)["features"]
    assert list(features) == ["a"]
    torch.testing.assert_close(standardizers["a"](features["a"]), predicted, atol=1e-4, rtol=1e-4)


def test_a_teacher_that_was_not_distilled_is_refused(phase_1):
    with pytest.raises(ValueError, match=r"has heads for \['a', 'b'\], none for \['c'\]"):
        load_stand_in(phase_1[0], ["a", "c"])


def test_a_folder_without_phase_1s_files_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no heads.json in .*give its output_dir"):
        load_stand_in(tmp_path, ["a"])
