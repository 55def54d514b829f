"""One finished run of a study: a variant trained with one seed, and its scores on the held-out synthetic patients."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bundle.atomic import write_text

DICE, HD95 = "dice", "hd95"
"""Names, within a split, of the Dice and of the HD95 in pixels."""

Scores = Mapping[str, Mapping[str, float | None]]
"""Patient -> structure -> value; None where no frame of the patient gives one."""


@dataclass(frozen=True)
class RunRecord:
    """What is kept of one run.

    Raises:
        ValueError: If a split has no patient, or a Dice is outside [0, 1].
    """

    key: str  # SHA-256 of everything that determines the run
    study: str  # Name of the study
    variant: str  # Name of what was trained
    seed: int  # Of the training
    splits: Mapping[str, Mapping[str, Scores]]  # Split -> ``"dice"`` (in [0, 1]) and ``"hd95"`` (pixels) -> scores
    measured: Mapping[str, float]  # Further numbers, such as ``CPU minutes`` or ``parameters``; may be empty
    scale: Mapping[str, Any]  # What bounds the run, such as ``image_size``
    finished: str  # Date and time, ISO 8601
    machine: str  # Hardware, in words
    # Of every distillation, in order: ``teachers``; ``curves`` of weights and entropy, ``val_loss`` and
    # ``val_cosine`` by teacher (:mod:`bundle.laboratory.studies.readouts`); ``unexplained`` by teacher
    # (:mod:`bundle.laboratory.studies.readouts`)
    phases: Sequence[Mapping[str, Any]] = ()
    task: str = ""  # On real films: what was learned, of how many labeled films
    draw: int = 0  # On real films: which labeled films
    names: Sequence[Sequence[str]] = ()  # Study and variant of every table in which it stands

    def __post_init__(self) -> None:
        for split, scores in self.splits.items():
            name = f"{self.variant}, seed {self.seed}, split {split}"
            if not scores.get(DICE):
                raise ValueError(f"{name}: expected Dice of one patient or more under {DICE!r}, got {list(scores)}")
            values = [value for patient in scores[DICE].values() for value in patient.values()]
            if wrong := [value for value in values if value is not None and (value < 0 or value > 1)]:
                raise ValueError(f"{name}: Dice must be in [0, 1] or None, got {wrong[0]}")

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file; a NaN among the scores becomes None, and what is not given is left out."""
        given = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        content = {name: value for name, value in asdict(self).items() if name in given}
        content["splits"] = {
            split: {measure: _without_nan(scores) for measure, scores in measures.items()}
            for split, measures in self.splits.items()
        }
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "RunRecord":
        """What :meth:`to_dict` made.

        Raises:
            ValueError: If an entry is missing or unknown.
        """
        known = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not needed <= set(content) <= known:
            raise ValueError(f"a run's record has the entries {sorted(known)}, got {sorted(content)}")
        return cls(**{**content, "names": tuple(map(tuple, content.get("names", ())))})


def read_records(path: str | Path) -> dict[str, RunRecord]:
    """Records of a file, by key; none if there is no file."""
    path = Path(path)
    if not path.is_file():
        return {}
    records = [RunRecord.from_dict(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return {record.key: record for record in records}


def write_records(records: dict[str, RunRecord], path: str | Path) -> None:
    """Write records, one per line, so that an added run is an added line."""
    lines = [json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False) for record in records.values()]
    write_text(Path(path), "[\n" + ",\n".join(lines) + "\n]\n")


def read_scores(path: Path) -> dict[str, Any]:
    """Dice and HD95 of ``metrics.csv``; in pixels, since some of the phantom's files have no pixel spacing."""
    scores: dict[str, dict[str, dict[str, float | None]]] = {DICE: {}, HD95: {}}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, column in ((DICE, "dice"), (HD95, "hd95")):
                value = round(float(row[column]), 4) if row[column] else None
                scores[name].setdefault(row["patient"], {})[row["structure"]] = value
    return scores


def split_names(records: Sequence[RunRecord]) -> list[str]:
    """Splits of all runs, in the order in which they first occur."""
    return list(dict.fromkeys(split for record in records for split in record.splits))


def _without_nan(scores: Scores) -> dict[str, dict[str, float | None]]:
    return {
        patient: {structure: None if value != value else value for structure, value in values.items()}
        for patient, values in scores.items()
    }
