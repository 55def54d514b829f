"""Where a video file ends, by its container: within a box, an element or a packet, it is cut off.

MP4 and QuickTime: ISO/IEC 14496-12, 4.2 (boxes), 8.8 (fragments), 8.16.3 (segment index). Matroska: RFC 8794
(elements), RFC 9559. MPEG transport stream: ISO/IEC 13818-1, 2.4.3.2. ASF: Microsoft's specification, 3.2 (file
properties).
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

UNKNOWN_DURATION = (2**32 - 1, 2**64 - 1)
ENTERED = (0x18538067, 0x1F43B675)
"""Matroska's Segment and Cluster, whose elements are looked at; of all others the size alone."""
FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@dataclass(frozen=True)
class FileEnd:
    """How a file ends."""

    is_cut: bool = False  # Whether it ends within a part whose size is stated
    # Length of a fragmented film, where its header states one and it has no sound, whose length it may be
    seconds: float | None = None
    is_open: bool = False  # Whether nothing in it says how long it is, so that a cut between two parts does not show


UNKNOWN_END = FileEnd()


class Box(NamedTuple):
    """A box of an MP4: its content, as far as its header says."""

    kind: bytes
    start: int
    end: int


def file_end(path: Path, container: str) -> FileEnd:
    """Look at a file's end without decoding it; ``container`` is FFmpeg's name of its format."""
    look = next((look for prefix, look in LOOKS.items() if container.startswith(prefix)), None)
    if look is None:
        return UNKNOWN_END
    with path.open("rb") as file:
        return look(file, file.seek(0, os.SEEK_END))


def _mp4_end(file: BinaryIO, size: int) -> FileEnd:
    """Only of a film in fragments: others state how many frames they have."""
    boxes = list(_boxes(file, 0, size))
    kinds = [box.kind for box in boxes]
    if b"moof" not in kinds:
        return UNKNOWN_END
    seconds = max((_stated_seconds(file, box) for box in boxes if box.kind == b"moov"), default=0.0)
    indexed = max((_indexed_end(file, box) for box in boxes if box.kind == b"sidx"), default=0)
    is_cut = max(boxes[-1].end, indexed) > size or kinds[-1] == b"moof" or _has_rest(file, boxes[-1].end, size)
    is_open = not seconds and not indexed and b"mfra" not in kinds
    return FileEnd(is_cut, seconds or None, is_open)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        num_bytes, kind = struct.unpack_from(">I4s", head)
        length = 16 if num_bytes == 1 else 8
        if num_bytes == 1:  # a size of 64 bits follows
            num_bytes = struct.unpack_from(">Q", head.ljust(16, b"\xff"), 8)[0]
        box = Box(kind, start + length, end if num_bytes == 0 else start + num_bytes)
        if box.end < box.start:
            return  # no box: something was put behind the film
        yield box
        start = box.end


def _has_rest(file: BinaryIO, start: int, size: int) -> bool:
    """Whether there is the beginning of a box's header; one zero only makes the length even, as in DICOM."""
    file.seek(start)
    return 0 < size - start < 8 and file.read(size - start) != b"\0"


def _stated_seconds(file: BinaryIO, movie: Box) -> float:
    """Length of the only track by Movie Extends Header or Movie Header; 0 if neither says it, or there are others."""
    boxes = list(_boxes(file, movie.start, movie.end))
    inner = {box.kind: box for box in boxes}
    if b"mvhd" not in inner or sum(box.kind == b"trak" for box in boxes) > 1:
        return 0.0
    header = _content(file, inner[b"mvhd"])
    timescale, duration = struct.unpack_from(">QQIQ" if header[0] else ">IIII", header, 4)[2:]
    durations = [duration]
    for box in _boxes(file, *inner[b"mvex"][1:]) if b"mvex" in inner else ():
        if box.kind == b"mehd":
            extends = _content(file, box)
            durations += struct.unpack_from(">Q" if extends[0] else ">I", extends, 4)
    return max((ticks for ticks in durations if ticks not in UNKNOWN_DURATION), default=0) / max(1, timescale)


def _indexed_end(file: BinaryIO, index: Box) -> int:
    """Where the last part ends that a Segment Index lists."""
    content = _content(file, index)
    at = 28 if content[0] else 20
    (offset,) = struct.unpack_from(">Q" if content[0] else ">I", content, at - (8 if content[0] else 4))
    (count,) = struct.unpack_from(">H", content, at + 2)
    listed = content[at + 4 :][: 12 * count]
    sizes = struct.iter_unpack(">I8x", listed[: len(listed) // 12 * 12])
    return index.end + offset + sum(size & 0x7FFFFFFF for (size,) in sizes)


def _content(file: BinaryIO, box: Box) -> bytes:
    """A short box's content; zeros stand for what was cut off."""
    num_bytes = min(box.end - box.start, 2**20)
    file.seek(box.start)
    return file.read(num_bytes).ljust(max(num_bytes, 64), b"\0")


def _matroska_end(file: BinaryIO, size: int) -> FileEnd:
    position, is_open = 0, False
    while position < size:
        file.seek(position)
        head = file.read(12)
        if not head[0]:
            return UNKNOWN_END  # no element: something was put behind the film
        name, name_bytes = _number(head, keeps_marker=True)
        num_bytes, size_bytes = _number(head[name_bytes:].ljust(1, b"\1"))
        start = position + name_bytes + size_bytes
        is_unknown = num_bytes == 2 ** (7 * size_bytes) - 1
        if start > size or (not is_unknown and start + num_bytes > size):
            return FileEnd(is_cut=True)
        is_open |= is_unknown and name == ENTERED[0]
        position = start if name in ENTERED else start + num_bytes
    return FileEnd(is_open=is_open)


def _number(head: bytes, keeps_marker: bool = False) -> tuple[int, int]:
    """A number of variable length, and how many bytes it has: as many as its first byte has leading zeros, and one."""
    num_bytes = 9 - head[0].bit_length()
    value = int.from_bytes(head[:num_bytes].ljust(num_bytes, b"\0"), "big")
    return value if keeps_marker else value & (2 ** (7 * num_bytes) - 1), num_bytes


def _transport_end(file: BinaryIO, size: int) -> FileEnd:
    """Packets have 188 bytes, or 192 with a time in front."""
    file.seek(0)
    head = file.read(197)
    packet = 192 if head[4:5] == head[196:197] == b"G" != head[188:189] else 188
    return FileEnd(is_cut=size % packet > 0)


def _asf_end(file: BinaryIO, size: int) -> FileEnd:
    file.seek(0)
    header = file.read(2**16)
    at = header.find(FILE_PROPERTIES) + 24
    if at < 24 or len(header) < at + 68:
        return UNKNOWN_END
    (stated,) = struct.unpack_from("<Q", header, at + 16)
    is_broadcast = header[at + 64] & 1  # its size is not known
    return FileEnd(is_cut=not is_broadcast and stated > size)


LOOKS = {"mov": _mp4_end, "matroska": _matroska_end, "mpegts": _transport_end, "asf": _asf_end}
"""By the beginning of FFmpeg's name of the format."""
