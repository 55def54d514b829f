"""What of a folder is a source: links are entered, hidden things and our own results left out, and all of it named."""

import json
import os

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from bundle.data import sources as walk
from bundle.data.kinds import is_dicom, is_dicomdir, kind_by_content
from bundle.data.sources import find_sources, is_hidden, shown


@pytest.fixture
def folder(tmp_path):
    """The folder that is searched, beside others."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def add(folder, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"any")


def found(folder, **options) -> list[str]:
    return [str(file.relative_to(folder)) for file in find_sources(folder, **options).files]


def left_out(folder, **options) -> dict[str, list[str]]:
    paths = find_sources(folder, **options).left_out.paths
    return {kind: [str(path.relative_to(folder)) for path in of_kind] for kind, of_kind in paths.items()}


def test_files_of_all_subfolders_come_in_natural_order(folder):
    add(folder, "b/10.avi", "b/9.avi", "a/deep/1", "top.txt")
    assert found(folder) == ["top.txt", "a/deep/1", "b/9.avi", "b/10.avi"]
    assert left_out(folder) == {}


def test_linked_folders_are_entered_once_and_never_in_a_circle(folder, tmp_path):
    add(tmp_path, "elsewhere/sub/x.avi", "in/real/y.avi", "beside.avi")
    for name, target in {
        "away": tmp_path / "elsewhere",
        "again": folder / "real",
        "self": folder,
        "up": tmp_path,
        "elsewhere/back": folder,
        "elsewhere/sub/higher": tmp_path,
    }.items():
        ((tmp_path if name.startswith("elsewhere") else folder) / name).symlink_to(target)
    assert found(folder) == ["real/y.avi", "away/sub/x.avi"]
    assert left_out(folder) == {walk.REPEATED: ["again", "self", "up", "away/back", "away/sub/higher"]}


def test_links_that_lead_nowhere_and_pipes_are_named(folder):
    (folder / "gone.avi").symlink_to(folder / "none")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    assert found(folder) == []
    assert left_out(folder) == {walk.DANGLING: ["gone.avi", "loop"], walk.DEVICE: ["pipe"]}


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    add(folder, "open/1.avi", "closed/2.avi")
    listdir = os.listdir

    def refuse(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)  # whoever runs the tests may read everything
    assert found(folder) == ["open/1.avi"]
    assert left_out(folder) == {walk.NOT_READABLE: ["closed"]}


def test_hidden_things_and_those_of_a_system_are_left_out_and_named(folder):
    add(folder, ".DS_Store", "._p0_a.avi", "Thumbs.db", "desktop.ini", "__MACOSX/p.avi", ".git/x.avi", "p0_a.avi")
    assert found(folder) == ["p0_a.avi"]
    assert len(left_out(folder)[walk.HIDDEN]) == 6
    assert not is_hidden("p0_a.avi")


def test_results_labels_and_copies_of_ours_are_left_out_and_named(folder):
    add(folder, "film.avi", "out/abc/overlay.mp4", "out/abc/masks/c2/1.png", "labels/final/film.nii.gz", "c/1/2.dcm")
    (folder / "out/abc/study.json").write_text(json.dumps({"key": "abc", "settings": None, "outputs": []}))
    add(folder, "datastore_v2.json", "c/deidentified.json")
    assert found(folder) == ["datastore_v2.json", "film.avi"]
    assert left_out(folder) == {walk.COPIES: ["c"], walk.LABELS: ["labels"], walk.RESULTS: ["out/abc"]}
    assert found(folder / "c") == ["deidentified.json", "1/2.dcm"], "named itself, a folder of copies is searched"


def test_the_files_of_a_run_beside_its_studies_are_results_and_films_beside_them_are_not(folder):
    add(
        folder,
        "out/film.avi",
        "out/config.json",
        "out/.lock",
        "out/notes.txt",
        "other/config.json",
        "other/results.csv",
    )
    (folder / "out" / "results.csv").write_text("key,status,reason,frames,outputs,notes\n")
    assert found(folder) == ["other/config.json", "other/results.csv", "out/film.avi", "out/notes.txt"]
    assert left_out(folder) == {walk.RESULTS: ["out/.lock", "out/config.json", "out/results.csv"]}


def test_a_study_json_of_another_program_is_no_result(folder):
    add(folder, "a/study.json", "a/film.avi", "labels/film.avi")
    assert found(folder) == ["a/film.avi", "a/study.json", "labels/film.avi"]


def test_the_runs_own_folder_is_left_out_but_never_the_input_itself(folder):
    add(folder, "film.avi", "out/x.mp4")
    assert found(folder, exclude=folder / "out") == ["film.avi"]
    assert found(folder, exclude=folder) == ["film.avi", "out/x.mp4"]


def test_a_dicomdir_stands_for_its_folder(folder):
    add(folder, "DICOMDIR", "IMAGES/IM1")
    sources = find_sources(folder / "DICOMDIR")
    assert (sources.root, [file.name for file in sources.files]) == (folder, ["IM1"])
    assert left_out(folder) == {walk.DIRECTORY: ["DICOMDIR"]}


def test_a_single_file_is_all_there_is(folder):
    add(folder, "a.avi", "b.avi")
    assert find_sources(folder / "a.avi").files == [folder / "a.avi"]


def test_nothing_there_is_an_error(folder):
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*none"):
        find_sources(folder / "none")


def test_a_pattern_sees_what_the_walk_sees(folder, tmp_path):
    add(folder, "images/1.png", "images/._1.png", "images/deep/2.png", "3.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    add(tmp_path, "elsewhere/images/4.png")
    sources = find_sources(folder)

    def matching(pattern):
        return [str(path.relative_to(folder)) for path in sources.matching(pattern)]

    assert matching("images/*.png") == ["images/1.png"]
    assert matching("**/images/*.png") == ["images/1.png", "linked/images/4.png"]
    assert matching("images/*") == ["images/1.png", "images/deep"]
    assert matching("**/[13].png") == ["3.png", "images/1.png"]


def test_lines_name_a_few_and_count_all_and_counts_name_nobody(folder):
    add(folder, *(f".{number}" for number in range(5)))
    sources = find_sources(folder)
    assert sources.left_out.lines() == ["left out, hidden, or of the system: 5 (.0, .1, .2, ...)"]
    assert sources.left_out.counts() == ["hidden, or of the system: 5"]


def test_every_name_can_be_shown():
    assert shown(os.fsdecode(b"J\xfcrgen.avi")) == "J\\udcfcrgen.avi"
    assert shown("two\nlines\x1b[31m") == "two\\nlines\\x1b[31m"
    assert shown("Jürgen.avi") == "Jürgen.avi"


# Kinds


def write_bare(path, syntax, with_meta: bool = False) -> None:
    """A data set without the preamble."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SpecificCharacterSet, dataset.SOPClassUID = "ISO_IR 100", SecondaryCaptureImageStorage
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 2, 4, 4
    dataset.save_as(path, enforce_file_format=with_meta)
    if with_meta:
        path.write_bytes(path.read_bytes()[132:])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_data_set_without_preamble_is_dicom_whatever_its_name(tmp_path, syntax):
    path = tmp_path / "IM0001"
    write_bare(path, syntax)
    assert path.read_bytes()[128:132] != b"DICM"
    assert is_dicom(path)


def test_a_file_header_without_its_preamble_is_dicom(tmp_path):
    write_bare(tmp_path / "1", ExplicitVRLittleEndian, with_meta=True)
    assert is_dicom(tmp_path / "1")


@pytest.mark.parametrize(
    "content",
    [b"", b"a text", bytes(400), b"\x08\0\x08\0\x08\0\x08\0" * 60, b"\x08\0\x05\0CS\0\0", b"\x08\0\x16\0UI\x02\x001\0"],
)
def test_what_only_begins_like_dicom_is_none(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    is_minimal = content.endswith(b"1\0")  # a SOP class is all that is asked for
    assert (kind_by_content(tmp_path / "x") == "DICOM") == is_minimal


def test_a_directory_is_known_by_its_content_under_any_name(tmp_path):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.MediaStorageDirectoryStorage, "1.2"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.save_as(tmp_path / "dicomdir.1", enforce_file_format=True)
    assert is_dicomdir(tmp_path / "dicomdir.1")
    write_bare(tmp_path / "IM1", ExplicitVRLittleEndian)
    assert not is_dicomdir(tmp_path / "IM1")
