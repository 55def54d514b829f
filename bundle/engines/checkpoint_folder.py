"""Checkpoint files that survive a crash at any moment: the last, the one before it, and the best."""

import logging
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from bundle.atomic import atomic_path, to_disk

logger = logging.getLogger(__name__)


class CheckpointError(OSError):
    """A checkpoint could not be written, or none could be read."""


class CheckpointFolder:
    """``last.pt``, ``previous.pt`` and ``best.pt``, each complete or not there.

    A file is written under another name and flushed to the disk before it takes its place. What cannot be written, or
    read at all, raises :class:`CheckpointError`; the earlier files are still there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.last, self.previous, self.best = (self.path / f"{name}.pt" for name in ("last", "previous", "best"))

    def save(self, content: Mapping[str, Any]) -> None:
        """Write ``last.pt``; the one that was there becomes ``previous.pt``."""
        write_whole(self.last, lambda file: torch.save(content, file), keep=self.previous)

    def keep_as_best(self) -> None:
        """Copy ``last.pt`` to ``best.pt``."""
        with self.last.open("rb") as last:
            write_whole(self.best, lambda file: shutil.copyfileobj(last, file))

    def load(self) -> tuple[dict[str, Any], Path] | None:
        """The last checkpoint that is whole, in memory, and its file; None if there are no checkpoints."""
        there = [path for path in (self.last, self.previous) if path.is_file()]
        for path in there:
            try:
                return read_checkpoint(path), path
            except Exception as error:  # a damaged file can raise nearly anything
                reason = str(error).split("\n")[0] or type(error).__name__
                logger.warning("checkpoint %s is damaged (%s): going back to the one before it", path, reason)
        if there:
            raise CheckpointError(
                f"no checkpoint in {self.path} can be read: restore one from a backup, or start over with "
                "--resume False (of vfss: resume=False)"
            )
        return None

    def clear(self) -> None:
        """Remove all checkpoints, and what writes that were cut short have left."""
        for path in (self.last, self.previous, self.best):
            path.unlink(missing_ok=True)
        self.remove_unfinished()

    def remove_unfinished(self) -> None:
        """Remove what writes that were cut short have left."""
        for path in self.path.glob(".unfinished-*"):
            path.unlink(missing_ok=True)


def write_whole(target: Path, write: Callable[[IO[bytes]], object], keep: Path | None = None) -> None:
    """Write a file under another name, have it on the disk, and only then give it its name.

    Args:
        target: The file.
        write: Writes the content to an open file.
        keep: New name of the file that ``target`` was before.

    Raises:
        CheckpointError: If there is no room, or the disk fails otherwise; ``target`` is then as before.
    """
    try:
        with atomic_path(target) as temporary:
            with temporary.open("wb") as file:
                write(file)
            to_disk(temporary)
            if keep is not None and target.is_file():
                target.replace(keep)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save hides it behind its own
        if not isinstance(cause, OSError):
            raise
        raise CheckpointError(
            f"{target} could not be written ({cause.strerror or cause}); what was there before is kept: make room, "
            "then give the same command again to go on"
        ) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of ``torch.save`` into memory and verify the checksums in it, which ``torch.load`` does not."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)
