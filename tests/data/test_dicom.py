"""DICOM: stored value -> modality LUT -> VOI LUT -> MONOCHROME1, timing, spacing, and what must be refused."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from bundle.data.readers import UnreadableStudyError, probe_clip, read_clip

RAMP = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4) * 100  # 0 ... 2300
WINDOW = {"WindowCenter": 1024, "WindowWidth": 2048}


def dataset_like(values: dict[str, object]) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("syntax", [None, RLELossless], ids=["uncompressed", "RLE"])
def test_a_cine_has_frames_rows_columns_in_this_order(tmp_path, write_dicom, syntax):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, syntax, **WINDOW)
    clip = read_clip(path)
    assert clip.frames.shape == (2, 1, 3, 4)
    assert clip.frames.dtype == np.float32
    # PS3.3 C.11.2.1.2: (x - (c - 0.5)) / (w - 1) + 0.5, clipped
    by_hand = np.clip((RAMP - 1023.5) / 2047 + 0.5, 0, 1)
    np.testing.assert_allclose(clip.frames[:, 0], by_hand, atol=1e-6)
    assert [(origin.path, origin.index) for origin in clip.origin] == [(path, 0), (path, 1)]
    assert clip.warnings == ()


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 900, "WindowWidth": 1000},
        {"WindowCenter": 900, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 900, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 50, "WindowWidth": 90, "RescaleSlope": 0.1, "RescaleIntercept": -20, "RescaleType": "US"},
    ],
    ids=["linear", "linear exact", "sigmoid", "rescaled"],
)
def test_gray_values_agree_with_pydicom_own_windowing(tmp_path, write_dicom, tags):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, **tags)
    dataset = pydicom.dcmread(path)
    values = pydicom.pixels.apply_windowing(pydicom.pixels.apply_modality_lut(RAMP, dataset), dataset)
    lowest, highest = pydicom.pixels.apply_modality_lut(np.array([0, 4095]), dataset)  # what pydicom's output spans
    np.testing.assert_allclose(read_clip(path).frames[:, 0], (values - lowest) / (highest - lowest), atol=2e-3)


def test_the_first_of_several_windows_is_used(tmp_path, write_dicom):
    one = write_dicom(tmp_path / "one.dcm", RAMP, WindowCenter=300, WindowWidth=200)
    two = write_dicom(tmp_path / "two.dcm", RAMP, WindowCenter=[300, 2000], WindowWidth=[200, 20])
    np.testing.assert_array_equal(read_clip(one).frames, read_clip(two).frames)


def test_a_voi_lut_sequence_maps_through_its_table(tmp_path, write_dicom):
    lut = dataset_like({"LUTDescriptor": [4, 0, 8], "LUTData": [0, 51, 102, 255]})
    stored = np.array([[[0, 1], [2, 3]]], np.uint16)
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "US"
    path = write_dicom(tmp_path / "lut.dcm", stored, VOILUTSequence=Sequence([lut]))
    np.testing.assert_allclose(read_clip(path).frames[0, 0], [[0.0, 0.2], [0.4, 1.0]], atol=1e-6)


def test_monochrome1_gives_the_same_frames_as_its_monochrome2_twin(tmp_path, write_dicom):
    two = write_dicom(tmp_path / "two.dcm", RAMP, WindowCenter=1024.5, WindowWidth=2048)
    one = write_dicom(
        tmp_path / "one.dcm", 2048 - np.minimum(RAMP, 2048), PhotometricInterpretation="MONOCHROME1", **WINDOW
    )
    # 2048 - x about the center 1024 is x about 1024 mirrored; the half of PS3.3's formula moves the twin's center by 1
    one_frames, two_frames = read_clip(one).frames, read_clip(two).frames
    np.testing.assert_allclose(one_frames, two_frames, atol=1e-3)
    assert two_frames[1, 0, 2, 3] == 1.0  # the highest stored value is the brightest


def test_without_a_window_percentiles_are_used_and_said(tmp_path, write_dicom):
    clip = read_clip(write_dicom(tmp_path / "cine.dcm", RAMP))
    assert clip.frames.min() == 0.0
    assert clip.frames.max() == 1.0
    assert "no window in the header: percentiles 0.5-99.5 used" in clip.warnings[0]


def test_a_gray_capture_in_rgb_becomes_gray_without_a_warning(tmp_path, write_dicom):
    gray = np.array([[[0, 51], [102, 255]]], np.uint8)
    clip = read_clip(write_dicom(tmp_path / "capture.dcm", np.repeat(gray[..., None], 3, axis=-1)))
    np.testing.assert_allclose(clip.frames[0, 0], gray[0] / 255, atol=1e-6)
    assert clip.warnings == ()


def test_a_colored_capture_is_warned_of(tmp_path, write_dicom):
    rgb = np.full((1, 2, 2, 3), 100, np.uint8)
    rgb[0, 0, 0] = (255, 0, 0)
    clip = read_clip(write_dicom(tmp_path / "capture.dcm", rgb))
    assert "colored pixels (up to 25.0 %)" in clip.warnings[0]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"FrameTimeVector": [0, 40, 30], "FrameTime": 99}, [0, 40, 70]),
        ({"FrameTime": 33.5, "CineRate": 10}, [0, 33.5, 67]),
        ({"CineRate": 20, "RecommendedDisplayFrameRate": 10}, [0, 50, 100]),
        ({"RecommendedDisplayFrameRate": 10}, [0, 100, 200]),
        ({}, None),
        ({"FrameTime": 0}, None),
    ],
    ids=["vector", "frame time", "cine rate", "display rate", "none", "zero"],
)
def test_times_come_from_the_first_rule_that_applies_and_are_never_invented(tmp_path, write_dicom, tags, expected):
    clip = read_clip(write_dicom(tmp_path / "cine.dcm", np.zeros((3, 2, 2), np.uint16), **WINDOW, **tags))
    if expected is None:
        assert clip.frame_times_ms is None
        assert clip.frame_times_source == "none"
    else:
        np.testing.assert_allclose(clip.frame_times_ms, expected)
        assert clip.frame_times_source == next(iter(tags))
    assert bool(clip.warnings) == (tags == {"FrameTime": 0})


@pytest.mark.parametrize(
    ("tags", "spacing", "source"),
    [
        (
            {"PixelSpacing": [0.3, 0.3], "PixelSpacingCalibrationType": "FIDUCIAL", "ImagerPixelSpacing": [0.4, 0.4]},
            (0.3, 0.3),
            "calibrated PixelSpacing",
        ),
        ({"PixelSpacing": [0.3, 0.3], "ImagerPixelSpacing": [0.4, 0.4]}, (0.3, 0.3), "calibrated PixelSpacing"),
        (
            {"PixelSpacing": [0.4, 0.4], "ImagerPixelSpacing": [0.4, 0.4]},
            (0.4, 0.4),
            "ImagerPixelSpacing: detector plane, magnified",
        ),
        ({"PixelSpacing": [0.4, 0.4]}, (0.4, 0.4), "PixelSpacing: calibration not stated"),
        ({"PixelSpacing": [0, 0]}, None, "none"),
        ({}, None, "none"),
    ],
    ids=["fiducial", "differs from the detector's", "equals the detector's", "alone", "zero", "none"],
)
def test_spacing_has_its_source_and_none_is_invented(tmp_path, write_dicom, tags, spacing, source):
    clip = read_clip(write_dicom(tmp_path / "cine.dcm", RAMP, **WINDOW, **tags))
    assert clip.pixel_spacing_mm == spacing
    assert clip.spacing_source == source


def test_an_enhanced_object_keeps_its_window_in_functional_groups(tmp_path, write_dicom):
    group = dataset_like({"FrameVOILUTSequence": Sequence([dataset_like(WINDOW)])})
    path = write_dicom(tmp_path / "enhanced.dcm", RAMP, SharedFunctionalGroupsSequence=Sequence([group]))
    plain = write_dicom(tmp_path / "plain.dcm", RAMP, **WINDOW)
    np.testing.assert_array_equal(read_clip(path).frames, read_clip(plain).frames)


def test_a_series_is_ordered_by_instance_number_and_names_what_it_excludes(tmp_path, write_dicom):
    for name, number in (("a", 10), ("b", 9), ("c", 1)):
        stored = np.full((1, 2, 2), 100 * number, np.uint16)
        write_dicom(tmp_path / name, stored, InstanceNumber=number, SeriesInstanceUID="1.2.3", **WINDOW)
    (tmp_path / "Thumbs.db").write_bytes(b"thumbnails")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "notes").write_bytes(b"a text")
    clip = read_clip(tmp_path)
    assert [origin.path.name for origin in clip.origin] == ["c", "b", "a"]
    assert (np.diff(clip.frames[:, 0, 0, 0]) > 0).all()
    assert clip.warnings == ("excluded, not part of the clip: 'notes'",)
    assert probe_clip(tmp_path).num_frames == 3


def test_files_without_preamble_and_suffix_are_read_alone_and_as_a_series(tmp_path, write_dicom):
    for number in (1, 2):
        path = tmp_path / f"IM{number}"
        write_dicom(path, np.full((1, 2, 2), 100 * number, np.uint16), InstanceNumber=number, SeriesInstanceUID="1.2")
        dataset = pydicom.dcmread(path)
        del dataset.file_meta, dataset.preamble
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    assert read_clip(tmp_path / "IM1").num_frames == 1
    assert read_clip(tmp_path).num_frames == 2


def test_a_series_without_instance_numbers_is_refused(tmp_path, write_dicom):
    for name in ("a", "b"):
        write_dicom(tmp_path / name, RAMP[:1], SeriesInstanceUID="1.2.3")
    with pytest.raises(UnreadableStudyError, match="no InstanceNumber, so no order, in 'a', 'b'"):
        read_clip(tmp_path)


def test_a_series_of_mixed_sizes_is_refused(tmp_path, write_dicom):
    write_dicom(tmp_path / "a", RAMP[:1], SeriesInstanceUID="1.2.3", InstanceNumber=1)
    write_dicom(tmp_path / "b", RAMP[:1, :2], SeriesInstanceUID="1.2.3", InstanceNumber=2)
    with pytest.raises(UnreadableStudyError, match=r"mixed sizes: 'a' has 3 x 4 pixels, 'b' has 2 x 4"):
        read_clip(tmp_path)


def test_two_series_in_one_folder_are_refused(tmp_path, write_dicom):
    for name, series in (("a", "1.2.3"), ("b", "1.2.4")):
        write_dicom(tmp_path / name, RAMP[:1], SeriesInstanceUID=series, InstanceNumber=1)
    with pytest.raises(UnreadableStudyError, match="files of 2 series in one folder"):
        read_clip(tmp_path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"WindowCenter": 100, "WindowWidth": 0}, "WindowWidth must be at least 1 for LINEAR .* got 0"),
        ({"NumberOfFrames": 5}, "the header says 5 frames, 2 whole ones are there"),
        ({"PixelData": None}, r"no PixelData \(7FE0,0010\)"),
        ({"PixelData": RAMP.tobytes()[:30]}, "PixelData is cut off: the header says 2 frames, 1 whole"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels, 32 GiB decoded; the limit is 8 GiB"),
        ({"NumberOfFrames": 2_000_000_000}, "2000000000 frames"),
        ({"PhotometricInterpretation": "CMYK"}, "PhotometricInterpretation must be .* got 'CMYK'"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "damaged DICOM|cannot be decoded"),
        ({"Rows": 0}, "the header says 2 frames of 0 x 4 pixels"),
        ({"HighBit": None, "BitsStored": None, "WindowCenter": 9, "WindowWidth": 9}, "cannot be decoded|damaged"),
        ({"BitsAllocated": 32}, "BitsAllocated must be 8 or 16, got 32"),
        ({"NumberOfFrames": -3}, "the header says -3 frames"),
        ({"BitsAllocated": None}, "cannot be decoded|damaged"),
    ],
)
def test_a_bad_header_is_refused_by_file_and_reason_and_never_by_patient(tmp_path, write_dicom, tags, message):
    path = write_dicom(tmp_path / "bad.dcm", RAMP, **tags)
    with pytest.raises(UnreadableStudyError, match=message) as caught:
        read_clip(path)
    assert str(caught.value).startswith(f"{path}: not a readable study: ")
    assert "Secret" not in str(caught.value)


def test_more_frames_than_the_header_says_are_left_out_with_a_warning(tmp_path, write_dicom):
    clip = read_clip(write_dicom(tmp_path / "cine.dcm", RAMP, NumberOfFrames=1, **WINDOW))
    assert clip.num_frames == 1
    assert "the header says 1 frames, the file has 2" in clip.warnings[0]


def test_jpeg_ls_reads_where_its_decoder_is_installed(tmp_path, write_dicom):
    pytest.importorskip("jpeg_ls", reason="pyjpegls is not installed")
    stored = np.random.default_rng(0).integers(0, 2048, (2, 32, 32), dtype=np.uint16)
    plain = write_dicom(tmp_path / "plain.dcm", stored, **WINDOW)
    packed = write_dicom(tmp_path / "packed.dcm", stored, pydicom.uid.JPEGLSLossless, **WINDOW)
    np.testing.assert_array_equal(read_clip(packed).frames, read_clip(plain).frames)


def test_a_cut_rle_file_is_refused(tmp_path, write_dicom):
    rng = np.random.default_rng(0)
    path = write_dicom(tmp_path / "cine.dcm", rng.integers(0, 4096, (4, 32, 32), dtype=np.uint16), RLELossless)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UnreadableStudyError, match=r"cine\.dcm: not a readable study: no DICOM image, or cut off"):
        read_clip(path)


def test_an_rle_file_with_fewer_frames_than_its_header_says_is_refused(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, RLELossless, NumberOfFrames=3)
    with pytest.raises(UnreadableStudyError, match=r"RLE Lossless cannot be decoded|the header says 3 frames"):
        read_clip(path)


def test_a_code_stream_of_another_size_than_the_header_is_refused(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, RLELossless, Rows=5)
    with pytest.raises(UnreadableStudyError, match=r"cine\.dcm: not a readable study: "):
        read_clip(path)


def test_a_syntax_without_a_decoder_is_named(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, RLELossless)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.95"  # JPIP: the pixels are elsewhere, on a server
    dataset.save_as(path)
    with pytest.raises(UnreadableStudyError, match=r"no decoder for its transfer syntax, JPIP"):
        read_clip(path)


def test_a_file_without_preamble_is_read_if_sop_class_and_pixels_are_there(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, **WINDOW)
    expected = read_clip(path).frames
    dataset = pydicom.dcmread(path)
    bare = Dataset()
    for element in dataset:
        bare.add(element)
    pydicom.dcmwrite(path, bare, implicit_vr=True, little_endian=True)
    assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_clip(path).frames, expected)


def test_the_real_angiography_cine_reads(shared_dir: Path):
    clip = read_clip(shared_dir / "data/dicom_real/xa_coronary_cine.dcm")
    assert clip.frames.shape == (96, 1, 512, 512)
    assert clip.frame_times_ms is not None
    assert clip.frame_times_ms[1] == 33
    assert clip.pixel_spacing_mm is None
