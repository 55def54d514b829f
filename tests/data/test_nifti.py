"""NIfTI: axes, gray values, spacing and times."""

import struct

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


@pytest.mark.parametrize(("unit", "in_mm"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001)])
def test_spacing_is_in_mm_whatever_the_unit(tmp_path, unit, in_mm):
    path = save(tmp_path / "clip.nii", COUNTING.reshape(4, 3, 1, 2), units=(unit, "sec"))
    assert read_clip(path).pixel_spacing_mm == pytest.approx((0.3 * in_mm, 0.2 * in_mm))


@pytest.mark.parametrize(("unit", "in_ms"), [("sec", 1000.0), ("msec", 1.0), ("usec", 0.001)])
def test_times_are_in_ms_whatever_the_unit(tmp_path, unit, in_ms):
    path = save(tmp_path / "clip.nii", COUNTING.reshape(4, 3, 1, 2), units=("mm", unit))
    np.testing.assert_allclose(read_clip(path).frame_times_ms, [0, 0.05 * in_ms], rtol=1e-5)


@pytest.mark.parametrize("step", [0.0, np.nan, np.inf])
def test_a_step_or_spacing_that_is_no_positive_number_is_none(tmp_path, step):
    image = nib.Nifti1Image(COUNTING.reshape(4, 3, 1, 2), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    path = tmp_path / "clip.nii"
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    for axis in (1, 4):
        struct.pack_into("<f", content, 76 + 4 * axis, step)  # pixdim
    path.write_bytes(content)
    clip = read_clip(path)
    assert (clip.pixel_spacing_mm, clip.frame_times_ms) == (None, None)


def test_the_third_axis_of_three_has_no_time_step(tmp_path):
    clip = read_clip(save(tmp_path / "clip.nii", COUNTING, zooms=(0.2, 0.3, 0.05)))
    assert clip.frame_times_ms is None
    assert clip.warnings == ("NIfTI keeps no time step for a third axis: (X, Y, 1, T) has one",)


def test_slope_and_intercept_are_applied_once(tmp_path):
    image = nib.Nifti1Image(COUNTING.reshape(4, 3, 1, 2).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(1 / 64, 0.25)
    nib.save(image, tmp_path / "clip.nii")
    content = bytearray((tmp_path / "clip.nii").read_bytes())
    struct.pack_into("<ff", content, 112, 1 / 64, 0.25)  # scl_slope, scl_inter
    content[352:] = COUNTING.reshape(-1, order="F").astype("<i2").tobytes()
    (tmp_path / "clip.nii").write_bytes(content)
    clip = read_clip(tmp_path / "clip.nii")  # within [0, 1], so shown as it is
    np.testing.assert_allclose(clip.frames[:, 0], COUNTING.T / 64 + 0.25, rtol=1e-6)


def test_a_big_endian_file_reads(tmp_path):
    image = nib.Nifti1Image(COUNTING.astype(">u2") * 100, np.eye(4), header=nib.Nifti1Header(endianness=">"))
    image.header["cal_max"] = 2300
    nib.save(image, tmp_path / "clip.nii")
    np.testing.assert_allclose(read_clip(tmp_path / "clip.nii").frames[:, 0], COUNTING.T / 23, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.complex64, "its values must be real numbers, got complex64"),
        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "its values are colors: save gray values"),
    ],
    ids=["complex", "RGB"],
)
def test_values_that_are_no_gray_are_refused(tmp_path, dtype, message):
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2), dtype), np.eye(4)), tmp_path / "clip.nii")
    with pytest.raises(UnreadableStudyError, match=message):
        read_clip(tmp_path / "clip.nii")


@pytest.mark.parametrize(("change", "shape"), [(1, (4, 3, 2)), (-1, (4, 3, 2))])
def test_a_header_that_lies_about_the_number_of_frames_is_noticed(tmp_path, change, shape):
    path = save(tmp_path / "clip.nii", COUNTING)
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 40 + 2 * 3, shape[2] + change)  # dim[3]
    path.write_bytes(content)
    if change > 0:
        with pytest.raises(UnreadableStudyError, match="its values are damaged or cut off"):
            read_clip(path)
    else:
        clip = read_clip(path)
        assert clip.num_frames == 1
        assert "12 bytes follow the values that the header says, and are left out" in clip.warnings
