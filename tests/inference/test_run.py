"""Files in, masks out, with MONAI's evaluator: a bad file is reported and the others are done."""

import csv
import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from torch import nn

from bundle.inference import study_dataset
from bundle.inference.folder import study_key
from bundle.inference.predictor import ClipInferer
from bundle.inference.results import StudyResults
from bundle.inference.run import StudyOptions, segment_studies
from bundle.inference.save import SaveStudyd
from bundle.inference.study_dataset import StudyDataset
from bundle.inference.writers import WRITERS

STRUCTURES = ("bright", "dark")


class BrightAndDark(nn.Module):
    """Bright pixels are the first structure, dark ones the second."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.cat([frames - 0.5, 0.5 - frames], dim=1) * 20


def write_clip(folder, name: str, num_frames: int = 3, brightest: int = 255) -> np.ndarray:
    """A folder of pictures ``(T, H, W)``, 24 × 32."""
    (folder / name).mkdir(parents=True)
    frames = np.zeros((num_frames, 24, 32), np.uint8)
    for index, frame in enumerate(frames):
        frame[4:12, 3 + index : 14 + index] = brightest
        Image.fromarray(frame).save(folder / name / f"frame{index}.png")
    return frames


def segment(source, output_dir, outputs=tuple(WRITERS), model=None, **options) -> StudyResults:
    inferer = ClipInferer(32, batch_size=2, progress=False)
    options = StudyOptions(**options)
    return segment_studies(source, output_dir, BrightAndDark(), inferer, STRUCTURES, outputs, model, options)


def rows_of(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_masks_of_a_clip_lie_where_its_pixels_are(tmp_path):
    frames = write_clip(tmp_path, "clip")
    results = segment(tmp_path / "clip" / "..", tmp_path / "out", model={"name": "test", "version": "0"})
    assert "no swallow is measured: needs c2, c4" in results.studies[0].notes
    assert any("a DICOM SEG needs a DICOM source" in note for note in results.studies[0].notes)
    folder = tmp_path / "out" / study_key(tmp_path / "clip")
    voxels = np.asanyarray(nib.load(folder / "masks.nii.gz").dataobj)
    np.testing.assert_array_equal(voxels[:, :, 0, :, 0].transpose(2, 1, 0), frames > 127)
    assert json.loads((folder / "masks.json").read_text())["model"] == {"name": "test", "version": "0"}
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "areas.csv",
        "masks",
        "masks.json",
        "masks.nii.gz",
        "measures.csv",
        "measures.json",
        "overlay.json",
        "overlay.mp4",
        "overlay.png",
        "report.html",
        "study.json",
    ]
    assert results.exit_status == 0


def test_one_bad_file_is_reported_and_the_others_are_done(tmp_path):
    write_clip(tmp_path / "in", "b")
    write_clip(tmp_path / "in", "d", num_frames=2)
    (tmp_path / "in" / "a.dcm").touch()
    (tmp_path / "in" / "c.avi").write_text("this is no video")
    results = segment(tmp_path / "in", tmp_path / "out", outputs=["areas"])
    assert {study.source.name: study.status for study in results.studies} == {
        "a.dcm": "refused",
        "b": "done",
        "c.avi": "refused",
        "d": "done",
    }
    rows = rows_of(tmp_path / "out" / "results.csv")
    assert sorted(row["status"] for row in rows) == ["done", "done", "refused", "refused"]
    assert "the file is empty" in [row["reason"] for row in rows]
    assert [row["frames"] for row in rows if row["status"] == "done"] == ["3", "2"]
    with pytest.raises(SystemExit, match=r"2 of 4 studies were refused: see .*results\.csv"):
        results.exit_if_refused()


def test_a_report_in_a_pacs_export_is_listed_and_no_failure(tmp_path):
    write_clip(tmp_path / "in", "a")
    report = pydicom.Dataset()
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = pydicom.uid.BasicTextSRStorage
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID = "1.2.3"
    report.PatientName = "Doe^Jane"
    report.save_as(tmp_path / "in" / "SR0001", enforce_file_format=True)
    results = segment(tmp_path / "in", tmp_path / "out", outputs=["areas"])
    assert [(study.status, study.reason) for study in results.studies if study.source.name == "SR0001"] == [
        ("no image", "no image in it: Basic Text SR Storage")
    ]
    assert results.exit_status == 0


def test_when_every_file_is_bad_the_run_ends_and_says_so(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.avi").touch()
    results = segment(tmp_path / "in", tmp_path / "out")
    assert results.exit_status == 1
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["results.csv"]


def test_no_result_names_a_file_unless_asked_for(tmp_path):
    write_clip(tmp_path / "in", "JANE_DOE")
    (tmp_path / "in" / "JANE_DOE" / "JANE_DOE_9.png").write_bytes((tmp_path / "in/JANE_DOE/frame0.png").read_bytes())
    write_clip(tmp_path / "in", "JANE_DOE_mixed")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "in" / "JANE_DOE_mixed" / "JANE_DOE_x.png")
    (tmp_path / "in" / "JANE_DOE.avi").write_text("no video")
    results = segment(tmp_path / "in", tmp_path / "out")
    assert [study.status for study in results.studies].count("refused") == 2
    for path in (tmp_path / "out").rglob("*"):
        assert "JANE" not in path.name
        assert path.is_dir() or b"JANE" not in path.read_bytes()
    assert "JANE_DOE.avi" in results.format_table()  # on the terminal of the person who named the folder

    segment(tmp_path / "in", tmp_path / "out", outputs=["areas"], write_sources=True)
    sources = {row["key"]: row["source"] for row in rows_of(tmp_path / "out" / "sources.csv")}
    assert sources[study_key(tmp_path / "in" / "JANE_DOE")].endswith("JANE_DOE")


def test_the_same_content_twice_is_segmented_once(tmp_path):
    write_clip(tmp_path / "in", "a")
    write_clip(tmp_path / "in", "b")
    results = segment(tmp_path / "in", tmp_path / "out", outputs=["areas"])
    assert [study.status for study in results.studies] == ["done", "duplicate"]
    assert results.exit_status == 0


def test_what_an_earlier_run_has_finished_is_not_done_again(tmp_path):
    write_clip(tmp_path / "in", "a")
    settings = {"outputs": ["areas"], "settings": {"checkpoint": "1"}}
    segment(tmp_path / "in", tmp_path / "out", **settings)
    written = tmp_path / "out" / study_key(tmp_path / "in" / "a") / "areas.csv"
    before = written.stat().st_mtime_ns
    write_clip(tmp_path / "in", "b", num_frames=2)
    results = segment(tmp_path / "in", tmp_path / "out", **settings)
    assert [(study.source.name, study.reason) for study in results.studies] == [
        ("a", "finished by an earlier run"),
        ("b", ""),
    ]
    assert [row["frames"] for row in rows_of(tmp_path / "out" / "results.csv")] == ["3", "2"]
    assert (written.stat().st_mtime_ns, results.exit_status) == (before, 0)


@pytest.mark.parametrize("change", ["settings", "no settings", "a lost file", "a damaged record"])
def test_a_study_is_done_again_when_it_would_come_out_otherwise(tmp_path, change):
    write_clip(tmp_path / "in", "a")
    settings = {"outputs": ["areas"], "settings": {"checkpoint": "1"}}
    segment(tmp_path / "in", tmp_path / "out", **settings)
    folder = tmp_path / "out" / study_key(tmp_path / "in" / "a")
    if change == "settings":
        settings["settings"] = {"checkpoint": "2"}
    elif change == "no settings":
        settings["settings"] = None
    elif change == "a lost file":
        (folder / "areas.csv").unlink()
    else:
        (folder / "study.json").write_text('{"key": ')
    results = segment(tmp_path / "in", tmp_path / "out", **settings)
    assert [(study.status, study.reason) for study in results.studies] == [("done", "")]
    assert (folder / "areas.csv").is_file()


def test_an_error_of_the_model_stops_the_run_and_leaves_no_half_study(tmp_path):
    write_clip(tmp_path / "in", "a")

    class Broken(nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return torch.full((len(frames), 2, 32, 32), torch.nan)

    with pytest.raises(ValueError, match="NaN or infinity for frames 0 to 1"):
        segment_studies(tmp_path / "in", tmp_path / "out", Broken(), ClipInferer(32, 2), STRUCTURES)
    assert not (tmp_path / "out").exists()


def test_an_error_in_the_middle_of_a_film_names_its_frames_and_leaves_nothing(tmp_path):
    write_clip(tmp_path / "in", "a", num_frames=7)

    class BreaksLater(BrightAndDark):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return super().forward(frames) if len(frames) == 2 else frames.new_full((len(frames), 2, 32, 32), torch.nan)

    with pytest.raises(ValueError, match="NaN or infinity for frames 6 to 6"):
        segment_studies(
            tmp_path / "in", tmp_path / "out", BreaksLater(), ClipInferer(32, 2), STRUCTURES, options=StudyOptions(2)
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_of_our_own_is_not_taken_for_a_bad_file(tmp_path, monkeypatch):
    write_clip(tmp_path, "a")

    def broken(*_):
        raise KeyError("a mistake on the way")

    monkeypatch.setattr(study_dataset, "with_aspect", broken)
    with pytest.raises(KeyError, match="a mistake"):
        list(StudyDataset([tmp_path / "a"], StudyResults(tmp_path / "out"), progress=False))


def test_a_still_gives_a_picture_and_no_film(tmp_path):
    write_clip(tmp_path / "in", "a", num_frames=1)
    segment(tmp_path / "in", tmp_path / "out", outputs=["overlay"])
    folder = tmp_path / "out" / study_key(tmp_path / "in" / "a" / "frame0.png")
    assert sorted(entry.name for entry in folder.iterdir()) == ["overlay.png", "study.json"]


def test_an_unknown_output_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"outputs must be some of \['areas', .*'png'.*\], got \['gif'\]"):
        SaveStudyd(STRUCTURES, StudyResults(tmp_path), outputs=["gif"])
