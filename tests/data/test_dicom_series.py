"""Which DICOM files are one clip: by instance, run and concatenation, as the headers identify them."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from bundle.data.dicom_series import group_by_clip
from bundle.data.readers import UnreadableStudyError, decode_clip, measure_clip

WINDOW = {"WindowCenter": 500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}
UID = generate_uid()


@pytest.fixture
def write_frame(tmp_path, write_dicom):
    """Write a single frame whose gray value is ``value``."""

    def write(name: str, value: int, **tags: object) -> Path:
        stored = np.full((1, 2, 2), value, np.uint16)
        return write_dicom(tmp_path / name, stored, **WINDOW, **{"SeriesInstanceUID": "1.2.3", **tags})

    return write


def values(clip) -> list[int]:
    return [round(1000 * float(frame[0, 0, 0])) for frame in clip.frames]


# Instances


@pytest.fixture
def series_with_copy(tmp_path, write_frame) -> Path:
    for number in (1, 2, 3):
        write_frame(f"{number}.dcm", 100 * number, InstanceNumber=number)
    shutil.copy(tmp_path / "2.dcm", tmp_path / "2 copy.dcm")
    return tmp_path


def test_an_instance_that_is_there_twice_is_one_frame_and_the_copy_is_told_of(series_with_copy):
    clip = decode_clip(series_with_copy)
    assert values(clip) == [100, 200, 300]
    assert len({pydicom.dcmread(origin.path).SOPInstanceUID for origin in clip.origin}) == 3
    assert clip.warnings == ("left out, a copy of another file of the clip: '2.dcm'",)
    assert measure_clip(series_with_copy).num_frames == 3
    assert len(group_by_clip(sorted(series_with_copy.iterdir()))) == 1


def test_a_copy_with_another_preamble_is_a_copy(series_with_copy):
    copy = series_with_copy / "2 copy.dcm"
    copy.write_bytes(b"\1" * 128 + copy.read_bytes()[128:])
    assert decode_clip(series_with_copy).num_frames == 3


def test_two_contents_of_one_instance_are_refused(series_with_copy):
    changed = pydicom.dcmread(series_with_copy / "2 copy.dcm")
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(series_with_copy / "2 copy.dcm")
    words = r"'2 copy\.dcm' and '2\.dcm' have one SOP Instance UID and different content: keep one"
    with pytest.raises(UnreadableStudyError, match=words):
        decode_clip(series_with_copy)


# Runs


def write_runs(write_frame, tags_of_runs: list[list[dict]]) -> None:
    """Frames of several runs, whose file names alternate; values begin with the run's number."""
    for run, frames in enumerate(tags_of_runs, start=1):
        for number, tags in enumerate(frames, start=1):
            write_frame(f"{number}{run}.dcm", 100 * run + number, **tags)


def times(hour: int) -> list[dict]:
    return [{"InstanceNumber": number, "ContentTime": f"{hour}0000.{number}"} for number in (1, 2, 3)]


RUNS = {
    "Acquisition Number": [[{"AcquisitionNumber": run, "InstanceNumber": n} for n in (1, 2, 3)] for run in (1, 2)],
    "Acquisition UID": [[{"AcquisitionUID": f"1.{run}", "InstanceNumber": n} for n in (1, 2, 3)] for run in (1, 2)],
    "numbers that go on": [
        [{"AcquisitionNumber": run, "InstanceNumber": 2 * n + run} for n in (1, 2, 3)] for run in (1, 2)
    ],
    "a time for each run": [
        [{"AcquisitionTime": f"1{run}0000", "InstanceNumber": n} for n in (1, 2)] for run in (1, 2)
    ],
    "numbers that start again": [times(10), times(11)],
    "numbers that start again after seconds": [
        [{"InstanceNumber": n, "AcquisitionTime": f"1{run}000{n // 3}"} for n in (1, 2, 3, 4)] for run in (1, 2)
    ],
    "planes": [
        [{"ImageType": ["ORIGINAL", "PRIMARY", f"BIPLANE {plane}"], "InstanceNumber": n} for n in (1, 2)]
        for plane in "AB"
    ],
}


@pytest.mark.parametrize("tags", RUNS.values(), ids=RUNS)
def test_each_run_of_a_series_is_a_clip_with_a_note(tmp_path, write_frame, tags):
    write_runs(write_frame, tags)
    clips = [decode_clip(tmp_path, group) for group in group_by_clip(sorted(tmp_path.iterdir()))]
    numbers = range(1, len(tags[0]) + 1)
    assert [values(clip) for clip in clips] == [[100 * run + number for number in numbers] for run in (1, 2)]
    assert all(clip.warnings == ("one of several runs of its series: each run is a clip of its own",) for clip in clips)
    with pytest.raises(UnreadableStudyError, match="2 runs of one series in one folder: put each run in its own"):
        decode_clip(tmp_path)


def test_a_folder_of_many_runs_is_looked_through_once(tmp_path, write_frame, monkeypatch):
    write_runs(write_frame, [[{"AcquisitionNumber": run, "InstanceNumber": n} for n in (1, 2)] for run in range(1, 7)])
    clips = group_by_clip(sorted(tmp_path.iterdir()))
    looked_at: list[Path] = []
    monkeypatch.setattr("bundle.data.dicom_series._header_or_none", looked_at.append)
    for clip in clips:
        decode_clip(tmp_path, clip)
    assert sorted(looked_at) == sorted(tmp_path.iterdir())


def test_a_copy_stays_in_its_run(tmp_path, write_frame):
    write_runs(write_frame, RUNS["numbers that start again"])
    shutil.copy(tmp_path / "21.dcm", tmp_path / "copy.dcm")
    clips = [decode_clip(tmp_path, group) for group in group_by_clip(sorted(tmp_path.iterdir()))]
    assert [values(clip) for clip in clips] == [[101, 102, 103], [201, 202, 203]]


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "AcquisitionTime", "AcquisitionUID"])
def test_what_is_another_for_each_frame_counts_frames_and_no_runs(tmp_path, write_frame, keyword):
    for number in (1, 2, 3):
        write_frame(f"{number}.dcm", number, InstanceNumber=number, **{keyword: f"10000{number}"})
    assert decode_clip(tmp_path).num_frames == 3


@pytest.mark.parametrize(
    "tags",
    [
        [[{"InstanceNumber": number} for number in (1, 2)]] * 2,
        [[{"InstanceNumber": number, "ContentTime": "100000"} for number in (1, 2)]] * 2,
        [[{"InstanceNumber": n, "ContentTime": f"10000{2 * n + run}"} for n in (1, 2)] for run in (0, 1)],
    ],
    ids=["no time", "one time", "times that alternate"],
)
def test_runs_that_nothing_tells_apart_are_refused(tmp_path, write_frame, tags):
    write_runs(write_frame, tags)
    with pytest.raises(UnreadableStudyError, match=r"repeats, in '11\.dcm', '12\.dcm', '21\.dcm': frames of"):
        decode_clip(tmp_path)


def test_a_damaged_file_beside_a_run_does_not_matter(tmp_path, write_frame):
    write_runs(write_frame, RUNS["Acquisition Number"])
    named = sorted(tmp_path.glob("*1.dcm"))
    (tmp_path / "22.dcm").write_bytes((tmp_path / "22.dcm").read_bytes()[:200])
    assert values(decode_clip(tmp_path, named)) == [101, 102, 103]


# Concatenations


def part(write_dicom, path: Path, number: int, first: int, count: int, **tags: object) -> Path:
    stored = np.stack([np.full((2, 2), 100 + frame, np.uint16) for frame in range(first, first + count)])
    groups = []
    for frame in range(first, first + count):
        group, content = Dataset(), Dataset()
        content.FrameReferenceDateTime = f"20260101120000.{frame:06d}"
        group.FrameContentSequence = Sequence([content])
        groups.append(group)
    stated = {"ConcatenationUID": UID, "InConcatenationNumber": number, "InConcatenationTotalNumber": 3}
    stated |= {"ConcatenationFrameOffsetNumber": first, "PerFrameFunctionalGroupsSequence": Sequence(groups)}
    return write_dicom(path, stored, **WINDOW, **{"SeriesInstanceUID": "1.2.3", **stated, **tags})


@pytest.fixture
def concatenation(tmp_path, write_dicom) -> Path:
    """Three parts of 2, 2 and 1 frames, named against their order."""
    for name, number, first, count in (("c", 1, 0, 2), ("b", 2, 2, 2), ("a", 3, 4, 1)):
        part(write_dicom, tmp_path / name, number, first, count)
    return tmp_path


def test_the_parts_of_a_concatenation_are_one_clip_in_their_order(concatenation):
    clip = decode_clip(concatenation)
    assert values(clip) == [100, 101, 102, 103, 104]
    assert [(origin.path.name, origin.index) for origin in clip.origin] == [
        *(("c", 0), ("c", 1), ("b", 0), ("b", 1)),
        ("a", 0),
    ]
    np.testing.assert_allclose(clip.frame_times_ms, [0, 0.001, 0.002, 0.003, 0.004])
    assert clip.warnings == ("3 parts of a concatenation, joined",)
    assert measure_clip(concatenation).num_frames == 5
    assert len(group_by_clip(sorted(concatenation.iterdir()))) == 1


def test_a_copy_of_a_part_is_left_out(concatenation):
    shutil.copy(concatenation / "b", concatenation / "d")
    assert values(decode_clip(concatenation)) == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_missing_part_is_named(concatenation, name):
    (concatenation / name).unlink()
    number = {"c": 1, "b": 2, "a": 3}[name]
    with pytest.raises(UnreadableStudyError, match=f"2 of 3 parts of a concatenation: part {number} is missing"):
        decode_clip(concatenation)


def test_a_part_alone_is_no_clip(concatenation):
    for read in (decode_clip, measure_clip):
        with pytest.raises(UnreadableStudyError, match="1 of 3 parts of a concatenation: part 1, 3 is missing"):
            read(concatenation / "b")


def test_parts_between_which_frames_are_missing_are_refused(tmp_path, write_dicom):
    part(write_dicom, tmp_path / "a", 1, 0, 2, InConcatenationTotalNumber=2)
    part(write_dicom, tmp_path / "b", 2, 3, 2, InConcatenationTotalNumber=2)
    words = "part 2 begins with frame 3 by its header, the parts before have 2"
    with pytest.raises(UnreadableStudyError, match=words):
        decode_clip(tmp_path)


def test_a_concatenation_that_does_not_say_how_many_parts_it_has_is_read_with_a_note(tmp_path, write_dicom):
    for number in (1, 2):
        path = tmp_path / str(number)
        part(write_dicom, path, number, number - 1, 1)
        dataset = pydicom.dcmread(path)
        del dataset.InConcatenationTotalNumber
        dataset.save_as(path)
    (note,) = decode_clip(tmp_path).warnings
    assert note == "2 parts of a concatenation, joined; how many there are, the header does not say"
