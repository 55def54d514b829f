"""A phantom study whose header is stuffed with a patient who does not exist."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from bundle.phantom.study import PhantomStudy, generate_study
from bundle.phantom.writer import write_dicom

SECRETS = [
    *(
        "MUSTERMANN",
        "ERIKA",
        "HOSP-4711",
        "19310102",
        "ACC-0815",
        "VISIT-3",
        "HOUSE",
        "WILSON",
        "Elmstreet",
        "555-1234",
    ),
    *("General Hospital", "Ward 13", "STATION-9", "SERIAL-77", "daughter of", "20191103", "101112.345", "SECRET-AE"),
    *("1.2.826.999.1", "1.2.826.999.2", "1.2.826.999.3", "1.2.826.999.4"),
]
"""What identifies, in the header that ``stuff`` makes; none of it may be in a copy."""


@pytest.fixture(scope="session")
def study() -> PhantomStudy:
    """Three frames of 40 x 40."""
    return generate_study(seed=5, size=40, num_frames=3)


def write_stuffed(study: PhantomStudy, path: Path, rle: bool = False, instance: int = 3, **changes: object) -> Dataset:
    """Write a DICOM with a patient in every usual place; returns what is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(study, path, "x", rle=rle)
    dataset = pydicom.dcmread(path)
    stuff(dataset, instance)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


def stuff(dataset: Dataset, instance: int) -> None:
    """Fill in what identifies: patient, people, places, dates, comments, private, nested, graphics, file header."""
    person, address = Dataset(), "Elmstreet 5, phone 555-1234"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "MUSTERMANN^ERIKA", "HOSP-4711", "19310102"
    dataset.OtherPatientIDs, dataset.PatientAddress, dataset.PatientComments = "HOSP-4711", address, "daughter of X"
    dataset.AccessionNumber, dataset.StudyID, dataset.AdmissionID = "ACC-0815", "VISIT-3", "VISIT-3"
    dataset.ReferringPhysicianName = dataset.PerformingPhysicianName = dataset.OperatorsName = "HOUSE^GREGORY"
    dataset.InstitutionName, dataset.InstitutionalDepartmentName = "General Hospital", "Ward 13"
    dataset.StationName, dataset.DeviceSerialNumber = "STATION-9", "SERIAL-77"
    dataset.StudyDescription = dataset.SeriesDescription = dataset.ProtocolName = "Swallow of MUSTERMANN, Ward 13"
    dataset.PixelSpacingCalibrationDescription = "by WILSON"  # free text that the table does not list
    dataset.ImageComments = dataset.DerivationDescription = "see WILSON, 20191103"
    for keyword in ("StudyDate", "SeriesDate", "ContentDate", "AcquisitionDate", "InstanceCreationDate"):
        setattr(dataset, keyword, "20191103")
    dataset.AcquisitionDateTime, dataset.StudyTime, dataset.ContentTime = (
        "20191103101112.345",
        "101112.345",
        "101112.345",
    )
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.999.1", "1.2.826.999.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.999.{instance}"
    dataset.FrameOfReferenceUID = "1.2.826.999.4.1"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = dataset.SOPClassUID, "1.2.826.999.3"
    dataset.SourceImageSequence = [reference]
    person.PersonName, person.InstitutionName = "WILSON^JAMES", "General Hospital"
    deep = Dataset()
    deep.CodeValue, deep.CodingSchemeDesignator, deep.CodeMeaning = "1", "99X", "a code"
    deep.PersonIdentificationCodeSequence = [person]
    deep.private_block(0x0029, "VENDOR", create=True).add_new(1, "LO", "HOUSE in a nested private element")
    dataset.AnatomicRegionSequence = [deep]
    dataset.RequestAttributesSequence = [person]
    block = dataset.private_block(0x0019, "VENDOR OF MUSTERMANN", create=True)
    block.add_new(1, "LO", "MUSTERMANN")
    block.add_new(2, "SQ", [person])
    dataset.add_new((0x6000, 0x0010), "US", 40)
    dataset.add_new((0x6000, 0x0011), "US", 40)
    dataset.add_new((0x6000, 0x0040), "CS", "G")
    dataset.add_new((0x6000, 0x0102), "US", 0)
    dataset.add_new((0x6000, 0x3000), "OW", b"MUSTERMANN".ljust(200, b"\0"))
    dataset.add_new((0x6000, 0x4000), "LT", "drawn by WILSON")
    dataset.add_new((0x5000, 0x0022), "LO", "curve of WILSON")
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.SamplesPerPixel = 2, 5, 8, 1
    icon.PixelData = b"MUSTERMANN"
    icon["PixelData"].VR = "OB"
    dataset.IconImageSequence = [icon]
    dataset.add_new((0xFFFC, 0xFFFC), "OB", b"MUSTERMANN")
    dataset.file_meta.SourceApplicationEntityTitle = "SECRET-AE"
    dataset.file_meta.PrivateInformationCreatorUID = generate_uid()
    dataset.file_meta.PrivateInformation = b"MUSTERMANN"
    dataset.preamble = b"MUSTERMANN".ljust(128, b"\0")


def secrets_in(path: Path) -> list[str]:
    """Which secrets are in a file's bytes or its path, whatever their case."""
    content = path.read_bytes().lower() + str(path).lower().encode()
    return [secret for secret in SECRETS if secret.lower().encode() in content]


def set_pixels(dataset: Dataset, values: np.ndarray) -> None:
    """Uncompressed stored values."""
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW" if values.dtype.itemsize == 2 else "OB"
