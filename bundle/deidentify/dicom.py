"""One DICOM image without identity: the profile on the data set, a new file header, nothing else of the old file."""

import warnings
from pathlib import Path

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from bundle.data.clip import UnreadableStudyError
from bundle.data.dicom_files import damage_refused, read_dataset
from bundle.deidentify.blacken import Rectangle, blacken
from bundle.deidentify.copies import Copy, copy_path
from bundle.deidentify.profile import apply_basic_profile, has_graphics_in_pixels
from bundle.deidentify.pseudonyms import Pseudonyms

BURNED_IN_UNKNOWN = "look at the pixels: BurnedInAnnotation is absent"
BURNED_IN = "look at the pixels: BurnedInAnnotation is YES"


def deidentify_dicom(source: Path, output: Path, pseudonyms: Pseudonyms, rectangle: Rectangle | None = None) -> Copy:
    """Write a copy as ``<output>/<study>/<series>/<instance>.dcm``, names hashed.

    Args:
        source: An image in DICOM; it is only read.
        output: Folder of the copies.
        pseudonyms: Give new UIDs and names.
        rectangle: What becomes black in every frame; pixel data stay as they are when None.

    Raises:
        UnreadableStudyError: If it is no image, is damaged, or cannot be cleaned.
        FileExistsError: If another copy of this instance is there already.
    """
    # Odd values are kept or dropped, not judged, and remarks would quote them.
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_dataset(source)
        if not dataset.get("SOPInstanceUID"):
            raise UnreadableStudyError(source, "no SOPInstanceUID in it")
        target = _target(output, dataset, pseudonyms)
        is_new = not target.exists()
        if rectangle is not None:
            blacken(source, dataset, rectangle)
        elif has_graphics_in_pixels(dataset):
            reason = "an overlay lies in unused bits of the pixels: --blacken 0,0,0,0 clears them"
            raise UnreadableStudyError(source, reason)
        with damage_refused(source):
            apply_basic_profile(dataset, pseudonyms)
            dataset.preamble = bytes(128)
            dataset.file_meta = _new_file_meta(dataset)
        with copy_path(target) as temporary, damage_refused(source):
            dataset.save_as(temporary, enforce_file_format=True)
    return Copy(target, tuple(_notes(dataset, rectangle)), is_new)


def _target(output: Path, dataset: Dataset, pseudonyms: Pseudonyms) -> Path:
    study, series = (str(dataset.get(keyword) or "") for keyword in ("StudyInstanceUID", "SeriesInstanceUID"))
    folder = output / pseudonyms.name("study", study) / pseudonyms.name("series", series)
    return folder / f"{pseudonyms.name('instance', str(dataset.SOPInstanceUID))}.dcm"


def _new_file_meta(dataset: Dataset) -> FileMetaDataset:
    """Only what a file must have: no application entity, no private information."""
    syntax = dataset.file_meta.TransferSyntaxUID
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return meta


def _notes(dataset: Dataset, rectangle: Rectangle | None) -> list[str]:
    notes = []
    stated = dataset.get("BurnedInAnnotation")
    if stated != "NO":
        notes.append(BURNED_IN if stated == "YES" else BURNED_IN_UNKNOWN)
    if rectangle is not None:
        notes.append("blackened, written uncompressed")
    return notes
