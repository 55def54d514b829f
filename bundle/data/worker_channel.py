"""The pipe between the calling and the decoding process: values, with large arrays as shared pages."""

import pickle
import socket
import struct
from collections import deque
from typing import Any

from bundle.data.frame_memory import pack, take_back, unpack

HEADER = struct.Struct("!Q")
MAX_ARRAYS = 16  # of one answer


class Channel:
    """Values, with large arrays as shared pages, over a Unix socket.

    Attributes:
        unused: Numbers of received pages that nothing refers to any more; the next message tells the other side.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.unused: deque[int] = deque()  # appended to when an array ends, in any thread

    def send(self, value: Any) -> None:
        """Send what can be pickled; blocks until the other side takes it."""
        packed, descriptors = pack(value)
        message = pickle.dumps((packed, [self.unused.popleft() for _ in range(len(self.unused))]))
        self._connection.settimeout(None)
        socket.send_fds(self._connection, [HEADER.pack(len(message))], descriptors)
        self._connection.sendall(message)

    def receive(self, seconds: float | None = None) -> Any:
        """Wait for a value.

        Raises:
            TimeoutError: After so many seconds without one.
            EOFError: If the other side is gone.
        """
        self._connection.settimeout(seconds)
        head, descriptors, _, _ = socket.recv_fds(self._connection, HEADER.size, MAX_ARRAYS)
        head += self._exactly(HEADER.size - len(head)) if head else b""
        if not head:
            raise EOFError
        (num_bytes,) = HEADER.unpack(head)
        packed, given_back = pickle.loads(self._exactly(num_bytes))
        take_back(given_back)
        return unpack(packed, descriptors, self.unused.append)

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
