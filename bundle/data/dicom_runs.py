"""Runs of single frames within one DICOM series: acquisitions, or the planes of a biplane machine."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise

from pydicom.dataset import Dataset

RUN_KEYWORDS = ("AcquisitionUID", "AcquisitionNumber")
"""What tells runs apart, unless it is another for each frame and so counts frames."""

TIME_KEYWORDS = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime")
"""In whose order runs show that count their frames from 1 each."""

PLANES = ("BIPLANE A", "BIPLANE B")


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
