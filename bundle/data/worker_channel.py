"""The pipe between the calling and the decoding process: values, whose large arrays are shared pages.

Nothing is copied: the caller's array is the pages that the decoder wrote. New shared pages cost seven times as much as
private ones (measured: 0.96 against 0.13 ms for 1 MiB), so the decoding process writes its next file into pages that
the caller no longer uses.
"""

import itertools
import mmap
import os
import pickle
import socket
import struct
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHARED_FROM_BYTES = 2**20  # Smaller arrays are sent through the socket
KEPT_BYTES = 2**30  # Larger pages are not kept for the next file

HEADER = struct.Struct("!Q")
MAX_ARRAYS = 16  # of one answer


@dataclass(frozen=True, eq=False)
class Segment:
    """Shared pages: a file without a name, mapped. Both processes know it by its number."""

    number: int
    descriptor: int
    content: np.ndarray


class SharedBuffers:
    """The decoding process's shared pages: taken for a file, lent with the answer, free when given back."""

    def __init__(self) -> None:
        self._free: list[Segment] = []
        self._taken: list[Segment] = []
        self._lent: dict[int, Segment] = {}  # by number
        self._numbers = itertools.count()

    def take(self, num_bytes: int) -> np.ndarray:
        """Pages for so many bytes, uint8, not cleared."""
        segment = next((free for free in self._free if num_bytes <= len(free.content) <= 4 * num_bytes), None)
        if segment is None:
            descriptor = _anonymous_file()
            os.ftruncate(descriptor, num_bytes)
            content = np.frombuffer(mmap.mmap(descriptor, num_bytes), np.uint8)
            segment = Segment(next(self._numbers), descriptor, content)
        self._free = [free for free in self._free if free is not segment]
        self._taken.append(segment)
        return segment.content[:num_bytes]

    def lend(self, content: np.ndarray) -> Segment:
        """The segment whose pages an array starts; an array elsewhere is copied into pages first."""
        address = content.ctypes.data
        segment = next((taken for taken in self._taken if taken.content.ctypes.data == address), None)
        if segment is None:
            copy = self.take(content.nbytes)
            copy[:] = content
            segment = self._taken[-1]
        self._taken.remove(segment)
        self._lent[segment.number] = segment
        return segment

    def recycle(self, given_back: Iterable[int] = ()) -> None:
        """Free what was taken and not lent, and what was given back; keep one of them that is not too large."""
        free = [*self._free, *self._taken, *(self._lent.pop(number) for number in given_back)]
        free.sort(key=lambda segment: len(segment.content))
        self._free = [segment for segment in free if len(segment.content) <= KEPT_BYTES][-1:]
        self._taken = []
        for segment in free:
            if segment not in self._free:
                os.close(segment.descriptor)


_buffers: SharedBuffers | None = None  # of the decoding process only


def start_sharing() -> None:
    """From now on ``empty_frames`` gives shared pages; for the decoding process only."""
    global _buffers
    _buffers = SharedBuffers()


def empty_frames(shape: tuple[int, ...], dtype: type | np.dtype = np.float32) -> np.ndarray:
    """``np.empty(shape, dtype)``; in the decoding process its pages are ones that the caller can read."""
    num_bytes = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
    if _buffers is None or num_bytes < SHARED_FROM_BYTES:
        return np.empty(shape, dtype)
    return _buffers.take(num_bytes).view(dtype).reshape(shape)


class WorkerChannel:
    """Values, with large arrays as shared pages, over a Unix socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        # Numbers of received pages that nothing refers to any more, appended to in any thread; the next message tells.
        self._unused: deque[int] = deque()

    def send(self, value: Any) -> None:
        """Send what can be pickled; blocks until the other side takes it."""
        body, segments, descriptors = _pack(value)
        message = pickle.dumps((body, segments, [self._unused.popleft() for _ in range(len(self._unused))]))
        self._connection.settimeout(None)
        socket.send_fds(self._connection, [HEADER.pack(len(message))], descriptors)
        self._connection.sendall(message)

    def receive(self, seconds: float | None = None) -> Any:
        """Wait for a value; ``TimeoutError`` after so many seconds, ``EOFError`` if the other side is gone."""
        self._connection.settimeout(seconds)
        head, descriptors, _, _ = socket.recv_fds(self._connection, HEADER.size, MAX_ARRAYS)
        head += self._exactly(HEADER.size - len(head)) if head else b""
        if not head:
            raise EOFError
        (num_bytes,) = HEADER.unpack(head)
        body, segments, given_back = pickle.loads(self._exactly(num_bytes))
        if _buffers is not None:
            _buffers.recycle(given_back)
        return _unpack(body, segments, descriptors, self._unused.append)

    def close(self) -> None:
        """Close this side; the other side's ``receive`` ends."""
        self._connection.close()

    def _exactly(self, num_bytes: int) -> bytes:
        parts = bytearray()
        while len(parts) < num_bytes:
            part = self._connection.recv(min(num_bytes - len(parts), 2**20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


def _pack(value: Any) -> tuple[bytes, list[tuple[int, int]], list[int]]:
    """Pickle a value; in the decoding process large arrays become segments (number, bytes) with their descriptors."""
    descriptors: list[int] = []
    segments: list[tuple[int, int]] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        content = np.frombuffer(buffer.raw(), np.uint8)
        if _buffers is None or content.nbytes < SHARED_FROM_BYTES:
            return True
        segment = _buffers.lend(content)
        descriptors.append(segment.descriptor)
        segments.append((segment.number, content.nbytes))
        return False

    return pickle.dumps(value, protocol=5, buffer_callback=keep_in_band), segments, descriptors


def _unpack(
    body: bytes, segments: Sequence[tuple[int, int]], descriptors: Sequence[int], release: Callable[[int], object]
) -> Any:
    """Undo ``_pack`` in the other process; ``release`` gets a segment's number when its last array is gone."""
    try:
        buffers = []
        for descriptor, (number, num_bytes) in zip(descriptors, segments, strict=True):
            pages = mmap.mmap(descriptor, num_bytes, access=mmap.ACCESS_COPY)  # what the caller writes stays its own
            weakref.finalize(pages, release, number).atexit = False
            buffers.append(pages)
            del pages
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


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("frames")
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())
