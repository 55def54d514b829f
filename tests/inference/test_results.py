"""The table of a run: it grows by rows, names nobody, and says what was left out."""

import csv
import json
import os
import re
import time
from pathlib import Path

import pytest

from bundle.data.sources import STUDY_RECORD, find_sources
from bundle.inference import results as module
from bundle.inference.folder import find_studies, study_key
from bundle.inference.results import DONE, REFUSED, NameHider, StudyResult, StudyResults
from bundle.inference.study_dataset import StudyDataset

SETTINGS = {"checkpoint": "1"}


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "results.csv").read_text(encoding="utf-8").splitlines()))


def write_finished(folder: Path, output_dir: Path, count: int) -> None:
    """Studies of any content, and what a run leaves of each."""
    folder.mkdir()
    results = StudyResults(output_dir, settings=SETTINGS)
    for index in range(count):
        (folder / f"film{index}.avi").write_text(f"content {index}")
        key = study_key(folder / f"film{index}.avi")
        (output_dir / key).mkdir(parents=True)
        (output_dir / key / "areas.csv").touch()
        result = StudyResult(folder, key, DONE, frames=3, outputs=("areas.csv",))
        (output_dir / key / STUDY_RECORD).write_text(
            json.dumps(
                {"key": key, "settings": results.settings_id, "frames": 3, "outputs": list(result.outputs), "notes": []}
            )
        )


def run_again(folder: Path, output_dir: Path) -> StudyResults:
    found = find_studies(folder, exclude=output_dir)
    results = StudyResults(output_dir, settings=SETTINGS, left_out=found.left_out)
    assert list(StudyDataset(found.studies, results, progress=False)) == []
    return results


def test_studies_that_an_earlier_run_has_finished_cost_the_same_however_many_there_are(tmp_path):
    seconds = {}
    for count in (100, 800):
        write_finished(tmp_path / f"in{count}", tmp_path / f"out{count}", count)
        start = time.process_time()
        results = run_again(tmp_path / f"in{count}", tmp_path / f"out{count}")
        results.format_table()
        seconds[count] = time.process_time() - start
        assert len(rows_of(tmp_path / f"out{count}")) == count
    assert seconds[800] < 20 * seconds[100]  # linear: 8; quadratic: 64; cubic: 512


def test_the_table_is_true_after_each_study(tmp_path):
    results = StudyResults(tmp_path / "out")
    for index, status in enumerate((DONE, REFUSED, DONE)):
        results.add(StudyResult(tmp_path / f"{index}.avi", str(index), status, "no picture in it"))
        assert [row["status"] for row in rows_of(tmp_path / "out")] == [DONE, REFUSED, DONE][: index + 1]
    StudyResults(tmp_path / "out").add(StudyResult(tmp_path / "9.avi", "9", DONE))
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["9"], "another run begins the table anew"


def test_a_row_is_written_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(module, "append_csv", lambda path, columns, rows: written.extend(rows))
    results = StudyResults(tmp_path)
    for index in range(5):
        results.add(StudyResult(tmp_path / "a.avi", str(index), DONE))
    assert [row["key"] for row in written] == list("01234")


def test_what_is_left_out_is_counted_in_the_table_and_named_on_the_terminal(tmp_path):
    for name in (".DS_Store", "notes on ERIKA.txt", "film.avi"):
        (tmp_path / name).write_text("any")
    left_out = find_studies(tmp_path).left_out
    results = StudyResults(tmp_path / "out", left_out=left_out)
    results.add(StudyResult(tmp_path / "film.avi", "abc", DONE, frames=1))
    assert [(row["key"], row["status"], row["reason"]) for row in rows_of(tmp_path / "out")] == [
        ("", "left out", "hidden, or of the system: 1"),
        ("", "left out", "neither DICOM nor of a suffix that is read here: 1"),
        ("abc", "done", ""),
    ]
    assert "left out, neither DICOM nor of a suffix that is read here: 1 (notes on ERIKA.txt)" in results.format_table()
    assert results.exit_status == 0


def test_a_name_that_is_no_text_is_in_both_tables(tmp_path):
    odd = tmp_path / os.fsdecode(b"J\xfcrgen.avi")
    odd.write_text("any")
    results = StudyResults(tmp_path / "out", write_sources=True)
    results.add(StudyResult(find_sources(tmp_path).files[0], "abc", DONE, frames=1))
    assert results.format_table().encode().startswith(b"J\\udcfcrgen.avi  abc")
    assert "J\\udcfcrgen.avi" in (tmp_path / "out" / "sources.csv").read_text(encoding="utf-8")


# Names


@pytest.fixture
def folder(tmp_path):
    """Names that are numbers and words, and such that are not."""
    for name in ("1", "2", "18", "261", "0.1", "used", "JANE_DOE.avi", "Smith, John.avi", "IM5", "2020-01-02"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        ("percentiles 0.1-99.9 used, 18 to 261", "percentiles 0.1-99.9 used, 18 to 261"),
        ("1 x 2 pixels, but '1' of the same clip has 2 x 18", "1 x 2 pixels, but <name> of the same clip has 2 x 18"),
        ("excluded, not part of the clip: 'used', '0.1'", "excluded, not part of the clip: <name>, <name>"),
        ("see JANE_DOE.avi: it is cut", "see <name>: it is cut"),
        ("no order in IM5, Smith, John.avi and IM55", "no order in <name>, <name> and IM55"),
        ("of 2020-01-02, '2020-01-02'.", "of 2020-01-02, <name>."),
    ],
)
def test_only_whole_names_are_hidden(folder, words, hidden):
    assert NameHider().hide(words, folder / "1") == hidden


def test_paths_are_hidden_whole(folder):
    assert NameHider().hide(f"cannot open {folder / 'JANE_DOE.avi'}", folder / "JANE_DOE.avi") == "cannot open <name>"


def test_every_message_of_the_readers_quotes_the_names_that_it_holds():
    """Otherwise a name that is a number or a word would not be known for one."""
    readers = re.compile("(dicom|readers|stills|video|nifti|clip).*")
    for path in sorted((Path(__file__).resolve().parents[2] / "bundle" / "data").glob("*.py")):
        if not readers.fullmatch(path.name):
            continue
        text = path.read_text(encoding="utf-8").replace("{syntax.name}", "").replace("{kind.name}", "")
        bare = re.findall(r"(?<!')\{\w+(?:\[\w+\])?\.name\}(?!')|\[\w+\.name for", text)
        assert bare == [], path
