"""A concatenation: one multi-frame DICOM image in several instances (PS3.3 C.7.6.16.2.2.4)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from bundle.data.clip import UnreadableStudyError
from bundle.data.dicom_files import stated_shape


def concatenation_of(header: Dataset) -> str:
    """UID of the concatenation that an instance is a part of; empty if it is whole."""
    return str(header.get("ConcatenationUID") or "")


def order_parts(folder: Path, paths: Sequence[Path], headers: Sequence[Dataset]) -> tuple[list[int], list[str]]:
    """Indices of a concatenation's parts in their order, and a note.

    Raises:
        UnreadableStudyError: If a part is missing, or they are of several.
    """
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
    _check_offsets(folder, [(paths[index], headers[index]) for index in order])
    unstated = "" if max(stated) else "; how many there are, the header does not say"
    return order, [f"{total} parts of a concatenation, joined{unstated}"]


def _check_offsets(folder: Path, parts: Sequence[tuple[Path, Dataset]]) -> None:
    for number, (begins, (_, header)) in enumerate(zip(_beginnings(parts), parts, strict=True), start=1):
        offset = header.get("ConcatenationFrameOffsetNumber")
        if offset is not None and int(offset) != begins:
            words = f"part {number} begins with frame {offset} by its header, the parts before have {begins}"
            raise UnreadableStudyError(folder, f"frames of a concatenation are missing: {words}")


def _beginnings(parts: Sequence[tuple[Path, Dataset]]) -> Iterator[int]:
    frame = 0
    for path, header in parts:
        yield frame
        frame += stated_shape(path, header).num_frames
