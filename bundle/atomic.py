"""Files and folders that are either complete or not there: temporary file, fsync, rename."""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path of its suffix, which becomes ``path`` if the block ends well and is removed if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    descriptor, name = tempfile.mkstemp(prefix=".unfinished-", suffix=suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        to_disk(temporary)
        temporary.chmod(0o666 & ~umask())  # mkstemp gives 0600
        temporary.replace(path)
        to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """The same for a folder; an earlier one of that name is replaced as a whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path.parent))
    replaced = temporary.with_name(temporary.name + "-replaced")
    try:
        yield temporary
        temporary.chmod(0o777 & ~umask())  # mkdtemp gives 0700
        if path.exists():
            path.rename(replaced)  # a folder that is not empty cannot be renamed onto
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically, in UTF-8; a byte of a file's name that is not UTF-8 is written like ``\\udcfc``."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write JSON that every parser reads: a NaN is an error, use None."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a table; no cell can be taken for a formula by a spreadsheet. For names, see :func:`write_text`."""
    with atomic_path(path) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns).writeheader()
        append_csv(temporary, columns, rows)
    return Path(path)


def append_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add whole rows to a table: a process that is killed leaves those before."""
    with Path(path).open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.DictWriter(file, columns).writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """Numbers as they are, NaN and None as an empty cell, text without a leading formula character."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value


def to_disk(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def umask() -> int:
    """Permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
