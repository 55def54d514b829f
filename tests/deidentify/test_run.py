"""A folder in, copies out: every file has an outcome, originals stay, folders do not mix."""

import hashlib
import os
import runpy
import sys
from pathlib import Path

import pydicom
import pytest

from bundle.data.sources import COPIES_MARK
from bundle.deidentify import run
from bundle.deidentify.blacken import Rectangle
from bundle.deidentify.copies import DONE, DONE_EARLIER, REFUSED
from bundle.deidentify.run import NOT_DONE_BY_THIS_TOOL, deidentify
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
    outcomes = deidentify(source, tmp_path / "out", progress=False).outcomes
    assert digests(source) == before
    assert {outcome.source.name: outcome.status for outcome in outcomes} == {
        "IM1": DONE,
        "IM2.dcm": DONE,
        "film of ERIKA.avi": DONE,
        "notes on ERIKA.txt": REFUSED,
        "broken.dcm": REFUSED,
    }
    copies = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != COPIES_MARK]
    assert sorted(copies) == sorted(outcome.target for outcome in outcomes if outcome.target)
    assert [secrets_in(path.rename(tmp_path / "copy")) for path in copies] == [[], [], []]


def test_the_table_tells_which_copy_is_whose_and_what_to_look_at(tmp_path, source):
    report = deidentify(source, tmp_path / "out", progress=False)
    table = report.table()
    film = next(outcome.target for outcome in report.outcomes if outcome.source.suffix == ".avi")
    assert f"done         film of ERIKA.avi -> {film.name} (look at the pixels" in table
    assert "refused      notes on ERIKA.txt (neither DICOM nor .avi" in table
    assert table.endswith("3 of 5 files done")


def test_a_key_file_makes_runs_agree_and_without_one_they_do_not(tmp_path, source):
    def patient_of_run(name: str, **options) -> str:
        outcomes = deidentify(source / "a", tmp_path / name, progress=False, **options).outcomes
        return pydicom.dcmread(outcomes[0].target).PatientID

    key = {"key_file": tmp_path / "key"}
    assert patient_of_run("one", **key) == patient_of_run("two", **key)
    assert patient_of_run("three") != patient_of_run("four")


def test_a_study_that_has_grown_is_done_to_its_end_and_the_rest_was_done_earlier(tmp_path, source, study):
    options = {"key_file": tmp_path / "key", "progress": False}
    (source / "broken.dcm").unlink()
    (source / "notes on ERIKA.txt").unlink()
    deidentify(source, tmp_path / "out", **options)
    before = digests(tmp_path / "out")
    write_stuffed(study, source / "a" / "IM3", instance=7)
    report = deidentify(source, tmp_path / "out", **options)
    assert {outcome.source.name: outcome.status for outcome in report.outcomes} == {
        "IM1": DONE_EARLIER,
        "IM2.dcm": DONE_EARLIER,
        "IM3": DONE,
        "film of ERIKA.avi": DONE_EARLIER,
    }
    assert (report.exit_status, report.table().splitlines()[-1]) == (0, "4 of 4 files done")
    assert before.items() <= digests(tmp_path / "out").items()


def test_a_copy_that_was_made_otherwise_is_neither_replaced_nor_taken_for_done(tmp_path, source):
    options = {"key_file": tmp_path / "key", "progress": False}
    deidentify(source / "a", tmp_path / "out", **options)
    before = digests(tmp_path / "out")
    report = deidentify(source / "a", tmp_path / "out", Rectangle(0, 0, 5, 40), **options)
    assert [outcome.status for outcome in report.outcomes] == [REFUSED, REFUSED]
    assert "another copy of this is there already" in report.outcomes[0].notes[0]
    assert digests(tmp_path / "out") == before


def test_an_interruption_leaves_the_table_of_what_is_done(tmp_path, source, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "deidentify_video", interrupted)
    report = deidentify(source, tmp_path / "out", progress=False)
    assert (len(report.outcomes) < report.num_files, report.exit_status) == (True, 1)
    assert report.table().endswith(f"{report.num_copies} of 5 files done: interrupted")


def test_what_is_left_out_is_named(tmp_path, source, study):
    (source / "a" / ".hidden").mkdir()
    (source / "nowhere").symlink_to(tmp_path / "not there")
    write_stuffed(study, tmp_path / "elsewhere" / "IM9", instance=9)
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    report = deidentify(source, tmp_path / "out", progress=False)
    assert {outcome.source.name for outcome in report.outcomes if outcome.status == DONE} >= {"IM1", "IM9"}
    assert {line for line in report.table().splitlines() if line.startswith("left out")} == {
        "left out, hidden, or of the system: 2 (.DS_Store, .hidden)",
        "left out, directory of a DICOM medium, whose folder is searched: 1 (DICOMDIR)",
        "left out, link that leads nowhere: 1 (nowhere)",
    }


def test_copies_in_a_folder_above_are_left_out_and_named(tmp_path, source):
    deidentify(source / "a", tmp_path / "all" / "copies", progress=False)
    (source / "a" / "IM1").rename(tmp_path / "all" / "IM1")
    report = deidentify(tmp_path / "all", tmp_path / "out", progress=False)
    assert [outcome.source.name for outcome in report.outcomes] == ["IM1"]
    assert "left out, de-identified copies: to use them, name their own folder: 1 (copies)" in report.table()


def test_a_name_that_is_no_text_is_written_in_the_table(tmp_path, source):
    odd = source / "a" / os.fsdecode(b"J\xfcrgen.avi")
    (source / "film of ERIKA.avi").rename(odd)
    report = deidentify(source / "a", tmp_path / "out", progress=False)
    assert report.exit_status == 0
    assert "done         J\\udcfcrgen.avi -> " in report.table()
    report.table().encode()


def test_a_video_is_refused_where_a_rectangle_was_asked_for(tmp_path, source):
    film = source / "film of ERIKA.avi"
    (outcome,) = deidentify(film, tmp_path / "out", Rectangle(0, 0, 5, 5), progress=False).outcomes
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
    assert status(source, "--blacken", "0,0,5") == 1
    assert "\nerror: a rectangle is ROW0,COL0,ROW1,COL1" in capsys.readouterr().err
