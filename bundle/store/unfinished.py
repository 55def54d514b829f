"""Files of the store that are complete or not there; what a killed writer left is told from what a live one writes."""

import fcntl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundle.atomic import to_disk, umask

UNFINISHED = ".unfinished-"
LOCK_SUFFIX = ".lock"


@contextmanager
def locked_name(folder: Path) -> Iterator[Path]:
    """A temporary file's name, locked as long as its writer lives, so that others can tell it from a dead one's."""
    temporary = folder / f"{UNFINISHED}{uuid.uuid4().hex}"
    lock = temporary.with_suffix(LOCK_SUFFIX)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield temporary
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def unfinished_path(path: Path) -> Iterator[Path]:
    """As :func:`bundle.atomic.atomic_path`, but :func:`remove_unfinished` knows what a killed writer left of it."""
    with locked_name(path.parent) as temporary:
        try:
            yield temporary
            temporary.chmod(0o666 & ~umask())
            to_disk(temporary)
            temporary.replace(path)
            to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> int:
    """Remove what killed writers left half written below a folder, and count it; nothing of writers at work."""
    removed = 0
    for lock in folder.rglob(f"{UNFINISHED}*{LOCK_SUFFIX}"):
        try:
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                removed += lock.with_suffix("").exists()
                lock.with_suffix("").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):
            continue  # its writer is at work, or has just finished
    return removed
