"""NIfTI: every voxel, the geometry, and the sidecar, read back."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.data.clip import Clip
from bundle.data.labels import read_labels
from bundle.inference.study import SegmentedStudy
from bundle.inference.writers import write_nifti
from tests.inference.conftest import STRUCTURES, make_clip


def written(masks: np.ndarray, clip: Clip, folder: Path, model: dict[str, str] | None = None) -> tuple[Path, Path]:
    assert write_nifti(SegmentedStudy(masks, clip, STRUCTURES, model or {}), folder) == ""
    return folder / "masks.nii.gz", folder / "masks.json"


def test_every_voxel_comes_back(tmp_path, clip, masks):
    path, _ = written(masks, clip, tmp_path)
    voxels = np.asanyarray(nib.load(path).dataobj)
    assert voxels.dtype == np.uint8
    assert voxels.shape == (31, 20, 1, 4, 3)
    for t, s, row, column in [(0, 0, 0, 0), (3, 1, 19, 30), (2, 0, 7, 11)]:
        assert voxels[column, row, 0, t, s] == masks[t, s, row, column]
    np.testing.assert_array_equal(voxels[:, :, 0].transpose(2, 3, 1, 0), masks)


def test_the_file_is_the_one_that_nibabel_writes_and_the_same_each_time(tmp_path, clip, masks):
    path, _ = written(masks, clip, tmp_path)
    image, content = nib.load(path), path.read_bytes()
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), tmp_path / "nibabel.nii.gz")
    assert gzip.decompress(content) == gzip.decompress((tmp_path / "nibabel.nii.gz").read_bytes())
    assert written(masks, clip, tmp_path)[0].read_bytes() == content


def test_more_frames_than_nifti_counts_are_refused(tmp_path):
    study = SegmentedStudy(np.zeros((32768, 3, 1, 12), bool), make_clip(32768, 1, 12), STRUCTURES)
    assert write_nifti(study, tmp_path) == "too long for NIfTI, 32767 frames at most: cut the film"
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_a_label_that_a_data_list_can_name(tmp_path, clip, masks):
    path, _ = written(masks, clip, tmp_path)
    np.testing.assert_array_equal(read_labels(path, STRUCTURES), masks)


def test_pixel_size_and_time_step_are_the_clips(tmp_path, clip, masks):
    path, _ = written(masks, clip, tmp_path)
    header = nib.load(path).header
    np.testing.assert_allclose(header.get_zooms(), (0.5, 0.3, 1.0, 0.04, 1.0), rtol=1e-6)  # columns first
    assert header.get_xyzt_units() == ("mm", "sec")


def test_without_spacing_and_times_the_units_are_unknown(tmp_path, masks):
    clip = make_clip(frame_times_ms=None, pixel_spacing_mm=None, spacing_source="none")
    path, sidecar = written(masks, clip, tmp_path)
    header = nib.load(path).header
    assert header.get_zooms() == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert header.get_xyzt_units() == ("unknown", "unknown")
    content = json.loads(sidecar.read_text())
    assert content["pixel_spacing_mm"] is None
    assert content["frame_times_ms"] is None
    assert content["spacing_source"] == "none"


def test_without_spacing_the_shape_of_a_pixel_is_kept(tmp_path, masks):
    clip = make_clip(pixel_spacing_mm=None, spacing_source="none", pixel_aspect=1.125)
    path, sidecar = written(masks, clip, tmp_path)
    image = nib.load(path)
    np.testing.assert_allclose(image.header.get_zooms()[:2], (1.0, 1.125))  # columns first
    np.testing.assert_allclose(np.abs(np.diag(image.affine))[:2], (1.0, 1.125))
    assert image.header.get_xyzt_units()[0] == "unknown"
    assert json.loads(sidecar.read_text())["pixel_aspect"] == 1.125


def test_the_sidecar_says_what_the_image_cannot_and_names_nobody(tmp_path, masks):
    clip = make_clip(pixel_intensity_relationship="LIN", frame_times_source="FrameTime")
    model = {"name": "segmenter", "version": "1.2.3"}
    _, sidecar = written(masks, clip, tmp_path, model)
    content = json.loads(sidecar.read_text())
    assert content["structures"] == [{"index": i, "name": name} for i, name in enumerate(STRUCTURES)]
    assert content["spacing_source"] == "calibrated PixelSpacing"
    assert content["frame_times_ms"] == [0.0, 40.0, 80.0, 120.0]
    assert content["model"] == model
    assert content["pixel_aspect"] == clip.pixel_aspect
    assert content["pixel_intensity_relationship"] == "LIN"
    assert content["frame_times_source"] == "FrameTime"
    assert "research use only" in content["intended_use"]
    assert "JANE" not in sidecar.read_text()


def test_masks_of_another_clip_are_refused(clip, masks):
    with pytest.raises(ValueError, match=r"masks must be \(T, S, H, W\) = \(4, 3, 20, 31\).*got \(4, 3, 31, 20\)"):
        SegmentedStudy(masks.swapaxes(2, 3), clip, STRUCTURES)
