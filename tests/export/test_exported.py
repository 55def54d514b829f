"""Exported files beside a checkpoint: made once, and again when anything that they depend on changes."""

import errno
import json
from pathlib import Path

import pytest

from bundle.export import deploy
from bundle.export.deploy import RECORD, default_folder, exported_folder

SETTINGS = {"format": "text", "precision": "float32", "image_size": 64}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def export(checkpoint):
    """Export the checkpoint; ``export.count`` is how often something was written."""

    def export(**changes) -> Path:
        def write(folder: Path) -> None:
            export.count += 1
            (folder / "model.txt").write_bytes(checkpoint.read_bytes().upper())

        return exported_folder(default_folder(checkpoint), checkpoint, SETTINGS | changes, write)

    export.count = 0
    return export


def test_an_export_lies_beside_its_checkpoint_and_is_made_once(export, checkpoint):
    folder = export()
    assert export() == folder
    assert folder.parent == checkpoint.parent / "model-exported"
    assert export.count == 1
    assert (folder / "model.txt").read_text() == "WEIGHTS"


def test_other_weights_under_the_same_name_are_exported_again(export, checkpoint):
    first = export()
    checkpoint.write_bytes(b"better")
    second = export()
    assert (second / "model.txt").read_text() == "BETTER"
    assert (first / "model.txt").read_text() == "WEIGHTS"


def test_other_settings_are_another_export(export):
    assert export(image_size=128) != export()
    assert export.count == 2


@pytest.mark.parametrize("harm", ["change", "remove", "record"])
def test_a_damaged_export_is_made_again(export, harm):
    folder = export()
    if harm == "change":
        (folder / "model.txt").write_text("WEIGHTs")
    elif harm == "remove":
        (folder / "model.txt").unlink()
    else:
        (folder / RECORD).write_text("{")
    assert (export() / "model.txt").read_text() == "WEIGHTS"
    assert export.count == 2


def test_an_export_of_another_version_of_a_package_is_made_again(export, monkeypatch):
    export()
    monkeypatch.setattr(deploy, "installed_versions", lambda: {"torch": "0.1"})
    export()
    assert export.count == 2


def test_a_package_that_only_made_the_export_may_be_missing(export, monkeypatch):
    folder = export()
    record = json.loads((folder / RECORD).read_text())
    record["versions"]["quantizer"] = "1.0"
    (folder / RECORD).write_text(json.dumps(record))
    export()
    assert export.count == 1


def test_an_export_that_fails_leaves_nothing(checkpoint):
    def write(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        exported_folder(default_folder(checkpoint), checkpoint, SETTINGS, write)
    assert list(default_folder(checkpoint).iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(checkpoint):
    def write(folder: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    message = r"cannot be written into .*model-exported \(Read-only file system\): name another folder with cache_dir"
    with pytest.raises(OSError, match=message):
        exported_folder(default_folder(checkpoint), checkpoint, SETTINGS, write)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights not found: there is no file .*nothing\.pt"):
        exported_folder(tmp_path, tmp_path / "nothing.pt", SETTINGS, lambda folder: None)
