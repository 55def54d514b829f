"""The frozen probe on real films: of students, of their teachers, and of position alone; what was probed is kept."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from bundle.atomic import atomic_path, write_text
from bundle.data.datalist import load_datalist
from bundle.keys import IMAGE, LABEL
from bundle.laboratory.studies.knowledge import read_student
from bundle.laboratory.studies.probe import VERSION, coverage, position_features, probe, student_features, to_rows
from bundle.laboratory.studies.real_films import RealFilms
from bundle.paths import ROOT
from bundle.text import read_json
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

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
        """Probe teachers' own features, side by side.

        Args:
            key: Of the result.
            entries: How each is loaded, by name.
        """
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
        load = LoadFramed(structures), Letterboxd(keys=[IMAGE, LABEL], size=self.image_size)
        names, frames, truth = [], [], []
        for entry in [entry for part in ("training", "test") for entry in load_datalist(path, part, structures)]:
            film: Any = entry
            for transform in load:
                film = transform(film)
            names.append(entry["patient"])
            frames.append(torch.as_tensor(film[IMAGE]).as_subclass(Tensor).float())
            truth.append(torch.as_tensor(film[LABEL]).as_subclass(Tensor))
        return names, torch.stack(frames), coverage(torch.stack(truth))

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
