"""A copy's file: whole or not there, never another one's, and its folder says what it is."""

import filecmp
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundle.atomic import atomic_path, write_json
from bundle.data.sources import COPIES_MARK
from bundle.deidentify.profile import METHOD


@dataclass(frozen=True)
class Copy:
    """A copy on the disk."""

    path: Path  # Where it is
    notes: tuple[str, ...]  # What a person must look at
    is_new: bool  # Whether it was not there before


@contextmanager
def copy_path(target: Path) -> Iterator[Path]:
    """Give a temporary path that becomes ``target`` if the block ends well.

    Raises:
        FileExistsError: If another copy is there, such as one that was made with another ``--blacken``.
    """
    with atomic_path(target) as temporary:
        yield temporary
        if target.exists() and not filecmp.cmp(temporary, target, shallow=False):
            raise FileExistsError(
                "another copy of this is there already, of another content or made in another way: "
                "remove that, or choose another folder"
            )


def mark_folder(output: Path) -> None:
    """Say once that a folder holds copies: a walk through a folder above leaves it out, and names it."""
    if not (output / COPIES_MARK).exists():
        write_json(output / COPIES_MARK, {"about": "copies of studies without identity", "method": METHOD})
