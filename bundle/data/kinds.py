"""What a file is: DICOM, video, picture or NIfTI, by its name and by its content (PS3.5 7.1, PS3.10 7.1)."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_has_tag
from pydicom.tag import Tag
from pydicom.valuerep import VR

from bundle.data.clip import UnreadableStudyError

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
VIDEO_SUFFIXES = (
    *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts"),
    *(".wmv", ".asf"),
)
READABLE_SUFFIXES = DICOM_SUFFIXES + VIDEO_SUFFIXES + STILL_SUFFIXES + NIFTI_SUFFIXES
SUFFIXES_OF_KIND = {
    "DICOM": DICOM_SUFFIXES,
    "video": VIDEO_SUFFIXES,
    "picture": STILL_SUFFIXES,
    "NIfTI": NIFTI_SUFFIXES,
}
HEAD_BYTES = 384
DIRECTORY_CLASS = pydicom.uid.MediaStorageDirectoryStorage
MAX_FIRST_ELEMENT_BYTES = 2**12


def kind_by_name(path: Path) -> str | None:
    """The kind that a file's suffix says."""
    name = path.name.lower()
    return next((kind for kind, suffixes in SUFFIXES_OF_KIND.items() if name.endswith(suffixes)), None)


def kind_by_content(path: Path) -> str | None:
    """Look for the magic numbers of what we read; FFmpeg alone would take a text for a video.

    A DICOM data set without preamble has none: it begins like one, and its SOP class is there.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[128:132] == b"DICM":
        return "DICOM"
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return "picture"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):  # TIFF and BigTIFF
        return "picture"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] == b"n+2\0":
        return "NIfTI"
    if _is_video(head):
        return "video"
    return "DICOM" if _begins_as_data_set(head) and _has_sop_class(path) else None


def kind_of(path: Path) -> str:
    """What a clip is read as: "folder", or what a file's content says; a suffix that says otherwise is an error."""
    if path.is_dir():
        return "folder"
    if not path.is_file():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.stat().st_size == 0:
        raise UnreadableStudyError(path, "the file is empty")
    named, content = kind_by_name(path), kind_by_content(path)
    if content is None and ((named == "DICOM" and not _is_text(path)) or path.name.lower().endswith(".nii.gz")):
        return str(named)  # without a preamble, or compressed: the reader looks inside
    if content is None:
        expected = f"named {path.suffix}, but its content is" if named else "its content is"
        raise UnreadableStudyError(path, f"{expected} no DICOM, video, PNG, JPEG, TIFF or NIfTI")
    if named not in (None, content):
        raise UnreadableStudyError(path, f"named {path.suffix}, but its content is {content}: rename it if it is right")
    return content


def sort_folder(folder: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path], list[str]]:
    """DICOM files or pictures of a folder that is one clip, and a warning that names the files which are neither."""
    dicoms = [file for file in files if kind_by_content(file) == "DICOM"]
    pictures = [file for file in files if file.suffix.lower() in STILL_SUFFIXES]
    if dicoms and pictures:
        raise UnreadableStudyError(folder, f"mixes {len(dicoms)} DICOM files with {len(pictures)} pictures")
    if not dicoms and not pictures:
        raise UnreadableStudyError(folder, f"no DICOM, PNG, JPEG or TIFF file among its {len(files)} files")
    taken = {*dicoms, *pictures}
    excluded = ", ".join(f"'{file.name}'" for file in files if file not in taken)
    return dicoms, pictures, [f"excluded, not part of the clip: {excluded}"] if excluded else []


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name or, whatever its name, by its content."""
    return kind_by_name(path) == "DICOM" or kind_by_content(path) == "DICOM"


def is_dicomdir(path: Path) -> bool:
    """Whether a file is the directory of a DICOM medium, which lists the files beside and below it."""
    if path.name.upper() == "DICOMDIR":
        return True
    with path.open("rb") as file:
        return DIRECTORY_CLASS.encode() in file.read(HEAD_BYTES)[132:]


def _is_text(path: Path) -> bool:
    """Whether no byte of the beginning is zero; the first tag of every data set has one."""
    with path.open("rb") as file:
        return b"\0" not in file.read(HEAD_BYTES)


def _is_video(head: bytes) -> bool:
    is_riff = head.startswith(b"RIFF") and head[8:12] == b"AVI "
    is_mp4 = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    # Matroska and WebM; MPEG program, system and elementary streams; ASF (WMV)
    starts = (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x30\x26\xb2\x75")
    # MPEG transport stream: packets of 188 bytes, or of 192 with a time in front (m2ts), each with the sync byte "G"
    is_transport = any(
        head[at : at + 1] == head[at + step : at + step + 1] == b"G" for at, step in ((0, 188), (4, 192))
    )
    return is_riff or is_mp4 or head.startswith(starts) or is_transport


def _begins_as_data_set(head: bytes) -> bool:
    """Whether the first element is one of group 0008, or of 0002 where only the preamble is missing."""
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[at : at + 2], order) for at in (0, 2))
        if group in (0x0002, 0x0008) and (element == 0 or dictionary_has_tag(Tag(group, element))):
            is_explicit = head[4:6].decode("latin-1") in VR.__members__
            return is_explicit or int.from_bytes(head[4:8], order) <= MAX_FIRST_ELEMENT_BYTES
    return False


def _has_sop_class(path: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # whatever a file that is no DICOM makes the parser raise
        return False
    return "SOPClassUID" in header
