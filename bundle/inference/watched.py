"""A folder into which studies come, from Orthanc or another DICOM node: each is segmented once, when it is whole."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pydicom

from bundle.data.kinds import kind_by_content
from bundle.data.sources import LeftOut, find_sources
from bundle.engines.stop_request import StopRequest
from bundle.inference.delivery import Delivery
from bundle.inference.folder import Study, studies_among
from bundle.inference.results import DONE, REFUSED, UNSUITABLE, NameHider, StudyResult
from bundle.inference.study_queue import Ending, File, StudyQueue, Taken, hashed

QUEUE = "queue.sqlite"
STOP_FILE = "stop"
RETRY_SECONDS = 60
"""Until results that a PACS did not take are sent again."""

PAUSE_SECONDS = 0.5
PATIENCE = 10
"""Between two looks into the folder is at least so many times as long as one takes."""

NO_STUDY = "no study"


class WatchedStudies:
    """The studies of a folder as they come, one after the other, until the process is asked to stop.

    What belongs together is a DICOM study, by its UID, wherever its files lie; of other files what lies in one entry of
    the folder. It is whole when nothing of it has come for some time. What comes later is a reason to look again: what
    was segmented before is not segmented again.

    Args:
        folder: Where studies come; it is read, and nothing in it is changed.
        output_dir: Folder of the results, and of the queue.
        delivery: Where results are sent.
        quiet_seconds: Without a new file, until a study is whole.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If ``quiet_seconds`` is negative.
    """

    def __init__(
        self, folder: str | Path, output_dir: str | Path, delivery: Delivery, quiet_seconds: float = 30
    ) -> None:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"no such folder to watch: {folder}")
        if quiet_seconds < 0:
            raise ValueError(f"quiet_seconds must not be negative, got {quiet_seconds}")
        self.folder, self.output_dir = Path(folder), Path(output_dir)
        self.delivery, self.quiet_seconds = delivery, quiet_seconds
        self.queue = StudyQueue(self.output_dir / QUEUE)
        self.stop = StopRequest(self.output_dir / STOP_FILE)
        self.left_out = LeftOut()
        self._outcomes: list[tuple[str, str]] = []  # of the study's clips so far: status and reason
        self._files: list[File] = []
        self._next_look = 0.0
        self._names = NameHider()

    @property
    def studies(self) -> "WatchedStudies":
        """Itself, as a list of studies is gone through."""
        return self

    def __iter__(self) -> Iterator[Study]:
        self.stop.listen()
        while self.stop.reason() is None:
            self.look()
            taken = self.queue.take()
            if taken is None:
                time.sleep(PAUSE_SECONDS)
                continue
            self._outcomes = []
            for study in studies_among(self.queue.files_of(taken.study, self._files)):
                yield study
                if self.stop.reason() is not None:
                    break
            else:
                self._end(taken)
        self.stop.done()
        self.stop.restore()

    def look(self) -> None:
        """Note what is new in the folder, unless the last look was a moment ago: in a large folder one takes long."""
        started = time.monotonic()
        if started < self._next_look:
            return
        self._files = _as_they_are(find_sources(self.folder, exclude=self.output_dir).files)
        new = [(file, self._study_of(file.path)) for file in self.queue.new(self._files)]
        if new:
            self.queue.note(new, time.time() + self.quiet_seconds)
        self._next_look = time.monotonic() + max(PAUSE_SECONDS, PATIENCE * (time.monotonic() - started))

    def finish(self, study: Study, result: StudyResult) -> None:
        """Send and note what became of a clip, for ``StudyDataset``."""
        self.delivery.finish(study, result)
        reason = self._names.hide(result.reason, result.source)
        self._outcomes.append((result.status, reason))
        words = reason or f"{result.frames} frames"
        print(f"{time.strftime('%H:%M:%S')}  {result.key:<12}  {result.status:<9}  {words}", flush=True)  # noqa: T201

    def _study_of(self, file: Path) -> str:
        """What of the queue a file belongs to; neither names nor UIDs are kept."""
        uid = ""
        with suppress(Exception):  # a damaged file can raise nearly anything; reading it will say what is wrong
            if kind_by_content(file) == "DICOM":
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
                uid = str(header.get("StudyInstanceUID", ""))
        return hashed(uid or file.relative_to(self.folder).parts[0])

    def _end(self, taken: Taken) -> None:
        if self.delivery.unsent:
            reason = self.delivery.unsent[-1]
            self.delivery.unsent.clear()
            self.queue.postpone(taken, time.time() + RETRY_SECONDS, f"results were not sent, {reason}")
            return
        if not self._outcomes:
            self.queue.end(taken, Ending(NO_STUDY, "its files are gone, or hold no clip", 0))
            return
        statuses = {status for status, _ in self._outcomes}
        status = next((worst for worst in (REFUSED, UNSUITABLE) if worst in statuses), DONE)
        reasons = [reason for of_clip, reason in self._outcomes if of_clip in (REFUSED, UNSUITABLE)]
        self.queue.end(taken, Ending(status, "; ".join(reasons), len(self._outcomes)))


def _as_they_are(paths: Iterable[Path]) -> list[File]:
    files = []
    for path in paths:
        with suppress(OSError):  # it has gone meanwhile
            stated = path.stat()
            files.append(File(path, stated.st_size, stated.st_mtime_ns))
    return files
