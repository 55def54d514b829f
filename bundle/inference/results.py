"""What became of every study of a run: a table on disk without file names, and one for the terminal with them."""

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.atomic import append_csv, write_csv, write_json
from bundle.data.sources import STUDY_RECORD, TABLE, LeftOut, shown

DONE, REFUSED, DUPLICATE, NO_IMAGE, LEFT_OUT = "done", "refused", "duplicate", "no image", "left out"
UNSUITABLE = "no swallow"
"""Read and segmented, and refused by the input check: it does not look like a lateral swallow study. No failure."""
COLUMNS = ["key", "status", "reason", "frames", "outputs", "notes"]
SOURCE_COLUMNS = ["key", "source"]
SOURCE_TABLE = "sources.csv"
KEPT = 100  # studies in the memory of a run without an end
FINISHED_EARLIER = "finished by an earlier run"
PLACEHOLDER = "<name>"
WORD_OR_NUMBER = re.compile(r"[a-z]+|[\W\d_]+")
"""A name that a message may hold by chance. It is hidden in quotes alone, which our messages put around every name."""


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

    ``results.csv`` names studies by the hash of their content, since file names may name patients. It begins with what
    of the input is left out, and grows by a row with each study.

    Args:
        output_dir: Folder of the run's results.
        write_sources: Whether to also write ``sources.csv``, which says which file has which key. It holds file names:
            keep it as confidential as the files.
        settings: Everything that the results depend on besides the study, such as the checkpoint's checksum. A study
            that an earlier run has finished with the same settings is not done again; without settings all are.
        left_out: What of the input is no study.
        continues: Whether the tables of earlier runs go on, instead of beginning anew, and only the last studies are
            kept in memory: for a run without an end.
    """

    def __init__(
        self,
        output_dir: str | Path,
        write_sources: bool = False,
        settings: Mapping[str, Any] | None = None,
        left_out: LeftOut | None = None,
        continues: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.write_sources = write_sources
        text = json.dumps(settings, sort_keys=True).encode()
        self.settings_id = None if settings is None else hashlib.sha256(text).hexdigest()
        self.left_out = left_out or LeftOut()
        self.continues = continues
        self.reset()

    def reset(self) -> None:
        """Forget all studies; the table on disk stays until the next one is added."""
        self.studies: list[StudyResult] = []
        self._keys: set[str] = set()
        self._names = NameHider()
        self._rows: set[tuple[str, str]] | None = None

    def add(self, result: StudyResult) -> None:
        """Add a study, here and to the table."""
        if self._rows is None:
            self._rows = self._begin_tables()
        self.studies.append(result)
        self._keys.add(result.key)
        row_id = (result.key, result.status)
        if self.continues:
            del self.studies[:-KEPT]
            if result.key and row_id in self._rows:
                return
            self._rows.add(row_id)
        reason = self.without_names(result.reason, result.source)
        values = (result.key, result.status, reason, result.frames, " ".join(result.outputs), "; ".join(result.notes))
        append_csv(self.output_dir / TABLE, COLUMNS, [dict(zip(COLUMNS, values, strict=True))])
        if self.write_sources:
            row = {"key": result.key, "source": str(result.source)}
            append_csv(self.output_dir / SOURCE_TABLE, SOURCE_COLUMNS, [row])

    def _begin_tables(self) -> set[tuple[str, str]]:
        """Key and status of the rows that are there and stay."""
        table = self.output_dir / TABLE
        if self.continues and table.is_file():
            with table.open(encoding="utf-8", newline="") as file:
                return {(row["key"], row["status"]) for row in csv.DictReader(file)}
        write_csv(table, COLUMNS, ({"status": LEFT_OUT, "reason": kind} for kind in self.left_out.counts()))
        if self.write_sources:
            write_csv(self.output_dir / SOURCE_TABLE, SOURCE_COLUMNS, [])
        return set()

    def without_names(self, words: str, source: Path) -> str:
        """The same words without the names of the source's files, which may name a patient."""
        return self._names.hide(words, source)

    def write_record(self, folder: Path, result: StudyResult, input_check: Mapping[str, Any]) -> None:
        """Write what ``find_finished`` reads into a study's folder, as its last file, with the verdict about it."""
        record = {
            "key": result.key,
            "status": result.status,
            "reason": result.reason,
            "settings": self.settings_id,
            "frames": result.frames,
            "outputs": list(result.outputs),
            "notes": list(result.notes),
            "input_check": dict(input_check),
        }
        write_json(folder / STUDY_RECORD, record)

    def find_finished(self, key: str, source: Path) -> StudyResult | None:
        """The result that an earlier run has left for this content, if its settings were the same and it is whole."""
        if self.settings_id is None:
            return None
        folder = self.output_dir / key
        try:
            record = json.loads((folder / STUDY_RECORD).read_text(encoding="utf-8"))
            outputs, notes = tuple(record["outputs"]), tuple(record["notes"])
            if record["settings"] == self.settings_id and set(outputs) <= set(os.listdir(folder)):
                reason = "; ".join(filter(None, [record["reason"], FINISHED_EARLIER]))
                return StudyResult(source, key, record["status"], reason, record["frames"], outputs, notes)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there is none, or it is not ours: the study is done again
        return None

    def is_known(self, key: str) -> bool:
        """Whether this run has had a study with this content; one without an end looks at a study again and again."""
        return key in self._keys and not self.continues

    @property
    def exit_status(self) -> int:
        """0 if every study could be read and segmented (or is the same as one that is), else 1."""
        return int(not self.studies or any(study.status == REFUSED for study in self.studies))

    def format_table(self) -> str:
        """One line per study, with its file name, and per kind of what is left out, for the person at the terminal."""
        names = [shown(study.source.name) for study in self.studies]
        width = max(map(len, names), default=0)
        lines = [
            f"{name:<{width}}  {study.key:<12}  {study.status:<9}  {shown(_outcome(study))}"
            for name, study in zip(names, self.studies, strict=True)
        ]
        statuses = Counter(study.status for study in self.studies)
        counts = [
            f"{statuses[status]} {status}"
            for status in (DONE, UNSUITABLE, DUPLICATE, NO_IMAGE, REFUSED)
            if statuses[status]
        ]
        total = f"{', '.join(counts) or 'no study'}: {shown(self.output_dir / TABLE)}"
        return "\n".join([*lines, *self.left_out.lines(), total])

    def exit_if_refused(self) -> None:
        """Raise ``SystemExit`` with a one-line message if a study was refused; for the end of a command."""
        if self.exit_status:
            refused = sum(study.status == REFUSED for study in self.studies)
            raise SystemExit(f"{refused} of {len(self.studies)} studies were refused: see {self.output_dir / TABLE}")


class NameHider:
    """Hides whole names and paths of a study's files, and of those beside it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._names: frozenset[str] = frozenset()

    def hide(self, words: str, source: Path) -> str:
        """The same words without names; those of one folder are listed once while its studies follow each other."""
        if not words:
            return words
        folder = source if source.is_dir() else source.parent
        if folder != self._folder:
            self._folder, self._names = folder, _names_in(folder)
        for path in (str(source), str(folder)):
            words = words.replace(path, PLACEHOLDER) if "/" in path.strip("/") else words
        own = _forms(source.name)
        return _without(words, lambda part: part in self._names or part in own)


def _names_in(folder: Path) -> frozenset[str]:
    names = [folder.name, *(entry.name for entry in folder.iterdir())] if folder.is_dir() else []
    return frozenset(form for name in names for form in _forms(name))


def _forms(name: str) -> frozenset[str]:
    """How a name may stand in a message."""
    quoted = {f"'{name}'", repr(name)}
    return frozenset(quoted if WORD_OR_NUMBER.fullmatch(name) or not name else {name, *quoted})


def _without(words: str, is_name: Callable[[str], bool]) -> str:
    """Replace what stands between two edges of words and is a name, the longest first."""
    ends = [at.start() for at in re.finditer(r"(?![\w-]|\.\w)", words)][::-1]
    parts, position = [], 0
    for start in (at.start() for at in re.finditer(r"(?<![\w.-])", words)):
        end = next((end for end in ends if end > start >= position and is_name(words[start:end])), None)
        if end is not None:
            parts += [words[position:start], PLACEHOLDER]
            position = end
    return "".join([*parts, words[position:]])


def _outcome(study: StudyResult) -> str:
    if study.status != DONE:
        return study.reason
    frames = "1 frame" if study.frames == 1 else f"{study.frames} frames"
    return "; ".join([frames, *([study.reason] if study.reason else []), *study.notes])
