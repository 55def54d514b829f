"""Where a segmenter fails on held-out synthetic frames, how, and which drawn values go with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr

from bundle.inference.predictor import ClipInferer
from bundle.laboratory.studies.networks import FIRST_SEED
from bundle.laboratory.studies.statistics import holm
from bundle.metrics.overlap import dice
from bundle.phantom.study import Domain, PhantomStudy, generate_study
from bundle.segmentation.segmenter import Segmenter

FAILED = 0.5
"""Dice below which a structure has failed."""

KINDS = ("missed", "invented", "misplaced", "too small", "too large", "wrong outline")
MISSED, SMALL, LARGE = 0.1, 0.5, 2.0
"""Predicted area over true area: at most missed, at most too small, at least too large."""


@dataclass(frozen=True)
class StructureFailure:
    """A structure that failed in a frame."""

    structure: str  # Its name
    # One of ``KINDS``; "misplaced" when the centroids lie further apart than the radius of a disc of the true area,
    # "wrong outline" when nothing else applies
    kind: str
    dice: float  # Dice coefficient; NaN where the structure is invented
    label_mm2: float  # True area
    pred_mm2: float  # Predicted area
    distance_mm: float  # Between the centroids; NaN where one of the areas is empty


@dataclass(frozen=True)
class FrameResult:
    """One frame, segmented."""

    seed: int  # Of the patient
    index: int  # Frame of the patient, from 0
    phase: str  # Of the swallow
    dice: np.ndarray  # Of every structure ``(S,)``; NaN where it is not in the frame
    label_mm2: np.ndarray  # True area of every structure ``(S,)``
    present: tuple[str, ...]  # Structures that are in the frame
    failures: tuple[StructureFailure, ...]  # Worst first; invented structures last

    @property
    def mean_dice(self) -> float:
        """Over the structures that are in the frame; NaN if none is."""
        return float(np.nanmean(self.dice)) if len(self.present) else math.nan


@dataclass(frozen=True)
class WorstFrame:
    """A patient's worst frame, to be drawn."""

    result: FrameResult  # What was found in it
    frame: np.ndarray  # ``(H, W)`` in [0, 1]
    label: np.ndarray  # True masks ``bool (S, H, W)``
    pred: np.ndarray  # Predicted masks ``bool (S, H, W)``


@dataclass(frozen=True)
class PatientResult:
    """One patient, segmented."""

    seed: int  # Of the patient
    description: dict[str, Any]  # Every drawn value; see :class:`bundle.phantom.study.PhantomStudy`
    frames: tuple[FrameResult, ...]  # All frames
    worst: WorstFrame  # The one with the lowest mean Dice

    @property
    def mean_dice(self) -> float:
        """Over the frames."""
        return float(np.nanmean([frame.mean_dice for frame in self.frames]))


def segment_patients(segmenter: Segmenter, domain: Domain, num_patients: int, num_frames: int) -> list[PatientResult]:
    """Segment held-out patients frame by frame, at the segmenter's own image size."""
    inferer = ClipInferer(segmenter.image_size, batch_size=1, progress=False)
    results = []
    for patient in range(num_patients):
        study = generate_study(FIRST_SEED + patient, segmenter.image_size, num_frames, domain=domain)
        pred = inferer(torch.from_numpy(study.frames), segmenter).numpy()
        results.append(judge_patient(study, pred, segmenter.structures))
    return results


def judge_patient(study: PhantomStudy, pred: np.ndarray, structures: Sequence[str]) -> PatientResult:
    """Compare predicted masks ``bool (T, S, H, W)`` with a study's own."""
    label = study.masks.astype(bool)
    scores = dice(torch.from_numpy(pred), torch.from_numpy(label)).numpy()
    frames = tuple(
        FrameResult(
            seed=study.seed,
            index=index,
            phase=study.kinematics.phase[index],
            dice=scores[index],
            label_mm2=label[index].sum(axis=(1, 2)) * math.prod(study.pixel_spacing_mm),
            present=tuple(name for name, mask in zip(structures, label[index], strict=True) if mask.any()),
            failures=find_failures(pred[index], label[index], scores[index], structures, study.pixel_spacing_mm),
        )
        for index in range(len(label))
    )
    worst = int(np.nanargmin([frame.mean_dice for frame in frames]))
    picture = WorstFrame(frames[worst], study.frames[worst, 0], label[worst], pred[worst])
    return PatientResult(study.seed, study.description, frames, picture)


def find_failures(
    pred: np.ndarray, label: np.ndarray, scores: np.ndarray, structures: Sequence[str], spacing_mm: tuple[float, float]
) -> tuple[StructureFailure, ...]:
    """Structures of masks ``bool (S, H, W)`` whose Dice is below ``FAILED``, and those predicted that are not there."""
    found = []
    for name, p, t, score in zip(structures, pred, label, scores, strict=True):
        if score < FAILED or (not t.any() and p.any()):
            distance = float(np.linalg.norm((_centroid(p) - _centroid(t)) * spacing_mm))
            label_mm2, pred_mm2 = (float(mask.sum()) * math.prod(spacing_mm) for mask in (t, p))
            kind = _kind(label_mm2, pred_mm2, distance)
            found.append(StructureFailure(name, kind, float(score), label_mm2, pred_mm2, distance))
    return tuple(sorted(found, key=lambda failure: (math.isnan(failure.dice), failure.dice)))


def _kind(label_mm2: float, pred_mm2: float, distance_mm: float) -> str:
    if label_mm2 == 0:
        return "invented"
    share = pred_mm2 / label_mm2
    if share <= MISSED:
        return "missed"
    if distance_mm > math.sqrt(label_mm2 / math.pi):
        return "misplaced"
    return "too small" if share <= SMALL else "too large" if share >= LARGE else "wrong outline"


def _centroid(mask: np.ndarray) -> np.ndarray:
    """Row and column; NaN of an empty mask."""
    return np.argwhere(mask).mean(axis=0) if mask.any() else np.full(2, np.nan)


PARTS = ("patient", "swallow", "machine")
NO_PROPERTY = ("texture_seed", "marker_mm", "marker_diameter_mm")
"""Drawn values that say nothing of an image's difficulty."""

INDICES = {2: ("x", "y"), 4: ("left", "top", "right", "bottom")}
"""Names of the numbers of a pair (on the template) and of the collimator's edges."""

OUTER = 0.1
"""Share of the patients at one end that counts as extreme."""


@dataclass(frozen=True)
class Association:
    """A drawn value and the mean Dice of the same patients."""

    name: str  # Of the value, such as ``machine: photons``
    correlation: float  # Spearman's rank correlation; above 0: the larger the value, the better the masks
    p_value: float  # Of no correlation, corrected for the number of values (Holm)


@dataclass(frozen=True)
class Extreme:
    """A value of one patient that lies at an end of its domain's range."""

    name: str  # Of the value
    value: float  # As drawn
    rank: float  # From 1, the lowest; the mean rank of equal ones
    num_patients: int  # That the rank is among
    correlation: float  # Of the value and the patients' Dice


def drawn_values(description: Mapping[str, Any]) -> dict[str, float]:
    """Every drawn number and yes or no (1 or 0) of a study's description, by part and name."""
    found = {}
    for part in PARTS:
        for name, value in description[part].items():
            if name in NO_PROPERTY or isinstance(value, str):
                continue
            values = value if isinstance(value, list | tuple) else [value]
            for index, number in enumerate(values):
                suffix = f" {INDICES[len(values)][index]}" if len(values) > 1 else ""
                found[f"{part}: {name.replace('_', ' ')}{suffix}"] = float(number)
    return found


def associations(patients: Sequence[PatientResult]) -> list[Association]:
    """Rank correlation of every drawn value that varies with the Dice of one domain's patients, strongest first."""
    table = _table(patients)
    scores = [patient.mean_dice for patient in patients]
    tested = {name: spearmanr(column, scores) for name, column in table.items() if len(set(column)) > 1}
    p_values = holm({name: float(test.pvalue) for name, test in tested.items() if not math.isnan(test.pvalue)})
    found = [Association(name, float(tested[name].statistic), value) for name, value in p_values.items()]
    return sorted(found, key=lambda association: -abs(association.correlation))


def harmful_extremes(patient: PatientResult, patients: Sequence[PatientResult], most: int = 3) -> list[Extreme]:
    """Values of a patient in the outer tenth of its domain, at the end at which masks are worse."""
    table, place, total = _table(patients), list(patients).index(patient), len(patients)
    found = []
    for association in associations(patients):
        column = table[association.name]
        rank = float(rankdata(column)[place])
        from_bad_end = rank if association.correlation > 0 else total + 1 - rank
        if from_bad_end <= max(1.0, OUTER * total):
            found.append(Extreme(association.name, column[place], rank, total, association.correlation))
    return found[:most]


def _table(patients: Sequence[PatientResult]) -> dict[str, list[float]]:
    """Values of all patients, by name."""
    rows = [drawn_values(patient.description) for patient in patients]
    return {name: [row[name] for row in rows] for name in rows[0]}
