"""Data lists of the study on real films: fixed sections of JSRT and two hospitals, nested draws of labeled films."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bundle.atomic import write_json
from bundle.data.datalist import SECTIONS, load_datalist, read_datalist
from bundle.data.labels import parse_label
from bundle.data.make_datalist import split_by_patient
from bundle.keys import IMAGE, LABEL
from bundle.laboratory.public_sets.radiographs import make_chest_xray_datalist, make_jsrt_datalist
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed
from bundle.weights import file_sha256

LUNG = "lung"
UNLABELLED = "unlabelled"
"""Name of the list for phase 1: the pools of all sets, without labels."""

HOSPITALS = {"montgomery": "MCUCXR", "shenzhen": "CHNCXR"}
"""Sets of chest X-rays, by the beginning of their files' names."""

SHARES = {
    "jsrt": {"training": 100 / 185, "validation": 23 / 185, "test": 62 / 185},
    **{name: {"training": 0.7, "validation": 0.1, "test": 0.2} for name in HOSPITALS},
}
"""Of the films, one of a patient each; those for training are the pool that labelled films are drawn from."""

FilmItem = Mapping[str, Any]


def load_films(
    datalist: str | Path, section: str, structures: Sequence[str], image_size: int
) -> tuple[list[str], Tensor, Tensor]:
    """Patients ``(N,)``, frames ``(N, 1, S, S)`` and masks ``(N, structures, S, S)`` of a data list's section."""
    load = LoadFramed(structures), Letterboxd(keys=[IMAGE, LABEL], size=image_size)
    patients, frames, masks = [], [], []
    for entry in load_datalist(datalist, section, structures):
        film: Any = entry
        for transform in load:
            film = transform(film)
        patients.append(entry["patient"])
        frames.append(torch.as_tensor(film[IMAGE]).as_subclass(Tensor).float())
        masks.append(torch.as_tensor(film[LABEL]).as_subclass(Tensor))
    return patients, torch.stack(frames), torch.stack(masks)


class RealFilms:
    """The films of both folders in their sections, and the lists of the tasks.

    Sets are ``jsrt`` (five structures), ``jsrt_lungs`` (its lungs as one structure), ``montgomery`` and ``shenzhen``.

    Args:
        jsrt: Folder, as for :func:`bundle.laboratory.public_sets.radiographs.make_jsrt_datalist`.
        chest_xrays: Folder, as for :func:`bundle.laboratory.public_sets.radiographs.make_chest_xray_datalist`.
        root: Gets the lists, and JSRT's lungs as one mask each.

    Raises:
        FileNotFoundError: If a folder, or a film's mask, is missing.
        ValueError: If one is not as expected, or a hospital has no film.
    """

    def __init__(self, jsrt: str | Path, chest_xrays: str | Path, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.structures: dict[str, list[str]] = {}
        found = {
            "jsrt": self._read("jsrt", make_jsrt_datalist(jsrt, self.root)),
            "chest_xrays": self._read("chest_xrays", make_chest_xray_datalist(chest_xrays, self.root)),
        }
        items = {"jsrt": found["jsrt"]}
        for name, start in HOSPITALS.items():
            items[name] = [item for item in found["chest_xrays"] if Path(item["image"]).name.startswith(start)]
            self.structures[name] = [LUNG]
            if not items[name]:
                raise ValueError(f"{chest_xrays}: expected files {start}_*.png of {name} among the images, got none")
        self.sections = {name: split_by_patient(items[name], SHARES[name], seed=0) for name in items}
        self.structures["jsrt_lungs"] = [LUNG]
        self.sections["jsrt_lungs"] = {
            section: [{**item, "label": {LUNG: self._lungs(item)}} for item in part]
            for section, part in self.sections["jsrt"].items()
        }
        self.fingerprint = self._fingerprint([item for part in items.values() for item in part])

    def unlabelled(self) -> Path:
        """The list for phase 1: all pools for training, all films for validation."""
        sections = {
            section: [
                {key: value for key, value in item.items() if key != "label"}
                for name in SHARES
                for item in self.sections[name][section]
            ]
            for section in ("training", "validation")
        }
        return self._write(UNLABELLED, [LUNG], sections)

    def task(self, name: str, films: str, labelled: int, draw: int, elsewhere: Sequence[str] = ()) -> Path:
        """A list for phase 2.

        Args:
            name: Of the list.
            films: Name of a set, whose sections for validation and test are the same in every draw.
            labelled: Films of its pool that are drawn; fewer of the same draw are among more.
            draw: Seed of the draw.
            elsewhere: Sets whose test films become the section ``hard_test``.

        Raises:
            ValueError: If the pool has fewer films.
        """
        sections: dict[str, Sequence[FilmItem]] = dict(self.sections[films])
        sections["training"] = self.drawn(films, labelled, draw)
        if elsewhere:
            sections["hard_test"] = [item for name in elsewhere for item in self.sections[name]["test"]]
        return self._write(name, self.structures[films], sections)

    def unseen(self, sets: Sequence[str]) -> Path:
        """A list of the test films of some sets, with their lungs."""
        return self._write("unseen", [LUNG], {"test": [item for name in sets for item in self.sections[name]["test"]]})

    def drawn(self, films: str, labelled: int, draw: int) -> list[FilmItem]:
        """Films of a set's pool, drawn without repeats."""
        pool = self.sections[films]["training"]
        if not 0 < labelled <= len(pool):
            raise ValueError(f"{films} has {len(pool)} films to draw labelled ones from, got labelled={labelled}")
        return [pool[index] for index in np.random.default_rng(draw).permutation(len(pool))[:labelled]]

    def _read(self, name: str, path: Path) -> list[FilmItem]:
        """Items of a list that was checked as it was written; it keeps a name of its own."""
        content = read_datalist(path)
        path.replace(self.root / f"{name}.json")
        self.structures[name] = content["structures"]
        return sorted((item for section in SECTIONS for item in content[section]), key=lambda item: item["image"])

    def _lungs(self, item: FilmItem) -> str:
        name = f"lungs/{Path(item['image']).stem}.png"
        path = self.root / name
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            masks = [
                np.asarray(Image.open(self.root / item["label"][f"{side}_lung"])) > 0 for side in ("left", "right")
            ]
            Image.fromarray(np.uint8(255) * np.logical_or(*masks).astype(np.uint8)).save(path)
        return name

    def _fingerprint(self, items: Sequence[FilmItem]) -> str:
        files = [
            file_sha256(path)
            for item in items
            for path in (self.root / item["image"], *parse_label(item["label"], self.root, (LUNG,)).paths)
        ]
        sections = {
            name: {section: [item["patient"] for item in part] for section, part in parts.items()}
            for name, parts in self.sections.items()
        }
        return hashlib.sha256(json.dumps([files, sections]).encode()).hexdigest()

    def _write(self, name: str, structures: Sequence[str], sections: Mapping[str, Sequence[FilmItem]]) -> Path:
        content = {"name": name, "synthetic": False, "structures": list(structures), **sections}
        path = self.root / f"{name}.json"
        write_json(path, content)
        return path
