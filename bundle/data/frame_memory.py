"""Memory for frames on their way from the decoding process: shared pages, used again for the next file.

New shared pages cost seven times as much as private ones (measured: 0.96 against 0.13 ms for 1 MiB), so the decoding
process keeps one buffer, and the caller copies the clip out of it.
"""

import mmap
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHARED_FROM_BYTES = 2**20
"""Smaller arrays are sent through the socket."""

KEPT_BYTES = 2**30
"""A larger buffer is given back after its file."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Shared pages: a file without a name, mapped."""

    descriptor: int
    content: np.ndarray


class SharedBuffers:
    """The decoding process's shared pages: in use until ``recycle``, then free for the next file."""

    def __init__(self) -> None:
        self._free: list[Segment] = []
        self._used: dict[int, Segment] = {}  # by the address of the first byte

    def take(self, num_bytes: int) -> np.ndarray:
        """Pages for so many bytes, uint8, not cleared."""
        fitting = [segment for segment in self._free if len(segment.content) >= num_bytes]
        segment = fitting[0] if fitting else _new_segment(num_bytes)
        self._free = [other for other in self._free if other is not segment]
        self._used[segment.content.ctypes.data] = segment
        return segment.content[:num_bytes]

    def descriptor_of(self, content: np.ndarray) -> int:
        """Descriptor of the pages that an array starts; an array elsewhere is copied into pages first."""
        if content.ctypes.data not in self._used:
            copy = self.take(content.nbytes)
            copy[:] = content
            content = copy
        return self._used[content.ctypes.data].descriptor

    def recycle(self) -> None:
        """Free all pages, and keep the largest segment that is not too large."""
        segments = sorted([*self._free, *self._used.values()], key=lambda segment: len(segment.content))
        kept = [segment for segment in segments if len(segment.content) <= KEPT_BYTES][-1:]
        for segment in segments:
            if segment not in kept:
                os.close(segment.descriptor)
        self._free, self._used = kept, {}


_buffers: SharedBuffers | None = None  # of the decoding process only


def start_sharing() -> SharedBuffers:
    """From now on ``empty_frames`` gives shared pages; for the decoding process only."""
    global _buffers
    _buffers = SharedBuffers()
    return _buffers


def empty_frames(shape: tuple[int, ...]) -> np.ndarray:
    """``np.empty(shape, np.float32)``; in the decoding process its pages are ones that the caller can read."""
    num_bytes = 4 * int(np.prod(shape, dtype=np.int64))
    if _buffers is None or num_bytes < SHARED_FROM_BYTES:
        return np.empty(shape, np.float32)
    return _buffers.take(num_bytes).view(np.float32).reshape(shape)


def pack(value: Any) -> tuple[bytes, list[int]]:
    """Pickle a value; in the decoding process large arrays become file descriptors instead of bytes."""
    descriptors: list[int] = []
    sizes: list[int] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        content = np.frombuffer(buffer.raw(), np.uint8)
        if _buffers is None or content.nbytes < SHARED_FROM_BYTES:
            return True
        descriptors.append(_buffers.descriptor_of(content))
        sizes.append(content.nbytes)
        return False

    body = pickle.dumps(value, protocol=5, buffer_callback=keep_in_band)
    return pickle.dumps((sizes, body)), descriptors


def unpack(message: bytes, descriptors: Sequence[int]) -> Any:
    """Undo ``pack`` in the other process: copies the pages, and closes the descriptors."""
    sizes, body = pickle.loads(message)
    try:
        buffers = [_copy(descriptor, size) for descriptor, size in zip(descriptors, sizes, strict=True)]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return pickle.loads(body, buffers=buffers)


@contextmanager
def unnamed_file(content: bytes) -> Iterator[Path]:
    """A file for libraries that only read files: without a name, so that nothing of a patient stays after a crash."""
    with open(_anonymous_file(), "wb", buffering=0) as file:
        file.write(content)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield Path(f"/dev/fd/{file.fileno()}")


def _new_segment(num_bytes: int) -> Segment:
    descriptor = _anonymous_file()
    os.ftruncate(descriptor, num_bytes)
    return Segment(descriptor, np.frombuffer(mmap.mmap(descriptor, num_bytes), np.uint8))


def _copy(descriptor: int, num_bytes: int) -> np.ndarray:
    populate = getattr(mmap, "MAP_POPULATE", 0)  # one system call instead of a page fault for every 4 KiB
    with mmap.mmap(descriptor, num_bytes, flags=mmap.MAP_SHARED | populate, prot=mmap.PROT_READ) as pages:
        copy = np.empty(num_bytes, np.uint8)
        shared = np.frombuffer(pages, np.uint8)
        copy[:] = shared
        del shared  # or the pages could not be closed
    return copy


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("frames")
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())
