"""NIfTI: axes, gray values, spacing and times."""

import nibabel as nib
import numpy as np
import pytest

from bundle.data.readers import UnreadableStudyError, probe_clip, read_clip

COUNTING = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)  # (X, Y, T)


def save(path, values, units=("mm", "sec"), zooms=(0.2, 0.3, 1.0, 0.05)):
    image = nib.Nifti1Image(values, np.eye(4))
    image.header.set_zooms(zooms[: values.ndim])
    image.header.set_xyzt_units(*units)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("shape", [(4, 3, 1, 2), (4, 3, 2)])
def test_x_y_and_time_become_frames_rows_columns(tmp_path, shape):
    path = save(tmp_path / "clip.nii.gz", COUNTING.reshape(shape))
    clip = read_clip(path)
    assert clip.frames.shape == (2, 1, 3, 4)
    for x, y, t in ((0, 0, 0), (3, 1, 1), (2, 2, 0)):
        assert clip.frames[t, 0, y, x] == pytest.approx(COUNTING[x, y, t] / 255)
    assert clip.name == "clip"
    shape_of = probe_clip(path)
    assert (shape_of.num_frames, shape_of.rows, shape_of.columns) == (2, 3, 4)


def test_an_image_is_a_clip_of_one_frame(tmp_path):
    assert read_clip(save(tmp_path / "image.nii", COUNTING[..., 0])).frames.shape == (1, 1, 3, 4)


def test_spacing_and_times_are_the_headers(tmp_path):
    clip = read_clip(save(tmp_path / "clip.nii", COUNTING.reshape(4, 3, 1, 2)))
    assert clip.pixel_spacing_mm == pytest.approx((0.3, 0.2))  # rows are Y
    assert clip.spacing_source == "NIfTI header"
    np.testing.assert_allclose(clip.frame_times_ms, [0, 50], rtol=1e-5)


def test_without_units_there_is_no_spacing_and_no_timing(tmp_path):
    clip = read_clip(save(tmp_path / "clip.nii", COUNTING.reshape(4, 3, 1, 2), units=("unknown", "unknown")))
    assert (clip.pixel_spacing_mm, clip.spacing_source, clip.frame_times_ms) == (None, "none", None)


def test_other_values_than_8_bit_use_percentiles_and_say_so(tmp_path):
    clip = read_clip(save(tmp_path / "clip.nii", COUNTING.astype(np.int16) * 100))
    assert (clip.frames.min(), clip.frames.max()) == (0.0, 1.0)
    assert "no display window: percentiles 0.5-99.5" in clip.warnings[0]


def test_values_that_are_not_numbers_are_refused(tmp_path):
    with pytest.raises(UnreadableStudyError, match=r"clip\.nii: .* values must be finite"):
        read_clip(save(tmp_path / "clip.nii", np.full((2, 2), np.nan, np.float32)))


def test_a_volume_in_time_is_refused(tmp_path):
    with pytest.raises(UnreadableStudyError, match=r"expected \(X, Y\), .* got \(2, 2, 2, 3\)"):
        read_clip(save(tmp_path / "volume.nii", np.zeros((2, 2, 2, 3), np.uint8)))


def test_a_cut_file_is_refused(tmp_path):
    path = save(tmp_path / "clip.nii.gz", np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UnreadableStudyError, match=r"clip\.nii\.gz: .*(cut off|no NIfTI)"):
        read_clip(path)
