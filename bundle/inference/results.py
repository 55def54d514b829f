"""What became of every study of a run: a table on disk without file names, and one for the terminal with them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.atomic import write_csv, write_json

DONE, REFUSED, DUPLICATE, NO_IMAGE = "done", "refused", "duplicate", "no image"
COLUMNS = ["key", "status", "reason", "frames", "outputs", "notes"]
RECORD = "study.json"
"""In a study's folder, written last: what the run needs in order not to do the study again."""

FINISHED_EARLIER = "finished by an earlier run"


@dataclass(frozen=True)
class StudyResult:
    """One study: what it is called in the results, what became of it, and why; notes are its file's warnings."""

    source: Path
    key: str
    status: str
    reason: str = ""
    frames: int = 0
    outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class StudyResults:
    """Collects results and keeps ``results.csv`` up to date, so that an interrupted run leaves a true table.

    ``results.csv`` names studies by the hash of their content, since file names may name patients.

    Args:
        output_dir: Folder of the run's results.
        write_sources: Whether to also write ``sources.csv``, which says which file has which key. It holds file names:
            keep it as confidential as the files.
        settings: Everything that the results depend on besides the study, such as the checkpoint's checksum. A study
            that an earlier run has finished with the same settings is not done again; without settings all are.
    """

    def __init__(
        self, output_dir: str | Path, write_sources: bool = False, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.output_dir = Path(output_dir)
        self.write_sources = write_sources
        self.settings_id = None if settings is None else _digest_of(settings)
        self.reset()

    def reset(self) -> None:
        """Forget all studies; the table on disk stays until the next one is added."""
        self.studies: list[StudyResult] = []

    def add(self, result: StudyResult) -> None:
        """Add a study and write the table."""
        self.studies.append(result)
        rows = (
            {
                "key": study.key,
                "status": study.status,
                "reason": without_names(study.reason, study.source),
                "frames": study.frames,
                "outputs": " ".join(study.outputs),
                "notes": "; ".join(study.notes),
            }
            for study in self.studies
        )
        write_csv(self.output_dir / "results.csv", COLUMNS, rows)
        if self.write_sources:
            sources = ({"key": study.key, "source": str(study.source)} for study in self.studies)
            write_csv(self.output_dir / "sources.csv", ["key", "source"], sources)

    def write_record(self, folder: Path, result: StudyResult) -> None:
        """Write what ``find_finished`` reads into a study's folder, as its last file."""
        record = {
            "key": result.key,
            "settings": self.settings_id,
            "frames": result.frames,
            "outputs": list(result.outputs),
            "notes": list(result.notes),
        }
        write_json(folder / RECORD, record)

    def find_finished(self, key: str, source: Path) -> StudyResult | None:
        """The result that an earlier run has left for this content, if its settings were the same and it is whole."""
        if self.settings_id is None:
            return None
        folder = self.output_dir / key
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            outputs, notes = tuple(record["outputs"]), tuple(record["notes"])
            if record["settings"] == self.settings_id and all((folder / name).exists() for name in outputs):
                return StudyResult(source, key, DONE, FINISHED_EARLIER, record["frames"], outputs, notes)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there is none, or it is not ours: the study is done again
        return None

    def is_known(self, key: str) -> bool:
        """Whether a study with this content was there before."""
        return any(study.key == key for study in self.studies)

    @property
    def exit_status(self) -> int:
        """0 if every study is segmented (or is the same as one that is), else 1."""
        return int(not self.studies or any(study.status == REFUSED for study in self.studies))

    def format_table(self) -> str:
        """One line per study, with its file name, for the person who started the run."""
        width = max((len(study.source.name) for study in self.studies), default=0)
        lines = [
            f"{study.source.name:<{width}}  {study.key:<12}  {study.status:<9}  " + _outcome(study)
            for study in self.studies
        ]
        counts = [
            f"{number} {status}"
            for status in (DONE, DUPLICATE, NO_IMAGE, REFUSED)
            if (number := sum(study.status == status for study in self.studies))
        ]
        return "\n".join([*lines, f"{', '.join(counts) or 'no study'}: {self.output_dir / 'results.csv'}"])

    def exit_if_refused(self) -> None:
        """Raise ``SystemExit`` with a one-line message if a study was refused; for the end of a command."""
        refused = sum(study.status == REFUSED for study in self.studies)
        if self.exit_status:
            raise SystemExit(
                f"{refused} of {len(self.studies)} studies were refused: see {self.output_dir / 'results.csv'}"
            )


def _outcome(study: StudyResult) -> str:
    if study.status != DONE:
        return study.reason
    frames = "1 frame" if study.frames == 1 else f"{study.frames} frames"
    return "; ".join([frames, *([study.reason] if study.reason else []), *study.notes])


def _digest_of(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def without_names(words: str, source: Path) -> str:
    """The same words without the names of the source's files, which may name a patient."""
    if not words:
        return words
    folder = source if source.is_dir() else source.parent
    beside = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    for name in sorted({str(source), source.name, *beside} - {""}, key=len, reverse=True):
        words = words.replace(name, "<name>")
    return words
