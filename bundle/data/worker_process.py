"""The decoding process: answers one call after the other, within its limits, until the caller is gone."""

import inspect
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from bundle.data.worker import Limits, WorkerError
from bundle.data.worker_channel import WorkerChannel, start_sharing

ORPHAN_SECONDS = 10  # after its time limit a process whose caller has died ends itself


def answer(descriptor: int) -> None:
    """The decoding process: answer calls until the caller closes its side."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's images
    sys.modules.setdefault("dl", None)  # type: ignore[arg-type]  # gdcm would import any folder of this name
    import bundle.data.readers  # noqa: F401 - what nearly every call needs, before its time runs

    start_sharing()
    channel = WorkerChannel(socket.socket(fileno=descriptor))
    channel.send("ready")
    while True:
        try:
            call = channel.receive()
            if call is None:  # asked for one more value of a stream that had ended
                continue
            folder, function, args, limits = call
            os.chdir(folder)
            if inspect.isgeneratorfunction(function):
                _send_values(channel, function(*args), limits)
            else:
                channel.send(_attempt(function, args, limits))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _send_values(channel: WorkerChannel, values: Iterator[Any], limits: Limits) -> None:
    """What a generator yields, each value when the caller asks for it, and at the end ``StopIteration``."""
    is_value, first = True, True
    while is_value:
        channel.receive()  # before the value is made: a message gives pages back
        is_value, value = _attempt(next, (values,), limits.of_first() if first else limits)
        channel.send((is_value, value))
        del value
        first = False


def _attempt(function: Callable[..., Any], args: tuple, limits: Limits) -> tuple[bool, Any]:
    """What the function returns (true) or raises (false), within its limits."""
    signal.alarm(int(limits.seconds) + ORPHAN_SECONDS)  # ends even a hung decoder if nobody is left to kill it
    _limit_memory(limits.num_bytes)
    try:
        return True, function(*args)
    except MemoryError:
        words = f"decoding needs more memory than the {limits.num_bytes / 2**30:.1f} GiB that its header accounts for"
        return False, WorkerError(words)
    except Exception as error:
        return False, error.with_traceback(None)
    except BaseException as error:  # Rust decoders panic with one
        return False, WorkerError(f"its decoder panicked ({type(error).__name__})")
    finally:
        _limit_memory(None)
        signal.alarm(0)


def _limit_memory(num_bytes: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if num_bytes is None else _private_bytes() + num_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _private_bytes() -> int:
    """Private writable memory of this process, which RLIMIT_DATA counts; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024
