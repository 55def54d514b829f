"""A process that decodes and may die: decoders written in C abort, hang or eat memory on damaged files.

One process serves all files of the calling process and is started again after a death. It exits when its caller does.
"""

import atexit
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundle.data.worker_channel import WorkerChannel

IN_PROCESS_VARIABLE = "VFSS_DECODE_IN_PROCESS"
"""Environment variable; "1" decodes in the calling process, without limits: for debugging."""

START_SECONDS = 300.0

AHEAD = 2  # Values of a stream that the process makes before they are asked for

BOOT = "import sys; sys.path[:] = sys.argv[2:]; from bundle.data.worker_process import answer; answer(int(sys.argv[1]))"


@dataclass(frozen=True)
class Limits:
    """What one call, or each value of a stream, may take."""

    seconds: float  # Wall time
    # Private memory on top of what the process has at the start of the call. Pages that frames are handed over in do
    # not count: their size is checked against the header (check_size)
    num_bytes: int
    first_seconds: float | None = None  # Wall time for a stream's first value, if it is another

    def of_first(self) -> "Limits":
        """Limits of a stream's first value."""
        return replace(self, seconds=self.first_seconds or self.seconds)


class WorkerError(RuntimeError):
    """The decoding process died, was killed at a limit, or its decoder panicked; the message says which."""


class WorkerStartError(RuntimeError):
    """The decoding process does not start: the installation's fault, not a file's."""


class DecodeWorker:
    """Runs functions in one other process, which it starts when needed, and again after a death."""

    def __init__(self) -> None:
        self._reset()

    def call(self, function: Callable[..., Any], *args: Any, limits: Limits) -> Any:
        """Run an importable function with arguments that can be pickled.

        Raises:
            WorkerError: If the process dies or exceeds a limit.
            WorkerStartError: If it does not start.
            Exception: Whatever the function raises.
        """
        if self._is_streaming:
            with closing(DecodeWorker()) as other:
                return other.call(function, *args, limits=limits)
        with self._lock, self._ended_on_failure(limits.seconds):
            channel = self._started()
            channel.send((os.getcwd(), function, args, limits))
            is_value, value = channel.receive(limits.seconds)
        if is_value:
            return value
        raise value

    def stream(self, function: Callable[..., Iterator[Any]], *args: Any, limits: Limits) -> Generator[Any, None, None]:
        """Iterate over what an importable generator function yields; the process works ``AHEAD`` values ahead.

        While the process is busy with a stream, another one is started for whatever else is asked. A stream that is
        left before its end costs the process. Limits are for each value, errors as of ``call``.
        """
        if not self._lock.acquire(blocking=False):
            with closing(DecodeWorker()) as other:
                yield from other.stream(function, *args, limits=limits)
            return
        self._is_streaming = True
        try:
            yield from self._iterate(function, args, limits)
        finally:
            self._is_streaming = False
            self._lock.release()

    def _iterate(self, function: Callable, args: tuple, limits: Limits) -> Iterator[Any]:
        seconds = limits.of_first().seconds
        with self._ended_on_failure(seconds):
            channel = self._started()
            channel.send((os.getcwd(), function, args, limits))
            for _ in range(AHEAD):
                channel.send(None)  # asks for a value
        while True:
            with self._ended_on_failure(seconds):
                is_value, value = channel.receive(seconds)
            if not is_value and isinstance(value, StopIteration):
                return
            if not is_value:
                raise value
            try:
                yield value
            except BaseException:  # left before its end: what comes next would be the answer to another call
                self._end()
                raise
            del value  # its pages can be used again
            seconds = limits.seconds
            with self._ended_on_failure(seconds):
                channel.send(None)

    @contextmanager
    def _ended_on_failure(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except WorkerStartError:
            raise
        except TimeoutError:
            self._end()
            raise WorkerError(f"decoding took longer than its limit of {seconds:g} s") from None
        except (EOFError, OSError):
            raise WorkerError(f"its decoder crashed ({_exit_words(self._end())})") from None
        except BaseException:  # Control-C, for one: what comes next would be the answer to this call
            self._end()
            raise

    def close(self) -> None:
        """End the process; the next call starts another. A stream in progress fails."""
        if self._is_streaming:  # perhaps one that nobody comes back to
            self._end()
            return
        with self._lock:
            self._end()

    def forget(self) -> None:
        """Leave the process to the parent, in a child that has just been forked."""
        if self._channel is not None and self._process is not None:
            self._channel.close()
            self._process.returncode = 0  # not ours to wait for
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._is_streaming = False
        self._process: subprocess.Popen | None = None
        self._channel: WorkerChannel | None = None

    def _started(self) -> WorkerChannel:
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            return self._channel
        self._end()
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *(entry for entry in sys.path if entry)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", BOOT, str(theirs.fileno()), *paths],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # decoders print; what they print may quote a patient's header
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Control-C is for the caller
            )
        self._channel = WorkerChannel(ours)
        try:
            self._channel.receive(START_SECONDS)
        except (EOFError, OSError):
            status = _exit_words(self._end())
            raise WorkerStartError(
                f"the decoding process does not start ({status}); {IN_PROCESS_VARIABLE}=1 decodes without it"
            ) from None
        return self._channel

    def _end(self) -> int:
        """Kill and reap; the exit status it had, if it was dead already."""
        if self._channel is not None:
            self._channel.close()
        status = 0
        if self._process is not None:
            try:
                status = self._process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                status = self._process.wait()
        self._process = self._channel = None
        return status


def _exit_words(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def decodes_in_process() -> bool:
    """Whether files are decoded in the calling process: asked for, or the system has no Unix sockets."""
    return os.environ.get(IN_PROCESS_VARIABLE) == "1" or not hasattr(socket, "send_fds")


WORKER = DecodeWorker()  # The calling process's own; a forked child, such as a data loader's worker, starts another

atexit.register(WORKER.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKER.forget)
    # A child never tidies up what its parent left: a decoder there may wait for its threads, which no child has.
    os.register_at_fork(after_in_child=gc.freeze)
