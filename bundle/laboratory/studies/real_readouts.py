"""The study on real films without fine-tuning: the frozen probe, and no labels at all."""

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from bundle.atomic import atomic_path, write_text
from bundle.engines.zero_label import FILLED_BOX, STUDENT, TEACHER, LabeledFilms, zero_label_scores
from bundle.laboratory.benchmarks.record import describe_machine
from bundle.laboratory.studies.probe import VERSION, coverage, position_features, probe, student_features, to_rows
from bundle.laboratory.studies.readouts import read_student
from bundle.laboratory.studies.real_films import LUNG, RealFilms, load_films
from bundle.laboratory.studies.record import DICE, HD95, RunRecord, Scores
from bundle.metrics.report import EvaluationTable
from bundle.paths import ROOT
from bundle.text import read_json

Settings = Mapping[str, Any]


class RealProbe:
    """Probes features of all films of a set, for every number of labelled films and every draw.

    Args:
        films: The films.
        settings: ``films``, name of the set; ``labelled``, numbers of films; ``draws``, of each number but the whole
            pool, of which there is one.
        image_size: Side of the frames.
        folder: Keeps the teachers' features.
        path: JSON file of the results.
    """

    def __init__(self, films: RealFilms, settings: Settings, image_size: int, folder: Path, path: Path) -> None:
        self.films, self.settings, self.image_size, self.folder, self.path = films, settings, image_size, folder, path
        self.results: dict[str, Any] = read_json(path) if path.is_file() else {}
        self._lock = threading.Lock()

    def key(self, *depends: Any) -> str:
        """Of what is probed, and of all that the scores depend on."""
        given = [VERSION, self.films.fingerprint, dict(self.settings), self.image_size, depends]
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()

    def student(self, key: str, arm: str, seed: int, path: Path | None, backbone: str) -> None:
        """Probe a student of phase 1's file, or, without one, of the random weights of a seed."""
        self._keep(key, arm, seed, lambda: student_features(read_student(path, backbone, seed), self._frames))

    def teachers(self, key: str, entries: Settings) -> None:
        """Probe teachers' own features, side by side."""
        arm = f"teachers: {', '.join(entries)}" if len(entries) > 1 else f"teacher: {next(iter(entries))}"
        self._keep(key, arm, 0, lambda: torch.cat([self._teacher(*entry) for entry in entries.items()], dim=2))

    def position(self, key: str) -> None:
        """Probe row and column alone."""
        self._keep(key, "position alone", 0, lambda: position_features(len(self._frames)))

    @cached_property
    def _loaded(self) -> tuple[list[str], Tensor, Tensor]:
        name = self.settings["films"]
        sections = self.films.sections[name]
        path = self.films.task(f"{name}_probe", name, len(sections["training"]), 0)
        structures = self.films.structures[name]
        loaded = [load_films(path, part, structures, self.image_size) for part in ("training", "test")]
        patients, frames, masks = zip(*loaded, strict=True)
        return list(itertools.chain(*patients)), torch.cat(frames), coverage(torch.cat(masks))

    @property
    def _frames(self) -> Tensor:
        with self._lock:
            return self._loaded[1]

    @torch.no_grad()
    def _teacher(self, name: str, entry: Settings) -> Tensor:
        digest = self.key(name, entry)[:16]
        file = self.folder / f"{name}-{digest}.pt"
        if not file.is_file():
            parser = ConfigParser({"bundle_root": str(ROOT), "teachers": {name: dict(entry)}})
            teacher = parser.get_parsed_content("teachers")[name]
            rows = torch.cat([to_rows(teacher(batch)).half() for batch in self._frames.split(4)])
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(file) as temporary:
                torch.save(rows, temporary)
        return torch.load(file, weights_only=True).float()

    def _keep(self, key: str, arm: str, seed: int, features: Callable[[], Tensor]) -> None:
        rows = features()
        with self._lock:
            names, _, truth = self._loaded
        place = {name: number for number, name in enumerate(names)}
        tested = [item["patient"] for item in self.films.sections[self.settings["films"]]["test"]]
        scores = {
            str(number): [
                _rounded(probe(rows, truth, self._drawn(place, number, draw), [place[name] for name in tested]))
                for draw in self._draws(number)
            ]
            for number in self.settings["labelled"]
        }
        result = {"arm": arm, "seed": seed, "films": tested, "dice": scores}
        with self._lock:
            self.results[key] = result
            lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in self.results.items()]
            write_text(self.path, "{\n" + ",\n".join(lines) + "\n}\n")

    def _draws(self, number: int) -> Sequence[int]:
        is_whole = number == len(self.films.sections[self.settings["films"]]["training"])
        return range(1 if is_whole else self.settings["draws"])

    def _drawn(self, place: Mapping[str, int], number: int, draw: int) -> list[int]:
        return [place[item["patient"]] for item in self.films.drawn(self.settings["films"], number, draw)]


def _rounded(scores: Tensor) -> list[list[float | None]]:
    return [[None if value != value else round(value, 3) for value in film] for film in scores.tolist()]


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
    """Prompt a distillation's student from true masks; a record per prompt and source (not beside its teacher)."""
    found = zero_label_scores(folder, LabeledFilms(datalist, "test", [LUNG]), prompts, sources, teacher)
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
