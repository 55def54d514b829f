"""What of a folder is a study: each video, multi-frame DICOM and NIfTI file, each series, each folder of pictures.

Studies are named by a hash of their content, since file names may name patients.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bundle.data.dicom_series import group_by_clip
from bundle.data.kinds import READABLE_SUFFIXES
from bundle.data.nifti import open_nifti
from bundle.data.readers import UnreadableStudyError
from bundle.data.sources import LeftOut, Sources, find_sources, natural_order, own_files

MASK_DIMENSIONS = 5  # (X, Y, 1, T, S): a label, no X-ray clip
MASKS = "masks, one channel per structure"
KEY_LENGTH = 12

Study = Path | tuple[Path, ...]
"""What ``read_clip`` takes: a file, a folder that is one clip, or the files of one series among others."""


class FoundStudies(NamedTuple):
    """The studies of a folder, and what of it is left out."""

    studies: Iterable[Study]  # a list, or fetched one after the other
    left_out: LeftOut


def find_studies(source: str | Path | None, exclude: str | Path | None = None) -> FoundStudies:
    """Find the studies in a file or folder, subfolders included, in natural order.

    Pictures of one folder are one clip; single-frame DICOM files of one series and folder are one clip; every other
    readable file is one. Left out are what ``find_sources`` leaves out, other file types and NIfTI files with one
    channel per structure. Damaged files are kept: reading them says what is wrong.

    Args:
        source: File, folder, or the DICOMDIR in it; None, as before an input is named, has no studies.
        exclude: Folder that is not searched, such as the one for the results.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there is no study in it.
    """
    if source is None:
        return FoundStudies([], LeftOut())
    sources = find_sources(source, exclude)
    if sources.files == [Path(source)]:
        return FoundStudies([Path(source)], sources.left_out)
    studies = [study for folder in sources.folders for study in _studies_of(folder, sources)]
    if not studies:
        raise ValueError(
            f"no study in {source}: expected files {', '.join(READABLE_SUFFIXES)} or DICOM of any name"
            + "".join(f"; {line}" for line in sources.left_out.lines())
        )
    return FoundStudies(studies, sources.left_out)


def studies_among(files: Sequence[Path]) -> list[Study]:
    """The studies that some files are; others may lie in the same folders."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    sources = Sources(Path(), {folder: natural_order(own) for folder, own in folders.items()}, LeftOut())
    return [study for folder in folders for study in _studies_of(folder, sources, is_whole=False)]


def first_file(study: Study) -> Path:
    """The first of a study's files."""
    if isinstance(study, tuple):
        return study[0]
    return own_files(study)[0] if study.is_dir() else study


def study_key(study: str | Path | Sequence[Path]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a file, or of several, or a folder's readable ones, in their order.

    The same content has the same key wherever it lies and whatever it is called.

    Raises:
        FileNotFoundError: If there is no such file or folder.
    """
    if not isinstance(study, str | Path):
        return _key_of(study)
    path = Path(study)
    if path.is_dir():
        sources = find_sources(path, is_deep=False)
        return _key_of([file for file in sources.files if sources.kind(file) is not None])
    if not path.is_file():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return _digest(path).hex()[:KEY_LENGTH]


def _studies_of(folder: Path, sources: Sources, is_whole: bool = True) -> list[Study]:
    files: dict[str, list[Path]] = {"DICOM": [], "picture": [], "other": []}
    for file in sources.folders[folder]:
        kind = _kind_of_study(file, sources)
        if kind is not None:
            files[kind if kind in files else "other"].append(file)
    dicoms, pictures = files["DICOM"], files["picture"]
    groups = group_by_clip(dicoms)  # files that are one clip together, in the order of each clip's first file
    series: list[Study] = [group[0] if len(group) == 1 else tuple(group) for group in groups]
    is_one_series = is_whole and len(series) == 1 and len(dicoms) > 1 and not pictures
    is_one_clip = len(pictures) > 1 and not dicoms
    return [*([folder] if is_one_series else series), *([folder] if is_one_clip else pictures), *files["other"]]


def _kind_of_study(file: Path, sources: Sources) -> str | None:
    """What a file is; None, and left out, if it is none that holds an X-ray clip."""
    kind = sources.kind(file)
    with contextlib.suppress(UnreadableStudyError):  # reading it says what is wrong
        if kind == "NIfTI" and len(open_nifti(file).shape) >= MASK_DIMENSIONS:
            sources.left_out.add(MASKS, file)
            return None
    return kind


def _key_of(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(_digest(file) for file in natural_order(files))).hexdigest()[:KEY_LENGTH]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
