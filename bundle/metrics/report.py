"""Dice and HD95 per frame, patient and structure, with one rule for structures that are absent.

- A frame whose label lacks a structure has no Dice and no HD95 for it; it counts towards ``false_presence_rate``, the
  share of such frames in which the structure is predicted all the same.
- A frame whose label has the structure and whose prediction is empty has Dice 0 and no HD95; it counts towards
  ``missed_rate``, the share of frames with the structure in which it is missed.
- Frames are averaged within a patient, patients within a structure, structures into ``mean_dice`` and ``mean_hd95``.
- Distances are millimeters if *every* frame has a pixel spacing, else pixels; ``unit`` says which.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bundle.atomic import write_csv, write_json
from bundle.metrics.figure import PatientScore, draw_scores
from bundle.metrics.overlap import dice, hausdorff_95
from bundle.ranks import gather_in_turn, rank, world_size

RULE = (
    "Frames whose label lacks a structure are left out of its Dice and HD95 (see false_presence_rate). "
    "A missed structure has Dice 0 and no HD95 (see missed_rate). Means over frames, then patients, then structures."
)
COUNTS = ("label_present_frames", "missed_frames", "label_absent_frames", "false_presence_frames")

FrameKey = tuple[str, str, int]  # patient, clip and index of a frame


@dataclass(frozen=True)
class FrameScore:
    """One structure in one frame."""

    patient: str
    clip: str
    frame: int
    structure: str
    label_present: bool
    pred_present: bool
    dice: float
    hd95_px: float
    hd95_mm: float


class EvaluationTable:
    """Collects the scores of frames and summarizes them."""

    def __init__(self, structures: Sequence[str]) -> None:
        if not structures or len(set(structures)) != len(structures):
            raise ValueError(f"structures must be different names, at least one, got {list(structures)}")
        self.structures = tuple(structures)
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self.scores: list[FrameScore] = []
        self._frames: dict[FrameKey, bool] = {}  # -> has a pixel spacing
        self._batches: list[tuple[list[FrameScore], dict[FrameKey, bool]]] = []
        self._is_gathered = False

    def update(
        self,
        pred: Tensor,
        label: Tensor,
        patients: Sequence[str],
        clips: Sequence[str],
        frames: Sequence[int] | Tensor,
        pixel_spacing_mm: Tensor | None = None,
    ) -> None:
        """Score a batch of frames.

        Args:
            pred: Binary masks ``(B, S, H, W)``.
            label: Binary masks ``(B, S, H, W)``, on the same grid.
            patients: Patient of each frame.
            clips: Clip of each frame.
            frames: Index of each frame within its clip.
            pixel_spacing_mm: Spacing of this grid ``(B, 2)``; NaN in a row, or None for all: not known.

        Raises:
            ValueError: If numbers of frames or structures differ, or a frame is scored twice.
        """
        keys = self._new_frames(pred, patients, clips, frames)
        spacing = _known_spacing(pixel_spacing_mm, len(keys))
        distances_px, distances_mm = _distances(pred, label, spacing)
        columns = (
            label.bool().flatten(2).any(dim=2).tolist(),
            pred.bool().flatten(2).any(dim=2).tolist(),
            dice(pred, label).tolist(),
            distances_px.tolist(),
            distances_mm.tolist(),
        )
        scores = [
            FrameScore(patient, clip, frame, structure, *values)
            for (patient, clip, frame), *rows in zip(keys, *columns, strict=True)
            for structure, *values in zip(self.structures, *rows, strict=True)
        ]
        self._add(scores, dict(zip(keys, (~spacing.isnan().any(dim=1)).tolist(), strict=True)))

    @property
    def unit(self) -> str:
        """``"mm"`` if every frame so far has a pixel spacing, else ``"px"``."""
        return "mm" if self._frames and all(self._frames.values()) else "px"

    def per_patient(self) -> list[PatientScore]:
        """One row per patient and structure."""
        groups: dict[tuple[str, str], list[FrameScore]] = {}
        for score in self.scores:
            groups.setdefault((score.patient, score.structure), []).append(score)
        return [_patient_score(group, self.unit) for group in groups.values()]

    def summary(self) -> dict[str, Any]:
        """The whole evaluation as plain values; None where nothing can be said.

        Several processes call it together, after batches were dealt to them in turn
        (:class:`bundle.engines.validation.DealtBatches`): from then on each has the frames of all.
        """
        self._gather()
        if not self.scores:
            raise ValueError("no frame has been evaluated: expected at least one call of update()")
        rows = self.per_patient()
        by_structure = {name: [row for row in rows if row.structure == name] for name in self.structures}
        dice_of = {name: _mean(row.dice for row in group) for name, group in by_structure.items()}
        hd95_of = {name: _mean(row.hd95 for row in group) for name, group in by_structure.items()}
        rates = {"missed_rate": COUNTS[1::-1], "false_presence_rate": COUNTS[:1:-1]}
        return {
            "mean_dice": _none_if_nan(_mean(dice_of.values())),
            "mean_hd95": _none_if_nan(_mean(hd95_of.values())),
            "unit": self.unit,
            "num_patients": len({patient for patient, _, _ in self._frames}),
            "num_clips": len({(patient, clip) for patient, clip, _ in self._frames}),
            "num_frames": len(self._frames),
            "dice": {name: _none_if_nan(value) for name, value in dice_of.items()},
            "hd95": {name: _none_if_nan(value) for name, value in hd95_of.items()},
            **{
                rate: {name: _rate(group, *columns) for name, group in by_structure.items()}
                for rate, columns in rates.items()
            },
            "counts": {
                name: {
                    "patients": sum(row.label_present_frames > 0 for row in group),
                    **{column: sum(getattr(row, column) for row in group) for column in COUNTS},
                }
                for name, group in by_structure.items()
            },
            "rule": RULE,
        }

    def format_table(self) -> str:
        """The summary as aligned text for a terminal."""
        summary = self.summary()
        width = max(len("structure"), *(len(name) for name in self.structures))
        lines = [
            f"{'structure':<{width}}  {'Dice':>6}  {'HD95 ' + self.unit:>8}  {'missed':>7}  {'false':>7}  {'frames':>6}"
        ]
        lines.append("─" * len(lines[0]))
        for name in self.structures:
            lines.append(
                f"{name:<{width}}  {_number(summary['dice'][name], 3):>6}  {_number(summary['hd95'][name], 2):>8}"
                f"  {_percent(summary['missed_rate'][name]):>7}  {_percent(summary['false_presence_rate'][name]):>7}"
                f"  {summary['counts'][name]['label_present_frames']:>6}"
            )
        lines.append(lines[1])
        mean_dice, mean_hd95 = _number(summary["mean_dice"], 3), _number(summary["mean_hd95"], 2)
        lines.append(f"{'mean':<{width}}  {mean_dice:>6}  {mean_hd95:>8}")
        lines.append(
            f"{summary['num_patients']} patients, {summary['num_clips']} clips, {summary['num_frames']} frames; "
            + ("distances in mm" if self.unit == "mm" else "distances in pixels: not every frame has a pixel spacing")
        )
        return "\n".join(lines)

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Write ``metrics.json``, ``metrics.csv``, ``metrics_frames.csv`` and ``metrics.png``, each atomically.

        Of several processes, which call it together, the first writes.

        Returns:
            The files that this process wrote, by kind: ``json``, ``csv``, ``frames_csv``, ``png``.
        """
        folder, summary, rows = Path(folder), self.summary(), self.per_patient()
        if rank() > 0:
            return {}
        return {
            "json": write_json(folder / "metrics.json", summary),
            "csv": write_csv(folder / "metrics.csv", _columns(PatientScore), map(vars, rows)),
            "frames_csv": write_csv(folder / "metrics_frames.csv", _columns(FrameScore), map(vars, self.scores)),
            "png": draw_scores(rows, self.structures, self.unit, folder / "metrics.png"),
        }

    def _gather(self) -> None:
        """Take in what other processes have scored, as if this one had scored all."""
        if world_size() == 1 or self._is_gathered:
            return
        batches = gather_in_turn((tuple(frames), (scores, frames)) for scores, frames in self._batches)
        self.reset()
        for scores, frames in batches:
            self._add(scores, frames)
        self._is_gathered = True

    def _add(self, scores: list[FrameScore], frames: dict[FrameKey, bool]) -> None:
        self.scores += scores
        self._frames |= frames
        self._batches.append((scores, frames))

    def _new_frames(
        self, pred: Tensor, patients: Sequence[str], clips: Sequence[str], frames: Sequence[int] | Tensor
    ) -> list[FrameKey]:
        if pred.ndim != 4 or pred.shape[1] != len(self.structures):
            raise ValueError(
                f"pred must be (B, {len(self.structures)}, H, W), one channel per structure {list(self.structures)}, "
                f"got {tuple(pred.shape)}"
            )
        if not len(pred) == len(patients) == len(clips) == len(frames):
            raise ValueError(
                f"a patient, clip and frame index per frame are needed, got {len(pred)} frames, "
                f"{len(patients)} patients, {len(clips)} clips and {len(frames)} indices"
            )
        keys = [(str(p), str(c), int(f)) for p, c, f in zip(patients, clips, frames, strict=True)]
        repeated = sorted(set(keys) & self._frames.keys()) or sorted(key for key in set(keys) if keys.count(key) > 1)
        if repeated:
            _, clip, frame = repeated[0]
            raise ValueError(f"frame {frame} of clip {clip!r} was evaluated twice: call reset() between evaluations")
        return keys


def _known_spacing(pixel_spacing_mm: Tensor | None, num_frames: int) -> Tensor:
    if pixel_spacing_mm is None:
        return torch.full((num_frames, 2), torch.nan)
    spacing = torch.as_tensor(pixel_spacing_mm, dtype=torch.float64, device="cpu")
    if spacing.shape != (num_frames, 2):
        raise ValueError(f"pixel_spacing_mm must be ({num_frames}, 2), rows and columns, got {tuple(spacing.shape)}")
    if bool((spacing <= 0).any() or spacing.isinf().any()):
        raise ValueError(f"pixel_spacing_mm must be positive, or NaN where it is not known, got {spacing.tolist()}")
    return torch.where(spacing.isnan().any(dim=1, keepdim=True), torch.nan, spacing)


def _distances(pred: Tensor, label: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor]:
    """HD95 ``(B, S)`` in pixels, and in millimeters where the spacing is known."""
    in_pixels = hausdorff_95(pred, label)
    in_mm = in_pixels * spacing[:, :1].float()  # right for square pixels, and NaN where the spacing is
    oblong = ~spacing.isnan().any(dim=1) & (spacing[:, 0] != spacing[:, 1])
    if bool(oblong.any()):
        in_mm[oblong] = hausdorff_95(pred[oblong.to(pred.device)], label[oblong.to(label.device)], spacing[oblong])
    return in_pixels, in_mm


def _patient_score(group: Sequence[FrameScore], unit: str) -> PatientScore:
    return PatientScore(
        patient=group[0].patient,
        structure=group[0].structure,
        frames=len(group),
        dice=_mean(score.dice for score in group),
        hd95=_mean(score.hd95_mm if unit == "mm" else score.hd95_px for score in group),
        unit=unit,
        label_present_frames=sum(score.label_present for score in group),
        missed_frames=sum(score.label_present and not score.pred_present for score in group),
        label_absent_frames=sum(not score.label_present for score in group),
        false_presence_frames=sum(score.pred_present and not score.label_present for score in group),
    )


def _mean(values: Iterable[float]) -> float:
    """Mean of what is not NaN; NaN if nothing is left."""
    array = np.array(list(values), dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")


def _rate(group: Sequence[PatientScore], part: str, whole: str) -> float | None:
    total = sum(getattr(row, whole) for row in group)
    return sum(getattr(row, part) for row in group) / total if total else None


def _columns(row_type: type) -> list[str]:
    return [field.name for field in fields(row_type)]


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
