"""What is written conforms, and reads back as it was."""

import av
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_voi_lut

from bundle.data.dicom_header import visible_pixels
from bundle.data.readers import read_clip
from bundle.phantom import generate_study
from bundle.phantom.truth import Kinematics
from bundle.phantom.writer import write_avi, write_dicom, write_masks, write_png_folder, write_truth


@pytest.fixture(scope="module")
def study():
    return generate_study(2, size=64, num_frames=4)


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize(("modality", "sop_class"), [("RF", "12.2"), ("XA", "12.1")])
def test_dicom_keeps_every_stored_value(study, tmp_path, modality, sop_class, rle):
    write_dicom(study, tmp_path / "cine.dcm", "p000", modality, rle=rle)
    dataset = pydicom.dcmread(tmp_path / "cine.dcm")
    assert dataset.SOPClassUID == f"1.2.840.10008.5.1.4.1.1.{sop_class}"
    assert dataset.Modality == modality
    np.testing.assert_array_equal(dataset.pixel_array, study.stored)


def test_the_dicom_window_gives_the_display_gray(study, tmp_path):
    write_dicom(study, tmp_path / "cine.dcm", "p000")
    dataset = pydicom.dcmread(tmp_path / "cine.dcm")
    windowed = apply_voi_lut(dataset.pixel_array, dataset) / 4095  # output range of 12 stored bits
    np.testing.assert_allclose(windowed, study.frames[:, 0], atol=1e-4)


def test_dicom_says_phantom_and_has_time_and_calibrated_spacing(study, tmp_path):
    write_dicom(study, tmp_path / "cine.dcm", "p000")
    dataset = pydicom.dcmread(tmp_path / "cine.dcm")
    assert "PHANTOM" in str(dataset.PatientName)
    assert "SYNTHETIC" in dataset.SeriesDescription
    assert dataset.FrameIncrementPointer == pydicom.tag.Tag("FrameTime")
    assert float(dataset.FrameTime) == pytest.approx(study.frame_times_ms[1])
    assert dataset.PixelSpacingCalibrationType in ("FIDUCIAL", "GEOMETRY")
    assert float(dataset.PixelSpacing[0]) == pytest.approx(study.pixel_spacing_mm[0], abs=1e-5)
    assert dataset.ImagerPixelSpacing[0] > dataset.PixelSpacing[0], "the detector plane is magnified"


def test_an_uncalibrated_file_gives_only_the_detector_plane(study, tmp_path):
    write_dicom(study, tmp_path / "cine.dcm", "p000", calibrated=False)
    dataset = pydicom.dcmread(tmp_path / "cine.dcm")
    assert "PixelSpacing" not in dataset
    assert "ImagerPixelSpacing" in dataset


def test_our_reader_returns_the_frames_within_the_shutter_and_their_times_and_spacing(study, tmp_path):
    write_dicom(study, tmp_path / "cine.dcm", "p000")
    clip = read_clip(tmp_path / "cine.dcm")
    visible = visible_pixels(pydicom.dcmread(tmp_path / "cine.dcm"), *clip.frames.shape[2:], [])
    assert 0.5 < visible.mean() < 1
    np.testing.assert_allclose(clip.frames[..., visible], study.frames[..., visible], atol=1e-3)
    assert not clip.frames[..., ~visible].any()
    assert "synthetic: the header says that no patient was imaged" in clip.warnings
    np.testing.assert_allclose(clip.frame_times_ms, study.frame_times_ms, atol=1e-3)
    np.testing.assert_allclose(clip.pixel_spacing_mm, study.pixel_spacing_mm, atol=1e-5)


def test_avi_keeps_frames_and_timing(study, tmp_path):
    write_avi(study, tmp_path / "cine.avi")
    with av.open(str(tmp_path / "cine.avi")) as container:
        frames = list(container.decode(video=0))
        images = np.stack([frame.to_ndarray(format="gray") for frame in frames])
    assert abs(images / 255 - study.frames[:, 0]).mean() < 0.02
    times = np.array([frame.time for frame in frames])
    np.testing.assert_allclose(times - times[0], study.frame_times_ms / 1000, atol=2e-3)


def test_png_folder_holds_one_picture_per_frame(study, tmp_path):
    write_png_folder(study, tmp_path / "frames")
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())][-1] == "frame_0003.png"
    np.testing.assert_allclose(read_clip(tmp_path / "frames").frames, study.frames, atol=1 / 255)


def test_masks_have_axes_x_y_1_t_s_with_spacing_and_seconds(study, tmp_path):
    write_masks(study, tmp_path / "masks.nii.gz")
    image = nib.load(tmp_path / "masks.nii.gz")
    volume = np.asarray(image.dataobj)
    assert volume.shape == (64, 64, 1, 4, 12)
    assert volume.dtype == np.uint8
    frame, structure, row, column = np.argwhere(study.masks)[17]
    assert volume[column, row, 0, frame, structure] == 1
    assert volume.sum() == study.masks.sum()
    assert image.header.get_zooms()[0] == pytest.approx(study.pixel_spacing_mm[1])
    assert image.header.get_zooms()[3] == pytest.approx(study.frame_times_ms[1] / 1000)
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_the_truth_comes_back_from_json(study, tmp_path):
    write_truth(study, tmp_path)
    truth = Kinematics.load(tmp_path / "kinematics.json")
    np.testing.assert_allclose(truth.hyoid_mm, study.kinematics.hyoid_mm, atol=1e-4)
    np.testing.assert_array_equal(truth.bolus_in_airway, study.kinematics.bolus_in_airway)
    assert truth.phase == study.kinematics.phase
    assert truth.hyoid_peak_frame == study.kinematics.hyoid_peak_frame
