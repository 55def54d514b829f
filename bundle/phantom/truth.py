"""What is true of a phantom study: masks of every frame, positions, areas, phases. Measures are tested against it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.phantom.anatomy import Anatomy
from bundle.phantom.geometry import Points
from bundle.phantom.pose import Pose
from bundle.phantom.raster import Canvas
from bundle.phantom.spine import anterior_inferior_corner
from bundle.phantom.swallow import ORAL_END, PHARYNX_END, SwallowState
from bundle.structures import STRUCTURES

SMALLEST_PIXELS = 4  # Fewer pixels than this are not a structure that anyone could label; the mask is left empty

OPEN_UES_MM = 0.5


def structure_outlines(anatomy: Anatomy, pose: Pose) -> dict[str, list[Points]]:
    """Outlines per structure, in template millimeters."""
    return {
        "bolus": [*pose.lumen, *pose.residue, *pose.airway_bolus],
        "hyoid": [pose.hyoid],
        "mandible": list(pose.mandible),
        "tongue": [pose.tongue],
        "pharynx": [pose.pharynx],
        "epiglottis": [pose.epiglottis],
        "laryngeal_vestibule": [] if pose.vestibule is None else [pose.vestibule],
        "trachea": [pose.trachea],
        "upper_oesophageal_sphincter": [pose.ues],
        "c2": [anatomy.vertebrae[2]],
        "c3": [anatomy.vertebrae[3]],
        "c4": [anatomy.vertebrae[4]],
    }


def draw_masks(canvas: Canvas, anatomy: Anatomy, pose: Pose) -> np.ndarray:
    """Masks ``(12, size, size)`` uint8 of everything in the frame, behind collimator and shoulder too."""
    outlines = structure_outlines(anatomy, pose)
    masks = np.stack([canvas.mask(*outlines[name]) for name in STRUCTURES])
    if pose.lumen or pose.residue:
        # Bolus in the pharynx is not in the vestibule, whatever the outlines of thin walls say.
        outside = 1 - canvas.mask(*pose.lumen, *pose.residue)
        for name in ("laryngeal_vestibule", "trachea"):
            masks[STRUCTURES.index(name)] *= outside
    return masks


def visible_masks(masks: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Masks ``(12, size, size)`` of what can be labeled: where something can be seen, and more than a speck."""
    seen = masks * visible.astype(np.uint8)
    seen[seen.sum(axis=(1, 2)) < SMALLEST_PIXELS] = 0
    return seen


@dataclass(frozen=True)
class Kinematics:
    """True motion of one study; per-frame arrays have length T.

    Points are (x, y) pixel coordinates, x along columns, y along rows, pixel centers at integers. Onsets and peaks are
    frame indices, -1 where the event does not fall into the study.
    """

    time_s: np.ndarray  # From the onset of hyoid motion (T,)
    hyoid_px: np.ndarray  # Center of the hyoid body (T, 2)
    hyoid_mm: np.ndarray  # (T, 2): forward and up from C4's anterior-inferior corner, in C4's frame, millimeters
    c2_px: np.ndarray  # Anterior-inferior corner of C2 (T, 2)
    c4_px: np.ndarray  # Anterior-inferior corner of C4 (T, 2)
    c2_c4_mm: float  # Distance between these corners, millimeters
    pharynx_area_mm2: np.ndarray  # Area of the pharyngeal lumen (T,)
    ues_width_mm: np.ndarray  # Antero-posterior opening of the upper oesophageal sphincter (T,); 0 when shut
    bolus_area_mm2: np.ndarray  # Area of all contrast (T,)
    residue_area_mm2: np.ndarray  # Area of contrast that stays in valleculae and pyriform sinuses (T,)
    bolus_head: np.ndarray  # Head of the bolus as a share of its way from the incisors to the chest (T,)
    bolus_in_airway: np.ndarray  # Contrast in vestibule or trachea (T,)
    phase: tuple[str, ...]  # oral, pharyngeal, oesophageal or rest per frame
    hyoid_onset_frame: int  # First frame at or after the onset of hyoid motion
    hyoid_peak_frame: int  # Frame of the hyoid's largest excursion
    ues_opening_frame: int  # First frame with an open sphincter
    ues_closing_frame: int  # First frame after it with a shut sphincter
    constriction_frame: int  # Frame of the smallest pharyngeal area

    @classmethod
    def of_frames(cls, times_s: np.ndarray, truth: list[dict[str, Any]]) -> "Kinematics":
        """Put together what ``frame_truth`` gave for every frame."""
        columns: dict[str, Any] = {name: np.array([frame[name] for frame in truth]) for name in truth[0]}
        hyoid, ues = columns["hyoid_mm"], columns["ues_width_mm"]
        opening = _first_frame(ues > OPEN_UES_MM)
        columns |= {"c2_c4_mm": float(truth[0]["c2_c4_mm"]), "phase": tuple(frame["phase"] for frame in truth)}
        return cls(
            time_s=times_s,
            hyoid_onset_frame=_first_frame(times_s >= 0.0),
            hyoid_peak_frame=int(np.argmax(np.linalg.norm(hyoid - hyoid[0], axis=1))),
            ues_opening_frame=opening,
            ues_closing_frame=_first_frame(ues <= OPEN_UES_MM, opening) if opening >= 0 else -1,
            constriction_frame=int(np.argmin(columns["pharynx_area_mm2"])),
            **columns,
        )

    def save(self, path: Path) -> None:
        """Write as JSON, rounded to four decimals."""
        values = {key: _as_list(value) for key, value in asdict(self).items()}
        path.write_text(json.dumps({"synthetic": True, **values}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Kinematics":
        """Read what ``save`` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values.pop("synthetic")
        phase = tuple(values.pop("phase"))
        arrays: dict[str, Any] = {
            key: np.array(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(phase=phase, **arrays)


def frame_truth(canvas: Canvas, pose: Pose, masks: np.ndarray, spacing: float) -> dict[str, Any]:
    """True values of one frame; areas are counted in the masks as they are without the collimator."""
    patient, spine = pose.patient, pose.spine
    c2, c4 = (anterior_inferior_corner(patient, spine, level) for level in (2, 4))
    up = (c2 - c4) / np.linalg.norm(c2 - c4)
    forward = np.array([-up[1], up[0]])
    offset = (pose.hyoid_center - c4) * patient.scale
    residue = canvas.mask(*pose.residue).sum() if pose.residue else 0
    return {
        "hyoid_px": canvas.to_pixels(pose.hyoid_center),
        "hyoid_mm": np.array([offset @ forward, offset @ up]),
        "c2_px": canvas.to_pixels(c2),
        "c4_px": canvas.to_pixels(c4),
        "c2_c4_mm": float(np.linalg.norm(c2 - c4)) * patient.scale,
        "pharynx_area_mm2": float(masks[STRUCTURES.index("pharynx")].sum()) * spacing**2,
        "bolus_area_mm2": float(masks[STRUCTURES.index("bolus")].sum()) * spacing**2,
        "residue_area_mm2": float(residue) * spacing**2,
        "ues_width_mm": pose.ues_width_mm * patient.scale,
        "bolus_head": min(pose.state.head, 1.0),
        "bolus_in_airway": bool(pose.airway_bolus),
        "phase": _phase(pose.state),
    }


def _phase(state: SwallowState) -> str:
    if state.tail >= 1.0:
        return "rest"
    if state.head < ORAL_END:
        return "oral"
    return "pharyngeal" if state.tail < PHARYNX_END else "oesophageal"


def _as_list(value: object) -> object:
    if isinstance(value, np.ndarray):
        return np.round(value, 4).tolist() if value.dtype.kind == "f" else value.tolist()
    return value


def _first_frame(condition: np.ndarray, start: int = 0) -> int:
    """Index of the first true entry from ``start`` on, or -1."""
    found = np.flatnonzero(condition[start:])
    return int(found[0]) + start if len(found) else -1
