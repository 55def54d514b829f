"""What is true of a phantom study: outlines and masks of every frame, positions, areas, phases."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.phantom.anatomy import Anatomy
from bundle.phantom.geometry import Points
from bundle.phantom.pose import Pose
from bundle.phantom.raster import Canvas
from bundle.structures import STRUCTURES

SMALLEST_PIXELS = 4
"""Fewer pixels than this are not a structure that anyone could label; the mask is left empty."""


def structure_outlines(anatomy: Anatomy, pose: Pose) -> dict[str, list[Points]]:
    """Outlines per structure, in template millimetres."""
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
    """Masks of what can be labelled: inside the collimated field, not behind the shoulder, more than a speck.

    Args:
        masks: ``(12, size, size)``.
        visible: Where something can be seen ``(size, size)``, boolean.
    """
    seen = masks * visible.astype(np.uint8)
    seen[seen.sum(axis=(1, 2)) < SMALLEST_PIXELS] = 0
    return seen


@dataclass(frozen=True)
class Kinematics:
    """True motion of one study; per-frame arrays have length T.

    Points are (x, y) pixel coordinates, x along columns, y along rows, pixel centres at integers. Onsets and peaks are
    frame indices, -1 where the event does not fall into the study.
    """

    time_s: np.ndarray  # Time from the onset of hyoid motion (T,)
    hyoid_px: np.ndarray  # Centre of the hyoid body (T, 2)
    hyoid_mm: np.ndarray  # Hyoid in C4's frame (T, 2): forward and up from C4's anterior-inferior corner, millimetres
    c2_px: np.ndarray  # Anterior-inferior corner of C2 (T, 2)
    c4_px: np.ndarray  # Anterior-inferior corner of C4 (T, 2)
    c2_c4_mm: float  # Distance between these corners, millimetres
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

    def save(self, path: Path) -> None:
        """Write as JSON."""
        values = {key: _plain(value) for key, value in asdict(self).items()}
        path.write_text(json.dumps({"synthetic": True, **values}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Kinematics":
        """Read what ``save`` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values.pop("synthetic")
        values["phase"] = tuple(values["phase"])
        arrays: dict[str, Any] = {
            key: np.array(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**arrays)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return np.round(value, 4).tolist() if value.dtype.kind == "f" else value.tolist()
    return value


def first_frame(condition: np.ndarray, start: int = 0) -> int:
    """Index of the first true entry from ``start`` on, or -1."""
    found = np.flatnonzero(condition[start:])
    return int(found[0]) + start if len(found) else -1
