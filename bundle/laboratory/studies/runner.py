"""Run what is missing of studies: distill, train, evaluate, record. What is done is not done again."""

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bundle.atomic import write_json
from bundle.laboratory.benchmarks.record import describe_machine
from bundle.laboratory.public_sets.mixed_modalities import make_mixed_datalist
from bundle.laboratory.studies.definition import EvidenceStudy, Keys, Scale, teacher_configs
from bundle.laboratory.studies.plan import SPLITS, PlannedStage, Planner, Run
from bundle.laboratory.studies.readouts import TeacherProbe, read_student, read_traces
from bundle.laboratory.studies.record import RunRecord, read_records, read_scores, write_records
from bundle.laboratory.studies.stage_runner import Job, StageRunner, minutes, run_jobs
from bundle.phantom import make_phantom_dataset
from bundle.students.encoder import StudentEncoder

TIME = "CPU minutes"
"""Of a run's trainings; without the filling of the store, which all runs share, and without evaluation.

A run of which a part was killed has none.
"""


class StudyRunner:
    """Runs studies in a folder, and keeps their records.

    A stage's folder is named by what it depends on: variants that share a distillation share its result, and an
    interrupted stage goes on from its checkpoint.

    Args:
        folder: For data and stages.
        records: JSON file of the records so far; what is in it is not run again.
        scale: Of every run.
        jobs: Runs at the same time; each gets its share of the cores (or ``OMP_NUM_THREADS``), and a GPU of its own if
            there are several.
        teachers: How teachers are loaded, by name; None: ``teacher_configs()``.
        public_sets: Folders of chest X-rays and of CT lesions, of which the data ``mixed`` are made
            (:mod:`bundle.laboratory.public_sets.mixed_modalities`); without them runs on such data are passed over.
    """

    def __init__(
        self,
        folder: str | Path,
        records: str | Path,
        scale: Scale,
        jobs: int = 1,
        teachers: Keys | None = None,
        public_sets: tuple[Path, Path] | None = None,
    ) -> None:
        self.folder, self.path, self.scale, self.jobs = Path(folder).resolve(), Path(records), scale, jobs
        self.records = read_records(self.path)
        datalist = make_phantom_dataset(self.folder / "phantom", **scale.data)
        known = teacher_configs() if teachers is None else teachers
        mixed = self.folder / "mixed"
        others = {"mixed": make_mixed_datalist(datalist, *public_sets, mixed)} if public_sets else {}
        self.planner = Planner(self.folder / "stages", datalist, scale, known, others)
        self.stages = StageRunner(jobs)
        self._probe: TeacherProbe | None = None
        self._locks: dict[Path, threading.Lock] = {}
        self._store_lock, self._probe_lock, self._record_lock = (threading.Lock() for _ in range(3))

    def run(self, studies: Sequence[EvidenceStudy]) -> None:
        """Run what is missing of some studies; every finished run is recorded at once.

        Raises:
            RuntimeError: After all others, if runs failed: which, and why.
        """
        runs = {run.key: run for study in studies for run in self.planner.runs(study)}
        missing = [run for key, run in runs.items() if key not in self.records and self._has_data(run)]
        self._locks = {stage.folder: threading.Lock() for run in missing for stage in run.stages}
        jobs = {f"{run.study}: {run.variant}, seed {run.seed}": Job(partial(self._do, run)) for run in missing}
        failed = run_jobs(jobs, self.jobs)
        if failed:
            why = [f"{name}: {error}" for name, error in failed.items()]
            raise RuntimeError("\n".join([f"{len(failed)} of {len(missing)} runs failed:", *why]))

    def _has_data(self, run: Run) -> bool:
        return all(stage.data is None or stage.data in self.planner.others for stage in run.stages)

    def _do(self, run: Run) -> None:
        for stage in run.stages:
            with self._locks[stage.folder]:
                if stage.fills:
                    with self._store_lock:  # the second finds what the first has made
                        self.stages.fill(stage)
                self.stages.train(stage)
        last = run.stages[-1]
        self.stages.evaluate(last, SPLITS)
        record = RunRecord(
            key=run.key,
            study=run.study,
            variant=run.variant,
            seed=run.seed,
            splits={split: read_scores(last.folder / split / "metrics.csv") for split in SPLITS},
            measured=_processor_time(run),
            scale=self.scale.described(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=describe_machine(),
            phases=[self._describe(stage) for stage in run.stages[:-1]],
        )
        with self._record_lock:
            self.records[record.key] = record
            write_records(self.records, self.path)

    def _describe(self, stage: PlannedStage) -> Keys:
        with self._locks[stage.folder]:
            file = stage.folder / "description.json"
            if not file.is_file():
                student = read_student(stage.folder / "student.pt", stage.backbone, seed=0)
                known = {"teachers": list(stage.teachers), "unexplained": self._unexplained(student)}
                write_json(file, {**known, **read_traces(stage.folder)})
            return json.loads(file.read_text(encoding="utf-8"))

    def _unexplained(self, student: StudentEncoder) -> dict[str, float]:
        with self._probe_lock:
            if self._probe is None:
                self._probe = TeacherProbe(self.planner.teachers, self.scale.phase_1["image_size"])
            return {name: round(value, 4) for name, value in self._probe.unexplained(student).items()}


def _processor_time(run: Run) -> dict[str, float]:
    known = [value for stage in run.stages if (value := minutes(stage.folder)) is not None]
    return {TIME: round(sum(known), 2)} if len(known) == len(run.stages) else {}
