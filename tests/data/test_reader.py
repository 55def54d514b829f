"""MONAI's LoadImaged with our reader."""

import json
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import LoadImaged

from bundle.data.reader import ClipReader
from bundle.data.readers import UnreadableStudyError, read_clip

RAMP = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
TAGS = {
    "WindowCenter": 12,
    "WindowWidth": 24,
    "FrameTime": 40,
    "PixelSpacing": [0.3, 0.4],
    "PixelSpacingCalibrationType": "GEOMETRY",
}


@pytest.mark.parametrize("reader", [ClipReader, "bundle.data.reader.ClipReader"], ids=["class", "dotted path"])
def test_load_imaged_gives_the_clip_as_it_is_with_its_meta(tmp_path, write_dicom, reader):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, **TAGS)
    image = LoadImaged(keys="image", reader=reader, image_only=True)({"image": path})["image"]
    assert tuple(image.shape) == (2, 1, 3, 4)
    np.testing.assert_array_equal(image.numpy(), read_clip(path).frames)
    np.testing.assert_array_equal(image.meta["frame_times_ms"], [0, 40])
    np.testing.assert_array_equal(image.meta["pixel_spacing_mm"], [0.3, 0.4])
    assert image.meta["spacing_source"] == "calibrated PixelSpacing"
    assert image.meta["filename"] == str(path)
    np.testing.assert_array_equal(image.affine.numpy(), np.eye(4))


def test_unknown_spacing_and_times_are_not_numbers(tmp_path, write_dicom):
    reader = ClipReader()
    _, meta = reader.get_data(reader.read(write_dicom(tmp_path / "cine.dcm", RAMP)))
    assert np.isnan(meta["pixel_spacing_mm"]).all()
    assert np.isnan(meta["frame_times_ms"]).all()


def test_a_refused_file_is_not_tried_with_monais_own_readers(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, WindowCenter=10, WindowWidth=0)
    with pytest.raises(UnreadableStudyError, match=r"cine\.dcm: .*WindowWidth"):
        LoadImaged(keys="image", reader=ClipReader)({"image": path})


def test_suffixes_and_folders_are_recognized(tmp_path):
    reader = ClipReader()
    assert all(reader.verify_suffix(name) for name in ("a.dcm", "b.AVI", "c.nii.gz", tmp_path))
    assert not reader.verify_suffix("notes.txt")


def test_several_files_are_the_frames_of_one_series_whatever_lies_beside_them(tmp_path, write_dicom):
    for number in (2, 1):
        write_dicom(
            tmp_path / f"{number}.dcm", RAMP[number - 1 : number], SeriesInstanceUID="1.2", InstanceNumber=number
        )
    write_dicom(tmp_path / "other.dcm", RAMP[:1], SeriesInstanceUID="1.3", InstanceNumber=1)
    files = [str(tmp_path / "2.dcm"), str(tmp_path / "1.dcm")]
    image = LoadImaged(keys="image", reader=ClipReader, image_only=True)({"image": files})["image"]
    assert tuple(image.shape) == (2, 1, 3, 4)
    assert [Path(path).name for path, _ in json.loads(image.meta["origin"])] == ["1.dcm", "2.dcm"]


def test_a_cut_film_is_read_with_a_warning_and_refused_in_strict_mode(tmp_path, write_video):
    path = write_video(tmp_path / "film.avi", np.random.default_rng(0).integers(0, 255, (20, 64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    loaded = LoadImaged(keys="image", reader=ClipReader(), image_only=True)({"image": path})["image"]
    assert 0 < len(loaded) < 20
    assert any("cut off" in warning for warning in json.loads(loaded.meta["warnings"]))
    with pytest.raises(UnreadableStudyError, match="cut off"):
        LoadImaged(keys="image", reader=ClipReader(strict=True))({"image": path})


def test_the_shape_of_pixels_is_the_sources_unless_the_user_says_other(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "capture.dcm", RAMP, PixelAspectRatio=["9", "8"])
    load = LoadImaged(keys="image", reader=ClipReader(), image_only=True)
    assert load({"image": path})["image"].meta["pixel_aspect"] == 1.125
    image = LoadImaged(keys="image", reader=ClipReader(pixel_aspect=1.2), image_only=True)({"image": path})["image"]
    assert image.meta["pixel_aspect"] == 1.2
    warning = "by the user's word pixels are 1.2 times as high as wide, and are taken so; the file says 1.125"
    assert warning in json.loads(image.meta["warnings"])


def test_a_shape_that_no_pixel_has_is_refused():
    with pytest.raises(ValueError, match="pixel_aspect must be a pixel's height divided by its width, above 0, got 0"):
        ClipReader(pixel_aspect=0)
