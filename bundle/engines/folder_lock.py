"""One run per folder: a lock that the system takes back when its process ends, however it ends."""

import errno
import fcntl
import os
from pathlib import Path

NAME = ".lock"
_held: dict[Path, int] = {}
"""Open files of the locks that this process holds; to close one is to give it up."""


def hold_folder(folder: str | Path) -> None:
    """Keep other processes from running in a folder, until this one ends; made if it is not there.

    The lock is the process's, not its children's: a loader process that outlives a killed trainer holds nothing up.

    Raises:
        ValueError: If another process holds it, or the folder cannot be written.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if path.resolve() not in _held:
            _held[path.resolve()] = _lock(path / NAME)
    except BlockingIOError:
        raise ValueError(
            f"output_dir {path} is in use by another run: wait for its end, or name another output_dir"
        ) from None
    except OSError as error:
        raise ValueError(
            f"output_dir {path} cannot be written ({error.strerror}): name another output_dir, or get the right to "
            "write there"
        ) from error


def _lock(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno in (errno.EACCES, errno.EAGAIN):  # POSIX allows either for "someone holds it"
            raise BlockingIOError from error
        raise
    return file
