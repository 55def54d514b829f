"""Every kind of DICOM object that a fluoroscopy room sends, and what its header says about gray values and shutters."""

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from bundle.data.clip import UnreadableStudyError
from bundle.data.readers import decode_clip, measure_clip

RAMP = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4) * 100  # 0 ... 2300
WINDOW = {"WindowCenter": 1024, "WindowWidth": 2048}
SHOWN = np.clip((RAMP - 1023.5) / 2047 + 0.5, 0, 1)  # PS3.3 C.11.2.1.2


def item(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def sequence(**values):
    return Sequence([item(**values)])


def lut(first, bits, entries):
    table = item(LUTDescriptor=[len(entries), first, bits], LUTData=list(entries))
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    return Sequence([table])


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.XRayAngiographicImageStorage,
        uid.XRayRadiofluoroscopicImageStorage,
        uid.EnhancedXAImageStorage,
        uid.EnhancedXRFImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.UltrasoundMultiFrameImageStorage,
    ],
    ids=lambda sop_class: sop_class.name,
)
def test_a_multi_frame_object_reads_as_a_clip(tmp_path, write_dicom, sop_class):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, SOPClassUID=sop_class, FrameTime=40, **WINDOW)
    clip = decode_clip(path)
    np.testing.assert_allclose(clip.frames[:, 0], SHOWN, atol=1e-6)
    np.testing.assert_allclose(clip.frame_times_ms, [0, 40])
    assert measure_clip(path).num_frames == 2


def test_a_true_color_capture_reads_as_gray(tmp_path, write_dicom):
    gray = np.array([[[0, 51], [102, 255]]] * 2, np.uint8)
    path = write_dicom(
        tmp_path / "capture.dcm",
        np.repeat(gray[..., None], 3, axis=-1),
        SOPClassUID=uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    )
    np.testing.assert_allclose(decode_clip(path).frames[:, 0], gray / 255, atol=1e-6)


def test_a_single_bit_object_is_no_x_ray(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "mask.dcm", RAMP, BitsAllocated=1, BitsStored=1, HighBit=0)
    with pytest.raises(UnreadableStudyError, match=r"mask\.dcm: .*BitsAllocated must be 8 or 16, got 1"):
        decode_clip(path)


@pytest.mark.parametrize("sop_class", [uid.SecondaryCaptureImageStorage, uid.XRayRadiofluoroscopicImageStorage])
def test_a_folder_of_single_frames_is_a_clip_and_each_file_keeps_its_own_window(tmp_path, write_dicom, sop_class):
    stored = np.full((1, 2, 2), 100, np.uint16)
    for number, width in ((1, 201), (2, 401)):
        tags = {"SOPClassUID": sop_class, "NumberOfFrames": None, "SeriesInstanceUID": "1.2.3"}
        tags |= {"WindowCenter": 100, "WindowWidth": width, "InstanceNumber": number, "RescaleIntercept": 100}
        write_dicom(tmp_path / f"{number}.dcm", stored, RescaleSlope=1, **tags)
    clip = decode_clip(tmp_path)
    # 200 in a window of 100 +- 100 is white, of 100 +- 200 three quarters
    np.testing.assert_allclose(clip.frames[:, 0, 0, 0], [1.0, 0.75], atol=2e-3)
    assert clip.name == tmp_path.name


def test_files_without_a_window_share_the_percentiles_of_the_whole_series(tmp_path, write_dicom):
    for number in (1, 2):
        stored = np.full((1, 2, 2), 1000 * number, np.uint16)
        tags = {"SeriesInstanceUID": "1.2.3", "InstanceNumber": number}
        write_dicom(tmp_path / f"{number}.dcm", stored, **tags)
    clip = decode_clip(tmp_path)
    np.testing.assert_array_equal(clip.frames[:, 0, 0, 0], [0, 1])
    assert clip.warnings == ("no window in the header: percentiles 0.5-99.5 used, 1000 to 2000",)


def enhanced(**frame_groups):
    """Two frames' functional groups from lists of two values."""
    return Sequence([item(**{name: values[index] for name, values in frame_groups.items()}) for index in (0, 1)])


def test_an_enhanced_object_has_windows_rescaling_and_times_of_each_frame(tmp_path, write_dicom):
    stored = np.full((2, 2, 2), 100, np.uint16)
    groups = enhanced(
        FrameVOILUTSequence=[sequence(WindowCenter=100, WindowWidth=201), sequence(WindowCenter=100, WindowWidth=401)],
        PixelValueTransformationSequence=[
            sequence(RescaleSlope=1, RescaleIntercept=100, RescaleType="US"),
            sequence(RescaleSlope=2, RescaleIntercept=0, RescaleType="US"),
        ],
        FrameContentSequence=[
            sequence(FrameReferenceDateTime="20260101120000.000000"),
            sequence(FrameReferenceDateTime="20260101120000.066700"),
        ],
    )
    path = write_dicom(
        tmp_path / "enhanced.dcm", stored, PerFrameFunctionalGroupsSequence=groups, RecommendedDisplayFrameRate=10
    )
    clip = decode_clip(path)
    np.testing.assert_allclose(clip.frames[:, 0, 0, 0], [1.0, 0.75], atol=2e-3)
    np.testing.assert_allclose(clip.frame_times_ms, [0, 66.7])


@pytest.mark.parametrize(
    ("group", "spacing", "source"),
    [
        (
            {"PixelMeasuresSequence": sequence(PixelSpacing=[0.3, 0.3])},
            (0.3, 0.3),
            "PixelSpacing: calibration not stated",
        ),
        (
            {"ProjectionPixelCalibrationSequence": sequence(ObjectPixelSpacingInCenterOfBeam=[0.2, 0.25])},
            (0.2, 0.25),
            "ObjectPixelSpacingInCenterOfBeam: calibrated projection",
        ),
    ],
)
def test_an_enhanced_object_has_its_spacing_in_shared_groups(tmp_path, write_dicom, group, spacing, source):
    path = write_dicom(tmp_path / "enhanced.dcm", RAMP, SharedFunctionalGroupsSequence=sequence(**group), **WINDOW)
    clip = decode_clip(path)
    assert clip.pixel_spacing_mm == pytest.approx(spacing)
    assert clip.spacing_source == source


def test_the_modality_lut_goes_before_the_voi_lut_and_inversion_comes_last(tmp_path, write_dicom):
    stored = np.array([[[0, 1], [2, 3]]], np.uint16)
    path = write_dicom(
        tmp_path / "luts.dcm",
        stored,
        ModalityLUTSequence=lut(0, 16, [13, 12, 11, 10]),
        VOILUTSequence=lut(10, 8, [0, 51, 102, 255]),
        WindowCenter=1,  # a VOI LUT goes before a window
        WindowWidth=2,
        PhotometricInterpretation="MONOCHROME1",
    )
    # 0 -> 13 -> 255 -> white inverted
    np.testing.assert_allclose(decode_clip(path).frames[0, 0], [[0.0, 0.6], [0.8, 1.0]], atol=1e-6)


def test_signed_values_are_rescaled_and_windowed(tmp_path, write_dicom):
    stored = np.array([[[-100, 0], [50, 100]]], np.int16)
    path = write_dicom(
        *(tmp_path / "signed.dcm", stored),
        PixelRepresentation=1,
        RescaleSlope=2,
        RescaleIntercept=0,
        WindowCenter=0,
        WindowWidth=400,
        VOILUTFunction="LINEAR_EXACT",
    )
    np.testing.assert_allclose(decode_clip(path).frames[0, 0], [[0.0, 0.5], [0.75, 1.0]], atol=1e-6)


def test_padding_is_black_and_does_not_count_for_percentiles(tmp_path, write_dicom):
    stored = np.full((1, 20, 20), 500, np.uint16)
    stored[0, :, 10:] = 600
    stored[0, :5], stored[0, 5:7] = 4000, 4095
    path = write_dicom(tmp_path / "padded.dcm", stored, PixelPaddingValue=4095, PixelPaddingRangeLimit=4000)
    clip = decode_clip(path)
    assert "500 to 600" in clip.warnings[0]
    assert (clip.frames[0, 0, :7] == 0).all()
    assert (clip.frames[0, 0, 7:, 10:] == 1).all()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
def test_gray_is_inverted_once_and_by_the_photometric_interpretation(tmp_path, write_dicom, photometric, shape):
    path = write_dicom(
        tmp_path / "cine.dcm", RAMP, PhotometricInterpretation=photometric, PresentationLUTShape=shape, **WINDOW
    )
    clip = decode_clip(path)
    is_inverted = photometric == "MONOCHROME1"
    np.testing.assert_allclose(clip.frames[:, 0], 1 - SHOWN if is_inverted else SHOWN, atol=1e-6)
    agrees = is_inverted == (shape == "INVERSE")
    assert clip.warnings == (
        () if agrees else (f"PresentationLUTShape {shape} contradicts {photometric}: the latter is used",)
    )


@pytest.mark.parametrize(("value", "recorded"), [("LOG", "LOG"), ("SECRET", "OTHER"), (None, "")])
def test_pixel_intensity_relationship_is_recorded_and_never_guessed(tmp_path, write_dicom, value, recorded):
    tags = {"PixelIntensityRelationship": value} if value else {}
    clip = decode_clip(write_dicom(tmp_path / "cine.dcm", RAMP, **WINDOW, **tags))
    assert clip.pixel_intensity_relationship == recorded


@pytest.mark.parametrize(
    ("tags", "visible"),
    [
        (
            {
                "ShutterShape": "RECTANGULAR",
                "ShutterLeftVerticalEdge": 2,
                "ShutterRightVerticalEdge": 3,
                "ShutterUpperHorizontalEdge": 1,
                "ShutterLowerHorizontalEdge": 2,
            },
            ["0110", "0110", "0000"],
        ),
        (
            {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [2, 2], "RadiusOfCircularShutter": 1},
            ["0100", "1110", "0100"],
        ),
        (
            {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1, 3, 3, 1]},
            ["1110", "1100", "1000"],
        ),
    ],
    ids=["rectangular", "circular", "polygonal"],
)
def test_outside_the_shutter_is_black_and_does_not_count_for_percentiles(tmp_path, write_dicom, tags, visible):
    inside = np.array([[int(value) for value in row] for row in visible], bool)
    stored = np.where(inside, RAMP + 1, 4000).astype(np.uint16)
    clip = decode_clip(write_dicom(tmp_path / "shutter.dcm", stored, **tags))
    assert (clip.frames[:, 0, ~inside] == 0).all()
    lowest, highest = stored[:, inside].min(), stored[:, inside].max()
    assert f"{lowest} to {highest}" in clip.warnings[0]
    assert clip.frames.max() == 1.0


def test_an_enhanced_object_has_a_shutter_of_each_frame(tmp_path, write_dicom):
    edges = [{"ShutterUpperHorizontalEdge": row, "ShutterLowerHorizontalEdge": row} for row in (1, 2)]
    columns = {"ShutterLeftVerticalEdge": 1, "ShutterRightVerticalEdge": 4}
    shutters = [sequence(ShutterShape="RECTANGULAR", **columns, **rows) for rows in edges]
    groups = enhanced(FrameDisplayShutterSequence=shutters)
    stored = np.full((2, 3, 4), 4095, np.uint16)
    clip = decode_clip(write_dicom(tmp_path / "xa.dcm", stored, PerFrameFunctionalGroupsSequence=groups, **WINDOW))
    assert clip.frames[:, 0].any(axis=2).tolist() == [[True, False, False], [False, True, False]]


def test_a_shutter_that_hides_everything_is_left_out_with_a_warning(tmp_path, write_dicom):
    tags = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [900, 900], "RadiusOfCircularShutter": 1}
    clip = decode_clip(write_dicom(tmp_path / "shutter.dcm", RAMP, **tags, **WINDOW))
    np.testing.assert_allclose(clip.frames[:, 0], SHOWN, atol=1e-6)
    assert clip.warnings == ("the shutter hides every pixel: it is left out",)


def test_overlays_are_never_burned_in(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "cine.dcm", RAMP, **WINDOW)
    plain = decode_clip(path).frames
    overlay = Dataset()
    for element, vr, value in ((0x0010, "US", 3), (0x0011, "US", 4), (0x0040, "CS", "G"), (0x0100, "US", 1)):
        overlay.add_new((0x6000, element), vr, value)
    overlay.add_new((0x6000, 0x3000), "OW", b"\xff\xff")
    dataset = pydicom.dcmread(path)
    dataset.update(overlay)
    dataset.save_as(path)
    np.testing.assert_array_equal(decode_clip(path).frames, plain)


def test_repeated_frames_of_a_capture_are_reported(tmp_path, write_dicom):
    rng = np.random.default_rng(0)
    stored = np.repeat(rng.integers(0, 4096, (8, 32, 32), dtype=np.uint16), 2, axis=0)
    clip = decode_clip(write_dicom(tmp_path / "capture.dcm", stored, **WINDOW))
    assert clip.warnings == ("8 of 16 frames repeat the one before: the pulse rate was below the frame rate",)


def test_pixels_that_are_not_square_are_reported(tmp_path, write_dicom):
    clip = decode_clip(write_dicom(tmp_path / "capture.dcm", RAMP, PixelAspectRatio=["8", "9"], **WINDOW))
    assert clip.warnings == ("pixels are not square, 0.888889 to 1 (height to width)",)
    assert clip.pixel_aspect == pytest.approx(8 / 9)
