"""How an error reaches a person at the command line: in one line with the remedy, unless it is about the code."""

import errno
import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType

from bundle.extras import missing_package

PACKAGE = Path(__file__).resolve().parent
REMEDIES = {
    errno.EACCES: "get the right to read or write there, or name another path",
    errno.EPERM: "get the right to read or write there, or name another path",
    errno.EROFS: "it is on a file system that is read only: name another path",
    errno.ENOENT: "check the path",
    errno.EISDIR: "a file is expected: name the file in this folder",
    errno.ENOTDIR: "a part of this path is a file where a folder is expected: name another path",
    errno.EEXIST: "a file of this name is in the way: name another path",
    errno.ENOSPC: "make room, then give the same command again",
    errno.EDQUOT: "make room, then give the same command again",
    errno.ENAMETOOLONG: "give shorter names",
    errno.EMFILE: "allow more open files with 'ulimit -n 4096'",
    errno.EADDRINUSE: "another program listens there: choose another port",
}
"""What to do about an error of the system."""

logger = logging.getLogger(__name__)


def report_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An ``excepthook``: a user's error as one line, anything else as Python does it.

    Libraries wrap errors, and ours are raised from those of libraries: the outermost of the user's errors is shown.
    """
    cause: BaseException | None = error
    while cause is not None and not is_users(cause):
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    text = missing_package(error) or (None if cause is None else in_words(cause))
    if text is not None:
        print(f"error: {text}", file=sys.stderr)  # noqa: T201 - this is the command line
        logger.debug("".join(traceback.format_exception(kind, error, trace)))
    else:
        sys.__excepthook__(kind, error, trace)


def is_users(error: BaseException) -> bool:
    """Whether an error is about what a user gave, or the machine, and not about the code.

    Values and the system are; whatever is raised by a ``raise`` of this package too, which says what is wrong.
    """
    if isinstance(error, UnicodeError):
        return False
    return isinstance(error, ValueError | OSError) or _is_out_of_memory(error) or _is_stated_here(error)


def in_words(error: BaseException) -> str:
    """What the error says, in one line, and what to do about it."""
    if _is_out_of_memory(error):
        text = f"out of memory ({error}): a smaller --batch_size or --image_size needs less"
    elif isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        text = f"{place}{error.strerror}; {REMEDIES.get(error.errno or 0, 'see what the system says of it')}"
    else:
        text = str(error)
    if "Original Traceback" in text:  # PyTorch puts a loader process's whole traceback into the message
        text = text.rpartition(f"\n{type(error).__name__}: ")[2]
    return " ".join(text.split()) or type(error).__name__


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # PyTorch's own


def _is_stated_here(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not isinstance(error, Exception):
        return False
    return Path(frames[-1].filename).is_relative_to(PACKAGE) and (frames[-1].line or "").startswith("raise ")
