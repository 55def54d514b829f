"""Opening DICOM files: what is an image, how large it says it is, and what is refused before anything is decoded."""

import warnings as python_warnings
import zlib
from pathlib import Path
from typing import NoReturn

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from bundle.data.clip import ClipShape, NoImageError, UnreadableStudyError, check_frame, damage_refused

MAX_INFLATED_BYTES = 2**29  # Largest deflated data set that is unpacked: a bomb of 1 MB would fill 1 GB

PREAMBLE_BYTES = 132
META_LENGTH_BYTES = 12  # the element that says how long the meta header's rest is


def has_dicom_preamble(path: Path) -> bool:
    """Whether the file says that it is DICOM."""
    with path.open("rb") as file:
        return file.read(PREAMBLE_BYTES)[128:] == b"DICM"


def read_dataset(path: Path, stop_before_pixels: bool = False) -> Dataset:
    """Parse an image; one without preamble is taken if SOP class, size and pixel data are there."""
    # Parser errors and warnings quote values of the header, a patient's name among them: only their type is passed on.
    with damage_refused(path), python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        if has_dicom_preamble(path):
            _refuse_deflate_bomb(path)
        try:
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=stop_before_pixels)
        except MemoryError:  # of what is no DICOM, text is read as the length of an element
            raise UnreadableStudyError(path, "no DICOM, or damaged: it states more data than fit into memory") from None
        is_image = "SOPClassUID" in dataset and "Rows" in dataset and "Columns" in dataset
        has_pixels = stop_before_pixels or "PixelData" in dataset
    if not is_image:
        _refuse_other_object(path, dataset)
        raise UnreadableStudyError(path, "no DICOM image, or cut off: SOPClassUID, Rows or Columns is missing")
    if not has_pixels:
        raise UnreadableStudyError(path, "no PixelData (7FE0,0010) in it")
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        _assume_syntax(dataset)
    return dataset


def stated_shape(path: Path, dataset: Dataset) -> ClipShape:
    """Frames, rows and columns by the header; a missing or zero Number of Frames is one frame."""
    with damage_refused(path):
        num_frames = int(dataset.get("NumberOfFrames") or 1)
        shape = ClipShape(num_frames, int(dataset.Rows), int(dataset.Columns))
    check_frame(path, *shape)
    return shape


def refuse_size(path: Path, stated: tuple[int, int], got: tuple[int, ...]) -> NoReturn:
    """Refuse frames of another size ``(rows, columns)`` than the header states."""
    raise UnreadableStudyError(path, f"the header says {stated} rows and columns, its frames have {got}")


def first_line(error: Exception) -> str:
    """The start of an error's message, for messages of one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def _refuse_other_object(path: Path, dataset: Dataset) -> None:
    """Tell a report, a presentation state or another object without pixels from a damaged image."""
    kind = UID(str(dataset.get("SOPClassUID") or ""))
    has_image = any(word in kind.keyword for word in ("Image", "Video", "Photographic"))
    if kind.keyword.endswith("Storage") and not has_image:
        raise NoImageError(path, f"no image in it: {kind.name}")


def _assume_syntax(dataset: Dataset) -> None:
    """A file without the preamble and meta header is a bare data set, which cannot be compressed (PS3.5 10.1)."""
    dataset.file_meta = FileMetaDataset()
    is_implicit, is_little_endian = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit


def _refuse_deflate_bomb(path: Path) -> None:
    """Inflate in small pieces, keeping none, before pydicom inflates all at once."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    num_bytes = 0
    with path.open("rb") as file:
        file.seek(PREAMBLE_BYTES + META_LENGTH_BYTES + int(meta.FileMetaInformationGroupLength))
        while packed := inflate.unconsumed_tail or file.read(2**16):
            num_bytes += len(inflate.decompress(packed, 2**24))
            if num_bytes > MAX_INFLATED_BYTES:
                limit = MAX_INFLATED_BYTES / 2**20
                raise UnreadableStudyError(path, f"its deflated data unpack to more than the limit of {limit:.0f} MiB")
