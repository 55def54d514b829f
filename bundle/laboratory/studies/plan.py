"""From a study's variants to commands: which stages a run has, and what each depends on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.engines.stages import Stage
from bundle.laboratory.studies.definition import EvidenceStudy, Keys, Phase, Scale, Variant
from bundle.paths import ROOT
from bundle.phantom.dataset import GENERATOR_VERSION
from bundle.weights import file_sha256

SPLITS = ("test", "hard_test")
RETAIN = "retain_distillation.json"
PROXY = "proxy"
"""Name of a teacher that is the student of the distillation before; the student that learns from it starts anew."""
WITHOUT_EFFECT = (
    "_desc",
    "imports",
    "+imports",
    "parameters",
    "experiment_name",
    "run_name",
    "tracking_uri",
    "log_every",
)
"""Beginnings of keys on which no result depends."""
LIVE, STORED = ("distill.json",), ("distill.json", "stored_features.json")


@dataclass(frozen=True)
class PlannedStage:
    """A command, and the folder of its results."""

    folder: Path  # Named by what the stage depends on
    configs: tuple[str, ...]  # The config files, without the overlay
    keys: Keys  # The overlay, which is written as ``folder / "overlay.json"``
    digest: str  # SHA-256 of what the stage depends on
    fills: bool = False  # Whether it takes the teachers' features from the store, which is to be filled before
    teachers: tuple[str, ...] = ()  # From which it distills, by name; none of a training
    backbone: str = ""  # Of the student
    data: str | None = None  # Name of what it is trained on; None: the phantom

    @property
    def filling(self) -> Stage:
        """The filling of the store with what this stage needs; what is there is kept."""
        configs = [*self.configs, "cache_features.json", str(self.folder / "overlay.json")]
        return Stage(f"{self.folder.name}, features", configs, {"output_dir": str(self.folder / "features")}, "run")

    @property
    def stage(self) -> Stage:
        """The training itself."""
        return Stage(self.folder.name, [*self.configs, str(self.folder / "overlay.json")])

    def evaluation(self, split: str) -> Stage:
        """The evaluation of what was trained."""
        configs = [*self.stage.configs, "evaluate.json"]
        target = {"output_dir": str(self.folder / split), "checkpoint": str(self.folder / "model.pt")}
        return Stage(f"{self.folder.name}, {split}", configs, {**target, "validate::section": split}, "evaluating")


@dataclass(frozen=True)
class Run:
    """One model from beginning to end."""

    study: str  # Name of the study
    variant: str  # Name of the variant
    seed: int  # Of initial weights, order and augmentation
    stages: tuple[PlannedStage, ...]  # Distillations, then the training; each starts from the student of the one before

    @property
    def key(self) -> str:
        """SHA-256 of all that the result depends on: configs, keys, data, seeds, and the shipped teachers' weights."""
        return self.stages[-1].digest


class Planner:
    """Plans runs at one scale.

    Args:
        folder: Where stages are kept.
        datalist: The phantom.
        scale: Of every run.
        teachers: How teachers are loaded, by name.
        others: Data lists that phases ask for by name; a run that asks for one that is missing is planned all the same.
    """

    def __init__(
        self,
        folder: Path,
        datalist: Path,
        scale: Scale,
        teachers: Mapping[str, Any],
        others: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder, self.datalist, self.scale, self.teachers = folder, datalist, scale, teachers
        self.others = dict(others or {})
        weights = sorted((ROOT / "models" / "teachers").glob("*.safetensors"))
        self._given = [scale.data, GENERATOR_VERSION, [file_sha256(path) for path in weights]]

    def runs(self, study: EvidenceStudy) -> list[Run]:
        """All runs of a study, seed by seed, so that every variant has one before any has two."""
        return [self.run(study.name, variant, seed) for seed in self.scale.seeds for variant in study.variants]

    def run(self, study: str, variant: Variant, seed: int) -> Run:
        """One variant with one seed."""
        stages: list[PlannedStage] = []
        for phase in variant.phase_1:
            keys = {"track_pictures": False, **self.scale.phase_1}
            stages.append(self._stage("distill", phase, keys, seed, stages))
        keys = dict(self.scale.phase_2)
        if RETAIN in variant.phase_2.configs:
            keys["distill_dir"] = str(stages[-1].folder)
        stages.append(self._stage("train", variant.phase_2, keys, seed, stages))
        return Run(study, variant.name, seed, tuple(stages))

    def _stage(self, kind: str, phase: Phase, keys: Keys, seed: int, before: Sequence[PlannedStage]) -> PlannedStage:
        parent = before[-1] if before else None
        is_taught = PROXY in (phase.teachers or ())
        if is_taught and parent is None:
            raise ValueError(
                f"the teacher {PROXY!r} is the student of the distillation before: let phase_1 begin with one"
            )
        known = {**self.teachers, PROXY: {"_target_": "bundle.students.as_teacher.load_student_teacher"}}
        fills = kind == "distill" and self.scale.num_views > 0 and phase.configs == LIVE and not is_taught
        configs = STORED if fills else phase.configs
        views = {"num_views": self.scale.num_views, "views::seed": 0} if fills else {}  # the same for every seed
        own: Keys = {**keys, **views, **phase.overlay(known), "seed": seed}
        config: Keys = {}
        for name in configs:
            config |= json.loads((ROOT / "configs" / name).read_text(encoding="utf-8"))
        settings = {**config, **own}
        if phase.share != 1:
            own["epochs"] = max(1, round(settings["epochs"] * phase.share))
            own["val_interval"] = own["epochs"]
            settings |= own
        given = [*self._given, phase.data] if phase.data else self._given
        counted = what_counts({**settings, "distill_dir": None})
        identity = [counted, parent.digest if parent else None, given]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        folder = self.folder / f"{kind}-{digest[:16]}"
        places: Keys = {"output_dir": str(folder), "datalist": str(self._data(phase))}
        places |= {"store_dir": str(self.folder.parent / "store")} if fills else {}
        student = str(parent.folder / "student.pt") if parent else None
        if is_taught:
            proxy = {**known[PROXY], "checkpoint": student}
            places, student = {**places, "teachers": {**own["teachers"], PROXY: proxy}}, None
        teachers = tuple(settings["teachers"]) if kind == "distill" else ()
        return PlannedStage(
            folder=folder,
            configs=configs,
            keys={**own, **places, "student_checkpoint": student},
            digest=digest,
            fills=fills,
            teachers=teachers,
            backbone=settings["student_backbone"],
            data=phase.data,
        )

    def _data(self, phase: Phase) -> Path:
        return self.datalist if phase.data is None else self.others.get(phase.data, Path(f"{phase.data} is missing"))


def what_counts(content: Any) -> Any:
    """A config, or a part of it, without the keys on which no result depends."""
    if isinstance(content, dict):
        return {key: what_counts(value) for key, value in content.items() if not key.startswith(WITHOUT_EFFECT)}
    return [what_counts(entry) for entry in content] if isinstance(content, list) else content
