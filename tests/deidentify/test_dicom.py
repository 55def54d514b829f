"""A DICOM copy: nothing of the patient, consistent UIDs, the same pixels."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from pydicom.config import disable_value_validation
from pydicom.datadict import DicomDictionary, dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, EnhancedXAImageStorage

from bundle.data.clip import UnreadableStudyError
from bundle.data.readers import read_clip
from bundle.deidentify.blacken import Rectangle
from bundle.deidentify.copies import deidentify_dicom
from bundle.deidentify.profile import IDS, KEPT_TEXT, apply_basic_profile
from bundle.deidentify.pseudonyms import Pseudonyms
from bundle.inference.dicom_seg import write_dicom_seg
from bundle.inference.study import SegmentedStudy
from bundle.phantom.writer import write_dicom
from bundle.structures import STRUCTURES
from tests.deidentify.conftest import SECRETS, secrets_in, write_stuffed

DCIODVFY = shutil.which("dciodvfy")
TEXT = {
    **dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UR", "UT", "AE", "PN"), "IDENTIFIES"),
    **{"DA": "19310102", "DT": "19310102101112", "TM": "101112", "AS": "088Y"},
}


@pytest.fixture
def pseudonyms() -> Pseudonyms:
    return Pseudonyms()


@pytest.mark.parametrize("rle", [False, True], ids=["uncompressed", "RLE"])
def test_no_secret_is_in_the_copy_and_every_pixel_is(tmp_path, study, pseudonyms, rle):
    source = tmp_path / "MUSTERMANN" / "ERIKA.dcm"
    original = write_stuffed(study, source, rle)
    assert sorted(secrets_in(source)) == sorted(set(SECRETS)), "the source holds them all"
    copy = deidentify_dicom(source, tmp_path / "out", pseudonyms).target
    assert secrets_in(copy.rename(tmp_path / "copy")) == []
    assert secrets_in(tmp_path / "copy") == []
    written = pydicom.dcmread(tmp_path / "copy")
    assert written.PixelData == original.PixelData
    assert written.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID


def test_the_path_of_the_copy_names_nobody(tmp_path, study, pseudonyms):
    source = tmp_path / "MUSTERMANN_ERIKA_19310102.dcm"
    write_stuffed(study, source)
    copy = deidentify_dicom(source, tmp_path / "out", pseudonyms).target
    assert len(copy.relative_to(tmp_path / "out").parts) == 3
    assert secrets_in(copy) == []


def test_a_reader_sees_the_same_clip(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm")
    copy = deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).target
    before, after = read_clip(tmp_path / "a.dcm"), read_clip(copy)
    np.testing.assert_array_equal(after.frames, before.frames)
    np.testing.assert_array_equal(after.frame_times_ms, before.frame_times_ms)
    assert (after.pixel_spacing_mm, after.spacing_source) == (before.pixel_spacing_mm, before.spacing_source)


def test_private_unknown_overlay_curve_and_icon_elements_are_gone_at_every_depth(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm")
    copy = deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).target
    written = pydicom.dcmread(copy)
    elements = list(written.iterall())
    assert [element for element in elements if element.tag.is_private] == []
    assert [element for element in elements if element.tag.group in (0x5000, 0x6000, 0xFFFC)] == []
    assert "IconImageSequence" not in written
    assert written.AnatomicRegionSequence[0].CodeMeaning == "a code"


def test_file_header_is_new(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm")
    copy = deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).target
    written = pydicom.dcmread(copy)
    assert written.preamble == bytes(128)
    assert written.file_meta.MediaStorageSOPInstanceUID == written.SOPInstanceUID
    assert "SourceApplicationEntityTitle" not in written.file_meta
    assert "PrivateInformation" not in written.file_meta


def test_the_copy_says_what_was_done(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm")
    copy = deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).target
    written = pydicom.dcmread(copy)
    assert written.PatientIdentityRemoved == "YES"
    assert "basic profile" in written.DeidentificationMethod
    assert written.DeidentificationMethodCodeSequence[0].CodeValue == "113100"  # PS3.16 CID 7050
    assert written.LongitudinalTemporalInformationModified == "REMOVED"


def test_uids_stay_consistent_over_the_files_of_a_study(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm", instance=3)
    write_stuffed(study, tmp_path / "b.dcm", instance=5)
    copies = [deidentify_dicom(tmp_path / name, tmp_path / "out", pseudonyms).target for name in ("a.dcm", "b.dcm")]
    first, second = (pydicom.dcmread(copy) for copy in copies)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert first[keyword].value == second[keyword].value, keyword
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert second.SourceImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SourceImageSequence[0].ReferencedSOPClassUID == first.SOPClassUID
    assert copies[0].parent == copies[1].parent
    assert first.SOPInstanceUID.is_valid


@pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
def test_the_copy_conforms_to_the_standard_no_less_than_the_source(tmp_path, study, pseudonyms):
    def errors(path: Path) -> set[str]:
        report = subprocess.run([DCIODVFY, path], capture_output=True, text=True, check=False).stderr
        assert "XRFImage" in report
        return {line for line in report.splitlines() if line.startswith("Error")}

    write_dicom(study, tmp_path / "a.dcm", "x")
    copy = deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).target
    assert errors(copy) <= errors(tmp_path / "a.dcm")


def test_masks_in_a_seg_still_refer_to_their_source(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm")
    clip = read_clip(tmp_path / "a.dcm")
    segmented = SegmentedStudy(study.masks, clip, STRUCTURES, {"name": "m", "version": "1"})
    seg = write_dicom_seg(segmented, tmp_path / "seg.dcm")
    outcomes = (deidentify_dicom(path, tmp_path / "out", pseudonyms) for path in (tmp_path / "a.dcm", seg))
    copy, copied_seg = (pydicom.dcmread(outcome.target) for outcome in outcomes)
    assert copied_seg.SourceImageSequence[0].ReferencedSOPInstanceUID == copy.SOPInstanceUID
    assert copied_seg.StudyInstanceUID == copy.StudyInstanceUID
    assert copied_seg.PixelData == pydicom.dcmread(seg).PixelData
    assert [item.SegmentLabel for item in copied_seg.SegmentSequence] == list(STRUCTURES)


def test_two_patients_are_two_pseudonyms(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm", instance=3)
    write_stuffed(study, tmp_path / "b.dcm", instance=5, PatientID="HOSP-0001")
    ids = [
        pydicom.dcmread(deidentify_dicom(tmp_path / n, tmp_path / "out", pseudonyms).target).PatientID
        for n in ("a.dcm", "b.dcm")
    ]
    assert ids[0] != ids[1]
    assert all(len(name) == 16 and int(name, 16) for name in ids)


# The profile on a data set


def test_no_row_of_the_standards_table_keeps_its_value(pseudonyms):
    dataset = Dataset()
    rows = [tag for tag in dicomfields_2026c.ALL_TAGS if len(tag) == 2 and tag[0] >= 8 and dictionary_has_tag(tag)]
    assert len(rows) > 500
    for tag in rows:
        vr = dictionary_VR(tag)
        if vr in TEXT:
            dataset.add_new(tag, vr, TEXT[vr])
        elif vr == "UI":
            dataset.add_new(tag, vr, "1.2.826.999.7")
    apply_basic_profile(dataset, pseudonyms)
    values = {*TEXT.values(), "1.2.826.999.7"}
    assert [element.keyword for element in dataset if element.VR != "SQ" and str(element.value) in values] == []


def test_no_text_date_or_name_of_the_whole_dictionary_passes_but_for_a_named_few(pseudonyms):
    dataset = Dataset()
    for number, (vr, *_) in DicomDictionary.items():
        if vr in TEXT and number >> 16 >= 8:
            dataset.add_new(number, vr, TEXT[vr])
    for element in dataset:
        if element.VR == "PN" or element.keyword in IDS:
            element.value = "SOMEBODY"
    assert len(dataset) > 900
    apply_basic_profile(dataset, pseudonyms)
    kept = {element.keyword for element in dataset if element.VR in TEXT and str(element.value) in TEXT.values()}
    assert kept == KEPT_TEXT


def test_binary_data_that_nobody_needs_to_see_the_picture_go(pseudonyms):
    dataset = Dataset()
    for keyword in ("PixelData", "LUTData", "WaveformData", "EncapsulatedDocument", "ICCProfile", "FloatPixelData"):
        dataset.add_new(keyword, "OB", b"MUSTERMANN")
    apply_basic_profile(dataset, pseudonyms)
    assert {element.keyword for element in dataset if element.VR == "OB"} == {"PixelData", "LUTData"}


def test_an_enhanced_object_keeps_the_dates_that_it_must_have_as_dummies(pseudonyms):
    plain, enhanced = Dataset(), Dataset()
    enhanced.SOPClassUID, enhanced.SharedFunctionalGroupsSequence = EnhancedXAImageStorage, [Dataset()]
    content = Dataset()
    content.FrameAcquisitionDateTime = "20191103101112"
    enhanced.PerFrameFunctionalGroupsSequence = [Dataset()]
    enhanced.PerFrameFunctionalGroupsSequence[0].FrameContentSequence = [content]
    for dataset in (plain, enhanced):
        dataset.ContentDate, dataset.AcquisitionDateTime = "20191103", "20191103101112"
        apply_basic_profile(dataset, pseudonyms)
    assert (plain.ContentDate, "AcquisitionDateTime" in plain) == ("", False)
    assert (enhanced.ContentDate, enhanced.AcquisitionDateTime) == ("19000101", "19000101000000")
    frame = enhanced.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0]
    assert frame.FrameAcquisitionDateTime == "19000101000000"


def test_uids_of_the_standard_itself_are_no_identities(pseudonyms):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.MappingResourceUID = EnhancedXAImageStorage, "1.2.840.10008.8.1.1"
    dataset.IrradiationEventUID = ["1.2.826.999.3", "1.2.826.999.4"]
    apply_basic_profile(dataset, pseudonyms)
    assert dataset.SOPClassUID == EnhancedXAImageStorage
    assert dataset.MappingResourceUID == "1.2.840.10008.8.1.1"
    assert list(dataset.IrradiationEventUID) == [pseudonyms.uid("1.2.826.999.3"), pseudonyms.uid("1.2.826.999.4")]


def test_every_kept_text_is_a_short_attribute_of_the_standard_and_no_explanation():
    assert set(KEPT_TEXT) <= {entry[4] for entry in DicomDictionary.values()}
    assert {dictionary_VR(keyword) for keyword in KEPT_TEXT} == {"SH", "LO", "UC"}
    free = re.compile("Explanation|Description|Comment|Reason|Note|Text|SchemeName|TrackingID")
    assert [keyword for keyword in KEPT_TEXT if free.search(keyword)] == []


@pytest.mark.parametrize(
    ("keyword", "value", "copied"),
    [
        ("WindowCenterWidthExplanation", ["for Dr WILSON", "of ERIKA"], ["REMOVED", "REMOVED"]),
        ("LUTExplanation", "drawn on Monday", "REMOVED"),
        ("RescaleType", "HU", "HU"),
        ("RescaleType", "counts of Ward 13", "REMOVED"),
        ("SegmentLabel", "left lung", "left lung"),
        ("SegmentLabel", "lung of Erika_M", "REMOVED"),
        ("SoftwareVersions", ["VB15", "hosp-4711"], ["VB15", "REMOVED"]),
        ("ImageType", ["DERIVED", "seen by Wilson"], ["DERIVED", "REMOVED"]),
    ],
)
def test_text_that_anybody_may_write_stays_only_where_it_is_a_term(pseudonyms, keyword, value, copied):
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID = "MUSTERMANN^ERIKA", "HOSP-4711"
    with disable_value_validation():
        setattr(dataset, keyword, value)
        apply_basic_profile(dataset, pseudonyms)
    assert dataset[keyword].value == copied


# Bad input, and what a person must look at


@pytest.mark.parametrize(
    ("stated", "note"),
    [("YES", "look at the pixels: BurnedInAnnotation is YES"), (None, "BurnedInAnnotation is absent"), ("NO", None)],
)
def test_burned_in_text_needs_a_human(tmp_path, study, pseudonyms, stated, note):
    write_stuffed(study, tmp_path / "a.dcm", BurnedInAnnotation=stated)
    if stated is None:
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        del dataset.BurnedInAnnotation
        dataset.save_as(tmp_path / "a.dcm")
    notes = deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).notes
    assert (notes == ()) if note is None else (note in notes[0])


def test_an_overlay_in_the_pixels_own_bits_is_refused_until_they_are_rewritten(tmp_path, study, pseudonyms):
    source = tmp_path / "a.dcm"
    write_stuffed(study, source)
    dataset = pydicom.dcmread(source)
    dataset.add_new((0x6000, 0x0102), "US", 12)
    pixels = np.frombuffer(dataset.PixelData, "<u2") | 0x1000
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(source)
    with pytest.raises(UnreadableStudyError, match="an overlay lies in unused bits"):
        deidentify_dicom(source, tmp_path / "out", pseudonyms)
    copy = deidentify_dicom(source, tmp_path / "out", pseudonyms, Rectangle(0, 0, 0, 0)).target
    np.testing.assert_array_equal(np.frombuffer(pydicom.dcmread(copy).PixelData, "<u2"), pixels & 0x0FFF)


def test_what_is_no_image_is_refused(tmp_path, pseudonyms):
    report = Dataset()
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = ComprehensiveSRStorage, "1.2.3"
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    with pytest.raises(UnreadableStudyError, match="no image in it: Comprehensive SR Storage"):
        deidentify_dicom(tmp_path / "sr.dcm", tmp_path / "out", pseudonyms)
    assert not (tmp_path / "out").exists()


def test_a_damaged_header_leaves_no_file_and_no_name_in_the_message(tmp_path, study, pseudonyms):
    source = tmp_path / "a.dcm"
    write_stuffed(study, source)
    content = source.read_bytes()
    source.write_bytes(content[: content.index(b"General Hospital") + 3])
    with pytest.raises(UnreadableStudyError) as caught:
        deidentify_dicom(source, tmp_path / "out", pseudonyms)
    assert [secret for secret in SECRETS if secret in caught.value.reason] == []
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_nothing_is_overwritten(tmp_path, study, pseudonyms):
    write_stuffed(study, tmp_path / "a.dcm")
    copy = deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).target
    content = copy.read_bytes()
    assert deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms).status == "done earlier"
    write_stuffed(study, tmp_path / "a.dcm", Modality="XA")
    with pytest.raises(FileExistsError, match="another copy of this"):
        deidentify_dicom(tmp_path / "a.dcm", tmp_path / "out", pseudonyms)
    assert copy.read_bytes() == content
    assert [path.name for path in Path(copy.parent).iterdir()] == [copy.name]
