"""The study on real films: arms of distillation, tasks of few labelled films, and the runs in order of importance."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from bundle.atomic import write_json
from bundle.engines.zero_label import STUDENT
from bundle.laboratory.benchmarks.record import describe_machine
from bundle.laboratory.studies.definition import FOLDER, Keys, Phase, Scale, Variant, read_variant, teacher_configs
from bundle.laboratory.studies.plan import PlannedStage, Planner, Run
from bundle.laboratory.studies.readouts import read_traces
from bundle.laboratory.studies.real_films import UNLABELLED, RealFilms
from bundle.laboratory.studies.real_readouts import TEACHER_ITSELF, ZERO_LABELS, RealProbe, zero_label_records
from bundle.laboratory.studies.record import DICE, RunRecord, read_records, read_scores, write_records
from bundle.laboratory.studies.stage_runner import Job, StageRunner, minutes, run_jobs
from bundle.paths import ROOT
from bundle.text import read_json

STUDY = FOLDER / "real" / "study.json"
TEACHERS = (ROOT / "configs" / "real_teachers.json", FOLDER / "real" / "teachers.json")
"""Teachers beside those of the other studies: the real ones, and their placebos."""

RECORDS, PROBED = "real_results.json", "real_probe.json"
FINE_TUNING, TUNING, TEACHERS_PROBE = "fine-tuning", "tuning", "probe of teachers"
TEACHER_ZERO = f"{ZERO_LABELS}, teacher"
TEST, ELSEWHERE, VALIDATION = "test", "hard_test", "validation"
"""Splits: films of the same set, and of others."""


@dataclass(frozen=True)
class Task:
    """What is learned, from how many films."""

    films: str  # Name of the set (:class:`bundle.laboratory.studies.real_films.RealFilms`)
    labelled: int  # Films with labels to learn from
    elsewhere: tuple[str, ...] = ()  # Sets that it is tested on, too

    @property
    def splits(self) -> tuple[str, ...]:
        """Sections on which it is tested."""
        return (TEST, ELSEWHERE) if self.elsewhere else (TEST,)


@dataclass(frozen=True)
class Block:
    """Runs of equal importance: every arm with every task, seed and draw."""

    tasks: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    draws: tuple[int, ...]


@dataclass(frozen=True)
class Tuning:
    """How the encoder's learning rate in phase 2 is chosen: on validation films, once for every arm."""

    task: str  # That is tried, with a seed and a draw that no run has both of
    seed: int  # Of the distillation
    draw: int  # Of the labelled films
    rates: tuple[float, ...]  # That are tried
    structures: tuple[str, ...]  # Whose mean Dice decides
    borrowed: dict[str, str]  # Arms that take the choice of another, by name


@dataclass(frozen=True)
class RealStudy:
    """The study as it was fixed before its runs."""

    text: Keys  # Title, question, stop rule and endpoints, in words, for the page
    scale: Scale  # Of all runs; its seeds are of the distillations
    steps: int  # Of every fine-tuning, whatever the number of labelled films
    arms: dict[str, Variant]  # By name
    tasks: dict[str, Task]  # By name
    plan: tuple[Block, ...]  # Blocks, the most important first
    tuning: Tuning  # Of the encoder's learning rate
    probe: Keys  # Of the frozen probe: films, numbers of labelled ones, and of their draws
    zero_labels: Keys  # Sets of films, and the teacher whose decoder answers
    claims: tuple[Keys, ...]  # Which arm is compared with which, in which task

    def wanted(self) -> Iterator[tuple[str, str, int, int]]:
        """Arm, task, seed and draw of every run, the most important first; none twice."""
        found = (
            (arm, task, seed, draw)
            for block in self.plan
            for seed in block.seeds
            for draw in block.draws
            for task in block.tasks
            for arm in block.arms
        )
        return iter(dict.fromkeys(found))


def read_real_study(path: str | Path = STUDY) -> RealStudy:
    """The study of a file; see ``docs/how-to/study-real.md``.

    Raises:
        ValueError: If a block names an arm or a task that there is not, or an entry is missing or unknown.
    """
    path, content = Path(path), read_json(path)
    needed = {field.name for field in fields(RealStudy)} - {"scale", "steps"}
    needed |= {"seeds", "num_views", "phase_1", "phase_2"}
    if got := {key for key in content if not key.startswith("_")} ^ needed:
        raise ValueError(f"{path}: expected the entries {sorted(needed)}, missing or unknown: {sorted(got)}")
    phase_2 = dict(content["phase_2"])
    steps = phase_2.pop("steps")
    arms = {name: read_variant(name, entry, path) for name, entry in content["arms"].items()}
    tasks = {
        name: Task(entry["films"], entry["labelled"], tuple(entry.get("elsewhere", ())))
        for name, entry in content["tasks"].items()
    }
    blocks = [{key: tuple(value) for key, value in entry.items() if key[0] != "_"} for entry in content["plan"]]
    plan = tuple(Block(**{"seeds": tuple(content["seeds"]), **entry}) for entry in blocks)
    for block in plan:
        if unknown := [*set(block.arms) - set(arms), *set(block.tasks) - set(tasks)]:
            raise ValueError(f"{path}: plan names {unknown}, but arms are {list(arms)} and tasks {list(tasks)}")
    scale = Scale("real", tuple(content["seeds"]), {}, content["phase_1"], phase_2, content["num_views"])
    tuning = dict(content["tuning"])
    rates, structures = tuple(tuning.pop("rates")), tuple(tuning.pop("structures"))
    readouts = Tuning(rates=rates, structures=structures, **tuning), content["probe"], content["zero_labels"]
    return RealStudy(content["text"], scale, steps, arms, tasks, plan, *readouts, tuple(content["claims"]))


def real_teacher_configs() -> Keys:
    """Every teacher that an arm can name, and how it is loaded."""
    found = teacher_configs()
    for path in TEACHERS:
        if path.is_file():
            content = read_json(path)
            found |= content.get("teachers", content)
    return {name: entry for name, entry in found.items() if not name.startswith("_")}


class RealStudyRunner:
    """Runs what is missing of the study, the most important first, and keeps the records.

    Args:
        study: What is to be run.
        films: The films.
        folder: For stages and the store.
        records: JSON file of the records so far; what is in it is not run again. The probe's is beside it.
        jobs: Stages at the same time.
        teachers: How teachers are loaded, by name; None: :func:`real_teacher_configs`.
    """

    def __init__(
        self,
        study: RealStudy,
        films: RealFilms,
        folder: str | Path,
        records: str | Path,
        jobs: int = 1,
        teachers: Keys | None = None,
    ) -> None:
        self.study, self.films, self.path, self.jobs = study, films, Path(records), jobs
        self.records = read_records(self.path)
        scale = replace(study.scale, data={"films": films.fingerprint})
        known = real_teacher_configs() if teachers is None else teachers
        folder = Path(folder).resolve()
        self.planner = Planner(folder / "stages", Path(), scale, known, {UNLABELLED: films.unlabelled()})
        self.lists = self.planner.others
        self.probe = RealProbe(
            films, study.probe, scale.phase_1["image_size"], folder / "probe", self.path.with_name(PROBED)
        )
        self.stages = StageRunner(jobs)
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def plan(self, arm: str, task: str, seed: int, draw: int, rate: float | None = None) -> Run:
        """The stages of one run; with the learning rate of the encoder that was chosen for its arm, unless given."""
        wanted = self.study.tasks[task]
        name = "_".join([wanted.films, str(wanted.labelled), *wanted.elsewhere, f"draw{draw}"])
        if name not in self.lists:
            self.lists[name] = self.films.task(name, wanted.films, wanted.labelled, draw, wanted.elsewhere)
        variant = self.study.arms[arm]
        batch_size = {**self.planner.scale.phase_2, **variant.phase_2.keys}["batch_size"]
        epochs = math.ceil(self.study.steps / max(1, wanted.labelled // batch_size))
        keys = {"structures": self.films.structures[wanted.films], "epochs": epochs, "val_interval": epochs}
        if variant.phase_2.configs == ("train.json",):  # another network has no encoder of its own rate
            keys["encoder_learning_rate"] = rate or self.rate(arm) or self.study.tuning.rates[0]
        phase_1 = tuple(replace(phase, data=UNLABELLED) for phase in variant.phase_1)
        phase_2 = replace(variant.phase_2, data=name, keys={**keys, **variant.phase_2.keys})
        return self.planner.run(task, Variant(arm, phase_1, phase_2), seed)

    def tried(self, arm: str) -> dict[float, float]:
        """Validation Dice by learning rate of the encoder, of the arm that an arm borrows from, or its own."""
        tuning = self.study.tuning
        arm = tuning.borrowed.get(arm, arm)
        found = {}
        for rate in tuning.rates:
            record = self.records.get(self.plan(arm, tuning.task, tuning.seed, tuning.draw, rate).key)
            if record:
                films = record.splits[VALIDATION][DICE].values()
                found[rate] = fmean(film[name] or 0.0 for film in films for name in tuning.structures)
        return found

    def rate(self, arm: str) -> float | None:
        """The learning rate of the encoder that is best on the validation films; None until all have been tried."""
        tried = self.tried(arm)
        return max(tried, key=lambda rate: tried[rate]) if len(tried) == len(self.study.tuning.rates) else None

    def current(self) -> list[RunRecord]:
        """Records but for fine-tunings of other configs, films or weights than today's."""
        keys = {self.plan(*wanted).key for wanted in self.study.wanted()}
        return [record for key, record in self.records.items() if record.study != FINE_TUNING or key in keys]

    def models(self) -> dict[str, str]:
        """Weights of the finished runs, by what each is."""
        found = {}
        for arm, task, seed, draw in self.study.wanted():
            path = self.plan(arm, task, seed, draw).stages[-1].folder / "model.pt"
            if path.is_file():
                found[f"{task}, draw {draw}: {arm}, seed {seed}"] = str(path)
        return found

    def run(self, time_limit_minutes: float | None = None) -> dict[str, str]:
        """Run what is missing; every finished run is recorded at once. Returns what failed, and why."""
        start = time.monotonic()
        limit = math.inf if time_limit_minutes is None else 60 * time_limit_minutes
        return run_jobs(
            self._wanted_jobs(),
            self.jobs,
            lambda: self._stop.is_set() or time.monotonic() - start > limit,
            self.stages.stop,
        )

    def stop(self) -> None:
        """As at the end of the time limit; from another thread or a signal's handler."""
        self._stop.set()

    def _wanted_jobs(self) -> dict[str, Job]:
        jobs: dict[str, Job] = {}
        last: dict[str, Job] = {}  # teachers are slow, and no run waits for their probes
        unlabelled: dict[str, Job] = {}  # slow, too: after the task whose distillations it is about
        before = None
        for arm, task, seed, draw in self.study.wanted():
            if task != before:
                jobs, unlabelled, before = {**jobs, **unlabelled}, {}, task
            run = self.plan(arm, task, seed, draw)
            probe = {**self._probe(arm, run), **self._zero_labels(arm, run)}
            if run.key in self.records and not probe:
                continue
            needs = self._distillations(run, jobs)
            if run.key not in self.records:
                name = f"{task}, draw {draw}: {arm}, seed {seed}"
                tuned = self._tuning(arm, jobs)
                jobs[name] = Job(_call(self._fine_tune, arm, task, seed, draw), [*needs, *tuned])
            for name, do in probe.items():
                is_last = name.startswith((TEACHERS_PROBE, TEACHER_ZERO))
                kind = last if is_last else unlabelled if name.startswith(ZERO_LABELS) else jobs
                kind.setdefault(name, Job(do, needs))
        return {**jobs, **unlabelled, **last}

    def _distillations(self, run: Run, jobs: dict[str, Job]) -> list[str]:
        """Add a run's distillations, and the features that they need, to the jobs; returns what the run waits for."""
        needs: list[str] = []
        for stage in run.stages[:-1]:
            names = {f"features of {name}": self._filling(name) for name in stage.teachers if stage.fills}
            for name, filling in names.items():
                jobs.setdefault(name, Job(_call(self.stages.fill, filling)))
            name = f"distillation of {', '.join(stage.teachers)}, {stage.folder.name}"
            jobs.setdefault(name, Job(_call(self.stages.train, stage), [*needs, *names]))
            needs = [name]
        return needs

    def _tuning(self, arm: str, jobs: dict[str, Job]) -> list[str]:
        """Add the trials of an arm's learning rates that are missing to the jobs; returns what the arm waits for."""
        tuning = self.study.tuning
        arm = tuning.borrowed.get(arm, arm)
        if self.study.arms[arm].phase_2.configs != ("train.json",):
            return []
        missing = {}
        for rate in set(tuning.rates) - set(self.tried(arm)):
            run = self.plan(arm, tuning.task, tuning.seed, tuning.draw, rate)
            needs = self._distillations(run, jobs)
            do = _call(self._fine_tune, arm, tuning.task, tuning.seed, tuning.draw, rate)
            missing[f"learning rate {rate} of {arm}"] = Job(do, needs)
        jobs |= {name: job for name, job in missing.items() if name not in jobs}
        return list(missing)

    def _probe(self, arm: str, run: Run) -> dict[str, Callable[[], None]]:
        """Missing probes of a run's student before phase 2, of its teachers, together and alone, and of position."""
        distillation = run.stages[-2] if len(run.stages) > 1 else None
        stages = [distillation] if distillation else []
        teachers = [name for stage in stages for name in stage.teachers if name in self.planner.teachers]
        sets = [[name] for name in teachers] + ([teachers] if len(teachers) > 1 else [])
        found: dict[str, tuple[str, Callable[..., None], tuple[Any, ...]]]
        found = {"probe of position": (self.probe.key("position"), self.probe.position, ())}
        for names in sets:
            entries = {name: self.planner.teachers[name] for name in names}
            found[f"{TEACHERS_PROBE} {', '.join(names)}"] = (self.probe.key(entries), self.probe.teachers, (entries,))
        if distillation:
            path, backbone, digest = distillation.folder / "student.pt", distillation.backbone, distillation.digest
        else:
            path, backbone = None, self.study.arms[arm].phase_2.keys.get("student_backbone", "efficientvit_b0")
            digest = f"random {backbone}, seed {run.seed}"
        name = f"probe of {arm if distillation else digest}, seed {run.seed}"
        if distillation or "student_pretrained" not in self.study.arms[arm].phase_2.keys:
            found[name] = (self.probe.key(digest), self.probe.student, (arm, run.seed, path, backbone))
        return {
            name: _call(do, key, *arguments)
            for name, (key, do, arguments) in found.items()
            if key not in self.probe.results
        }

    def _zero_labels(self, arm: str, run: Run) -> dict[str, Callable[[], None]]:
        """Missing evaluations without labels of a run's student before phase 2, and, once, of the teacher itself."""
        teacher, sets = self.study.zero_labels["teacher"], self.study.zero_labels["films"]
        distillation = run.stages[-2] if len(run.stages) > 1 else None
        if distillation is None or teacher not in distillation.teachers:
            return {}
        given = (ZERO_LABELS, self.films.fingerprint, sets, teacher)
        names = {
            TEACHER_ZERO: (self.probe.key(given, self.planner.teachers[teacher]), TEACHER_ITSELF),
            f"{ZERO_LABELS}, {arm}, seed {run.seed}": (self.probe.key(given, distillation.digest), (STUDENT,)),
        }
        keys = {key.split()[0] for key in self.records}
        return {
            name: _call(self._zero_label, distillation.folder, arm, run.seed, key, sources)
            for name, (key, sources) in names.items()
            if key not in keys
        }

    def _zero_label(self, folder: Path, arm: str, seed: int, key: str, sources: tuple[str, ...]) -> None:
        path, teacher = self.films.unseen(self.study.zero_labels["films"]), self.study.zero_labels["teacher"]
        prompts = ("box", "click") if seed == self.study.scale.seeds[0] else ("box",)  # a click takes 16 decodings
        self._keep(zero_label_records(folder, path, teacher, arm, seed, key, sources, prompts))

    def _filling(self, teacher: str) -> PlannedStage:
        """A stage with this teacher alone, whose filling is timed for all arms that share it."""
        phase = Phase(("distill.json",), {}, (teacher,), data=UNLABELLED)
        return self.planner.run("features", Variant(teacher, (phase,), Phase(("train.json",))), 0).stages[0]

    def _fine_tune(self, arm: str, task: str, seed: int, draw: int, rate: float | None = None) -> None:
        """Train, evaluate and record; a trial of a learning rate is evaluated on validation films alone."""
        run = self.plan(arm, task, seed, draw, rate)
        last, splits = run.stages[-1], (VALIDATION,) if rate else self.study.tasks[task].splits
        self.stages.train(last)
        self.stages.evaluate(last, splits)
        record = RunRecord(
            key=run.key,
            study=TUNING if rate else FINE_TUNING,
            variant=arm,
            seed=run.seed,
            splits={split: read_scores(last.folder / split / "metrics.csv") for split in splits},
            measured=self._minutes(run, splits),
            scale={},
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=describe_machine(),
            phases=[_describe(stage) for stage in run.stages[:-1]],
            task=task,
            draw=draw,
        )
        self._keep([record])

    def _keep(self, records: list[RunRecord]) -> None:
        with self._lock:
            self.records |= {record.key: record for record in records}
            write_records(self.records, self.path)

    def _minutes(self, run: Run, splits: tuple[str, ...]) -> dict[str, float]:
        """Processor time by kind of stage; without what is not known, since a process was killed."""
        teachers = {name for stage in run.stages if stage.fills for name in stage.teachers}
        last = run.stages[-1].folder
        folders = {
            "features": [self._filling(name).folder / "features" for name in sorted(teachers)],
            "distillation": [stage.folder for stage in run.stages[:-1]],
            FINE_TUNING: [last],
            "evaluation": [last / split for split in splits],
        }
        found = {kind: [minutes(folder) for folder in some] for kind, some in folders.items()}
        return {
            kind: round(sum(value for value in some if value is not None), 3)
            for kind, some in found.items()
            if None not in some
        }


def _call(function: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    return lambda: function(*arguments)


def _describe(stage: PlannedStage) -> Keys:
    """What a distillation came to: validation by teacher, and its last weights."""
    file = stage.folder / "description.json"
    if not file.is_file():
        traces = read_traces(stage.folder)
        weights = {name.removeprefix("weight/"): curve[-1][1] for name, curve in traces.pop("curves").items()}
        write_json(file, {"teachers": list(stage.teachers), "weights": weights, **traces})
    return read_json(file)
