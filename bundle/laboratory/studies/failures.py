"""Where a segmenter fails on held-out synthetic frames, and how: missed, invented, misplaced, too small, too large."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bundle.inference.predictor import ClipInferer
from bundle.laboratory.studies.held_out import FIRST_SEED
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
    """A structure that failed in a frame.

    Attributes:
        structure: Its name.
        kind: One of ``KINDS``; "misplaced" when the centroids lie further apart than the radius of a disc of the true
            area, "wrong outline" when nothing else applies.
        dice: Dice coefficient; NaN where the structure is invented.
        label_mm2: True area.
        pred_mm2: Predicted area.
        distance_mm: Between the centroids; NaN where one of the areas is empty.
    """

    structure: str
    kind: str
    dice: float
    label_mm2: float
    pred_mm2: float
    distance_mm: float


@dataclass(frozen=True)
class FrameResult:
    """One frame, segmented.

    Attributes:
        seed: Of the patient.
        index: Frame of the patient, from 0.
        phase: Of the swallow.
        dice: Of every structure ``(S,)``; NaN where it is not in the frame.
        label_mm2: True area of every structure ``(S,)``.
        present: Structures that are in the frame.
        failures: Worst first; invented structures last.
    """

    seed: int
    index: int
    phase: str
    dice: np.ndarray
    label_mm2: np.ndarray
    present: tuple[str, ...]
    failures: tuple[StructureFailure, ...]

    @property
    def mean_dice(self) -> float:
        """Over the structures that are in the frame; NaN if none is."""
        return float(np.nanmean(self.dice)) if len(self.present) else math.nan


@dataclass(frozen=True)
class WorstFrame:
    """A patient's worst frame, to be drawn.

    Attributes:
        result: What was found in it.
        frame: ``(H, W)`` in [0, 1].
        label: True masks ``bool (S, H, W)``.
        pred: Predicted masks ``bool (S, H, W)``.
    """

    result: FrameResult
    frame: np.ndarray
    label: np.ndarray
    pred: np.ndarray


@dataclass(frozen=True)
class PatientResult:
    """One patient, segmented.

    Attributes:
        seed: Of the patient.
        description: Every drawn value; see :class:`bundle.phantom.study.PhantomStudy`.
        frames: All frames.
        worst: The one with the lowest mean Dice.
    """

    seed: int
    description: dict[str, Any]
    frames: tuple[FrameResult, ...]
    worst: WorstFrame

    @property
    def mean_dice(self) -> float:
        """Over the frames."""
        return float(np.nanmean([frame.mean_dice for frame in self.frames]))


def segment_patients(segmenter: Segmenter, domain: Domain, num_patients: int, num_frames: int) -> list[PatientResult]:
    """Segment held-out patients frame by frame, at the segmenter's own image size.

    Args:
        segmenter: Of the phantom's structures, in evaluation mode.
        domain: Of the patients.
        num_patients: One swallow each.
        num_frames: Of each patient, spread over the whole swallow.
    """
    inferer = ClipInferer(segmenter.image_size, batch_size=1, progress=False)
    results = []
    for patient in range(num_patients):
        study = generate_study(FIRST_SEED + patient, segmenter.image_size, num_frames, domain=domain)
        pred = inferer(torch.from_numpy(study.frames), segmenter).numpy()
        results.append(judge_patient(study, pred, segmenter.structures))
    return results


def judge_patient(study: PhantomStudy, pred: np.ndarray, structures: Sequence[str]) -> PatientResult:
    """Compare predicted masks with a study's own.

    Args:
        study: Frames and truth.
        pred: Predicted masks ``bool (T, S, H, W)``.
        structures: Names of the channels.
    """
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
    """Structures of a frame whose Dice is below ``FAILED``, and those that are not there but predicted.

    Args:
        pred: Predicted masks ``bool (S, H, W)``.
        label: True masks ``bool (S, H, W)``.
        scores: Dice ``(S,)``; NaN where the true mask is empty.
        structures: Names of the channels.
        spacing_mm: Row and column spacing.
    """
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
