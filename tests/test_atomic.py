"""Files are complete or not there."""

import csv
import json

import pytest

from bundle.atomic import atomic_folder, atomic_path, write_csv, write_json


def break_off(manager, name: str) -> None:
    """Start writing, and be interrupted."""
    with manager as temporary:
        (temporary / name if temporary.is_dir() else temporary).write_bytes(b"half of the n")
        raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.nii.gz"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        break_off(atomic_path(path), "")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_folder_leaves_the_old_folder_and_nothing_else(tmp_path):
    path = tmp_path / "study"
    with atomic_folder(path) as temporary:
        (temporary / "old").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        break_off(atomic_folder(path), "new")
    assert [entry.name for entry in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_earlier_one_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "study") as temporary:
            (temporary / name).touch()
    assert [entry.name for entry in (tmp_path / "study").iterdir()] == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["study"]


def test_the_temporary_file_keeps_the_suffixes_that_writers_go_by(tmp_path):
    with atomic_path(tmp_path / "masks.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path


def test_nan_never_reaches_a_json_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert list(tmp_path.iterdir()) == []
    assert json.loads(write_json(tmp_path / "b.json", {"dice": None}).read_text()) == {"dice": None}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_text_that_a_spreadsheet_would_run_is_quoted_and_numbers_are_not(tmp_path, text):
    path = write_csv(tmp_path / "table.csv", ["text", "number"], [{"text": text, "number": -1.5}])
    assert next(csv.DictReader(path.read_text().splitlines())) == {"text": "'" + text, "number": "-1.5"}
