"""A folder of damaged files through inference: each must be accounted for, and what is done must be what it says."""

import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from bundle.data.clip import ClipShape, UnreadableStudyError
from bundle.data.readers import probe_clip
from bundle.inference.predictor import ClipInferer
from bundle.inference.results import DONE, StudyResult
from bundle.inference.run import segment_studies
from bundle.laboratory.trials.damage import PATIENT_NAME, damage, write_seeds

STRUCTURES = ("bright",)


def segment_damaged_files(count: int, seed: int, folder: str | Path) -> tuple[list[StudyResult], list[str]]:
    """Damage files of every kind, segment the folder with a stand-in for the network, and check the table.

    Returns:
        What became of every study, and what was wrong with that; empty if nothing was.
    """
    source, output = Path(folder) / "input", Path(folder) / "output"
    files = _write_damaged(count, seed, source)
    results = segment_studies(source, output, BrightPixels(), ClipInferer(32, progress=False), STRUCTURES, ["areas"])
    found = {study.source: study for study in results.studies}
    wrong = [f"{file.name}: not in the table" for file in files if file not in found]
    wrong += [words for study in found.values() if (words := _fault(study, output))]
    table = (output / "results.csv").read_text(encoding="utf-8")
    if len(list(csv.DictReader(table.splitlines()))) != len(results.studies):
        wrong.append("results.csv has not a row for every study")
    if PATIENT_NAME.split("^")[0] in table or any(file.name in table for file in files):
        wrong.append("results.csv names a patient or a file")
    return results.studies, wrong


class BrightPixels(nn.Module):
    """A stand-in for the network: bright pixels are the only structure."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:  # (B, 1, N, N) -> (B, 1, N, N)
        return frames - 0.5


def _write_damaged(count: int, seed: int, folder: Path) -> list[Path]:
    (folder.parent / "seeds").mkdir(parents=True)
    seeds, _ = write_seeds(folder.parent / "seeds")
    kinds, files = list(seeds), []
    for number in tqdm(range(count), desc="damaged files", disable=None):
        seed_file = seeds[kinds[number % len(kinds)]]
        files.append(folder / f"{number:05d}" / seed_file.name)
        files[-1].parent.mkdir(parents=True)
        files[-1].write_bytes(damage(seed_file.read_bytes(), np.random.default_rng([seed, number]))[0])
    return files


def _fault(study: StudyResult, output: Path) -> str:
    """What is wrong with a result; empty if nothing is."""
    if study.status != DONE:
        return "" if study.reason else f"{study.source.name}: {study.status} without a reason"
    if not (output / study.key / "areas.csv").is_file():
        return f"{study.source.name}: done, and its table is not there"
    stated = _stated(study.source)
    if stated is not None and stated.num_frames != study.frames and not study.notes:
        return f"{study.source.name}: {study.frames} frames done, {stated.num_frames} stated, and no note says why"
    return ""


def _stated(path: Path) -> ClipShape | None:
    try:
        return probe_clip(path)
    except UnreadableStudyError:
        return None
