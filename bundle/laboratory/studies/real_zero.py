"""No labels at all: a distilled student in its teacher's own decoder, on the films of no pool; records of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bundle.engines.zero_label import FILLED_BOX, STUDENT, TEACHER, LabelledFilms, zero_label_scores
from bundle.laboratory.benchmarks.record import describe_machine
from bundle.laboratory.studies.real_films import LUNG
from bundle.laboratory.studies.record import DICE, HD95, RunRecord, Scores
from bundle.metrics.report import EvaluationTable

ZERO_LABELS = "zero labels"
TEACHER_ITSELF = (TEACHER, STUDENT, FILLED_BOX)
"""The sources that are the same for every arm, and a student beside the teacher, for their times at the same load."""


def zero_label_records(
    folder: Path,
    datalist: Path,
    teacher: str,
    arm: str,
    seed: int,
    key: str,
    sources: Sequence[str] = (STUDENT,),
    prompts: Sequence[str] = ("box", "click"),
) -> list[RunRecord]:
    """Prompt from the true masks; a record for every prompt and source, but for a student beside its teacher.

    Args:
        folder: Of the distillation.
        datalist: With the section ``test``.
        teacher: Name of the teacher in phase 1 whose decoder answers.
        arm: Name; what is no student is named by its source.
        seed: Of the distillation.
        key: Of what the result depends on.
        sources: Of :func:`bundle.engines.zero_label.zero_label_scores`.
        prompts: Likewise.
    """
    found = zero_label_scores(folder, LabelledFilms(datalist, "test", [LUNG]), prompts, sources, teacher)
    times = {
        f"milliseconds of {name}": round(median(values), 1) for name, values in found.milliseconds.items() if values
    }
    return [
        RunRecord(
            key=f"{key} {prompt} {source}",
            study=ZERO_LABELS,
            variant=arm if source == STUDENT else source,
            seed=seed,
            splits={"test": {DICE: _scores(table, "dice"), HD95: _scores(table, "hd95_px")}},
            measured=times if source == TEACHER else {},
            scale={},
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=describe_machine(),
            task=prompt,
        )
        for (prompt, source), table in found.tables.items()
        if source != STUDENT or TEACHER not in sources
    ]


def _scores(table: EvaluationTable, name: str) -> Scores:
    found: dict[str, dict[str, float | None]] = {}
    for score in table.scores:
        value = getattr(score, name)
        found.setdefault(score.patient, {})[score.structure] = None if value != value else round(value, 4)
    return found
