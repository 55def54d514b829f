"""What of a folder is a study."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from bundle.inference.folder import find_studies


def write_dicom(path, series: str, num_frames: int = 1) -> None:
    """A header without pixels: enough to be sorted."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = series
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = num_frames, 4, 4
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def found(folder, **options) -> list[str]:
    studies = [study if isinstance(study, tuple) else (study,) for study in find_studies(folder, **options).studies]
    return [" + ".join(str(path.relative_to(folder)) for path in study) for study in studies]


def test_videos_pictures_and_nifti_in_subfolders_are_found_in_natural_order(tmp_path):
    for name in ("b/clip10.avi", "b/clip9.MP4", "a/1.png", "a/2.png", "still/one.jpg", "notes.txt", "a/Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"any")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 1, 2), np.uint8), np.eye(4)), tmp_path / "cine.nii.gz")
    assert found(tmp_path) == ["cine.nii.gz", "a", "b/clip9.MP4", "b/clip10.avi", "still/one.jpg"]


def test_a_single_file_is_one_study(tmp_path):
    (tmp_path / "clip.avi").write_bytes(b"any")
    assert find_studies(tmp_path / "clip.avi").studies == [tmp_path / "clip.avi"]


def test_single_frames_of_one_dicom_series_are_one_study(tmp_path):
    for index in range(3):
        write_dicom(tmp_path / "series" / f"IM{index}", "1.2.3")
    assert found(tmp_path) == ["series"]


def test_cines_and_frames_of_different_series_are_studies_of_their_own(tmp_path):
    write_dicom(tmp_path / "cines" / "IM1", "1.2.3", num_frames=5)
    write_dicom(tmp_path / "cines" / "IM2", "1.2.3", num_frames=5)
    write_dicom(tmp_path / "stills" / "IM1", "1.2.3")
    write_dicom(tmp_path / "stills" / "IM2", "1.2.4")
    assert found(tmp_path) == ["cines/IM1", "cines/IM2", "stills/IM1", "stills/IM2"]


def test_series_that_a_pacs_exports_into_one_folder_are_told_apart(tmp_path):
    for name, series, num_frames in (
        ("3", "1.2", 1),
        ("1", "1.2", 1),
        ("2", "1.3", 1),
        ("4", "1.3", 1),
        ("5", "1.3", 9),
    ):
        write_dicom(tmp_path / name, series, num_frames)
    (tmp_path / "6.dcm").write_bytes(b"damaged")
    assert found(tmp_path) == ["1 + 3", "2 + 4", "5", "6.dcm"]


def test_masks_hidden_files_and_dicomdir_are_no_studies(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 1, 2, 3), np.uint8), np.eye(4)), tmp_path / "masks.nii.gz")
    (tmp_path / ".clip.avi").write_bytes(b"any")
    write_dicom(tmp_path / "DICOMDIR", "1.2.3")
    write_dicom(tmp_path / "cine.dcm", "1.2.3", num_frames=2)
    assert found(tmp_path) == ["cine.dcm"]


def test_a_damaged_file_is_kept_so_that_it_is_reported(tmp_path):
    for name in ("empty.avi", "empty.dcm", "empty.nii.gz"):
        (tmp_path / name).touch()
    assert found(tmp_path) == ["empty.dcm", "empty.avi", "empty.nii.gz"]


def test_dicom_without_preamble_and_suffix_is_found(tmp_path):
    for name in ("1", "2"):
        write_dicom(tmp_path / "series" / name, "1.2.3")
        path = tmp_path / "series" / name
        path.write_bytes(path.read_bytes()[132:])
    write_dicom(tmp_path / "cine" / "IM0001", "1.2.4", num_frames=3)
    bare = pydicom.dcmread(tmp_path / "cine" / "IM0001")
    del bare.file_meta, bare.preamble
    pydicom.dcmwrite(
        tmp_path / "cine" / "IM0001", bare, implicit_vr=True, little_endian=True, enforce_file_format=False
    )
    assert found(tmp_path) == ["cine/IM0001", "series"]


def test_a_dicomdir_stands_for_the_files_of_its_folder(tmp_path):
    write_dicom(tmp_path / "IMAGES" / "IM1", "1.2.3", num_frames=2)
    (tmp_path / "DICOMDIR").write_bytes(b"any")
    assert find_studies(tmp_path / "DICOMDIR").studies == [tmp_path / "IMAGES" / "IM1"]


def test_results_of_an_earlier_run_with_another_folder_are_left_out_and_named(tmp_path):
    (tmp_path / "clip.avi").write_bytes(b"any")
    (tmp_path / "first" / "abc" / "masks" / "c2").mkdir(parents=True)
    for name in ("overlay.mp4", "overlay.png", "masks.dcm", "masks/c2/frame_00001.png", "masks/c2/frame_00002.png"):
        (tmp_path / "first" / "abc" / name).write_bytes(b"any")
    (tmp_path / "first" / "abc" / "study.json").write_text('{"key": "abc", "settings": null, "outputs": []}')
    assert found(tmp_path, exclude=tmp_path / "second") == ["clip.avi"]
    assert find_studies(tmp_path).left_out.lines() == ["left out, results of an earlier run: 1 (abc)"]


def test_masks_and_files_of_other_kinds_are_named(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 1, 2, 3), np.uint8), np.eye(4)), tmp_path / "masks.nii.gz")
    for name in ("clip.avi", "notes.txt", "table.csv"):
        (tmp_path / name).write_bytes(b"any")
    assert find_studies(tmp_path).left_out.counts() == [
        "masks, one channel per structure: 1",
        "neither DICOM nor of a suffix that is read here: 2",
    ]


def test_results_inside_the_input_are_not_segmented_again(tmp_path):
    (tmp_path / "clip.avi").write_bytes(b"any")
    (tmp_path / "results" / "abc").mkdir(parents=True)
    (tmp_path / "results" / "abc" / "overlay.mp4").write_bytes(b"any")
    assert found(tmp_path, exclude=tmp_path / "results") == ["clip.avi"]


def test_nothing_to_do_is_an_error_that_says_what_is_expected(tmp_path):
    (tmp_path / "notes.txt").touch()
    expected = r"no study in .*: expected files \.dcm.* name; left out, neither DICOM .*: 1 \(notes\.txt\)"
    with pytest.raises(ValueError, match=expected):
        find_studies(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*nowhere"):
        find_studies(tmp_path / "nowhere")
