"""DICOM files as clips, by identity: instances, runs and concatenations, and their order.

One SOP Instance UID is one instance, however many files hold it.
"""

import filecmp
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import Dataset

from bundle.data.clip import UnreadableStudyError
from bundle.data.dicom_concatenation import concatenation_of, order_parts
from bundle.data.dicom_files import damage_refused, has_dicom_preamble, read_dataset, stated_shape
from bundle.data.dicom_runs import runs_of


def group_by_clip(files: Sequence[Path]) -> list[list[Path]]:
    """DICOM files that are one clip together, in the order of each clip's first file.

    Single frames of one run, and the parts of a concatenation; every other file is alone.
    """
    groups: dict[Hashable, list[tuple[Path, Dataset | None]]] = {}
    for file in files:
        header = _header_or_none(file)
        collection = _collection(file, header)
        kept = None if collection == file else header  # thousands of headers would fill the memory
        groups.setdefault(collection, []).append((file, kept))
    return [clip for members in groups.values() for clip in _clips_of(members)]


def series_order(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[int], list[str]]:
    """Indices of the files that are a clip in their order, and warnings; one file alone may be a cine.

    Raises:
        UnreadableStudyError: If the files belong to several series or runs, differ in size, lack a part, are two
            versions of one instance, or cannot be put in order.
    """
    with damage_refused(folder):
        kept, notes = _without_copies(folder, paths, headers)
        kept_paths, kept_headers = [paths[index] for index in kept], [headers[index] for index in kept]
        order, more_notes = _order(folder, kept_paths, kept_headers)
        return [kept[index] for index in order], [*notes, *more_notes]


def run_note(folder: Path, paths: Sequence[Path], header: Dataset) -> list[str]:
    """A note where a folder has more files of the series than those that are read, so that they are one of its runs."""
    named, series = set(paths), header.get("SeriesInstanceUID")
    has_others = any(file not in named and file.is_file() for file in folder.iterdir())
    if not series or not has_others or _files_by_series(folder, folder.stat().st_mtime_ns)[series] <= len(paths):
        return []
    return ["one of several runs of its series: each run is a clip of its own"]


def _clips_of(members: Sequence[tuple[Path, Dataset | None]]) -> list[list[Path]]:
    files = [file for file, _ in members]
    headers = [header for _, header in members if header is not None]
    if len(files) == 1 or concatenation_of(headers[0]):
        return [files]
    try:
        with damage_refused(files[0]):
            return [[files[index] for index in run] for run in runs_of(headers)]
    except UnreadableStudyError:  # reading them will say what is wrong
        return [files]


def _header_or_none(file: Path) -> Dataset | None:
    try:
        return read_dataset(file, stop_before_pixels=True)
    except (UnreadableStudyError, OSError):  # reading it on its own will say what is wrong
        return None


def _collection(file: Path, header: Dataset | None) -> Hashable:
    """Concatenation or series that a file belongs to; the file itself where it is alone."""
    if header is None:
        return file
    if concatenation_of(header):
        return "concatenation", concatenation_of(header)
    try:
        is_cine = stated_shape(file, header).num_frames > 1
    except UnreadableStudyError:
        return file
    series = header.get("SeriesInstanceUID")
    return file if is_cine or not series else ("series", str(series))


@lru_cache(maxsize=1)
def _files_by_series(folder: Path, _changed_ns: int) -> Counter[str]:
    """How many files of a folder belong to each series; counted once for all clips of a folder that has not changed."""
    files = (file for file in folder.iterdir() if file.is_file() and has_dicom_preamble(file))
    headers = (_header_or_none(file) for file in files)
    return Counter(str(header.get("SeriesInstanceUID")) for header in headers if header is not None)


def _without_copies(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[int], list[str]]:
    first: dict[str, int] = {}
    kept, copies = [], []
    for index, header in enumerate(headers):
        uid = str(header.get("SOPInstanceUID") or paths[index])
        original = first.setdefault(uid, index)
        if original == index:
            kept.append(index)
        elif _is_copy(paths[original], paths[index]):
            copies.append(f"'{paths[index].name}'")
        else:
            names = f"'{paths[original].name}' and '{paths[index].name}'"
            raise UnreadableStudyError(folder, f"{names} have one SOP Instance UID and different content: keep one")
    return kept, [f"left out, a copy of another file of the clip: {', '.join(copies)}"] if copies else []


def _is_copy(path: Path, other: Path) -> bool:
    return filecmp.cmp(path, other, shallow=False) or read_dataset(path) == read_dataset(other)


def _order(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[int], list[str]]:
    are_parts = any(concatenation_of(header) for header in headers)
    if len(paths) > 1:
        _check_sizes(folder, paths, headers, are_parts)
    if are_parts:
        return order_parts(folder, paths, headers)
    num_series = len({str(header.get("SeriesInstanceUID")) for header in headers})
    num_runs = len(runs_of(headers))
    if num_series > 1:
        raise UnreadableStudyError(folder, f"files of {num_series} series in one folder: put each series in its own")
    if num_runs > 1:
        raise UnreadableStudyError(folder, f"{num_runs} runs of one series in one folder: put each run in its own")
    return _by_instance_number(folder, paths, headers) if len(paths) > 1 else [0], []


def _check_sizes(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset], are_parts: bool) -> None:
    shapes = [stated_shape(path, header) for path, header in zip(paths, headers, strict=True)]
    for path, shape in zip(paths, shapes, strict=True):
        if shape.num_frames > 1 and not are_parts:
            raise UnreadableStudyError(folder, f"'{path.name}' is a clip of its own among {len(paths)} files: name one")
        if (shape.rows, shape.columns) != (shapes[0].rows, shapes[0].columns):
            raise UnreadableStudyError(
                folder,
                f"mixed sizes: '{paths[0].name}' has {shapes[0].rows} x {shapes[0].columns} pixels, "
                f"'{path.name}' has {shape.rows} x {shape.columns}",
            )


def _by_instance_number(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> list[int]:
    numbers = [header.get("InstanceNumber") for header in headers]
    missing = [f"'{path.name}'" for path, number in zip(paths, numbers, strict=True) if number in (None, "")]
    if missing:
        raise UnreadableStudyError(folder, f"no InstanceNumber, so no order, in {', '.join(missing[:3])}")
    keys = [int(number) for number in numbers]
    counts = Counter(keys)
    repeated = [f"'{path.name}'" for path, key in zip(paths, keys, strict=True) if counts[key] > 1]
    if repeated:
        words = "frames of several runs, which nothing tells apart: put the files of each run in its own folder"
        raise UnreadableStudyError(folder, f"InstanceNumber repeats, in {', '.join(repeated[:3])}: {words}")
    return sorted(range(len(keys)), key=keys.__getitem__)
