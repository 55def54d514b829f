"""The overlay film as DICOM: as many frames, as the overlay shows them, valid for dciodvfy, without a name."""

import subprocess

import numpy as np
import pydicom
import pytest

from bundle.data.readers import read_clip
from bundle.inference import writers
from bundle.inference.overlay import DISPLAY_RATE, OverlayPainter
from bundle.inference.study import SegmentedStudy
from bundle.inference.writers import write_capture
from bundle.metrics.cropped import cropped
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES
from tests.inference.test_dicom_seg import DCIODVFY, needs_dciodvfy, write_source


@pytest.fixture(params=["RF cine", "RF series"])
def study(request, tmp_path):
    """Of a cine, and of single frames."""
    phantom = generate_study(seed=3, size=64, num_frames=3)
    (tmp_path / "source").mkdir()
    path, masks = write_source(request.param, tmp_path / "source", phantom)
    return SegmentedStudy(masks.astype(bool), read_clip(path), STRUCTURES, key="0123456789ab")


def test_a_viewer_sees_the_frames_of_the_overlay(tmp_path, study):
    assert write_capture(study, tmp_path) == ""
    capture = pydicom.dcmread(tmp_path / "overlay.dcm")
    painter = OverlayPainter(study.clip, study.structures)
    shown = np.stack([painter.draw(index, cropped(study.masks, index)) for index in range(study.clip.num_frames)])
    assert capture.pixel_array.shape == shown.shape
    assert np.abs(capture.pixel_array.astype(int) - shown).mean() < 2
    assert float(capture.FrameTime) == pytest.approx(study.interval_ms or 1000 / DISPLAY_RATE, rel=0.01)


def test_it_refers_to_its_source_and_names_nobody(tmp_path, study):
    write_capture(study, tmp_path)
    capture = pydicom.dcmread(tmp_path / "overlay.dcm")
    source = pydicom.dcmread(study.clip.origin[0].path)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert (capture.PatientID, capture.BurnedInAnnotation) == ("0123456789ab", "YES")
    assert str(source.PatientID).encode() not in (tmp_path / "overlay.dcm").read_bytes()


@needs_dciodvfy
def test_dciodvfy_finds_no_error(tmp_path, study):
    write_capture(study, tmp_path)
    command = [DCIODVFY, str(tmp_path / "overlay.dcm")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()
    assert "MultiframeTrueColorSCImage" in " ".join(said)
    assert [line for line in said if line.startswith("Error")] == []


def test_a_film_too_long_is_left_out_and_said(tmp_path, study, monkeypatch):
    monkeypatch.setattr(writers, "MOST_CAPTURE_FRAMES", 2)
    assert write_capture(study, tmp_path) == "too long for a DICOM capture, 2 frames at most: cut the film"
    assert not (tmp_path / "overlay.dcm").exists()
