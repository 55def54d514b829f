"""DICOM SR: what highdicom reads is measures.csv, valid for dciodvfy, with the frames of the source, without a name."""

import csv
import shutil
import subprocess
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from bundle.data.readers import read_clip
from bundle.inference.dicom_source import NoDicomSourceError, identify
from bundle.inference.dicom_sr import BASES, UNITS, measure_code, unit_code, write_dicom_sr
from bundle.inference.study import SegmentedStudy
from bundle.inference.writers import write_measures, write_sr
from bundle.metrics.kinematics import measure_swallow
from bundle.metrics.measured_errors import MeasuredErrors
from bundle.metrics.reliability import MEASURE_COLUMNS
from bundle.phantom.study import generate_study
from bundle.structures import STRUCTURES
from tests.inference.conftest import STRUCTURES as THREE
from tests.inference.conftest import make_clip
from tests.inference.test_dicom_seg import DCIODVFY, needs_dciodvfy, write_source

MODEL = {"name": "segmenter", "version": "1.2.3"}
UNCERTAINTY = codes.SCT.RangeOfUpperMeasurementUncertainty
KINDS = ["RF cine", "RF series"]


@pytest.fixture(scope="module")
def phantom():
    """A whole swallow, small; its true masks."""
    return generate_study(seed=3, size=96, num_frames=30)


@pytest.fixture(params=KINDS)
def study(request, tmp_path, phantom):
    """Of a cine, and of single frames."""
    (tmp_path / "source").mkdir()
    path, masks = write_source(request.param, tmp_path / "source", phantom)
    errors = MeasuredErrors("20 synthetic swallows", {"hyoid_peak_y": 6.5})
    return SegmentedStudy(masks.astype(bool), read_clip(path), STRUCTURES, MODEL, "0123456789ab", errors=errors)


def measurements(path):
    (group,) = hd.sr.srread(path).content.get_image_measurement_groups()
    return {str(one.name.value): one for one in group.get_measurements()}


def properties(measurement):
    """What a measure has beside its value, by the meaning of its name."""
    items = [item for item in measurement[0].ContentSequence if item.RelationshipType == "HAS PROPERTIES"]
    return {item.ConceptNameCodeSequence[0].CodeMeaning: getattr(item, "value", None) for item in items}


def test_what_highdicom_reads_is_what_stands_in_the_table(tmp_path, study):
    write_measures(study, tmp_path)
    assert write_sr(study, tmp_path) == ""
    found = measurements(tmp_path / "measures.dcm")
    rows = list(csv.DictReader((tmp_path / "measures.csv").read_text().splitlines()))
    computed = [row for row in rows if row["value"]]
    assert [row["measure"] for row in computed] == list(found)
    assert len(computed) > 15
    for row in computed:
        one = found[row["measure"]]
        assert one.value == float(row["value"])
        assert one.unit == unit_code(row["unit"])
        there = properties(one)
        assert there.get(UNCERTAINTY.meaning) == (float(row["uncertainty"]) if row["uncertainty"] else None)
        assert there["Frames"] == float(row["frames"])
    (uncertainty,) = (
        item for item in found["hyoid_peak_y"][0].ContentSequence if getattr(item, "name", None) == UNCERTAINTY
    )
    assert uncertainty.unit == unit_code("%C2-4")


def test_a_measure_refers_to_the_frame_it_comes_from(tmp_path, study):
    found = measurements(write_dicom_sr(study, tmp_path / "measures.dcm"))
    (swallow,) = study.measures.swallows
    peak, origins = swallow.events["hyoid_peak"], study.clip.origin
    (image,) = found["hyoid_peak_y"].referenced_images
    assert image.referenced_sop_instance_uid == pydicom.dcmread(origins[peak].path).SOPInstanceUID
    is_cine = origins[0].path == origins[1].path
    assert image.referenced_frame_numbers == ([peak + 1] if is_cine else None)
    onset = swallow.events["hyoid_onset"]
    images = found["hyoid_excursion_y"].referenced_images
    if is_cine:
        assert [image.referenced_frame_numbers for image in images] == [[onset + 1, peak + 1]]
    else:
        assert len(images) == 2
    assert not found["c2_c4_length"].referenced_images  # of the whole film, as the group says
    (group,) = hd.sr.srread(tmp_path / "measures.dcm").content.get_image_measurement_groups()
    assert len(group.source_images) == len({origin.path for origin in origins})


def test_each_swallow_has_a_group_with_its_own_frames(tmp_path, study):
    film = study.measures
    (one,) = film.swallows
    two = replace(one, events={name: frame + 1 for name, frame in one.events.items()})
    study.__dict__["measures"] = replace(film, swallows=(one, two))
    path = write_dicom_sr(study, tmp_path / "measures.dcm")
    groups = hd.sr.srread(path).content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["swallow 1", "swallow 2"]
    found = [
        {str(m.name.value): m for m in group.get_measurements()}["hyoid_peak_y"].referenced_images for group in groups
    ]
    assert found[0] != found[1]


def test_a_measure_that_could_not_be_computed_has_a_reason_for_a_value(tmp_path, study):
    masks = study.masks.copy()
    masks[:, STRUCTURES.index("upper_oesophageal_sphincter")] = False
    found = measurements(write_dicom_sr(replace(study, masks=masks), tmp_path / "measures.dcm"))
    assert "ues_maximal_width" not in found
    (group,) = hd.sr.srread(tmp_path / "measures.dcm").content.get_image_measurement_groups()
    width = next(one for one in group.get_qualitative_evaluations() if one.name.value == "ues_maximal_width")
    assert width.value == codes.DCM.MeasurementFailure
    width = [item for item in group[0].ContentSequence if item.name == measure_code("ues_maximal_width")]
    assert properties(width) == {
        "Comment": "not computable: needs upper_oesophageal_sphincter",
        "Frames": 0,
        "Swallow": 1,
    }
    assert found["c2_c4_length"].value > 0


@needs_dciodvfy
@pytest.mark.parametrize("is_computed", [True, False])
def test_dciodvfy_finds_no_error(tmp_path, study, is_computed):
    study = study if is_computed else replace(study, masks=np.zeros_like(study.masks))
    path = write_dicom_sr(study, tmp_path / "measures.dcm")
    said = subprocess.run([DCIODVFY, str(path)], capture_output=True, text=True, check=False).stderr.splitlines()
    assert "ComprehensiveSR" in said
    assert [line for line in said if line.startswith("Error")] == []
    dataset = pydicom.dcmread(path)
    assert (dataset.CompletionFlag, dataset.VerificationFlag) == ("PARTIAL", "UNVERIFIED")


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump (Debian package dcmtk) is not installed")
def test_dcmtk_reads_the_report(tmp_path, study):
    path = write_dicom_sr(study, tmp_path / "measures.dcm")
    said = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=True)
    assert said.stdout.count("<contains NUM:") == sum(row["value"] is not None for row in study.measure_rows())
    assert not [line for line in said.stderr.splitlines() if line.startswith("E:")]


def test_no_name_of_a_patient_is_in_the_report_until_a_pacs_is_to_file_it(tmp_path, study):
    path = write_dicom_sr(study, tmp_path / "measures.dcm")
    source = pydicom.dcmread(study.clip.origin[0].path)
    assert source.PatientID
    written = pydicom.dcmread(path)
    assert (written.PatientID, written.PatientIdentityRemoved) == ("0123456789ab", "YES")
    for value in (source.PatientID, str(source.PatientName)):
        assert value.encode() not in path.read_bytes()
    assert written.StudyInstanceUID == source.StudyInstanceUID
    identify(written, source)
    assert (written.PatientID, written.PatientName) == (source.PatientID, source.PatientName)
    assert "PatientIdentityRemoved" not in written


def test_a_further_column_of_the_table_becomes_a_property(tmp_path, study, monkeypatch):
    rows = [{**row, "grade": 2, "human_limit": "5 %C2-4"} for row in study.measure_rows()]
    monkeypatch.setattr(SegmentedStudy, "measure_rows", lambda _: rows)
    found = properties(measurements(write_dicom_sr(study, tmp_path / "measures.dcm"))["c2_c4_length"])
    assert (found["Grade"], found["Human limit"]) == (2, "5 %C2-4")


def test_every_unit_event_and_structure_of_a_measure_is_known(study):
    assert {row["unit"] for row in study.measure_rows()} <= set(UNITS)
    assert {event for basis in BASES.values() for event in basis.events} == set(study.measures.swallows[0].events)
    assert {name for basis in BASES.values() for name in basis.structures} <= set(STRUCTURES)
    names = measure_swallow(study.masks, None, STRUCTURES).measures
    assert [name for name in names if not name.startswith(tuple(BASES))] == []
    assert [start for start in BASES if not any(name.startswith(start) for name in names)] == []


def test_names_and_units_without_a_public_code_are_our_own():
    assert measure_code("ues_maximal_width").meaning == "UES maximal width"
    assert (unit_code("furlongs{}").value, unit_code("%").value) == ("{furlongs}", "%")
    assert set(MEASURE_COLUMNS) >= {"measure", "value", "unit", "uncertainty", "reason"}


def test_a_source_that_is_no_dicom_gets_no_report(tmp_path, masks):
    path = tmp_path / "JANE_DOE.avi"
    path.write_bytes(b"RIFF....AVI ")
    clip = make_clip()
    clip = replace(clip, origin=tuple(replace(origin, path=path) for origin in clip.origin))
    with pytest.raises(NoDicomSourceError, match=r"^a DICOM SR needs a DICOM source, got a \.avi file$"):
        write_dicom_sr(SegmentedStudy(masks, clip, THREE, MODEL), tmp_path / "out" / "measures.dcm")
    assert not (tmp_path / "out").exists()
