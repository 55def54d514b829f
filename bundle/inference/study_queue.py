"""Studies that have come, and what became of each, in one SQLite file: whoever is killed loses and repeats nothing.

Files and studies are there by a hash, since their names and UIDs may name patients.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

WAITING = "waiting"

_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    file TEXT PRIMARY KEY, size INTEGER NOT NULL, changed_ns INTEGER NOT NULL, study TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS files_of_study ON files (study);
CREATE TABLE IF NOT EXISTS studies (
    study TEXT PRIMARY KEY, status TEXT NOT NULL, due REAL NOT NULL, ended REAL, clips INTEGER, reason TEXT
);
CREATE INDEX IF NOT EXISTS studies_in_order ON studies (status, due);
"""


class File(NamedTuple):
    """A file as it is now."""

    path: Path
    size: int
    changed_ns: int


class Taken(NamedTuple):
    """A study whose turn it is."""

    study: str
    due: float  # as it was when the study was taken: files that come later change it


class Ending(NamedTuple):
    """What became of a study."""

    status: str
    reason: str
    clips: int


class QueuedStudy(NamedTuple):
    """A line of the status page."""

    study: str
    status: str
    ended: float | None
    clips: int | None
    reason: str | None


class StudyQueue:
    """The queue; any process may look into it, one works it off.

    Args:
        path: Its file; made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(_TABLES)

    def note(self, files: Iterable[tuple[File, str]], due: float) -> None:
        """Note files that are new or have changed, with their study, which then waits until ``due``; all or none."""
        with self._open() as database:
            for file, study in files:
                row = (hashed(file.path), file.size, file.changed_ns, study)
                database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", row)
                database.execute(
                    "INSERT INTO studies (study, status, due) VALUES (?, ?, ?) "
                    "ON CONFLICT (study) DO UPDATE SET status = excluded.status, due = excluded.due",
                    (study, WAITING, due),
                )
            # A file that was half written when it was looked at first may have counted as a study of its own.
            database.execute("DELETE FROM studies WHERE study NOT IN (SELECT study FROM files)")

    def new(self, files: Iterable[File]) -> list[File]:
        """Of some files, those that are not noted as they are."""
        with self._open() as database:
            asked = "SELECT size, changed_ns FROM files WHERE file = ?"
            return [file for file in files if database.execute(asked, (hashed(file.path),)).fetchone() != file[1:]]

    def take(self) -> Taken | None:
        """The study that has waited longest of those that are due; it keeps waiting until it is ended."""
        with self._open() as database:
            found = database.execute(
                "SELECT study, due FROM studies WHERE status = ? AND due <= ? ORDER BY due, study LIMIT 1",
                (WAITING, time.time()),
            ).fetchone()
        return None if found is None else Taken(*found)

    def files_of(self, study: str, files: Iterable[File]) -> list[Path]:
        """Of some files, those of a study."""
        with self._open() as database:
            own = {file for (file,) in database.execute("SELECT file FROM files WHERE study = ?", (study,))}
        return [file.path for file in files if hashed(file.path) in own]

    def end(self, taken: Taken, ending: Ending) -> None:
        """Note what became of a study, unless files of it have come meanwhile: then it waits on."""
        with self._open() as database:
            database.execute(
                "UPDATE studies SET status = ?, reason = ?, clips = ?, ended = ? WHERE study = ? AND due = ?",
                (*ending, time.time(), taken.study, taken.due),
            )

    def postpone(self, taken: Taken, due: float, reason: str) -> None:
        """Let a study wait until ``due``, for the reason that is given."""
        with self._open() as database:
            database.execute("UPDATE studies SET due = ?, reason = ? WHERE study = ?", (due, reason, taken.study))

    def counts(self) -> dict[str, int]:
        """How many studies there are of each status."""
        with self._open() as database:
            return dict(database.execute("SELECT status, count(*) FROM studies GROUP BY status ORDER BY status"))

    def latest(self, number: int) -> list[QueuedStudy]:
        """What was ended last, the latest first."""
        with self._open() as database:
            rows = database.execute(
                "SELECT study, status, ended, clips, reason FROM studies WHERE ended IS NOT NULL "
                "ORDER BY ended DESC LIMIT ?",
                (number,),
            )
            return [QueuedStudy(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30)) as database, database:
            database.execute("PRAGMA synchronous=NORMAL")  # a power cut may undo the last entries, no more
            yield database


def hashed(name: str | Path) -> str:
    """What stands for a name."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
