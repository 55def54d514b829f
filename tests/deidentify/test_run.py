"""A folder in, copies out: every file has an outcome, originals stay, folders do not mix."""

import hashlib
import runpy
import sys
from pathlib import Path

import pydicom
import pytest

from bundle.deidentify.blacken import Rectangle
from bundle.deidentify.run import DONE, NOT_DONE_BY_THIS_TOOL, REFUSED, deidentify, outcome_table
from tests.deidentify.conftest import secrets_in, write_stuffed
from tests.deidentify.test_video import write_video

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "deidentify.py"


@pytest.fixture
def source(tmp_path, study) -> Path:
    """Two instances, a video, a text, a damaged DICOM, and files that are left out."""
    folder = tmp_path / "MUSTERMANN"
    write_stuffed(study, folder / "a" / "IM1", instance=3)
    write_stuffed(study, folder / "a" / "IM2.dcm", instance=5)
    write_video(folder / "film of ERIKA.avi")
    (folder / "notes on ERIKA.txt").write_text("HOSP-4711")
    (folder / "broken.dcm").write_bytes(bytes(200))
    (folder / "DICOMDIR").write_bytes(b"x")
    (folder / ".DS_Store").write_bytes(b"x")
    return folder


def digests(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_every_file_has_an_outcome_and_originals_stay_as_they_are(tmp_path, source):
    before = digests(source)
    outcomes = deidentify(source, tmp_path / "out", progress=False)
    assert digests(source) == before
    assert {outcome.source.name: outcome.status for outcome in outcomes} == {
        "IM1": DONE,
        "IM2.dcm": DONE,
        "film of ERIKA.avi": DONE,
        "notes on ERIKA.txt": REFUSED,
        "broken.dcm": REFUSED,
    }
    copies = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(copies) == sorted(outcome.target for outcome in outcomes if outcome.target)
    assert [secrets_in(path.rename(tmp_path / "copy")) for path in copies] == [[], [], []]


def test_the_table_tells_which_copy_is_whose_and_what_to_look_at(tmp_path, source):
    outcomes = deidentify(source, tmp_path / "out", progress=False)
    table = outcome_table(outcomes, source, tmp_path / "out")
    film = next(outcome.target for outcome in outcomes if outcome.source.suffix == ".avi")
    assert f"done    film of ERIKA.avi -> {film.name} (look at the pixels" in table
    assert "refused notes on ERIKA.txt (neither DICOM nor .avi" in table
    assert table.endswith("3 of 5 files done")


def test_a_key_file_makes_runs_agree_and_without_one_they_do_not(tmp_path, source):
    def patient_of_run(name: str, **options) -> str:
        outcomes = deidentify(source / "a", tmp_path / name, progress=False, **options)
        return pydicom.dcmread(outcomes[0].target).PatientID

    key = {"key_file": tmp_path / "key"}
    assert patient_of_run("one", **key) == patient_of_run("two", **key)
    assert patient_of_run("three") != patient_of_run("four")


def test_a_second_run_overwrites_nothing(tmp_path, source):
    options = {"key_file": tmp_path / "key", "progress": False}
    deidentify(source / "a", tmp_path / "out", **options)
    before = digests(tmp_path / "out")
    outcomes = deidentify(source / "a", tmp_path / "out", **options)
    assert [outcome.status for outcome in outcomes] == [REFUSED, REFUSED]
    assert digests(tmp_path / "out") == before


def test_a_video_is_refused_where_a_rectangle_was_asked_for(tmp_path, source):
    (outcome,) = deidentify(source / "film of ERIKA.avi", tmp_path / "out", Rectangle(0, 0, 5, 5), progress=False)
    assert outcome.status == REFUSED
    assert "--blacken works on DICOM only" in outcome.notes[0]
    assert not (tmp_path / "out").exists()


def test_folders_that_lie_in_each_other_are_refused(tmp_path, source):
    for output in (source, source / "out", tmp_path):
        with pytest.raises(ValueError, match="copies and originals must not mix"):
            deidentify(source, output, progress=False)


def test_a_key_among_the_copies_is_refused(tmp_path, source):
    with pytest.raises(ValueError, match="the key file must not lie among the copies"):
        deidentify(source, tmp_path / "out", key_file=tmp_path / "out" / "key", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_missing_source_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        deidentify(tmp_path / "none", tmp_path / "out", progress=False)


def test_the_script_prints_table_and_limits_and_its_status_tells(tmp_path, source, monkeypatch, capsys):
    def status(folder: Path, *options: str) -> int | str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), str(tmp_path / "out"), *options])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return caught.value.code

    assert status(source / "a", "--blacken", "0,0,5,40") == 0
    output = capsys.readouterr().out
    assert "2 of 2 files done" in output
    assert NOT_DONE_BY_THIS_TOOL in output
    assert status(source) == 1
    assert status(source, "--blacken", "0,0,5").startswith("error: a rectangle is ROW0,COL0,ROW1,COL1")
