"""A folder's single-frame files as one clip: what belongs together, and in which order."""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from bundle.data.clip import UnreadableStudyError
from bundle.data.dicom_files import damage_refused, stated_shape


def series_order(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[int], list[str]]:
    """Indices of the files in the order of Instance Number, and warnings; one file alone may be a cine.

    Raises:
        UnreadableStudyError: If the files belong to several series, differ in size or transfer syntax's pixel type, or
            cannot be put in order.
    """
    if len(paths) == 1:
        return [0], []
    with damage_refused(folder):
        _check_sizes(folder, paths, headers)
        num_series = len({str(header.get("SeriesInstanceUID")) for header in headers})
        if num_series > 1:
            words = f"files of {num_series} series in one folder: put each series in its own"
            raise UnreadableStudyError(folder, words)
        return _by_instance_number(folder, paths, headers)


def _check_sizes(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> None:
    shapes = [stated_shape(path, header) for path, header in zip(paths, headers, strict=True)]
    for path, shape in zip(paths, shapes, strict=True):
        if shape.num_frames > 1:
            raise UnreadableStudyError(folder, f"'{path.name}' is a clip of its own among {len(paths)} files: name one")
        if shape != shapes[0]:
            raise UnreadableStudyError(
                folder,
                f"mixed sizes: '{paths[0].name}' has {shapes[0].rows} x {shapes[0].columns} pixels, "
                f"'{path.name}' has {shape.rows} x {shape.columns}",
            )


def _by_instance_number(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[int], list[str]]:
    numbers = [header.get("InstanceNumber") for header in headers]
    missing = [f"'{path.name}'" for path, number in zip(paths, numbers, strict=True) if number in (None, "")]
    if missing:
        raise UnreadableStudyError(folder, f"no InstanceNumber, so no order, in {', '.join(missing[:3])}")
    keys = [int(number) for number in numbers]
    notes = [] if len(set(keys)) == len(keys) else ["InstanceNumber repeats: equal ones are in the order of names"]
    return sorted(range(len(keys)), key=lambda index: (keys[index], paths[index].name)), notes
