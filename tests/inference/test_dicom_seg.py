"""DICOM SEG: bit-exact for highdicom and dcmqi, valid for dciodvfy, linked to the source's frames, without a name."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import MPEG2MPML, SecondaryCaptureImageStorage, generate_uid

from bundle.data.clip import Clip, FrameOrigin
from bundle.data.readers import read_clip
from bundle.inference import dicom_seg
from bundle.inference.dicom_seg import (
    SEGMENT_CODES,
    SegmentOrigin,
    TooLongForSegError,
    segment_code,
    write_dicom_seg,
)
from bundle.inference.dicom_source import PRIVATE_SCHEME, NoDicomSourceError
from bundle.inference.folder import study_key
from bundle.inference.study import SegmentedStudy
from bundle.phantom.study import PhantomStudy, generate_study
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from tests.inference.conftest import STRUCTURES as THREE
from tests.inference.conftest import make_clip

MODEL = {"name": "segmenter", "version": "1.2.3"}
KINDS = ["RF cine", "XA cine", "RF single frame", "RF series", "secondary capture"]
DCIODVFY = shutil.which("dciodvfy")
SEG_TO_ITK = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent)) or shutil.which(
    "segimage2itkimage"
)
needs_dciodvfy = pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
needs_dcmqi = pytest.mark.skipif(SEG_TO_ITK is None, reason="dcmqi is not installed")


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    """Four frames of 50 x 45: oblong, and no whole number of bytes per frame, so that swapped axes and bits show."""
    whole = generate_study(seed=3, size=50, num_frames=4)
    masks = whole.masks[..., :45].copy()
    masks[:, STRUCTURES.index("epiglottis")] = 0
    assert (masks.sum(axis=1) > 1).any(), "structures overlap"
    return replace(whole, stored=whole.stored[..., :45], frames=whole.frames[..., :45], masks=masks)


@pytest.fixture(params=KINDS)
def source(request, tmp_path, study) -> tuple[Path, np.ndarray]:
    """A DICOM source of every kind and its true masks; structures overlap, and the epiglottis is in no frame."""
    folder = tmp_path / "source"
    folder.mkdir()
    return write_source(request.param, folder, study)


def write_source(kind: str, folder: Path, study: PhantomStudy) -> tuple[Path, np.ndarray]:
    if kind.endswith("cine"):
        write_dicom(study, folder / "cine.dcm", "JANE", kind[:2], rle=kind.startswith("XA"))
        return folder / "cine.dcm", study.masks
    for index in range(len(study.masks) if kind == "RF series" else 1):
        path = folder / f"IM{index}.dcm"
        one = replace(study, stored=study.stored[index : index + 1])
        write_dicom(one, path, "JANE")
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(entropy_srcs=[str(index)]), index + 1
        if kind == "secondary capture":
            dataset.SOPClassUID = SecondaryCaptureImageStorage
            del dataset.NumberOfFrames, dataset.PixelSpacing
        dataset.save_as(path)
    return (folder, study.masks) if kind == "RF series" else (path, study.masks[:1])


def write_seg(source: Path, masks: np.ndarray, folder: Path, key: str = "", **options) -> Path:
    study = SegmentedStudy(masks, read_clip(source), STRUCTURES, MODEL, key)
    return write_dicom_seg(study, folder / "seg.dcm", **options)


def test_every_pixel_comes_back_by_its_source_frame(tmp_path, source):
    path, masks = source
    clip = read_clip(path)
    seg = hd.seg.segread(write_seg(path, masks, tmp_path))
    uids = [pydicom.dcmread(origin.path).SOPInstanceUID for origin in clip.origin]
    if path.is_file() and clip.num_frames > 1:
        pixels = seg.get_pixels_by_source_frame(uids[0], source_frame_numbers=range(1, clip.num_frames + 1))
    else:
        pixels = seg.get_pixels_by_source_instance(uids)
    np.testing.assert_array_equal(pixels, masks.transpose(0, 2, 3, 1))
    assert [item.SegmentLabel for item in seg.SegmentSequence] == list(STRUCTURES)


@pytest.mark.parametrize("num_frames", [1, 4])
def test_one_structure_alone_comes_back_too(tmp_path, study, num_frames):
    path = tmp_path / "cine.dcm"
    write_dicom(replace(study, stored=study.stored[:num_frames]), path, "JANE")
    masks = study.masks[:num_frames, :1]
    written = write_dicom_seg(SegmentedStudy(masks, read_clip(path), STRUCTURES[:1], MODEL), tmp_path / "seg.dcm")
    seg = hd.seg.segread(written)
    assert seg.SegmentsOverlap == "NO"
    uid = pydicom.dcmread(path).SOPInstanceUID
    if num_frames > 1:
        pixels = seg.get_pixels_by_source_frame(uid, source_frame_numbers=range(1, num_frames + 1))
    else:
        pixels = seg.get_pixels_by_source_instance([uid])
    np.testing.assert_array_equal(pixels, masks.transpose(0, 2, 3, 1))


def test_more_masks_than_a_seg_can_hold_are_refused(tmp_path, source, monkeypatch):
    path, masks = source
    monkeypatch.setattr(dicom_seg, "MOST_MASKS", len(STRUCTURES) * (len(masks) - 1))
    words = f"too long for a DICOM SEG, {len(masks) - 1} frames at most"
    with pytest.raises(TooLongForSegError, match=words):
        write_seg(path, masks, tmp_path)


ORIGINS = (
    SegmentOrigin("AUTOMATIC", {**MODEL, "sha256": "a" * 64}),
    SegmentOrigin("SEMIAUTOMATIC", MODEL),
    SegmentOrigin("MANUAL"),
)


def test_each_segment_says_who_has_made_it_and_a_persons_has_no_algorithm(tmp_path, study):
    source, masks = write_source("RF cine", tmp_path, study)
    origins = [ORIGINS[index % 3] for index in range(len(STRUCTURES))]
    seg = pydicom.dcmread(write_seg(source, masks, tmp_path, origins=origins, creator="Miller\\^A=B"))
    assert [item.SegmentAlgorithmType for item in seg.SegmentSequence] == [origin.kind for origin in origins]
    first, second, third = seg.SegmentSequence[:3]
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("segmenter", "1.2.3")
    assert "a" * 64 in algorithm.AlgorithmParameters
    assert second.SegmentAlgorithmName == "segmenter"
    assert "SegmentAlgorithmName" not in third
    assert "SegmentationAlgorithmIdentificationSequence" not in third
    assert seg.ContentCreatorName == "Miller  A B"
    assert seg.SeriesDescription.startswith("Annotators' masks")


def test_a_kind_that_the_standard_has_not_is_refused():
    with pytest.raises(ValueError, match="kind must be one of AUTOMATIC, SEMIAUTOMATIC, MANUAL, got 'EDITED'"):
        SegmentOrigin("EDITED")


@needs_dciodvfy
def test_dciodvfy_finds_no_error_in_segments_of_every_origin(tmp_path, study):
    source, masks = write_source("RF cine", tmp_path, study)
    origins = [ORIGINS[index % 3] for index in range(len(STRUCTURES))]
    path = write_seg(source, masks, tmp_path, origins=origins, creator="annotator", keep_identity=True)
    report = subprocess.run([DCIODVFY, str(path)], capture_output=True, text=True, check=False)
    assert [line for line in report.stderr.splitlines() if line.startswith("Error")] == []


@needs_dciodvfy
@pytest.mark.parametrize("keep_identity", [False, True], ids=["pseudonym", "identity"])
def test_dciodvfy_finds_no_error(tmp_path, source, keep_identity):
    path = write_seg(*source, tmp_path, keep_identity=keep_identity)
    report = subprocess.run([DCIODVFY, str(path)], capture_output=True, text=True, check=False).stderr
    assert "Segmentation" in report.splitlines()
    assert [line for line in report.splitlines() if line.startswith("Error")] == []


@needs_dcmqi
def test_dcmqi_which_3d_slicer_uses_reads_the_same_masks_in_the_order_of_frames(tmp_path, source):
    path, masks = source
    seg = write_seg(path, masks, tmp_path)
    command = [SEG_TO_ITK, "--inputDICOM", seg, "--outputDirectory", tmp_path, "--prefix", "s", "--outputType", "nii"]
    subprocess.run(command, capture_output=True, check=True)
    for index in range(len(STRUCTURES)):
        voxels = np.asanyarray(nib.load(tmp_path / f"s-{index + 1}.nii.gz").dataobj)  # (X, Y, Z)
        np.testing.assert_array_equal(voxels.T, masks[:, index] * (index + 1))
    attributes = json.loads((tmp_path / "s-meta.json").read_text())["segmentAttributes"]
    assert [item[0]["SegmentLabel"] for item in attributes] == list(STRUCTURES)


def test_each_frame_names_the_file_class_and_frame_that_it_was_made_from(tmp_path, source):
    path, masks = source
    clip = read_clip(path)
    seg = pydicom.dcmread(write_seg(path, masks, tmp_path))
    originals = [pydicom.dcmread(origin.path) for origin in clip.origin]
    assert seg.StudyInstanceUID == originals[0].StudyInstanceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == originals[0].SeriesInstanceUID
    assert seg.SeriesInstanceUID != originals[0].SeriesInstanceUID
    assert len(seg.PerFrameFunctionalGroupsSequence) == clip.num_frames * len(STRUCTURES)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        index = int(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == originals[index].SOPInstanceUID
        assert reference.ReferencedSOPClassUID == originals[index].SOPClassUID
        if path.is_file() and clip.num_frames > 1:
            assert reference.ReferencedFrameNumber == index + 1
    assert {item.ReferencedSOPClassUID for item in seg.SourceImageSequence} == {originals[0].SOPClassUID}


def test_by_default_nothing_of_the_header_but_uids_is_in_the_file(tmp_path, study):
    path, masks = write_source("RF cine", tmp_path, study)
    dataset = pydicom.dcmread(path)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "DOE^JANE", "HOSPITAL-77", "19310102"
    dataset.AccessionNumber, dataset.StudyID, dataset.ReferringPhysicianName = "ACC-5", "STUDY-9", "HOUSE^G"
    dataset.PatientComments, dataset.InstitutionName = "lives in Elmstreet", "General Hospital"
    dataset.save_as(path)
    seg = write_seg(path, masks, tmp_path)
    content = seg.read_bytes()
    for secret in ["DOE", "JANE", "HOSPITAL", "19310102", "ACC-5", "STUDY-9", "HOUSE", "Elm", "General", "20000101"]:
        assert secret.encode() not in content
        assert secret.encode() in path.read_bytes()
    written = pydicom.dcmread(seg)
    assert written.PatientID == study_key(path)
    assert written.PatientIdentityRemoved == "YES"
    assert pydicom.dcmread(write_seg(path, masks, tmp_path, key="case-7")).PatientID == "case-7"
    assert written.StudyInstanceUID == dataset.StudyInstanceUID


def test_a_pacs_gets_the_identity_that_it_files_by_if_asked_for(tmp_path, study):
    path, masks = write_source("RF cine", tmp_path, study)
    dataset = pydicom.dcmread(path)
    dataset.SpecificCharacterSet, dataset.PatientName, dataset.AccessionNumber = "ISO_IR 100", "MÜLLER^ZOË", "ACC-5"
    dataset.save_as(path)
    written = pydicom.dcmread(write_seg(path, masks, tmp_path, keep_identity=True))
    assert written.PatientName == "MÜLLER^ZOË"
    assert (written.PatientID, written.AccessionNumber, written.StudyDate) == ("PHANTOM-JANE", "ACC-5", "20000101")
    assert "PatientIdentityRemoved" not in written


def test_odd_values_of_the_source_are_neither_errors_nor_quoted_nor_copied_but_for_uids(tmp_path, study, recwarn):
    path, masks = write_source("RF cine", tmp_path, study)
    content = path.read_bytes()
    dataset = pydicom.dcmread(path)
    uid, name, date = dataset.SOPInstanceUID, str(dataset.PatientName), dataset.StudyDate
    odd_uid = "1.2.03" + uid[6:]  # a leading zero, which real devices write
    for old, new in [(uid, odd_uid), (name, "SINGLE COMPNT"[: len(name)].ljust(len(name))), (date, "01.02.31")]:
        content = content.replace(old.encode(), new.encode())
    path.write_bytes(content)
    clip = read_clip(path)
    recwarn.clear()
    seg = write_dicom_seg(SegmentedStudy(masks, clip, STRUCTURES, MODEL), tmp_path / "seg.dcm", keep_identity=True)
    assert [str(warning.message) for warning in recwarn] == []
    assert odd_uid.encode() in seg.read_bytes()
    assert pydicom.dcmread(seg).StudyDate == ""
    assert pydicom.dcmread(seg).StudyTime == "120000"


def test_the_file_says_that_its_positions_are_made_up_and_what_made_it(tmp_path, study):
    path, masks = write_source("RF cine", tmp_path, study)
    dataset = pydicom.dcmread(path)
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.save_as(path)
    seg = pydicom.dcmread(write_seg(path, masks, tmp_path))
    assert "positions are fictitious" in seg.SeriesDescription
    assert "research use only" in seg.SeriesDescription
    assert "calibration" in seg.ContentDescription or "calibrated PixelSpacing" in seg.ContentDescription
    assert seg.FrameOfReferenceUID != dataset.FrameOfReferenceUID
    algorithm = seg.SegmentSequence[1].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("segmenter", "1.2.3")
    assert {item.SegmentAlgorithmType for item in seg.SegmentSequence} == {"AUTOMATIC"}
    assert len({item.TrackingUID for item in seg.SegmentSequence}) == len(STRUCTURES)
    spacing = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    np.testing.assert_allclose([float(value) for value in spacing], study.pixel_spacing_mm, rtol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "spacing", "words"),
    [
        ({"PixelAspectRatio": ["9", "8"]}, (1.125, 1.0), "none, a width of 1 mm is nominal"),
        ({"PixelSpacing": ["0.45", "0.4"]}, (0.45, 0.4), "calibrated PixelSpacing"),
    ],
    ids=["ratio", "spacing"],
)
def test_a_viewer_shows_the_masks_of_oblong_pixels_in_the_sources_shape(tmp_path, study, attributes, spacing, words):
    path, masks = write_source("secondary capture", tmp_path, study)
    dataset = pydicom.dcmread(path)
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        dataset.pop(keyword, None)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    seg = hd.seg.segread(write_seg(path, masks, tmp_path))
    shared = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    np.testing.assert_allclose([float(value) for value in shared.PixelSpacing], spacing)
    assert seg.ContentDescription == f"z = frame; pixel spacing: {words}"
    assert (seg.Rows, seg.Columns) == masks.shape[2:]
    np.testing.assert_array_equal(
        seg.get_pixels_by_source_instance([dataset.SOPInstanceUID]), masks.transpose(0, 2, 3, 1)
    )


def test_the_pixels_of_the_source_are_not_decoded(tmp_path):
    path, _ = write_source("RF cine", tmp_path, generate_study(seed=3, size=32, num_frames=2))
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"no video"])
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    dataset.save_as(path)
    frames = np.zeros((2, 1, 32, 32), np.float32)
    clip = Clip(frames, None, None, "none", tuple(FrameOrigin(path, index) for index in range(2)))
    masks = np.ones((2, 3, 32, 32), bool)
    seg = write_dicom_seg(SegmentedStudy(masks, clip, THREE, MODEL), tmp_path / "seg.dcm")
    assert hd.seg.segread(seg).pixel_array.sum() == masks.sum()
    assert pydicom.dcmread(seg).ContentDescription == "z = frame; pixel spacing: none, 1 mm is nominal"


# Codes


def test_codes_are_those_of_the_standard_dictionary():
    expected = {
        "hyoid": codes.SCT.HyoidBone,
        "mandible": codes.SCT.Mandible,
        "tongue": codes.SCT.Tongue,
        "pharynx": codes.SCT.Pharynx,
        "trachea": codes.SCT.Trachea,
        "c2": codes.SCT.C2Vertebra,
        "c3": codes.SCT.C3Vertebra,
        "c4": codes.SCT.C4Vertebra,
    }
    assert {name: SEGMENT_CODES[name][1] for name in expected} == expected
    categories = {codes.SCT.AnatomicalStructure, codes.SCT.SpatialAndRelationalConcept, codes.SCT.Substance}
    assert {category for category, _ in SEGMENT_CODES.values()} == categories


def test_every_structure_has_a_code_of_its_own():
    assert set(SEGMENT_CODES) == set(STRUCTURES)
    types = {(code.scheme_designator, code.value) for _, code in SEGMENT_CODES.values()}
    assert len(types) == len(STRUCTURES)


def test_a_sites_own_label_is_coded_by_its_name(tmp_path, study):
    _, code = segment_code("pyriform_sinus_of_the_left")
    assert code.scheme_designator == PRIVATE_SCHEME
    assert code.meaning == "Pyriform sinus of the left"
    path, masks = write_source("RF cine", tmp_path, study)
    names = ["pyriform_sinus_of_the_left", "velum"]
    seg = write_dicom_seg(SegmentedStudy(masks[:, :2], read_clip(path), names, MODEL), tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in pydicom.dcmread(seg).SegmentSequence] == names


# Bad input


def test_a_source_that_is_no_dicom_is_refused_without_naming_it(tmp_path, masks):
    path = tmp_path / "JANE_DOE.avi"
    path.write_bytes(b"RIFF....AVI ")
    clip = make_clip()
    clip = replace(clip, origin=tuple(FrameOrigin(path, index) for index in range(4)))
    with pytest.raises(NoDicomSourceError, match=r"^a DICOM SEG needs a DICOM source, got a \.avi file") as caught:
        write_dicom_seg(SegmentedStudy(masks, clip, THREE, MODEL), tmp_path / "out" / "seg.dcm")
    assert "JANE" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_source_without_uids_is_refused(tmp_path, study):
    path, masks = write_source("RF cine", tmp_path, study)
    dataset = pydicom.dcmread(path)
    del dataset.StudyInstanceUID
    dataset.save_as(path)
    with pytest.raises(NoDicomSourceError, match="the header has no StudyInstanceUID"):
        write_seg(path, masks, tmp_path)


def test_a_part_of_a_clip_is_refused(tmp_path, study):
    path, masks = write_source("RF cine", tmp_path, study)
    clip = read_clip(path)
    part = replace(clip, stored=clip.stored[1:], displays=(), origin=clip.origin[1:], frame_times_ms=None)
    with pytest.raises(NoDicomSourceError, match="needs a whole clip"):
        write_dicom_seg(SegmentedStudy(masks[1:], part, STRUCTURES, MODEL), tmp_path / "seg.dcm")


def test_masks_of_another_clip_are_refused(tmp_path, study):
    path, masks = write_source("RF cine", tmp_path, study)
    with pytest.raises(ValueError, match=r"masks must be \(T, S, H, W\) = \(4, 12, 50, 45\)"):
        write_seg(path, masks.swapaxes(2, 3), tmp_path)
    assert not (tmp_path / "seg.dcm").exists()
