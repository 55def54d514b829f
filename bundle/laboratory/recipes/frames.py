"""Phantom frames for the recipes: held as bytes, drawn, cropped and augmented in batches; a probe of patches."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from bundle.phantom.study import PhantomStudy, generate_study
from bundle.structures import STRUCTURES
from bundle.teachers.base import prepare_images

logger = logging.getLogger(__name__)

TRAIN_SEED = 7_000_000
"""First patient seed of the recipes' frames, far from the data sets': no demo patient was ever seen by a teacher."""

VISIBLE_PIXELS = 12
VISIBLE_RESIDUE_MM2 = 15.0
OPEN_SPHINCTER_MM = 2.0


@dataclass(frozen=True)
class FrameBatch:
    """Frames ``(B, 1, H, W)`` in [0, 1], masks ``(B, S, H, W)`` and one dictionary of findings per frame."""

    image: Tensor
    label: Tensor
    findings: list[dict[str, str]]


class PhantomFrames:
    """Frames of many synthetic patients, with masks packed as one bit per structure.

    Args:
        frames: ``(N, H, W)`` uint8.
        masks: ``(N, H, W)`` uint16, bit ``s`` set where structure ``s`` is.
        patients: ``(N,)`` patient seed of each frame.
        findings: One dictionary per frame, as `frame_findings` makes them.
    """

    def __init__(self, frames: np.ndarray, masks: np.ndarray, patients: np.ndarray, findings: list[dict]) -> None:
        if not len(frames) == len(masks) == len(patients) == len(findings):
            raise ValueError(
                "frames, masks, patients and findings must have one entry per frame, "
                f"got {len(frames)}, {len(masks)}, {len(patients)}, {len(findings)}"
            )
        self.frames, self.masks, self.patients, self.findings = frames, masks, patients, findings
        self.num_structures = len(STRUCTURES)

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, index: Sequence[int] | np.ndarray) -> FrameBatch:
        """The batch of the frames at ``index``."""
        image = torch.from_numpy(self.frames[index]).float().div_(255)[:, None]
        bits = torch.from_numpy(self.masks[index].astype(np.int32))[:, None]
        label = bits.bitwise_right_shift(torch.arange(self.num_structures, dtype=torch.int32)[:, None, None]) & 1
        return FrameBatch(image, label.float(), [self.findings[i] for i in index])

    def draw(self, batch_size: int, generator: torch.Generator) -> FrameBatch:
        """A random batch, drawn with replacement."""
        return self.take(torch.randint(len(self), (batch_size,), generator=generator).numpy())

    def batches(self, batch_size: int) -> Iterator[FrameBatch]:
        """All frames in order."""
        for start in range(0, len(self), batch_size):
            yield self.take(range(start, min(start + batch_size, len(self))))

    def split(self, num_held_out: int) -> tuple[PhantomFrames, PhantomFrames]:
        """Training frames and those of the last ``num_held_out`` patients; a patient is never in both."""
        patients = np.unique(self.patients)
        if not 0 < num_held_out < len(patients):
            raise ValueError(f"num_held_out must be between 1 and {len(patients) - 1} patients, got {num_held_out}")
        is_held_out = np.isin(self.patients, patients[-num_held_out:])
        return self._subset(np.flatnonzero(~is_held_out)), self._subset(np.flatnonzero(is_held_out))

    def every(self, step: int) -> PhantomFrames:
        """Every ``step``-th frame."""
        return self._subset(np.arange(0, len(self), step))

    def _subset(self, index: np.ndarray) -> PhantomFrames:
        findings = [self.findings[i] for i in index]
        return PhantomFrames(self.frames[index], self.masks[index], self.patients[index], findings)

    def save(self, path: Path) -> None:
        """Write everything to one ``.npz``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        findings = np.array(json.dumps(self.findings))
        np.savez(path, frames=self.frames, masks=self.masks, patients=self.patients, findings=findings)

    @classmethod
    def load(cls, path: Path) -> PhantomFrames:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            findings = json.loads(str(stored["findings"]))
            return cls(stored["frames"], stored["masks"], stored["patients"], findings)


def make_frames(num_patients: int, frames_per_patient: int, size: int, seed: int = TRAIN_SEED) -> PhantomFrames:
    """Generate ``num_patients`` swallows and keep ``frames_per_patient`` evenly spaced frames of each."""
    parts = [_study_frames(seed + i, frames_per_patient, size) for i in tqdm(range(num_patients), desc="phantom")]
    frames, masks, findings = zip(*parts, strict=True)
    patients = np.repeat(np.arange(seed, seed + num_patients), frames_per_patient)
    return PhantomFrames(
        np.concatenate(frames), np.concatenate(masks), patients, [f for part in findings for f in part]
    )


def frame_findings(study: PhantomStudy) -> list[dict[str, str]]:
    """What a report could say about each frame: the study's description, and what its truth says of the moment."""
    description, truth = study.description, study.kinematics
    machine, patient = description["machine"], description["patient"]
    lasting = {
        "hardware": _presence(description["hardware"]),
        "dental_metal": _presence(description["fillings"] > 0),
        "teeth": _presence(patient["teeth"] > 0),
        "marker": description["marker"],
        "machine": "image intensifier" if machine["is_round"] else "flat detector",
        "grayscale": description["gray_scale"],
    }
    return [
        lasting
        | {
            "phase": truth.phase[t],
            "bolus": _presence(study.masks[t, STRUCTURES.index("bolus")].sum() >= VISIBLE_PIXELS),
            "residue": _presence(truth.phase[t] == "rest" and truth.residue_area_mm2[t] > VISIBLE_RESIDUE_MM2),
            "airway": _presence(bool(truth.bolus_in_airway[t])),
            "sphincter": "open" if truth.ues_width_mm[t] > OPEN_SPHINCTER_MM else "shut",
        }
        for t in range(len(study.frames))
    ]


def _presence(is_present: bool) -> str:
    return "present" if is_present else "absent"


def _study_frames(seed: int, num_frames: int, size: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, str]]]:
    study = generate_study(seed, size=size, num_frames=num_frames, sampling="spread")
    frames = np.round(study.frames[:, 0] * 255).astype(np.uint8)
    return frames, pack_masks(study.masks), frame_findings(study)


def pack_masks(masks: np.ndarray) -> np.ndarray:  # (T, S, H, W) -> (T, H, W)
    """One bit per structure."""
    bits = np.zeros((masks.shape[0], *masks.shape[2:]), np.uint16)
    for s in range(masks.shape[1]):
        bits |= (masks[:, s] > 0).astype(np.uint16) << np.uint16(s)
    return bits


def augment(image: Tensor, label: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Small turns, zooms and shifts of frame and masks together, then `jitter_gray` on the frame."""
    theta = draw_affine(len(image), generator)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    both = F.grid_sample(torch.cat([image, label], dim=1), grid, padding_mode="zeros", align_corners=False)
    return jitter_gray(both[:, :1], generator), (both[:, 1:] > 0.5).float()


def draw_affine(count: int, generator: torch.Generator, degrees: float = 10.0, zoom: float = 0.15) -> Tensor:
    """Matrices ``(B, 2, 3)`` for ``affine_grid``."""
    uniform = torch.rand(4, count, generator=generator) * 2 - 1
    angle, scale = uniform[0] * math.radians(degrees), torch.exp(uniform[1] * zoom)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift = 0.1 * uniform[2:]
    return torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)


def jitter_gray(image: Tensor, generator: torch.Generator) -> Tensor:
    """Another machine's grayscale: random gamma, contrast, brightness and noise, one draw per frame."""
    uniform = torch.rand(4, len(image), 1, 1, 1, generator=generator)
    gamma = torch.exp((uniform[0] - 0.5) * 0.8)
    contrast, brightness = 0.8 + 0.4 * uniform[1], 0.2 * (uniform[2] - 0.5)
    noise = torch.randn(image.shape, generator=generator) * 0.04 * uniform[3]
    shown = image.clamp_min(1e-4) ** gamma
    return ((shown - 0.5) * contrast + 0.5 + brightness + noise).clamp(0, 1)


def images_for(encoder: Any, frames: Tensor, size: int | None = None) -> Tensor:
    """Normalize frames ``(B, 1, H, H)`` for an encoder that trains, at its own input size unless told otherwise."""
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (encoder.mean, encoder.std))
    return prepare_images(frames, size or encoder.input_size, mean, std)


def draw_crops(count: int, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Side and center ``(B, 3)`` of random squares, in ``grid_sample``'s coordinates (the frame is [-1, 1])."""
    uniform = torch.rand(3, count, generator=generator)
    side = (area[0] + (area[1] - area[0]) * uniform[0]).sqrt()
    return torch.stack([side, *((1 - side) * (2 * uniform[1:] - 1))], dim=1)


def take_crops(image: Tensor, crops: Tensor, size: int) -> Tensor:  # (B, 1, H, W) -> (B, 1, size, size)
    """Resample each frame's crop."""
    return F.grid_sample(image, _to_frame(_centers(size), crops), align_corners=False)


def cells_of(crops: Tensor, size: int, cells: int) -> Tensor:
    """Index of the frame's cell in which each patch of crops ``(B, 3)`` lies, both row by row ``(B, size²)``.

    Returns:
        Index of the frame's cell, row by row, for each patch, row by row ``(B, size²)``.
    """
    places = (_to_frame(_centers(size), crops) + 1) / 2 * cells
    columns, rows = places.long().clamp(0, cells - 1).flatten(1, 2).unbind(-1)
    return rows * cells + columns


def look_up(features: Tensor, crops: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Read features ``(B, C, h, w)`` of the crops ``other`` at the places that another crops' grid has in the frame.

    Returns:
        Features ``(B, h, w, C)`` on the asking grid, and whether each place ``(B, h, w)`` lies inside the other view.
    """
    places = _to_frame(_centers(features.shape[-1]), crops)
    within = (places - other[:, None, None, 1:]) / other[:, None, None, :1]
    found = F.grid_sample(features, within, padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1), within.abs().amax(dim=-1) <= 1


def _centers(size: int) -> Tensor:
    """Centers ``(size, size, 2)`` of a grid's cells as column, row in [-1, 1]."""
    at = (torch.arange(size) + 0.5) * 2 / size - 1
    return torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)


def _to_frame(places: Tensor, crops: Tensor) -> Tensor:  # (h, w, 2), (B, 3) -> (B, h, w, 2)
    return places * crops[:, None, None, :1] + crops[:, None, None, 1:]


def probe_patches(
    encoder: nn.Module, train: PhantomFrames, held_out: PhantomFrames, ridge: float = 1e-2
) -> dict[str, float]:
    """Fit one linear map from features to structures by ridge regression and score it on held-out patients.

    Closed form, so that the number depends on the features and on nothing else.
    """
    features, labels = _tokens(encoder, train.every(4))
    mean, scale = features.mean(0), features.std(0).clamp_min(1e-6)
    weights = _ridge((features - mean) / scale, labels, ridge)
    features, labels = _tokens(encoder, held_out)
    scores = _with_bias((features - mean) / scale) @ weights
    found = [s for s in range(labels.shape[1]) if labels[:, s].any()]
    precisions = [_average_precision(scores[:, s], labels[:, s]) for s in found]
    return {"patch_probe_average_precision": sum(precisions) / len(precisions)}


@torch.no_grad()
def _tokens(encoder: nn.Module, frames: PhantomFrames) -> tuple[Tensor, Tensor]:
    """Features ``(N h w, C)`` and presence ``(N h w, S)``: does the structure cover 30% of the patch?"""
    features, labels = [], []
    for batch in frames.batches(16):
        found = encoder(images_for(encoder, batch.image))
        features.append(found.flatten(2).transpose(1, 2).flatten(0, 1))
        covered = F.interpolate(batch.label, found.shape[-2:], mode="area") >= 0.3
        labels.append(covered.flatten(2).transpose(1, 2).flatten(0, 1))
    return torch.cat(features), torch.cat(labels).float()


def _ridge(features: Tensor, labels: Tensor, ridge: float) -> Tensor:
    features = _with_bias(features).double()
    gram = features.T @ features
    gram += ridge * len(features) * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, features.T @ labels.double()).float()


def _with_bias(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones(len(features), 1)], dim=1)


def _average_precision(scores: Tensor, labels: Tensor) -> float:
    """Area under precision over recall."""
    hits = labels[scores.argsort(descending=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum())
