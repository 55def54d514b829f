"""What DICOM results have in common: the source's UIDs, whose patient it is, and the codes of our own.

Nothing of a source's header but its UIDs is copied, unless a PACS is to file by it.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.config import RAISE, disable_value_validation
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from bundle.data.dicom_files import has_dicom_preamble
from bundle.data.kinds import DICOM_SUFFIXES

LINKS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
REMOVED = ("PatientIdentityRemoved", "DeidentificationMethod", "LongitudinalTemporalInformationModified")

PRIVATE_SCHEME = "99VFSS"
PRIVATE_SCHEME_NAME = "Structures and measures of videofluoroscopic swallowing studies"


class NoDicomSourceError(ValueError):
    """A source that a DICOM result cannot refer to: no DICOM, without UIDs, or a part of a clip."""


@contextmanager
def odd_values_kept() -> Iterator[None]:
    """pydicom's remarks on odd values would quote them; odd UIDs are kept, or they would lead nowhere."""
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_source_header(path: Path, output: str) -> Dataset:
    """A file's UIDs and identity; ``output`` is what needs them, such as ``DICOM SEG``.

    Raises:
        NoDicomSourceError: If the file is no DICOM, or lacks a UID.
    """
    if not (path.name.lower().endswith(DICOM_SUFFIXES) or has_dicom_preamble(path)):
        remedy = ": write NIfTI or PNG masks" if output == "DICOM SEG" else ""
        raise NoDicomSourceError(f"a {output} needs a DICOM source, got a {path.suffix} file{remedy}")
    wanted = [*LINKS, *IDENTITY, *LOSSY, "SpecificCharacterSet", "Modality"]
    header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=wanted)
    missing = [keyword for keyword in LINKS if not header.get(keyword)]
    if missing:
        raise NoDicomSourceError(f"a {output} refers to its source by UIDs, and the header has no {', '.join(missing)}")
    return header


def nameless_source(header: Dataset, pseudonym: str) -> Dataset:
    """A stand-in for highdicom: a file's UIDs, and a pseudonym for the patient."""
    links = {keyword: header.get(keyword) for keyword in (*LINKS, *LOSSY, "Modality") if header.get(keyword)}
    source = make_dataset(**links, **dict.fromkeys(IDENTITY, ""))
    source.PatientName, source.PatientID = f"{pseudonym}^", pseudonym
    source.SpecificCharacterSet = "ISO_IR 192"
    return source


def declare_nameless(dataset: Dataset, made_from: str) -> None:
    """State that of the source's header there are only its UIDs."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"made from {made_from}; of the source's header only its UIDs"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def identify(dataset: Dataset, header: Dataset) -> None:
    """Put in the patient and study of the source, for a PACS that files by them."""
    for keyword in REMOVED:
        dataset.pop(keyword, None)
    for keyword in ("SpecificCharacterSet", *IDENTITY):
        if keyword in header:
            dataset[keyword] = element = header[keyword]
            try:
                validate_value(element.VR, element.value, RAISE)
            except ValueError:  # does not conform
                dataset[keyword].value = ""


def declare_own_codes(dataset: Dataset) -> None:
    """Say whose scheme 99VFSS is."""
    scheme = make_dataset(CodingSchemeDesignator=PRIVATE_SCHEME, CodingSchemeName=PRIVATE_SCHEME_NAME)
    dataset.CodingSchemeIdentificationSequence = [scheme]


def name_and_version(model: Mapping[str, str]) -> tuple[str, str]:
    """Of what made the masks, as far as they are stated."""
    return model.get("name") or "not stated", model.get("version") or "not stated"


def make_dataset(**values: Any) -> Dataset:
    """Attributes by keyword."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def files_of(origins: Sequence[Any]) -> list[Path]:
    """The files of a clip's frames, each once, in the order of the frames."""
    return list(dict.fromkeys(origin.path for origin in origins))
