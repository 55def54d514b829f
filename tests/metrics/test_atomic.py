"""Files are complete or not there."""

import csv
import json

import pytest

from bundle.metrics.atomic import atomic_path, write_csv, write_json


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.nii.gz"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


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
    assert next(csv.DictReader(path.open())) == {"text": "'" + text, "number": "-1.5"}
