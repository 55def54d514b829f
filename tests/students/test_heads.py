"""Projection heads: the student's embedding on each teacher's grid and in its channels."""

from types import SimpleNamespace

import pytest
import torch

from bundle.losses.standardize import GlobalScale, Identity, PerChannel, PhiS, Whitening
from bundle.losses.statistics import FeatureStatistics
from bundle.students.encoder import StudentEncoder
from bundle.students.heads import (
    ProjectionHead,
    StudentWithHeads,
    inverse_layer,
    load_heads,
    make_heads,
    with_inverses,
)
from bundle.students.trunk import TimmTrunk

KINDS = [kind.from_statistics for kind in (Identity, GlobalScale, PerChannel, PhiS)]
KINDS += [Whitening.pca, Whitening.hadamard]


@pytest.mark.parametrize("grid_size", [7, 16, 37])
def test_a_head_gives_the_teachers_grid_and_channels(grid_size):
    head = ProjectionHead(in_channels=8, out_channels=5, grid_size=grid_size)
    assert head(torch.rand(2, 8, 16, 16)).shape == (2, 5, grid_size, grid_size)


def test_a_head_looks_at_one_position_at_a_time():
    head = ProjectionHead(in_channels=8, out_channels=5, grid_size=4)
    embedding = torch.rand(1, 8, 4, 4)
    changed = embedding.clone()
    changed[..., 0, 0] += 1
    difference = (head(changed) - head(embedding)).abs().sum(dim=1)[0]
    assert difference[0, 0] > 0
    assert difference.flatten()[1:].sum() == 0


def test_every_teacher_gets_its_features_and_gradients_reach_the_student():
    teachers = {"a": SimpleNamespace(embed_dim=6, grid_size=7), "b": SimpleNamespace(embed_dim=3, grid_size=2)}
    student = StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=32)
    network = StudentWithHeads(student, make_heads(32, teachers))
    output = network(torch.rand(2, 1, 64, 64))
    assert {name: tuple(value.shape) for name, value in output["features"].items()} == {
        "a": (2, 6, 7, 7),
        "b": (2, 3, 2, 2),
    }
    sum(value.square().mean() for value in output["features"].values()).backward()
    assert next(student.trunk.parameters()).grad.abs().sum() > 0


@pytest.mark.parametrize(("is_fine", "strides"), [(True, [16, 16, 8, 8, 4, 4]), (False, [16] * 6)])
def test_a_head_reads_the_coarsest_map_that_is_as_fine_as_its_grid(is_fine, strides):
    grids = [7, 16, 28, 32, 64, 128]
    assert [ProjectionHead(8, 5, grid, is_fine=is_fine).stride(embedding_grid=16) for grid in grids] == strides


def test_the_neck_learns_from_a_fine_teacher_at_every_level():
    student = StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=32)
    network = StudentWithHeads(student, make_heads(32, {"fine": SimpleNamespace(embed_dim=6, grid_size=16)}))
    network(torch.rand(2, 1, 64, 64))["features"]["fine"].square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in student.image_encoder.neck.convs.parameters())


def test_a_network_without_teachers_is_refused():
    with pytest.raises(ValueError, match="at least one teacher"):
        StudentWithHeads(StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=32), {})


def make_statistics(num_channels: int = 8) -> FeatureStatistics:
    torch.manual_seed(0)
    statistics = FeatureStatistics(num_channels, "random")
    statistics.update(3 + torch.randn(2, num_channels, 16, 16) * torch.arange(1.0, 1 + num_channels)[:, None, None])
    return statistics


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_restores_what_the_standardizer_changed(kind):
    standardizer = kind(make_statistics())
    features = torch.randn(2, 8, 3, 3)
    layer = inverse_layer(standardizer, 8)
    torch.testing.assert_close(layer(standardizer(features)), features, rtol=1e-4, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_heads_saved_with_their_inverses_are_read_without(tmp_path):
    heads = torch.nn.ModuleDict({"a": ProjectionHead(4, 8, 2)})
    saved = with_inverses(heads, {"a": PhiS.from_statistics(make_statistics())})
    torch.save(saved.state_dict(), tmp_path / "heads.pt")
    loaded = load_heads({"a": ProjectionHead(4, 8, 2)}, tmp_path / "heads.pt")
    embedding = torch.rand(1, 4, 2, 2)
    assert torch.equal(loaded["a"](embedding), heads["a"](embedding))
