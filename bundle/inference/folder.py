"""What of a folder is a study: each video, multi-frame DICOM and NIfTI file, each series, each folder of pictures."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bundle.data.dicom import DICOM_SUFFIXES
from bundle.data.dicom_files import has_dicom_preamble
from bundle.data.dicom_series import group_by_clip
from bundle.data.nifti import NIFTI_SUFFIXES, open_nifti
from bundle.data.readers import READABLE_SUFFIXES, UnreadableStudyError
from bundle.data.stills import STILL_SUFFIXES, natural_order

MASK_DIMENSIONS = 5  # (X, Y, 1, T, S): a label, no X-ray clip


Study = Path | tuple[Path, ...]
"""What ``read_clip`` takes: a file, a folder that is one clip, or the files of one series among others."""


def find_studies(source: str | Path, exclude: str | Path | None = None) -> list[Study]:
    """Find the studies in a file or folder, subfolders included, in natural order.

    Pictures of one folder are one clip; single-frame DICOM files of one series and folder are one clip; every other
    readable file is one. Hidden files, other file types and NIfTI files with one channel per structure are left out.
    Damaged files are kept: reading them says what is wrong.

    Args:
        source: File or folder.
        exclude: Folder that is not searched, such as the one for the results.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there is no study in it.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f"no such file or folder: {source}")
    excluded = None if exclude is None else Path(exclude).resolve()
    studies = [study for folder in _folders(source, excluded) for study in _studies_of(folder)]
    if not studies:
        raise ValueError(f"no study in {source}: expected files {', '.join(READABLE_SUFFIXES)} or DICOM of any name")
    return studies


def _folders(source: Path, excluded: Path | None) -> Iterator[Path]:
    for name, subfolders, _ in os.walk(source):
        folder = Path(name)
        kept = [folder / sub for sub in subfolders if not sub.startswith(".")]
        subfolders[:] = [sub.name for sub in natural_order(kept) if sub.resolve() != excluded]
        if folder.resolve() != excluded:
            yield folder


def _studies_of(folder: Path) -> list[Study]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_file())
    files = [file for file in natural_order(list(entries)) if _is_candidate(file)]
    dicoms = [file for file in files if _is_dicom(file)]
    pictures = [file for file in files if file.suffix.lower() in STILL_SUFFIXES and file not in dicoms]
    others = [file for file in files if file not in dicoms and file not in pictures]
    series = _group_by_series(dicoms)
    is_one_series = len(series) == 1 and len(dicoms) > 1 and not pictures
    is_one_clip = len(pictures) > 1 and not dicoms
    return [
        *([folder] if is_one_series else series),
        *([folder] if is_one_clip else pictures),
        *others,
    ]


def _is_candidate(file: Path) -> bool:
    if file.name.upper() == "DICOMDIR":
        return False
    if file.name.lower().endswith(NIFTI_SUFFIXES):
        return not _is_mask(file)
    return file.name.lower().endswith(READABLE_SUFFIXES) or has_dicom_preamble(file)


def _is_mask(file: Path) -> bool:
    try:
        return len(open_nifti(file).shape) >= MASK_DIMENSIONS
    except UnreadableStudyError:
        return False


def _is_dicom(file: Path) -> bool:
    return file.name.lower().endswith(DICOM_SUFFIXES) or has_dicom_preamble(file)


def _group_by_series(files: Sequence[Path]) -> list[Study]:
    """Files that are one clip together, in the order of each clip's first file; every other file alone."""
    return [group[0] if len(group) == 1 else tuple(group) for group in group_by_clip(files)]
