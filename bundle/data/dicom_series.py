"""DICOM files as clips, by identity: instances, runs and concatenations, and their order.

One SOP Instance UID is one instance, however many files hold it.
"""

import filecmp
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from pydicom.dataset import Dataset

from bundle.data.clip import UnreadableStudyError, damage_refused
from bundle.data.dicom_files import has_dicom_preamble, read_dataset, stated_shape

RUN_KEYWORDS = ("AcquisitionUID", "AcquisitionNumber")
"""What tells runs apart, unless it is another for each frame and so counts frames."""

TIME_KEYWORDS = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime")
"""In whose order runs show that count their frames from 1 each."""

PLANES = ("BIPLANE A", "BIPLANE B")


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

    Refused are files of several series or runs, of different size, without a part, or in two versions or no order.
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
        elif filecmp.cmp(paths[original], paths[index], shallow=False) or (
            read_dataset(paths[original]) == read_dataset(paths[index])
        ):
            copies.append(f"'{paths[index].name}'")
        else:
            names = f"'{paths[original].name}' and '{paths[index].name}'"
            raise UnreadableStudyError(folder, f"{names} have one SOP Instance UID and different content: keep one")
    return kept, [f"left out, a copy of another file of the clip: {', '.join(copies)}"] if copies else []


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
            first = f"'{paths[0].name}' has {shapes[0].rows} x {shapes[0].columns} pixels"
            words = f"mixed sizes: {first}, '{path.name}' has {shape.rows} x {shape.columns}"
            raise UnreadableStudyError(folder, words)


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


def concatenation_of(header: Dataset) -> str:
    """UID of the concatenation that an instance is a part of; empty if it is whole."""
    return str(header.get("ConcatenationUID") or "")


def order_parts(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[int], list[str]]:
    """Indices of a concatenation's parts in their order, and a note; all must be there, and of one."""
    if len({concatenation_of(header) for header in headers}) > 1:
        raise UnreadableStudyError(folder, "not all of its files are parts of one concatenation: name one clip's files")
    numbers = [int(header.get("InConcatenationNumber") or 0) for header in headers]
    stated = {int(header.get("InConcatenationTotalNumber") or 0) for header in headers}
    total = max(*stated, *numbers, 1)
    missing = sorted(set(range(1, total + 1)) - set(numbers))
    if missing or len(numbers) != total:
        words = f"part {', '.join(map(str, missing))} is missing" if missing else "a part is there in two versions"
        raise UnreadableStudyError(folder, f"{len(numbers)} of {total} parts of a concatenation: {words}")
    order = sorted(range(total), key=numbers.__getitem__)
    begins = 0
    for number, index in enumerate(order, start=1):
        offset = headers[index].get("ConcatenationFrameOffsetNumber")
        if offset is not None and int(offset) != begins:
            words = f"part {number} begins with frame {offset} by its header, the parts before have {begins}"
            raise UnreadableStudyError(folder, f"frames of a concatenation are missing: {words}")
        begins += stated_shape(paths[index], headers[index]).num_frames
    unstated = "" if max(stated) else "; how many there are, the header does not say"
    return order, [f"{total} parts of a concatenation, joined{unstated}"]


def runs_of(headers: Sequence[Dataset]) -> list[list[int]]:
    """Indices of the frames of each run in a series, in the order of each run's first frame; copies stay together."""
    instances: dict[str, list[int]] = {}
    for index, header in enumerate(headers):
        instances.setdefault(str(header.get("SOPInstanceUID") or index), []).append(index)
    copies = {indices[0]: indices for indices in instances.values()}
    runs = [list(copies)]
    for values in ([_plane(header) for header in headers], *(_values(headers, keyword) for keyword in RUN_KEYWORDS)):
        runs = [part for run in runs for part in _split(run, values)]
    parts = [part for run in runs for part in _split_by_time(run, headers)]
    return sorted(sorted(index for first in part for index in copies[first]) for part in parts)


def _split(run: Sequence[int], values: Sequence[Hashable]) -> list[list[int]]:
    """A run by a value that some of its frames share."""
    parts: dict[Hashable, list[int]] = {}
    for index in run:
        parts.setdefault(values[index], []).append(index)
    return list(parts.values()) if len(parts) < len(run) else [list(run)]


def _split_by_time(run: list[int], headers: Sequence[Dataset]) -> list[list[int]]:
    """A run in which Instance Numbers repeat, where they start again in the order of time."""
    num_runs = max(Counter(_number(headers[index]) for index in run).values())
    for keyword in TIME_KEYWORDS if num_runs > 1 else ():
        times = _values(headers, keyword)
        parts = _restarts(run, times, headers) if all(times[index] for index in run) else []
        if len(parts) == num_runs < len(run):
            return parts
    return [run]


def _restarts(run: Sequence[int], times: Sequence[str], headers: Sequence[Dataset]) -> list[list[int]]:
    """Parts of a run in order of time, in which Instance Numbers rise; none where they repeat at one time."""
    ordered = sorted(run, key=lambda index: (times[index], _number(headers[index])))
    parts = [[ordered[0]]]
    for before, index in pairwise(ordered):
        if _number(headers[index]) <= _number(headers[before]):
            if times[index] == times[before]:
                return []
            parts.append([])
        parts[-1].append(index)
    return parts


def _number(header: Dataset) -> str:
    """Instance Number, as text that sorts as it does."""
    return str(header.get("InstanceNumber") or "").rjust(12)


def _values(headers: Sequence[Dataset], keyword: str) -> list[str]:
    return [str(header.get(keyword) or "") for header in headers]


def _plane(header: Dataset) -> str:
    """Which plane of a biplane machine a frame is of (PS3.3 C.8.7.1.1.1)."""
    return next((str(value) for value in header.get("ImageType") or () if value in PLANES), "")
